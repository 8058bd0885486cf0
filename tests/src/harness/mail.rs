//! A mail server for tests: the program of `tests/oracles/smtp_sink.py`, which keeps what it is sent.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::PATIENCE;
use crate::oracle::Python;

/// How the server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Not encrypted.
    ClearText,
    /// Encrypted after a beginning in clear text, and used only then.
    StartTls,
    /// Encrypted from the first byte.
    Wrapper,
}

/// The server. It ends when it is dropped.
#[derive(Debug)]
pub struct MailServer {
    child: Child,
    input: ChildStdin,
    lines: Receiver<Value>,
    port: u16,
    seen: Vec<Value>,
}

impl MailServer {
    /// Starts it on a free port; `None` after saying that `test` is skipped where the program is not to be had.
    /// Its certificate for `localhost` is made in `directory`: `mail.pem`.
    pub fn start(test: &str, mode: Mode, directory: &Path) -> anyhow::Result<Option<Self>> {
        let Some(python) = Python::open(test, &["aiosmtpd"])? else { return Ok(None) };
        let (certificate, key) = (directory.join("mail.pem"), directory.join("mail.key"));
        let mut command = python.command("smtp_sink.py");
        match mode {
            Mode::ClearText => command.arg("clear-text"),
            Mode::StartTls | Mode::Wrapper => {
                certify(&certificate, &key)?;
                command.arg(if mode == Mode::StartTls { "starttls" } else { "wrapper" });
                command.arg(&certificate).arg(&key)
            }
        };
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the mail server")?;
        let input = child.stdin.take().context("its standard input")?;
        let output = child.stdout.take().context("its standard output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Ok(value) = serde_json::from_str(&line) else { return };
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let mut server = Self { child, input, lines, port: 0, seen: Vec::new() };
        let first = server.next(Instant::now())?;
        server.port = u16::try_from(first["port"].as_u64().context("a port")?)?;
        Ok(Some(server))
    }

    /// Its port on this machine.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// So many messages are not taken, but answered that it is busy.
    pub fn be_busy(&mut self, messages: u32) -> anyhow::Result<()> {
        writeln!(self.input, "{messages}").context("tell the mail server")
    }

    /// Waits until `found` finds what it looks for in the messages that came.
    pub fn until<T>(
        &mut self,
        what: &str,
        mut found: impl FnMut(&[Value]) -> Option<T>,
    ) -> anyhow::Result<T> {
        let began = Instant::now();
        loop {
            if let Some(found) = found(&self.seen) {
                return Ok(found);
            }
            let message = self.next(began).with_context(|| {
                let told: Vec<_> = self
                    .seen
                    .iter()
                    .map(|it| format!("{} {}", it["to"], it["headers"]["subject"]))
                    .collect();
                format!("not seen: {what}; what came:\n{}", told.join("\n"))
            })?;
            self.seen.push(message);
        }
    }

    fn next(&self, began: Instant) -> anyhow::Result<Value> {
        let left = PATIENCE.saturating_sub(began.elapsed());
        match self.lines.recv_timeout(left) {
            Ok(value) => Ok(value),
            Err(RecvTimeoutError::Timeout) => bail!("the mail server says nothing more"),
            Err(RecvTimeoutError::Disconnected) => bail!("the mail server has ended"),
        }
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A certificate for `localhost` that vouches for itself, and its key.
fn certify(certificate: &Path, key: &Path) -> anyhow::Result<()> {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "30", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(key)
        .arg("-out")
        .arg(certificate)
        .output()
        .context("run openssl")?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}
