//! The template: made once, and again when the script that makes it changes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use cutover_shared::digest::Digest;
use rustix::fs::{FlockOperation, flock};

/// What makes it.
const SCRIPT: &str = include_str!("../../lab/rootfs.sh");

/// The template in `directory`, made if it is not there. Processes that want it at the same time wait
/// for the first of them.
pub(super) fn template(directory: &Path) -> anyhow::Result<PathBuf> {
    let lock = File::create(directory.join("rootfs.lock")).context("make the template's lock")?;
    flock(&lock, FlockOperation::LockExclusive).context("take the template's lock")?;
    let name = format!("rootfs-{}", &Digest::of(SCRIPT.as_bytes()).to_string()[..12]);
    let template = directory.join(&name);
    if template.is_dir() {
        return Ok(template);
    }
    let partial = directory.join("rootfs.partial");
    if partial.is_dir() {
        fs::remove_dir_all(&partial).context("remove an unfinished template")?;
    }
    let journal = directory.join("rootfs.log");
    let log = File::create(&journal).context("make the template's log")?;
    // What debootstrap mounts is gone when it is, however it ended.
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--", "bash", "-c", SCRIPT, "rootfs.sh"])
        .arg(&partial)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()
        .context("run the script that makes the template")?;
    if !status.success() {
        let said = fs::read_to_string(&journal).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(20).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        anyhow::bail!("{status}; it said last:\n{}", last.join("\n"));
    }
    fs::rename(&partial, &template).context("put the template in its place")?;
    Ok(template)
}
