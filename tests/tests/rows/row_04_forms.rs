//! Row 4: forms whose schemas are data: required by target, added by an operator without a rebuild, kept in
//! the version that a release was submitted with, checked, printed.

use std::path::Path;

use anyhow::{Context as _, ensure};
use cutover_tests::build::binaries;
use cutover_tests::harness::Stage;
use cutover_tests::harness::people::path;
use cutover_tests::harness::release::{self, Made};
use serde_json::Value;

const AGENCY_X: &str = r#"
form = "agency-x"
version = 1
title = "Agency X Privacy Statement"

[required]
targets = ["hosts"]
applications = ["web"]

[[section]]
title = "Statement"

[[section.field]]
name = "personal-data"
label = "Personal data"
kind = "choice"
choices = ["of-nobody", "of-citizens"]

[[section.field]]
name = "officer"
label = "Privacy officer"
kind = "name"
required = false
required-when = [{ field = "personal-data", is = ["of-citizens"] }]

[[section.field]]
label = "Checked by"
from = "log.checked-by"
"#;

/// What a command of alice's prints, and its exit code.
fn alice(stage: &Stage, arguments: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
    let output = stage.desk.command("alice").args(arguments).output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
}

fn known(stage: &Stage) -> anyhow::Result<Vec<String>> {
    let listed = stage.desk.run("alice", &["form", "list"])?;
    let rows = listed.as_array().context("rows")?;
    Ok(rows
        .iter()
        .map(|row| format!("{}/{}", row["form"].as_str().unwrap_or_default(), row["version"]))
        .collect())
}

/// The files that something is wrong with, each once.
fn faulty(stage: &Stage, package: &Path) -> anyhow::Result<Vec<String>> {
    let (code, text) = alice(stage, &["package", "check", &path(package), "--json"])?;
    ensure!(code == Some(0) || code == Some(4), "{text}");
    let told: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    let findings = told["findings"].as_array().context("findings")?;
    let mut files: Vec<String> =
        findings.iter().map(|it| it["file"].as_str().unwrap_or_default().to_owned()).collect();
    files.dedup();
    Ok(files)
}

#[tokio::test]
async fn row_04_an_operators_form_is_required_checked_and_printed_without_a_rebuild()
-> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("cutover-rows-").tempdir()?;
    let forms = directory.path().join("agency-forms");
    std::fs::create_dir(&forms)?;
    let more = format!("forms-directory = {:?}\n", path(&forms));
    let stage = Stage::start_with(directory.path(), binaries(), &more).await?;
    ensure!(known(&stage)? == ["cot-f052/1", "cot-f053/1"]);
    let package = release::build(&stage.desk, "1.0", &Made::default())?;
    let source = directory.path().join("web-1.0");

    // From now on it is needed; nobody has restarted anything.
    std::fs::write(forms.join("agency-x.toml"), AGENCY_X)?;
    ensure!(known(&stage)? == ["agency-x/1", "cot-f052/1", "cot-f053/1"]);
    let submit = ["submit", &path(&package), "--environment", "staging", "--yes"];
    let (code, text) = alice(&stage, &submit)?;
    ensure!(code == Some(4) && text.contains("forms/agency-x.toml"), "{code:?} {text}");

    let (code, _) = alice(&stage, &["form", "new", "agency-x", &path(&source)])?;
    ensure!(code == Some(0));
    let form = source.join("forms/agency-x.toml");
    let (code, text) = alice(&stage, &["form", "check", &path(&form)])?;
    ensure!(code == Some(4) && text.contains("personal-data"), "{code:?} {text}");
    std::fs::write(&form, "schema = \"agency-x/1\"\npersonal-data = \"of-citizens\"\n")?;
    let (code, text) = alice(&stage, &["form", "check", &path(&form)])?;
    ensure!(code == Some(4) && text.contains("officer"), "{code:?} {text}");
    std::fs::remove_file(&form)?;
    let json = r#"{"schema": "agency-x/1", "personal-data": "of-citizens", "officer": "Ophelia"}"#;
    std::fs::write(form.with_extension("json"), json)?;
    let (code, text) = alice(&stage, &["form", "check", &path(&source)])?;
    ensure!(code == Some(0), "{code:?} {text}");

    let (file, root) = (path(&package), path(&source));
    stage.desk.run("alice", &["package", "build", &root, "--output", &file])?;
    let release = stage.submitted(&package, &["staging"])?;
    stage.desk.run("lena", &["review", &release, "--complete"])?;
    stage.desk.run("lena", &["deliver", &release, "--location", "shelf 1"])?;

    // The next version counts for what comes; what was submitted is read by the one that it was
    // submitted with, though the operator has it no more.
    std::fs::write(forms.join("agency-x.toml"), AGENCY_X.replace("version = 1", "version = 2"))?;
    let print = ["form", "print", &release, "--form", "agency-x"];
    let (code, text) = alice(&stage, &print)?;
    ensure!(code == Some(0), "{text}");
    for part in ["agency-x/1", "of-citizens", "Ophelia", "Checked by", "lena"] {
        ensure!(text.contains(part), "{part} in {text}");
    }
    let (code, html) = alice(&stage, &[&print[..], &["--html"]].concat())?;
    ensure!(code == Some(0) && html.starts_with("<!DOCTYPE html>") && html.contains("Ophelia"));
    let (_, text) = alice(&stage, &["form", "print", &release])?;
    for part in ["COT-F052", "shelf 1", "Staging location", "(not yet)", &release] {
        ensure!(text.contains(part), "{part} in {text}");
    }
    let shown = stage.desk.run("lena", &["review", "show", &release])?;
    ensure!(shown["complete"] == true, "{shown}");
    ensure!(faulty(&stage, &source)? == ["forms/agency-x.json"], "its version is not in force");
    Ok(())
}

/// A form that the policy asks for is said early, and is held to by the host itself: a coordinator that asks for
/// nothing brings no release there without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_04_hosts_hold_to_the_forms_that_the_policy_asks_for() -> anyhow::Result<()> {
    let (mut stage, _directory) = super::stage().await?;
    stage.add_host("stg-1", "staging").await?;
    stage.hosts.get_mut("stg-1").context("stg-1")?.take_agent()?.terminate()?;
    let package = release::build(&stage.desk, "1.0", &Made::default())?;
    let release = stage.submitted(&package, &["staging"])?;
    stage.desk.run("lena", &["review", &release, "--complete"])?;
    stage.desk.run("lena", &["deliver", &release, "--location", "shelf 1"])?;
    let booked = stage.open_window(&release, "staging", &["--wave", "all=stg-1"])?;

    stage.desk.amend_rule("staging", "normal", "forms = [\"agency-x\"]")?;
    let again = ["submit", &path(&package), "--environment", "staging", "--supersedes", &release];
    let refused = stage.desk.refused("alice", &again)?;
    ensure!(
        refused.code == "form-missing" && refused.text.contains("agency-x"),
        "{}",
        refused.text
    );
    let told = stage.desk.run("alice", &["explain", &release])?;
    let next = told["next"]["command"].as_str().context("a command")?;
    ensure!(next.starts_with("cutover submit FILE.cutover --environment staging"), "{told:#}");
    ensure!(told["next"]["who"]["owners"] == serde_json::json!(["alice"]), "{told:#}");

    stage.cheat(&[("stg-1", &booked.booking)]).await?;
    stage.hosts.get_mut("stg-1").context("stg-1")?.start_agent()?;
    stage.refusal("stg-1", &booked.booking, "form-missing").await?;
    Ok(())
}

#[tokio::test]
async fn row_04_the_target_decides_which_forms_are_needed() -> anyhow::Result<()> {
    let (stage, directory) = super::stage().await?;
    release::build(&stage.desk, "1.0", &Made::default())?;
    let source = directory.path().join("web-1.0");
    let manifest = source.join("release.toml");
    let hosts = std::fs::read_to_string(&manifest)?;
    let with = |targets: &str| {
        let runbook = if targets.contains("zseries") { super::row_04_runbook::SMALL } else { "" };
        let text = hosts.replace("targets = [\"hosts\"]", targets);
        std::fs::write(&manifest, format!("{text}\n{runbook}"))?;
        faulty(&stage, &source)
    };
    ensure!(with("targets = [\"hosts\"]")?.is_empty());
    ensure!(with("targets = [\"hosts\", \"zseries\"]")? == ["forms/cot-f053.toml"]);
    let f053 = include_str!("../../../shared/src/package/form/examples/cot-f053.toml");
    std::fs::write(source.join("forms/cot-f053.toml"), f053)?;
    ensure!(with("targets = [\"hosts\", \"zseries\"]")?.is_empty());
    let restart =
        "restart-instructions = \"Restart from step 020; the work dataset is deleted before.\"";
    ensure!(f053.contains(restart));
    std::fs::write(source.join("forms/cot-f053.toml"), f053.replace(restart, ""))?;
    let (code, text) = alice(&stage, &["form", "check", &path(&source)])?;
    ensure!(code == Some(4) && text.contains("element[0].restart-instructions"), "{text}");
    Ok(())
}
