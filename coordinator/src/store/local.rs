//! The store on a local directory.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use cutover_shared::digest::Digest;
use cutover_shared::log::TreeHead;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;

use super::cache::{Cache, CacheReport, Identify, Marks};
use super::commit::{Committer, Job, QUEUE};
use super::files::{self, DirectoryLock, FileError};
use super::log::{self, LogError, LogReport, LogStore, Missing, Published, READ_LIMIT, Signer};
use super::packs::{PackStore, Part, Put, Staged};
use super::{APPEND_ENTRIES, Answer, Appended, Entry, Store, StoreError};

/// The name of the snapshot's file.
const SNAPSHOT: &str = "snapshot";

/// How to open a [`FileStore`].
#[derive(Debug)]
pub struct Options {
    /// Its directory. Made if it is not there and `missing` allows it.
    pub directory: PathBuf,
    /// What signs the log's checkpoints.
    pub signer: Arc<Signer>,
    /// What to do when there is no log.
    pub missing: Missing,
    /// The identity of an entry.
    pub identify: Identify,
}

/// What opening found and did. Anything but its default is worth a line in the journal.
#[derive(Debug, PartialEq, Eq)]
pub struct OpenReport {
    /// About the log.
    pub log: LogReport,
    /// About the cache.
    pub cache: CacheReport,
}

/// The store on a local directory. Clones are handles of the same one; when the last is dropped, what
/// waits to be appended is, and the directory is free for another process.
#[derive(Debug, Clone)]
pub struct FileStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    log: LogStore,
    cache: Arc<Cache>,
    packs: PackStore,
    identify: Identify,
    /// `None` only while closing.
    jobs: Option<mpsc::Sender<Job>>,
    committer: Option<JoinHandle<()>>,
    /// Last: it is let go of after the thread has ended.
    _lock: DirectoryLock,
}

impl FileStore {
    /// Opens the store and recovers it. Reads and hashes the whole log, so it takes as long as reading
    /// it; call it on a thread that may block.
    pub fn open(options: Options) -> Result<(Self, OpenReport), StoreError> {
        let Options { directory, signer, missing, identify } = options;
        let log_directory = directory.join("log");
        let packs_directory = directory.join("packs");
        match missing {
            Missing::Create => {
                let absolute = std::path::absolute(&directory)
                    .map_err(files::failed("find the directory", &directory))?;
                files::create_directories(Path::new("/"), &absolute)?;
            }
            // Nothing is made in what may be the empty place of a disk that is not mounted.
            Missing::Refuse if !log_directory.is_dir() => {
                return Err(LogError::NoLog { path: log_directory }.into());
            }
            Missing::Refuse => {}
        }
        let lock = files::lock(&directory)?
            .ok_or_else(|| StoreError::InUse { path: directory.clone() })?;
        files::create_directories(&directory, &log_directory)?;
        files::create_directories(&directory, &packs_directory)?;
        let (log, writer, log_report) = log::open(&log_directory, signer, missing)?;
        let packs = PackStore::open(&packs_directory)?;
        let (cache, cache_report) = Cache::open(&directory.join("cache"), &log, identify)?;
        let cache = Arc::new(cache);
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let committer = Committer::new(waiting, writer, Arc::clone(&cache));
        let thread = std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || committer.run())
            .map_err(files::failed("start the writing thread of", &directory))?;
        let inner = Inner {
            directory,
            log,
            cache,
            packs,
            identify,
            jobs: Some(jobs),
            committer: Some(thread),
            _lock: lock,
        };
        let report = OpenReport { log: log_report, cache: cache_report };
        Ok((Self { inner: Arc::new(inner) }, report))
    }

    /// Does `work` on a thread that may block.
    fn blocking<T, F>(&self, work: F) -> Answer<'static, T>
    where
        T: Send + 'static,
        F: FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            match spawn_blocking(move || work(&inner)).await {
                Ok(outcome) => outcome,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // The runtime is going away.
                Err(_cancelled) => Err(StoreError::Closed),
            }
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.committer.take() {
            // If it panicked, that was reported where it happened; what it had not acknowledged is not
            // in the log.
            let _ = thread.join();
        }
    }
}

impl Inner {
    fn check(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let bytes: usize = entries.iter().map(|entry| entry.bytes.len()).sum();
        if entries.len() > APPEND_ENTRIES || bytes as u64 > READ_LIMIT {
            return Err(StoreError::TooMuch { entries: entries.len(), bytes });
        }
        match entries.iter().find(|entry| (self.identify)(&entry.bytes) != Some(entry.id)) {
            Some(wrong) => Err(StoreError::WrongIdentity { id: wrong.id }),
            None => Ok(()),
        }
    }
}

impl Store for FileStore {
    fn published(&self) -> Published {
        self.inner.log.published()
    }

    fn watch(&self) -> watch::Receiver<Published> {
        self.inner.log.watch()
    }

    fn append(&self, expected: Option<u64>, entries: Vec<Entry>) -> Answer<'_, Vec<Appended>> {
        Box::pin(async move {
            self.inner.check(&entries)?;
            let (answer, answered) = oneshot::channel();
            let job = Job { expected, entries, answer };
            let jobs = self.inner.jobs.as_ref().ok_or(StoreError::Closed)?;
            jobs.send(job).await.map_err(|_gone| StoreError::Closed)?;
            answered.await.map_err(|_gone| StoreError::Closed)?
        })
    }

    fn read(&self, range: Range<u64>) -> Answer<'_, Vec<Vec<u8>>> {
        self.blocking(move |inner| Ok(inner.log.read(range)?))
    }

    fn find(&self, id: Digest) -> Answer<'_, Option<u64>> {
        self.blocking(move |inner| Ok(inner.cache.find(&id)?))
    }

    fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Digest>, StoreError> {
        Ok(self.inner.log.inclusion(index, size)?)
    }

    fn consistency(&self, old: u64, new: u64) -> Result<Vec<Digest>, StoreError> {
        Ok(self.inner.log.consistency(old, new)?)
    }

    fn head_at(&self, size: u64) -> Result<TreeHead, StoreError> {
        Ok(self.inner.log.head_at(size)?)
    }

    fn put_snapshot(&self, snapshot: Vec<u8>) -> Answer<'_, ()> {
        self.blocking(move |inner| {
            Ok(files::replace(&inner.directory, SNAPSHOT, &snapshot).map_err(FileError::from)?)
        })
    }

    fn snapshot(&self) -> Answer<'_, Option<Vec<u8>>> {
        self.blocking(|inner| {
            let path = inner.directory.join(SNAPSHOT);
            match std::fs::read(&path) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(files::failed("read", &path)(error).into()),
            }
        })
    }

    fn stage(&self) -> Result<Staged, StoreError> {
        Ok(self.inner.packs.stage()?)
    }

    fn put_part(&self, package: Digest, part: Part, staged: Staged) -> Answer<'_, Put> {
        self.blocking(move |inner| Ok(inner.packs.put(&package, part, staged)?))
    }

    fn part_size(&self, package: Digest, part: Part) -> Answer<'_, Option<u64>> {
        self.blocking(move |inner| Ok(inner.packs.size(&package, part)?))
    }

    fn read_part(&self, package: Digest, part: Part, range: Range<u64>) -> Answer<'_, Vec<u8>> {
        self.blocking(move |inner| Ok(inner.packs.read(&package, part, range)?))
    }

    fn packages(&self) -> Answer<'_, Vec<Digest>> {
        self.blocking(|inner| Ok(inner.packs.packages()?))
    }

    fn mark(&self, key: Vec<u8>, value: Vec<u8>) -> Answer<'_, ()> {
        self.blocking(move |inner| Ok(inner.cache.mark(&key, &value)?))
    }

    fn marked(&self, key: Vec<u8>) -> Answer<'_, Option<Vec<u8>>> {
        self.blocking(move |inner| Ok(inner.cache.marked(&key)?))
    }

    fn unmark(&self, key: Vec<u8>) -> Answer<'_, ()> {
        self.blocking(move |inner| Ok(inner.cache.unmark(&key)?))
    }

    fn marks(&self, prefix: Vec<u8>) -> Answer<'_, Marks> {
        self.blocking(move |inner| Ok(inner.cache.marks(&prefix)?))
    }
}
