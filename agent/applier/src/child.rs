//! Child processes: each in a session of its own, as another user, and ended whole.
//!
//! The one place of the applier with `unsafe`: what a child does between `fork` and `exec`, and waiting
//! for a pidfd.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::mounts::Mounts;
use crate::process::Account;

/// How long processes may take to vanish after SIGKILL. Only one in an uninterruptible system call
/// takes longer, and waiting does not help it.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// Where programs are looked for that are named without a directory.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Lets `command` run in a new session as `account`, with nothing of our environment, and with `mounts` of its
/// own.
pub(crate) fn prepare(command: &mut Command, account: &Account, mounts: Option<Mounts>) {
    command
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", &account.home)
        .env("USER", &account.name)
        .env("LOGNAME", &account.name);
    let us = rustix::process::geteuid();
    let uid = rustix::process::Uid::from_raw(account.uid);
    let gid = rustix::process::Gid::from_raw(account.gid);
    let groups: Vec<_> =
        account.groups.iter().map(|group| rustix::process::Gid::from_raw(*group)).collect();
    let become_account = move || {
        if let Some(mounts) = &mounts {
            mounts.make()?;
        }
        rustix::process::setsid()?;
        // Without privileges we can only be who we are; the exec fails with EPERM for another user.
        if us.is_root() {
            rustix::thread::set_thread_groups(&groups)?;
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        } else if us != uid {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(())
    };
    #[expect(
        unsafe_code,
        reason = "setsid and supplementary groups have no safe interface; the closure makes system \
                  calls only, allocates nothing and takes no lock"
    )]
    unsafe {
        command.pre_exec(become_account);
    }
}

/// A process as `/proc` shows it.
#[derive(Debug, Clone, Copy)]
struct Seen {
    state: u8,
    parent: i32,
    session: i32,
    threads: u64,
    started_ticks: u64,
}

fn seen(pid: i32) -> Option<Seen> {
    // The name is in parentheses and may hold any bytes, parentheses too; it may also be cut within a
    // character.
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&stat);
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    let threads = fields.nth(13)?.parse().ok()?;
    let started_ticks = fields.nth(1)?.parse().ok()?;
    Some(Seen { state, parent, session, threads, started_ticks })
}

impl Seen {
    fn lives(&self) -> bool {
        // The first thread may have ended before the others: then the process is shown as a zombie and
        // runs all the same.
        !matches!(self.state, b'Z' | b'X') || self.threads > 1
    }
}

/// The process with this number; `None` when there is none.
fn open(pid: Pid) -> io::Result<Option<OwnedFd>> {
    use rustix::io::Errno;
    match rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Ends everything that descends from this process; done when nothing of it runs. Orphans count where this
/// process is a subreaper, whatever session they have made for themselves. Takes the status of all of them.
pub(crate) fn end_descendants() -> io::Result<()> {
    let began = Instant::now();
    loop {
        let living = descendants(rustix::process::getpid())?;
        for (_, process) in &living {
            match rustix::process::pidfd_send_signal(process, Signal::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let Some((_, process)) = living.first() {
            // Then its parent, if that was killed as well, has left the rest to us.
            wait_for(process.as_fd(), AFTER_KILL.saturating_sub(began.elapsed()))?;
        }
        let has_children = reap_all()?;
        if living.is_empty() && !has_children {
            return Ok(());
        }
        if began.elapsed() >= AFTER_KILL {
            let left: Vec<_> = living.iter().map(|(pid, _)| pid.to_string()).collect();
            let text = format!("{} survive SIGKILL", left.join(", "));
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
    }
}

/// Takes the status of every child that has ended; whether there are others.
fn reap_all() -> io::Result<bool> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    loop {
        match rustix::process::waitid(WaitId::All, options) {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(true),
            Err(rustix::io::Errno::CHILD) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The processes that descend from `ancestor` and run.
fn descendants(ancestor: Pid) -> io::Result<Vec<(Pid, OwnedFd)>> {
    let mut children: BTreeMap<i32, Vec<(i32, Seen)>> = BTreeMap::new();
    for entry in std::fs::read_dir(Path::new("/proc"))? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(it) = seen(pid) {
            children.entry(it.parent).or_default().push((pid, it));
        }
    }
    let mut found = Vec::new();
    let mut parents = vec![ancestor.as_raw_pid()];
    while let Some(parent) = parents.pop() {
        for (number, before) in children.remove(&parent).unwrap_or_default() {
            parents.push(number);
            let Some(pid) = Pid::from_raw(number).filter(|_| before.lives()) else { continue };
            // What was opened is what was seen if it still began at the same tick.
            let same = |it: Seen| it.started_ticks == before.started_ticks && it.lives();
            if let Some(process) = open(pid)?
                && seen(number).is_some_and(same)
            {
                found.push((pid, process));
            }
        }
    }
    Ok(found)
}

/// A session that a child of ours leads or led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) leader: Pid,
    /// When the leader was started, in clock ticks since boot: tells it from a later process with its
    /// number.
    pub(crate) started_ticks: u64,
}

impl Session {
    /// The session of a child that was just started.
    pub(crate) fn of(child: &Child) -> io::Result<Self> {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let number = i32::try_from(child.id()).map_err(io::Error::other)?;
        let leader = Pid::from_raw(number).ok_or_else(gone)?;
        // A child that was not waited for can be seen, also when it has ended already.
        let started_ticks = seen(number).ok_or_else(gone)?.started_ticks;
        Ok(Self { leader, started_ticks })
    }

    /// Whether the leader runs.
    pub(crate) fn leader_runs(&self) -> bool {
        seen(self.leader.as_raw_pid())
            .is_some_and(|it| it.started_ticks == self.started_ticks && it.lives())
    }

    /// The leader, if it runs. What was opened is surely it: its identity is looked at afterwards.
    fn open_leader(&self) -> io::Result<Option<OwnedFd>> {
        Ok(open(self.leader)?.filter(|_| self.leader_runs()))
    }

    /// Comes back when the leader has ended.
    pub(crate) async fn leader_end(&self) -> io::Result<()> {
        let Some(leader) = self.open_leader()? else {
            return Ok(());
        };
        #[expect(
            unsafe_code,
            reason = "the descriptor is ours, valid, and given away whole: nobody else can close it"
        )]
        let leader = unsafe { AsyncFd::register_with_interest(leader, Interest::READABLE)? };
        leader.readable().await.map(|_ready| ())
    }

    /// All processes of the session that run.
    fn members(&self) -> io::Result<Vec<(Pid, OwnedFd)>> {
        let number = self.leader.as_raw_pid();
        // Another process has the leader's number: nothing of this session is left, since a number
        // is not used again while a session has it.
        if seen(number).is_some_and(|it| it.started_ticks != self.started_ticks) {
            return Ok(Vec::new());
        }
        let mut members = Vec::new();
        for entry in std::fs::read_dir(Path::new("/proc"))? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let belongs = |it: &Seen| {
                it.session == number && it.lives() && it.started_ticks >= self.started_ticks
            };
            let Some(pid) = Pid::from_raw(pid) else {
                continue;
            };
            if !seen(pid.as_raw_pid()).is_some_and(|it| belongs(&it)) {
                continue;
            }
            if let Some(fd) = open(pid)?
                && seen(pid.as_raw_pid()).is_some_and(|it| belongs(&it))
            {
                members.push((pid, fd));
            }
        }
        Ok(members)
    }

    /// Ends everything of the session: asks, and after `patience` compels. Done when nothing runs.
    pub(crate) fn end(&self, patience: Duration) -> io::Result<()> {
        let asked = Instant::now();
        if !patience.is_zero() {
            self.signal(Signal::TERM)?;
            if self.wait_for_all(asked, patience)? {
                return Ok(());
            }
        }
        let compelled = Instant::now();
        // Something may have forked between the look and the signal.
        while compelled.elapsed() < AFTER_KILL {
            self.signal(Signal::KILL)?;
            if self.wait_for_all(compelled, AFTER_KILL)? {
                return Ok(());
            }
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("session {} survives SIGKILL", self.leader),
        ))
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        for (_, member) in self.members()? {
            match rustix::process::pidfd_send_signal(&member, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether nothing of the session runs any longer, at the latest `limit` after `since`.
    fn wait_for_all(&self, since: Instant, limit: Duration) -> io::Result<bool> {
        loop {
            let members = self.members()?;
            // A second look: what forks and ends while `/proc` is read may be missed by one.
            if members.is_empty() && self.members()?.is_empty() {
                self.reap();
                return Ok(true);
            }
            for (_, member) in &members {
                let left = limit.saturating_sub(since.elapsed());
                if left.is_zero() || !wait_for(member.as_fd(), left)? {
                    return Ok(false);
                }
            }
        }
    }

    /// Takes the leader's status, if it is a child of ours that has ended, so that it does not stay
    /// behind as a zombie.
    pub(crate) fn reap(&self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        // It fails for what is no child of ours (an applier before us started it): its new parent takes it.
        let _ = rustix::process::waitid(WaitId::Pid(self.leader), options);
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Ended {
    Status(i32),
    Signal(i32),
}

impl Ended {
    /// As the standard library tells it.
    pub(crate) fn of(status: std::process::ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Status(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Status(-1),
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// Waits for a child that is about to end by itself, and after `patience` kills it.
pub(crate) fn end_child(child: &mut Child, patience: Duration) -> io::Result<()> {
    let number = i32::try_from(child.id()).map_err(io::Error::other)?;
    // It was not waited for yet, so its number is its own.
    if let Some(process) = Pid::from_raw(number).map(open).transpose()?.flatten()
        && !wait_for(process.as_fd(), patience)?
    {
        child.kill()?;
    }
    child.wait().map(drop)
}

/// Waits until the process has ended or `limit` has passed; whether it has ended.
fn wait_for(process: BorrowedFd<'_>, limit: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(limit).map_err(io::Error::other)?;
    let mut fds = [PollFd::new(&process, PollFlags::IN)];
    match poll(&mut fds, Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Ends the session when it is dropped, so that whoever stops waiting for a child leaves nothing of it.
#[derive(Debug)]
pub(crate) struct Whole(pub(crate) Session);

impl Drop for Whole {
    fn drop(&mut self) {
        if let Err(error) = self.0.end(Duration::ZERO) {
            tracing::error!(%error, session = %self.0.leader, "a child could not be ended");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Writes a program for a test. Another process writes it: if we held it open while another test
    /// forks, the kernel would refuse to execute it.
    pub(crate) fn write_program(path: &Path, script: &str) {
        let write = r#"printf '#!/bin/bash\n%s\n' "$1" >"$2" && chmod 755 "$2""#;
        let status =
            Command::new("bash").args(["-c", write, "write", script]).arg(path).status().unwrap();
        assert!(status.success());
    }

    #[test]
    fn a_process_is_read_as_the_kernel_shows_it() {
        // A child that leads a session: ours may have a leader that our own namespace cannot number.
        let mut command = Command::new("sleep");
        prepare(command.arg("1000"), &Account::current().unwrap(), None);
        let mut child = command.spawn().unwrap();
        let leader = i32::try_from(child.id()).unwrap();
        assert_eq!(seen(leader).unwrap().session, leader);
        child.kill().unwrap();
        child.wait().unwrap();
        let us = seen(rustix::process::getpid().as_raw_pid()).unwrap();
        assert!(us.lives() && us.threads >= 1 && us.started_ticks > 0);
        // The first thread has ended and another has not.
        assert!(Seen { state: b'Z', threads: 2, ..us }.lives());
        assert!(!Seen { state: b'Z', threads: 1, ..us }.lives());
        assert!(seen(0).is_none());
    }
}
