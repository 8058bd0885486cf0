//! Rows 1, 16 and 19: late is expired and never caught up; and the figures tell how it went.

use anyhow::{Context as _, ensure};
use cutover_shared::statement::Event;
use cutover_tests::harness::release::{self, Made};
use serde_json::Value;

const WAVE: [&str; 2] = ["--wave", "all=stg-1"];

/// So short that its window is over soon.
pub(crate) const SHORT: &[(&str, &str)] = &[
    ("apply-budget = \"12s\"", "apply-budget = \"2s\""),
    ("rollback-reserve = \"6s\"", "rollback-reserve = \"100ms\""),
    ("start-grace = \"1s\"", "start-grace = \"0s\""),
    ("deadline = \"5s\"", "deadline = \"1s\""),
    ("timeout = \"2s\"", "timeout = \"500ms\""),
];

/// The host is away while its window passes. When it is back it does not catch up: somebody books again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_16_what_is_late_has_expired() -> anyhow::Result<()> {
    let (mut stage, _directory) = super::stage().await?;
    stage.add_host("stg-1", "staging").await?;
    let made = Made { instead: SHORT, ..Made::default() };
    let release = stage.submitted(&release::build(&stage.desk, "1.0", &made)?, &["staging"])?;
    stage.desk.run("lena", &["review", &release, "--complete"])?;
    stage.desk.run("lena", &["deliver", &release, "--location", "shelf 1"])?;
    let host = stage.hosts.get_mut("stg-1").context("stg-1")?;
    host.take_agent()?.terminate()?;

    let window = [&["--start", "now", "--for", "4s"][..], &WAVE].concat();
    let booked = stage.book(&release, "staging", &window)?;
    stage.desk.run("max", &["window", "release", &booked.booking])?;
    let expired = |status: &Value| (status["environments"][0]["state"] == "expired").then_some(());
    stage.status_until(&release, "expired", expired).await?;
    let explained = stage.desk.run("max", &["explain", &release])?;
    ensure!(explained["next"]["who"]["owners"] == serde_json::json!(["max"]), "{explained:#}");
    let next = explained["next"]["command"].as_str().context("a command")?.to_owned();
    ensure!(next.starts_with(&format!("cutover book {release}")), "{next}");

    stage.hosts.get_mut("stg-1").context("stg-1")?.start_agent()?;
    // It is back when another release can go there; the one that is late did not go before it.
    let swift =
        stage.submitted(&release::build(&stage.desk, "1.1", &Made::default())?, &["staging"])?;
    stage.desk.run("lena", &["review", &swift, "--complete"])?;
    stage.desk.run("lena", &["deliver", &swift, "--location", "shelf 2"])?;
    stage.deploy(&swift, "staging", &["stg-1"], &WAVE).await?;
    let order = booked.booking.parse()?;
    let began = stage
        .until("the late one's outcomes", |state| {
            let (_, booking) = state.booking(&order)?;
            let moved =
                |event: &Event| !matches!(event, Event::Refused { .. } | Event::Drifted { .. });
            Some(booking.outcomes.iter().any(|it| moved(&it.says().event)))
        })
        .await?;
    ensure!(!began, "it was caught up");

    let metrics = stage.desk.run("bea", &["metrics"])?;
    ensure!(metrics["expired"] == 1, "{metrics:#}");
    ensure!(metrics["on_time"] == serde_json::json!({ "part": 1, "of": 2 }), "{metrics:#}");
    ensure!(metrics["hosts_on_time"] == serde_json::json!({ "part": 1, "of": 2 }), "{metrics:#}");
    ensure!(metrics["failed_changes"]["part"] == 0, "{metrics:#}");
    Ok(())
}

/// One release that was returned once and is good, one that its host takes back, one that is denied: everybody
/// who reads the log counts the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_19_the_figures_are_of_the_log_alone() -> anyhow::Result<()> {
    let (mut stage, _directory) = super::stage().await?;
    stage.add_host("stg-1", "staging").await?;
    let submit = |stage: &cutover_tests::harness::Stage, version: &str, made: &Made<'_>| {
        stage.submitted(&release::build(&stage.desk, version, made)?, &["staging"])
    };
    let poor = submit(&stage, "1.0", &Made::default())?;
    stage.desk.run("lena", &["review", &poor, "--return", "NOTES.md=Say what changes."])?;
    let file = release::build(&stage.desk, "1.0.1", &Made::default())?;
    let file = file.to_string_lossy().into_owned();
    let again = ["submit", &file, "--environment", "staging", "--supersedes", &poor];
    let good = cutover_tests::harness::text(&stage.desk.run("alice", &again)?, "release")?;
    let bad = submit(&stage, "1.1", &Made { unhealthy_on: &["stg-1"], ..Made::default() })?;
    for release in [&good, &bad] {
        stage.desk.run("lena", &["review", release, "--complete"])?;
        stage.desk.run("lena", &["deliver", release, "--location", "shelf 1"])?;
    }
    let denied = submit(&stage, "1.2", &Made::default())?;
    stage.desk.run("sam", &["assess", &denied, "--deny", "It writes passwords to its log."])?;
    stage.deploy(&good, "staging", &["stg-1"], &WAVE).await?;
    let booked = stage.open_window(&bad, "staging", &WAVE)?;
    let outcome = stage.outcome("stg-1", &booked.booking).await?;
    ensure!(matches!(outcome.event, Event::Returned { .. }), "{:?}", outcome.event);

    let metrics = stage.desk.run("bea", &["metrics"])?;
    for (figure, expected) in [
        ("/submissions", 4.into()),
        ("/releases", 3.into()),
        ("/returned", 1.into()),
        ("/denials", serde_json::json!({ "risk": 1 })),
        ("/failed_changes", serde_json::json!({ "part": 1, "of": 2 })),
        ("/time_to_restore/count", 1.into()),
        ("/expired", 0.into()),
    ] {
        ensure!(metrics.pointer(figure) == Some(&expected), "{figure}: {metrics:#}");
    }
    let until = metrics["until"].as_str().context("an end")?;
    let same = stage.desk.run("olga", &["metrics", "--until", until])?;
    ensure!(same == metrics, "{same:#}\n{metrics:#}");
    let (code, said) =
        stage.desk.fails("olga", &["metrics", "--since", until, "--until", until])?;
    ensure!(code == 2 && said.contains("before it begins"), "{said}");
    Ok(())
}
