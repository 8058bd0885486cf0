//! The way forward: what each state asks for, and where its answers lead.

use std::time::Duration;

use cutover_shared::digest::Digest;
use cutover_shared::time::Time;

use crate::assignment::{Assignment, Kind};
use crate::effect::{ClearancePhase, Direction, Effect, Wake};
use crate::event::{Now, Rejection};
use crate::machine::{Asked, Machine};
use crate::report::{Cause, What};
use crate::route::Point;
use crate::state::{State, Task};

/// How often an order is taken up again after the applier had ended before it touched anything. More
/// than that, and the order itself may be what ends the applier.
pub const RESUMES: u32 = 3;

/// How long a request for a clearance may stay unanswered before it is made again, with a new nonce.
const CLEARANCE_PATIENCE: Duration = Duration::from_secs(30);

/// How long after something stood in preflight's way it looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

impl Machine {
    /// Takes up an order, for the first time.
    pub(crate) fn begin(&mut self, assignment: Assignment, now: Now) {
        let task = Task { assignment, began: now.wall, resumed: 0, clearances: Vec::new() };
        self.set_out(task, now);
    }

    fn set_out(&mut self, task: Task, now: Now) {
        let assignment = &task.assignment;
        let bound = match assignment.kind {
            Kind::Forward => assignment.last_commit().since(now.wall),
            Kind::Return => assignment.apply_budget,
        };
        let closing = now.monotonic.saturating_add(bound);
        self.set_out = Some(now);
        self.enter(State::Authorised(task), None, now);
        self.timers.insert(Wake::WindowClosing, closing);
    }

    /// What a restart means for the state that was found.
    pub(crate) fn resume(&mut self, now: Now) {
        let (task, point) = match &self.record.state {
            State::Idle | State::Committed(_) | State::Returned(_) => return,
            State::Stuck(..) => return self.leave_alone(),
            State::Returning(_, retreat) => {
                if retreat.reached.touches() {
                    self.leave_alone();
                }
                return self.return_from_the_top(now);
            }
            State::Authorised(task) => (task, Point::Clear),
            State::Fetching(task) => (task, Point::Fetch),
            State::Assembled(task) => (task, Point::Wait),
            State::Preflight(task, _) => (task, Point::Preflight),
            State::Stopping(..)
            | State::Activating(..)
            | State::Starting(..)
            | State::Checking(_)
            | State::Baking(_) => {
                self.leave_alone();
                let at = self.record.state.going_forward();
                let at = at.map_or(Point::Stop, |(_, point)| point);
                return self.turn_back(Cause::Interrupted { at }, now);
            }
        };
        if task.resumed >= RESUMES {
            self.turn_back(Cause::Interrupted { at: point }, now);
        } else if room(&task.assignment, now.wall).is_err() {
            self.turn_back(Cause::NoRoom, now);
        } else {
            let mut task = task.clone();
            task.resumed += 1;
            task.clearances.clear();
            self.set_out(task, now);
        }
    }

    /// Issues what the state that was just entered (or is asked again) needs.
    pub(crate) fn ask(&mut self, now: Now) {
        let Some((task, point)) = self.record.state.going_forward() else {
            return self.ask_return(now);
        };
        let slot = task.assignment.slot();
        let assignment = || Box::new(task.assignment.clone());
        let (effect, asked) = match point {
            Point::Clear if task.assignment.kind == Kind::Return => return,
            Point::Clear => return self.ask_clearance(ClearancePhase::Start, now),
            Point::ClearAgain => return self.ask_clearance(ClearancePhase::Activate, now),
            Point::Fetch => {
                let assignment = assignment();
                (Effect::Assemble { assignment }, Asked::Work)
            }
            Point::Wait => return,
            Point::Preflight => {
                let assignment = assignment();
                (Effect::Preflight { assignment }, Asked::Look)
            }
            Point::Stop => (Effect::Stop, Asked::Work),
            Point::Switch => (Effect::Switch { to: Some(slot) }, Asked::Work),
            Point::Start => (Effect::Start { slot }, Asked::Work),
            Point::PreStopHook
            | Point::StopHook
            | Point::ActivateHook
            | Point::StartHook
            | Point::PostStartHook => {
                let Some(phase) = point.hook() else { return };
                let direction = Direction::Forward;
                let hook = Effect::Hook { slot, phase, direction };
                (hook, Asked::Work)
            }
            Point::Check => {
                let health = task.assignment.health;
                return self.watch_from_the_start(&health, now);
            }
            Point::Bake => {
                let health = task.assignment.health;
                return self.watch_baking(&health, now);
            }
        };
        self.issue(effect, asked);
    }

    fn ask_clearance(&mut self, phase: ClearancePhase, now: Now) {
        self.issue(Effect::RequestClearance { phase }, Asked::Clearance);
        let again = now.monotonic + CLEARANCE_PATIENCE;
        self.timers.insert(Wake::ClearanceUnanswered, again);
    }

    pub(crate) fn look_again(&mut self, now: Now) {
        self.timers.insert(Wake::PreflightAgain, now.monotonic + LOOK_AGAIN);
    }

    /// The current record is stored: states that wait for nothing else go on.
    pub(crate) fn persisted(&mut self, now: Now) {
        let Some((task, point)) = self.record.state.going_forward() else {
            return;
        };
        let assignment = &task.assignment;
        let go_on = match assignment.kind {
            Kind::Return => matches!(point, Point::Clear | Point::Wait),
            Kind::Forward => point == Point::Wait && now.wall >= assignment.window_start,
        };
        if go_on {
            self.advance(now);
        }
    }

    pub(crate) fn cleared(&mut self, clearance: Digest, now: Now) {
        match &mut self.record.state {
            State::Authorised(task) | State::Preflight(task, _) => task.clearances.push(clearance),
            State::Idle
            | State::Fetching(_)
            | State::Assembled(_)
            | State::Stopping(..)
            | State::Activating(..)
            | State::Starting(..)
            | State::Checking(_)
            | State::Baking(_)
            | State::Committed(_)
            | State::Returning(..)
            | State::Returned(_)
            | State::Stuck(..) => {}
        }
        self.advance(now);
    }

    pub(crate) fn step_done(&mut self, now: Now) {
        if self.record.state.going_forward().is_some() {
            self.advance(now);
        } else {
            self.return_step_done(now);
        }
    }

    pub(crate) fn step_failed(&mut self, why: String, now: Now) {
        match self.record.state.going_forward() {
            Some((_, at)) => self.turn_back(Cause::Failed { at, why }, now),
            None => self.return_step_failed(why, now),
        }
    }

    /// On to the next point; after the last one the release is committed.
    pub(crate) fn advance(&mut self, now: Now) {
        let Some((task, point)) = self.record.state.going_forward() else {
            return;
        };
        let task = task.clone();
        if self.closing(&task.assignment, now) {
            return self.turn_back(Cause::WindowClosing, now);
        }
        let Some(next) = point.next(&task.assignment) else {
            return self.commit(task, now);
        };
        // Stopping a release only to start it again when the window closes helps nobody.
        if next.touches() && !point.touches() && !can_still_commit(&task.assignment, now) {
            return self.turn_back(Cause::NoRoom, now);
        }
        self.enter(State::forward(next, task), None, now);
    }

    fn closing(&self, assignment: &Assignment, now: Now) -> bool {
        let on_wall = match assignment.kind {
            Kind::Forward => now.wall >= assignment.last_commit(),
            Kind::Return => false,
        };
        let timer = self.timers.get(&Wake::WindowClosing);
        on_wall || timer.is_some_and(|due| *due <= now.monotonic)
    }

    fn commit(&mut self, task: Task, now: Now) {
        let mut outcome = task.outcome(What::Committed, Point::Bake, self.told_time(now));
        outcome.health = std::mem::take(&mut self.watch.evidence);
        let outcome = Box::new(outcome);
        self.leave_alone();
        let earlier = self.record.committed;
        self.record.committed = Some(task.assignment.slot());
        self.committing = Some((task, earlier));
        self.enter(State::Committed(outcome.clone()), Some(outcome), now);
    }
}

/// Whether the shortest possible way to a commit still fits.
fn can_still_commit(assignment: &Assignment, now: Now) -> bool {
    let health = &assignment.health;
    match assignment.kind {
        Kind::Forward => now.wall + health.bake < assignment.last_commit(),
        Kind::Return => true,
    }
}

/// Whether there is room for `assignment` from `now` on.
pub(crate) fn room(assignment: &Assignment, now: Time) -> Result<(), Rejection> {
    let end = assignment.window_end;
    if now >= end {
        return Err(Rejection::WindowClosed(end));
    }
    match assignment.kind {
        Kind::Return => Ok(()),
        Kind::Forward if now < assignment.window_start => {
            Err(Rejection::WindowNotOpen(assignment.window_start))
        }
        Kind::Forward if now + assignment.apply_budget + assignment.rollback_reserve > end => {
            Err(Rejection::WindowTooShort(end))
        }
        Kind::Forward => Ok(()),
    }
}
