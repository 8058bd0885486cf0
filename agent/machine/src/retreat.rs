//! The way back. It needs no statement, no network and no coordinator, and ends `returned` or `stuck`.

use std::time::Duration;

use crate::effect::{Direction, Effect, Wake};
use crate::event::{Now, Undo};
use crate::machine::{Asked, Machine, Settling};
use crate::report::{Cause, Evidence, What};
use crate::route::{Point, ReturnStep};
use crate::state::{Retreat, State, Task};

/// How often going back is tried in all before the operator is called.
pub const RETURN_ATTEMPTS: u32 = 3;

/// Between two attempts, for whatever was in the way to pass.
pub const RETURN_PAUSE: Duration = Duration::from_secs(5);

/// How long one step may stay unanswered where no more is reserved for going back. Larger than any stop timeout or hook timeout that a host's
/// configuration or a package may ask for.
pub const RETURN_STEP_LIMIT: Duration = Duration::from_mins(15);

impl Machine {
    /// Leaves the way forward, if it is on it: back, or where there is no way back, `stuck`.
    pub(crate) fn turn_back(&mut self, cause: Cause, now: Now) {
        let Some((task, reached)) = self.record.state.going_forward() else {
            return;
        };
        let task = task.clone();
        let retreat = Retreat {
            cause,
            reached,
            step: ReturnStep::Quiesce,
            attempt: 1,
            last_failure: None,
            health: std::mem::take(&mut self.watch.evidence),
        };
        if task.past_return(reached) {
            self.stick(task, retreat, None, now);
        } else {
            self.quiesce_then_return(task, retreat, now);
        }
    }

    /// A stuck application goes back again because an operator says so: all of the way, with new attempts.
    pub(crate) fn return_by_hand(
        &mut self,
        mut task: Task,
        reached: Point,
        undo: Undo,
        why: String,
        now: Now,
    ) {
        match undo {
            Undo::Run => {}
            Undo::Skip => task.assignment.hooks.undo.clear(),
        }
        let retreat = Retreat {
            cause: Cause::Operator { why },
            reached,
            step: ReturnStep::Quiesce,
            attempt: 1,
            last_failure: None,
            health: Evidence::default(),
        };
        self.quiesce_then_return(task, retreat, now);
    }

    /// A stuck release was put right by hand: it is committed by the operator's word, and seen to.
    pub(crate) fn keep_by_hand(&mut self, task: &Task, why: String, now: Now) {
        let mut outcome = task.outcome(What::Committed, Point::Bake, self.told_time(now));
        outcome.cause = Some(Cause::Operator { why });
        let outcome = Box::new(outcome);
        self.record.committed = Some(task.assignment.slot());
        self.enter(State::Committed(outcome.clone()), Some(outcome), now);
        self.settling = Settling::Needed;
    }

    /// First ends what may still be running, then goes the way back from its beginning.
    fn quiesce_then_return(&mut self, task: Task, mut retreat: Retreat, now: Now) {
        retreat.step = ReturnStep::Quiesce;
        if let Some(of) = self.running() {
            self.enter(State::Returning(task, retreat), None, now);
            self.issue(Effect::Abort { of }, Asked::Work);
        } else {
            self.step_back(task, retreat, now);
        }
    }

    /// After a restart: all of the way, since a reboot may have started anything.
    pub(crate) fn return_from_the_top(&mut self, now: Now) {
        if let State::Returning(task, retreat) = &self.record.state {
            let (task, retreat) = (task.clone(), retreat.clone());
            self.quiesce_then_return(task, retreat, now);
        }
    }

    /// Issues what the current step of going back needs.
    pub(crate) fn ask_return(&mut self, now: Now) {
        let State::Returning(task, retreat) = &self.record.state else {
            return;
        };
        let slot = task.assignment.slot();
        let earlier = self.record.committed;
        let step = retreat.step;
        let effect = match step {
            ReturnStep::Quiesce => None,
            ReturnStep::Pause => {
                let again = now.monotonic + RETURN_PAUSE;
                self.timers.insert(Wake::ReturnAgain, again);
                return;
            }
            ReturnStep::Check => {
                if let Some(earlier) = earlier {
                    self.watch_from_the_start(&earlier.health, now);
                }
                return;
            }
            ReturnStep::Stop => Some(Effect::Stop),
            ReturnStep::Switch if cutover_shared::seeded!(LinkNotSwitchedBack) => {
                Some(Effect::Switch { to: Some(slot) })
            }
            ReturnStep::Switch => Some(Effect::Switch { to: earlier }),
            ReturnStep::Start => earlier.map(|slot| Effect::Start { slot }),
            ReturnStep::CleanUp => Some(Effect::CleanUp { slot }),
            ReturnStep::UndoPostStart
            | ReturnStep::UndoStart
            | ReturnStep::UndoActivate
            | ReturnStep::UndoStop
            | ReturnStep::UndoPreStop => {
                step.undoes().map(|phase| Effect::Hook { slot, phase, direction: Direction::Undo })
            }
        };
        // A runbook's way back is one step, and takes what was kept for it.
        let limit = RETURN_STEP_LIMIT.max(task.assignment.rollback_reserve);
        let limit = now.monotonic + limit;
        self.timers.insert(Wake::ReturnStepLate, limit);
        if let Some(effect) = effect {
            self.issue(effect, Asked::Work);
        }
    }

    /// The step is over: on to the next, or the end.
    pub(crate) fn return_step_done(&mut self, now: Now) {
        if let State::Returning(task, retreat) = &self.record.state {
            let (task, retreat) = (task.clone(), retreat.clone());
            self.step_back(task, retreat, now);
        }
    }

    fn step_back(&mut self, task: Task, mut retreat: Retreat, now: Now) {
        let hooks = &task.assignment.hooks;
        let earlier = self.record.committed;
        match retreat.step.next(retreat.reached, hooks, earlier.as_ref()) {
            Some(step) => {
                retreat.step = step;
                self.enter(State::Returning(task, retreat), None, now);
            }
            None => self.returned(&task, retreat, now),
        }
    }

    fn returned(&mut self, task: &Task, retreat: Retreat, now: Now) {
        let what = if retreat.reached.touches() {
            self.leave_alone();
            What::Returned { to: self.record.committed }
        } else {
            What::Abandoned
        };
        if cutover_shared::seeded!(GenerationReused) {
            self.record.generation -= 1;
        }
        let mut outcome = task.outcome(what, retreat.reached, self.told_time(now));
        outcome.cause = Some(retreat.cause);
        outcome.health = retreat.health;
        outcome.health_after = std::mem::take(&mut self.watch.evidence);
        let outcome = Box::new(outcome);
        self.enter(State::Returned(outcome.clone()), Some(outcome), now);
    }

    /// The step failed: the whole way again after a pause, until the attempts are used up. What could
    /// not be cleaned up is no reason to call the operator; the next clean-up of the slots finds it.
    pub(crate) fn return_step_failed(&mut self, why: String, now: Now) {
        let State::Returning(task, retreat) = &self.record.state else {
            return;
        };
        let (task, mut retreat) = (task.clone(), retreat.clone());
        let step = retreat.step;
        if step == ReturnStep::CleanUp {
            return self.returned(&task, retreat, now);
        }
        if retreat.attempt >= RETURN_ATTEMPTS {
            return self.stick(task, retreat, Some((step, why)), now);
        }
        retreat.attempt += 1;
        retreat.last_failure = Some((step, why));
        if self.running().is_some() {
            self.quiesce_then_return(task, retreat, now);
        } else {
            retreat.step = ReturnStep::Pause;
            self.enter(State::Returning(task, retreat), None, now);
        }
    }

    /// The step was not answered. What cannot even be ended leaves no way to go on.
    pub(crate) fn return_step_late(&mut self, now: Now) {
        let State::Returning(task, retreat) = &self.record.state else {
            return;
        };
        let why = "it was not done in time".to_owned();
        if retreat.step == ReturnStep::Quiesce {
            let (task, retreat) = (task.clone(), retreat.clone());
            self.stick(task, retreat, Some((ReturnStep::Quiesce, why)), now);
        } else {
            self.return_step_failed(why, now);
        }
    }

    fn stick(&mut self, task: Task, retreat: Retreat, at: Option<(ReturnStep, String)>, now: Now) {
        let ended = self.told_time(now);
        let mut outcome = task.outcome(What::Stuck { at }, retreat.reached, ended);
        outcome.cause = Some(retreat.cause);
        outcome.health = retreat.health;
        outcome.health_after = std::mem::take(&mut self.watch.evidence);
        let outcome = Box::new(outcome);
        self.enter(State::Stuck(task, outcome.clone()), Some(outcome), now);
    }
}
