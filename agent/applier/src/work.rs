//! Work: what the core wants done, carried out. The one place that wires slots, processes, units,
//! hooks and probes together; each worker answers with one [`Answer`].

mod programs;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use cutover_applier_core::{Answer, Running, SWEEP_LIMIT, Work, parse_manifest};
use cutover_machine::Slot;
use cutover_shared::digest::Digest;
use cutover_shared::package::manifest::{MANIFEST, Manifest};
use cutover_shared::statement::Drift;
use tokio::sync::mpsc;

use crate::assemble;
use crate::clock::Clock;
use crate::config::{Application, Run};
use crate::fetch::{Fetcher, Wanted};
use crate::process::{self, Account, Program};
use crate::read_only::ReadOnly;
use crate::slot::{SlotError, Slots};
use crate::unit::UnitError;
use crate::{find, unit};

/// What every worker of an application needs.
#[derive(Debug, Clone)]
pub struct Site {
    /// The host's say about it.
    pub config: Arc<Application>,
    /// Its slots.
    pub slots: Slots,
    /// As whom its programs run.
    pub account: Account,
    /// What is read-only to them.
    pub read_only: Option<ReadOnly>,
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
            Run::Unit(name) => {
                // A host that goes back or comes up runs it all the same: going forward was refused before.
                if let Err(error) = self.keep_from_writing(name).await {
                    let error = chain(&error);
                    tracing::error!(unit = name, error, "the unit can write its slots");
                }
                match unit::start(name).await {
                    Ok(()) => Answer::Done,
                    Err(error) => Answer::Failed(chain(&error)),
                }
            }
            Run::Command { start, stop_timeout, .. } => {
                let mut environment = self.environment();
                let root = self.config.root.to_string_lossy().into_owned();
                environment.insert(find::MARK.to_owned(), root);
                let program = Program {
                    command: self.program_path(start),
                    directory: self.config.root.join("current/payload"),
                    environment,
                    account: self.account.clone(),
                    read_only: self.read_only.clone(),
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

    /// Lets systemd keep the application's unit from writing its slots, from its next start on.
    pub(crate) async fn keep_from_writing(&self, name: &str) -> Result<(), UnitError> {
        let is_new = unit::keep_from_writing(name, self.read_only.as_ref()).await?;
        if is_new && unit::standing(name).await?.active_state == "active" {
            tracing::warn!(
                unit = name,
                "the unit was started before its slots were read-only to it: they are from its next start \
                 on; leave it disabled, so that at a boot the applier is the one to start it"
            );
        }
        Ok(())
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
