//! The store on real directories: what survives, what is refused, what is reported.

mod appending;
mod caching;
mod crashes;
mod recovering;
mod whole;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use cutover_shared::digest::Digest;
use cutover_shared::key::SecretKey;
use cutover_shared::time::Time;

use super::append::LogWriter;
use super::log::{self, LogReport, LogStore};
use super::{
    Appended, Entry, FileStore, LogError, Missing, OpenReport, Options, Signer, StoreError,
};

/// Signs for a log `origin`, with a clock that goes on by a second each time it is read.
fn signer_of(origin: &str, key: u8) -> Arc<Signer> {
    let millis = AtomicI64::new(1_767_225_600_000);
    Arc::new(Signer {
        origin: origin.to_owned(),
        key: SecretKey::from_seed([key; 32]),
        clock: Arc::new(move || {
            Time::from_millis(millis.fetch_add(1000, Ordering::Relaxed)).unwrap()
        }),
    })
}

fn signer() -> Arc<Signer> {
    signer_of("example.org/cutover", 1)
}

/// Entry number `number`, of a length of its own.
fn entry(number: u64) -> Vec<u8> {
    let length = usize::try_from(number % 7).unwrap();
    format!("entry {number} {}", "x".repeat(length)).into_bytes()
}

fn entries(range: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    range.map(entry).collect()
}

/// The log in `directory`, opened as the writing thread would.
fn open_log(directory: &Path) -> Result<(LogStore, LogWriter, LogReport), LogError> {
    log::open(directory, signer(), Missing::Create)
}

/// A log of `size` entries in `directory`, appended in one step, and closed.
fn log_of(directory: &Path, size: u64) {
    let (_, mut writer, _) = open_log(directory).unwrap();
    writer.append_batch(0, &entries(0..size)).unwrap();
}

/// All entries, through as many reads as it takes.
fn read_all(log: &LogStore) -> Vec<Vec<u8>> {
    let size = log.published().head.size;
    let mut all: Vec<Vec<u8>> = Vec::new();
    while (all.len() as u64) < size {
        all.extend(log.read(all.len() as u64..size).unwrap());
    }
    all
}

/// A copy of `directory` to break.
fn copy(directory: &Path) -> tempfile::TempDir {
    let target = tempfile::tempdir().unwrap();
    copy_into(directory, target.path());
    target
}

fn copy_into(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_into(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

fn bundle_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(super::bundle::path(number))
}

/// In these tests an entry's identity is its digest; those that begin with `!` have none.
fn identify(bytes: &[u8]) -> Option<Digest> {
    (bytes.first() != Some(&b'!')).then(|| Digest::of(bytes))
}

fn identified(bytes: Vec<u8>) -> Entry {
    Entry { id: Digest::of(&bytes), bytes }
}

fn options(directory: &Path, missing: Missing) -> Options {
    Options { directory: directory.to_owned(), signer: signer(), missing, identify }
}

fn open_store(directory: &Path) -> Result<(FileStore, OpenReport), StoreError> {
    FileStore::open(options(directory, Missing::Create))
}

fn new_at(index: u64) -> Appended {
    Appended { index, new: true }
}

fn known_at(index: u64) -> Appended {
    Appended { index, new: false }
}
