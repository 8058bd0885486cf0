//! What people say around the decisions: other departments' answers, rehearsals, tasks, steps that were
//! done by hand, that something was seen, and that all is closed.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::decision::Judgement;
use crate::digest::Digest;
use crate::key::KeyId;
use crate::name::Name;
use crate::time::span;

/// Another department is asked about a release, or answers (PROCESS 9). The policy names the departments,
/// who speaks for each, and which must have answered well; a question can make one more of them mandatory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Consult {
    /// A librarian or a change manager asks.
    Asked {
        /// The `release` statement.
        release: Digest,
        /// For these environments.
        environments: BTreeSet<Name>,
        /// The department.
        department: Name,
        /// What is asked.
        question: String,
        /// Nothing moves in these environments before the department says yes.
        mandatory: bool,
    },
    /// Somebody who speaks for the department, and did not submit the release, answers. The last answer of
    /// an owner counts.
    Answered {
        /// The `release` statement.
        release: Digest,
        /// For these environments.
        environments: BTreeSet<Name>,
        /// The department.
        department: Name,
        /// The judgement.
        judgement: Judgement,
    },
}

impl Consult {
    /// The `release` statement that it is about.
    pub fn release(&self) -> Digest {
        match self {
            Self::Asked { release, .. } | Self::Answered { release, .. } => *release,
        }
    }

    /// The department.
    pub fn department(&self) -> &Name {
        match self {
            Self::Asked { department, .. } | Self::Answered { department, .. } => department,
        }
    }

    /// The environments.
    pub fn environments(&self) -> &BTreeSet<Name> {
        match self {
            Self::Asked { environments, .. } | Self::Answered { environments, .. } => environments,
        }
    }

    pub(crate) fn environments_mut(&mut self) -> &mut BTreeSet<Name> {
        match self {
            Self::Asked { environments, .. } | Self::Answered { environments, .. } => environments,
        }
    }
}

/// Somebody who did not submit the release applied its package in a clean sandbox, and took it back
/// (PROCESS 2). The last one of an owner counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rehearsal {
    /// The `release` statement.
    pub release: Digest,
    /// Its package.
    pub package: Digest,
    /// The package that ran before, and to which it went back; none: it was the first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub earlier: Option<Digest>,
    /// How it ended.
    pub result: Rehearsed,
    /// What was done, in order.
    pub steps: Vec<RehearsedStep>,
    /// How the sandbox was made, for people.
    pub sandbox: String,
    /// SHA-256 of the whole transcript, an attachment that may be deleted.
    pub transcript: Digest,
}

/// How a rehearsal ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Rehearsed {
    /// The package was applied, was healthy, and was taken back.
    Passed {
        /// From the start to healthy.
        #[serde(with = "span")]
        applied_in: Duration,
        /// From there to the state before, running.
        #[serde(with = "span")]
        returned_in: Duration,
    },
    /// It was not.
    Failed {
        /// The step that failed.
        step: String,
        /// Why.
        reason: String,
    },
}

impl Rehearsed {
    /// Whether it went well.
    pub const fn is_passed(&self) -> bool {
        matches!(self, Self::Passed { .. })
    }
}

/// One step of a rehearsal, and how long it took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RehearsedStep {
    /// Its name in the package or in the deployment machine: `pre-stop`, `checking`, …
    pub step: String,
    /// How long it took.
    #[serde(with = "span")]
    pub took: Duration,
}

/// A task of a release (PROCESS 13) is given to somebody, or done. The tasks themselves follow from the
/// state of the release, one of each kind, so that nothing makes one twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The `release` statement.
    pub release: Digest,
    /// Which of its tasks.
    pub kind: TaskKind,
    /// What became of it.
    pub change: TaskChange,
}

/// The tasks of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum TaskKind {
    /// Deliver it to the staging area: a librarian's or a change manager's.
    Stage,
    /// See it through its windows: a change manager's or an operator's.
    Deploy,
    /// Look whether it does what it is for: anybody's who is in the process.
    Verify,
    /// Review it after the fact and close it: a change manager's or a librarian's.
    Review,
    /// Meet a condition that a board member set on an approval: a board member or a librarian who did not
    /// submit the release confirms it.
    Condition {
        /// The `vote` statement.
        vote: Digest,
        /// Which of its conditions, from 1.
        number: u32,
    },
}

impl TaskKind {
    /// Those that every release has.
    pub const COMMON: &[Self] = &[Self::Stage, Self::Deploy, Self::Verify, Self::Review];

    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Deploy => "deploy",
            Self::Verify => "verify",
            Self::Review => "review",
            Self::Condition { .. } => "condition",
        }
    }
}

/// What became of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum TaskChange {
    /// A librarian or a change manager gives it to somebody; the last one counts.
    Assigned {
        /// An owner that the policy knows.
        to: Name,
    },
    /// It is done, says the one to whom it was given, or somebody with a role that may do it.
    Done {
        /// What was done, or nothing to add.
        note: String,
    },
}

/// An operator did a manual step of a runbook, or failed to: the host that carries the runbook out waits
/// for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The order that is carried out: a `booking` statement, or the `rollback` statement by which a host
    /// takes back what a booking brought.
    pub booking: Digest,
    /// The host that carries it out.
    pub host: Name,
    /// Its host key.
    pub host_key: KeyId,
    /// The step's name in the runbook.
    pub step: Name,
    /// Whether it was the step, or its undoing.
    pub direction: Direction,
    /// How it went.
    pub result: StepResult,
}

/// Which way a runbook's step leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// To the new release.
    Forward,
    /// Back to the one before.
    Back,
}

/// How a manual step went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum StepResult {
    /// It is done.
    Done {
        /// What was seen, or nothing to add.
        note: String,
    },
    /// It could not be done.
    Failed {
        /// Why.
        reason: String,
    },
}

impl StepResult {
    /// What was noted with it.
    pub fn text(&self) -> &str {
        match self {
            Self::Done { note } => note,
            Self::Failed { reason } => reason,
        }
    }
}

/// Whoever signs it has seen a statement about a release, and need not be told of it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledgement {
    /// The `release` statement.
    pub release: Digest,
    /// The statement that was seen; the release's own where that is meant.
    pub seen: Digest,
}

/// A change manager closes a release, or the emergency that releases were iterations of. Nothing moves
/// under it any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Closure {
    /// One release; never by its submitter.
    Release {
        /// The `release` statement.
        release: Digest,
        /// What came of it.
        result: ClosureResult,
        /// The post-implementation review. An emergency's iteration that touched a host needs one, and so
        /// does whatever did not simply succeed.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        review: Option<PostReview>,
    },
    /// A whole emergency, when it owes no review.
    Emergency {
        /// The `emergency` statement that opened it.
        grounds: Digest,
        /// What came of it.
        summary: String,
    },
}

/// What came of a release, in ITIL's closure codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClosureResult {
    /// It does what it is for.
    Successful,
    /// It does, but something went wrong on the way.
    SuccessfulWithIssues,
    /// It was taken back.
    BackedOut,
    /// It never reached a host.
    NotImplemented,
}

impl ClosureResult {
    /// Every one.
    pub const ALL: &[Self] =
        &[Self::Successful, Self::SuccessfulWithIssues, Self::BackedOut, Self::NotImplemented];

    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Successful => "successful",
            Self::SuccessfulWithIssues => "successful-with-issues",
            Self::BackedOut => "backed-out",
            Self::NotImplemented => "not-implemented",
        }
    }
}

impl std::fmt::Display for ClosureResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A look back at a release that is over (ITIL's post-implementation review).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostReview {
    /// What happened, against what was planned.
    pub findings: String,
    /// What is done about it, line by line; empty where nothing has to be.
    pub actions: Vec<String>,
    /// Where the review is kept: a ticket, a document.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reference: Option<String>,
}
