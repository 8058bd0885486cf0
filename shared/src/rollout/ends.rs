//! How the hosts of a booking have ended: the last word of each.

use std::collections::BTreeMap;

use crate::case::{BookingCase, Case, Reported, Verified};
use crate::fold::State;
use crate::key::KeyId;
use crate::statement::Event;

/// The last outcome of each host that tells of an end of this booking, in one pass over what was said.
///
/// A host that was afterwards taken back by a `rollback` statement has ended with that: what counts is the
/// last thing that it said of the booking's package. A return from before the booking says nothing of it.
pub(crate) fn last_ends<'a>(
    state: &'a State,
    case: &Case,
    booking: &'a BookingCase,
) -> BTreeMap<KeyId, &'a Verified<Reported>> {
    let mut ends: BTreeMap<KeyId, &Verified<Reported>> = BTreeMap::new();
    for outcome in booking.outcomes.iter().filter(|it| is_end(&it.says().event)) {
        let last = ends.entry(outcome.says().host_key).or_insert(outcome);
        if last.index() < outcome.index() {
            *last = outcome;
        }
    }
    let package = case.release.says().package;
    let returns = state.rollbacks_from(&package).flat_map(|rollback| &rollback.outcomes);
    for outcome in returns.filter(|it| it.says().package == package && is_end(&it.says().event)) {
        if let Some(last) = ends.get_mut(&outcome.says().host_key)
            && last.index() < outcome.index()
        {
            *last = outcome;
        }
    }
    ends
}

/// Whether a booking takes no host forward any more: so many failed as halt it, or each has ended. A host begins an
/// order once (rule 24), and a halt is for good.
pub fn is_over(state: &State, case: &Case, booking: &BookingCase) -> bool {
    leads_no_further(&last_events(state, case, booking), booking)
}

/// Whether it does not although not all of its hosts have committed it: whatever is said of the release afterwards,
/// it takes another booking.
pub fn is_used_up(state: &State, case: &Case, booking: &BookingCase) -> bool {
    let events = last_events(state, case, booking);
    let committed = events.iter().all(|event| matches!(event, Some(Event::Committed)));
    !committed && leads_no_further(&events, booking)
}

fn leads_no_further(events: &[Option<&Event>], booking: &BookingCase) -> bool {
    let failed = events.iter().flatten().filter(|event| is_failure(event)).count();
    let halt_after = booking.booking.says().plan.halt_after;
    events.iter().all(Option::is_some) || failed >= halt_after as usize
}

/// What each host of the plan has said last.
fn last_events<'a>(
    state: &'a State,
    case: &Case,
    booking: &'a BookingCase,
) -> Vec<Option<&'a Event>> {
    let ends = last_ends(state, case, booking);
    let plan = &booking.booking.says().plan;
    plan.hosts().map(|it| ends.get(&it.host_key).map(|end| &end.says().event)).collect()
}

/// Whether nothing more of an order comes after this.
pub fn is_end(event: &Event) -> bool {
    match event {
        Event::Committed | Event::Returned { .. } | Event::RolledBack | Event::Stuck { .. } => true,
        Event::Refused { .. } | Event::Drifted { .. } => false,
    }
}

/// Whether the host failed: it went back by itself, or could not even do that.
pub(crate) fn is_failure(event: &Event) -> bool {
    match event {
        Event::Returned { .. } | Event::Stuck { .. } => true,
        Event::Committed | Event::RolledBack | Event::Refused { .. } | Event::Drifted { .. } => {
            false
        }
    }
}
