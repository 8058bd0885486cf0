//! Kinds of answers: what a field of a form may say.

use jiff::civil::Date;

use super::document::Value;
use crate::digest::Digest;
use crate::package::fields::{Read, Refused, refused_prose};
use crate::package::prose;

/// The most values of a list: more than anybody reads.
const MAX_LIST: usize = 1000;

/// The fewest digits of a telephone number: an extension.
const MIN_PHONE: usize = 3;

/// What an answer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The name of something or somebody; no `N/A`.
    Name,
    /// A sentence at least; no `N/A`.
    Explanation,
    /// One of some words.
    Choice(Vec<String>),
    /// `true` or `false`.
    Boolean,
    /// A whole number that is not negative.
    Integer,
    /// A day, as `2026-11-20`.
    Date,
    /// An address.
    EMail,
    /// A number.
    Phone,
    /// Names; none where there are none.
    List,
    /// A path in the package: a file or a directory, which the payload is held against.
    Source,
    /// The SHA-256 of a file in the package: of the one that the field `of` names, or of any.
    Digest {
        /// The field of the same section with the path.
        of: Option<String>,
    },
}

impl Kind {
    /// The words of the kinds that need nothing else.
    pub(super) const WORDS: [&'static str; 11] = [
        "name",
        "explanation",
        "choice",
        "boolean",
        "integer",
        "date",
        "e-mail",
        "phone",
        "list",
        "source",
        "digest",
    ];

    /// Its word in a schema.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Explanation => "explanation",
            Self::Choice(_) => "choice",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Date => "date",
            Self::EMail => "e-mail",
            Self::Phone => "phone",
            Self::List => "list",
            Self::Source => "source",
            Self::Digest { .. } => "digest",
        }
    }

    /// Reads an answer of this kind, as it is printed and compared.
    pub(super) fn read(&self, value: &Value) -> Read<String> {
        match self {
            Self::Name => prose(text(value)?, prose::check_name),
            Self::Explanation => prose(text(value)?, prose::check_explanation),
            Self::Choice(words) => choice(text(value)?, words),
            Self::Boolean => boolean(value),
            Self::Integer => integer(value),
            Self::Date => date(value),
            Self::EMail => e_mail(text(value)?),
            Self::Phone => phone(text(value)?),
            Self::List => list(value),
            Self::Source => source(text(value)?),
            Self::Digest { .. } => digest(text(value)?),
        }
    }
}

fn text(value: &Value) -> Read<&str> {
    let Value::Text(text) = value else { return Err(value.refused("a text in quotes")) };
    Ok(text)
}

fn boolean(value: &Value) -> Read<String> {
    let Value::Boolean(truth) = value else { return Err(value.refused("true or false")) };
    Ok(truth.to_string())
}

fn integer(value: &Value) -> Read<String> {
    let Value::Integer(number @ 0..) = value else {
        return Err(value.refused("a whole number that is not negative"));
    };
    Ok(number.to_string())
}

fn prose(text: &str, check: fn(&str) -> Result<(), prose::ProseFault>) -> Read<String> {
    match check(text) {
        Ok(()) => Ok(text.trim().to_owned()),
        Err(fault) => Err(refused_prose(&fault)),
    }
}

fn choice(text: &str, words: &[String]) -> Read<String> {
    if words.iter().any(|word| word == text) {
        return Ok(text.to_owned());
    }
    let problem = format!("{text:?} is not one of the choices");
    Err(Refused::value(problem, format!("write one of: {}", words.join(", "))))
}

fn date(value: &Value) -> Read<String> {
    let (Value::Text(written) | Value::Moment(written)) = value else {
        return Err(value.refused("a day, as 2026-11-20"));
    };
    let date: Option<Date> = written.parse().ok().filter(|_| written.len() == "2026-11-20".len());
    match date {
        Some(date) => Ok(date.to_string()),
        None => Err(Refused::value(format!("{written:?} is no day"), "write it as 2026-11-20")),
    }
}

fn e_mail(text: &str) -> Read<String> {
    let good = text.split_once('@').is_some_and(|(local, domain)| {
        let plain = |part: &str| {
            !part.is_empty()
                && !part.contains('@')
                && !part
                    .chars()
                    .any(|c| c.is_whitespace() || c.is_control() || "<>,;\"".contains(c))
        };
        plain(local) && plain(domain)
    });
    if good && text.len() <= 254 {
        return Ok(text.to_owned());
    }
    Err(Refused::value(format!("{text:?} is no address"), "write it as ada@example.org"))
}

fn phone(text: &str) -> Read<String> {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let known = |c: char| c.is_ascii_digit() || " +-()./xext,#*".contains(c);
    if digits >= MIN_PHONE && text.len() <= 64 && text.chars().all(known) {
        return Ok(text.to_owned());
    }
    Err(Refused::value(format!("{text:?} is no number"), "write it as +1 555 0100"))
}

fn list(value: &Value) -> Read<String> {
    let Value::List(items) = value else {
        return Err(value.refused("a list, as [\"one\", \"two\"], or [] where there are none"));
    };
    if items.len() > MAX_LIST {
        return Err(Refused::value(format!("it has more than {MAX_LIST} values"), "shorten it"));
    }
    let names: Vec<String> = items
        .iter()
        .map(|item| prose(text(&item.value)?, prose::check_name))
        .collect::<Read<_>>()?;
    Ok(names.join(", "))
}

fn source(text: &str) -> Read<String> {
    let plain = text.trim_end_matches('/');
    if !plain.is_empty() && plain.len() <= 4096 && !plain.chars().any(char::is_control) {
        return Ok(plain.to_owned());
    }
    Err(Refused::value(
        format!("{text:?} is no path"),
        "write the path in the package, as payload/bin/shop",
    ))
}

fn digest(text: &str) -> Read<String> {
    match text.parse::<Digest>() {
        Ok(digest) => Ok(digest.to_string()),
        Err(error) => Err(Refused::value(error.to_string(), "write what `sha256sum` prints")),
    }
}
