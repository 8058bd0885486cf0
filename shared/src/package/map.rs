//! The map of a package: where its chunks lie in which packs.
//!
//! A hint, outside the package's identity. Nothing in it is trusted: a wrong place gives bytes that do
//! not have the chunk's digest. It is written as fixed-width records, because it may have hundreds of
//! thousands of them:
//!
//! ```text
//! "cutover-map/1\n"  then for each chunk, in the order of the chunks' digests:
//! chunk digest (32)  pack (32)  offset in the pack (8)  stored bytes (4)     integers big-endian
//! ```

use serde::{Deserialize, Serialize};

use super::chunk::MAX_STORED;
use crate::digest::Digest;

const MAGIC: &[u8; 14] = b"cutover-map/1\n";
const RECORD: usize = 32 + 32 + 8 + 4;

/// The most records: more chunks do not fit into the largest index.
pub const MAX_PIECES: usize = 1 << 20;

/// The largest map in bytes.
pub const MAX_MAP: usize = MAGIC.len() + MAX_PIECES * RECORD;

/// Where one chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Piece {
    /// The digest of the chunk's content.
    pub chunk: Digest,
    /// The digest of the package whose pack holds it.
    pub pack: Digest,
    /// Bytes of the pack before it.
    pub offset: u64,
    /// Bytes that it takes in the pack, 1 to [`MAX_STORED`].
    pub stored: u32,
}

/// Where the chunks of a package lie, one place for each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackMap {
    /// Ordered by chunk, no chunk twice.
    pieces: Vec<Piece>,
}

/// Why bytes are no map, or pieces make none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// Another kind of document, or another version of it.
    #[error("the map does not begin as one of version 1 does")]
    Magic,
    /// The bytes end within a record.
    #[error("the map ends within a record")]
    Torn,
    /// More than [`MAX_PIECES`].
    #[error("the map has more than {MAX_PIECES} records")]
    TooMany,
    /// Records out of order, or two for one chunk.
    #[error("the record of chunk {} is not behind the one before it", .0.short())]
    Order(Digest),
    /// A size that no stored chunk has, or an end beyond what can be addressed.
    #[error("chunk {} is said to lie where none can lie", .0.short())]
    Place(Digest),
}

impl PackMap {
    /// A map of `pieces`, in any order.
    pub fn new(mut pieces: Vec<Piece>) -> Result<Self, MapError> {
        pieces.sort_by_key(|piece| piece.chunk);
        Self::verified(pieces)
    }

    fn verified(pieces: Vec<Piece>) -> Result<Self, MapError> {
        if pieces.len() > MAX_PIECES {
            return Err(MapError::TooMany);
        }
        for pair in pieces.windows(2) {
            if pair[0].chunk >= pair[1].chunk {
                return Err(MapError::Order(pair[1].chunk));
            }
        }
        for piece in &pieces {
            let fits = (1..=MAX_STORED).contains(&piece.stored)
                && piece.offset.checked_add(u64::from(piece.stored)).is_some();
            if !fits {
                return Err(MapError::Place(piece.chunk));
            }
        }
        Ok(Self { pieces })
    }

    /// Reads a map.
    pub fn parse(bytes: &[u8]) -> Result<Self, MapError> {
        let records = bytes.strip_prefix(MAGIC).ok_or(MapError::Magic)?;
        if records.len() > MAX_PIECES * RECORD {
            return Err(MapError::TooMany);
        }
        let (records, rest) = records.as_chunks::<RECORD>();
        if !rest.is_empty() {
            return Err(MapError::Torn);
        }
        Self::verified(records.iter().map(read_record).collect())
    }

    /// The map as it is written.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAGIC.len() + self.pieces.len() * RECORD);
        bytes.extend_from_slice(MAGIC);
        for piece in &self.pieces {
            bytes.extend_from_slice(piece.chunk.as_bytes());
            bytes.extend_from_slice(piece.pack.as_bytes());
            bytes.extend_from_slice(&piece.offset.to_be_bytes());
            bytes.extend_from_slice(&piece.stored.to_be_bytes());
        }
        bytes
    }

    /// Where `chunk` lies.
    pub fn locate(&self, chunk: &Digest) -> Option<&Piece> {
        let position = self.pieces.binary_search_by_key(chunk, |piece| piece.chunk);
        position.ok().map(|position| &self.pieces[position])
    }

    /// All pieces, ordered by chunk.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }
}

fn read_record(record: &[u8; RECORD]) -> Piece {
    let (chunk, rest) = take::<32>(record);
    let (pack, rest) = take::<32>(rest);
    let (offset, rest) = take::<8>(rest);
    let (stored, _) = take::<4>(rest);
    Piece {
        chunk: Digest::from_bytes(chunk),
        pack: Digest::from_bytes(pack),
        offset: u64::from_be_bytes(offset),
        stored: u32::from_be_bytes(stored),
    }
}

fn take<const N: usize>(bytes: &[u8]) -> ([u8; N], &[u8]) {
    let (taken, rest) =
        bytes.split_first_chunk::<N>().expect("the fields of a record add up to its length");
    (*taken, rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece(name: &str) -> Piece {
        Piece {
            chunk: Digest::of(name.as_bytes()),
            pack: Digest::of(b"pack"),
            offset: 0x0102_0304_0506_0708,
            stored: 0x0003_0405,
        }
    }

    #[test]
    fn golden_bytes_of_version_1() {
        let map = PackMap::new(vec![piece("abc")]).unwrap();
        let hex = concat!(
            "6375746f7665722d6d61702f310a",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "PACK",
            "0102030405060708",
            "00030405"
        )
        .replace("PACK", &Digest::of(b"pack").to_string());
        assert_eq!(hex::encode(map.to_bytes()), hex);
    }

    #[test]
    fn lies_are_refused() {
        let good = PackMap::new(vec![piece("a"), piece("b")]).unwrap().to_bytes();
        assert_eq!(PackMap::parse(b""), Err(MapError::Magic));
        assert_eq!(PackMap::parse(b"cutover-map/2\n"), Err(MapError::Magic));
        assert_eq!(PackMap::parse(&good[..good.len() - 1]), Err(MapError::Torn));
        let twice = [&good[..], &good[MAGIC.len()..]].concat();
        assert!(matches!(PackMap::parse(&twice), Err(MapError::Order(_))));
        assert!(matches!(PackMap::new(vec![piece("a"), piece("a")]), Err(MapError::Order(_))));
        for place in [
            Piece { stored: 0, ..piece("a") },
            Piece { stored: MAX_STORED + 1, ..piece("a") },
            Piece { offset: u64::MAX, ..piece("a") },
        ] {
            assert!(matches!(PackMap::new(vec![place]), Err(MapError::Place(_))));
        }
        assert_eq!(
            PackMap::parse(&[&MAGIC[..], &vec![0; (MAX_PIECES + 1) * RECORD]].concat()),
            Err(MapError::TooMany)
        );
    }

    proptest! {
        #[test]
        fn maps_come_back(names in proptest::collection::btree_set("[a-z]{1,4}", 0..20), offset in 0..u64::MAX / 2) {
            let pieces: Vec<Piece> = names.iter().map(|name| Piece { offset, ..piece(name) }).collect();
            let map = PackMap::new(pieces).unwrap();
            prop_assert_eq!(PackMap::parse(&map.to_bytes()), Ok(map.clone()));
            for name in &names {
                let chunk = Digest::of(name.as_bytes());
                prop_assert_eq!(map.locate(&chunk).map(|piece| piece.chunk), Some(chunk));
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = PackMap::parse(&[&MAGIC[..], &bytes].concat());
        }
    }
}
