//! What two owners let a release do without, and changes that are approved ahead: `override`, `waive`,
//! `cosign` and `standard`, from the first signature to the host that acts on it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use cutover_shared::statement::Event;
use cutover_tests::harness::people::path;
use cutover_tests::harness::release::{self, Made};
use cutover_tests::harness::{Stage, text};

const HOST: &str = "stg-1";
const WAVE: [&str; 2] = ["--wave", "all=stg-1"];
const PAIR: &str = "by = [\"change-manager\", \"security\"]";

async fn stage() -> anyhow::Result<(Stage, tempfile::TempDir)> {
    let (mut stage, directory) = super::stage().await?;
    stage.add_host(HOST, "staging").await?;
    Ok((stage, directory))
}

fn submitted(stage: &Stage, version: &str) -> anyhow::Result<String> {
    stage.submitted(&release::build(&stage.desk, version, &Made::default())?, &["staging"])
}

fn ready(stage: &Stage, version: &str) -> anyhow::Result<String> {
    let release = submitted(stage, version)?;
    stage.desk.run("lena", &["review", &release, "--complete"])?;
    stage.desk.run("lena", &["deliver", &release, "--location", "shelf 1"])?;
    Ok(release)
}

fn book_now(stage: &Stage, release: &str) -> anyhow::Result<String> {
    let window = [&["--start", "now", "--for", "30m"][..], &WAVE].concat();
    Ok(stage.book(release, "staging", &window)?.booking)
}

async fn commits(stage: &mut Stage, booking: &str) -> anyhow::Result<()> {
    let outcome = stage.outcome(HOST, booking).await?;
    ensure!(outcome.event == Event::Committed, "{:?}\n{}", outcome.event, stage.logs());
    Ok(())
}

/// How many entries the log has.
fn entries(stage: &Stage) -> anyhow::Result<usize> {
    let log = stage.desk.run("olga", &["log", "list"])?;
    Ok(log.as_array().context("entries of the log")?.len())
}

/// A copy of a file that one owner signed, with something else in what was signed.
fn forged(file: &Path, from: &str, to: &str) -> anyhow::Result<PathBuf> {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD;
    let mut envelope: serde_json::Value = serde_json::from_slice(&std::fs::read(file)?)?;
    let payload = base64.decode(envelope["payload"].as_str().context("a payload")?)?;
    let payload = String::from_utf8(payload)?;
    ensure!(payload.contains(from), "{payload}");
    envelope["payload"] = base64.encode(payload.replace(from, to)).into();
    let copy = file.with_extension("forged.json");
    std::fs::write(&copy, serde_json::to_vec(&envelope)?)?;
    Ok(copy)
}

/// Two owners let one booking pass one freeze; one of them alone does not, nor two of whom none is of the
/// role, nor a changed file; and a freeze that they did not name holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_override_takes_two_and_passes_what_it_names() -> anyhow::Result<()> {
    let (mut stage, _directory) = stage().await?;
    let release = ready(&stage, "1.0")?;
    let booking = book_now(&stage, &release)?;
    let freeze = |reason: &str| {
        let line = ["freeze", "declare", "--environment", "staging", "--start", "now"];
        let rest = ["--for", "2h", "--reason", reason];
        text(&stage.desk.run("max", &[&line[..], &rest].concat())?, "id")
    };
    let frozen = freeze("an audit")?;
    let released = ["window", "release", &booking];
    ensure!(stage.desk.refused("max", &released)?.code == "frozen");

    // Where the rule names no role, nobody passes a freeze, and that is said before anything is written.
    let file = stage.desk.directory.join("override.json");
    let named = format!("{frozen}=Without the fix nobody is paid.");
    let file_name = path(&file);
    let passing = ["override", &booking, "--freeze", &named, "--output", &file_name];
    ensure!(stage.desk.refused("max", &passing)?.code == "not-waivable");
    ensure!(!file.exists());
    stage.desk.amend_rule("staging", "normal", "freeze_override = \"security\"")?;

    let before = entries(&stage)?;
    let dry = stage.desk.run("max", &[&passing[..], &["--dry-run"]].concat())?;
    ensure!(dry["dry-run"] == true && !file.exists(), "{dry}");
    let refused = stage.desk.refused("alice", &passing)?;
    ensure!(refused.code == "duties-not-separate" && !file.exists(), "{}", refused.text);
    stage.desk.run("max", &passing)?;
    ensure!(entries(&stage)? == before, "one signature is in no log");
    ensure!(stage.desk.refused("max", &released)?.code == "frozen");

    let cosign = ["cosign", &file_name];
    let (code, said) = stage.desk.fails("max", &cosign)?;
    ensure!(code == 2 && said.contains("another owner"), "{said}");
    for nobody in ["bea", "lena"] {
        stage.desk.refused(nobody, &cosign)?;
    }
    let other = path(&forged(&file, "nobody is paid", "nobody is fed")?);
    stage.desk.refused("sam", &["cosign", &other])?;
    let dry = stage.desk.run("sam", &["cosign", &file_name, "--dry-run"])?;
    ensure!(dry["dry-run"] == true && entries(&stage)? == before, "{dry}");
    stage.desk.run("sam", &cosign)?;
    ensure!(entries(&stage)? == before + 1);

    // A freeze that was declared later is not named.
    let later = freeze("another audit")?;
    let refused = stage.desk.refused("max", &released)?;
    ensure!(refused.code == "frozen" && refused.text.contains(&later[..8]), "{}", refused.text);
    ensure!(!refused.text.contains(&frozen[..8]), "{}", refused.text);
    stage.desk.run("max", &["freeze", "lift", &later, "--reason", "it is over"])?;

    let explained = stage.desk.run("max", &["explain", &release])?;
    let exceptions = explained.pointer("/environments/0/exceptions").context("exceptions")?;
    ensure!(exceptions[0]["what"].as_str().is_some_and(|it| it.contains("passes the freeze")));
    stage.desk.run("max", &released)?;
    commits(&mut stage, &booking).await
}

/// Two owners let one release go without its review: listed by the policy, in this environment, by others
/// than its submitter; and without nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiver_takes_two_and_waives_what_the_policy_lists() -> anyhow::Result<()> {
    let (mut stage, _directory) = stage().await?;
    let waivable = format!("waivable = [{{ exception = \"review\", {PAIR} }}]");
    stage.desk.amend_rule("staging", "normal", &waivable)?;
    let release = submitted(&stage, "1.0")?;
    let other = submitted(&stage, "1.1")?;
    for release in [&release, &other] {
        stage.desk.run("lena", &["deliver", release, "--location", "shelf 1"])?;
    }
    let book = |release: &str| {
        let book = ["book", release, "--environment", "staging", "--start", "now", "--for", "30m"];
        stage.desk.refused("max", &book)
    };
    ensure!(book(&release)?.code == "not-reviewed");

    let file = path(&stage.desk.directory.join("waiver.json"));
    let waive = |what: &'static str| {
        let why = "The librarian is ill.";
        let line = ["waive", &release, "--environment", "staging", "--without", what];
        [&line[..], &["--for", "1h", "--reason", why, "--output", &file]].concat()
    };
    let waived: Vec<String> = waive("review").into_iter().map(str::to_owned).collect();
    let waived: Vec<&str> = waived.iter().map(String::as_str).collect();
    ensure!(stage.desk.refused("max", &waive("delivery"))?.code == "not-waivable");
    ensure!(stage.desk.refused("alice", &waived)?.code == "duties-not-separate");
    // Security begins it, and the change manager signs second: the order of the two is theirs.
    stage.desk.run("sam", &waived)?;
    ensure!(book(&release)?.code == "not-reviewed");
    stage.desk.refused("bea", &["cosign", &file])?;
    stage.desk.run("max", &["cosign", &file])?;

    ensure!(book(&other)?.code == "not-reviewed", "it was waived for one release");
    let booking = book_now(&stage, &release)?;
    stage.desk.run("max", &["window", "release", &booking])?;
    commits(&mut stage, &booking).await?;
    let explained = stage.desk.run("max", &["explain", &release])?;
    let exception = explained.pointer("/environments/0/exceptions/0").context("an exception")?;
    ensure!(exception["what"] == "goes without review", "{exception}");
    ensure!(exception["signed-by"] == serde_json::json!(["max", "sam"]), "{exception}");
    Ok(())
}

/// A change that fits a pre-approval needs no review; one that does not fit, or names one that was
/// withdrawn, goes nowhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standard_change_fits_its_pre_approval() -> anyhow::Result<()> {
    let (mut stage, _directory) = stage().await?;
    stage.desk.amend_policy(|text| {
        let rule = "[[rules]]\nenvironment = \"staging\"\nchange = \"standard\"\nreviews = 0\n\
             assessments = 0\nvotes = 0\ndelivery = false\nafter = []\nlongest_window = \"8h\"\n\
             duties = \"separate\"\n\n# Emergencies: a change";
        text.replacen("# Emergencies: a change", rule, 1)
    })?;
    let like = ready(&stage, "1.0")?;
    let approve =
        ["standard", "approve", &like, "--title", "Weekly text", "--may-differ", "package"];
    let approve = [&approve[..], &["--for", "30d", "--reason", "Done fifty times."]].concat();
    stage.desk.refused("alice", &approve)?;
    let standard = text(&stage.desk.run("max", &approve)?, "id")?;
    let listed = stage.desk.run("alice", &["standard", "list"])?;
    ensure!(listed[0]["standing"] == "in force", "{listed}");

    let desk = stage.desk.clone();
    let made = |version: &str, instead: &[(&str, &str)]| {
        let made = Made { change: Some("standard"), instead, ..Made::default() };
        release::build(&desk, version, &made).map(|file| path(&file))
    };
    let (fits, misfits) = (made("1.1", &[])?, made("1.2", &[("\"12s\"", "\"20s\"")])?);
    let submit = |file: &str| {
        let line = ["submit", file, "--environment", "staging", "--standard", &standard];
        text(&desk.run("alice", &line)?, "release")
    };
    let (code, said) = stage.desk.fails("alice", &["submit", &fits, "--environment", "staging"])?;
    ensure!(code == 2 && said.contains("--standard"), "{said}");

    let booking = book_now(&stage, &submit(&fits)?)?;
    stage.desk.run("max", &["window", "release", &booking])?;
    commits(&mut stage, &booking).await?;

    let book = |release: &str| {
        let book = ["book", release, "--environment", "staging", "--start", "now", "--for", "30m"];
        desk.refused("max", &book)
    };
    let refused = book(&submit(&misfits)?)?;
    ensure!(refused.code == "ground-missing", "{}", refused.text);
    ensure!(refused.text.contains("apply budget"), "{}", refused.text);

    let withdraw = ["standard", "withdraw", &standard, "--reason", "One went wrong."];
    stage.desk.run("max", &withdraw)?;
    let refused = book(&submit(&made("1.3", &[])?)?)?;
    ensure!(refused.code == "ground-missing", "{}", refused.text);
    let listed = stage.desk.run("alice", &["standard", "list"])?;
    ensure!(listed[0]["standing"] == "withdrawn", "{listed}");
    Ok(())
}
