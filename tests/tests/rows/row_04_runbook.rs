//! Row 4, zSeries: a target without an agent is carried over by a gateway host, which runs the commands of
//! its own steps and waits for people's, each signed and in the log; and back in the same way.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use cutover_shared::statement::Event;
use cutover_tests::harness::people::path;
use cutover_tests::harness::release::{self, Made};
use cutover_tests::harness::{Stage, text};
use serde_json::{Value, json};

const WAVE: [&str; 2] = ["--wave", "all=gw-1"];

const F053: &str = include_str!("../../../shared/src/package/form/examples/cot-f053.toml");

/// A runbook that fits into the demonstration's budgets, and moves the form's element.
pub(crate) const SMALL: &str = r#"
[[runbook]]
name = "move-members"
by = "operator"
what = "Copy the member into the production library."
timeout = "2s"
elements = ["PAYR010 -> PROD.PAYROLL.JCL"]
undo = { what = "Copy the saved member back.", timeout = "2s" }
"#;

const RUNBOOK: &str = r#"
[[runbook]]
name = "hold-job"
by = "operator"
what = "Hold the job PAYR010 and wait until it has ended."
timeout = "2m"
undo = { what = "Release the job PAYR010 again.", timeout = "2m" }

[[runbook]]
name = "move-members"
by = "gateway"
what = "Copies the member into the production library."
command = "hooks/move.sh"
timeout = "30s"
elements = ["PAYR010 -> PROD.PAYROLL.JCL"]
undo = { what = "Copies the saved member back.", command = "hooks/back.sh", timeout = "30s" }

[[runbook]]
name = "refresh-region"
by = "mainframe"
what = "Refresh the region and look at the first list."
timeout = "2m"
no-undo = "The region reads the members again by itself."
"#;

const DEPARTMENT: &str = "[[departments]]\nname = \"mainframe\"\nowners = [\"olga\"]\n\n[[rules]]";

/// A release for the mainframe, which is a directory here, submitted and staged.
pub(crate) fn ready(stage: &Stage, version: &str, mainframe: &Path) -> anyhow::Result<String> {
    let there = path(mainframe);
    let trace =
        format!("echo \"$CUTOVER_DIRECTION $CUTOVER_STEP: $CUTOVER_ELEMENTS\" >>{there}/trace");
    let head = format!("#!/bin/sh\nset -eu\n{trace}\n");
    let moves =
        format!("{head}cp {there}/library {there}/saved\necho {version} >{there}/library\n");
    let back = format!("{head}cp {there}/saved {there}/library\n");
    let answers = format!("#!/bin/sh\ngrep -qx {version} {there}/library\n");
    let http = format!(
        "kind = \"http\"\nurl = \"http://{{listen}}/health\"\nbody-contains = \"ok {version}\""
    );
    let made = Made {
        manifest: RUNBOOK,
        instead: &[
            ("targets = [\"hosts\"]", "targets = [\"zseries\"]"),
            ("apply-budget = \"12s\"", "apply-budget = \"6m\""),
            ("rollback-reserve = \"6s\"", "rollback-reserve = \"4m\""),
            (&http, "kind = \"exec\"\ncommand = [\"hooks/answers.sh\"]"),
        ],
        hooks: &[("move.sh", &moves), ("back.sh", &back), ("answers.sh", &answers)],
        forms: &[("cot-f053.toml", F053)],
        ..Made::default()
    };
    let file = release::build(&stage.desk, version, &made)?;
    let name = stage.submitted(&file, &["staging"])?;
    stage.desk.run("lena", &["review", &name, "--complete"])?;
    stage.desk.run("lena", &["deliver", &name, "--location", "shelf 1"])?;
    Ok(name)
}

/// A stage with a gateway, another operator, and a department that is not the other operator's.
async fn with_gateway() -> anyhow::Result<(Stage, tempfile::TempDir)> {
    let (mut stage, directory) = super::stage().await?;
    with_department(&mut stage).await?;
    Ok((stage, directory))
}

/// The same on a stage that is there.
pub(crate) async fn with_department(stage: &mut Stage) -> anyhow::Result<()> {
    let key = path(&stage.desk.key("oscar"));
    stage.desk.run("oscar", &["key", "generate", &key])?;
    let toml = path(&stage.desk.directory.join("policy.toml"));
    let public = format!("{key}.pub");
    let owner = ["--owner", "oscar", "--email", "oscar@example.org", "--role", "operator"];
    let add = [&["policy", "add-key", &toml][..], &owner, &["--key", &public]].concat();
    stage.desk.run("root", &add)?;
    stage.desk.amend_policy(|text| text.replacen("[[rules]]", DEPARTMENT, 1))?;
    stage.add_gateway("gw-1", "staging").await
}

/// Waits until the gateway says that it waits for this.
pub(crate) async fn awaited(stage: &Stage, release: &str, step: &str) -> anyhow::Result<()> {
    let found = |status: &Value| status.to_string().contains(&format!("\"{step}\"")).then_some(());
    stage.status_until(release, step, found).await
}

fn read(mainframe: &Path, file: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(mainframe.join(file)).with_context(|| file.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_04_a_gateway_carries_a_runbook_out_and_back() -> anyhow::Result<()> {
    let (mut stage, directory) = with_gateway().await?;
    let mainframe = directory.path().join("mainframe");
    std::fs::create_dir(&mainframe)?;
    std::fs::write(mainframe.join("library"), "0.9\n")?;

    let first = ready(&stage, "1.0", &mainframe)?;
    let review = stage.desk.command("lena").args(["review", "show", &first]).output()?;
    let review = String::from_utf8_lossy(&review.stdout).into_owned();
    ensure!(review.contains("by operator: Hold the job PAYR010"), "{review}");
    let early = ["step", "done", &first, "hold-job", "--note", "held"];
    ensure!(stage.desk.fails("oscar", &early)?.0 == 5, "nobody waits for it yet");
    let booked = stage.open_window(&first, "staging", &WAVE)?;
    awaited(&stage, &first, "manual step hold-job").await?;
    held_by_somebody_who_may(&stage, &first)?;
    awaited(&stage, &first, "manual step refresh-region").await?;
    ensure!(read(&mainframe, "library")? == "1.0\n", "the gateway's own step is done");
    let refresh = ["step", "done", &first, "refresh-region", "--note", "the list is right"];
    let refused = stage.desk.refused("oscar", &refresh)?;
    ensure!(refused.code == "role-missing", "{}", refused.text);
    stage.desk.run("olga", &refresh)?;
    let outcome = stage.outcome("gw-1", &booked.booking).await?;
    ensure!(outcome.event == Event::Committed, "{:?}\n{}", outcome.event, stage.logs());
    let listed = stage.desk.run("max", &["step", "list", &first])?;
    let said = listed["said"].as_array().context("said")?;
    ensure!(said.len() == 2 && said[0]["by"] == json!(["oscar"]), "{listed:#}");

    // The last step fails: what was begun is taken back, by the gateway and by people.
    let second = ready(&stage, "1.1", &mainframe)?;
    let booked = stage.open_window(&second, "staging", &WAVE)?;
    awaited(&stage, &second, "manual step hold-job").await?;
    stage.desk.run("oscar", &["step", "done", &second, "hold-job", "--note", "held"])?;
    awaited(&stage, &second, "manual step refresh-region").await?;
    ensure!(read(&mainframe, "library")? == "1.1\n");
    let fail = ["step", "fail", &second, "refresh-region", "--note", "the list is wrong"];
    stage.desk.run("olga", &fail)?;
    awaited(&stage, &second, "undo of manual step hold-job").await?;
    ensure!(read(&mainframe, "library")? == "1.0\n", "taken back in the reverse order");
    stage.desk.run("oscar", &["step", "done", &second, "hold-job", "--note", "released"])?;
    let outcome = stage.outcome("gw-1", &booked.booking).await?;
    let Event::Returned { reason, .. } = &outcome.event else {
        bail!("{:?}\n{}", outcome.event, stage.logs())
    };
    let told = "manual step refresh-region: olga said that it failed: the list is wrong";
    ensure!(reason.contains(told), "{reason}");
    let element = "PAYR010 -> PROD.PAYROLL.JCL";
    let trace: Vec<String> =
        ["forward", "forward", "back"].map(|way| format!("{way} move-members: {element}")).into();
    ensure!(read(&mainframe, "trace")?.lines().eq(trace.iter()), "{trace:?}");
    Ok(())
}

/// A release arrives, with everybody's steps.
async fn carried(stage: &mut Stage, version: &str, mainframe: &Path) -> anyhow::Result<String> {
    let release = ready(stage, version, mainframe)?;
    let booked = stage.open_window(&release, "staging", &WAVE)?;
    for (by, step) in [("oscar", "hold-job"), ("olga", "refresh-region")] {
        awaited(stage, &release, &format!("manual step {step}")).await?;
        stage.desk.run(by, &["step", "done", &release, step, "--note", "seen"])?;
    }
    let outcome = stage.outcome("gw-1", &booked.booking).await?;
    ensure!(outcome.event == Event::Committed, "{:?}\n{}", outcome.event, stage.logs());
    Ok(release)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_04_a_gateway_takes_a_runbook_back_by_order() -> anyhow::Result<()> {
    let (mut stage, directory) = with_gateway().await?;
    let mainframe = directory.path().join("mainframe");
    std::fs::create_dir(&mainframe)?;
    std::fs::write(mainframe.join("library"), "0.9\n")?;
    let first = carried(&mut stage, "1.0", &mainframe).await?;
    let second = carried(&mut stage, "1.1", &mainframe).await?;
    ensure!(read(&mainframe, "library")? == "1.1\n");

    let back = ["rollback", "--application", "web", "--environment", "staging"];
    let more = ["--host", "gw-1", "--reason", "the list is wrong", "--for", "10m"];
    let ordered = stage.desk.run("max", &[&back[..], &more].concat())?;
    let order = text(&ordered, "id")?;
    awaited(&stage, &second, "undo of manual step hold-job").await?;
    ensure!(read(&mainframe, "library")? == "1.0\n", "its own step is taken back first");
    let told = stage.desk.run("max", &["explain", &second])?;
    let command = format!("cutover step done {second} hold-job --note WHAT-WAS-SEEN");
    ensure!(told["next"]["command"] == json!(command), "{told:#}");
    let what = told["next"]["what"].as_str().unwrap_or_default();
    ensure!(what.contains("Release the job PAYR010 again."), "{told:#}");
    let released = ["step", "done", &second, "hold-job", "--note", "released"];
    let by_author = stage.desk.refused("alice", &released)?;
    ensure!(by_author.code == "duties-not-separate", "{}", by_author.text);
    let other = ["step", "done", &first, "hold-job", "--note", "released"];
    ensure!(stage.desk.fails("oscar", &other)?.0 == 5, "it is the second that is left");
    stage.desk.run("oscar", &released)?;
    let outcome = stage.outcome("gw-1", &order).await?;
    ensure!(outcome.event == Event::RolledBack, "{:?}\n{}", outcome.event, stage.logs());
    let listed = stage.desk.run("max", &["step", "list", &second])?;
    let last = listed["said"].as_array().and_then(|said| said.last()).context("said")?;
    ensure!(last["booking"] == json!(order) && last["direction"] == "back", "{listed:#}");
    let trace = read(&mainframe, "trace")?;
    let ways: Vec<&str> = trace.lines().filter_map(|line| line.split(' ').next()).collect();
    ensure!(ways == ["forward", "forward", "back"], "{trace}");

    let soon = ["--environment", "staging", "--start", "now", "--for", "20m"];
    let again = stage.desk.refused("max", &[&["book", &second][..], &soon, &WAVE].concat())?;
    ensure!(again.code == "not-reviewed", "{}", again.text);
    Ok(())
}

/// Who submitted the release may not, a dry run signs nothing, and `explain` tells who may and how.
fn held_by_somebody_who_may(stage: &Stage, release: &str) -> anyhow::Result<()> {
    let told = stage.desk.run("max", &["explain", release])?;
    let next = &told["next"];
    let command = format!("cutover step done {release} hold-job --note WHAT-WAS-SEEN");
    ensure!(next["command"] == json!(command), "{told:#}");
    ensure!(next["who"]["owners"] == json!(["olga", "oscar"]), "{told:#}");
    ensure!(next["what"].as_str().is_some_and(|it| it.contains("PAYR010")), "{told:#}");
    let done = ["step", "done", release, "hold-job", "--note", "held since 01:32"];
    let by_author = stage.desk.refused("alice", &done)?;
    ensure!(by_author.code == "duties-not-separate", "{}", by_author.text);
    let by_another = stage.desk.refused("max", &done)?;
    ensure!(by_another.code == "role-missing", "{}", by_another.text);
    let wrong = ["step", "done", release, "refresh-region", "--note", "early"];
    ensure!(stage.desk.fails("olga", &wrong)?.0 == 5, "it is not its turn");
    let fail = ["step", "fail", release, "hold-job", "--note", "it does not end"];
    for words in [&done, &fail] {
        stage.desk.run("oscar", &[&words[..], &["--dry-run"]].concat())?;
    }
    let listed = stage.desk.run("max", &["step", "list", release])?;
    ensure!(listed["said"] == json!([]), "a dry run signs nothing");
    ensure!(listed["waiting"][0]["step"] == "hold-job", "{listed:#}");
    stage.desk.run("oscar", &done)?;
    Ok(())
}
