//! What the machine is told, and how it says no.

use std::time::Duration;

use cutover_shared::digest::Digest;
use cutover_shared::time::Time;

use crate::effect::EffectId;
use crate::state::Phase;

/// A reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The wall clock.
    pub wall: Time,
    /// The monotonic clock, since any start that does not change while the applier runs.
    pub monotonic: Duration,
}

/// An answer to a request for a clearance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Granted, by the clearance with this identity.
    Granted(Digest),
    /// Refused, and why.
    Refused(String),
}

/// Whether a hold lets a release finish that is already active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Withstands {
    /// It does: what is active goes on to its end.
    Finish,
    /// It does not: what is active goes back.
    Return,
}

/// Something against going forward: a hold, a cancellation, a freeze, a denial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Why, for the outcome.
    pub why: String,
    /// What it means for a release that is already active.
    pub active: Withstands,
}

/// What a hold did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldAnswer {
    /// The host goes back.
    Returning,
    /// The release is active and goes on to its end: the hold said so, or there is no way back.
    Finishing,
}

/// What an operator at the host wants of an application that is stuck, or at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resolution {
    /// The committed release: a stuck application goes the whole way back again (to absent, if there was
    /// none), one at rest is seen to as after a restart.
    Earlier {
        /// What becomes of the hooks' undo.
        undo: Undo,
        /// Whether a release that was approved as irreversible is left all the same: the operator has
        /// put back by other means what it cannot take back.
        even_irreversible: bool,
    },
    /// The release that is stuck half-way was put right by hand and is the host's from now on.
    Newer,
}

/// What becomes of the hooks' undo on an operator's way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Undo {
    /// It runs, as on every way back.
    Run,
    /// It does not run: the operator has done by hand what it should do.
    Skip,
}

/// Why an event was not taken. The machine is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The order is for another application.
    #[error("the order is for {0:?}")]
    WrongApplication(String),
    /// An order is in hand, or its end is not stored yet.
    #[error("an order is in hand ({0})")]
    Busy(Phase),
    /// The operator must look first.
    #[error("the application is stuck, which the operator must resolve first")]
    Stuck,
    /// An order with this or a higher generation was taken up before.
    #[error("generation {latest} was already taken up")]
    GenerationPassed {
        /// The newest generation taken up.
        latest: u64,
    },
    /// The release of the order is what the host runs.
    #[error("this release is already committed, nothing is to be done")]
    AlreadyCommitted,
    /// Too early.
    #[error("the window opens at {0}")]
    WindowNotOpen(Time),
    /// Too late.
    #[error("the window closed at {0}")]
    WindowClosed(Time),
    /// The rest of the window is too short.
    #[error("the window closes at {0}, before applying and a rollback reserve would fit")]
    WindowTooShort(Time),
    /// The effect is not waited for (any longer).
    #[error("no answer to {0} is waited for")]
    Stale(EffectId),
    /// The effect is waited for, but takes another kind of answer.
    #[error("{0} takes another kind of answer")]
    WrongAnswer(EffectId),
    /// The event has no meaning here.
    #[error("nothing of the kind is under way ({0})")]
    OutOfPlace(Phase),
    /// The release cannot be taken back, and nobody said that it is left all the same.
    #[error("the release was approved as irreversible")]
    Irreversible,
    /// Going back is never held.
    #[error("an ordered return is not held")]
    NotForward,
}
