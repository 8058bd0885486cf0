//! A runbook's steps, held against the forms: what is moved to a target without an agent is written down
//! there, element by element.

use std::collections::{BTreeMap, BTreeSet};

use crate::package::finding::{Finding, Rule};
use crate::package::form::Form;
use crate::package::listing::FORMS;
use crate::package::manifest::{MANIFEST, Manifest};
use crate::package::path::is_within;

/// The list of what is moved, in the forms of targets without an agent.
const ELEMENTS: &str = "element";

pub(super) fn check(
    manifest: &Manifest,
    forms: &BTreeMap<String, Form>,
    findings: &mut Vec<Finding>,
) {
    // A form with faults of its own is not read, and its elements not known.
    let unread = findings.iter().any(|it| is_within(&it.file, FORMS));
    if manifest.runbook.is_empty() || unread {
        return;
    }
    let known: BTreeSet<String> = forms.values().flat_map(|form| form.keys(ELEMENTS)).collect();
    let mut refuse = |field: String, problem: String, remedy: &str| {
        let finding = Finding::of_file(MANIFEST, Rule::RunbookElement, problem, remedy);
        findings.push(Finding { field: Some(field), ..finding });
    };
    let mut moved = BTreeSet::new();
    for (position, step) in manifest.runbook.iter().enumerate() {
        for (number, element) in step.elements.iter().enumerate() {
            if !known.contains(element) {
                refuse(
                    format!("runbook[{position}].elements[{number}]"),
                    format!("no form has an element {element:?}"),
                    "write it as MEMBER -> DATASET, as the form has it",
                );
            }
            moved.insert(element);
        }
    }
    for element in known.iter().filter(|element| !moved.contains(element)) {
        refuse(
            "runbook".to_owned(),
            format!("no step is about the element {element:?}"),
            "name it in the elements of the step that moves it",
        );
    }
}
