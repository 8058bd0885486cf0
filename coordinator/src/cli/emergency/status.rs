//! Emergencies as a list: each with its iterations, who approved them, and what their hosts did.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use cutover_shared::case::{Case, Verified};
use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::fold::standing::{Lifecycle, release_standing};
use cutover_shared::name::Name;
use cutover_shared::statement::Emergency;
use cutover_shared::time::Time;
use serde::Serialize;

use crate::cli::names;
use crate::cli::output::table;

/// One emergency in the list.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    emergency: String,
    incident: String,
    application: Name,
    environments: Vec<Name>,
    open: bool,
    until: Option<Time>,
    reason: String,
    opened_by: BTreeSet<Name>,
    /// The release whose closure is to carry the post-implementation review that is owed.
    review_owed: Option<String>,
    closed: bool,
    iterations: Vec<IterationRow>,
}

#[derive(Debug, Serialize)]
struct IterationRow {
    release: String,
    number: u32,
    version: String,
    package: Digest,
    submitted_by: BTreeSet<Name>,
    approved: bool,
    approved_by: BTreeSet<Name>,
    state: Lifecycle,
    detail: String,
}

/// The emergencies, or only one, in the order in which they were opened.
pub(super) fn rows(state: &State, only: Option<Digest>, now: Time) -> Vec<Row> {
    let wanted = |it: &&Verified<Emergency>| only.is_none_or(|only| only == it.id());
    let mut emergencies: Vec<_> = state.emergencies().filter(wanted).collect();
    emergencies.sort_by_key(|it| it.index());
    let rows = emergencies.into_iter().filter_map(|opened| {
        let Emergency::Opened { incident, application, environments, reason, .. } = opened.says()
        else {
            return None;
        };
        let grounds = opened.id();
        let iterations = state.cases_of_emergency(&grounds);
        let iterations = iterations.filter_map(|case| iteration(state, case, now)).collect();
        Some(Row {
            emergency: grounds.to_string(),
            incident: incident.clone(),
            application: application.clone(),
            environments: environments.iter().cloned().collect(),
            open: opened.header().covers(now),
            until: opened.header().not_after,
            reason: reason.clone(),
            opened_by: opened.owners().into_iter().cloned().collect(),
            review_owed: state.review_owed(&grounds).map(names::number),
            closed: state.emergency_closure(&grounds).is_some(),
            iterations,
        })
    });
    rows.collect()
}

fn iteration(state: &State, case: &Case, now: Time) -> Option<IterationRow> {
    let release = case.release.says();
    let standing = release_standing(state, case, now);
    let approvers = case.approvals.iter().flat_map(Verified::owners);
    Some(IterationRow {
        release: names::number(case),
        number: release.iteration.as_ref()?.number,
        version: release.version.clone(),
        package: release.package,
        submitted_by: case.release.owners().into_iter().cloned().collect(),
        approved: !case.approvals.is_empty(),
        approved_by: approvers.cloned().collect(),
        state: standing.word,
        detail: standing.detail,
    })
}

pub(super) fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "No emergency was opened.".to_owned();
    }
    let mut table = table(["incident", "application", "environments", "open", "iterations", "why"]);
    for row in rows {
        let mut open = match (row.closed, row.until) {
            (true, _) => "closed".to_owned(),
            (false, Some(until)) if row.open => format!("until {until}"),
            (false, _) => "no longer".to_owned(),
        };
        if let Some(release) = &row.review_owed {
            let _ = write!(open, "\nowes a review: close {release} with one");
        }
        let iterations: Vec<_> = row.iterations.iter().map(IterationRow::text).collect();
        table.add_row([
            row.incident.clone(),
            row.application.to_string(),
            join(&row.environments),
            open,
            iterations.join("\n"),
            format!("{}\nopened by {}", row.reason, join(&row.opened_by)),
        ]);
    }
    table.to_string()
}

impl IterationRow {
    fn text(&self) -> String {
        let approved = if self.approved {
            format!("approved by {}", join(&self.approved_by))
        } else {
            "not approved".to_owned()
        };
        let Self { release, number, version, state, .. } = self;
        format!("{release} (E{number}) {version}: {approved}, {state}")
    }
}

fn join<'n>(names: impl IntoIterator<Item = &'n Name>) -> String {
    names.into_iter().map(Name::as_str).collect::<Vec<_>>().join(" ")
}
