//! Changing the state and having it stored: persist before effect.

use std::time::Duration;

use crate::effect::{Effect, EffectId, Issued, Wake};
use crate::event::{Now, Rejection};
use crate::machine::{Asked, Machine, Settling};
use crate::report::{Cause, Outcome};
use crate::state::State;

/// Between two tries to store the end of an order.
const PERSIST_RETRY: Duration = Duration::from_secs(5);

/// Between two tries to get the committed release to run after a restart.
const SETTLE_RETRY: Duration = Duration::from_secs(30);

impl Machine {
    /// Whether everything that was to be stored is stored and nothing is left to be settled.
    pub(crate) fn at_rest(&self) -> bool {
        self.persisting.is_none()
            && !self.persist_queued()
            && !self.timers.contains_key(&Wake::PersistAgain)
            && matches!(self.settling, Settling::Over | Settling::Failed)
    }

    pub(crate) fn persist_queued(&self) -> bool {
        let persist = |issued: &Issued| matches!(issued.effect, Effect::Persist { .. });
        self.queue.iter().any(persist)
    }

    pub(crate) fn next_id(&mut self) -> EffectId {
        self.last_id = self.last_id.saturating_add(1);
        EffectId(self.last_id)
    }

    /// Takes the answer to the pending effect, if it is `id`, was handed out, and is so answered.
    pub(crate) fn take(&mut self, id: EffectId, as_one_of: &[Asked]) -> Result<(), Rejection> {
        match self.pending {
            Some((pending, asked)) if pending == id && self.handed_out(id) => {
                if !as_one_of.contains(&asked) {
                    return Err(Rejection::WrongAnswer(id));
                }
                self.pending = None;
                Ok(())
            }
            Some(_) | None => Err(Rejection::Stale(id)),
        }
    }

    pub(crate) fn handed_out(&self, id: EffectId) -> bool {
        !self.queue.iter().any(|issued| issued.id == id)
    }

    /// Waits for the pending effect no longer.
    pub(crate) fn forget_pending(&mut self) {
        if let Some((id, _)) = self.pending.take() {
            self.queue.retain(|issued| issued.id != id);
        }
    }

    /// Nothing is to be settled: what is recovered sees to the application by itself, or must not.
    pub(crate) fn leave_alone(&mut self) {
        self.settling = Settling::Over;
    }

    /// The pending effect, if something of it may be running.
    pub(crate) fn running(&self) -> Option<EffectId> {
        match self.pending {
            Some((_, Asked::Clearance)) | None => None,
            Some((id, Asked::Work | Asked::Look | Asked::Sample)) => {
                self.handed_out(id).then_some(id)
            }
        }
    }

    /// Puts an effect into the queue, behind a `Persist` that may be there.
    pub(crate) fn issue(&mut self, effect: Effect, asked: Asked) {
        let id = self.next_id();
        self.pending = Some((id, asked));
        self.queue.push_back(Issued { id, effect });
    }

    /// Changes the state: what was not handed out is dropped, the new record comes first, then what
    /// the state asks for.
    pub(crate) fn enter(&mut self, state: State, outcome: Option<Box<Outcome>>, now: Now) {
        self.queue.clear();
        self.pending = None;
        self.blocked = None;
        let closing = self.timers.remove(&Wake::WindowClosing);
        self.timers.clear();
        self.record.state = state;
        if let (Some(closing), Some(_)) = (closing, self.record.state.going_forward()) {
            self.timers.insert(Wake::WindowClosing, closing);
        }
        if self.settling == Settling::Failed {
            self.settle_again(now);
        }
        self.persist(outcome);
        self.ask(now);
    }

    pub(crate) fn persist(&mut self, outcome: Option<Box<Outcome>>) {
        let id = self.next_id();
        let record = Box::new(self.record.clone());
        let effect = Effect::Persist { record, outcome };
        self.queue.push_front(Issued { id, effect });
    }

    /// The end of an order was not stored: it is tried again, with its outcome.
    pub(crate) fn persist_again(&mut self) {
        let outcome = self.record.state.outcome().cloned().map(Box::new);
        self.persist(outcome);
    }

    /// Where nothing else will see to the application, a failed settling is tried again.
    pub(crate) fn settle_again(&mut self, now: Now) {
        match self.record.state {
            State::Idle | State::Committed(_) | State::Returned(_) => {
                let again = now.monotonic + SETTLE_RETRY;
                self.timers.insert(Wake::SettleAgain, again);
            }
            State::Authorised(_)
            | State::Fetching(_)
            | State::Assembled(_)
            | State::Preflight(..)
            | State::Stopping(..)
            | State::Activating(..)
            | State::Starting(..)
            | State::Checking(_)
            | State::Baking(_)
            | State::Returning(..)
            | State::Stuck(..) => {}
        }
    }

    /// The record could not be stored. Forward turns back; backward goes on without; an end is tried
    /// again until it can be stored.
    pub(crate) fn not_persisted(&mut self, why: String, now: Now) {
        if let Some((task, earlier)) = self.committing.take() {
            self.record.committed = earlier;
            self.record.state = State::Baking(task);
        }
        match self.record.state {
            State::Authorised(_)
            | State::Fetching(_)
            | State::Assembled(_)
            | State::Preflight(..)
            | State::Stopping(..)
            | State::Activating(..)
            | State::Starting(..)
            | State::Checking(_)
            | State::Baking(_) => self.turn_back(Cause::NotRecorded { why }, now),
            State::Returning(..) => {}
            State::Idle | State::Committed(_) | State::Returned(_) | State::Stuck(..) => {
                let again = now.monotonic + PERSIST_RETRY;
                self.timers.insert(Wake::PersistAgain, again);
            }
        }
    }
}
