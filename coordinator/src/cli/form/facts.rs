//! What the log tells of a release, for the parts of a form that nobody fills in.

use std::collections::BTreeSet;

use cutover_shared::case::{Case, Verified};
use cutover_shared::fold::State;
use cutover_shared::name::Name;
use cutover_shared::package::form::fact::{Facts, named};
use cutover_shared::statement::{Event, Judgement, Verdict};
use cutover_shared::time::Time;

use crate::cli::rehearsals::rehearsals;
use crate::cli::tasks;

/// Everything that is known of a release so far; what has not happened is not there.
pub(super) fn of_case(case: &Case) -> Facts {
    let release = case.release.says();
    let mut facts = named([
        ("log.release", case.name()),
        ("log.environments", words(&release.environments)),
        ("log.package", release.package.to_string()),
        ("log.submitted-by", owners(&case.release)),
        ("log.submitted-at", case.release.header().issued.to_string()),
    ]);
    let later = decided(case).into_iter().chain(carried_out(case));
    facts.extend(named(later.filter_map(|(name, text)| Some((name, text?)))));
    facts
}

/// What the log tells besides, for which no form has a field: tasks and rehearsals.
pub(super) fn besides(state: &State, case: &Case, now: Time) -> Vec<(&'static str, String)> {
    let tasks = tasks::told(state, case, now).into_iter().map(|(_, line)| line);
    let rehearsals = rehearsals(case).into_iter().map(|it| it.text());
    let none = || "(none)".to_owned();
    vec![
        ("Tasks", lines(tasks).unwrap_or_else(none)),
        ("Rehearsals", lines(rehearsals).unwrap_or_else(none)),
    ]
}

/// What people decided about it.
fn decided(case: &Case) -> Vec<(&'static str, Option<String>)> {
    let results = case.reviews.iter().map(|it| {
        let verdict = match &it.says().verdict {
            Verdict::Complete => "complete".to_owned(),
            Verdict::Denied { reason } => format!("denied: {reason}"),
            Verdict::Returned { items } => {
                let items: Vec<&str> = items.iter().map(|it| it.item.as_str()).collect();
                format!("returned: {}", items.join(", "))
            }
        };
        said(it, &it.says().environments, &verdict)
    });
    let locations = case
        .deliveries
        .iter()
        .map(|it| format!("{} (by {}, {})", it.says().location, owners(it), issued(it)));
    let assessments = case
        .assessments
        .iter()
        .map(|it| said(it, &it.says().environments, &judgement(&it.says().judgement)));
    let votes = case
        .votes
        .iter()
        .map(|it| said(it, &it.says().environments, &judgement(&it.says().judgement)));
    vec![
        ("log.received", first(case.reviews.iter().map(issued))),
        ("log.checked-by", lines(case.reviews.iter().map(owners).collect::<BTreeSet<_>>())),
        ("log.check-result", lines(results)),
        ("log.staging-location", lines(locations)),
        ("log.assessment", lines(assessments)),
        ("log.board-decision", lines(votes)),
        ("log.board-date", last(case.votes.iter().map(issued))),
        ("log.conditions", lines(case.votes.iter().flat_map(|it| it.says().conditions.clone()))),
    ]
}

/// What was booked, and what hosts made of it.
fn carried_out(case: &Case) -> Vec<(&'static str, Option<String>)> {
    let windows = case.booked().map(|it| {
        let booking = it.booking.says();
        let fate = match (&it.cancelled, &it.released) {
            (Some(_), _) => "cancelled",
            (None, Some(_)) => "released",
            (None, None) => "not released",
        };
        let window = booking.window;
        format!("{}: {} to {}, {fate}", booking.environment, window.start, window.end)
    });
    let outcomes = || case.outcomes().map(Verified::says).filter(|it| acted(&it.event));
    let results = outcomes().map(|it| format!("{}: {}", it.host, result(&it.event)));
    vec![
        ("log.windows", lines(windows)),
        ("log.actual-start", first(outcomes().map(|it| it.started))),
        ("log.actual-end", last(outcomes().map(|it| it.ended))),
        ("log.result", lines(results)),
        ("log.review-reference", case.closed.as_ref().map(|it| it.id().to_string())),
    ]
}

fn issued<T>(statement: &Verified<T>) -> Time {
    statement.header().issued
}

fn owners<T>(statement: &Verified<T>) -> String {
    let owners: Vec<&str> = statement.owners().into_iter().map(Name::as_str).collect();
    owners.join(", ")
}

fn words(names: &BTreeSet<Name>) -> String {
    let names: Vec<&str> = names.iter().map(Name::as_str).collect();
    names.join(", ")
}

fn said<T>(statement: &Verified<T>, environments: &BTreeSet<Name>, what: &str) -> String {
    format!("{}: {what} ({}, {})", words(environments), owners(statement), issued(statement))
}

fn judgement(judgement: &Judgement) -> String {
    match judgement {
        Judgement::Accepted { reason } => format!("accepted: {reason}"),
        Judgement::Denied { reason } => format!("denied: {reason}"),
    }
}

/// Whether a host did something: a refusal and a drift are none of the release's doing.
fn acted(event: &Event) -> bool {
    match event {
        Event::Committed | Event::Returned { .. } | Event::RolledBack | Event::Stuck { .. } => true,
        Event::Refused { .. } | Event::Drifted { .. } => false,
    }
}

fn result(event: &Event) -> String {
    match event {
        Event::Committed => "committed".to_owned(),
        Event::RolledBack => "rolled back".to_owned(),
        Event::Returned { step, reason } => format!("returned at {step}: {reason}"),
        Event::Stuck { .. } => "stuck".to_owned(),
        Event::Refused { .. } => "refused".to_owned(),
        Event::Drifted { .. } => "drifted".to_owned(),
    }
}

fn first(times: impl Iterator<Item = Time>) -> Option<String> {
    times.min().map(|time| time.to_string())
}

fn last(times: impl Iterator<Item = Time>) -> Option<String> {
    times.max().map(|time| time.to_string())
}

fn lines(lines: impl IntoIterator<Item = String>) -> Option<String> {
    let lines: Vec<String> = lines.into_iter().collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}
