//! A form to start from, made of its schema.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::kind::Kind;
use super::schema::{Answer, Field, Place, Schema, Section};
use crate::package::prose::PLACEHOLDER;

/// How a form is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// With a comment for each field.
    Toml,
    /// For programs.
    Json,
}

/// A form of this schema in which everything that has to be written is marked. Fields that need not be
/// there, or only sometimes, are comments in TOML and left out of JSON.
pub fn template(schema: &Schema, notation: Notation) -> String {
    match notation {
        Notation::Toml => toml(schema),
        Notation::Json => {
            let text = serde_json::to_string_pretty(&json_form(schema));
            text.expect("texts, numbers and lists are JSON") + "\n"
        }
    }
}

fn toml(schema: &Schema) -> String {
    let mut text = format!("# {}\n", schema.title());
    if let Some(about) = schema.about() {
        let _ = writeln!(text, "# {about}");
    }
    let _ =
        writeln!(text, "# Replace every \"{PLACEHOLDER}: ...\" by what is true of this release.");
    let _ = writeln!(text, "\nschema = \"{}\"", schema.name());
    // A field after a table's heading would be the table's.
    let (own, tables): (Vec<&Section>, Vec<&Section>) =
        schema.sections().iter().partition(|section| section.place == Place::Form);
    for section in own.into_iter().chain(tables) {
        if section.asked().next().is_none() {
            continue;
        }
        let _ = write!(text, "\n# {}", section.title);
        if let Some(about) = &section.about {
            let _ = write!(text, ": {about}");
        }
        text.push('\n');
        match &section.place {
            Place::Form => {}
            Place::Table(name) => {
                let _ = writeln!(text, "[{name}]");
            }
            Place::Each { list, .. } => {
                let _ = writeln!(text, "[[{list}]]");
            }
        }
        for field in &section.fields {
            toml_field(&mut text, field);
        }
    }
    text
}

fn toml_field(text: &mut String, field: &Field) {
    let Answer::Asked { name, kind, needed, when } = &field.answer else { return };
    let off = if *needed { "" } else { "# " };
    let value = start(field, kind);
    let mut notes = Vec::new();
    if let Kind::Choice(words) = kind {
        notes.push(words.join(", "));
    } else if !matches!(&value, Value::String(text) if text.contains(PLACEHOLDER)) {
        notes.extend(field.help.clone());
    }
    for condition in when {
        let is =
            if condition.is.is_empty() { "given".to_owned() } else { condition.is.join(" or ") };
        notes.push(format!("needed where {} is {is}", condition.field));
    }
    let note = if notes.is_empty() { String::new() } else { format!("  # {}", notes.join("; ")) };
    // JSON's texts, numbers, truths and lists are written the same in TOML.
    let _ = writeln!(text, "{off}{name} = {value}{note}");
}

fn start(field: &Field, kind: &Kind) -> Value {
    let help = field.help.as_deref().unwrap_or(&field.label);
    match kind {
        Kind::Boolean => json!(false),
        Kind::Integer => json!(1),
        Kind::List => json!([]),
        Kind::Choice(words) => json!(format!("{PLACEHOLDER}: one of {}", words.join(", "))),
        Kind::Date => json!(format!("{PLACEHOLDER}: a day, as 2026-11-20")),
        Kind::Source => json!("payload"),
        Kind::Digest { .. } => json!(format!("{PLACEHOLDER}: what `sha256sum` prints")),
        Kind::Name | Kind::Explanation | Kind::EMail | Kind::Phone => {
            json!(format!("{PLACEHOLDER}: {help}"))
        }
    }
}

fn json_form(schema: &Schema) -> Value {
    let mut form = Map::new();
    form.insert("schema".to_owned(), json!(schema.name()));
    for section in schema.sections() {
        let mut fields = Map::new();
        for field in &section.fields {
            if let Answer::Asked { name, kind, needed: true, .. } = &field.answer {
                fields.insert(name.clone(), start(field, kind));
            }
        }
        match &section.place {
            Place::Form => form.extend(fields),
            Place::Table(_) | Place::Each { .. } if fields.is_empty() => {}
            Place::Table(name) => {
                form.insert(name.clone(), Value::Object(fields));
            }
            Place::Each { list, .. } => {
                form.insert(list.clone(), json!([fields]));
            }
        }
    }
    Value::Object(form)
}
