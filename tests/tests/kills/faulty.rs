//! File operations of the applier that fail at random, a class and an error at a time, over a whole deployment
//! (libfiu). However it goes, the host is not left in between; and with the fault gone it is as if nothing had
//! been.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use cutover_shared::statement::Event;
use cutover_tests::harness::release::Made;
use cutover_tests::requirement;

use super::{HOST, Theatre};

/// Where Debian's fiu-utils has what a program has to be loaded with.
const PRELOADS: [&str; 2] =
    ["/usr/lib/fiu/fiu_run_preload.so", "/usr/lib/fiu/fiu_posix_preload.so"];

/// Classes of operation with the error that each gives (errno(3)), and how often of a hundred.
const FAULTS: [(&str, i32, u32); 6] = [
    ("posix/io/rw/*write*", ENOSPC, 10),
    ("posix/io/sync/*", EIO, 30),
    ("posix/io/dir/*", EROFS, 20),
    ("posix/io/oc/open", EMFILE, 5),
    ("posix/io/rw/*read*", EIO, 3),
    ("posix/io/*", EIO, 2),
];
const EIO: i32 = 5;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn file_operations_that_fail() -> anyhow::Result<()> {
    if !PRELOADS.iter().all(|it| Path::new(it).exists()) {
        let missing = anyhow::anyhow!("libfiu (Debian: fiu-utils)");
        return requirement::skip("file_operations_that_fail", missing);
    }
    let mut theatre = Theatre::open().await?;
    for (number, fault) in FAULTS.into_iter().enumerate() {
        let acted = under(&mut theatre, fault, number).await;
        acted.with_context(|| format!("{fault:?}: {}", theatre.stage.logs()))?;
    }
    Ok(())
}

async fn under(
    theatre: &mut Theatre,
    (class, error, of_hundred): (&str, i32, u32),
    number: usize,
) -> anyhow::Result<()> {
    let control = theatre.stage.desk.directory.join(format!("fiu-{number}"));
    let control = control.to_string_lossy().into_owned();
    let host = theatre.stage.hosts.get_mut(HOST).context("the host")?;
    host.take_applier()?.kill()?;
    let preloads = PRELOADS.join(" ");
    let variables = [("LD_PRELOAD", &*preloads), ("FIU_CTRL_FIFO", &*control), ("FIU_ENABLE", "")];
    host.start_applier_with(&variables)?;
    let applier = host.take_applier()?;
    let (tell, hear) =
        (format!("{control}-{}.in", applier.id()), format!("{control}-{}.out", applier.id()));
    // A whole way forward with the faults, to an end or to nothing.
    let version = format!("3.{number}");
    let booked = theatre.book(&version, &Made::default())?;
    let rate = f64::from(of_hundred) / 100.0;
    order(
        &tell,
        &hear,
        &format!("enable_random name={class},probability={rate},failinfo={error}"),
    )?;
    let ended = theatre.stage.outcome(HOST, &booked.booking);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(15), ended).await;
    // Ended or not: it is killed, and what comes after it has no faults.
    applier.kill()?;
    theatre.stage.hosts.get_mut(HOST).context("the host")?.start_applier()?;
    let outcome = match ended {
        Ok(outcome) => outcome?,
        Err(_) => theatre.stage.outcome(HOST, &booked.booking).await?,
    };
    match outcome.event {
        Event::Committed => theatre.version.clone_from(&version),
        Event::Returned { .. } => {}
        Event::RolledBack | Event::Refused { .. } | Event::Stuck { .. } | Event::Drifted { .. } => {
            anyhow::bail!("{outcome:?}");
        }
    }
    theatre.check().await?;
    theatre.booked.clear();
    // A clean run succeeds.
    let version = format!("3.{number}.1");
    let booked = theatre.book(&version, &Made::default())?;
    let outcome = theatre.stage.outcome(HOST, &booked.booking).await?;
    ensure!(outcome.event == Event::Committed, "without faults: {outcome:?}");
    theatre.version = version;
    theatre.check().await?;
    theatre.booked.clear();
    Ok(())
}

/// Gives the library in the applier an order, and waits until it has taken it (fiu-ctrl(1)).
fn order(tell: &str, hear: &str, order: &str) -> anyhow::Result<()> {
    let mut tell = std::fs::File::options().write(true).open(tell).context("reach libfiu")?;
    writeln!(tell, "{order}")?;
    let mut answer = String::new();
    BufReader::new(std::fs::File::open(hear)?).read_line(&mut answer)?;
    ensure!(answer.trim() == "0", "libfiu: {order}: {answer}");
    Ok(())
}
