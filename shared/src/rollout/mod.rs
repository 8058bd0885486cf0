//! The rollout planner: whose turn it is, and what everybody else waits for.
//!
//! Pure: the fold of the log, what the coordinator hears of its hosts, and the time go in; a [`Plan`]
//! comes out. The planner gives no authority: a host whose turn it is still judges everything itself, and
//! a plan that skips a wave is refused by every host of that wave.

//!
//! - [`plan`] makes a [`Plan`] of one booking: who goes, who goes back, and a reason for everybody else.
//! - [`check`] examines any plan from first principles, without the planner: tests and the simulator hold
//!   every plan against it.
//! - [`waves`] turns counts, percentages and labels into named hosts when a booking is made.
//! - [`last_ends`] tells how the hosts of a booking have ended; the rules that hosts run stand on it, too.

pub mod check;
mod ends;
mod expiry;
mod planner;
pub mod waves;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::digest::Digest;
use crate::fold::State;
use crate::key::KeyId;
use crate::name::Name;
use crate::refusal::Refusal;
use crate::time::Time;

pub use ends::{is_end, is_over, is_used_up};
pub(crate) use ends::{is_failure, last_ends};
pub use expiry::{has_expired, is_given_up};
pub use planner::plan;

/// For so long after a booking's window its hosts may still be heard of, and be told to go back: the last
/// of them end at the window's end, and their outcomes take a while to arrive.
pub const LINGER: Duration = Duration::from_hours(1);

/// What becomes of the hosts of one booking now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The booking.
    pub booking: Digest,
    /// Whether the rollout is halted, and by what.
    pub halted: Option<Halt>,
    /// Every host of the booking, in its order.
    pub hosts: Vec<PlannedState>,
}

/// Nobody goes forward any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Halt {
    /// Which hosts failed, and how.
    pub because: String,
    /// Whether the hosts that run the new release go back, as the booking says.
    pub returns: bool,
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.because)?;
        f.write_str(if self.returns { "; the others go back" } else { "" })
    }
}

/// One host of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedState {
    /// The host.
    pub host: Name,
    /// Its key.
    pub host_key: KeyId,
    /// Its wave.
    pub wave: Name,
    /// Where it stands.
    pub standing: Standing,
}

/// Where a host stands in a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It is its turn: the coordinator offers the order and clears it.
    Turn,
    /// It is at work, as far as is known; also on its way back.
    Working {
        /// The step it last told.
        step: String,
    },
    /// It runs the new release.
    Committed,
    /// It runs the new release and is to leave it: the coordinator offers the return.
    ReturnTurn,
    /// It runs the new release, is to leave it, and waits, for a reason.
    ReturnWaiting(WaitingOn),
    /// It went back.
    Returned {
        /// The step that failed, and why.
        reason: String,
    },
    /// It needs a person.
    Stuck {
        /// The step that failed, and why.
        reason: String,
    },
    /// It began and was not heard of by its deadline.
    Silent {
        /// The deadline.
        since: Time,
    },
    /// It does nothing, for a reason.
    Waiting(WaitingOn),
}

impl Standing {
    /// Whether the application may be down there, or is about to be: these take the room that `at_once`
    /// gives. A host that is stuck or silent is, until a person has seen to it.
    pub fn takes_room(&self) -> bool {
        match self {
            Self::Turn
            | Self::Working { .. }
            | Self::ReturnTurn
            | Self::Stuck { .. }
            | Self::Silent { .. } => true,
            Self::Committed | Self::ReturnWaiting(_) | Self::Returned { .. } | Self::Waiting(_) => {
                false
            }
        }
    }
}

/// Why an idle host is idle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaitingOn {
    /// A standing rule refuses: the window is not open, the wave before is not proven, a hold stands …
    Rule(Refusal),
    /// Others go first: no more than `at_once` may be under way.
    Room {
        /// How many are.
        under_way: u32,
        /// How many may be.
        at_once: u32,
    },
    /// The host is not connected.
    Connection,
    /// The host does another order.
    OtherWork {
        /// Which.
        order: Digest,
    },
    /// The rollout is halted.
    Halted,
    /// The host itself refused.
    HostRefused {
        /// The code.
        code: String,
        /// The facts.
        detail: String,
    },
    /// So many hosts were taken back as the booking pays for; people decide on the rest.
    ReturnBudget {
        /// How many went back or are on their way.
        spent: u32,
        /// How many may.
        budget: u32,
    },
    /// Going back did not work on another host; people decide whether the rest is to try.
    ReturnStuck {
        /// That host.
        host: Name,
    },
}

impl fmt::Display for WaitingOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(refusal) => write!(f, "{refusal}"),
            Self::Room { under_way, at_once } => {
                write!(f, "room: {under_way} of {at_once} hosts are under way")
            }
            Self::Connection => f.write_str("connection: the host is not connected"),
            Self::OtherWork { order } => write!(f, "other work: order {}", order.short()),
            Self::Halted => f.write_str("the rollout is halted"),
            Self::HostRefused { code, detail } => write!(f, "the host refused: {code}: {detail}"),
            Self::ReturnBudget { spent, budget } => {
                write!(f, "return budget: {spent} of {budget} hosts were taken back")
            }
            Self::ReturnStuck { host } => write!(f, "going back did not work on {host}"),
        }
    }
}

/// The bookings for which a plan is worth making now: released, and not over for longer than it takes to
/// hear of their hosts.
pub fn live_bookings(state: &State, now: Time) -> BTreeSet<Digest> {
    let recent = state.bookings_ending_after(now - LINGER);
    let released = recent.filter(|(_, it)| it.released.is_some());
    released.map(|(_, it)| it.booking.id()).collect()
}
