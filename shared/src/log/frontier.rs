//! The right edge of the tree: enough to grow it and to know its root.

use serde::{Deserialize, Serialize};

use super::{ProofError, TreeHead, node_hash};
use crate::digest::Digest;

/// More entries than any log will have: one a microsecond for eight years. A stored frontier that claims
/// more is refused, so that counting up never overflows.
const MAX_SIZE: u64 = 1 << 48;

/// The roots of the complete subtrees that the tree is made of, largest first: at most 48 hashes whatever
/// the size. A stored one is checked as it is read: it has exactly as many as its size demands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Frontier {
    size: u64,
    subtrees: Vec<Digest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    size: u64,
    subtrees: Vec<Digest>,
}

impl TryFrom<Stored> for Frontier {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let Stored { size, subtrees } = stored;
        if size <= MAX_SIZE && subtrees.len() == size.count_ones() as usize {
            Ok(Self { size, subtrees })
        } else {
            Err(format!("{} subtrees are not the frontier of {size} entries", subtrees.len()))
        }
    }
}

impl Frontier {
    /// Adds an entry's leaf hash.
    pub fn append(&mut self, leaf: Digest) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            let left = self.subtrees.pop().expect("as many subtrees as the size has ones");
            hash = node_hash(&left, &hash);
        }
        self.subtrees.push(hash);
        self.size += 1;
    }

    /// The frontier after `leaves` more, if that is the log with head `expected`.
    pub fn extended(
        &self,
        leaves: impl IntoIterator<Item = Digest>,
        expected: &TreeHead,
    ) -> Result<Self, ProofError> {
        let mut grown = self.clone();
        for leaf in leaves {
            if grown.size >= expected.size {
                return Err(ProofError::OutOfRange { index: grown.size, size: expected.size });
            }
            grown.append(leaf);
        }
        if grown.head() == *expected {
            Ok(grown)
        } else {
            Err(ProofError::Root { size: expected.size })
        }
    }

    /// How many entries.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The Merkle tree hash.
    pub fn root(&self) -> Digest {
        let mut nodes = self.subtrees.iter().rev();
        nodes.next().map_or(TreeHead::empty().root, |smallest| {
            nodes.fold(*smallest, |right, left| node_hash(left, &right))
        })
    }

    /// Size and root.
    pub fn head(&self) -> TreeHead {
        TreeHead { size: self.size, root: self.root() }
    }
}
