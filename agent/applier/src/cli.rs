//! The `cutover-applier` program: the service, and what an operator says to it at the host.

mod inspect;
mod operate;
mod verify;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use cutover_applier_core::{OperatorAct, Saved, read_join};
use cutover_shared::key::SecretKey;
use cutover_shared::name::Name;
use tokio::sync::mpsc;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;

use crate::applier::{Applier, Inputs, Parts};
use crate::clock::Clock;
use crate::config::{self, Application, LogFormat, Settings};
use crate::event::Event;
use crate::inbox::{self, CLOCK_FILE, JOIN_FILE};
use crate::ledger::{Ledger, Origin};
use crate::process::Account;
use crate::slot::{Owner, Slots};
use crate::work::Site;
use crate::{inhibit, link, read_only, rehearsal, supervise};

/// Events that may wait for the loop; senders wait when it is full.
const WAITING_EVENTS: usize = 256;
/// The host key's file in the state directory.
const HOST_KEY: &str = "host-key.pem";
/// Wishes for bytes that may wait.
const WAITING_WISHES: usize = 64;

/// The privileged half of the Cutover agent: verifies every order itself, applies it, goes back by
/// itself.
#[derive(Debug, Parser)]
#[command(
    name = "cutover-applier",
    version,
    after_help = "Examples:\n  cutover-applier join 'cutover-join:…'\n  cutover-applier inspect --json\n  \
                  cutover-applier verify\n  cutover-applier return web --reason 'out of disk, mended'\n\n\
                  Exit status: 0 done, 1 failed, 2 usage."
)]
struct Arguments {
    /// The host's configuration.
    #[arg(long, global = true, default_value = config::DEFAULT_PATH, env = "CUTOVER_APPLIER_CONFIG")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service.
    Run,
    /// Enrol this host with a join string from `cutover host grant`.
    ///
    /// The trust policy in it is pinned: compare the digest that is printed with the one that
    /// `cutover policy show` prints for you.
    #[command(after_help = "Example:\n  cutover-applier join 'cutover-join:AbC…'")]
    Join {
        /// The join string; `-` reads it from standard input.
        join: String,
    },
    /// Show what the ledger holds. Changes nothing; the service need not run.
    #[command(after_help = "Example:\n  cutover-applier inspect")]
    Inspect {
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Compare the releases on this host with what was approved: every byte, mode and owner. Changes nothing.
    ///
    /// Looks at the committed release of each application, at the earlier ones that are kept to go back to,
    /// and at the link `current`. Exit status 1 when something differs. The service need not run.
    #[command(
        after_help = "Examples:\n  cutover-applier verify\n  cutover-applier verify web --json"
    )]
    Verify {
        /// The application; all of them where none is named.
        application: Option<Name>,
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Send an application back to its last committed release. Needs no network and no coordinator.
    ///
    /// What is on its way forward turns back. What is stuck goes the whole way back again. Where nothing is
    /// under way, the link and the running application are put right. To an earlier release than the last
    /// committed one goes only a `cutover rollback`. It is logged, and the reason is in the outcome.
    #[command(
        after_help = "Examples:\n  cutover-applier return web --reason 'the disk was full; it is not any more'\n  \
                            cutover-applier return web --skip-undo --reason 'schema restored by hand, INC-7'"
    )]
    Return {
        #[command(flatten)]
        ask: operate::Arguments,
        /// Do not run the undo of hooks: it was done by hand.
        #[arg(long)]
        skip_undo: bool,
        /// Also leave a release that was approved as irreversible: its data was restored by other means.
        #[arg(long)]
        even_irreversible: bool,
    },
    /// Commit a release that is stuck half-way and was put right by hand.
    ///
    /// Only for an application that is stuck after it was switched to the release. The outcome says that it
    /// was by an operator's word.
    #[command(
        after_help = "Example:\n  cutover-applier keep web --reason 'migration finished by hand, INC-7'"
    )]
    Keep {
        #[command(flatten)]
        ask: operate::Arguments,
    },
    /// The supervisor of a hook. Only the service runs it.
    #[command(hide = true)]
    Supervise,
    /// Apply a package and go back, in a sandbox that `cutover package rehearse` has made around this.
    ///
    /// The directory holds what is rehearsed: `release/index`, `release/map` and `release/pack`, the same
    /// below `earlier/` where something ran before, and `applier.toml`, the configuration of a host like
    /// those that it will go to. What came of it is printed as one JSON object.
    #[command(hide = true)]
    Rehearse {
        /// The directory.
        directory: PathBuf,
        /// How the application is started, in place of what the configuration says.
        #[arg(long, num_args = 1.., value_name = "PROGRAM")]
        start: Vec<String>,
    },
    /// About the host's clock.
    Clock {
        #[command(subcommand)]
        command: ClockCommand,
    },
}

#[derive(Debug, Subcommand)]
enum ClockCommand {
    /// Forget the newest time that was accepted, after the clock had been wrong.
    Accept,
}

/// Runs the program.
pub fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let settings = || config::read(&arguments.config);
    match arguments.command {
        Command::Run => {
            let settings = settings()?;
            start_log(&settings);
            // One thread decides and waits; what blocks has threads of its own, which end when it does.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("start the runtime")?;
            runtime.block_on(run(settings))
        }
        Command::Supervise => supervise::main(),
        Command::Join { join } => join_command(&settings()?, &join),
        Command::Inspect { json } => inspect::run(&settings()?, json),
        Command::Verify { application, json } => verify::run(&settings()?, application, json),
        Command::Return { ask, skip_undo, even_irreversible } => {
            operate::run(&settings()?, &ask, OperatorAct::Return { skip_undo, even_irreversible })
        }
        Command::Keep { ask } => operate::run(&settings()?, &ask, OperatorAct::Keep),
        Command::Rehearse { directory, start } => rehearsal::main(&directory, &start),
        Command::Clock { command: ClockCommand::Accept } => {
            put(&settings()?, CLOCK_FILE, "accept\n")?;
            tell("the newest accepted time will be forgotten when the service looks")
        }
    }
}

fn start_log(settings: &Settings) {
    // A log that cannot be written, on a full disk, is no reason to end: complaining of it to the same
    // place would be a panic.
    let log = tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_max_level(LevelFilter::TRACE)
        .with_writer(std::io::stderr);
    let filter = settings.log_filter.clone();
    match settings.log_format {
        LogFormat::Text => log.with_ansi(false).finish().with(filter).init(),
        LogFormat::Json => log.json().finish().with(filter).init(),
    }
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let settings = Arc::new(settings);
    let clock = Clock::start();
    private_directory(&settings.state_directory)?;
    private_directory(&inbox::inbox(&settings))?;
    inbox::forget_answers(&settings);
    let (mut ledger, body) = Ledger::open(&settings.state_directory.join("ledger"))?;
    if ledger.origin() == Origin::New {
        let key = settings.state_directory.join(HOST_KEY);
        if key.exists() {
            bail!(
                "the ledger is gone and {} is there: without the ledger old orders could be replayed. \
                 Restore it, or retire this host, remove {} and join anew",
                key.display(),
                settings.state_directory.display()
            );
        }
        // The ledger is there before the key is: so that one without the other means what is said above.
        ledger.save(&Saved::default().encode()?)?;
    }
    let host_key = host_key(&settings.state_directory)?;
    if let Origin::Previous(damage) = ledger.origin() {
        tracing::error!(
            ?damage,
            "the ledger was damaged; the copy before it is used, and one change may be lost"
        );
    }
    let saved = match body {
        Some(body) => Saved::decode(&body).context("read the ledger's body")?,
        None => Saved::default(),
    };
    let sites = sites(&settings, clock)?;
    for site in sites.values() {
        site.end_orphans().await;
    }
    let listener = link::listen(&settings.socket)?;
    let (events, event_input) = mpsc::channel(WAITING_EVENTS);
    let (wanted, wanted_input) = mpsc::channel(WAITING_WISHES);
    let allowed = allowed_users(&settings)?;
    tokio::spawn(link::serve(listener, allowed, events.clone()));
    let mut watchers = Vec::new();
    for directory in [inbox::inbox(&settings), settings.inhibit_directory.clone()] {
        let events = events.clone();
        let changed = move || {
            let _ = events.blocking_send(Event::Looked);
        };
        match inhibit::watch(&directory, changed) {
            Ok(watcher) => watchers.push(watcher),
            Err(error) => {
                tracing::warn!(directory = %directory.display(), %error, "cannot be watched");
            }
        }
    }
    let parts = Parts { settings, clock, ledger, saved, host_key, sites };
    let applier = Applier::new(parts, events, wanted);
    let inputs = Inputs { events: event_input, wanted: wanted_input };
    applier.run(inputs, terminated()).await;
    drop(watchers);
    Ok(())
}

async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn sites(settings: &Settings, clock: Clock) -> anyhow::Result<BTreeMap<Name, Site>> {
    let mut sites = BTreeMap::new();
    for (name, application) in &settings.applications {
        sites.insert(name.clone(), site(settings, application.clone(), clock)?);
    }
    Ok(sites)
}

/// What works for an application; its directory is made if it is not there.
pub(crate) fn site(
    settings: &Settings,
    application: Application,
    clock: Clock,
) -> anyhow::Result<Site> {
    let owner = Account::named(&application.owner)?;
    std::fs::create_dir_all(&application.root)
        .with_context(|| format!("make {}", application.root.display()))?;
    let slots = Slots::open(&application.root, Owner { uid: owner.uid, gid: owner.gid })?;
    let account = Account::named(&application.user)?;
    Ok(Site {
        slots,
        read_only: read_only::of(&application, &owner, &account),
        account,
        probe_account: Account::named(&settings.probe_user)?,
        probe: settings.probe.clone(),
        clock,
        gate: Arc::default(),
        guard: Arc::default(),
        manifests: Arc::default(),
        config: Arc::new(application),
    })
}

/// Who may connect: the agent's user, root and this process's own user.
fn allowed_users(settings: &Settings) -> anyhow::Result<Vec<u32>> {
    let agent = Account::named(&settings.agent_user)?.uid;
    Ok(vec![agent, 0, rustix::process::geteuid().as_raw()])
}

fn private_directory(path: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        // What is synced in it is lost with it, if the machine forgets that it was made.
        .and_then(|()| std::fs::File::open(path.parent().unwrap_or(path))?.sync_all())
        .with_context(|| format!("make {}", path.display()))
}

/// The host key, made at the first start.
fn host_key(directory: &Path) -> anyhow::Result<SecretKey> {
    let path = directory.join(HOST_KEY);
    match std::fs::read_to_string(&path) {
        Ok(pem) => Ok(SecretKey::from_pem(&pem, None)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).context("get randomness for the host key")?;
            let key = SecretKey::from_seed(seed);
            write_private(&path, key.to_pem().as_bytes())?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// Writes a file of mode 0600 whole or not at all, durably.
fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let directory = path.parent().context("a file has a directory")?;
    let temporary = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        std::fs::File::open(directory)?.sync_all()
    };
    write().with_context(|| format!("write {}", path.display()))
}

fn put(settings: &Settings, file: &str, text: &str) -> anyhow::Result<()> {
    private_directory(&settings.state_directory)?;
    let inbox = inbox::inbox(settings);
    private_directory(&inbox)?;
    // Written beside the inbox, so that the service never reads half of it.
    let temporary = settings.state_directory.join(format!("{file}.new"));
    write_private(&temporary, text.as_bytes())?;
    std::fs::rename(&temporary, inbox.join(file)).context("put it into the inbox")
}

fn join_command(settings: &Settings, join: &str) -> anyhow::Result<()> {
    let text =
        if join == "-" { std::io::read_to_string(std::io::stdin())? } else { join.to_owned() };
    let join = read_join(&text, &settings.host_settings()).map_err(anyhow::Error::msg)?;
    put(settings, JOIN_FILE, text.trim())?;
    tell(&format!(
        "host         {}\nenvironment  {}\ncoordinator  {}\npolicy       {}\n\
         The host enrols itself as soon as both halves of the agent run.",
        settings.host, settings.environment, join.coordinator, join.policy_id
    ))
}

pub(crate) fn tell(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("write to standard output")
}
