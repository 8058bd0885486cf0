//! The verified copy of the log on a person's machine: a directory for each log.
//!
//! ```text
//! lock        held while somebody reads or grows the copy
//! entries     envelopes, each after its length in four bytes, big-endian; only grows
//! head.json   the newest checkpoint that was verified: what of `entries` counts
//! ```
//!
//! Entries are written before the head that counts them, and made durable in that order, so that a crash
//! leaves entries too many, which the next run writes over. Nobody is trusted for what is in here: the
//! tree over the entries must have the root that the head says, or else they are fetched anew; and the
//! head stays, so that the log fetched then must contain what was seen before.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cutover_shared::digest::Digest;
use cutover_shared::dsse::MAX_ENVELOPE;
use cutover_shared::log::{Tree, TreeHead, leaf_hash};
use cutover_shared::policy::LogKey;
use serde::{Deserialize, Serialize};

const ENTRIES: &str = "entries";
const HEAD: &str = "head.json";
const LOCK: &str = "lock";

/// Bytes that are read and written at once.
const BUFFER: usize = 256 * 1024;

/// The copy cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum CacheError {
    /// A file or directory of it.
    #[error("{operation} {}", path.display())]
    File {
        /// What was tried, as a verb.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The head cannot be read: without it nobody knows what was seen before.
    #[error("read {}: remove it if you know why it is damaged", path.display())]
    Head {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    move |source| CacheError::File { operation, path: path.to_owned(), source }
}

/// The newest checkpoint that was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    /// Its size and root.
    pub(super) head: TreeHead,
    /// The signed note.
    pub(super) note: String,
}

/// The copy of one log.
#[derive(Debug)]
pub(super) struct Cache {
    directory: PathBuf,
}

/// Held while the copy is read or grown; only one process at a time has it.
#[derive(Debug)]
pub(super) struct CacheLock(#[expect(dead_code, reason = "the lock ends when it is closed")] File);

/// Entries in the file, by index.
#[derive(Debug, Clone)]
pub(super) struct Entries {
    file: Arc<File>,
    /// Where each begins, and its length.
    places: Vec<(u64, u32)>,
    end: u64,
}

impl Entries {
    /// The bytes of an entry; `None` where there is none.
    pub(super) fn read(&self, index: u64) -> Result<Option<Vec<u8>>, io::Error> {
        let place = usize::try_from(index).ok().and_then(|index| self.places.get(index));
        let Some((start, length)) = place else { return Ok(None) };
        let mut bytes = vec![0; *length as usize];
        self.file.read_exact_at(&mut bytes, *start)?;
        Ok(Some(bytes))
    }

    fn push(&mut self, length: u32) {
        self.places.push((self.end + 4, length));
        self.end += 4 + u64::from(length);
    }
}

/// What is in the copy.
pub(super) struct Loaded {
    /// The entries that count.
    pub(super) entries: Entries,
    /// The tree over them.
    pub(super) tree: Tree,
    /// The newest head; the entries may be fewer when they had to be thrown away.
    pub(super) known: Option<Known>,
}

/// Entries on their way into the copy; they do not count before [`Cache::keep`].
pub(super) struct Growth {
    writer: BufWriter<File>,
    path: PathBuf,
}

impl Growth {
    /// Adds an entry.
    pub(super) fn push(&mut self, entries: &mut Entries, entry: &[u8]) -> Result<(), CacheError> {
        let length =
            u32::try_from(entry.len()).expect("an entry came in a frame, which is shorter");
        let mut write = || {
            self.writer.write_all(&length.to_be_bytes())?;
            self.writer.write_all(entry)
        };
        write().map_err(failed("write", &self.path))?;
        entries.push(length);
        Ok(())
    }
}

impl Cache {
    /// The copy of `log` below `root`, made where there is none.
    pub(super) fn open(root: &Path, log: &LogKey) -> Result<Self, CacheError> {
        let parts = [log.origin.as_bytes(), b"\n", &log.key.raw()];
        let directory = root.join(Digest::of_parts(parts).short());
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.map_err(failed("make", &directory))?;
        Ok(Self { directory })
    }

    /// Waits until nobody else uses the copy.
    pub(super) fn lock(&self) -> Result<CacheLock, CacheError> {
        let path = self.directory.join(LOCK);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(failed("open", &path))?;
        file.lock().map_err(failed("lock", &path))?;
        Ok(CacheLock(file))
    }

    /// The newest head.
    pub(super) fn known(&self, _lock: &CacheLock) -> Result<Option<Known>, CacheError> {
        let path = self.directory.join(HEAD);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let known = serde_json::from_slice(&bytes);
        known.map(Some).map_err(|source| CacheError::Head { path, source })
    }

    /// Reads the copy, handing over each entry in turn. When the entries are not those of the head,
    /// all are thrown away.
    pub(super) fn load(
        &self,
        lock: &CacheLock,
        mut entry: impl FnMut(u64, &[u8]),
    ) -> Result<Loaded, CacheError> {
        let known = self.known(lock)?;
        let size = known.as_ref().map_or(0, |known| known.head.size);
        let path = self.directory.join(ENTRIES);
        let options =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let file = options.map_err(failed("open", &path))?;
        let mut entries = Entries { file: Arc::new(file), places: Vec::new(), end: 0 };
        let mut tree = Tree::default();
        let file = Arc::clone(&entries.file);
        let mut reader = BufReader::with_capacity(BUFFER, &*file);
        let mut buffer = Vec::new();
        while tree.size() < size {
            match next(&mut reader, &mut buffer) {
                Ok(Some(length)) => entries.push(length),
                Ok(None) => break,
                Err(error) => return Err(failed("read", &path)(error)),
            }
            tree.append(leaf_hash(&buffer));
        }
        if known.as_ref().is_some_and(|known| tree.head() != known.head) {
            return Ok(Loaded { entries: self.renew(lock)?, tree: Tree::default(), known });
        }
        // Handed over only now that they are known to be what was verified.
        for index in 0..size {
            let bytes = entries.read(index).map_err(failed("read", &path))?;
            entry(index, &bytes.expect("the entry was read a moment ago"));
        }
        Ok(Loaded { entries, tree, known })
    }

    /// Throws all entries away. Whoever still reads them has the old file.
    fn renew(&self, _lock: &CacheLock) -> Result<Entries, CacheError> {
        let path = self.directory.join(ENTRIES);
        fs::remove_file(&path).map_err(failed("remove", &path))?;
        let file = OpenOptions::new().create_new(true).read(true).write(true).open(&path);
        let file = file.map_err(failed("make", &path))?;
        Ok(Entries { file: Arc::new(file), places: Vec::new(), end: 0 })
    }

    /// Begins to write behind `entries`.
    pub(super) fn grow(&self, _lock: &CacheLock, entries: &Entries) -> Result<Growth, CacheError> {
        let path = self.directory.join(ENTRIES);
        let begin = || {
            let mut file = entries.file.try_clone()?;
            file.set_len(entries.end)?;
            file.seek(SeekFrom::Start(entries.end))?;
            Ok(file)
        };
        let file = begin().map_err(failed("write", &path))?;
        Ok(Growth { writer: BufWriter::with_capacity(BUFFER, file), path })
    }

    /// What was grown counts from now on.
    pub(super) fn keep(
        &self,
        _lock: &CacheLock,
        growth: Growth,
        known: &Known,
    ) -> Result<(), CacheError> {
        let Growth { writer, path } = growth;
        let synced = writer.into_inner().map_err(io::IntoInnerError::into_error);
        synced.and_then(|file| file.sync_data()).map_err(failed("write", &path))?;
        let path = self.directory.join(HEAD);
        let json = serde_json::to_vec(known).expect("a head is plain data");
        let replace = || {
            let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
            file.write_all(&json)?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            File::open(&self.directory)?.sync_all()
        };
        replace().map_err(failed("write", &path))
    }
}

/// Reads an entry into `buffer`, and gives its length; `None` at the end, or where no entry is.
fn next(reader: &mut impl io::Read, buffer: &mut Vec<u8>) -> Result<Option<u32>, io::Error> {
    let mut header = [0; 4];
    match reader.read_exact(&mut header) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_be_bytes(header);
    if length as usize > MAX_ENVELOPE {
        return Ok(None);
    }
    buffer.clear();
    let read = reader.take(u64::from(length)).read_to_end(buffer)?;
    Ok((read == length as usize).then_some(length))
}

#[cfg(test)]
mod tests {
    use cutover_shared::key::SecretKey;

    use super::*;

    fn cache(root: &Path) -> Cache {
        let key = SecretKey::from_seed([1; 32]).public();
        Cache::open(root, &LogKey { origin: "log.example.org".to_owned(), key }).unwrap()
    }

    fn loaded(cache: &Cache) -> (Loaded, Vec<Vec<u8>>) {
        let mut seen = Vec::new();
        let lock = cache.lock().unwrap();
        let loaded = cache.load(&lock, |_, entry| seen.push(entry.to_owned())).unwrap();
        (loaded, seen)
    }

    fn add(cache: &Cache, new: &[&[u8]], keep: bool) {
        let (Loaded { mut entries, mut tree, .. }, _) = loaded(cache);
        let lock = cache.lock().unwrap();
        let mut growth = cache.grow(&lock, &entries).unwrap();
        for entry in new {
            growth.push(&mut entries, entry).unwrap();
            tree.append(leaf_hash(entry));
        }
        if keep {
            let known = Known { head: tree.head(), note: "note".to_owned() };
            cache.keep(&lock, growth, &known).unwrap();
        }
    }

    #[test]
    fn what_was_kept_is_there_and_what_was_not_is_not() {
        let root = tempfile::tempdir().unwrap();
        let cache = cache(root.path());
        add(&cache, &[b"one", b""], true);
        add(&cache, &[b"lost", b"too"], false);
        assert_eq!(loaded(&cache).1, [&b"one"[..], b""]);
        add(&cache, &[b"three"], true);
        let (loaded, seen) = loaded(&cache);
        assert_eq!(seen, [&b"one"[..], b"", b"three"]);
        assert_eq!(loaded.entries.read(2).unwrap().unwrap(), b"three");
        assert!(loaded.entries.read(3).unwrap().is_none());
        assert_eq!(loaded.known.unwrap().head, loaded.tree.head());
    }

    #[test]
    fn a_bent_or_cut_copy_is_thrown_away_but_not_what_was_seen() {
        for damage in [
            |bytes: &mut Vec<u8>| bytes[5] ^= 1,
            |bytes: &mut Vec<u8>| {
                bytes.truncate(6);
            },
        ] {
            let root = tempfile::tempdir().unwrap();
            let cache = cache(root.path());
            add(&cache, &[b"one", b"two"], true);
            let path = cache.directory.join(ENTRIES);
            let mut bytes = fs::read(&path).unwrap();
            damage(&mut bytes);
            fs::write(&path, bytes).unwrap();
            let (loaded, seen) = loaded(&cache);
            assert!(seen.is_empty());
            assert_eq!(loaded.tree.size(), 0);
            assert_eq!(loaded.known.unwrap().head.size, 2);
        }
    }
}
