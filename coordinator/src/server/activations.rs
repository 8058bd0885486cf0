//! Who was cleared to activate, in a file: a restarted coordinator must not give such a host's place away.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cutover_coordinator_core::Activations;

use super::start::StartError;
use crate::store::{StoreError, replace_file};

/// The file's name in the data directory.
const NAME: &str = "activations.json";

/// The file.
#[derive(Debug)]
pub(super) struct ActivationsFile {
    directory: PathBuf,
}

impl ActivationsFile {
    /// What it holds. One that is none is kept beside it, loudly: who is cleared from now on is written down
    /// again, and of those before only the log and what hosts report is known.
    pub(super) fn open(directory: &Path) -> Result<(Self, Activations), StartError> {
        let file = Self { directory: directory.to_owned() };
        let path = directory.join(NAME);
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| StartError::Read { what, path, source }
        };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok((file, Activations::default()));
            }
            Err(error) => return Err(failed("who was cleared to activate", &path)(error)),
        };
        match serde_json::from_slice(&bytes) {
            Ok(activations) => Ok((file, activations)),
            Err(error) => {
                let kept = directory.join(format!("{NAME}.damaged"));
                std::fs::rename(&path, &kept)
                    .map_err(failed("(to put it aside) who was cleared to activate", &path))?;
                tracing::warn!(
                    %error,
                    kept = %kept.display(),
                    "the file that says who was cleared to activate is damaged: hold rollouts whose hosts \
                     you do not see until those hosts have told what came of it"
                );
                Ok((file, Activations::default()))
            }
        }
    }

    /// Replaces it: on the disk when this returns.
    pub(super) fn save(&self, activations: &Activations) -> Result<(), StoreError> {
        let json = serde_json::to_vec(activations).expect("a list of plain records");
        Ok(replace_file(&self.directory, NAME, &json)?)
    }
}
