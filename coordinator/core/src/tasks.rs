//! What is to be done for a release besides deciding on it: the built-in task list, and what trackers are
//! given (PROCESS 13). Folded from the log, never stored: a release has one task of each kind, and one for
//! each condition that the board has set, so that nothing makes one twice.

use cutover_shared::case::{Case, Verified};
use cutover_shared::fold::State;
use cutover_shared::fold::standing::{Lifecycle, open_booking, release_standing};
use cutover_shared::name::Name;
use cutover_shared::policy::Role;
use cutover_shared::statement::TaskKind;
use cutover_shared::time::Time;

/// A task of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// What kind.
    pub kind: TaskKind,
    /// What is to be done.
    pub title: String,
    /// How far it is.
    pub state: TaskState,
    /// The owner to whom it was given.
    pub assignee: Option<Name>,
    /// By when it has to be done, where a window says it.
    pub due: Option<Time>,
}

/// How far a task is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    /// Something else comes before it.
    Pending,
    /// It can be done.
    Open,
    /// It is being done.
    InProgress,
    /// It was done.
    Done {
        /// By whom; nobody where hosts did it.
        by: Option<Name>,
        /// When.
        at: Time,
    },
    /// It is not to be done any more.
    Cancelled,
}

impl TaskState {
    /// The word.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Open => "open",
            Self::InProgress => "in-progress",
            Self::Done { .. } => "done",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Whose a task is when it was given to nobody.
pub const fn role(kind: TaskKind) -> Role {
    match kind {
        TaskKind::Stage => Role::Librarian,
        TaskKind::Deploy => Role::Operator,
        TaskKind::Verify => Role::Submitter,
        TaskKind::Review => Role::ChangeManager,
        TaskKind::Condition { .. } => Role::Board,
    }
}

/// The tasks of a release: those that every release has, in their order, and the board's conditions.
pub fn tasks(state: &State, case: &Case, now: Time) -> Vec<Task> {
    let word = release_standing(state, case, now).word;
    let given_up = matches!(
        word,
        Lifecycle::Denied | Lifecycle::Cancelled | Lifecycle::Superseded | Lifecycle::Closed
    );
    let environments = case.release.says().environments.iter();
    let windows = environments.filter_map(|it| open_booking(state, case, it, now));
    let windows: Vec<_> = windows.map(|it| it.booking.says().window).collect();
    let due = |kind| match kind {
        TaskKind::Stage | TaskKind::Condition { .. } => windows.iter().map(|it| it.start).min(),
        TaskKind::Deploy => windows.iter().map(|window| window.end).max(),
        TaskKind::Verify | TaskKind::Review => None,
    };
    let conditions = conditions(case);
    let common = TaskKind::COMMON.iter().map(|kind| (*kind, title(*kind).to_owned()));
    let one = |(kind, title)| {
        let state = match done(case, kind, word) {
            Some(done) => done,
            None if given_up => TaskState::Cancelled,
            None => undone(kind, word),
        };
        Task { kind, title, state, assignee: case.assignee(kind).cloned(), due: due(kind) }
    };
    common.chain(conditions).map(one).collect()
}

const fn title(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::Stage => "Deliver the code to the staging area",
        TaskKind::Deploy => "Take the release onto its hosts in its window",
        TaskKind::Verify => "Verify that the release does what it should",
        TaskKind::Review => "Review how the change went, and close it",
        TaskKind::Condition { .. } => "Meet a condition of the board",
    }
}

/// The conditions of the votes that count.
fn conditions(case: &Case) -> Vec<(TaskKind, String)> {
    let mut all = Vec::new();
    for vote in &case.votes {
        let later = |it: &&Verified<_>| it.index() > vote.index() && it.owners() == vote.owners();
        if case.votes.iter().any(|it| later(&it)) {
            continue;
        }
        for (number, condition) in (1..).zip(&vote.says().conditions) {
            let kind = TaskKind::Condition { vote: vote.id(), number };
            all.push((kind, format!("Condition of the board: {condition}")));
        }
    }
    all
}

fn by_signer<T>(statement: &Verified<T>) -> TaskState {
    let by = statement.signers().first().map(|signer| signer.owner.clone());
    TaskState::Done { by, at: statement.header().issued }
}

fn done(case: &Case, kind: TaskKind, word: Lifecycle) -> Option<TaskState> {
    let by_itself = match kind {
        TaskKind::Stage => case.deliveries.last().map(by_signer),
        TaskKind::Deploy => {
            let last = case.outcomes().max_by_key(|outcome| outcome.index());
            let last = last.filter(|_| matches!(word, Lifecycle::Verifying | Lifecycle::Closed));
            last.map(|it| TaskState::Done { by: None, at: it.says().ended })
        }
        TaskKind::Review => case.closed.as_ref().map(|it| by_signer(it)),
        TaskKind::Verify | TaskKind::Condition { .. } => None,
    };
    by_itself.or_else(|| case.task_done(kind).map(by_signer))
}

fn undone(kind: TaskKind, word: Lifecycle) -> TaskState {
    let judged = matches!(
        word,
        Lifecycle::Approved
            | Lifecycle::Booked
            | Lifecycle::Staged
            | Lifecycle::Released
            | Lifecycle::Deploying
            | Lifecycle::Verifying
            | Lifecycle::Returning
            | Lifecycle::Expired
    );
    match (kind, word) {
        (TaskKind::Stage, _) if judged => TaskState::Open,
        (TaskKind::Condition { .. }, _)
        | (TaskKind::Deploy, Lifecycle::Released | Lifecycle::Staged)
        | (TaskKind::Verify, Lifecycle::Verifying)
        | (TaskKind::Review, Lifecycle::Verifying | Lifecycle::RolledBack) => TaskState::Open,
        (TaskKind::Deploy, Lifecycle::Deploying | Lifecycle::Returning) => TaskState::InProgress,
        (TaskKind::Stage | TaskKind::Deploy | TaskKind::Verify | TaskKind::Review, _) => {
            TaskState::Pending
        }
    }
}
