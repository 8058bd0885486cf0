//! The one module that prints.
//!
//! Results go to standard output: text and tables for people, or with `--json` exactly one JSON value a
//! command (one a line for commands that go on, such as `status --watch`). Everything else (what will be
//! signed, notes, failures, progress) goes to standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context as _;
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::client::Appended;
use super::exit::Failure;
use crate::package::Progress;

/// Where results go, and in which form.
#[derive(Debug, Clone, Copy)]
pub struct Sink {
    json: bool,
}

impl Sink {
    /// For people, or for programs.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether programs read.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// The result of a command: `value` as JSON for programs, or else the text (a line, lines, or a
    /// [`table`]) for people.
    pub fn result<T, D>(&self, value: &T, text: impl FnOnce(&T) -> D) -> Result<(), Failure>
    where
        T: Serialize + ?Sized,
        D: Display,
    {
        if self.json { self.json(value) } else { self.line(text(value)) }
    }

    /// Lines for people on standard output; nothing for programs.
    pub fn line(&self, text: impl Display) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        self.bytes(format!("{}\n", harmless(&text.to_string())).as_bytes())
    }

    /// What would have been written, had this been no dry run.
    pub fn dry_run(&self, what: &str) -> Result<(), Failure> {
        let value = serde_json::json!({ "dry-run": true, "would_write": what });
        self.result(&value, |_| {
            format!("It would write {what}.\nThis is a dry run: nothing was written.")
        })
    }

    /// A JSON value for programs, on one line; nothing for people.
    pub fn json<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), Failure> {
        if !self.json {
            return Ok(());
        }
        let mut line = serde_json::to_vec(value).context("write the result as JSON")?;
        line.push(b'\n');
        self.bytes(&line)
    }

    /// Bytes as they are, for commands whose result is a file's content.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let written = out.write_all(bytes).and_then(|()| out.flush());
        Ok(written.context("write to standard output")?)
    }

    /// Something that people should know and that is no result; on standard error. That it cannot be
    /// told is no reason to stop.
    pub fn note(&self, text: impl Display) {
        let _ = writeln!(io::stderr().lock(), "{}", harmless(&text.to_string()));
    }

    /// A statement is in the log: its identity and place, and what else the command has to say of it. Of that,
    /// what is no single value is for programs.
    pub fn appended(
        &self,
        appended: &Appended,
        more: &[(&str, serde_json::Value)],
    ) -> Result<(), Failure> {
        let mut object = serde_json::Map::new();
        object.insert("id".to_owned(), appended.id.to_string().into());
        object.insert("index".to_owned(), appended.index.into());
        for (name, value) in more {
            object.insert((*name).to_owned(), value.clone());
        }
        self.result(&object, |_| {
            let mut lines = vec![
                format!("statement {}", appended.id),
                format!("logged    entry {} of the log", appended.index),
            ];
            let single = more.iter().filter(|(_, value)| !value.is_object() && !value.is_array());
            lines.extend(single.map(|(name, value)| {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                format!("{name:9} {value}")
            }));
            lines.join("\n")
        })
    }

    /// A progress bar on the terminal; nothing where there is none.
    pub fn progress(&self, doing: &'static str) -> Bar {
        Bar { bar: ProgressBar::hidden(), doing }
    }

    /// Tells why a command did not do what was asked: for people on standard error, and for programs
    /// on standard output too.
    pub fn failure(&self, failure: &Failure) {
        if failure.is_told() {
            return;
        }
        self.note(failure.text());
        // If not even that can be written there is no one left to tell.
        let _ = self.json(&failure.to_json());
    }
}

/// The text without control characters: what others wrote into the log must not steer a terminal, nor
/// make a line look like another.
fn harmless(text: &str) -> String {
    let steers = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    // Directional overrides and isolates, which show a line in another order than it has.
    let turns = |character| matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.replace(|character| steers(character) || turns(character), "\u{fffd}")
}

/// Asks a question on the terminal; `None` where there is no terminal to ask at.
pub(super) fn ask(question: &str) -> Result<Option<bool>, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(None);
    }
    let mut error = io::stderr().lock();
    let asked = write!(error, "{question} [y/N] ").and_then(|()| error.flush());
    asked.context("ask on the terminal")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("read the answer")?;
    Ok(Some(matches!(answer.trim(), "y" | "Y" | "yes")))
}

/// Asks for a passphrase without showing it; `None` where there is no terminal to ask at.
pub(super) fn ask_passphrase(prompt: &str) -> Result<Option<String>, Failure> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    Ok(Some(rpassword::prompt_password(prompt).context("read the passphrase")?))
}

/// With fewer columns than this a table would be one of letters.
const NARROWEST: u16 = 40;

/// An empty table in the one style that we have.
pub fn table<'h>(header: impl IntoIterator<Item = &'h str>) -> Table {
    let mut table = Table::new();
    // Some terminals say that they have no width; in them a line may as well be as long as it is.
    let arrangement = match table.width() {
        Some(width) if width < NARROWEST => ContentArrangement::Disabled,
        Some(_) | None => ContentArrangement::Dynamic,
    };
    table
        .load_style(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(arrangement)
        .set_header(header);
    table
}

/// A progress bar for long work.
pub struct Bar {
    bar: ProgressBar,
    doing: &'static str,
}

impl Progress for Bar {
    fn begin(&mut self, bytes: u64) {
        let style = ProgressStyle::with_template(
            "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        )
        .expect("the template has only fields that indicatif knows")
        .progress_chars("=> ");
        self.bar = ProgressBar::new(bytes).with_style(style).with_message(self.doing);
    }

    fn advance(&mut self, bytes: u64) {
        self.bar.inc(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_steers_the_terminal() {
        let shown = harmless("a\u{1b}[2Jb\r\u{202e}c\n\td");
        assert_eq!(shown, "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\n\td");
    }
}
