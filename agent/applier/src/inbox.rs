//! The inbox: files in which an operator, as root, says something to the service.
//!
//! ```text
//! <state>/inbox/join             a join string
//! <state>/inbox/clock-accept     the clock is accepted as it is
//! <state>/inbox/ask-<number>     a request: JSON, see OperatorAsk
//! <state>/inbox/answer-<number>  what the service says to it: JSON, {"Ok": …} or {"Err": …}
//! ```
//!
//! The directory is the service's own, mode 0700: who can put a file there is root, or the service's user.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use cutover_applier_core::{Input, OperatorAsk};

use crate::config::Settings;
use crate::inhibit;

/// The file in the inbox that holds a join string.
pub const JOIN_FILE: &str = "join";
/// The file in the inbox that says that an operator accepts the clock as it is.
pub const CLOCK_FILE: &str = "clock-accept";
/// What the files begin with that hold requests.
const ASK: &str = "ask-";
/// What the files begin with that hold answers to them.
const ANSWER: &str = "answer-";
/// Most requests that are read at once; the others are read when these were answered.
const MAX_ASKS: usize = 16;
/// The longest file in bytes that is read: a join string holds a whole trust policy.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Where an operator's words to the applier are put.
pub fn inbox(settings: &Settings) -> PathBuf {
    settings.state_directory.join("inbox")
}

/// The file of the request with this number.
pub fn ask_file(number: &str) -> String {
    format!("{ASK}{number}")
}

/// The file of the answer to the request with this number.
pub fn answer_file(number: &str) -> String {
    format!("{ANSWER}{number}")
}

/// Looks into the inbox, emptying it, and into the inhibitor directory.
pub fn look(settings: &Settings) -> Vec<Input> {
    let inbox = inbox(settings);
    let mut inputs = vec![Input::Looked {
        inhibitors: inhibit::reasons(&settings.inhibit_directory),
        join: take(&inbox.join(JOIN_FILE)),
        clock_accepted: take(&inbox.join(CLOCK_FILE)).is_some(),
    }];
    inputs.extend(numbers(&inbox, ASK).into_iter().take(MAX_ASKS).filter_map(|number| {
        let text = take(&inbox.join(ask_file(&number)))?;
        match serde_json::from_str::<OperatorAsk>(&text) {
            Ok(ask) => Some(Input::Asked { number, ask }),
            Err(error) => {
                tracing::error!(number, %error, "a request in the inbox cannot be understood");
                let why = format!("the request cannot be understood: {error}");
                answer(settings, &number, &Err(why));
                None
            }
        }
    }));
    inputs
}

/// Answers a request. Nobody may be waiting for it any longer.
pub fn answer(settings: &Settings, number: &str, answer: &Result<String, String>) {
    let inbox = inbox(settings);
    let write = || -> io::Result<()> {
        let temporary = settings.state_directory.join("answer.new");
        std::fs::write(&temporary, serde_json::to_vec(answer)?)?;
        std::fs::rename(&temporary, inbox.join(answer_file(number)))
    };
    if let Err(error) = write() {
        tracing::error!(number, %error, "an operator's request cannot be answered");
    }
}

/// Removes answers that nobody has come for, from the life of a service before this one.
pub fn forget_answers(settings: &Settings) {
    let inbox = inbox(settings);
    for number in numbers(&inbox, ANSWER) {
        if let Err(error) = std::fs::remove_file(inbox.join(answer_file(&number))) {
            tracing::warn!(number, %error, "an old answer cannot be removed");
        }
    }
}

/// What follows `prefix` in the names of the inbox's files, in order.
fn numbers(inbox: &Path, prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(inbox).into_iter().flatten().flatten();
    let number = |entry: std::fs::DirEntry| {
        Some(entry.file_name().to_str()?.strip_prefix(prefix)?.to_owned())
    };
    let mut numbers: Vec<String> = entries.filter_map(number).collect();
    numbers.sort();
    numbers
}

/// Reads a file of the inbox and removes it.
fn take(path: &Path) -> Option<String> {
    let mut text = Vec::new();
    std::fs::File::open(path).ok()?.take(MAX_FILE).read_to_end(&mut text).ok()?;
    if let Err(error) = std::fs::remove_file(path) {
        tracing::error!(path = %path.display(), %error, "the inbox cannot be emptied");
        return None;
    }
    Some(String::from_utf8_lossy(&text).into_owned())
}
