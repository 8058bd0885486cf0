//! Row 14: delivered to the staging area, deployed there, and proven there before production.

use anyhow::{Context as _, ensure};
use cutover_shared::digest::Digest;
use cutover_shared::statement::{Event, WindowRelease};
use cutover_tests::harness::release::{self, Made};
use cutover_tests::harness::watch::append_unasked;

const NOW: [&str; 4] = ["--start", "now", "--for", "30m"];

/// Production asks for two staging hosts' word for these very bytes. With one, the window is not released; and a
/// coordinator that lets anything in, and offers the order, is refused by the host itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_14_production_asks_for_what_staging_hosts_signed() -> anyhow::Result<()> {
    let (mut stage, _directory) = super::stage().await?;
    for (host, environment) in [("stg-1", "staging"), ("stg-2", "staging"), ("prd-1", "production")]
    {
        stage.add_host(host, environment).await?;
    }
    let release = stage.approved(&release::build(&stage.desk, "1.0", &Made::default())?)?;
    let one = stage.deploy(&release, "staging", &["stg-1"], &["--wave", "all=stg-1"]).await?;
    let booked = stage.book(&release, "production", &NOW)?;
    let refused = stage.desk.refused("max", &["window", "release", &booked.booking])?;
    ensure!(refused.code == "environment-not-proven", "{}", refused.text);
    ensure!(refused.text.contains("1 of 2 hosts of staging"), "{}", refused.text);

    // The change manager's own program says no; so a program that asks no rule signs, and a coordinator
    // that asks none takes it and has the host begin.
    let order: Digest = booked.booking.parse()?;
    stage.cheat(&[]).await?;
    let (id, package) = stage
        .until("the booking", |state| {
            let (case, booking) = state.booking(&order)?;
            Some((case.release.id(), booking.booking.says().package))
        })
        .await?;
    let checkpoint = stage.head().await?;
    let released = WindowRelease { booking: order, release: id, package, checkpoint };
    append_unasked(&stage.desk, "max", released.into()).await?;
    stage.cheat(&[("prd-1", &booked.booking)]).await?;
    let facts = stage.refusal_facts("prd-1", &booked.booking, "environment-not-proven").await?;
    ensure!(facts.contains("1 of 2 hosts of staging"), "{facts}");
    let production = stage.hosts.get("prd-1").context("prd-1")?;
    ensure!(production.current().is_none(), "nothing was put there");

    // The second host's word, and production goes.
    stage.take_coordinator()?.terminate()?;
    stage.start_coordinator().await?;
    let cancel = ["cancel", &release, "--booking", &one.booking, "--reason", "stg-1 has it"];
    stage.desk.run("max", &cancel)?;
    stage.deploy(&release, "staging", &["stg-2"], &["--wave", "all=stg-2"]).await?;
    let outcome = stage.outcome("prd-1", &booked.booking).await?;
    ensure!(outcome.event == Event::Committed, "{:?}\n{}", outcome.event, stage.logs());
    Ok(())
}

/// Undelivered, nothing goes anywhere; a board member delivers nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_14_delivered_by_a_librarian_or_change_manager() -> anyhow::Result<()> {
    let (mut stage, _directory) = super::stage().await?;
    stage.add_host("stg-1", "staging").await?;
    let file = release::build(&stage.desk, "1.0", &Made::default())?;
    let release = stage.submitted(&file, &["staging"])?;
    stage.desk.run("lena", &["review", &release, "--complete"])?;
    let booked = stage.book(&release, "staging", &NOW)?;
    let refused = stage.desk.refused("max", &["window", "release", &booked.booking])?;
    ensure!(refused.code == "not-delivered", "{}", refused.text);
    let deliver = ["deliver", &release, "--location", "shelf 1"];
    ensure!(stage.desk.refused("bea", &deliver)?.code == "role-missing");
    stage.desk.run("max", &deliver)?;
    stage.desk.run("max", &["window", "release", &booked.booking])?;
    let outcome = stage.outcome("stg-1", &booked.booking).await?;
    ensure!(outcome.event == Event::Committed, "{:?}", outcome.event);
    Ok(())
}
