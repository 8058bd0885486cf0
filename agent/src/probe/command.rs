//! A command ends with status 0.
//!
//! It runs in a process group of its own, which is ended with it: nothing that a check starts stays. (The
//! group is in the probe's session, so that the applier ends it too when it ends the probe.)

use std::collections::BTreeMap;
use std::env;
use std::io::{self, PipeReader, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::{Limit, printable};

/// How much of the output is kept: the end.
const TAIL: usize = 4 * 1024;

/// How much of the output is read at once.
const STEP: usize = 16 * 1024;

/// What a command finds in its environment beside what it was given: who runs it and where programs are.
const KEPT: [&str; 4] = ["PATH", "HOME", "USER", "LOGNAME"];

/// Runs `command` in `directory`.
pub(super) fn look(
    command: &[String],
    directory: &Path,
    environment: &BTreeMap<String, String>,
    limit: Limit,
) -> Result<String, String> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| "run a command without a program".to_owned())?;
    let what = format!("run {program}");
    let failed = |error: io::Error| format!("{what}: {error}");
    let (reader, writer) = io::pipe().map_err(failed)?;
    // Without waiting: something that has left the group may hold the other end for ever.
    rustix::io::ioctl_fionbio(&reader, true).map_err(|error| failed(error.into()))?;
    let mut prepared = Command::new(place(program, directory));
    prepared
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .envs(KEPT.iter().filter_map(|name| env::var_os(name).map(|value| (name, value))))
        .envs(environment)
        .stdin(Stdio::null())
        .stderr(writer.try_clone().map_err(failed)?)
        .stdout(writer)
        .process_group(0);
    let child = prepared.spawn().map_err(failed)?;
    // The command holds our ends of the pipe; without them its end can be seen.
    drop(prepared);
    let group = Group(child);
    let (status, said) = group.watch(reader, limit).map_err(failed)?;
    let said = printable(&said);
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    match status {
        None => Err(format!("{}{said}", limit.passed(&what))),
        Some(status) if status.success() => Ok(format!("{what}: exit status 0{said}")),
        Some(status) => Err(format!("{what}: {}{said}", ended(status))),
    }
}

/// A program with a slash is taken from `directory`, one without is looked for along PATH.
fn place(program: &str, directory: &Path) -> PathBuf {
    if program.contains('/') { directory.join(program) } else { PathBuf::from(program) }
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The command's process group. When it is dropped, nothing of it runs.
struct Group(Child);

impl Group {
    /// Waits for the command's end, reading what it says. `None`: the time has passed.
    fn watch(
        mut self,
        mut reader: PipeReader,
        limit: Limit,
    ) -> io::Result<(Option<ExitStatus>, Vec<u8>)> {
        let leader = pidfd_open(Pid::from_child(&self.0), PidfdFlags::empty())?;
        let mut said = Vec::new();
        let mut open = true;
        while let Some(left) = limit.left() {
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            match wait(&leader, open.then_some(&reader), &timeout)? {
                Ready::Ended => {
                    self.end();
                    let status = self.0.wait()?;
                    if open {
                        read(&mut reader, &mut said)?;
                    }
                    return Ok((Some(status), said));
                }
                Ready::Output => open = read(&mut reader, &mut said)?,
                Ready::Nothing => {}
            }
        }
        self.end();
        Ok((None, said))
    }

    /// Ends the group. Its number is still taken: the command was not waited for.
    fn end(&self) {
        // The group is gone already: it is ended.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            self.end();
            // It was killed: its status says nothing.
            let _ = self.0.wait();
        }
    }
}

enum Ready {
    Ended,
    Output,
    Nothing,
}

fn wait(leader: &OwnedFd, reader: Option<&PipeReader>, timeout: &Timespec) -> io::Result<Ready> {
    let mut watched = vec![PollFd::new(leader, PollFlags::IN)];
    watched.extend(reader.map(|reader| PollFd::new(reader, PollFlags::IN)));
    match poll(&mut watched, Some(timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let mut ready = watched.iter().map(|it| !it.revents().is_empty());
    Ok(match (ready.next(), ready.next()) {
        (Some(true), _) => Ready::Ended,
        (_, Some(true)) => Ready::Output,
        _ => Ready::Nothing,
    })
}

/// Reads what is there and keeps the end of it; whether more may come.
fn read(reader: &mut PipeReader, said: &mut Vec<u8>) -> io::Result<bool> {
    let mut step = vec![0; STEP];
    // As much as a pipe holds: a command that never stops talking does not keep us here.
    for _ in 0..4 {
        match reader.read(&mut step) {
            Ok(0) => return Ok(false),
            Ok(count) => {
                said.extend_from_slice(&step[..count]);
                let excess = said.len().saturating_sub(TAIL);
                said.drain(..excess);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
