//! Watching a release: rounds of checks, and what they decide.

use std::time::Duration;

use crate::assignment::{HealthPolicy, Slot};
use crate::effect::{Effect, Wake};
use crate::event::Now;
use crate::machine::{Asked, Machine};
use crate::report::{Cause, Evidence, Reading, Sample};
use crate::route::{Point, ReturnStep};
use crate::state::State;

/// What a round of checks may take beyond its own timeout, for starting and ending the probes.
const CHECK_MARGIN: Duration = Duration::from_secs(10);

/// The health checks of one state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Watch {
    /// When the state was entered, on the monotonic clock.
    pub since: Duration,
    /// Rounds asked for.
    pub rounds: u32,
    /// When the last one was asked for.
    pub asked: Duration,
    /// Healthy rounds in a row.
    pub streak: u32,
    /// Failed rounds since the state was entered.
    pub lost: u32,
    /// For the outcome.
    pub evidence: Evidence,
}

impl Machine {
    /// Begins to watch a release that was just started.
    pub(crate) fn watch_from_the_start(&mut self, health: &HealthPolicy, now: Now) {
        self.watch = Watch { since: now.monotonic, ..Watch::default() };
        let deadline = now.monotonic.saturating_add(health.deadline);
        self.timers.insert(Wake::HealthDeadline, deadline);
        self.timers.insert(Wake::CheckDue, now.monotonic);
    }

    pub(crate) fn watch_baking(&mut self, health: &HealthPolicy, now: Now) {
        self.watch.since = now.monotonic;
        self.watch.lost = 0;
        let first = now.monotonic.saturating_add(health.interval.min(health.bake));
        self.timers.insert(Wake::CheckDue, first);
    }

    /// The release that is being watched and by which rule.
    fn watched(&self) -> Option<(Slot, HealthPolicy)> {
        match &self.record.state {
            State::Checking(task) | State::Baking(task) => {
                Some((task.assignment.slot(), task.assignment.health))
            }
            State::Returning(_, retreat) if retreat.step == ReturnStep::Check => {
                self.record.committed.map(|slot| (slot, slot.health))
            }
            State::Idle
            | State::Authorised(_)
            | State::Fetching(_)
            | State::Assembled(_)
            | State::Preflight(..)
            | State::Stopping(..)
            | State::Activating(..)
            | State::Starting(..)
            | State::Committed(_)
            | State::Returning(..)
            | State::Returned(_)
            | State::Stuck(..) => None,
        }
    }

    /// Asks for the next round.
    pub(crate) fn check(&mut self, now: Now) {
        let Some((slot, health)) = self.watched() else {
            return;
        };
        self.watch.rounds = self.watch.rounds.saturating_add(1);
        self.watch.asked = now.monotonic;
        let round = self.watch.rounds;
        self.issue(Effect::Check { slot, round }, Asked::Sample);
        let limit = health.timeout.saturating_add(CHECK_MARGIN);
        self.timers.insert(Wake::CheckLate, now.monotonic.saturating_add(limit));
    }

    /// A round that was not answered counts as failed; its answer is no longer wanted.
    pub(crate) fn check_late(&mut self, now: Now) {
        self.forget_pending();
        let reading = Reading {
            check: "all".to_owned(),
            healthy: false,
            detail: "the round of checks was not answered in time".to_owned(),
            took: CHECK_MARGIN,
        };
        let sample = Sample { at: now.wall, readings: vec![reading] };
        self.sampled(sample, now);
    }

    pub(crate) fn sampled(&mut self, sample: Sample, now: Now) {
        let Some((_, health)) = self.watched() else {
            return;
        };
        self.timers.remove(&Wake::CheckLate);
        let baking = matches!(self.record.state, State::Baking(_));
        let healthy = sample.healthy();
        let graced = !baking && now.monotonic < self.watch.since.saturating_add(health.start_grace);
        if healthy || !graced {
            self.watch.evidence.add(sample);
        }
        let watch = &mut self.watch;
        if healthy {
            watch.streak = watch.streak.saturating_add(1);
        } else {
            watch.streak = 0;
            watch.lost = watch.lost.saturating_add(1);
        }
        if baking {
            self.judge_baking(healthy, &health, now);
        } else if self.watch.streak >= health.successes.max(1)
            || cutover_shared::seeded!(OneCheckIsEnough) && healthy
        {
            self.step_done(now);
        } else {
            self.check_next(&health, None, now);
        }
    }

    fn judge_baking(&mut self, healthy: bool, health: &HealthPolicy, now: Now) {
        let baked = self.watch.since.saturating_add(health.bake);
        if self.watch.lost > health.bake_tolerance {
            self.turn_back(Cause::HealthLost, now);
        } else if healthy && (now.monotonic >= baked || cutover_shared::seeded!(BakingSkipped)) {
            self.advance(now);
        } else {
            let no_later_than = (baked > now.monotonic).then_some(baked);
            self.check_next(health, no_later_than, now);
        }
    }

    /// The next round an interval after the last began, or at `no_later_than`.
    fn check_next(&mut self, health: &HealthPolicy, no_later_than: Option<Duration>, now: Now) {
        let due = self.watch.asked.saturating_add(health.interval);
        let due = no_later_than.map_or(due, |latest| due.min(latest));
        self.timers.insert(Wake::CheckDue, due.max(now.monotonic));
    }

    pub(crate) fn health_deadline(&mut self, now: Now) {
        match self.record.state {
            State::Checking(_) => self.turn_back(Cause::NeverHealthy, now),
            State::Returning(..) => {
                let why = "the earlier release did not become healthy by its deadline";
                self.return_step_failed(why.to_owned(), now);
            }
            State::Idle
            | State::Authorised(_)
            | State::Fetching(_)
            | State::Assembled(_)
            | State::Preflight(..)
            | State::Stopping(..)
            | State::Activating(..)
            | State::Starting(..)
            | State::Baking(_)
            | State::Committed(_)
            | State::Returned(_)
            | State::Stuck(..) => {}
        }
    }

    /// The application ended by itself; whether that means anything here.
    pub(crate) fn exited(&mut self, why: String, now: Now) -> bool {
        match &self.record.state {
            State::Starting(..) if self.started() => {
                self.turn_back(Cause::Exited { why }, now);
                true
            }
            State::Checking(_) | State::Baking(_) => {
                self.turn_back(Cause::Exited { why }, now);
                true
            }
            State::Returning(_, retreat) if retreat.step == ReturnStep::Check => {
                self.return_step_failed(why, now);
                true
            }
            State::Idle
            | State::Authorised(_)
            | State::Fetching(_)
            | State::Assembled(_)
            | State::Preflight(..)
            | State::Stopping(..)
            | State::Activating(..)
            | State::Starting(..)
            | State::Committed(_)
            | State::Returning(..)
            | State::Returned(_)
            | State::Stuck(..) => false,
        }
    }

    fn started(&self) -> bool {
        let at = self.record.state.going_forward();
        at.is_some_and(|(_, point)| point > Point::Start)
    }
}
