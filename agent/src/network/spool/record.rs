//! The format of a spool file, and what is in one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use cutover_shared::codec::{self, CodecError, FRAME_HEADER};
use cutover_shared::digest::Digest;
use cutover_shared::protocol::Part;
use serde::{Deserialize, Serialize};

use crate::network::PIECE;

/// Longest record in bytes: variant, part, offset, length, digest, with room.
const MAX_RECORD: usize = 96;

/// A frame in a spool file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    what: What,
    /// SHA-256 of the encoding of `what` and of the bytes that follow the record.
    digest: Digest,
}

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What {
    /// Bytes of a part follow.
    Piece {
        /// Of which part.
        part: Part,
        /// Where in the part they begin.
        offset: u64,
        /// How many.
        length: u32,
    },
    /// How long the parts are; nothing follows.
    Lengths(Lengths),
}

impl What {
    /// How many bytes follow it.
    fn body(&self) -> u32 {
        match self {
            Self::Piece { length, .. } => *length,
            Self::Lengths(_) => 0,
        }
    }

    fn digest(&self, bytes: &[u8]) -> Result<Digest, CodecError> {
        Ok(Digest::of_parts([&codec::encode(self)?[..], bytes]))
    }
}

impl Record {
    /// The record that goes before `bytes`.
    pub(super) fn new(what: What, bytes: &[u8]) -> Result<Self, CodecError> {
        let digest = what.digest(bytes)?;
        Ok(Self { what, digest })
    }

    pub(super) fn to_frame(&self) -> Result<Vec<u8>, CodecError> {
        codec::frame(self)
    }
}

/// How long the parts of a package are, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::network) struct Lengths {
    /// Of the index.
    pub(in crate::network) index: u64,
    /// Of the map.
    pub(in crate::network) map: u64,
    /// Of the pack.
    pub(in crate::network) pack: u64,
}

impl Lengths {
    /// Of one part.
    pub(in crate::network) fn of(&self, part: Part) -> u64 {
        match part {
            Part::Index => self.index,
            Part::Map => self.map,
            Part::Pack => self.pack,
        }
    }
}

/// Where a piece lies in the file, and what it must be.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) position: u64,
    pub(super) length: u32,
    record: Record,
}

impl Place {
    /// Whether `bytes` are what was written there.
    pub(super) fn holds(&self, bytes: &[u8]) -> bool {
        self.record.what.digest(bytes).is_ok_and(|digest| digest == self.record.digest)
    }
}

/// What is in a file.
#[derive(Debug, Default)]
pub(super) struct Contents {
    index: BTreeMap<u64, Place>,
    map: BTreeMap<u64, Place>,
    pack: BTreeMap<u64, Place>,
    lengths: Option<Lengths>,
    end: u64,
}

impl Contents {
    /// Goes through a file's records, up to the first that is torn or none at all.
    pub(super) fn scan(file: &File, length: u64) -> io::Result<Self> {
        let mut contents = Self::default();
        while let Some((record, body)) = record_at(file, contents.end, length)? {
            contents.add(&record, body);
        }
        Ok(contents)
    }

    /// Notes a record whose bytes begin at `body`.
    pub(super) fn add(&mut self, record: &Record, body: u64) {
        match record.what {
            What::Piece { part, offset, length } => {
                let place = Place { position: body, length, record: record.clone() };
                self.of_mut(part).insert(offset, place);
            }
            What::Lengths(lengths) => {
                if record.what.digest(&[]).is_ok_and(|it| it == record.digest) {
                    self.lengths = Some(lengths);
                }
            }
        }
        self.end = body + u64::from(record.what.body());
    }

    /// Where the next record goes.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn pieces(&self) -> usize {
        self.index.len() + self.map.len() + self.pack.len()
    }

    pub(super) fn lengths(&self) -> Option<Lengths> {
        self.lengths
    }

    /// The piece that the byte at `at` lies in, with where it begins.
    pub(super) fn piece_at(&self, part: Part, at: u64) -> Option<(u64, &Place)> {
        let (offset, place) = self.of(part).range(..=at).next_back()?;
        (at - offset < u64::from(place.length)).then_some((*offset, place))
    }

    pub(super) fn next_after(&self, part: Part, at: u64) -> Option<u64> {
        let after = at.checked_add(1)?;
        let (offset, _) = self.of(part).range(after..).next()?;
        Some(*offset)
    }

    pub(super) fn forget(&mut self, part: Part, offset: u64) {
        self.of_mut(part).remove(&offset);
    }

    fn of(&self, part: Part) -> &BTreeMap<u64, Place> {
        match part {
            Part::Index => &self.index,
            Part::Map => &self.map,
            Part::Pack => &self.pack,
        }
    }

    fn of_mut(&mut self, part: Part) -> &mut BTreeMap<u64, Place> {
        match part {
            Part::Index => &mut self.index,
            Part::Map => &mut self.map,
            Part::Pack => &mut self.pack,
        }
    }
}

/// The record at `position` and where its bytes begin, when all of it lies within the file.
fn record_at(file: &File, position: u64, length: u64) -> io::Result<Option<(Record, u64)>> {
    let mut header = [0; FRAME_HEADER];
    let body = position + FRAME_HEADER as u64;
    if body > length {
        return Ok(None);
    }
    file.read_exact_at(&mut header, position)?;
    let frame = match codec::frame_length(header) {
        Ok(frame) if frame <= MAX_RECORD => frame,
        Ok(_) | Err(_) => return Ok(None),
    };
    let bytes_at = body + frame as u64;
    if bytes_at > length {
        return Ok(None);
    }
    let mut frame = vec![0; frame];
    file.read_exact_at(&mut frame, body)?;
    let Ok(record) = codec::decode::<Record>(&frame) else {
        return Ok(None);
    };
    let body = record.what.body();
    let whole = body as usize <= PIECE && bytes_at + u64::from(body) <= length;
    Ok(whole.then_some((record, bytes_at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change here makes old spools unreadable, which costs fetching again: change [`super::super::SUFFIX`]
    /// with it, so that old files are not misread.
    #[test]
    fn golden_bytes() {
        let piece = What::Piece { part: Part::Pack, offset: 1 << 20, length: 7 };
        let piece = Record::new(piece, b"0123456").unwrap().to_frame().unwrap();
        let head = [0, 0, 0, 40, 0, 2, 252, 0, 0, 16, 0, 7];
        assert_eq!(piece[..12], head);
        let digest = Digest::of_parts([&head[4..], b"0123456"]);
        assert_eq!(&piece[12..], digest.as_bytes());
        let lengths = What::Lengths(Lengths { index: 1, map: 2, pack: 300 });
        let lengths = Record::new(lengths, b"").unwrap().to_frame().unwrap();
        assert_eq!(lengths[..10], [0, 0, 0, 38, 1, 1, 2, 251, 44, 1]);
        assert_eq!(&lengths[10..], Digest::of(&lengths[4..10]).as_bytes());
    }

    #[test]
    fn the_longest_record_is_within_the_limit() {
        let piece = What::Piece { part: Part::Pack, offset: u64::MAX, length: u32::MAX };
        let lengths = What::Lengths(Lengths { index: u64::MAX, map: u64::MAX, pack: u64::MAX });
        for longest in [piece, lengths] {
            let record = Record::new(longest, b"").unwrap();
            assert!(codec::encode(&record).unwrap().len() <= MAX_RECORD);
        }
    }
}
