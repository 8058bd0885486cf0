//! The states. What is here is what the ledger stores.

use std::fmt;

use cutover_shared::digest::Digest;
use cutover_shared::time::Time;
use serde::{Deserialize, Serialize};

use crate::assignment::{Assignment, Reversibility, Slot};
use crate::report::{Cause, Evidence, Outcome, What};
use crate::route::{Point, ReturnStep};

/// What one application's machine is recovered from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The application.
    pub application: String,
    /// The generation of the newest order that was taken up; orders at or below it are refused.
    pub generation: u64,
    /// The release that the host runs or goes back to; `None`: absent.
    pub committed: Option<Slot>,
    /// Where the machine is.
    pub state: State,
}

/// Where the machine is. Each variant says what is true in it and what ends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// No order was taken up yet. An order ends it.
    Idle,
    /// An order was taken up, nothing was fetched. The first clearance ends it.
    Authorised(Task),
    /// A partial slot grows beside the running release. Ends when it is whole and verified.
    Fetching(Task),
    /// The slot is whole, verified and synced. Ends when the window is open.
    Assembled(Task),
    /// The host is looked at, then the second clearance asked for. Both ending well ends it.
    Preflight(Task, PreflightStep),
    /// The earlier release is being stopped. Ends when nothing of it runs.
    Stopping(Task, StoppingStep),
    /// The link is being switched to the new slot. Ends when that is synced and its hook done.
    Activating(Task, ActivatingStep),
    /// The new release is being started. Ends when it runs and its hook is done.
    Starting(Task, StartingStep),
    /// The new release runs and must become healthy before its deadline.
    Checking(Task),
    /// It was healthy and must stay so for a while.
    Baking(Task),
    /// The new release is the host's. An order ends it.
    Committed(Box<Outcome>),
    /// The host is on its way to the earlier release. Ends when that runs, or cannot.
    Returning(Task, Retreat),
    /// The earlier release is the host's, or it is absent again. An order ends it.
    Returned(Box<Outcome>),
    /// Neither release is known to be in order. Only an operator at the host ends it: by sending the host
    /// back again, or by having put the newer release right.
    Stuck(Task, Box<Outcome>),
}

/// A state's name without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// [`State::Idle`]
    Idle,
    /// [`State::Authorised`]
    Authorised,
    /// [`State::Fetching`]
    Fetching,
    /// [`State::Assembled`]
    Assembled,
    /// [`State::Preflight`]
    Preflight,
    /// [`State::Stopping`]
    Stopping,
    /// [`State::Activating`]
    Activating,
    /// [`State::Starting`]
    Starting,
    /// [`State::Checking`]
    Checking,
    /// [`State::Baking`]
    Baking,
    /// [`State::Committed`]
    Committed,
    /// [`State::Returning`]
    Returning,
    /// [`State::Returned`]
    Returned,
    /// [`State::Stuck`]
    Stuck,
}

impl Phase {
    /// Every phase, in the order of a deployment.
    pub const ALL: [Self; 14] = [
        Self::Idle,
        Self::Authorised,
        Self::Fetching,
        Self::Assembled,
        Self::Preflight,
        Self::Stopping,
        Self::Activating,
        Self::Starting,
        Self::Checking,
        Self::Baking,
        Self::Committed,
        Self::Returning,
        Self::Returned,
        Self::Stuck,
    ];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Authorised => "authorised",
            Self::Fetching => "fetching",
            Self::Assembled => "assembled",
            Self::Preflight => "preflight",
            Self::Stopping => "stopping",
            Self::Activating => "activating",
            Self::Starting => "starting",
            Self::Checking => "checking",
            Self::Baking => "baking",
            Self::Committed => "committed",
            Self::Returning => "returning",
            Self::Returned => "returned",
            Self::Stuck => "stuck",
        })
    }
}

/// An order in hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The order.
    pub assignment: Assignment,
    /// When it was taken up.
    pub began: Time,
    /// How often it was taken up again after the applier had ended.
    pub resumed: u32,
    /// The clearances that were granted to it.
    pub clearances: Vec<Digest>,
}

impl Task {
    /// The outcome of this task, which did not end before it began, whatever the clock says.
    pub(crate) fn outcome(&self, what: What, reached: Point, ended: Time) -> Outcome {
        let assignment = &self.assignment;
        Outcome {
            application: assignment.application.clone(),
            generation: assignment.generation,
            package: assignment.package,
            release: assignment.release,
            booking: assignment.booking,
            kind: assignment.kind,
            what,
            reached,
            cause: None,
            health: Evidence::default(),
            health_after: Evidence::default(),
            clearances: self.clearances.clone(),
            began: self.began,
            ended: ended.max(self.began),
        }
    }

    /// Whether a failure at `point` cannot be taken back.
    pub(crate) fn past_return(&self, point: Point) -> bool {
        match self.assignment.reversibility {
            Reversibility::Reversible => false,
            Reversibility::Irreversible => point >= Point::Switch,
        }
    }
}

/// What preflight is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PreflightStep {
    /// Looking at the host.
    Look,
    /// Asking for the second clearance.
    Clear,
}

/// What stopping is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoppingStep {
    /// The pre-stop hook.
    PreStopHook,
    /// Stopping.
    Stop,
    /// The stop hook.
    StopHook,
}

/// What activating is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActivatingStep {
    /// Switching the link.
    Switch,
    /// The activate hook.
    ActivateHook,
}

/// What starting is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartingStep {
    /// The start hook.
    StartHook,
    /// Starting.
    Start,
    /// The post-start hook.
    PostStartHook,
}

impl State {
    /// The state of a task at `point` on its way forward.
    pub(crate) fn forward(point: Point, task: Task) -> Self {
        match point {
            Point::Clear => Self::Authorised(task),
            Point::Fetch => Self::Fetching(task),
            Point::Wait => Self::Assembled(task),
            Point::Preflight => Self::Preflight(task, PreflightStep::Look),
            Point::ClearAgain => Self::Preflight(task, PreflightStep::Clear),
            Point::PreStopHook => Self::Stopping(task, StoppingStep::PreStopHook),
            Point::Stop => Self::Stopping(task, StoppingStep::Stop),
            Point::StopHook => Self::Stopping(task, StoppingStep::StopHook),
            Point::Switch => Self::Activating(task, ActivatingStep::Switch),
            Point::ActivateHook => Self::Activating(task, ActivatingStep::ActivateHook),
            Point::StartHook => Self::Starting(task, StartingStep::StartHook),
            Point::Start => Self::Starting(task, StartingStep::Start),
            Point::PostStartHook => Self::Starting(task, StartingStep::PostStartHook),
            Point::Check => Self::Checking(task),
            Point::Bake => Self::Baking(task),
        }
    }

    /// The task that goes forward, and the point where it is.
    pub fn going_forward(&self) -> Option<(&Task, Point)> {
        Some(match self {
            Self::Authorised(task) => (task, Point::Clear),
            Self::Fetching(task) => (task, Point::Fetch),
            Self::Assembled(task) => (task, Point::Wait),
            Self::Preflight(task, PreflightStep::Look) => (task, Point::Preflight),
            Self::Preflight(task, PreflightStep::Clear) => (task, Point::ClearAgain),
            Self::Stopping(task, StoppingStep::PreStopHook) => (task, Point::PreStopHook),
            Self::Stopping(task, StoppingStep::Stop) => (task, Point::Stop),
            Self::Stopping(task, StoppingStep::StopHook) => (task, Point::StopHook),
            Self::Activating(task, ActivatingStep::Switch) => (task, Point::Switch),
            Self::Activating(task, ActivatingStep::ActivateHook) => (task, Point::ActivateHook),
            Self::Starting(task, StartingStep::StartHook) => (task, Point::StartHook),
            Self::Starting(task, StartingStep::Start) => (task, Point::Start),
            Self::Starting(task, StartingStep::PostStartHook) => (task, Point::PostStartHook),
            Self::Checking(task) => (task, Point::Check),
            Self::Baking(task) => (task, Point::Bake),
            Self::Idle
            | Self::Committed(_)
            | Self::Returning(..)
            | Self::Returned(_)
            | Self::Stuck(..) => return None,
        })
    }

    /// The end of the last order, in a state of rest.
    pub fn outcome(&self) -> Option<&Outcome> {
        match self {
            Self::Committed(outcome) | Self::Returned(outcome) | Self::Stuck(_, outcome) => {
                Some(outcome)
            }
            Self::Idle
            | Self::Authorised(_)
            | Self::Fetching(_)
            | Self::Assembled(_)
            | Self::Preflight(..)
            | Self::Stopping(..)
            | Self::Activating(..)
            | Self::Starting(..)
            | Self::Checking(_)
            | Self::Baking(_)
            | Self::Returning(..) => None,
        }
    }

    /// The state's name.
    pub fn phase(&self) -> Phase {
        match self {
            Self::Idle => Phase::Idle,
            Self::Authorised(_) => Phase::Authorised,
            Self::Fetching(_) => Phase::Fetching,
            Self::Assembled(_) => Phase::Assembled,
            Self::Preflight(..) => Phase::Preflight,
            Self::Stopping(..) => Phase::Stopping,
            Self::Activating(..) => Phase::Activating,
            Self::Starting(..) => Phase::Starting,
            Self::Checking(_) => Phase::Checking,
            Self::Baking(_) => Phase::Baking,
            Self::Committed(_) => Phase::Committed,
            Self::Returning(..) => Phase::Returning,
            Self::Returned(_) => Phase::Returned,
            Self::Stuck(..) => Phase::Stuck,
        }
    }
}

/// Going back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retreat {
    /// Why.
    pub cause: Cause,
    /// The furthest point that was begun.
    pub reached: Point,
    /// What is being done.
    pub step: ReturnStep,
    /// Counted from 1.
    pub attempt: u32,
    /// Where the attempt before failed, and why.
    pub last_failure: Option<(ReturnStep, String)>,
    /// Health of the release that is being left.
    pub health: Evidence,
}
