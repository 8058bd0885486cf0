//! A whole host: its real applier and network half, its real application, through a release that commits
//! and one that goes back. Cut off anywhere in between and booted again without a network, the applier
//! ends by itself on the old release or the new one, whole and serving.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use cutover_shared::statement::Event;
use cutover_tests::build::binaries;
use cutover_tests::harness::host::Host;
use cutover_tests::harness::release::{self, Made};
use cutover_tests::harness::{PATIENCE, Stage, slots};
use cutover_tests::power::{Disk, Image, formatted, is_possible};
use serde_json::Value;
use tokio::time::{Duration, sleep};

use crate::{DISK, Promise, prove, try_cuts};

const HOST: &str = "stg-1";
const WAVE: [&str; 2] = ["--wave", "all=stg-1"];

/// How often a host is asked that has no network to say anything by itself.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// What the host is known to have reached.
#[derive(Debug, Clone, Copy)]
struct Reached {
    version: &'static str,
    generation: u64,
}

#[test]
fn a_host_ends_on_the_old_release_or_the_new_one_whole_and_serving() -> anyhow::Result<()> {
    if !is_possible("power cuts of hosts")? {
        return Ok(());
    }
    binaries();
    let image = formatted(DISK)?;
    prove(|directory| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let mount_point = directory.join(HOST);
        let (mut stage, image) = runtime.block_on(begun(directory, &mount_point, &image))?;
        let disk = Disk::attach(image, &mount_point)?;
        let promises = runtime.block_on(deployed(&mut stage, &disk))?;
        let trace = disk.trace();
        host(&mut stage)?.cut_off();
        disk.detach()?;
        let packages = stage.desk.directory.clone();
        let host = std::cell::RefCell::new(stage.hosts.remove(HOST).context("the host")?);
        try_cuts(&trace, &promises, &mount_point, |reached, next| {
            let mut host = host.borrow_mut();
            let checked = runtime.block_on(check(&mut host, &packages, *reached, next.copied()));
            let logs = host.tail();
            host.cut_off();
            checked.context(logs)
        })
    })
}

/// A stage whose host has committed 1.0, and what is then on the host's disk, all of it durable.
async fn begun(
    directory: &Path,
    mount_point: &Path,
    image: &Image,
) -> anyhow::Result<(Stage, Image)> {
    let mut stage = Stage::start(directory, binaries()).await?;
    let disk = Disk::attach(image.clone(), mount_point)?;
    stage.add_host(HOST, "staging").await?;
    let release = stage.approved(&release::build(&stage.desk, "1.0", &Made::default())?)?;
    stage.deploy(&release, "staging", &[HOST], &WAVE).await?;
    host(&mut stage)?.cut_off();
    Ok((stage, disk.detach()?))
}

/// From 1.0 to 1.1, and to 1.2 and back: what was told of it, and when.
async fn deployed(stage: &mut Stage, disk: &Disk) -> anyhow::Result<Vec<Promise<Reached>>> {
    let sick = Made { unhealthy_on: &[HOST], ..Made::default() };
    let good = stage.approved(&release::build(&stage.desk, "1.1", &Made::default())?)?;
    let bad = stage.approved(&release::build(&stage.desk, "1.2", &sick)?)?;
    let start = Reached { version: "1.0", generation: 1 };
    let mut promises = vec![Promise { moment: disk.moment(), what: start }];
    let host = host(stage)?;
    host.start_applier()?;
    host.start_agent()?;
    for (release, generation) in [(good, 2), (bad, 3)] {
        let booked = stage.open_window(&release, "staging", &WAVE)?;
        let outcome = stage.outcome(HOST, &booked.booking).await?;
        let as_made = if generation == 2 {
            outcome.event == Event::Committed
        } else {
            matches!(outcome.event, Event::Returned { .. })
        };
        ensure!(as_made && outcome.generation == generation, "{outcome:?}");
        let reached = Reached { version: "1.1", generation };
        promises.push(Promise { moment: disk.moment(), what: reached });
    }
    Ok(promises)
}

fn host(stage: &mut Stage) -> anyhow::Result<&mut Host> {
    stage.hosts.get_mut(HOST).context("the host")
}

/// Boots it and lets it come to rest. Nothing of what it had reached is lost; it may have got further.
async fn check(
    host: &mut Host,
    packages: &Path,
    reached: Reached,
    next: Option<Reached>,
) -> anyhow::Result<()> {
    host.start_applier()?;
    let (told, version) = rest(host).await?;
    let known = version == reached.version || next.is_some_and(|next| next.version == version);
    ensure!(known, "it shows {version} after {reached:?}");
    let generation = told["generation"].as_u64().context("its generation")?;
    ensure!(generation >= reached.generation, "generation {generation} after {reached:?}");
    slots::check(host, &packages.join(format!("web-{version}")))?;
    let running = told["running"].as_str().context("what it runs")?;
    let current = host.current().context("the link names nothing")?;
    let current = current.file_name().unwrap_or_default().to_string_lossy();
    ensure!(
        current.split('-').nth(1).is_some_and(|short| running.starts_with(short)),
        "the link names {current}, the ledger says {running}"
    );
    Ok(())
}

/// Waits until it is neither on its way forward nor back, and serves.
async fn rest(host: &mut Host) -> anyhow::Result<(Value, String)> {
    let began = Instant::now();
    loop {
        let (mut told, page) = (host.inspect()?, host.page());
        let told = told["applications"]["web"].take();
        let state = told["state"].as_str().unwrap_or_default().to_owned();
        ensure!(state != "stuck", "it is stuck");
        match page {
            Some(version) if ["idle", "committed", "returned"].contains(&state.as_str()) => {
                return Ok((told, version));
            }
            page if began.elapsed() > PATIENCE => bail!("it is {state} and shows {page:?}"),
            _ => sleep(ASK_AGAIN).await,
        }
    }
}
