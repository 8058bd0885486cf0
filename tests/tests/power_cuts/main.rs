//! Power cuts, with disks that keep a random part of what was not synced: after each, what was promised
//! is there, and nothing is in between. Each kind has a control that does not sync, in which the same
//! checks have to find something.
//!
//! `CUTOVER_CUTS=200` makes so many cuts of each kind; a failure tells the seed and the moment of its cut.

mod hosts;
mod ledgers;
mod releases;
mod stores;

use std::path::Path;

use anyhow::{Context as _, bail};
use cutover_tests::power::{Disk, Syncing, Trace, cuts, isolated};

/// Bytes of a disk: no file system is much smaller, and what is here has room on it.
const DISK: u64 = 192 << 20;

/// Something that was promised at a moment, to be kept by every cut from then on.
#[derive(Debug, Clone)]
struct Promise<T> {
    moment: usize,
    what: T,
}

/// Makes cuts of a trace from the first promise on, mounts what each leaves at `mount_point`, and lets
/// `check` look at it, knowing what had been promised last and what was to be promised next. What it found
/// in the first cut in which it found something.
fn try_cuts<T>(
    trace: &Trace,
    promises: &[Promise<T>],
    mount_point: &Path,
    check: impl Fn(&T, Option<&T>) -> anyhow::Result<()>,
) -> anyhow::Result<Option<anyhow::Error>> {
    let marks: Vec<_> = promises.iter().map(|promise| promise.moment).collect();
    let range = (*marks.first().context("nothing was promised")?, trace.length());
    for seed in 0..cuts()? {
        let moment = trace.moment(range, &marks, seed);
        let disk = Disk::attach(trace.cut(moment, seed), mount_point);
        let disk = disk.with_context(|| format!("after the cut of seed {seed} at {moment}"))?;
        let next = promises.partition_point(|it| it.moment <= moment);
        let checked = check(&promises[next - 1].what, promises.get(next).map(|next| &next.what));
        disk.detach()?;
        if let Err(fault) = checked {
            return Ok(Some(fault.context(format!("seed {seed}, moment {moment} of {range:?}"))));
        }
    }
    Ok(None)
}

/// Runs a kind of test as it is, where no cut may find anything, and without syncing, where one must.
fn prove(
    run: impl Fn(&Path) -> anyhow::Result<Option<anyhow::Error>> + Send + Sync,
) -> anyhow::Result<()> {
    for syncing in [Syncing::Done, Syncing::Ignored] {
        let directory = tempfile::Builder::new().prefix("cutover-power-").tempdir()?;
        let fault = isolated(syncing, || run(directory.path()))?;
        match (syncing, fault) {
            (Syncing::Done, None) | (Syncing::Ignored, Some(_)) => {}
            (Syncing::Done, Some(fault)) => return Err(fault),
            (Syncing::Ignored, None) => {
                bail!("nothing was synced, and no cut found anything: the test proves nothing")
            }
        }
    }
    Ok(())
}
