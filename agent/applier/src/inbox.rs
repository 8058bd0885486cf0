//! The inbox: files in which an operator, as root, says something to the service.

use std::path::{Path, PathBuf};

use cutover_applier_core::Input;

use crate::config::Settings;
use crate::inhibit;

/// The file in the inbox that holds a join string.
pub const JOIN_FILE: &str = "join";
/// The file in the inbox that says that an operator accepts the clock as it is.
pub const CLOCK_FILE: &str = "clock-accept";

/// Where an operator's words to the applier are put.
pub fn inbox(settings: &Settings) -> PathBuf {
    settings.state_directory.join("inbox")
}

/// Looks into the inbox, emptying it, and into the inhibitor directory.
pub fn look(settings: &Settings) -> Input {
    let inbox = inbox(settings);
    Input::Looked {
        inhibitors: inhibit::reasons(&settings.inhibit_directory),
        join: take(&inbox.join(JOIN_FILE)),
        clock_accepted: take(&inbox.join(CLOCK_FILE)).is_some(),
    }
}

/// Reads a file of the inbox and removes it.
fn take(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    if let Err(error) = std::fs::remove_file(path) {
        tracing::error!(path = %path.display(), %error, "the inbox cannot be emptied");
        return None;
    }
    Some(text)
}
