//! The deployment machine of one application on one host: pure.
//!
//! **Contract.** No clock, file, process, network, randomness or async in here. The driver owns one
//! [`Machine`] for each application and does this, one event at a time:
//!
//! 1. [`Machine::recover`] from what the ledger holds (or [`Machine::new`]);
//! 2. do what [`Machine::poll_effect`] hands out until it hands out nothing, and bring each answer back
//!    with the effect's id: `handle_done`, `handle_failed`, `handle_sample`, `handle_clearance`,
//!    `handle_blocked`;
//! 3. sleep until an event, or until [`Machine::poll_timeout`], then [`Machine::handle_timeout`].
//!
//! Every `handle_*` takes [`Now`]: the wall clock, for the edges of the window, and the monotonic
//! clock, for everything that lasts. A wall clock that is set back during a deployment does not
//! lengthen its window, since the closing of the window is kept on both, and its outcome tells no earlier end.
//!
//! **Persist before effect.** Each change of state first hands out [`Effect::Persist`] and nothing more
//! until that is answered, so that what the ledger holds is never behind what was done. A ledger that
//! cannot be written turns a deployment back; going back itself does not wait for it, since a deployment
//! that is found half-way in the ledger goes back anyway.
//!
//! **Total.** An event that has no meaning in a state is a typed [`Rejection`] and changes nothing.
//! Answers to effects that are no longer wanted are [`Rejection::Stale`].
//!
//! **Always ends.** Forward is bounded by the window, each step back by [`RETURN_STEP_LIMIT`], the
//! rollback reserve or the health deadline, the attempts by [`RETURN_ATTEMPTS`]; after that it is `stuck`, which says so.
//!
//! The transitions, each with what causes it; a test explores the machine and compares.
//!
//! ```text
//! idle       -> authorised : order
//! committed  -> authorised : order
//! returned   -> authorised : order
//!
//! authorised -> fetching   : clearance, or done (an ordered return needs none)
//! fetching   -> assembled  : done
//! assembled  -> preflight  : done, timeout
//! preflight  -> stopping   : clearance, or done (an ordered return needs none)
//! stopping   -> activating : done
//! activating -> starting   : done
//! starting   -> checking   : done
//! checking   -> baking     : sample
//! baking     -> committed  : sample
//!
//! authorised -> returning  : hold, clearance, done, failed, timeout, recover
//! fetching   -> returning  : hold, done, failed, timeout, recover
//! assembled  -> returning  : hold, done, failed, timeout, recover
//! preflight  -> returning  : hold, clearance, done, failed, timeout, recover
//! stopping   -> returning  : hold, done, failed, timeout, recover
//! activating -> returning  : hold, done, failed, timeout, recover
//! starting   -> returning  : hold, done, failed, timeout, recover, exited
//! checking   -> returning  : hold, sample, failed, timeout, recover, exited
//! baking     -> returning  : hold, sample, failed, timeout, recover, exited
//! committed  -> returning  : failed (it could not be recorded)
//!
//! fetching   -> authorised : recover
//! assembled  -> authorised : recover
//! preflight  -> authorised : recover
//!
//! activating -> stuck      : done, failed, timeout, recover (irreversible)
//! starting   -> stuck      : done, failed, timeout, recover, exited (irreversible)
//! checking   -> stuck      : sample, failed, timeout, recover, exited (irreversible)
//! baking     -> stuck      : sample, failed, timeout, recover, exited (irreversible)
//! committed  -> stuck      : failed (irreversible, and it could not be recorded)
//!
//! returning  -> returned   : done, failed (only of cleaning up), timeout (likewise)
//! returning  -> stuck      : failed, timeout, exited
//! stuck      -> returning  : resolved
//! stuck      -> committed  : resolved
//! ```
//!
//! The states in which an event can be taken, with no change of state too; in all others it is rejected. The
//! same test tries each event in each state.
//!
//! ```text
//! order     : idle, committed, returned
//! hold      : authorised, fetching, assembled, preflight, stopping, activating, starting, checking, baking
//! clearance : authorised, preflight
//! blocked   : preflight
//! sample    : checking, baking, returning
//! exited    : starting, checking, baking, returning
//! resolved  : idle, committed, returned, stuck
//! done      : everywhere (in a state of rest: what was to be stored, or settled)
//! failed    : everywhere (likewise)
//! timeout   : everywhere
//! ```

mod assignment;
mod effect;
mod event;
mod forward;
mod health;
mod machine;
mod report;
mod retreat;
mod route;
mod state;
mod store;
mod wait;

pub use assignment::{Assignment, HealthPolicy, HookPhase, Hooks, Kind, Reversibility, Slot};
pub use effect::{ClearancePhase, Direction, Effect, EffectId, Issued, Timeout, Wake};
pub use event::{Decision, Hold, HoldAnswer, Now, Rejection, Resolution, Undo, Withstands};
pub use forward::RESUMES;
pub use machine::Machine;
pub use report::{
    Cause, Evidence, Outcome, READINGS_KEPT, Reading, SAMPLES_KEPT, Sample, TEXT_KEPT, What,
};
pub use retreat::{RETURN_ATTEMPTS, RETURN_PAUSE, RETURN_STEP_LIMIT};
pub use route::{Point, ReturnStep};
pub use state::{
    ActivatingStep, Phase, PreflightStep, Record, Retreat, StartingStep, State, StoppingStep, Task,
};
pub use wait::Waiting;
