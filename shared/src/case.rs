//! A case: everything that was said about one release.
//!
//! Cases are filled by the fold and by nothing else, from statements whose signatures and roles were
//! verified ([`Verified`]). What the statements add up to is decided in [`mod@crate::authorise`].

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;
use crate::name::Name;
use crate::policy::Signer;
use crate::statement::{
    Assessment, Booking, Cancel, Delivery, Header, Hold, IterationApproval, Judgement, Outcome,
    Release, Resume, Review, Vote, WindowRelease,
};

/// Something that was said, with its place in the log and the people who signed it. It can be made in
/// this crate only, by the code that verified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    pub(crate) id: Digest,
    pub(crate) index: u64,
    pub(crate) header: Header,
    pub(crate) signers: Vec<Signer>,
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
    pub fn header(&self) -> &Header {
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

    /// The same statement with another reading of what it says.
    pub(crate) fn with<U>(self, says: U) -> Verified<U> {
        Verified {
            id: self.id,
            index: self.index,
            header: self.header,
            signers: self.signers,
            says,
        }
    }
}

/// A booking and what became of it.
#[derive(Debug, Clone)]
pub struct BookingCase {
    /// The booking.
    pub booking: Verified<Booking>,
    /// Its release, when it was released.
    pub released: Option<Verified<WindowRelease>>,
    /// Its cancellation.
    pub cancelled: Option<Verified<Cancel>>,
    /// What hosts reported of it, in log order.
    pub outcomes: Vec<Verified<Outcome>>,
}

/// Everything said about one release.
#[derive(Debug, Clone)]
pub struct Case {
    /// The submission.
    pub release: Verified<Release>,
    /// Its number among the submissions of the log, from 1: `R-1`.
    pub number: u64,
    /// Reviews, in log order.
    pub reviews: Vec<Verified<Review>>,
    /// Assessments, in log order.
    pub assessments: Vec<Verified<Assessment>>,
    /// Votes, in log order.
    pub votes: Vec<Verified<Vote>>,
    /// Approvals as an emergency iteration.
    pub approvals: Vec<Verified<IterationApproval>>,
    /// Deliveries.
    pub deliveries: Vec<Verified<Delivery>>,
    /// Bookings by identity.
    pub bookings: BTreeMap<Digest, BookingCase>,
    /// Holds that stand or stood.
    pub holds: Vec<Verified<Hold>>,
    /// What ended them, by hold.
    pub resumes: BTreeMap<Digest, Verified<Resume>>,
    /// The cancellation of the whole release.
    pub cancelled: Option<Verified<Cancel>>,
    /// The submission that took its place.
    pub superseded_by: Option<Digest>,
}

impl Case {
    pub(crate) fn new(release: Verified<Release>, number: u64) -> Self {
        Self {
            release,
            number,
            reviews: Vec::new(),
            assessments: Vec::new(),
            votes: Vec::new(),
            approvals: Vec::new(),
            deliveries: Vec::new(),
            bookings: BTreeMap::new(),
            holds: Vec::new(),
            resumes: BTreeMap::new(),
            cancelled: None,
            superseded_by: None,
        }
    }

    /// The holds that stand.
    pub fn standing_holds(&self) -> impl Iterator<Item = &Verified<Hold>> {
        self.holds.iter().filter(|hold| !self.resumes.contains_key(&hold.id))
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

    /// Every outcome of every booking.
    pub fn outcomes(&self) -> impl Iterator<Item = &Verified<Outcome>> {
        self.bookings.values().flat_map(|booking| &booking.outcomes)
    }
}

fn last_by_owner<'a, T: 'a>(
    statements: impl Iterator<Item = &'a Verified<T>>,
) -> BTreeMap<&'a Name, &'a Verified<T>> {
    let mut last = BTreeMap::new();
    for statement in statements {
        for signer in &statement.signers {
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
}
