//! Row 1: what is changed on a host in any other way than through the process is seen, and told once.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::{Context as _, ensure};
use cutover_shared::statement::{Drift, Event, ManagedKind};
use cutover_tests::harness::release::{self, Made};
use cutover_tests::harness::{Stage, outcomes};

const HOST: &str = "stg-1";
const WAVE: [&str; 2] = ["--wave", "all=stg-1"];

/// Deploys a version to the host; the booking.
async fn deployed(stage: &mut Stage, version: &str) -> anyhow::Result<(String, String)> {
    let file = release::build(&stage.desk, version, &Made::default())?;
    let release = stage.submitted(&file, &["staging"])?;
    stage.desk.run("lena", &["review", &release, "--complete"])?;
    stage.desk.run("lena", &["deliver", &release, "--location", "shelf 1"])?;
    let booked = stage.deploy(&release, "staging", &[HOST], &WAVE).await?;
    Ok((release, booked.booking))
}

/// Waits until the host has told this number of drifts under an order.
async fn drifts(stage: &mut Stage, order: &str, count: usize) -> anyhow::Result<Vec<Drift>> {
    let order = order.parse()?;
    stage
        .until(&format!("{count} drifts"), |state| {
            let drift = |event: Event| {
                let Event::Drifted(drift) = event else { return None };
                Some(*drift)
            };
            let told = outcomes(state, &order).into_iter().filter_map(|it| drift(it.event));
            Some(told.collect::<Vec<_>>()).filter(|it| it.len() >= count)
        })
        .await
}

fn at<'d>(drifts: &'d [Drift], path: &str) -> anyhow::Result<&'d Drift> {
    let found = drifts.iter().find(|it| it.path == path);
    found.with_context(|| format!("{path} in {drifts:#?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_01_a_change_that_nobody_approved_is_told_by_the_host_once() -> anyhow::Result<()> {
    let (mut stage, _directory) = super::stage().await?;
    stage.add_host(HOST, "staging").await?;
    let (release, booking) = deployed(&mut stage, "1.0").await?;
    let host = &stage.hosts[HOST];
    let slot = host.current().context("something is deployed")?;
    let site = slot.join("payload/site");

    // While the applier runs, it is told by the system.
    fs::write(site.join("version.txt"), "1.0, mended by hand\n")?;
    let told = drifts(&mut stage, &booking, 1).await?;
    let edited = at(&told, "payload/site/version.txt")?;
    ensure!(edited.expected != edited.found && edited.found.is_some(), "{edited:?}");
    fs::write(site.join("added.txt"), "nobody's")?;
    fs::set_permissions(site.join("unhealthy-on.txt"), fs::Permissions::from_mode(0o666))?;
    let told = drifts(&mut stage, &booking, 3).await?;
    ensure!(at(&told, "payload/site/added.txt")?.expected.is_none(), "{told:#?}");
    let mode = at(&told, "payload/site/unhealthy-on.txt")?.found.as_ref();
    ensure!(mode.and_then(|it| it.mode.as_deref()) == Some("0666"), "{told:#?}");

    // While it does not run, it finds out when it starts; what was told is not told again.
    let applier = stage.hosts.get_mut(HOST).context("the host")?;
    ensure!(applier.take_applier()?.terminate()?.success(), "it did not end well");
    fs::remove_file(site.join("version.txt"))?;
    elsewhere(&applier.directory.join("web/current"))?;
    applier.start_applier()?;
    let told = drifts(&mut stage, &booking, 5).await?;
    ensure!(at(&told[3..], "payload/site/version.txt")?.found.is_none(), "{told:#?}");
    let link = at(&told, "current")?.found.as_ref().context("a link")?;
    ensure!(link.kind == ManagedKind::Link("releases/elsewhere".to_owned()), "{link:?}");
    ensure!(told.len() == 5, "each once: {told:#?}");
    ensure!(stage.hosts[HOST].current().as_ref() == Some(&slot), "the link was put right");

    shown(&stage, &release)?;
    // Without a way back that is whole the host would not go forward; put right, it does. The next release
    // starts clean, and what was told of the one before is no longer shown.
    fs::write(site.join("version.txt"), "1.0\n")?;
    fs::set_permissions(site.join("unhealthy-on.txt"), fs::Permissions::from_mode(0o644))?;
    fs::remove_file(site.join("added.txt"))?;
    let (_, next) = deployed(&mut stage, "1.1").await?;
    let shown = stage.desk.run("max", &["host", "show", HOST])?;
    ensure!(shown["applications"][0]["drift"] == serde_json::json!([]), "{shown:#}");
    let slot = stage.hosts[HOST].current().context("something is deployed")?;
    fs::remove_file(slot.join("payload/site/version.txt"))?;
    drifts(&mut stage, &next, 1).await?;
    Ok(())
}

/// Lets a link lead to something that the applier did not make.
fn elsewhere(link: &Path) -> anyhow::Result<()> {
    let directory = link.parent().context("a link has a directory")?;
    fs::create_dir(directory.join("releases/elsewhere"))?;
    fs::remove_file(link)?;
    Ok(symlink("releases/elsewhere", link)?)
}

fn shown(stage: &Stage, release: &str) -> anyhow::Result<()> {
    let host = stage.desk.run("max", &["host", "show", HOST])?;
    let drift = host["applications"][0]["drift"].as_array().context("drift")?;
    ensure!(drift.len() == 5 && drift[0]["path"] == "payload/site/version.txt", "{host:#}");
    let status = stage.desk.run("max", &["status", release])?;
    let drift = &status["environments"][0]["bookings"][0]["drift"];
    ensure!(drift.as_array().is_some_and(|it| it.len() == 5), "{status:#}");
    Ok(())
}
