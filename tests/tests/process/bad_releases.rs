//! Releases that are up to no good, each on real processes: the host ends on the one before, serving, and
//! nothing of the bad one is left running.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use cutover_tests::harness::notice::Notice;
use cutover_tests::harness::release::Made;
use cutover_tests::harness::{Stage, slots};
use cutover_tests::requirement;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{HOST, WAVE, hook, host, ready, returned, runs, stage};

/// Forks twice into a session of its own, hears no SIGTERM, and goes on. Its name is unique.
const STRAY: &str =
    "(setsid bash -c \"trap '' TERM; exec -a @NAME@ sleep 1000\" >/dev/null 2>&1 &)\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_releases() -> anyhow::Result<()> {
    let (mut stage, _directory) = stage().await?;
    let release = ready(&stage, "1.0", &Made::default())?;
    stage.deploy(&release, "staging", &[HOST], &WAVE).await?;
    a_start_that_never_returns(&mut stage).await?;
    a_check_that_hangs(&mut stage).await?;
    sick_while_baking(&mut stage).await?;
    one_that_does_not_let_go(&mut stage).await?;
    one_that_fills_the_disk(&mut stage).await
}

/// A start hook that neither ends nor hears, and has left something outside its session.
async fn a_start_that_never_returns(stage: &mut Stage) -> anyhow::Result<()> {
    let name = unique(stage, "start");
    let script =
        format!("#!/bin/bash\ntrap '' TERM\n{}sleep 1000\n", STRAY.replace("@NAME@", &name));
    let manifest = hook("start").replace("10s", "1s");
    let hooks = [("start", &*script)];
    let made = Made { manifest: &manifest, hooks: &hooks, ..Made::default() };
    let (step, reason) = goes_back(stage, "1.1", &made).await?;
    ensure!(step == "start hook" && reason.contains("did not end in time"), "{step}: {reason}");
    ensure!(named(&name)?.is_empty(), "left running: {:?}", named(&name)?);
    Ok(())
}

async fn a_check_that_hangs(stage: &mut Stage) -> anyhow::Result<()> {
    let name = unique(stage, "check");
    let script =
        format!("#!/bin/bash\n{}exec -a {name} sleep 1000\n", STRAY.replace("@NAME@", &name));
    let manifest = "[hooks]\nsupport = [\"hooks/hang\"]\n[[health]]\nname = \"hangs\"\n\
                    kind = \"exec\"\ncommand = [\"hooks/hang\"]\ntimeout = \"1s\"\n";
    let hooks = [("hang", &*script)];
    let made = Made { manifest, hooks: &hooks, ..Made::default() };
    let (step, reason) = goes_back(stage, "1.2", &made).await?;
    ensure!(step == "checking" && reason.contains("not healthy"), "{step}: {reason}");
    ensure!(named(&name)?.is_empty(), "left running: {:?}", named(&name)?);
    Ok(())
}

/// Healthy until it has baked for a while; it falls ill at an event, not after a time.
async fn sick_while_baking(stage: &mut Stage) -> anyhow::Result<()> {
    let sick = stage.desk.directory.join("sick");
    let script =
        format!("#!/bin/sh\nif [ -e '{}' ]; then echo feverish; exit 1; fi\n", sick.display());
    let manifest = "[hooks]\nsupport = [\"hooks/pulse\"]\n[[health]]\nname = \"pulse\"\n\
                    kind = \"exec\"\ncommand = [\"hooks/pulse\"]\ntimeout = \"2s\"\n";
    let hooks = [("pulse", &*script)];
    let instead = [
        ("bake = \"600ms\"", "bake = \"40s\""),
        ("apply-budget = \"12s\"", "apply-budget = \"60s\""),
    ];
    let made = Made { manifest, hooks: &hooks, instead: &instead, ..Made::default() };
    let release = ready(stage, "1.3", &made)?;
    let booked = stage.open_window(&release, "staging", &WAVE)?;
    stage
        .status_until(&release, "it bakes", |status| {
            status.to_string().contains("baking").then_some(())
        })
        .await?;
    std::fs::write(&sick, "")?;
    let outcome = stage.outcome(HOST, &booked.booking).await?;
    let (step, reason) = returned(&outcome.event)?;
    ensure!(step == "baking" && reason.contains("lost while baking"), "{step}: {reason}");
    let readings = stage.readings(HOST, &booked.booking).await?;
    let decided = readings.iter().any(|it| it.detail.contains("feverish") && !it.healthy);
    ensure!(decided, "what decided is not among {readings:#?}");
    runs(stage, "1.0")
}

/// Its hook leaves no byte free where the slots are and the ledger is. Going back needs none, and what came
/// of it is told as soon as it can be written down. The last act: the small disk ends with the host.
async fn one_that_fills_the_disk(stage: &mut Stage) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        let missing = anyhow::anyhow!("root, to mount a small disk");
        return requirement::skip("one_that_fills_the_disk", missing);
    }
    let at = stage.hosts.get_mut(HOST).context("the host")?;
    at.take_applier()?.kill()?;
    at.take_agent()?.kill()?;
    let disk = SmallDisk::under(&at.directory)?;
    at.start_applier()?;
    at.start_agent()?;
    let filler = disk.0.join("filler");
    let script = format!(
        "#!/bin/sh\ncat /dev/zero > '{0}' 2>/dev/null\necho >> '{0}' || echo 'no byte is left'\nexit 1\n",
        filler.display()
    );
    let manifest = hook("post-start");
    let hooks = [("post-start", &*script)];
    let made = Made { manifest: &manifest, hooks: &hooks, ..Made::default() };
    let release = ready(stage, "1.8", &made)?;
    let mut notice = Notice::of(&disk.0)?;
    let booked = stage.open_window(&release, "staging", &WAVE)?;
    notice.until(|path| path.ends_with("filler")).await?;
    // The new release serves until it goes back.
    let at = host(stage, HOST)?;
    let back = |_: &_| (at.page().as_deref() == Some("1.7")).then_some(());
    stage.status_until(&release, "it has gone back", back).await?;
    std::fs::remove_file(&filler)?;
    let outcome = stage.outcome(HOST, &booked.booking).await?;
    let (step, reason) = returned(&outcome.event)?;
    ensure!(step == "post-start hook" && reason.contains("no byte is left"), "{step}: {reason}");
    runs(stage, "1.7")
}

/// A service that ignores SIGTERM and has left another outside its session is ended whole when the next
/// release takes its place.
async fn one_that_does_not_let_go(stage: &mut Stage) -> anyhow::Result<()> {
    let name = unique(stage, "service");
    let serve = format!(
        "#!/bin/bash\ntrap '' TERM\n{}exec \"$(dirname \"$0\")/real\"\n",
        STRAY.replace("@NAME@", &name)
    );
    let release = ready(stage, "1.5", &Made { serve: Some(&serve), ..Made::default() })?;
    stage.deploy(&release, "staging", &[HOST], &WAVE).await?;
    ensure!(named(&name)?.len() == 1, "the stray does not run");
    let (step, _) =
        goes_back_to(stage, "1.6", &Made { unhealthy_on: &[HOST], ..Made::default() }, "1.5")
            .await?;
    ensure!(step == "checking", "{step}");
    ensure!(named(&name)?.len() == 1, "one stray of the release that is back: {:?}", named(&name)?);
    let release = ready(stage, "1.7", &Made::default())?;
    stage.deploy(&release, "staging", &[HOST], &WAVE).await?;
    ensure!(named(&name)?.is_empty(), "left running: {:?}", named(&name)?);
    runs(stage, "1.7")
}

async fn goes_back(
    stage: &mut Stage,
    version: &str,
    made: &Made<'_>,
) -> anyhow::Result<(String, String)> {
    goes_back_to(stage, version, made, "1.0").await
}

/// Deploys what is no good; the step and the reason with which the host went back to `before`.
async fn goes_back_to(
    stage: &mut Stage,
    version: &str,
    made: &Made<'_>,
    before: &str,
) -> anyhow::Result<(String, String)> {
    let release = ready(stage, version, made)?;
    let booked = stage.open_window(&release, "staging", &WAVE)?;
    let outcome = stage.outcome(HOST, &booked.booking).await?;
    let ended = returned(&outcome.event).with_context(|| format!("{version}: {}", stage.logs()))?;
    let host = host(stage, HOST)?;
    slots::check(host, &stage.desk.directory.join(format!("web-{before}")))?;
    ensure!(host.page().as_deref() == Some(before), "it shows {:?}", host.page());
    Ok(ended)
}

/// A name that no other process of this machine has.
fn unique(stage: &Stage, what: &str) -> String {
    let directory = stage.desk.directory.file_name().unwrap_or_default().to_string_lossy();
    format!("{directory}-{what}")
}

/// The processes whose first argument is `name`.
fn named(name: &str) -> anyhow::Result<Vec<u32>> {
    let output = Command::new("pgrep").args(["--full", &format!("^{name}( |$)")]).output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().map(str::parse).collect::<Result<_, _>>()?)
}

/// A small tmpfs in the place of a directory, with what was in it. It is unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn under(directory: &Path) -> anyhow::Result<Self> {
        let aside = directory.with_extension("aside");
        copy(directory, &aside)?;
        let options = Some("size=160m");
        mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), options)
            .context("mount a small disk")?;
        let disk = Self(directory.to_owned());
        copy(&aside.join("."), directory)?;
        Ok(disk)
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let status = Command::new("cp").arg("--archive").arg(from).arg(to).status()?;
    ensure!(status.success(), "copy {}", from.display());
    Ok(())
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the application still has its log open.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}
