//! The spool: bytes of packages that arrived, on disk, so that a restart of either half of the agent
//! fetches nothing twice.
//!
//! One file a package, `<package>.spool`, written only at its end: frames ([`Record`]) each followed by
//! the piece of bytes that it announces. Nothing is synced. Instead each record carries a SHA-256 of itself
//! and its piece, which is compared when the piece is read: what a power cut tore or a disk bent counts as never having
//! arrived and is fetched again. So the spool may lose, and it may never lie about what arrived; whether
//! *that* is the right package is for the applier to see, chunk by chunk.
//!
//! The spool holds at most its limit. When it is full, packages that nobody asked for since the start
//! give way, the others are no longer spooled.

mod record;
mod worker;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cutover_shared::codec::CodecError;
use cutover_shared::digest::Digest;
use cutover_shared::protocol::Part;

pub(super) use self::record::Lengths;
use self::record::{Contents, Record, What};
pub(super) use self::worker::{SpoolHandle, Ticket};

/// Ending of the spool's files.
const SUFFIX: &str = ".spool";

/// Most pieces of one package that are kept track of, some 30 MiB of memory: in pieces of 256 KiB they
/// are 64 GiB. Only tiny pieces reach it.
const MAX_PIECES: usize = 1 << 18;

/// The spool could not do what was asked. It is never worth more than a log line: the bytes are fetched
/// again.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A file or directory cannot be used.
    #[error("use {path:?} in the spool")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A record cannot be written.
    #[error("write a record of the spool")]
    Codec(#[from] CodecError),
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> SpoolError {
    move |source| SpoolError::Io { path: path.to_owned(), source }
}

/// The spool. Its calls block on the disk; [`SpoolHandle`] makes them from async code.
#[derive(Debug)]
pub(super) struct Spool {
    directory: PathBuf,
    limit: u64,
    packages: BTreeMap<Digest, Held>,
}

/// What is held of one package.
#[derive(Debug, Default)]
struct Held {
    /// Its file, once something is in it.
    file: Option<File>,
    contents: Contents,
    /// Tickets up to this one were called in when the package was removed.
    removed: u64,
    /// Whether it was asked for since the start.
    wanted: bool,
    /// Whether nothing is added any more: the spool is full or the disk fails.
    closed: bool,
}

impl Spool {
    /// The spool in `directory`, which is made when it is not there, with what an earlier run left.
    pub(super) fn open(directory: &Path, limit: u64) -> Result<Self, SpoolError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(io_error(directory))?;
        let mut spool = Self { directory: directory.to_owned(), limit, packages: BTreeMap::new() };
        for entry in fs::read_dir(directory).map_err(io_error(directory))? {
            let path = entry.map_err(io_error(directory))?.path();
            let Some(package) = package_of(&path) else {
                continue;
            };
            match Self::recover(&path) {
                Ok(held) => {
                    spool.packages.insert(package, held);
                }
                Err(error) => {
                    tracing::warn!(%error, "a file of the spool is of no use and is removed");
                    fs::remove_file(&path).map_err(io_error(&path))?;
                }
            }
        }
        spool.shrink();
        Ok(spool)
    }

    fn recover(path: &Path) -> Result<Held, SpoolError> {
        let file = Self::open_file(path)?;
        let length = file.metadata().map_err(io_error(path))?.len();
        let contents = Contents::scan(&file, length).map_err(io_error(path))?;
        file.set_len(contents.end()).map_err(io_error(path))?;
        Ok(Held { file: Some(file), contents, ..Held::default() })
    }

    /// The spool of an earlier run may be over a limit that has become smaller.
    fn shrink(&mut self) {
        while self.used() > self.limit && self.evict() {}
    }

    fn used(&self) -> u64 {
        self.packages.values().map(|it| it.contents.end()).sum()
    }

    fn path(&self, package: &Digest) -> PathBuf {
        self.directory.join(format!("{package}{SUFFIX}"))
    }

    fn open_file(path: &Path) -> Result<File, SpoolError> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(io_error(path))
    }

    /// Up to `at_most` bytes of the package from `at` on, when they are held and whole.
    pub(super) fn read(
        &mut self,
        package: &Digest,
        part: Part,
        at: u64,
        at_most: u64,
    ) -> Option<Vec<u8>> {
        let held = self.packages.get_mut(package)?;
        held.wanted = true;
        let (offset, place) = held.contents.piece_at(part, at)?;
        let mut bytes = vec![0; place.length as usize];
        let read = held.file.as_ref()?.read_exact_at(&mut bytes, place.position);
        if read.is_err() || !place.holds(&bytes) {
            tracing::info!(
                package = %package.short(), offset, length = place.length,
                "a piece in the spool is not what was written; it is fetched again"
            );
            held.contents.forget(part, offset);
            return None;
        }
        let skipped = usize::try_from(at - offset).expect("it lies within the piece");
        bytes.drain(..skipped);
        bytes.truncate(usize::try_from(at_most).unwrap_or(usize::MAX));
        Some(bytes)
    }

    /// Where the next piece after `at` begins that is held.
    pub(super) fn next_after(&self, package: &Digest, part: Part, at: u64) -> Option<u64> {
        self.packages.get(package)?.contents.next_after(part, at)
    }

    /// The lengths of the package's parts, when they were told before.
    pub(super) fn lengths(&self, package: &Digest) -> Option<Lengths> {
        self.packages.get(package)?.contents.lengths()
    }

    /// Keeps the lengths of the package's parts.
    pub(super) fn keep_lengths(&mut self, ticket: Ticket, package: &Digest, lengths: Lengths) {
        self.keep(ticket, package, What::Lengths(lengths), &[]);
    }

    /// Keeps a piece that has arrived.
    pub(super) fn keep_piece(
        &mut self,
        ticket: Ticket,
        package: &Digest,
        part: Part,
        offset: u64,
        bytes: &[u8],
    ) {
        let Ok(length) = u32::try_from(bytes.len()) else {
            return;
        };
        let piece = What::Piece { part, offset, length };
        self.keep(ticket, package, piece, bytes);
    }

    /// The spool is a help, not a duty: what cannot be kept is said once a package, and passed on without.
    fn keep(&mut self, ticket: Ticket, package: &Digest, what: What, bytes: &[u8]) {
        let held = self.packages.entry(*package).or_default();
        held.wanted = true;
        if held.closed || ticket.number() <= held.removed {
            return;
        }
        let why = match self.append(package, what, bytes) {
            Ok(true) => return,
            Ok(false) => "the spool is full".to_owned(),
            Err(error) => super::chain(&error),
        };
        tracing::warn!(package = %package.short(), %why, "the package is no longer spooled");
        if let Some(held) = self.packages.get_mut(package) {
            held.closed = true;
        }
    }

    fn append(&mut self, package: &Digest, what: What, bytes: &[u8]) -> Result<bool, SpoolError> {
        let record = Record::new(what, bytes)?;
        let header = record.to_frame()?;
        let length = (header.len() + bytes.len()) as u64;
        while self.used().saturating_add(length) > self.limit {
            if !self.evict() {
                return Ok(false);
            }
        }
        let path = self.path(package);
        let opened = Self::open_file(&path)?;
        let held = self.packages.entry(*package).or_default();
        if held.contents.pieces() >= MAX_PIECES {
            return Ok(false);
        }
        let file = held.file.get_or_insert(opened);
        let end = held.contents.end();
        let body = end + header.len() as u64;
        let written = file.write_all_at(&header, end).and_then(|()| file.write_all_at(bytes, body));
        if let Err(source) = written {
            // A torn end would be found at the next start; this is only tidier.
            let _ = file.set_len(end);
            return Err(io_error(&path)(source));
        }
        held.contents.add(&record, body);
        Ok(true)
    }

    /// Removes one package that nobody asked for since the start.
    fn evict(&mut self) -> bool {
        let idle = self
            .packages
            .iter()
            .find(|(_, held)| !held.wanted && held.file.is_some())
            .map(|(package, _)| *package);
        let Some(package) = idle else {
            return false;
        };
        tracing::info!(package = %package.short(), "a package gives way in the full spool");
        self.discard(&package);
        true
    }

    /// Removes the package, and keeps nothing more of it for tickets up to `ticket`.
    pub(super) fn remove(&mut self, ticket: Ticket, package: &Digest) {
        self.discard(package);
        let removed = Held { removed: ticket.number(), ..Held::default() };
        self.packages.insert(*package, removed);
    }

    fn discard(&mut self, package: &Digest) {
        self.packages.remove(package);
        let path = self.path(package);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "a file of the spool stays");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

fn package_of(path: &Path) -> Option<Digest> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(SUFFIX)?.parse().ok()
}

#[cfg(test)]
mod tests;
