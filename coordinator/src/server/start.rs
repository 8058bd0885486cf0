//! Coming up: key, policy, store, and the fold of the log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cutover_coordinator_core::{Activations, Folded};
use cutover_shared::digest::Digest;
use cutover_shared::dsse::{Envelope, EnvelopeError};
use cutover_shared::fold::{State, snapshot};
use cutover_shared::key::{KeyError, KeyId, SecretKey};
use cutover_shared::log::TreeHead;
use cutover_shared::policy::{LogKey, TrustPolicy};
use cutover_shared::refusal::Refusal;
use cutover_shared::time::Time;

use super::activations::ActivationsFile;
use super::trouble::chain;
use crate::config::Settings;
use crate::outbox::OutboxError;
use crate::store::{
    CacheReport, Entry, FileStore, Missing, OpenReport, Options, Signer, Store, StoreError,
};

/// The wall clock.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// The coordinator cannot come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file cannot be read.
    #[error("read {what} {}", path.display())]
    Read {
        /// What it should be.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The key's file needs a passphrase, and nobody is there to be asked.
    #[error(
        "use the key {}: it is encrypted, and a service has nobody to ask; keep it plain, readable for \
         the service only (systemd's LoadCredential does that)", .0.display()
    )]
    KeyEncrypted(PathBuf),
    /// The key's file is no key.
    #[error("use the key {}", path.display())]
    Key {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
    /// The policy's file is no envelope.
    #[error("read the policy {}", path.display())]
    PolicyEnvelope {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: EnvelopeError,
    },
    /// The policy's file is no good policy.
    #[error("accept the policy {}", path.display())]
    Policy {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: Refusal,
    },
    /// The policy names another key for the log.
    #[error(
        "use the key {found} for the log: policy version {version} names {expected}; use the key that it \
         names, or a policy that names this one"
    )]
    OtherKey {
        /// The key of the configuration.
        found: KeyId,
        /// The policy's.
        expected: KeyId,
        /// Which version of the policy.
        version: u64,
    },
    /// The log begins with another policy.
    #[error(
        "use the policy {policy} with this log: it is not among the log's policies (the first is {first}); \
         name the policy file that this log was begun with, or a later version that was installed"
    )]
    OtherPolicy {
        /// Of the configured file.
        policy: Digest,
        /// Of the log's entry 0, if that is one.
        first: String,
    },
    /// The store.
    #[error("open the store")]
    Store(#[from] StoreError),
    /// The outbox.
    #[error("open the outbox")]
    Outbox(#[source] OutboxError),
    /// The runtime is going away.
    #[error("come up: the process is ending")]
    Ending,
}

/// What there is once the coordinator has come up.
pub(super) struct Started {
    pub(super) store: Arc<dyn Store>,
    pub(super) signer: Arc<Signer>,
    pub(super) folded: Folded,
    /// Who was cleared to activate before, and where that is written.
    pub(super) activations: (ActivationsFile, Activations),
    /// Of how many entries the snapshot is that the fold went on from; 0 for none.
    pub(super) written: u64,
}

/// Opens everything, recovers it, and begins the log if it is empty.
pub(super) async fn start(settings: &Settings, clock: Clock) -> Result<Started, StartError> {
    let key = read_key(&settings.key)?;
    let (envelope, policy) = read_policy(&settings.policy)?;
    right_key(&policy, &policy.document().log, &key)?;
    let origin = policy.document().log.origin.clone();
    let signer = Arc::new(Signer { origin, key, clock });
    let options = Options {
        directory: settings.data_directory.clone(),
        signer: Arc::clone(&signer),
        missing: Missing::Create,
        identify,
    };
    let opened = tokio::task::spawn_blocking(move || FileStore::open(options)).await;
    let (store, report) = opened.map_err(|_cancelled| StartError::Ending)??;
    tell(&report);
    let store: Arc<dyn Store> = Arc::new(store);
    if store.published().head.size == 0 {
        let entry = Entry { id: envelope.id(), bytes: envelope.to_bytes() };
        store.append(Some(0), vec![entry]).await?;
        tracing::warn!(policy = %envelope.id(), "a new log was begun with this policy");
    }
    let folded = written_down(&store, &signer).await;
    let written = folded.head.size;
    let folded = fold(&*store, folded).await?;
    stands(&folded, &envelope, &*store, &signer).await?;
    let activations = ActivationsFile::open(&settings.data_directory)?;
    Ok(Started { store, signer, folded, activations, written })
}

fn identify(entry: &[u8]) -> Option<Digest> {
    Envelope::parse(entry).ok().map(|envelope| envelope.id())
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, StartError> {
    std::fs::read(path).map_err(|source| StartError::Read { what, path: path.to_owned(), source })
}

fn read_key(path: &Path) -> Result<SecretKey, StartError> {
    let pem = zeroize::Zeroizing::new(read("the log's key", path)?);
    let pem = std::str::from_utf8(&pem).unwrap_or_default();
    if SecretKey::is_encrypted(pem) {
        return Err(StartError::KeyEncrypted(path.to_owned()));
    }
    SecretKey::from_pem(pem, None)
        .map_err(|source| StartError::Key { path: path.to_owned(), source })
}

fn read_policy(path: &Path) -> Result<(Envelope, TrustPolicy), StartError> {
    let bytes = read("the policy", path)?;
    let envelope = Envelope::parse(&bytes)
        .map_err(|source| StartError::PolicyEnvelope { path: path.to_owned(), source })?;
    let policy = TrustPolicy::pinned(&envelope, &envelope.id())
        .map_err(|source| StartError::Policy { path: path.to_owned(), source })?;
    Ok((envelope, policy))
}

fn right_key(policy: &TrustPolicy, log: &LogKey, key: &SecretKey) -> Result<(), StartError> {
    if log.key == key.public() {
        return Ok(());
    }
    Err(StartError::OtherKey {
        found: key.public().id(),
        expected: log.key.id(),
        version: policy.document().version,
    })
}

/// Says what opening found and did, as loudly as it deserves.
fn tell(report: &OpenReport) {
    if report.log.created {
        tracing::warn!(
            "there was no log, an empty one was made; if this coordinator is not new, stop it: its disk is \
             not mounted"
        );
    }
    if let Some(cut) = &report.log.cut {
        tracing::warn!(
            size = cut.size,
            bytes = cut.bytes,
            entries = cut.entries,
            kept = %cut.kept.display(),
            "bytes behind the log's checkpoint were cut off: they were acknowledged to nobody"
        );
    }
    match &report.cache {
        CacheReport::Current => {}
        CacheReport::CaughtUp { entries } => {
            tracing::info!(entries, "the cache was behind the log, and was brought up to date");
        }
        CacheReport::Rebuilt { why } => tracing::warn!(why, "the cache was made anew from the log"),
    }
}

/// The fold as it was written down, or that of an empty log. Whatever is wrong with what was written, the
/// log has everything; it takes longer, and is said.
async fn written_down(store: &Arc<dyn Store>, signer: &Arc<Signer>) -> Folded {
    let nothing = || Folded { state: State::empty(), head: TreeHead::empty() };
    let bytes = match store.snapshot().await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return nothing(),
        Err(error) => {
            tracing::warn!(error = %chain(&error), "no snapshot: the whole log is read");
            return nothing();
        }
    };
    let (store, signer) = (Arc::clone(store), Arc::clone(signer));
    let taken = tokio::task::spawn_blocking(move || {
        let root_at = |size| store.head_at(size).ok().map(|head| head.root);
        snapshot::read(&bytes, &signer.origin, &signer.key.public(), root_at)
    });
    match taken.await {
        Ok(Ok((state, head))) => Folded { state, head },
        Ok(Err(refusal)) => {
            tracing::warn!(refusal = %chain(&refusal), "the snapshot is not taken: the whole log is read");
            nothing()
        }
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_cancelled) => nothing(),
    }
}

/// The fold of the whole log, from what is folded already. The rest is verified as if it were new: what
/// was folded once is in the snapshot, and nothing else vouches for an entry than its signatures.
async fn fold(store: &dyn Store, folded: Folded) -> Result<Folded, StoreError> {
    let head = store.published().head;
    let Folded { mut state, head: written } = folded;
    let mut next = written.size;
    while next < head.size {
        for entry in store.read(next..head.size).await? {
            if let Err(refusal) = state.apply(next, &entry) {
                tracing::warn!(index = next, %refusal, "an entry of the log has no effect");
            }
            next += 1;
        }
    }
    tracing::info!(
        entries = head.size,
        from_snapshot = written.size,
        root = %head.root.short(),
        "the log was read"
    );
    Ok(Folded { state, head })
}

/// The configured policy is one of the log's, and the one in force names the key that signs here.
async fn stands(
    folded: &Folded,
    configured: &Envelope,
    store: &dyn Store,
    signer: &Signer,
) -> Result<(), StartError> {
    let Some(policy) = folded.state.policy().filter(|_| folded.state.contains(&configured.id()))
    else {
        let first = store.read(0..1).await?.first().and_then(|entry| identify(entry));
        let first = first.map_or_else(|| "no statement".to_owned(), |id| id.to_string());
        return Err(StartError::OtherPolicy { policy: configured.id(), first });
    };
    right_key(policy, &policy.document().log, &signer.key)
}
