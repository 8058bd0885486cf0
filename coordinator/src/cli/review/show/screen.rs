//! The screen of `cutover review show`.

use std::fmt::Write as _;

use cutover_shared::fold::waiting::Side;
use cutover_shared::package::manifest::Manifest;
use cutover_shared::package::runbook::RunbookStep;

use super::{Requested, Shown, ShownForm};
use crate::cli::compared::{heading, shortened};
use crate::cli::output::table;
use crate::cli::step::{done_by, undone_by};

/// The column in which texts begin.
const COLUMN: usize = 18;

/// Everything, under headings.
pub(super) fn text(shown: &Shown, full: bool) -> String {
    let mut text = String::new();
    let (release, application, version) = (&shown.release, &shown.application, &shown.version);
    let _ = writeln!(text, "{release}  {application} {version}: {}", shown.summary);
    row(&mut text, "submitted", &format!("{} by {}", shown.submitted, shown.submitter.join(", ")));
    row(&mut text, "change", &format!("{} for {}", shown.change, shown.environments.join(", ")));
    row(&mut text, "waiting", &waiting(shown));
    heading(&mut text, "MACHINE CHECK");
    check(&mut text, shown);
    heading(&mut text, "NOTES.md");
    document(&mut text, &shown.notes, full);
    heading(&mut text, "INSTRUCTIONS.md");
    document(&mut text, &shown.instructions, full);
    if let Some(manifest) = &shown.manifest {
        settings(&mut text, manifest, shown.requested.as_ref());
        runbook(&mut text, &manifest.runbook);
    }
    for form in &shown.forms {
        heading(&mut text, &format!("{} ({})", form.title, form.schema));
        answers(&mut text, form);
    }
    match &shown.compared {
        Some(compared) => text.push_str(&compared.text(full)),
        None => heading(&mut text, "DIFFERENCE: there is no earlier submission"),
    }
    heading(&mut text, "NEXT");
    let number = release.split(' ').next().unwrap_or(release);
    let _ = writeln!(text, "  cutover review {number} --complete");
    let _ = write!(text, "  cutover review {number} --return 'ITEM=what is to be mended'");
    text
}

fn row(text: &mut String, name: &str, value: &str) {
    // Lines of a longer text stand below each other.
    let value = value.replace('\n', &format!("\n{:width$}", "", width = COLUMN + 3));
    let _ = writeln!(text, "  {name:COLUMN$} {value}");
}

fn waiting(shown: &Shown) -> String {
    let waits = &shown.waits;
    let now = match waits.now {
        Some(Side::Librarian) => "for the librarian now",
        Some(Side::Submitter) => "for the submitter now",
        None => "for no review",
    };
    format!(
        "{now}; so far {} for the librarian, {} for the submitter",
        waits.librarian, waits.submitter
    )
}

fn check(text: &mut String, shown: &Shown) {
    if shown.complete {
        text.push_str("  nothing is missing\n");
        return;
    }
    let mut table = table(["where", "field", "what is wrong", "what to do"]);
    for it in &shown.findings {
        let field = it.field.as_deref().unwrap_or_default();
        table.add_row([it.file.as_str(), field, it.problem.as_str(), it.remedy.as_str()]);
    }
    let _ = writeln!(text, "{table}");
}

fn document(text: &mut String, document: &str, full: bool) {
    for line in shortened(document, full) {
        let _ = writeln!(text, "  {line}");
    }
}

/// The steps, each with its way back.
fn runbook(text: &mut String, steps: &[RunbookStep]) {
    if !steps.is_empty() {
        heading(text, "RUNBOOK");
    }
    for step in steps {
        row(text, step.name.as_str(), &format!("by {}: {}", step.by, done_by(step)));
        row(text, "  back", &undone_by(step));
    }
}

fn settings(text: &mut String, manifest: &Manifest, requested: Option<&Requested>) {
    let Manifest { impact, rollback, schedule, .. } = manifest;
    heading(text, "IMPACT");
    row(text, "systems", &impact.systems.join(", "));
    row(text, "users", &impact.users);
    row(text, "outage", &format!("{} minutes", impact.outage_minutes));
    row(text, "worst case", &impact.worst_case);
    row(text, "not doing it", &impact.not_doing);
    heading(text, "ROLLBACK");
    if rollback.irreversible {
        row(text, "IRREVERSIBLE", "there is no way back: board and security must approve");
    }
    row(text, "strategy", &rollback.strategy);
    row(text, "steps", &rollback.steps.join("\n"));
    row(text, "trigger", &rollback.trigger);
    row(text, "takes", &format!("{} minutes", rollback.minutes));
    row(text, "owner", &rollback.owner);
    row(text, "data loss", &rollback.data_loss);
    heading(text, "REQUESTED TIME");
    row(text, "written", &format!("{} {} in {}", schedule.start, schedule.extent, schedule.zone));
    if let Some(requested) = requested {
        row(text, "window", &format!("{} to {}", requested.start, requested.end));
        let late = if requested.late { ": IT IS PAST" } else { "" };
        if let Some(latest) = requested.latest {
            row(text, "latest start", &format!("{latest}{late}"));
        }
    }
}

fn answers(text: &mut String, form: &ShownForm) {
    for (name, answer) in &form.answers {
        row(text, name, answer);
    }
    for line in &form.lines {
        let mut fields = line.iter();
        let name = fields.next().map_or("", |(_, name)| name.as_str());
        let _ = writeln!(text, "  {name}");
        let said: Vec<String> = fields.map(|(name, answer)| format!("{name}: {answer}")).collect();
        let _ = writeln!(text, "    {}", said.join("; "));
    }
}
