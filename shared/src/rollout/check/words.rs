//! What the log says of each host, read once more and without the planner's eyes.

use std::collections::BTreeMap;

use crate::case::{BookingCase, Case, Reported, Verified};
use crate::fold::State;
use crate::key::KeyId;
use crate::name::Name;
use crate::statement::Event;
use crate::time::Time;

/// The last word of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Committed,
    Failed { stuck: bool },
    TakenBack,
}

/// The last word of each host on the booking; a return of its package by a `rollback` that came after it
/// counts, too.
pub(super) fn words(state: &State, case: &Case, booking: &BookingCase) -> BTreeMap<KeyId, Word> {
    let mut last: BTreeMap<KeyId, (u64, Word)> = BTreeMap::new();
    for outcome in &booking.outcomes {
        let Some(word) = word(&outcome.says().event) else { continue };
        let known = last.entry(outcome.says().host_key).or_insert((outcome.index(), word));
        if known.0 <= outcome.index() {
            *known = (outcome.index(), word);
        }
    }
    let package = case.release.says().package;
    let returns = state.rollbacks_from(&package).flat_map(|rollback| &rollback.outcomes);
    for outcome in returns.filter(|it| it.says().package == package) {
        let Some(word) = word(&outcome.says().event) else { continue };
        if let Some(known) = last.get_mut(&outcome.says().host_key)
            && known.0 < outcome.index()
        {
            *known = (outcome.index(), word);
        }
    }
    last.into_iter().map(|(host, (_, word))| (host, word)).collect()
}

fn word(event: &Event) -> Option<Word> {
    match event {
        Event::Committed => Some(Word::Committed),
        Event::Returned { .. } => Some(Word::Failed { stuck: false }),
        Event::Stuck { .. } => Some(Word::Failed { stuck: true }),
        Event::RolledBack => Some(Word::TakenBack),
        Event::Refused { .. } | Event::Drifted { .. } => None,
    }
}

pub(super) fn commits(booking: &BookingCase) -> impl Iterator<Item = &Reported> {
    let outcomes = booking.outcomes.iter().map(Verified::says);
    outcomes.filter(|it| it.event == Event::Committed)
}

/// By wave: the instant until which the hosts before it must have stayed healthy.
pub(super) fn healthy(booking: &BookingCase) -> BTreeMap<&Name, Time> {
    let plan = &booking.booking.says().plan;
    let mut ended: BTreeMap<KeyId, Time> = BTreeMap::new();
    for commit in commits(booking) {
        let last = ended.entry(commit.host_key).or_insert(commit.ended);
        *last = (*last).max(commit.ended);
    }
    let mut until: Option<Time> = None;
    let mut healthy = BTreeMap::new();
    for wave in &plan.waves {
        healthy.extend(until.map(|until| (&wave.name, until)));
        let newest = wave.hosts.iter().filter_map(|host| ended.get(&host.host_key)).max();
        until = until.max(newest.map(|time| *time + plan.healthy_for));
    }
    healthy
}
