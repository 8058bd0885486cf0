//! `cargo demo`: the whole way once through, on real processes, and then attacks on it.
//!
//! A coordinator, two staging and three production hosts (each the two real processes of the agent), six
//! people at the real command line, and a small real web service. Everything in the table at the end was
//! taken from the running processes and the log; the demonstration fails when one line differs from what
//! was expected.

#[path = "demo/attacks.rs"]
mod attacks;
#[path = "demo/story.rs"]
mod story;
#[path = "demo/table.rs"]
mod table;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use clap::Parser;
use cutover_tests::build::binaries;
use cutover_tests::harness::Stage;

use self::table::Table;

/// Takes a small web service through the whole process onto five hosts, and then attacks it.
#[derive(Debug, Parser)]
#[command(name = "cutover-demo", after_help = "Examples:\n  cargo demo\n  cargo demo --keep")]
struct Arguments {
    /// Leave everything running at the end, and print commands to try. Ctrl-C ends it.
    #[arg(long)]
    keep: bool,
    /// Work in this directory, and leave it there.
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut table = Table::new();
    table.chapter("building what is needed");
    let binaries = binaries();
    let began = Instant::now();
    let temporary = tempfile::Builder::new().prefix("cutover-").tempdir_in("/tmp")?;
    let directory = match &arguments.directory {
        Some(directory) => {
            std::fs::create_dir_all(directory).context("make the directory")?;
            directory.canonicalize()?
        }
        None => temporary.path().to_owned(),
    };
    let mut stage = Stage::start(&directory, binaries).await?;
    let told = async {
        let cast = story::tell(&mut stage, &mut table).await?;
        if !arguments.keep {
            attacks::attack(&mut stage, &mut table, &cast).await?;
        }
        anyhow::Ok(())
    }
    .await;
    if let Err(error) = told {
        table.print();
        anyhow::bail!("{error:?}\n{}", stage.logs());
    }
    table.print();
    table.say(&format!("{} s after the build", began.elapsed().as_secs()));
    if arguments.keep {
        keep(&stage, &table).await?;
    }
    drop(stage);
    anyhow::ensure!(table.all_as_expected(), "not everything was as expected");
    Ok(())
}

async fn keep(stage: &Stage, table: &Table) -> anyhow::Result<()> {
    let desk = &stage.desk;
    let at = desk.directory.display();
    table.say("everything is left running; in another terminal:");
    table.say(&format!("  export PATH={}:$PATH", desk.binaries.display()));
    table.say(&format!(
        "  export CUTOVER_COORDINATOR={}",
        desk.coordinator.as_deref().unwrap_or("?")
    ));
    table.say(&format!("  export CUTOVER_POLICY={at}/policy.json CUTOVER_KEY={at}/max.pem CUTOVER_CACHE={at}/max.cache"));
    for command in ["status", "status R-2", "explain R-3", "host list", "log list", "log show 0"] {
        table.say(&format!("  cutover {command}"));
    }
    for host in stage.hosts.values() {
        table.say(&format!("  curl http://{}/            # {}", host.listen, host.name));
    }
    table.say("Ctrl-C ends it");
    tokio::signal::ctrl_c().await.context("wait for Ctrl-C")
}
