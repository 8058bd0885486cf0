//! Rehearsals of a release, as people and programs are told of them.

use cutover_shared::case::{Case, Verified};
use cutover_shared::name::Name;
use cutover_shared::statement::{Rehearsal, Rehearsed};
use cutover_shared::time::{Time, span};
use serde::Serialize;

/// One rehearsal.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RehearsalReport {
    by: Vec<Name>,
    at: Time,
    passed: bool,
    /// How long it took there and back, or where it failed and why.
    detail: String,
}

impl RehearsalReport {
    fn of(rehearsal: &Verified<Rehearsal>) -> Self {
        let (passed, detail) = match &rehearsal.says().result {
            Rehearsed::Passed { applied_in, returned_in } => {
                let [there, back] = [applied_in, returned_in].map(|it| span::format(*it));
                (true, format!("applied in {there}, taken back in {back}"))
            }
            Rehearsed::Failed { step, reason } => (false, format!("{step}: {reason}")),
        };
        let by = rehearsal.owners().into_iter().cloned().collect();
        Self { by, at: rehearsal.header().issued, passed, detail }
    }

    /// A line.
    pub(super) fn text(&self) -> String {
        let by: Vec<&str> = self.by.iter().map(Name::as_str).collect();
        let word = if self.passed { "passed" } else { "failed" };
        format!("{word}, {}, {}: {}", by.join(", "), self.at, self.detail)
    }
}

/// All of them, in the order of the log.
pub(super) fn rehearsals(case: &Case) -> Vec<RehearsalReport> {
    case.rehearsals.iter().map(RehearsalReport::of).collect()
}
