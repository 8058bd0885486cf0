//! A form held against its schema and the package.

use std::collections::{BTreeMap, BTreeSet};

use super::catalogue::Catalogue;
use super::document::{self, Node, Table, Value};
use super::id_of;
use super::kind::Kind;
use super::schema::{Answer, CHANGE_TYPE, Condition, Field, Place, Schema, Section};
use crate::digest::Digest;
use crate::package::fields::refused_prose;
use crate::package::fields::{Faults, Refused};
use crate::package::finding::{Finding, Rule};
use crate::package::listing::Listing;
use crate::package::manifest::Manifest;
use crate::package::prose::{PLACEHOLDER, ProseFault};

/// The most lines of a list: one a file for the largest release that is listed file by file.
const MAX_LINES: usize = 10_000;

/// A form that keeps every rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    schema: Schema,
    /// By the field's place: `agency`, `requestor.name`, `item[0].action`.
    answers: BTreeMap<String, String>,
    /// How many lines each list has.
    lines: BTreeMap<String, usize>,
}

/// What came of reading a form.
#[derive(Debug)]
pub struct Filled {
    /// The form, or everything that is wrong with it.
    pub form: Result<Form, Vec<Finding>>,
    /// Paths in the package that it names, right or wrong.
    pub sources: BTreeSet<String>,
}

impl Form {
    /// The schema that it keeps.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Every answer by its place: `agency`, `requestor.name`, `item[0].action`.
    pub fn answers(&self) -> &BTreeMap<String, String> {
        &self.answers
    }

    /// The places of a section's tables: one, or one for each line. The form itself is the empty place.
    pub fn places(&self, section: &Section) -> Vec<String> {
        match &section.place {
            Place::Form => vec![String::new()],
            Place::Table(table) => vec![table.clone()],
            Place::Each { list, .. } => {
                let lines = self.lines.get(list).copied().unwrap_or_default();
                (0..lines).map(|line| format!("{list}[{line}]")).collect()
            }
        }
    }

    /// The answer to the field `name` at a place.
    pub fn answer(&self, place: &str, name: &str) -> Option<&str> {
        self.answers.get(&join(place, name)).map(String::as_str)
    }

    /// The lines of the list `list` by their key fields, as a runbook's steps name them.
    pub fn keys(&self, list: &str) -> Vec<String> {
        let of_list = |section: &&Section| matches!(&section.place, Place::Each { list: it, key } if it == list && !key.is_empty());
        let sections = self.schema.sections().iter().filter(of_list);
        let names = sections.flat_map(|section| {
            self.places(section).into_iter().map(|place| self.line_name(section, &place))
        });
        let inner = |name: String| {
            let name = name.strip_prefix(list)?.strip_prefix('[')?.strip_suffix(']')?;
            Some(name.to_owned())
        };
        names.filter_map(inner).collect()
    }

    /// What a line is called when two forms are compared: by its key fields, so that a line that was put
    /// in before it does not change it.
    pub fn line_name(&self, section: &Section, place: &str) -> String {
        match &section.place {
            Place::Each { list, key } if !key.is_empty() => {
                let parts: Vec<&str> =
                    key.iter().filter_map(|name| self.answer(place, name)).collect();
                format!("{list}[{}]", parts.join(" -> "))
            }
            Place::Form | Place::Table(_) | Place::Each { .. } => place.to_owned(),
        }
    }
}

fn join(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

/// Reads the form at `file`, whose content is `text`: by the schema that it names, which must be the
/// catalogue's newest of that form, and held against what is in the package.
pub fn read(
    file: &str,
    text: &str,
    catalogue: &Catalogue,
    listing: &Listing,
    manifest: Option<&Manifest>,
) -> Filled {
    let mut faults = Faults::new(file, text);
    let mut sources = BTreeSet::new();
    let form = document::parse(&mut faults, file, text).and_then(|table| {
        let schema = schema_of(&mut faults, file, &table, catalogue)?;
        let mut reading = Reading {
            faults: &mut faults,
            listing,
            manifest,
            sources: &mut sources,
            answers: BTreeMap::new(),
            lines: BTreeMap::new(),
        };
        reading.form(&table, schema);
        let (answers, lines) = (reading.answers, reading.lines);
        Some(Form { schema: schema.clone(), answers, lines })
    });
    let findings = faults.into_findings();
    let form = match form {
        Some(form) if findings.is_empty() => Ok(form),
        Some(_) | None => Err(findings),
    };
    Filled { form, sources }
}

/// The schema that the form names, if it is the one that its place asks for.
fn schema_of<'c>(
    faults: &mut Faults<'_>,
    file: &str,
    table: &Table,
    catalogue: &'c Catalogue,
) -> Option<&'c Schema> {
    let field = Some("schema".to_owned());
    let known: Vec<String> = catalogue.newest().map(Schema::name).collect();
    let known = format!("write one of: {}", known.join(", "));
    let Some(node) = table.get("schema") else {
        let refused = Refused::rule(Rule::FieldMissing, "it is missing", known);
        faults.note(field, None, refused);
        return None;
    };
    let Value::Text(name) = &node.value else {
        faults.note(field, node.span.clone(), node.value.refused("a text in quotes"));
        return None;
    };
    let id = name.split_once('/').map_or(name.as_str(), |(id, _)| id);
    let refused = match catalogue.find(id) {
        None => Refused::value(format!("no schema {name:?} is known"), known),
        Some(schema) if schema.name() != *name => Refused::value(
            format!("{name:?} is not the version in force, which is {}", schema.name()),
            format!("fill in what `cutover form new {}` writes", schema.id()),
        ),
        Some(schema) if schema.id() != id_of(file) => Refused::rule(
            Rule::Form,
            format!("this form is looked for in forms/{}.toml", schema.id()),
            "move it there",
        ),
        Some(schema) => return Some(schema),
    };
    faults.note(field, node.span.clone(), refused);
    None
}

/// A form while it is read.
struct Reading<'f, 't> {
    faults: &'f mut Faults<'t>,
    listing: &'f Listing,
    manifest: Option<&'f Manifest>,
    sources: &'f mut BTreeSet<String>,
    answers: BTreeMap<String, String>,
    lines: BTreeMap<String, usize>,
}

impl Reading<'_, '_> {
    fn form(&mut self, table: &Table, schema: &Schema) {
        let mut own = vec!["schema"];
        for section in schema.sections() {
            match &section.place {
                Place::Form => {
                    own.extend(section.asked().map(|(name, _, _)| name));
                    self.fields(table, None, "", section);
                }
                Place::Table(name) => {
                    own.push(name);
                    self.table(table.get(name), name, section);
                }
                Place::Each { list, .. } => {
                    own.push(list);
                    self.each(table.get(list), list, section);
                }
            }
        }
        self.unknown(table, "", &own);
    }

    fn table(&mut self, node: Option<&Node>, place: &str, section: &Section) {
        let Some(node) = node else {
            let asks = section
                .fields
                .iter()
                .any(|field| matches!(&field.answer, Answer::Asked { needed: true, .. }));
            if asks {
                self.missing(None, place.to_owned());
            }
            return;
        };
        let Value::Table(table) = &node.value else {
            let refused = node.value.refused("a table");
            return self.faults.note(Some(place.to_owned()), node.span.clone(), refused);
        };
        let own: Vec<&str> = section.asked().map(|(name, _, _)| name).collect();
        self.fields(table, Some(node), place, section);
        self.unknown(table, place, &own);
    }

    fn each(&mut self, node: Option<&Node>, list: &str, section: &Section) {
        let Some(node) = node else { return self.missing(None, list.to_owned()) };
        let (field, span) = (Some(list.to_owned()), node.span.clone());
        let Value::List(lines) = &node.value else {
            return self.faults.note(field, span, node.value.refused("a list of tables"));
        };
        if lines.is_empty() {
            return self.missing(span, list.to_owned());
        }
        if lines.len() > MAX_LINES {
            let problem = format!("it has more than {MAX_LINES} lines");
            let remedy = "name directories where files are many";
            return self.faults.note(field, span, Refused::value(problem, remedy));
        }
        self.lines.insert(list.to_owned(), lines.len());
        for (position, line) in lines.iter().enumerate() {
            self.table(Some(line), &format!("{list}[{position}]"), section);
        }
    }

    fn fields(&mut self, table: &Table, at: Option<&Node>, place: &str, section: &Section) {
        for field in &section.fields {
            let Answer::Asked { name, kind, .. } = &field.answer else { continue };
            let full = join(place, name);
            let Some(node) = table.get(name) else { continue };
            let marked = matches!(&node.value, Value::Text(text) if text.contains(PLACEHOLDER));
            let read = if marked {
                Err(refused_prose(&ProseFault::Placeholder))
            } else {
                kind.read(&node.value)
            };
            match read {
                Ok(answer) => {
                    self.answers.insert(full, answer);
                }
                Err(refused) => self.faults.note(Some(full), node.span.clone(), refused),
            }
        }
        let span = || at.and_then(|node| node.span.clone());
        for field in &section.fields {
            let Answer::Asked { name, kind, .. } = &field.answer else { continue };
            match table.get(name) {
                Some(node) => self.compare(table, node, place, name, kind),
                None => {
                    if let Some(why) = self.why_needed(field, place) {
                        let remedy = remedy(field, name);
                        let refused = Refused::rule(Rule::FieldMissing, why, remedy);
                        self.faults.note(Some(join(place, name)), span(), refused);
                    }
                }
            }
        }
    }

    /// Why a field that is not there has to be.
    fn why_needed(&self, field: &Field, place: &str) -> Option<String> {
        let Answer::Asked { needed, when, .. } = &field.answer else { return None };
        if *needed {
            return Some(format!("it is missing: {}", field.label));
        }
        let holds = when.iter().find(|condition| self.holds(condition, place))?;
        let why = if holds.is.is_empty() {
            format!("where {} is given", holds.field)
        } else {
            let value = self.value(&holds.field, place).unwrap_or_default();
            format!("where {} is {value}", holds.field)
        };
        Some(format!("it is missing: {} is needed {why}", field.label))
    }

    fn holds(&self, condition: &Condition, place: &str) -> bool {
        let value = self.value(&condition.field, place);
        value.is_some_and(|value| condition.is.is_empty() || condition.is.contains(&value))
    }

    fn value(&self, field: &str, place: &str) -> Option<String> {
        if field == CHANGE_TYPE {
            return self.manifest.map(|manifest| manifest.change_type.to_string());
        }
        self.answers.get(&join(place, field)).cloned()
    }

    /// Holds paths and digests against the package.
    fn compare(&mut self, table: &Table, node: &Node, place: &str, name: &str, kind: &Kind) {
        let full = join(place, name);
        let Some(answer) = self.answers.get(&full).cloned() else { return };
        let refused = match kind {
            Kind::Source => {
                self.sources.insert(answer.clone());
                self.listing.find(&answer).is_none().then(|| {
                    (
                        format!("{answer} is not in the package"),
                        "write the path in the package, as payload/bin/shop",
                    )
                })
            }
            Kind::Digest { of } => {
                let path = of.as_ref().and_then(|of| self.answers.get(&join(place, of)).cloned());
                let written = of.as_ref().is_some_and(|of| table.contains_key(of));
                self.wrong_digest(&answer, path.as_deref(), written)
            }
            Kind::Name
            | Kind::Explanation
            | Kind::Choice(_)
            | Kind::Boolean
            | Kind::Integer
            | Kind::Date
            | Kind::EMail
            | Kind::Phone
            | Kind::List => None,
        };
        if let Some((problem, remedy)) = refused {
            let refused = Refused::rule(Rule::FormItem, problem, remedy);
            self.faults.note(Some(full), node.span.clone(), refused);
        }
    }

    /// What is wrong with a digest: of the file at `path`, or of any file where no path is `written`.
    fn wrong_digest(
        &mut self,
        digest: &str,
        path: Option<&str>,
        written: bool,
    ) -> Option<(String, &'static str)> {
        let digest: Digest = digest.parse().ok()?;
        if let Some(path) = path {
            let item = self.listing.find(path)?;
            return match item.file() {
                Some(file) if file.digest == digest => None,
                Some(file) => Some((
                    format!("{path} has the digest {}", file.digest),
                    "correct the digest, or bring the file that was meant",
                )),
                None => Some((
                    format!("{path} is {} and has no digest", item.kind_name()),
                    "name files one by one where digests are wanted",
                )),
            };
        }
        if written {
            return None;
        }
        let mut found = self.listing.items();
        let found = found.find(|(_, item)| item.file().is_some_and(|file| file.digest == digest));
        match found {
            Some((path, _)) => {
                self.sources.insert(path.to_owned());
                None
            }
            None => Some((
                "no file in the package has this digest".to_owned(),
                "correct the digest, or bring the file that was meant",
            )),
        }
    }

    fn missing(&mut self, span: Option<std::ops::Range<usize>>, field: String) {
        let remedy = format!("add it; `cutover form show` tells what belongs into {field}");
        let refused = Refused::rule(Rule::FieldMissing, "it is missing", remedy);
        self.faults.note(Some(field), span, refused);
    }

    fn unknown(&mut self, table: &Table, place: &str, known: &[&str]) {
        for (key, node) in table {
            if !known.contains(&key.as_str()) {
                let remedy =
                    format!("remove it or correct its name; known are {}", known.join(", "));
                let refused = Refused::rule(Rule::FieldUnknown, "no such field is known", remedy);
                self.faults.note(Some(join(place, key)), node.span.clone(), refused);
            }
        }
    }
}

fn remedy(field: &Field, name: &str) -> String {
    match &field.help {
        Some(help) => format!("add {name}: {help}"),
        None => format!("add {name}"),
    }
}
