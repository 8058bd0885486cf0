//! Row 13: change and tasks are made in ServiceNow and Jira, once each, whatever goes wrong on the way.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::ensure;
use cutover_tests::build::binaries;
use cutover_tests::harness::Stage;
use cutover_tests::harness::people::path;
use cutover_tests::harness::release::{self, Made};
use serde_json::{Map, Value};

use super::trackers::jira::{Edition, Jira};
use super::trackers::servicenow::ServiceNow;
use super::trackers::{Trouble, Troubles};

const QUICK: &str = "[outbox]\nfirst-wait = \"50ms\"\nlongest-wait = \"200ms\"\n";

fn secret(directory: &Path, name: &str, text: &str) -> anyhow::Result<String> {
    let file = directory.join(name);
    std::fs::write(&file, format!("{text}\n"))?;
    Ok(path(&file))
}

/// A release that is submitted, reviewed and delivered.
fn whole_way(stage: &Stage) -> anyhow::Result<String> {
    let package = release::build(&stage.desk, "1.0", &Made::default())?;
    let release = stage.submitted(&package, &["staging"])?;
    stage.desk.run("lena", &["review", &release, "--complete"])?;
    stage.desk.run("lena", &["deliver", &release, "--location", "shelf 1"])?;
    Ok(release)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_servicenow_has_one_change_with_its_tasks_whatever_happens() -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("cutover-rows-").tempdir()?;
    // The change itself and a task are made without our hearing of it.
    let troubles = Troubles::new([
        Trouble::Down,
        Trouble::Unheard,
        Trouble::TooMany,
        Trouble::Unheard,
        Trouble::Down,
    ]);
    let tracker = ServiceNow::start(troubles.clone())?;
    let password = secret(directory.path(), "password", "secret")?;
    let more = format!(
        "{QUICK}[outbox.servicenow]\nurl = {:?}\ntransport = \"clear-text\"\nuser = \"cutover\"\n\
         password-file = {password:?}\n",
        tracker.web.url()
    );
    let stage = Stage::start_with(directory.path(), binaries(), &more).await?;
    let release = whole_way(&stage)?;
    stage.delivered("delivered").await?;
    ensure!(troubles.are_over());

    let changes = tracker.table("change_request");
    let [change] = changes.as_slice() else { anyhow::bail!("{changes:#?}") };
    let is = |record: &Map<String, Value>, name: &str, text: &str| {
        let found = record.get(name).and_then(Value::as_str);
        ensure!(found == Some(text), "{name} is {found:?}, not {text:?}: {record:#?}");
        Ok(())
    };
    is(change, "type", "normal")?;
    is(change, "correlation_display", "Cutover R-1")?;
    // Staging's rule asks for a review alone: it waits for its window.
    is(change, "state", "-2")?;
    let tasks = tracker.table("change_task");
    let named: BTreeSet<&str> =
        tasks.iter().filter_map(|it| it["correlation_id"].as_str()).collect();
    ensure!(tasks.len() == 4 && named.len() == 4, "{tasks:#?}");
    for task in &tasks {
        ensure!(task["change_request"] == change["sys_id"], "{task:#?}");
        let kind = task["correlation_id"].as_str().and_then(|it| it.split('/').nth(1));
        let state = match kind {
            Some("stage") => "3",
            Some("deploy") => "1",
            _ => "-5",
        };
        is(task, "state", state)?;
    }

    stage.desk.run("max", &["cancel", &release, "--reason", "overtaken"])?;
    stage.delivered("cancelled").await?;
    let changes = tracker.table("change_request");
    is(&changes[0], "state", "4")?;
    is(&changes[0], "close_code", "unsuccessful")?;
    let states: Vec<_> =
        tracker.table("change_task").iter().map(|it| it["state"].clone()).collect();
    ensure!(states == ["3", "4", "4", "4"], "{states:?}");
    ensure!(changes.len() == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_the_built_in_list_has_each_task_once_and_says_who_did_it() -> anyhow::Result<()> {
    let (stage, _directory) = super::stage().await?;
    let release = whole_way(&stage)?;
    let listed = |arguments: &[&str]| -> anyhow::Result<Vec<(String, String)>> {
        let all = stage.desk.run("max", &[&["tasks", "list"], arguments].concat())?;
        let text = |it: &Value, key: &str| it[key].as_str().unwrap_or_default().to_owned();
        let all = all.as_array().into_iter().flatten();
        Ok(all.map(|it| (text(it, "task"), text(it, "state"))).collect())
    };
    let all = listed(&[&release, "--all"])?;
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    ensure!(names == ["stage", "deploy", "verify", "review"], "{names:?}");
    ensure!(all[0].1 == "done", "lena has delivered it: {all:?}");
    stage.desk.run("max", &["tasks", "assign", &release, "verify", "--to", "alice"])?;
    ensure!(listed(&["--assignee", "alice"])?.len() == 1);
    stage.desk.run("alice", &["tasks", "done", &release, "verify", "--note", "It works."])?;
    ensure!(listed(&["--assignee", "alice"])?.is_empty());
    let (code, said) = stage.desk.fails("alice", &["tasks", "done", &release, "verify"])?;
    ensure!(code == 2 && said.contains("was done at"), "{said}");
    let shown = stage.desk.run("max", &["tasks", "show", &release, "verify"])?;
    ensure!(shown["done-by"] == "alice", "{shown:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_13_jira_has_one_issue_with_its_tasks_in_both_editions() -> anyhow::Result<()> {
    for (edition, api) in [(Edition::Cloud, "cloud-3"), (Edition::DataCenter, "data-center-2")] {
        let directory = tempfile::Builder::new().prefix("cutover-rows-").tempdir()?;
        // An issue and a task are made without our hearing of it; the cloud's search does not know them at once.
        let troubles = match edition {
            Edition::Cloud => Troubles::new([Trouble::Unheard, Trouble::Down, Trouble::Unheard]),
            Edition::DataCenter => {
                Troubles::new([Trouble::Unheard, Trouble::Unheard, Trouble::Down])
            }
        };
        let tracker = Jira::start(edition, troubles.clone())?;
        let token = secret(directory.path(), "token", "token-of-jira")?;
        let more = format!(
            "{QUICK}[outbox.jira]\nurl = {:?}\ntransport = \"clear-text\"\ntoken-file = {token:?}\n\
             api = {api:?}\nproject = \"CHG\"\nsearch-lag = \"2s\"\n",
            tracker.web.url()
        );
        let stage = Stage::start_with(directory.path(), binaries(), &more).await?;
        let release = whole_way(&stage)?;
        stage.delivered("delivered").await?;
        ensure!(troubles.are_over());
        stage.desk.run("max", &["cancel", &release, "--reason", "overtaken"])?;
        stage.delivered("cancelled").await?;

        let issues = tracker.issues();
        let of = |kind: &str| {
            let is = |it: &&Value| it["fields"]["issuetype"]["name"] == kind;
            issues.iter().filter(is).collect::<Vec<_>>()
        };
        let (changes, tasks) = (of("Task"), of("Sub-task"));
        ensure!(changes.len() == 1 && tasks.len() == 4, "{api}: {issues:#?}");
        let parents = tasks.iter().all(|it| it["fields"]["parent"]["key"] == changes[0]["key"]);
        let done = issues.iter().all(|it| it["fields"]["status"]["name"] == "Done");
        ensure!(parents && done, "{api}: {issues:#?}");
    }
    Ok(())
}
