//! What the two halves of the agent hold and use on a host with a committed release and nothing to do: real
//! processes, with a coordinator that they are connected to.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cutover_tests::build::binaries;
use cutover_tests::harness::release::{self, Made};
use cutover_tests::harness::{Stage, slots};

const HOST: &str = "stg-1";

/// Ticks of a second in which the kernel counts a process's time: on every architecture of Debian's (time(7)).
const USER_HZ: f64 = 100.0;

/// How long after the commit what it took is let go: threads end that have nothing to do.
const SETTLES: Duration = Duration::from_secs(15);

/// Watches for so long, and tells.
pub(crate) fn told(span: Duration) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(watch(span))
}

async fn watch(span: Duration) -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("cutover-bench-").tempdir()?;
    let mut stage = Stage::start(directory.path(), binaries()).await?;
    stage.add_host(HOST, "staging").await?;
    let release = stage.approved(&release::build(&stage.desk, "1.0", &Made::default())?)?;
    stage.deploy(&release, "staging", &[HOST], &["--wave", "all=stg-1"]).await?;
    tokio::time::sleep(SETTLES).await;
    let host = stage.hosts.get_mut(HOST).context("the host")?;
    let mut halves = [("applier", host.take_applier()?), ("agent", host.take_agent()?)];
    let before = [used(halves[0].1.id())?, used(halves[1].1.id())?];
    tokio::time::sleep(span).await;
    for ((name, process), before) in halves.iter_mut().zip(before) {
        process.check()?;
        let took = used(process.id())?.saturating_sub(before);
        #[expect(clippy::cast_precision_loss, reason = "a span of seconds in hundredths")]
        let took = took as f64 / USER_HZ;
        let (private, all) = memory(process.id())?;
        println!(
            "idle {name}: {:.1} MiB of private memory ({:.1} MiB with what is shared), {took:.2} s of a \
             processor in {} s",
            mib(private),
            mib(all),
            span.as_secs()
        );
    }
    ensure!(!slots::names(host)?.is_empty(), "its release is there still");
    Ok(())
}

/// Ticks that a process has had a processor, its threads that have ended among them.
fn used(process: u32) -> anyhow::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name is in parentheses and may hold anything; user and system time are the 14th and 15th field.
    let (_, fields) = stat.rsplit_once(") ").context("a name")?;
    let mut fields = fields.split(' ').skip(11);
    let mut next = || fields.next().context("a field")?.parse::<u64>().context("a number");
    Ok(next()? + next()?)
}

/// KiB that nobody else has, and all that is in memory.
fn memory(process: u32) -> anyhow::Result<(u64, u64)> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let field = |name: &str| -> anyhow::Result<u64> {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)).context("a field")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    };
    Ok((field("Private_Clean:")? + field("Private_Dirty:")?, field("Rss:")?))
}

#[expect(clippy::cast_precision_loss, reason = "far less than what a float holds exactly")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
