//! A laboratory of real hosts: each a minimal Debian with systemd as its process 1, booted in half a
//! second by `systemd-nspawn` on an overlay of one template, with an address on a private switch.
//!
//! - [`Lab::open`] looks whether this machine can do it (root, a few tools) and makes the template when it
//!   is not there yet: about a minute, once in a target directory. Where it cannot, it says so aloud and
//!   the test is skipped; with `CUTOVER_LAB=required` in the environment that is a failure instead.
//! - [`Lab::boot`] boots hosts. A host ([`Host`]) can be told to run commands, be powered off, crash, and
//!   boot again with the files that it had. Killing it tests crashes of everything at once, not what a
//!   disk loses in a power cut, since the machine's page cache survives; that is what [`crate::power`] does.
//! - [`Lab::enter`] takes the calling thread, and the programs that it starts, into the hosts' network.
//!
//! Nothing of the machine's own network, `/run` or mounts is touched. Network namespaces have no names
//! and every mount is in a private namespace; both, and the hosts, hang on pipes that this process
//! holds. When it ends, in whatever way, they end. The files go when [`Lab`] and the hosts are dropped.
//! A host that is dropped while its test panics shows its journal first.
//!
//! Limits: `MemoryMax=`, `TasksMax=` and `CPUQuota=` have no effect inside.

mod disks;
mod host;
mod network;
mod rootfs;

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::Context as _;
use tempfile::TempDir;

use disks::Disks;
pub use host::{Host, Mark};
pub use network::Inside;
use network::Switch;

use crate::{build, requirement};

/// Most hosts of a lab: the switch's addresses, less the one of the desk.
pub const MAX_HOSTS: usize = 200;

/// A switch with hosts.
pub struct Lab {
    ground: Arc<Ground>,
    hosts: usize,
    /// `/etc/hosts` of the host that is booted next.
    table: String,
}

/// What hosts stand on; there until the last of them is gone.
struct Ground {
    template: PathBuf,
    switch: Switch,
    /// Host disks; beside the template, because an overlay cannot be put on every file system.
    disks: Disks,
    /// Notification sockets: a short path, whatever the target directory's is.
    sockets: TempDir,
}

impl Ground {
    /// Tells this lab from others of the machine.
    fn name(&self) -> String {
        let name = self.disks.path().file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

impl Lab {
    /// A lab without hosts; `None` after saying on standard error what is missing for it.
    ///
    /// # Errors
    ///
    /// When the template or the switch cannot be made although everything for it is there, or when
    /// something is missing and nothing may be ([`requirement::skip`]).
    pub fn open(test: &str) -> anyhow::Result<Option<Self>> {
        if let Err(missing) = requirements() {
            return requirement::skip(test, missing).map(|()| None);
        }
        let directory = build::target_directory()?.join("lab");
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("make {}", directory.display()))?;
        let ground = Ground {
            template: rootfs::template(&directory).context("make the hosts' root file system")?,
            switch: Switch::new().context("make the hosts' network")?,
            disks: Disks::new(&directory).context("make a place for the hosts' disks")?,
            sockets: tempfile::Builder::new().prefix("cutover-lab-").tempdir()?,
        };
        let table = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
        Ok(Some(Self { ground: Arc::new(ground), hosts: 0, table }))
    }

    /// Boots hosts of these names side by side. Each knows by name those that are booted with it and
    /// before it. `shown` are directories of this machine (first) that they see, read-only, at a place of
    /// their own (second).
    pub fn boot(&mut self, names: &[&str], shown: &[(&Path, &Path)]) -> anyhow::Result<Vec<Host>> {
        let first = self.hosts + 1;
        self.hosts += names.len();
        anyhow::ensure!(self.hosts <= MAX_HOSTS, "a lab has {MAX_HOSTS} hosts at most");
        for (number, name) in (first..).zip(names) {
            writeln!(self.table, "{} {name}", network::address(number))?;
        }
        let mut hosts = Vec::with_capacity(names.len());
        for (number, name) in (first..).zip(names) {
            let mut host = Host::new(Arc::clone(&self.ground), number, name, shown)?;
            host.install_hosts_file(&self.table)?;
            host.begin_boot()?;
            hosts.push(host);
        }
        for host in &mut hosts {
            host.await_boot()?;
        }
        Ok(hosts)
    }

    /// Takes this thread into the hosts' network, where somebody at a desk is, until what is given back is
    /// dropped.
    pub fn enter(&self) -> anyhow::Result<Inside> {
        self.ground.switch.enter()
    }
}

/// What this machine must be and have.
fn requirements() -> anyhow::Result<()> {
    anyhow::ensure!(rustix::process::geteuid().is_root(), "booting hosts takes root");
    let tools = [
        ("systemd-nspawn", "systemd-container"),
        ("debootstrap", "debootstrap"),
        ("ip", "iproute2"),
        ("unshare", "util-linux"),
        ("nsenter", "util-linux"),
        ("apt-get", "apt"),
    ];
    for (tool, package) in tools {
        anyhow::ensure!(is_installed(tool), "{tool} is not installed (package {package})");
    }
    Ok(())
}

pub(crate) fn is_installed(tool: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(usual).any(|directory| directory.join(tool).is_file())
}

/// Runs a command that is to succeed and gives back what it printed; what it said against it is in the
/// error.
pub(crate) fn succeed(command: &mut Command) -> anyhow::Result<String> {
    let output =
        command.output().with_context(|| format!("run {}", command.get_program().display()))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(
        output.status.success(),
        "{}: {}\n{printed}{}",
        shown(command),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(printed)
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
