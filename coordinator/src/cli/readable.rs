//! Statements as text: what a person is shown before they sign, and what a line about one says.

use std::fmt::Write as _;

use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::key::KeyId;
use cutover_shared::statement::Statement;
use serde_json::Value;

/// Everything that a statement says, a line a value. With `state`, digests of known things are followed
/// by their names.
pub fn readable(statement: &Statement, state: Option<&State>) -> String {
    let mut text = format!("{}\n", statement.says.predicate());
    let header = &statement.header;
    let times = [
        ("issued", Some(header.issued)),
        ("not before", header.not_before),
        ("not after", header.not_after),
    ];
    for (name, time) in times {
        if let Some(time) = time {
            line(&mut text, 1, name, &time.to_string());
        }
    }
    let says = statement_says(statement);
    if let Value::Object(fields) = &says {
        for (name, value) in fields {
            value_lines(&mut text, 1, name, value, state);
        }
    } else {
        value_lines(&mut text, 1, "says", &says, state);
    }
    text.truncate(text.trim_end().len());
    text
}

/// What a statement is about: its subjects, by name where they are known.
pub fn about(statement: &Statement, state: &State) -> String {
    let subjects = statement.says.subjects();
    let words = subjects.iter().map(|(kind, digest)| {
        known(digest, state).unwrap_or_else(|| format!("{kind} {}", digest.short()))
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The name of a thing that the log knows.
pub fn known(digest: &Digest, state: &State) -> Option<String> {
    if let Some(case) = state.case(digest) {
        let release = case.release.says();
        return Some(format!("{} {} {}", case.name(), release.application, release.version));
    }
    if let Some((case, booking)) = state.booking(digest) {
        let environment = &booking.booking.says().environment;
        return Some(format!("booking of {} in {environment}", case.name()));
    }
    if let Some(policy) = state.policy().filter(|policy| policy.id() == *digest) {
        return Some(format!("policy {}", policy.document().version));
    }
    if let Some(host) = state.host(&KeyId::from_digest(*digest)) {
        return Some(format!("host {}", host.enrolment.says().host));
    }
    let of = state.cases().find(|case| case.release.says().package == *digest)?;
    Some(format!("package of {}", of.name()))
}

/// What is said, without the frame around it.
fn statement_says(statement: &Statement) -> Value {
    let payload = serde_json::from_slice::<Value>(&statement.to_payload());
    let mut payload = payload.expect("a statement's payload is JSON");
    payload.pointer_mut("/predicate/says").map_or(Value::Null, Value::take)
}

const INDENT: usize = 2;
const COLUMN: usize = 18;

fn line(text: &mut String, depth: usize, name: &str, value: &str) {
    let name = name.replace(['_', '-'], " ");
    let width = COLUMN.saturating_sub(depth * INDENT);
    let _ = writeln!(text, "{:indent$}{name:width$} {value}", "", indent = depth * INDENT);
}

fn value_lines(text: &mut String, depth: usize, name: &str, value: &Value, state: Option<&State>) {
    match value {
        Value::Object(fields) if fields.is_empty() => line(text, depth, name, "none"),
        Value::Object(fields) => {
            line(text, depth, name, "");
            for (name, value) in fields {
                value_lines(text, depth + 1, name, value, state);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (number, item) in items.iter().enumerate() {
                value_lines(text, depth, &format!("{name} {}", number + 1), item, state);
            }
        }
        Value::Array(items) if items.is_empty() => line(text, depth, name, "none"),
        Value::Array(items) => {
            let words: Vec<_> = items.iter().map(|item| scalar(item, state)).collect();
            line(text, depth, name, &words.join(", "));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            line(text, depth, name, &scalar(value, state));
        }
    }
}

fn scalar(value: &Value, state: Option<&State>) -> String {
    let Value::String(word) = value else { return value.to_string() };
    let name =
        word.parse::<Digest>().ok().zip(state).and_then(|(digest, state)| known(&digest, state));
    match name {
        Some(name) => format!("{word} ({name})"),
        // Lines of a longer text stand below each other.
        None => word.replace('\n', "\n                    "),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use cutover_shared::statement::{Remark, Review, Verdict};

    use super::*;

    #[test]
    fn every_value_is_shown() {
        let review = Review {
            release: Digest::of(b"release"),
            environments: BTreeSet::from([
                "production".parse().unwrap(),
                "staging".parse().unwrap(),
            ]),
            verdict: Verdict::Returned {
                items: vec![Remark { item: "NOTES.md".to_owned(), remark: "say\nmore".to_owned() }],
            },
        };
        let issued = "2026-03-08T06:30:00Z".parse().unwrap();
        let text = readable(&Statement::new(issued, review), None);
        let words =
            ["review", "06:30:00Z", "production, staging", "returned", "NOTES.md", "say", "more"];
        for word in words {
            assert!(text.contains(word), "{word} in\n{text}");
        }
        assert!(text.contains(&Digest::of(b"release").to_string()), "{text}");
    }
}
