//! The ledger: which deliveries are done, in a file of lines that only grows.
//!
//! A line is the first 8 hexadecimal digits of its JSON's SHA-256, a space, and the JSON of a [`Mark`]. Marks
//! are on the disk before the next delivery begins. What cannot be read (the torn line of a crash, damage) and
//! all behind it is left out, and the file as it was kept beside it: a mark that is lost means that something
//! is delivered twice, with the same key, and nothing worse. Opening writes the fewest lines that come to the
//! same.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use cutover_coordinator_core::outbox::{Mark, Remembered};
use cutover_shared::digest::Digest;

use crate::store::{FileError, file_failed, replace_file};

/// The ledger's name in the data directory.
const NAME: &str = "outbox.ledger";

/// When the file has grown by so much since it was written anew, it is again.
const MOST_GROWTH: u64 = 4 * 1024 * 1024;

/// How many digits of a line's digest it carries.
const CHECK: usize = 8;

/// The open ledger.
#[derive(Debug)]
pub struct Ledger {
    directory: PathBuf,
    file: File,
    grown: u64,
}

/// What opening found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerReport {
    /// There was none.
    Begun,
    /// It was read whole.
    Read,
    /// It was read up to a line that is none; as it was, it is kept there.
    Cut {
        /// Where.
        kept: PathBuf,
    },
}

impl Ledger {
    /// Opens the ledger in `directory`.
    pub fn open(directory: &Path) -> Result<(Self, Remembered, LedgerReport), FileError> {
        let path = directory.join(NAME);
        let (remembered, report) = match std::fs::read(&path) {
            Ok(bytes) => {
                let (remembered, whole) = read(&bytes);
                let kept = directory.join(format!("{NAME}.damaged"));
                if whole {
                    (remembered, LedgerReport::Read)
                } else {
                    std::fs::write(&kept, &bytes).map_err(file_failed("write", &kept))?;
                    (remembered, LedgerReport::Cut { kept })
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                (Remembered::default(), LedgerReport::Begun)
            }
            Err(error) => return Err(file_failed("read", &path)(error)),
        };
        let file = rewrite(directory, &remembered)?;
        Ok((Self { directory: directory.to_owned(), file, grown: 0 }, remembered, report))
    }

    /// Adds marks, which are on the disk when this returns. `remembered` has them already.
    pub fn add(&mut self, marks: &[Mark], remembered: &Remembered) -> Result<(), FileError> {
        if marks.is_empty() {
            return Ok(());
        }
        if self.grown > MOST_GROWTH {
            self.file = rewrite(&self.directory, remembered)?;
            self.grown = 0;
            return Ok(());
        }
        let lines: String = marks.iter().map(line).collect();
        let path = self.directory.join(NAME);
        self.file.write_all(lines.as_bytes()).map_err(file_failed("write", &path))?;
        self.file.sync_data().map_err(file_failed("sync", &path))?;
        self.grown += lines.len() as u64;
        Ok(())
    }
}

fn rewrite(directory: &Path, remembered: &Remembered) -> Result<File, FileError> {
    let lines: String = remembered.marks().iter().map(line).collect();
    replace_file(directory, NAME, lines.as_bytes())?;
    let path = directory.join(NAME);
    OpenOptions::new().append(true).open(&path).map_err(file_failed("open", &path))
}

fn line(mark: &Mark) -> String {
    let json = serde_json::to_string(mark).expect("marks are plain data with text keys");
    format!("{} {json}\n", check(&json))
}

fn check(json: &str) -> String {
    Digest::of(json.as_bytes()).to_string().chars().take(CHECK).collect()
}

/// The marks up to the first line that is none, and whether that was all.
fn read(bytes: &[u8]) -> (Remembered, bool) {
    let mut remembered = Remembered::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return (remembered, false);
        };
        let mark = std::str::from_utf8(&rest[..end]).ok().and_then(|line| {
            let (digits, json) = line.split_once(' ')?;
            let mark = serde_json::from_str::<Mark>(json).ok()?;
            (digits == check(json)).then_some(mark)
        });
        let Some(mark) = mark else { return (remembered, false) };
        remembered.add(mark);
        rest = &rest[end + 1..];
    }
    (remembered, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(index: u64) -> Mark {
        let at = "2026-03-08T06:30:00Z".parse().unwrap();
        Mark::Done { key: Digest::of(&index.to_be_bytes()), index, at }
    }

    fn add(ledger: &mut Ledger, remembered: &mut Remembered, marks: &[Mark]) {
        for mark in marks {
            remembered.add(mark.clone());
        }
        ledger.add(marks, remembered).unwrap();
    }

    #[test]
    fn what_was_marked_is_there_when_it_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let (mut ledger, mut remembered, report) = Ledger::open(directory.path()).unwrap();
        assert_eq!((report, &remembered), (LedgerReport::Begun, &Remembered::default()));
        add(&mut ledger, &mut remembered, &[done(1), Mark::Below(1)]);
        add(&mut ledger, &mut remembered, &[done(2), Mark::Below(3)]);
        drop(ledger);
        for _ in 0..2 {
            let (_, again, report) = Ledger::open(directory.path()).unwrap();
            assert_eq!((report, &again), (LedgerReport::Read, &remembered));
        }
    }

    #[test]
    fn a_torn_or_bent_line_loses_what_is_behind_it_and_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NAME);
        let (mut ledger, mut remembered, _) = Ledger::open(directory.path()).unwrap();
        add(&mut ledger, &mut remembered, &[done(1)]);
        let first = std::fs::read(&path).unwrap();
        add(&mut ledger, &mut remembered, &[done(2)]);
        let whole = std::fs::read(&path).unwrap();
        let mut bent = whole.clone();
        *bent.last_mut().unwrap() = b'}';
        bent[first.len() + 20] ^= 1;
        for damaged in [whole[..whole.len() - 3].to_vec(), bent] {
            std::fs::write(&path, &damaged).unwrap();
            let (_, again, report) = Ledger::open(directory.path()).unwrap();
            let LedgerReport::Cut { kept } = report else { panic!("{report:?}") };
            assert_eq!(std::fs::read(kept).unwrap(), damaged);
            assert_eq!(again.all_done().map(|(index, ..)| index).collect::<Vec<_>>(), [1]);
            assert_eq!(std::fs::read(&path).unwrap(), first);
        }
    }
}
