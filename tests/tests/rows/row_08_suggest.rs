//! Row 8: when the window is not available, others are suggested, with the reason for each that is not.

use anyhow::{Context as _, ensure};
use cutover_tests::harness::release::{self, Made};
use serde_json::Value;

fn slots(found: &Value) -> anyhow::Result<Vec<(String, String)>> {
    let slots = found[0]["slots"].as_array().with_context(|| format!("slots in {found:#}"))?;
    let text = |it: &Value, key: &str| it["window"][key].as_str().map(str::to_owned);
    slots.iter().map(|it| text(it, "start").zip(text(it, "end")).context("a window")).collect()
}

/// A calendar that offers four hours of each day.
const CALENDAR: &str = "zone = \"UTC\"\nnotice = \"0s\"\n[[windows]]\nname = \"nights\"\n\
     start = \"2026-01-01T01:00\"\nuntil = \"05:00\"\nzone = \"UTC\"\nrepeat = \"FREQ=DAILY\"\n";

/// Another release has one night, and a freeze the next: the suggestion is the night after, each refused night
/// says which of them it was, and what was suggested can be booked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_08_alternates_with_the_reason_for_what_is_refused() -> anyhow::Result<()> {
    let (mut stage, _directory) = super::stage().await?;
    stage.add_host("stg-1", "staging").await?;
    let mut releases = Vec::new();
    for version in ["1.0", "1.1"] {
        let file = release::build(&stage.desk, version, &Made::default())?;
        let release = stage.submitted(&file, &["staging"])?;
        stage.desk.run("lena", &["review", &release, "--complete"])?;
        releases.push(release);
    }
    std::fs::write(stage.desk.directory.join("calendar.toml"), CALENDAR)?;
    stage.desk.run("max", &["calendar", "set", "calendar.toml", "--environment", "staging"])?;

    // Three of four hours: what is in a night leaves no room for another.
    let suggest = |release: &str| {
        ["suggest", release, "--environment", "staging", "--for", "3h"].map(str::to_owned)
    };
    let found = |release: &str, more: &[&str]| {
        let line = suggest(release);
        let line: Vec<_> = line.iter().map(String::as_str).chain(more.iter().copied()).collect();
        stage.desk.run("max", &line)
    };
    let nights = slots(&found(&releases[0], &[])?)?;
    ensure!(nights.len() >= 3, "{nights:?}");
    let first = stage.book(&releases[0], "staging", &["--start", &nights[0].0, "--for", "3h"])?;
    let freeze = ["freeze", "declare", "--environment", "staging", "--start", &nights[1].0];
    let freeze = [&freeze[..], &["--for", "2h", "--reason", "an audit"]].concat();
    let freeze = cutover_tests::harness::text(&stage.desk.run("max", &freeze)?, "id")?;

    let book = |start: &str| {
        let line =
            ["book", &releases[1], "--environment", "staging", "--start", start, "--for", "3h"];
        stage.desk.refused("max", &line)
    };
    let refused = book(&nights[0].0)?;
    ensure!(refused.code == "window-taken", "{}", refused.text);
    ensure!(refused.text.contains("cutover suggest"), "{}", refused.text);
    ensure!(book(&nights[1].0)?.code == "frozen");
    // A night has four hours: three more do not fit behind what is offered.
    ensure!(book(&nights[2].1)?.code == "outside-calendar");

    let other = found(&releases[1], &[])?;
    let told = other[0]["refused"].to_string();
    for (cause, id) in [("window-taken", &first.booking), ("frozen", &freeze)] {
        ensure!(told.contains(cause) && told.contains(&id[..8]), "{cause} {id}: {other:#}");
    }
    ensure!(slots(&other)?.first() == Some(&nights[2]), "{other:#}");
    let booked = ["book", &releases[1], "--environment", "staging", "--suggest", "--for", "3h"];
    let booked = stage.desk.run("max", &booked)?;
    ensure!(booked["window"] == format!("{} to {}", nights[2].0, nights[2].1), "{booked:#}");

    // A freeze over all that is looked at: no slot, and the rule that stands in the way.
    let freeze =
        ["freeze", "declare", "--environment", "staging", "--start", "now", "--for", "90d"];
    stage.desk.run("max", &[&freeze[..], &["--reason", "a move"]].concat())?;
    let none = found(&releases[1], &["--days", "30"])?;
    ensure!(slots(&none)?.is_empty(), "{none:#}");
    ensure!(none[0]["blocked_by"].to_string().contains("frozen"), "{none:#}");
    Ok(())
}
