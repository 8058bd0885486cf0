//! The index of a package: every entry, byte for byte. Its SHA-256 is the package's digest, so that
//! what people approve and what a host applies is the same thing.
//!
//! It is a compact JSON document with one spelling: entries in the order of their paths' bytes, fields
//! in the order of the types below, no white space. It holds nothing that depends on who built it,
//! when, or with which version of zstd: no owner, no time, no compressed size, no place in a pack.
//!
//! [`Index::parse`] is the door. What it gives out keeps every rule of this module, and nothing behind
//! it checks them again.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::chunk::{ChunkRef, MAX_CHUNK, MIN_CHUNK};
use super::entry::{Entry, FileEntry, Kind, Mode};
use super::listing::{MAX_DOCUMENT, MAX_DOCUMENTS, is_document};
use super::outside;
use super::path::{EntryPath, LinkFault, Links, collision_key};
use crate::digest::Digest;

/// The version of the index's schema, and with it of the rules for cutting chunks.
pub const SCHEMA: u32 = 1;

/// The most entries of one package: a large application with its dependencies has tens of thousands.
pub const MAX_ENTRIES: usize = 200_000;

/// The largest index in bytes. It is read as a whole; the largest number of entries and the chunks of
/// about 40 GiB fit.
pub const MAX_INDEX: usize = 64 * 1024 * 1024;

/// The largest file in bytes.
pub const MAX_FILE: u64 = 64 * 1024 * 1024 * 1024;

/// The most bytes that all files of a package may have together, repeated content counted each time:
/// it bounds what a slot takes on a host's disk.
pub const MAX_TOTAL: u64 = 256 * 1024 * 1024 * 1024;

/// The document as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Document<'a> {
    schema: u32,
    entries: Cow<'a, [Entry]>,
}

/// Enough of a document of any version to say which it is.
#[derive(Deserialize)]
struct Version {
    schema: u32,
}

/// An index that keeps every rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    entries: Vec<Entry>,
    bytes: u64,
    digest: Digest,
}

/// Why bytes are no index, or entries no package.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Larger than [`MAX_INDEX`].
    #[error("the index has {0} bytes, at most {MAX_INDEX} are possible")]
    TooLarge(usize),
    /// Not the JSON document that it should be.
    #[error("the index cannot be read")]
    Json(#[source] serde_json::Error),
    /// Of another schema version.
    #[error("the index has schema version {0}, this program reads version {SCHEMA}")]
    Schema(u32),
    /// The same meaning in another spelling: a package must have one digest only.
    #[error("the index is not in its one spelling")]
    NotCanonical,
    /// More than [`MAX_ENTRIES`].
    #[error("the package has {0} entries, at most {MAX_ENTRIES} are possible")]
    TooManyEntries(usize),
    /// More than [`MAX_TOTAL`].
    #[error("the package's files have more than {MAX_TOTAL} bytes together")]
    TooMuch,
    /// Not behind the entry before it: out of order, or there twice.
    #[error("{0} is not behind the entry before it")]
    Order(EntryPath),
    /// What should be its directory is missing, a file, or a link.
    #[error("{0} is not in a directory of the package")]
    Parent(EntryPath),
    /// Two names that not every file system can hold side by side.
    #[error("{0} and {1} differ in case or Unicode form only")]
    Collision(EntryPath, EntryPath),
    /// A mode that packages do not have.
    #[error("{0} has mode {1}")]
    Mode(EntryPath, Mode),
    /// Larger than [`MAX_FILE`].
    #[error("{0} is larger than {MAX_FILE} bytes")]
    FileTooLarge(EntryPath),
    /// Its chunks do not have the length or the digest that it has.
    #[error("{0} is not the sum of its chunks")]
    Sum(EntryPath),
    /// A chunk of a length that the cut never makes, or one digest with two lengths.
    #[error("{0} has a chunk of a length that it cannot have")]
    ChunkLength(EntryPath),
    /// A link that leads out, or nowhere.
    #[error("the link {0} is refused")]
    Link(EntryPath, #[source] LinkFault),
}

impl Index {
    /// An index of `entries`, in any order.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, IndexError> {
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        verify(&entries)?;
        let bytes = encode(&entries);
        if bytes.len() > MAX_INDEX {
            return Err(IndexError::TooLarge(bytes.len()));
        }
        Ok(Self::verified(entries, &bytes))
    }

    /// Reads an index and verifies everything about it that can be verified without the content.
    pub fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        if bytes.len() > MAX_INDEX {
            return Err(IndexError::TooLarge(bytes.len()));
        }
        let version: Version = serde_json::from_slice(bytes).map_err(IndexError::Json)?;
        if version.schema != SCHEMA {
            return Err(IndexError::Schema(version.schema));
        }
        let document: Document<'_> = serde_json::from_slice(bytes).map_err(IndexError::Json)?;
        let entries = document.entries.into_owned();
        if encode(&entries) != bytes {
            return Err(IndexError::NotCanonical);
        }
        verify(&entries)?;
        Ok(Self::verified(entries, bytes))
    }

    fn verified(entries: Vec<Entry>, bytes: &[u8]) -> Self {
        let sizes = entries.iter().filter_map(Entry::file).map(|file| file.size);
        Self { bytes: sizes.sum(), digest: Digest::of(bytes), entries }
    }

    /// The one spelling.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(&self.entries)
    }

    /// The package's digest: SHA-256 of [`Index::to_bytes`].
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// All entries, each directory before what is in it.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry at `path`.
    pub fn find(&self, path: &str) -> Option<&Entry> {
        self.entries
            .binary_search_by(|entry| entry.path.as_str().cmp(path))
            .ok()
            .map(|position| &self.entries[position])
    }

    /// The documents that a check reads, by path; not more of them than a package has any use for.
    pub fn documents(&self) -> impl Iterator<Item = (&str, &FileEntry)> {
        let files = self.entries.iter().filter_map(|it| Some((it.path.as_str(), it.file()?)));
        files
            .filter(|(path, file)| is_document(path) && file.size <= MAX_DOCUMENT)
            .take(MAX_DOCUMENTS)
    }

    /// What belongs into a host's slot, each directory before what is in it.
    pub fn slot_entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.is_in_slot())
    }

    /// Each chunk once, in the order of first use: the order in which packs hold them.
    pub fn chunks(&self) -> Vec<ChunkRef> {
        let mut seen = BTreeSet::new();
        let files = self.entries.iter().filter_map(Entry::file);
        files
            .flat_map(|file| &file.chunks)
            .filter(|chunk| seen.insert(chunk.digest))
            .copied()
            .collect()
    }

    /// The bytes of all files together.
    pub fn total_bytes(&self) -> u64 {
        self.bytes
    }
}

fn encode(entries: &[Entry]) -> Vec<u8> {
    let document = Document { schema: SCHEMA, entries: entries.into() };
    serde_json::to_vec(&document).expect("an index has string keys only and no failing serializer")
}

/// The rules, in the order in which they are reported.
fn verify(entries: &[Entry]) -> Result<(), IndexError> {
    if entries.len() > MAX_ENTRIES {
        return Err(IndexError::TooManyEntries(entries.len()));
    }
    verify_tree(entries)?;
    verify_files(entries)?;
    verify_links(entries)
}

fn verify_tree(entries: &[Entry]) -> Result<(), IndexError> {
    for pair in entries.windows(2) {
        if pair[0].path >= pair[1].path {
            return Err(IndexError::Order(pair[1].path.clone()));
        }
    }
    let mut directories = BTreeSet::new();
    let mut keys: BTreeMap<String, &EntryPath> = BTreeMap::new();
    for Entry { path, kind } in entries {
        if path.parent().is_some_and(|parent| !directories.contains(parent)) {
            return Err(IndexError::Parent(path.clone()));
        }
        if let Some(other) = keys.insert(collision_key(path.as_str()), path) {
            return Err(IndexError::Collision(other.clone(), path.clone()));
        }
        match kind {
            Kind::Directory { mode: Mode::DIRECTORY } => {
                directories.insert(path.as_str());
            }
            Kind::Directory { mode } => return Err(IndexError::Mode(path.clone(), *mode)),
            Kind::File(_) | Kind::Link { .. } => {}
        }
    }
    Ok(())
}

fn verify_files(entries: &[Entry]) -> Result<(), IndexError> {
    let mut lengths = BTreeMap::new();
    let mut total: u64 = 0;
    for entry in entries {
        let Some(file) = entry.file() else { continue };
        verify_file(&entry.path, file)?;
        for chunk in &file.chunks {
            if *lengths.entry(chunk.digest).or_insert(chunk.length) != chunk.length {
                return Err(IndexError::ChunkLength(entry.path.clone()));
            }
        }
        // Cannot overflow: MAX_FILE times MAX_ENTRIES is less than 2^64.
        total += file.size;
    }
    if total > MAX_TOTAL {
        return Err(IndexError::TooMuch);
    }
    Ok(())
}

fn verify_file(path: &EntryPath, file: &FileEntry) -> Result<(), IndexError> {
    if ![Mode::PLAIN, Mode::EXECUTABLE].contains(&file.mode) {
        return Err(IndexError::Mode(path.clone(), file.mode));
    }
    if file.size > MAX_FILE {
        return Err(IndexError::FileTooLarge(path.clone()));
    }
    let last = file.chunks.len().saturating_sub(1);
    for (position, chunk) in file.chunks.iter().enumerate() {
        let least = if position == last { 1 } else { MIN_CHUNK };
        if !(least..=MAX_CHUNK).contains(&chunk.length) {
            return Err(IndexError::ChunkLength(path.clone()));
        }
    }
    let sum: u64 = file.chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
    let digest_fits = match file.chunks.as_slice() {
        [] => file.digest == Digest::of(b""),
        [only] => file.digest == only.digest,
        // The digest of the whole is verified by whoever reads the chunks.
        [_, _, ..] => true,
    };
    if sum != file.size || !digest_fits {
        return Err(IndexError::Sum(path.clone()));
    }
    Ok(())
}

fn verify_links(entries: &[Entry]) -> Result<(), IndexError> {
    let links: Vec<(&EntryPath, &str)> = entries.iter().filter_map(link).collect();
    let mut resolver = Links::new(links.iter().map(|(path, target)| (path.as_str(), *target)));
    for (path, target) in links {
        if outside::is_shared(path.as_str(), target) {
            continue;
        }
        resolver
            .resolve(path.as_str(), target)
            .map_err(|fault| IndexError::Link(path.clone(), fault))?;
    }
    Ok(())
}

fn link(entry: &Entry) -> Option<(&EntryPath, &str)> {
    match &entry.kind {
        Kind::Link { target } => Some((&entry.path, target)),
        Kind::File(_) | Kind::Directory { .. } => None,
    }
}

#[cfg(test)]
mod tests;
