//! Evidence: the part of the log that an order needs, with proofs.
//!
//! The coordinator selects it ([`select`]), a host opens it ([`open`]): the entries are folded by the very
//! code that folds the whole log, each is proven to be in the log under one signed checkpoint, and that
//! checkpoint is proven to extend the newest one that the host has seen and the one that the window's
//! release names. What is *not* in the log, evidence cannot show; for that there are clearances.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::case::{BookingCase, Case, Reported, Verified};
use crate::digest::Digest;
use crate::dsse::Envelope;
use crate::fold::{RollbackCase, State};
use crate::key::KeyId;
use crate::log::checkpoint::{self, Checkpoint};
use crate::log::{TreeHead, leaf_hash, verify_consistency, verify_inclusion};
use crate::policy::TrustPolicy;
use crate::refusal::{Code, Refusal};
use crate::statement::{Event, Says, Statement, Task, TaskKind};

/// Most entries in one order's evidence: every statement about a release with a full board, and an
/// enrolment and an outcome of each of a thousand hosts before this one.
pub const MAX_ENTRIES: usize = 4096;

/// A part of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Evidence {
    /// The checkpoint, a signed note.
    pub checkpoint: Vec<u8>,
    /// From the newest head that the host has seen to this checkpoint.
    pub consistency: Vec<Digest>,
    /// From the head that the window's release names to this checkpoint; empty for a rollback.
    pub release_consistency: Vec<Digest>,
    /// The entries, by rising index.
    pub entries: Vec<ProvenEntry>,
}

/// An entry of the log with its inclusion proof.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProvenEntry {
    /// Its place.
    pub index: u64,
    /// The envelope's bytes.
    #[serde(with = "serde_bytes")]
    pub envelope: Vec<u8>,
    /// Inclusion under the evidence's checkpoint.
    pub proof: Vec<Digest>,
}

/// What a host trusts, kept in its ledger.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The policy in force, as far as the host has followed the chain.
    pub policy: TrustPolicy,
    /// The envelope of that policy.
    pub policy_envelope: Vec<u8>,
    /// The newest head that it has seen.
    pub head: TreeHead,
}

/// Evidence that was opened: only [`open`] makes one, which has verified every proof in it:
///
/// ```compile_fail,E0451
/// # use cutover_shared::{evidence::Opened, fold::State};
/// fn forge(opened: Opened, state: State) -> Opened {
///     Opened { state, ..opened }
/// }
/// ```
#[derive(Debug)]
pub struct Opened {
    state: State,
    checkpoint: Checkpoint,
    policy_envelope: Option<Vec<u8>>,
}

impl Opened {
    /// What the evidence says, folded.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The checkpoint that it is under.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// What to trust from now on.
    pub fn advance(&self, trust: &Trust) -> Trust {
        Trust {
            policy: self.state.policy().unwrap_or(&trust.policy).clone(),
            policy_envelope: self
                .policy_envelope
                .as_ref()
                .unwrap_or(&trust.policy_envelope)
                .clone(),
            head: self.checkpoint.head.clone(),
        }
    }
}

/// Opens evidence for `order`. Steps, each with its refusal:
///
/// 1. the entries are few enough and rise (`malformed`);
/// 2. they fold; a policy chain in them is followed (`policy-rollback`, `threshold-not-met`);
/// 3. the checkpoint is signed by the log key of the policy then in force (`signature-invalid`);
/// 4. it extends the newest head seen (`checkpoint-stale`, `checkpoint-inconsistent`); where a policy that
///    was followed names a log epoch, and the host has seen more than was saved, it extends exactly what
///    was saved;
/// 5. it extends the head that the window's release names (the same two);
/// 6. every entry is included under it (`not-logged`).
pub fn open(evidence: &Evidence, order: &Digest, trust: &Trust) -> Result<Opened, Refusal> {
    let rising = evidence.entries.windows(2).all(|pair| pair[0].index < pair[1].index);
    if evidence.entries.len() > MAX_ENTRIES || !rising {
        return Err(Refusal::new(
            Code::Malformed,
            "the evidence's entries do not rise, or are too many",
        ));
    }
    let mut state = State::trusting(trust.policy.clone());
    let mut policy_envelope = None;
    let mut seen = trust.head.clone();
    for entry in &evidence.entries {
        let before = state.policy().map(TrustPolicy::id);
        // A refused entry changes nothing; the rules then miss it and say so. But one that is offered as
        // a policy must be the next one.
        match state.apply(entry.index, &entry.envelope) {
            Err(refusal) if is_chain_fault(refusal.code) && !is_known(&state, entry) => {
                return Err(refusal);
            }
            Err(_) | Ok(_) => {}
        }
        if state.policy().map(TrustPolicy::id) != before {
            policy_envelope = Some(entry.envelope.clone());
            let epoch = state.policy().and_then(|it| it.document().epoch.as_ref());
            if let Some(epoch) = epoch.filter(|it| it.last_good.size < seen.size) {
                seen = epoch.last_good.clone();
            }
        }
    }
    let log = &state.policy().unwrap_or(&trust.policy).document().log;
    let checkpoint = checkpoint::verify(&evidence.checkpoint, &log.origin, &log.key)
        .map_err(|error| Refusal::new(Code::SignatureInvalid, format!("checkpoint: {error}")))?;
    extends(&seen, &checkpoint.head, &evidence.consistency)?;
    if let Some(released) = state.booking(order).and_then(|(_, booking)| booking.released.as_ref())
    {
        extends(&released.says().checkpoint, &checkpoint.head, &evidence.release_consistency)?;
    }
    for entry in &evidence.entries {
        let leaf = leaf_hash(&entry.envelope);
        verify_inclusion(&leaf, entry.index, &entry.proof, &checkpoint.head).map_err(|error| {
            Refusal::new(Code::NotLogged, format!("entry {}: {error}", entry.index))
        })?;
    }
    Ok(Opened { state, checkpoint, policy_envelope })
}

/// A policy version that the host has passed already: the coordinator did not know that yet.
fn is_known(state: &State, entry: &ProvenEntry) -> bool {
    let statement = Envelope::parse(&entry.envelope).ok();
    let statement = statement.and_then(|envelope| Statement::read(&envelope).ok());
    let current = state.policy().map_or(0, |policy| policy.document().version);
    statement.is_some_and(
        |it| matches!(it.says, Says::TrustPolicy(document) if document.version <= current),
    )
}

fn is_chain_fault(code: Code) -> bool {
    code == Code::PolicyRollback || code == Code::ThresholdNotMet
}

/// From which size a proof of consistency has to begin for a host that has seen `known` entries under
/// policy version `policy_version`: what it has seen, or what a log epoch since then saved of it.
pub fn seen_of(state: &State, known: u64, policy_version: u64) -> u64 {
    let later = state.epochs().range(policy_version.saturating_add(1)..);
    later.map(|(_, last_good)| last_good.size).fold(known, u64::min)
}

/// Whether `new` is the same log as `old`, grown.
pub fn extends(old: &TreeHead, new: &TreeHead, proof: &[Digest]) -> Result<(), Refusal> {
    if crate::seeded!(StaleHeadAccepted) {
        return Ok(());
    }
    if new.size < old.size {
        return Err(Refusal::new(
            Code::CheckpointStale,
            format!("the log offered has {} entries, {} were seen before", new.size, old.size),
        ));
    }
    if old.size == 0 {
        return Ok(());
    }
    verify_consistency(old, new, proof).map_err(|error| {
        Refusal::new(
            Code::CheckpointInconsistent,
            format!("{} entries do not extend the {} seen before: {error}", new.size, old.size),
        )
    })
}

/// The places in the log of everything that `host` needs to judge `order`, given that it knows the
/// policies before `policy_version` and that one. Judged by what stands there, an order is what it is
/// judged by the whole log.
pub fn select(state: &State, order: &Digest, host: &KeyId, policy_version: u64) -> BTreeSet<u64> {
    let mut selection = Selection { state, indexes: BTreeSet::new(), cases: BTreeSet::new() };
    let newer = state.policy_indexes().range(policy_version..);
    selection.indexes.extend(newer.map(|(_, index)| *index));
    selection.host(host);
    if let Some((case, booking)) = state.booking(order) {
        selection.order(case, booking);
    }
    if let Some(case) = state.rollback(order) {
        selection.rollback(case);
    }
    if let Some(package) = return_target(state, order, host) {
        selection.denial(&package);
    }
    selection.indexes
}

struct Selection<'a> {
    state: &'a State,
    indexes: BTreeSet<u64>,
    /// The cases whose submission is in.
    cases: BTreeSet<Digest>,
}

impl Selection<'_> {
    fn order(&mut self, case: &Case, booking: &BookingCase) {
        let package = &case.release.says().package;
        self.case(case);
        self.superseded(case);
        self.denial(package);
        self.booking(booking);
        self.indexes.extend(booking.released.iter().map(Verified::index));
        self.indexes.extend(booking.cancelled.iter().map(|it| it.index()));
        self.indexes.extend(booking.steps.iter().map(Verified::index));
        for it in &booking.overrides {
            self.indexes.insert(it.index());
            let named = it.says().freezes.iter().filter_map(|it| self.state.freeze(&it.freeze));
            for it in named {
                self.indexes.insert(it.declared.index());
                self.indexes.extend(it.lifted.iter().map(Verified::index));
            }
        }
        let says = booking.booking.says();
        let freezes = self.state.freezes_over(&says.application, &says.environment, says.window);
        self.indexes.extend(freezes.map(Verified::index));
        for outcome in deciding(self.state, case) {
            self.indexes.insert(outcome.index());
            self.host(&outcome.says().host_key);
            let order = &outcome.says().order;
            if let Some((other, booking)) = self.state.booking(order) {
                self.submission(other);
                self.booking(booking);
            }
            let returned = self.state.rollback(order);
            self.indexes.extend(returned.map(|other| other.rollback.index()));
        }
    }

    fn booking(&mut self, booking: &BookingCase) {
        self.indexes.insert(booking.booking.index());
    }

    /// An ordered return; who took its steps back is held against who submitted what it leaves.
    fn rollback(&mut self, case: &RollbackCase) {
        self.indexes.insert(case.rollback.index());
        if !case.steps.is_empty() {
            self.indexes.extend(case.steps.iter().map(Verified::index));
            for left in self.state.cases_of_package(&case.rollback.says().from) {
                self.submission(left);
            }
        }
    }

    fn host(&mut self, host: &KeyId) {
        let Some(record) = self.state.host(host) else {
            return;
        };
        let enrolment = record.enrolment.says();
        let grant = enrolment.grant.and_then(|grant| self.state.grant(&grant));
        self.indexes.insert(record.enrolment.index());
        self.indexes.extend(record.retired);
        self.indexes.extend(grant.map(|it| it.grant.index()));
        if let Some(before) = enrolment.replaces {
            self.host(&before);
        }
    }

    /// A submission, and those without which it is not known to be good: the one whose place it takes, and
    /// the iteration before.
    fn submission(&mut self, case: &Case) {
        if !self.cases.insert(case.release.id()) {
            return;
        }
        self.indexes.insert(case.release.index());
        let says = case.release.says();
        let previous = says.iteration.as_ref().and_then(|it| it.previous);
        for before in [says.supersedes, previous].into_iter().flatten() {
            if let Some(before) = self.state.case(&before) {
                self.submission(before);
            }
        }
    }

    /// Everything said about a release itself, and about the iteration before.
    fn case(&mut self, case: &Case) {
        self.submission(case);
        self.said(case);
        let says = case.release.says();
        if let Some(record) = says.standard.and_then(|it| self.state.standard(&it)) {
            self.indexes.insert(record.approved.index());
            self.indexes.extend(record.withdrawn);
        }
        if let Some(iteration) = &says.iteration {
            let grounds = &iteration.grounds;
            self.indexes.extend(self.state.emergency(grounds).map(Verified::index));
            self.indexes.extend(self.state.emergency_closure(grounds).map(Verified::index));
            if let Some(previous) = iteration.previous.and_then(|it| self.state.case(&it)) {
                self.said(previous);
            }
        }
    }

    fn said(&mut self, case: &Case) {
        self.indexes.extend(case.rehearsals.iter().map(Verified::index));
        self.indexes.extend(case.reviews.iter().map(Verified::index));
        self.indexes.extend(case.assessments.iter().map(Verified::index));
        self.indexes.extend(case.votes.iter().map(Verified::index));
        self.indexes.extend(case.consults.iter().map(Verified::index));
        self.indexes.extend(case.tasks.iter().filter(|it| is_condition(it)).map(Verified::index));
        self.indexes.extend(case.approvals.iter().map(Verified::index));
        self.indexes.extend(case.deliveries.iter().map(Verified::index));
        self.indexes.extend(case.waivers.iter().map(Verified::index));
        self.indexes.extend(case.holds.iter().map(Verified::index));
        self.indexes.extend(case.resumes.values().map(Verified::index));
        self.indexes.extend(case.cancelled.iter().map(|it| it.index()));
        self.indexes.extend(case.closed.iter().map(|it| it.index()));
    }

    /// What took the place of a release: a later submission, and later iterations that were approved.
    fn superseded(&mut self, case: &Case) {
        if let Some(later) = case.superseded_by.and_then(|later| self.state.case(&later)) {
            self.submission(later);
        }
        let Some(mine) = &case.release.says().iteration else {
            return;
        };
        for other in self.state.cases_of_emergency(&mine.grounds) {
            let theirs = other.release.says().iteration.as_ref();
            if !other.approvals.is_empty() && theirs.is_some_and(|it| it.number > mine.number) {
                self.submission(other);
                self.indexes.extend(other.approvals.iter().map(Verified::index));
            }
        }
    }

    /// The denial of a package, which may have been said of another submission of it.
    fn denial(&mut self, package: &Digest) {
        let Some(denial) = self.state.denial(package) else {
            return;
        };
        for case in self.state.cases_of_package(package) {
            if let Some(said) = case.assessments.iter().find(|it| it.id() == *denial) {
                self.submission(case);
                self.indexes.insert(said.index());
            }
        }
    }
}

/// Whether it says something of an approval's condition: of the other tasks no rule asks.
fn is_condition(task: &Verified<Task>) -> bool {
    matches!(task.says().kind, TaskKind::Condition { .. })
}

/// The package that `host` would go back to by this order.
fn return_target(state: &State, order: &Digest, host: &KeyId) -> Option<Digest> {
    if let Some(case) = state.rollback(order) {
        return Some(case.rollback.says().to);
    }
    let (_, booking) = state.booking(order)?;
    let says = booking.booking.says();
    says.plan.returns_after()?;
    state.host(host)?.installed.get(&says.application)?.previous
}

/// The outcomes on which the wave and environment rules stand: the last that each host said of an order
/// with this package, and the last return of the package by anyone, under whichever submission.
fn deciding<'a>(state: &'a State, case: &'a Case) -> Vec<&'a Verified<Reported>> {
    let package = &case.release.says().package;
    let returns = || state.rollbacks_from(package).flat_map(|rollback| &rollback.outcomes);
    let mut last: BTreeMap<(KeyId, Digest), &Verified<Reported>> = BTreeMap::new();
    for outcome in case.outcomes().chain(returns()).filter(|it| it.says().package == *package) {
        if let Event::Refused { .. } | Event::Drifted { .. } = outcome.says().event {
            continue;
        }
        let place = last.entry((outcome.says().host_key, outcome.says().order)).or_insert(outcome);
        if place.index() < outcome.index() {
            *place = outcome;
        }
    }
    let returned = state.returned_at(package);
    let anywhere = state.cases_of_package(package).flat_map(Case::outcomes).chain(returns());
    let returned = anywhere.filter(|it| Some(it.index()) == returned);
    last.into_values().chain(returned).collect()
}
