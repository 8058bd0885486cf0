//! Entry bundles: 256 entries of the log to a file, in the layout of C2SP's tlog-tiles.
//!
//! A bundle's path is `tile/entries/<N>` with N in groups of three digits, all but the last marked by an
//! `x`: bundle 1234067 is `tile/entries/x001/x234/067`. Two differences from tlog-tiles, both because
//! of what the entries are and where the file lives:
//!
//! - The length before each entry is a big-endian `u32`, not a `u16`: an envelope may be 512 KiB.
//! - The last bundle grows in its place under the full bundle's name. What tlog-tiles calls the partial
//!   bundle `<N>.p/<W>` is the first W entries of that file.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::path::PathBuf;

/// Entries in a full bundle, as in tlog-tiles.
pub(super) const BUNDLE: u64 = 256;

/// The longest entry in bytes. A trust policy of a large organisation, the largest of the statements,
/// stays below half of it. What is longer belongs into an attachment.
pub const MAX_ENTRY: usize = 512 * 1024;

/// The length before each entry.
const LENGTH: usize = 4;

/// Where bundle `number` lies, below the log's directory.
pub(super) fn path(number: u64) -> PathBuf {
    let mut groups = vec![format!("{:03}", number % 1000)];
    let mut rest = number / 1000;
    while rest > 0 {
        groups.push(format!("x{:03}", rest % 1000));
        rest /= 1000;
    }
    let mut text = String::from("tile/entries");
    for group in groups.iter().rev() {
        let _ = write!(text, "/{group}");
    }
    PathBuf::from(text)
}

/// Adds `entry`, 1 to [`MAX_ENTRY`] bytes, to the bytes of a bundle.
pub(super) fn push(bundle: &mut Vec<u8>, entry: &[u8]) {
    let length = u32::try_from(entry.len()).expect("an entry is at most MAX_ENTRY long");
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
}

/// What comes next in a bundle.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// A whole entry.
    Entry(Vec<u8>),
    /// Nothing: the bundle ends behind a whole entry.
    End,
    /// The bundle ends within an entry.
    Torn,
    /// A length that no entry has; a range that was never written reads as zeros.
    Impossible(u32),
}

/// Reads a bundle record by record, never more than one of them in memory.
pub(super) struct Reader<R> {
    source: R,
    offset: u64,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, offset: 0 }
    }

    /// Bytes of the whole entries that were read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record. After anything but an entry there is no next.
    pub(super) fn next(&mut self) -> io::Result<Record> {
        let mut header = Vec::with_capacity(LENGTH);
        self.read_up_to(LENGTH, &mut header)?;
        if header.is_empty() {
            return Ok(Record::End);
        }
        let Some(header) = header.first_chunk::<LENGTH>() else {
            return Ok(Record::Torn);
        };
        let claimed = u32::from_be_bytes(*header);
        let length = usize::try_from(claimed).unwrap_or(usize::MAX);
        if !(1..=MAX_ENTRY).contains(&length) {
            return Ok(Record::Impossible(claimed));
        }
        let mut entry = Vec::new();
        self.read_up_to(length, &mut entry)?;
        if entry.len() < length {
            return Ok(Record::Torn);
        }
        self.offset += (LENGTH + length) as u64;
        Ok(Record::Entry(entry))
    }

    fn read_up_to(&mut self, length: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        self.source.by_ref().take(length as u64).read_to_end(buffer)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(bytes: &[u8]) -> Vec<Record> {
        let mut reader = Reader::new(bytes);
        let mut records = Vec::new();
        loop {
            let record = reader.next().unwrap();
            let last = !matches!(record, Record::Entry(_));
            records.push(record);
            if last {
                return records;
            }
        }
    }

    #[test]
    fn paths_are_those_of_tlog_tiles() {
        for (number, text) in [
            (0, "tile/entries/000"),
            (7, "tile/entries/007"),
            (999, "tile/entries/999"),
            (1000, "tile/entries/x001/000"),
            (1_234_067, "tile/entries/x001/x234/067"),
            (2_000_000_000, "tile/entries/x002/x000/x000/000"),
        ] {
            assert_eq!(path(number), PathBuf::from(text));
        }
    }

    #[test]
    fn the_bytes_of_a_bundle_are_fixed() {
        let mut bundle = Vec::new();
        push(&mut bundle, b"one");
        push(&mut bundle, b"three");
        assert_eq!(bundle, b"\0\0\0\x03one\0\0\0\x05three");
        assert_eq!(
            records(&bundle),
            [Record::Entry(b"one".to_vec()), Record::Entry(b"three".to_vec()), Record::End]
        );
    }

    #[test]
    fn every_cut_is_seen() {
        let mut bundle = Vec::new();
        push(&mut bundle, b"one");
        push(&mut bundle, b"three");
        for length in 0..bundle.len() {
            let read = records(&bundle[..length]);
            let (last, before) = read.split_last().unwrap();
            let whole = usize::from(length >= 7);
            assert_eq!(before.len(), whole, "cut at {length}");
            let expected = if length == 0 || length == 7 { Record::End } else { Record::Torn };
            assert_eq!(*last, expected, "cut at {length}");
        }
    }

    #[test]
    fn lengths_that_no_entry_has() {
        assert_eq!(records(&[0; 64]), [Record::Impossible(0)]);
        assert_eq!(records(&[0xff; 64]), [Record::Impossible(u32::MAX)]);
        let longest = u32::try_from(MAX_ENTRY).unwrap();
        assert_eq!(records(&(longest + 1).to_be_bytes()), [Record::Impossible(longest + 1)]);
        let mut bundle = Vec::new();
        push(&mut bundle, &vec![1; MAX_ENTRY]);
        assert_eq!(records(&bundle).len(), 2);
    }
}
