//! What can be wrong with a plan.

use std::fmt;

use crate::name::Name;

/// Something that a plan must not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The log has no such booking.
    NoBooking,
    /// The plan's hosts or waves are not the booking's, one for one and in order.
    NotTheBooking,
    /// More hosts may be down than the booking allows, and yet another one is told to begin.
    TooManyDown {
        /// How many may be down.
        down: usize,
        /// How many are allowed.
        at_once: u32,
    },
    /// A host's turn has come, and this stands against it.
    TurnAgainst {
        /// The host.
        host: Name,
        /// What stands against it.
        what: &'static str,
    },
    /// A host's turn has come before another host proved the wave before.
    WaveUnproven {
        /// The host.
        host: Name,
        /// The other one.
        unproven: Name,
    },
    /// A host is told to go back, and this stands against it.
    ReturnAgainst {
        /// The host.
        host: Name,
        /// What stands against it.
        what: &'static str,
    },
    /// More hosts are taken back than the booking pays for.
    BudgetPassed {
        /// How many.
        taken: usize,
        /// How many are allowed.
        budget: u32,
    },
    /// Enough hosts failed, and the plan goes on; or it halts without.
    HaltWrong {
        /// How many failed.
        failed: usize,
        /// From how many on it halts.
        halt_after: u32,
    },
    /// Whether the halt takes hosts back is not what the booking and the outcomes say.
    ReturnsWrong {
        /// How many hosts signed that they failed.
        signed: usize,
    },
    /// What the log or the host itself says of a host is something else.
    StandingUntrue {
        /// The host.
        host: Name,
        /// What the plan says.
        says: String,
    },
    /// The reason why a host is idle is empty, or does not hold.
    ReasonUntrue {
        /// The host.
        host: Name,
        /// The reason.
        reason: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBooking => f.write_str("the log has no such booking"),
            Self::NotTheBooking => f.write_str("the plan's hosts are not the booking's"),
            Self::TooManyDown { down, at_once } => {
                write!(f, "{down} hosts may be down, {at_once} are allowed, and one more begins")
            }
            Self::TurnAgainst { host, what } => write!(f, "{host} has its turn, but {what}"),
            Self::WaveUnproven { host, unproven } => {
                write!(f, "{host} has its turn, but {unproven} of an earlier wave is not proven")
            }
            Self::ReturnAgainst { host, what } => write!(f, "{host} is to go back, but {what}"),
            Self::BudgetPassed { taken, budget } => {
                write!(f, "{taken} hosts are taken back, the booking pays for {budget}")
            }
            Self::HaltWrong { failed, halt_after } => {
                write!(f, "{failed} hosts failed, {halt_after} halt, and the plan says otherwise")
            }
            Self::ReturnsWrong { signed } => {
                write!(f, "{signed} hosts signed failures: what the halt does is another thing")
            }
            Self::StandingUntrue { host, says } => write!(f, "{host} does not stand as: {says}"),
            Self::ReasonUntrue { host, reason } => {
                write!(f, "{host} does not wait for this: {reason}")
            }
        }
    }
}
