//! Proofs, checked by someone who holds no tree (RFC 9162, 2.1.3.2 and 2.1.4.2).
//!
//! How many hashes a proof has follows from the sizes alone and is checked first. The loops then run
//! exactly to the root, and what they compute is compared with it.

use super::{ProofError, TreeHead, node_hash};
use crate::digest::Digest;

/// Checks that the entry with this leaf hash is at `index` of the log with this head.
pub fn verify_inclusion(
    leaf: &Digest,
    index: u64,
    proof: &[Digest],
    head: &TreeHead,
) -> Result<(), ProofError> {
    if index >= head.size {
        return Err(ProofError::OutOfRange { index, size: head.size });
    }
    check_length(proof, path_length(index, head.size - 1))?;
    let mut path = Path { node: index, last: head.size - 1 };
    let mut hash = *leaf;
    for sibling in proof {
        hash = match path.climb() {
            Side::Left => node_hash(sibling, &hash),
            Side::Right => node_hash(&hash, sibling),
        };
    }
    check_root(&hash, &head.root, head.size)
}

/// Checks that the log with head `new` begins with the log with head `old`.
///
/// The empty log is the beginning of every log, and every log of itself; both are shown by no hashes at
/// all. (RFC 9162 has proofs for `0 < old < new` only.)
pub fn verify_consistency(
    old: &TreeHead,
    new: &TreeHead,
    proof: &[Digest],
) -> Result<(), ProofError> {
    if old.size > new.size {
        return Err(ProofError::OutOfRange { index: old.size, size: new.size });
    }
    if old.size == 0 || old.size == new.size {
        check_length(proof, 0)?;
        let expected = if old.size == 0 { TreeHead::empty().root } else { new.root };
        return check_root(&old.root, &expected, old.size);
    }
    // The way up begins at the last complete subtree of the old tree. Where that is the whole old tree,
    // its hash is known and the proof leaves it out.
    let level = old.size.trailing_zeros();
    let mut path = Path { node: (old.size - 1) >> level, last: (new.size - 1) >> level };
    let whole = old.size.is_power_of_two();
    check_length(proof, path_length(path.node, path.last) + usize::from(!whole))?;
    let (first, siblings) = if whole {
        (&old.root, proof)
    } else {
        proof.split_first().expect("its length was checked and is at least one")
    };
    let (mut old_root, mut new_root) = (*first, *first);
    for sibling in siblings {
        match path.climb() {
            Side::Left => {
                old_root = node_hash(sibling, &old_root);
                new_root = node_hash(sibling, &new_root);
            }
            Side::Right => new_root = node_hash(&new_root, sibling),
        }
    }
    check_root(&old_root, &old.root, old.size)?;
    check_root(&new_root, &new.root, new.size)
}

/// The way from a node up to the root: its index in its level, and the index of the level's last node.
struct Path {
    node: u64,
    last: u64,
}

/// On which side of the way a sibling is.
enum Side {
    Left,
    Right,
}

impl Path {
    /// Goes up to where there is a sibling and past it; says where it is. A node at the right edge that
    /// has none rises as it is.
    fn climb(&mut self) -> Side {
        let side = if self.node % 2 == 1 || self.node == self.last {
            self.rise(self.node.trailing_zeros());
            Side::Left
        } else {
            Side::Right
        };
        self.rise(1);
        side
    }

    fn rise(&mut self, levels: u32) {
        self.node = self.node.checked_shr(levels).unwrap_or(0);
        self.last = self.last.checked_shr(levels).unwrap_or(0);
    }
}

/// How many siblings a node has on its way to the root, given the index of its level's last node: one a
/// level until the ways of the two meet, and from there on only those to the left.
fn path_length(node: u64, last: u64) -> usize {
    let meeting = u64::BITS - (node ^ last).leading_zeros();
    let edge = node.checked_shr(meeting).unwrap_or(0);
    (meeting + edge.count_ones()) as usize
}

fn check_length(proof: &[Digest], expected: usize) -> Result<(), ProofError> {
    let found = proof.len();
    if found == expected { Ok(()) } else { Err(ProofError::Length { found, expected }) }
}

fn check_root(found: &Digest, expected: &Digest, size: u64) -> Result<(), ProofError> {
    if found == expected { Ok(()) } else { Err(ProofError::Root { size }) }
}
