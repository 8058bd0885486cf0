//! Windows that ended unused: late is expired, and nothing is caught up (PROCESS 16).

use std::collections::BTreeSet;

use super::is_used_up;
use crate::case::{BookingCase, Case};
use crate::fold::State;
use crate::key::KeyId;
use crate::statement::{Event, Verdict};
use crate::time::Time;

/// Whether a booking's window, once it is over, has ended unused, wholly or in part. A host that went back in it is
/// another matter, and what was given up before its end is no window.
pub fn has_expired(state: &State, case: &Case, booking: &BookingCase) -> bool {
    let committed = case.outcomes().filter(|it| it.says().event == Event::Committed);
    let committed: BTreeSet<KeyId> = committed.map(|it| it.says().host_key).collect();
    let plan = &booking.booking.says().plan;
    !is_given_up(state, case, booking)
        && !is_used_up(state, case, booking)
        && !plan.hosts().all(|it| committed.contains(&it.host_key))
}

/// Whether a booking was given up before its window's end.
pub fn is_given_up(state: &State, case: &Case, booking: &BookingCase) -> bool {
    let says = booking.booking.says();
    let later = case.superseded_by.and_then(|later| state.case(&later));
    let mut reviews = case.reviews.iter().rev();
    let review = reviews.find(|it| {
        it.says().environments.contains(&says.environment) && it.header().issued < says.window.end
    });
    let review = review.filter(|it| it.says().verdict != Verdict::Complete);
    let ends = [
        booking.cancelled.as_ref().map(|it| it.header().issued),
        case.cancelled.as_ref().map(|it| it.header().issued),
        case.closed.as_ref().map(|it| it.header().issued),
        later.map(|it| it.release.header().issued),
        review.map(|it| it.header().issued),
    ];
    state.denial(&says.package).is_some()
        || ends.into_iter().flatten().any(|at| at < says.window.end)
        || overtaken(state, case, says.window.end)
}

/// Whether a later iteration of its emergency was approved before an instant.
fn overtaken(state: &State, case: &Case, end: Time) -> bool {
    let Some(mine) = &case.release.says().iteration else { return false };
    state.cases_of_emergency(&mine.grounds).any(|other| {
        let theirs = other.release.says().iteration.as_ref();
        theirs.is_some_and(|it| it.number > mine.number)
            && other.approvals.iter().any(|it| it.header().issued < end)
    })
}
