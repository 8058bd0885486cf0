//! A form as a tree of values, whichever notation it was written in.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::json::{self, Json};
use crate::package::fields::{Faults, Refused};
use crate::package::finding::Rule;

/// A value, and where in the text it is.
#[derive(Debug)]
pub(super) struct Node {
    /// What it is.
    pub(super) value: Value,
    /// Its place, where the notation tells it.
    pub(super) span: Option<Range<usize>>,
}

/// The fields of a table.
pub(super) type Table = BTreeMap<String, Node>;

/// What a form can have.
#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    /// A date or time of TOML's own, as it was written.
    Moment(String),
    List(Vec<Node>),
    Table(Table),
    /// What no field is: a fraction, a null, a number beyond all measure.
    Other(&'static str),
}

impl Value {
    /// What people call it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Integer(_) => "number",
            Self::Boolean(_) => "boolean",
            Self::Moment(_) => "date or time",
            Self::List(_) => "list",
            Self::Table(_) => "table",
            Self::Other(what) => what,
        }
    }

    /// It is not what was expected.
    pub(super) fn refused(&self, expected: &str) -> Refused {
        Refused::value(
            format!("it is a {}, not {expected}", self.kind()),
            format!("write {expected}"),
        )
    }
}

/// Parses the document: JSON where the file's name says so, else TOML. What follows a syntax error means
/// nothing, so that those are all that is told then.
pub(super) fn parse(faults: &mut Faults<'_>, file: &str, text: &str) -> Option<Table> {
    if has_json_suffix(file) {
        return of_json(faults, text);
    }
    let table = faults.parse()?;
    Some(of_toml(&table))
}

fn has_json_suffix(file: &str) -> bool {
    file.rsplit_once('.').is_some_and(|(_, suffix)| suffix == "json")
}

fn of_toml(table: &DeTable<'_>) -> Table {
    let fields = table.iter().map(|(key, value)| (key.get_ref().to_string(), toml_node(value)));
    fields.collect()
}

fn toml_node(spanned: &Spanned<DeValue<'_>>) -> Node {
    let value = match spanned.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or(Value::Other("number that is too large"), Value::Integer),
        DeValue::Float(_) => Value::Other("fraction"),
        DeValue::Boolean(truth) => Value::Boolean(*truth),
        DeValue::Datetime(moment) => Value::Moment(moment.to_string()),
        DeValue::Array(items) => Value::List(items.iter().map(toml_node).collect()),
        DeValue::Table(table) => Value::Table(of_toml(table)),
    };
    Node { value, span: Some(spanned.span()) }
}

fn of_json(faults: &mut Faults<'_>, text: &str) -> Option<Table> {
    let refused = |problem: String| {
        Refused::rule(Rule::Syntax, problem, "correct it; https://www.json.org has the rules")
    };
    match json::read(text.as_bytes()) {
        Ok(Json::Object(fields)) => Some(json_table(fields)),
        Ok(_) => {
            faults.note(None, None, refused("it is no JSON object".to_owned()));
            None
        }
        Err(error) => {
            let lines = text.split_inclusive('\n');
            let start: usize = lines.take(error.line().saturating_sub(1)).map(str::len).sum();
            faults.note(None, Some(start..start), refused(format!("it is not JSON: {error}")));
            None
        }
    }
}

fn json_table(fields: BTreeMap<String, Json>) -> Table {
    fields.into_iter().map(|(key, value)| (key, json_node(value))).collect()
}

fn json_node(json: Json) -> Node {
    let value = match json {
        Json::Null => Value::Other("null"),
        Json::Truth(truth) => Value::Boolean(truth),
        Json::Number(number) => {
            number.as_i64().map_or(Value::Other("number that is not whole"), Value::Integer)
        }
        Json::Text(text) => Value::Text(text),
        Json::List(items) => Value::List(items.into_iter().map(json_node).collect()),
        Json::Object(fields) => Value::Table(json_table(fields)),
    };
    Node { value, span: None }
}
