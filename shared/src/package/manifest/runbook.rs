//! Reading `[[runbook]]`, and what its fields say together.

use std::collections::BTreeSet;
use std::time::Duration;

use toml::de::DeValue;

use super::read::{MAX_BUDGET, MAX_ITEMS, MIN_SPAN, optional_part};
use super::values::{hook_path, label};
use super::{Manifest, Target};
use crate::package::fields::{Faults, Read, Refused, Section, duration, explanation, name};
use crate::package::finding::Rule;
use crate::package::runbook::{Deed, Doer, RunbookStep, Undoing};
use crate::statement::Direction;

/// The most steps: more than fit on one page.
const MAX_STEPS: usize = 64;

/// The steps in their order; absent is none.
pub(super) fn steps(
    faults: &mut Faults<'_>,
    top: &mut Section<'_, '_>,
) -> Option<Vec<RunbookStep>> {
    let (sections, whole) = top.sections(faults, "runbook", MAX_STEPS);
    let read: Vec<Option<RunbookStep>> =
        sections.into_iter().map(|section| step(faults, section)).collect();
    let steps: Option<Vec<RunbookStep>> = read.into_iter().collect();
    whole.then_some(steps).flatten()
}

fn step(faults: &mut Faults<'_>, mut section: Section<'_, '_>) -> Option<RunbookStep> {
    let step_name = section.required(faults, "name", label);
    let by = section.required(faults, "by", doer);
    let deed = deed(faults, &mut section);
    let elements = section.list(faults, "elements", MAX_ITEMS, name);
    let undo = undoing(faults, &mut section);
    section.finish(faults);
    Some(RunbookStep { name: step_name?, by: by?, deed: deed?, elements: elements?, undo: undo? })
}

fn doer(value: &DeValue<'_>) -> Read<Doer> {
    let text = name(value)?;
    Doer::parse(&text).map_err(|error| {
        let remedy = "write gateway, operator, or the name of a department of the policy";
        Refused::value(error.to_string(), remedy)
    })
}

fn deed(faults: &mut Faults<'_>, section: &mut Section<'_, '_>) -> Option<Deed> {
    let what = section.required(faults, "what", explanation);
    let command = section.defaulted(faults, "command", |value| hook_path(value).map(Some), None);
    let timeout = section.required(faults, "timeout", duration(MIN_SPAN..=MAX_BUDGET));
    Some(Deed { what: what?, command: command?, timeout: timeout? })
}

/// One of `undo` and `no-undo`: that there is no way back of a step is said, and never left out.
fn undoing(faults: &mut Faults<'_>, section: &mut Section<'_, '_>) -> Option<Undoing> {
    let undo = optional_part(faults, section, "undo", |faults, mut section| {
        let deed = deed(faults, &mut section);
        section.finish(faults);
        deed
    });
    let nothing = section.optional(faults, "no-undo", explanation);
    match (section.has("undo"), section.has("no-undo")) {
        (true, true) => {
            faults.contradiction(
                &section.name("no-undo"),
                "undo is there, too",
                "write one of the two: how it is taken back, or why there is nothing to take back",
            );
            None
        }
        (true, false) => undo.ok().flatten().map(Undoing::Deed),
        (false, true) => nothing.map(Undoing::Nothing),
        (false, false) => {
            section.missing(faults, "undo");
            None
        }
    }
}

/// What the fields of a runbook say together, and with the rest of the manifest.
pub(super) fn check(faults: &mut Faults<'_>, manifest: &Manifest) {
    if manifest.runbook.is_empty() && manifest.targets.contains(&Target::Zseries) {
        let refused = Refused::rule(
            Rule::FieldMissing,
            "it is missing, and zSeries systems have no agent",
            "add the steps of the cutover as [[runbook]], which a gateway host carries out",
        );
        faults.note(Some("runbook".to_owned()), None, refused);
    }
    let mut names = BTreeSet::new();
    for (position, step) in manifest.runbook.iter().enumerate() {
        if !names.insert(&step.name) {
            faults.contradiction(
                &format!("runbook[{position}].name"),
                format!("{} is the name of two steps", step.name),
                "give each step its own name",
            );
        }
        check_commands(faults, position, step);
    }
    let last = |direction| {
        let deeds = manifest.runbook.iter().filter_map(|step| step.deed(direction));
        deeds.map(|deed| deed.timeout).sum::<Duration>()
    };
    // The rest of the budget is for the checks.
    let checks = manifest.health_policy.deadline + manifest.health_policy.bake;
    for (field, budget, needed) in [
        ("apply-budget", manifest.apply_budget, last(Direction::Forward) + checks),
        ("rollback-reserve", manifest.rollback_reserve, last(Direction::Back)),
    ] {
        if !manifest.runbook.is_empty() && needed > budget {
            faults.contradiction(
                field,
                "the runbook's timeouts together are longer",
                "make it as long as all of its steps (and the checks after them) may take",
            );
        }
    }
}

/// The gateway runs commands, people do not.
fn check_commands(faults: &mut Faults<'_>, position: usize, step: &RunbookStep) {
    for (part, deed) in step.deeds() {
        let field = format!("runbook[{position}].{part}command");
        match (&step.by, &deed.command) {
            (Doer::Gateway, None) => faults.contradiction(
                &field,
                "it is missing, and the gateway has nothing else to go by",
                "name the program under hooks/ that does it, or somebody who does it by hand",
            ),
            (Doer::Operator | Doer::Department(_), Some(_)) => faults.contradiction(
                &field,
                format!("nobody would run it: the step is by {}", step.by),
                "remove it, or let the step be by gateway",
            ),
            (Doer::Gateway, Some(_)) | (Doer::Operator | Doer::Department(_), None) => {}
        }
    }
}
