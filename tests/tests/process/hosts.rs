//! How hosts come in and go, how a rollout halts, what a new policy changes, and what the coordinator keeps
//! when everything but the log is lost.

use anyhow::{Context as _, ensure};
use cutover_shared::statement::Event;
use cutover_tests::harness::gate::{Ending, Gate};
use cutover_tests::harness::host::Host;
use cutover_tests::harness::people::{path, public};
use cutover_tests::harness::release::Made;
use cutover_tests::harness::{Stage, text};
use serde_json::Value;

use super::{HOST, hook, host, logged, ready, stage};

const WAVES: [&str; 4] = ["--wave", "canary=stg-1", "--wave", "rest=stg-2"];
const BOTH: [&str; 2] = [HOST, "stg-2"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_come_and_go() -> anyhow::Result<()> {
    let (mut stage, _directory) = stage().await?;
    grants(&mut stage).await?;
    stage.add_host("stg-2", "staging").await?;
    let release = ready(&stage, "1.0", &Made::default())?;
    stage.deploy(&release, "staging", &BOTH, &WAVES).await?;
    canary_first(&mut stage).await?;
    only_the_log(&mut stage).await?;
    next_policy(&mut stage).await?;
    retired(&mut stage).await
}

/// A grant is for one environment, and for as many hosts as it says.
async fn grants(stage: &mut Stage) -> anyhow::Result<()> {
    let grant = |environment: &str| {
        let arguments = ["host", "grant", "--environment", environment, "--application", "web"];
        text(&stage.desk.run("olga", &arguments)?, "join")
    };
    let foreign = Host::start(&stage.desk, "stray", "staging", &grant("production")?);
    let refused = format!("{:?}", foreign.err().context("it was let in")?);
    ensure!(refused.contains("for environment production"), "{refused}");

    let join = grant("staging")?;
    let first = Host::start(&stage.desk, "first", "staging", &join)?;
    let name = "first".parse()?;
    stage.until("first is enrolled", |state| state.host_named(&name).map(|_| ())).await?;
    let second = Host::start(&stage.desk, "second", "staging", &join)?;
    logged(&second, "applier.log", "grant-exhausted").await?;
    drop((first, second));
    stage.desk.run("olga", &["host", "retire", "first", "--reason", "it was for a moment"])?;
    Ok(())
}

/// While the canary is at it the others wait for its proof; when it fails they wait for good.
async fn canary_first(stage: &mut Stage) -> anyhow::Result<()> {
    let mut gate = Gate::new(&stage.desk.directory, "1.1")?;
    let script = gate.script().to_owned();
    let made =
        Made { manifest: &hook("activate"), hooks: &[("activate", &script)], ..Made::default() };
    let release = ready(stage, "1.1", &made)?;
    let booked = stage.open_window(&release, "staging", &WAVES)?;
    gate.reached().await?;
    let found = stage.status_until(&release, "the wave", |it| waiting(it, "stg-2", "code"));
    ensure!(found.await? == "wave-not-proven");
    gate.end(Ending::Badly).await?;
    let outcome = stage.outcome(HOST, &booked.booking).await?;
    let (_, reason) = super::returned(&outcome.event)?;
    ensure!(reason.contains("the gate says badly"), "{reason}");
    let halted = stage.status_until(&release, "the halt", |it| {
        waiting(it, "stg-2", "waiting-on").filter(|it| it == "halted")
    });
    halted.await?;
    for name in BOTH {
        ensure!(host(stage, name)?.page().as_deref() == Some("1.0"), "{name} is not on 1.0");
    }
    Ok(())
}

/// A text of a waiting host in what `status` says.
fn waiting(status: &Value, host: &str, key: &str) -> Option<String> {
    let environments = status.get("environments")?.as_array()?;
    let bookings = environments.iter().filter_map(|it| it.get("bookings")?.as_array()).flatten();
    let mut hosts = bookings.filter_map(|it| it.get("hosts")?.as_array()).flatten();
    let mine = hosts.find(|it| it.get("host").is_some_and(|it| it == host))?;
    Some(mine.get(key)?.as_str()?.to_owned())
}

/// Everything but the log and the packages can be deleted.
async fn only_the_log(stage: &mut Stage) -> anyhow::Result<()> {
    let before = known(stage)?;
    ensure!(stage.take_coordinator()?.terminate()?.success(), "it did not end well");
    let cache = stage.data().join("cache");
    ensure!(cache.is_dir(), "the cache is not where it is looked for");
    std::fs::remove_dir_all(&cache)?;
    stage.start_coordinator().await?;
    let after = known(stage)?;
    ensure!(before == after, "before {before:#}\nafter {after:#}");
    Ok(())
}

fn known(stage: &Stage) -> anyhow::Result<Value> {
    let (log, releases) =
        (stage.desk.run("max", &["log", "list"])?, stage.desk.run("max", &["status"])?);
    Ok(Value::Array(vec![log, releases]))
}

/// The next version of the policy brings a second librarian; hosts follow it with the next order, which
/// rests on her word.
async fn next_policy(stage: &mut Stage) -> anyhow::Result<()> {
    let desk = &stage.desk;
    let toml = desk.directory.join("policy.toml");
    let (key, signed) = (desk.key("nina"), desk.directory.join("policy-2.json"));
    desk.run("root", &["key", "generate", &path(&key)])?;
    let add = ["policy", "add-key", &path(&toml), "--owner", "nina", "--email", "nina@example.org"];
    let rest = ["--role", "librarian", "--key", &path(&public(&key))];
    desk.run("root", &[&add[..], &rest].concat())?;
    let next = std::fs::read_to_string(&toml)?;
    std::fs::write(&toml, next.replacen("version = 1", "version = 2", 1))?;
    let (root, output) = (path(&desk.key("root")), path(&signed));
    desk.run("root", &["policy", "sign", &path(&toml), "--key", &root, "--output", &output])?;

    let file = cutover_tests::harness::release::build(desk, "1.2", &Made::default())?;
    let release = stage.submitted(&file, &["staging"])?;
    let refused = stage.desk.refused("nina", &["review", &release, "--complete"]);
    ensure!(refused.is_ok(), "nobody knows nina yet: {refused:?}");
    stage.desk.run("root", &["policy", "install", &output])?;
    stage.desk.run("nina", &["review", &release, "--complete"])?;
    stage.desk.run("nina", &["deliver", &release, "--location", "shelf 2"])?;
    stage.deploy(&release, "staging", &BOTH, &WAVES).await?;
    for name in BOTH {
        let inspected = host(stage, name)?.inspect()?;
        ensure!(inspected["policy_version"] == 2, "{name}: {inspected}");
    }
    Ok(())
}

/// What a retired host says counts no more, and nothing can be booked for it.
async fn retired(stage: &mut Stage) -> anyhow::Result<()> {
    let mut gate = Gate::new(&stage.desk.directory, "1.3")?;
    let script = gate.script().to_owned();
    let made =
        Made { manifest: &hook("activate"), hooks: &[("activate", &script)], ..Made::default() };
    let release = ready(stage, "1.3", &made)?;
    let booked = stage.open_window(&release, "staging", &WAVES)?;
    gate.reached().await?;
    stage.desk.run("olga", &["host", "retire", HOST, "--reason", "its disk broke"])?;
    gate.end(Ending::Well).await?;
    logged(host(stage, HOST)?, "applier.log", "ended").await?;
    let window = ["--start", "now", "--for", "30m", "--wave", "all=stg-1"];
    let book = [&["book", &release, "--environment", "staging"], &window[..]].concat();
    let (code, refused) = stage.desk.fails("max", &book)?;
    ensure!(code == 3 || code == 5, "{code}: {refused}");
    let order = booked.booking.parse()?;
    let told = stage
        .until("the log", |state| Some(cutover_tests::harness::outcomes(state, &order)))
        .await?;
    ensure!(told.iter().all(|it| it.event != Event::Committed), "{told:#?}");
    ensure!(host(stage, "stg-2")?.page().as_deref() == Some("1.2"));
    Ok(())
}
