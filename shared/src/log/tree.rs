//! The whole tree in memory: every complete subtree's hash, level by level; 64 bytes an entry.

use super::{ProofError, TreeHead, node_hash};
use crate::digest::Digest;

/// A Merkle tree that answers heads and proofs for every size it has had. Appending is amortised O(1), a
/// head or a proof O(log n): of the subtrees that a proof names, at most one is not complete and stored.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// `levels[l][i]` is the hash of the entries `[i << l, (i + 1) << l)`.
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// A tree of these leaf hashes.
    pub fn from_leaves(leaves: impl IntoIterator<Item = Digest>) -> Self {
        let mut tree = Self::default();
        for leaf in leaves {
            tree.append(leaf);
        }
        tree
    }

    /// Adds an entry's leaf hash.
    pub fn append(&mut self, leaf: Digest) {
        let mut hash = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let nodes = &mut self.levels[level];
            nodes.push(hash);
            if nodes.len() % 2 == 1 {
                return;
            }
            hash = node_hash(&nodes[nodes.len() - 2], &hash);
        }
    }

    /// How many entries.
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// Forgets all but the first `size` entries.
    pub fn truncate(&mut self, size: u64) {
        for (level, nodes) in self.levels.iter_mut().enumerate() {
            nodes.truncate(usize::try_from(size >> level).unwrap_or(usize::MAX));
        }
    }

    /// The leaf hash of an entry.
    pub fn leaf(&self, index: u64) -> Option<Digest> {
        self.levels.first()?.get(usize::try_from(index).ok()?).copied()
    }

    /// The head now.
    pub fn head(&self) -> TreeHead {
        TreeHead { size: self.size(), root: self.root(0, self.size()) }
    }

    /// The head when it had `size` entries.
    pub fn head_at(&self, size: u64) -> Result<TreeHead, ProofError> {
        within(size, self.size())?;
        Ok(TreeHead { size, root: self.root(0, size) })
    }

    /// `PATH(index, D[size])` of RFC 6962, 2.1.1.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Digest>, ProofError> {
        within(size, self.size())?;
        if index >= size {
            return Err(ProofError::OutOfRange { index, size });
        }
        let mut proof = Vec::new();
        let (mut start, mut end) = (0, size);
        while end - start > 1 {
            let middle = start + half(end - start);
            if index < middle {
                proof.push(self.root(middle, end));
                end = middle;
            } else {
                proof.push(self.root(start, middle));
                start = middle;
            }
        }
        proof.reverse();
        Ok(proof)
    }

    /// `PROOF(old, D[new])` of RFC 6962, 2.1.2; empty when `old` is 0 or equal to `new`.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Digest>, ProofError> {
        within(new, self.size())?;
        within(old, new)?;
        let mut proof = Vec::new();
        if old == 0 || old == new {
            return Ok(proof);
        }
        let (mut start, mut end) = (0, new);
        // Follows the edge of the old tree down; `start == 0` means that what is left of the old tree is
        // a node that its holder knows.
        while end != old {
            let middle = start + half(end - start);
            if old <= middle {
                proof.push(self.root(middle, end));
                end = middle;
            } else {
                proof.push(self.root(start, middle));
                start = middle;
            }
        }
        if start > 0 {
            proof.push(self.root(start, end));
        }
        proof.reverse();
        Ok(proof)
    }

    /// MTH of the entries `[start, end)`, where `start` is a multiple of the subtree's width.
    fn root(&self, start: u64, end: u64) -> Digest {
        if start == end {
            return TreeHead::empty().root;
        }
        let width = end - start;
        if width.is_power_of_two() {
            let level = width.trailing_zeros();
            let index = usize::try_from(start >> level).expect("the tree is in memory");
            return self.levels[level as usize][index];
        }
        let middle = start + half(width);
        node_hash(&self.root(start, middle), &self.root(middle, end))
    }
}

/// The largest power of two below `width`, which is more than 1.
pub(super) fn half(width: u64) -> u64 {
    width.next_power_of_two() / 2
}

fn within(index: u64, size: u64) -> Result<(), ProofError> {
    if index <= size { Ok(()) } else { Err(ProofError::OutOfRange { index, size }) }
}
