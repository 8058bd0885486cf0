//! What the deployment machines ask for, handed to workers, and their answers taken back.

use cutover_machine::{
    ClearancePhase, Effect, EffectId, Issued, Kind, Outcome as Ended, Record, State, What,
};
use cutover_shared::digest::Digest;
use cutover_shared::name::Name;
use cutover_shared::protocol::FromApplier;
use cutover_shared::statement::Phase;

use crate::applier::Applier;
use crate::content;
use crate::event::{Answer, Event};
use crate::fetch::Fetcher;
use crate::outcome;
use crate::preflight;
use crate::process::Running;
use crate::saved::SavedApplication;
use crate::work::{self, Site, chain};

/// The pause before a process that ended by itself is started again, doubled with each fall in a row.
const FIRST_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);
/// Doubled at most so often: about a minute.
const MOST_DOUBLINGS: u32 = 6;

impl Applier {
    /// Lets the machine of an application hand out what it wants done now.
    pub(crate) fn carry_out(&mut self, name: &Name) {
        while let Some(issued) =
            self.deployments.get_mut(name).and_then(|it| it.machine.poll_effect())
        {
            self.carry_out_one(name, issued);
        }
    }

    fn carry_out_one(&mut self, name: &Name, Issued { id, effect }: Issued) {
        tracing::debug!(application = %name, effect = effect.name(), %id);
        match effect {
            Effect::Persist { record, outcome } => {
                self.persist(name, id, &record, outcome.as_deref());
            }
            Effect::RequestClearance { phase } => self.request_clearance(name, id, phase),
            Effect::Abort { of } => self.abort(name, id, of),
            Effect::Assemble { assignment } => {
                self.assemble(name, id, &assignment.slot(), assignment.kind);
            }
            Effect::Preflight { .. } => {
                let inhibitor = self.inhibitors.first().cloned();
                self.work(name, id, move |site| async move {
                    match inhibitor {
                        Some(reason) => Answer::Blocked(format!("inhibited: {reason}")),
                        None => look(&site),
                    }
                });
            }
            Effect::Hook { slot, phase, direction } => {
                self.work(
                    name,
                    id,
                    move |site| async move { site.hook(slot, phase, direction).await },
                );
            }
            Effect::Stop => {
                if let Some(deployment) = self.deployments.get_mut(name) {
                    deployment.watched = None;
                }
                self.work(name, id, |site| async move { site.stop().await });
            }
            Effect::Switch { to } => {
                self.work(name, id, move |site| async move { site.switch(to).await });
            }
            Effect::Start { .. } => self.work(name, id, |site| async move { site.start().await }),
            Effect::Check { slot, .. } => {
                self.work(name, id, move |site| async move { site.check(slot).await });
            }
            Effect::CleanUp { slot } => {
                self.work(name, id, move |site| async move { site.clean_up(slot).await });
            }
            Effect::Settle { slot } => {
                self.work(name, id, move |site| async move { site.settle(slot).await });
            }
        }
    }

    /// Gives an effect to a worker; its answer comes back as an event.
    fn work<F>(&mut self, name: &Name, id: EffectId, task: impl FnOnce(Site) -> F)
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let events = self.events.clone();
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        let task = task(deployment.site.clone());
        let application = name.clone();
        let worker = tokio::spawn(async move {
            let answer = task.await;
            let _ = events.send(Event::Answered { application, effect: id, answer }).await;
        });
        deployment.workers.insert(id, worker);
    }

    /// Ends a worker. What it started in a thread goes on to its end, and is waited for.
    fn abort(&mut self, name: &Name, id: EffectId, of: EffectId) {
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        let worker = deployment.workers.remove(&of);
        self.work(name, id, |_| async move {
            if let Some(worker) = worker {
                worker.abort();
                let _ = worker.await;
            }
            Answer::Done
        });
    }

    fn request_clearance(&mut self, name: &Name, id: EffectId, phase: ClearancePhase) {
        let now = self.clock.now();
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        let Some(hand) = &deployment.hand else {
            // After a restart the evidence is gone: the order is given back and offered anew.
            let refused = cutover_machine::Decision::Refused(
                "not-cleared: the applier ended meanwhile; the order has to be offered again"
                    .to_owned(),
            );
            let _ = deployment.machine.handle_clearance(id, refused, now);
            return;
        };
        let fresh = hand.cleared.as_ref().is_some_and(|it| now.wall < it.cleared().not_after());
        match (phase, hand.clearance) {
            // The one with which the manifest was read is for starting, too.
            (ClearancePhase::Start, Some(clearance)) if fresh => {
                let granted = cutover_machine::Decision::Granted(clearance);
                let _ = deployment.machine.handle_clearance(id, granted, now);
            }
            (ClearancePhase::Start, _) => {
                let order = hand.order;
                self.ask(name, order, Phase::Start, Some(id));
            }
            (ClearancePhase::Activate, _) => {
                let order = hand.order;
                self.ask(name, order, Phase::Activate, Some(id));
            }
        }
    }

    fn assemble(&mut self, name: &Name, id: EffectId, slot: &cutover_machine::Slot, kind: Kind) {
        let slot = *slot;
        let mut sources = Vec::new();
        if let Some(saved) = self.saved.applications.get(name) {
            sources.extend(saved.record.committed);
            sources.extend(saved.history.iter().copied());
        }
        let package = self
            .deployments
            .get(name)
            .and_then(|it| it.hand.as_ref())
            .and_then(|hand| hand.package.clone());
        if let Some(deployment) = self.deployments.get_mut(name) {
            deployment.fetching = Some((id, slot.package));
        }
        let fetcher = Fetcher::new(slot.package, self.wanted.clone());
        let (events, application) = (self.events.clone(), name.clone());
        self.work(name, id, move |site| async move {
            let made = match (kind, package) {
                (Kind::Forward, Some(package)) => {
                    let progress = move |done, all| {
                        let application = application.clone();
                        let _ = events.try_send(Event::Progress { application, done, all });
                    };
                    assemble_forward(&site, slot, &package, &fetcher, sources, progress).await
                }
                (Kind::Forward, None) => Err("the package's manifest is not at hand".to_owned()),
                (Kind::Return, _) => assemble_return(&site, slot, sources).await,
            };
            made.map_or_else(Answer::Failed, |()| Answer::Done)
        });
    }

    /// The machine's record, and an ended order's outcome with it, into the ledger.
    fn persist(&mut self, name: &Name, id: EffectId, record: &Record, ended: Option<&Ended>) {
        let before = self.saved.clone();
        self.note(name, record, ended);
        let stored = self.save();
        let now = self.clock.now();
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        match stored {
            Ok(()) => {
                let _ = deployment.machine.handle_done(id, now);
            }
            Err(error) => {
                tracing::error!(%error, "the ledger cannot be written");
                self.saved = before;
                let _ = deployment.machine.handle_failed(id, error, now);
                return;
            }
        }
        if let Some(ended) = ended {
            tracing::info!(application = %name, order = %ended.booking.short(), what = ?ended.what, cause = ?ended.cause, "ended");
            if matches!(ended.what, What::Abandoned) {
                let refusal = outcome::abandoned(ended);
                deployment.refused = Some((ended.booking, refusal));
            }
            deployment.hand = None;
            deployment.asking = None;
            self.send_newest_outcome();
            self.tidy(name);
        }
    }

    /// What a record means for everything else that is saved.
    fn note(&mut self, name: &Name, record: &Record, ended: Option<&Ended>) {
        let reporter = self.reporter();
        let accepted = self.saved.newest_time;
        let size = self.known();
        let retain = self.settings.applications.get(name).map_or(1, |it| it.retain.max(1));
        let Some(saved) = self.saved.applications.get_mut(name) else { return };
        let report = ended.map(|ended| outcome::of_ended(&reporter, name, ended, saved));
        if touched(record)
            && let Some(order) = saved.order.clone()
        {
            saved.spend(order.order, order.end, accepted);
            if let Some(iteration) = order.iteration {
                saved.begin_iteration(iteration);
            }
        }
        if let Some(ended) = ended {
            note_end(saved, ended, size, retain);
        }
        saved.record = record.clone();
        if let (Some(report), Some(ended)) = (report, ended) {
            self.replace_outcome(ended.booking, report);
        }
    }

    /// Queues the outcome of an order, in the place of one that was believed lost.
    fn replace_outcome(&mut self, order: Digest, report: cutover_shared::statement::Outcome) {
        let same = |envelope: &[u8]| {
            let envelope = cutover_shared::dsse::Envelope::parse(envelope).ok()?;
            let statement = cutover_shared::statement::Statement::read(&envelope).ok()?;
            let cutover_shared::statement::Says::Outcome(it) = statement.says else { return None };
            Some(it.order == order && it.generation == report.generation)
        };
        self.saved.reports.retain(|(_, envelope)| same(envelope) != Some(true));
        self.queue_outcome(report);
    }

    /// Removes the slots that are no longer kept.
    fn tidy(&mut self, name: &Name) {
        let Some(saved) = self.saved.applications.get(name) else { return };
        if matches!(saved.record.state, State::Stuck(..)) {
            return;
        }
        let mut keep = saved.history.clone();
        keep.extend(saved.record.committed);
        let Some(deployment) = self.deployments.get(name) else { return };
        let slots = deployment.site.slots.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = slots.retain(&keep) {
                tracing::warn!(error = %chain(&error), "earlier releases cannot be removed");
            }
        });
    }

    /// An answer of a worker.
    pub(crate) fn answered(&mut self, name: &Name, effect: EffectId, answer: Answer) {
        let now = self.clock.now();
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        deployment.workers.remove(&effect);
        if deployment.fetching.is_some_and(|(fetching, _)| fetching == effect)
            && let Some((_, package)) = deployment.fetching.take()
        {
            // What arrived is in the slot, or was no good: the network half need not keep it.
            self.say(FromApplier::StopFetching { package });
        }
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        let taken = match answer {
            Answer::Done => deployment.machine.handle_done(effect, now),
            Answer::Started(running) => {
                deployment.watched = Some(running);
                let result = deployment.machine.handle_done(effect, now);
                self.watch(name, running);
                result
            }
            Answer::Failed(why) => {
                tracing::warn!(application = %name, %effect, %why, "failed");
                deployment.machine.handle_failed(effect, why, now)
            }
            Answer::Blocked(why) => {
                tracing::info!(application = %name, %why, "blocked");
                deployment.machine.handle_blocked(effect, why, now)
            }
            Answer::Sample(sample) => {
                if !sample.healthy() {
                    tracing::warn!(application = %name, readings = ?sample.readings, "unhealthy");
                }
                deployment.machine.handle_sample(effect, sample, now)
            }
        };
        if let Err(rejection) = taken {
            tracing::debug!(application = %name, %rejection, "an answer is not wanted any longer");
        }
    }

    fn watch(&self, name: &Name, running: Running) {
        let (application, events) = (name.clone(), self.events.clone());
        tokio::spawn(async move {
            work::watch(running).await;
            let _ = events.send(Event::Exited { application, running }).await;
        });
    }

    /// A watched process ended by itself.
    pub(crate) fn exited(&mut self, name: &Name, running: Running) {
        let now = self.clock.now();
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        if deployment.watched != Some(running) {
            return;
        }
        deployment.watched = None;
        tracing::warn!(application = %name, pid = running.pid, "the application ended by itself");
        if deployment.machine.handle_exited("its process is gone", now).is_ok() {
            return;
        }
        let pause = FIRST_PAUSE * 2_u32.pow(deployment.falls.min(MOST_DOUBLINGS));
        deployment.falls = deployment.falls.saturating_add(1);
        let (application, events) = (name.clone(), self.events.clone());
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let _ = events.send(Event::Restart { application }).await;
        });
    }

    /// It was started again, and is watched like the first.
    pub(crate) fn restarted(&mut self, name: &Name, running: Running) {
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        if deployment.watched.is_none() && crate::process::is_running(&running) {
            deployment.watched = Some(running);
            self.watch(name, running);
        }
    }

    /// Starts a committed application again that ended by itself.
    pub(crate) fn restart(&mut self, name: &Name) {
        let Some(deployment) = self.deployments.get(name) else { return };
        let committed = deployment.machine.record().committed.is_some();
        if deployment.working_on().is_some() || deployment.watched.is_some() || !committed {
            return;
        }
        let site = deployment.site.clone();
        let (application, events) = (name.clone(), self.events.clone());
        tokio::spawn(async move {
            match site.start().await {
                Answer::Started(running) => {
                    let _ = events.send(Event::Restarted { application, running }).await;
                }
                Answer::Done | Answer::Blocked(_) | Answer::Sample(_) => {}
                Answer::Failed(why) => {
                    tracing::error!(%application, %why, "the application cannot be started again");
                    tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(MOST_DOUBLINGS)).await;
                    let _ = events.send(Event::Restart { application }).await;
                }
            }
        });
    }
}

/// Whether the running application has been touched by the order of this record.
fn touched(record: &Record) -> bool {
    match &record.state {
        State::Returning(_, retreat) => retreat.reached.touches(),
        State::Committed(_) => true,
        State::Returned(ended) | State::Stuck(_, ended) => !matches!(ended.what, What::Abandoned),
        State::Idle
        | State::Authorised(_)
        | State::Fetching(_)
        | State::Assembled(_)
        | State::Preflight(..)
        | State::Stopping(..)
        | State::Activating(..)
        | State::Starting(..)
        | State::Checking(_)
        | State::Baking(_) => {
            record.state.going_forward().is_some_and(|(_, point)| point.touches())
        }
    }
}

fn note_end(saved: &mut SavedApplication, ended: &Ended, size: u64, retain: usize) {
    let before = saved.record.committed;
    match (&ended.what, ended.kind) {
        (What::Committed, Kind::Forward) => {
            if let Some(before) = before {
                saved.history.insert(0, before);
                saved.history.truncate(retain);
            }
        }
        (What::Committed, Kind::Return) => {
            if let Some(left) = before {
                saved.take_back(left.package, size, ended.ended);
            }
            if !saved.history.is_empty() {
                saved.history.remove(0);
            }
        }
        (What::Returned { .. } | What::Stuck { .. }, _) => {
            saved.take_back(ended.package, size, ended.ended);
        }
        (What::Abandoned, _) => {}
    }
    saved.order = None;
    saved.clearances.clear();
}

fn look(site: &Site) -> Answer {
    match preflight::look(&site.config.root, 0).and_then(|()| preflight::memory()) {
        Ok(()) => Answer::Done,
        Err(why) => Answer::Failed(why),
    }
}

async fn assemble_forward(
    site: &Site,
    slot: cutover_machine::Slot,
    package: &content::Package,
    fetcher: &Fetcher,
    sources: Vec<cutover_machine::Slot>,
    progress: impl Fn(u64, u64),
) -> Result<(), String> {
    let (slots, index) = (site.slots.clone(), package.index.clone());
    let root = site.config.root.clone();
    let (assembly, local) = tokio::task::spawn_blocking(move || {
        let local = content::local_sources(&slots, &sources);
        let assembly = slots.assemble(&slot, &index).map_err(|error| chain(&error))?;
        // What an interrupted attempt left behind need not fit again.
        let missing = assembly.missing().iter().map(|chunk| u64::from(chunk.length)).sum();
        preflight::look(&root, missing)?;
        Ok::<_, String>((assembly, local))
    })
    .await
    .map_err(|error| error.to_string())??;
    let filled =
        content::fill(assembly, slot.package, &package.map, fetcher, local, progress).await?;
    finish(filled).await
}

async fn assemble_return(
    site: &Site,
    slot: cutover_machine::Slot,
    sources: Vec<cutover_machine::Slot>,
) -> Result<(), String> {
    let slots = site.slots.clone();
    let assembly = tokio::task::spawn_blocking(move || {
        let source = sources.iter().find(|it| it.package == slot.package);
        let source = source.ok_or("the release to go back to is not on disk")?;
        let index = slots.index(source).map_err(|error| chain(&error))?;
        let mut assembly = slots.assemble(&slot, &index).map_err(|error| chain(&error))?;
        content::fill_locally(&mut assembly, &[(slots.path(source), index)])?;
        Ok::<_, String>(assembly)
    })
    .await
    .map_err(|error| error.to_string())??;
    finish(assembly).await
}

async fn finish(assembly: crate::slot::Assembly) -> Result<(), String> {
    let finished = tokio::task::spawn_blocking(move || assembly.finish()).await;
    finished.map_err(|error| error.to_string())?.map_err(|error| chain(&error))
}
