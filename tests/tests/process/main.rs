//! The process on real processes: what people decide on the way, what hooks and checks do, how hosts come
//! and go, and what the log keeps.

mod bad_releases;
mod deciding;
mod hooks;
mod hosts;
mod operators;
mod shared;

use std::path::Path;

use anyhow::{Context as _, ensure};
use cutover_shared::statement::Event;
use cutover_tests::build::binaries;
use cutover_tests::harness::gate::Gate;
use cutover_tests::harness::host::Host;
use cutover_tests::harness::notice::Notice;
use cutover_tests::harness::release::{self, Made};
use cutover_tests::harness::{Stage, slots};

const HOST: &str = "stg-1";
const WAVE: [&str; 2] = ["--wave", "all=stg-1"];

/// A stage with one staging host, and nothing on it yet.
async fn stage() -> anyhow::Result<(Stage, tempfile::TempDir)> {
    let directory = tempfile::Builder::new().prefix("cutover-process-").tempdir()?;
    let mut stage = Stage::start(directory.path(), binaries()).await?;
    stage.add_host(HOST, "staging").await?;
    Ok((stage, directory))
}

/// Submits what is made, for staging only, and gets what its rule demands.
fn ready(stage: &Stage, version: &str, made: &Made<'_>) -> anyhow::Result<String> {
    let release = stage.submitted(&release::build(&stage.desk, version, made)?, &["staging"])?;
    stage.desk.run("lena", &["review", &release, "--complete"])?;
    stage.desk.run("lena", &["deliver", &release, "--location", "shelf 1"])?;
    Ok(release)
}

fn host<'s>(stage: &'s Stage, name: &str) -> anyhow::Result<&'s Host> {
    stage.hosts.get(name).with_context(|| format!("host {name}"))
}

/// That the host runs this version, wholly, and serves it.
fn runs(stage: &Stage, version: &str) -> anyhow::Result<()> {
    let host = host(stage, HOST)?;
    slots::check(host, &stage.desk.directory.join(format!("web-{version}")))?;
    ensure!(host.page().as_deref() == Some(version), "it shows {:?}", host.page());
    Ok(())
}

/// The step and the reason of a return.
fn returned(event: &Event) -> anyhow::Result<(String, String)> {
    match event {
        Event::Returned { step, reason } => Ok((step.clone(), reason.clone())),
        Event::Committed
        | Event::RolledBack
        | Event::Refused { .. }
        | Event::Stuck { .. }
        | Event::Drifted { .. } => anyhow::bail!("not returned: {event:?}"),
    }
}

/// The lines of a manifest for one hook.
fn hook(stage: &str) -> String {
    format!("[hooks.{stage}]\ncommand = \"hooks/{stage}\"\ntimeout = \"10s\"\n")
}

/// Makes a release whose hook in this place waits at a gate.
fn gated(stage: &Stage, version: &str, place: &str) -> anyhow::Result<(String, Gate)> {
    let gate = Gate::new(&stage.desk.directory, version)?;
    let script = gate.script().to_owned();
    let made = Made { manifest: &hook(place), hooks: &[(place, &script)], ..Made::default() };
    Ok((ready(stage, version, &made)?, gate))
}

/// Waits until a log of the host has this text.
async fn logged(host: &Host, file: &str, text: &str) -> anyhow::Result<()> {
    let path = host.directory.join(file);
    let has =
        |path: &Path| std::fs::read_to_string(path).is_ok_and(|content| content.contains(text));
    let mut notice = Notice::of(&path)?;
    if !has(&path) {
        let seen = notice.until(has).await;
        seen.with_context(|| format!("{text:?} in {file}:\n{}", host.tail()))?;
    }
    Ok(())
}
