//! Forms: what a change is described with for people, by schemas that are data.
//!
//! A [`schema`] is a TOML document: sections of fields, each asked of the submitter or taken from what the
//! release or the log says already. Two are shipped; an operator puts others beside them, and nothing has
//! to be built anew. A [`Catalogue`] is the schemas that are known, and which of them a release needs. A
//! form is TOML or JSON; [`read`] holds it against its schema and the package, and tells every
//! fault at once.
//!
//! ```text
//! schema text ── Schema ──┐
//! form text ── document ──┴─ Form: answers by field ── page, difference
//! ```
//!
//! A schema that was used never changes: its name has a version, and a `release` statement names it with
//! the SHA-256 of its text ([`FormUsed`](crate::statement::FormUsed)). A changed text is a new version.

mod catalogue;
mod document;
pub mod fact;
mod fill;
mod kind;
pub mod schema;
mod template;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use catalogue::{Catalogue, CatalogueError, MAX_SCHEMAS};
pub use fill::{Filled, Form, read};
pub use kind::Kind;
pub use schema::{MAX_SCHEMA, Schema};
pub use template::{Notation, template};

use super::finding::{Finding, Rule};
use super::listing::{FORMS, Listing, is_form};
use super::manifest::Manifest;
use super::path::is_within;

/// The forms of a package, as far as they can be read.
#[derive(Debug, Default)]
pub struct Forms {
    /// Those that keep every rule, by the schema's id.
    pub good: BTreeMap<String, Form>,
    /// Paths in the package that their items name.
    pub sources: BTreeSet<String>,
}

/// Reads every form of a package, and tells what is wrong with them and which are missing. Without a
/// manifest, which forms are needed is not known.
pub fn read_all(
    listing: &Listing,
    manifest: Option<&Manifest>,
    catalogue: &Catalogue,
    findings: &mut Vec<Finding>,
) -> Forms {
    let mut forms = Forms::default();
    let mut present = BTreeSet::new();
    for (path, item) in listing.items() {
        if !is_within(path, FORMS) || item.file().is_none() || !is_form(path) {
            continue;
        }
        let id = id_of(path).to_owned();
        if !present.insert(id.clone()) {
            let remedy = "remove one of the two";
            let problem = "the same form is there as TOML and as JSON";
            findings.push(Finding::of_file(path, Rule::Form, problem, remedy));
        }
        let filled = match listing.text(path) {
            Ok(text) => read(path, text, catalogue, listing, manifest),
            Err(finding) => {
                findings.push(finding);
                continue;
            }
        };
        forms.sources.extend(filled.sources);
        match filled.form {
            Ok(form) => {
                forms.good.insert(id, form);
            }
            Err(faults) => findings.extend(faults),
        }
    }
    if manifest.is_none() && present.is_empty() && listing.find(FORMS).is_some() {
        let problem = "there is no form in it";
        let remedy = "`cutover form list` tells which releases need which";
        findings.push(Finding::of_file(FORMS, Rule::Form, problem, remedy));
    }
    for schema in manifest.into_iter().flat_map(|manifest| catalogue.required(manifest)) {
        if !present.contains(schema.id()) {
            findings.push(Finding::of_file(
                &format!("{FORMS}/{}.toml", schema.id()),
                Rule::Form,
                format!("{} need this form: {}", schema.needed_by(), schema.title()),
                &format!(
                    "run `cutover form new {}` and fill it in; a .json file will do, too",
                    schema.id()
                ),
            ));
        }
    }
    forms
}

/// The id that a form's path says: `forms/cot-f052.toml` is `cot-f052`.
pub(super) fn id_of(path: &str) -> &str {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}
