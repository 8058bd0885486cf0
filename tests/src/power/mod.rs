//! Power cuts: a disk that loses what was not synced, in every way in which a disk can.
//!
//! A [`Disk`] is a real ext4 on a loop device over a small server of our own, which writes down what it is
//! told: writes and flushes, in order. Whatever runs on it runs once, undisturbed. From the [`Trace`] of
//! that any number of cuts is made: for a moment and a seed, the [`Image`] that a disk with a volatile
//! cache would hold if its power had gone then. Everything from before the last flush is there; of the
//! rest a random subset of whole writes and of single sectors, so that later writes are there without
//! earlier ones. Each image is mounted as after a reboot, the kernel replays its journal, and what is
//! recovered is compared with what had been promised by that moment.
//!
//! What passes because nothing could have been lost proves nothing. So each kind of test is run on
//! [`Syncing::Ignored`] too, where `fsync` and its kin say that all is well and do nothing, and there it
//! has to find something.
//!
//! - [`is_possible`] tells whether this machine can do it (root, a few tools, FUSE, loop devices).
//! - [`isolated`] runs a test on a thread with mounts of its own: they end with the process, however it ends.
//! - [`cuts`] says how many: a few on every change, more where [`VARIABLE`] asks for them.
//!
//! A sector (512 bytes) is never torn, which real disks promise as well. The machine's memory is what a cut
//! takes from the processes; killing them is the tests' part.

mod disk;
mod image;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

pub use disk::{Disk, formatted};
pub use image::{Image, Told, Trace};

use crate::lab::is_installed;
use crate::requirement;

/// The variable that says how many cuts of each kind are made.
pub const VARIABLE: &str = "CUTOVER_CUTS";

/// How many are made when nobody says.
const CUTS: u64 = 20;

/// Whether what is to be synced is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syncing {
    /// As it should be.
    Done,
    /// The calls succeed and do nothing: the control.
    Ignored,
}

/// How many cuts of each kind are to be made.
pub fn cuts() -> anyhow::Result<u64> {
    match std::env::var(VARIABLE) {
        Ok(text) => text.parse().with_context(|| format!("read {VARIABLE}")),
        Err(_) => Ok(CUTS),
    }
}

/// Whether this machine can cut power; where it cannot, that is said as for every lab.
pub fn is_possible(test: &str) -> anyhow::Result<bool> {
    match requirements() {
        Ok(()) => Ok(true),
        Err(missing) => requirement::skip(test, missing).map(|()| false),
    }
}

fn requirements() -> anyhow::Result<()> {
    anyhow::ensure!(rustix::process::geteuid().is_root(), "mounting disks takes root");
    for (tool, package) in [("mkfs.ext4", "e2fsprogs"), ("mount", "mount"), ("umount", "mount")] {
        anyhow::ensure!(is_installed(tool), "{tool} is not installed (package {package})");
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        anyhow::ensure!(Path::new(device).exists(), "there is no {device}");
    }
    Ok(())
}

/// Runs `task` on a thread whose mounts, and those of what it starts, nobody else sees. One at a time: a
/// program that another thread is just starting holds for a moment whatever is open here, and a disk in
/// use cannot be unmounted.
pub fn isolated<T: Send>(
    syncing: Syncing,
    task: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNS).context("get mounts of our own")?;
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
                .context("make the mounts private")?;
            if syncing == Syncing::Ignored {
                ignore_syncing().context("ignore syncing")?;
            }
            task()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// From now on this thread, and whatever it starts, syncs in vain.
fn ignore_syncing() -> anyhow::Result<()> {
    let calls = [
        libc::SYS_fsync,
        libc::SYS_fdatasync,
        libc::SYS_sync,
        libc::SYS_syncfs,
        libc::SYS_sync_file_range,
        libc::SYS_msync,
    ];
    let filter = SeccompFilter::new(
        calls.map(|call| (call, Vec::new())).into(),
        SeccompAction::Allow,
        // "Failed" with error 0: the call has succeeded, as far as its caller can see.
        SeccompAction::Errno(0),
        std::env::consts::ARCH.try_into()?,
    )?;
    let program: BpfProgram = filter.try_into()?;
    apply_filter(&program)?;
    Ok(())
}
