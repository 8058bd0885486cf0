//! Holds, cancellations and freezes, before a host begins and while it is at it.

use anyhow::ensure;
use cutover_shared::statement::Event;
use cutover_tests::harness::Stage;
use cutover_tests::harness::gate::Ending;
use cutover_tests::harness::release::Made;

use super::{HOST, WAVE, gated, host, logged, ready, returned, runs, stage};

const WHY: &str = "the error rate rises";

/// What people decide while a release is on its way reaches the host, and ends as it should.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_way() -> anyhow::Result<()> {
    let (mut stage, _directory) = stage().await?;
    let release = ready(&stage, "1.0", &Made::default())?;
    stage.deploy(&release, "staging", &[HOST], &WAVE).await?;

    // Before the switch and after it, a hold takes the host back.
    for (version, place) in [("1.1", "pre-stop"), ("1.2", "activate")] {
        let (release, mut gate) = gated(&stage, version, place)?;
        let booked = stage.open_window(&release, "staging", &WAVE)?;
        gate.reached().await?;
        stage.desk.run("sam", &["hold", &release, "--reason", WHY])?;
        let outcome = stage.outcome(HOST, &booked.booking).await?;
        let (_, reason) = returned(&outcome.event)?;
        ensure!(reason.contains("held") && reason.contains(WHY), "{reason}");
        runs(&stage, "1.0")?;
    }

    // After the switch, with --finish, it goes on.
    let (release, mut gate) = gated(&stage, "1.3", "activate")?;
    let booked = stage.open_window(&release, "staging", &WAVE)?;
    gate.reached().await?;
    stage.desk.run("max", &["hold", &release, "--reason", "call the vendor", "--finish"])?;
    logged(host(&stage, HOST)?, "applier.log", "call the vendor").await?;
    gate.end(Ending::Well).await?;
    let outcome = stage.outcome(HOST, &booked.booking).await?;
    ensure!(outcome.event == Event::Committed, "{:?}", outcome.event);
    runs(&stage, "1.3")?;

    // A cancellation after the new release was started takes the host back, too.
    let (release, mut gate) = gated(&stage, "1.4", "post-start")?;
    let booked = stage.open_window(&release, "staging", &WAVE)?;
    gate.reached().await?;
    ensure!(host(&stage, HOST)?.current().is_some_and(|it| it.join("hooks/post-start").exists()));
    stage.desk.run("max", &["cancel", &release, "--reason", "overtaken by events"])?;
    let outcome = stage.outcome(HOST, &booked.booking).await?;
    let (_, reason) = returned(&outcome.event)?;
    ensure!(reason.contains("cancelled"), "{reason}");
    runs(&stage, "1.3")?;
    Ok(())
}

/// What stands against a release before a host begins keeps it from beginning, and `status` says what it
/// is; when it is over the host goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_it_begins() -> anyhow::Result<()> {
    let (mut stage, _directory) = stage().await?;
    let release = ready(&stage, "1.0", &Made::default())?;

    // Held by security, in an open window: security resumes, and nobody else.
    host(&stage, HOST)?.inhibit("a backup runs")?;
    let booked = stage.open_window(&release, "staging", &WAVE)?;
    stage.desk.run("sam", &["hold", &release, "--reason", WHY])?;
    host(&stage, HOST)?.uninhibit()?;
    waits_on(&stage, &release, "held").await?;
    let again = [&["--start", "now", "--for", "30m"][..], &WAVE].concat();
    let other = stage.book(&release, "staging", &again)?;
    let refused = stage.desk.refused("max", &["window", "release", &other.booking])?;
    ensure!(refused.code == "held", "{}", refused.text);
    let refused = stage.desk.refused("max", &["resume", &release, "--reason", "it must go on"])?;
    ensure!(refused.code == "role-missing", "{}", refused.text);
    ensure!(host(&stage, HOST)?.current().is_none());
    stage.desk.run("sam", &["resume", &release, "--reason", "it was the load balancer"])?;
    let outcome = stage.outcome(HOST, &booked.booking).await?;
    ensure!(outcome.event == Event::Committed, "{:?}", outcome.event);
    runs(&stage, "1.0")?;

    // The second booking is not needed any more; while it stands, the hosts are its own.
    let cancel = ["cancel", &release, "--booking", &other.booking, "--reason", "it is in"];
    stage.desk.run("max", &cancel)?;

    // Frozen: nothing moves until it is lifted.
    let release = ready(&stage, "1.1", &Made::default())?;
    host(&stage, HOST)?.inhibit("a backup runs")?;
    let booked = stage.open_window(&release, "staging", &WAVE)?;
    let freeze = stage.desk.run(
        "max",
        &[
            "freeze",
            "declare",
            "--environment",
            "staging",
            "--start",
            "now",
            "--for",
            "2h",
            "--reason",
            "an audit",
        ],
    )?;
    let freeze = cutover_tests::harness::text(&freeze, "id")?;
    host(&stage, HOST)?.uninhibit()?;
    waits_on(&stage, &release, "frozen").await?;
    runs(&stage, "1.0")?;
    stage.desk.run("max", &["freeze", "lift", &freeze, "--reason", "the audit is over"])?;
    let outcome = stage.outcome(HOST, &booked.booking).await?;
    ensure!(outcome.event == Event::Committed, "{:?}", outcome.event);
    runs(&stage, "1.1")?;

    // One booking is cancelled: it cannot be released, and another one does.
    let release = ready(&stage, "1.2", &Made::default())?;
    let window = [&["--start", "+1h", "--for", "30m"][..], &WAVE].concat();
    let booked = stage.book(&release, "staging", &window)?;
    stage.desk.run(
        "max",
        &["cancel", &release, "--booking", &booked.booking, "--reason", "the hall is taken"],
    )?;
    let (_, said) = stage.desk.fails("max", &["window", "release", &booked.booking])?;
    ensure!(said.contains("was cancelled"), "{said}");
    stage.deploy(&release, "staging", &[HOST], &WAVE).await?;
    runs(&stage, "1.2")?;
    Ok(())
}

/// Waits until `status` says that the host waits on a rule with this code.
async fn waits_on(stage: &Stage, release: &str, code: &str) -> anyhow::Result<()> {
    let found = stage.status_until(release, code, |status| {
        let environments = status.get("environments")?.as_array()?;
        let bookings = environments.iter().filter_map(|it| it.get("bookings")?.as_array());
        let hosts = bookings.flatten().filter_map(|it| it.get("hosts")?.as_array()).flatten();
        hosts
            .filter(|it| it.get("standing").is_some_and(|it| it == "waiting"))
            .any(|it| it.get("code").is_some_and(|it| it == code))
            .then_some(())
    });
    found.await
}
