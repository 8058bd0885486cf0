//! The supervisor of one hook, where there is no systemd: a process of the applier's own program.
//!
//! It is a subreaper (`PR_SET_CHILD_SUBREAPER`, prctl(2)): whatever the hook starts stays its descendant,
//! also what forks twice, makes a session of its own and closes everything. So when the hook has ended, or
//! is not waited for any longer, all of it can be ended, and is, before anything is answered. It keeps the
//! applier's user; the hook, which has another, cannot end it.
//!
//! Its standard input is a socket to the applier: one line comes in, an [`Order`]; one goes out, a
//! [`Told`]. When the other end closes, because the applier gave the hook up or was killed, the hook is
//! ended. The hook has the supervisor's standard output and error.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};

use crate::child::{self, Ended};
use crate::mounts::Mounts;
use crate::process::Account;
use crate::read_only::ReadOnly;

/// What a supervisor is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The program.
    pub(crate) command: PathBuf,
    /// Its arguments.
    pub(crate) arguments: Vec<String>,
    /// Where it runs.
    pub(crate) directory: PathBuf,
    /// Its environment, beyond PATH, HOME, USER and LOGNAME.
    pub(crate) environment: BTreeMap<String, String>,
    /// As whom it runs.
    pub(crate) account: Account,
    /// What is read-only to it.
    pub(crate) read_only: Option<ReadOnly>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Told {
    /// It ended so, and nothing of it runs any longer.
    Ended(Ended),
    /// It was given up and ended.
    GivenUp,
    /// It could not be started.
    NotStarted {
        /// What the system said.
        why: String,
    },
    /// Something of it cannot be ended.
    Remains {
        /// What, and what the system said.
        why: String,
    },
}

/// Runs the program as a supervisor.
pub(crate) fn main() -> anyhow::Result<()> {
    let socket = std::io::stdin().as_fd().try_clone_to_owned().context("take the socket")?;
    let mut socket = UnixStream::from(socket);
    let mut line = String::new();
    BufReader::new(&socket).read_line(&mut line).context("read the order")?;
    let order = serde_json::from_str(&line).context("understand the order")?;
    let told = supervise(&order, &socket);
    let mut answer = serde_json::to_vec(&told)?;
    answer.push(b'\n');
    // Whoever gave the hook up does not listen any longer.
    let _ = socket.write_all(&answer);
    Ok(())
}

fn supervise(order: &Order, socket: &UnixStream) -> Told {
    let not_started = |error: std::io::Error| Told::NotStarted { why: error.to_string() };
    let us = rustix::process::getpid();
    if let Err(error) = rustix::process::set_child_subreaper(Some(us)) {
        return not_started(error.into());
    }
    let read_only = order.read_only.as_ref();
    let mounts = match read_only.map(|it| Mounts::of(it, &order.directory)).transpose() {
        Ok(mounts) => mounts,
        Err(error) => return not_started(error),
    };
    let mut command = Command::new(&order.command);
    child::prepare(&mut command, &order.account, mounts);
    command.args(&order.arguments).current_dir(&order.directory);
    command.envs(&order.environment).stdin(Stdio::null());
    let mut hook = match command.spawn() {
        Ok(hook) => hook,
        Err(error) => return not_started(error),
    };
    let told = match wait(&mut hook, socket) {
        Ok(told) => told,
        Err(error) => Told::NotStarted { why: format!("it cannot be waited for: {error}") },
    };
    match child::end_descendants() {
        Ok(()) => told,
        Err(error) => Told::Remains { why: error.to_string() },
    }
}

/// Waits until the hook has ended, or the other end of the socket is closed.
fn wait(hook: &mut Child, socket: &UnixStream) -> std::io::Result<Told> {
    let number = i32::try_from(hook.id()).map_err(std::io::Error::other)?;
    let pid = Pid::from_raw(number).ok_or(std::io::ErrorKind::NotFound)?;
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        let mut fds = [PollFd::new(&process, PollFlags::IN), PollFd::new(socket, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [ended, given_up] = fds.map(|fd| !fd.revents().is_empty());
        if ended {
            return Ok(Told::Ended(Ended::of(hook.wait()?)));
        }
        if given_up {
            return Ok(Told::GivenUp);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    /// Set for the process that is a supervisor, and no test.
    pub(crate) const SUPERVISOR: &str = "CUTOVER_TEST_SUPERVISOR";

    /// Not a test: the supervisor of the tests of hooks.
    #[test]
    fn supervisor() {
        if std::env::var_os(SUPERVISOR).is_some() {
            super::main().unwrap();
            std::process::exit(0);
        }
    }
}
