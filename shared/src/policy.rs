//! The trust policy: who may sign what, and what must be met in which environment.
//!
//! One signed, versioned, expiring document, chained as TUF chains its root (TUF 1.0.33, 5.3): version
//! N+1 is signed by the thresholds of N and of N+1, versions are never skipped and never go back. Keys
//! count once by material and once by owner: the same key under two entries, or two keys of one owner,
//! are one voice. A case that no rule matches is refused.
//!
//! [`PolicyDocument`] is what people edit (as TOML) and what is signed (as JSON); [`TrustPolicy`] is a
//! document whose chain was verified and can be made in no other way.

mod document;
mod exception;
mod faults;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use document::{
    Clock, Department, Duties, Freshness, KeyEntry, KeyStatus, LogEpoch, LogKey, MAX_KEYS,
    MAX_WITNESSES, PolicyDocument, Proof, Role, Rule, Scope, WitnessKey,
};
pub use exception::{Exception, Waivable};
pub use upkeep::ANNOUNCED_DAYS;

use crate::digest::Digest;
use crate::dsse::Envelope;
use crate::key::KeyId;
use crate::name::Name;
use crate::refusal::{Code, Refusal};
use crate::statement::{ChangeType, Predicate, Says, Statement};

/// Who signed, as the policy knows them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Signer {
    /// The key.
    pub key: KeyId,
    /// Its owner.
    pub owner: Name,
}

/// A policy whose chain was verified. Copies share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustPolicy(Arc<Trusted>);

#[derive(Debug, PartialEq, Eq)]
struct Trusted {
    id: Digest,
    document: PolicyDocument,
    /// Where in the document each key is.
    places: BTreeMap<KeyId, usize>,
    /// Each key's owner as a signer, shared by all that they sign.
    voices: Vec<Arc<[Signer]>>,
}

impl TrustPolicy {
    /// The first policy that a verifier accepts: the one whose statement has the digest that the operator
    /// put in, complete and signed by its own threshold.
    pub fn pinned(envelope: &Envelope, expected: &Digest) -> Result<Self, Refusal> {
        if envelope.id() != *expected {
            return Err(Refusal::new(
                Code::DigestMismatch,
                format!("the policy offered is {}, the one put in is {expected}", envelope.id()),
            ));
        }
        let document = read(envelope)?;
        signed_by_root(envelope, &document, &document)?;
        Ok(Self::trusted(*expected, document))
    }

    /// The next version: signed by the thresholds of this one and of itself.
    pub fn successor(&self, envelope: &Envelope) -> Result<Self, Refusal> {
        let document = read(envelope)?;
        if document.version != self.document().version + 1 {
            return Err(Refusal::new(
                Code::PolicyRollback,
                format!("version {} after version {}", document.version, self.document().version),
            ));
        }
        signed_by_root(envelope, self.document(), &document)?;
        signed_by_root(envelope, &document, &document)?;
        Ok(Self::trusted(envelope.id(), document))
    }

    /// The identity of its statement.
    pub fn id(&self) -> Digest {
        self.0.id
    }

    /// What it says.
    pub fn document(&self) -> &PolicyDocument {
        &self.0.document
    }

    /// The policy of a document whose place in the chain was verified.
    pub(crate) fn trusted(id: Digest, document: PolicyDocument) -> Self {
        let keys = document.keys.iter().enumerate();
        let places = keys.map(|(place, entry)| (entry.key.id(), place)).collect();
        let voice = |it: &KeyEntry| Signer { key: it.key.id(), owner: it.owner.clone() };
        let voices = document.keys.iter().map(|entry| Arc::from([voice(entry)])).collect();
        Self(Arc::new(Trusted { id, document, places, voices }))
    }

    /// The entry of a key.
    pub fn entry(&self, key: &KeyId) -> Option<&KeyEntry> {
        self.0.places.get(key).and_then(|place| self.0.document.keys.get(*place))
    }

    /// The rule for an environment and change type.
    pub fn rule(&self, environment: &Name, change: ChangeType) -> Result<&Rule, Refusal> {
        let matches = |rule: &&Rule| rule.environment == *environment && rule.change == change;
        self.document().rules.iter().find(matches).ok_or_else(|| {
            Refusal::new(
                Code::RuleMissing,
                format!(
                    "policy {} has no rule for {change} changes in {environment}",
                    self.document().version
                ),
            )
        })
    }

    /// Whether statements of this predicate may be made.
    pub fn in_force(&self, predicate: Predicate) -> bool {
        self.document().predicates.contains(predicate.name())
    }

    /// The people of the keys that signed a statement validly, if it stands at `index` of the log.
    pub fn signers(&self, valid: &BTreeSet<KeyId>, index: u64) -> Arc<[Signer]> {
        let counting = valid.iter().filter(|key| self.counts(key, index));
        let mut voices = counting.filter_map(|key| Some(&self.0.voices[*self.0.places.get(key)?]));
        match (voices.next(), voices.next()) {
            (None, _) => Arc::default(),
            (Some(only), None) => Arc::clone(only),
            (Some(first), Some(second)) => {
                let all = [first, second].into_iter().chain(voices);
                all.flat_map(|voice| voice.iter().cloned()).collect()
            }
        }
    }

    /// Whether what a key signed counts when it stands at `index` of the log.
    pub(crate) fn counts(&self, key: &KeyId, index: u64) -> bool {
        self.entry(key).is_some_and(|entry| match entry.status {
            KeyStatus::Active => true,
            KeyStatus::Rotated { logged_below } => index < logged_below,
            KeyStatus::Compromised => false,
        })
    }

    /// The owners among `signers` who hold `role` for the application and the environments.
    pub fn holders<'a>(
        &self,
        signers: &'a [Signer],
        role: Role,
        application: Option<&Name>,
        environments: &BTreeSet<Name>,
    ) -> BTreeSet<&'a Name> {
        let holds = |signer: &&Signer| {
            self.entry(&signer.key).is_some_and(|entry| {
                entry.roles.contains(&role)
                    && application.is_none_or(|name| entry.applications.covers(name))
                    && environments.iter().all(|name| entry.environments.covers(name))
            })
        };
        signers.iter().filter(holds).map(|signer| &signer.owner).collect()
    }

    /// A department.
    pub fn department(&self, name: &Name) -> Option<&Department> {
        self.document().department(name)
    }

    /// The owners among `signers` whose keys are good for the application and the environments, whatever
    /// their roles.
    pub fn in_scope<'a>(
        &self,
        signers: &'a [Signer],
        application: &Name,
        environments: &BTreeSet<Name>,
    ) -> BTreeSet<&'a Name> {
        let covers = |signer: &&Signer| {
            self.entry(&signer.key).is_some_and(|entry| {
                entry.applications.covers(application)
                    && environments.iter().all(|name| entry.environments.covers(name))
            })
        };
        signers.iter().filter(covers).map(|signer| &signer.owner).collect()
    }

    /// Whether two different owners among `signers` hold the two roles for the application in the
    /// environment, one each.
    pub fn is_pair(
        &self,
        signers: &[Signer],
        roles: [Role; 2],
        application: &Name,
        environment: &Name,
    ) -> bool {
        let environments = BTreeSet::from([environment.clone()]);
        let [one, other] =
            roles.map(|role| self.holders(signers, role, Some(application), &environments));
        // Each has somebody, and together they are more than one.
        !one.is_empty() && !other.is_empty() && one.union(&other).count() > 1
    }
}

fn read(envelope: &Envelope) -> Result<PolicyDocument, Refusal> {
    let malformed = |facts: String| Refusal::new(Code::Malformed, facts);
    let statement = Statement::read(envelope).map_err(|error| malformed(error.to_string()))?;
    if statement.header.not_before.is_some() || statement.header.not_after.is_some() {
        return Err(malformed("a policy is in force from its logging to its `expires`".to_owned()));
    }
    let Says::TrustPolicy(document) = statement.says else {
        return Err(malformed(format!(
            "a {} where a trust policy was due",
            statement.says.predicate()
        )));
    };
    let faults = document.faults();
    if faults.is_empty() { Ok(*document) } else { Err(malformed(faults.join("; "))) }
}

fn signed_by_root(
    envelope: &Envelope,
    by: &PolicyDocument,
    document: &PolicyDocument,
) -> Result<(), Refusal> {
    let valid = envelope
        .valid_signers(|key| by.entry(key).map(|entry| entry.key.clone()))
        .map_err(|error| Refusal::new(Code::SignatureInvalid, error.to_string()))?;
    if by.root_met(&valid) {
        return Ok(());
    }
    Err(Refusal::new(
        Code::ThresholdNotMet,
        format!(
            "policy {} needs {} root owners of policy {}; {} signed",
            document.version,
            by.root_threshold,
            by.version,
            valid.len()
        ),
    ))
}
