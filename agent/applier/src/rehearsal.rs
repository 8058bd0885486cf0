//! A rehearsal: a package is applied and taken back, by the machine and the workers of the real applier, in
//! a directory that nobody else uses.
//!
//! Who calls this has made a sandbox around it, without a network and with nothing in it that could be
//! harmed: nothing here asks whether the package was approved. It goes in this order, as on a host:
//!
//! 1. the package that ran before, if there is one, is brought in and commits;
//! 2. the package is brought in, and held when it has become healthy: so it is taken back, which is timed,
//!    and everything has to be again as it was, byte for byte and running (a package that cannot be taken
//!    back is not);
//! 3. the package is brought in and commits, which is timed.
//!
//! What happens is told on standard error as the applier's log; that is the transcript. The result is one
//! JSON object on standard output.

mod shelf;
mod stage;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use cutover_applier_core::{Package, allow};
use cutover_shared::name::Name;
use cutover_shared::package::health::Probe;
use cutover_shared::statement::{Rehearsed, RehearsedStep};
use serde::Serialize;

use self::shelf::Shelf;
use self::stage::{End, Stage};
use crate::cli;
use crate::clock::Clock;
use crate::config::{self, Run, Settings, SlotAccess};
use crate::process::Account;

/// How long the application has to end where the configuration says nothing for a command.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of the application's own log that come into the transcript: its end, where errors are.
const APPLICATION_LOG: usize = 16 * 1024;

/// What came of a rehearsal.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    result: Rehearsed,
    steps: Vec<RehearsedStep>,
}

/// Rehearses what is in the directory.
pub(crate) fn main(directory: &Path, start: &[String]) -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let report = runtime.block_on(rehearse(directory, start))?;
    cli::tell(&serde_json::to_string(&report)?)
}

async fn rehearse(directory: &Path, start: &[String]) -> anyhow::Result<Report> {
    let release = Shelf::open(&directory.join("release")).context("open the package")?;
    let earlier = directory.join("earlier");
    let earlier = earlier.is_dir().then(|| Shelf::open(&earlier)).transpose();
    let earlier = earlier.context("open the package that ran before")?;
    let settings = settings(directory, release.package(), start)?;
    let name = release.package().manifest().application.clone();
    let application = settings.applications.get(&name).cloned();
    let application = application.context("find the application in the configuration")?;
    let clock = Clock::start();
    let site = cli::site(&settings, application, clock)?;
    let mut stage = Stage::new(site, name, clock);
    let result = run(&mut stage, release, earlier).await;
    Ok(Report { result, steps: stage.into_steps() })
}

async fn run(stage: &mut Stage, release: Shelf, earlier: Option<Shelf>) -> Rehearsed {
    let ended = run_to_its_end(stage, release, earlier).await;
    stage.stop().await;
    ended.unwrap_or_else(|(step, reason)| {
        tracing::error!(step, reason, "the rehearsal failed");
        Rehearsed::Failed { step, reason }
    })
}

async fn run_to_its_end(
    stage: &mut Stage,
    release: Shelf,
    earlier: Option<Shelf>,
) -> Result<Rehearsed, stage::Failure> {
    if let Some(earlier) = earlier {
        tracing::info!("what ran before is brought in");
        stage.bring_in(earlier, End::Commit).await?;
    }
    stage.begin_steps();
    let irreversible = release.package().manifest().rollback.irreversible;
    let mut returned_in = Duration::ZERO;
    if irreversible {
        tracing::warn!("the package is irreversible: going back is not rehearsed");
    } else {
        tracing::info!("the package is brought in, to be taken back");
        returned_in = stage.bring_in(release.clone(), End::Return).await?;
        stage.as_before().await?;
    }
    tracing::info!("the package is brought in, to stay");
    let applied_in = stage.bring_in(release, End::Commit).await?;
    stage.as_before().await?;
    tracing::info!(?applied_in, ?returned_in, "the rehearsal passed");
    Ok(Rehearsed::Passed { applied_in, returned_in })
}

/// The configuration of a host, for this directory and whoever runs this.
fn settings(directory: &Path, package: &Package, start: &[String]) -> anyhow::Result<Settings> {
    let manifest = package.manifest();
    let mut settings = config::read(&directory.join("applier.toml"))?;
    let me = Account::current()?.name;
    settings.probe_user.clone_from(&me);
    settings.probe = program_beside("cutover-probe")?;
    let name: &Name = &manifest.application;
    settings.applications.retain(|other, _| other == name);
    let Some(application) = settings.applications.get_mut(name) else {
        bail!("find [applications.{name}] in the configuration: take that of a host which has it");
    };
    application.root = directory.join("site");
    application.owner.clone_from(&me);
    application.user = me;
    // What is written there is found when everything has to be as it was.
    application.slots = SlotAccess::Writable;
    if application.run == Run::Elsewhere {
        bail!(
            "rehearse a runbook: what it is carried out on is not in the sandbox; walk its steps on a \
             test system of their own"
        );
    }
    if start.is_empty() {
        if let Run::Unit(unit) = &application.run {
            bail!(
                "start {unit}: there is no systemd in the sandbox; say how the application is started \
                 without it: --start PROGRAM ARGUMENT …"
            );
        }
    } else {
        let environment = application.environment();
        let (start, stop_timeout) = (start.to_vec(), STOP_TIMEOUT);
        application.run = Run::Command { start, stop_timeout, environment };
    }
    let of_systemd = manifest.health.iter().find(|it| matches!(it.probe, Probe::Unit { .. }));
    if let Some(check) = of_systemd {
        bail!(
            "take the health check {:?}: it asks systemd, which is not in the sandbox; such a package is \
             rehearsed on a host of its own",
            check.name
        );
    }
    let host = settings.host_settings();
    if let Some(application) = host.applications.get(name) {
        allow(manifest, application).map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
    }
    Ok(settings)
}

fn program_beside(name: &str) -> anyhow::Result<std::path::PathBuf> {
    let me = std::env::current_exe().context("find this program")?;
    Ok(me.with_file_name(name))
}

/// The end of the application's own log, for the transcript.
fn told_by_application(root: &Path) {
    if let Ok(text) = std::fs::read_to_string(root.join("application.log")) {
        let start = text.len().saturating_sub(APPLICATION_LOG);
        let end = &text[text.ceil_char_boundary(start)..];
        tracing::info!("the application said:\n{end}");
    }
}
