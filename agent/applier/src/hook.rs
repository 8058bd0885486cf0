//! Runs a hook of a release, or the command of a health check: as the configured user, for a limited time.
//! When it has ended, or is no longer waited for, nothing of it is left running, whatever it has forked and
//! wherever that went.
//!
//! Two ways lead there: a transient unit of systemd ([`Runner::Unit`]), whose control group is ended whole,
//! and where there is no systemd a supervisor ([`Runner::Supervised`]), which adopts every orphan of the
//! hook.

mod kept;
mod supervised;
mod transient;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::unix::pipe;

use crate::child::Ended;
use crate::process::Account;
use crate::read_only::ReadOnly;
use kept::Kept;

pub use kept::{HEAD, TAIL, excerpt};
pub use transient::{end_orphans, name as unit_name};

/// How long after a hook has ended its output is still read, should something else hold it open.
const DRAIN: Duration = Duration::from_millis(500);

/// A hook to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookRun {
    /// The program in the slot.
    pub command: PathBuf,
    /// Its arguments; a hook has none.
    pub arguments: Vec<String>,
    /// Where it runs.
    pub directory: PathBuf,
    /// Its environment, beyond PATH, HOME, USER and LOGNAME.
    pub environment: BTreeMap<String, String>,
    /// As whom it runs.
    pub account: Account,
    /// What is read-only to it.
    pub read_only: Option<ReadOnly>,
    /// How long it may take.
    pub timeout: Duration,
    /// Who runs it.
    pub runner: Runner,
}

/// Who runs a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runner {
    /// systemd, in a transient unit with this name.
    Unit(String),
    /// A supervisor of our own.
    Supervised(Supervisor),
}

/// The program that is the supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervisor {
    /// Its path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
}

impl Supervisor {
    /// This very program, also when its file was replaced meanwhile.
    pub fn ourselves() -> Self {
        Self {
            program: PathBuf::from("/proc/self/exe"),
            arguments: vec!["supervise".to_owned()],
            environment: BTreeMap::new(),
        }
    }
}

/// What a hook that succeeded said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Beginning and end of its output, both streams in order.
    pub text: String,
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
        /// Beginning and end of its output.
        output: String,
    },
    /// It was still running after its time.
    #[error("run the hook {command}: it did not end in time and was killed")]
    Late {
        /// The program.
        command: PathBuf,
        /// Beginning and end of its output.
        output: String,
    },
    /// Something of it may still run.
    #[error("end the hook {command}: {why}")]
    Remains {
        /// The program.
        command: PathBuf,
        /// What is known of it.
        why: String,
        /// Beginning and end of its output.
        output: String,
    },
}

impl HookError {
    /// Beginning and end of the hook's output.
    pub fn output(&self) -> &str {
        match self {
            Self::Start { .. } => "",
            Self::Ended { output, .. }
            | Self::Late { output, .. }
            | Self::Remains { output, .. } => output,
        }
    }
}

/// How a run of a hook went, whoever ran it.
enum Fate {
    Ended(Ended),
    Late,
    NotStarted(io::Error),
    Remains(String),
}

/// Runs `hook` to its end. When this is dropped before, the hook and all that it started is killed.
pub async fn run(hook: &HookRun) -> Result<Output, HookError> {
    let failed = |source| HookError::Start { command: hook.command.clone(), source };
    let (mut reader, writer) = output_pipe().map_err(failed)?;
    let mut kept = Kept::default();
    let fate = {
        let run = async {
            match &hook.runner {
                Runner::Unit(name) => transient::run(hook, name, writer).await,
                Runner::Supervised(supervisor) => supervised::run(hook, supervisor, writer).await,
            }
        };
        tokio::pin!(run);
        tokio::select! {
            fate = &mut run => fate,
            () = kept.read_all(&mut reader) => run.await,
        }
    };
    let _drained = tokio::time::timeout(DRAIN, kept.read_all(&mut reader)).await;
    let (command, output) = (hook.command.clone(), kept.text());
    match fate {
        Fate::Ended(Ended::Status(0)) => Ok(Output { text: output }),
        Fate::Ended(ended) => Err(HookError::Ended { command, ended: ended.to_string(), output }),
        Fate::Late => Err(HookError::Late { command, output }),
        Fate::NotStarted(source) => Err(HookError::Start { command, source }),
        Fate::Remains(why) => Err(HookError::Remains { command, why, output }),
    }
}

fn output_pipe() -> io::Result<(pipe::Receiver, io::PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    let reader = std::os::fd::OwnedFd::from(reader);
    Ok((pipe::Receiver::from_owned_fd(reader)?, writer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::tests::SUPERVISOR;
    use crate::{child, mounts};
    use std::fs;
    use std::path::Path;

    fn hook(directory: &Path, script: &str, timeout: Duration) -> HookRun {
        let command = directory.join("hook");
        child::tests::write_program(&command, script);
        HookRun {
            command,
            arguments: Vec::new(),
            directory: directory.to_owned(),
            environment: BTreeMap::from([("CUTOVER_SLOT".to_owned(), "here".to_owned())]),
            account: Account::current().unwrap(),
            read_only: None,
            timeout,
            runner: Runner::Supervised(Supervisor {
                program: std::env::current_exe().unwrap(),
                arguments: ["--exact", "supervise::tests::supervisor", "--nocapture", "--quiet"]
                    .map(str::to_owned)
                    .to_vec(),
                environment: BTreeMap::from([(SUPERVISOR.to_owned(), String::new())]),
            }),
        }
    }

    /// The output without what the supervisor says, which is a test here.
    fn said(output: &str) -> &str {
        output.trim_start().strip_prefix("running 1 test\n").unwrap()
    }

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn output_of_both_streams_is_kept_in_order_and_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let script = "echo $CUTOVER_SLOT; echo two >&2; echo three";
        let output = run(&hook(directory.path(), script, LONG)).await.unwrap();
        assert_eq!(said(&output.text), "here\ntwo\nthree\n");
        let script = "head -c 1000000 /dev/zero | tr '\\0' x; echo end";
        let output = run(&hook(directory.path(), script, LONG)).await.unwrap();
        assert!(output.text.len() < HEAD + TAIL + 40);
        assert!(output.text.ends_with("xxend\n"));
    }

    #[tokio::test]
    async fn arguments_are_given_as_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let mut hook = hook(directory.path(), "printf '<%s>' \"$@\"", LONG);
        hook.arguments = ["two words", "$HOME", "%n", ""].map(str::to_owned).to_vec();
        let output = run(&hook).await.unwrap();
        assert_eq!(said(&output.text), "<two words><$HOME><%n><>");
    }

    #[tokio::test]
    async fn a_failure_says_how_and_shows_the_end_of_the_output() {
        let directory = tempfile::tempdir().unwrap();
        let error =
            run(&hook(directory.path(), "echo no database; exit 7", LONG)).await.unwrap_err();
        assert_eq!(said(error.output()), "no database\n");
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
        assert_eq!(said(error.output()), "begun\n");
        let child = fs::read_to_string(directory.path().join("child")).unwrap();
        assert!(is_gone(&child));
    }

    fn is_gone(pid: &str) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        stat.is_err() || stat.unwrap().contains(") Z ")
    }

    #[tokio::test]
    async fn what_leaves_the_hooks_session_and_its_environment_is_ended_too() {
        let directory = tempfile::tempdir().unwrap();
        let ready = directory.path().join("ready");
        nix::unistd::mkfifo(&ready, nix::sys::stat::Mode::S_IRWXU).unwrap();
        // Forks twice, leads a session of its own, ignores SIGTERM, and forgets its environment.
        let daemon = "trap '' TERM; echo $$ >daemon; echo >ready; while :; do sleep 1000; done";
        let script = format!(
            "(setsid env -i PATH=/usr/bin:/bin bash -c \"{}\" >/dev/null 2>&1 &) ; read x <ready; exit 0",
            daemon.replace('$', "\\$")
        );
        run(&hook(directory.path(), &script, LONG)).await.unwrap();
        let daemon = fs::read_to_string(directory.path().join("daemon")).unwrap();
        assert!(is_gone(&daemon), "{daemon}");
    }

    #[tokio::test]
    async fn what_a_hook_leaves_running_ends_with_it() {
        let directory = tempfile::tempdir().unwrap();
        // The daemon holds the output open; the hook's end does not wait for it.
        let output = run(&hook(directory.path(), "sleep 1000 & echo done", LONG)).await.unwrap();
        assert_eq!(said(&output.text), "done\n");
    }

    #[tokio::test]
    async fn a_hook_may_not_write_its_slot() {
        if !mounts::may_be_made() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let slot = root.join("releases/1-a");
        fs::create_dir_all(&slot).unwrap();
        fs::create_dir(root.join("shared")).unwrap();
        let script = "echo >here || echo refused; echo >../../shared/there && echo written";
        let hook = HookRun {
            read_only: Some(ReadOnly::below(root.to_owned())),
            ..hook(&slot, script, LONG)
        };
        let output = run(&hook).await.unwrap();
        assert!(output.text.contains("Read-only file system\nrefused\nwritten"), "{output:?}");
        assert!(!slot.join("here").exists() && root.join("shared/there").exists());
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
        assert!(is_gone(&pid));
    }
}
