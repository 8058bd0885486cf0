//! Reading a TOML document field by field, so that all its faults are found at once.
//!
//! serde stops at the first fault; an author who has to come back five times for five faults is not
//! served. A [`Section`] is one table: each field is asked for once, a fault is noted and reading goes
//! on, and [`Section::finish`] reports what nobody asked for.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::finding::{Finding, Rule};
use super::prose::{PLACEHOLDER, ProseFault};

mod values;

pub(super) use values::{
    boolean, duration, explanation, integer, name, one_of, prose_finding, refused_prose, text,
};

/// The faults of one document.
pub(super) struct Faults<'t> {
    file: &'t str,
    text: &'t str,
    findings: Vec<Finding>,
}

/// Why a value is refused.
pub(super) struct Refused {
    rule: Rule,
    problem: String,
    remedy: String,
}

/// What a reader of values gives.
pub(super) type Read<T> = Result<T, Refused>;

impl Refused {
    /// A value that is not of its kind.
    pub(super) fn value(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { rule: Rule::FieldValue, problem: problem.into(), remedy: remedy.into() }
    }

    /// A value that breaks `rule`.
    pub(super) fn rule(rule: Rule, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { rule, problem: problem.into(), remedy: remedy.into() }
    }

    fn kind(value: &DeValue<'_>, expected: &str) -> Self {
        Self::value(
            format!("it is a {}, not {expected}", value.type_str()),
            format!("write {expected}"),
        )
    }
}

impl<'t> Faults<'t> {
    /// No faults yet in `file`, whose content is `text`.
    pub(super) fn new(file: &'t str, text: &'t str) -> Self {
        Self { file, text, findings: Vec::new() }
    }

    /// Parses the document. Syntax errors end the reading: what follows them means nothing.
    pub(super) fn parse(&mut self) -> Option<DeTable<'t>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let refused = Refused {
                rule: Rule::Syntax,
                problem: format!("it is not TOML: {}", error.message()),
                remedy: "correct the line; https://toml.io has the rules".to_owned(),
            };
            self.note(None, error.span(), refused);
        }
        errors.is_empty().then(|| table.into_inner())
    }

    /// Notes that something is refused: which field, and where in the text.
    pub(super) fn note(
        &mut self,
        field: Option<String>,
        span: Option<Range<usize>>,
        refused: Refused,
    ) {
        self.findings.push(Finding {
            file: self.file.to_owned(),
            line: span.map(|span| self.line(span.start)),
            field,
            rule: refused.rule,
            problem: refused.problem,
            remedy: refused.remedy,
        });
    }

    /// Notes that `field` and others contradict each other.
    pub(super) fn contradiction(&mut self, field: &str, problem: impl Into<String>, remedy: &str) {
        let refused = Refused {
            rule: Rule::Contradiction,
            problem: problem.into(),
            remedy: remedy.to_owned(),
        };
        self.note(Some(field.to_owned()), None, refused);
    }

    fn line(&self, offset: usize) -> u32 {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let lines = before.split(|byte| *byte == b'\n').count();
        u32::try_from(lines).unwrap_or(u32::MAX)
    }

    /// All of them, in the order of the lines.
    pub(super) fn into_findings(mut self) -> Vec<Finding> {
        self.findings.sort_by_key(|finding| finding.line.unwrap_or(u32::MAX));
        self.findings
    }
}

/// One table of a document, while it is read.
pub(super) struct Section<'a, 't> {
    table: &'a DeTable<'t>,
    path: String,
    span: Option<Range<usize>>,
    asked: BTreeSet<&'static str>,
}

impl<'a, 't> Section<'a, 't> {
    /// The document itself.
    pub(super) fn top(table: &'a DeTable<'t>) -> Self {
        Self { table, path: String::new(), span: None, asked: BTreeSet::new() }
    }

    /// Notes every text, however deep, in which the scaffold's marker is still there.
    pub(super) fn refuse_placeholders(&self, faults: &mut Faults<'_>) {
        for (key, value) in self.table {
            refuse_placeholders(faults, &self.name(key.get_ref()), value);
        }
    }

    /// The full name of the field `key`.
    pub(super) fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Whether the field `key` is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn ask(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'t>>> {
        self.asked.insert(key);
        self.table.get(key)
    }

    /// Reads the field `key`, which must be there.
    pub(super) fn required<T>(
        &mut self,
        faults: &mut Faults<'_>,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Read<T>,
    ) -> Option<T> {
        let value = self.optional(faults, key, read);
        if !self.has(key) {
            self.missing(faults, key);
        }
        value
    }

    /// Notes that the field `key` is not there.
    pub(super) fn missing(&self, faults: &mut Faults<'_>, key: &str) {
        let name = self.name(key);
        let refused = Refused {
            rule: Rule::FieldMissing,
            problem: "it is missing".to_owned(),
            remedy: format!("add `{name}`"),
        };
        faults.note(Some(name), self.span.clone(), refused);
    }

    /// Reads the field `key`, if it is there.
    pub(super) fn optional<T>(
        &mut self,
        faults: &mut Faults<'_>,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Read<T>,
    ) -> Option<T> {
        let value = self.ask(key)?;
        match filled_in(value.get_ref(), read) {
            Ok(read) => Some(read),
            Err(refused) => {
                faults.note(Some(self.name(key)), Some(value.span()), refused);
                None
            }
        }
    }

    /// Reads the field `key`, or takes `default` when it is not there.
    pub(super) fn defaulted<T>(
        &mut self,
        faults: &mut Faults<'_>,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Read<T>,
        default: T,
    ) -> Option<T> {
        let value = self.optional(faults, key, read);
        if self.has(key) { value } else { Some(default) }
    }

    /// Reads the list `key`, item by item; `None` when it or an item is refused. Absent is empty.
    pub(super) fn list<T>(
        &mut self,
        faults: &mut Faults<'_>,
        key: &'static str,
        most: usize,
        read: impl Fn(&DeValue<'_>) -> Read<T>,
    ) -> Option<Vec<T>> {
        let items = self.items(faults, key, most)?;
        let read: Vec<Option<T>> = items
            .iter()
            .enumerate()
            .map(|(position, value)| match filled_in(value.get_ref(), &read) {
                Ok(item) => Some(item),
                Err(refused) => {
                    let name = format!("{}[{position}]", self.name(key));
                    faults.note(Some(name), Some(value.span()), refused);
                    None
                }
            })
            .collect();
        read.into_iter().collect()
    }

    fn items(
        &mut self,
        faults: &mut Faults<'_>,
        key: &'static str,
        most: usize,
    ) -> Option<&'a [Spanned<DeValue<'t>>]> {
        let Some(value) = self.ask(key) else {
            return Some(&[]);
        };
        let refused = match value.get_ref().as_array() {
            Some(items) if items.len() <= most => return Some(items),
            Some(_) => Refused::value(format!("it has more than {most} items"), "shorten it"),
            None => Refused::kind(value.get_ref(), "a list"),
        };
        faults.note(Some(self.name(key)), Some(value.span()), refused);
        None
    }

    /// The table `key`, if it is there.
    pub(super) fn section(
        &mut self,
        faults: &mut Faults<'_>,
        key: &'static str,
    ) -> Option<Section<'a, 't>> {
        let value = self.ask(key)?;
        Self::open(faults, value, self.name(key))
    }

    /// The tables of the list `key`, and whether that is all of it. Absent is empty.
    pub(super) fn sections(
        &mut self,
        faults: &mut Faults<'_>,
        key: &'static str,
        most: usize,
    ) -> (Vec<Section<'a, 't>>, bool) {
        let Some(items) = self.items(faults, key, most) else {
            return (Vec::new(), false);
        };
        let mut sections = Vec::with_capacity(items.len());
        for (position, value) in items.iter().enumerate() {
            let path = format!("{}[{position}]", self.name(key));
            sections.extend(Self::open(faults, value, path));
        }
        let whole = sections.len() == items.len();
        (sections, whole)
    }

    fn open(
        faults: &mut Faults<'_>,
        value: &'a Spanned<DeValue<'t>>,
        path: String,
    ) -> Option<Section<'a, 't>> {
        let Some(table) = value.get_ref().as_table() else {
            let refused = Refused::kind(value.get_ref(), "a table");
            faults.note(Some(path), Some(value.span()), refused);
            return None;
        };
        Some(Section { table, path, span: Some(value.span()), asked: BTreeSet::new() })
    }

    /// Notes every field that was not asked for.
    pub(super) fn finish(self, faults: &mut Faults<'_>) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if !self.asked.contains(name) {
                let known: Vec<&str> = self.asked.iter().copied().collect();
                let refused = Refused {
                    rule: Rule::FieldUnknown,
                    problem: "no such field is known".to_owned(),
                    remedy: format!(
                        "remove it or correct its name; known are {}",
                        known.join(", ")
                    ),
                };
                faults.note(Some(self.name(name)), Some(key.span()), refused);
            }
        }
    }
}

/// Reads a value unless the scaffold's marker is still there, whatever kind it should be of.
fn filled_in<T>(value: &DeValue<'_>, read: impl FnOnce(&DeValue<'_>) -> Read<T>) -> Read<T> {
    if value.as_str().is_some_and(|text| text.contains(PLACEHOLDER)) {
        return Err(placeholder());
    }
    read(value)
}

fn placeholder() -> Refused {
    let (rule, remedy) = prose_finding(&ProseFault::Placeholder);
    Refused::rule(rule, ProseFault::Placeholder.to_string(), remedy)
}

fn refuse_placeholders(faults: &mut Faults<'_>, name: &str, value: &Spanned<DeValue<'_>>) {
    match value.get_ref() {
        DeValue::String(text) if text.contains(PLACEHOLDER) => {
            faults.note(Some(name.to_owned()), Some(value.span()), placeholder());
        }
        DeValue::Array(items) => {
            for (position, item) in items.iter().enumerate() {
                refuse_placeholders(faults, &format!("{name}[{position}]"), item);
            }
        }
        DeValue::Table(table) => {
            for (key, item) in table {
                refuse_placeholders(faults, &format!("{name}.{}", key.get_ref()), item);
            }
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => {}
    }
}
