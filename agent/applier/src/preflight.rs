//! Whether a slot of a given size fits on the disk, before anything is fetched or stopped for it.

use std::path::Path;

/// Bytes that stay free on the file system after the slot is there: for logs, and for the way back.
pub const SPARE_BYTES: u64 = 64 * 1024 * 1024;

/// Inodes that must be free. File systems that do not count inodes say that they have none at all.
const SPARE_INODES: u64 = 1024;

/// Memory in bytes that must be available before a running application is stopped for another: a host that
/// swaps or kills while it restarts things helps nobody.
pub const SPARE_MEMORY: u64 = 32 * 1024 * 1024;

/// Whether the host has memory left to apply anything; the error is for people.
pub fn memory() -> Result<(), String> {
    let mut system =
        sysinfo::System::new().map_err(|error| format!("look at the memory: {error}"))?;
    system.refresh_memory_specifics(sysinfo::MemoryRefreshKind::nothing().with_ram());
    let available = system.available_memory();
    if available >= SPARE_MEMORY {
        return Ok(());
    }
    Err(format!(
        "{available} bytes of memory are available, {SPARE_MEMORY} are needed to restart things"
    ))
}

/// Whether a slot of `needed_bytes` fits below `root`; the error is for people.
pub fn look(root: &Path, needed_bytes: u64) -> Result<(), String> {
    let cannot = |what: &str| format!("{what} {}", root.display());
    let system = rustix::fs::statvfs(root)
        .map_err(|error| format!("{}: {error}", cannot("look at the file system of")))?;
    if system.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Err(cannot("write to the read-only file system of"));
    }
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    let needed = needed_bytes.saturating_add(SPARE_BYTES);
    if free < needed {
        return Err(format!(
            "{}: {free} bytes are free, {needed} are needed ({needed_bytes} for the release)",
            cannot("fit the release into")
        ));
    }
    if system.f_files > 0 && system.f_favail < SPARE_INODES {
        let inodes = system.f_favail;
        return Err(format!(
            "{}: {inodes} inodes are free, {SPARE_INODES} are needed",
            cannot("fit the release into")
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_and_what_does_not() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(look(directory.path(), 1), Ok(()));
        let refused = look(directory.path(), u64::MAX).unwrap_err();
        assert!(refused.contains("are needed"), "{refused}");
        let refused = look(&directory.path().join("absent"), 1).unwrap_err();
        assert!(refused.contains("absent"), "{refused}");
    }
}
