//! A host's disk: what is on it after a power cut is what was synced.

use std::collections::BTreeMap;

use cutover_applier_core::{Ledger, Nonces};
use cutover_machine::Slot;
use cutover_shared::digest::Digest;

use super::random::Random;

/// A slot's name: generation and package.
pub(super) type SlotName = (u64, Digest);

pub(super) fn slot_name(slot: &Slot) -> SlotName {
    (slot.generation, slot.package)
}

/// What is in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Some of it, unsynced.
    Partial,
    /// All of it, synced.
    Whole,
}

/// What is on the disk.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) ledger: Option<Vec<u8>>,
    pub(super) slots: BTreeMap<SlotName, Content>,
    pub(super) link: Option<SlotName>,
    pub(super) full: bool,
    /// How often the ledger was written.
    pub(super) saves: u64,
}

/// Counts the points at which a host can crash, and knows at which it will.
#[derive(Debug, Default)]
pub(super) struct CrashPoints {
    passed: u32,
    /// Point, power, and for how long it is down; in the order of points.
    pub(super) planned: Vec<(u32, bool, u64)>,
    /// The crash that is to happen as soon as the driver has the host in its hands.
    pub(super) due: Option<(bool, u64)>,
}

impl CrashPoints {
    /// A point is passed; whether the host crashes here.
    pub(super) fn pass(&mut self) -> bool {
        if self.due.is_some() {
            return true;
        }
        self.passed += 1;
        let passed = self.passed;
        let here = self.planned.iter().position(|(point, _, _)| *point == passed);
        if let Some(here) = here {
            let (_, power, down) = self.planned.remove(here);
            self.due = Some((power, down));
        }
        self.due.is_some()
    }
}

/// The ledger on a disk. A crash before the sync loses what was written, one after it keeps it; either way
/// the applier gets no further.
pub(super) struct DiskLedger<'d> {
    pub(super) disk: &'d mut Disk,
    pub(super) points: &'d mut CrashPoints,
}

impl Ledger for DiskLedger<'_> {
    fn save(&mut self, body: &[u8]) -> Result<(), String> {
        if self.points.pass() {
            return Err("the host is gone".to_owned());
        }
        if self.disk.full {
            return Err("no space left on device".to_owned());
        }
        self.disk.ledger = Some(body.to_vec());
        self.disk.saves += 1;
        if self.points.pass() {
            return Err("the host is gone".to_owned());
        }
        Ok(())
    }
}

impl Nonces for Random {
    fn nonce(&mut self) -> Result<Digest, String> {
        let words = [self.next(), self.next(), self.next(), self.next()];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        Ok(Digest::of(&bytes))
    }
}
