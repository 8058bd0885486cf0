//! Packages as files: `packs/ab/<digest>.{index,map,pack}`, where `<digest>` is the package's.
//!
//! A part is written to `packs/staged/` first, synced, and then linked to its name, so that under its
//! name there is never half a part. Parts are never changed: putting the same bytes again is nothing
//! new, putting others is refused. Put the index last: a package is there when its index is.
//!
//! What is in a part is checked by whoever puts it (the index by its digest here, for its digest is the
//! name).

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cutover_shared::digest::{Digest, Hasher};
use tempfile::NamedTempFile;

use super::files::{self, FileError, failed};

/// Most bytes of one read; a sender asks for the next piece when it has sent this one.
pub const RANGE_LIMIT: u64 = 1024 * 1024;

/// One of the three files of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The package index; its SHA-256 is the package's digest.
    Index,
    /// Where the package's chunks lie, in this pack and in earlier ones.
    Map,
    /// The chunks that no earlier pack has.
    Pack,
}

impl Part {
    /// All of them, in the order in which they are to be put.
    pub const ALL: [Self; 3] = [Self::Pack, Self::Map, Self::Index];

    fn extension(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Map => "map",
            Self::Pack => "pack",
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.extension())
    }
}

/// Whether a put changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The part is there now.
    New,
    /// It was there before, with the same bytes.
    Existing,
}

/// A part cannot be put or read.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file operation failed.
    #[error("use the packs")]
    File(#[from] FileError),
    /// The index is another package's.
    #[error("put the index of package {package}: its digest is {found}")]
    WrongIndex {
        /// Under which name it was to be put.
        package: Digest,
        /// What it hashes to.
        found: Digest,
    },
    /// The part is there with other bytes.
    #[error("put the {part} of package {package}: it is there already, with other content")]
    Differs {
        /// The package.
        package: Digest,
        /// The part.
        part: Part,
    },
    /// The part is not there.
    #[error("find the {part} of package {package}")]
    NotThere {
        /// The package.
        package: Digest,
        /// The part.
        part: Part,
    },
    /// The range is empty, too long, or not all within the part.
    #[error(
        "read bytes {start} to {end} of the {part} of package {package}: it has {size}, and at most \
         {RANGE_LIMIT} may be read at once"
    )]
    Range {
        /// The package.
        package: Digest,
        /// The part.
        part: Part,
        /// First byte.
        start: u64,
        /// Behind the last byte.
        end: u64,
        /// Size of the part.
        size: u64,
    },
}

/// The packs below one directory.
#[derive(Debug)]
pub(super) struct PackStore {
    directory: PathBuf,
}

/// A part in the making. Dropping it removes it.
#[derive(Debug)]
pub struct Staged {
    file: NamedTempFile,
    hasher: Hasher,
    length: u64,
}

impl Staged {
    /// Bytes written so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// SHA-256 of the bytes written so far.
    pub fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// Reads back what was written, to check it before it is put.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.as_file().read_exact_at(buffer, offset)
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.as_file_mut().write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

impl PackStore {
    /// The packs in `directory`, which must exist. What was being staged when the process last ended is
    /// removed.
    pub(super) fn open(directory: &Path) -> Result<Self, PackError> {
        let staged = directory.join("staged");
        if staged.is_dir() {
            fs::remove_dir_all(&staged).map_err(failed("empty", &staged))?;
        }
        files::create_directories(directory, &staged)?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// An empty part, to be written and then [`put`](Self::put).
    pub(super) fn stage(&self) -> Result<Staged, PackError> {
        let staged = self.directory.join("staged");
        let file = NamedTempFile::new_in(&staged).map_err(failed("stage a part in", &staged))?;
        Ok(Staged { file, hasher: Hasher::new(), length: 0 })
    }

    /// Puts a staged part under its name, durably.
    pub(super) fn put(
        &self,
        package: &Digest,
        part: Part,
        staged: Staged,
    ) -> Result<Put, PackError> {
        let found = staged.digest();
        if part == Part::Index && found != *package {
            return Err(PackError::WrongIndex { package: *package, found });
        }
        let path = self.path(package, part);
        let parent = path.parent().unwrap_or(&self.directory);
        files::create_directories(&self.directory, parent)?;
        let put = if path.is_file() {
            Put::Existing
        } else {
            let file = staged.file;
            file.as_file().sync_all().map_err(failed("sync", file.path()))?;
            match file.persist_noclobber(&path) {
                Ok(_) => Put::New,
                Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Put::Existing,
                Err(error) => return Err(failed("put in place", &path)(error.error).into()),
            }
        };
        if put == Put::Existing && digest_of(&path)? != found {
            return Err(PackError::Differs { package: *package, part });
        }
        // Also for an existing one: whoever put it may not have come this far yet.
        files::sync_directory(parent)?;
        Ok(put)
    }

    /// The size of a part; `None` when it is not there.
    pub(super) fn size(&self, package: &Digest, part: Part) -> Result<Option<u64>, PackError> {
        let path = self.path(package, part);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("measure", &path)(error).into()),
        }
    }

    /// The bytes of `range`: not empty, wholly within the part, at most [`RANGE_LIMIT`] of them.
    pub(super) fn read(
        &self,
        package: &Digest,
        part: Part,
        range: Range<u64>,
    ) -> Result<Vec<u8>, PackError> {
        let size =
            self.size(package, part)?.ok_or(PackError::NotThere { package: *package, part })?;
        let length = range.end.saturating_sub(range.start);
        if length == 0 || length > RANGE_LIMIT || range.end > size {
            return Err(PackError::Range {
                package: *package,
                part,
                start: range.start,
                end: range.end,
                size,
            });
        }
        let path = self.path(package, part);
        let file = File::open(&path).map_err(failed("open", &path))?;
        let length = usize::try_from(length).expect("RANGE_LIMIT fits in memory");
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, range.start).map_err(failed("read", &path))?;
        Ok(bytes)
    }

    /// The packages that are there (those whose index is), in the order of their digests.
    pub(super) fn packages(&self) -> Result<Vec<Digest>, PackError> {
        let mut packages = Vec::new();
        for path in list(&self.directory)? {
            if path.is_dir() && path != self.directory.join("staged") {
                packages.extend(list(&path)?.iter().filter_map(|path| indexed(path)));
            }
        }
        packages.sort_unstable();
        Ok(packages)
    }

    fn path(&self, package: &Digest, part: Part) -> PathBuf {
        let name = package.to_string();
        self.directory.join(&name[..2]).join(format!("{name}.{}", part.extension()))
    }
}

/// The package whose index lies at `path`, if it is one.
fn indexed(path: &Path) -> Option<Digest> {
    path.file_name()?.to_str()?.strip_suffix(".index")?.parse().ok()
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, FileError> {
    fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(failed("list", directory))
}

fn digest_of(path: &Path) -> Result<Digest, FileError> {
    let mut file = File::open(path).map_err(failed("open", path))?;
    let mut hasher = Hasher::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        let length = file.read(&mut piece).map_err(failed("read", path))?;
        if length == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&piece[..length]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(directory: &Path) -> PackStore {
        PackStore::open(directory).unwrap()
    }

    fn staged(store: &PackStore, bytes: &[u8]) -> Staged {
        let mut staged = store.stage().unwrap();
        staged.write_all(bytes).unwrap();
        staged
    }

    #[test]
    fn parts_are_put_once_and_read_by_range() {
        let directory = tempfile::tempdir().unwrap();
        let packs = store(directory.path());
        let package = Digest::of(b"the index");
        for (part, bytes) in
            [(Part::Pack, &b"0123456789"[..]), (Part::Map, b"the map"), (Part::Index, b"the index")]
        {
            assert_eq!(packs.size(&package, part).unwrap(), None);
            let first = staged(&packs, bytes);
            assert_eq!(first.length(), bytes.len() as u64);
            assert_eq!(packs.put(&package, part, first).unwrap(), Put::New);
            let again = staged(&packs, bytes);
            assert_eq!(packs.put(&package, part, again).unwrap(), Put::Existing);
        }
        assert_eq!(packs.read(&package, Part::Pack, 3..7).unwrap(), b"3456");
        assert_eq!(packs.size(&package, Part::Pack).unwrap(), Some(10));
        let path = packs.path(&package, Part::Pack);
        assert!(path.starts_with(directory.path().join(&package.to_string()[..2])));
        let staged_files = fs::read_dir(directory.path().join("staged")).unwrap();
        assert_eq!(staged_files.count(), 0, "nothing is left behind");
    }

    #[test]
    fn a_package_is_there_when_its_index_is() {
        let directory = tempfile::tempdir().unwrap();
        let packs = store(directory.path());
        let names = [&b"a"[..], b"b", b"c"];
        for name in names {
            let package = Digest::of(name);
            packs.put(&package, Part::Pack, staged(&packs, b"pack")).unwrap();
        }
        assert_eq!(packs.packages().unwrap(), []);
        for name in &names[..2] {
            packs.put(&Digest::of(name), Part::Index, staged(&packs, name)).unwrap();
        }
        let mut expected = [Digest::of(b"a"), Digest::of(b"b")];
        expected.sort();
        assert_eq!(packs.packages().unwrap(), expected);
        assert_eq!(store(directory.path()).packages().unwrap(), expected);
    }

    #[test]
    fn wrong_content_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let packs = store(directory.path());
        let package = Digest::of(b"index");
        let wrong = packs.put(&package, Part::Index, staged(&packs, b"another"));
        assert!(matches!(wrong, Err(PackError::WrongIndex { .. })), "{wrong:?}");
        packs.put(&package, Part::Pack, staged(&packs, b"pack")).unwrap();
        let other = packs.put(&package, Part::Pack, staged(&packs, b"pick"));
        assert!(matches!(other, Err(PackError::Differs { .. })), "{other:?}");
        assert_eq!(packs.read(&package, Part::Pack, 0..4).unwrap(), b"pack");
    }

    #[test]
    #[expect(clippy::reversed_empty_ranges, reason = "one of the wrong ranges")]
    fn ranges_outside_a_part_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let packs = store(directory.path());
        let package = Digest::of(b"index");
        let missing = packs.read(&package, Part::Pack, 0..1);
        assert!(matches!(missing, Err(PackError::NotThere { .. })));
        packs.put(&package, Part::Pack, staged(&packs, b"0123456789")).unwrap();
        for range in [0..11, 10..11, 5..5, 7..3, 0..u64::MAX, u64::MAX - 1..u64::MAX] {
            let outside = packs.read(&package, Part::Pack, range.clone());
            assert!(matches!(outside, Err(PackError::Range { .. })), "{range:?}");
        }
    }

    #[test]
    fn what_was_being_staged_is_gone_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let packs = store(directory.path());
        let (_file, path) = staged(&packs, b"half a pack").file.keep().unwrap();
        assert!(path.is_file());
        store(directory.path());
        assert!(!path.exists());
    }
}
