//! The programs of a release: its hooks, the steps of its runbook, the commands of its checks.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cutover_applier_core::Answer;
use cutover_machine::{Direction, HookPhase, Slot, TEXT_KEPT};
use cutover_shared::package::manifest::HookStage;
use cutover_shared::package::path::EntryPath;

use super::{Site, chain};
use crate::config::Run;
use crate::hook::{self, HookError, HookRun, Runner, Supervisor};
use crate::{find, process};

/// Bytes of a failed hook's text beside its name, how it ended and its output.
const ROOM: usize = 40;

impl Site {
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
            read_only: self.read_only.clone(),
            timeout,
            runner: self.runner()?,
        })
    }

    /// Runs a hook of a release, or its undo; one that does not exist is done.
    pub(super) async fn hook(&self, slot: Slot, phase: HookPhase, direction: Direction) -> Answer {
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
    pub(super) async fn program(
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
