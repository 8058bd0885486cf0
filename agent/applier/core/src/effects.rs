//! What the deployment machines ask for, handed out as work, and the answers taken back.

use std::time::Duration;

use cutover_machine::{
    Assignment, ClearancePhase, Decision, Effect, EffectId, HookPhase, Issued, Kind, Now, Slot,
};
use cutover_shared::name::Name;
use cutover_shared::protocol::FromApplier;
use cutover_shared::statement::Phase;

use crate::applier::Core;
use crate::drift::at_rest;
use crate::input::{Answer, Outside, Running};
use crate::output::{Note, Output, Work};
use crate::persist::touched;

/// The pause before a process that ended by itself is started again, doubled with each fall in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Doubled at most so often: about a minute. Who has run for longer than that has not fallen in a row.
const MOST_DOUBLINGS: u32 = 6;
const LONGEST_PAUSE: Duration = Duration::from_secs(1 << MOST_DOUBLINGS);

impl Core {
    /// Lets the machine of an application hand out what it wants done now.
    pub(crate) fn carry_out(&mut self, name: &Name, outside: &mut Outside<'_>) {
        while let Some(issued) =
            self.deployments.get_mut(name).and_then(|it| it.machine.poll_effect())
        {
            self.carry_out_one(name, issued, outside);
        }
    }

    fn carry_out_one(
        &mut self,
        name: &Name,
        Issued { id, effect }: Issued,
        outside: &mut Outside<'_>,
    ) {
        self.note(Note::debug("effect").of(name).saying(&format!("{id}: {}", effect.name())));
        match effect {
            Effect::Persist { record, outcome } => {
                self.persist(name, id, &record, outcome.as_deref(), outside);
            }
            Effect::RequestClearance { phase } => self.request_clearance(name, id, phase, outside),
            Effect::Abort { of } => self.abort(name, id, of, outside.now),
            Effect::Assemble { assignment } => self.assemble(name, id, &assignment, outside),
            Effect::Preflight { assignment } => {
                self.preflight(name, id, assignment.slot(), outside);
            }
            Effect::Stop => self.stop(name, id),
            Effect::Hook { slot, phase: HookPhase::Activate, direction }
                if self.is_gateway(name) =>
            {
                self.walk(name, id, (slot, direction), outside);
            }
            effect @ (Effect::Hook { .. }
            | Effect::Switch { .. }
            | Effect::Start { .. }
            | Effect::Check { .. }
            | Effect::CleanUp { .. }
            | Effect::Settle { .. }) => {
                if let Some(work) = Work::of(&effect) {
                    self.work(name, id, work);
                }
            }
        }
    }

    fn work(&mut self, name: &Name, effect: EffectId, work: Work) {
        self.output(Output::Work { application: name.clone(), effect, work });
    }

    fn preflight(&mut self, name: &Name, id: EffectId, slot: Slot, outside: &mut Outside<'_>) {
        let Some(reason) = self.inhibitors.first().cloned() else {
            let back = self.saved.applications.get(name).and_then(|it| it.record.committed);
            return self.work(name, id, Work::Preflight { slot, back });
        };
        self.answered(name, id, Answer::Blocked(format!("inhibited: {reason}")), outside);
    }

    fn stop(&mut self, name: &Name, id: EffectId) {
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        deployment.watched = None;
        if deployment.restarting {
            deployment.stop_waits = Some(id);
        } else {
            self.work(name, id, Work::Stop);
        }
    }

    fn abort(&mut self, name: &Name, id: EffectId, of: EffectId, now: Now) {
        self.let_go(name, of);
        let nothing_runs = self.leave_runbook(name, of);
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        if nothing_runs || deployment.stop_waits == Some(of) {
            deployment.stop_waits = None;
            let _ = deployment.machine.handle_done(id, now);
            return;
        }
        self.output(Output::Abort { application: name.clone(), effect: id, of });
    }

    fn request_clearance(
        &mut self,
        name: &Name,
        id: EffectId,
        phase: ClearancePhase,
        outside: &mut Outside<'_>,
    ) {
        let now = outside.now;
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        let Some(hand) = &deployment.hand else {
            // After a restart the evidence is gone: the order is given back and offered anew.
            let refused = Decision::Refused(
                "not-cleared: the applier ended meanwhile; the order has to be offered again"
                    .to_owned(),
            );
            let _ = deployment.machine.handle_clearance(id, refused, now);
            return;
        };
        let order = hand.order;
        let fresh = hand.cleared.as_ref().is_some_and(|it| now.wall < it.cleared().not_after());
        match (phase, hand.clearance) {
            // The one with which the manifest was read is for starting, too.
            (ClearancePhase::Start, Some(clearance)) if fresh => {
                let granted = Decision::Granted(clearance);
                let _ = deployment.machine.handle_clearance(id, granted, now);
            }
            (ClearancePhase::Start, _) => self.ask(name, order, Phase::Start, Some(id), outside),
            (ClearancePhase::Activate, _) => {
                self.ask(name, order, Phase::Activate, Some(id), outside);
            }
        }
    }

    fn assemble(
        &mut self,
        name: &Name,
        id: EffectId,
        assignment: &Assignment,
        outside: &mut Outside<'_>,
    ) {
        let slot = assignment.slot();
        let sources = self.sources(name);
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        let package = deployment.hand.as_ref().and_then(|hand| hand.package.clone());
        let work = match (assignment.kind, package) {
            (Kind::Return, _) => Work::Copy { slot, sources },
            (Kind::Forward, Some(package)) => Work::Fetch { slot, package, sources },
            (Kind::Forward, None) => {
                let why = "the package's manifest is not at hand".to_owned();
                return self.answered(name, id, Answer::Failed(why), outside);
            }
        };
        deployment.fetching = Some((id, slot.package));
        self.work(name, id, work);
    }

    /// The slots on disk that are known to be whole.
    fn sources(&self, name: &Name) -> Vec<Slot> {
        let Some(saved) = self.saved.applications.get(name) else { return Vec::new() };
        saved.record.committed.into_iter().chain(saved.history.iter().copied()).collect()
    }

    /// An answer to work.
    pub(crate) fn answered(
        &mut self,
        name: &Name,
        effect: EffectId,
        answer: Answer,
        outside: &mut Outside<'_>,
    ) {
        self.let_go(name, effect);
        let now = outside.now;
        let Err(answer) = self.step_answered(name, effect, answer, outside) else { return };
        let answer = if let Answer::Repaired(drift, running) = answer {
            self.link_repaired(name, *drift, outside);
            running.map_or(Answer::Done, Answer::Started)
        } else {
            answer
        };
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        let (note, running) = match &answer {
            Answer::Done | Answer::Repaired(..) => (None, None),
            Answer::Started(running) => (None, Some(*running)),
            Answer::Failed(why) => {
                let facts = format!("{effect}: {why}");
                (Some(Note::warn("failed").of(name).saying(&facts)), None)
            }
            Answer::Blocked(why) => (Some(Note::info("blocked").of(name).saying(why)), None),
            Answer::Sample(sample) => {
                let readings = || format!("{:?}", sample.readings);
                let unhealthy = || Note::warn("unhealthy").of(name).saying(&readings());
                ((!sample.healthy()).then(unhealthy), None)
            }
        };
        if let Some(running) = running {
            deployment.watch(running, now.monotonic);
        }
        let taken = answer.give(&mut deployment.machine, effect, now);
        if let Some(running) = running {
            self.watch(name, running);
        }
        if let Some(note) = note {
            self.note(note);
        }
        if let Err(rejection) = taken {
            let note = Note::debug("an answer is not wanted any longer").of(name);
            self.note(note.saying(&rejection));
        }
    }

    /// What arrived for an effect that is over is in the slot, or was no good: the network half need not
    /// keep it.
    fn let_go(&mut self, name: &Name, effect: EffectId) {
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        if let Some((_, package)) = deployment.fetching.take_if(|(fetching, _)| *fetching == effect)
        {
            self.say(FromApplier::StopFetching { package });
        }
    }

    fn watch(&mut self, name: &Name, running: Running) {
        self.output(Output::Watch { application: name.clone(), running });
    }

    /// A watched process ended by itself.
    pub(crate) fn exited(&mut self, name: &Name, running: Running, now: Now) {
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        if deployment.watched.take_if(|watched| *watched == running).is_none() {
            return;
        }
        if deployment.machine.handle_exited("its process is gone", now).is_err() {
            if now.monotonic.saturating_sub(deployment.watched_since) > LONGEST_PAUSE {
                deployment.falls = 0;
            }
            let pause = FIRST_PAUSE * 2_u32.pow(deployment.falls.min(MOST_DOUBLINGS));
            deployment.falls = deployment.falls.saturating_add(1);
            deployment.restart_due = Some(now.monotonic + pause);
        }
        let note = Note::warn("the application ended by itself").of(name);
        self.note(note.saying(&format!("process {}", running.pid)));
    }

    /// Starts a committed application again that ended by itself, if it is still wanted.
    pub(crate) fn restart_if_due(&mut self, name: &Name, now: Now) {
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        if deployment.restart_due.take_if(|due| *due <= now.monotonic).is_none() {
            return;
        }
        // Until an order touches it, it has to serve on.
        let record = deployment.machine.record();
        let left_alone = at_rest(&record.state) || !touched(record);
        if !left_alone || deployment.watched.is_some() || record.committed.is_none() {
            return;
        }
        deployment.restarting = true;
        self.output(Output::Restart { application: name.clone() });
    }

    /// What starting again came to.
    pub(crate) fn restarted(
        &mut self,
        name: &Name,
        result: Result<Option<Running>, String>,
        outside: &mut Outside<'_>,
    ) {
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        deployment.restarting = false;
        if let Some(stop) = deployment.stop_waits.take() {
            return self.work(name, stop, Work::Stop);
        }
        match result {
            Ok(Some(running)) if deployment.watched.is_none() => {
                deployment.watch(running, outside.now.monotonic);
                self.watch(name, running);
            }
            Ok(_) => {}
            Err(why) => {
                deployment.restart_due = Some(outside.now.monotonic + LONGEST_PAUSE);
                let note = Note::error("the application cannot be started again").of(name);
                self.note(note.saying(&why));
            }
        }
    }
}
