//! Frames on the wire and records in the store: bincode, always with a limit.
//!
//! The one place that names bincode. Lengths that a peer claims are limited before anything is allocated
//! for them, bytes after the value are an error, and whatever encodes decodes again. What bincode does
//! not bound, its users must: types that pass through here are flat (no recursion, no sequences of empty
//! types), and where the *bytes* of a value are its identity they are compared with its encoding.
//!
//! Integers are variable-length and little-endian, enum variants are numbered in the order of their
//! declaration, strings and sequences are preceded by their length. So the order of fields and variants
//! is the format; the golden bytes at the end of this file hold the encoding itself in place.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest frame body in bytes, in either direction. Sized by the largest thing sent whole: an order
/// with the evidence for it, some hundred envelopes of a few KiB with their proofs. Packages are sent
/// in ranges, never in frames.
pub const MAX_FRAME: usize = 8 * 1024 * 1024;

/// The length of what precedes each frame: its body's length, big-endian.
pub const FRAME_HEADER: usize = 4;

/// What bincode may account for while it decodes one frame. It books eight bytes for each integer and
/// length, also where one is all that it took, so its own limit has to be the larger by that factor for
/// everything that we encode to decode again. It is what a claimed string length is compared with.
const ACCOUNT: usize = 8 * MAX_FRAME;

/// A value could not be written as, or read from, a frame or record.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The value cannot be written: its type is not one that bincode can hold.
    #[error("encode a value")]
    Encode(#[source] bincode::error::EncodeError),
    /// The bytes are not a value of the type, or claim to be longer than a frame may be.
    #[error("decode a value")]
    Decode(#[source] bincode::error::DecodeError),
    /// Bytes are left over after the value.
    #[error("decode a value: it ends after {used} of {length} bytes")]
    Trailing {
        /// How many bytes the value has.
        used: usize,
        /// How many bytes there were.
        length: usize,
    },
    /// The body is longer than [`MAX_FRAME`].
    #[error("handle a frame of {length} bytes: the limit is {MAX_FRAME}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
}

/// The bytes of `value`, at most [`MAX_FRAME`] of them.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    let bytes = bincode::serde::encode_to_vec(value, bincode::config::standard())
        .map_err(CodecError::Encode)?;
    check_length(bytes.len())?;
    Ok(bytes)
}

/// The value that `bytes` are, all of them.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    check_length(bytes.len())?;
    let config = bincode::config::standard().with_limit::<ACCOUNT>();
    let (value, used) =
        bincode::serde::decode_from_slice(bytes, config).map_err(CodecError::Decode)?;
    if used == bytes.len() {
        Ok(value)
    } else {
        Err(CodecError::Trailing { used, length: bytes.len() })
    }
}

/// `value` as it goes over the wire: the length of its bytes in four, big-endian, then the bytes.
pub fn frame<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    let body = encode(value)?;
    let length = u32::try_from(body.len()).expect("MAX_FRAME is below 2^32");
    let mut bytes = Vec::with_capacity(FRAME_HEADER + body.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// How many bytes follow a frame's `header`; refused before anybody makes room for them.
pub fn frame_length(header: [u8; FRAME_HEADER]) -> Result<usize, CodecError> {
    let length = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
    check_length(length)?;
    Ok(length)
}

fn check_length(length: usize) -> Result<(), CodecError> {
    if length <= MAX_FRAME { Ok(()) } else { Err(CodecError::TooLong { length }) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Message {
        Quiet,
        Text(String),
        Numbers { small: u8, large: u64, below: i64 },
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Record {
        messages: Vec<Message>,
        option: Option<u16>,
        table: BTreeMap<String, bool>,
        digest: crate::digest::Digest,
        time: crate::time::Time,
    }

    fn record() -> Record {
        Record {
            messages: vec![
                Message::Quiet,
                Message::Text("é".to_owned()),
                Message::Numbers { small: 255, large: 250, below: -1 },
                Message::Numbers { small: 0, large: u64::MAX, below: 65_536 },
            ],
            option: Some(251),
            table: BTreeMap::from([("b".to_owned(), true), ("a".to_owned(), false)]),
            digest: crate::digest::Digest::from_bytes([0xdd; 32]),
            time: crate::time::Time::from_millis(1000).unwrap(),
        }
    }

    /// Version 1 of the encoding itself. When this fails, every stored record and every peer of another
    /// version is unreadable: that is a new protocol version, not a new golden.
    #[test]
    fn golden_bytes() {
        let golden = [
            "04",                       // four messages
            "00",                       // Quiet
            "01 02 c3a9",               // Text, its length in bytes
            "02 ff fa 01",              // Numbers: a byte, up to 250 in one, zigzag
            "02 00 fdffffffffffffffff", // 253: eight bytes follow
            "fc00000200",               // 252: four follow, zigzag of 65,536
            "01 fbfb00",                // Some; 251: two bytes follow
            "02 0161 00 0162 01",       // the table in order of its keys
            "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd",
            "fbd007", // zigzag of 1000
        ];
        let golden = hex::decode(golden.concat().replace(' ', "")).unwrap();
        assert_eq!(hex::encode(encode(&record()).unwrap()), hex::encode(&golden));
        assert_eq!(decode::<Record>(&golden).unwrap(), record());
    }

    #[test]
    fn a_cut_value_and_one_with_more_behind_it_are_refused() {
        let bytes = encode(&record()).unwrap();
        for length in 0..bytes.len() {
            let result = decode::<Record>(&bytes[..length]);
            assert!(matches!(result, Err(CodecError::Decode(_))), "{length}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(
            decode::<Record>(&longer),
            Err(CodecError::Trailing { used, length }) if used == bytes.len() && length == used + 1
        ));
    }

    #[test]
    fn a_claimed_length_takes_no_memory() {
        // 2^40 bytes, strings and messages are claimed; the limit refuses before there is room for them.
        let mut claim = vec![253];
        claim.extend_from_slice(&(1_u64 << 40).to_le_bytes());
        assert!(matches!(decode::<Vec<u8>>(&claim), Err(CodecError::Decode(_))));
        assert!(matches!(decode::<String>(&claim), Err(CodecError::Decode(_))));
        assert!(matches!(decode::<Vec<Message>>(&claim), Err(CodecError::Decode(_))));
    }

    #[test]
    fn frames_have_a_limit_at_both_ends() {
        let text = "x".repeat(300);
        let frame = frame(&text).unwrap();
        let (header, body) = frame.split_first_chunk::<FRAME_HEADER>().unwrap();
        assert_eq!(frame_length(*header).unwrap(), body.len());
        assert_eq!(*header, [0, 0, 1, 0x2f], "big-endian: 300 and three of its length");
        assert_eq!(decode::<String>(body).unwrap(), text);

        let limit = u32::try_from(MAX_FRAME).unwrap();
        assert_eq!(frame_length(limit.to_be_bytes()).unwrap(), MAX_FRAME);
        for length in [limit + 1, u32::MAX] {
            assert!(matches!(frame_length(length.to_be_bytes()), Err(CodecError::TooLong { .. })));
        }
        // Five bytes say the length of a long string.
        let longest = "x".repeat(MAX_FRAME - 5);
        assert_eq!(decode::<String>(&encode(&longest).unwrap()).unwrap(), longest);
        let small = vec![1_u64; MAX_FRAME / 4];
        assert_eq!(decode::<Vec<u64>>(&encode(&small).unwrap()).unwrap(), small);
        let longer = "x".repeat(MAX_FRAME - 4);
        assert!(matches!(encode(&longer), Err(CodecError::TooLong { .. })));
        assert!(matches!(
            decode::<String>(&vec![0; MAX_FRAME + 1]),
            Err(CodecError::TooLong { .. })
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(read) = decode::<Record>(&bytes) {
                prop_assert_eq!(decode::<Record>(&encode(&read).unwrap()).unwrap(), read);
            }
        }

        #[test]
        fn a_bent_record_never_makes_it_panic(at in 0usize..80, byte in any::<u8>()) {
            let mut bytes = encode(&record()).unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = decode::<Record>(&bytes);
        }
    }
}
