//! The log on disk: entry bundles, and a signed checkpoint that says how far they are good.
//!
//! ```text
//! log/checkpoint             the newest signed checkpoint (a C2SP tlog-checkpoint note)
//! log/tile/entries/…         entry bundles, see `bundle`
//! log/cut/…                  what recovery cut off, kept for whoever wants to look
//! ```
//!
//! An append writes and syncs the entries, then replaces and syncs the checkpoint, and only then are
//! they in the log. So after any crash the checkpoint on disk covers everything that was ever
//! acknowledged, and:
//!
//! - bytes after it were promised to nobody. Opening cuts them off (into `cut/`) and says so;
//! - bytes before it must be there and hash to its root. If they do not, opening fails with an error
//!   that says what to do. Nothing is repaired, and nothing is signed over a damaged log.
//!
//! [`LogStore`] is the reader, shared by everybody; [`LogWriter`] is owned by one thread. Files are only
//! ever appended to, so readers need no lock while they read.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use cutover_shared::digest::Digest;
use cutover_shared::key::SecretKey;
use cutover_shared::log::checkpoint::{self, CheckpointError};
use cutover_shared::log::{ProofError, Tree, TreeHead};
use cutover_shared::time::Time;
use tokio::sync::watch;

use super::append::LogWriter;
use super::bundle::{self, BUNDLE, MAX_ENTRY, Reader, Record};
use super::files::{self, FileError, failed};
use super::recovery::{self, CutTail};

/// The name of the checkpoint's file.
pub(super) const CHECKPOINT: &str = "checkpoint";

/// Most bytes that one [`LogStore::read`] gives. A reader asks again for the rest.
pub const READ_LIMIT: u64 = 8 * 1024 * 1024;

/// What signs checkpoints: the log's name, its key, and the clock for their timestamps.
pub struct Signer {
    /// The origin line of the log's checkpoints.
    pub origin: String,
    /// The log's key.
    pub key: SecretKey,
    /// The wall clock.
    pub clock: Arc<dyn Fn() -> Time + Send + Sync>,
}

impl Signer {
    /// A checkpoint note for `head`, as of now. Good for `head`s of this log only.
    pub fn sign(&self, head: &TreeHead) -> Vec<u8> {
        checkpoint::sign(&self.origin, head, (self.clock)(), &self.key)
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({:?})", self.origin)
    }
}

/// What to do when there is no log in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Begin an empty one. For a coordinator that is being set up.
    Create,
    /// Fail. For one that has run before: an empty directory then is a disk that is not mounted, and an
    /// empty log in its place would be a fork.
    Refuse,
}

/// The log cannot be opened, read or appended to.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file operation failed.
    #[error("use the log")]
    File(#[from] FileError),
    /// There is none, and none was to be made.
    #[error(
        "find a log in {path:?}: there is no checkpoint; if this coordinator is new, say so to create \
         one; if it is not, check that the right disk is mounted"
    )]
    NoLog {
        /// The log's directory.
        path: PathBuf,
    },
    /// There are entries and no checkpoint.
    #[error(
        "find the checkpoint of the log in {path:?}: there are entries, but nothing that says how many \
         of them are good; restore the whole directory from a replica or backup"
    )]
    CheckpointMissing {
        /// The log's directory.
        path: PathBuf,
    },
    /// The checkpoint is not one of this log's.
    #[error(
        "accept the checkpoint {path:?}; is the log key the one that the configuration names? If the file is \
         damaged, restore the whole directory from a replica or backup"
    )]
    CheckpointInvalid {
        /// The checkpoint's file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: CheckpointError,
    },
    /// Entries that the checkpoint covers are gone.
    #[error(
        "read the log in {path:?}: it holds {have} entries, its checkpoint promises {promised}; entries that \
         were acknowledged are lost: restore the directory from a replica or backup, do not remove the \
         checkpoint"
    )]
    Shorter {
        /// The log's directory.
        path: PathBuf,
        /// Whole entries found.
        have: u64,
        /// Entries that the checkpoint covers.
        promised: u64,
    },
    /// The structure of a bundle is broken before the checkpoint's end.
    #[error(
        "read entry {index} of the log, in {path:?}: {fault}; the file was changed or the disk is failing: \
         restore the directory from a replica or backup"
    )]
    Damaged {
        /// The bundle.
        path: PathBuf,
        /// The first entry that cannot be read.
        index: u64,
        /// What is there instead.
        fault: &'static str,
    },
    /// The entries are not those that the checkpoint was signed over.
    #[error(
        "recognise the log in {path:?}: its {size} entries hash to {found}, its checkpoint says {promised}; \
         an entry was changed or the disk is failing: restore the directory from a replica or backup"
    )]
    RootDiffers {
        /// The log's directory.
        path: PathBuf,
        /// Entries that the checkpoint covers.
        size: u64,
        /// What they hash to.
        found: Digest,
        /// What the checkpoint says.
        promised: Digest,
    },
    /// The entry is empty or longer than [`MAX_ENTRY`].
    #[error("append an entry of {length} bytes: 1 to {MAX_ENTRY} are allowed")]
    EntryLength {
        /// How long it is.
        length: usize,
    },
    /// The log is not as long as the appender believed: read what is new, decide again.
    #[error("append at {expected}: the log has {size} entries by now")]
    SizeChanged {
        /// What the appender believed.
        expected: u64,
        /// How many there are.
        size: u64,
    },
    /// The range or size lies outside the log.
    #[error("look into the log")]
    Outside(#[from] ProofError),
    /// An earlier failure left unknown what is on the disk; reading goes on, appending does not.
    #[error(
        "append to the log after an earlier failure ({why}); restart to recover what is on the disk"
    )]
    Stopped {
        /// The earlier failure.
        why: String,
    },
}

/// The newest durable state of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Size and root.
    pub head: TreeHead,
    /// The signed checkpoint over them, as it lies on disk.
    pub checkpoint: Arc<[u8]>,
}

/// What opening found and did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LogReport {
    /// A new, empty log was begun.
    pub created: bool,
    /// Bytes behind the checkpoint were cut off. They were never acknowledged.
    pub cut: Option<CutTail>,
}

/// Everything that is in memory about the entries.
pub(super) struct Contents {
    pub(super) tree: Tree,
    /// Where each entry ends in its bundle.
    pub(super) ends: Vec<u64>,
}

/// The reading side.
#[derive(Clone)]
pub(super) struct LogStore {
    pub(super) directory: Arc<Path>,
    pub(super) contents: Arc<RwLock<Contents>>,
    published: watch::Receiver<Published>,
}

pub(super) const UNPOISONED: &str = "nothing panics while it holds the log's contents";

/// Opens the log in `directory`, which must exist, and recovers it.
pub(super) fn open(
    directory: &Path,
    signer: Arc<Signer>,
    missing: Missing,
) -> Result<(LogStore, LogWriter, LogReport), LogError> {
    let mut report = LogReport::default();
    let checkpoint_path = directory.join(CHECKPOINT);
    if !exists(&checkpoint_path)? {
        if exists(&directory.join("tile"))? {
            return Err(LogError::CheckpointMissing { path: directory.to_owned() });
        }
        if missing == Missing::Refuse {
            return Err(LogError::NoLog { path: directory.to_owned() });
        }
        let note = signer.sign(&TreeHead::empty());
        files::replace(directory, CHECKPOINT, &note).map_err(FileError::from)?;
        report.created = true;
    }
    let note = fs::read(&checkpoint_path).map_err(failed("read", &checkpoint_path))?;
    let promised = checkpoint::verify(&note, &signer.origin, &signer.key.public())
        .map_err(|source| LogError::CheckpointInvalid { path: checkpoint_path, source })?
        .head;
    let (contents, frontier) = recovery::scan(directory, &promised)?;
    report.cut = recovery::cut_tail(directory, &contents.ends)?;
    let (publish, published) =
        watch::channel(Published { head: promised, checkpoint: note.into() });
    let store = LogStore {
        directory: directory.into(),
        contents: Arc::new(RwLock::new(contents)),
        published,
    };
    let writer = LogWriter::new(store.clone(), publish, signer, frontier);
    Ok((store, writer, report))
}

pub(super) fn exists(path: &Path) -> Result<bool, FileError> {
    path.try_exists().map_err(failed("look for", path))
}

impl LogStore {
    /// The newest durable state.
    pub(super) fn published(&self) -> Published {
        self.published.borrow().clone()
    }

    /// Wakes whoever waits for new entries. Closed when the writer is gone.
    pub(super) fn watch(&self) -> watch::Receiver<Published> {
        self.published.clone()
    }

    /// The head that the log had at `size`.
    pub(super) fn head_at(&self, size: u64) -> Result<TreeHead, LogError> {
        let contents = self.contents.read().expect(UNPOISONED);
        Ok(contents.tree.head_at(size)?)
    }

    /// The proof that entry `index` is in the log as it was at `size`.
    pub(super) fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Digest>, LogError> {
        let contents = self.contents.read().expect(UNPOISONED);
        Ok(contents.tree.inclusion(index, size)?)
    }

    /// The proof that the log at `old` is the beginning of the log at `new`.
    pub(super) fn consistency(&self, old: u64, new: u64) -> Result<Vec<Digest>, LogError> {
        let contents = self.contents.read().expect(UNPOISONED);
        Ok(contents.tree.consistency(old, new)?)
    }

    /// The entries of `range`, or as many from its start as [`READ_LIMIT`] allows, at least one.
    pub(super) fn read(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, LogError> {
        let spans = self.spans(range)?;
        let mut entries = Vec::with_capacity(spans.len());
        let mut open: Option<(u64, PathBuf, File)> = None;
        for span in spans {
            let number = span.index / BUNDLE;
            if open.as_ref().is_none_or(|(current, ..)| *current != number) {
                let path = self.directory.join(bundle::path(number));
                let file = File::open(&path).map_err(failed("open", &path))?;
                open = Some((number, path, file));
            }
            let (_, path, file) = open.as_ref().expect("it was opened just now");
            entries.push(read_entry(path, file, &span)?);
        }
        Ok(entries)
    }

    /// Takes note of entries that are durable.
    pub(super) fn extend(&self, leaves: &[Digest], ends: &[u64]) {
        let mut contents = self.contents.write().expect(UNPOISONED);
        for leaf in leaves {
            contents.tree.append(*leaf);
        }
        contents.ends.extend_from_slice(ends);
    }

    /// Where the entries of `range` lie, as far as [`READ_LIMIT`] goes.
    fn spans(&self, range: Range<u64>) -> Result<Vec<Span>, LogError> {
        let contents = self.contents.read().expect(UNPOISONED);
        let size = contents.ends.len() as u64;
        if range.end > size {
            let index = range.end;
            return Err(ProofError::OutOfRange { index, size }.into());
        }
        let mut spans = Vec::new();
        let mut total = 0;
        for index in range {
            let span = contents.span(index);
            total += span.length;
            if total > READ_LIMIT && !spans.is_empty() {
                break;
            }
            spans.push(span);
        }
        Ok(spans)
    }
}

impl std::fmt::Debug for LogStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogStore({:?})", self.directory)
    }
}

/// One record of a bundle: the entry's index, where the record begins, and its length in all.
struct Span {
    index: u64,
    start: u64,
    length: u64,
}

impl Contents {
    fn span(&self, index: u64) -> Span {
        let position = usize::try_from(index).expect("it indexes a vector");
        let start = if index.is_multiple_of(BUNDLE) { 0 } else { self.ends[position - 1] };
        Span { index, start, length: self.ends[position] - start }
    }
}

fn read_entry(path: &Path, file: &File, span: &Span) -> Result<Vec<u8>, LogError> {
    let length = usize::try_from(span.length).expect("an entry is at most MAX_ENTRY long");
    let mut record = vec![0; length];
    file.read_exact_at(&mut record, span.start).map_err(failed("read", path))?;
    match Reader::new(&record[..]).next().map_err(failed("read", path))? {
        Record::Entry(entry) if entry.len() + 4 == length => Ok(entry),
        Record::Entry(_) | Record::End | Record::Torn | Record::Impossible(_) => {
            Err(LogError::Damaged {
                path: path.to_owned(),
                index: span.index,
                fault: "not the entry that was there when the log was opened",
            })
        }
    }
}
