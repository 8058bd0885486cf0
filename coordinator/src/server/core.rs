//! What all parts of the server share: the store, the fold of its log, and what is heard of hosts.
//!
//! The fold and the head that it is the fold of change together, under one lock; so does everything that
//! is heard of hosts, under another, which is only ever taken after the first. Neither is held while
//! anything is waited for.

use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard};

use cutover_coordinator_core::{Conduct, Folded, Peer};
use cutover_shared::digest::Digest;
use cutover_shared::key::PublicKey;
use cutover_shared::refusal::Refusal;
use cutover_shared::time::Time;
use tokio::sync::{Notify, watch};

use super::activations::ActivationsFile;
use super::hosts::Hosts;
use super::start::Started;
use crate::forms::Forms;
use crate::store::{Signer, Store};

const UNPOISONED: &str = "whoever panics with this lock has ended the process";

/// What all parts of the server share.
pub(super) struct Core {
    pub(super) store: Arc<dyn Store>,
    pub(super) signer: Arc<Signer>,
    pub(super) conduct: Arc<dyn Conduct>,
    pub(super) forms: Forms,
    /// Told that whose turn it is may have changed.
    pub(super) changed: Notify,
    /// True from the moment on in which the server begins to end.
    pub(super) draining: watch::Sender<bool>,
    folded: RwLock<Folded>,
    hosts: Mutex<Hosts>,
    grown: watch::Sender<u64>,
    /// Taken before the two, and held while it is written: what is written last is what was decided last.
    pub(super) activations: Arc<tokio::sync::Mutex<ActivationsFile>>,
}

impl Core {
    pub(super) fn new(started: Started, conduct: Arc<dyn Conduct>, forms: Forms) -> Self {
        let Started { store, signer, folded, activations: (file, activations), written: _ } =
            started;
        let since = (signer.clock)();
        let (grown, _) = watch::channel(folded.head.size);
        Self {
            store,
            signer,
            conduct,
            forms,
            changed: Notify::new(),
            draining: watch::Sender::new(false),
            folded: RwLock::new(folded),
            hosts: Mutex::new(Hosts::new(since, activations)),
            grown,
            activations: Arc::new(tokio::sync::Mutex::new(file)),
        }
    }

    /// The clock.
    pub(super) fn now(&self) -> Time {
        (self.signer.clock)()
    }

    /// The fold, to be looked at.
    pub(super) fn folded(&self) -> RwLockReadGuard<'_, Folded> {
        self.folded.read().expect(UNPOISONED)
    }

    /// What is heard of hosts. To be taken after [`Core::folded`], never before.
    pub(super) fn hosts(&self) -> MutexGuard<'_, Hosts> {
        self.hosts.lock().expect(UNPOISONED)
    }

    /// The size of the log, and each time that it has grown.
    pub(super) fn grown(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    /// Adds a durable entry to the fold. Only the appender does this.
    pub(super) fn apply(&self, index: u64, envelope: &[u8]) -> Result<Digest, Refusal> {
        let published = self.store.published().head;
        let size = published.size;
        let applied = self.folded.write().expect(UNPOISONED).add(index, envelope, published);
        self.grown.send_replace(size);
        self.changed.notify_one();
        applied
    }

    /// A checkpoint of now.
    pub(super) fn checkpoint(&self) -> Vec<u8> {
        let head = self.folded().head.clone();
        self.signer.sign(&head)
    }

    /// Who the holder of a key is now.
    pub(super) fn peer(&self, key: &PublicKey) -> Peer {
        Peer::of(&self.folded().state, key)
    }

    /// Returns when the server begins to end.
    pub(super) async fn drained(&self) {
        let mut draining = self.draining.subscribe();
        // The sender lives as long as `self`.
        let _ = draining.wait_for(|draining| *draining).await;
    }
}
