//! Row 18: an emergency release may have many rapid iterations, and every one goes through the change manager.

use std::collections::BTreeSet;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use cutover_shared::digest::Digest;
use cutover_shared::statement::{Emergency, Event, IterationApproval};
use cutover_tests::harness::host::Host;
use cutover_tests::harness::people::{path, public};
use cutover_tests::harness::release::{self, Made};
use cutover_tests::harness::watch::append_unasked;
use cutover_tests::harness::{Stage, text};

const HOST: &str = "prd-1";
const ITERATIONS: u32 = 50;

/// What makes a deployment take as long as it must, and no longer.
const SWIFT: &[(&str, &str)] = &[
    ("start-grace = \"1s\"", "start-grace = \"0s\""),
    ("interval = \"200ms\"", "interval = \"100ms\""),
    ("consecutive-successes = 2", "consecutive-successes = 1"),
    ("bake = \"600ms\"", "bake = \"0s\""),
];

async fn stage() -> anyhow::Result<(Stage, tempfile::TempDir)> {
    let (mut stage, directory) = super::stage().await?;
    stage.desk.amend_rule("production", "emergency", "standing_window = \"10m\"")?;
    stage.add_host(HOST, "production").await?;
    Ok((stage, directory))
}

fn open(stage: &Stage, incident: &str) -> anyhow::Result<Digest> {
    let line = ["emergency", "open", "--incident", incident, "--application", "web"];
    let rest = ["--environment", "production", "--for", "2h", "--reason", "the prices are wrong"];
    Ok(text(&stage.desk.run("max", &[&line[..], &rest].concat())?, "id")?.parse()?)
}

fn iterate(stage: &Stage, who: &str, incident: &str, version: &str) -> anyhow::Result<String> {
    let made = Made { change: Some("emergency"), instead: SWIFT, ..Made::default() };
    let file = path(&release::build(&stage.desk, version, &made)?);
    let iterate = ["emergency", "iterate", &file, "--incident", incident];
    text(&stage.desk.run(who, &iterate)?, "release")
}

/// The `release` statement of a release.
async fn statement(stage: &mut Stage, release: &str) -> anyhow::Result<Digest> {
    let number: u64 = release.trim_start_matches("R-").parse()?;
    stage
        .until("the release is in the log", |state| {
            state.cases().find(|it| it.number == number).map(|it| it.release.id())
        })
        .await
}

fn book(release: &str) -> [&str; 8] {
    ["book", release, "--environment", "production", "--start", "now", "--for", "10m"]
}

/// Fifty in a row: each its own digest, its own approval, its own window on one signature; each carried out
/// by the host, in order, none skipped, and none a second time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_18_fifty_iterations_in_a_row() -> anyhow::Result<()> {
    let (mut stage, _directory) = stage().await?;
    let grounds = open(&stage, "INC-7")?;
    let mut bookings = Vec::new();
    let mut before: Option<(String, Digest)> = None;
    for number in 1..=ITERATIONS {
        let release = iterate(&stage, "alice", "INC-7", &format!("1.0.{number}"))?;
        let id = statement(&mut stage, &release).await?;
        if let Some((_, earlier_id)) = &before {
            // What was signed for the one before is no good for this one, in no way that it can be said.
            ensure!(stage.desk.refused("max", &book(&release))?.code == "iteration-not-approved");
            let stale = IterationApproval { grounds, release: *earlier_id, number };
            let stale = append_unasked(&stage.desk, "max", Emergency::Approved(stale).into()).await;
            let said = format!("{:?}", stale.err().context("a stale approval was taken")?);
            ensure!(said.contains("DigestMismatch"), "{said}");
            ensure!(stage.desk.refused("max", &book(&release))?.code == "iteration-not-approved");
        }
        let approved = stage.desk.run("max", &["emergency", "approve", &release, "--deploy"])?;
        let booking = approved.pointer("/bookings/0").and_then(|it| it.as_str());
        let booking = booking.with_context(|| format!("a booking in {approved}"))?.to_owned();
        let outcome = stage.outcome(HOST, &booking).await?;
        ensure!(outcome.event == Event::Committed, "{:?}\n{}", outcome.event, stage.logs());
        if let Some((earlier, _)) = &before {
            // The one before has had its turn: its approval stands, and moves nothing any more.
            let refused = stage.desk.refused("max", &book(earlier))?;
            ensure!(refused.code == "superseded", "{}", refused.text);
        }
        bookings.push(booking.parse::<Digest>()?);
        before = Some((release, id));
    }
    let page = stage.hosts.get(HOST).and_then(Host::page);
    ensure!(page == Some(format!("1.0.{ITERATIONS}")), "{page:?}");

    // The same from the log, which the hosts have proven every step against.
    let told = stage
        .until("all of it is in the log", |state| {
            let cases: Vec<_> = state.cases_of_emergency(&grounds).collect();
            let mut previous = None;
            let mut packages = BTreeSet::new();
            for (number, case) in (1..).zip(&cases) {
                let release = case.release.says();
                let iteration = release.iteration.as_ref()?;
                let [approval] = case.approvals.as_slice() else { return Some(Err(case.name())) };
                let says = approval.says();
                let good = iteration.number == number
                    && iteration.previous == previous
                    && packages.insert(release.package)
                    && (says.release, says.number) == (case.release.id(), number)
                    && approval.owners().is_disjoint(&case.release.owners());
                let committed = case.outcomes().filter(|it| it.says().event == Event::Committed);
                if !good || committed.count() != 1 || case.booked().count() != 1 {
                    return Some(Err(case.name()));
                }
                previous = Some(case.release.id());
            }
            let mut committed: Vec<_> = cases.iter().flat_map(|it| it.outcomes()).collect();
            committed.sort_by_key(|it| it.index());
            let orders: Vec<_> = committed.iter().map(|it| it.says().order).collect();
            Some(Ok((cases.len(), orders)))
        })
        .await?;
    let (count, orders) = told.map_err(|name| anyhow::anyhow!("{name} is not as it should be"))?;
    ensure!(count == ITERATIONS as usize, "{count}");
    ensure!(orders == bookings, "carried out in order, each once");
    Ok(())
}

/// The second waits for the first; nobody approves their own; without a standing window each is booked by
/// hand; and what its host took back ends the sequence for nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_18_in_order_and_by_somebody_else() -> anyhow::Result<()> {
    let (mut stage, _directory) = stage().await?;
    // Mona writes fixes and manages changes.
    let mona = stage.desk.key("mona");
    stage.desk.run("mona", &["key", "generate", &path(&mona)])?;
    let toml = path(&stage.desk.directory.join("policy.toml"));
    let key = path(&public(&mona));
    let add = ["policy", "add-key", &toml, "--owner", "mona", "--email", "mona@example.org"];
    let roles = ["--role", "submitter", "--role", "change-manager", "--key", &key];
    stage.desk.run("root", &[&add[..], &roles].concat())?;
    stage.desk.amend_policy(|text| text.replacen("standing_window = \"10m\"\n", "", 1))?;

    open(&stage, "INC-8")?;
    let first = iterate(&stage, "mona", "INC-8", "1.0.1")?;
    let second = iterate(&stage, "alice", "INC-8", "1.0.2")?;
    let approve =
        |release: &str| ["emergency".to_owned(), "approve".to_owned(), release.to_owned()];
    let refused = |who: &str, release: &str| {
        let line = approve(release);
        stage.desk.refused(who, &line.iter().map(String::as_str).collect::<Vec<_>>())
    };
    ensure!(refused("alice", &second)?.code == "role-missing");
    ensure!(refused("mona", &first)?.code == "duties-not-separate");
    let (code, said) = stage.desk.fails("max", &["emergency", "approve", &second, "--deploy"])?;
    ensure!(code == 2 && said.contains("standing_window"), "{said}");

    // Mona may approve what alice wrote; but the first has had nobody's word yet.
    stage.desk.run("mona", &["emergency", "approve", &second])?;
    let refusal = stage.desk.refused("max", &book(&second))?;
    ensure!(refusal.code == "iteration-out-of-order", "{}", refusal.text);
    let cancel = ["cancel", &first, "--reason", "the second one is better"];
    stage.desk.run("max", &cancel)?;
    let booking = stage.book(&second, "production", &["--start", "now", "--for", "10m"])?;
    stage.desk.run("max", &["window", "release", &booking.booking])?;
    let outcome = stage.outcome(HOST, &booking.booking).await?;
    ensure!(outcome.event == Event::Committed, "{:?}\n{}", outcome.event, stage.logs());

    let status = stage.desk.run("max", &["emergency", "status", "INC-8"])?;
    let iterations = status.pointer("/0/iterations").context("iterations")?;
    ensure!(iterations[0]["state"] == "cancelled", "{status:#}");
    ensure!(iterations[1]["approved_by"] == serde_json::json!(["mona"]), "{status:#}");
    // What touched a host is looked back at before the emergency is over.
    ensure!(status.pointer("/0/review_owed") == Some(&second.as_str().into()), "{status:#}");
    let over = ["close", "INC-8", "--summary", "The prices are right again."];
    let refused = stage.desk.refused("max", &over)?;
    ensure!(refused.code == "review-owed", "{}", refused.text);
    let close = ["close", &second, "--result", "successful"];
    let refused = stage.desk.refused("max", &close)?;
    ensure!(refused.code == "review-owed", "{}", refused.text);
    let empty = stage.desk.refused("max", &[&close[..], &["--findings", " "]].concat())?;
    ensure!(empty.code == "malformed", "{}", empty.text);
    stage.desk.run("max", &[&close[..], &["--findings", "A stale price table."]].concat())?;
    let status = stage.desk.run("max", &["emergency", "status", "INC-8"])?;
    ensure!(status.pointer("/0/review_owed") == Some(&serde_json::Value::Null), "{status:#}");
    stage.desk.run("max", &over)?;
    let status = stage.desk.run("max", &["emergency", "status", "INC-8"])?;
    ensure!(status.pointer("/0/closed") == Some(&true.into()), "{status:#}");
    Ok(())
}

/// What is different to the iteration before (files, answers of forms, settings) is shown to who submits the next
/// one and to who approves it, before anything is signed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_18_the_difference_is_shown_before_it_is_signed() -> anyhow::Result<()> {
    let (stage, _directory) = stage().await?;
    open(&stage, "INC-9")?;
    iterate(&stage, "alice", "INC-9", "1.0.1")?;
    let instead = &[SWIFT, &[("deadline = \"5s\"", "deadline = \"6s\"")]].concat();
    let made = Made { change: Some("emergency"), instead, ..Made::default() };
    let file = path(&release::build(&stage.desk, "1.0.2", &made)?);
    let iterate = ["emergency", "iterate", &file, "--incident", "INC-9"];
    let is_told = |told: &serde_json::Value| {
        let difference = &told["difference"];
        ensure!(difference["with"] == "R-1 (E1)", "{told:#}");
        let changes = difference["changes"].as_array().context("changes")?;
        let names: Vec<_> = changes.iter().filter_map(|it| it["name"].as_str()).collect();
        for name in ["version", "health-policy.deadline", "payload/site/version.txt"] {
            ensure!(names.contains(&name), "{name} is not in {names:?}");
        }
        Ok(())
    };
    is_told(&stage.desk.run("alice", &[&iterate[..], &["--dry-run"]].concat())?)?;
    let told = stage.desk.run("alice", &iterate)?;
    is_told(&told)?;
    let second = text(&told, "release")?;
    for deploy in [&[][..], &["--deploy", "--wave", "all=rest"]] {
        let approve = [&["emergency", "approve", &second][..], deploy].concat();
        let asked = stage.desk.command("max").args(&approve).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&asked.stderr).into_owned();
        let shown = said.find("DIFFERENCE TO R-1 (E1)").zip(said.find("say --yes"));
        ensure!(shown.is_some_and(|(shown, asked)| shown < asked), "{said}");
        is_told(&stage.desk.run("max", &[&approve[..], &["--dry-run"]].concat())?)?;
    }
    is_told(&stage.desk.run("max", &["emergency", "approve", &second])?)
}
