//! What is different between two packages, for whoever has read the first: files, lines of documents,
//! answers of forms, settings of `release.toml`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::check::Checked;
use super::form::Form;
use super::listing::{FORMS, INSTRUCTIONS, ItemKind, Listing, NOTES, is_form};
use super::manifest::MANIFEST;
use super::path::is_within;
use crate::digest::Digest;

/// One thing that is different.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Change {
    /// What kind of thing.
    pub part: Part,
    /// Its name: `payload/bin/shop`, `NOTES.md`, `cot-f052: item[payload -> /srv].action`, `rollback.steps`.
    pub name: String,
    /// What it was; none: it was not there.
    pub before: Option<String>,
    /// What it is; none: it is not there any more.
    pub after: Option<String>,
}

/// Kinds of things that can be different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// A setting of `release.toml`.
    Setting,
    /// Lines of a document.
    Document,
    /// An answer of a form.
    FormItem,
    /// A file, directory or link: permission bits, bytes and digest.
    File,
}

/// One of two packages that are compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Side {
    settings: BTreeMap<String, String>,
    documents: BTreeMap<String, String>,
    answers: BTreeMap<String, String>,
    files: BTreeMap<String, (Option<Digest>, String)>,
}

impl Change {
    /// Whether it is a change of what a librarian named: the thing itself, or a part of it.
    pub fn is_about(&self, item: &str) -> bool {
        let item = item.trim();
        let own = match self.part {
            Part::Setting => item == MANIFEST,
            Part::FormItem => {
                let form = self.name.split_once(": ").map_or("", |(form, _)| form);
                let file = item.strip_prefix(FORMS).unwrap_or(item).trim_start_matches('/');
                let file =
                    file.strip_suffix(".toml").or(file.strip_suffix(".json")).unwrap_or(file);
                file == form
                    || self.name.strip_prefix(form).is_some_and(|rest| {
                        rest.strip_prefix(": ").is_some_and(|answer| begins(answer, item))
                    })
            }
            Part::Document | Part::File => false,
        };
        own || begins(&self.name, item)
    }
}

/// Whether `name` is `item` or a part of it.
fn begins(name: &str, item: &str) -> bool {
    let rest = name.strip_prefix(item.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[', '/', ':']))
}

impl Side {
    /// A package, and what it was found to be.
    pub fn new(listing: &Listing, checked: &Checked) -> Self {
        let mut side = Self::default();
        if let Some(manifest) = &checked.manifest {
            let manifest = serde_json::to_value(manifest).expect("a manifest is JSON");
            flatten(&mut side.settings, "", &manifest);
        }
        for form in checked.forms.values() {
            side.answers.extend(answers(form));
        }
        for (path, item) in listing.items() {
            if [NOTES, INSTRUCTIONS].contains(&path)
                && let Ok(text) = listing.text(path)
            {
                side.documents.insert(path.to_owned(), text.to_owned());
                continue;
            }
            // What was read is told answer by answer, and setting by setting.
            let read = (path == MANIFEST && checked.manifest.is_some())
                || (is_within(path, FORMS)
                    && is_form(path)
                    && checked.forms.contains_key(super::form::id_of(path)));
            if read {
                continue;
            }
            let mode = item.mode & 0o777;
            let file = match &item.kind {
                ItemKind::File(file) => {
                    let text = format!("{mode:o}, {} bytes, {}", file.size, file.digest.short());
                    (Some(file.digest), text)
                }
                ItemKind::Directory => (None, "directory".to_owned()),
                ItemKind::Link(target) => (None, format!("link to {target}")),
                ItemKind::Special(what) => (None, (*what).to_owned()),
                ItemKind::NotUtf8 => (None, "not UTF-8".to_owned()),
            };
            side.files.insert(path.to_owned(), file);
        }
        side
    }
}

/// The answers of a form under names that do not depend on the order of its lines.
fn answers(form: &Form) -> Vec<(String, String)> {
    let id = form.schema().id();
    let mut answers = vec![(format!("{id}: schema"), form.schema().name())];
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for section in form.schema().sections() {
        for place in form.places(section) {
            let mut line = form.line_name(section, &place);
            // Two lines with the same key are told apart by their order.
            let count = seen.entry(line.clone()).or_default();
            *count += 1;
            if *count > 1 && !line.is_empty() {
                line = format!("{line}#{count}");
            }
            for (name, _, _) in section.asked() {
                if let Some(answer) = form.answer(&place, name) {
                    let dot = if line.is_empty() { "" } else { "." };
                    answers.push((format!("{id}: {line}{dot}{name}"), answer.to_owned()));
                }
            }
        }
    }
    answers
}

/// Every value of a document by its path. Tables in a list that have a name go by it.
fn flatten(into: &mut BTreeMap<String, String>, at: &str, value: &Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                flatten(into, &at, value);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (position, item) in items.iter().enumerate() {
                let name = item.get("name").and_then(Value::as_str);
                let key = name.map_or_else(|| position.to_string(), str::to_owned);
                flatten(into, &format!("{at}[{key}]"), item);
            }
        }
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) => {
            let lines: Vec<String> = items.iter().map(scalar).collect();
            into.insert(at.to_owned(), lines.join("\n"));
        }
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            into.insert(at.to_owned(), scalar(value));
        }
    }
}

fn scalar(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Everything that is different, by kind and name. Of a document only the lines from the first to the
/// last that differ are told.
pub fn difference(before: &Side, after: &Side) -> Vec<Change> {
    let mut changes = Vec::new();
    changed(&mut changes, Part::Setting, &before.settings, &after.settings, Clone::clone);
    changed(&mut changes, Part::FormItem, &before.answers, &after.answers, Clone::clone);
    changed(&mut changes, Part::File, &before.files, &after.files, |(_, text)| text.clone());
    for name in keys(&before.documents, &after.documents) {
        let [old, new] = [&before.documents, &after.documents].map(|it| it.get(name));
        if old != new {
            let [before, after] = lines(old.map(String::as_str), new.map(String::as_str));
            changes.push(Change { part: Part::Document, name: name.clone(), before, after });
        }
    }
    changes.sort();
    changes
}

fn keys<'m, T>(
    before: &'m BTreeMap<String, T>,
    after: &'m BTreeMap<String, T>,
) -> BTreeSet<&'m String> {
    before.keys().chain(after.keys()).collect()
}

fn changed<T: PartialEq>(
    changes: &mut Vec<Change>,
    part: Part,
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
    text: impl Fn(&T) -> String,
) {
    for name in keys(before, after) {
        let [old, new] = [before.get(name), after.get(name)];
        if old != new {
            let [before, after] = [old.map(&text), new.map(&text)];
            changes.push(Change { part, name: name.clone(), before, after });
        }
    }
}

/// The lines of both from the first that differs to the last.
fn lines(before: Option<&str>, after: Option<&str>) -> [Option<String>; 2] {
    let (Some(before), Some(after)) = (before, after) else {
        return [before.map(str::to_owned), after.map(str::to_owned)];
    };
    let [old, new]: [Vec<&str>; 2] = [before, after].map(|text| text.lines().collect());
    let start = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let rest = old.len().min(new.len()) - start;
    let end = old.iter().rev().zip(new.iter().rev());
    let end = end.take(rest).take_while(|(old, new)| old == new).count();
    [&old[start..old.len() - end], &new[start..new.len() - end]]
        .map(|lines| (!lines.is_empty()).then(|| lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::check::examine;
    use crate::package::form::Catalogue;
    use crate::package::listing::{Item, ListedFile};

    const MANIFEST_TEXT: &str = include_str!("manifest/example.toml");
    const F052: &str = include_str!("form/examples/cot-f052.toml");

    fn side(files: &[(&str, &str)]) -> Side {
        let mut listing = Listing::new();
        for (path, content) in files {
            let kind = ItemKind::File(ListedFile {
                size: content.len() as u64,
                digest: Digest::of(content.as_bytes()),
                document: Some(content.as_bytes().to_vec()),
            });
            listing.add(path, Item { kind, mode: 0o644, privileges: Vec::new() });
        }
        listing.add(
            "payload",
            Item { kind: ItemKind::Directory, mode: 0o755, privileges: Vec::new() },
        );
        Side::new(&listing, &examine(&listing, &Catalogue::shipped()))
    }

    fn change(part: Part, name: &str, before: Option<&str>, after: Option<&str>) -> Change {
        let [before, after] = [before, after].map(|text| text.map(str::to_owned));
        Change { part, name: name.to_owned(), before, after }
    }

    #[test]
    fn everything_that_differs_is_told_by_its_name() {
        let notes = "# Notes\n\nOne.\nTwo.\nThree.\n";
        let before = side(&[
            ("release.toml", MANIFEST_TEXT),
            ("NOTES.md", notes),
            ("forms/cot-f052.toml", F052),
            ("payload/a", "a"),
            ("payload/b", "b"),
        ]);
        assert_eq!(difference(&before, &before), []);

        let item = &F052[F052.find("[[item]]").unwrap()..];
        let inserted = item.replace("source = \"payload\"", "source = \"payload/c\"");
        let form = F052
            .replace("SR-1001", "SR-1002")
            .replace("[[item]]", &format!("{inserted}\n[[item]]"));
        let after = side(&[
            ("release.toml", &MANIFEST_TEXT.replacen("minutes = 5", "minutes = 7", 1)),
            ("NOTES.md", &notes.replace("Two.", "2.\n2b.")),
            ("forms/cot-f052.toml", &form),
            ("payload/a", "A"),
            ("payload/c", "c"),
        ]);
        let changes = difference(&before, &after);
        let kept: Vec<&Change> = changes
            .iter()
            .filter(|it| !it.name.starts_with("cot-f052: item[payload/c -> /srv/shop]."))
            .collect();
        let [a, big, b, c] = ["a", "A", "b", "c"]
            .map(|text| format!("644, 1 bytes, {}", Digest::of(text.as_bytes()).short()));
        assert_eq!(
            kept,
            [
                &change(Part::Setting, "rollback.minutes", Some("5"), Some("7")),
                &change(Part::Document, "NOTES.md", Some("Two."), Some("2.\n2b.")),
                &change(
                    Part::FormItem,
                    "cot-f052: service-request",
                    Some("SR-1001"),
                    Some("SR-1002")
                ),
                &change(Part::File, "payload/a", Some(&a), Some(&big)),
                &change(Part::File, "payload/b", Some(&b), None),
                &change(Part::File, "payload/c", None, Some(&c)),
            ]
        );
        assert_eq!(
            changes.len() - kept.len(),
            item.lines().filter(|line| line.contains('=')).count(),
            "the line that was put in is told, and the one behind it is not"
        );
    }

    #[test]
    fn what_cannot_be_read_is_compared_as_a_file() {
        let [before, after] =
            ["schema = 1", "schema = 2"].map(|text| side(&[("forms/x.toml", text)]));
        let changes = difference(&before, &after);
        assert_eq!(changes.len(), 1);
        assert_eq!((changes[0].part, changes[0].name.as_str()), (Part::File, "forms/x.toml"));
    }

    #[test]
    fn a_change_is_about_what_the_librarian_named() {
        let of = |part, name: &str, item: &str| change(part, name, None, None).is_about(item);
        assert!(of(Part::Setting, "rollback.steps", "rollback.steps"));
        assert!(of(Part::Setting, "rollback.steps", "rollback"));
        assert!(of(Part::Setting, "rollback.steps", "release.toml"));
        assert!(of(Part::Setting, "health[front-page].url", "health"));
        assert!(!of(Part::Setting, "rollback.steps", "roll"));
        assert!(!of(Part::Setting, "rollback.steps", "impact"));
        let answer = "cot-f052: item[payload -> /srv].action";
        for item in
            ["cot-f052", "forms/cot-f052.toml", answer, "item", "cot-f052: item[payload -> /srv]"]
        {
            assert!(of(Part::FormItem, answer, item), "{item}");
        }
        assert!(!of(Part::FormItem, answer, "cot-f053"));
        assert!(!of(Part::FormItem, answer, "agency"));
        assert!(of(Part::File, "payload/bin/shop", "payload/bin"));
        assert!(of(Part::Document, "NOTES.md", "NOTES.md"));
        assert!(!of(Part::Document, "NOTES.md", "INSTRUCTIONS.md"));
    }
}
