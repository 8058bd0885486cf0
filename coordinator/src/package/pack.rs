//! Writing a pack: compressed chunks, one behind the other, each once, in the order of first use.

use std::collections::BTreeMap;
use std::io::{self, Write};

use cutover_shared::digest::Digest;
use cutover_shared::package::chunk::{ChunkRef, deflate};
use cutover_shared::package::map::{MapError, PackMap, Piece};

use super::directory::ChunkSink;

/// A pack in the making.
pub(super) struct PackWriter<W> {
    out: W,
    length: u64,
    places: BTreeMap<Digest, (u64, u32)>,
}

impl<W: Write> PackWriter<W> {
    /// An empty one, written to `out`.
    pub(super) fn new(out: W) -> Self {
        Self { out, length: 0, places: BTreeMap::new() }
    }

    /// The pack is whole: where it was written to, its length, and the map of the package `pack`.
    pub(super) fn finish(self, pack: Digest) -> Result<(W, u64, PackMap), MapError> {
        let pieces = self.places.into_iter().map(|(chunk, (offset, stored))| Piece {
            chunk,
            pack,
            offset,
            stored,
        });
        Ok((self.out, self.length, PackMap::new(pieces.collect())?))
    }
}

impl<W: Write> ChunkSink for PackWriter<W> {
    fn chunk(&mut self, chunk: &ChunkRef, content: &[u8]) -> io::Result<()> {
        if self.places.contains_key(&chunk.digest) {
            return Ok(());
        }
        let stored = deflate(content);
        let length =
            u32::try_from(stored.len()).expect("a stored chunk is not larger than MAX_STORED");
        self.out.write_all(&stored)?;
        self.places.insert(chunk.digest, (self.length, length));
        self.length += u64::from(length);
        Ok(())
    }
}
