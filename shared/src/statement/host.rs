//! What is said about hosts, and by them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::key::{KeyId, PublicKey};
use crate::name::Name;
use crate::time::Time;

/// A change in the set of hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum HostChange {
    /// These two keys are this host.
    Enrolled(Box<Enrolment>),
    /// The host is gone; its key says nothing more.
    Retired {
        /// The host's name.
        host: Name,
        /// Its host key.
        host_key: KeyId,
        /// Why.
        reason: String,
    },
}

/// A host and its two keys (signed by an operator, or with a grant's key).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// Its name, unique among the hosts that are not retired.
    pub host: Name,
    /// Its environment.
    pub environment: Name,
    /// Labels for choosing hosts.
    pub labels: BTreeMap<Name, String>,
    /// What may be deployed to it.
    pub applications: BTreeSet<Name>,
    /// Signs outcomes; held by the applier.
    pub host_key: PublicKey,
    /// Signs TLS handshakes and nothing else; held by the network half.
    pub transport_key: PublicKey,
    /// The host key of the same host before it was set up anew.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replaces: Option<KeyId>,
    /// The `grant` statement by which the host enrolled itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub grant: Option<Digest>,
}

/// Hosts may enrol themselves with this key, until the statement's `not_after`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The public half; the private half is in the join string.
    pub grant_key: PublicKey,
    /// Into this environment.
    pub environment: Name,
    /// With these labels.
    pub labels: BTreeMap<Name, String>,
    /// For these applications.
    pub applications: BTreeSet<Name>,
    /// How many hosts; counted by position in the log.
    pub count: u32,
}

/// What a host did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The host's name.
    pub host: Name,
    /// The host key, which must be the signer.
    pub host_key: KeyId,
    /// The application.
    pub application: Name,
    /// The order's generation on this host for this application; counted up by every order.
    pub generation: u64,
    /// The `booking` or `rollback` statement that was carried out.
    pub order: Digest,
    /// The `release` statement that it is about.
    pub release: Digest,
    /// The package that it is about.
    pub package: Digest,
    /// What happened.
    pub event: Event,
    /// The package that runs now; none when the application is absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub running: Option<Digest>,
    /// When the host began.
    pub started: Time,
    /// When it ended.
    pub ended: Time,
    /// The health readings that decided.
    pub readings: Vec<Reading>,
    /// The clearances that it acted under: envelopes as received, in text.
    pub clearances: Vec<String>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// The new release runs, checked and baked.
    Committed,
    /// The earlier release runs again, or the application is absent as before.
    Returned {
        /// The step that failed.
        step: String,
        /// Why.
        reason: String,
    },
    /// An ordered return was carried out.
    RolledBack,
    /// Nothing was touched.
    Refused {
        /// The stable code of [`crate::refusal::Code`].
        code: String,
        /// The facts.
        detail: String,
    },
    /// Going back failed, or the release cannot be taken back: a person is needed.
    Stuck {
        /// The step that failed.
        step: String,
        /// Why.
        reason: String,
    },
    /// A managed file is not what was deployed.
    Drifted(Box<Drift>),
}

/// How something that a host manages is not what was deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drift {
    /// The path in the slot; `current`, which no slot has, is the link that names the slot.
    pub path: String,
    /// What should be there; none where nothing should.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expected: Option<Managed>,
    /// What is there; none when it is gone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub found: Option<Managed>,
}

/// Something at a managed path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Managed {
    /// What it is.
    pub kind: ManagedKind,
    /// Four octal digits, set-user-id and the like among them; none for a link, which has none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mode: Option<String>,
    /// User and group by number: `0:0`.
    pub owner: String,
}

/// What is at a managed path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ManagedKind {
    /// A regular file with this SHA-256.
    File(Digest),
    /// A directory.
    Directory,
    /// A symbolic link with this text.
    Link(String),
    /// Neither: a device, a socket, a pipe.
    Other,
}

impl Event {
    /// The word for it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Returned { .. } => "returned",
            Self::RolledBack => "rolled-back",
            Self::Refused { .. } => "refused",
            Self::Stuck { .. } => "stuck",
            Self::Drifted { .. } => "drifted",
        }
    }
}

/// One health reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// The check's name.
    pub check: String,
    /// When.
    pub time: Time,
    /// Whether it passed.
    pub healthy: bool,
    /// What was seen, bounded.
    pub detail: String,
}

impl std::fmt::Display for Drift {
    /// On one line: `payload/a: file 3f2a91bc0d4e 0644 0:0 instead of …`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.expected, &self.found) {
            (Some(expected), Some(found)) => {
                write!(f, "{}: {found} instead of {expected}", self.path)
            }
            (Some(expected), None) => write!(f, "{}: gone; it was {expected}", self.path),
            (None, Some(found)) => write!(f, "{}: {found}, which nobody deployed", self.path),
            (None, None) => write!(f, "{}: as it should be", self.path),
        }
    }
}

impl std::fmt::Display for Managed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.kind {
            ManagedKind::File(digest) => write!(f, "file {}", digest.short())?,
            ManagedKind::Directory => write!(f, "directory")?,
            ManagedKind::Link(target) => write!(f, "link to {target:?}")?,
            ManagedKind::Other => write!(f, "special file")?,
        }
        if let Some(mode) = &self.mode {
            write!(f, " {mode}")?;
        }
        write!(f, " {}", self.owner)
    }
}
