//! The policy as people write it: plain data, each part with its default where leaving it out is the
//! stricter choice.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Waivable;
use crate::key::{KeyId, PublicKey};
use crate::log::TreeHead;
use crate::name::Name;
use crate::statement::{ChangeType, Predicate};
use crate::time::{Time, span};

/// Most keys in a policy: a large agency's staff in the process, with room to spare.
pub const MAX_KEYS: usize = 2048;
/// Most witnesses: a checkpoint holds sixteen signature lines, two of them the log's own.
pub const MAX_WITNESSES: usize = 14;

/// The policy as it is written and signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyDocument {
    /// 1, 2, 3 …
    pub version: u64,
    /// It enters the log at this instant and not before: so it may be signed ahead. None: at once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_before: Option<Time>,
    /// Nothing goes forward from this instant on, and nothing can be booked past it.
    pub expires: Time,
    /// How many root owners must sign the next version.
    pub root_threshold: u32,
    /// The predicates in force, by name. One that a verifier does not know stops it going forward.
    pub predicates: BTreeSet<String>,
    /// The log and the key that signs its checkpoints and the coordinator's clearances; it is the
    /// coordinator's transport identity too.
    pub log: LogKey,
    /// The log lost entries: this version is the first entry after what was saved of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub epoch: Option<LogEpoch>,
    /// What hosts demand of freshness and clocks.
    pub freshness: Freshness,
    /// Everyone's keys.
    pub keys: Vec<KeyEntry>,
    /// Those who follow the log on machines of their own, cosign its checkpoints and sign clearances.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub witnesses: Vec<WitnessKey>,
    /// Departments that can be consulted, and who speaks for each.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub departments: Vec<Department>,
    /// What must be met, by environment and change type.
    pub rules: Vec<Rule>,
}

/// Another department, which releases touch: networks, databases, the service desk (PROCESS 9).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Department {
    /// Its name.
    pub name: Name,
    /// Those who speak for it, each an owner of a key.
    pub owners: BTreeSet<Name>,
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

/// What was saved of a log whose later entries were really lost (DESIGN 11). A host that had seen more
/// accepts exactly this head in the place of what it had seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogEpoch {
    /// The last good head: the policy that names it is the entry after it.
    pub last_good: TreeHead,
    /// What happened, for people.
    pub reason: String,
}

/// A witness: somebody else's machine that follows the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessKey {
    /// The name on its cosignature lines: a schema-less URL such as `witness.example.org`.
    pub name: String,
    /// Whose it is; a quorum counts owners.
    pub owner: Name,
    /// Where the owner is told.
    pub email: String,
    /// Its public key, which is nobody else's and not the log's.
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
    /// The window that an approved emergency iteration gets from its approval on, without anybody choosing
    /// one; no longer than the longest (PROCESS 18). None: each is booked by hand.
    #[serde(with = "span::optional", skip_serializing_if = "Option::is_none", default)]
    pub standing_window: Option<Duration>,
    /// Who must be whom.
    pub duties: Duties,
    /// Distinct owners of witnesses that must have cleared a host, beside the coordinator.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub witnesses: u32,
    /// The role of the second owner who can pass a freeze together with a change manager; none: a freeze
    /// is passed by nobody.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub freeze_override: Option<Role>,
    /// Departments that must have said yes.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub consults: BTreeSet<Name>,
    /// How long a board member's approval is good, from its signing to the start of the window; none: until
    /// the vote itself says.
    #[serde(with = "lifetime", skip_serializing_if = "Option::is_none", default)]
    pub approval_lifetime: Option<Duration>,
    /// Owners other than the submitter who must have rehearsed it, the newest rehearsal a good one.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub rehearsals: u32,
    /// Schemas of forms that a submission must name, whatever the coordinator asks of packages: an operator's own.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub forms: BTreeSet<Name>,
    /// The exceptions that can be made for one release, each by two owners.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub waivable: Vec<Waivable>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A span that may be left out.
mod lifetime {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::time::span;

    #[derive(Serialize, Deserialize)]
    struct Span(#[serde(with = "span")] Duration);

    #[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(Span).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Span>::deserialize(deserializer)?.map(|it| it.0))
    }
}

impl PolicyDocument {
    /// Version 1 for a log, with nobody and no rule in it: one root owner signs the next one, every
    /// predicate of the log is in force, clearances are good for a minute, clocks are synchronised and at
    /// most 2 s off.
    pub fn bare(log: LogKey, expires: Time) -> Self {
        Self {
            version: 1,
            not_before: None,
            expires,
            root_threshold: 1,
            predicates: Predicate::in_log().map(|it| it.name().to_owned()).collect(),
            log,
            epoch: None,
            freshness: Freshness {
                clearance: Duration::from_mins(1),
                clock_offset: Duration::from_secs(2),
                clock: Clock::Synchronised,
            },
            keys: Vec::new(),
            witnesses: Vec::new(),
            departments: Vec::new(),
            rules: Vec::new(),
        }
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

    /// A department.
    pub fn department(&self, name: &Name) -> Option<&Department> {
        self.departments.iter().find(|it| it.name == *name)
    }

    /// The witness with a key.
    pub fn witness(&self, key: &KeyId) -> Option<&WitnessKey> {
        self.witnesses.iter().find(|it| it.key.id() == *key)
    }

    /// Whether the root owners among `signers` meet the root threshold.
    pub(super) fn root_met(&self, signers: &BTreeSet<KeyId>) -> bool {
        let owners: BTreeSet<_> = signers
            .iter()
            .filter_map(|key| self.entry(key))
            .filter(|it| it.status == KeyStatus::Active && it.roles.contains(&Role::Root))
            .map(|it| &it.owner)
            .collect();
        owners.len() >= self.root_threshold as usize
    }
}

impl Rule {
    /// A rule that asks for nothing but separate duties and a window of 8 h at most.
    pub fn lax(environment: Name, change: ChangeType) -> Self {
        Self {
            environment,
            change,
            reviews: 0,
            assessments: 0,
            votes: 0,
            delivery: false,
            after: Vec::new(),
            longest_window: Duration::from_hours(8),
            standing_window: None,
            duties: Duties::Separate,
            witnesses: 0,
            freeze_override: None,
            consults: BTreeSet::new(),
            approval_lifetime: None,
            rehearsals: 0,
            forms: BTreeSet::new(),
            waivable: Vec::new(),
        }
    }
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
