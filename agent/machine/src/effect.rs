//! What the machine asks the world to do, as data.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::assignment::{Assignment, HookPhase, Slot};
use crate::report::Outcome;
use crate::state::Record;

/// Names one effect of one machine since it was made or recovered. Answers carry it, so that an answer
/// to something that is no longer asked is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectId(pub(crate) u64);

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "effect {}", self.0)
    }
}

/// An effect with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// What answers must carry.
    pub id: EffectId,
    /// What to do.
    pub effect: Effect,
}

/// What a clearance is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ClearancePhase {
    /// To fetch and assemble.
    Start,
    /// To stop the earlier release and switch.
    Activate,
}

/// Whether a hook does its work or takes it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Direction {
    /// The hook.
    Forward,
    /// Its undo. It may meet a hook that ended half-way, and may run again.
    Undo,
}

/// Something to be done outside. Each is answered once, by `handle_done` or `handle_failed` unless its
/// line names another answer. All can be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Store `record` durably, and in the same replacement the signed report of `outcome`, if any, in
    /// the place of a report of the same order that may be there from a try that was believed to have
    /// failed. Nothing else is handed out until this is answered.
    Persist {
        /// What the machine will be recovered from.
        record: Box<Record>,
        /// An order that has ended with this record.
        outcome: Option<Box<Outcome>>,
    },
    /// Ask for a clearance with a new nonce; answered by `handle_clearance`. May be left unanswered:
    /// it is asked again.
    RequestClearance {
        /// What for.
        phase: ClearancePhase,
    },
    /// Fetch what is missing, assemble the slot, verify it whole and sync it.
    Assemble {
        /// What to assemble.
        assignment: Box<Assignment>,
    },
    /// Look whether applying can work here; also answered by `handle_blocked`.
    Preflight {
        /// What is to be applied.
        assignment: Box<Assignment>,
    },
    /// Run a hook of the new release. A hook that does not exist is done.
    Hook {
        /// The release whose hook it is.
        slot: Slot,
        /// Which.
        phase: HookPhase,
        /// The hook or its undo.
        direction: Direction,
    },
    /// Stop the application. Done when nothing of it runs, also when nothing ran.
    Stop,
    /// Let the link name `to`; `None`: remove it. Done when it is synced.
    Switch {
        /// The release to be current.
        to: Option<Slot>,
    },
    /// Start what the link names, or find it running.
    Start {
        /// What the link names.
        slot: Slot,
    },
    /// Take one round of health checks; answered by `handle_sample`.
    Check {
        /// The release that is to answer, with its checks.
        slot: Slot,
        /// Counted from 1.
        round: u32,
    },
    /// Remove what was assembled for this release, whole or partial.
    CleanUp {
        /// What is not wanted any more.
        slot: Slot,
    },
    /// End the effect `of` as soon as it can be ended, and answer when nothing of it runs any longer.
    Abort {
        /// Handed out before, unanswered, and no longer wanted.
        of: EffectId,
    },
    /// After a restart: see that the link names this release and that it runs (`None`: that there is
    /// no link), repairing both.
    Settle {
        /// The committed release.
        slot: Option<Slot>,
    },
}

/// When the machine wants to be woken, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeout {
    /// From the `now` that was asked with.
    pub after: Duration,
    /// What is due then.
    pub reason: Wake,
}

/// Why the machine wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wake {
    /// The window closes, less the reserve (both clocks are watched).
    WindowClosing,
    /// The window opens for a slot that was fetched ahead.
    WindowOpens,
    /// A clearance was not answered and is asked for again.
    ClearanceUnanswered,
    /// Something on the host stood in the way; look again.
    PreflightAgain,
    /// The deadline for becoming healthy.
    HealthDeadline,
    /// The next round of checks.
    CheckDue,
    /// A round of checks was not answered in time.
    CheckLate,
    /// A step of going back was not answered in time.
    ReturnStepLate,
    /// The pause between two attempts at going back is over.
    ReturnAgain,
    /// The end of an order could not be stored; try again.
    PersistAgain,
    /// The committed release could not be got to run after a restart; try again.
    SettleAgain,
}

/// Names every effect, in a word or two, once: what logs call it, and the list of all of them.
macro_rules! named {
    ($($effect:pat => $name:literal,)*) => {
        impl Effect {
            /// The name of every effect.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// What it is, in a word or two.
            pub fn name(&self) -> &'static str {
                match self {
                    $($effect => $name,)*
                }
            }
        }
    };
}

named! {
    Self::Persist { .. } => "persist",
    Self::RequestClearance { .. } => "request clearance",
    Self::Assemble { .. } => "assemble",
    Self::Preflight { .. } => "preflight",
    Self::Hook { .. } => "hook",
    Self::Stop => "stop",
    Self::Switch { .. } => "switch",
    Self::Start { .. } => "start",
    Self::Check { .. } => "check",
    Self::CleanUp { .. } => "clean up",
    Self::Abort { .. } => "abort",
    Self::Settle { .. } => "settle",
}
