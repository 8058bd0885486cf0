//! Row 17: after an unexpected event the release is rolled back, and held until it was reviewed again.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use cutover_shared::digest::Digest;
use cutover_shared::statement::{Event, WindowRelease};
use cutover_tests::harness::Stage;
use cutover_tests::harness::host::Host;
use cutover_tests::harness::release::{self, Made};
use cutover_tests::harness::watch::append_unasked;

const WAVE: [&str; 2] = ["--wave", "all=stg-1"];

fn ready(stage: &Stage, version: &str, made: &Made<'_>) -> anyhow::Result<String> {
    let file = release::build(&stage.desk, version, made)?;
    let name = stage.submitted(&file, &["staging"])?;
    stage.desk.run("lena", &["review", &name, "--complete"])?;
    stage.desk.run("lena", &["deliver", &name, "--location", "shelf 1"])?;
    Ok(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_17_what_went_back_waits_for_a_new_review() -> anyhow::Result<()> {
    let (mut stage, _directory) = super::stage().await?;
    stage.add_host("stg-1", "staging").await?;
    let good = ready(&stage, "1.0", &Made::default())?;
    stage.deploy(&good, "staging", &["stg-1"], &WAVE).await?;

    // By itself: the health check fails. A later window was released before that, and is of no use.
    let bad = ready(&stage, "1.1", &Made { unhealthy_on: &["stg-1"], ..Made::default() })?;
    let soon = ["--environment", "staging", "--start", "now", "--for", "20m"];
    let late =
        stage.book(&bad, "staging", &[&["--start", "+2h", "--for", "30m"][..], &WAVE].concat())?;
    stage.desk.run("max", &["window", "release", &late.booking])?;
    let booked = stage.open_window(&bad, "staging", &WAVE)?;
    let outcome = stage.outcome("stg-1", &booked.booking).await?;
    let Event::Returned { step, .. } = &outcome.event else { bail!("{:?}", outcome.event) };
    let told = stage.desk.run("alice", &["explain", &bad])?;
    ensure!(told["state"] == "rolled-back", "{told:#}");
    ensure!(told["detail"].as_str().is_some_and(|it| it.contains(step.as_str())), "{told:#}");
    let book = [&["book", &bad][..], &soon, &WAVE].concat();
    let refused = stage.desk.refused("max", &book)?;
    ensure!(refused.code == "not-reviewed", "{}", refused.text);
    stage.desk.run("lena", &["review", &bad, "--complete"])?;
    let again = cutover_tests::harness::text(&stage.desk.run("max", &book)?, "id")?;
    stage.desk.run("max", &["cancel", &bad, "--booking", &again, "--reason", "it is still bad"])?;

    // By order: the same.
    let other = ready(&stage, "1.2", &Made::default())?;
    stage.deploy(&other, "staging", &["stg-1"], &WAVE).await?;
    let back = ["rollback", "--application", "web", "--environment", "staging"];
    let more = ["--host", "stg-1", "--reason", "slow", "--for", "10m"];
    let ordered = stage.desk.run("max", &[&back[..], &more].concat())?;
    let order = cutover_tests::harness::text(&ordered, "id")?;
    let outcome = stage.outcome("stg-1", &order).await?;
    ensure!(outcome.event == Event::RolledBack, "{:?}", outcome.event);
    let refused = stage.desk.refused("max", &[&["book", &other][..], &soon, &WAVE].concat())?;
    ensure!(refused.code == "not-reviewed", "{}", refused.text);
    Ok(())
}

/// What `explain` says is to be done next.
fn next(stage: &Stage, release: &str) -> anyhow::Result<String> {
    let told = stage.desk.run("alice", &["explain", release])?;
    let command = told["next"]["command"].as_str();
    command.map(str::to_owned).with_context(|| format!("a next command: {told:#}"))
}

/// A release that fails for what is outside of it goes back, and moves again once that was mended, it was reviewed
/// anew, and a new window was released. Its first window is used up, and `explain` tells each step of the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_17_it_moves_again_after_a_new_review_in_a_new_window() -> anyhow::Result<()> {
    let (mut stage, directory) = super::stage().await?;
    stage.add_host("stg-1", "staging").await?;
    let good = ready(&stage, "1.0", &Made::default())?;
    stage.deploy(&good, "staging", &["stg-1"], &WAVE).await?;
    let database = directory.path().join("database");
    let serve = format!(
        "#!/bin/sh\n[ -e '{}' ] || exit 1\nexec \"$(dirname \"$0\")/real\"\n",
        database.display()
    );
    let release = ready(&stage, "1.1", &Made { serve: Some(&serve), ..Made::default() })?;
    let first = stage.open_window(&release, "staging", &WAVE)?;
    let outcome = stage.outcome("stg-1", &first.booking).await?;
    ensure!(matches!(outcome.event, Event::Returned { .. }), "{:?}", outcome.event);

    std::fs::write(&database, "")?;
    ensure!(next(&stage, &release)? == format!("cutover review {release} --complete"));
    stage.desk.run("lena", &["review", &release, "--complete"])?;
    let book = next(&stage, &release)?;
    ensure!(book.starts_with(&format!("cutover book {release} ")), "{book}");
    let status = stage.desk.run("max", &["status", &release])?;
    let detail = status["environments"][0]["detail"].as_str().context("a detail")?;
    ensure!(detail.contains("is used up"), "{status:#}");
    let again = stage.book(
        &release,
        "staging",
        &[&["--start", "now", "--for", "20m"], &WAVE[..]].concat(),
    )?;
    ensure!(next(&stage, &release)?.starts_with("cutover window release"));
    stage.desk.run("max", &["window", "release", &again.booking])?;
    let outcome = stage.outcome("stg-1", &again.booking).await?;
    ensure!(outcome.event == Event::Committed, "{:?}\n{}", outcome.event, stage.logs());
    let page = stage.hosts.get("stg-1").and_then(Host::page);
    ensure!(page.as_deref() == Some("1.1"), "{page:?}");

    // By order: the same, and the same again.
    let back = ["rollback", "--application", "web", "--environment", "staging"];
    let more = ["--host", "stg-1", "--reason", "slow", "--for", "10m"];
    let order = stage.desk.run("max", &[&back[..], &more].concat())?;
    let order = cutover_tests::harness::text(&order, "id")?;
    let outcome = stage.outcome("stg-1", &order).await?;
    ensure!(outcome.event == Event::RolledBack, "{:?}", outcome.event);
    ensure!(next(&stage, &release)? == format!("cutover review {release} --complete"));
    stage.desk.run("lena", &["review", &release, "--complete"])?;
    ensure!(next(&stage, &release)?.starts_with(&format!("cutover book {release} ")));
    stage.deploy(&release, "staging", &["stg-1"], &WAVE).await?;
    Ok(())
}

/// The host itself holds it: a change manager whose program asks no rule signs another window after the return, a
/// coordinator that asks none takes it and has the host begin, and the host refuses until somebody has reviewed it
/// anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_17_the_host_itself_refuses_what_went_back() -> anyhow::Result<()> {
    let (mut stage, _directory) = super::stage().await?;
    stage.add_host("stg-1", "staging").await?;
    let good = ready(&stage, "1.0", &Made::default())?;
    let before = stage.deploy(&good, "staging", &["stg-1"], &WAVE).await?;
    let over = ["cancel", &good, "--booking", &before.booking, "--reason", "it is there"];
    stage.desk.run("max", &over)?;
    let bad = ready(&stage, "1.1", &Made { unhealthy_on: &["stg-1"], ..Made::default() })?;
    let booked = stage.open_window(&bad, "staging", &WAVE)?;
    let outcome = stage.outcome("stg-1", &booked.booking).await?;
    ensure!(matches!(outcome.event, Event::Returned { .. }), "{:?}", outcome.event);

    let order: Digest = booked.booking.parse()?;
    let first = stage
        .until("the booking", |state| Some(state.booking(&order)?.1.booking.says().clone()))
        .await?;
    let (release, package) = (first.release, first.package);
    let mut later = first;
    later.window.start = later.window.start + Duration::from_millis(1);
    stage.cheat(&[]).await?;
    append_unasked(&stage.desk, "max", later.clone().into()).await?;
    let booking = stage
        .until("the later window", |state| {
            let (case, _) = state.booking(&order)?;
            let is_later = |it: &&Digest| case.bookings[*it].booking.says() == &later;
            case.bookings.keys().find(is_later).copied()
        })
        .await?;
    let checkpoint = stage.head().await?;
    let armed = WindowRelease { booking, release, package, checkpoint };
    append_unasked(&stage.desk, "max", armed.into()).await?;
    let name = booking.to_string();
    stage.cheat(&[("stg-1", &name)]).await?;
    stage.refusal("stg-1", &name, "not-reviewed").await?;
    let page = stage.hosts.get("stg-1").and_then(Host::page);
    ensure!(page.as_deref() == Some("1.0"), "{page:?}");
    Ok(())
}
