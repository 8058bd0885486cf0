//! The machine: events in, effects and timeouts out. The way forward is in `forward` and `health`, the way
//! back in `retreat`, what every change of state has in common in `store`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use cutover_shared::time::Time;

use crate::assignment::{Assignment, Kind, Slot};
use crate::effect::{Effect, EffectId, Issued, Timeout, Wake};
use crate::event::{Decision, Hold, HoldAnswer, Now, Rejection, Resolution, Withstands};
use crate::forward::room;
use crate::health::Watch;
use crate::report::{Cause, Sample, bounded};
use crate::route::Point;
use crate::state::{Phase, Record, State, Task};

/// The wall clock is looked at again at least this often, since it can be set while the machine sleeps.
const WALL_RECHECK: Duration = Duration::from_secs(30);

/// What is known of the effect that was handed out last, apart from `Persist` and `Settle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Answered by done or failed.
    Work,
    /// Answered by done, failed or blocked.
    Look,
    /// Answered by a decision.
    Clearance,
    /// Answered by a sample.
    Sample,
}

/// Seeing to the committed release after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settling {
    /// Still to be asked for.
    Needed,
    /// Asked; everything else waits.
    Asked(EffectId),
    /// It failed; in a state of rest it is tried again.
    Failed,
    /// Done, or not needed.
    Over,
}

/// The deployment machine of one application; see the crate's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub(crate) record: Record,
    pub(crate) queue: VecDeque<Issued>,
    pub(crate) persisting: Option<EffectId>,
    pub(crate) settling: Settling,
    pub(crate) pending: Option<(EffectId, Asked)>,
    pub(crate) last_id: u64,
    pub(crate) timers: BTreeMap<Wake, Duration>,
    pub(crate) watch: Watch,
    /// What stood in preflight's way when it last looked.
    pub(crate) blocked: Option<String>,
    /// While a commit is not stored yet: what to go back with, should that fail.
    pub(crate) committing: Option<(Task, Option<Slot>)>,
    /// Both clocks when the order in hand was taken up, or last taken up again.
    pub(crate) set_out: Option<Now>,
}

impl Machine {
    /// The machine of an application that was never deployed here.
    pub fn new(application: impl Into<String>) -> Self {
        Self::with_record(Record {
            application: application.into(),
            generation: 0,
            committed: None,
            state: State::Idle,
        })
    }

    /// The machine as the applier finds it in the ledger after it ended for whatever reason. What had
    /// touched the host goes back; what had not starts again from its first clearance while the window
    /// has room, at most [`RESUMES`](crate::RESUMES) times.
    pub fn recover(record: Record, now: Now) -> Self {
        let mut machine = Self::with_record(record);
        machine.settling = Settling::Needed;
        machine.resume(now);
        machine
    }

    fn with_record(record: Record) -> Self {
        Self {
            record,
            queue: VecDeque::new(),
            persisting: None,
            settling: Settling::Over,
            pending: None,
            last_id: 0,
            timers: BTreeMap::new(),
            watch: Watch::default(),
            blocked: None,
            committing: None,
            set_out: None,
        }
    }

    /// What the ledger must hold.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Where it is.
    pub fn phase(&self) -> Phase {
        self.record.state.phase()
    }

    /// Whether the host was seen to be as the record says after a restart, or could not be put right.
    pub fn is_settled(&self) -> bool {
        matches!(self.settling, Settling::Over | Settling::Failed)
    }

    /// The next thing to do, if any may be done now. Hands each out once.
    #[must_use = "an effect is handed out once"]
    pub fn poll_effect(&mut self) -> Option<Issued> {
        if self.persisting.is_some() {
            return None;
        }
        match self.settling {
            Settling::Over | Settling::Failed => {}
            Settling::Asked(_) => return None,
            Settling::Needed => {
                let id = self.next_id();
                self.settling = Settling::Asked(id);
                let slot = self.record.committed;
                return Some(Issued { id, effect: Effect::Settle { slot } });
            }
        }
        let issued = self.queue.pop_front()?;
        if matches!(issued.effect, Effect::Persist { .. }) {
            self.persisting = Some(issued.id);
        }
        Some(issued)
    }

    /// When it wants to be woken at the latest.
    #[must_use = "a timeout that nobody waits for never comes"]
    pub fn poll_timeout(&self, now: Now) -> Option<Timeout> {
        let on_monotonic = self.timers.iter().map(|(reason, due)| Timeout {
            after: due.saturating_sub(now.monotonic),
            reason: *reason,
        });
        let on_wall = self.wall_edge().map(|(reason, edge)| Timeout {
            after: edge.since(now.wall).min(WALL_RECHECK),
            reason,
        });
        on_monotonic.chain(on_wall).min_by_key(|timeout| timeout.after)
    }

    /// A verified order.
    pub fn handle_order(&mut self, assignment: Assignment, now: Now) -> Result<(), Rejection> {
        if assignment.application != self.record.application {
            return Err(Rejection::WrongApplication(assignment.application));
        }
        match self.record.state {
            State::Idle | State::Committed(_) | State::Returned(_) if self.at_rest() => {}
            State::Stuck(..) => return Err(Rejection::Stuck),
            State::Idle
            | State::Authorised(_)
            | State::Fetching(_)
            | State::Assembled(_)
            | State::Preflight(..)
            | State::Stopping(..)
            | State::Activating(..)
            | State::Starting(..)
            | State::Checking(_)
            | State::Baking(_)
            | State::Committed(_)
            | State::Returning(..)
            | State::Returned(_) => return Err(Rejection::Busy(self.phase())),
        }
        let latest = self.record.generation;
        if assignment.generation <= latest {
            return Err(Rejection::GenerationPassed { latest });
        }
        let same = |slot: Slot| slot.release == assignment.release;
        if self.record.committed.is_some_and(same) {
            return Err(Rejection::AlreadyCommitted);
        }
        room(&assignment, now.wall)?;
        self.record.generation = assignment.generation;
        self.begin(assignment, now);
        Ok(())
    }

    /// A hold, a cancellation, a freeze or a denial of the order in hand.
    pub fn handle_hold(&mut self, hold: Hold, now: Now) -> Result<HoldAnswer, Rejection> {
        let Some((task, point)) = self.record.state.going_forward() else {
            return Err(Rejection::OutOfPlace(self.phase()));
        };
        if task.assignment.kind == Kind::Return {
            return Err(Rejection::NotForward);
        }
        let finishes = match hold.active {
            Withstands::Finish => point >= Point::Switch,
            Withstands::Return => task.past_return(point),
        };
        if finishes {
            return Ok(HoldAnswer::Finishing);
        }
        let why = bounded(hold.why);
        self.turn_back(Cause::Held { why }, now);
        Ok(HoldAnswer::Returning)
    }

    /// The answer to [`Effect::RequestClearance`].
    pub fn handle_clearance(
        &mut self,
        id: EffectId,
        decision: Decision,
        now: Now,
    ) -> Result<(), Rejection> {
        self.take(id, &[Asked::Clearance])?;
        match decision {
            Decision::Granted(clearance) => self.cleared(clearance, now),
            Decision::Refused(why) => {
                let why = bounded(why);
                self.turn_back(Cause::NotCleared { why }, now);
            }
        }
        Ok(())
    }

    /// The effect was carried out.
    pub fn handle_done(&mut self, id: EffectId, now: Now) -> Result<(), Rejection> {
        if self.persisting == Some(id) {
            self.persisting = None;
            if !self.persist_queued() {
                self.committing = None;
                self.persisted(now);
            }
        } else if self.settling == Settling::Asked(id) {
            self.settling = Settling::Over;
        } else {
            self.take(id, &[Asked::Work, Asked::Look])?;
            self.step_done(now);
        }
        Ok(())
    }

    /// The effect was not carried out, or not to its end.
    pub fn handle_failed(
        &mut self,
        id: EffectId,
        why: impl Into<String>,
        now: Now,
    ) -> Result<(), Rejection> {
        let why = bounded(why.into());
        if self.persisting == Some(id) {
            self.persisting = None;
            if !self.persist_queued() {
                self.not_persisted(why, now);
            }
        } else if self.settling == Settling::Asked(id) {
            // What the host ran before is out of order, which is no reason against a newer release
            // and nothing that going back could mend. The driver says it aloud.
            self.settling = Settling::Failed;
            self.settle_again(now);
        } else {
            self.take(id, &[Asked::Work, Asked::Look])?;
            self.step_failed(why, now);
        }
        Ok(())
    }

    /// The answer to [`Effect::Preflight`] when something stands in the way that may go by itself, such
    /// as a local inhibitor. It looks again after a while, as long as the window allows.
    pub fn handle_blocked(
        &mut self,
        id: EffectId,
        why: impl Into<String>,
        now: Now,
    ) -> Result<(), Rejection> {
        self.take(id, &[Asked::Look])?;
        self.blocked = Some(bounded(why.into()));
        self.look_again(now);
        Ok(())
    }

    /// The answer to [`Effect::Check`].
    pub fn handle_sample(
        &mut self,
        id: EffectId,
        sample: Sample,
        now: Now,
    ) -> Result<(), Rejection> {
        self.take(id, &[Asked::Sample])?;
        self.sampled(sample, now);
        Ok(())
    }

    /// The application ended by itself.
    pub fn handle_exited(&mut self, why: impl Into<String>, now: Now) -> Result<(), Rejection> {
        let why = bounded(why.into());
        if self.exited(why, now) { Ok(()) } else { Err(Rejection::OutOfPlace(self.phase())) }
    }

    /// An operator at the host wants the committed release, or put a stuck application right by hand;
    /// `why` is for the outcome.
    pub fn handle_resolved(
        &mut self,
        resolution: Resolution,
        why: impl Into<String>,
        now: Now,
    ) -> Result<(), Rejection> {
        if !self.at_rest() {
            return Err(Rejection::Busy(self.phase()));
        }
        let why = bounded(why.into());
        match (&self.record.state, resolution) {
            (State::Stuck(task, stuck), Resolution::Earlier { undo, even_irreversible }) => {
                if task.past_return(stuck.reached) && !even_irreversible {
                    return Err(Rejection::Irreversible);
                }
                let (task, reached) = (task.clone(), stuck.reached);
                self.return_by_hand(task, reached, undo, why, now);
            }
            (State::Stuck(task, stuck), Resolution::Newer) if stuck.reached >= Point::Switch => {
                let task = task.clone();
                self.keep_by_hand(&task, why, now);
            }
            (
                State::Idle | State::Committed(_) | State::Returned(_),
                Resolution::Earlier { .. },
            ) => self.settling = Settling::Needed,
            (
                State::Authorised(_)
                | State::Fetching(_)
                | State::Assembled(_)
                | State::Preflight(..)
                | State::Stopping(..)
                | State::Activating(..)
                | State::Starting(..)
                | State::Checking(_)
                | State::Baking(_)
                | State::Returning(..),
                Resolution::Earlier { .. },
            )
            | (_, Resolution::Newer) => return Err(Rejection::OutOfPlace(self.phase())),
        }
        Ok(())
    }

    /// Time has passed. Harmless at any time.
    pub fn handle_timeout(&mut self, now: Now) {
        if let Some((reason, edge)) = self.wall_edge()
            && now.wall >= edge
        {
            self.wake(reason, now);
        }
        let due: Vec<Wake> = self
            .timers
            .iter()
            .filter(|(_, due)| **due <= now.monotonic)
            .map(|(reason, _)| *reason)
            .collect();
        for reason in due {
            // An earlier one may have changed the state and with it the timers.
            let still = self.timers.get(&reason);
            if still.is_some_and(|due| *due <= now.monotonic) {
                self.timers.remove(&reason);
                self.wake(reason, now);
            }
        }
    }

    fn wake(&mut self, reason: Wake, now: Now) {
        match reason {
            Wake::WindowClosing => self.turn_back(Cause::WindowClosing, now),
            Wake::WindowOpens => self.persisted(now),
            Wake::ClearanceUnanswered | Wake::PreflightAgain => {
                self.forget_pending();
                self.ask(now);
            }
            Wake::HealthDeadline => self.health_deadline(now),
            Wake::CheckDue => self.check(now),
            Wake::CheckLate => self.check_late(now),
            Wake::ReturnStepLate => self.return_step_late(now),
            Wake::ReturnAgain => self.return_step_done(now),
            Wake::PersistAgain => self.persist_again(),
            Wake::SettleAgain => self.settling = Settling::Needed,
        }
    }

    /// The time for an outcome: what the wall clock says, and no earlier than when the order was taken up
    /// plus how long it has taken since. A wall clock that is set back meanwhile moves nothing into the
    /// past: not the end after which a wave has to stay healthy, nor the return after which a package has
    /// to be reviewed anew.
    pub(crate) fn told_time(&self, now: Now) -> Time {
        let at_least = self.set_out.map(|it| it.wall + now.monotonic.saturating_sub(it.monotonic));
        at_least.map_or(now.wall, |at_least| now.wall.max(at_least))
    }

    /// The edge of the window that it waits for on the wall clock.
    fn wall_edge(&self) -> Option<(Wake, Time)> {
        let (task, point) = self.record.state.going_forward()?;
        let assignment = &task.assignment;
        match assignment.kind {
            Kind::Return => None,
            Kind::Forward
                if point == Point::Wait
                    && self.at_rest()
                    && assignment.window_start < assignment.last_commit() =>
            {
                Some((Wake::WindowOpens, assignment.window_start))
            }
            Kind::Forward => Some((Wake::WindowClosing, assignment.last_commit())),
        }
    }
}
