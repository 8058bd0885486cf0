//! The points of the way forward and the steps of the way back, in order.

use serde::{Deserialize, Serialize};

use crate::assignment::{Assignment, HookPhase, Hooks, Kind, Slot};

/// The way forward, point by point. A deployment is at exactly one of them until it ends or turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Point {
    /// Waiting for the first clearance.
    Clear,
    /// Fetching and assembling.
    Fetch,
    /// Waiting for the window.
    Wait,
    /// Looking at the host.
    Preflight,
    /// Waiting for the second clearance.
    ClearAgain,
    /// The pre-stop hook. From here on the host is touched.
    PreStopHook,
    /// Stopping the earlier release.
    Stop,
    /// The stop hook.
    StopHook,
    /// Switching the link. From here on the new release is active.
    Switch,
    /// The activate hook.
    ActivateHook,
    /// The start hook.
    StartHook,
    /// Starting the new release.
    Start,
    /// The post-start hook.
    PostStartHook,
    /// Becoming healthy.
    Check,
    /// Staying healthy.
    Bake,
}

impl Point {
    /// Every point in order.
    pub const ALL: [Self; 15] = [
        Self::Clear,
        Self::Fetch,
        Self::Wait,
        Self::Preflight,
        Self::ClearAgain,
        Self::PreStopHook,
        Self::Stop,
        Self::StopHook,
        Self::Switch,
        Self::ActivateHook,
        Self::StartHook,
        Self::Start,
        Self::PostStartHook,
        Self::Check,
        Self::Bake,
    ];

    /// Whether the running application was touched when this point was begun.
    pub fn touches(self) -> bool {
        self >= Self::PreStopHook
    }

    /// The hook that runs here, if one does.
    pub fn hook(self) -> Option<HookPhase> {
        match self {
            Self::PreStopHook => Some(HookPhase::PreStop),
            Self::StopHook => Some(HookPhase::Stop),
            Self::ActivateHook => Some(HookPhase::Activate),
            Self::StartHook => Some(HookPhase::Start),
            Self::PostStartHook => Some(HookPhase::PostStart),
            Self::Clear
            | Self::Fetch
            | Self::Wait
            | Self::Preflight
            | Self::ClearAgain
            | Self::Stop
            | Self::Switch
            | Self::Start
            | Self::Check
            | Self::Bake => None,
        }
    }

    /// Whether this assignment stops here: hooks that it has not and clearances that a return does not
    /// need are passed over.
    fn wanted(self, assignment: &Assignment) -> bool {
        match self {
            Self::ClearAgain => assignment.kind == Kind::Forward,
            Self::PreStopHook
            | Self::StopHook
            | Self::ActivateHook
            | Self::StartHook
            | Self::PostStartHook => {
                self.hook().is_some_and(|phase| assignment.hooks.forward.contains(&phase))
            }
            Self::Clear
            | Self::Fetch
            | Self::Wait
            | Self::Preflight
            | Self::Stop
            | Self::Switch
            | Self::Start
            | Self::Check
            | Self::Bake => true,
        }
    }

    /// The point after this one for `assignment`; `None` after the last.
    pub fn next(self, assignment: &Assignment) -> Option<Self> {
        Self::ALL.into_iter().find(|point| *point > self && point.wanted(assignment))
    }
}

/// The way back, step by step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ReturnStep {
    /// Ending what was under way.
    Quiesce,
    /// Undo of the post-start hook.
    UndoPostStart,
    /// Stopping whatever runs.
    Stop,
    /// Undo of the start hook.
    UndoStart,
    /// Undo of the activate hook.
    UndoActivate,
    /// The link names the earlier release again, or is gone.
    Switch,
    /// Undo of the stop hook.
    UndoStop,
    /// Starting the earlier release.
    Start,
    /// Undo of the pre-stop hook.
    UndoPreStop,
    /// The earlier release must be healthy.
    Check,
    /// What was assembled is removed.
    CleanUp,
    /// Waiting before all of it is tried again.
    Pause,
}

impl ReturnStep {
    const IN_ORDER: [Self; 10] = [
        Self::UndoPostStart,
        Self::Stop,
        Self::UndoStart,
        Self::UndoActivate,
        Self::Switch,
        Self::UndoStop,
        Self::Start,
        Self::UndoPreStop,
        Self::Check,
        Self::CleanUp,
    ];

    /// The hook whose undo runs in this step.
    pub fn undoes(self) -> Option<HookPhase> {
        match self {
            Self::UndoPostStart => Some(HookPhase::PostStart),
            Self::UndoStart => Some(HookPhase::Start),
            Self::UndoActivate => Some(HookPhase::Activate),
            Self::UndoStop => Some(HookPhase::Stop),
            Self::UndoPreStop => Some(HookPhase::PreStop),
            Self::Quiesce
            | Self::Stop
            | Self::Switch
            | Self::Start
            | Self::Check
            | Self::CleanUp
            | Self::Pause => None,
        }
    }

    fn wanted(self, reached: Point, hooks: &Hooks, earlier: Option<&Slot>) -> bool {
        let begun = |point: Point| {
            let undoable = |phase| hooks.forward.contains(&phase) && hooks.undo.contains(&phase);
            reached >= point && point.hook().is_some_and(undoable)
        };
        match self {
            Self::UndoPostStart => begun(Point::PostStartHook),
            Self::Stop => reached >= Point::Stop,
            Self::UndoStart => begun(Point::StartHook),
            Self::UndoActivate => begun(Point::ActivateHook),
            Self::Switch => reached >= Point::Switch,
            Self::UndoStop => begun(Point::StopHook),
            Self::Start | Self::Check => reached.touches() && earlier.is_some(),
            Self::UndoPreStop => begun(Point::PreStopHook),
            Self::CleanUp => true,
            Self::Quiesce | Self::Pause => false,
        }
    }

    /// The step after this one on the way back from `reached` to `earlier`; `None` after the last.
    /// After [`ReturnStep::Quiesce`] and [`ReturnStep::Pause`] the way begins.
    pub fn next(self, reached: Point, hooks: &Hooks, earlier: Option<&Slot>) -> Option<Self> {
        let position = Self::IN_ORDER.iter().position(|step| *step == self);
        let rest = position.map_or(0, |position| position + 1);
        Self::IN_ORDER.into_iter().skip(rest).find(|step| step.wanted(reached, hooks, earlier))
    }
}
