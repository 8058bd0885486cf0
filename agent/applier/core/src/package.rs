//! A package as far as it was verified: index, map and manifest.
//!
//! Everything is checked against the package digest, which the order names: the index by its own digest,
//! the manifest and each chunk by the index. The map is only a hint where to ask.

use cutover_shared::digest::Digest;
use cutover_shared::package::chunk::{ChunkRef, inflate};
use cutover_shared::package::index::Index;
use cutover_shared::package::listing::MAX_DOCUMENT;
use cutover_shared::package::manifest::{MANIFEST, Manifest};
use cutover_shared::package::map::{PackMap, Piece};
use cutover_shared::package::outside;

/// Why content is no good. The text begins with a refusal's code.
pub type Failure = String;

/// A package whose manifest has been read. Only [`Unread::read`] makes one.
#[derive(Debug, Clone)]
pub struct Package {
    digest: Digest,
    index: Index,
    map: PackMap,
    manifest: Manifest,
}

/// A package whose index and map are here, and whose manifest is not yet.
#[derive(Debug, Clone)]
pub struct Unread {
    digest: Digest,
    index: Index,
    map: PackMap,
    pieces: Vec<(Piece, ChunkRef)>,
}

impl Unread {
    /// From what was served as the package's index and map.
    pub fn of(digest: Digest, index: &[u8], map: &[u8]) -> Result<Self, Failure> {
        if Digest::of(index) != digest {
            return Err(mismatch(format!("the index served is not that of {}", digest.short())));
        }
        let index = Index::parse(index).map_err(|error| format!("malformed: index: {error}"))?;
        let map = PackMap::parse(map).map_err(|error| format!("malformed: map: {error}"))?;
        let file = index.find(MANIFEST).and_then(|entry| entry.file());
        let file = file.filter(|file| file.size <= MAX_DOCUMENT);
        let file = file.ok_or(format!("malformed: no {MANIFEST} of a bearable size"))?;
        let located = |chunk: &ChunkRef| Ok((piece(&map, digest, chunk)?, *chunk));
        let pieces = file.chunks.iter().map(located).collect::<Result<_, Failure>>()?;
        Ok(Self { digest, index, map, pieces })
    }

    /// Where in the pack the manifest's chunks are, in their order.
    pub fn pieces(&self) -> &[(Piece, ChunkRef)] {
        &self.pieces
    }

    /// With what was served as these pieces.
    pub fn read(self, stored: &[Vec<u8>]) -> Result<Package, Failure> {
        if stored.len() != self.pieces.len() {
            return Err(mismatch("the manifest is not whole"));
        }
        let mut text = Vec::new();
        for (stored, (_, chunk)) in stored.iter().zip(&self.pieces) {
            text.extend_from_slice(&inflate(stored, chunk).map_err(mismatch)?);
        }
        let text =
            String::from_utf8(text).map_err(|_| format!("malformed: {MANIFEST} is not UTF-8"))?;
        let manifest = parse_manifest(&text)?;
        if !outside::agree(&self.index, &manifest) {
            return Err(format!(
                "malformed: the links that lead out of the slot are not what {MANIFEST} shares"
            ));
        }
        Ok(Package { digest: self.digest, index: self.index, map: self.map, manifest })
    }
}

impl Package {
    /// What is in it.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// What the submitter says of it.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where a chunk is in the pack.
    pub fn piece(&self, chunk: &ChunkRef) -> Result<Piece, Failure> {
        piece(&self.map, self.digest, chunk)
    }
}

/// Understands a manifest; the failure names every fault.
pub fn parse_manifest(text: &str) -> Result<Manifest, Failure> {
    Manifest::parse(text).map_err(|findings| {
        let texts: Vec<_> = findings.iter().map(|finding| format!("{finding:?}")).collect();
        format!("malformed: {MANIFEST}: {}", texts.join("; "))
    })
}

fn mismatch(facts: impl std::fmt::Display) -> Failure {
    format!("digest-mismatch: {facts}")
}

fn piece(map: &PackMap, package: Digest, chunk: &ChunkRef) -> Result<Piece, Failure> {
    match map.locate(&chunk.digest) {
        Some(piece) if piece.pack == package => Ok(*piece),
        Some(_) | None => {
            Err(mismatch(format!("chunk {} is not in the pack", chunk.digest.short())))
        }
    }
}
