//! The messages: between coordinator, people and hosts over QUIC, and between the agent's two halves
//! over a Unix socket.
//!
//! Every message is one length-prefixed bincode frame ([`crate::codec`]). Statements travel as the bytes
//! of their envelopes, never as parsed types: what was signed is what is checked. A change of any type
//! here is a new ALPN version; the golden bytes in the tests hold us to it.
//!
//! **QUIC** (ALPN [`ALPN`]). A client opens a bidirectional stream for each request, sends one
//! [`Request`], and reads [`Response`]s. Which request may be made by whom follows from the client's key:
//! a person in the policy, an enrolled host, or somebody unknown, who may only ask for the checkpoint
//! and enrol.
//!
//! - `Append`, `Checkpoint`, `Consistency`, `PackInfo`, `Fleet`, `Clearance`, `Outbox`, `RetryDelivery`,
//!   `Forms`: one response.
//! - `Entries`: `Entry` for each, then end of stream.
//! - `Follow`: a `Checkpoint` now and after each growth, until the client closes.
//! - `PutPackage`: then the index, the map and the pack as raw bytes, of the lengths announced; `Stored`.
//! - `Artifact`: `Bytes { length }`, then as many raw bytes.
//! - `Directives` (hosts): the one long-lived stream; the host sends [`HostReport`] frames on it whenever
//!   something changes, the coordinator sends [`Directive`] frames.

mod outbox;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::authorise::WitnessClearance;
use crate::digest::Digest;
use crate::evidence::Evidence;
use crate::key::{KeyId, PublicKey};
use crate::log::TreeHead;
use crate::name::Name;
use crate::refusal::Refusal;
use crate::statement::Phase;
use crate::time::Time;

pub use outbox::{DeliveryState, DeliveryView, MAX_DELIVERIES, OutboxView};

/// The application protocol, with its version.
pub const ALPN: &[u8] = b"cutover/1";

/// Most log entries asked for at once.
pub const MAX_ENTRIES: u64 = 4096;

/// Most bytes of an artifact range.
pub const MAX_RANGE: u64 = 16 << 20;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The newest checkpoint.
    Checkpoint,
    /// A proof that the log of `new` entries extends that of `old` entries.
    Consistency {
        /// The smaller size.
        old: u64,
        /// The larger size.
        new: u64,
    },
    /// Entries `[from, to)`, at most [`MAX_ENTRIES`].
    Entries {
        /// First.
        from: u64,
        /// One past the last.
        to: u64,
    },
    /// The checkpoint now and after each growth.
    Follow,
    /// Add a statement. Answered when it is durable.
    Append {
        /// The envelope.
        envelope: Vec<u8>,
    },
    /// Store a package; its bytes follow.
    PutPackage {
        /// SHA-256 of the index.
        package: Digest,
        /// Length of the index in bytes.
        index_length: u64,
        /// Length of the pack map in bytes.
        map_length: u64,
        /// Length of the pack in bytes.
        pack_length: u64,
    },
    /// How large the parts of a package are.
    PackageInfo {
        /// The package.
        package: Digest,
    },
    /// Bytes of a package.
    Artifact {
        /// The package.
        package: Digest,
        /// Which of its three parts.
        part: Part,
        /// First byte.
        offset: u64,
        /// How many; at most [`MAX_RANGE`].
        length: u64,
    },
    /// What the coordinator knows of the hosts now.
    Fleet,
    /// A host asks for its turn.
    Clearance {
        /// The order.
        order: Digest,
        /// To start or to activate.
        phase: Phase,
        /// The applier's nonce.
        nonce: Digest,
        /// Size of the newest head that the host knows.
        known: u64,
    },
    /// A host's long-lived stream.
    Directives,
    /// What was told to whom, and what is still to be: as far as the caller may see it.
    Outbox,
    /// Try a delivery again at once that waits or is parked.
    RetryDelivery {
        /// Its key.
        key: Digest,
    },
    /// Schemas of forms: those with these texts, or the newest of each form where none is named.
    Forms {
        /// SHA-256 of each text.
        of: Vec<Digest>,
    },
}

/// A part of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// The index: what the package digest is the digest of.
    Index,
    /// Where each chunk is in the pack: a hint.
    Map,
    /// The compressed chunks.
    Pack,
}

/// What the coordinator answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// The request is refused.
    Refused(Refusal),
    /// The coordinator failed; nothing was done. The text is for people.
    Failed(String),
    /// A checkpoint, as a signed note.
    Checkpoint(Vec<u8>),
    /// A consistency proof.
    Consistency(Vec<Digest>),
    /// One entry.
    Entry(Vec<u8>),
    /// The statement is durable in the log, under this checkpoint.
    Appended(Receipt),
    /// The package is durable.
    Stored,
    /// Lengths in bytes.
    PackageInfo {
        /// Of the index.
        index_length: u64,
        /// Of the map.
        map_length: u64,
        /// Of the pack.
        pack_length: u64,
    },
    /// So many raw bytes follow.
    Bytes {
        /// How many.
        length: u64,
    },
    /// The hosts.
    Fleet(Fleet),
    /// The clearance asked for.
    Clearance(ClearanceAnswer),
    /// The outbox.
    Outbox(OutboxView),
    /// The delivery is tried again.
    Retried,
    /// The texts of the schemas asked for, at most [`crate::package::form::MAX_SCHEMAS`].
    Forms(Vec<String>),
}

/// Proof that a statement is in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Its place.
    pub index: u64,
    /// The checkpoint, a signed note.
    pub checkpoint: Vec<u8>,
    /// Inclusion under it.
    pub inclusion: Vec<Digest>,
}

/// A clearance with the checkpoint that it names, and what witnesses say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClearanceAnswer {
    /// The `clearance` statement's envelope.
    pub clearance: Vec<u8>,
    /// The checkpoint, a signed note.
    pub checkpoint: Vec<u8>,
    /// From the size that the host said it knows to the checkpoint.
    pub consistency: Vec<Digest>,
    /// The witnesses' clearances; at most [`crate::policy::MAX_WITNESSES`] are looked at.
    pub witnesses: Vec<WitnessClearance>,
}

/// What the coordinator knows of the hosts beyond the log; nothing here is signed, it is for people and
/// for the planner's caution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// The coordinator's clock.
    pub now: Time,
    /// When it began to serve: hosts unheard of since then may be busy with an earlier clearance.
    pub since: Time,
    /// By host key.
    pub hosts: Vec<HostView>,
}

impl Fleet {
    /// What hosts said last of each of their applications.
    pub fn reports(&self) -> impl Iterator<Item = (&HostView, &ApplicationReport)> {
        self.hosts.iter().flat_map(|view| view.reports().map(move |report| (view, report)))
    }
}

/// One host as the coordinator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostView {
    /// Its key.
    pub host_key: KeyId,
    /// Whether it is connected.
    pub connected: bool,
    /// When it was heard of last.
    pub heard: Time,
    /// What it said last.
    pub report: Option<HostReport>,
    /// Orders for which it got a clearance from this run of the coordinator, and when.
    pub cleared: Vec<(Digest, Time)>,
}

impl HostView {
    /// What it said last of each of its applications.
    pub fn reports(&self) -> impl Iterator<Item = &ApplicationReport> {
        self.report.iter().flat_map(|report| &report.applications)
    }
}

/// What a host says of itself while it works. Unsigned; what counts is in its outcomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// Size of the newest head that it knows.
    pub known: u64,
    /// Version of the policy that it has.
    pub policy_version: u64,
    /// What each application is doing.
    pub applications: Vec<ApplicationReport>,
}

/// What one application on a host is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationReport {
    /// The application.
    pub application: Name,
    /// The order generation.
    pub generation: u64,
    /// The package that runs.
    pub running: Option<Digest>,
    /// The order under way.
    pub order: Option<Digest>,
    /// Its step, as the deployment machine calls it: `idle`, `fetching`, `baking`, …
    pub step: String,
    /// Bytes fetched and to fetch, while fetching.
    pub progress: Option<(u64, u64)>,
    /// The last thing refused here: which order, and why.
    pub refused: Option<(Digest, Refusal)>,
}

/// What the coordinator tells a host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Directive {
    /// Here is an order, with all that the host needs to judge it. Offered again after reconnection.
    Offer {
        /// The `booking` or `rollback` statement.
        order: Digest,
        /// The evidence.
        evidence: Evidence,
    },
    /// Something stands against an order that is under way: here is the evidence of it.
    Stop {
        /// The order.
        order: Digest,
        /// The evidence.
        evidence: Evidence,
    },
    /// People did steps of the runbook of an order that is under way, or failed to: here is the evidence.
    Steps {
        /// The order.
        order: Digest,
        /// The evidence.
        evidence: Evidence,
    },
}

/// The join string's content: all that a new host needs (the private half of a grant among it).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// `host:port` of the coordinator.
    pub coordinator: String,
    /// The coordinator's key.
    pub coordinator_key: PublicKey,
    /// The trust policy's envelope.
    pub policy: Vec<u8>,
    /// Its identity, which the operator can compare.
    pub policy_id: Digest,
    /// A head of the log that the host must find extended.
    pub head: TreeHead,
    /// The `grant` statement.
    pub grant: Digest,
    /// Into which environment it lets hosts.
    pub environment: Name,
    /// With which labels.
    pub labels: Vec<(Name, String)>,
    /// For which applications.
    pub applications: BTreeSet<Name>,
    /// Seed of the grant's private key.
    pub grant_seed: [u8; 32],
}

/// What the network half says to the applier.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ToApplier {
    /// First: who I am on the wire.
    Hello {
        /// The transport key.
        transport_key: PublicKey,
    },
    /// The coordinator is reached, or lost.
    Connected(bool),
    /// What the coordinator sent.
    Directive(Box<Directive>),
    /// The answer to [`FromApplier::WantClearance`].
    Clearance {
        /// The nonce asked with.
        nonce: Digest,
        /// The answer, or why there is none.
        answer: Result<ClearanceAnswer, Refusal>,
    },
    /// Bytes of a part, as asked.
    Bytes {
        /// The package.
        package: Digest,
        /// The part.
        part: Part,
        /// Where they begin.
        offset: u64,
        /// The bytes.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
        /// Whether they complete what was asked for.
        last: bool,
    },
    /// A fetch was refused or failed for good.
    FetchFailed {
        /// The package.
        package: Digest,
        /// The part.
        part: Part,
        /// The offset that was asked with.
        offset: u64,
        /// Why.
        refusal: Refusal,
    },
    /// A statement was logged.
    Logged {
        /// Its identity.
        id: Digest,
        /// The proof.
        receipt: Receipt,
        /// From the newest head that the applier knows to the receipt's checkpoint.
        consistency: Vec<Digest>,
    },
    /// A statement was refused by the coordinator.
    NotLogged {
        /// Its identity.
        id: Digest,
        /// Why.
        refusal: Refusal,
    },
}

/// What the applier says to the network half.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FromApplier {
    /// Answer to `Hello`: where the coordinator is.
    Welcome {
        /// `host:port`.
        coordinator: String,
        /// Its key.
        coordinator_key: PublicKey,
        /// Size of the newest head that the applier knows.
        known: u64,
    },
    /// The host is not enrolled and has no join string: nothing to do until it has.
    NotJoined,
    /// What to tell the coordinator of this host now.
    Report(HostReport),
    /// Ask for a clearance.
    WantClearance {
        /// The order.
        order: Digest,
        /// The phase.
        phase: Phase,
        /// The nonce.
        nonce: Digest,
        /// Size of the newest head known.
        known: u64,
    },
    /// Fetch bytes of a part; a length of 0 means to the end (index and map).
    Fetch {
        /// The package.
        package: Digest,
        /// The part.
        part: Part,
        /// First byte.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// Stop fetching this package.
    StopFetching {
        /// The package.
        package: Digest,
    },
    /// Have this statement logged. Said again until `Logged` comes back.
    Append {
        /// Its identity.
        id: Digest,
        /// The envelope.
        envelope: Vec<u8>,
        /// Size of the newest head known.
        known: u64,
    },
}
