//! A case: everything that was said about one release.
//!
//! Cases are filled by the fold and by nothing else, from statements whose signatures and roles were
//! verified ([`Verified`]). What the statements add up to is decided in [`mod@crate::authorise`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::digest::Digest;
use crate::key::KeyId;
use crate::name::Name;
use crate::policy::Signer;
use crate::statement::{
    Acknowledgement, Assessment, Booking, Cancel, Closure, Consult, Delivery, Event, Hold,
    IterationApproval, Judgement, Outcome, Override, Rehearsal, Rehearsed, Release, Resume, Review,
    Step, Task, TaskChange, TaskKind, Validity, Vote, Waiver, WindowRelease,
};
use crate::time::Time;

/// Something that was said, with its place in the log and the people who signed it. It can be made in
/// this crate only, by the code that verified it:
///
/// ```compile_fail,E0451
/// # use cutover_shared::{case::Verified, digest::Digest, statement::Header};
/// fn forge(id: Digest, header: Header) -> Verified<()> {
///     Verified { id, index: 0, header, signers: Box::default(), says: () }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    pub(crate) id: Digest,
    pub(crate) index: u64,
    pub(crate) header: Validity,
    pub(crate) signers: Arc<[Signer]>,
    pub(crate) says: T,
}

impl<T> Verified<T> {
    /// The statement's identity.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// Its place in the log.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// When it was signed, and between which instants it is usable.
    pub fn header(&self) -> &Validity {
        &self.header
    }

    /// Whose signatures it carries.
    pub fn signers(&self) -> &[Signer] {
        &self.signers
    }

    /// The owners of its signatures.
    pub fn owners(&self) -> BTreeSet<&Name> {
        self.signers.iter().map(|signer| &signer.owner).collect()
    }

    /// What it says.
    pub fn says(&self) -> &T {
        &self.says
    }

    /// The frame of a statement, and what it says.
    pub(crate) fn split(self) -> (Verified<()>, T) {
        let Self { id, index, header, signers, says } = self;
        (Verified { id, index, header, signers, says: () }, says)
    }

    /// What is said, in the frame of this statement.
    pub(crate) fn carry<U>(self, says: U) -> Verified<U> {
        let Self { id, index, header, signers, .. } = self;
        Verified { id, index, header, signers, says }
    }
}

/// What a host reported, without the readings and clearances that it gave as proof: those are many and
/// long, decide nothing, and are read from the log by whoever wants to see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// What it is about; the hosts of one order share it.
    pub about: Arc<About>,
    /// The host's name.
    pub host: Name,
    /// Its host key.
    pub host_key: KeyId,
    /// The order's generation on this host for this application.
    pub generation: u64,
    /// What happened.
    pub event: Event,
    /// The package that runs now; none when the application is absent.
    pub running: Option<Digest>,
    /// When the host began.
    pub started: Time,
    /// When it ended.
    pub ended: Time,
}

/// What a host must have time for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// From starting to committed.
    pub apply: Duration,
    /// For going back.
    pub reserve: Duration,
}

impl Budget {
    /// Both: what a window must have left when a host starts.
    pub fn whole(&self) -> Duration {
        self.apply + self.reserve
    }
}

/// What a report is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The application.
    pub application: Name,
    /// The `booking` or `rollback` statement that was carried out.
    pub order: Digest,
    /// The `release` statement that it is about.
    pub release: Digest,
    /// The package that it is about.
    pub package: Digest,
}

/// A report is asked for what it is about as if it were its own.
impl Deref for Reported {
    type Target = About;

    fn deref(&self) -> &About {
        &self.about
    }
}

impl From<Outcome> for Reported {
    fn from(it: Outcome) -> Self {
        let about = About {
            application: it.application,
            order: it.order,
            release: it.release,
            package: it.package,
        };
        Self {
            about: Arc::new(about),
            host: it.host,
            host_key: it.host_key,
            generation: it.generation,
            event: it.event,
            running: it.running,
            started: it.started,
            ended: it.ended,
        }
    }
}

/// A booking and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookingCase {
    /// The booking.
    pub booking: Verified<Booking>,
    /// Its release, when it was released.
    pub released: Option<Verified<WindowRelease>>,
    /// Its cancellation.
    pub cancelled: Option<Box<Verified<Cancel>>>,
    /// What lets it pass freezes.
    pub overrides: Vec<Verified<Override>>,
    /// Manual steps that were done or failed, in log order.
    pub steps: Vec<Verified<Step>>,
    /// What hosts reported of it, in log order.
    pub outcomes: Vec<Verified<Reported>>,
}

/// Everything said about one release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The submission.
    pub release: Verified<Release>,
    /// Its number among the submissions of the log, from 1: `R-1`.
    pub number: u64,
    /// Rehearsals, in log order.
    pub rehearsals: Vec<Verified<Rehearsal>>,
    /// Reviews, in log order.
    pub reviews: Vec<Verified<Review>>,
    /// Assessments, in log order.
    pub assessments: Vec<Verified<Assessment>>,
    /// Votes, in log order.
    pub votes: Vec<Verified<Vote>>,
    /// What other departments were asked, and answered, in log order.
    pub consults: Vec<Verified<Consult>>,
    /// Approvals as an emergency iteration.
    pub approvals: Vec<Verified<IterationApproval>>,
    /// Deliveries.
    pub deliveries: Vec<Verified<Delivery>>,
    /// Exceptions made for it, in log order.
    pub waivers: Vec<Verified<Waiver>>,
    /// Bookings by identity.
    pub bookings: BTreeMap<Digest, Arc<BookingCase>>,
    /// Holds that stand or stood.
    pub holds: Vec<Verified<Hold>>,
    /// What ended them, by hold.
    pub resumes: BTreeMap<Digest, Verified<Resume>>,
    /// The cancellation of the whole release.
    pub cancelled: Option<Box<Verified<Cancel>>>,
    /// The submission that took its place.
    pub superseded_by: Option<Digest>,
    /// Who was given which task, and which are done, in log order.
    pub tasks: Vec<Verified<Task>>,
    /// What was seen by whom, in log order.
    pub acknowledgements: Vec<Verified<Acknowledgement>>,
    /// Its closure.
    pub closed: Option<Box<Verified<Closure>>>,
}

impl BookingCase {
    pub(crate) fn new(booking: Verified<Booking>) -> Self {
        Self {
            booking,
            released: None,
            cancelled: None,
            overrides: Vec::new(),
            steps: Vec::new(),
            outcomes: Vec::new(),
        }
    }
}

impl Case {
    pub(crate) fn new(release: Verified<Release>, number: u64) -> Self {
        Self {
            release,
            number,
            rehearsals: Vec::new(),
            reviews: Vec::new(),
            assessments: Vec::new(),
            votes: Vec::new(),
            consults: Vec::new(),
            approvals: Vec::new(),
            deliveries: Vec::new(),
            waivers: Vec::new(),
            bookings: BTreeMap::new(),
            holds: Vec::new(),
            resumes: BTreeMap::new(),
            cancelled: None,
            superseded_by: None,
            tasks: Vec::new(),
            acknowledgements: Vec::new(),
            closed: None,
        }
    }

    /// The holds that stand against a booking: one that its booker or releaser alone has resumed does, since
    /// another owner has to let it go on (DESIGN 3).
    pub fn holds_on<'a>(
        &'a self,
        booking: &BookingCase,
    ) -> impl Iterator<Item = &'a Verified<Hold>> {
        let mut releasers = booking.booking.owners();
        releasers.extend(booking.released.iter().flat_map(Verified::owners));
        let releasers: BTreeSet<Name> = releasers.into_iter().cloned().collect();
        self.holds.iter().filter(move |hold| {
            let resume = self.resumes.get(&hold.id);
            resume.is_none_or(|resume| resume.owners().iter().any(|it| releasers.contains(*it)))
        })
    }

    /// The name for people: `R-7`, or `R-7 (E2)` for an iteration.
    pub fn name(&self) -> String {
        match &self.release.says.iteration {
            Some(iteration) => format!("R-{} (E{})", self.number, iteration.number),
            None => format!("R-{}", self.number),
        }
    }

    /// The last review that speaks for an environment.
    pub fn last_review(&self, environment: &Name) -> Option<&Verified<Review>> {
        self.reviews.iter().rev().find(|review| review.says.environments.contains(environment))
    }

    /// The last assessment of each owner that speaks for an environment.
    pub fn assessments_for(&self, environment: &Name) -> BTreeMap<&Name, &Verified<Assessment>> {
        last_by_owner(
            self.assessments.iter().filter(|it| it.says.environments.contains(environment)),
        )
    }

    /// The last vote of each owner that speaks for an environment.
    pub fn votes_for(&self, environment: &Name) -> BTreeMap<&Name, &Verified<Vote>> {
        last_by_owner(self.votes.iter().filter(|it| it.says.environments.contains(environment)))
    }

    /// What hosts must have time for: what the release says, or longer where a rehearsal took longer.
    pub fn budget(&self) -> Budget {
        let declared = self.declared_budget();
        let times = self.last_rehearsals().into_values().filter_map(|it| match it.says.result {
            Rehearsed::Passed { applied_in, returned_in } => Some((applied_in, returned_in)),
            Rehearsed::Failed { .. } => None,
        });
        times.fold(declared, |budget, (applied_in, returned_in)| Budget {
            apply: budget.apply.max(applied_in),
            reserve: budget.reserve.max(returned_in),
        })
    }

    /// What the release itself says.
    pub fn declared_budget(&self) -> Budget {
        let says = &self.release.says;
        Budget { apply: says.apply_budget, reserve: says.rollback_reserve }
    }

    /// The last rehearsal of each owner.
    pub fn last_rehearsals(&self) -> BTreeMap<&Name, &Verified<Rehearsal>> {
        last_by_owner(self.rehearsals.iter())
    }

    /// The last answer of each owner who spoke for a department, for an environment.
    pub fn answers_of(
        &self,
        department: &Name,
        environment: &Name,
    ) -> BTreeMap<&Name, &Verified<Consult>> {
        last_by_owner(self.consults.iter().filter(|it| {
            matches!(it.says, Consult::Answered { .. })
                && it.says.department() == department
                && it.says.environments().contains(environment)
        }))
    }

    /// Whether a host ever did something for it, whatever came of that.
    pub fn touched_a_host(&self) -> bool {
        self.outcomes().any(|it| match it.says.event {
            Event::Committed | Event::Returned { .. } | Event::RolledBack | Event::Stuck { .. } => {
                true
            }
            Event::Refused { .. } | Event::Drifted { .. } => false,
        })
    }

    /// The owner whose task it is, as it was last given to somebody.
    pub fn assignee(&self, kind: TaskKind) -> Option<&Name> {
        self.tasks.iter().rev().find_map(|it| match &it.says.change {
            TaskChange::Assigned { to } if it.says.kind == kind => Some(to),
            TaskChange::Assigned { .. } | TaskChange::Done { .. } => None,
        })
    }

    /// What first said that a task is done.
    pub fn task_done(&self, kind: TaskKind) -> Option<&Verified<Task>> {
        let done = |it: &&Verified<Task>| matches!(it.says.change, TaskChange::Done { .. });
        self.tasks.iter().filter(|it| it.says.kind == kind).find(done)
    }

    /// Whether the owner has said to have seen a statement.
    pub fn is_acknowledged(&self, seen: &Digest, owner: &Name) -> bool {
        let of = |it: &&Verified<Acknowledgement>| it.says.seen == *seen;
        self.acknowledgements.iter().filter(of).any(|it| it.owners().contains(owner))
    }

    /// Every booking, cancelled ones too, by identity.
    pub fn booked(&self) -> impl Iterator<Item = &BookingCase> {
        self.bookings.values().map(|booking| &**booking)
    }

    /// Every outcome of every booking.
    pub fn outcomes(&self) -> impl Iterator<Item = &Verified<Reported>> {
        self.bookings.values().flat_map(|booking| &booking.outcomes)
    }
}

fn last_by_owner<'a, T: 'a>(
    statements: impl Iterator<Item = &'a Verified<T>>,
) -> BTreeMap<&'a Name, &'a Verified<T>> {
    let mut last = BTreeMap::new();
    for statement in statements {
        for signer in &*statement.signers {
            last.insert(&signer.owner, statement);
        }
    }
    last
}

impl Judgement {
    /// Whether it is a yes.
    pub fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted { .. })
    }

    /// Why; it may be empty for a yes.
    pub fn reason(&self) -> &str {
        match self {
            Self::Accepted { reason } | Self::Denied { reason } => reason,
        }
    }
}
