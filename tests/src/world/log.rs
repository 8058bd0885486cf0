//! A log in memory that proves what it holds.

use cutover_coordinator_core::Proofs;
use cutover_shared::digest::Digest;
use cutover_shared::log::{ProofError, Tree, TreeHead, checkpoint, leaf_hash};
use cutover_shared::time::Time;

use super::people::{LOG_KEY, ORIGIN, key};

/// Entries, and the tree over them.
#[derive(Debug, Clone, Default)]
pub struct MemoryLog {
    entries: Vec<Vec<u8>>,
    tree: Tree,
}

impl MemoryLog {
    /// Adds an entry; its index.
    pub fn append(&mut self, entry: Vec<u8>) -> u64 {
        let index = self.size();
        self.tree.append(leaf_hash(&entry));
        self.entries.push(entry);
        index
    }

    /// How many entries there are.
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Size and root.
    pub fn head(&self) -> TreeHead {
        self.tree.head()
    }

    /// An entry.
    pub fn entry(&self, index: u64) -> Option<&[u8]> {
        self.entries.get(usize::try_from(index).ok()?).map(Vec::as_slice)
    }

    /// All entries.
    pub fn entries(&self) -> &[Vec<u8>] {
        &self.entries
    }

    /// Forgets everything from entry `size` on.
    pub fn truncate(&mut self, size: u64) {
        self.entries.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        self.tree.truncate(size);
    }

    /// A checkpoint over the head, signed with the log's key.
    pub fn note(&self, now: Time) -> Vec<u8> {
        note(&self.head(), now)
    }
}

/// A checkpoint over any head, signed with the log's key.
pub fn note(head: &TreeHead, now: Time) -> Vec<u8> {
    checkpoint::sign(ORIGIN, head, now, &key(LOG_KEY))
}

impl Proofs for MemoryLog {
    type Error = ProofError;

    fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Digest>, ProofError> {
        self.tree.inclusion(index, size)
    }

    fn consistency(&self, old: u64, new: u64) -> Result<Vec<Digest>, ProofError> {
        self.tree.consistency(old, new)
    }
}
