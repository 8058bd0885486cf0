//! The product's own binaries, built as a user builds them, for tests that run them as processes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, bail};

/// The directory in which `cutover`, `cutover-agent`, `cutover-applier` and the binaries of this package
/// are, newly built if need be (once in a process). They have the profile of the caller.
///
/// # Panics
///
/// When they do not build; cargo's messages are on standard error.
pub fn binaries() -> &'static Path {
    static BINARIES: OnceLock<PathBuf> = OnceLock::new();
    BINARIES.get_or_init(|| build().expect("the workspace that this test is part of builds"))
}

/// The directory of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests are a directory of the workspace")
}

/// The directory that cargo builds in, wherever it was put.
pub fn target_directory() -> anyhow::Result<PathBuf> {
    let output = cargo()
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(workspace())
        .stderr(Stdio::inherit())
        .output()
        .context("run cargo metadata")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("read what cargo metadata says")?;
    let directory = metadata["target_directory"].as_str().context("find the target directory")?;
    Ok(PathBuf::from(directory))
}

/// The variables by which cargo tells this program which package it is of. A cargo that this program runs
/// must not get them: build scripts look at some, and half of the dependencies would be built again, and
/// once more by the next cargo that does not have them.
pub fn variables_of_this_package() -> impl Iterator<Item = OsString> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(|name| {
        let name = name.to_string_lossy();
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    })
}

/// Cargo, as a user calls it.
fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    for name in variables_of_this_package() {
        command.env_remove(name);
    }
    command
}

fn build() -> anyhow::Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--quiet", "--workspace", "--bins", "--message-format=json"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command
        .current_dir(workspace())
        .stderr(Stdio::inherit())
        .output()
        .context("run cargo build")?;
    if !output.status.success() {
        bail!("cargo build: {}", output.status);
    }
    output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
        .find_map(|message| Some(Path::new(message["executable"].as_str()?).parent()?.to_owned()))
        .context("find an executable among what cargo built")
}
