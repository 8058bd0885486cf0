//! The values that fields of `release.toml` may have.

use jiff::civil::DateTime;
use toml::de::DeValue;

use super::Target;
use crate::name::{Name, NotAName};
use crate::package::fields::{Read, Refused, name, one_of, text};
use crate::package::health::check_template;
use crate::package::path::EntryPath;
use crate::statement::ChangeType;

/// The longest version.
const MAX_VERSION: usize = 64;

/// The longest address, URL or argument.
const MAX_PLAIN: usize = 1024;

pub(super) fn change_type(value: &DeValue<'_>) -> Read<ChangeType> {
    one_of(&[
        ("normal", ChangeType::Normal),
        ("standard", ChangeType::Standard),
        ("emergency", ChangeType::Emergency),
    ])(value)
}

pub(super) fn target(value: &DeValue<'_>) -> Read<Target> {
    one_of(&Target::WORDS)(value)
}

pub(super) fn label(value: &DeValue<'_>) -> Read<Name> {
    let text = name(value)?;
    text.parse().map_err(|error: NotAName| {
        Refused::value(error.to_string(), "choose a name that is safe everywhere")
    })
}

pub(super) fn version(value: &DeValue<'_>) -> Read<String> {
    let text = name(value)?;
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || b".+-_~".contains(&b));
    if begins && rest && text.len() <= MAX_VERSION {
        return Ok(text);
    }
    Err(Refused::value(
        format!("{text:?} is no version"),
        format!("use letters, digits and .+-_~, at most {MAX_VERSION}"),
    ))
}

pub(super) fn civil(value: &DeValue<'_>) -> Read<DateTime> {
    // Authors write it with or without quotes; both mean the same.
    let written = match value.as_datetime() {
        Some(datetime) => datetime.to_string(),
        None => text(value)?,
    };
    let has_time = written.contains(['T', 't', ' ']);
    written.parse().ok().filter(|_| has_time).ok_or_else(|| {
        Refused::value(
            format!("{written:?} is no date and time of day without an offset"),
            "write it as 2026-11-20T22:00; the zone has its own field",
        )
    })
}

pub(super) fn zone(value: &DeValue<'_>) -> Read<String> {
    let text = text(value)?;
    let letters = |b: u8| b.is_ascii_alphanumeric() || b"_+-/".contains(&b);
    let region = text.contains('/') && text.starts_with(|c: char| c.is_ascii_alphabetic());
    if (text == "UTC" || region) && text.bytes().all(letters) && text.len() <= 64 {
        return Ok(text);
    }
    Err(Refused::value(
        format!("{text:?} is no IANA zone"),
        "write it as America/New_York, or UTC; abbreviations mean several things",
    ))
}

pub(super) fn is_hook_path(text: &str) -> bool {
    EntryPath::new(text).is_ok_and(|path| path.is_within("hooks") && path.as_str() != "hooks")
}

pub(super) fn hook_path(value: &DeValue<'_>) -> Read<EntryPath> {
    let text = text(value)?;
    EntryPath::new(&text).ok().filter(|_| is_hook_path(&text)).ok_or_else(|| {
        Refused::value(format!("{text:?} is no path under hooks/"), "write it as hooks/stop.sh")
    })
}

pub(super) fn shared_path(value: &DeValue<'_>) -> Read<EntryPath> {
    let text = text(value)?;
    EntryPath::new(&text).map_err(|fault| {
        let remedy = "write it as data or var/logs: a path below payload/";
        Refused::value(format!("{text:?}: {fault}"), remedy)
    })
}

/// Text without control characters that is not empty.
pub(super) fn plain(value: &DeValue<'_>) -> Read<String> {
    let text = text(value)?;
    if text.is_empty() || text.len() > MAX_PLAIN || text.chars().any(char::is_control) {
        return Err(Refused::value(
            format!("it is empty, has control characters, or is longer than {MAX_PLAIN} bytes"),
            "write a short text",
        ));
    }
    Ok(text)
}

pub(super) fn template(value: &DeValue<'_>) -> Read<String> {
    let text = plain(value)?;
    match check_template(&text) {
        Ok(()) => Ok(text),
        Err(error) => Err(Refused::value(
            error.to_string(),
            "write variables as {listen}; the host's configuration defines them",
        )),
    }
}

/// A program that runs: an absolute path, or one in the payload.
pub(super) fn program(value: &DeValue<'_>) -> Read<String> {
    let text = template(value)?;
    let packaged =
        EntryPath::new(&text).is_ok_and(|path| path.is_within("payload") && text != "payload");
    if packaged || text.starts_with(['/', '{']) {
        return Ok(text);
    }
    Err(Refused::value(
        format!("{text:?} is neither an absolute path nor one under payload/"),
        "write it as payload/bin/serve, or as /usr/bin/java",
    ))
}

pub(super) fn url(value: &DeValue<'_>) -> Read<String> {
    let text = template(value)?;
    let begins = ["http://", "https://", "{"];
    if begins.iter().any(|scheme| text.starts_with(scheme)) && !text.contains(char::is_whitespace) {
        return Ok(text);
    }
    Err(Refused::value(
        format!("{text:?} is no URL that can be checked"),
        "write it as http://{listen}/health",
    ))
}

pub(super) fn address(value: &DeValue<'_>) -> Read<String> {
    let text = template(value)?;
    if text.contains([':', '{']) && !text.contains(char::is_whitespace) {
        return Ok(text);
    }
    Err(Refused::value(
        format!("{text:?} is no address with a port"),
        "write it as 127.0.0.1:5432 or {listen}",
    ))
}
