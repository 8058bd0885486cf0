//! Appending to the log: entries first, then the checkpoint, both synced, and only then the memory.
//!
//! What fails before anything was synced is undone, and the next append finds the log as it was: a full
//! disk passes. After a failed sync nobody knows what the disk holds, so appending stops until the
//! process starts anew and recovery looks.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cutover_shared::digest::Digest;
use cutover_shared::log::{Frontier, TreeHead, leaf_hash};
use tokio::sync::watch;

use super::bundle::{self, BUNDLE, MAX_ENTRY};
use super::files::{self, FileError, ReplaceError, failed};
use super::log::{CHECKPOINT, LogError, LogStore, Published, Signer, UNPOISONED, exists};

/// The appending side. One thread owns it.
pub(super) struct LogWriter {
    store: LogStore,
    publish: watch::Sender<Published>,
    signer: Arc<Signer>,
    frontier: Frontier,
    stopped: Option<String>,
}

/// Bytes to be added to one bundle.
struct Addition {
    path: PathBuf,
    start: u64,
    bytes: Vec<u8>,
}

/// Whether a failed append left the disk as it was, so far as it can be put back.
enum Failure {
    /// Nothing was synced: what was written can be taken away again.
    Undo(FileError),
    /// Only the next start can find out.
    Unknown(FileError),
}

impl LogWriter {
    pub(super) fn new(
        store: LogStore,
        publish: watch::Sender<Published>,
        signer: Arc<Signer>,
        frontier: Frontier,
    ) -> Self {
        Self { store, publish, signer, frontier, stopped: None }
    }

    /// How many entries there are.
    pub(super) fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Appends `entries` in one durable step, all or none, if the log has `expected_size` entries. When
    /// this returns, they and a checkpoint over them are on the disk.
    pub(super) fn append_batch(
        &mut self,
        expected_size: u64,
        entries: &[Vec<u8>],
    ) -> Result<TreeHead, LogError> {
        if let Some(why) = &self.stopped {
            return Err(LogError::Stopped { why: why.clone() });
        }
        let size = self.size();
        if expected_size != size {
            return Err(LogError::SizeChanged { expected: expected_size, size });
        }
        if let Some(wrong) = entries.iter().find(|entry| !(1..=MAX_ENTRY).contains(&entry.len())) {
            return Err(LogError::EntryLength { length: wrong.len() });
        }
        if entries.is_empty() {
            return Ok(self.store.published().head);
        }
        let (additions, ends) = self.plan(entries);
        let leaves: Vec<Digest> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        let mut frontier = self.frontier.clone();
        for leaf in &leaves {
            frontier.append(*leaf);
        }
        let head = frontier.head();
        let note = self.signer.sign(&head);
        let mut begun = 0;
        if let Err(failure) = self.write(&additions, &note, &mut begun) {
            return Err(self.give_up(failure, &additions[..begun]));
        }
        self.frontier = frontier;
        self.store.extend(&leaves, &ends);
        self.publish.send_replace(Published { head: head.clone(), checkpoint: note.into() });
        Ok(head)
    }

    /// Which bytes go where, and where each entry will end.
    fn plan(&self, entries: &[Vec<u8>]) -> (Vec<Addition>, Vec<u64>) {
        let contents = self.store.contents.read().expect(UNPOISONED);
        let size = contents.ends.len() as u64;
        let mut offset = match contents.ends.last() {
            Some(end) if !size.is_multiple_of(BUNDLE) => *end,
            Some(_) | None => 0,
        };
        let mut additions: BTreeMap<u64, Addition> = BTreeMap::new();
        let mut ends = Vec::with_capacity(entries.len());
        for (index, entry) in (size..).zip(entries) {
            if index.is_multiple_of(BUNDLE) {
                offset = 0;
            }
            let addition = additions.entry(index / BUNDLE).or_insert_with(|| Addition {
                path: self.store.directory.join(bundle::path(index / BUNDLE)),
                start: offset,
                bytes: Vec::new(),
            });
            bundle::push(&mut addition.bytes, entry);
            offset = addition.start + addition.bytes.len() as u64;
            ends.push(offset);
        }
        (additions.into_values().collect(), ends)
    }

    /// Everything that goes to the disk. `begun` counts the additions that may be there in part.
    fn write(&self, additions: &[Addition], note: &[u8], begun: &mut usize) -> Result<(), Failure> {
        for addition in additions {
            let file = self.open_bundle(addition)?;
            *begun += 1;
            write_bundle(addition, &file)?;
        }
        files::replace(&self.store.directory, CHECKPOINT, note).map_err(|error| match error {
            ReplaceError::Before(error) => Failure::Undo(error),
            ReplaceError::Unknown(error) => Failure::Unknown(error),
        })
    }

    fn open_bundle(&self, addition: &Addition) -> Result<File, Failure> {
        let path = &addition.path;
        let new = addition.start == 0;
        if new {
            files::create_directories(&self.store.directory, parent(path))
                .map_err(Failure::Undo)?;
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(new)
            .open(path)
            .map_err(failed("open", path))
            .map_err(Failure::Undo)?;
        let length = file.metadata().map_err(failed("measure", path)).map_err(Failure::Undo)?.len();
        if length == addition.start {
            Ok(file)
        } else {
            let changed = io::Error::other("somebody else has changed its length");
            Err(Failure::Unknown(failed("append to", path)(changed)))
        }
    }

    /// Puts the bundles back as they were, or stops appending for good.
    fn give_up(&mut self, failure: Failure, additions: &[Addition]) -> LogError {
        let (error, certain) = match failure {
            Failure::Undo(error) => {
                let undone = additions.iter().rev().try_for_each(undo);
                (error, undone.is_ok())
            }
            Failure::Unknown(error) => (error, false),
        };
        if !certain {
            self.stopped = Some(format!("{error}: {}", error.source));
        }
        error.into()
    }
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogWriter({:?})", self.store.directory)
    }
}

fn write_bundle(addition: &Addition, file: &File) -> Result<(), Failure> {
    let path = &addition.path;
    file.write_all_at(&addition.bytes, addition.start)
        .map_err(failed("write", path))
        .map_err(Failure::Undo)?;
    file.sync_data().map_err(failed("sync", path)).map_err(Failure::Unknown)?;
    if addition.start == 0 {
        files::sync_directory(parent(path)).map_err(Failure::Unknown)?;
    }
    Ok(())
}

/// Takes away what an append may have written.
fn undo(addition: &Addition) -> Result<(), FileError> {
    let path = &addition.path;
    if !exists(path)? {
        return Ok(());
    }
    if addition.start == 0 {
        fs::remove_file(path).map_err(failed("remove", path))?;
        return files::sync_directory(parent(path));
    }
    let file = OpenOptions::new().write(true).open(path).map_err(failed("open", path))?;
    file.set_len(addition.start).and_then(|()| file.sync_data()).map_err(failed("shorten", path))
}

fn parent(bundle: &Path) -> &Path {
    bundle.parent().expect("a bundle lies in a directory")
}
