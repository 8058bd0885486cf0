//! The transport key: who this host is on the wire, and nothing more.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cutover_shared::key::{KeyError, SecretKey};

/// The key could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file could not be read.
    #[error("read the transport key {path:?}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file holds no key that can be used.
    #[error("use the transport key {path:?}; move the file away to have a new key made")]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
    /// A new file could not be written.
    #[error("write a new transport key to {path:?}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system gave no random bytes.
    #[error("draw a random transport key")]
    Random(#[source] getrandom::Error),
}

/// Reads the key in `path`, or makes one there when there is no such file.
pub(super) fn load_or_make(path: &Path) -> Result<SecretKey, IdentityError> {
    match fs::read_to_string(path) {
        Ok(pem) => {
            let pem = zeroize::Zeroizing::new(pem);
            warn_if_open(path);
            SecretKey::from_pem(&pem, None)
                .map_err(|source| IdentityError::Key { path: path.to_owned(), source })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path),
        Err(source) => Err(IdentityError::Read { path: path.to_owned(), source }),
    }
}

fn warn_if_open(path: &Path) {
    if fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o007 != 0) {
        tracing::warn!(path = %path.display(), "the transport key is open to everybody on this machine");
    }
}

fn make(path: &Path) -> Result<SecretKey, IdentityError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(IdentityError::Random)?;
    let key = SecretKey::from_seed(seed);
    write(path, key.to_pem().as_bytes())
        .map_err(|source| IdentityError::Write { path: path.to_owned(), source })?;
    tracing::info!(path = %path.display(), key = %key.public().id(), "made a transport key");
    Ok(key)
}

/// Writes a file that is either not there or whole, whatever happens in between: another key after a
/// crash would be another host to the coordinator.
fn write(path: &Path, contents: &[u8]) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let temporary = path.with_extension("new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_and_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/transport.pem");
        let made = load_or_make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(load_or_make(&path).unwrap().public(), made.public());
    }

    #[test]
    fn half_a_file_of_a_crash_is_no_hindrance() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("transport.pem");
        fs::write(path.with_extension("new"), "-----BEGIN").unwrap();
        load_or_make(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_no_key_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("transport.pem");
        fs::write(&path, "something precious").unwrap();
        assert!(matches!(load_or_make(&path), Err(IdentityError::Key { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "something precious");
    }
}
