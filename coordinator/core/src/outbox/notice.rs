//! What an entry of the log tells people of.

use cutover_shared::case::{BookingCase, Case};
use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::fold::standing::{Lifecycle, release_standing};
use cutover_shared::policy::Role;
use cutover_shared::statement::{
    Cancel, Closure, Consult, Emergency, Event, Freeze, Says, Statement, TaskChange, Verdict,
};
use cutover_shared::time::Time;
use cutover_shared::window::Window;

use super::timed::Cause;

/// What happened to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// It was submitted.
    Submitted,
    /// A librarian found it complete.
    Reviewed,
    /// A librarian sent it back to its submitter.
    Returned,
    /// It was denied.
    Denied,
    /// Those who judge it have brought it further.
    Judged,
    /// It was rehearsed.
    Rehearsed,
    /// Another department was asked about it.
    Asked,
    /// It was delivered to the staging area.
    Delivered,
    /// It has a window.
    Booked,
    /// The window may be used.
    Released,
    /// A freeze covers a window that it has.
    Frozen,
    /// Its window passes a freeze.
    Overridden,
    /// An exception was made for it.
    Waived,
    /// It was stopped.
    Held,
    /// It goes on.
    Resumed,
    /// One of its windows was given up.
    WindowCancelled,
    /// It was given up.
    Cancelled,
    /// Hosts are to go back from it.
    ReturnOrdered,
    /// Every host of a window has committed it.
    Committed,
    /// A host went back from it.
    WentBack,
    /// A host cannot go back from it.
    Stuck,
    /// A host refused it.
    Refused,
    /// A file of it was changed on a host.
    Drifted,
    /// It was closed.
    Closed,
    /// A window of it ended before every host had it.
    Expired,
    /// A host waits for a step of its runbook that people do.
    StepAwaited,
    /// The trust policy nears its end; of no release.
    PolicyExpires,
}

impl What {
    /// Everything that can happen.
    pub const ALL: &[Self] = &[
        Self::Submitted,
        Self::Reviewed,
        Self::Returned,
        Self::Denied,
        Self::Judged,
        Self::Rehearsed,
        Self::Asked,
        Self::Delivered,
        Self::Booked,
        Self::Released,
        Self::Frozen,
        Self::Overridden,
        Self::Waived,
        Self::Held,
        Self::Resumed,
        Self::WindowCancelled,
        Self::Cancelled,
        Self::ReturnOrdered,
        Self::Committed,
        Self::WentBack,
        Self::Stuck,
        Self::Refused,
        Self::Drifted,
        Self::Closed,
        Self::Expired,
        Self::StepAwaited,
        Self::PolicyExpires,
    ];

    /// The word, as in configurations and in the types of events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Reviewed => "reviewed",
            Self::Returned => "returned",
            Self::Denied => "denied",
            Self::Judged => "judged",
            Self::Rehearsed => "rehearsed",
            Self::Asked => "asked",
            Self::Delivered => "delivered",
            Self::Booked => "booked",
            Self::Released => "released",
            Self::Frozen => "frozen",
            Self::Overridden => "overridden",
            Self::Waived => "waived",
            Self::Held => "held",
            Self::Resumed => "resumed",
            Self::WindowCancelled => "window-cancelled",
            Self::Cancelled => "cancelled",
            Self::ReturnOrdered => "return-ordered",
            Self::Committed => "committed",
            Self::WentBack => "went-back",
            Self::Stuck => "stuck",
            Self::Refused => "refused",
            Self::Drifted => "drifted",
            Self::Closed => "closed",
            Self::Expired => "expired",
            Self::StepAwaited => "step-awaited",
            Self::PolicyExpires => "policy-expires",
        }
    }

    /// What is said of a release of which this is told.
    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::Submitted => "was submitted",
            Self::Reviewed => "was found complete",
            Self::Returned => "was sent back: there are items to mend",
            Self::Denied => "was denied",
            Self::Judged => "was judged",
            Self::Rehearsed => "was rehearsed",
            Self::Asked => "is for another department to answer",
            Self::Delivered => "was delivered to the staging area",
            Self::Booked => "has a window",
            Self::Released => "may go to its hosts in its window",
            Self::Frozen => "has a window that a freeze covers now",
            Self::Overridden => "passes a freeze in its window",
            Self::Waived => "goes on under an exception",
            Self::Held => "was stopped",
            Self::Resumed => "goes on",
            Self::WindowCancelled => "has lost its window",
            Self::Cancelled => "was cancelled",
            Self::ReturnOrdered => "is to be taken back from hosts",
            Self::Committed => "was committed by every host of its window",
            Self::WentBack => "was taken back by a host",
            Self::Stuck => "is stuck on a host: a person is needed there",
            Self::Refused => "was refused by a host",
            Self::Drifted => "was changed on a host by nobody's order",
            Self::Closed => "was closed",
            Self::Expired => "has a window that ended before every host had it",
            Self::StepAwaited => "waits for a step that people do",
            Self::PolicyExpires => "is under a policy that nears its end",
        }
    }

    /// Whom it is told to besides the requester (who is not asked to do a step, nor for a policy): whoever holds one
    /// of these roles for the release.
    pub(super) const fn roles(self) -> &'static [Role] {
        use Role::{Board, ChangeManager, Librarian, Operator, Root, Security};
        match self {
            Self::Submitted => &[Librarian],
            Self::Reviewed => &[Security, Board, ChangeManager],
            Self::Returned | Self::Asked => &[],
            Self::Rehearsed => &[Librarian],
            Self::Denied => &[Librarian, ChangeManager],
            Self::Judged => &[ChangeManager],
            Self::Delivered | Self::ReturnOrdered | Self::Committed => &[ChangeManager, Operator],
            Self::Booked | Self::WindowCancelled | Self::Cancelled | Self::Closed => {
                &[Librarian, ChangeManager, Operator]
            }
            Self::Released | Self::WentBack | Self::Stuck | Self::Refused | Self::Drifted => {
                &[ChangeManager, Operator]
            }
            Self::Frozen | Self::Overridden | Self::Held | Self::Resumed => {
                &[ChangeManager, Security, Operator]
            }
            Self::Waived => &[ChangeManager, Security],
            Self::Expired => &[ChangeManager],
            Self::StepAwaited => &[Operator],
            Self::PolicyExpires => &[Root, ChangeManager],
        }
    }
}

/// That something happened to a release, by an entry of the log, or of what the entry permitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The place of the entry.
    pub index: u64,
    /// The statement.
    pub statement: Digest,
    /// The `release` statement that it is about; none where the entry is a policy.
    pub release: Option<Digest>,
    /// What happened.
    pub what: What,
    /// Why it is told now.
    pub cause: Cause,
}

impl Notice {
    /// The statement of what it is about: a release, or a policy.
    pub fn subject(&self) -> Digest {
        self.release.unwrap_or(self.statement)
    }
}

/// What entry `index`, the statement of that identity, tells of. Nothing where it is nobody's news: it is
/// about no release, has no effect, or is one voice among several that has not moved anything yet. A freeze is
/// news for each release that has a window under it.
pub fn notices(state: &State, index: u64, id: Digest, statement: &Statement) -> Vec<Notice> {
    if let Says::Freeze(freeze) = &statement.says {
        let issued = statement.header.issued;
        let known = state.contains(&id).then(|| state.cases()).into_iter().flatten();
        let under =
            known.filter(|case| frozen(state, case, freeze, index, issued).next().is_some());
        let frozen = |case: &Case| Notice {
            index,
            statement: id,
            release: Some(case.release.id()),
            what: What::Frozen,
            cause: Cause::Entry,
        };
        return under.map(frozen).collect();
    }
    notice(state, index, id, statement).into_iter().collect()
}

/// The bookings of a release, as entry `index` found them, that the freeze in it covers: those that hosts have
/// still to carry out.
pub(super) fn frozen<'c>(
    state: &State,
    case: &'c Case,
    freeze: &'c Freeze,
    index: u64,
    issued: Time,
) -> impl Iterator<Item = &'c BookingCase> {
    let later = case.superseded_by.and_then(|later| state.case(&later));
    let ends = [
        case.cancelled.as_ref().map(|it| it.index()),
        case.closed.as_ref().map(|it| it.index()),
        later.map(|it| it.release.index()),
    ];
    let is_over = ends.into_iter().flatten().any(|end| end < index);
    let is_open = move |it: &&BookingCase| {
        let done = |key: &_| {
            let until = it.outcomes.iter().filter(|it| it.index() < index);
            until
                .filter(|it| it.says().host_key == *key)
                .any(|it| it.says().event == Event::Committed)
        };
        it.booking.index() < index
            && it.cancelled.as_ref().is_none_or(|it| it.index() > index)
            && !it.booking.says().plan.hosts().all(|host| done(&host.host_key))
    };
    let covered = move |it: &&BookingCase| match freeze {
        Freeze::Declared { environments, applications, start, end, .. } => {
            let says = it.booking.says();
            let left = Window { start: says.window.start.max(issued), end: says.window.end };
            environments.contains(&says.environment)
                && (applications.is_empty() || applications.contains(&says.application))
                && left.start < left.end
                && left.overlaps(&Window { start: *start, end: *end })
        }
        Freeze::Lifted { .. } => false,
    };
    case.booked().filter(move |_| !is_over).filter(is_open).filter(covered)
}

fn notice(state: &State, index: u64, id: Digest, statement: &Statement) -> Option<Notice> {
    let (release, what) = about(state, id, statement)?;
    // Nothing is told of a statement that the fold has refused.
    let case = state.case(&release).filter(|_| state.contains(&id))?;
    let issued = statement.header.issued;
    let is_news = if what == What::Judged {
        moved(state, &release, index, issued)
    } else {
        what != What::Committed || is_last(case, statement, index)
    };
    let release = Some(release);
    is_news.then_some(Notice { index, statement: id, release, what, cause: Cause::Entry })
}

/// The release, and what is said of it.
fn about(state: &State, id: Digest, statement: &Statement) -> Option<(Digest, What)> {
    let judged = |accepted: bool| if accepted { What::Judged } else { What::Denied };
    Some(match &statement.says {
        Says::Release(_) => (id, What::Submitted),
        Says::Review(it) => match it.verdict {
            Verdict::Complete => (it.release, What::Reviewed),
            Verdict::Returned { .. } => (it.release, What::Returned),
            Verdict::Denied { .. } => (it.release, What::Denied),
        },
        Says::Assessment(it) => (it.release, judged(it.judgement.is_accepted())),
        Says::Vote(it) => (it.release, judged(it.judgement.is_accepted())),
        Says::Consult(it @ Consult::Asked { .. }) => (it.release(), What::Asked),
        Says::Consult(Consult::Answered { release, judgement, .. }) => {
            (*release, judged(judgement.is_accepted()))
        }
        Says::Task(it) if matches!(it.change, TaskChange::Done { .. }) => {
            (it.release, What::Judged)
        }
        Says::Rehearsal(it) => (it.release, What::Rehearsed),
        Says::Closure(Closure::Release { release, .. }) => (*release, What::Closed),
        Says::Emergency(Emergency::Approved(it)) => (it.release, What::Judged),
        Says::Delivery(it) => (it.release, What::Delivered),
        Says::Booking(it) => (it.release, What::Booked),
        Says::WindowRelease(it) => (it.release, What::Released),
        Says::Override(it) => (it.release, What::Overridden),
        Says::Waiver(it) => (it.release, What::Waived),
        Says::Hold(it) => (it.release, What::Held),
        Says::Resume(it) => (*state.hold(&it.hold)?, What::Resumed),
        Says::Cancel(Cancel { release, booking: Some(_), .. }) => (*release, What::WindowCancelled),
        Says::Cancel(Cancel { release, booking: None, .. }) => (*release, What::Cancelled),
        Says::Rollback(it) => {
            let case = state.cases_of_package(&it.from).next_back()?;
            (case.release.id(), What::ReturnOrdered)
        }
        Says::Outcome(it) => match it.event {
            Event::Committed => (it.release, What::Committed),
            Event::Returned { .. } | Event::RolledBack => (it.release, What::WentBack),
            Event::Stuck { .. } => (it.release, What::Stuck),
            Event::Refused { .. } => (it.release, What::Refused),
            Event::Drifted(_) => (it.release, What::Drifted),
        },
        Says::TrustPolicy(_)
        | Says::Host(_)
        | Says::Grant(_)
        | Says::Emergency(Emergency::Opened { .. })
        | Says::Standard(_)
        | Says::Freeze(_)
        | Says::Calendar(_)
        | Says::Task(_)
        | Says::Step(_)
        | Says::Acknowledgement(_)
        | Says::Closure(Closure::Emergency { .. })
        | Says::Clearance(_) => return None,
    })
}

/// The words for a release and its environments when the log had `size` entries.
fn words(state: &State, release: &Digest, size: u64, now: Time) -> Vec<Lifecycle> {
    let Some(past) = state.as_of(release, size) else { return Vec::new() };
    let Some(case) = past.case(release) else { return Vec::new() };
    let standing = release_standing(&past, case, now);
    let here = standing.environments.iter().map(|it| it.word);
    std::iter::once(standing.word).chain(here).collect()
}

/// Whether entry `index` has brought the release from one state to another.
fn moved(state: &State, release: &Digest, index: u64, now: Time) -> bool {
    words(state, release, index, now) != words(state, release, index + 1, now)
}

/// Whether a commit is the one after which every host of its booking has committed.
fn is_last(case: &Case, statement: &Statement, index: u64) -> bool {
    let Says::Outcome(outcome) = &statement.says else { return false };
    let Some(booking) = case.bookings.get(&outcome.order) else { return false };
    let commits = || {
        let until = booking.outcomes.iter().filter(|it| it.index() <= index);
        until.filter(|it| it.says().event == Event::Committed)
    };
    let plan = &booking.booking.says().plan;
    let all = plan.hosts().all(|host| commits().any(|it| it.says().host_key == host.host_key));
    let own = commits().filter(|it| it.says().host_key == outcome.host_key).count();
    all && own == 1
}
