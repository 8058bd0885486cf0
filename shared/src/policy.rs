//! The trust policy: who may sign what, and what must be met in which environment.
//!
//! One signed, versioned, expiring document, chained as TUF chains its root (TUF 1.0.33, 5.3): version
//! N+1 is signed by the thresholds of N and of N+1, versions are never skipped and never go back. Keys
//! count once by material and once by owner: the same key under two entries, or two keys of one owner,
//! are one voice. A case that no rule matches is refused.
//!
//! [`PolicyDocument`] is what people edit (as TOML) and what is signed (as JSON); [`TrustPolicy`] is a
//! document whose chain was verified and can be made in no other way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::dsse::Envelope;
use crate::key::{KeyId, PublicKey};
use crate::name::Name;
use crate::refusal::{Code, Refusal};
use crate::statement::{ChangeType, Predicate, Says, Statement};
use crate::time::{Time, span};

/// Most keys in a policy: a large agency's staff in the process, with room to spare.
pub const MAX_KEYS: usize = 2048;

/// The policy as it is written and signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyDocument {
    /// 1, 2, 3 …
    pub version: u64,
    /// Nothing goes forward from this instant on, and nothing can be booked past it.
    pub expires: Time,
    /// How many root owners must sign the next version.
    pub root_threshold: u32,
    /// The predicates in force, by name. One that a verifier does not know stops it going forward.
    pub predicates: BTreeSet<String>,
    /// The log and the key that signs its checkpoints and the coordinator's clearances; it is the
    /// coordinator's transport identity too.
    pub log: LogKey,
    /// What hosts demand of freshness and clocks.
    pub freshness: Freshness,
    /// Everyone's keys.
    pub keys: Vec<KeyEntry>,
    /// What must be met, by environment and change type.
    pub rules: Vec<Rule>,
}

/// The log's name and key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogKey {
    /// First line of its checkpoints: a schema-less URL such as `cutover.example.org/log`.
    pub origin: String,
    /// The key.
    pub key: PublicKey,
}

/// Freshness and clocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freshness {
    /// How long a clearance is good.
    #[serde(with = "span")]
    pub clearance: Duration,
    /// Largest offset between a host's clock and the signed time.
    #[serde(with = "span")]
    pub clock_offset: Duration,
    /// What makes a host's clock good.
    pub clock: Clock,
}

/// What makes a host's clock good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// The kernel says that it is synchronised (`adjtimex`), and the signed time agrees.
    Synchronised,
    /// The signed time agrees. For laboratories and demonstrations.
    CoordinatorBounded,
}

/// A person's (or root holder's) key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    /// Whose it is; duties and thresholds count owners.
    pub owner: Name,
    /// Where the owner is told.
    pub email: String,
    /// The public key.
    pub key: PublicKey,
    /// What its signature can be.
    pub roles: BTreeSet<Role>,
    /// For which applications.
    #[serde(default)]
    pub applications: Scope,
    /// For which environments.
    #[serde(default)]
    pub environments: Scope,
    /// Whether it may still sign.
    #[serde(default)]
    pub status: KeyStatus,
}

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Signs policies.
    Root,
    /// Submits releases.
    Submitter,
    /// Reviews for completeness and delivers.
    Librarian,
    /// Assesses risk.
    Security,
    /// Votes on the change advisory board.
    Board,
    /// Books and releases windows, opens emergencies, rolls back.
    ChangeManager,
    /// Enrols hosts.
    Operator,
}

impl Role {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Submitter => "submitter",
            Self::Librarian => "librarian",
            Self::Security => "security",
            Self::Board => "board",
            Self::ChangeManager => "change-manager",
            Self::Operator => "operator",
        }
    }
}

/// A set of names, or all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Every one.
    #[default]
    All,
    /// These.
    Only(BTreeSet<Name>),
}

impl Scope {
    /// Whether `name` is in it.
    pub fn covers(&self, name: &Name) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
        }
    }
}

/// Whether a key may still sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyStatus {
    /// It signs.
    #[default]
    Active,
    /// It was rotated: what it signed counts when it was logged before, which the root holders say by the
    /// size that the log had then. A place in the log that the coordinator could choose would not do.
    Rotated {
        /// Entries below this index count.
        logged_below: u64,
    },
    /// It was stolen: nothing that it ever signed counts.
    Compromised,
}

/// What must be met before a release goes forward in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The environment.
    pub environment: Name,
    /// The change type.
    pub change: ChangeType,
    /// Librarians who must have called it complete.
    pub reviews: u32,
    /// Security owners who must have accepted it.
    pub assessments: u32,
    /// Board members who must have approved it, none rejecting.
    pub votes: u32,
    /// Whether it must have been delivered to the staging area.
    pub delivery: bool,
    /// Environments in which it must have been committed before.
    #[serde(default)]
    pub after: Vec<Proof>,
    /// The longest window that may be booked.
    #[serde(with = "span")]
    pub longest_window: Duration,
    /// Who must be whom.
    pub duties: Duties,
}

/// An environment that must have proven a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The environment.
    pub environment: Name,
    /// On how many hosts, enrolled before the submission by someone other than the submitter.
    pub hosts: u32,
}

/// How duties on one release are kept apart (PROCESS, last line).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Duties {
    /// Nobody holds two of author, reviewer, assessor, board vote and window release.
    Separate,
    /// The submitter holds no other duty; the others may fall together.
    SubmitterApart,
}

/// Who signed, as the policy knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

impl PolicyDocument {
    /// What is wrong with the document as such: every fault, each naming its field.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.version == 0 {
            faults.push("version: must be 1 or more".to_owned());
        }
        let roots = self.owners_with(Role::Root).len();
        if self.root_threshold == 0 || roots < self.root_threshold as usize {
            faults.push(format!(
                "root_threshold: {} cannot be met by {roots} distinct owners with role root",
                self.root_threshold
            ));
        }
        if self.keys.len() > MAX_KEYS {
            faults.push(format!("keys: {} are more than {MAX_KEYS}", self.keys.len()));
        }
        let mut materials = BTreeMap::new();
        for (number, entry) in self.keys.iter().enumerate() {
            if let Some(first) = materials.insert(entry.key.id(), number) {
                faults.push(format!("keys[{number}].key: the same key as keys[{first}]"));
            }
            if entry.key == self.log.key {
                faults.push(format!("keys[{number}].key: the log's key cannot be a person's"));
            }
            if entry.roles.is_empty() {
                faults
                    .push(format!("keys[{number}].roles: none; {} could do nothing", entry.owner));
            }
        }
        let mut cases = BTreeSet::new();
        for (number, rule) in self.rules.iter().enumerate() {
            if !cases.insert((&rule.environment, rule.change)) {
                faults.push(format!(
                    "rules[{number}]: a second rule for {} changes in {}",
                    rule.change, rule.environment
                ));
            }
            if rule.after.iter().any(|proof| proof.environment == rule.environment) {
                faults.push(format!("rules[{number}].after: names its own environment"));
            }
        }
        if !crate::log::checkpoint::is_name(&self.log.origin) {
            faults.push("log.origin: must be one word, as cutover.example.org/log".to_owned());
        }
        faults
    }

    /// The distinct owners of active keys with a role.
    pub fn owners_with(&self, role: Role) -> BTreeSet<&Name> {
        let active = |entry: &&KeyEntry| entry.status == KeyStatus::Active;
        self.keys
            .iter()
            .filter(active)
            .filter(|it| it.roles.contains(&role))
            .map(|it| &it.owner)
            .collect()
    }

    /// The entry of a key.
    pub fn entry(&self, key: &KeyId) -> Option<&KeyEntry> {
        self.keys.iter().find(|entry| entry.key.id() == *key)
    }

    /// Whether the root owners among `signers` meet the root threshold.
    fn root_met(&self, signers: &BTreeSet<KeyId>) -> bool {
        let owners: BTreeSet<_> = signers
            .iter()
            .filter_map(|key| self.entry(key))
            .filter(|it| it.status == KeyStatus::Active && it.roles.contains(&Role::Root))
            .map(|it| &it.owner)
            .collect();
        owners.len() >= self.root_threshold as usize
    }
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

    fn trusted(id: Digest, document: PolicyDocument) -> Self {
        let keys = document.keys.iter().enumerate();
        let places = keys.map(|(place, entry)| (entry.key.id(), place)).collect();
        Self(Arc::new(Trusted { id, document, places }))
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
    pub fn signers(&self, valid: &BTreeSet<KeyId>, index: u64) -> Box<[Signer]> {
        let counts = |entry: &&KeyEntry| match entry.status {
            KeyStatus::Active => true,
            KeyStatus::Rotated { logged_below } => index < logged_below,
            KeyStatus::Compromised => false,
        };
        let entries = valid.iter().filter_map(|key| self.entry(key)).filter(counts);
        entries.map(|it| Signer { key: it.key.id(), owner: it.owner.clone() }).collect()
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
