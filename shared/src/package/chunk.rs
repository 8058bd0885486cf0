//! Chunks: the pieces of files that are stored, sent and verified one by one.
//!
//! Files are cut by content with FastCDC in its 2020 form, normalization level 1, no seed, and the
//! sizes below. The cut is part of a package's identity: changing any of these needs a new schema
//! version of the index.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// No chunk but the last of a file is smaller.
pub const MIN_CHUNK: u32 = 16 * 1024;

/// What the cut aims at.
pub const AVERAGE_CHUNK: u32 = 64 * 1024;

/// No chunk is larger: it bounds what one chunk costs in memory, before its digest is known.
pub const MAX_CHUNK: u32 = 256 * 1024;

/// The most bytes that a chunk may take in a pack: zstd adds at most 1 KiB to a chunk that does not
/// compress, and a little is left for other encoders.
pub const MAX_STORED: u32 = MAX_CHUNK + 4096;

/// zstd's own default, and the knee of its curve (see the measurements that the design rests on).
const COMPRESSION_LEVEL: i32 = 3;

/// One chunk of a file: what it must turn out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkRef {
    /// SHA-256 of the content, not of the stored form.
    pub digest: Digest,
    /// Bytes of content, 1 to [`MAX_CHUNK`].
    pub length: u32,
}

impl ChunkRef {
    /// The reference to `content`; `None` when it is empty or larger than a chunk may be.
    pub fn of(content: &[u8]) -> Option<Self> {
        let length = u32::try_from(content.len()).ok()?;
        (1..=MAX_CHUNK).contains(&length).then(|| Self { digest: Digest::of(content), length })
    }
}

/// Why stored bytes are not the chunk that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The reference itself asks for what no chunk can be.
    #[error("chunk {} is said to have {length} bytes, more than none and at most {MAX_CHUNK} are possible", digest.short())]
    Length {
        /// The chunk.
        digest: Digest,
        /// The length that the reference gives.
        length: u32,
    },
    /// More stored bytes than the content can need.
    #[error("chunk {} is stored in {stored} bytes, at most {MAX_STORED} are possible", digest.short())]
    Stored {
        /// The chunk.
        digest: Digest,
        /// The stored bytes.
        stored: usize,
    },
    /// The stored bytes are not zstd, or inflate to more than the reference says.
    #[error("chunk {} does not inflate to {length} bytes: {reason}", digest.short())]
    Inflate {
        /// The chunk.
        digest: Digest,
        /// The length that the reference gives.
        length: u32,
        /// What zstd said.
        reason: String,
    },
    /// They inflate to less than the reference says.
    #[error("chunk {} inflates to {inflated} bytes instead of {length}", digest.short())]
    Short {
        /// The chunk.
        digest: Digest,
        /// The length that the reference gives.
        length: u32,
        /// The length that came out.
        inflated: usize,
    },
    /// The content is another.
    #[error("chunk {} has the content of {}", digest.short(), found.short())]
    Content {
        /// The chunk.
        digest: Digest,
        /// The digest of what came out.
        found: Digest,
    },
}

/// The content of a chunk from its stored form. Never makes more than `expected.length` bytes,
/// whatever the stored bytes say of themselves; the digest is verified before they are given out.
pub fn inflate(stored: &[u8], expected: &ChunkRef) -> Result<Vec<u8>, ChunkError> {
    let ChunkRef { digest, length } = *expected;
    if !(1..=MAX_CHUNK).contains(&length) {
        return Err(ChunkError::Length { digest, length });
    }
    if stored.len() > MAX_STORED as usize {
        let stored = stored.len();
        return Err(ChunkError::Stored { digest, stored });
    }
    let content = zstd::bulk::decompress(stored, length as usize).map_err(|error| {
        let reason = error.to_string();
        ChunkError::Inflate { digest, length, reason }
    })?;
    if content.len() != length as usize {
        let inflated = content.len();
        return Err(ChunkError::Short { digest, length, inflated });
    }
    match Digest::of(&content) {
        found if found == digest => Ok(content),
        found => Err(ChunkError::Content { digest, found }),
    }
}

/// The stored form of `content`. It depends on the version of zstd, and nothing may depend on it but
/// [`inflate`].
pub fn deflate(content: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(content, COMPRESSION_LEVEL)
        .expect("zstd compresses any bytes into a buffer that it sized itself")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk(content: &[u8]) -> ChunkRef {
        ChunkRef::of(content).unwrap()
    }

    #[test]
    fn what_is_no_chunk() {
        assert_eq!(ChunkRef::of(b""), None);
        assert_eq!(ChunkRef::of(&vec![0; MAX_CHUNK as usize + 1]), None);
        assert!(ChunkRef::of(&vec![0; MAX_CHUNK as usize]).is_some());
    }

    #[test]
    fn an_inflate_bomb_makes_no_more_than_the_reference_allows() {
        let bomb = zstd::bulk::compress(&vec![0_u8; 256 << 20], 19).unwrap();
        assert!(bomb.len() < MAX_STORED as usize, "{}", bomb.len());
        for length in [1, 1000, MAX_CHUNK] {
            let expected = ChunkRef { digest: Digest::of(b"x"), length };
            assert!(matches!(inflate(&bomb, &expected), Err(ChunkError::Inflate { .. })));
        }
    }

    #[test]
    fn a_bomb_that_does_not_state_its_size_is_stopped_too() {
        use std::io::Write as _;
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.include_contentsize(false).unwrap();
        for _ in 0..64 {
            encoder.write_all(&vec![0_u8; 1 << 20]).unwrap();
        }
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < MAX_STORED as usize, "{}", bomb.len());
        let expected = chunk(&vec![0; MAX_CHUNK as usize]);
        assert!(matches!(inflate(&bomb, &expected), Err(ChunkError::Inflate { .. })));
    }

    #[test]
    fn many_frames_are_one_chunk_only_within_its_length() {
        let mut frames = deflate(b"one ");
        frames.extend(deflate(b"two"));
        assert_eq!(inflate(&frames, &chunk(b"one two")).unwrap(), b"one two");
        frames.extend(deflate(b"!"));
        assert!(matches!(inflate(&frames, &chunk(b"one two")), Err(ChunkError::Inflate { .. })));
    }

    #[test]
    fn each_lie_has_its_answer() {
        let content = b"some content".repeat(20);
        let stored = deflate(&content);
        let honest = chunk(&content);
        let lie = |length| ChunkRef { length, ..honest };
        assert_eq!(inflate(&stored, &honest), Ok(content.clone()));
        assert!(matches!(inflate(&stored, &lie(0)), Err(ChunkError::Length { .. })));
        assert!(matches!(inflate(&stored, &lie(MAX_CHUNK + 1)), Err(ChunkError::Length { .. })));
        assert!(matches!(
            inflate(&stored, &lie(honest.length - 1)),
            Err(ChunkError::Inflate { .. })
        ));
        assert!(matches!(inflate(&stored, &lie(honest.length + 1)), Err(ChunkError::Short { .. })));
        assert!(matches!(
            inflate(&vec![0; MAX_STORED as usize + 1], &honest),
            Err(ChunkError::Stored { .. })
        ));
        let other = b"same content".repeat(20);
        assert!(matches!(inflate(&deflate(&other), &honest), Err(ChunkError::Content { .. })));
    }

    #[test]
    fn the_largest_chunk_that_does_not_compress_fits_its_stored_limit() {
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        })
        .take(MAX_CHUNK as usize)
        .collect();
        let stored = deflate(&noise);
        assert!(stored.len() <= MAX_STORED as usize);
        assert_eq!(inflate(&stored, &chunk(&noise)), Ok(noise));
    }

    proptest! {
        #[test]
        fn chunks_come_back(content in proptest::collection::vec(any::<u8>(), 1..5000)) {
            let reference = chunk(&content);
            prop_assert_eq!(inflate(&deflate(&content), &reference), Ok(content));
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(stored in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(inflate(&stored, &chunk(b"another content")).is_err());
        }

        #[test]
        fn a_flipped_bit_never_passes_as_another_content(
            content in proptest::collection::vec(any::<u8>(), 1..300), position: prop::sample::Index, bit in 0_u8..8,
        ) {
            let mut stored = deflate(&content);
            let at = position.index(stored.len());
            stored[at] ^= 1 << bit;
            if let Ok(inflated) = inflate(&stored, &chunk(&content)) {
                prop_assert_eq!(inflated, content);
            }
        }
    }
}
