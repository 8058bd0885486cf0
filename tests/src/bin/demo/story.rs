//! The story: 1.0, 1.1, a bad 1.2, an emergency in two iterations, and an ordered return.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use cutover_shared::statement::Event;
use cutover_tests::harness::host::{Host, page};
use cutover_tests::harness::release::{self, Made};
use cutover_tests::harness::{Booked, Stage, status, text};

use crate::table::Table;

/// The staging hosts.
pub(crate) const STAGING: [&str; 2] = ["stg-1", "stg-2"];
/// The production hosts; the first is the canary.
pub(crate) const PRODUCTION: [&str; 3] = ["prd-1", "prd-2", "prd-3"];
/// The waves of production.
pub(crate) const WAVES: [&str; 4] = ["--wave", "canary=prd-1", "--wave", "rest=prd-2,prd-3"];

/// What the attacks need of the story.
#[derive(Debug)]
pub(crate) struct Cast {
    /// The booking of the first emergency iteration, for the canary only.
    pub(crate) first_iteration: Booked,
    /// The rollback that was carried out.
    pub(crate) rollback: String,
}

/// Tells the story on `stage`.
pub(crate) async fn tell(stage: &mut Stage, table: &mut Table) -> anyhow::Result<Cast> {
    table.chapter("five hosts enrol themselves, each with a grant that an operator signed");
    for (hosts, environment) in [(&STAGING[..], "staging"), (&PRODUCTION[..], "production")] {
        for host in hosts {
            stage.add_host(host, environment).await?;
        }
    }
    first(stage, table).await?;
    second(stage, table).await?;
    third(stage, table).await?;
    let first_iteration = emergency(stage, table).await?;
    let rollback = ordered_return(stage, table).await?;
    Ok(Cast { first_iteration, rollback })
}

fn pages(stage: &Stage, hosts: &[&str]) -> String {
    let page = |host: &&str| {
        stage.hosts.get(*host).and_then(Host::page).unwrap_or_else(|| "no answer".to_owned())
    };
    hosts.iter().map(page).collect::<Vec<_>>().join(" ")
}

async fn staged(stage: &mut Stage, release: &str) -> anyhow::Result<Booked> {
    stage
        .deploy(release, "staging", &STAGING, &["--at-once", "2", "--wave", "all=stg-1,stg-2"])
        .await
}

async fn first(stage: &mut Stage, table: &mut Table) -> anyhow::Result<()> {
    table.chapter("1.0: submitted, reviewed, assessed, voted, delivered; staging, then production");
    let release = stage.approved(&release::build(&stage.desk, "1.0", &Made::default())?)?;
    staged(stage, &release).await?;
    table.row("staging serves 1.0", "1.0 1.0", pages(stage, &STAGING));
    stage
        .deploy(&release, "production", &PRODUCTION, &[&WAVES[..], &["--at-once", "2"]].concat())
        .await?;
    table.row("production serves 1.0", "1.0 1.0 1.0", pages(stage, &PRODUCTION));
    Ok(())
}

async fn second(stage: &mut Stage, table: &mut Table) -> anyhow::Result<()> {
    table.chapter("1.1: approved and staged; its window is not open yet");
    let release = stage.approved(&release::build(&stage.desk, "1.1", &Made::default())?)?;
    staged(stage, &release).await?;
    let window = ["--start", "+6s", "--for", "30m", "--at-once", "2"];
    let booked = stage.book(&release, "production", &[&window[..], &WAVES[..]].concat())?;
    stage.desk.run("max", &["window", "release", &booked.booking])?;
    let reason = stage
        .status_until(&release, "a reason why the canary waits", |status| {
            status::text(status::host(status, "production", "prd-1")?, "/code")
        })
        .await?;
    table.row("before the window the canary waits for", "window-not-open", reason);
    table.row("and nothing has moved", "1.0 1.0 1.0", pages(stage, &PRODUCTION));
    table.chapter("the window opens: the canary first, then the others");
    let mut ended = Vec::new();
    for host in PRODUCTION {
        let outcome = stage.outcome(host, &booked.booking).await?;
        anyhow::ensure!(outcome.event == Event::Committed, "{host}: {:?}", outcome.event);
        ended.push((outcome.started, outcome.ended));
    }
    let canary_first = ended[1..].iter().all(|(started, _)| *started >= ended[0].1);
    let order = if canary_first { "canary first" } else { "out of order" };
    table.row("by the hosts' own signed times", "canary first", order);
    table.row("production serves 1.1", "1.1 1.1 1.1", pages(stage, &PRODUCTION));
    Ok(())
}

/// Reads a page again and again, and remembers whether it ever was something else.
struct Reader {
    end: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(u32, Vec<String>)>,
}

impl Reader {
    fn start(listen: String, expected: &'static str) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let ended = end.clone();
        let thread = std::thread::spawn(move || {
            let (mut read, mut others) = (0, Vec::new());
            while !ended.load(Ordering::Relaxed) {
                let found = page(&listen).unwrap_or_else(|| "no answer".to_owned());
                read += 1;
                if found != expected && others.len() < 10 {
                    others.push(found);
                }
                std::thread::park_timeout(Duration::from_millis(20));
            }
            (read, others)
        });
        Self { end, thread }
    }

    fn finish(self) -> anyhow::Result<(u32, Vec<String>)> {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the reader ended badly"))
    }
}

async fn third(stage: &mut Stage, table: &mut Table) -> anyhow::Result<()> {
    table.chapter("1.2 has a fault that shows on the production canary only");
    let made = Made { unhealthy_on: &["prd-1"], ..Made::default() };
    let release = stage.approved(&release::build(&stage.desk, "1.2", &made)?)?;
    staged(stage, &release).await?;
    table.row("staging serves 1.2", "1.2 1.2", pages(stage, &STAGING));
    let readers: Vec<_> = PRODUCTION[1..]
        .iter()
        .filter_map(|host| stage.hosts.get(*host))
        .map(|host| Reader::start(host.listen.clone(), "1.1"))
        .collect();
    let booked = stage.open_window(&release, "production", &WAVES)?;
    let outcome = stage.outcome("prd-1", &booked.booking).await?;
    let event = if let Event::Returned { step, .. } = &outcome.event {
        format!("returned from {step}")
    } else {
        outcome.event.name().to_owned()
    };
    let readings = stage.readings("prd-1", &booked.booking).await?;
    let decided = readings.into_iter().find(|it| !it.healthy).map(|it| it.check);
    table.row("the canary, by its own signature", "returned from checking", event);
    table.row("the check that decided", "page", decided.unwrap_or_default());
    table.row("the canary serves again", "1.1", pages(stage, &["prd-1"]));
    let halted = stage
        .status_until(&release, "that the rollout is halted", |status| {
            status::booking(status, "production")?.get("halted").map(|_| "halted")
        })
        .await?;
    table.row("the rollout", "halted", halted);
    let (mut reads, mut others) = (0, Vec::new());
    for reader in readers {
        let (read, other) = reader.finish()?;
        reads += read;
        others.extend(other);
    }
    let seen = if others.is_empty() { "1.1 throughout".to_owned() } else { others.join(", ") };
    table.row("the others served, read after read", "1.1 throughout", seen);
    table.say(&format!("          ({reads} reads)"));
    let refused = stage.desk.refused(
        "max",
        &["book", &release, "--environment", "production", "--start", "now", "--for", "10m"],
    )?;
    table.row("booking 1.2 again without a new review", "not-reviewed", refused.code);
    Ok(())
}

async fn emergency(stage: &mut Stage, table: &mut Table) -> anyhow::Result<Booked> {
    table.chapter("an emergency, in two iterations");
    let opened = stage.desk.run(
        "max",
        &[
            "emergency",
            "open",
            "--incident",
            "INC-7",
            "--application",
            "web",
            "--environment",
            "production",
            "--for",
            "2h",
            "--reason",
            "the page shows wrong prices",
        ],
    )?;
    let grounds = text(&opened, "id")?;
    let mut iterations = Vec::new();
    for version in ["1.1.1", "1.1.2"] {
        let made = Made { change: Some("emergency"), ..Made::default() };
        let file = release::build(&stage.desk, version, &made)?;
        let file = file.to_string_lossy().into_owned();
        let submit = ["submit", &file, "--environment", "production", "--emergency", &grounds];
        let release = text(&stage.desk.run("alice", &submit)?, "release")?;
        if version == "1.1.2" {
            let book = [
                "book",
                &release,
                "--environment",
                "production",
                "--start",
                "now",
                "--for",
                "10m",
                "--wave",
                "canary=prd-1",
            ];
            let refused = stage.desk.refused("max", &book)?;
            table.row(
                "iteration 2, with iteration 1's approval",
                "iteration-not-approved",
                refused.code,
            );
        }
        stage.desk.run("max", &["emergency", "approve", &release])?;
        let booked =
            stage.deploy(&release, "production", &["prd-1"], &["--wave", "canary=prd-1"]).await?;
        table.row(&format!("the canary serves {version}"), version, pages(stage, &["prd-1"]));
        iterations.push(booked);
    }
    iterations.into_iter().next().context("two iterations were made")
}

async fn ordered_return(stage: &mut Stage, table: &mut Table) -> anyhow::Result<String> {
    table.chapter("a change manager orders the canary back by one release");
    let rollback = stage.desk.run(
        "max",
        &[
            "rollback",
            "--application",
            "web",
            "--environment",
            "production",
            "--host",
            "prd-1",
            "--reason",
            "the second fix is slower",
            "--for",
            "10m",
        ],
    )?;
    let rollback = text(&rollback, "id")?;
    let outcome = stage.outcome("prd-1", &rollback).await?;
    table.row("the canary, by its own signature", "rolled-back", outcome.event.name());
    table.row("the canary serves", "1.1.1", pages(stage, &["prd-1"]));
    Ok(rollback)
}
