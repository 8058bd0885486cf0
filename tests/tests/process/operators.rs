//! What an operator can do at a host, with the network down: look, verify, send it back, and end *stuck*.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context as _, ensure};
use cutover_shared::statement::Event;
use cutover_tests::harness::release::Made;
use cutover_tests::harness::{Stage, outcomes};

use super::{HOST, WAVE, gated, hook, host, ready, runs, stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_at_the_host() -> anyhow::Result<()> {
    let (mut stage, _directory) = stage().await?;
    let release = ready(&stage, "1.0", &Made::default())?;
    stage.deploy(&release, "staging", &[HOST], &WAVE).await?;
    verifies(&stage)?;
    turns_back(&mut stage).await?;
    ends_stuck(&mut stage).await?;
    looks_at_a_damaged_ledger(&mut stage)
}

/// `verify` is content with what was deployed, names what differs, and changes nothing.
fn verifies(stage: &Stage) -> anyhow::Result<()> {
    let host = host(stage, HOST)?;
    let whole = host.operate(&["verify"])?;
    ensure!(whole.status.success(), "{}", text(&whole));
    let page = host.current().context("a current release")?.join("payload/site/version.txt");
    let before = std::fs::read(&page)?;
    std::fs::write(&page, "9.9\n")?;
    let differs = host.operate(&["verify", "web", "--json"])?;
    ensure!(differs.status.code() == Some(1), "{}", text(&differs));
    ensure!(text(&differs).contains("payload/site/version.txt"), "{}", text(&differs));
    ensure!(std::fs::read(&page)? == b"9.9\n", "verify only looks");
    std::fs::write(&page, before)?;
    let link = host.directory.join("web/current");
    let target = std::fs::read_link(&link)?;
    std::fs::remove_file(&link)?;
    let differs = host.operate(&["verify"])?;
    ensure!(text(&differs).contains("current (link): it is missing"), "{}", text(&differs));
    // The operator has it put right.
    let seen_to = host.operate(&["return", "--reason", "the link is gone", "--yes"])?;
    ensure!(seen_to.status.success(), "{}", text(&seen_to));
    while host.current().is_none() {
        // Seeing to it goes on beside; verify takes its turn.
        host.operate(&["verify"])?;
    }
    ensure!(std::fs::read_link(&link)? == target, "the link is back");
    Ok(())
}

/// An operator's word turns back what is on its way forward, with nobody else there.
async fn turns_back(stage: &mut Stage) -> anyhow::Result<()> {
    let (release, mut gate) = gated(stage, "1.1", "post-start")?;
    let booked = stage.open_window(&release, "staging", &WAVE)?;
    gate.reached().await?;
    let at = stage.hosts.get_mut(HOST).context("the host")?;
    at.take_agent()?.kill()?;
    stage.take_coordinator()?.kill()?;
    let at = host(stage, HOST)?;
    let refused = at.operate(&["return", "shop", "--reason", "?", "--yes"])?;
    ensure!(text(&refused).contains("shop is not in this host's configuration"));
    let dry = at.operate(&["return", "--reason", "it looks wrong", "--dry-run"])?;
    ensure!(dry.status.success() && text(&dry).contains("starting"), "{}", text(&dry));
    let back = at.operate(&["return", "--reason", "it looks wrong", "--yes"])?;
    ensure!(back.status.success(), "{}", text(&back));
    runs(stage, "1.0")?;
    reconnect(stage).await?;
    let outcome = stage.outcome(HOST, &booked.booking).await?;
    let (_, reason) = super::returned(&outcome.event)?;
    ensure!(reason == "an operator at the host: it looks wrong", "{reason}");
    stage.desk.run("max", &["cancel", &release, "--reason", "it looked wrong"])?;
    Ok(())
}

/// An undo that fails leaves the host stuck, and says so; the operator ends that, once the cause is mended
/// or the undo was done by hand.
async fn ends_stuck(stage: &mut Stage) -> anyhow::Result<()> {
    let manifest =
        format!("{}undo = {{ command = \"hooks/undo\", timeout = \"5s\" }}\n", hook("post-start"));
    let fails = "#!/bin/sh\nexit 1\n";
    let undo = "#!/bin/sh\necho 'the schema is newer than its undo' >&2\nexit 7\n";
    let hooks = [("post-start", fails), ("undo", undo)];
    let made = Made { manifest: &manifest, hooks: &hooks, ..Made::default() };
    let release = ready(stage, "1.2", &made)?;
    let booked = stage.open_window(&release, "staging", &WAVE)?;
    let outcome = stage.outcome(HOST, &booked.booking).await?;
    let Event::Stuck { reason, .. } = &outcome.event else {
        anyhow::bail!("not stuck: {:?}", outcome.event);
    };
    ensure!(reason.contains("the schema is newer than its undo"), "{reason}");
    let at = stage.hosts.get_mut(HOST).context("the host")?;
    at.take_agent()?.kill()?;
    let at = host(stage, HOST)?;
    let inspected = at.inspect()?;
    let stuck = &inspected["applications"]["web"];
    ensure!(stuck["state"] == "stuck" && stuck["stuck"].is_string(), "{inspected:#}");
    let again = at.operate(&["return", "--reason", "try again", "--yes"])?;
    ensure!(again.status.code() == Some(1), "{}", text(&again));
    ensure!(text(&again).contains("the schema is newer than its undo"), "{}", text(&again));
    let by_hand =
        ["return", "web", "--skip-undo", "--reason", "schema taken back by hand", "--yes"];
    let back = at.operate(&by_hand)?;
    ensure!(back.status.success(), "{}", text(&back));
    runs(stage, "1.0")?;
    let verified = host(stage, HOST)?.operate(&["verify"])?;
    ensure!(verified.status.success(), "{}", text(&verified));
    stage.hosts.get_mut(HOST).context("the host")?.start_agent()?;
    let order = booked.booking.parse()?;
    let told = stage
        .until("the end that the operator made", |state| {
            let told = outcomes(state, &order);
            let returned = |event: &Event| matches!(event, Event::Returned { reason, .. } if reason.contains("taken back by hand"));
            told.iter().any(|it| returned(&it.event)).then_some(told)
        })
        .await?;
    let stuck = told.iter().filter(|it| matches!(it.event, Event::Stuck { .. })).count();
    ensure!(stuck == 2, "each time that it was stuck is told: {told:#?}");
    // It is open for the next release.
    let release = ready(stage, "1.3", &Made::default())?;
    stage.deploy(&release, "staging", &[HOST], &WAVE).await?;
    runs(stage, "1.3")
}

/// Whoever looks at a damaged ledger leaves it as it is.
fn looks_at_a_damaged_ledger(stage: &mut Stage) -> anyhow::Result<()> {
    let at = stage.hosts.get_mut(HOST).context("the host")?;
    at.take_applier()?.kill()?;
    let directory = at.directory.join("state");
    std::fs::write(directory.join("ledger"), "damaged")?;
    let before = files(&directory)?;
    let looked = at.operate(&["inspect"])?;
    ensure!(text(&looked).contains("the ledger is damaged"), "{}", text(&looked));
    at.operate(&["verify"])?;
    ensure!(files(&directory)? == before, "looking has changed something");
    Ok(())
}

async fn reconnect(stage: &mut Stage) -> anyhow::Result<()> {
    stage.start_coordinator().await?;
    stage.hosts.get_mut(HOST).context("the host")?.start_agent()
}

fn text(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).into_owned()
}

fn files(directory: &Path) -> anyhow::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_file() {
            files.insert(path.clone(), std::fs::read(&path)?);
        }
    }
    Ok(files)
}
