//! Running the real binary in a directory of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The program.
pub(crate) const CUTOVER: &str = env!("CARGO_BIN_EXE_cutover");

/// A person's directory; nothing of the machine's own settings is seen from here.
pub(crate) struct Desk {
    directory: TempDir,
    settings: Vec<(&'static str, String)>,
}

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) error: String,
    pub(crate) bytes: Vec<u8>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), settings: Vec::new() }
    }

    pub(crate) fn set(&mut self, variable: &'static str, value: impl Into<String>) {
        self.unset(variable);
        self.settings.push((variable, value.into()));
    }

    pub(crate) fn unset(&mut self, variable: &str) {
        self.settings.retain(|(name, _)| *name != variable);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// Runs `cutover` without a terminal.
    pub(crate) fn cutover<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Ended {
        self.run(CUTOVER.as_ref(), args)
    }

    /// Runs `cutover`, which must succeed, with `--json`.
    pub(crate) fn json<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Value {
        let ended = self.cutover(args.into_iter().chain(["--json"]));
        assert_eq!(ended.code, 0, "{}", ended.error);
        serde_json::from_str(&ended.out).unwrap()
    }

    /// Runs `openssl`, which must succeed.
    pub(crate) fn openssl<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
        let ended = self.run("openssl".as_ref(), args);
        assert_eq!(ended.code, 0, "{}", ended.error);
        ended.bytes
    }

    fn run<'a>(&self, program: &Path, args: impl IntoIterator<Item = &'a str>) -> Ended {
        let mut command = self.command(program);
        Ended::of(&command.args(args).stdin(Stdio::null()).output().unwrap())
    }

    /// A program in this directory, with these settings.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory.path())
            .envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Ended {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            error: String::from_utf8_lossy(&output.stderr).into_owned(),
            bytes: output.stdout.clone(),
        }
    }

    /// Asserts exit code and a text on standard error.
    #[track_caller]
    pub(crate) fn says(&self, code: i32, text: &str) {
        assert_eq!(self.code, code, "out: {}\nerror: {}", self.out, self.error);
        assert!(self.error.contains(text), "{text:?} is not in {:?}", self.error);
    }

    /// Asserts success.
    #[track_caller]
    pub(crate) fn done(&self) -> &Self {
        assert_eq!(self.code, 0, "out: {}\nerror: {}", self.out, self.error);
        self
    }
}
