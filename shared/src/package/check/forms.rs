//! The forms: which ones are needed, and that what they list and what is in the package are the same.
//!
//! Of a COT-F052 this reads what a machine can hold against the package: its schema and its items'
//! `action`, `source` and `digest`. The other fields are for people, who find them as they were
//! written; the scaffold's marker is refused wherever it is.

use std::collections::BTreeSet;

use super::is_covered;
use crate::digest::{Digest, NotADigest};
use crate::package::fields::{Faults, Refused, Section, one_of, text};
use crate::package::finding::{Finding, Rule};
use crate::package::listing::{FORMS, ItemKind, Listing, PAYLOAD};
use crate::package::manifest::{Manifest, Target};
use crate::package::path::is_within;

/// The form that hosts need: Application Code Movement Form for Distributed Systems.
pub const F052: &str = "forms/cot-f052.toml";

/// Its schema and version.
pub const F052_SCHEMA: &str = "cot-f052/1";

/// The most items: one a file for the largest release that is listed file by file.
const MAX_ITEMS: usize = 10_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Add,
    Replace,
    Delete,
    Run,
    Config,
}

const ACTIONS: [(&str, Action); 5] = [
    ("add", Action::Add),
    ("replace", Action::Replace),
    ("delete", Action::Delete),
    ("run", Action::Run),
    ("config", Action::Config),
];

pub(super) fn check(listing: &Listing, manifest: Option<&Manifest>, findings: &mut Vec<Finding>) {
    // While the manifest cannot be read, the only kind of target there is, is taken for granted.
    let for_hosts = manifest.is_none_or(|manifest| manifest.targets.contains(&Target::Hosts));
    if for_hosts && listing.find(F052).is_none() {
        findings.push(Finding::of_file(
            F052,
            Rule::Form,
            "releases for hosts need this form",
            "add it; `cutover package new` writes one to start from",
        ));
    }
    let mut sources = BTreeSet::new();
    for (path, item) in listing.items() {
        if is_within(path, FORMS) && item.file().is_some() && super::has_toml_suffix(path) {
            match listing.text(path) {
                Ok(text) => check_form(listing, path, text, &mut sources, findings),
                Err(finding) => findings.push(finding),
            }
        }
    }
    for (path, item) in listing.items() {
        let installed = is_within(path, PAYLOAD) && path != PAYLOAD;
        if installed && item.kind != ItemKind::Directory && !is_covered(&sources, path) {
            findings.push(Finding::of_file(
                path,
                Rule::PayloadNotNamed,
                "no item of a form names it",
                "add an [[item]] with it, or with a directory that it is in, as source",
            ));
        }
    }
}

fn check_form(
    listing: &Listing,
    path: &str,
    source: &str,
    sources: &mut BTreeSet<String>,
    findings: &mut Vec<Finding>,
) {
    let mut faults = Faults::new(path, source);
    if let Some(table) = faults.parse() {
        let mut form = Section::top(&table);
        form.refuse_placeholders(&mut faults);
        let schemas = one_of(&[(F052_SCHEMA, F052)]);
        let place = form.required(&mut faults, "schema", schemas);
        if place.is_some_and(|place| place != path) {
            let problem = format!("this form is looked for in {F052}");
            let refused = Refused::rule(Rule::Form, problem, "move it there");
            form.refuse(&mut faults, "schema", refused);
        }
        check_items(listing, &mut form, sources, &mut faults);
    }
    findings.extend(faults.into_findings());
}

fn check_items(
    listing: &Listing,
    form: &mut Section<'_, '_>,
    sources: &mut BTreeSet<String>,
    faults: &mut Faults<'_>,
) {
    let (items, whole) = form.sections(faults, "item", MAX_ITEMS);
    if items.is_empty() && whole {
        form.missing(faults, "item");
    }
    for mut item in items {
        let action = item.required(faults, "action", one_of(&ACTIONS));
        let source = item.optional(faults, "source", text);
        let digest = item.optional(faults, "digest", |value| {
            let text = text(value)?;
            text.parse().map_err(|error: NotADigest| {
                Refused::value(error.to_string(), "write what `sha256sum` prints")
            })
        });
        let brings = matches!(action, Some(Action::Add | Action::Replace));
        match source {
            Some(source) => {
                check_source(listing, &item, &source, digest, faults);
                sources.insert(source.trim_end_matches('/').to_owned());
            }
            None if brings && !item.has("source") => item.missing(faults, "source"),
            None => {}
        }
    }
}

fn check_source(
    listing: &Listing,
    item: &Section<'_, '_>,
    source: &str,
    digest: Option<Digest>,
    faults: &mut Faults<'_>,
) {
    let mut refuse = |key, problem: String, remedy: &str| {
        item.refuse(faults, key, Refused::rule(Rule::FormItem, problem, remedy));
    };
    let Some(listed) = listing.find(source.trim_end_matches('/')) else {
        let remedy = "write the path in the package, as payload/bin/shop";
        return refuse("source", format!("{source} is not in the package"), remedy);
    };
    match (listed.file(), digest) {
        (Some(file), Some(digest)) if file.digest != digest => {
            let problem = format!("{source} has the digest {}", file.digest);
            refuse("digest", problem, "correct the digest, or bring the file that was meant");
        }
        (None, Some(_)) => {
            let problem = format!("{source} is {} and has no digest", listed.kind_name());
            refuse("digest", problem, "name files one by one where digests are wanted");
        }
        (Some(_) | None, _) => {}
    }
}
