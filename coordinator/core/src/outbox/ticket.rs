//! What a release should look like in a tracker: one ticket with its tasks (PROCESS 13).
//!
//! It follows from where the release stands now, so that a tracker that was out of reach for a day is brought
//! up to date at once, and one that is told twice finds nothing to do.

use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::fold::standing::{Lifecycle, release_standing, standing_holds};
use cutover_shared::name::Name;
use cutover_shared::statement::{ChangeType, Closure, ClosureResult, TaskKind};
use cutover_shared::time::Time;

use crate::tasks::{Task, TaskState, tasks};

/// A ticket as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Our name for it, which no other release has.
    pub correlation: String,
    /// What people call it: `R-7`.
    pub number: String,
    /// One line.
    pub title: String,
    /// Lines.
    pub description: String,
    /// The kind of change.
    pub change: ChangeType,
    /// How far it has come.
    pub phase: TicketPhase,
    /// It is stopped, and why.
    pub held: Option<String>,
    /// Whether it ended well, where it has ended.
    pub went_well: Option<bool>,
    /// Where it stands, in a sentence.
    pub note: String,
    /// Start and end of its newest window that was not cancelled.
    pub window: Option<(Time, Time)>,
    /// Its tasks.
    pub tasks: Vec<TicketTask>,
}

/// How far a change has come, in the order of the usual state model of trackers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TicketPhase {
    /// It was brought.
    New,
    /// It is looked at.
    Assess,
    /// It is decided on.
    Authorize,
    /// It waits for its window.
    Scheduled,
    /// It is carried out.
    Implement,
    /// It is looked back on.
    Review,
    /// It is over.
    Closed,
    /// It was given up.
    Cancelled,
}

/// A task of a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketTask {
    /// Our name for it.
    pub correlation: String,
    /// The task.
    pub task: Task,
}

impl TicketTask {
    /// Whether nothing is to be done any more.
    pub fn is_over(&self) -> bool {
        matches!(self.task.state, TaskState::Done { .. } | TaskState::Cancelled)
    }
}

/// The ticket of a release, as of now; `None` where it is not known.
pub fn ticket(state: &State, release: &Digest, now: Time) -> Option<Ticket> {
    let case = state.case(release)?;
    let says = case.release.says();
    let standing = release_standing(state, case, now);
    let bookings = case.booked().filter(|it| it.cancelled.is_none());
    let newest = bookings.max_by_key(|it| it.booking.index());
    let held = standing_holds(state, case, now).first().map(|hold| hold.says().reason.clone());
    let number = format!("R-{}", case.number);
    let correlation = release.to_string();
    let environments: Vec<_> = says.environments.iter().map(Name::as_str).collect();
    let tasks = tasks(state, case, now)
        .into_iter()
        .map(|task| TicketTask { correlation: task_name(&correlation, &task), task });
    Some(Ticket {
        title: format!("{} {} {}: {}", case.name(), says.application, says.version, says.summary),
        description: format!(
            "{}\n\nRelease {} of {}, version {}, for {}.\nPackage sha256:{}\nRelease statement {release}\n\n\
             This ticket follows the log of Cutover; decisions are made there: cutover explain {number}",
            says.summary,
            case.name(),
            says.application,
            says.version,
            environments.join(", "),
            says.package,
        ),
        change: says.change,
        phase: phase(standing.word),
        held,
        went_well: match standing.word {
            Lifecycle::Verifying => Some(true),
            Lifecycle::Closed => Some(case.closed.as_ref().is_some_and(|it| went_well(it.says()))),
            Lifecycle::RolledBack | Lifecycle::Denied | Lifecycle::Cancelled => Some(false),
            Lifecycle::Submitted
            | Lifecycle::InReview
            | Lifecycle::Returned
            | Lifecycle::Complete
            | Lifecycle::Assessing
            | Lifecycle::Approved
            | Lifecycle::Booked
            | Lifecycle::Staged
            | Lifecycle::Released
            | Lifecycle::Deploying
            | Lifecycle::Returning
            | Lifecycle::Expired
            | Lifecycle::OnHold
            | Lifecycle::Superseded => None,
        },
        note: format!("{}: {}", standing.word, standing.detail),
        window: newest.map(|it| (it.booking.says().window.start, it.booking.says().window.end)),
        tasks: tasks.collect(),
        number,
        correlation,
    })
}

/// Our name for a task: the release's, and the kind; of a condition the vote and its number, too.
fn task_name(correlation: &str, task: &Task) -> String {
    match task.kind {
        TaskKind::Condition { vote, number } => {
            format!("{correlation}/condition-{}-{number}", vote.short())
        }
        TaskKind::Stage | TaskKind::Deploy | TaskKind::Verify | TaskKind::Review => {
            format!("{correlation}/{}", task.kind.name())
        }
    }
}

fn went_well(closure: &Closure) -> bool {
    match closure {
        Closure::Release { result, .. } => {
            matches!(result, ClosureResult::Successful | ClosureResult::SuccessfulWithIssues)
        }
        Closure::Emergency { .. } => true,
    }
}

fn phase(word: Lifecycle) -> TicketPhase {
    match word {
        Lifecycle::Submitted | Lifecycle::InReview | Lifecycle::Returned => TicketPhase::New,
        Lifecycle::Complete => TicketPhase::Assess,
        Lifecycle::Assessing => TicketPhase::Authorize,
        Lifecycle::Approved
        | Lifecycle::Booked
        | Lifecycle::Staged
        | Lifecycle::Released
        | Lifecycle::OnHold
        | Lifecycle::Expired => TicketPhase::Scheduled,
        Lifecycle::Deploying | Lifecycle::Returning => TicketPhase::Implement,
        Lifecycle::Verifying | Lifecycle::RolledBack => TicketPhase::Review,
        Lifecycle::Closed => TicketPhase::Closed,
        Lifecycle::Denied | Lifecycle::Cancelled | Lifecycle::Superseded => TicketPhase::Cancelled,
    }
}
