//! What moves hosts: bookings and their release, rollbacks, clearances.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::key::KeyId;
use crate::log::TreeHead;
use crate::name::Name;
use crate::time::{Time, span};
use crate::window::Window;

/// A change manager says: this release has this window on these hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Booking {
    /// The `release` statement.
    pub release: Digest,
    /// Its package.
    pub package: Digest,
    /// The application.
    pub application: Name,
    /// The environment.
    pub environment: Name,
    /// When, in instants.
    pub window: Window,
    /// How the instants were derived; for people, never for agents.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub derivation: Option<Derivation>,
    /// Where, and in what order.
    pub plan: RolloutPlan,
}

/// Civil times behind instants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Derivation {
    /// The start as written.
    pub start: String,
    /// The end or duration as written.
    pub end: String,
    /// IANA zone.
    pub zone: String,
    /// Version of the tz database.
    pub tzdb: String,
}

/// The rollout: ordered waves of named hosts. The first wave is the canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutPlan {
    /// In order; no host twice, none empty.
    pub waves: Vec<Wave>,
    /// How many hosts may be under way at once.
    pub at_once: u32,
    /// How long the hosts of a wave must have been committed before the next wave starts.
    #[serde(with = "span")]
    pub healthy_for: Duration,
    /// This many failures halt the rollout.
    pub halt_after: u32,
    /// What a halt does.
    pub on_halt: OnHalt,
}

/// What a halt does with hosts that have the new release already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum OnHalt {
    /// They keep it; people decide.
    Pause,
    /// They go back to the release before, on the booking's own authority, once enough hosts have signed
    /// that they failed ([`RolloutPlan::returns_after`]).
    ReturnAll {
        /// The most hosts that are taken back so, those that failed by themselves not counted. What is
        /// beyond keeps the release and waits for people.
        budget: u32,
    },
}

/// Most hosts of one booking: an order's evidence holds an enrolment and an outcome of each of those
/// before it ([`crate::evidence::MAX_ENTRIES`]).
pub const MAX_HOSTS: usize = 1000;

/// Most waves of one booking: each is proven by all before it, and people watch each.
pub const MAX_WAVES: usize = 100;

/// Hosts that may go together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wave {
    /// For people: `canary`, `rest`, …
    pub name: Name,
    /// Its hosts.
    pub hosts: Vec<PlannedHost>,
}

/// A host as the booker saw it: name and key, so that a re-made host of the same name is another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedHost {
    /// The name.
    pub host: Name,
    /// The host key.
    pub host_key: KeyId,
}

impl RolloutPlan {
    /// Every host of the plan, in order.
    pub fn hosts(&self) -> impl Iterator<Item = &PlannedHost> {
        self.waves.iter().flat_map(|wave| &wave.hosts)
    }

    /// The wave of a host, counted from 0.
    pub fn wave_of(&self, host_key: &KeyId) -> Option<usize> {
        self.waves.iter().position(|wave| wave.hosts.iter().any(|it| it.host_key == *host_key))
    }

    /// From so many failures on that hosts have signed, the others go back; `None` where a halt pauses.
    /// Never fewer than two: the word of one host key moves no other host (DESIGN 7). With a single failure
    /// it takes a change manager, who signs a `rollback`.
    pub fn returns_after(&self) -> Option<u32> {
        match self.on_halt {
            OnHalt::Pause => None,
            OnHalt::ReturnAll { .. } if crate::seeded!(OneFailureReturnsAll) => Some(1),
            OnHalt::ReturnAll { .. } => Some(self.halt_after.max(2)),
        }
    }

    /// What is wrong with the plan, if anything.
    pub fn fault(&self) -> Option<String> {
        let mut names = BTreeSet::new();
        let mut keys = BTreeSet::new();
        if self.waves.is_empty() {
            return Some("the plan has no wave".to_owned());
        }
        if self.waves.len() > MAX_WAVES || self.hosts().count() > MAX_HOSTS {
            return Some(format!(
                "a booking has at most {MAX_WAVES} waves and {MAX_HOSTS} hosts: book the others by \
                 themselves"
            ));
        }
        let mut waves = BTreeSet::new();
        for wave in &self.waves {
            if !waves.insert(&wave.name) {
                return Some(format!("wave {} is in the plan twice", wave.name));
            }
            if wave.hosts.is_empty() {
                return Some(format!("wave {} has no host", wave.name));
            }
            for planned in &wave.hosts {
                if !names.insert(&planned.host) || !keys.insert(planned.host_key) {
                    return Some(format!("host {} is in the plan twice", planned.host));
                }
            }
        }
        if self.at_once == 0 {
            return Some("at_once is 0: no host could ever start".to_owned());
        }
        if self.on_halt == (OnHalt::ReturnAll { budget: 0 }) {
            return Some("a budget of 0 hosts returns none: let the halt pause".to_owned());
        }
        (self.halt_after == 0).then(|| "halt_after is 0: the rollout would never start".to_owned())
    }
}

/// The booking may be executed: the act that arms the agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowRelease {
    /// The `booking` statement.
    pub booking: Digest,
    /// Its `release` statement.
    pub release: Digest,
    /// Its package.
    pub package: Digest,
    /// The log as the signer's own program had verified it: a host accepts no shorter one.
    pub checkpoint: TreeHead,
}

/// These hosts go from one package to the one before, each at its generation, once, until the
/// statement's `not_after`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// The application.
    pub application: Name,
    /// The environment.
    pub environment: Name,
    /// Which hosts, each at which generation.
    pub hosts: Vec<HostTurn>,
    /// The package that runs there.
    pub from: Digest,
    /// The package to go back to.
    pub to: Digest,
    /// Why.
    pub reason: String,
}

/// A host at a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostTurn {
    /// The host.
    pub host: Name,
    /// Its host key.
    pub host_key: KeyId,
    /// The generation that it is at, which the order takes it from.
    pub generation: u64,
}

/// As of this checkpoint and time nothing stands against this booking on this host, whose turn it is.
/// Valid until the statement's `not_after`; answers one nonce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clearance {
    /// The host.
    pub host: Name,
    /// Its host key.
    pub host_key: KeyId,
    /// The applier's nonce.
    pub nonce: Digest,
    /// The `booking` statement.
    pub order: Digest,
    /// To start, or to activate.
    pub phase: Phase,
    /// The log up to which it was judged.
    pub checkpoint: TreeHead,
    /// Version of the policy in force there.
    pub policy_version: u64,
    /// Its statement.
    pub policy: Digest,
    /// The signer's clock when it answered.
    pub time: Time,
}

/// What a clearance is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// To begin fetching.
    Start,
    /// To stop the old release and activate the new one.
    Activate,
}
