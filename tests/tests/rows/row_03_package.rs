//! Row 3: instructions, notes, code and other items; each missing or empty part is named, all at once.

use std::path::Path;

use anyhow::{Context as _, ensure};
use cutover_tests::harness::Stage;
use cutover_tests::harness::people::path;
use cutover_tests::harness::release::{self, Made};
use serde_json::Value;

/// What `package check` finds wrong with a directory: file, field and rule of each.
fn faults(stage: &Stage, directory: &Path) -> anyhow::Result<Vec<[String; 3]>> {
    let output = stage
        .desk
        .command("alice")
        .args(["package", "check", &path(directory), "--json"])
        .output()?;
    ensure!(output.status.code() == Some(4), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout)?;
    let findings = told["findings"].as_array().context("findings")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(findings
        .iter()
        .map(|it| [text(&it["file"]), text(&it["field"]), text(&it["rule"])])
        .collect())
}

#[tokio::test]
async fn row_03_what_is_missing_or_empty_is_named_at_once() -> anyhow::Result<()> {
    let (stage, directory) = super::stage().await?;
    release::build(&stage.desk, "1.0", &Made::default())?;
    let root = directory.path().join("web-1.0");

    std::fs::remove_file(root.join("INSTRUCTIONS.md"))?;
    std::fs::write(root.join("NOTES.md"), "# Notes\n\nN/A\n")?;
    let manifest = std::fs::read_to_string(root.join("release.toml"))?;
    let manifest = manifest
        .replace("summary = ", "summery = ")
        .replace("The health check fails or the page shows another version.", "tbd");
    std::fs::write(root.join("release.toml"), manifest)?;

    let found = faults(&stage, &root)?;
    for expected in [
        ["INSTRUCTIONS.md", "", "missing"],
        ["NOTES.md", "", "not-documentation"],
        ["release.toml", "summary", "field-missing"],
        ["release.toml", "summery", "field-unknown"],
        ["release.toml", "rollback.trigger", "not-documentation"],
    ] {
        ensure!(found.contains(&expected.map(str::to_owned)), "{expected:?} in {found:#?}");
    }
    Ok(())
}
