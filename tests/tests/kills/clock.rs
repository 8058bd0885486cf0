//! The wall clock of a host is set by an hour, forward and back, in the midst of applying a release
//! (libfaketime). The host ends wholly on one release: forward takes it past its window, and it goes back;
//! back does not lengthen its window, and it commits.

use std::path::Path;

use anyhow::{Context as _, ensure};
use cutover_shared::statement::Event;
use cutover_tests::harness::gate::{Ending, Gate};
use cutover_tests::harness::release::Made;
use cutover_tests::requirement;

use super::{HOST, Theatre};

/// Debian's libfaketime.
const PRELOAD: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

const HOOK: &str = "[hooks.activate]\ncommand = \"hooks/activate\"\ntimeout = \"10s\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn set_in_the_midst() -> anyhow::Result<()> {
    if !Path::new(PRELOAD).exists() {
        let missing = anyhow::anyhow!("libfaketime (Debian: faketime)");
        return requirement::skip("set_in_the_midst", missing);
    }
    let mut theatre = Theatre::open().await?;
    for (number, (by, commits)) in [("+1h", false), ("-1h", true)].into_iter().enumerate() {
        let version = format!("4.{number}");
        let outcome = set(&mut theatre, &version, by).await;
        let outcome = outcome.with_context(|| format!("{by}: {}", theatre.stage.logs()))?;
        ensure!((outcome == Event::Committed) == commits, "{by}: {outcome:?}");
        if commits {
            theatre.version = version;
        }
        theatre.check().await.with_context(|| format!("{by}: {}", theatre.stage.logs()))?;
    }
    Ok(())
}

async fn set(theatre: &mut Theatre, version: &str, by: &str) -> anyhow::Result<Event> {
    let offset = theatre.stage.desk.directory.join(format!("offset-{version}"));
    std::fs::write(&offset, "+0\n")?;
    let variables = [
        ("LD_PRELOAD", PRELOAD),
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
    let booked =
        theatre.book(version, &Made { manifest: HOOK, hooks: &hooks, ..Made::default() })?;
    gate.reached().await?;
    std::fs::write(&offset, format!("{by}\n"))?;
    gate.end(Ending::Well).await?;
    let outcome = theatre.stage.outcome(HOST, &booked.booking).await?;
    // What comes next has the right clock.
    let host = theatre.stage.hosts.get_mut(HOST).context("the host")?;
    host.take_applier()?.kill()?;
    host.start_applier()?;
    Ok(outcome.event)
}
