//! Second opinions from programs that were not written here.
//!
//! An oracle is a Python script of `tests/oracles/`, run by the interpreter that `CUTOVER_PYTHON` names: one
//! with the packages of `tests/oracles/requirements.txt`, as `.ci/run` makes it. To have it elsewhere:
//!
//! ```sh
//! python3 -m venv target/oracles && target/oracles/bin/pip install -r tests/oracles/requirements.txt
//! export CUTOVER_PYTHON=$PWD/target/oracles/bin/python
//! ```
//!
//! A script reads a line for each question on its standard input and prints a line for each answer, in
//! order, so that thousands of questions cost one start of Python.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::{build, requirement};

/// The variable that names the interpreter.
pub const VARIABLE: &str = "CUTOVER_PYTHON";

/// An interpreter that has the packages.
pub struct Python {
    interpreter: PathBuf,
}

impl Python {
    /// The interpreter, seen to import `modules`; `None` after saying on standard error that `test` is
    /// skipped.
    ///
    /// # Errors
    ///
    /// When it is not there, or does not have them, and nothing may be skipped ([`requirement::skip`]).
    pub fn open(test: &str, modules: &[&str]) -> anyhow::Result<Option<Self>> {
        match Self::find(modules) {
            Ok(python) => Ok(Some(python)),
            Err(missing) => requirement::skip(test, missing).map(|()| None),
        }
    }

    /// The script `tests/oracles/<script>`, ready for arguments.
    pub fn command(&self, script: &str) -> Command {
        let mut command = Command::new(&self.interpreter);
        // The checkout stays as it was.
        command
            .arg(build::workspace().join("tests/oracles").join(script))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    fn find(modules: &[&str]) -> anyhow::Result<Self> {
        let interpreter = env::var_os(VARIABLE)
            .with_context(|| format!("{VARIABLE} does not name a Python with the oracles"))?;
        let import = format!("import {}", modules.join(", "));
        let output = Command::new(&interpreter)
            .args(["-c", &import])
            .output()
            .with_context(|| format!("run {}", interpreter.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {import}: {said}", interpreter.display());
        Ok(Self { interpreter: interpreter.into() })
    }

    /// What the script `tests/oracles/<script>` answers to each of `questions`, which are lines without
    /// their ends.
    ///
    /// # Errors
    ///
    /// When the script fails, or does not answer as many times as it was asked.
    pub fn ask(&self, script: &str, questions: &[String]) -> anyhow::Result<Vec<String>> {
        let mut command = self.command(script);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("run {script}"))?;
        let mut input = child.stdin.take().context("the script's standard input")?;
        let output = child.stdout.take().context("the script's standard output")?;
        let answers = std::thread::scope(|scope| -> anyhow::Result<Vec<String>> {
            let asking = scope.spawn(move || {
                questions.iter().try_for_each(|question| writeln!(input, "{question}"))
            });
            let answers = BufReader::new(output).lines().collect::<Result<Vec<_>, _>>()?;
            // A script that gave up closes its input; its exit code below says so better.
            let _ = asking.join();
            Ok(answers)
        })?;
        let status = child.wait()?;
        ensure!(status.success(), "{script}: {status}");
        ensure!(
            answers.len() == questions.len(),
            "{script} gave {} answers to {} questions",
            answers.len(),
            questions.len()
        );
        Ok(answers)
    }
}
