//! What the applier costs, to be compared on one machine: `cargo bench -p cutover-tests --bench applier`.
//!
//! The switch, beside a peer that renames a file and syncs its directory; the way back, from the verdict on a
//! release that is not healthy to the page of the earlier one, at few files and at many, beside the same
//! application stopped and started by hand; and what the two halves of the agent hold and use when they have
//! nothing to do, ten minutes long. `-- --idle SECONDS` does the last alone, for another time, and
//! `-- --return FILES` the way back alone, at another number of files.
//!
//! Slots and ledger are where temporary files are (`TMPDIR`): on a disk, if a disk is to be measured.

#![expect(clippy::print_stdout, reason = "figures are for people to read")]

mod idle;
mod place;
mod returning;

use std::env;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use self::place::{Bare, Place};

const IDLE: &str = "--idle";
const RETURN: &str = "--return";

/// How long the halves of the agent are watched when they have nothing to do.
const WATCHED: Duration = Duration::from_mins(10);
/// Files of the releases between which a host goes back.
const FILES: [usize; 2] = [10, 100_000];
/// Switches of which the median is told.
const SWITCHES: usize = 200;

fn main() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    match arguments.next().as_deref() {
        Some(IDLE) => {
            let seconds = arguments.next().context("--idle wants a number of seconds")?;
            return idle::told(Duration::from_secs(seconds.parse()?));
        }
        Some(RETURN) => {
            let files = arguments.next().context("--return wants a number of files")?;
            return returning::told(files.parse()?);
        }
        Some(_) | None => {}
    }
    divan::main();
    switches()?;
    for files in FILES {
        returning::told(files)?;
    }
    idle::told(WATCHED)
}

#[divan::bench]
fn switch(bencher: divan::Bencher<'_, '_>) {
    let place = Place::new(1).expect("two small releases");
    let mut turn = 0;
    bencher.bench_local(|| {
        turn += 1;
        place.switch(turn).expect("both are whole");
    });
}

#[divan::bench]
fn bare_rename_and_sync(bencher: divan::Bencher<'_, '_>) {
    let bare = Bare::new().expect("a directory with a file");
    bencher.bench_local(|| bare.rename().expect("it is ours"));
}

/// Both in turns, so that whatever else the machine does falls on both alike.
fn switches() -> anyhow::Result<()> {
    let (place, bare) = (Place::new(1)?, Bare::new()?);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for turn in 0..SWITCHES {
        let began = Instant::now();
        place.switch(turn)?;
        ours.push(began.elapsed());
        let began = Instant::now();
        bare.rename()?;
        theirs.push(began.elapsed());
    }
    let (ours, theirs) = (median(&mut ours), median(&mut theirs));
    println!(
        "switch: {ours:?}; a rename and its sync alone: {theirs:?}; ratio {:.2} (the medians of {SWITCHES})",
        ours.as_secs_f64() / theirs.as_secs_f64()
    );
    Ok(())
}

fn median(spans: &mut [Duration]) -> Duration {
    spans.sort_unstable();
    spans[spans.len() / 2]
}

/// The file system type of a directory, for whoever reads the figures.
fn file_system(directory: &std::path::Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
    });
    let holds = mounts.filter(|(point, _)| directory.starts_with(point));
    holds.max_by_key(|(point, _)| point.len()).map_or("?".to_owned(), |(_, kind)| kind)
}
