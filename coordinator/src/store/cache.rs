//! What can be found out again from the log, kept in sled so that nobody has to: which entry has which
//! identity, and small marks about deliveries.
//!
//! Nothing here is trusted after a restart. sled's `flush` does not reach the disk on Linux, so after a
//! crash it may be behind the log; after a restore it may be ahead; and it may be damaged. Opening
//! compares it with the log and brings it up to date or makes it anew. Marks live and die with it, and
//! are for things that may be done once more when nobody remembers that they were done.

use std::fs::{self, File, TryLockError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use cutover_shared::codec::{self, CodecError};
use cutover_shared::digest::Digest;
use cutover_shared::log::TreeHead;
use serde::{Deserialize, Serialize};

use super::files::{FileError, failed};
use super::log::{LogError, LogStore};

/// The identity of an entry: the SHA-256 of a statement's pre-authentication encoding. `None` for bytes
/// that are no such thing.
pub type Identify = fn(&[u8]) -> Option<Digest>;

/// Marks, as pairs of key and value.
pub type Marks = Vec<(Vec<u8>, Vec<u8>)>;

/// Longest key of a mark.
pub const MARK_KEY: usize = 256;

/// Longest value of a mark.
pub const MARK_VALUE: usize = 4096;

/// What sled may keep in memory besides what it needs anyway.
const CAPACITY: u64 = 32 * 1024 * 1024;

/// Entries that are written to sled at once. In larger batches it took twelve times the memory.
const BATCH: usize = 100;

/// How often and how long apart one looks whether an earlier handle has let go of the cache: for two
/// seconds, a hundred times what it was seen to take. After that sled's own error tells.
const FREE_ATTEMPTS: u32 = 400;
const FREE_INTERVAL: Duration = Duration::from_millis(5);

/// The tree of identities, `id` → index, and under [`HEAD`] how far it goes.
const ENTRIES: &str = "entries";

/// Not as long as an identity, so it cannot be one.
const HEAD: &[u8] = b"head";

/// The tree of marks.
const MARKS: &str = "marks";

/// The version of what is kept. Another one is made anew.
const VERSION: u32 = 1;

/// How far the cache follows the log.
#[derive(Debug, Serialize, Deserialize)]
struct Position {
    version: u32,
    size: u64,
    root: Digest,
}

/// The cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// sled failed.
    #[error("{operation} the cache")]
    Sled {
        /// What was tried, as a verb.
        operation: &'static str,
        /// What sled said.
        #[source]
        source: sled::Error,
    },
    /// sled panicked, as it does on some damage.
    #[error("open the cache: it is damaged beyond what sled can report")]
    Panicked,
    /// A record cannot be read or written.
    #[error("translate a record of the cache")]
    Codec(#[from] CodecError),
    /// A file operation failed.
    #[error("make room for the cache")]
    File(#[from] FileError),
    /// The log cannot be read.
    #[error("read the log for the cache")]
    Log(#[from] LogError),
    /// An entry of the log has no identity.
    #[error("identify entry {index} of the log")]
    Unidentified {
        /// Which.
        index: u64,
    },
    /// A mark is too long.
    #[error(
        "keep a mark: its key has {key} bytes of {MARK_KEY} allowed, its value {value} of {MARK_VALUE}"
    )]
    MarkLength {
        /// Length of the key.
        key: usize,
        /// Length of the value.
        value: usize,
    },
}

/// What opening found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheReport {
    /// It was as far as the log.
    Current,
    /// It was behind, by this many entries; the marks were kept.
    CaughtUp {
        /// How many.
        entries: u64,
    },
    /// There was none, or none that could be used; the marks are gone.
    Rebuilt {
        /// Why.
        why: String,
    },
}

/// The cache over one log.
#[derive(Debug)]
pub(super) struct Cache {
    // Field order: the trees before the database they belong to.
    entries: sled::Tree,
    marks: sled::Tree,
    _database: sled::Db,
}

impl Cache {
    /// Opens the cache in `directory` and brings it to where `log` is.
    pub(super) fn open(
        directory: &Path,
        log: &LogStore,
        identify: Identify,
    ) -> Result<(Self, CacheReport), CacheError> {
        let size = log.published().head.size;
        let why = if directory.exists() {
            match Self::open_sled(directory).and_then(|cache| Ok((cache.check(log)?, cache))) {
                Ok((Check::Follows { from }, cache)) => {
                    cache.follow(from, log, identify)?;
                    let report = if from == size {
                        CacheReport::Current
                    } else {
                        CacheReport::CaughtUp { entries: size - from }
                    };
                    return Ok((cache, report));
                }
                Ok((Check::Useless { why }, _closed)) => why,
                Err(error) => chain(&error),
            }
        } else {
            "there was none".to_owned()
        };
        if directory.exists() {
            fs::remove_dir_all(directory).map_err(failed("remove", directory))?;
        }
        let cache = Self::open_sled(directory)?;
        cache.follow(0, log, identify)?;
        Ok((cache, CacheReport::Rebuilt { why }))
    }

    /// Where the entry with this identity is.
    pub(super) fn find(&self, id: &Digest) -> Result<Option<u64>, CacheError> {
        match self.entries.get(id.as_bytes()).map_err(sled("read"))? {
            Some(value) => Ok(Some(codec::decode(&value)?)),
            None => Ok(None),
        }
    }

    /// Takes note of entries that are in the log now. No identity may be among them twice.
    pub(super) fn record(
        &self,
        entries: &[(Digest, u64)],
        head: &TreeHead,
    ) -> Result<(), CacheError> {
        for group in entries.chunks(BATCH) {
            let mut batch = sled::Batch::default();
            for (id, index) in group {
                batch.insert(id.as_bytes(), codec::encode(index)?);
            }
            self.entries.apply_batch(batch).map_err(sled("write"))?;
        }
        // Last, so that a crash in between leaves a cache that is behind and nothing worse.
        let position = codec::encode(&Position::of(head))?;
        self.entries.insert(HEAD, position).map_err(sled("write"))?;
        Ok(())
    }

    /// Keeps `value` under `key`, in the place of an earlier one.
    pub(super) fn mark(&self, key: &[u8], value: &[u8]) -> Result<(), CacheError> {
        if key.len() > MARK_KEY || value.len() > MARK_VALUE {
            return Err(CacheError::MarkLength { key: key.len(), value: value.len() });
        }
        self.marks.insert(key, value).map_err(sled("write"))?;
        Ok(())
    }

    /// What is kept under `key`.
    pub(super) fn marked(&self, key: &[u8]) -> Result<Option<Vec<u8>>, CacheError> {
        let value = self.marks.get(key).map_err(sled("read"))?;
        Ok(value.map(|value| value.to_vec()))
    }

    /// Forgets what is kept under `key`.
    pub(super) fn unmark(&self, key: &[u8]) -> Result<(), CacheError> {
        self.marks.remove(key).map_err(sled("write"))?;
        Ok(())
    }

    /// All marks whose key begins with `prefix`, in the order of the keys.
    pub(super) fn marks(&self, prefix: &[u8]) -> Result<Marks, CacheError> {
        self.marks
            .scan_prefix(prefix)
            .map(|pair| {
                let (key, value) = pair.map_err(sled("read"))?;
                Ok((key.to_vec(), value.to_vec()))
            })
            .collect()
    }

    /// Opens sled and its trees. sled reports some damage by panicking, which must not keep the coordinator
    /// from starting.
    fn open_sled(directory: &Path) -> Result<Self, CacheError> {
        wait_until_free(directory)?;
        let open = || {
            let database = sled::Config::new().path(directory).cache_capacity(CAPACITY).open()?;
            Ok(Self {
                entries: database.open_tree(ENTRIES)?,
                marks: database.open_tree(MARKS)?,
                _database: database,
            })
        };
        catch_unwind(AssertUnwindSafe(open))
            .map_err(|_panic| CacheError::Panicked)?
            .map_err(sled("open"))
    }

    /// Whether this is a cache of `log`, and how far it goes.
    fn check(&self, log: &LogStore) -> Result<Check, CacheError> {
        let check = || {
            let useless = |why: String| Ok(Check::Useless { why });
            let Some(record) = self.entries.get(HEAD).map_err(sled("read"))? else {
                return useless("it does not say how far it goes".to_owned());
            };
            let position: Position = codec::decode(&record)?;
            if position.version != VERSION {
                return useless(format!("it is of version {}", position.version));
            }
            let size = log.published().head.size;
            if position.size > size {
                return useless(format!(
                    "it knows {} entries and the log has {size}: the log is older than the cache, as after a \
                     restore",
                    position.size
                ));
            }
            if log.head_at(position.size)?.root != position.root {
                return useless("it is the cache of another log".to_owned());
            }
            match self.count(position.size, size)? {
                Some(count) if count == position.size => Ok(Check::Follows { from: position.size }),
                Some(count) => useless(format!(
                    "it has {count} of the {} identities that it should",
                    position.size
                )),
                None => useless("two identities are one entry to it".to_owned()),
            }
        };
        catch_unwind(AssertUnwindSafe(check)).map_err(|_panic| CacheError::Panicked)?
    }

    /// How many of the entries below `recorded` have an identity here; `None` when the identities cannot be
    /// those of a log of `size` entries. There may be some beyond `recorded`, from a record that a crash
    /// interrupted.
    fn count(&self, recorded: u64, size: u64) -> Result<Option<u64>, CacheError> {
        let mut seen = vec![false; usize::try_from(size).expect("the log's tree is in memory")];
        let mut count = 0;
        for pair in &self.entries {
            let (key, value) = pair.map_err(sled("read"))?;
            if key == HEAD {
                continue;
            }
            let index: u64 = codec::decode(&value)?;
            let place = usize::try_from(index).unwrap_or(usize::MAX);
            match seen.get_mut(place) {
                Some(seen) if !*seen => *seen = true,
                Some(_) | None => return Ok(None),
            }
            count += u64::from(index < recorded);
        }
        Ok(Some(count))
    }

    /// Records the entries of `log` from `from` on.
    fn follow(&self, from: u64, log: &LogStore, identify: Identify) -> Result<(), CacheError> {
        let size = log.published().head.size;
        let mut index = from;
        while index < size {
            let mut entries = Vec::new();
            for bytes in log.read(index..size)? {
                let id = identify(&bytes).ok_or(CacheError::Unidentified { index })?;
                entries.push((id, index));
                index += 1;
            }
            self.record(&entries, &log.head_at(index)?)?;
        }
        if size == 0 {
            self.record(&[], &log.head_at(size)?)?;
        }
        Ok(())
    }
}

impl Position {
    fn of(head: &TreeHead) -> Self {
        Self { version: VERSION, size: head.size, root: head.root }
    }
}

/// sled lets go of its file some time after its handle is dropped, when the last of its own threads
/// has. Another process cannot have it, for this one holds the store's lock.
pub(super) fn wait_until_free(directory: &Path) -> Result<(), CacheError> {
    let path = directory.join("db");
    for _ in 0..FREE_ATTEMPTS {
        let Ok(file) = File::open(&path) else {
            return Ok(());
        };
        match file.try_lock() {
            Ok(()) => {
                return file.unlock().map_err(|error| failed("unlock", &path)(error).into());
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(FREE_INTERVAL),
            Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error).into()),
        }
    }
    Ok(())
}

enum Check {
    /// It is of this log, as far as `from`.
    Follows { from: u64 },
    /// It is not.
    Useless { why: String },
}

fn sled(operation: &'static str) -> impl FnOnce(sled::Error) -> CacheError {
    move |source| CacheError::Sled { operation, source }
}

/// The error and its causes in one line.
fn chain(error: &CacheError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
