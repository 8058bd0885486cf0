//! Schemas of forms: what is asked, what is printed, and of which releases a form is needed.
//!
//! ```toml
//! form = "agency-x"                 # the form's file is forms/agency-x.toml
//! version = 1
//! title = "Agency X Privacy Statement"
//! about = "One for each release that touches personal data."
//!
//! [required]                        # not written: the form may be there and need not
//! targets = ["hosts"]               # any of these; empty or not written: of whatever target
//! applications = ["accounts"]       # one of these; empty or not written: any
//! change-types = ["normal"]         # one of these; empty or not written: any
//!
//! [[section]]
//! title = "Statement"
//!
//! [[section.field]]
//! name = "personal-data"
//! label = "Personal data"
//! kind = "choice"                   # name explanation choice boolean integer date e-mail phone list source digest
//! choices = ["none-at-all", "internal", "of-citizens"]
//!
//! [[section.field]]
//! name = "officer"
//! label = "Privacy officer"
//! kind = "name"
//! required = false                  # true where nothing is written
//! required-when = [{ field = "personal-data", is = ["internal", "of-citizens"] }]
//!
//! [[section.field]]
//! label = "Effect of not doing it"
//! from = "impact.not-doing"         # not asked: release.toml or the log says it
//! ```
//!
//! The fields of a section are the form's own, or with `table = "x"` those of its table `[x]`, or with
//! `each = "x"` those of each `[[x]]`, of which there is at least one.

use std::collections::BTreeSet;

use super::fact::Fact;
use super::kind::Kind;
use crate::digest::Digest;
use crate::name::Name;
use crate::package::fields::{
    Faults, Read, Refused, Section as Reader, boolean, integer, name, one_of, text,
};
use crate::package::finding::Finding;
use crate::package::manifest::{Manifest, Target};
use crate::statement::ChangeType;

/// The largest schema in bytes.
pub const MAX_SCHEMA: usize = 64 * 1024;

/// The most sections, and the most fields of a section.
const MAX_PARTS: usize = 200;

/// The schema of a form, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    id: Name,
    version: u32,
    title: String,
    about: Option<String>,
    required: Option<Required>,
    sections: Vec<Section>,
    text: String,
}

/// Which releases need the form: those that every condition fits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Required {
    /// One of the release's targets is among these; empty: whatever they are.
    pub targets: Vec<Target>,
    /// The application is one of these; empty: any.
    pub applications: Vec<Name>,
    /// The change type is one of these; empty: any.
    pub change_types: Vec<ChangeType>,
}

/// Fields under one heading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// What it is about, for whoever fills it in.
    pub about: Option<String>,
    /// Where its fields are in the form.
    pub place: Place,
    /// The fields, in the order in which they are asked and printed.
    pub fields: Vec<Field>,
}

/// Where the fields of a section are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Beside `schema`.
    Form,
    /// In this table.
    Table(String),
    /// In each table of this list.
    Each {
        /// The list.
        list: String,
        /// The fields that tell one from another, for whoever compares two forms.
        key: Vec<String>,
    },
}

/// One field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// What people call it.
    pub label: String,
    /// What to write.
    pub help: Option<String>,
    /// Where its answer is from.
    pub answer: Answer,
}

/// Where an answer is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The submitter gives it.
    Asked {
        /// The field's name in the form.
        name: String,
        /// What it can be.
        kind: Kind,
        /// Whether it must be there.
        needed: bool,
        /// It must be there, too, when any of these holds.
        when: Vec<Condition>,
    },
    /// The release or the log says it already.
    Told(Fact),
}

/// A condition on another field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The other field: of the same section, or `release.change-type`.
    pub field: String,
    /// It is one of these; empty: it is there.
    pub is: Vec<String>,
}

/// The only fact that a condition can be about.
pub(super) const CHANGE_TYPE: &str = "release.change-type";

impl Schema {
    /// Reads a schema, or tells everything that is wrong with it; `file` is what the findings call it.
    pub fn parse(file: &str, source: &str) -> Result<Self, Vec<Finding>> {
        let mut faults = Faults::new(file, source);
        if source.len() > MAX_SCHEMA {
            let problem = format!("it has more than {MAX_SCHEMA} bytes");
            faults.note(None, None, Refused::value(problem, "make two forms of it"));
            return Err(faults.into_findings());
        }
        let schema = faults.parse().and_then(|table| {
            let top = Reader::top(&table);
            top.refuse_placeholders(&mut faults);
            schema(&mut faults, top, source)
        });
        if let Some(schema) = &schema {
            check_names(&mut faults, schema);
        }
        let findings = faults.into_findings();
        match schema {
            Some(schema) if findings.is_empty() => Ok(schema),
            _ => Err(findings),
        }
    }

    /// Its id: the form's file is `forms/<id>.toml` or `.json`.
    pub fn id(&self) -> &str {
        self.id.as_str()
    }

    /// The same as a name.
    pub fn form(&self) -> &Name {
        &self.id
    }

    /// Its version, from 1.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What a form's `schema` says: `cot-f052/1`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.id, self.version)
    }

    /// The form's title.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// What it is for.
    pub fn about(&self) -> Option<&str> {
        self.about.as_deref()
    }

    /// Which releases need it; `None`: none of them.
    pub fn required(&self) -> Option<&Required> {
        self.required.as_ref()
    }

    /// Its sections, in order.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The text that it was read from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the text.
    pub fn digest(&self) -> Digest {
        Digest::of(self.text.as_bytes())
    }

    /// Whether a release with this manifest needs the form.
    pub fn is_needed_by(&self, manifest: &Manifest) -> bool {
        self.is_needed_for(&manifest.targets, &manifest.application, manifest.change_type)
    }

    /// Whether a release of this application for these targets needs the form.
    pub fn is_needed_for(
        &self,
        targets: &[Target],
        application: &Name,
        change_type: ChangeType,
    ) -> bool {
        self.required.as_ref().is_some_and(|it| {
            let target = targets.iter().any(|target| it.targets.contains(target));
            (it.targets.is_empty() || target)
                && (it.applications.is_empty() || it.applications.contains(application))
                && (it.change_types.is_empty() || it.change_types.contains(&change_type))
        })
    }

    /// Which releases need it, for people: `releases for hosts`.
    pub fn needed_by(&self) -> String {
        let Some(required) = &self.required else { return "no releases".to_owned() };
        let mut text = String::new();
        let join = |words: Vec<String>| words.join(" or ");
        if !required.change_types.is_empty() {
            text += &join(required.change_types.iter().map(ToString::to_string).collect());
            text += " ";
        }
        text += "releases";
        if !required.applications.is_empty() {
            text += " of ";
            text += &join(required.applications.iter().map(ToString::to_string).collect());
        }
        if !required.targets.is_empty() {
            text += " for ";
            text += &join(required.targets.iter().map(|it| it.name().to_owned()).collect());
        }
        text
    }
}

impl Section {
    /// The fields that the submitter is asked: name, kind, and the field.
    pub fn asked(&self) -> impl Iterator<Item = (&str, &Kind, &Field)> {
        self.fields.iter().filter_map(|field| match &field.answer {
            Answer::Asked { name, kind, .. } => Some((name.as_str(), kind, field)),
            Answer::Told(_) => None,
        })
    }
}

fn schema(faults: &mut Faults<'_>, mut top: Reader<'_, '_>, source: &str) -> Option<Schema> {
    let id = top.required(faults, "form", label);
    let version = top.required(faults, "version", integer(1..=1_000_000));
    let title = top.required(faults, "title", name);
    let about = top.defaulted(faults, "about", |value| name(value).map(Some), None);
    let required = match top.section(faults, "required") {
        Some(section) => required(faults, section).map(Some),
        None => (!top.has("required")).then_some(None),
    };
    let (readers, whole) = top.sections(faults, "section", MAX_PARTS);
    if whole && readers.is_empty() {
        top.missing(faults, "section");
    }
    let read: Vec<Option<Section>> =
        readers.into_iter().map(|reader| section(faults, reader)).collect();
    top.finish(faults);
    let sections: Option<Vec<Section>> = read.into_iter().collect();
    Some(Schema {
        id: id?,
        version: version?,
        title: title?,
        about: about?,
        required: required?,
        sections: sections.filter(|_| whole)?,
        text: source.to_owned(),
    })
}

fn required(faults: &mut Faults<'_>, mut section: Reader<'_, '_>) -> Option<Required> {
    let targets = section.list(faults, "targets", MAX_PARTS, one_of(&Target::WORDS));
    let applications = section.list(faults, "applications", MAX_PARTS, label);
    let change_types = section.list(
        faults,
        "change-types",
        MAX_PARTS,
        one_of(&[
            ("standard", ChangeType::Standard),
            ("normal", ChangeType::Normal),
            ("emergency", ChangeType::Emergency),
        ]),
    );
    section.finish(faults);
    Some(Required { targets: targets?, applications: applications?, change_types: change_types? })
}

fn section(faults: &mut Faults<'_>, mut reader: Reader<'_, '_>) -> Option<Section> {
    let title = reader.required(faults, "title", name);
    let about = reader.defaulted(faults, "about", |value| name(value).map(Some), None);
    let table = reader.defaulted(faults, "table", |value| key(value).map(Some), None);
    let each = reader.defaulted(faults, "each", |value| key(value).map(Some), None);
    let keys = reader.list(faults, "key", MAX_PARTS, key);
    let (readers, whole) = reader.sections(faults, "field", MAX_PARTS);
    if whole && readers.is_empty() {
        reader.missing(faults, "field");
    }
    let read: Vec<Option<Field>> =
        readers.into_iter().map(|reader| field(faults, reader)).collect();
    let place = match (table?, each?) {
        (None, None) => Place::Form,
        (Some(table), None) => Place::Table(table),
        (None, Some(list)) => Place::Each { list, key: keys? },
        (Some(_), Some(_)) => {
            let field = reader.name("table");
            faults.contradiction(&field, "each is there, too", "write one of table and each");
            return None;
        }
    };
    reader.finish(faults);
    let fields: Option<Vec<Field>> = read.into_iter().collect();
    Some(Section { title: title?, about: about?, place, fields: fields.filter(|_| whole)? })
}

fn field(faults: &mut Faults<'_>, mut reader: Reader<'_, '_>) -> Option<Field> {
    let label = reader.required(faults, "label", name);
    let help = reader.defaulted(faults, "help", |value| name(value).map(Some), None);
    let answer = if reader.has("from") {
        reader.required(faults, "from", fact).map(Answer::Told)
    } else {
        asked(faults, &mut reader)
    };
    reader.finish(faults);
    Some(Field { label: label?, help: help?, answer: answer? })
}

fn asked(faults: &mut Faults<'_>, reader: &mut Reader<'_, '_>) -> Option<Answer> {
    let name = reader.required(faults, "name", key);
    let kind = reader.required(faults, "kind", word);
    let needed = reader.defaulted(faults, "required", boolean, true);
    let (readers, whole) = reader.sections(faults, "required-when", MAX_PARTS);
    let read: Vec<Option<Condition>> =
        readers.into_iter().map(|reader| condition(faults, reader)).collect();
    let when: Option<Vec<Condition>> = read.into_iter().collect();
    let kind = match kind? {
        "explanation" => Kind::Explanation,
        "choice" => {
            let words = reader.list(faults, "choices", MAX_PARTS, key)?;
            if words.is_empty() {
                reader.missing(faults, "choices");
                return None;
            }
            Kind::Choice(words)
        }
        "boolean" => Kind::Boolean,
        "integer" => Kind::Integer,
        "date" => Kind::Date,
        "e-mail" => Kind::EMail,
        "phone" => Kind::Phone,
        "list" => Kind::List,
        "source" => Kind::Source,
        "digest" => {
            Kind::Digest { of: reader.defaulted(faults, "of", |it| key(it).map(Some), None)? }
        }
        _ => Kind::Name,
    };
    Some(Answer::Asked { name: name?, kind, needed: needed?, when: when.filter(|_| whole)? })
}

fn condition(faults: &mut Faults<'_>, mut reader: Reader<'_, '_>) -> Option<Condition> {
    let field = reader.required(faults, "field", text);
    let is = reader.list(faults, "is", MAX_PARTS, text);
    reader.finish(faults);
    Some(Condition { field: field?, is: is? })
}

/// The key of a field, a table or a choice.
fn key(value: &toml::de::DeValue<'_>) -> Read<String> {
    let text = text(value)?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let good = text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.bytes().all(plain);
    if good {
        return Ok(text);
    }
    Err(Refused::value(
        format!("{text:?} is no key"),
        "use small letters, digits and -, at most 64, as target-path",
    ))
}

fn label(value: &toml::de::DeValue<'_>) -> Read<Name> {
    let text = text(value)?;
    text.parse().map_err(|error: crate::name::NotAName| {
        Refused::value(error.to_string(), "choose a name that is safe everywhere")
    })
}

fn word(value: &toml::de::DeValue<'_>) -> Read<&'static str> {
    let text = text(value)?;
    Kind::WORDS.iter().find(|word| **word == text).copied().ok_or_else(|| {
        Refused::value(
            format!("{text:?} is no kind"),
            format!("write one of: {}", Kind::WORDS.join(", ")),
        )
    })
}

fn fact(value: &toml::de::DeValue<'_>) -> Read<Fact> {
    let text = text(value)?;
    Fact::find(&text).ok_or_else(|| {
        let known: Vec<&str> = super::fact::FACTS.iter().map(|(name, _)| *name).collect();
        Refused::value(
            format!("{text:?} is no fact"),
            format!("write one of: {}", known.join(", ")),
        )
    })
}

/// Names are there once, and what conditions, keys and digests name is there.
fn check_names(faults: &mut Faults<'_>, schema: &Schema) {
    let mut top: BTreeSet<&str> = BTreeSet::from(["schema"]);
    for (position, section) in schema.sections.iter().enumerate() {
        let at = |field: &str| format!("section[{position}].{field}");
        let mut own: BTreeSet<&str> = BTreeSet::new();
        match &section.place {
            Place::Form => {}
            Place::Table(place) | Place::Each { list: place, .. } => {
                if !top.insert(place) {
                    let problem = format!("{place:?} is there twice");
                    faults.contradiction(&at("title"), problem, "give each its own name");
                }
            }
        }
        for (name, _, _) in section.asked() {
            let fresh =
                if section.place == Place::Form { top.insert(name) } else { own.insert(name) };
            if !fresh {
                let problem = format!("{name:?} is there twice");
                faults.contradiction(&at("field"), problem, "give each its own name");
            }
        }
        check_references(faults, section, &at("field"));
    }
}

fn check_references(faults: &mut Faults<'_>, section: &Section, at: &str) {
    let names: BTreeSet<&str> = section.asked().map(|(name, _, _)| name).collect();
    let mut named: Vec<&str> = Vec::new();
    if let Place::Each { key, .. } = &section.place {
        named.extend(key.iter().map(String::as_str));
    }
    for field in &section.fields {
        let Answer::Asked { kind, when, .. } = &field.answer else { continue };
        if let Kind::Digest { of: Some(of) } = kind {
            named.push(of);
        }
        named.extend(when.iter().map(|it| it.field.as_str()).filter(|it| *it != CHANGE_TYPE));
    }
    for name in named {
        if !names.contains(name) {
            let problem =
                format!("{name:?}, which another field or the key names, is not asked here");
            faults.contradiction(at, problem, "name a field of the same section");
        }
    }
}
