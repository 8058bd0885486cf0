//! The one task that adds to the log: admit, make durable, fold, acknowledge, one statement after the
//! other. So each is judged by all that came before it, and nothing is acknowledged that could be lost.

use std::sync::Arc;

use cutover_coordinator_core::brought_again;
use cutover_shared::digest::Digest;
use cutover_shared::protocol::Receipt;
use tokio::sync::{mpsc, oneshot};

use super::core::Core;
use super::trouble::{Trouble, chain};
use crate::store::{Entry, LogError, StoreError};

/// Statements that may wait. Beyond, those who bring them wait to be let in.
pub(super) const QUEUE: usize = 256;

/// A statement that is to be the next entry of the log.
pub(super) struct Job {
    pub(super) id: Digest,
    pub(super) envelope: Vec<u8>,
    pub(super) answer: oneshot::Sender<Result<Receipt, Trouble>>,
}

/// Works until the last of those who bring statements is gone. An error is one after which only a restart
/// can tell what is in the log.
pub(super) async fn run(core: Arc<Core>, mut jobs: mpsc::Receiver<Job>) -> Result<(), StoreError> {
    while let Some(job) = jobs.recv().await {
        let answer = append(&core, job.id, job.envelope).await;
        let fatal = match &answer {
            Err(Trouble::Store(error)) if needs_restart(error) => Some(error.clone()),
            Ok(_) | Err(_) => None,
        };
        // Whoever does not wait for the answer asks again, and is told where the statement is.
        let _ = job.answer.send(answer);
        if let Some(error) = fatal {
            return Err(error);
        }
    }
    Ok(())
}

fn needs_restart(error: &StoreError) -> bool {
    match error {
        StoreError::Log(error) => matches!(**error, LogError::Stopped { .. }),
        StoreError::Cache(_) | StoreError::Closed => true,
        StoreError::Packs(_)
        | StoreError::File(_)
        | StoreError::InUse { .. }
        | StoreError::WrongIdentity { .. }
        | StoreError::TooMuch { .. } => false,
    }
}

async fn append(core: &Core, id: Digest, envelope: Vec<u8>) -> Result<Receipt, Trouble> {
    if let Some(index) = core.store.find(id).await? {
        return again(core, id, index, &envelope).await;
    }
    let size = core.folded().admit(&*core.conduct, &envelope, core.now())?;
    let entry = Entry { id, bytes: envelope.clone() };
    let appended = core.store.append(Some(size), vec![entry]).await?;
    let [appended] = appended[..] else {
        return Err(Trouble::Failed("append one entry: the store speaks of another number".into()));
    };
    if !appended.new {
        return again(core, id, appended.index, &envelope).await;
    }
    match core.apply(appended.index, &envelope) {
        Ok(_) => tracing::info!(statement = %id.short(), index = appended.index, "logged"),
        // An honest conduct admits nothing that the fold refuses.
        Err(refusal) => tracing::warn!(
            statement = %id.short(),
            index = appended.index,
            refusal = %refusal,
            "logged, and without effect"
        ),
    }
    receipt(core, appended.index)
}

/// The statement is in the log already, as entry `index`.
async fn again(core: &Core, id: Digest, index: u64, envelope: &[u8]) -> Result<Receipt, Trouble> {
    let entries = core.store.read(index..index + 1).await?;
    let [entry] = &entries[..] else {
        return Err(Trouble::Failed(format!("read entry {index}: the store does not have it")));
    };
    brought_again(index, entry, envelope)?;
    tracing::debug!(statement = %id.short(), index, "brought again");
    receipt(core, index)
}

/// The proof that entry `index` is in the log as it is now.
fn receipt(core: &Core, index: u64) -> Result<Receipt, Trouble> {
    let head = core.folded().head.clone();
    let inclusion = core.store.inclusion(index, head.size)?;
    Ok(Receipt { index, checkpoint: core.signer.sign(&head), inclusion })
}

/// Has a statement appended.
pub(super) async fn submit(
    jobs: &mpsc::Sender<Job>,
    id: Digest,
    envelope: Vec<u8>,
) -> Result<Receipt, Trouble> {
    let (answer, answered) = oneshot::channel();
    let gone = || Trouble::Failed("append: the coordinator is ending".to_owned());
    jobs.send(Job { id, envelope, answer }).await.map_err(|_gone| gone())?;
    let receipt = answered.await.map_err(|_gone| gone())?;
    if let Err(trouble) = &receipt {
        tracing::debug!(statement = %id.short(), trouble = %chain(trouble), "not logged");
    }
    receipt
}
