//! The place of a rehearsal: one deployment machine, and the workers of the application.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_applier_core::{Answer, Driver, Running, Terms, Work, forward_assignment};
use cutover_machine::{
    Assignment, Cause, Decision, Effect, EffectId, Hold, Issued, Machine, Outcome, Phase, Slot,
    What, Withstands,
};
use cutover_shared::digest::Digest;
use cutover_shared::name::Name;
use cutover_shared::statement::RehearsedStep;
use cutover_shared::window::Window;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::shelf::Shelf;
use super::told_by_application;
use crate::clock::Clock;
use crate::work::{self, Site};

/// How long the window of a rehearsal is: it tells how long the package takes, so nothing may cut it short.
const WINDOW: Duration = Duration::from_hours(24);

/// How long a package that is to be taken back bakes at least.
const SHORTEST_BAKE: Duration = Duration::from_secs(1);

/// The step that failed, and why.
pub(super) type Failure = (String, String);

/// How a package that is brought in is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It stays.
    Commit,
    /// It is taken back when it has become healthy.
    Return,
}

/// Something that a worker has to say.
#[derive(Debug)]
enum Told {
    Answered(EffectId, Answer),
    Exited(Running),
}

/// The stage.
#[derive(Debug)]
pub(super) struct Stage {
    site: Site,
    clock: Clock,
    name: Name,
    machine: Machine,
    /// How long each step took, since they were counted.
    steps: Vec<RehearsedStep>,
    /// What is to be running in the end.
    expected: Option<Slot>,
}

/// One order on its way.
struct Run<'s> {
    stage: &'s mut Stage,
    package: Shelf,
    end: End,
    told: mpsc::Sender<Told>,
    workers: BTreeMap<EffectId, JoinHandle<()>>,
    watched: Option<Running>,
    outcome: Option<Outcome>,
    /// The phase, and since when, on the monotonic clock.
    phase: (Phase, Duration),
    /// When it was held, to be taken back.
    held: Option<Duration>,
}

impl Stage {
    /// With nothing on it.
    pub(super) fn new(site: Site, name: Name, clock: Clock) -> Self {
        let machine = Machine::new(name.to_string());
        Self { site, clock, name, machine, steps: Vec::new(), expected: None }
    }

    /// Counts the steps from here on.
    pub(super) fn begin_steps(&mut self) {
        self.steps.clear();
    }

    /// How long each step took.
    pub(super) fn into_steps(self) -> Vec<RehearsedStep> {
        self.steps
    }

    /// Brings a package in; how long that took, or for [`End::Return`], how long taking it back did.
    pub(super) async fn bring_in(&mut self, package: Shelf, end: End) -> Result<Duration, Failure> {
        let now = self.clock.now();
        let mut assignment = self.assignment(&package);
        if end == End::Return {
            // Without baking it would have committed before it could be held.
            assignment.health.bake = assignment.health.bake.max(SHORTEST_BAKE);
        }
        let slot = assignment.slot();
        let order = self.machine.handle_order(assignment, now);
        order.map_err(|rejection| ("authorised".to_owned(), rejection.to_string()))?;
        let (told, mut tells) = mpsc::channel(64);
        let phase = (self.machine.phase(), now.monotonic);
        let mut run = Run {
            stage: self,
            package,
            end,
            told,
            workers: BTreeMap::new(),
            watched: None,
            outcome: None,
            phase,
            held: None,
        };
        let outcome = run.run_to_end(&mut tells).await;
        let held = run.held;
        let ended = self.clock.now().monotonic;
        match (&outcome.what, end, held) {
            (What::Committed, End::Commit, _) => {
                self.expected = Some(slot);
                Ok(ended.saturating_sub(now.monotonic))
            }
            (What::Returned { .. }, End::Return, Some(held)) => Ok(ended.saturating_sub(held)),
            _ => {
                told_by_application(&self.site.config.root);
                Err(failure(&outcome))
            }
        }
    }

    fn assignment(&self, package: &Shelf) -> Assignment {
        let manifest = package.package().manifest();
        let digest = package.package().index().digest();
        let start = self.clock.now().wall;
        let terms = Terms {
            package: digest,
            // Nobody has submitted or booked anything here.
            release: digest,
            order: digest,
            generation: self.machine.record().generation + 1,
            window: Window { start, end: start + WINDOW },
            apply_budget: manifest.apply_budget,
            rollback_reserve: manifest.rollback_reserve,
        };
        forward_assignment(manifest, &self.name, &terms, Driver::Slot)
    }

    /// That the link and the slot are as they are to be, and that nothing else was left behind.
    pub(super) async fn as_before(&self) -> Result<(), Failure> {
        let (slots, expected) = (self.site.slots.clone(), self.expected);
        let look = tokio::task::spawn_blocking(move || match expected {
            Some(slot) => {
                let drifts = slots.drift(&slot, 10).map_err(|error| work::chain(&error))?;
                let drifts: Vec<_> = drifts.iter().map(ToString::to_string).collect();
                if drifts.is_empty() { Ok(()) } else { Err(drifts.join("; ")) }
            }
            None => match slots.current().map_err(|error| work::chain(&error))? {
                Some(current) => Err(format!("current still names {current}")),
                None => Ok(()),
            },
        });
        let looked = look.await.unwrap_or_else(|error| Err(error.to_string()));
        looked.map_err(|why| ("verifying".to_owned(), format!("not as it was: {why}")))
    }

    /// Ends the application.
    pub(super) async fn stop(&self) {
        let (wanted, _) = mpsc::channel(1);
        if let Answer::Failed(why) = self.site.carry_out(Work::Stop, wanted, |_, _| {}).await {
            tracing::warn!(why, "the application does not stop");
        }
    }
}

impl Run<'_> {
    async fn run_to_end(&mut self, tells: &mut mpsc::Receiver<Told>) -> Outcome {
        loop {
            self.carry_out();
            self.note_phase();
            if let Some(outcome) = self.outcome.take_if(|_| self.workers.is_empty()) {
                return outcome;
            }
            let now = self.stage.clock.now();
            let wake = self.stage.machine.poll_timeout(now).map_or(WINDOW, |it| it.after);
            tokio::select! {
                Some(told) = tells.recv() => self.told(told),
                () = tokio::time::sleep(wake) => {
                    let now = self.stage.clock.now();
                    self.stage.machine.handle_timeout(now);
                }
            }
            self.hold_if_healthy();
        }
    }

    /// Lets the machine hand out what it wants done now.
    fn carry_out(&mut self) {
        while let Some(Issued { id, effect }) = self.stage.machine.poll_effect() {
            tracing::info!(effect = effect.name(), %id, "begins");
            let now = self.stage.clock.now();
            let machine = &mut self.stage.machine;
            // The machine has asked for each of these just now, so that it takes the answer.
            let _taken = match effect {
                Effect::Persist { outcome, .. } => {
                    self.outcome = outcome.map(|outcome| *outcome).or(self.outcome.take());
                    machine.handle_done(id, now)
                }
                Effect::RequestClearance { .. } => {
                    let rehearsed = Decision::Granted(Digest::of(b"a rehearsal"));
                    machine.handle_clearance(id, rehearsed, now)
                }
                Effect::Abort { of } => {
                    self.abort(id, of);
                    Ok(())
                }
                Effect::Assemble { assignment } => {
                    self.assemble(id, assignment.slot());
                    Ok(())
                }
                Effect::Preflight { assignment } => {
                    let back = machine.record().committed;
                    self.work(id, Work::Preflight { slot: assignment.slot(), back });
                    Ok(())
                }
                Effect::Stop => {
                    self.watched = None;
                    self.work(id, Work::Stop);
                    Ok(())
                }
                effect @ (Effect::Hook { .. }
                | Effect::Switch { .. }
                | Effect::Start { .. }
                | Effect::Check { .. }
                | Effect::CleanUp { .. }
                | Effect::Settle { .. }) => {
                    if let Some(work) = Work::of(&effect) {
                        self.work(id, work);
                    }
                    Ok(())
                }
            };
        }
    }

    fn assemble(&mut self, id: EffectId, slot: Slot) {
        let package = Box::new(self.package.package().clone());
        let sources = self.stage.machine.record().committed.into_iter().collect();
        self.work(id, Work::Fetch { slot, package, sources });
    }

    fn work(&mut self, id: EffectId, work: Work) {
        let (wanted, wishes) = mpsc::channel(64);
        let server = tokio::spawn(self.package.clone().serve(wishes));
        let (site, told) = (self.stage.site.clone(), self.told.clone());
        let worker = tokio::spawn(async move {
            let answer = site.carry_out(work, wanted, |_, _| {}).await;
            server.abort();
            let _ = told.send(Told::Answered(id, answer)).await;
        });
        self.workers.insert(id, worker);
    }

    fn abort(&mut self, id: EffectId, of: EffectId) {
        let (worker, told) = (self.workers.remove(&of), self.told.clone());
        let aborter = tokio::spawn(async move {
            if let Some(worker) = worker {
                worker.abort();
                let _ = worker.await;
            }
            let _ = told.send(Told::Answered(id, Answer::Done)).await;
        });
        self.workers.insert(id, aborter);
    }

    fn told(&mut self, told: Told) {
        let now = self.stage.clock.now();
        match told {
            Told::Answered(id, answer) => {
                self.workers.remove(&id);
                match &answer {
                    Answer::Failed(why) => tracing::warn!(%id, why, "failed"),
                    Answer::Blocked(why) => tracing::warn!(%id, why, "blocked"),
                    Answer::Sample(sample) => {
                        for reading in &sample.readings {
                            let (check, detail) = (&reading.check, &reading.detail);
                            tracing::info!(%id, check, healthy = reading.healthy, detail, "read");
                        }
                    }
                    Answer::Done | Answer::Repaired(..) => tracing::info!(%id, "done"),
                    Answer::Started(running) => {
                        tracing::info!(%id, pid = running.pid, "done");
                        self.watch(*running);
                    }
                }
                if let Err(rejection) = answer.give(&mut self.stage.machine, id, now) {
                    tracing::debug!(%rejection, "an answer is not wanted any longer");
                }
            }
            Told::Exited(running) => {
                if self.watched.take_if(|watched| *watched == running).is_some() {
                    tracing::warn!(pid = running.pid, "the application ended by itself");
                    let _ = self.stage.machine.handle_exited("its process is gone", now);
                }
            }
        }
    }

    fn watch(&mut self, running: Running) {
        self.watched = Some(running);
        let told = self.told.clone();
        tokio::spawn(async move {
            work::watch(running).await;
            let _ = told.send(Told::Exited(running)).await;
        });
    }

    /// It has become healthy: that is the moment to see whether it can be taken back.
    fn hold_if_healthy(&mut self) {
        let healthy = self.stage.machine.phase() == Phase::Baking;
        if self.end == End::Return && healthy && self.held.is_none() {
            let now = self.stage.clock.now();
            let why = "the rehearsal takes it back".to_owned();
            let hold = Hold { why, active: Withstands::Return };
            if self.stage.machine.handle_hold(hold, now).is_ok() {
                tracing::info!("healthy: it is taken back");
                self.held = Some(now.monotonic);
            }
        }
    }

    fn note_phase(&mut self) {
        let now = self.stage.clock.now().monotonic;
        let (phase, since) = self.phase;
        let next = self.stage.machine.phase();
        if next != phase {
            let took = now.saturating_sub(since);
            tracing::info!(step = %phase, ?took, next = %next, "step");
            self.stage.steps.push(RehearsedStep { step: phase.to_string(), took });
            self.phase = (next, now);
        }
    }
}

/// What went wrong, of an order that did not end as it was to.
fn failure(outcome: &Outcome) -> Failure {
    let reached = || format!("{:?}", outcome.reached).to_lowercase();
    if let What::Stuck { at: Some((step, why)) } = &outcome.what {
        return (format!("{step:?}").to_lowercase(), format!("going back failed: {why}"));
    }
    match &outcome.cause {
        Some(Cause::Failed { at, why }) => (format!("{at:?}").to_lowercase(), why.clone()),
        Some(cause @ (Cause::NeverHealthy | Cause::HealthLost)) => {
            let readings = outcome.health.samples.iter().flat_map(|it| &it.readings);
            let last = readings.rev().find(|it| !it.healthy);
            let last = last.map(|it| format!("; {}: {}", it.check, it.detail)).unwrap_or_default();
            (reached(), format!("{cause:?}{last}"))
        }
        Some(cause) => (reached(), format!("{cause:?}")),
        None => (reached(), format!("{:?}", outcome.what)),
    }
}
