//! The values that fields of any document may have.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::{Read, Refused};
use crate::package::finding::Rule;
use crate::package::prose::{self, ProseFault};
use crate::time::span;

/// Any text.
pub(in crate::package) fn text(value: &DeValue<'_>) -> Read<String> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(Refused::kind(value, "a text in quotes")),
    }
}

/// A text for people that must say something: see [`prose::check_name`].
pub(in crate::package) fn name(value: &DeValue<'_>) -> Read<String> {
    checked_prose(value, prose::check_name)
}

/// A text that must explain something: see [`prose::check_explanation`].
pub(in crate::package) fn explanation(value: &DeValue<'_>) -> Read<String> {
    checked_prose(value, prose::check_explanation)
}

fn checked_prose(value: &DeValue<'_>, check: fn(&str) -> Result<(), ProseFault>) -> Read<String> {
    let text = text(value)?;
    match check(&text) {
        Ok(()) => Ok(text),
        Err(fault) => Err(refused_prose(&fault)),
    }
}

/// A text that is refused as prose.
pub(in crate::package) fn refused_prose(fault: &ProseFault) -> Refused {
    let (rule, remedy) = prose_finding(fault);
    Refused { rule, problem: fault.to_string(), remedy: remedy.to_owned() }
}

/// The rule that a text broke, and what to do about it.
pub(in crate::package) fn prose_finding(fault: &ProseFault) -> (Rule, &'static str) {
    match fault {
        ProseFault::Placeholder => {
            (Rule::Placeholder, "replace the scaffold's text by what is true of this release")
        }
        ProseFault::Empty | ProseFault::NonAnswer(_) | ProseFault::TooShort => (
            Rule::NotDocumentation,
            "write what somebody needs who was not involved; where there is nothing, say why",
        ),
        ProseFault::TooLong => (Rule::Limit, "move the details into NOTES.md or INSTRUCTIONS.md"),
    }
}

/// A whole number.
pub(in crate::package) fn integer(
    range: RangeInclusive<u32>,
) -> impl Fn(&DeValue<'_>) -> Read<u32> {
    move |value| {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let integer = value.as_integer().ok_or_else(|| Refused::kind(value, &expected))?;
        match u32::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(Refused::value(
                format!("{integer} is not {expected}"),
                format!("write {expected}"),
            )),
        }
    }
}

/// `true` or `false`.
pub(in crate::package) fn boolean(value: &DeValue<'_>) -> Read<bool> {
    value.as_bool().ok_or_else(|| Refused::kind(value, "true or false"))
}

/// A duration, as `"90s"`.
pub(in crate::package) fn duration(
    range: RangeInclusive<Duration>,
) -> impl Fn(&DeValue<'_>) -> Read<Duration> {
    move |value| {
        let text = value
            .as_str()
            .ok_or_else(|| Refused::kind(value, "a duration in quotes, as \"90s\""))?;
        let [least, most] = [range.start(), range.end()].map(|limit| span::format(*limit));
        let remedy = format!("write a duration from {least} to {most}");
        match span::parse(text) {
            Ok(duration) if range.contains(&duration) => Ok(duration),
            Ok(_) => Err(Refused::value(format!("{text} is not from {least} to {most}"), remedy)),
            Err(problem) => Err(Refused::value(problem, remedy)),
        }
    }
}

/// One of some words.
pub(in crate::package) fn one_of<T: Copy>(
    words: &[(&'static str, T)],
) -> impl Fn(&DeValue<'_>) -> Read<T> {
    move |value| {
        let text = text(value)?;
        let known = words.iter().find(|(word, _)| *word == text);
        known.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            Refused::value(
                format!("{text:?} is not known"),
                format!("write one of: {}", known.join(", ")),
            )
        })
    }
}
