//! The private switch: one nameless network namespace with a bridge, and one for each host.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::marker::PhantomData;
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::succeed;

/// The bridge, and the address at which programs of this machine are on it.
const SWITCH: &str = "
    ip link set lo up
    ip link add br0 type bridge mcast_snooping 0 forward_delay 0
    ip address add 10.77.0.254/24 dev br0
    ip link set br0 up";

/// What a host has before it is plugged in.
const HOST: &str = "ip link set lo up";

/// The address of the host with this number.
pub(super) fn address(number: usize) -> String {
    format!("10.77.0.{number}")
}

/// The switch.
pub(super) struct Switch {
    namespace: Namespace,
}

impl Switch {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self { namespace: Namespace::new(SWITCH)? })
    }

    /// A namespace for the host of this number, connected to the switch.
    pub(super) fn plug(&self, number: usize) -> anyhow::Result<Namespace> {
        let host = Namespace::new(HOST)?;
        let port = format!("port{number}");
        let peer = host.holder.id().to_string();
        succeed(
            self.namespace.command("ip").args([
                "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &peer,
            ]),
        )?;
        succeed(self.namespace.command("ip").args(["link", "set", &port, "master", "br0", "up"]))?;
        let address = format!("{}/24", address(number));
        succeed(host.command("ip").args(["address", "add", &address, "dev", "eth0"]))?;
        succeed(host.command("ip").args(["link", "set", "eth0", "up"]))?;
        Ok(host)
    }

    pub(super) fn enter(&self) -> anyhow::Result<Inside> {
        let before =
            File::open("/proc/thread-self/ns/net").context("open this thread's network")?;
        let there = File::open(self.namespace.path()).context("open the switch's network")?;
        move_into_link_name_space(there.as_fd(), Some(LinkNameSpaceType::Network))
            .context("enter the switch's network")?;
        Ok(Inside { before, thread: PhantomData })
    }
}

/// While it is there, this thread, and what it starts, is in the hosts' network.
pub struct Inside {
    before: File,
    /// It belongs to the thread that it moved.
    thread: PhantomData<*const ()>,
}

impl Drop for Inside {
    fn drop(&mut self) {
        move_into_link_name_space(self.before.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("root goes back to where it came from");
    }
}

/// A network namespace that lives as long as the process in it, which lives as long as the pipe that we
/// hold.
pub(super) struct Namespace {
    holder: Child,
}

impl Namespace {
    fn new(setup: &str) -> anyhow::Result<Self> {
        let script = format!("set -e\n{setup}\necho ready\nexec cat");
        let mut holder = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("run unshare")?;
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("standard output is a pipe");
        BufReader::new(stdout).read_line(&mut line).context("wait for the network namespace")?;
        let namespace = Self { holder };
        anyhow::ensure!(line == "ready\n", "the network namespace was not made");
        Ok(namespace)
    }

    /// Where the kernel shows it.
    pub(super) fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    /// `program` of this machine, to be run in it.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg("--").arg(program);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        // It has nothing left to read and ends; a failure to wait leaves nothing to be done.
        let _ended = self.holder.wait();
    }
}
