//! Rows 10 and 16: what no entry of the log says is told as well, once, however often the coordinator is killed: that
//! a window ended unused, that the policy nears its end, that a host waits for a person.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use cutover_shared::statement::Event;
use cutover_shared::time::Time;
use cutover_tests::build::binaries;
use cutover_tests::harness::Stage;
use cutover_tests::harness::mail::{MailServer, Mode};
use cutover_tests::harness::release::{self, Made};
use cutover_tests::harness::web::{Asked, Reply, Web};
use serde_json::Value;

use super::row_10_informed::{QUICK, event, mail, webhook, what};
use super::row_16_timely::SHORT;

const WAVE: [&str; 2] = ["--wave", "all=stg-1"];

/// The distinct events of one kind: ids, and the data of the last.
fn told(asked: &[Asked], kind: &str) -> anyhow::Result<(BTreeSet<String>, Value)> {
    let events: Vec<Value> = asked.iter().map(event).collect::<Result<_, _>>()?;
    let of_kind: Vec<_> = events.into_iter().filter(|it| what(it) == kind).collect();
    let ids = of_kind.iter().map(|it| it["id"].to_string()).collect();
    Ok((ids, of_kind.last().map(|it| it["data"].clone()).unwrap_or_default()))
}

/// The wall clock, since 1970.
#[expect(clippy::disallowed_methods, reason = "the test asks for instants that lie ahead")]
fn now() -> anyhow::Result<Duration> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?)
}

/// Has the policy end so that it is announced this long from now.
fn announced_in(stage: &Stage, span: Duration) -> anyhow::Result<()> {
    let week = Duration::from_hours(24 * 7);
    let at = now()? + week + span;
    let expires = Time::from_millis(i64::try_from(at.as_millis())?).context("an instant")?;
    stage.desk.amend_policy(|text| {
        let old = text.lines().find(|line| line.starts_with("expires = ")).unwrap_or_default();
        text.replacen(old, &format!("expires = \"{expires}\""), 1)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_10_what_the_clock_brings_is_told_once_through_kills() -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("cutover-rows-").tempdir()?;
    let down = Arc::new(AtomicBool::new(true));
    let of_server = Arc::clone(&down);
    let web = Web::start(move |_| {
        if of_server.load(Ordering::SeqCst) { Reply::status(503) } else { Reply::status(204) }
    })?;
    let more = format!("{QUICK}attempts = 1000\n{}", webhook(directory.path(), &web)?)
        .replace("secret-file", "events = [\"expired\", \"policy-expires\"]\nsecret-file");
    let mut stage = Stage::start_with(directory.path(), binaries(), &more).await?;
    stage.add_host("stg-1", "staging").await?;
    stage.hosts.get_mut("stg-1").context("stg-1")?.take_agent()?.terminate()?;
    let made = Made { instead: SHORT, ..Made::default() };
    let release = stage.submitted(&release::build(&stage.desk, "1.0", &made)?, &["staging"])?;
    stage.desk.run("lena", &["review", &release, "--complete"])?;
    stage.desk.run("lena", &["deliver", &release, "--location", "shelf 1"])?;

    // It is tried, and killed before anybody has taken it.
    let window = [&["--start", "now", "--for", "4s"][..], &WAVE].concat();
    let first = stage.book(&release, "staging", &window)?;
    stage.desk.run("max", &["window", "release", &first.booking])?;
    web.until("the window's end", |asked| (!asked.is_empty()).then_some(()))?;
    stage.take_coordinator()?.kill()?;
    let (ids, data) = told(&web.asked(), "expired")?;
    ensure!(ids.len() == 1 && data["windows"][0]["booking"] == first.booking, "{data:#}");
    ensure!(data["state"] == "expired", "{data:#}");

    // The next ends while there is no coordinator.
    stage.start_coordinator().await?;
    announced_in(&stage, Duration::from_secs(6))?;
    let second = stage.book(&release, "staging", &window)?;
    let end = stage
        .until("the second booking", |state| {
            Some(state.booking(&second.booking.parse().ok()?)?.1.booking.says().window.end)
        })
        .await?;
    stage.take_coordinator()?.kill()?;
    let left = Duration::from_millis(u64::try_from(end.as_millis())?).saturating_sub(now()?);
    tokio::time::sleep(left).await;
    down.store(false, Ordering::SeqCst);
    stage.start_coordinator().await?;
    stage.delivered("policy-expires").await?;
    let all = web.asked();
    let (expired, data) = told(&all, "expired")?;
    ensure!(expired.len() == 2 && expired.is_superset(&ids), "{expired:?} {ids:?}");
    ensure!(data["windows"][0]["booking"] == second.booking, "{data:#}");
    let (ids, data) = told(&all, "policy-expires")?;
    ensure!(ids.len() == 1 && data["days"] == 7 && data["version"] == 2, "{data:#}");

    // What was taken is not told again.
    let before = all.len();
    stage.take_coordinator()?.kill()?;
    stage.start_coordinator().await?;
    let third = stage.book(&release, "staging", &window)?;
    stage.desk.run("max", &["window", "release", &third.booking])?;
    web.until("the third window's end", |asked| (asked.len() > before).then_some(()))?;
    let (_, data) = told(&web.asked()[before..], "expired")?;
    ensure!(data["windows"][0]["booking"] == third.booking, "{data:#}");
    stage.delivered("expired").await?;
    ensure!(web.asked().len() == before + 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_10_people_hear_that_a_window_ended_and_that_the_policy_will() -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("cutover-rows-").tempdir()?;
    let name = "row_10_people_hear_that_a_window_ended_and_that_the_policy_will";
    let Some(mut server) = MailServer::start(name, Mode::ClearText, directory.path())? else {
        return Ok(());
    };
    let more = format!("{QUICK}{}", mail(directory.path(), &server, "clear-text"));
    let mut stage = Stage::start_with(directory.path(), binaries(), &more).await?;
    stage.add_host("stg-1", "staging").await?;
    announced_in(&stage, Duration::from_secs(2))?;
    let made = Made { instead: SHORT, ..Made::default() };
    let release = stage.submitted(&release::build(&stage.desk, "1.0", &made)?, &["staging"])?;
    stage.desk.run("lena", &["review", &release, "--complete"])?;
    // Nobody releases it.
    stage.book(&release, "staging", &[&["--start", "now", "--for", "4s"][..], &WAVE].concat())?;
    stage.delivered("policy-expires").await?;
    stage.delivered("expired").await?;
    for (subject, people) in [
        ("has a window that ended before every host had it: staging", ["alice", "max"]),
        ("The trust policy of cutover.demo/log ends in 7 days", ["max", "root"]),
    ] {
        let heard = server.until(subject, |seen| {
            let is = |it: &&Value| {
                it["headers"]["subject"].as_str().unwrap_or_default().contains(subject)
            };
            let mut to: Vec<_> = seen.iter().filter(is).map(|it| it["to"][0].clone()).collect();
            to.sort_by_key(Value::to_string);
            (to.len() >= people.len()).then_some(to)
        })?;
        let expected: Vec<Value> =
            people.iter().map(|it| format!("{it}@example.org").into()).collect();
        ensure!(heard == expected, "{subject}: {heard:?}");
    }
    Ok(())
}

/// A gateway waits for a person: those who may do the step are told, once, also through a kill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_10_a_step_that_is_waited_for_is_told_to_programs_once() -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("cutover-rows-").tempdir()?;
    let web = Web::start(|_| Reply::status(204))?;
    let more = format!("{QUICK}{}", webhook(directory.path(), &web)?)
        .replace("secret-file", "events = [\"step-awaited\"]\nsecret-file");
    let mut stage = Stage::start_with(directory.path(), binaries(), &more).await?;
    let mainframe = directory.path().join("mainframe");
    std::fs::create_dir(&mainframe)?;
    std::fs::write(mainframe.join("library"), "0.9\n")?;
    super::row_04_runbook::with_department(&mut stage).await?;
    let release = super::row_04_runbook::ready(&stage, "1.0", &mainframe)?;
    let window = ["--wave", "all=gw-1"];
    let booked = stage.open_window(&release, "staging", &window)?;
    stage.delivered("step-awaited").await?;
    stage.take_coordinator()?.kill()?;
    stage.start_coordinator().await?;
    stage.desk.run("oscar", &["step", "list", &release])?;
    super::row_04_runbook::awaited(&stage, &release, "manual step hold-job").await?;
    stage.desk.run("oscar", &["step", "done", &release, "hold-job", "--note", "held"])?;
    web.until("the next step", |asked| (asked.len() > 1).then_some(()))?;
    let steps: Vec<Value> = web.asked().iter().map(event).collect::<Result<_, _>>()?;
    let steps: Vec<_> = steps.iter().map(|it| it["data"]["step"].clone()).collect();
    ensure!(steps.len() == 2 && steps[0]["step"] == "hold-job", "{steps:?}");
    ensure!(steps[0]["what"] == "Hold the job PAYR010 and wait until it has ended.", "{steps:?}");
    ensure!(steps[1]["step"] == "refresh-region" && steps[1]["host"] == "gw-1", "{steps:?}");
    let refresh = ["step", "done", &release, "refresh-region", "--note", "the list is right"];
    stage.desk.run("olga", &refresh)?;
    let outcome = stage.outcome("gw-1", &booked.booking).await?;
    ensure!(outcome.event == Event::Committed, "{:?}", outcome.event);
    Ok(())
}
