//! The application's own process, where there is no systemd to run it.
//!
//! It runs in a session of its own as the configured user and survives the applier: whoever knows its
//! [`Running`] finds it again. Stopping ends the whole session, first by SIGTERM, after a while by
//! SIGKILL. Waiting is by pidfd. What leaves its session on purpose is not found:
//! a program that does so belongs into a systemd unit.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cutover_applier_core::Running;
use nix::unistd::{Group, User, getgrouplist};
use rustix::process::Pid;

use crate::child::{self, Session};
use crate::mounts::Mounts;
use crate::read_only::ReadOnly;

/// A log that is larger than this is set aside as `….1` when the program starts.
pub const MAX_LOG: u64 = 8 * 1024 * 1024;

/// How long until a process is looked at again that could not be waited for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A program could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// There is no such user.
    #[error("find the user {0:?}")]
    NoSuchUser(String),
    /// The user database could not be read.
    #[error("look up the user {name:?}")]
    Lookup {
        /// The user.
        name: String,
        /// What the system said.
        #[source]
        source: nix::Error,
    },
    /// A command without a program.
    #[error("start a command without a program")]
    NoProgram,
    /// The log could not be opened.
    #[error("open the log {path}")]
    Log {
        /// The log.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It did not start.
    #[error("start {program:?} as {user}")]
    Start {
        /// The program.
        program: String,
        /// The user.
        user: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It did not stop.
    #[error("stop process {pid}")]
    Stop {
        /// Its number.
        pid: u32,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A user of this host.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Main group.
    pub gid: u32,
    /// All groups.
    pub groups: Vec<u32>,
    /// Login name.
    pub name: String,
    /// Home directory.
    pub home: PathBuf,
}

impl Account {
    /// The user with this name in the host's user database.
    pub fn named(name: &str) -> Result<Self, ProcessError> {
        let lookup = |source| ProcessError::Lookup { name: name.to_owned(), source };
        let user = User::from_name(name).map_err(lookup)?;
        let user = user.ok_or_else(|| ProcessError::NoSuchUser(name.to_owned()))?;
        Self::of(user)
    }

    /// The user that this process runs as.
    pub fn current() -> Result<Self, ProcessError> {
        let uid = nix::unistd::geteuid();
        let name = uid.to_string();
        let lookup = |source| ProcessError::Lookup { name: name.clone(), source };
        match User::from_uid(uid).map_err(lookup)? {
            Some(user) => Self::of(user),
            None => Err(ProcessError::NoSuchUser(name)),
        }
    }

    fn of(user: User) -> Result<Self, ProcessError> {
        let lookup = |source| ProcessError::Lookup { name: user.name.clone(), source };
        let c_name = std::ffi::CString::new(user.name.as_str())
            .map_err(|_| ProcessError::NoSuchUser(user.name.clone()))?;
        let groups = getgrouplist(&c_name, user.gid).map_err(lookup)?;
        Ok(Self {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            groups: groups.into_iter().map(nix::unistd::Gid::as_raw).collect(),
            name: user.name,
            home: user.dir,
        })
    }
}

/// The id of the group with this name.
pub fn group_named(name: &str) -> Result<u32, ProcessError> {
    let lookup = |source| ProcessError::Lookup { name: name.to_owned(), source };
    let group = Group::from_name(name).map_err(lookup)?;
    let group = group.ok_or_else(|| ProcessError::NoSuchUser(name.to_owned()))?;
    Ok(group.gid.as_raw())
}

/// How an application is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The program and its arguments. A relative program with a slash, or one that is in `directory`, is
    /// taken from there.
    pub command: Vec<String>,
    /// Where it runs.
    pub directory: PathBuf,
    /// Its environment, beyond PATH, HOME, USER and LOGNAME.
    pub environment: BTreeMap<String, String>,
    /// As whom it runs.
    pub account: Account,
    /// What is read-only to it.
    pub read_only: Option<ReadOnly>,
    /// Where its output goes.
    pub log: PathBuf,
    /// How long it may take to end after SIGTERM.
    pub stop_timeout: Duration,
}

impl Program {
    /// Starts it. Done when the program has replaced the child: a program that does not exist or cannot
    /// be executed is an error.
    pub fn start(&self) -> Result<Running, ProcessError> {
        let (program, arguments) = self.command.split_first().ok_or(ProcessError::NoProgram)?;
        let failed = |source| ProcessError::Start {
            program: program.clone(),
            user: self.account.name.clone(),
            source,
        };
        let output = self.open_log()?;
        let errors = output.try_clone().map_err(failed)?;
        let mut command = Command::new(in_directory(program, &self.directory));
        let read_only = self.read_only.as_ref();
        let mounts = read_only.map(|it| Mounts::of(it, &self.directory)).transpose();
        child::prepare(&mut command, &self.account, mounts.map_err(failed)?);
        command
            .args(arguments)
            .current_dir(&self.directory)
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        let child = command.spawn().map_err(failed)?;
        let session = Session::of(&child).map_err(failed)?;
        Ok(Running { pid: child.id(), started_ticks: session.started_ticks })
    }

    /// Opened by us and appended to, so that the application needs no right to the log's directory.
    fn open_log(&self) -> Result<File, ProcessError> {
        let failed = |source| ProcessError::Log { path: self.log.clone(), source };
        if fs::symlink_metadata(&self.log).is_ok_and(|log| log.len() > MAX_LOG) {
            let mut older = self.log.as_os_str().to_owned();
            older.push(".1");
            fs::rename(&self.log, older).map_err(failed)?;
        }
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .custom_flags(i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0))
            .open(&self.log)
            .map_err(failed)
    }
}

/// `program` as it is executed from `directory`.
pub(crate) fn in_directory(program: &str, directory: &Path) -> PathBuf {
    let local = directory.join(program);
    if Path::new(program).is_absolute() || program.contains('/') || local.is_file() {
        local
    } else {
        PathBuf::from(program)
    }
}

fn session(running: &Running) -> Option<Session> {
    let leader = Pid::from_raw(i32::try_from(running.pid).ok()?)?;
    Some(Session { leader, started_ticks: running.started_ticks })
}

/// Whether the process that was started still runs.
pub fn is_running(running: &Running) -> bool {
    session(running).is_some_and(|session| session.leader_runs())
}

/// Ends the process and everything in its session; done when nothing of it runs, also when nothing ran.
pub fn stop(running: &Running, timeout: Duration) -> Result<(), ProcessError> {
    let Some(session) = session(running) else {
        return Ok(());
    };
    session.end(timeout).map_err(|source| ProcessError::Stop { pid: running.pid, source })
}

/// Comes back when the process has ended, however it ended.
pub async fn exited(running: &Running) {
    let Some(session) = session(running) else {
        return;
    };
    while let Err(error) = session.leader_end().await {
        // No descriptor to be had, most likely. Until there is one, a look now and then must do.
        tracing::warn!(pid = running.pid, %error, "a process cannot be waited for");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    session.reap();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mounts;

    fn program(directory: &Path, command: &[&str]) -> Program {
        Program {
            command: command.iter().map(|&word| word.to_owned()).collect(),
            directory: directory.to_owned(),
            environment: BTreeMap::from([("PORT".to_owned(), "8080".to_owned())]),
            account: Account::current().unwrap(),
            read_only: None,
            log: directory.join("log"),
            stop_timeout: Duration::from_secs(10),
        }
    }

    /// Two pipes' worth of patience: reads a FIFO, so that the program's progress is an event.
    fn fifo(directory: &Path, name: &str) -> PathBuf {
        let path = directory.join(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        path
    }

    #[tokio::test]
    async fn it_runs_in_its_place_with_its_environment_and_its_end_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let script = "echo \"$PORT $PWD $HOME\"; echo oops >&2; exit 3";
        let running = program(directory.path(), &["sh", "-c", script]).start().unwrap();
        exited(&running).await;
        assert!(!is_running(&running));
        let home = Account::current().unwrap().home;
        let place = directory.path().canonicalize().unwrap();
        let expected = format!("8080 {} {}\noops\n", place.display(), home.display());
        let log = fs::read_to_string(directory.path().join("log")).unwrap();
        assert_eq!(log, expected);
        stop(&running, Duration::ZERO).expect("what has ended is stopped");
    }

    #[test]
    fn what_cannot_start_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let refused = program(directory.path(), &["./absent"]).start();
        assert!(matches!(refused, Err(ProcessError::Start { .. })));
        let refused = program(directory.path(), &[]).start();
        assert!(matches!(refused, Err(ProcessError::NoProgram)));
        assert!(Account::named("no-such-user-here").is_err());
    }

    #[test]
    fn the_whole_session_is_stopped_the_deaf_ones_too() {
        let directory = tempfile::tempdir().unwrap();
        let ready = fifo(directory.path(), "ready");
        // A child that does not hear SIGTERM, in a process group of its own, outlives the leader.
        let script =
            "set -m; (trap '' TERM; echo ready >ready; while :; do sleep 1000; done) & wait";
        let running = program(directory.path(), &["bash", "-c", script]).start().unwrap();
        assert_eq!(fs::read_to_string(ready).unwrap(), "ready\n");
        assert!(is_running(&running));
        stop(&running, Duration::from_millis(200)).unwrap();
        assert!(!is_running(&running));
        assert_eq!(survivors(&running), Vec::<String>::new());
    }

    fn survivors(running: &Running) -> Vec<String> {
        let session = running.pid.to_string();
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let stats = entries.filter_map(|it| fs::read_to_string(it.path().join("stat")).ok());
        stats
            .filter(|stat| {
                let (_, rest) = stat.rsplit_once(')').unwrap();
                let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
                fields[3] == session && fields[0] != "Z"
            })
            .collect()
    }

    #[tokio::test]
    async fn a_process_is_told_from_a_later_one_with_its_number() {
        let directory = tempfile::tempdir().unwrap();
        let running = program(directory.path(), &["sleep", "1000"]).start().unwrap();
        let other = Running { started_ticks: running.started_ticks + 1, ..running };
        assert!(!is_running(&other));
        stop(&other, Duration::ZERO).unwrap();
        exited(&other).await;
        assert!(is_running(&running), "stopping another one does not touch it");
        stop(&running, Duration::from_secs(10)).unwrap();
        assert!(!is_running(&running));
    }

    #[tokio::test]
    async fn a_program_outlives_who_started_it_and_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let starter = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::tests::starter", "--nocapture"])
            .env(STARTER, directory.path())
            .status()
            .unwrap();
        assert!(starter.success());
        let note = fs::read(directory.path().join("running")).unwrap();
        let running: Running = serde_json::from_slice(&note).unwrap();
        assert!(is_running(&running));
        let end = tokio::spawn(async move { exited(&running).await });
        tokio::task::spawn_blocking(move || stop(&running, Duration::from_mins(1)))
            .await
            .unwrap()
            .unwrap();
        end.await.unwrap();
        assert!(!is_running(&running));
        let log = fs::read_to_string(directory.path().join("log")).unwrap();
        assert_eq!(log, "asked\n", "it was asked first, and had the time to end in order");
    }

    /// Where the starter starts its program; without it the starter is no starter.
    const STARTER: &str = "CUTOVER_TEST_STARTER";

    /// Not a test: the other process of `a_program_outlives_who_started_it_and_is_found_again`.
    #[test]
    fn starter() {
        let Some(directory) = std::env::var_os(STARTER).map(PathBuf::from) else {
            return;
        };
        let ready = fifo(&directory, "ready");
        let script = "trap 'echo asked; exit' TERM; sleep 1000 & echo >ready; wait";
        let running = program(&directory, &["bash", "-c", script]).start().unwrap();
        fs::read_to_string(ready).unwrap();
        let note = serde_json::to_vec(&running).unwrap();
        fs::write(directory.join("running"), note).unwrap();
    }

    #[tokio::test]
    async fn a_zombie_does_not_run_and_does_not_stay() {
        let directory = tempfile::tempdir().unwrap();
        let running = program(directory.path(), &["true"]).start().unwrap();
        // Its end is seen, but its status not yet taken.
        session(&running).unwrap().leader_end().await.unwrap();
        let stat = fs::read_to_string(format!("/proc/{}/stat", running.pid)).unwrap();
        assert!(stat.contains(") Z "), "{stat}");
        assert!(!is_running(&running));
        exited(&running).await;
        assert!(!Path::new(&format!("/proc/{}", running.pid)).exists());
    }

    #[test]
    fn a_program_may_have_any_name() {
        let directory = tempfile::tempdir().unwrap();
        // The kernel cuts names after 15 bytes, here within a character.
        for name in ["x) R 1 1 (sleep", "ööööööööö"] {
            let own = directory.path().join(name);
            std::os::unix::fs::symlink("/bin/sleep", &own).unwrap();
            let running = program(directory.path(), &[own.to_str().unwrap(), "1000"]);
            let running = running.start().unwrap();
            assert!(is_running(&running), "{name}");
            stop(&running, Duration::from_mins(1)).unwrap();
            assert!(!is_running(&running));
        }
    }

    #[test]
    fn root_gives_its_privileges_up() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let ready = fifo(directory.path(), "ready");
        let mut program = program(Path::new("/"), &["sh", "-c", "id -u; id -g; id -G"]);
        program.account = Account::named("nobody").unwrap();
        program.log = ready.clone();
        // The FIFO must have a reader before it can be opened for writing.
        let reader = std::thread::spawn(move || fs::read_to_string(ready).unwrap());
        program.start().unwrap();
        let nobody = Account::named("nobody").unwrap();
        let text = reader.join().unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], nobody.uid.to_string());
        assert_eq!(lines[1], nobody.gid.to_string());
        let groups: Vec<String> = nobody.groups.iter().map(u32::to_string).collect();
        assert_eq!(lines[2].split(' ').collect::<Vec<_>>(), groups);
    }

    /// What a program tries that may not write its slots.
    const WRITES: &str = "
        for it in here $PWD/here ../2-b/here ../../here ../../current/here; do echo >$it; done
        echo 1 >../../shared/data
        echo >../../shared/ready
        read go <../../shared/go
        cat ../3-c/version ../../current/version
        echo >../3-c/here
        echo >../../shared/ready";

    #[test]
    fn slots_are_read_only_and_what_is_shared_is_not() {
        if !mounts::may_be_made() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let release = |name: &str| {
            let slot = root.join("releases").join(name);
            fs::create_dir_all(&slot).unwrap();
            fs::write(slot.join("version"), format!("{name}\n")).unwrap();
            let new = root.join("new");
            std::os::unix::fs::symlink(Path::new("releases").join(name), &new).unwrap();
            fs::rename(&new, root.join("current")).unwrap();
        };
        release("2-b");
        release("1-a");
        fs::create_dir(root.join("shared")).unwrap();
        let [ready, go] = ["ready", "go"].map(|name| fifo(&root.join("shared"), name));
        let program = Program {
            directory: root.join("current"),
            read_only: Some(ReadOnly::below(root.to_owned())),
            ..program(root, &["bash", "-c", WRITES])
        };
        let running = program.start().unwrap();
        fs::read_to_string(&ready).unwrap();
        // What is made while it runs is seen by it, and is read-only as well.
        release("3-c");
        fs::write(go, "on\n").unwrap();
        fs::read_to_string(&ready).unwrap();
        stop(&running, Duration::from_secs(10)).unwrap();
        let log = fs::read_to_string(root.join("log")).unwrap();
        assert_eq!(log.matches("Read-only file system").count(), 6, "{log}");
        assert!(log.contains("3-c\n3-c\n"), "{log}");
        assert_eq!(fs::read_to_string(root.join("shared/data")).unwrap(), "1\n");
        fs::write(root.join("releases/1-a/here"), "").expect("the host itself may");
    }

    #[test]
    fn a_log_that_has_grown_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        File::create(&log).unwrap().set_len(MAX_LOG + 1).unwrap();
        let running = program(directory.path(), &["sleep", "1000"]).start().unwrap();
        assert_eq!(fs::metadata(&log).unwrap().len(), 0);
        assert_eq!(fs::metadata(directory.path().join("log.1")).unwrap().len(), MAX_LOG + 1);
        stop(&running, Duration::from_secs(10)).unwrap();
    }
}
