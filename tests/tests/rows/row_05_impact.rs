//! Rows 5 and 6: impact and rollback are documented, what cannot be taken back is approved by the board
//! and by security, and the window that is asked for is one.

use anyhow::{Context as _, ensure};
use cutover_tests::harness::Stage;
use cutover_tests::harness::people::path;
use cutover_tests::harness::release::{self, Made};
use serde_json::Value;

/// The fields of `release.toml` that something is wrong with after these replacements.
fn faults(stage: &Stage, version: &str, pairs: &[(&str, &str)]) -> anyhow::Result<Vec<String>> {
    let root = stage.desk.directory.join(format!("web-{version}"));
    let place = root.join("release.toml");
    let good = std::fs::read_to_string(&place)?;
    let mut text = good.clone();
    for (from, to) in pairs {
        ensure!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    std::fs::write(&place, text)?;
    let output =
        stage.desk.command("alice").args(["package", "check", &path(&root), "--json"]).output()?;
    std::fs::write(&place, good)?;
    let told: Value = serde_json::from_slice(&output.stdout)?;
    let findings = told["findings"].as_array().context("findings")?;
    let expected = if findings.is_empty() { 0 } else { 4 };
    ensure!(output.status.code() == Some(expected), "{output:?}");
    Ok(findings.iter().map(|it| it["field"].as_str().unwrap_or_default().to_owned()).collect())
}

#[tokio::test]
async fn row_05_what_is_no_documentation_is_none() -> anyhow::Result<()> {
    let (stage, _directory) = super::stage().await?;
    release::build(&stage.desk, "1.0", &Made::default())?;
    let pairs = [
        ("users = \"Readers of the page wait for a moment while it restarts.\"", "users = \"N/A\""),
        ("outage-minutes = 1\n", ""),
        ("\"The page does not answer until the host has gone back.\"", "\"tbd\""),
        ("\"Readers go on seeing the page of the version before.\"", "\"-\""),
        ("\"No data is lost because the service stores nothing.\"", "\"none\""),
        ("minutes = 1\nowner", "minutes = 0\nowner"),
    ];
    let mut found = faults(&stage, "1.0", &pairs)?;
    found.sort();
    let expected = [
        "impact.not-doing",
        "impact.outage-minutes",
        "impact.users",
        "impact.worst-case",
        "rollback.data-loss",
        "rollback.minutes",
    ];
    ensure!(found == expected, "{found:?}");
    Ok(())
}

#[tokio::test]
async fn row_05_what_cannot_be_taken_back_needs_board_and_security_whatever_the_rule_says()
-> anyhow::Result<()> {
    let (stage, _directory) = super::stage().await?;
    release::build(&stage.desk, "1.0", &Made::default())?;
    let root = stage.desk.directory.join("web-1.0");
    let place = root.join("release.toml");
    let text = std::fs::read_to_string(&place)?;
    std::fs::write(&place, text.replace("\n[schedule]", "irreversible = true\n\n[schedule]"))?;
    let file = stage.desk.directory.join("web-1.0.cutover");
    stage.desk.run("alice", &["package", "build", &path(&root), "--output", &path(&file)])?;
    let release = stage.submitted(&file, &["staging"])?;
    stage.desk.run("lena", &["review", &release, "--complete"])?;
    stage.desk.run("lena", &["deliver", &release, "--location", "shelf 1"])?;

    // Staging's rule asks for neither; that there is no way back does.
    let explained = stage.desk.run("max", &["explain", &release])?.to_string();
    for code in ["not-assessed", "not-approved"] {
        ensure!(explained.contains(code), "{code} in {explained}");
    }
    stage.desk.run("sam", &["assess", &release, "--accept"])?;
    stage.desk.run("bea", &["vote", &release, "--approve"])?;
    let explained = stage.desk.run("max", &["explain", &release])?.to_string();
    for code in ["not-assessed", "not-approved"] {
        ensure!(!explained.contains(code), "{code} in {explained}");
    }
    Ok(())
}

#[tokio::test]
async fn row_06_the_window_that_is_asked_for_is_checked_by_the_calendar() -> anyhow::Result<()> {
    let (stage, _directory) = super::stage().await?;
    let file = release::build(&stage.desk, "1.0", &Made::default())?;
    let start = "start = \"2026-11-24T02:00\"";
    let length = "for = \"1h\"";
    let faults = |pairs: &[(&str, &str)]| faults(&stage, "1.0", pairs);
    ensure!(faults(&[(length, "until = \"2026-11-24T03:00\"")])?.is_empty());
    ensure!(faults(&[(length, "")])? == ["schedule.for"]);
    ensure!(faults(&[(length, "until = \"2026-11-24T02:00\"")])? == ["schedule.until"]);
    ensure!(faults(&[(length, "for = \"10s\"")])? == ["schedule.for"]);
    ensure!(faults(&[("America/New_York", "EST")])? == ["schedule.zone"]);
    ensure!(faults(&[("America/New_York", "America/Atlantis")])? == ["schedule.zone"]);
    ensure!(faults(&[(start, "start = \"2026-03-08T02:30\"")])? == ["schedule.start"], "a gap");
    let latest = "latest = \"2026-12-24T02:00\"";
    ensure!(faults(&[(latest, "latest = \"2026-11-23T02:00\"")])? == ["schedule.latest"]);

    // What is asked for is in the submission, as an instant.
    let release = stage.submitted(&file, &["staging"])?;
    let shown = stage.desk.run("lena", &["review", "show", &release])?;
    ensure!(shown["requested"]["start"] == "2026-11-24T07:00:00Z", "{shown}");
    ensure!(shown["requested"]["end"] == "2026-11-24T08:00:00Z", "{shown}");
    let status = stage.desk.run("max", &["status", &release])?;
    ensure!(status["requested-start"] == "2026-11-24T07:00:00Z", "{status}");
    Ok(())
}
