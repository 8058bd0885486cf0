//! Bugs on purpose, to see that what tests the whole finds them.
//!
//! A test is worth what it finds. The simulated fleet is itself tested by it: each of these bugs is
//! switched on in turn, and the referee must find it. They are in the code only where the feature
//! `seeded-bugs` is, which nothing but that test asks for; without it [`seeded!`](crate::seeded!) is `false`
//! and the compiler leaves nothing of them. Even with it all are off until one is switched on.

#[cfg(feature = "seeded-bugs")]
use std::cell::Cell;

/// A bug.
#[cfg(feature = "seeded-bugs")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// A later wave goes without the proof of the one before.
    WaveProofSkipped,
    /// What was held goes on.
    HoldIgnored,
    /// What is frozen goes on.
    FreezeIgnored,
    /// What was denied or given up goes on.
    DenialForgotten,
    /// What a host took back goes again without a new review.
    ReviewAfterReturnSkipped,
    /// The board's votes are not counted.
    VotesNotCounted,
    /// Production does not wait for staging.
    StagingNotProven,
    /// An iteration needs no approval of its own.
    IterationNotApproved,
    /// One host more than allowed is under way.
    AtOnceOffByOne,
    /// A host does not go back when the window closes.
    ClosingForgotten,
    /// Going back gives the order's generation back.
    GenerationReused,
    /// One good round of checks is enough.
    OneCheckIsEnough,
    /// Nothing is watched before it is committed.
    BakingSkipped,
    /// Going back leaves the link as it is.
    LinkNotSwitchedBack,
    /// The end of an order is not told.
    OutcomeForgotten,
    /// A host does nothing with what it is offered.
    OfferIgnored,
    /// The coordinator acknowledges before its disk has synced.
    AcknowledgedBeforeSync,
    /// A clearance counts whatever question it answers.
    NonceNotCompared,
    /// A host takes an older or forked log for the newest.
    StaleHeadAccepted,
    /// A step on the way is written down when something else is, and not before it is taken.
    PersistedLate,
    /// A host forgets what it has taken back.
    ReturnsForgotten,
    /// The coordinator's clearance is enough where witnesses are demanded.
    WitnessesNotCounted,
    /// An override passes every freeze, also one that it does not name.
    OverridePassesAll,
    /// The word of one host takes all the others back.
    OneFailureReturnsAll,
    /// A pre-approval is good for what it was not given for.
    PreApprovalFitsAll,
}

#[cfg(feature = "seeded-bugs")]
impl Bug {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::WaveProofSkipped,
        Self::HoldIgnored,
        Self::FreezeIgnored,
        Self::DenialForgotten,
        Self::ReviewAfterReturnSkipped,
        Self::VotesNotCounted,
        Self::StagingNotProven,
        Self::IterationNotApproved,
        Self::AtOnceOffByOne,
        Self::ClosingForgotten,
        Self::GenerationReused,
        Self::OneCheckIsEnough,
        Self::BakingSkipped,
        Self::LinkNotSwitchedBack,
        Self::OutcomeForgotten,
        Self::OfferIgnored,
        Self::AcknowledgedBeforeSync,
        Self::NonceNotCompared,
        Self::StaleHeadAccepted,
        Self::PersistedLate,
        Self::ReturnsForgotten,
        Self::WitnessesNotCounted,
        Self::OverridePassesAll,
        Self::OneFailureReturnsAll,
        Self::PreApprovalFitsAll,
    ];
}

#[cfg(feature = "seeded-bugs")]
thread_local! {
    static ON: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Switches a bug on in this thread, or all of them off.
#[cfg(feature = "seeded-bugs")]
pub fn switch(bug: Option<Bug>) {
    ON.set(bug);
}

/// Whether a bug is on in this thread.
#[cfg(feature = "seeded-bugs")]
pub fn is_on(bug: Bug) -> bool {
    ON.get() == Some(bug)
}

/// Whether the bug of this name is on: never, in what is built without the feature `seeded-bugs`.
#[cfg(feature = "seeded-bugs")]
#[macro_export]
macro_rules! seeded {
    ($bug:ident) => {
        $crate::seeded::is_on($crate::seeded::Bug::$bug)
    };
}

/// Whether the bug of this name is on: never, in what is built without the feature `seeded-bugs`.
#[cfg(not(feature = "seeded-bugs"))]
#[macro_export]
macro_rules! seeded {
    ($bug:ident) => {
        false
    };
}
