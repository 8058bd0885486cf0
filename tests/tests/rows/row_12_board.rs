//! Row 12: the change advisory board decides by a quorum of distinct people, at any time, on conditions,
//! and for a while.

use anyhow::ensure;
use cutover_tests::harness::release::{self, Made};
use serde_json::{Value, json};

const WAVE: [&str; 2] = ["--wave", "all=stg-1"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_12_the_board_decides() -> anyhow::Result<()> {
    let (mut stage, _directory) = super::stage().await?;
    // The first rule is staging's for normal changes: here it asks the board.
    stage.desk.amend_policy(|text| text.replacen("votes = 0", "votes = 2", 1))?;
    stage.desk.amend_rule("staging", "normal", "approval_lifetime = \"30m\"")?;
    stage.add_host("stg-1", "staging").await?;
    let file = release::build(&stage.desk, "1.0", &Made::default())?;
    let name = stage.submitted(&file, &["staging"])?;
    let agenda = |stage: &cutover_tests::harness::Stage| stage.desk.run("bea", &["cab", "agenda"]);
    let listed = |told: &Value, part: &str| told[part].as_array().map_or(0, Vec::len);

    let told = agenda(&stage)?;
    ensure!((listed(&told, "to-decide"), listed(&told, "not-ready")) == (0, 1), "{told:#}");
    stage.desk.run("lena", &["review", &name, "--complete"])?;
    stage.desk.run("lena", &["deliver", &name, "--location", "shelf 1"])?;
    let told = agenda(&stage)?;
    let ballot = &told["to-decide"][0]["ballots"][0];
    ensure!(ballot["needed"] == 2 && ballot["may-vote"] == json!(["bea", "olga"]), "{told:#}");

    // Impact and way back, as the package has them, are on the screen of who votes.
    let paper = &told["to-decide"][0]["paper"];
    ensure!(paper["impact"]["outage-minutes"] == 1, "{told:#}");
    ensure!(paper["rollback"]["trigger"].as_str().is_some_and(|it| it.contains("health check")));
    let printed = stage.desk.command("bea").args(["cab", "agenda"]).output()?;
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    for text in ["The page does not answer until", "goes back to the release before", "data loss"] {
        ensure!(printed.contains(text), "{text} is not in\n{printed}");
    }

    // Distinct people, none of them the author.
    let own = stage.desk.refused("alice", &["vote", &name, "--approve"])?;
    ensure!(own.code == "duties-not-separate", "{}", own.text);
    let book = |start: &'static str| {
        let window = ["--environment", "staging", "--start", start, "--for", "20m"];
        [&["book", "R-1"][..], &window, &WAVE].concat()
    };
    stage.desk.run("bea", &["vote", &name, "--approve"])?;
    stage.desk.run("bea", &["vote", &name, "--approve", "--reason", "still yes"])?;
    let refused = stage.desk.refused("max", &book("now"))?;
    ensure!(refused.text.contains("1 of 2 votes"), "{}", refused.text);
    let condition = ["--condition", "the desk knows"];
    stage.desk.run("olga", &[&["vote", &name, "--approve"][..], &condition].concat())?;

    // An approval does not last for ever.
    let late = stage.desk.refused("max", &book("+1h"))?;
    ensure!(late.code == "not-approved" && late.text.contains("run out"), "{}", late.text);

    // The condition is met, and signed for, before the window is released.
    let booked = cutover_tests::harness::text(&stage.desk.run("max", &book("now"))?, "id")?;
    let refused = stage.desk.refused("max", &["window", "release", &booked])?;
    ensure!(refused.code == "condition-open", "{}", refused.text);
    let told = agenda(&stage)?;
    ensure!((listed(&told, "to-decide"), listed(&told, "conditions")) == (0, 1), "{told:#}");
    let refused = stage.desk.refused("max", &["cab", "confirm", &name])?;
    ensure!(refused.code == "role-missing", "{}", refused.text);
    stage.desk.run("lena", &["cab", "confirm", &name, "--note", "called them"])?;
    stage.desk.run("max", &["window", "release", &booked])?;
    stage.outcome("stg-1", &booked).await?;

    // It is over, and nothing moves under it any more.
    let closed = stage.desk.refused("alice", &["close", &name, "--result", "successful"])?;
    ensure!(closed.code == "duties-not-separate", "{}", closed.text);
    stage.desk.run("max", &["close", &name, "--result", "successful"])?;
    let told = stage.desk.run("max", &["status", &name])?;
    ensure!(told["state"] == "closed", "{told:#}");
    Ok(())
}

#[tokio::test]
async fn nobody_holds_two_duties() -> anyhow::Result<()> {
    let (stage, _directory) = super::stage().await?;
    let many = "roles = [\"librarian\", \"security\", \"board\"]";
    stage.desk.amend_policy(|text| text.replacen("roles = [\"librarian\"]", many, 1))?;
    let file = release::build(&stage.desk, "1.0", &Made::default())?;
    let name = stage.submitted(&file, &["staging", "production"])?;
    stage.desk.run("lena", &["review", &name, "--complete"])?;
    for (who, second) in [
        ("lena", ["assess", &name, "--accept"]),
        ("lena", ["vote", &name, "--approve"]),
        ("alice", ["vote", &name, "--approve"]),
    ] {
        let refused = stage.desk.refused(who, &second)?;
        ensure!(refused.code == "duties-not-separate", "{who}: {}", refused.text);
    }
    stage.desk.run("sam", &["assess", &name, "--accept"])?;
    Ok(())
}
