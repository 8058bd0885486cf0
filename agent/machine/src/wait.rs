//! What a machine waits for, so that "nothing happens" always has a reason that people can read.

use std::fmt;

use cutover_shared::time::Time;

use crate::machine::Machine;
use crate::route::{Point, ReturnStep};
use crate::state::{Phase, State};

/// What the machine waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// An order.
    Order,
    /// A clearance.
    Clearance,
    /// The window to open.
    Window(Time),
    /// Something on the host to go out of the way.
    Blocked(String),
    /// A step forward.
    Step(Point),
    /// So many healthy rounds in a row, of so many.
    Health {
        /// In a row so far.
        streak: u32,
        /// Demanded.
        of: u32,
    },
    /// A step back.
    Return(ReturnStep),
    /// The operator.
    Operator,
}

impl Machine {
    /// What it waits for.
    pub fn waiting(&self) -> Waiting {
        match &self.record.state {
            State::Idle | State::Committed(_) | State::Returned(_) => Waiting::Order,
            State::Authorised(_) => Waiting::Clearance,
            State::Assembled(task) => Waiting::Window(task.assignment.window_start),
            State::Checking(task) => Waiting::Health {
                streak: self.watch.streak,
                of: task.assignment.health.successes.max(1),
            },
            State::Returning(_, retreat) => Waiting::Return(retreat.step),
            State::Stuck(..) => Waiting::Operator,
            State::Fetching(_)
            | State::Preflight(..)
            | State::Stopping(..)
            | State::Activating(..)
            | State::Starting(..)
            | State::Baking(_) => self.waiting_forward(),
        }
    }

    fn waiting_forward(&self) -> Waiting {
        if let Some(why) = &self.blocked {
            return Waiting::Blocked(why.clone());
        }
        match self.record.state.going_forward() {
            Some((_, Point::ClearAgain)) => Waiting::Clearance,
            Some((_, point)) => Waiting::Step(point),
            None => Waiting::Order,
        }
    }

    /// The phase that people are shown.
    pub fn shown(&self) -> (Phase, Waiting) {
        (self.phase(), self.waiting())
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order => f.write_str("an order"),
            Self::Clearance => f.write_str("a clearance"),
            Self::Window(start) => write!(f, "the window, which opens at {start}"),
            Self::Blocked(why) => f.write_str(why),
            Self::Step(point) => write!(f, "{point}"),
            Self::Health { streak, of } => write!(f, "healthy checks in a row: {streak} of {of}"),
            Self::Return(step) => write!(f, "going back: {step}"),
            Self::Operator => f.write_str("the operator"),
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clear => "the first clearance",
            Self::Fetch => "fetching and assembling",
            Self::Wait => "the window",
            Self::Preflight => "preflight",
            Self::ClearAgain => "the second clearance",
            Self::PreStopHook => "the pre-stop hook",
            Self::Stop => "stopping",
            Self::StopHook => "the stop hook",
            Self::Switch => "switching the link",
            Self::ActivateHook => "the activate hook",
            Self::StartHook => "the start hook",
            Self::Start => "starting",
            Self::PostStartHook => "the post-start hook",
            Self::Check => "health checks",
            Self::Bake => "baking",
        })
    }
}

impl fmt::Display for ReturnStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quiesce => "ending what was under way",
            Self::UndoPostStart => "undo of the post-start hook",
            Self::Stop => "stopping",
            Self::UndoStart => "undo of the start hook",
            Self::UndoActivate => "undo of the activate hook",
            Self::Switch => "switching the link back",
            Self::UndoStop => "undo of the stop hook",
            Self::Start => "starting the earlier release",
            Self::UndoPreStop => "undo of the pre-stop hook",
            Self::Check => "health of the earlier release",
            Self::CleanUp => "cleaning up",
            Self::Pause => "a pause before the next attempt",
        })
    }
}
