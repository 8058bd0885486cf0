//! The planner itself: one pass over the hosts of a booking, in its order.
//!
//! What has begun or ended is known first; from that follow the halt and the room; then each idle host is
//! given its turn or its reason. A plan of a thousand hosts is made in time that grows with the hosts, not
//! with their square: what the rules say is asked through one [`Sitting`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Halt, Plan, PlannedState, Standing, WaitingOn, is_failure, last_ends};
use crate::authorise::{HostFacts, Sitting};
use crate::case::{BookingCase, Case, Reported, Verified};
use crate::digest::Digest;
use crate::fold::State;
use crate::key::KeyId;
use crate::name::Name;
use crate::protocol::{ApplicationReport, Fleet, HostView};
use crate::refusal::{Code, Refusal};
use crate::statement::{Event, OnHalt, PlannedHost, Verdict};
use crate::time::Time;

/// How long after a clearance a connected host may still report itself idle: a round trip and a restart.
const CLEARANCE_ON_ITS_WAY: Duration = Duration::from_secs(10);

/// Plans one booking; `None` for one that the log does not have.
pub fn plan(state: &State, fleet: &Fleet, booking: &Digest, now: Time) -> Option<Plan> {
    let track = Track::new(state, booking)?;
    let planner = Planner {
        state,
        fleet,
        views: fleet.hosts.iter().map(|view| (view.host_key, view)).collect(),
        before: earlier_iteration(state, track.case),
        failed_return: track.failed_return(),
        track,
        now,
    };
    Some(planner.plan())
}

/// A booking and how its hosts ended.
struct Track<'a> {
    order: Digest,
    case: &'a Case,
    booking: &'a BookingCase,
    ends: BTreeMap<KeyId, &'a Verified<Reported>>,
}

impl<'a> Track<'a> {
    fn new(state: &'a State, order: &Digest) -> Option<Self> {
        let (case, booking) = state.booking(order)?;
        let ends = last_ends(state, case, booking);
        Some(Self { order: *order, case, booking, ends })
    }

    fn end(&self, host: &KeyId) -> Option<&'a Reported> {
        self.ends.get(host).map(|it| it.says())
    }

    /// The first host of the plan that had committed, and whose last word is that it failed: it was to go
    /// back and could not.
    fn failed_return(&self) -> Option<&'a Name> {
        let outcomes = self.booking.outcomes.iter().map(Verified::says);
        let committed: BTreeSet<KeyId> = outcomes
            .filter(|it| matches!(it.event, Event::Committed))
            .map(|it| it.host_key)
            .collect();
        let mut hosts = self.booking.booking.says().plan.hosts();
        hosts
            .find(|it| self.failed(&it.host_key) && committed.contains(&it.host_key))
            .map(|it| &it.host)
    }

    /// Whether the host's last word is that it failed.
    fn failed(&self, host: &KeyId) -> bool {
        self.end(host).is_some_and(|it| is_failure(&it.event))
    }
}

/// The bookings of the emergency iteration before this one, unless that was cancelled or denied: a host
/// that may be at work on one of them is not taken over before it has ended there (DESIGN 7).
fn earlier_iteration<'a>(state: &'a State, case: &Case) -> Vec<Track<'a>> {
    let iteration = case.release.says().iteration.as_ref();
    let Some(before) = iteration.and_then(|it| it.previous).and_then(|it| state.case(&it)) else {
        return Vec::new();
    };
    let denied =
        before.reviews.iter().any(|it| matches!(it.says().verdict, Verdict::Denied { .. }));
    if denied || before.cancelled.is_some() {
        return Vec::new();
    }
    let released = before.booked().filter(|it| it.released.is_some());
    released.filter_map(|it| Track::new(state, &it.booking.id())).collect()
}

struct Planner<'a> {
    state: &'a State,
    fleet: &'a Fleet,
    views: BTreeMap<KeyId, &'a HostView>,
    track: Track<'a>,
    before: Vec<Track<'a>>,
    failed_return: Option<&'a Name>,
    now: Time,
}

/// What is counted while turns are given.
struct Counts {
    under_way: u32,
    returned: u32,
}

impl<'a> Planner<'a> {
    fn plan(&self) -> Plan {
        let rollout = &self.track.booking.booking.says().plan;
        let mut known = BTreeMap::new();
        for host in rollout.hosts() {
            if let Some(standing) = self.begun_or_ended(&self.track, &host.host_key) {
                known.insert(host.host_key, standing);
            }
        }
        let halted = self.halted(&known);
        if halted.as_ref().is_some_and(|halt| halt.returns) {
            self.mark_going_back(&mut known);
        }
        let count = |counted: usize| u32::try_from(counted).unwrap_or(u32::MAX);
        let mut counts = Counts {
            under_way: count(known.values().filter(|it| it.takes_room()).count()),
            returned: count(self.taken_back(&known)),
        };
        let mut forward = Sitting::forward(self.state, self.track.order, self.now);
        let mut back = Sitting::halting(self.state, self.track.order, self.now);
        let mut hosts = Vec::new();
        for wave in &rollout.waves {
            for host in &wave.hosts {
                let standing = match (known.remove(&host.host_key), &halted) {
                    (Some(Standing::Committed), Some(Halt { returns: true, .. })) => {
                        self.going_back(host, &mut back, &mut counts)
                    }
                    (Some(standing), _) => standing,
                    (None, Some(_)) => Standing::Waiting(WaitingOn::Halted),
                    (None, None) => self.going_forward(host, &mut forward, &mut counts),
                };
                hosts.push(PlannedState {
                    host: host.host.clone(),
                    host_key: host.host_key,
                    wave: wave.name.clone(),
                    standing,
                });
            }
        }
        Plan { booking: self.track.order, halted, hosts }
    }

    fn view(&self, host: &KeyId) -> Option<&'a HostView> {
        self.views.get(host).copied()
    }

    fn begun_or_ended(&self, track: &Track<'_>, host: &KeyId) -> Option<Standing> {
        let Some(outcome) = track.end(host) else {
            return self.begun(track, host);
        };
        match &outcome.event {
            Event::Committed => Some(Standing::Committed),
            Event::Returned { step, reason } => {
                Some(Standing::Returned { reason: format!("{step}: {reason}") })
            }
            Event::RolledBack => Some(Standing::Returned { reason: "by order".to_owned() }),
            Event::Stuck { step, reason } => {
                Some(Standing::Stuck { reason: format!("{step}: {reason}") })
            }
            Event::Refused { .. } | Event::Drifted { .. } => None,
        }
    }

    /// A host that has not ended: whether it may be at work.
    ///
    /// One that was cleared and is not heard of may be anywhere in its deployment until its deadline, and
    /// after that counts as failed. So does one that nobody has heard of since the coordinator began: a
    /// clearance from before may be at work there.
    fn begun(&self, track: &Track<'_>, host: &KeyId) -> Option<Standing> {
        let view = self.view(host);
        let step = view.and_then(|view| report_of(view, &track.order)).map(|it| it.step.clone());
        let connected = view.is_some_and(|view| view.connected);
        if let (true, Some(step)) = (connected, &step) {
            return Some(Standing::Working { step: step.clone() });
        }
        let cleared = view.and_then(|view| {
            view.cleared.iter().find(|(order, _)| *order == track.order).map(|(_, time)| *time)
        });
        let window = track.booking.booking.says().window;
        let begun = match (cleared, view) {
            (Some(time), Some(view)) if connected && view.report.is_some() => {
                // Connected and idle: the clearance led to nothing yet, or is on its way.
                let on_its_way = self.now.since(time) < CLEARANCE_ON_ITS_WAY;
                return on_its_way.then(|| Standing::Working { step: "cleared".to_owned() });
            }
            (Some(time), _) => time,
            (None, Some(_)) if step.is_none() => return None,
            (None, _) if window.contains(self.fleet.since) => self.fleet.since,
            (None, Some(view)) => view.heard,
            (None, None) => return None,
        };
        let deadline = (begun + track.case.budget().whole()).min(window.end);
        if self.now < deadline {
            Some(Standing::Working { step: "unheard".to_owned() })
        } else if cleared.is_some() || step.is_some() {
            Some(Standing::Silent { since: deadline })
        } else {
            None
        }
    }

    fn halted(&self, known: &BTreeMap<KeyId, Standing>) -> Option<Halt> {
        let plan = &self.track.booking.booking.says().plan;
        let mut signed = 0_u32;
        let mut because = Vec::new();
        for host in plan.hosts() {
            let name = &host.host;
            let failed = self.track.failed(&host.host_key);
            signed += u32::from(failed);
            match known.get(&host.host_key) {
                Some(Standing::Returned { reason }) if failed => {
                    because.push(format!("{name} went back: {reason}"));
                }
                Some(Standing::Stuck { reason }) => {
                    because.push(format!("{name} is stuck: {reason}"));
                }
                Some(Standing::Silent { since }) => {
                    because.push(format!("{name} is silent since {since}"));
                }
                Some(
                    Standing::Turn
                    | Standing::Working { .. }
                    | Standing::Committed
                    | Standing::ReturnTurn
                    | Standing::ReturnWaiting(_)
                    | Standing::Returned { .. }
                    | Standing::Waiting(_),
                )
                | None => {}
            }
        }
        let returns = plan.returns_after().is_some_and(|enough| signed >= enough);
        (because.len() >= plan.halt_after as usize)
            .then(|| Halt { because: because.join("; "), returns })
    }

    /// Hosts that have begun their return, or may have. Of one that nobody has heard of since the coordinator
    /// began it is not known, until it would be over.
    fn mark_going_back(&self, known: &mut BTreeMap<KeyId, Standing>) {
        let reserve = self.track.case.budget().reserve;
        let unheard = || Standing::Working { step: "unheard".to_owned() };
        let committed = known.iter_mut().filter(|(_, standing)| **standing == Standing::Committed);
        for (host, standing) in committed {
            let Some(view) = self.view(host) else {
                if self.now < self.fleet.since + reserve {
                    *standing = unheard();
                }
                continue;
            };
            let Some(report) = report_of(view, &self.track.order) else { continue };
            let deadline = view.heard + reserve;
            *standing = if view.connected {
                Standing::Working { step: report.step.clone() }
            } else if self.now < deadline {
                unheard()
            } else {
                Standing::Silent { since: deadline }
            };
        }
    }

    /// Hosts that the halt has taken back, or is taking back.
    fn taken_back(&self, known: &BTreeMap<KeyId, Standing>) -> usize {
        let taken = |(host, standing): &(&KeyId, &Standing)| {
            let committed =
                self.track.end(host).is_some_and(|end| matches!(end.event, Event::Committed));
            let rolled_back =
                self.track.end(host).is_some_and(|end| matches!(end.event, Event::RolledBack));
            rolled_back || committed && standing.takes_room()
        };
        known.iter().filter(taken).count()
    }

    /// Why an idle host may not begin; or its turn.
    fn going_forward(
        &self,
        host: &PlannedHost,
        sitting: &mut Sitting<'_>,
        counts: &mut Counts,
    ) -> Standing {
        let at_once = self.track.booking.booking.says().plan.at_once;
        let under_way = counts.under_way;
        let most = at_once + u32::from(crate::seeded!(AtOnceOffByOne));
        match self.hindered(host, sitting) {
            Some(reason) => Standing::Waiting(reason),
            None if under_way >= most => Standing::Waiting(WaitingOn::Room { under_way, at_once }),
            None => {
                counts.under_way += 1;
                Standing::Turn
            }
        }
    }

    /// Why a committed host may not begin its return; or its turn.
    fn going_back(
        &self,
        host: &PlannedHost,
        sitting: &mut Sitting<'_>,
        counts: &mut Counts,
    ) -> Standing {
        let plan = &self.track.booking.booking.says().plan;
        let OnHalt::ReturnAll { budget } = plan.on_halt else {
            return Standing::Committed;
        };
        let Counts { under_way, returned } = *counts;
        let at_once = plan.at_once;
        let reason = match self.failed_return {
            Some(host) => Some(WaitingOn::ReturnStuck { host: host.clone() }),
            None => self.hindered(host, sitting),
        };
        match reason {
            Some(reason) => Standing::ReturnWaiting(reason),
            None if returned >= budget => {
                Standing::ReturnWaiting(WaitingOn::ReturnBudget { spent: returned, budget })
            }
            None if under_way >= at_once => {
                Standing::ReturnWaiting(WaitingOn::Room { under_way, at_once })
            }
            None => {
                counts.under_way += 1;
                counts.returned += 1;
                Standing::ReturnTurn
            }
        }
    }

    /// What stands in the way of a host, the others under way apart.
    fn hindered(&self, host: &PlannedHost, sitting: &mut Sitting<'_>) -> Option<WaitingOn> {
        let key = &host.host_key;
        let application = &self.track.case.release.says().application;
        let Some(record) = self.state.host(key) else {
            let facts = format!("{} is not enrolled", host.host);
            return Some(WaitingOn::Rule(Refusal::new(Code::WrongHost, facts)));
        };
        if let Err(refusal) = sitting.judge(&HostFacts::from_log(record, application)) {
            return Some(WaitingOn::Rule(refusal));
        }
        if let Some(order) = self.taken_by_earlier_iteration(key) {
            return Some(WaitingOn::OtherWork { order });
        }
        let Some(view) = self.view(key).filter(|view| view.connected) else {
            return Some(WaitingOn::Connection);
        };
        let report = view.report.as_ref()?;
        let mine = report.applications.iter().find(|it| it.application == *application)?;
        if let Some(order) = mine.order
            && order != self.track.order
        {
            return Some(WaitingOn::OtherWork { order });
        }
        match &mine.refused {
            Some((order, refusal)) if *order == self.track.order && !refusal.code.is_passing() => {
                Some(WaitingOn::HostRefused {
                    code: refusal.code.to_string(),
                    detail: refusal.facts.clone(),
                })
            }
            Some(_) | None => None,
        }
    }

    /// The order of the iteration before that may still be at work there.
    fn taken_by_earlier_iteration(&self, host: &KeyId) -> Option<Digest> {
        let at_work = |track: &&Track<'_>| {
            let booked = track.booking.booking.says().plan.wave_of(host).is_some();
            booked
                && track.end(host).is_none()
                && matches!(self.begun(track, host), Some(Standing::Working { .. }))
        };
        self.before.iter().find(at_work).map(|track| track.order)
    }
}

/// What the host says of the application that is at work on an order.
fn report_of<'a>(view: &'a HostView, order: &Digest) -> Option<&'a ApplicationReport> {
    view.report.as_ref()?.applications.iter().find(|it| it.order == Some(*order))
}
