//! Runs a hook of a release: as the configured user, in a session of its own, for a limited time. When
//! it has ended, or is no longer waited for, nothing of it is left running.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::child::{self, Ended, Session, Whole};
use crate::process::Account;

/// Bytes that are kept of a hook's output: the end, where errors are.
pub const TAIL: usize = 16 * 1024;

/// How long after a hook has ended its output is still read, should something else hold it open.
const DRAIN: Duration = Duration::from_millis(500);

/// A hook to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookRun {
    /// The program in the slot.
    pub command: PathBuf,
    /// Where it runs.
    pub directory: PathBuf,
    /// Its environment, beyond PATH, HOME, USER and LOGNAME.
    pub environment: BTreeMap<String, String>,
    /// As whom it runs.
    pub account: Account,
    /// How long it may take.
    pub timeout: Duration,
}

/// What a hook that succeeded said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The end of its output, both streams in order.
    pub tail: String,
}

/// A hook did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It could not be started.
    #[error("start the hook {command}")]
    Start {
        /// The program.
        command: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It ended, but not with status 0.
    #[error("run the hook {command}: {ended}")]
    Ended {
        /// The program.
        command: PathBuf,
        /// How it ended.
        ended: String,
        /// The end of its output.
        tail: String,
    },
    /// It was still running after its time.
    #[error("run the hook {command}: it did not end in time and was killed")]
    Late {
        /// The program.
        command: PathBuf,
        /// The end of its output.
        tail: String,
    },
}

impl HookError {
    /// The end of the hook's output.
    pub fn tail(&self) -> &str {
        match self {
            Self::Start { .. } => "",
            Self::Ended { tail, .. } | Self::Late { tail, .. } => tail,
        }
    }
}

/// Runs `hook` to its end. When this is dropped before, the hook and all that it started is killed.
pub async fn run(hook: &HookRun) -> Result<Output, HookError> {
    let failed = |source| HookError::Start { command: hook.command.clone(), source };
    let (mut reader, writer) = output_pipe().map_err(failed)?;
    let whole = start(hook, writer).map_err(failed)?;
    let mut tail = Tail::default();
    let ended = tokio::time::timeout(hook.timeout, ended(&whole, &mut reader, &mut tail)).await;
    // What the hook left running in its session is not part of the release.
    tokio::task::spawn_blocking(move || drop(whole))
        .await
        .map_err(|error| failed(io::Error::other(error)))?;
    let _drained = tokio::time::timeout(DRAIN, tail.read_all(&mut reader)).await;
    let command = hook.command.clone();
    let tail = tail.text();
    match ended {
        Err(_) => Err(HookError::Late { command, tail }),
        Ok(Err(source)) => Err(HookError::Start { command, source }),
        Ok(Ok(Ended::Status(0))) => Ok(Output { tail }),
        Ok(Ok(ended)) => Err(HookError::Ended { command, ended: ended.to_string(), tail }),
    }
}

fn output_pipe() -> io::Result<(pipe::Receiver, io::PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    let reader = std::os::fd::OwnedFd::from(reader);
    Ok((pipe::Receiver::from_owned_fd(reader)?, writer))
}

fn start(hook: &HookRun, writer: io::PipeWriter) -> io::Result<Whole> {
    let mut command = Command::new(&hook.command);
    child::prepare(&mut command, &hook.account);
    command
        .current_dir(&hook.directory)
        .envs(&hook.environment)
        .stdin(Stdio::null())
        .stderr(writer.try_clone()?)
        .stdout(writer);
    // The command holds our ends of the pipe and goes here, so that its end can be seen.
    let child = command.spawn()?;
    Session::of(&child).map(Whole)
}

async fn ended(whole: &Whole, reader: &mut pipe::Receiver, tail: &mut Tail) -> io::Result<Ended> {
    let ended = whole.leader_ended();
    tokio::pin!(ended);
    tokio::select! {
        ended = &mut ended => return ended,
        () = tail.read_all(reader) => {}
    }
    ended.await
}

/// The last [`TAIL`] bytes of what was read.
#[derive(Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    /// Reads until the other end is closed; can be stopped and gone on with.
    async fn read_all(&mut self, reader: &mut pipe::Receiver) {
        let mut buffer = vec![0; TAIL];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            self.bytes.extend_from_slice(&buffer[..count]);
            let excess = self.bytes.len().saturating_sub(TAIL);
            self.bytes.drain(..excess);
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn hook(directory: &Path, script: &str, timeout: Duration) -> HookRun {
        let command = directory.join("hook");
        child::tests::write_program(&command, script);
        HookRun {
            command,
            directory: directory.to_owned(),
            environment: BTreeMap::from([("CUTOVER_SLOT".to_owned(), "here".to_owned())]),
            account: Account::current().unwrap(),
            timeout,
        }
    }

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn output_of_both_streams_is_kept_in_order_and_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let script = "echo $CUTOVER_SLOT; echo two >&2; echo three";
        let output = run(&hook(directory.path(), script, LONG)).await.unwrap();
        assert_eq!(output.tail, "here\ntwo\nthree\n");
        let script = "head -c 1000000 /dev/zero | tr '\\0' x; echo end";
        let output = run(&hook(directory.path(), script, LONG)).await.unwrap();
        assert_eq!(output.tail.len(), TAIL);
        assert!(output.tail.ends_with("xxend\n"));
    }

    #[tokio::test]
    async fn a_failure_says_how_and_shows_the_end_of_the_output() {
        let directory = tempfile::tempdir().unwrap();
        let error =
            run(&hook(directory.path(), "echo no database; exit 7", LONG)).await.unwrap_err();
        assert_eq!(error.tail(), "no database\n");
        assert!(error.to_string().ends_with("exit status 7"), "{error}");
        let error = run(&hook(directory.path(), "kill -11 $$", LONG)).await.unwrap_err();
        assert!(error.to_string().ends_with("signal 11"), "{error}");
        let mut absent = hook(directory.path(), "", LONG);
        absent.command = directory.path().join("absent");
        assert!(matches!(run(&absent).await, Err(HookError::Start { .. })));
    }

    #[tokio::test]
    async fn a_late_hook_is_killed_with_all_that_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let script = "set -m; (trap '' TERM; sleep 1000) & echo $! >child; echo begun; wait";
        let hook = hook(directory.path(), script, Duration::from_millis(500));
        let error = run(&hook).await.unwrap_err();
        assert!(matches!(error, HookError::Late { .. }), "{error}");
        assert_eq!(error.tail(), "begun\n");
        let child = fs::read_to_string(directory.path().join("child")).unwrap();
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim()));
        assert!(stat.is_err() || stat.unwrap().contains(") Z "));
    }

    #[tokio::test]
    async fn what_a_hook_leaves_running_ends_with_it() {
        let directory = tempfile::tempdir().unwrap();
        // The daemon holds the output open; the hook's end does not wait for it.
        let output = run(&hook(directory.path(), "sleep 1000 & echo done", LONG)).await.unwrap();
        assert_eq!(output.tail, "done\n");
    }

    #[tokio::test]
    async fn a_hook_that_nobody_waits_for_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let ready = directory.path().join("ready");
        nix::unistd::mkfifo(&ready, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let hook = hook(directory.path(), "echo $$ >ready; sleep 1000", LONG);
        let pid = tokio::task::spawn_blocking(move || fs::read_to_string(ready).unwrap());
        let pid = tokio::select! {
            pid = pid => pid.unwrap(),
            ended = run(&hook) => panic!("ended: {ended:?}"),
        };
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        assert!(stat.is_err() || stat.unwrap().contains(") Z "));
    }
}
