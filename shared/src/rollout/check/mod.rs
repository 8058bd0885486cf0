//! The plan checker: is this plan within what the booking, the log and the hosts' reports allow?
//!
//! It is not the planner, calls none of its code, and none of the rules that the planner asks: what a plan
//! may say is worked out again here from the statements themselves (DESIGN 14, P10). Whoever makes a plan
//! can hold it against this; the tests and the simulator do so for every one.
//!
//! Three kinds of things are looked for: what must never be (too many hosts down, a wave without the proof
//! of the one before, a turn for a host that is not in the booking, outside the window, under a halt), what
//! a plan says that is not so (a reason that does not hold, a standing that the log contradicts), and idleness
//! without need (a host that could go, while there is room and nothing stands against it).

mod fault;
mod reasons;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Plan, PlannedState, Standing};
use crate::case::{BookingCase, Case, Verified};
use crate::digest::Digest;
use crate::fold::State;
use crate::key::KeyId;
use crate::name::Name;
use crate::protocol::{ApplicationReport, Fleet, HostView};
use crate::statement::{Freeze, OnHalt, Review};
use crate::time::Time;

pub use fault::Fault;
use words::{Word, commits, healthy, words};

/// Everything that is wrong with a plan made at `now`, when the log was `state` and the hosts were heard as
/// in `fleet`. Nothing for a good one.
pub fn check(plan: &Plan, state: &State, fleet: &Fleet, now: Time) -> Vec<Fault> {
    let Some((case, booking)) = state.booking(&plan.booking) else {
        return vec![Fault::NoBooking];
    };
    let named = booking.booking.says().plan.waves.iter().flat_map(|wave| {
        wave.hosts.iter().map(|host| (wave.name.clone(), host.host.clone(), host.host_key))
    });
    let planned = plan.hosts.iter().map(|it| (it.wave.clone(), it.host.clone(), it.host_key));
    if !named.eq(planned) {
        return vec![Fault::NotTheBooking];
    }
    let facts = Facts::gather(plan, state, fleet, now, case, booking);
    let mut faults = Vec::new();
    facts.check_halt(&mut faults);
    facts.check_room(&mut faults);
    for host in &plan.hosts {
        facts.check_host(host, &mut faults);
    }
    faults
}

struct Facts<'a> {
    plan: &'a Plan,
    state: &'a State,
    fleet: &'a Fleet,
    now: Time,
    case: &'a Case,
    booking: &'a BookingCase,
    views: BTreeMap<KeyId, &'a HostView>,
    words: BTreeMap<KeyId, Word>,
    /// The hosts that have committed, whatever came after.
    committed: BTreeSet<KeyId>,
    /// The first host in plan order that has not committed, with its wave.
    unproven: Option<(&'a Name, &'a Name)>,
    /// By wave: until when the waves before it have to stay healthy.
    healthy: BTreeMap<&'a Name, Time>,
    down: BTreeSet<KeyId>,
    taken: usize,
}

/// So long after its window a booking takes hosts back.
const RETURNS_FOR: Duration = Duration::from_hours(1);

/// A clearance may take so long to show in what a host reports.
const UNDER_WAY_UNSEEN: Duration = Duration::from_secs(10);

impl<'a> Facts<'a> {
    fn gather(
        plan: &'a Plan,
        state: &'a State,
        fleet: &'a Fleet,
        now: Time,
        case: &'a Case,
        booking: &'a BookingCase,
    ) -> Self {
        let views = fleet.hosts.iter().map(|view| (view.host_key, view)).collect();
        let words = words(state, case, booking);
        let proven = |key: &KeyId| words.get(key) == Some(&Word::Committed);
        let unproven = plan.hosts.iter().find(|it| !proven(&it.host_key));
        let unproven = unproven.map(|it| (&it.host, &it.wave));
        let healthy = healthy(booking);
        let mut facts = Self {
            plan,
            state,
            fleet,
            now,
            case,
            booking,
            views,
            words,
            committed: commits(booking).map(|it| it.host_key).collect(),
            unproven,
            healthy,
            down: BTreeSet::new(),
            taken: 0,
        };
        let keys = plan.hosts.iter().map(|it| it.host_key);
        facts.down = keys.clone().filter(|key| facts.may_be_down(key)).collect();
        facts.taken = keys
            .filter(|key| match facts.words.get(key) {
                Some(Word::TakenBack) => true,
                Some(Word::Committed) => facts.down.contains(key),
                Some(Word::Failed { .. }) | None => false,
            })
            .count();
        facts
    }

    fn own_report(&self, key: &KeyId) -> Option<&'a ApplicationReport> {
        let application = &self.case.release.says().application;
        let report = self.views.get(key)?.report.as_ref()?;
        report.applications.iter().find(|it| it.application == *application)
    }

    fn connected(&self, key: &KeyId) -> bool {
        self.views.get(key).is_some_and(|view| view.connected)
    }

    fn reports_this_order(&self, key: &KeyId) -> bool {
        self.own_report(key).and_then(|it| it.order) == Some(self.plan.booking)
    }

    fn cleared(&self, key: &KeyId) -> Option<Time> {
        let view = self.views.get(key)?;
        let cleared = view.cleared.iter().find(|(order, _)| *order == self.plan.booking);
        cleared.map(|(_, time)| *time)
    }

    fn halt_returns(&self) -> bool {
        self.plan.halted.as_ref().is_some_and(|halt| halt.returns)
    }

    /// Whether the application may be down there for this booking, before anybody else begins.
    fn may_be_down(&self, key: &KeyId) -> bool {
        match self.words.get(key) {
            Some(Word::Failed { stuck }) => return *stuck,
            Some(Word::TakenBack) => return false,
            // Going back is work, too.
            Some(Word::Committed) => {
                return self.halt_returns()
                    && (self.reports_this_order(key) || self.maybe_returning_unseen(key));
            }
            None => {}
        }
        if self.reports_this_order(key) {
            return true;
        }
        match self.cleared(key) {
            Some(time) if self.connected(key) => self.now.since(time) < UNDER_WAY_UNSEEN,
            Some(_) => true,
            None => self.maybe_begun_unseen(key),
        }
    }

    /// Whether a clearance from before this run of the coordinator may be at work.
    fn maybe_begun_unseen(&self, key: &KeyId) -> bool {
        let window = self.booking.booking.says().window;
        let latest = (self.fleet.since + self.case.budget().whole()).min(window.end);
        !self.views.contains_key(key) && window.contains(self.fleet.since) && self.now < latest
    }

    /// Whether a way back from before this run of the coordinator may be at work.
    fn maybe_returning_unseen(&self, key: &KeyId) -> bool {
        let latest = self.fleet.since + self.case.budget().reserve;
        !self.views.contains_key(key) && self.now < latest
    }

    fn check_halt(&self, faults: &mut Vec<Fault>) {
        let rollout = &self.booking.booking.says().plan;
        let signed = self.words.values().filter(|it| matches!(it, Word::Failed { .. })).count();
        let silent = |it: &&PlannedState| matches!(it.standing, Standing::Silent { .. });
        let failed = signed + self.plan.hosts.iter().filter(silent).count();
        let halt_after = rollout.halt_after;
        if self.plan.halted.is_some() != (failed >= halt_after as usize) {
            faults.push(Fault::HaltWrong { failed, halt_after });
        }
        let returns = match rollout.on_halt {
            OnHalt::Pause => false,
            OnHalt::ReturnAll { .. } => signed >= 2 && signed >= halt_after as usize,
        };
        if self.halt_returns() != returns {
            faults.push(Fault::ReturnsWrong { signed });
        }
    }

    fn check_room(&self, faults: &mut Vec<Fault>) {
        let rollout = &self.booking.booking.says().plan;
        let forward = self.plan.hosts.iter().filter(|it| it.standing == Standing::Turn).count();
        let back = self.plan.hosts.iter().filter(|it| it.standing == Standing::ReturnTurn).count();
        let down = self.down.len() + forward + back;
        if forward + back > 0 && down > rollout.at_once as usize {
            faults.push(Fault::TooManyDown { down, at_once: rollout.at_once });
        }
        if let OnHalt::ReturnAll { budget } = rollout.on_halt
            && back > 0
            && self.taken + back > budget as usize
        {
            faults.push(Fault::BudgetPassed { taken: self.taken + back, budget });
        }
    }

    fn check_host(&self, host: &PlannedState, faults: &mut Vec<Fault>) {
        let word = self.words.get(&host.host_key);
        let failed = matches!(word, Some(Word::Failed { .. }));
        let going_back = self.halt_returns() && word == Some(&Word::Committed);
        let true_standing = match &host.standing {
            Standing::Turn => {
                self.check_turn(host, faults);
                true
            }
            Standing::ReturnTurn => {
                self.check_return(host, faults);
                true
            }
            Standing::Working { step } => !step.is_empty() && self.down.contains(&host.host_key),
            Standing::Committed => word == Some(&Word::Committed) && !self.halt_returns(),
            Standing::Returned { reason } => {
                !reason.is_empty() && (failed || word == Some(&Word::TakenBack))
            }
            Standing::Stuck { reason } => {
                !reason.is_empty() && word == Some(&Word::Failed { stuck: true })
            }
            Standing::Silent { since } => {
                *since <= self.now
                    && !self.connected(&host.host_key)
                    && (word.is_none() || going_back)
                    && self.down.contains(&host.host_key)
            }
            Standing::Waiting(reason) => {
                self.check_reason(host, reason, faults);
                word.is_none()
            }
            Standing::ReturnWaiting(reason) => {
                self.check_reason(host, reason, faults);
                going_back
            }
        };
        if !true_standing {
            let says = format!("{:?}", host.standing);
            faults.push(Fault::StandingUntrue { host: host.host.clone(), says });
        }
    }

    fn check_turn(&self, host: &PlannedState, faults: &mut Vec<Fault>) {
        let name = &host.host;
        if let Some(what) = self.against_turn(&host.host_key) {
            faults.push(Fault::TurnAgainst { host: name.clone(), what });
        }
        if let Some((unproven, wave)) = self.unproven
            && *wave != host.wave
        {
            let unproven = unproven.clone();
            faults.push(Fault::WaveUnproven { host: name.clone(), unproven });
        }
    }

    /// What stands against a turn of this host, the waves before and the room apart.
    fn against_turn(&self, key: &KeyId) -> Option<&'static str> {
        let says = self.booking.booking.says();
        let release = self.case.release.says();
        let record = self.state.host(key);
        let ends = self.now + self.case.budget().whole();
        let wave = self.plan.hosts.iter().find(|it| it.host_key == *key).map(|it| &it.wave);
        let healthy = wave.and_then(|wave| self.healthy.get(wave));
        let cases = [
            (self.plan.halted.is_some(), "the rollout is halted"),
            (self.booking.released.is_none(), "its window was not released"),
            (self.booking.cancelled.is_some() || self.case.cancelled.is_some(), "it was cancelled"),
            (self.case.superseded_by.is_some(), "it was superseded"),
            (self.state.denial(&release.package).is_some(), "its package was denied"),
            (self.case.holds_on(self.booking).next().is_some(), "a hold stands"),
            (self.frozen(), "a freeze covers it"),
            (!self.reviewed_since_return(), "its package was taken back and not reviewed since"),
            (self.now < says.window.start, "its window is not open"),
            (ends > says.window.end, "its window has no room for it"),
            (record.is_none_or(|it| it.retired.is_some()), "it is not enrolled, or was retired"),
            (
                record.is_some_and(|it| it.enrolment.says().environment != says.environment),
                "it is in another environment",
            ),
            (self.words.contains_key(key), "it has ended already"),
            (self.down.contains(key), "it may be at work"),
            (!self.connected(key), "it is not connected"),
            (self.other_work(key), "it is at work on something else"),
            (self.refused_for_good(key), "it has refused"),
            (healthy.is_some_and(|until| self.now < *until), "the wave before is not healthy yet"),
        ];
        cases.into_iter().find(|(stands, _)| *stands).map(|(_, what)| what)
    }

    fn frozen(&self) -> bool {
        let says = self.booking.booking.says();
        // Whether an override is by the right two is for the rules; one that does not name the freeze is none.
        let named = self.booking.overrides.iter().flat_map(|it| &it.says().freezes);
        let passed: BTreeSet<Digest> = named.map(|it| it.freeze).collect();
        let freezes = self.state.freezes().filter(|it| !passed.contains(&it.declared.id()));
        freezes.into_iter().any(|record| match record.declared.says() {
            Freeze::Declared { environments, applications, start, end, .. } => {
                let here = environments.contains(&says.environment)
                    && (applications.is_empty() || applications.contains(&says.application));
                here && record.lifted.is_none() && *start <= self.now && self.now < *end
            }
            Freeze::Lifted { .. } => false,
        })
    }

    /// P8: what a host has taken back does not move again without a review that came after.
    fn reviewed_since_return(&self) -> bool {
        let environment = &self.booking.booking.says().environment;
        let reviews = || {
            let mine = |it: &&Verified<Review>| it.says().environments.contains(environment);
            self.case.reviews.iter().filter(mine)
        };
        let package = &self.case.release.says().package;
        let back = self.state.returned_at(package);
        back.is_none_or(|back| reviews().any(|review| review.index() > back))
    }

    fn refused_for_good(&self, key: &KeyId) -> bool {
        let refused = self.own_report(key).and_then(|it| it.refused.as_ref());
        refused.is_some_and(|(order, refusal)| {
            *order == self.plan.booking && !refusal.code.is_passing()
        })
    }

    fn other_work(&self, key: &KeyId) -> bool {
        let order = self.own_report(key).and_then(|it| it.order);
        order.is_some_and(|order| order != self.plan.booking)
    }

    fn check_return(&self, host: &PlannedState, faults: &mut Vec<Fault>) {
        let key = &host.host_key;
        let package = self.case.release.says().package;
        let application = &self.case.release.says().application;
        let record = self.state.host(key);
        let installed = record.and_then(|it| it.installed.get(application));
        let before = installed.and_then(|it| it.previous);
        let window = self.booking.booking.says().window;
        let cases = [
            (!self.halt_returns(), "no halt takes it back"),
            (self.words.get(key) != Some(&Word::Committed), "it does not run the release"),
            (installed.is_none_or(|it| it.package != Some(package)), "another package runs there"),
            (before.is_none(), "there is nothing to go back to"),
            (
                before.is_some_and(|it| self.state.denial(&it).is_some()),
                "the release before was denied",
            ),
            (record.is_none_or(|it| it.retired.is_some()), "it is not enrolled, or was retired"),
            (
                self.now < window.start || self.now >= window.end + RETURNS_FOR,
                "the time for it is over",
            ),
            (self.refused_for_good(key), "it has refused"),
            (self.case.release.says().irreversible, "the release cannot be taken back"),
            (!self.connected(key), "it is not connected"),
            (self.other_work(key), "it is at work on something else"),
            (self.down.contains(key), "it is on its way back already"),
            (self.return_failed().is_some(), "another return has failed"),
        ];
        if let Some((_, what)) = cases.into_iter().find(|(stands, _)| *stands) {
            faults.push(Fault::ReturnAgainst { host: host.host.clone(), what });
        }
    }

    fn return_failed(&self) -> Option<&'a Name> {
        let failed = |it: &&PlannedState| {
            matches!(self.words.get(&it.host_key), Some(Word::Failed { .. }))
                && self.committed.contains(&it.host_key)
        };
        self.plan.hosts.iter().find(failed).map(|it| &it.host)
    }
}
