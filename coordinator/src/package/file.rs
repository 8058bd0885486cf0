//! A package in one file, to be carried about: `<application>-<version>.cutover`.
//!
//! ```text
//! "cutover-package\n"            16 bytes
//! version                         4        1; integers big-endian
//! length of pack, index, map      8 each
//! pack, index, map                one behind the other, to the end of the file
//! ```
//!
//! The pack comes first because it is written while the directory is read. Nothing in the file is
//! trusted: the digest of the index is the package, and [`PackageFile::verify`] holds the rest against it.

use std::fs::{File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use cutover_shared::package::index::{Index, IndexError, MAX_INDEX};
use cutover_shared::package::listing::Listing;
use cutover_shared::package::map::{MAX_MAP, MapError, PackMap};
use tempfile::NamedTempFile;

use super::Progress;
use super::upload::{self, UploadError};

const MAGIC: &[u8; 16] = b"cutover-package\n";
const VERSION: u32 = 1;
const HEADER: usize = 16 + 4 + 3 * 8;

/// Chunks are written out in pieces of this size: coalesced writes are what makes files fast.
const BUFFER: usize = 256 * 1024;

/// A package file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Opening or reading it.
    #[error("read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// Writing it.
    #[error("write {}", .0.display())]
    Write(PathBuf, #[source] io::Error),
    /// It is something else.
    #[error("read {}: it is not a package file of version {VERSION}", .0.display())]
    NotAPackage(PathBuf),
    /// Its parts and its length do not agree.
    #[error("read {}: it is cut short, or has more than its parts", .0.display())]
    Torn(PathBuf),
    /// Its index is refused.
    #[error("read the index of {}", .0.display())]
    Index(PathBuf, #[source] IndexError),
    /// Its map is refused.
    #[error("read the map of {}", .0.display())]
    Map(PathBuf, #[source] MapError),
}

/// A package file in the making. Dropped before [`NewFile::finish`], it leaves nothing behind.
pub(super) struct NewFile {
    file: NamedTempFile,
}

impl NewFile {
    /// An empty one in the directory `folder`.
    pub(super) fn create(folder: &Path) -> Result<Self, FileError> {
        let failed = |error| FileError::Write(folder.to_owned(), error);
        let mut file = tempfile::Builder::new()
            .prefix(".cutover-")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(failed)?;
        file.write_all(&[0; HEADER]).map_err(failed)?;
        Ok(Self { file })
    }

    /// Where the pack is written to.
    pub(super) fn pack(&self) -> Result<io::BufWriter<File>, FileError> {
        let handle = self.file.as_file().try_clone();
        let handle =
            handle.map_err(|error| FileError::Write(self.file.path().to_owned(), error))?;
        Ok(io::BufWriter::with_capacity(BUFFER, handle))
    }

    /// Writes the rest behind the pack, makes it durable, and puts it at `path`.
    pub(super) fn finish(
        self,
        pack: io::BufWriter<File>,
        stored: u64,
        index: &[u8],
        map: &[u8],
        path: &Path,
    ) -> Result<(), FileError> {
        let failed = |error| FileError::Write(path.to_owned(), error);
        let lengths = [stored, index.len() as u64, map.len() as u64];
        let mut file = pack.into_inner().map_err(|error| failed(error.into_error()))?;
        file.write_all(index).map_err(failed)?;
        file.write_all(map).map_err(failed)?;
        file.write_all_at(&header(lengths), 0).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let kept = self.file.persist(path);
        kept.map_err(|error| failed(error.error))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new("."))).map_err(failed)?;
        folder.sync_all().map_err(failed)
    }
}

fn header(lengths: [u64; 3]) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&VERSION.to_be_bytes());
    for length in lengths {
        header.extend_from_slice(&length.to_be_bytes());
    }
    header
}

/// The lengths of pack, index and map.
fn parse_header(header: &[u8; HEADER]) -> Option<[u64; 3]> {
    let rest = header.strip_prefix(MAGIC)?;
    let rest = rest.strip_prefix(&VERSION.to_be_bytes())?;
    let (lengths, _) = rest.as_chunks::<8>();
    let lengths: &[[u8; 8]; 3] = lengths.try_into().ok()?;
    Some(lengths.map(u64::from_be_bytes))
}

/// A package file, opened: its index and map have been read, its pack is read as it is asked for.
#[derive(Debug)]
pub struct PackageFile {
    path: PathBuf,
    file: File,
    pack_length: u64,
    index: Index,
    index_bytes: Vec<u8>,
    map: PackMap,
}

impl PackageFile {
    /// Opens the file at `path` and parses its index and its map.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let failed = |error| FileError::Read(path.to_owned(), error);
        let torn = || FileError::Torn(path.to_owned());
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut header = [0; HEADER];
        let not_a_package = || FileError::NotAPackage(path.to_owned());
        match file.read_exact_at(&mut header, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(not_a_package());
            }
            Err(error) => return Err(failed(error)),
        }
        let [pack, index, map] = parse_header(&header).ok_or_else(not_a_package)?;
        if index > MAX_INDEX as u64 || map > MAX_MAP as u64 {
            return Err(torn());
        }
        if pack.checked_add(HEADER as u64 + index + map) != Some(length) {
            return Err(torn());
        }
        let read = |length: u64, offset: u64| {
            let mut bytes =
                vec![0; usize::try_from(length).expect("it is bounded by MAX_INDEX or MAX_MAP")];
            file.read_exact_at(&mut bytes, offset).map_err(failed)?;
            Ok(bytes)
        };
        let index_bytes = read(index, HEADER as u64 + pack)?;
        let map_bytes = read(map, HEADER as u64 + pack + index)?;
        let index = Index::parse(&index_bytes).map_err(|e| FileError::Index(path.to_owned(), e))?;
        let map = PackMap::parse(&map_bytes).map_err(|e| FileError::Map(path.to_owned(), e))?;
        Ok(Self { path: path.to_owned(), file, pack_length: pack, index, index_bytes, map })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The index as it is written: what the package digest is of.
    pub fn index_bytes(&self) -> &[u8] {
        &self.index_bytes
    }

    /// Where the chunks lie.
    pub fn map(&self) -> &PackMap {
        &self.map
    }

    /// Bytes of the pack.
    pub fn pack_length(&self) -> u64 {
        self.pack_length
    }

    /// Reads the pack, from its beginning; several readers do not disturb each other.
    pub fn pack(&self) -> PackReader<'_> {
        PackReader { package: self, position: 0 }
    }

    /// Verifies every chunk and every file against the index.
    pub fn verify(&self, progress: &mut dyn Progress) -> Result<Listing, UploadError> {
        upload::verify_content(&self.index, &self.map, self.pack(), progress)
    }
}

/// The pack of a package file, and nothing else of it.
#[derive(Debug)]
pub struct PackReader<'p> {
    package: &'p PackageFile,
    position: u64,
}

impl Read for PackReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.package.pack_length.saturating_sub(self.position);
        let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let offset = HEADER as u64 + self.position;
        let read = self.package.file.read_at(&mut buffer[..wanted], offset)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for PackReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.package.pack_length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
