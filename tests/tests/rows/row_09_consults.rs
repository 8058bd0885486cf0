//! Row 9: other departments are consulted, and a mandatory one that has not said yes blocks.

use anyhow::ensure;
use cutover_shared::statement::Event;
use cutover_tests::harness::release::{self, Made};
use serde_json::Value;

const WAVE: [&str; 2] = ["--wave", "all=stg-1"];

const DEPARTMENTS: &str = "[[departments]]\nname = \"networks\"\nowners = [\"olga\", \"alice\"]\n\n\
     [[departments]]\nname = \"desk\"\nowners = [\"bea\"]\n\n[[rules]]";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_09_a_mandatory_department_blocks_until_it_says_yes() -> anyhow::Result<()> {
    let (mut stage, _directory) = super::stage().await?;
    stage.desk.amend_policy(|text| text.replacen("[[rules]]", DEPARTMENTS, 1))?;
    stage.desk.amend_rule("staging", "normal", "consults = [\"networks\"]")?;
    stage.add_host("stg-1", "staging").await?;
    let file = release::build(&stage.desk, "1.0", &Made::default())?;
    let name = stage.submitted(&file, &["staging"])?;
    stage.desk.run("lena", &["review", &name, "--complete"])?;
    stage.desk.run("lena", &["deliver", &name, "--location", "shelf 1"])?;

    // The policy's department has to answer before a window is booked, and says no first.
    let window = ["--environment", "staging", "--start", "now", "--for", "30m"];
    let book = [&["book", &name][..], &window, &WAVE].concat();
    let answer = ["consult", "answer", &name, "--department", "networks"];
    ensure!(stage.desk.refused("max", &book)?.code == "not-consulted");
    let by_another = stage.desk.refused("bea", &[&answer[..], &["--accept"]].concat())?;
    ensure!(by_another.code == "role-missing", "{}", by_another.text);
    let by_author = stage.desk.refused("alice", &[&answer[..], &["--accept"]].concat())?;
    ensure!(by_author.code == "duties-not-separate", "{}", by_author.text);
    stage.desk.run("olga", &[&answer[..], &["--deny", "the port is closed"]].concat())?;
    let refused = stage.desk.refused("max", &book)?;
    ensure!(refused.text.contains("networks says no for staging"), "{}", refused.text);
    stage.desk.run("olga", &[&answer[..], &["--accept", "--reason", "opened"]].concat())?;

    // A question that is mandatory stops a window that is open already.
    stage.hosts["stg-1"].inhibit("a backup runs")?;
    let booked = stage.open_window(&name, "staging", &WAVE)?;
    let question = ["--question", "who takes the calls?", "--mandatory"];
    let ask = [&["consult", "ask", &name, "--department", "desk"][..], &question].concat();
    stage.desk.run("lena", &ask)?;
    stage.hosts["stg-1"].uninhibit()?;
    let told = stage.desk.run("max", &["explain", &name])?;
    let refusals = told["environments"][0]["refusals"].as_array().cloned().unwrap_or_default();
    let consult = refusals.iter().find(|it| it["code"] == "not-consulted");
    ensure!(
        consult.is_some_and(|it| it["who"]["owners"] == serde_json::json!(["bea"])),
        "{told:#}"
    );
    waits(&stage, &name).await?;
    ensure!(stage.hosts["stg-1"].current().is_none(), "it moved without the desk");

    let open = stage.desk.run("max", &["consult", "list", &name])?;
    ensure!(open.as_array().is_some_and(|it| it.len() == 2), "{open:#}");
    stage.desk.run("bea", &["consult", "answer", &name, "--department", "desk", "--accept"])?;
    let outcome = stage.outcome("stg-1", &booked.booking).await?;
    ensure!(outcome.event == Event::Committed, "{:?}", outcome.event);
    Ok(())
}

/// Waits until `status` says that a host waits for the department.
async fn waits(stage: &cutover_tests::harness::Stage, name: &str) -> anyhow::Result<()> {
    let waits = |status: &Value| {
        let text = status.to_string();
        text.contains("\"not-consulted\"").then_some(())
    };
    stage.status_until(name, "not-consulted", waits).await
}
