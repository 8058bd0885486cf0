//! What a release brings with it: hooks with their undo, checks of every kind, a first installation that
//! fails; and the bytes that a host gets only in its turn.

use anyhow::{Context as _, ensure};
use cutover_shared::digest::Digest;
use cutover_shared::key::SecretKey;
use cutover_shared::protocol::{Part, Request, Response};
use cutover_shared::refusal::Code;
use cutover_shared::statement::Event;
use cutover_tests::harness::Stage;
use cutover_tests::harness::notice::Notice;
use cutover_tests::harness::people::public;
use cutover_tests::harness::release::Made;
use rustix::process::{Pid, Signal, kill_process};

use super::{HOST, WAVE, hook, host, ready, returned, runs, stage};

/// Two more checks: a port, and a command of the release itself.
const CHECKS: &str = r#"
[hooks]
support = ["hooks/check"]

[[health]]
name = "port"
kind = "tcp"
address = "{listen}"
timeout = "2s"

[[health]]
name = "own-word"
kind = "exec"
command = ["hooks/check", "{node}"]
timeout = "2s"

[[health]]
name = "server"
kind = "process"
program = "payload/bin/serve"
at-most = 1
timeout = "2s"

[[health]]
name = "footprint"
kind = "resource"
memory-mib-at-most = 64
cpu-percent-at-most = 200
open-files-at-most = 64
disk-free-mib-at-least = 1
timeout = "2s"
"#;

/// What this host has not.
const DEMANDING: [(&str, &str, &str); 3] = [
    ("[preflight]\nmemory-mib = 100000000\n", "#!/bin/sh\n", "MiB of memory"),
    ("[preflight]\nports = [\"{taken}\"]\n", "#!/bin/sh\n", "something else listens"),
    ("", "#!/opt/absent/python\n", "/opt/absent/python"),
];

const CHECK: &str = "#!/bin/sh\n[ \"$CUTOVER_APPLICATION $1\" = 'web stg-1' ]\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_and_checks() -> anyhow::Result<()> {
    let (mut stage, _directory) = stage().await?;
    first_installation(&mut stage).await?;
    checks_of_every_kind(&mut stage).await?;
    refused_beforehand(&mut stage).await?;
    comes_back(&stage).await?;
    failing_hooks(&mut stage).await?;
    only_in_its_turn(&mut stage).await
}

/// A first installation that fails leaves nothing: no link, no process, no slot.
async fn first_installation(stage: &mut Stage) -> anyhow::Result<()> {
    let made = Made { unhealthy_on: &[HOST], ..Made::default() };
    let release = ready(stage, "0.9", &made)?;
    let booked = stage.open_window(&release, "staging", &WAVE)?;
    let outcome = stage.outcome(HOST, &booked.booking).await?;
    let (step, reason) = returned(&outcome.event)?;
    ensure!(step == "checking" && reason.contains("not healthy"), "{step}: {reason}");
    ensure!(outcome.running.is_none());
    let host = host(stage, HOST)?;
    ensure!(host.current().is_none() && host.page().is_none(), "something is left");
    let left = cutover_applier::find::running(&host.directory.join("web"));
    ensure!(left.is_empty(), "still running: {left:?}");
    let slots = cutover_tests::harness::slots::names(host)?;
    ensure!(slots.is_empty(), "still there: {slots:?}");
    Ok(())
}

async fn checks_of_every_kind(stage: &mut Stage) -> anyhow::Result<()> {
    let made = Made { manifest: CHECKS, hooks: &[("check", CHECK)], ..Made::default() };
    let release = ready(stage, "1.0", &made)?;
    let booked = stage.open_window(&release, "staging", &WAVE)?;
    let outcome = stage.outcome(HOST, &booked.booking).await?;
    ensure!(outcome.event == Event::Committed, "{outcome:#?}");
    let readings = stage.readings(HOST, &booked.booking).await?;
    for check in ["page", "port", "own-word", "server", "footprint"] {
        let passed = readings.iter().any(|it| it.check == check && it.healthy);
        ensure!(passed, "{check} is not among {readings:#?}");
    }
    runs(stage, "1.0")
}

/// A host that has not what a release needs says so before it touches anything, and what is missing.
async fn refused_beforehand(stage: &mut Stage) -> anyhow::Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let serves = host(stage, HOST)?.serving()?;
    for (number, (manifest, check, why)) in DEMANDING.into_iter().enumerate() {
        let manifest = format!("{}{CHECKS}", manifest.replace("{taken}", &address));
        let made = Made { manifest: &manifest, hooks: &[("check", check)], ..Made::default() };
        let release = ready(stage, &format!("1.0.{number}"), &made)?;
        let booked = stage.open_window(&release, "staging", &WAVE)?;
        let code = Code::HostNotReady.name();
        let detail = stage.refusal_facts(HOST, &booked.booking, code).await?;
        ensure!(detail.contains(why), "{detail}");
        ensure!(host(stage, HOST)?.serving()? == serves, "something was touched");
        runs(stage, "1.0")?;
        stage.desk.run("max", &["cancel", &release, "--reason", "the host is not ready"])?;
    }
    Ok(())
}

/// A committed application that dies is started again, and again.
async fn comes_back(stage: &Stage) -> anyhow::Result<()> {
    let root = host(stage, HOST)?.directory.join("web");
    for _ in 0..2 {
        let found = cutover_applier::find::running(&root);
        let dies = found.first().context("the application runs")?.pid;
        let pid = i32::try_from(dies).ok().and_then(Pid::from_raw).context("a process id")?;
        let mut notice = Notice::of(&root)?;
        kill_process(pid, Signal::KILL)?;
        // It says in its log when it listens.
        let listens = notice.until(|path| path.ends_with("application.log")).await;
        listens.with_context(|| format!("it does not come back\n{}", stage.logs()))?;
        ensure!(host(stage, HOST)?.serving()? != dies, "it was killed");
        runs(stage, "1.0")?;
    }
    Ok(())
}

/// A hook that fails takes the host back, its undo runs, and what it said is in the outcome.
async fn failing_hooks(stage: &mut Stage) -> anyhow::Result<()> {
    for (version, place) in [("1.1", "pre-stop"), ("1.2", "post-start")] {
        let undone = stage.desk.directory.join(format!("{version}.undone"));
        let manifest =
            format!("{}undo = {{ command = \"hooks/undo\", timeout = \"5s\" }}\n", hook(place));
        let undo = format!("#!/bin/sh\necho undone > '{}'\n", undone.display());
        let fails = "#!/bin/sh\necho 'the queue cannot be drained' >&2\nexit 3\n";
        let made = Made {
            manifest: &manifest,
            hooks: &[(place, fails), ("undo", &undo)],
            ..Made::default()
        };
        let release = ready(stage, version, &made)?;
        let booked = stage.open_window(&release, "staging", &WAVE)?;
        let outcome = stage.outcome(HOST, &booked.booking).await?;
        let (step, reason) = returned(&outcome.event)?;
        ensure!(step == format!("{place} hook"), "{step}: {reason}");
        ensure!(reason.contains("the queue cannot be drained"), "{reason}");
        ensure!(undone.exists(), "{place}: the undo did not run");
        let told = stage.desk.run("max", &["status", &release, "--host", HOST, "--output"])?;
        let last = told.as_array().and_then(|it| it.last()).context("what the host told")?;
        let output = last["output"].as_str().unwrap_or_default();
        ensure!(output.contains("the queue cannot be drained"), "{told:#}");
        ensure!(last["step"] == format!("{place} hook"), "{told:#}");
        runs(stage, "1.0")?;
    }
    Ok(())
}

/// The coordinator gives a host no byte of a package outside its window, and none of what it has done.
async fn only_in_its_turn(stage: &mut Stage) -> anyhow::Result<()> {
    let release = ready(stage, "1.3", &Made::default())?;
    ensure!(refused(stage, &release).await? == Code::NotReleased, "before any window");
    let window = [&["--start", "+2h", "--for", "30m"][..], &WAVE].concat();
    let booked = stage.book(&release, "staging", &window)?;
    stage.desk.run("max", &["window", "release", &booked.booking])?;
    let code = refused(stage, &release).await?;
    ensure!(code == Code::WindowNotOpen, "before its window: {code}");
    stage.deploy(&release, "staging", &[HOST], &WAVE).await?;
    let code = refused(stage, &release).await?;
    ensure!(
        matches!(code, Code::NotCleared | Code::WindowNotOpen | Code::GenerationPassed),
        "after it: {code}"
    );
    Ok(())
}

/// Asks for the index of a release's package as the host, with its own transport key.
async fn refused(stage: &mut Stage, release: &str) -> anyhow::Result<Code> {
    let number: u64 = release.trim_start_matches("R-").parse()?;
    let package: Digest = stage
        .until("the release", |state| {
            state.cases().find(|case| case.number == number).map(|case| case.release.says().package)
        })
        .await?;
    let pem = std::fs::read_to_string(host(stage, HOST)?.directory.join("transport.pem"))?;
    let key = SecretKey::from_pem(&pem, None)?;
    let server = std::fs::read_to_string(public(&stage.desk.key("log")))?;
    let server = cutover_shared::key::PublicKey::from_pem(&server)?;
    let endpoint = cutover_transport::client_endpoint()?;
    let address = stage.desk.coordinator.clone().context("the coordinator runs")?;
    let connection = cutover_transport::connect(&endpoint, &address, &server, &key).await?;
    let question = Request::Artifact { package, part: Part::Index, offset: 0, length: 16 };
    let answer = cutover_transport::request(&connection, &question).await?;
    let Response::Refused(refusal) = answer else {
        anyhow::bail!("{release}: not refused: {answer:?}");
    };
    Ok(refusal.code)
}
