//! What people are shown of the outbox.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::time::Time;

/// Most deliveries that an answer holds.
pub const MAX_DELIVERIES: usize = 1000;

/// The outbox as a person may see it. Unsigned: for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxView {
    /// What is not delivered first, the oldest of it first; then what was delivered, the newest first. At
    /// most [`MAX_DELIVERIES`].
    pub deliveries: Vec<DeliveryView>,
    /// How many more there are.
    pub left_out: u64,
}

/// Something that is told to somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryView {
    /// Its key, the same however often it is delivered.
    pub key: Digest,
    /// The `release` statement that it is about; of the trust policy's end that policy.
    pub release: Digest,
    /// The statement that it tells of.
    pub statement: Digest,
    /// The statement's place in the log.
    pub index: u64,
    /// What happened, in a word.
    pub what: String,
    /// `mail`, `webhook` or `tracker`.
    pub channel: String,
    /// An address, or the name of an endpoint.
    pub recipient: String,
    /// How far it has come.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it failed the last time.
    pub trouble: Option<String>,
}

/// How far a delivery has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeliveryState {
    /// It is tried after so long.
    Waiting {
        /// Milliseconds; 0 when only others of the same recipient come before it.
        milliseconds: u64,
    },
    /// It is on its way.
    Sending,
    /// It failed too often, or for good: it is tried again when somebody says so.
    Parked,
    /// It was delivered.
    Delivered {
        /// When.
        at: Time,
    },
}
