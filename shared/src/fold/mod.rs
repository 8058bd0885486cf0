//! The fold: from the log's statements, one after the other, to the state of everything.
//!
//! [`State::apply`] examines a statement (signatures, roles, references: `examine`) and, if it is good,
//! adds it. The coordinator folds the whole log, and examines what comes in before it appends it; people's
//! programs fold their verified copy; a host folds the *part* of the log that an order's evidence holds.
//! All with this code, so that a statement which one accepts is accepted by all.
//!
//! A statement in the log that fails its examination changes nothing, whoever put it there; it is kept in
//! [`State::ignored`] for people to see.

mod carried;
mod examine;
mod insert;
mod past;
mod revise;
mod signed;
pub mod snapshot;
pub mod standing;
mod table;
pub mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

pub use carried::Carried;
pub use examine::Examined;
pub use signed::Vouched;
use table::Table;

use crate::case::{BookingCase, Case, Reported, Verified};
use crate::digest::Digest;
use crate::key::{KeyId, PublicKey};
use crate::log::TreeHead;
use crate::name::Name;
use crate::policy::TrustPolicy;
use crate::refusal::Refusal;
use crate::statement::{
    Calendar, Closure, Emergency, Enrolment, Freeze, Grant, Rollback, Step, Template,
};
use crate::time::Time;
use crate::window::Window;

/// Most ignored entries that are kept for people; the count goes on.
const MAX_IGNORED: usize = 1000;

/// A host as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRecord {
    /// Its enrolment.
    pub enrolment: Verified<Enrolment>,
    /// The owners who vouched for it: signers of the enrolment, or of the grant.
    pub vouchers: BTreeSet<Name>,
    /// Where in the log it was retired.
    pub retired: Option<u64>,
    /// What is installed, by application, as its outcomes say.
    pub installed: BTreeMap<Name, Installed>,
}

/// What a host's own outcomes say is on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The order generation.
    pub generation: u64,
    /// The package that runs.
    pub package: Option<Digest>,
    /// The release statement that brought it.
    pub release: Option<Digest>,
    /// The package committed before that one.
    pub previous: Option<Digest>,
    /// The order whose commit is the last thing that the application did.
    pub committed_by: Option<Digest>,
}

/// A grant and how often it was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRecord {
    /// The grant.
    pub grant: Verified<Grant>,
    /// Hosts enrolled with it.
    pub used: u32,
}

/// An ordered return and what hosts reported of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollbackCase {
    /// The order.
    pub rollback: Verified<Rollback>,
    /// Manual steps that were taken back for it or not, in log order.
    pub steps: Vec<Verified<Step>>,
    /// In log order.
    pub outcomes: Vec<Verified<Reported>>,
}

/// A freeze that has been declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreezeRecord {
    /// The declaration.
    pub declared: Verified<Freeze>,
    /// What lifted it.
    pub lifted: Option<Verified<()>>,
}

/// A pre-approval of standard changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandardRecord {
    /// The pre-approval.
    pub approved: Verified<Template>,
    /// Where in the log it was withdrawn.
    pub withdrawn: Option<u64>,
}

/// The calendar in force in an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarRecord {
    /// It.
    pub declared: Verified<Calendar>,
    /// The how-manieth of its environment, from 1.
    pub revision: u64,
}

/// The state of everything, as of a position in the log. A copy shares everything with the original until
/// one of them goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    policy: Option<TrustPolicy>,
    policy_indexes: BTreeMap<u64, u64>,
    /// Each version that stands in the part of the log that was folded, by its place there.
    policies: BTreeMap<u64, TrustPolicy>,
    epochs: BTreeMap<u64, TreeHead>,
    next_index: u64,
    hosts: Table<KeyId, HostRecord>,
    /// The hosts that are not retired, by name and by transport key.
    host_names: Arc<BTreeMap<Name, KeyId>>,
    transport_keys: Arc<BTreeMap<KeyId, KeyId>>,
    grants: Table<Digest, GrantRecord>,
    cases: Table<Digest, Case>,
    numbers: Arc<Vec<Digest>>,
    /// The submissions of each package, and of each emergency's iterations, in log order.
    packages: Arc<BTreeMap<Digest, Vec<Digest>>>,
    iterations: Arc<BTreeMap<Digest, Vec<Digest>>>,
    bookings: Arc<BTreeMap<Digest, Digest>>,
    window_ends: Arc<BTreeSet<(Time, Digest)>>,
    holds: Arc<BTreeMap<Digest, Digest>>,
    emergencies: Table<Digest, Verified<Emergency>>,
    /// By the statement that opened it.
    closed_emergencies: Table<Digest, Verified<Closure>>,
    standards: Table<Digest, StandardRecord>,
    freezes: Table<Digest, FreezeRecord>,
    /// The ends of those that were not lifted.
    standing_freezes: Arc<BTreeSet<(Time, Digest)>>,
    calendars: Table<Name, CalendarRecord>,
    rollbacks: Table<Digest, RollbackCase>,
    /// By the package that they leave.
    rollbacks_from: Arc<BTreeMap<Digest, Vec<Digest>>>,
    rollback_ends: Arc<BTreeSet<(Time, Digest)>>,
    denied_packages: Arc<BTreeMap<Digest, Digest>>,
    returned_packages: Arc<BTreeMap<Digest, u64>>,
    statements: Arc<BTreeSet<Digest>>,
    unknown_predicates: BTreeSet<String>,
    ignored: Vec<(u64, Refusal)>,
    ignored_count: u64,
}

impl State {
    /// Nothing yet: the first statement must be the policy whose identity is `genesis` when it is given,
    /// or else any well-signed first policy (the coordinator's own start).
    pub fn empty() -> Self {
        Self::default()
    }

    /// A state that trusts `policy` already, for folding a part of the log.
    pub fn trusting(policy: TrustPolicy) -> Self {
        let mut state = Self::empty();
        state.note_unknown_predicates(&policy);
        state.policy = Some(policy);
        state
    }

    /// Examines a statement and adds it. On refusal nothing changes but the position and the list of what
    /// was ignored. `index` must rise from call to call.
    pub fn apply(&mut self, index: u64, envelope: &[u8]) -> Result<Digest, Refusal> {
        let examined = self.examine(index, envelope);
        self.take(index, examined)
    }

    /// The same for an entry of the reader's own log.
    pub fn apply_vouched(&mut self, index: u64, entry: Vouched) -> Result<Digest, Refusal> {
        let examined = self.examine_signed(index, entry.0);
        self.take(index, examined)
    }

    fn take(&mut self, index: u64, examined: Result<Examined, Refusal>) -> Result<Digest, Refusal> {
        debug_assert!(index >= self.next_index, "the fold goes forward");
        self.next_index = index.saturating_add(1);
        match examined {
            Ok(examined) => {
                let id = examined.id();
                self.insert(examined);
                Ok(id)
            }
            Err(refusal) => {
                self.ignored_count += 1;
                if self.ignored.len() < MAX_IGNORED {
                    self.ignored.push((index, refusal.clone()));
                }
                Err(refusal)
            }
        }
    }

    /// A state for trying what one more statement about a release would do: of the cases it has only that
    /// one and those of its emergency, so that trying costs the same however long the log is.
    pub(crate) fn trial(&self, release: &Digest) -> Self {
        let grounds = self.cases.get(release).and_then(|case| case.release.says.iteration.as_ref());
        let siblings = grounds.and_then(|it| self.iterations.get(&it.grounds));
        let cases = self.cases.only(siblings.into_iter().flatten().chain([release]));
        let bookings =
            cases.values().flat_map(|case| case.bookings.keys().map(|it| (*it, case.release.id)));
        Self {
            bookings: Arc::new(bookings.collect()),
            cases,
            window_ends: Arc::default(),
            statements: Arc::default(),
            ignored: Vec::new(),
            ..self.clone()
        }
    }

    /// Whether both make the same of what was said, wherever they stand in the log and whatever they ignored.
    pub fn said_alike(&self, other: &Self) -> bool {
        let bare = |state: &Self| Self {
            next_index: 0,
            ignored: Vec::new(),
            ignored_count: 0,
            ..state.clone()
        };
        bare(self) == bare(other)
    }

    /// The policy in force; `None` only for an empty log.
    pub fn policy(&self) -> Option<&TrustPolicy> {
        self.policy.as_ref()
    }

    /// Where in the log each policy version is.
    pub fn policy_indexes(&self) -> &BTreeMap<u64, u64> {
        &self.policy_indexes
    }

    /// The policy that was in force where `index` is written; none where that is before what was folded.
    pub fn policy_at(&self, index: u64) -> Option<&TrustPolicy> {
        self.policies.range(..index).next_back().map(|(_, policy)| policy)
    }

    /// The last good heads of log epochs, by the policy version that names each.
    pub fn epochs(&self) -> &BTreeMap<u64, TreeHead> {
        &self.epochs
    }

    /// The next position in the log.
    pub fn next_index(&self) -> u64 {
        self.next_index
    }

    /// The case of a `release` statement.
    pub fn case(&self, release: &Digest) -> Option<&Case> {
        self.cases.get(release)
    }

    /// Every case, in the order of submission.
    pub fn cases(&self) -> impl DoubleEndedIterator<Item = &Case> {
        self.numbers.iter().filter_map(|release| self.cases.get(release))
    }

    /// The case and the booking of a `booking` statement.
    pub fn booking(&self, booking: &Digest) -> Option<(&Case, &BookingCase)> {
        let case = self.cases.get(self.bookings.get(booking)?)?;
        Some((case, &**case.bookings.get(booking)?))
    }

    /// The cases of a package, in the order of submission.
    pub fn cases_of_package(&self, package: &Digest) -> impl DoubleEndedIterator<Item = &Case> {
        let releases = self.packages.get(package).map(Vec::as_slice).unwrap_or_default();
        releases.iter().filter_map(|release| self.cases.get(release))
    }

    /// The cases that are iterations of an emergency, in the order of submission.
    pub fn cases_of_emergency(&self, grounds: &Digest) -> impl Iterator<Item = &Case> {
        let releases = self.iterations.get(grounds).map(Vec::as_slice).unwrap_or_default();
        releases.iter().filter_map(|release| self.cases.get(release))
    }

    /// The bookings, cancelled ones too, whose windows end after an instant, in the order of their ends.
    pub fn bookings_ending_after(
        &self,
        instant: Time,
    ) -> impl Iterator<Item = (&Case, &BookingCase)> {
        after(&self.window_ends, instant).filter_map(|booking| self.booking(booking))
    }

    /// An ordered return.
    pub fn rollback(&self, rollback: &Digest) -> Option<&RollbackCase> {
        self.rollbacks.get(rollback)
    }

    /// Every ordered return.
    pub fn rollbacks(&self) -> impl Iterator<Item = &RollbackCase> {
        self.rollbacks.values()
    }

    /// The ordered returns from a package, in log order.
    pub fn rollbacks_from(&self, package: &Digest) -> impl Iterator<Item = &RollbackCase> {
        let rollbacks = self.rollbacks_from.get(package).map(Vec::as_slice).unwrap_or_default();
        rollbacks.iter().filter_map(|rollback| self.rollbacks.get(rollback))
    }

    /// The ordered returns that run out after an instant, in the order in which they do.
    pub fn rollbacks_ending_after(&self, instant: Time) -> impl Iterator<Item = &RollbackCase> {
        after(&self.rollback_ends, instant).filter_map(|rollback| self.rollbacks.get(rollback))
    }

    /// A host by its key.
    pub fn host(&self, key: &KeyId) -> Option<&HostRecord> {
        self.hosts.get(key)
    }

    /// Every host, retired ones too, by key.
    pub fn hosts(&self) -> impl Iterator<Item = (&KeyId, &HostRecord)> {
        self.hosts.iter()
    }

    /// The host of that name that is not retired.
    pub fn host_named(&self, name: &Name) -> Option<&HostRecord> {
        self.hosts.get(self.host_names.get(name)?)
    }

    /// The host with that transport key that is not retired.
    pub fn host_by_transport(&self, key: &PublicKey) -> Option<&HostRecord> {
        self.hosts.get(self.transport_keys.get(&key.id())?)
    }

    /// A grant.
    pub fn grant(&self, grant: &Digest) -> Option<&GrantRecord> {
        self.grants.get(grant)
    }

    /// An open-emergency statement.
    pub fn emergency(&self, grounds: &Digest) -> Option<&Verified<Emergency>> {
        self.emergencies.get(grounds)
    }

    /// Every open-emergency statement.
    pub fn emergencies(&self) -> impl Iterator<Item = &Verified<Emergency>> {
        self.emergencies.values()
    }

    /// The iteration whose closure has to bring the post-implementation review that an emergency owes: from
    /// the first that touched a host on it owes one, of the newest that did (PROCESS 18).
    pub fn review_owed(&self, grounds: &Digest) -> Option<&Case> {
        let number = |case: &&Case| case.release.says.iteration.as_ref().map(|it| it.number);
        let touched = self.cases_of_emergency(grounds).filter(|case| case.touched_a_host());
        touched.max_by_key(number).filter(|case| case.closed.is_none())
    }

    /// The closure of an emergency.
    pub fn emergency_closure(&self, grounds: &Digest) -> Option<&Verified<Closure>> {
        self.closed_emergencies.get(grounds)
    }

    /// A pre-approval of standard changes.
    pub fn standard(&self, standard: &Digest) -> Option<&StandardRecord> {
        self.standards.get(standard)
    }

    /// Every pre-approval of standard changes.
    pub fn standards(&self) -> impl Iterator<Item = &StandardRecord> {
        self.standards.values()
    }

    /// The hold statement's release.
    pub fn hold(&self, hold: &Digest) -> Option<&Digest> {
        self.holds.get(hold)
    }

    /// A freeze.
    pub fn freeze(&self, freeze: &Digest) -> Option<&FreezeRecord> {
        self.freezes.get(freeze)
    }

    /// Every freeze.
    pub fn freezes(&self) -> impl Iterator<Item = &FreezeRecord> {
        self.freezes.values()
    }

    /// The calendar in force in an environment.
    pub fn calendar(&self, environment: &Name) -> Option<&CalendarRecord> {
        self.calendars.get(environment)
    }

    /// Every calendar in force, by environment.
    pub fn calendars(&self) -> impl Iterator<Item = &CalendarRecord> {
        self.calendars.values()
    }

    /// The denial of a package, if it was denied as a risk.
    pub fn denial(&self, package: &Digest) -> Option<&Digest> {
        self.denied_packages.get(package)
    }

    /// Where in the log a package was last taken back by a host.
    pub fn returned_at(&self, package: &Digest) -> Option<u64> {
        self.returned_packages.get(package).copied()
    }

    /// Whether a statement has been added.
    pub fn contains(&self, id: &Digest) -> bool {
        self.statements.contains(id)
    }

    /// Predicates that the policy lists and this program does not know.
    pub fn unknown_predicates(&self) -> &BTreeSet<String> {
        &self.unknown_predicates
    }

    /// The statements of the log that changed nothing, and why; at most a thousand.
    pub fn ignored(&self) -> &[(u64, Refusal)] {
        &self.ignored
    }

    /// The freezes that cover any part of a window for an application in an environment.
    pub fn freezes_over<'a>(
        &'a self,
        application: &'a Name,
        environment: &'a Name,
        window: Window,
    ) -> impl Iterator<Item = &'a Verified<Freeze>> {
        let covers = move |record: &&FreezeRecord| match &record.declared.says {
            Freeze::Declared { environments, applications, start, end, .. } => {
                record.lifted.is_none()
                    && environments.contains(environment)
                    && (applications.is_empty() || applications.contains(application))
                    && window.overlaps(&Window { start: *start, end: *end })
            }
            Freeze::Lifted { .. } => false,
        };
        let standing = after(&self.standing_freezes, window.start);
        let standing = standing.filter_map(|freeze| self.freezes.get(freeze));
        standing.filter(covers).map(|record| &record.declared)
    }
}

/// What ends after an instant, in the order of the ends.
fn after(ends: &BTreeSet<(Time, Digest)>, instant: Time) -> impl Iterator<Item = &Digest> {
    let last = Digest::from_bytes([u8::MAX; 32]);
    ends.range((Bound::Excluded((instant, last)), Bound::Unbounded)).map(|(_, id)| id)
}
