//! Mounts that only one program sees, and what it starts: made between `fork` and `exec`.
//!
//! The program gets a copy of the mounts of this host, in which the root of its application is mounted over
//! itself, read-only, and what its releases share over that as it was. What is mounted or unmounted on the host
//! later reaches it where the host's mounts are shared, as systemd has them (mount_namespaces(7)). Files,
//! directories and links are those of the host: slots that are made and links that are exchanged meanwhile are
//! seen.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::StatVfsMountFlags;

use crate::read_only::ReadOnly;
use crate::slot::RELEASES;

/// Flags of a mount that stay when it is made read-only (statvfs(3), mount(2)).
const KEPT: [(StatVfsMountFlags, MsFlags); 7] = [
    (StatVfsMountFlags::RDONLY, MsFlags::MS_RDONLY),
    (StatVfsMountFlags::NOSUID, MsFlags::MS_NOSUID),
    (StatVfsMountFlags::NODEV, MsFlags::MS_NODEV),
    (StatVfsMountFlags::NOEXEC, MsFlags::MS_NOEXEC),
    (StatVfsMountFlags::NOATIME, MsFlags::MS_NOATIME),
    (StatVfsMountFlags::NODIRATIME, MsFlags::MS_NODIRATIME),
    (StatVfsMountFlags::RELATIME, MsFlags::MS_RELATIME),
];

const NOTHING: Option<&CStr> = None;

/// Mounts to be made.
#[derive(Debug)]
pub(crate) struct Mounts {
    /// Each is mounted over itself, in this order.
    binds: Vec<Bind>,
    /// Where the program runs.
    directory: CString,
}

#[derive(Debug)]
struct Bind {
    place: CString,
    flags: MsFlags,
}

impl Mounts {
    /// What a program in `directory` gets.
    pub(crate) fn of(read_only: &ReadOnly, directory: &Path) -> io::Result<Self> {
        let root = read_only.root();
        let mut binds = vec![Bind::of(root, MsFlags::MS_RDONLY)?];
        // A mount of its own, perhaps, which the one above does not make read-only.
        let releases = root.join(RELEASES);
        for (place, flags) in
            [(releases, MsFlags::MS_RDONLY), (read_only.shared(), MsFlags::empty())]
        {
            if place.exists() {
                binds.push(Bind::of(&place, flags)?);
            }
        }
        Ok(Self { binds, directory: c_path(directory)? })
    }

    /// Makes them, for a child that has forked and not yet executed: system calls only.
    pub(crate) fn make(&self) -> io::Result<()> {
        get_own()?;
        for Bind { place, flags } in &self.binds {
            let place = place.as_c_str();
            let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(place), place, NOTHING, bind, NOTHING)?;
            let remount = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | *flags;
            mount(NOTHING, place, NOTHING, remount, NOTHING)?;
        }
        // Where it is now is below the mounts that were made.
        nix::unistd::chdir(self.directory.as_c_str())?;
        Ok(())
    }
}

impl Bind {
    fn of(place: &Path, flags: MsFlags) -> io::Result<Self> {
        let has = rustix::fs::statvfs(place)?.f_flag;
        let kept = KEPT.iter().filter(|(flag, _)| has.contains(*flag));
        let flags = kept.fold(flags, |flags, (_, kept)| flags | *kept);
        Ok(Self { place: c_path(place)?, flags })
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Whoever calls has mounts of its own from now on, which the host does not see.
fn get_own() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(NOTHING, c"/", NOTHING, MsFlags::MS_REC | MsFlags::MS_SLAVE, NOTHING)
}

/// Whether this process may make mounts for its children: tried, in a thread that ends.
pub(crate) fn may_be_made() -> bool {
    let tried = std::thread::spawn(get_own).join();
    tried.is_ok_and(|made| made.is_ok())
}
