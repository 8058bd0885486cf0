//! One host: its disk, its network, and, while it is up, its processes.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::network::{self, Namespace};
use super::{Ground, succeed};

/// What boots it.
const SCRIPT: &str = include_str!("../../lab/boot.sh");

/// Half a second is usual; a machine that is busy building needs room.
const BOOT_LIMIT: Duration = Duration::from_mins(1);

/// What a host may take to power off before it is killed.
const STOP_LIMIT: Duration = Duration::from_mins(1);

/// No command in a host takes longer, in seconds.
const COMMAND_LIMIT: u32 = 120;

/// Lines of a journal that a failing test shows.
const JOURNAL_LINES: &str = "--lines=400";

/// What a command in a host finds in its environment.
const ENVIRONMENT: [&str; 3] = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "TERM=dumb",
];

/// A host. Dropped, it is killed and its disk removed.
pub struct Host {
    ground: Arc<Ground>,
    name: String,
    number: usize,
    network: Namespace,
    directory: PathBuf,
    shown: Vec<String>,
    state: State,
}

enum State {
    Off,
    /// Process 1 is not ready; it tells its number and its readiness on the socket.
    Booting {
        guard: Child,
        notices: UnixDatagram,
    },
    /// Ready; `leader` is its process 1 as this machine numbers it.
    Up {
        guard: Child,
        leader: Pid,
    },
}

/// An instant by a host's clock, as its journal counts.
#[derive(Debug, Clone)]
pub struct Mark(String);

impl Host {
    pub(super) fn new(
        ground: Arc<Ground>,
        number: usize,
        name: &str,
        shown: &[(&Path, &Path)],
    ) -> anyhow::Result<Self> {
        let directory = ground.disks.path().join(name);
        fs::create_dir(&directory).with_context(|| format!("make the disk of {name}"))?;
        let shown = shown
            .iter()
            .map(|(here, there)| format!("--bind-ro={}:{}", here.display(), there.display()))
            .collect();
        let network = ground.switch.plug(number).with_context(|| format!("plug {name} in"))?;
        Ok(Self {
            ground,
            name: name.to_owned(),
            number,
            network,
            directory,
            shown,
            state: State::Off,
        })
    }

    /// Its name, on the network too.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address on the switch.
    pub fn address(&self) -> String {
        network::address(self.number)
    }

    pub(super) fn install_hosts_file(&self, table: &str) -> anyhow::Result<()> {
        let etc = self.directory.join("upper/etc");
        fs::create_dir_all(&etc)?;
        fs::write(etc.join("hosts"), table).context("write /etc/hosts")
    }

    /// Boots it, with the disk that it has.
    pub fn boot(&mut self) -> anyhow::Result<()> {
        self.begin_boot()?;
        self.await_boot()
    }

    pub(super) fn begin_boot(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(matches!(self.state, State::Off), "{} is not off", self.name);
        let socket = self.ground.sockets.path().join(&self.name);
        if socket.exists() {
            fs::remove_file(&socket).context("remove the socket of an earlier boot")?;
        }
        let notices = UnixDatagram::bind(&socket).context("make the boot's socket")?;
        let console = File::create(self.console()).context("make the console's log")?;
        let group = format!("cutover-lab-{}-{}", self.ground.name(), self.name);
        let guard = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--", "bash", "-c", SCRIPT, "boot.sh"])
            .args([&self.ground.template, &self.directory])
            .args([&self.name, &group, &self.network.path()])
            .args(&self.shown)
            .env("NOTIFY_SOCKET", &socket)
            .stdin(Stdio::piped())
            .stdout(console.try_clone()?)
            .stderr(console)
            // An interrupt at the terminal is for the test; the host goes when the test does.
            .process_group(0)
            .spawn()
            .context("run unshare")?;
        self.state = State::Booting { guard, notices };
        Ok(())
    }

    pub(super) fn await_boot(&mut self) -> anyhow::Result<()> {
        let State::Booting { mut guard, notices } = std::mem::replace(&mut self.state, State::Off)
        else {
            anyhow::bail!("{} is not booting", self.name);
        };
        match leader_when_ready(&mut guard, &notices) {
            Ok(leader) => {
                self.state = State::Up { guard, leader };
                Ok(())
            }
            Err(error) => {
                release(guard);
                let console = fs::read_to_string(self.console()).unwrap_or_default();
                Err(error.context(format!("boot {}; its console:\n{console}", self.name)))
            }
        }
    }

    /// Powers it off as an administrator does.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        // It answers before it begins; it may also be too quick to answer.
        let _answer = self.attempt("systemctl --no-block poweroff")?;
        self.await_end()
    }

    /// Ends all of it at once.
    pub fn crash(&mut self) -> anyhow::Result<()> {
        kill_process(self.leader()?, Signal::KILL)
            .with_context(|| format!("kill process 1 of {}", self.name))?;
        self.await_end()
    }

    /// Runs a script (`sh -eu`) as root and gives back what it printed.
    pub fn run(&self, script: &str) -> anyhow::Result<String> {
        let mut command = self.command(COMMAND_LIMIT, &["sh", "-euc", script])?;
        succeed(command.stdin(Stdio::null())).with_context(|| format!("on {}", self.name))
    }

    /// Runs a script that may fail.
    pub fn attempt(&self, script: &str) -> anyhow::Result<Output> {
        let mut command = self.command(COMMAND_LIMIT, &["sh", "-euc", script])?;
        command.stdin(Stdio::null()).output().with_context(|| format!("on {}", self.name))
    }

    /// Writes a file, with its directories.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>, mode: u32) -> anyhow::Result<()> {
        let path = self.path(path)?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .with_context(|| format!("set the mode of {}", path.display()))
    }

    /// What comes after this in the journal comes after now. (A time and no cursor: `journalctl` skips
    /// the first entry of a unit after a cursor that points at another unit's.)
    pub fn mark(&self) -> anyhow::Result<Mark> {
        Ok(Mark(self.run("date +@%s.%6N")?.trim().to_owned()))
    }

    /// Waits until a line with `words` in it is in the journal of `unit` after `mark`, and gives it back.
    pub fn await_journal(&self, mark: &Mark, unit: &str, words: &str) -> anyhow::Result<String> {
        let since = format!("--since={}", mark.0);
        let unit_argument = format!("--unit={unit}");
        let follow = [
            "journalctl",
            "--follow",
            "--quiet",
            "--output=cat",
            "--lines=all",
            &since,
            &unit_argument,
        ];
        let mut reader = self.command(COMMAND_LIMIT, &follow)?.stdout(Stdio::piped()).spawn()?;
        let stdout = reader.stdout.take().expect("standard output is a pipe");
        let found = BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .find(|line| line.contains(words))
            .with_context(|| {
                format!("wait for {words:?} in the journal of {unit} on {}", self.name)
            });
        reader.kill()?;
        reader.wait()?;
        found
    }

    /// Its journal since it booted.
    pub fn journal(&self) -> anyhow::Result<String> {
        let mut command =
            self.command(COMMAND_LIMIT, &["journalctl", "--boot", "--no-pager", JOURNAL_LINES])?;
        succeed(&mut command)
    }

    fn command(&self, limit: u32, words: &[&str]) -> anyhow::Result<Command> {
        let leader = self.leader()?;
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &leader.as_raw_nonzero().to_string(), "--all", "--", "env", "-i"])
            .args(ENVIRONMENT)
            .args(["timeout", "--kill-after=5", &limit.to_string()])
            .args(words);
        Ok(command)
    }

    /// Where this machine finds a file of the host that is up. No link that leads to it may be absolute.
    fn path(&self, path: &str) -> anyhow::Result<PathBuf> {
        let leader = self.leader()?.as_raw_nonzero();
        Ok(PathBuf::from(format!("/proc/{leader}/root")).join(path.trim_start_matches('/')))
    }

    fn leader(&self) -> anyhow::Result<Pid> {
        match &self.state {
            State::Up { leader, .. } => Ok(*leader),
            State::Off | State::Booting { .. } => anyhow::bail!("{} is not up", self.name),
        }
    }

    fn console(&self) -> PathBuf {
        self.directory.join("console.log")
    }

    fn await_end(&mut self) -> anyhow::Result<()> {
        let State::Up { mut guard, .. } = std::mem::replace(&mut self.state, State::Off) else {
            anyhow::bail!("{} is not up", self.name);
        };
        let ended = wait_for_exit(&guard, STOP_LIMIT);
        if matches!(ended, Ok(true)) {
            guard.wait()?;
            return Ok(());
        }
        release(guard);
        ended.and_then(|_| anyhow::bail!("{} did not power off in {STOP_LIMIT:?}", self.name))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.journal().ok().or_else(|| fs::read_to_string(self.console()).ok());
            if let Some(said) = said {
                // The test fails already; what cannot be shown is not shown.
                let _shown = writeln!(std::io::stderr(), "--- journal of {}\n{said}", self.name);
            }
        }
        match std::mem::replace(&mut self.state, State::Off) {
            State::Off => {}
            State::Booting { guard, .. } | State::Up { guard, .. } => release(guard),
        }
        // What is left goes with the lab's directory.
        let _removed = fs::remove_dir_all(&self.directory);
    }
}

/// Waits for the guard's notices: systemd-nspawn first tells which process is the host's process 1, and
/// then passes on that it is ready.
fn leader_when_ready(guard: &mut Child, notices: &UnixDatagram) -> anyhow::Result<Pid> {
    let deadline = Instant::now() + BOOT_LIMIT;
    let pidfd = pidfd_of(guard)?;
    let mut leader = None;
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        anyhow::ensure!(!left.is_zero(), "it was not ready in {BOOT_LIMIT:?}");
        let mut ready = [PollFd::new(notices, PollFlags::IN), PollFd::new(&pidfd, PollFlags::IN)];
        poll(&mut ready, Some(&timespec(left)?)).context("wait for the boot")?;
        if ready[0].revents().contains(PollFlags::IN) {
            let length = notices.recv(&mut buffer).context("read the boot's notice")?;
            let notice = String::from_utf8_lossy(&buffer[..length]).into_owned();
            for line in notice.lines() {
                if let Some(number) = line.strip_prefix("X_NSPAWN_LEADER_PID=") {
                    leader = Pid::from_raw(number.parse().context("read the leader's number")?);
                } else if line == "READY=1" {
                    return leader.context("learn the number of process 1");
                }
            }
        } else if ready[1].revents().contains(PollFlags::IN) {
            anyhow::bail!("systemd-nspawn ended: {}", guard.wait()?);
        }
    }
}

/// Whether the process ended before `limit` was over.
fn wait_for_exit(process: &Child, limit: Duration) -> anyhow::Result<bool> {
    let pidfd = pidfd_of(process)?;
    let mut exit = [PollFd::new(&pidfd, PollFlags::IN)];
    Ok(poll(&mut exit, Some(&timespec(limit)?)).context("wait for a process to end")? > 0)
}

fn pidfd_of(process: &Child) -> anyhow::Result<OwnedFd> {
    let number = i32::try_from(process.id()).context("read a process number")?;
    let pid = Pid::from_raw(number).context("read a process number")?;
    pidfd_open(pid, PidfdFlags::empty()).context("open a process")
}

fn timespec(duration: Duration) -> anyhow::Result<Timespec> {
    duration.try_into().context("count a wait")
}

/// Lets go of the lifeline: the guard kills the host, clears up and ends.
fn release(mut guard: Child) {
    drop(guard.stdin.take());
    // It cannot be made to end in any gentler way, and ends by itself.
    let _ended = guard.wait();
}
