//! What hosts are shown, read and signed: the evidence for an order, and clearances.

use std::collections::BTreeSet;
use std::sync::Arc;

use cutover_coordinator_core::{self as decisions, Asked, Cleared, Proofs, Selection, Turn};
use cutover_shared::digest::Digest;
use cutover_shared::evidence::Evidence;
use cutover_shared::protocol::{ClearanceAnswer, HostReport};
use cutover_shared::statement::Phase;

use super::core::Core;
use super::trouble::Trouble;
use crate::store::{Store, StoreError};

impl Proofs for dyn Store {
    type Error = StoreError;

    fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Digest>, StoreError> {
        Store::inclusion(self, index, size)
    }

    fn consistency(&self, old: u64, new: u64) -> Result<Vec<Digest>, StoreError> {
        Store::consistency(self, old, new)
    }
}

/// The evidence for an order, for a host that has said `report`.
pub(super) async fn gather(
    core: &Core,
    turn: &Turn,
    report: &HostReport,
) -> Result<Evidence, Trouble> {
    let selection = Selection::new(&*core.conduct, &core.folded(), turn, report)?;
    let envelopes = read(core, &selection.indexes).await?;
    let checkpoint = core.signer.sign(&selection.head);
    Ok(selection.assemble(envelopes, checkpoint, &*core.store)?)
}

/// The bytes of the entries at `indexes`, in one read for each run of neighbours.
async fn read(core: &Core, indexes: &BTreeSet<u64>) -> Result<Vec<Vec<u8>>, Trouble> {
    let mut entries = Vec::with_capacity(indexes.len());
    let mut wanted = indexes.iter().copied().peekable();
    while let Some(first) = wanted.next() {
        let mut next = first + 1;
        while wanted.next_if_eq(&next).is_some() {
            next += 1;
        }
        let mut from = first;
        while from < next {
            let read = core.store.read(from..next).await?;
            from += read.len() as u64;
            entries.extend(read);
        }
    }
    Ok(entries)
}

/// Clears a host for an order, or says why not.
pub(super) async fn clear(core: &Core, asked: &Asked) -> Result<ClearanceAnswer, Trouble> {
    let cleared = match asked.phase {
        Phase::Start => decide(core, asked)?,
        Phase::Activate => {
            let file = Arc::clone(&core.activations).lock_owned().await;
            let cleared = decide(core, asked)?;
            let activations = core.hosts().register.activations().clone();
            // A place that is taken and not written down is this host's again when it asks again.
            let saved = tokio::task::spawn_blocking(move || file.save(&activations)).await;
            saved.map_err(|_cancelled| Trouble::Failed("the process is ending".to_owned()))??;
            cleared
        }
    };
    core.changed.notify_one();
    let checkpoint = core.signer.sign(&cleared.head);
    Ok(cleared.answer(&core.signer.key, checkpoint, &*core.store)?)
}

fn decide(core: &Core, asked: &Asked) -> Result<Cleared, Trouble> {
    let folded = core.folded();
    let mut hosts = core.hosts();
    Ok(decisions::clear(&*core.conduct, &folded, &mut hosts.register, asked, core.now())?)
}
