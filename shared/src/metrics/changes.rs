//! How windows and changes ended, from what hosts signed.

use std::collections::BTreeMap;

use super::{Period, Share, Spread};
use crate::case::{BookingCase, Case, Reported, Verified};
use crate::digest::Digest;
use crate::fold::State;
use crate::key::KeyId;
use crate::name::Name;
use crate::rollout::{has_expired, is_given_up};
use crate::statement::{Emergency, Event};
use crate::time::Time;

/// How windows ended.
#[derive(Debug, Default)]
pub(super) struct Windows {
    pub(super) on_time: Share,
    pub(super) hosts_on_time: Share,
    pub(super) expired: u64,
}

/// The windows that were decided in the period: by the last host's commit, or by their end. Those that were
/// given up are no window.
pub(super) fn windows(state: &State, period: Period) -> Windows {
    let mut windows = Windows::default();
    for case in state.cases() {
        for booking in case.booked().filter(|it| !is_given_up(state, case, it)) {
            let committed = commits(booking);
            let plan = &booking.booking.says().plan;
            let all = plan.hosts().all(|host| committed.contains_key(&host.host_key));
            let end = booking.booking.says().window.end;
            let last = committed.values().max().copied().filter(|_| all);
            let decided = last.map_or(end, |last| last.min(end));
            if !period.has(decided) {
                continue;
            }
            windows.on_time.count(last.is_some_and(|last| last <= end));
            for host in plan.hosts() {
                let at = committed.get(&host.host_key);
                windows.hosts_on_time.count(at.is_some_and(|at| *at <= end));
            }
            windows.expired += u64::from(has_expired(state, case, booking));
        }
    }
    windows
}

/// When each host committed a booking.
fn commits(booking: &BookingCase) -> BTreeMap<KeyId, Time> {
    let outcomes = booking.outcomes.iter().map(Verified::says);
    let committed = outcomes.filter(|it| it.event == Event::Committed);
    committed.map(|it| (it.host_key, it.ended)).collect()
}

const fn is_failure(event: &Event) -> bool {
    matches!(event, Event::Returned { .. } | Event::Stuck { .. } | Event::RolledBack)
}

/// Every end that a host reported of an application, in log order.
type Ends<'a> = BTreeMap<(KeyId, &'a Name), Vec<&'a Verified<Reported>>>;

/// The changes that reached a host in the period, how many of them failed, and how long until their hosts ran
/// a good release again.
pub(super) fn failures(state: &State, period: Period) -> (Share, Spread) {
    let ends = ends(state);
    let ordered = ordered_returns(&ends);
    let (mut failed, mut spans, mut open) = (Share::default(), Vec::new(), 0);
    let bookings = state.cases().flat_map(Case::booked);
    for booking in bookings {
        let reached = booking.outcomes.iter().filter(|it| is_end(&it.says().event));
        let Some(first) = reached.map(|it| it.says().ended).min() else { continue };
        if !period.has(first) {
            continue;
        }
        let own = booking.outcomes.iter().filter(|it| is_failure(&it.says().event));
        let by_order = ordered.get(&booking.booking.id()).into_iter().flatten().copied();
        let bad: Vec<_> = own.chain(by_order).collect();
        failed.count(!bad.is_empty());
        let Some(begun) = bad.iter().map(|it| begin(state, it)).min() else { continue };
        match all_good_again(&ends, &bad) {
            Some(good) => spans.push(good.since(begun)),
            None => open += 1,
        }
    }
    (failed, Spread::of(spans, open))
}

fn is_end(event: &Event) -> bool {
    *event == Event::Committed || is_failure(event)
}

fn ends(state: &State) -> Ends<'_> {
    let of_bookings = state.cases().flat_map(Case::outcomes);
    let of_returns = state.rollbacks().flat_map(|it| &it.outcomes);
    let mut ends = Ends::new();
    for outcome in of_bookings.chain(of_returns).filter(|it| is_end(&it.says().event)) {
        let says = outcome.says();
        ends.entry((says.host_key, &says.application)).or_default().push(outcome);
    }
    for list in ends.values_mut() {
        list.sort_unstable_by_key(|it| it.index());
    }
    ends
}

/// The ends of ordered returns, by the booking whose commit on that host each takes back.
fn ordered_returns<'a>(ends: &Ends<'a>) -> BTreeMap<Digest, Vec<&'a Verified<Reported>>> {
    let mut returns: BTreeMap<Digest, Vec<_>> = BTreeMap::new();
    for list in ends.values() {
        for (before, outcome) in list.iter().copied().zip(list.iter().copied().skip(1)) {
            let (was, is) = (before.says(), outcome.says());
            let taken_back = is.event == Event::RolledBack && was.event == Event::Committed;
            // A halted rollout returns its hosts by the order that moved them: that is its own end already.
            if taken_back && was.package == is.package && was.order != is.order {
                returns.entry(was.order).or_default().push(outcome);
            }
        }
    }
    returns
}

/// When the last of these hosts ran a good release again; `None` while some does not.
fn all_good_again(ends: &Ends<'_>, bad: &[&Verified<Reported>]) -> Option<Time> {
    let good: Option<Vec<_>> = bad.iter().map(|it| good_again(ends, it)).collect();
    good?.into_iter().max()
}

/// When the trouble of a host began: with the change, or when somebody ordered it back.
fn begin(state: &State, outcome: &Verified<Reported>) -> Time {
    let says = outcome.says();
    let order = state.rollback(&says.order).map(|it| it.rollback.header().issued);
    order.unwrap_or(says.started)
}

/// When a host ran a good release again.
fn good_again(ends: &Ends<'_>, outcome: &Verified<Reported>) -> Option<Time> {
    let says = outcome.says();
    if !matches!(says.event, Event::Stuck { .. }) {
        return Some(says.ended);
    }
    let later = ends.get(&(says.host_key, &says.application))?.iter();
    let mut later = later.filter(|it| it.index() > outcome.index());
    later.find(|it| !matches!(it.says().event, Event::Stuck { .. })).map(|it| it.says().ended)
}

/// From when emergencies were opened in the period until the last commit of their iterations.
pub(super) fn fixes(state: &State, period: Period) -> Spread {
    let (mut spans, mut open) = (Vec::new(), 0);
    for opened in state.emergencies() {
        let begun = opened.header().issued;
        if !matches!(opened.says(), Emergency::Opened { .. }) || !period.has(begun) {
            continue;
        }
        let grounds = opened.id();
        let outcomes = state.cases_of_emergency(&grounds).flat_map(Case::outcomes);
        let committed = outcomes.map(Verified::says).filter(|it| it.event == Event::Committed);
        match committed.map(|it| it.ended).max() {
            Some(last) => spans.push(last.since(begun)),
            None => open += 1,
        }
    }
    Spread::of(spans, open)
}
