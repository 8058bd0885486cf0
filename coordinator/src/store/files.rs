//! Files that are on the disk when we say so.
//!
//! A file's bytes are durable after `fdatasync` of the file; its name is durable after `fsync` of the
//! directory that holds it. A failed sync leaves unknown what the disk holds and is never retried: the
//! kernel may have dropped the pages and would report success the second time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// One operation on one file failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path:?}")]
pub struct FileError {
    /// What was tried, as a verb.
    pub operation: &'static str,
    /// On what.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// For `map_err`: the operation and the path around an error of the system.
pub(crate) fn failed<'a>(
    operation: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> FileError + 'a {
    move |source| FileError { operation, path: path.to_owned(), source }
}

/// Makes the names in `directory` durable.
pub(super) fn sync_directory(directory: &Path) -> Result<(), FileError> {
    File::open(directory)
        .and_then(|handle| handle.sync_all())
        .map_err(failed("sync the directory", directory))
}

/// Makes `directory` and what is missing of its parents below `root`, durably.
pub(crate) fn create_directories(root: &Path, directory: &Path) -> Result<(), FileError> {
    if directory == root || directory.is_dir() {
        return Ok(());
    }
    let parent = directory.parent().unwrap_or(root);
    create_directories(root, parent)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed("create the directory", directory)(error));
        }
        Ok(()) | Err(_) => {}
    }
    sync_directory(parent)
}

/// Why [`replace`] failed: whether the old content is certainly still the one in force.
pub(super) enum ReplaceError {
    /// It is.
    Before(FileError),
    /// Nobody knows before the next start.
    Unknown(FileError),
}

impl From<ReplaceError> for FileError {
    fn from(error: ReplaceError) -> Self {
        match error {
            ReplaceError::Before(error) | ReplaceError::Unknown(error) => error,
        }
    }
}

/// Replaces the file `name` in `directory` by `content`, durably, or leaves it as it was: at no instant
/// is there no file or half a one.
pub(super) fn replace(directory: &Path, name: &str, content: &[u8]) -> Result<(), ReplaceError> {
    let new = directory.join(format!("{name}.new"));
    let path = directory.join(name);
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&new)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(failed("write", &new)).map_err(ReplaceError::Before)?;
    fs::rename(&new, &path).map_err(failed("put in place", &path)).map_err(ReplaceError::Before)?;
    sync_directory(directory).map_err(ReplaceError::Unknown)
}

/// [`replace`] for whoever need not know which of the two is in force after a failure.
pub(crate) fn replace_file(directory: &Path, name: &str, content: &[u8]) -> Result<(), FileError> {
    Ok(replace(directory, name, content)?)
}

/// Held by the one process that uses a directory; the system lets go of it however the process ends.
#[derive(Debug)]
pub(super) struct DirectoryLock(File);

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing the file is not enough while a child process that is just being started has a copy of
        // it. Should this fail, the end of the process does it.
        let _ = self.0.unlock();
    }
}

/// Takes the lock of `directory`; `None` when another process has it.
pub(super) fn lock(directory: &Path) -> Result<Option<DirectoryLock>, FileError> {
    let path = directory.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(DirectoryLock(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(failed("lock", &path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_whole_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        for content in [&b"first"[..], b"second, longer", b""] {
            assert!(replace(directory.path(), "name", content).is_ok());
            assert_eq!(fs::read(directory.path().join("name")).unwrap(), content);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_replacement_that_cannot_be_written_leaves_the_old() {
        let directory = tempfile::tempdir().unwrap();
        assert!(replace(directory.path(), "name", b"old").is_ok());
        fs::create_dir(directory.path().join("name.new")).unwrap();
        let outcome = replace(directory.path(), "name", b"new");
        assert!(matches!(outcome, Err(ReplaceError::Before(_))));
        assert_eq!(fs::read(directory.path().join("name")).unwrap(), b"old");
    }

    #[test]
    fn one_holder_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let held = lock(directory.path()).unwrap();
        assert!(held.is_some());
        assert!(lock(directory.path()).unwrap().is_none());
        drop(held);
        assert!(lock(directory.path()).unwrap().is_some());
    }
}
