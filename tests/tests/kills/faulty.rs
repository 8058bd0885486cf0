//! File operations of the applier, and of the network half, that fail at random, a class and an error at a time,
//! over a whole deployment (libfiu). However it goes, the host is not left in between; and with the fault gone it is as if nothing had
//! been.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cutover_shared::statement::Event;
use cutover_tests::harness::notice::Notice;
use cutover_tests::harness::process::Process;
use cutover_tests::harness::release::Made;
use cutover_tests::requirement;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe;

use super::{HOST, Theatre};

/// Where Debian's fiu-utils has what a program has to be loaded with.
const PRELOADS: [&str; 2] =
    ["/usr/lib/fiu/fiu_run_preload.so", "/usr/lib/fiu/fiu_posix_preload.so"];

/// How often a half is started until the library in it answers, and how long that may take.
const STARTS: u32 = 5;
const ANSWER: Duration = Duration::from_secs(20);

/// Which half of the agent has the faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    Applier,
    Network,
}

/// A half, a class of operation with the error that it gives (errno(3)), and how often of a hundred.
type Fault = (Half, &'static str, i32, u32);

const FAULTS: [Fault; 10] = [
    (Half::Applier, "posix/io/rw/*write*", ENOSPC, 10),
    (Half::Applier, "posix/io/sync/*", EIO, 30),
    (Half::Applier, "posix/io/dir/*", EROFS, 20),
    (Half::Applier, "posix/io/oc/open", EMFILE, 5),
    (Half::Applier, "posix/io/rw/*read*", EIO, 3),
    (Half::Applier, "posix/io/*", EIO, 2),
    (Half::Network, "posix/io/rw/*write*", ENOSPC, 10),
    (Half::Network, "posix/io/dir/*", EROFS, 20),
    (Half::Network, "posix/io/oc/open", EMFILE, 10),
    (Half::Network, "posix/io/*", EIO, 2),
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
    (half, class, error, of_hundred): Fault,
    number: usize,
) -> anyhow::Result<()> {
    let control = theatre.stage.desk.directory.join(format!("fiu-{number}"));
    let control = control.to_string_lossy().into_owned();
    // A whole way forward with the faults, to an end or to nothing.
    let version = format!("3.{number}");
    let rate = f64::from(of_hundred) / 100.0;
    let wish = format!("enable_random name={class},probability={rate},failinfo={error}");
    let faulty = with_faults(theatre, half, &control, &wish).await?;
    let booked = theatre.book(&version, &Made::default())?;
    let ended = theatre.stage.outcome(HOST, &booked.booking);
    let ended = tokio::time::timeout(Duration::from_secs(15), ended).await;
    // Ended or not: it is killed, and what comes after it has no faults.
    faulty.kill()?;
    let host = theatre.stage.hosts.get_mut(HOST).context("the host")?;
    match half {
        Half::Applier => host.start_applier()?,
        Half::Network => host.start_agent()?,
    }
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

/// Starts a half anew with the library in it, and lets it have faults. Now and then the library is stuck with the
/// dynamic linker, each waiting for a lock of the other's; then once more.
async fn with_faults(
    theatre: &mut Theatre,
    half: Half,
    control: &str,
    wish: &str,
) -> anyhow::Result<Process> {
    let directory = theatre.stage.desk.directory.clone();
    let host = theatre.stage.hosts.get_mut(HOST).context("the host")?;
    let preloads = PRELOADS.join(" ");
    let variables = [("LD_PRELOAD", &*preloads), ("FIU_CTRL_FIFO", control), ("FIU_ENABLE", "")];
    for _ in 0..STARTS {
        let mut notice = Notice::of(&directory)?;
        let faulty = match half {
            Half::Applier => {
                if let Ok(before) = host.take_applier() {
                    before.kill()?;
                }
                host.start_applier_with(&variables)?;
                host.take_applier()?
            }
            Half::Network => {
                if let Ok(before) = host.take_agent() {
                    before.kill()?;
                }
                host.start_agent_with(&variables)?;
                host.take_agent()?
            }
        };
        let [tell, hear] = ["in", "out"].map(|it| format!("{control}-{}.{it}", faulty.id()));
        let made = |_: &Path| [&tell, &hear].into_iter().all(|it| Path::new(it).exists());
        if !made(&directory) {
            notice.until(made).await.context("libfiu in the process")?;
        }
        if tokio::time::timeout(ANSWER, order(&tell, &hear, wish)).await.is_ok_and(|it| it.is_ok())
        {
            return Ok(faulty);
        }
        faulty.kill()?;
    }
    anyhow::bail!("libfiu has not taken {wish:?} in any of {STARTS} processes")
}

/// Gives the library an order, and waits until it has taken it (fiu-ctrl(1)).
async fn order(tell: &str, hear: &str, order: &str) -> anyhow::Result<()> {
    // Both ways open at both ends, so that nobody waits for the other to come.
    let mut options = pipe::OpenOptions::new();
    options.read_write(true);
    let mut tell = options.open_sender(tell).context("reach libfiu")?;
    let hear = options.open_receiver(hear).context("hear libfiu")?;
    tell.write_all(format!("{order}\n").as_bytes()).await?;
    let mut answer = String::new();
    BufReader::new(hear).read_line(&mut answer).await?;
    ensure!(answer.trim() == "0", "libfiu: {order}: {answer}");
    Ok(())
}
