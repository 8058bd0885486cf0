//! The coordinator's store: the log, the packs, and a cache of what the log says.
//!
//! [`Store`] is what the rest of the coordinator sees: append at an expected sequence, read by range,
//! put and read ranges of packs, small caches. It is narrow so that a database and an object store can
//! stand behind it one day; today [`FileStore`] does, on a directory of its own:
//!
//! ```text
//! lock                       one process at a time
//! log/                       signed checkpoint and entry bundles: the truth (`log`, `append`, `recovery`)
//! packs/ab/<digest>.pack     packages (`packs`)
//! cache/                     sled: can be deleted at any time, while stopped (`cache`)
//! snapshot                   the fold of the log, written now and then: the same
//! ```
//!
//! Everything below the trait is synchronous. One thread appends (`commit`); whoever reads does so on
//! tokio's blocking threads. Nothing is acknowledged before it is on the disk.

mod append;
mod bundle;
mod cache;
mod commit;
mod files;
mod local;
mod log;
mod packs;
mod recovery;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use cutover_shared::digest::Digest;
use cutover_shared::log::TreeHead;
use tokio::sync::watch;

pub use bundle::MAX_ENTRY;
pub use cache::{CacheError, CacheReport, Identify, MARK_KEY, MARK_VALUE, Marks};
pub use files::FileError;
pub(crate) use files::{create_directories, failed as file_failed, replace_file};
pub use local::{FileStore, OpenReport, Options};
pub use log::{LogError, LogReport, Missing, Published, READ_LIMIT, Signer};
pub use packs::{PackError, Part, Put, RANGE_LIMIT, Staged};
pub use recovery::CutTail;

/// Most entries of one append, so that one caller cannot hold up the others for long.
pub const APPEND_ENTRIES: usize = 1024;

/// Something to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its identity, for a statement the SHA-256 of its pre-authentication encoding. An entry whose
    /// identity is in the log is not appended again.
    pub id: Digest,
    /// The bytes of the log entry, for a statement those of its envelope as it was received.
    pub bytes: Vec<u8>,
}

/// Where an entry is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its index.
    pub index: u64,
    /// Whether this append put it there; otherwise it was there, or another append of the same entry was
    /// first.
    pub new: bool,
}

/// Something went wrong in the store. What caused it is shared by all whom it concerns.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// In the log.
    #[error("use the log")]
    Log(#[from] Arc<LogError>),
    /// In the packs.
    #[error("use the packs")]
    Packs(#[from] Arc<PackError>),
    /// In the cache. Nothing is lost; the next start makes a new one.
    #[error("use the cache of the log; restart to make it anew")]
    Cache(#[from] Arc<CacheError>),
    /// A file operation failed.
    #[error("use the store")]
    File(#[from] Arc<FileError>),
    /// Another process has the directory.
    #[error("open the store in {path:?}: another process is using it")]
    InUse {
        /// The store's directory.
        path: PathBuf,
    },
    /// The entry's bytes are no such thing as the log holds, or have another identity.
    #[error("append an entry as {id}: that is not its identity")]
    WrongIdentity {
        /// The identity that was claimed.
        id: Digest,
    },
    /// Too much at once.
    #[error("append {entries} entries of {bytes} bytes at once: split them")]
    TooMuch {
        /// How many.
        entries: usize,
        /// How long in all.
        bytes: usize,
    },
    /// The store is closing down.
    #[error("use a store that has been closed")]
    Closed,
}

impl From<LogError> for StoreError {
    fn from(error: LogError) -> Self {
        Arc::new(error).into()
    }
}

impl From<PackError> for StoreError {
    fn from(error: PackError) -> Self {
        Arc::new(error).into()
    }
}

impl From<CacheError> for StoreError {
    fn from(error: CacheError) -> Self {
        Arc::new(error).into()
    }
}

impl From<FileError> for StoreError {
    fn from(error: FileError) -> Self {
        Arc::new(error).into()
    }
}

impl StoreError {
    /// Whether the log had another length than the appender believed: read what is new, decide again.
    pub fn is_size_changed(&self) -> bool {
        matches!(self, Self::Log(error) if matches!(**error, LogError::SizeChanged { .. }))
    }
}

/// What a method of [`Store`] gives.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Where the coordinator keeps what it must not lose.
pub trait Store: Send + Sync + 'static {
    /// The newest durable head of the log and the signed checkpoint over it.
    fn published(&self) -> Published;

    /// Wakes whoever waits for new entries.
    fn watch(&self) -> watch::Receiver<Published>;

    /// Appends `entries`, all or none, and says where they are; answered when they are durable. With
    /// `expected` the append is refused when the log has another length by then
    /// ([`StoreError::is_size_changed`]), unless all of them are in it already. An append whose answer is
    /// not awaited may happen all the same; to repeat it is harmless.
    fn append(&self, expected: Option<u64>, entries: Vec<Entry>) -> Answer<'_, Vec<Appended>>;

    /// The entries of `range`, or as many from its start as [`READ_LIMIT`] allows, at least one.
    fn read(&self, range: Range<u64>) -> Answer<'_, Vec<Vec<u8>>>;

    /// The index of the entry with this identity.
    fn find(&self, id: Digest) -> Answer<'_, Option<u64>>;

    /// The proof that entry `index` is in the log as it was at `size`.
    fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Digest>, StoreError>;

    /// The proof that the log at `old` is the beginning of the log at `new`.
    fn consistency(&self, old: u64, new: u64) -> Result<Vec<Digest>, StoreError>;

    /// Size and root that the log had at `size`.
    fn head_at(&self, size: u64) -> Result<TreeHead, StoreError>;

    /// Keeps a snapshot of the log's fold in place of the one before, durably or not at all.
    fn put_snapshot(&self, snapshot: Vec<u8>) -> Answer<'_, ()>;

    /// The snapshot that was put last, as the disk has it: whoever takes it checks it.
    fn snapshot(&self) -> Answer<'_, Option<Vec<u8>>>;

    /// An empty part of a package, to be written and then put.
    fn stage(&self) -> Result<Staged, StoreError>;

    /// Puts a staged part under its package's name, durably. The index comes last: with it the package
    /// is there.
    fn put_part(&self, package: Digest, part: Part, staged: Staged) -> Answer<'_, Put>;

    /// The size of a part; `None` when it is not there.
    fn part_size(&self, package: Digest, part: Part) -> Answer<'_, Option<u64>>;

    /// Bytes of a part: not empty, wholly within it, at most [`RANGE_LIMIT`] of them.
    fn read_part(&self, package: Digest, part: Part, range: Range<u64>) -> Answer<'_, Vec<u8>>;

    /// The packages that are there.
    fn packages(&self) -> Answer<'_, Vec<Digest>>;

    /// Keeps a small value under a key until the cache is made anew: for what may be done once more when
    /// nobody remembers that it was done, such as deliveries.
    fn mark(&self, key: Vec<u8>, value: Vec<u8>) -> Answer<'_, ()>;

    /// What is kept under `key`.
    fn marked(&self, key: Vec<u8>) -> Answer<'_, Option<Vec<u8>>>;

    /// Forgets what is kept under `key`.
    fn unmark(&self, key: Vec<u8>) -> Answer<'_, ()>;

    /// All marks whose key begins with `prefix`, in the order of the keys.
    fn marks(&self, prefix: Vec<u8>) -> Answer<'_, Marks>;
}
