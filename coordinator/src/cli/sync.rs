//! The person's own view of the log: fetched, verified, folded.
//!
//! 1. The checkpoint that the coordinator shows is signed with the log's key, which the pinned policy (or
//!    a later one in the verified copy) names.
//! 2. It is not shorter than what was verified before.
//! 3. The entries known and those fetched now have exactly its root: nothing known was changed.
//! 4. The pinned policy is one of the policies of the log.
//! 5. The policy in force names the key that signed the checkpoint.
//!
//! Only then does the copy grow, and only a fold of such a log is ever shown or relied on.

use std::sync::Arc;

use anyhow::Context as _;
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::fold::State;
use cutover_shared::log::checkpoint::{self, Checkpoint};
use cutover_shared::log::{Tree, TreeHead, leaf_hash};
use cutover_shared::policy::{LogKey, TrustPolicy};
use cutover_shared::protocol::MAX_ENTRIES;
use cutover_shared::refusal::{Code, Refusal};

use super::cache::{Cache, CacheLock, Entries, Known};
use super::client::Wire;
use super::exit::Failure;

/// The log, verified, and what it adds up to.
#[derive(Debug, Clone)]
pub struct Synced {
    /// The fold.
    pub state: State,
    /// Size and root: for what a signer says that they have seen.
    pub head: TreeHead,
    /// The checkpoint that was verified; with its time.
    pub checkpoint: Checkpoint,
    /// The same as the signed note.
    pub note: Vec<u8>,
    tree: Tree,
    entries: Entries,
}

impl Synced {
    /// The bytes of an entry.
    pub fn entry(&self, index: u64) -> Result<Vec<u8>, Failure> {
        let bytes = self.entries.read(index).with_context(|| format!("read entry {index}"))?;
        bytes.ok_or_else(|| {
            Failure::not_found(format!("entry {index} of a log of {} entries", self.head.size))
        })
    }

    /// An entry as the envelope that it should be.
    pub fn envelope(&self, index: u64) -> Result<Envelope, Failure> {
        let bytes = self.entry(index)?;
        Ok(Envelope::parse(&bytes).with_context(|| format!("read entry {index} of the log"))?)
    }

    /// The tree over the entries, for proofs.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The policy in force.
    pub fn policy(&self) -> Result<&TrustPolicy, Failure> {
        self.state.policy().ok_or_else(|| Failure::failed("find a trust policy in the log"))
    }
}

/// Shortest prefix of a digest that people may use.
const SHORTEST_PREFIX: usize = 4;

/// The one of `things` whose digest begins with `prefix`; `what` they are is for the failure.
pub fn by_prefix<T>(
    what: &str,
    prefix: &str,
    things: impl IntoIterator<Item = (Digest, T)>,
) -> Result<T, Failure> {
    if prefix.len() < SHORTEST_PREFIX {
        return Err(Failure::not_found(format!("a {what} {prefix}")));
    }
    let mut found = things.into_iter().filter(|(id, _)| id.to_string().starts_with(prefix));
    match (found.next(), found.next()) {
        (Some((_, thing)), None) => Ok(thing),
        (Some((first, _)), Some((second, _))) => Err(Failure::usage(format!(
            "more than one {what} begins with {prefix}: {} and {}",
            first.short(),
            second.short()
        ))),
        (None, _) => Err(Failure::not_found(format!("a {what} {prefix}"))),
    }
}

/// The copy on disk, and in memory as far as it was read.
#[derive(Debug)]
pub(super) struct Log {
    cache: Cache,
    pin: Digest,
    pinned: LogKey,
    state: State,
    tree: Tree,
    entries: Entries,
    known: Option<Known>,
}

impl Log {
    /// Reads the copy of the log that `pinned` names.
    pub(super) fn open(cache: Cache, pinned: &TrustPolicy) -> Result<Self, Failure> {
        let lock = cache.lock().context("open the copy of the log")?;
        let (state, loaded) = load(&cache, &lock)?;
        drop(lock);
        Ok(Self {
            cache,
            pin: pinned.id(),
            pinned: pinned.document().log.clone(),
            state,
            tree: loaded.tree,
            entries: loaded.entries,
            known: loaded.known,
        })
    }

    /// The log's name and key: as the newest policy of the copy says, or else the pinned one.
    pub(super) fn key(&self) -> &LogKey {
        match self.state.policy() {
            Some(policy) if self.state.contains(&self.pin) => &policy.document().log,
            Some(_) | None => &self.pinned,
        }
    }

    /// The newest head that was verified.
    pub(super) fn head(&self) -> Option<&TreeHead> {
        self.known.as_ref().map(|known| &known.head)
    }

    /// Verifies a signed note.
    pub(super) fn verify(&self, note: &[u8]) -> Result<Checkpoint, Failure> {
        verify(note, self.key())
    }

    /// Fetches what is missing, verifies all, and gives the fold.
    pub(super) async fn sync(&mut self, wire: &Wire) -> Result<Arc<Synced>, Failure> {
        let lock = self.cache.lock().context("open the copy of the log")?;
        if self.cache.known(&lock).context("read the copy of the log")? != self.known {
            // Another process was faster.
            let (state, loaded) = load(&self.cache, &lock)?;
            (self.state, self.tree) = (state, loaded.tree);
            (self.entries, self.known) = (loaded.entries, loaded.known);
        }
        let note = wire.checkpoint().await?;
        let checkpoint = self.verify(&note)?;
        self.not_shorter(&checkpoint)?;
        let mut grown = Grown {
            state: self.state.clone(),
            tree: self.tree.clone(),
            entries: self.entries.clone(),
        };
        let mut growth =
            self.cache.grow(&lock, &self.entries).context("grow the copy of the log")?;
        let mut from = grown.tree.size();
        while from < checkpoint.head.size {
            let to = checkpoint.head.size.min(from + MAX_ENTRIES);
            let mut stream = wire.entries(from, to).await?;
            for index in from..to {
                let entry = stream.next(index).await?;
                growth.push(&mut grown.entries, &entry).context("grow the copy of the log")?;
                grown.add(index, &entry);
            }
            from = to;
        }
        self.same_log(&grown, &checkpoint)?;
        self.policy_stands(&grown, &note)?;
        let text = String::from_utf8(note.clone()).context("read the checkpoint as text")?;
        let known = Known { head: checkpoint.head.clone(), note: text };
        self.cache.keep(&lock, growth, &known).context("grow the copy of the log")?;
        self.known = Some(known);
        (self.state, self.tree, self.entries) = (grown.state, grown.tree, grown.entries);
        Ok(Arc::new(Synced {
            state: self.state.clone(),
            head: checkpoint.head.clone(),
            checkpoint,
            note,
            tree: self.tree.clone(),
            entries: self.entries.clone(),
        }))
    }

    fn not_shorter(&self, checkpoint: &Checkpoint) -> Result<(), Refusal> {
        let known = self.head().map_or(0, |head| head.size);
        if checkpoint.head.size >= known {
            return Ok(());
        }
        Err(Refusal::new(
            Code::CheckpointStale,
            format!(
                "the coordinator shows a log of {} entries, and one of {known} was verified here before: \
                 the log was shortened, or an old one restored",
                checkpoint.head.size
            ),
        ))
    }

    fn same_log(&self, grown: &Grown, checkpoint: &Checkpoint) -> Result<(), Refusal> {
        let forked = |facts: &str| Err(Refusal::new(Code::CheckpointInconsistent, facts));
        if grown.tree.head() != checkpoint.head {
            return forked(
                "the entries known here and those that the coordinator sent do not have the root that it \
                 signed: the log was forked or changed",
            );
        }
        match self.head() {
            Some(head) if !grown.tree.head_at(head.size).is_ok_and(|then| then == *head) => forked(
                "the log does not contain the one that was verified here before: it was forked",
            ),
            Some(_) | None => Ok(()),
        }
    }

    fn policy_stands(&self, grown: &Grown, note: &[u8]) -> Result<(), Failure> {
        let policy = grown.state.policy().filter(|_| grown.state.contains(&self.pin));
        let Some(policy) = policy else {
            return Err(Failure::Refused(Refusal::new(
                Code::NotLogged,
                format!(
                    "the pinned policy {} is not a policy of this log: this is another log, or the policy \
                     was not installed yet",
                    self.pin
                ),
            )));
        };
        let log = &policy.document().log;
        if *log != *self.key() && checkpoint::verify(note, &log.origin, &log.key).is_err() {
            return Err(Failure::Refused(Refusal::new(
                Code::CheckpointInconsistent,
                format!(
                    "policy {} in force names the log key {}, and the checkpoint is not signed with it: \
                     the coordinator must be started with that key, and that policy be pinned here",
                    policy.document().version,
                    log.key.id()
                ),
            )));
        }
        Ok(())
    }
}

/// The log as it would be with what was fetched.
struct Grown {
    state: State,
    tree: Tree,
    entries: Entries,
}

impl Grown {
    fn add(&mut self, index: u64, entry: &[u8]) {
        self.tree.append(leaf_hash(entry));
        // What a statement that is not good does to the fold is nothing; the state keeps the reason.
        let _ = self.state.apply(index, entry);
    }
}

fn load(cache: &Cache, lock: &CacheLock) -> Result<(State, super::cache::Loaded), Failure> {
    let mut state = State::empty();
    let loaded = cache.load(lock, |index, entry| {
        // As in `Grown::add`.
        let _ = state.apply(index, entry);
    });
    Ok((state, loaded.context("read the copy of the log")?))
}

/// Verifies a signed note as the log's.
pub(super) fn verify(note: &[u8], log: &LogKey) -> Result<Checkpoint, Failure> {
    checkpoint::verify(note, &log.origin, &log.key).map_err(|error| {
        Failure::Refused(Refusal::new(Code::CheckpointInconsistent, error.to_string()))
    })
}
