//! Verifying a package that somebody sent: nothing in it is believed.
//!
//! 1. The index is parsed, which verifies all that can be verified without the content.
//! 2. The pack holds each chunk of the index once, one behind the other, and nothing else.
//! 3. Each chunk has the digest that the index says, and each file is the sum of its chunks.
//! 4. The machine check finds no fault in what was read out of the pack.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek, SeekFrom};

use cutover_shared::digest::{Digest, Hasher};
use cutover_shared::package::check;
use cutover_shared::package::chunk::{ChunkError, ChunkRef, inflate};
use cutover_shared::package::entry::FileEntry;
use cutover_shared::package::finding::Finding;
use cutover_shared::package::form::Catalogue;
use cutover_shared::package::index::{Index, IndexError};
use cutover_shared::package::listing::{Listing, MAX_DOCUMENT, is_document};
use cutover_shared::package::manifest::Manifest;
use cutover_shared::package::map::PackMap;
use cutover_shared::package::path::EntryPath;

use super::Progress;

/// A package is refused.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// Its index.
    #[error("accept the index")]
    Index(#[from] IndexError),
    /// Its map does not say where a chunk lies.
    #[error("find chunk {} in the map", .0.short())]
    Unmapped(Digest),
    /// Its map has a chunk that the index does not have.
    #[error("accept chunk {} in the map: the index does not have it", .0.short())]
    Surplus(Digest),
    /// Its map leads to another pack.
    #[error("read chunk {} of another pack", .0.short())]
    OtherPack(Digest),
    /// Its pack has bytes between chunks, two chunks in one place, or another length.
    #[error("accept the pack: at byte {0} there is not the next chunk, and not its end")]
    Layout(u64),
    /// Its pack cannot be read.
    #[error("read the pack at byte {0}")]
    Read(u64, #[source] io::Error),
    /// A chunk is not what the index says.
    #[error("accept {0}")]
    Chunk(EntryPath, #[source] ChunkError),
    /// A file is not what the index says, though its chunks are.
    #[error("accept {path}: its content has the digest {}", found.short())]
    File {
        /// The file.
        path: EntryPath,
        /// The digest of its chunks, put together.
        found: Digest,
    },
    /// It is not complete: every fault.
    #[error("accept an incomplete package: {} faults were found", .0.len())]
    Incomplete(Vec<Finding>),
}

/// A package that was verified whole.
#[derive(Debug)]
pub struct Accepted {
    /// What it is.
    pub index: Index,
    /// What its manifest says.
    pub manifest: Manifest,
}

/// Verifies an uploaded package whole, by the forms of `catalogue`.
pub fn verify_upload(
    index: &[u8],
    map: &PackMap,
    pack: impl Read + Seek,
    catalogue: &Catalogue,
) -> Result<Accepted, UploadError> {
    let index = Index::parse(index)?;
    let listing = verify_content(&index, map, pack, &mut ())?;
    let checked = check::examine(&listing, catalogue);
    match checked.manifest {
        Some(manifest) if checked.findings.is_empty() => Ok(Accepted { index, manifest }),
        Some(_) | None => Err(UploadError::Incomplete(checked.findings)),
    }
}

/// Verifies that `pack` holds what `index` says, where `map` says, and nothing else; gives the listing
/// of it, with its documents.
pub fn verify_content(
    index: &Index,
    map: &PackMap,
    mut pack: impl Read + Seek,
    progress: &mut dyn Progress,
) -> Result<Listing, UploadError> {
    verify_layout(index, map, &mut pack)?;
    progress.begin(index.total_bytes());
    let mut chunks = Chunks { pack, map, position: None, last: None };
    let mut documents = BTreeMap::new();
    for entry in index.entries() {
        let Some(file) = entry.file() else { continue };
        let keep = is_document(entry.path.as_str()) && file.size <= MAX_DOCUMENT;
        let document = verify_file(&entry.path, file, keep, &mut chunks, progress)?;
        if let Some(document) = document {
            documents.insert(entry.path.as_str().to_owned(), document);
        }
    }
    Ok(Listing::of_index(index, documents))
}

/// Each chunk of the index once, one behind the other, from the first byte of the pack to its last.
fn verify_layout(index: &Index, map: &PackMap, pack: &mut impl Seek) -> Result<(), UploadError> {
    let chunks = index.chunks();
    let mut places = Vec::with_capacity(chunks.len());
    for chunk in &chunks {
        let piece = map.locate(&chunk.digest);
        let piece = piece.ok_or(UploadError::Unmapped(chunk.digest))?;
        if piece.pack != index.digest() {
            return Err(UploadError::OtherPack(chunk.digest));
        }
        places.push((piece.offset, piece.stored));
    }
    if map.pieces().len() > chunks.len() {
        let known: BTreeSet<Digest> = chunks.iter().map(|chunk| chunk.digest).collect();
        let surplus = map.pieces().iter().find(|piece| !known.contains(&piece.chunk));
        let surplus = surplus.expect("a map with more chunks than the index has one of its own");
        return Err(UploadError::Surplus(surplus.chunk));
    }
    places.sort_unstable();
    let mut end = 0;
    for (offset, stored) in places {
        if offset != end {
            return Err(UploadError::Layout(end));
        }
        // Cannot overflow: a map's places end within what can be addressed.
        end = offset + u64::from(stored);
    }
    let length = pack.seek(SeekFrom::End(0));
    match length.map_err(|error| UploadError::Read(0, error))? {
        length if length == end => Ok(()),
        length => Err(UploadError::Layout(length.min(end))),
    }
}

/// Its content, if it is to be kept.
fn verify_file(
    path: &EntryPath,
    file: &FileEntry,
    keep: bool,
    chunks: &mut Chunks<'_, impl Read + Seek>,
    progress: &mut dyn Progress,
) -> Result<Option<Vec<u8>>, UploadError> {
    let mut hasher = Hasher::new();
    let mut kept = keep.then(Vec::new);
    for chunk in &file.chunks {
        let content = chunks.content(path, chunk)?;
        hasher.update(content);
        if let Some(kept) = kept.as_mut() {
            kept.extend_from_slice(content);
        }
        progress.advance(u64::from(chunk.length));
    }
    match hasher.finish() {
        found if found == file.digest => Ok(kept),
        found => Err(UploadError::File { path: path.clone(), found }),
    }
}

/// Reads chunks out of a pack: without seeking as long as they are asked for in their order.
struct Chunks<'m, R> {
    pack: R,
    map: &'m PackMap,
    /// Where the next byte is read from; `None`: not known.
    position: Option<u64>,
    /// The chunk that was read last: files of zeros ask for one chunk again and again.
    last: Option<(ChunkRef, Vec<u8>)>,
}

impl<R: Read + Seek> Chunks<'_, R> {
    fn content(&mut self, path: &EntryPath, chunk: &ChunkRef) -> Result<&[u8], UploadError> {
        let content = match self.last.take() {
            Some((last, content)) if last == *chunk => content,
            Some(_) | None => self.read(path, chunk)?,
        };
        let (_, content) = self.last.insert((*chunk, content));
        Ok(content)
    }

    fn read(&mut self, path: &EntryPath, chunk: &ChunkRef) -> Result<Vec<u8>, UploadError> {
        let piece = self.map.locate(&chunk.digest);
        let piece = piece.ok_or(UploadError::Unmapped(chunk.digest))?;
        let failed = |error| UploadError::Read(piece.offset, error);
        if self.position != Some(piece.offset) {
            self.pack.seek(SeekFrom::Start(piece.offset)).map_err(failed)?;
        }
        self.position = None;
        let mut stored = vec![0; piece.stored as usize];
        self.pack.read_exact(&mut stored).map_err(failed)?;
        self.position = Some(piece.offset + u64::from(piece.stored));
        inflate(&stored, chunk).map_err(|error| UploadError::Chunk(path.clone(), error))
    }
}
