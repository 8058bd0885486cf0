//! `cutover-applier return` and `keep`: an operator's word to the service, with the network down if need be.
//!
//! The request is a file in the inbox; the service answers with another, and what comes of it is read from
//! the ledger, as it grows.

use std::io::Write as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use cutover_applier_core::{MAX_REASON, OperatorAct, OperatorAsk, SavedApplication};
use cutover_machine::{Phase, What};
use cutover_shared::digest::Digest;
use cutover_shared::name::Name;
use cutover_shared::time::span;

use super::{inspect, put, tell};
use crate::config::Settings;
use crate::inbox;
use crate::inhibit;

/// How long the service may take to answer; it is asked only to begin.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// What `return` and `keep` have in common.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The application; may be left out where this host has one only.
    application: Option<Name>,
    /// Why; it goes into the outcome and the log.
    #[arg(long)]
    reason: String,
    /// How long to wait for the end.
    #[arg(long, default_value = "15m", value_parser = span::parse)]
    wait: Duration,
    /// Do not ask back.
    #[arg(long)]
    yes: bool,
    /// Show what would be asked, and ask for nothing.
    #[arg(long)]
    dry_run: bool,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(settings: &Settings, asked: &Arguments, act: OperatorAct) -> anyhow::Result<()> {
    let ask = request(settings, asked, act)?;
    let known = state(settings, &ask.application)?;
    if !asked.json || asked.dry_run {
        tell(&plan(&ask, &known))?;
    }
    if asked.dry_run {
        return Ok(());
    }
    only_its_owner(settings)?;
    if !asked.yes && !confirmed()? {
        bail!("nothing was asked for");
    }
    let (changed, changes) = channel();
    let inbox = inbox::inbox(settings);
    let _watchers = [&inbox, &settings.state_directory]
        .map(|directory| {
            let changed = changed.clone();
            // Once nobody listens, nobody waits.
            inhibit::watch(directory, move || changed.send(()).unwrap_or_default())
        })
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .context("watch for the answer")?;
    let mut number = [0; 8];
    getrandom::fill(&mut number).context("get a number for the request")?;
    let number = Digest::of(&number).short();
    put(settings, &inbox::ask_file(&number), &serde_json::to_string(&ask)?)?;
    let answer = answer(settings, &number, &changes)?;
    if !asked.json {
        tell(&answer)?;
    }
    let ended = end(settings, &ask.application, asked.wait, &changes)?;
    if asked.json {
        tell(&serde_json::to_string_pretty(&serde_json::json!({
            "application": ask.application,
            "answer": answer,
            "state": ended.record.state.phase().to_string(),
            "running": ended.record.committed.map(|slot| slot.package),
            "stuck": inspect::stuck(&ended.record.state),
        }))?)?;
    } else {
        tell(&told(&ended))?;
    }
    if ended.record.state.phase() == Phase::Stuck {
        bail!("it is stuck: look at what is said above, mend it, and ask again");
    }
    Ok(())
}

fn request(
    settings: &Settings,
    asked: &Arguments,
    act: OperatorAct,
) -> anyhow::Result<OperatorAsk> {
    let names = || settings.applications.keys().map(Name::to_string).collect::<Vec<_>>().join(", ");
    let application = match &asked.application {
        Some(name) if settings.applications.contains_key(name) => name.clone(),
        Some(name) => bail!("{name} is not in this host's configuration, which has {}", names()),
        None if settings.applications.len() == 1 => {
            settings.applications.keys().next().cloned().context("one application")?
        }
        None => bail!("name the application: this host has {}", names()),
    };
    let reason = asked.reason.trim().to_owned();
    if reason.is_empty() || reason.chars().count() > MAX_REASON {
        bail!("--reason: say why, in at most {MAX_REASON} characters");
    }
    Ok(OperatorAsk { application, act, reason })
}

fn state(settings: &Settings, application: &Name) -> anyhow::Result<SavedApplication> {
    let (mut saved, _) = inspect::read(settings)?;
    let known = saved.applications.remove(application);
    known.with_context(|| format!("the service has not run with application {application} yet"))
}

/// Only root and the service's own user may put something into the inbox.
fn only_its_owner(settings: &Settings) -> anyhow::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let us = rustix::process::geteuid();
    let owner = std::fs::metadata(&settings.state_directory).map(|it| it.uid());
    if us.is_root() || owner.is_ok_and(|owner| owner == us.as_raw()) {
        return Ok(());
    }
    bail!("only root may do this: run it with sudo")
}

fn plan(ask: &OperatorAsk, known: &SavedApplication) -> String {
    let record = &known.record;
    let committed = record
        .committed
        .map_or("absent (stopped, no link)".to_owned(), |it| it.package.to_string());
    let act = match ask.act {
        OperatorAct::Return { skip_undo, even_irreversible } => format!(
            "return{}{}",
            if skip_undo { ", without the undo of hooks" } else { "" },
            if even_irreversible { ", even if irreversible" } else { "" }
        ),
        OperatorAct::Keep => "keep what is stuck".to_owned(),
    };
    let mut lines = vec![
        format!("application  {}", ask.application),
        format!("now          {}", record.state.phase()),
    ];
    lines.extend(inspect::stuck(&record.state).map(|why| format!("             {why}")));
    lines.push(format!("committed    {committed}"));
    lines.push(format!("ask          {act}"));
    lines.push(format!("reason       {}", ask.reason));
    lines.push("The host signs an outcome that says so.".to_owned());
    lines.join("\n")
}

fn confirmed() -> anyhow::Result<bool> {
    write!(std::io::stdout(), "Go on? [y/N] ")?;
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("read the answer")?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// Waits for the service's answer; a refusal is an error.
fn answer(settings: &Settings, number: &str, changes: &Receiver<()>) -> anyhow::Result<String> {
    let path = inbox::inbox(settings).join(inbox::answer_file(number));
    let began = Instant::now();
    loop {
        if let Ok(text) = std::fs::read_to_string(&path) {
            let answer: Result<String, String> =
                serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))?;
            std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
            return answer.map_err(|why| anyhow::anyhow!("refused: {why}"));
        }
        if !wait(changes, began, ANSWER_LIMIT) {
            bail!(
                "the service does not answer: it does what was asked when it runs again \
                 (systemctl start cutover-applier); until then the request can be taken back: rm {}",
                inbox::inbox(settings).join(inbox::ask_file(number)).display()
            );
        }
    }
}

/// Waits until nothing is under way any longer.
fn end(
    settings: &Settings,
    application: &Name,
    limit: Duration,
    changes: &Receiver<()>,
) -> anyhow::Result<SavedApplication> {
    let began = Instant::now();
    loop {
        let known = state(settings, application)?;
        let phase = known.record.state.phase();
        let at_rest = [Phase::Idle, Phase::Committed, Phase::Returned, Phase::Stuck];
        if at_rest.contains(&phase) {
            return Ok(known);
        }
        if !wait(changes, began, limit) {
            bail!("it is still {phase} and goes on: see `cutover-applier inspect`");
        }
    }
}

/// Whether something changed before `limit` had passed since `began`.
fn wait(changes: &Receiver<()>, began: Instant, limit: Duration) -> bool {
    match changes.recv_timeout(limit.saturating_sub(began.elapsed())) {
        Ok(()) => true,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => false,
    }
}

fn told(known: &SavedApplication) -> String {
    let record = &known.record;
    let runs = record.committed.map_or("it is absent".to_owned(), |slot| {
        format!("its release is {}", slot.package.short())
    });
    let phase = record.state.phase();
    match (inspect::stuck(&record.state), record.state.outcome().map(|it| &it.what)) {
        (Some(why), _) => format!("stuck: {why}"),
        (None, Some(What::Returned { .. } | What::Abandoned)) => format!("returned; {runs}"),
        (None, _) => format!("{phase}; {runs}"),
    }
}
