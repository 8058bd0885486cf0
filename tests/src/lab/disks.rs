//! Where a lab keeps its hosts' disks: a directory that is removed with the lab, or, where its process was
//! killed, by the next lab.

use std::fs::{self, File};
use std::path::Path;

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

/// What its name begins with.
const PREFIX: &str = "disks-";

/// What a lab that is there holds a lock on.
const LOCK: &str = ".lock";

/// The directory.
pub(super) struct Disks {
    directory: TempDir,
    /// Locked for as long as it is open.
    _lock: File,
}

impl Disks {
    /// A new one in `parent`, after those that nobody uses any longer were removed.
    pub(super) fn new(parent: &Path) -> anyhow::Result<Self> {
        // One lab at a time begins, so that none takes another's beginning for an end.
        let beginning = File::create(parent.join("disks.lock"))?;
        flock(&beginning, FlockOperation::LockExclusive)?;
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        let lock = File::create(directory.path().join(LOCK))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        sweep(parent).context("remove what a killed test has left")?;
        Ok(Self { directory, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }
}

fn sweep(parent: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // Without a lock it is being removed by the lab whose it is.
        let Ok(lock) = File::open(entry.path().join(LOCK)) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
