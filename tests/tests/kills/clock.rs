//! The wall clock of a host is set by an hour, forward and back, in the midst of applying a release
//! (libfaketime). The host ends wholly on one release, and the log learns which, while the clock is still wrong:
//! forward past its window it goes back, forward within its window and back it commits; back does not lengthen
//! the window, and moves no end before its beginning.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cutover_shared::case::Reported;
use cutover_shared::statement::Event;
use cutover_tests::harness::gate::{Ending, Gate};
use cutover_tests::harness::release::Made;
use cutover_tests::requirement;

use super::{HOST, Theatre};

const HOOK: &str = "[hooks.activate]\ncommand = \"hooks/activate\"\ntimeout = \"10s\"\n";

/// By what the clock is set, how long the window is, and whether the host commits.
const CASES: [(&str, &str, bool); 3] =
    [("+1h", "30m", false), ("+1h", "90m", true), ("-1h", "30m", true)];

/// libfaketime as Debian has it, on any architecture.
fn preload() -> Option<PathBuf> {
    let libraries = std::fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
    let mut places = libraries.map(|it| it.path().join("faketime/libfaketimeMT.so.1"));
    places.find(|it| it.exists())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn set_in_the_midst() -> anyhow::Result<()> {
    let Some(preload) = preload() else {
        let missing = anyhow::anyhow!("libfaketime (Debian: faketime)");
        return requirement::skip("set_in_the_midst", missing);
    };
    let mut theatre = Theatre::open().await?;
    for (number, (by, window, commits)) in CASES.into_iter().enumerate() {
        let version = format!("4.{number}");
        let told = set(&mut theatre, &preload, &version, (by, window)).await;
        let told = told.with_context(|| format!("{by} in {window}: {}", theatre.stage.logs()))?;
        ensure!((told.event == Event::Committed) == commits, "{by} in {window}: {told:?}");
        let took = told.ended.since(told.started);
        ensure!(took > Duration::ZERO, "{by} in {window}: {took:?}");
        let ahead = took > Duration::from_mins(50);
        ensure!(ahead == (by == "+1h"), "its own time, unless that is earlier: {took:?}");
        if commits {
            theatre.version = version;
        }
        theatre.check().await.with_context(|| format!("{by}: {}", theatre.stage.logs()))?;
    }
    // With the clock right again it is as if nothing had been.
    let booked = theatre.book("4.9", &Made::default())?;
    let told = theatre.stage.outcome(HOST, &booked.booking).await?;
    ensure!(told.event == Event::Committed, "{told:?}");
    theatre.version = "4.9".to_owned();
    theatre.check().await
}

async fn set(
    theatre: &mut Theatre,
    preload: &Path,
    version: &str,
    (by, window): (&str, &str),
) -> anyhow::Result<Reported> {
    let offset = theatre.stage.desk.directory.join(format!("offset-{version}"));
    std::fs::write(&offset, "+0\n")?;
    let variables = [
        ("LD_PRELOAD", &*preload.to_string_lossy()),
        ("FAKETIME_TIMESTAMP_FILE", &*offset.to_string_lossy()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let host = theatre.stage.hosts.get_mut(HOST).context("the host")?;
    host.take_applier()?.kill()?;
    host.start_applier_with(&variables)?;
    let mut gate = Gate::new(&theatre.stage.desk.directory, version)?;
    let script = gate.script().to_owned();
    let hooks = [("activate", &*script)];
    let made = Made { manifest: HOOK, hooks: &hooks, ..Made::default() };
    let booked = theatre.book_for(version, &made, window)?;
    gate.reached().await?;
    std::fs::write(&offset, format!("{by}\n"))?;
    gate.end(Ending::Well).await?;
    let told = theatre.stage.outcome(HOST, &booked.booking).await?;
    // What comes next has the right clock.
    let host = theatre.stage.hosts.get_mut(HOST).context("the host")?;
    host.take_applier()?.kill()?;
    host.start_applier()?;
    Ok(told)
}
