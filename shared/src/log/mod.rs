//! The log: an RFC 6962 Merkle tree over envelope bytes, its proofs and its checkpoints.
//!
//! [`Tree`] holds every level in memory and answers proofs; [`Frontier`] holds only what is needed to grow
//! and to know the root; the two `verify_` functions are for those who hold neither. Whatever is proven is
//! proven against a [`TreeHead`], which a signed [`checkpoint`] carries.

pub mod checkpoint;
mod frontier;
mod tree;
mod verify;

use serde::{Deserialize, Serialize};

pub use frontier::Frontier;
pub use tree::Tree;
pub use verify::{verify_consistency, verify_inclusion};

use crate::digest::Digest;

/// Size and root of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeHead {
    /// How many entries.
    pub size: u64,
    /// The Merkle tree hash.
    pub root: Digest,
}

impl TreeHead {
    /// The head of the empty log.
    pub fn empty() -> Self {
        Self { size: 0, root: Digest::of(b"") }
    }
}

/// A proof that does not hold, or cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Outside the tree.
    #[error("find entry {index} in a log of {size}")]
    OutOfRange {
        /// What was asked for.
        index: u64,
        /// How many there are.
        size: u64,
    },
    /// A proof for these sizes has another number of hashes.
    #[error("use a proof of {found} hashes where {expected} are due")]
    Length {
        /// In the proof.
        found: usize,
        /// By the sizes.
        expected: usize,
    },
    /// It computes another root.
    #[error("arrive at the root of the log of {size} entries")]
    Root {
        /// The size of the head that it does not lead to.
        size: u64,
    },
}

/// The hash of an entry: SHA-256(0x00 || entry) (RFC 6962, 2.1).
pub fn leaf_hash(entry: &[u8]) -> Digest {
    Digest::of_parts([&[0u8][..], entry])
}

/// The hash of an inner node: SHA-256(0x01 || left || right) (RFC 6962, 2.1).
pub(crate) fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest::of_parts([&[1u8][..], left.as_bytes(), right.as_bytes()])
}

#[cfg(test)]
mod tests;
