//! Work: what the core wants done, carried out. The one place that wires slots, processes, units,
//! hooks and probes together; each worker answers with one [`Answer`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cutover_applier_core::{Answer, Running, SWEEP_LIMIT, Work, parse_manifest};
use cutover_machine::{Direction, HookPhase, Slot, TEXT_KEPT};
use cutover_shared::digest::Digest;
use cutover_shared::package::manifest::{HookStage, MANIFEST, Manifest};
use cutover_shared::package::path::EntryPath;
use cutover_shared::statement::Drift;
use tokio::sync::mpsc;

use crate::assemble;
use crate::clock::Clock;
use crate::config::{Application, Run};
use crate::fetch::{Fetcher, Wanted};
use crate::hook::{self, HookError, HookRun, Runner, Supervisor};
use crate::process::{self, Account, Program};
use crate::slot::{SlotError, Slots};
use crate::{find, unit};

/// Bytes of a failed hook's text beside its name, how it ended and its output.
const ROOM: usize = 40;

/// What every worker of an application needs.
#[derive(Debug, Clone)]
pub struct Site {
    /// The host's say about it.
    pub config: Arc<Application>,
    /// Its slots.
    pub slots: Slots,
    /// As whom its programs run.
    pub account: Account,
    /// As whom probes run.
    pub probe_account: Account,
    /// The probe program.
    pub probe: PathBuf,
    /// The clock.
    pub clock: Clock,
    /// One at a time: what a worker does in a thread goes on when the worker is given up, and the next
    /// must not overtake it.
    pub gate: Arc<tokio::sync::Mutex<()>>,
    /// What tells of changes in the slot that is watched over.
    pub guard: Arc<std::sync::Mutex<Option<(Slot, notify::RecommendedWatcher)>>>,
    /// The manifest that was read last, with its slot.
    pub manifests: Arc<std::sync::Mutex<Option<(Slot, Manifest)>>>,
}

impl Site {
    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        let mut environment = self.config.environment();
        environment.insert("CUTOVER_APPLICATION".to_owned(), self.config.name.to_string());
        environment.insert("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned());
        environment
    }

    /// The manifest of a release, as its index says: whoever may write the slot's files cannot change the
    /// checks by which it is judged.
    pub(crate) async fn manifest(&self, slot: &Slot) -> Result<Manifest, String> {
        let kept = self.manifests.lock().ok().and_then(|kept| kept.clone());
        if let Some((_, manifest)) = kept.filter(|(known, _)| known == slot) {
            return Ok(manifest);
        }
        let (slots, slot) = (self.slots.clone(), *slot);
        let read = move || {
            let index = slots.index(&slot).map_err(|error| chain(&error))?;
            let path = slots.path(&slot).join(MANIFEST);
            let bytes =
                std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let file = index.find(MANIFEST).and_then(|entry| entry.file());
            if file.is_none_or(|file| file.digest != Digest::of(&bytes)) {
                return Err(format!(
                    "digest-mismatch: {} was changed on this host",
                    path.display()
                ));
            }
            let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
            parse_manifest(&text)
        };
        let read = tokio::task::spawn_blocking(read).await;
        let manifest = read.map_err(|error| error.to_string())??;
        if let Ok(mut kept) = self.manifests.lock() {
            *kept = Some((slot, manifest.clone()));
        }
        Ok(manifest)
    }

    /// Ends hooks that an applier before this one left behind.
    pub async fn end_orphans(&self) {
        if let Run::Unit(_) = &self.config.run
            && let Err(error) = hook::end_orphans(self.config.name.as_str()).await
        {
            tracing::error!(error = %chain(&error), "hooks of before cannot be ended");
        }
        for running in find::hooks(&self.config.root) {
            tracing::warn!(pid = running.pid, "a hook of before is ended");
            if let Err(error) = process::stop(&running, Duration::ZERO) {
                tracing::error!(error = %chain(&error), "a hook of before cannot be ended");
            }
        }
    }

    /// Who runs hooks, and the commands of checks: systemd, where it runs the application.
    fn runner(&self) -> std::io::Result<Runner> {
        match &self.config.run {
            Run::Unit(_) => hook::unit_name(self.config.name.as_str()).map(Runner::Unit),
            Run::Command { .. } | Run::Elsewhere => Ok(Runner::Supervised(Supervisor::ourselves())),
        }
    }

    /// A run of a program of the slot in `directory`, or of this host: as the application's user, and marked,
    /// so that it is found again should this applier be killed meanwhile.
    pub(crate) fn run_of(
        &self,
        program: &str,
        arguments: Vec<String>,
        directory: &Path,
        timeout: Duration,
    ) -> std::io::Result<HookRun> {
        let mut environment = self.environment();
        let root = self.config.root.to_string_lossy().into_owned();
        environment.insert(find::HOOK_MARK.to_owned(), root);
        Ok(HookRun {
            command: directory.join(program),
            arguments,
            directory: directory.to_owned(),
            environment,
            account: self.account.clone(),
            timeout,
            runner: self.runner()?,
        })
    }

    /// Carries out work; `progress` is told bytes fetched, and to fetch.
    pub async fn carry_out(
        &self,
        work: Work,
        wanted: mpsc::Sender<Wanted>,
        progress: impl Fn(u64, u64),
    ) -> Answer {
        let assembled = |made: Result<(), String>| match made {
            Ok(()) => Answer::Done,
            Err(why) => Answer::Failed(why),
        };
        match work {
            Work::Fetch { slot, package, sources } => {
                let fetcher = Fetcher::new(slot.package, wanted);
                let made =
                    assemble::from_package(self, slot, &package, &fetcher, sources, progress);
                assembled(made.await)
            }
            Work::Copy { slot, sources } => {
                assembled(assemble::from_host(self, slot, sources).await)
            }
            Work::Preflight { slot, back } => assembled(self.preflight(slot, back).await),
            Work::Hook { slot, phase, direction } => self.hook(slot, phase, direction).await,
            Work::Step { slot, run } => {
                self.program(slot, &run.command, run.timeout, run.environment).await
            }
            Work::Stop => self.stop().await,
            Work::Switch { to } => self.switch(to).await,
            Work::Start => self.start().await,
            Work::Check { slot } => self.check(slot).await,
            Work::CleanUp { slot } => self.clean_up(slot).await,
            Work::Settle { slot } => self.settle(slot).await,
        }
    }

    /// Removes the slots that are no longer kept, beside the loop.
    pub fn tidy(&self, keep: Vec<Slot>) {
        let slots = self.slots.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = slots.retain(&keep) {
                tracing::warn!(error = %chain(&error), "earlier releases cannot be removed");
            }
        });
    }

    async fn blocking(&self, work: impl FnOnce() -> Answer + Send + 'static) -> Answer {
        let turn = self.gate.clone().lock_owned().await;
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        work.await.unwrap_or_else(|error| Answer::Failed(format!("the worker ended: {error}")))
    }

    /// Starts the current release, or finds it running.
    pub async fn start(&self) -> Answer {
        match &self.config.run {
            Run::Elsewhere => Answer::Done,
            Run::Unit(name) => match unit::start(name).await {
                Ok(()) => Answer::Done,
                Err(error) => Answer::Failed(chain(&error)),
            },
            Run::Command { start, stop_timeout, .. } => {
                let mut environment = self.environment();
                let root = self.config.root.to_string_lossy().into_owned();
                environment.insert(find::MARK.to_owned(), root);
                let program = Program {
                    command: self.program_path(start),
                    directory: self.config.root.join("current/payload"),
                    environment,
                    account: self.account.clone(),
                    log: self.config.root.join("application.log"),
                    stop_timeout: *stop_timeout,
                };
                let root = self.config.root.clone();
                self.blocking(move || {
                    if let Some(running) = find::running(&root).into_iter().next() {
                        return Answer::Started(running);
                    }
                    match program.start() {
                        Ok(running) => Answer::Started(running),
                        Err(error) => Answer::Failed(chain(&error)),
                    }
                })
                .await
            }
        }
    }

    /// The start command with its program's path made whole.
    fn program_path(&self, start: &[String]) -> Vec<String> {
        let mut command = start.to_vec();
        if let Some(program) = command.first_mut() {
            let path = self.config.root.join("current/payload").join(&*program);
            *program = path.to_string_lossy().into_owned();
        }
        command
    }

    /// Stops the application: done when nothing of it runs.
    async fn stop(&self) -> Answer {
        match &self.config.run {
            Run::Elsewhere => Answer::Done,
            Run::Unit(name) => match unit::stop(name).await {
                Ok(()) => Answer::Done,
                Err(error) => Answer::Failed(chain(&error)),
            },
            Run::Command { stop_timeout, .. } => {
                let (root, timeout) = (self.config.root.clone(), *stop_timeout);
                self.blocking(move || {
                    for running in find::running(&root) {
                        if let Err(error) = process::stop(&running, timeout) {
                            return Answer::Failed(chain(&error));
                        }
                    }
                    Answer::Done
                })
                .await
            }
        }
    }

    /// Lets the link name `to`.
    async fn switch(&self, to: Option<Slot>) -> Answer {
        let slots = self.slots.clone();
        self.blocking(move || answer(slots.switch(to.as_ref()))).await
    }

    /// Removes what was assembled.
    async fn clean_up(&self, slot: Slot) -> Answer {
        let slots = self.slots.clone();
        self.blocking(move || answer(slots.remove(&slot))).await
    }

    /// After a restart: the link names the committed release, and that runs.
    async fn settle(&self, slot: Option<Slot>) -> Answer {
        let slots = self.slots.clone();
        let wanted = slot.map(|slot| slots.path(&slot));
        let linked = self
            .blocking(move || {
                let name = wanted.as_ref().and_then(|path| path.file_name()).map(ToOwned::to_owned);
                match slots.current() {
                    Ok(current) if current.as_deref().map(AsRef::as_ref) == name.as_deref() => {
                        Answer::Done
                    }
                    Ok(_) => repair(&slots, slot.as_ref()),
                    Err(SlotError::StrangeLink { .. }) if slot.is_some() => {
                        repair(&slots, slot.as_ref())
                    }
                    Err(error) => Answer::Failed(chain(&error)),
                }
            })
            .await;
        match (linked, slot) {
            (Answer::Done, Some(_)) => self.start().await,
            (Answer::Repaired(drift, _), Some(_)) => {
                let started = self.start().await;
                match started {
                    Answer::Done => Answer::Repaired(drift, None),
                    Answer::Started(running) => Answer::Repaired(drift, Some(running)),
                    Answer::Repaired(..)
                    | Answer::Failed(_)
                    | Answer::Blocked(_)
                    | Answer::Sample(_) => started,
                }
            }
            (Answer::Done, None) => self.stop().await,
            (other, _) => other,
        }
    }

    /// Watches over a slot, telling `changed` of changes, and compares it with what was deployed.
    pub async fn sweep(
        &self,
        slot: Slot,
        changed: impl Fn() + Send + 'static,
    ) -> Result<Vec<Drift>, String> {
        let (slots, guard) = (self.slots.clone(), self.guard.clone());
        // Beside the gate: it reads only, for minutes where there is much, and no order waits for that.
        let sweep = tokio::task::spawn_blocking(move || {
            let mut guard = guard.lock().map_err(|error| error.to_string())?;
            if guard.as_ref().is_none_or(|(watched, _)| *watched != slot) {
                *guard = None;
                match slots.guard(&slot, changed) {
                    Ok(watcher) => *guard = Some((slot, watcher)),
                    Err(error) => {
                        tracing::warn!(%error, "what is deployed cannot be watched");
                    }
                }
            }
            slots.drift(&slot, SWEEP_LIMIT).map_err(|error| chain(&error))
        });
        sweep.await.map_err(|error| error.to_string())?
    }

    /// Runs a hook of a release, or its undo; one that does not exist is done.
    async fn hook(&self, slot: Slot, phase: HookPhase, direction: Direction) -> Answer {
        let manifest = match self.manifest(&slot).await {
            Ok(manifest) => manifest,
            Err(why) => return Answer::Failed(why),
        };
        let Some(hook) = manifest.hooks.at(stage(phase)) else { return Answer::Done };
        let (command, timeout) = match (direction, &hook.undo) {
            (Direction::Forward, _) => (&hook.command, hook.timeout),
            (Direction::Undo, Some(undo)) => (&undo.command, undo.timeout),
            (Direction::Undo, None) => return Answer::Done,
        };
        self.program(slot, command, timeout, BTreeMap::new()).await
    }

    /// Runs a program of a release as hooks run, with `more` in its environment.
    async fn program(
        &self,
        slot: Slot,
        command: &EntryPath,
        timeout: Duration,
        more: BTreeMap<String, String>,
    ) -> Answer {
        let directory = self.slots.path(&slot);
        let mut run = match self.run_of(command.as_str(), Vec::new(), &directory, timeout) {
            Ok(run) => run,
            Err(error) => return Answer::Failed(error.to_string()),
        };
        run.environment.extend(more);
        match hook::run(&run).await {
            Ok(output) => {
                tracing::info!(hook = %command, output = %output.text, "the hook ended well");
                Answer::Done
            }
            Err(error) => {
                tracing::warn!(hook = %command, output = %error.output(), "the hook failed");
                if matches!(error, HookError::Remains { .. }) {
                    self.end_orphans().await;
                }
                let how = chain(&error);
                let room = TEXT_KEPT.saturating_sub(command.as_str().len() + how.len() + ROOM);
                let output = hook::excerpt(error.output(), room);
                Answer::Failed(format!("{command}: {how}: {output}"))
            }
        }
    }
}

/// The hook's place in the manifest.
fn stage(phase: HookPhase) -> HookStage {
    match phase {
        HookPhase::PreStop => HookStage::PreStop,
        HookPhase::Stop => HookStage::Stop,
        HookPhase::Activate => HookStage::Activate,
        HookPhase::Start => HookStage::Start,
        HookPhase::PostStart => HookStage::PostStart,
    }
}

/// Lets the link name the committed release again, and tells what it was; with none there, it is removed.
fn repair(slots: &Slots, slot: Option<&Slot>) -> Answer {
    let found = slot.map(|slot| slots.link_drift(slot)).transpose();
    match (slots.switch(slot), found) {
        (Err(error), _) | (Ok(()), Err(error)) => Answer::Failed(chain(&error)),
        (Ok(()), Ok(Some(Some(drift)))) => Answer::Repaired(Box::new(drift), None),
        (Ok(()), Ok(Some(None) | None)) => Answer::Done,
    }
}

fn answer<E: std::error::Error>(result: Result<(), E>) -> Answer {
    match result {
        Ok(()) => Answer::Done,
        Err(error) => Answer::Failed(chain(&error)),
    }
}

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Waits until a process has ended.
pub async fn watch(running: Running) {
    process::exited(&running).await;
}
