//! `kill -9` of the coordinator, of either half of the agent, and of all three: while a package is being
//! fetched, and while a host is in the midst of applying it.
//!
//! However it comes, the host ends wholly on one release, that release serves, and the log tells of one
//! end of the order: P3, P4 and P5 of the design. What was killed before anything was touched goes on and
//! commits; an applier killed after that goes back; the other two are not needed for applying.
//!
//! `points` kills at each effect of the deployment machine, before and after. `faulty` lets file operations
//! fail at random, `clock` sets the clock in the midst of it.

mod clock;
mod faulty;
mod points;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use cutover_shared::case::Reported;
use cutover_shared::statement::Event;
use cutover_tests::build::binaries;
use cutover_tests::harness::gate::{Ending, Gate};
use cutover_tests::harness::notice::Notice;
use cutover_tests::harness::release::{self, Made};
use cutover_tests::harness::{Booked, Stage, outcomes, slots};

const HOST: &str = "stg-1";
const WAVE: [&str; 2] = ["--wave", "all=stg-1"];

/// More than is fetched before a kill takes effect, and not much more than it takes to see that.
const BALLAST: usize = 24_000_000;

/// Who is killed; the agent is its two halves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Coordinator,
    Network,
    Applier,
    Agent,
    All,
}

impl Victim {
    const EVERY: [Self; 4] = [Self::Coordinator, Self::Network, Self::Applier, Self::All];

    fn has_coordinator(self) -> bool {
        matches!(self, Self::Coordinator | Self::All)
    }

    fn has_network(self) -> bool {
        matches!(self, Self::Network | Self::Agent | Self::All)
    }

    fn has_applier(self) -> bool {
        matches!(self, Self::Applier | Self::Agent | Self::All)
    }
}

/// A stage with one host, what is booked on it, and what it should run.
struct Theatre {
    stage: Stage,
    booked: Vec<Booked>,
    version: String,
    _directory: tempfile::TempDir,
}

impl Theatre {
    /// The host runs 1.0.
    async fn open() -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("cutover-kills-").tempdir()?;
        let mut stage = Stage::start(directory.path(), binaries()).await?;
        stage.add_host(HOST, "staging").await?;
        let release = stage.approved(&release::build(&stage.desk, "1.0", &Made::default())?)?;
        let booked = stage.deploy(&release, "staging", &[HOST], &WAVE).await?;
        let version = "1.0".to_owned();
        Ok(Self { stage, booked: vec![booked], version, _directory: directory })
    }

    fn releases(&self) -> anyhow::Result<PathBuf> {
        Ok(slots::releases(self.stage.hosts.get(HOST).context("the host")?))
    }

    fn partial(&self) -> anyhow::Result<bool> {
        let names = slots::names(self.stage.hosts.get(HOST).context("the host")?)?;
        Ok(names.iter().any(|name| name.ends_with(".partial")))
    }

    fn book(&mut self, version: &str, made: &Made<'_>) -> anyhow::Result<Booked> {
        self.book_for(version, made, "30m")
    }

    /// The same, for a window of this length.
    fn book_for(&mut self, version: &str, made: &Made<'_>, length: &str) -> anyhow::Result<Booked> {
        let release = self.stage.approved(&release::build(&self.stage.desk, version, made)?)?;
        let window = [&["--start", "now", "--for", length], &WAVE[..]].concat();
        let booked = self.stage.book(&release, "staging", &window)?;
        self.stage.desk.run("max", &["window", "release", &booked.booking])?;
        self.booked.push(booked.clone());
        Ok(booked)
    }

    fn kill(&mut self, victim: Victim) -> anyhow::Result<()> {
        let host = self.stage.hosts.get_mut(HOST).context("the host")?;
        if victim.has_applier() {
            host.take_applier()?.kill()?;
        }
        if victim.has_network() {
            host.take_agent()?.kill()?;
        }
        if victim.has_coordinator() {
            self.stage.take_coordinator()?.kill()?;
        }
        Ok(())
    }

    async fn restart(&mut self, victim: Victim) -> anyhow::Result<()> {
        if victim.has_coordinator() {
            self.stage.start_coordinator().await?;
        }
        let host = self.stage.hosts.get_mut(HOST).context("the host")?;
        if victim.has_applier() {
            host.start_applier()?;
        }
        if victim.has_network() {
            host.start_agent()?;
        }
        Ok(())
    }

    /// The host is wholly on the version that it should run, and every order has one end in the log.
    async fn check(&mut self) -> anyhow::Result<()> {
        let host = self.stage.hosts.get(HOST).context("the host")?;
        slots::check(host, &self.stage.desk.directory.join(format!("web-{}", self.version)))?;
        ensure!(host.page().as_ref() == Some(&self.version), "it shows {:?}", host.page());
        for booked in self.booked.clone() {
            let told = self.told(&booked).await?;
            let ends = told.iter().filter(|it| is_end(&it.event));
            ensure!(ends.count() == 1, "not one end of {}: {told:#?}", booked.release);
            let mut generations: Vec<_> =
                told.iter().filter(|it| it.started != it.ended).map(|it| it.generation).collect();
            generations.sort_unstable();
            generations.dedup();
            let attempts = told.iter().filter(|it| it.started != it.ended).count();
            ensure!(attempts == generations.len(), "a generation is told twice: {told:#?}");
        }
        Ok(())
    }

    async fn told(&mut self, booked: &Booked) -> anyhow::Result<Vec<Reported>> {
        let order = booked.booking.parse()?;
        self.stage.until("what the host said", |state| Some(outcomes(state, &order))).await
    }
}

/// Whether an order is over with this.
fn is_end(event: &Event) -> bool {
    match event {
        Event::Committed | Event::Returned { .. } | Event::RolledBack | Event::Stuck { .. } => true,
        Event::Refused { .. } | Event::Drifted { .. } => false,
    }
}

/// Whether a process runs: it is there, and no zombie that nobody has asked about yet.
fn runs(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses (proc(5)).
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// The ballast of a slot that is on its way has bytes.
fn is_ballast_on_its_way(path: &Path) -> bool {
    path.ends_with("payload/site/ballast.bin")
        && path.iter().any(|part| part.to_string_lossy().ends_with(".partial"))
}

/// Killed while a package is fetched: it goes on where it can, is offered again where it must, and ends
/// committed, whoever was killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mid_transfer() -> anyhow::Result<()> {
    let mut theatre = Theatre::open().await?;
    for (number, victim) in Victim::EVERY.into_iter().enumerate() {
        let version = format!("1.{}", number + 1);
        let mut notice = Notice::of(&theatre.releases()?)?;
        let made = Made { ballast: BALLAST, ..Made::default() };
        let booked = theatre.book(&version, &made)?;
        notice.until(is_ballast_on_its_way).await.with_context(|| theatre.stage.logs())?;
        theatre.kill(victim)?;
        ensure!(theatre.partial()?, "{victim:?}: it was all there before the kill");
        let host = theatre.stage.hosts.get(HOST).context("the host")?;
        let page = host.page();
        ensure!(page.as_ref() == Some(&theatre.version), "{victim:?}: meanwhile {page:?}");
        theatre.restart(victim).await?;
        let outcome = theatre.stage.outcome(HOST, &booked.booking).await?;
        ensure!(outcome.event == Event::Committed, "{victim:?}: {:?}", outcome.event);
        theatre.version = version;
        theatre.check().await.with_context(|| format!("{victim:?}: {}", theatre.stage.logs()))?;
    }
    Ok(())
}

/// Killed while a hook runs. Without the coordinator and the network half the applier goes on to the
/// commit, and the log learns of it later; an applier that was killed itself goes back, and the hook that
/// it ran is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mid_apply() -> anyhow::Result<()> {
    let mut theatre = Theatre::open().await?;
    let acts = [
        (Victim::Coordinator, "activate"),
        (Victim::Network, "activate"),
        (Victim::Applier, "pre-stop"),
        (Victim::Applier, "activate"),
        (Victim::Applier, "post-start"),
        (Victim::All, "activate"),
    ];
    for (number, (victim, stage)) in acts.into_iter().enumerate() {
        let act = format!("{victim:?} in {stage}");
        let version = format!("1.{}", number + 1);
        let mut gate = Gate::new(&theatre.stage.desk.directory, &version)?;
        let script = gate.script().to_owned();
        let made = Made {
            manifest: &format!("[hooks.{stage}]\ncommand = \"hooks/{stage}\"\ntimeout = \"10s\"\n"),
            hooks: &[(stage, &script)],
            ..Made::default()
        };
        let booked = theatre.book(&version, &made)?;
        let hook =
            gate.reached().await.with_context(|| format!("{act}: {}", theatre.stage.logs()))?;
        theatre.kill(victim)?;
        if !victim.has_applier() {
            gate.end(Ending::Well).await?;
        }
        theatre.restart(victim).await?;
        let outcome = theatre.stage.outcome(HOST, &booked.booking).await.context(act.clone())?;
        if victim.has_applier() {
            let step = match &outcome.event {
                Event::Returned { step, .. } => Some(step.as_str()),
                Event::Committed
                | Event::RolledBack
                | Event::Refused { .. }
                | Event::Stuck { .. }
                | Event::Drifted { .. } => None,
            };
            ensure!(step == Some(&format!("{stage} hook")), "{act}: {:?}", outcome.event);
        } else {
            ensure!(outcome.event == Event::Committed, "{act}: {:?}", outcome.event);
            theatre.version = version;
        }
        theatre.check().await.with_context(|| format!("{act}: {}", theatre.stage.logs()))?;
        ensure!(!runs(hook), "{act}: the hook still runs");
    }
    Ok(())
}
