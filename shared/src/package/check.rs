//! Whether a package is complete, as far as a machine can tell. The same check runs at the
//! submitter's, when the package is submitted, and at review; it names every fault at once.
//!
//! Judgement is not its business: whether the documentation is good, and whether the change is wise,
//! is for the librarian, security and the board.

mod runbook;
mod schedule;
mod tree;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::fields::prose_finding;
use super::finding::{Finding, Rule};
use super::form::{self, Catalogue, Form};
use super::listing::{
    FORMS, HOOKS, INSTRUCTIONS, Item, ItemKind, Listing, NOTES, PAYLOAD, is_form,
};
use super::manifest::{MANIFEST, Manifest};
use super::outside;
use super::path::is_within;
use super::prose::{MIN_DOCUMENT_WORDS, ProseFault, check_document};
use crate::statement::FormUsed;

/// The most findings of one rule that are told one by one: nobody reads more, and a package of
/// 200,000 bad names still has an answer of a bounded size.
pub const MAX_FINDINGS_OF_A_RULE: usize = 50;

/// What a package is found to be.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// Everything that is wrong with it, ordered by file, line and field. Empty: complete.
    pub findings: Vec<Finding>,
    /// The manifest, if it keeps every rule.
    pub manifest: Option<Manifest>,
    /// The forms that keep every rule, by the schema's id.
    pub forms: BTreeMap<String, Form>,
}

impl Checked {
    /// Which schemas its forms keep, as a `release` statement says it.
    pub fn forms_used(&self) -> BTreeSet<FormUsed> {
        let used = self.forms.values().map(Form::schema).map(|schema| FormUsed {
            form: schema.form().clone(),
            version: schema.version(),
            digest: schema.digest(),
        });
        used.collect()
    }
}

/// Everything that is wrong with a package, ordered by file, line and field. Empty: complete. The
/// catalogue says which forms are known, and which of them are needed.
pub fn check(listing: &Listing, catalogue: &Catalogue) -> Vec<Finding> {
    examine(listing, catalogue).findings
}

/// The same, with what was read on the way.
pub fn examine(listing: &Listing, catalogue: &Catalogue) -> Checked {
    let mut findings = Vec::new();
    tree::check(listing, &mut findings);
    check_layout(listing, &mut findings);
    let manifest = match listing.manifest() {
        Ok(manifest) => Some(manifest),
        Err(faults) => {
            findings.extend(faults);
            None
        }
    };
    for document in [NOTES, INSTRUCTIONS] {
        check_text(listing, document, &mut findings);
    }
    if let Some(manifest) = &manifest {
        check_hooks(listing, manifest, &mut findings);
        check_shared(listing, manifest, &mut findings);
        schedule::check(manifest, &mut findings);
    }
    let forms = form::read_all(listing, manifest.as_ref(), catalogue, &mut findings);
    check_named(listing, &forms.sources, &mut findings);
    if let Some(manifest) = &manifest {
        runbook::check(manifest, &forms.good, &mut findings);
    }
    Checked { findings: condense(findings), manifest, forms: forms.good }
}

/// Each file of the payload is what some form says is moved.
fn check_named(listing: &Listing, sources: &BTreeSet<String>, findings: &mut Vec<Finding>) {
    for (path, item) in listing.items() {
        let installed = is_within(path, PAYLOAD) && path != PAYLOAD && !is_shared(path, item);
        if installed && item.kind != ItemKind::Directory && !is_covered(sources, path) {
            findings.push(Finding::of_file(
                path,
                Rule::PayloadNotNamed,
                "no item of a form names it",
                "add an item with it, or with a directory that it is in, as source",
            ));
        }
    }
}

/// The top level and `forms/` have what they should and nothing else.
fn check_layout(listing: &Listing, findings: &mut Vec<Finding>) {
    for directory in [FORMS, PAYLOAD, HOOKS] {
        match listing.find(directory) {
            // Hooks are optional.
            None if directory == HOOKS => {}
            None => findings.push(Finding::of_file(
                directory,
                Rule::Missing,
                "it is missing",
                "add the directory; `cutover package new` shows what belongs there",
            )),
            Some(item) if item.kind == ItemKind::Directory => {}
            Some(item) => findings.push(Finding::of_file(
                directory,
                Rule::Missing,
                format!("it is {}, not a directory", item.kind_name()),
                "make it a directory",
            )),
        }
    }
    let known = [MANIFEST, NOTES, INSTRUCTIONS, FORMS, PAYLOAD, HOOKS];
    for (path, item) in listing.items() {
        if !path.contains('/') && !known.contains(&path) {
            findings.push(Finding::of_file(
                path,
                Rule::Unexpected,
                "a package has no such entry",
                "remove it, or move it under payload/ if hosts need it",
            ));
        }
        let in_forms = is_within(path, FORMS) && path != FORMS;
        let form = item.file().is_some() && is_form(path) && path.matches('/').count() == 1;
        if in_forms && !form {
            findings.push(Finding::of_file(
                path,
                Rule::Unexpected,
                "only forms, files that end in .toml or .json, belong here",
                "remove it, or move it under payload/ if hosts need it",
            ));
        }
    }
    let installs =
        listing.items().any(|(path, item)| is_within(path, PAYLOAD) && item.file().is_some());
    if !installs && listing.find(PAYLOAD).is_some() {
        findings.push(Finding::of_file(
            PAYLOAD,
            Rule::PayloadEmpty,
            "there is no file in it",
            "put what is to be installed into it",
        ));
    }
}

fn check_text(listing: &Listing, path: &str, findings: &mut Vec<Finding>) {
    let text = match listing.text(path) {
        Ok(text) => text,
        Err(finding) => return findings.push(finding),
    };
    if let Err(fault) = check_document(text) {
        let (rule, remedy) = prose_finding(&fault);
        let problem = match fault {
            ProseFault::TooShort => {
                format!("{fault}: {MIN_DOCUMENT_WORDS} words besides headings are the least")
            }
            ProseFault::Empty
            | ProseFault::NonAnswer(_)
            | ProseFault::Placeholder
            | ProseFault::TooLong => fault.to_string(),
        };
        findings.push(Finding::of_file(path, rule, problem, remedy));
    }
}

/// What the manifest names is there and can be run; what is there is named.
fn check_hooks(listing: &Listing, manifest: &Manifest, findings: &mut Vec<Finding>) {
    let mut named: BTreeSet<String> = BTreeSet::new();
    let mut refuse = |field: &str, problem: String, remedy: &str| {
        let finding = Finding::of_file(MANIFEST, Rule::HookFile, problem, remedy);
        let field = Some(field.to_owned());
        findings.push(Finding { field, ..finding });
    };
    for (field, path) in manifest.programs() {
        if !path.is_within(HOOKS) {
            continue;
        }
        match listing.find(path.as_str()) {
            None => refuse(
                &field,
                format!("{path} is not in the package"),
                "add it, or correct the name",
            ),
            Some(item) if item.file().is_none() => {
                let problem = format!("{path} is {}, not a file", item.kind_name());
                refuse(&field, problem, "name the program itself");
            }
            Some(item) if item.mode & 0o100 == 0 => {
                let remedy = format!("run `chmod +x {path}`");
                refuse(&field, format!("{path} may not be run"), &remedy);
            }
            Some(_) => {}
        }
        named.insert(path.as_str().to_owned());
    }
    for (position, path) in manifest.hooks.support.iter().enumerate() {
        if listing.find(path.as_str()).is_none() {
            let field = format!("hooks.support[{position}]");
            refuse(&field, format!("{path} is not in the package"), "add it, or correct the name");
        }
        named.insert(path.as_str().to_owned());
    }
    for (path, item) in listing.items() {
        let hook = is_within(path, HOOKS) && path != HOOKS && item.kind != ItemKind::Directory;
        if hook && !is_covered(&named, path) {
            findings.push(Finding::of_file(
                path,
                Rule::HookNotNamed,
                "nothing in release.toml names it",
                "name it in a hook, a check or hooks.support, or remove it",
            ));
        }
    }
}

/// What the manifest shares is a link out of the slot, in a directory of the package, and no other link is one.
fn check_shared(listing: &Listing, manifest: &Manifest, findings: &mut Vec<Finding>) {
    let declared: BTreeSet<String> = manifest.shared.iter().map(outside::place).collect();
    for (position, place) in manifest.shared.iter().map(outside::place).enumerate() {
        let (parent, _) = place.rsplit_once('/').unwrap_or_default();
        let directory = listing.find(parent).is_some_and(|it| it.kind == ItemKind::Directory);
        let item = listing.find(&place);
        let (problem, remedy) = match item {
            _ if !directory => (format!("{parent} is no directory of the package"), "add it"),
            Some(item) if is_shared(&place, item) => continue,
            found => (
                format!("{place} is {} in the package", found.map_or("nothing", Item::kind_name)),
                "let nothing be there: the package gets a link, and hosts make the directory",
            ),
        };
        let finding = Finding::of_file(MANIFEST, Rule::Link, problem, remedy);
        findings.push(Finding { field: Some(format!("shared[{position}]")), ..finding });
    }
    for (path, item) in listing.items() {
        if is_shared(path, item) && !declared.contains(path) {
            findings.push(Finding::of_file(
                path,
                Rule::Link,
                "it leads out of the slot, and release.toml does not share it",
                "name it in shared, or remove it",
            ));
        }
    }
}

fn is_shared(path: &str, item: &Item) -> bool {
    matches!(&item.kind, ItemKind::Link(target) if outside::is_shared(path, target))
}

/// Whether `path` or a directory that it is in is among `named`.
fn is_covered(named: &BTreeSet<String>, path: &str) -> bool {
    let ends = path.match_indices('/').map(|(position, _)| position);
    ends.chain([path.len()]).any(|end| named.contains(&path[..end]))
}

/// In order, each once, and of each rule no more than anybody reads.
fn condense(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort();
    findings.dedup();
    let mut counts: BTreeMap<Rule, usize> = BTreeMap::new();
    findings.retain(|finding| {
        let count = counts.entry(finding.rule).or_default();
        *count += 1;
        *count <= MAX_FINDINGS_OF_A_RULE
    });
    for (rule, count) in counts {
        if let Some(more @ 1..) = count.checked_sub(MAX_FINDINGS_OF_A_RULE) {
            let problem = format!("{more} more faults of the same kind");
            findings.push(Finding::of_file(
                ".",
                rule,
                problem,
                "correct those that are named first",
            ));
        }
    }
    findings
}
