//! What the core wants done, as data.

use cutover_machine::{Direction, Effect, EffectId, HookPhase, Slot};
use cutover_shared::digest::Digest;
use cutover_shared::name::Name;
use cutover_shared::protocol::FromApplier;

use crate::input::Running;
use crate::package::Package;
use crate::runbook::StepRun;

/// Something to do.
#[derive(Debug)]
pub enum Output {
    /// Say this to the network half. Where that is impossible, its connection is over:
    /// [`Input::Unlinked`](crate::Input::Unlinked).
    Say(FromApplier),
    /// Carry out an effect of a deployment; answered once, unless it is aborted.
    Work {
        /// Of which application.
        application: Name,
        /// What the answer carries.
        effect: EffectId,
        /// What to do.
        work: Work,
    },
    /// End the work `of` as soon as it can be ended, and answer when nothing of it runs any longer.
    Abort {
        /// Of which application.
        application: Name,
        /// What the answer carries.
        effect: EffectId,
        /// Handed out before and no longer wanted.
        of: EffectId,
    },
    /// Read a package's manifest; answered by [`Input::Read`](crate::Input::Read).
    Read {
        /// For which application.
        application: Name,
        /// For which order.
        order: Digest,
        /// The package.
        package: Digest,
    },
    /// What was to be read is not wanted any longer.
    GiveUpReading {
        /// For which application.
        application: Name,
    },
    /// Tell when this process has ended.
    Watch {
        /// Of which application.
        application: Name,
        /// The process.
        running: Running,
    },
    /// Start the committed release again; answered by [`Input::Restarted`](crate::Input::Restarted).
    Restart {
        /// Of which application.
        application: Name,
    },
    /// Remove every slot but these.
    Tidy {
        /// Of which application.
        application: Name,
        /// What stays.
        keep: Vec<Slot>,
    },
    /// Watch this slot and the link, telling of changes ([`Input::Changed`](crate::Input::Changed)), and
    /// after that compare them with what was deployed; answered by [`Input::Swept`](crate::Input::Swept).
    Sweep {
        /// Of which application.
        application: Name,
        /// What the answer carries.
        number: u64,
        /// The release that is to be there.
        slot: Slot,
    },
    /// Answer an operator at the host.
    Reply {
        /// Whose request, as it came with [`Input::Asked`](crate::Input::Asked).
        number: String,
        /// What is done now, or why it is not; for people.
        answer: Result<String, String>,
    },
    /// What the service manager is to show.
    Status(String),
    /// For the log.
    Note(Note),
}

/// An effect of a deployment machine that the world carries out. All can be repeated.
#[derive(Debug)]
pub enum Work {
    /// Fetch what is missing of a package, assemble the slot, verify it whole and sync it.
    Fetch {
        /// The slot.
        slot: Slot,
        /// What it is made of.
        package: Box<Package>,
        /// Slots from which chunks can be taken.
        sources: Vec<Slot>,
    },
    /// Assemble the slot from what is on this host alone, for an ordered return.
    Copy {
        /// The slot.
        slot: Slot,
        /// Slots from which it can be taken.
        sources: Vec<Slot>,
    },
    /// Look whether applying can work here, before anything is touched.
    Preflight {
        /// The release to be applied, assembled.
        slot: Slot,
        /// The release that runs, and would be gone back to.
        back: Option<Slot>,
    },
    /// Run a hook. One that does not exist is done.
    Hook {
        /// The release whose hook it is.
        slot: Slot,
        /// Which.
        phase: HookPhase,
        /// The hook or its undo.
        direction: Direction,
    },
    /// Run the command of a runbook's step.
    Step {
        /// The release whose runbook it is.
        slot: Slot,
        /// The command.
        run: StepRun,
    },
    /// Stop the application. Done when nothing of it runs, also when nothing ran.
    Stop,
    /// Let the link name `to`; `None`: remove it. Done when it is synced.
    Switch {
        /// The release to be current.
        to: Option<Slot>,
    },
    /// Start what the link names, or find it running.
    Start,
    /// Take one round of health checks.
    Check {
        /// The release with its checks.
        slot: Slot,
    },
    /// Remove what was assembled, whole or partial.
    CleanUp {
        /// What is not wanted any more.
        slot: Slot,
    },
    /// See that the link names this release and that it runs, repairing both.
    Settle {
        /// The committed release; `None`: there is to be no link.
        slot: Option<Slot>,
    },
}

impl Work {
    /// The work that an effect is, where it is nothing but work; none where the driver of the machine has
    /// more to do for it.
    pub fn of(effect: &Effect) -> Option<Self> {
        Some(match effect {
            Effect::Hook { slot, phase, direction } => {
                Self::Hook { slot: *slot, phase: *phase, direction: *direction }
            }
            Effect::Switch { to } => Self::Switch { to: *to },
            Effect::Start { .. } => Self::Start,
            Effect::Check { slot, .. } => Self::Check { slot: *slot },
            Effect::CleanUp { slot } => Self::CleanUp { slot: *slot },
            Effect::Settle { slot } => Self::Settle { slot: *slot },
            Effect::Stop
            | Effect::Persist { .. }
            | Effect::RequestClearance { .. }
            | Effect::Assemble { .. }
            | Effect::Preflight { .. }
            | Effect::Abort { .. } => return None,
        })
    }
}

/// How much a note matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For whoever looks for a fault of ours.
    Debug,
    /// Something went its way.
    Info,
    /// Something was refused, or went back: what the applier is there for, and somebody should look.
    Warn,
    /// Something that must not be: an operator has to act.
    Error,
}

impl Work {
    /// The name of the effect that it carries out.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fetch { .. } | Self::Copy { .. } => "assemble",
            Self::Preflight { .. } => "preflight",
            // A step is a part of what the machine calls a hook.
            Self::Hook { .. } | Self::Step { .. } => "hook",
            Self::Stop => "stop",
            Self::Switch { .. } => "switch",
            Self::Start => "start",
            Self::Check { .. } => "check",
            Self::CleanUp { .. } => "clean up",
            Self::Settle { .. } => "settle",
        }
    }
}

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// How much it matters.
    pub level: Level,
    /// What happened.
    pub text: &'static str,
    /// To which application.
    pub application: Option<Name>,
    /// Concerning which order, package or statement.
    pub about: Option<Digest>,
    /// The facts.
    pub detail: String,
}

impl Note {
    pub(crate) fn debug(text: &'static str) -> Self {
        Self::new(Level::Debug, text)
    }

    pub(crate) fn info(text: &'static str) -> Self {
        Self::new(Level::Info, text)
    }

    pub(crate) fn warn(text: &'static str) -> Self {
        Self::new(Level::Warn, text)
    }

    pub(crate) fn error(text: &'static str) -> Self {
        Self::new(Level::Error, text)
    }

    fn new(level: Level, text: &'static str) -> Self {
        Self { level, text, application: None, about: None, detail: String::new() }
    }

    pub(crate) fn of(self, application: &Name) -> Self {
        Self { application: Some(application.clone()), ..self }
    }

    pub(crate) fn about(self, about: Digest) -> Self {
        Self { about: Some(about), ..self }
    }

    pub(crate) fn saying(self, detail: &impl ToString) -> Self {
        Self { detail: detail.to_string(), ..self }
    }
}
