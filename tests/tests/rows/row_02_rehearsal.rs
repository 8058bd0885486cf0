//! Row 2: somebody who did not make it applies it and takes it back, in a clean sandbox.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use cutover_shared::statement::Rehearsed;
use cutover_tests::harness::Stage;
use cutover_tests::harness::people::path;
use cutover_tests::harness::release::{self, Made};
use cutover_tests::requirement;

/// A hook that says who it is, and its undo.
const HOOKS: &str = "[hooks.activate]\ncommand = \"hooks/activate\"\ntimeout = \"10s\"\n\
                     undo = { command = \"hooks/back\", timeout = \"5s\" }\n";

/// In a rehearsal it finds nobody's files and no network: not even the coordinator.
fn activate(coordinator: &str) -> String {
    let (host, port) = coordinator.rsplit_once(':').unwrap_or((coordinator, "1"));
    format!(
        "#!/bin/bash\necho \"activated by $(id -un)\"\n\
         [ \"$(id -un)\" = rehearsal ] || exit 0\nls /home /root /etc/shadow && exit 1\n\
         if (exec 3<>/dev/tcp/{host}/{port}); then echo \"there is a network\"; exit 1; fi\nexit 0\n"
    )
}

/// The configuration of a host like those that it goes to.
fn host_config(stage: &Stage) -> anyhow::Result<String> {
    let file = stage.desk.directory.join("like-hosts.toml");
    let text = "host = \"any\"\nenvironment = \"staging\"\n[applications.web]\nroot = \"/srv/web\"\n\
                hooks = \"allowed\"\nrun = { start = [\"bin/serve\"], stop-timeout = \"5s\" }\n\
                variables = { listen = \"127.0.0.1:8080\", node = \"any\" }\n";
    fs::write(&file, text)?;
    Ok(path(&file))
}

/// From its next version on, the policy wants one rehearsal for staging.
fn demand(stage: &Stage) -> anyhow::Result<()> {
    let toml = stage.desk.directory.join("policy.toml");
    let text = fs::read_to_string(&toml)?.replacen("version = 1", "version = 2", 1);
    let (before, staging) = text.split_once("environment = \"staging\"").context("a rule")?;
    let text = format!("{before}environment = \"staging\"\nrehearsals = 1{staging}");
    fs::write(&toml, text)?;
    let (key, output) = (path(&stage.desk.key("root")), path(&stage.desk.directory.join("2.json")));
    stage
        .desk
        .run("root", &["policy", "sign", &path(&toml), "--key", &key, "--output", &output])?;
    stage.desk.run("root", &["policy", "install", &output])?;
    Ok(())
}

fn made(stage: &Stage, version: &str, made: &Made<'_>) -> anyhow::Result<PathBuf> {
    release::build(&stage.desk, version, made)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_02_somebody_else_rehearses_and_the_host_can_demand_it() -> anyhow::Result<()> {
    if Command::new("bwrap").arg("--version").output().is_err() {
        let missing = anyhow::anyhow!("bwrap is not installed (bubblewrap)");
        return requirement::skip("row_02", missing);
    }
    let (mut stage, _directory) = super::stage().await?;
    demand(&stage)?;
    let like = host_config(&stage)?;
    let coordinator = stage.desk.coordinator.clone().context("the coordinator runs")?;
    let earlier = path(&made(&stage, "1.0", &Made::default())?);
    let (there, back) = (activate(&coordinator), "#!/bin/sh\necho taken back\n");
    let hooks = [("activate", there.as_str()), ("back", back)];
    let file = made(&stage, "1.1", &Made { manifest: HOOKS, hooks: &hooks, ..Made::default() })?;
    let package = path(&file);
    let rehearse = ["package", "rehearse", &package, "--host-config", &like, "--earlier", &earlier];

    // Nobody has submitted it: tried without a signature, by its author as well.
    let tried = stage.desk.run("alice", &[&["--dry-run"], &rehearse[..]].concat())?;
    ensure!(tried["result"]["passed"].is_object(), "{tried:#}");
    let (code, text) = stage.desk.fails("lena", &rehearse)?;
    ensure!(code == 5 && text.contains("submit it first"), "{code}: {text}");

    let release = stage.submitted(&file, &["staging"])?;
    let refused = stage.desk.refused("alice", &rehearse)?;
    ensure!(refused.code == "duties-not-separate", "{refused:?}");
    stage.desk.run("lena", &["review", &release, "--complete"])?;
    stage.desk.run("lena", &["deliver", &release, "--location", "shelf 1"])?;
    stage.add_host("stg-1", "staging").await?;
    let window = ["--start", "now", "--for", "30m", "--wave", "all=stg-1"];
    let book = [&["book", &release, "--environment", "staging"], &window[..]].concat();
    ensure!(stage.desk.refused("max", &book)?.code == "not-rehearsed");

    let signed = stage.desk.run("lena", &rehearse)?;
    let passed: Rehearsed = serde_json::from_value(signed["result"].clone())?;
    let Rehearsed::Passed { applied_in, returned_in } = passed else {
        anyhow::bail!("{signed:#}");
    };
    // It bakes for 600 ms before it commits.
    ensure!(applied_in.as_millis() >= 600 && !returned_in.is_zero(), "{signed:#}");
    let transcript = fs::read_to_string(file.with_extension("rehearsal.log"))?;
    for part in ["activated by rehearsal", "taken back", "the rehearsal passed"] {
        ensure!(transcript.contains(part), "{part:?} in\n{transcript}");
    }
    ensure!(!transcript.contains("there is a network"), "{transcript}");
    // With it the host goes: it demands the same of the evidence as the booking did.
    stage.deploy(&release, "staging", &["stg-1"], &["--wave", "all=stg-1"]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_02_what_does_not_work_is_told_with_the_step_and_signed() -> anyhow::Result<()> {
    if Command::new("bwrap").arg("--version").output().is_err() {
        let missing = anyhow::anyhow!("bwrap is not installed (bubblewrap)");
        return requirement::skip("row_02", missing);
    }
    let (stage, _directory) = super::stage().await?;
    demand(&stage)?;
    let like = host_config(&stage)?;
    let broken = "#!/bin/sh\necho the table is not there\nexit 7\n";
    let hooks = [("activate", broken), ("back", "#!/bin/sh\n")];
    let file = made(&stage, "1.0", &Made { manifest: HOOKS, hooks: &hooks, ..Made::default() })?;
    let release = stage.submitted(&file, &["staging"])?;
    let rehearse = ["package", "rehearse", &path(&file), "--host-config", &like];
    let output = stage.desk.command("sam").args(["--yes", "--json"]).args(rehearse).output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(4), "{output:?}");
    ensure!(told.contains("activatehook") && told.contains("the table is not there"), "{told}");
    let refused = stage.desk.run("max", &["explain", &release])?.to_string();
    ensure!(refused.contains("not-rehearsed") && refused.contains("by sam failed"), "{refused}");

    // Without a configuration that says how it is started, or with one for another application.
    let unit = stage.desk.directory.join("unit.toml");
    let text = fs::read_to_string(&like)?;
    fs::write(
        &unit,
        text.replace("start = [\"bin/serve\"], stop-timeout = \"5s\"", "unit = \"a.service\""),
    )?;
    let (_, said) = stage.desk.fails(
        "sam",
        &["--dry-run", "package", "rehearse", &path(&file), "--host-config", &path(&unit)],
    )?;
    ensure!(said.contains("--start PROGRAM"), "{said}");
    Ok(())
}
