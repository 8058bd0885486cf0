//! Row 7: a machine check, then a librarian: complete, returned item by item, denied. A resubmission shows
//! what was done about each item, and what else is different; waiting is measured, on whose side.

use anyhow::{Context as _, ensure};
use cutover_tests::harness::people::{Desk, path};
use cutover_tests::harness::release::{self, Made};
use cutover_tests::harness::text;
use serde_json::Value;

fn names(changes: &Value) -> Vec<&str> {
    let changes = changes.as_array().map(Vec::as_slice).unwrap_or_default();
    changes.iter().filter_map(|it| it["name"].as_str()).collect()
}

#[tokio::test]
async fn row_07_a_return_names_items_and_the_resubmission_answers_them() -> anyhow::Result<()> {
    let (stage, directory) = super::stage().await?;
    let desk = &stage.desk;
    let first = stage.submitted(&release::build(desk, "1.0", &Made::default())?, &["staging"])?;
    let shown = desk.run("lena", &["review", "show", &first])?;
    ensure!(shown["complete"] == true && shown["findings"] == serde_json::json!([]), "{shown}");
    ensure!(shown["waits"]["now"] == "librarian", "{shown}");
    ensure!(shown["compared"].is_null(), "nothing was there before");
    desk.run(
        "lena",
        &[
            "review",
            &first,
            "--return",
            "rollback.steps=Say who does it.",
            "--return",
            "INSTRUCTIONS.md=Say how to see that it went back.",
        ],
    )?;
    let returned = desk.run("lena", &["review", "show", &first])?;
    ensure!(returned["waits"]["now"] == "submitter", "{returned}");

    release::build(desk, "1.1", &Made::default())?;
    let root = directory.path().join("web-1.1");
    let replace = |file: &str, from: &str, to: &str| -> anyhow::Result<()> {
        let place = root.join(file);
        let text = std::fs::read_to_string(&place)?;
        ensure!(text.contains(from), "{from} in {file}");
        Ok(std::fs::write(place, text.replace(from, to))?)
    };
    replace("release.toml", "steps = [\"cutover", "steps = [\"The operator on duty runs cutover")?;
    replace("forms/cot-f052.toml", "SR-1001", "SR-1002")?;
    let file = path(&directory.path().join("web-1.1.cutover"));
    desk.run("alice", &["package", "build", &path(&root), "--output", &file])?;
    let submit = ["submit", &file, "--environment", "staging", "--supersedes", &first];
    let second = text(&desk.run("alice", &submit)?, "release")?;

    let shown = desk.run("lena", &["review", "show", &second])?;
    let compared = &shown["compared"];
    ensure!(compared["with"] == first.as_str(), "{compared}");
    let changed = names(&compared["changes"]);
    for name in
        ["version", "rollback.steps", "cot-f052: service-request", "payload/site/version.txt"]
    {
        ensure!(changed.contains(&name), "{name} in {changed:?}");
    }
    ensure!(!changed.contains(&"payload/bin/serve"), "it is the same program");
    let items = compared["returned"].as_array().context("returned items")?;
    ensure!(items.len() == 2, "{items:?}");
    ensure!(items[0]["item"] == "rollback.steps", "{items:?}");
    ensure!(items[0]["changed"] == serde_json::json!(["rollback.steps"]), "{items:?}");
    ensure!(items[1]["changed"] == serde_json::json!([]), "the instructions are the old ones");
    ensure!(shown["waits"]["now"] == "librarian", "{shown}");
    let sides: Vec<&str> = shown["waits"]["spans"]
        .as_array()
        .context("spans")?
        .iter()
        .filter_map(|it| it["side"].as_str())
        .collect();
    ensure!(sides == ["librarian", "submitter", "librarian"], "{sides:?}");

    on_one_screen(desk, &first, &second)?;
    desk.run("lena", &["review", &second, "--complete"])?;
    let done = desk.run("lena", &["review", "show", &second])?;
    ensure!(done["waits"]["now"].is_null(), "{done}");
    Ok(())
}

/// What people get of it.
fn on_one_screen(desk: &Desk, first: &str, second: &str) -> anyhow::Result<()> {
    let output = desk.command("lena").args(["review", "show", second]).output()?;
    let screen = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in [
        "MACHINE CHECK\n  nothing is missing",
        "NOTES.md",
        "IMPACT",
        "ROLLBACK",
        "COT-F052",
        "item[payload -> /srv/web]",
        &format!("WHAT {first} WAS RETURNED FOR"),
        "NOTHING OF IT WAS CHANGED",
        &format!("DIFFERENCE TO {first}"),
        "- SR-1001",
        "+ SR-1002",
        "for the librarian now",
    ] {
        ensure!(screen.contains(part), "{part} in\n{screen}");
    }
    Ok(())
}

#[tokio::test]
async fn row_07_a_denial_for_its_documentation_is_no_return() -> anyhow::Result<()> {
    let (stage, _directory) = super::stage().await?;
    let desk = &stage.desk;
    let release = stage.submitted(&release::build(desk, "1.0", &Made::default())?, &["staging"])?;
    desk.run("lena", &["review", &release, "--deny", "Nobody could deploy it with this."])?;
    let status = desk.run("max", &["status", &release])?;
    ensure!(status["state"] == "denied", "{status}");
    Ok(())
}
