//! What is told although no entry of the log says it: what the clock brings, and what hosts ask people for.
//!
//! Both follow from the log, with the clock or the fleet beside it. What the clock brings has an instant at which
//! it falls due, so that of a span of time it is known what is to be told in it; that instant is part of its
//! deliveries' keys. What a host asks is told while it asks, and known again by what it asks.

use std::time::Duration;

use cutover_shared::case::Case;
use cutover_shared::fold::{Carried, State};
use cutover_shared::key::KeyId;
use cutover_shared::name::Name;
use cutover_shared::package::runbook::{Awaited, RunbookStep};
use cutover_shared::protocol::Fleet;
use cutover_shared::rollout::{LINGER, has_expired, live_bookings};
use cutover_shared::time::Time;

use super::notice::{Notice, What};

/// How often one looks at what hosts ask while they may ask something.
const TICK: Duration = Duration::from_secs(1);

/// Longest wait for an instant: the wall clock may be set while one waits.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Why something is told now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Its entry was logged.
    Entry,
    /// The clock has come to this instant.
    Due(Time),
    /// A host asks for it.
    Asked(Box<Asked>),
}

/// A step of a runbook that a host waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The host.
    pub host: Name,
    /// Its key.
    pub host_key: KeyId,
    /// What it waits for.
    pub awaited: Awaited,
    /// The step, as its runbook has it; none where that cannot be read.
    pub step: Option<RunbookStep>,
}

/// What fell due after `since` and not after `now`: windows that ended before every host had the release, and the
/// end of the policy in force coming nearer. Of several announcements of that only the last is told.
pub fn due(state: &State, since: Time, now: Time) -> Vec<Notice> {
    let ended = state.bookings_ending_after(since);
    let ended = ended.take_while(|(_, booking)| booking.booking.says().window.end <= now);
    let expired = ended.filter(|(case, booking)| has_expired(state, case, booking));
    let mut all: Vec<Notice> = expired
        .map(|(case, booking)| Notice {
            index: booking.booking.index(),
            statement: booking.booking.id(),
            release: Some(case.release.id()),
            what: What::Expired,
            cause: Cause::Due(booking.booking.says().window.end),
        })
        .collect();
    all.extend(policy_due(state, since, now));
    all
}

fn policy_due(state: &State, since: Time, now: Time) -> Option<Notice> {
    let policy = state.policy()?;
    let document = policy.document();
    let days = *document.expiry_due(since, now).last()?;
    Some(Notice {
        index: *state.policy_indexes().get(&document.version)?,
        statement: policy.id(),
        release: None,
        what: What::PolicyExpires,
        cause: Cause::Due(document.expires - Duration::from_hours(days * 24)),
    })
}

/// The steps that hosts wait for, by what they say. `step` reads a step of a release's runbook.
pub fn asked(
    state: &State,
    fleet: &Fleet,
    step: impl Fn(&Case, &Name) -> Option<RunbookStep>,
) -> Vec<Notice> {
    let notices = waits(state, fleet).map(|(host_key, awaited, carried)| {
        let (host, step) = (carried.host.clone(), step(carried.case, &awaited.step));
        Notice {
            index: carried.index,
            statement: carried.order,
            release: Some(carried.case.release.id()),
            what: What::StepAwaited,
            cause: Cause::Asked(Box::new(Asked { host, host_key, awaited, step })),
        }
    });
    notices.collect()
}

/// The packages whose runbooks [`asked`] needs.
pub fn awaited_of<'a>(state: &'a State, fleet: &'a Fleet) -> impl Iterator<Item = &'a Case> {
    waits(state, fleet).map(|(_, _, carried)| carried.case)
}

/// The connected hosts that wait for a person.
fn waits<'a>(
    state: &'a State,
    fleet: &'a Fleet,
) -> impl Iterator<Item = (KeyId, Awaited, Carried<'a>)> {
    let reports = fleet.reports().filter(|(view, _)| view.connected);
    reports.filter_map(|(view, report)| {
        let awaited = Awaited::parse(&report.step)?;
        let carried = state.carried(&report.order?, &view.host_key)?;
        Some((view.host_key, awaited, carried))
    })
}

/// How long until time may bring something to tell; `None` when it cannot.
pub fn next_look(state: &State, now: Time) -> Option<Duration> {
    let begun =
        |order| state.booking(order).is_some_and(|(_, it)| it.booking.says().window.start <= now);
    if live_bookings(state, now).iter().any(begun) || is_returning(state, now) {
        return Some(TICK);
    }
    let ends = state.bookings_ending_after(now).filter(|(_, it)| it.cancelled.is_none());
    let edges = ends
        .map(|(_, it)| it.booking.says().window)
        .map(|window| if now < window.start { window.start } else { window.end });
    let policy = state.policy().and_then(|policy| policy.document().next_expiry_due(now));
    let next = edges.chain(policy).min()?;
    Some(next.since(now).min(LONGEST_WAIT))
}

/// Whether hosts may be on their way back by order.
fn is_returning(state: &State, now: Time) -> bool {
    state.rollbacks_ending_after(now - LINGER).any(|case| {
        let ended = |host: &KeyId| case.outcomes.iter().any(|it| it.says().host_key == *host);
        case.rollback.says().hosts.iter().any(|it| !ended(&it.host_key))
    })
}
