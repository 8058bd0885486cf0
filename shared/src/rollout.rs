//! The rollout planner: whose turn it is, and what everybody else waits for.
//!
//! Pure: the fold of the log, what the coordinator hears of its hosts, and the time go in; a [`Plan`]
//! comes out. The planner gives no authority: a host whose turn it is still judges everything itself, and
//! a plan that skips a wave is refused by every host of that wave.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use crate::authorise::{self, HostFacts, Question};
use crate::case::{BookingCase, Case, Reported, Verified};
use crate::digest::Digest;
use crate::fold::State;
use crate::key::KeyId;
use crate::name::Name;
use crate::protocol::{Fleet, HostView};
use crate::refusal::Refusal;
use crate::statement::{Event, Phase};
use crate::time::Time;

/// What becomes of the hosts of one booking now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The booking.
    pub booking: Digest,
    /// Whether the rollout is halted, and by what.
    pub halted: Option<String>,
    /// Every host of the booking, in its order.
    pub hosts: Vec<PlannedState>,
}

/// One host of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedState {
    /// The host.
    pub host: Name,
    /// Its key.
    pub host_key: KeyId,
    /// Its wave.
    pub wave: Name,
    /// Where it stands.
    pub standing: Standing,
}

/// Where a host stands in a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It is its turn: the coordinator offers the order and clears it.
    Turn,
    /// It is at work, as far as is known.
    Working {
        /// The step it last told.
        step: String,
    },
    /// It runs the new release.
    Committed,
    /// It went back.
    Returned {
        /// The step that failed, and why.
        reason: String,
    },
    /// It needs a person.
    Stuck {
        /// The step that failed, and why.
        reason: String,
    },
    /// It began and was not heard of by its deadline.
    Silent {
        /// The deadline.
        since: Time,
    },
    /// It does nothing, for a reason.
    Waiting(WaitingOn),
}

/// Why an idle host is idle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaitingOn {
    /// A standing rule refuses: the window is not open, the wave before is not proven, a hold stands …
    Rule(Refusal),
    /// Others go first: no more than `at_once` may be under way.
    Room {
        /// How many are.
        under_way: u32,
        /// How many may be.
        at_once: u32,
    },
    /// The host is not connected.
    Connection,
    /// The host does another order.
    OtherWork {
        /// Which.
        order: Digest,
    },
    /// The rollout is halted.
    Halted,
    /// The host itself refused.
    HostRefused {
        /// The code.
        code: String,
        /// The facts.
        detail: String,
    },
}

impl std::fmt::Display for WaitingOn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rule(refusal) => write!(f, "{refusal}"),
            Self::Room { under_way, at_once } => {
                write!(f, "room: {under_way} of {at_once} hosts are under way")
            }
            Self::Connection => f.write_str("connection: the host is not connected"),
            Self::OtherWork { order } => write!(f, "other work: order {}", order.short()),
            Self::Halted => f.write_str("the rollout is halted"),
            Self::HostRefused { code, detail } => write!(f, "the host refused: {code}: {detail}"),
        }
    }
}

/// Plans one booking.
pub fn plan(state: &State, fleet: &Fleet, booking: &Digest, now: Time) -> Option<Plan> {
    let (case, it) = state.booking(booking)?;
    let views = fleet.hosts.iter().map(|view| (view.host_key, view)).collect();
    let planner = Planner { state, fleet, views, case, it, booking: *booking, now };
    Some(planner.plan())
}

/// The bookings for which a plan is worth making now: released, and not over for longer than it takes to
/// hear of their hosts.
pub fn live_bookings(state: &State, now: Time) -> BTreeSet<Digest> {
    const LINGER: Duration = Duration::from_hours(1);
    let recent = state.bookings_ending_after(now - LINGER);
    let released = recent.filter(|(_, it)| it.released.is_some());
    released.map(|(_, it)| it.booking.id()).collect()
}

struct Planner<'a> {
    state: &'a State,
    fleet: &'a Fleet,
    views: BTreeMap<KeyId, &'a HostView>,
    case: &'a Case,
    it: &'a BookingCase,
    booking: Digest,
    now: Time,
}

impl<'a> Planner<'a> {
    fn plan(&self) -> Plan {
        let plan = &self.it.booking.says().plan;
        let mut standings: BTreeMap<KeyId, Standing> = BTreeMap::new();
        for host in plan.hosts() {
            if let Some(standing) = self.under_way_or_ended(&host.host_key) {
                standings.insert(host.host_key, standing);
            }
        }
        let halted = self.halted(&standings);
        let at_once = plan.at_once;
        let busy =
            |it: &&Standing| matches!(it, Standing::Working { .. } | Standing::Silent { .. });
        let mut under_way =
            u32::try_from(standings.values().filter(busy).count()).unwrap_or(u32::MAX);
        let mut hosts = Vec::new();
        for wave in &plan.waves {
            for host in &wave.hosts {
                let standing = standings.remove(&host.host_key).unwrap_or_else(|| {
                    let idle = self.idle(&host.host_key, &host.host, halted.is_some());
                    match idle {
                        None if under_way >= at_once => {
                            Standing::Waiting(WaitingOn::Room { under_way, at_once })
                        }
                        None => {
                            under_way += 1;
                            Standing::Turn
                        }
                        Some(reason) => Standing::Waiting(reason),
                    }
                });
                hosts.push(PlannedState {
                    host: host.host.clone(),
                    host_key: host.host_key,
                    wave: wave.name.clone(),
                    standing,
                });
            }
        }
        Plan { booking: self.booking, halted, hosts }
    }

    /// The last thing that the host said of this booking, a refusal aside.
    fn last_outcome(&self, host: &KeyId) -> Option<&Reported> {
        let ends = |it: &&Reported| {
            it.host_key == *host
                && !matches!(it.event, Event::Refused { .. } | Event::Drifted { .. })
        };
        self.it.outcomes.iter().rev().map(Verified::says).find(ends)
    }

    fn view(&self, host: &KeyId) -> Option<&'a HostView> {
        self.views.get(host).copied()
    }

    fn under_way_or_ended(&self, host: &KeyId) -> Option<Standing> {
        if let Some(outcome) = self.last_outcome(host) {
            return match &outcome.event {
                Event::Committed => Some(Standing::Committed),
                Event::Returned { step, reason } => {
                    Some(Standing::Returned { reason: format!("{step}: {reason}") })
                }
                Event::RolledBack => Some(Standing::Returned { reason: "by order".to_owned() }),
                Event::Stuck { step, reason } => {
                    Some(Standing::Stuck { reason: format!("{step}: {reason}") })
                }
                Event::Refused { .. } | Event::Drifted { .. } => None,
            };
        }
        let view = self.view(host);
        let cleared = view.and_then(|view| {
            view.cleared.iter().find(|(order, _)| *order == self.booking).map(|(_, time)| *time)
        });
        let step = view.and_then(|view| self.step_of(view));
        if let (Some(view), Some(step)) = (view, &step)
            && view.connected
        {
            return Some(Standing::Working { step: step.clone() });
        }
        // A host that was cleared and is not heard of may be anywhere in its deployment until its
        // deadline, and after that counts as failed. So does a host that nobody has heard of since the
        // coordinator began: a clearance from before may be at work there.
        let window = self.it.booking.says().window;
        let release = self.case.release.says();
        let connected = view.is_some_and(|view| view.connected);
        let begun = match (cleared, view) {
            (Some(time), Some(view)) if connected && view.report.is_some() => {
                // Connected and idle: the clearance led to nothing yet, or is on its way.
                let on_its_way = self.now.since(time) < CLEARANCE_ON_ITS_WAY;
                return on_its_way.then(|| Standing::Working { step: "cleared".to_owned() });
            }
            (Some(time), _) => time,
            (None, Some(_)) if step.is_none() => return None,
            (None, _) if window.contains(self.fleet.since) => self.fleet.since,
            (None, _) => return None,
        };
        let deadline = (begun + release.apply_budget + release.rollback_reserve).min(window.end);
        if self.now < deadline {
            Some(Standing::Working { step: "unheard".to_owned() })
        } else if cleared.is_some() || step.is_some() {
            Some(Standing::Silent { since: deadline })
        } else {
            None
        }
    }

    fn step_of(&self, view: &HostView) -> Option<String> {
        let report = view.report.as_ref()?;
        let mine = report.applications.iter().find(|it| it.order == Some(self.booking))?;
        Some(mine.step.clone())
    }

    fn halted(&self, standings: &BTreeMap<KeyId, Standing>) -> Option<String> {
        let plan = &self.it.booking.says().plan;
        let failed: Vec<_> = plan
            .hosts()
            .filter_map(|host| match standings.get(&host.host_key)? {
                Standing::Returned { reason } => Some(format!("{} went back: {reason}", host.host)),
                Standing::Stuck { reason } => Some(format!("{} is stuck: {reason}", host.host)),
                Standing::Silent { since } => {
                    Some(format!("{} is silent since {since}", host.host))
                }
                Standing::Turn
                | Standing::Working { .. }
                | Standing::Committed
                | Standing::Waiting(_) => None,
            })
            .collect();
        (failed.len() >= plan.halt_after as usize).then(|| failed.join("; "))
    }

    /// Why an idle host may not begin; `None` when it may.
    fn idle(&self, host: &KeyId, name: &Name, halted: bool) -> Option<WaitingOn> {
        if halted {
            return Some(WaitingOn::Halted);
        }
        let Some(record) = self.state.host(host) else {
            let facts = format!("{name} is not enrolled");
            return Some(WaitingOn::Rule(Refusal::new(crate::refusal::Code::WrongHost, facts)));
        };
        let facts = HostFacts::from_log(record, &self.case.release.says().application);
        let question = Question {
            state: self.state,
            host: &facts,
            order: self.booking,
            phase: Phase::Start,
            now: self.now,
        };
        if let Err(refusal) = authorise::judge(&question) {
            return Some(WaitingOn::Rule(refusal));
        }
        let Some(view) = self.view(host).filter(|view| view.connected) else {
            return Some(WaitingOn::Connection);
        };
        let application = &self.case.release.says().application;
        let report = view.report.as_ref()?;
        let mine = report.applications.iter().find(|it| it.application == *application);
        if let Some(order) = mine.and_then(|it| it.order)
            && order != self.booking
        {
            return Some(WaitingOn::OtherWork { order });
        }
        match mine.and_then(|it| it.refused.as_ref()) {
            Some((order, refusal)) if *order == self.booking && !refusal.code.is_passing() => {
                Some(WaitingOn::HostRefused {
                    code: refusal.code.to_string(),
                    detail: refusal.facts.clone(),
                })
            }
            Some(_) | None => None,
        }
    }
}

/// How long after a clearance a connected host may still report itself idle: a round trip and a restart.
const CLEARANCE_ON_ITS_WAY: Duration = Duration::from_secs(10);
