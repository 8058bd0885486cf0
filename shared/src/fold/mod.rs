//! The fold: from the log's statements, one after the other, to the state of everything.
//!
//! [`State::apply`] examines a statement (signatures, roles, references: `examine`) and, if it is good,
//! adds it. The coordinator folds the whole log, and examines what comes in before it appends it; people's
//! programs fold their verified copy; a host folds the *part* of the log that an order's evidence holds.
//! All with this code, so that a statement which one accepts is accepted by all.
//!
//! A statement in the log that fails its examination changes nothing, whoever put it there; it is kept in
//! [`State::ignored`] for people to see.

mod examine;
pub mod standing;

use std::collections::{BTreeMap, BTreeSet};

pub use examine::Examined;

use crate::case::{BookingCase, Case, Verified};
use crate::digest::Digest;
use crate::key::{KeyId, PublicKey};
use crate::name::Name;
use crate::policy::TrustPolicy;
use crate::refusal::Refusal;
use crate::statement::{
    Booking, Cancel, Emergency, Enrolment, Event, Freeze, Grant, HostChange, Outcome, Predicate,
    Release, Resume, Rollback, Says,
};
use crate::window::Window;

/// Most ignored entries that are kept for people; the count goes on.
const MAX_IGNORED: usize = 1000;

/// A host as the log knows it.
#[derive(Debug, Clone)]
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
}

/// A grant and how often it was used.
#[derive(Debug, Clone)]
pub struct GrantRecord {
    /// The grant.
    pub grant: Verified<Grant>,
    /// Hosts enrolled with it.
    pub used: u32,
}

/// An ordered return and what hosts reported of it.
#[derive(Debug, Clone)]
pub struct RollbackCase {
    /// The order.
    pub rollback: Verified<Rollback>,
    /// In log order.
    pub outcomes: Vec<Verified<Outcome>>,
}

/// A freeze that has been declared.
#[derive(Debug, Clone)]
pub struct FreezeRecord {
    /// The declaration.
    pub declared: Verified<Freeze>,
    /// Whether it was lifted.
    pub lifted: bool,
}

/// The state of everything, as of a position in the log.
#[derive(Debug, Clone)]
pub struct State {
    policy: Option<TrustPolicy>,
    policy_indexes: BTreeMap<u64, u64>,
    next_index: u64,
    hosts: BTreeMap<KeyId, HostRecord>,
    grants: BTreeMap<Digest, GrantRecord>,
    cases: BTreeMap<Digest, Case>,
    numbers: Vec<Digest>,
    bookings: BTreeMap<Digest, Digest>,
    holds: BTreeMap<Digest, Digest>,
    emergencies: BTreeMap<Digest, Verified<Emergency>>,
    freezes: BTreeMap<Digest, FreezeRecord>,
    rollbacks: BTreeMap<Digest, RollbackCase>,
    denied_packages: BTreeMap<Digest, Digest>,
    returned_packages: BTreeMap<Digest, u64>,
    statements: BTreeSet<Digest>,
    unknown_predicates: BTreeSet<String>,
    ignored: Vec<(u64, Refusal)>,
    ignored_count: u64,
}

impl State {
    /// Nothing yet: the first statement must be the policy whose identity is `genesis` when it is given,
    /// or else any well-signed first policy (the coordinator's own start).
    pub fn empty() -> Self {
        Self {
            policy: None,
            policy_indexes: BTreeMap::new(),
            next_index: 0,
            hosts: BTreeMap::new(),
            grants: BTreeMap::new(),
            cases: BTreeMap::new(),
            numbers: Vec::new(),
            bookings: BTreeMap::new(),
            holds: BTreeMap::new(),
            emergencies: BTreeMap::new(),
            freezes: BTreeMap::new(),
            rollbacks: BTreeMap::new(),
            denied_packages: BTreeMap::new(),
            returned_packages: BTreeMap::new(),
            statements: BTreeSet::new(),
            unknown_predicates: BTreeSet::new(),
            ignored: Vec::new(),
            ignored_count: 0,
        }
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
        debug_assert!(index >= self.next_index, "the fold goes forward");
        self.next_index = index.saturating_add(1);
        match self.examine(index, envelope) {
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

    /// A small state for trying what one more statement about a release would do: everything but the
    /// cases of other releases (its own emergency's apart).
    pub(crate) fn excerpt(&self, release: &Digest) -> Self {
        let grounds = |case: &Case| case.release.says.iteration.as_ref().map(|it| it.grounds);
        let mine = self.cases.get(release).and_then(grounds);
        let near =
            |id: &Digest, case: &Case| id == release || mine.is_some() && grounds(case) == mine;
        let cases = self.cases.iter().filter(|(id, case)| near(id, case));
        let cases: BTreeMap<_, _> = cases.map(|(id, case)| (*id, case.clone())).collect();
        Self {
            policy: self.policy.clone(),
            policy_indexes: self.policy_indexes.clone(),
            next_index: self.next_index,
            hosts: self.hosts.clone(),
            grants: self.grants.clone(),
            numbers: self.numbers.iter().filter(|id| cases.contains_key(id)).copied().collect(),
            bookings: self.bookings.clone(),
            holds: self.holds.clone(),
            emergencies: self.emergencies.clone(),
            freezes: self.freezes.clone(),
            rollbacks: BTreeMap::new(),
            denied_packages: self.denied_packages.clone(),
            returned_packages: self.returned_packages.clone(),
            statements: BTreeSet::new(),
            unknown_predicates: self.unknown_predicates.clone(),
            ignored: Vec::new(),
            ignored_count: 0,
            cases,
        }
    }

    /// Adds what was examined against this very state.
    pub(crate) fn insert(&mut self, examined: Examined) {
        let Examined { statement, policy, vouchers } = examined;
        let (id, index) = (statement.id, statement.index);
        self.next_index = self.next_index.max(index.saturating_add(1));
        if !self.statements.insert(id) {
            return;
        }
        if let Some(policy) = policy {
            self.policy_indexes.entry(policy.document().version).or_insert(index);
            self.note_unknown_predicates(&policy);
            self.policy = Some(policy);
            return;
        }
        self.insert_said(statement, vouchers);
    }

    fn insert_said(&mut self, statement: Verified<Says>, vouchers: BTreeSet<Name>) {
        let (id, index) = (statement.id, statement.index);
        match statement.says.clone() {
            // A policy is handled above; clearances are refused from the log by the examination.
            Says::TrustPolicy(_) | Says::Clearance(_) => {}
            Says::Host(HostChange::Enrolled(it)) => self.add_host(statement.with(*it), vouchers),
            Says::Host(HostChange::Retired { host_key, .. }) => {
                if let Some(host) = self.hosts.get_mut(&host_key) {
                    host.retired = Some(index);
                }
            }
            Says::Grant(it) => {
                self.grants.insert(id, GrantRecord { grant: statement.with(it), used: 0 });
            }
            Says::Emergency(it @ Emergency::Opened { .. }) => {
                self.emergencies.insert(id, statement.with(it));
            }
            Says::Freeze(Freeze::Lifted { freeze, .. }) => {
                if let Some(record) = self.freezes.get_mut(&freeze) {
                    record.lifted = true;
                }
            }
            Says::Freeze(it @ Freeze::Declared { .. }) => {
                let declared = statement.with(it);
                self.freezes.insert(id, FreezeRecord { declared, lifted: false });
            }
            Says::Rollback(it) => {
                let rollback = statement.with(*it);
                self.rollbacks.insert(id, RollbackCase { rollback, outcomes: Vec::new() });
            }
            Says::Outcome(it) => self.add_outcome(statement.with(*it)),
            Says::Release(it) => self.add_release(statement.with(*it)),
            Says::Booking(it) => self.add_booking(statement.with(*it)),
            Says::Hold(it) => {
                self.holds.insert(id, it.release);
                self.in_case(it.release, |case| case.holds.push(statement.with(it)));
            }
            Says::Resume(it) => self.add_resume(statement.with(it)),
            Says::Cancel(it) => self.add_cancel(statement.with(it)),
            Says::Assessment(it) if !it.judgement.is_accepted() => {
                self.denied_packages.insert(it.package, id);
                self.in_case(it.release, |case| case.assessments.push(statement.with(it)));
            }
            says @ (Says::Emergency(Emergency::Approved(_))
            | Says::Review(_)
            | Says::Assessment(_)
            | Says::Vote(_)
            | Says::Delivery(_)
            | Says::WindowRelease(_)) => self.insert_approval(statement, says),
        }
    }

    /// What is only kept with its release.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the match above names every other predicate, and this one is its last arm"
    )]
    fn insert_approval(&mut self, statement: Verified<Says>, says: Says) {
        match says {
            Says::Emergency(Emergency::Approved(it)) => {
                self.in_case(it.release, |case| case.approvals.push(statement.with(it)));
            }
            Says::Review(it) => {
                self.in_case(it.release, |case| case.reviews.push(statement.with(it)));
            }
            Says::Assessment(it) => {
                self.in_case(it.release, |case| case.assessments.push(statement.with(it)));
            }
            Says::Vote(it) => self.in_case(it.release, |case| case.votes.push(statement.with(it))),
            Says::Delivery(it) => {
                self.in_case(it.release, |case| case.deliveries.push(statement.with(it)));
            }
            Says::WindowRelease(it) => self.in_booking(it.booking, |booking| {
                booking.released = Some(statement.with(it));
            }),
            _ => {}
        }
    }

    fn add_booking(&mut self, booking: Verified<Booking>) {
        let (id, release) = (booking.id, booking.says.release);
        self.bookings.insert(id, release);
        let booking =
            BookingCase { booking, released: None, cancelled: None, outcomes: Vec::new() };
        self.in_case(release, |case| {
            case.bookings.insert(id, booking);
        });
    }

    fn in_case(&mut self, release: Digest, change: impl FnOnce(&mut Case)) {
        if let Some(case) = self.cases.get_mut(&release) {
            change(case);
        }
    }

    fn in_booking(&mut self, booking: Digest, change: impl FnOnce(&mut BookingCase)) {
        if let Some(release) = self.bookings.get(&booking).copied() {
            self.in_case(release, |case| {
                if let Some(booking) = case.bookings.get_mut(&booking) {
                    change(booking);
                }
            });
        }
    }

    fn note_unknown_predicates(&mut self, policy: &TrustPolicy) {
        let known: BTreeSet<_> = Predicate::ALL.iter().map(|it| it.name()).collect();
        let listed = policy.document().predicates.iter();
        self.unknown_predicates =
            listed.filter(|it| !known.contains(it.as_str())).cloned().collect();
    }

    fn add_host(&mut self, enrolment: Verified<Enrolment>, vouchers: BTreeSet<Name>) {
        if let Some(grant) = enrolment.says.grant.and_then(|grant| self.grants.get_mut(&grant)) {
            grant.used += 1;
        }
        if let Some(old) = enrolment.says.replaces.and_then(|old| self.hosts.get_mut(&old)) {
            old.retired = Some(enrolment.index);
        }
        let key = enrolment.says.host_key.id();
        let record = HostRecord { enrolment, vouchers, retired: None, installed: BTreeMap::new() };
        self.hosts.insert(key, record);
    }

    fn add_release(&mut self, release: Verified<Release>) {
        let id = release.id;
        if let Some(earlier) = release.says.supersedes {
            self.in_case(earlier, |case| case.superseded_by = Some(id));
        }
        self.numbers.push(id);
        let number = self.numbers.len() as u64;
        self.cases.insert(id, Case::new(release, number));
    }

    fn add_resume(&mut self, resume: Verified<Resume>) {
        let hold = resume.says.hold;
        if let Some(release) = self.holds.get(&hold).copied() {
            self.in_case(release, |case| {
                case.resumes.insert(hold, resume);
            });
        }
    }

    fn add_cancel(&mut self, cancel: Verified<Cancel>) {
        match cancel.says.booking {
            Some(booking) => self.in_booking(booking, |it| it.cancelled = Some(cancel)),
            None => self.in_case(cancel.says.release, |case| case.cancelled = Some(cancel)),
        }
    }

    fn add_outcome(&mut self, outcome: Verified<Outcome>) {
        self.note_installed(&outcome);
        match &outcome.says.event {
            Event::Returned { .. } | Event::RolledBack | Event::Stuck { .. } => {
                self.returned_packages.insert(outcome.says.package, outcome.index);
            }
            Event::Committed | Event::Refused { .. } | Event::Drifted { .. } => {}
        }
        let order = outcome.says.order;
        if let Some(rollback) = self.rollbacks.get_mut(&order) {
            rollback.outcomes.push(outcome);
        } else {
            self.in_booking(order, |booking| booking.outcomes.push(outcome));
        }
    }

    fn note_installed(&mut self, outcome: &Verified<Outcome>) {
        let says = &outcome.says;
        let Some(host) = self.hosts.get_mut(&says.host_key) else {
            return;
        };
        let before = host.installed.get(&says.application).cloned();
        let committed = matches!(says.event, Event::Committed);
        let installed = Installed {
            generation: says.generation,
            package: says.running,
            release: if committed {
                Some(says.release)
            } else {
                before.as_ref().and_then(|it| it.release)
            },
            previous: match (&says.event, before) {
                (Event::Committed, Some(before)) => before.package,
                (Event::RolledBack, _) | (_, None) => None,
                (_, Some(before)) => before.previous,
            },
        };
        host.installed.insert(says.application.clone(), installed);
    }

    /// The policy in force; `None` only for an empty log.
    pub fn policy(&self) -> Option<&TrustPolicy> {
        self.policy.as_ref()
    }

    /// Where in the log each policy version is.
    pub fn policy_indexes(&self) -> &BTreeMap<u64, u64> {
        &self.policy_indexes
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
        Some((case, case.bookings.get(booking)?))
    }

    /// An ordered return.
    pub fn rollback(&self, rollback: &Digest) -> Option<&RollbackCase> {
        self.rollbacks.get(rollback)
    }

    /// Every ordered return.
    pub fn rollbacks(&self) -> impl Iterator<Item = &RollbackCase> {
        self.rollbacks.values()
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
        self.hosts.values().find(|it| it.retired.is_none() && it.enrolment.says.host == *name)
    }

    /// The host with that transport key that is not retired.
    pub fn host_by_transport(&self, key: &PublicKey) -> Option<&HostRecord> {
        self.hosts
            .values()
            .find(|it| it.retired.is_none() && it.enrolment.says.transport_key == *key)
    }

    /// A grant.
    pub fn grant(&self, grant: &Digest) -> Option<&GrantRecord> {
        self.grants.get(grant)
    }

    /// Every grant.
    pub fn grants(&self) -> impl Iterator<Item = &GrantRecord> {
        self.grants.values()
    }

    /// An open-emergency statement.
    pub fn emergency(&self, grounds: &Digest) -> Option<&Verified<Emergency>> {
        self.emergencies.get(grounds)
    }

    /// Every open-emergency statement.
    pub fn emergencies(&self) -> impl Iterator<Item = &Verified<Emergency>> {
        self.emergencies.values()
    }

    /// The hold statement's release.
    pub fn hold(&self, hold: &Digest) -> Option<&Digest> {
        self.holds.get(hold)
    }

    /// Every freeze.
    pub fn freezes(&self) -> impl Iterator<Item = &FreezeRecord> {
        self.freezes.values()
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
                !record.lifted
                    && environments.contains(environment)
                    && (applications.is_empty() || applications.contains(application))
                    && window.overlaps(&Window { start: *start, end: *end })
            }
            Freeze::Lifted { .. } => false,
        };
        self.freezes.values().filter(covers).map(|record| &record.declared)
    }
}
