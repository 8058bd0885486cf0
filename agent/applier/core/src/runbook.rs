//! The runbook driver: how a gateway host carries a target over that has no agent.
//!
//! To the deployment machine a runbook is one hook, the activate hook of the release, and its undo. Walking
//! it is in here: step after step, each in the ledger before it is begun. A gateway's step is a command that
//! runs as any hook does; at any other the host waits until a `step` statement is proven to be in the log,
//! signed, after the host had asked, by somebody who the step is for. On the way back what was begun is
//! taken back in the reverse order, so that also after a crash nothing is left out; a step that failed or
//! came too late on its way back is asked for again by the machine's next attempt.
//!
//! By an ordered return the runbook by which the release came that is left is walked the same way back, by the
//! commands of that release. To the machine this is the activate hook of what it goes to, and what fails in it
//! is not undone again: it is `stuck`, and an operator at the host leads out.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_machine::{Direction as Way, EffectId, Kind, Slot};
use cutover_shared::digest::Digest;
use cutover_shared::evidence::Evidence;
use cutover_shared::name::Name;
use cutover_shared::package::path::EntryPath;
use cutover_shared::package::runbook::{Awaited, Question, RunbookStep, answer};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{Direction, StepResult};

use crate::applier::Core;
use crate::input::{Answer, Outside};
use crate::offers::application_of;
use crate::output::{Note, Output, Work};
use crate::saved::{SavedApplication, SavedRunbook};

/// A command of the package that a step is done by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRun {
    /// The program under `hooks/`.
    pub command: EntryPath,
    /// How long it may take.
    pub timeout: Duration,
    /// What it finds in its environment: `CUTOVER_STEP`, `CUTOVER_DIRECTION` (`forward` or `back`), and
    /// `CUTOVER_ELEMENTS`, one in a line.
    pub environment: BTreeMap<String, String>,
}

/// A runbook on its way, at one step.
#[derive(Debug, Clone)]
pub(crate) struct Walk {
    /// The machine's effect that it is for.
    effect: EffectId,
    course: Course,
    /// Counted from 0.
    number: usize,
    step: Name,
    at: At,
}

/// Which runbook is walked, and which way.
#[derive(Debug, Clone, Copy)]
struct Course {
    /// The `booking` statement whose runbook it is.
    runbook: Digest,
    /// The release that has its commands.
    slot: Slot,
    way: Way,
    /// Whether it is walked back by order; then nothing tries again.
    ordered: bool,
}

/// What a step waits for.
#[derive(Debug, Clone, Copy)]
enum At {
    /// Its command, which runs.
    Command,
    /// A person: until this, on the monotonic clock, and asked when the host knew so many entries.
    Person { until: Duration, asked_at: u64 },
}

impl Walk {
    /// The step, as it is reported.
    pub(crate) fn told(&self) -> String {
        match (self.at, self.course.way) {
            (At::Person { .. }, _) => self.awaited().to_string(),
            (At::Command, Way::Forward) => format!("step {}", self.step),
            (At::Command, Way::Undo) => format!("undo of step {}", self.step),
        }
    }

    /// When it is too late for a person, on the monotonic clock.
    pub(crate) fn due(&self) -> Option<Duration> {
        match self.at {
            At::Command => None,
            At::Person { until, .. } => Some(until),
        }
    }

    fn awaited(&self) -> Awaited {
        Awaited { step: self.step.clone(), direction: direction(self.course.way) }
    }
}

/// The machine's way as statements have it.
const fn direction(way: Way) -> Direction {
    match way {
        Way::Forward => Direction::Forward,
        Way::Undo => Direction::Back,
    }
}

/// The next step on a way, counted from 0; none when all of it was walked.
fn next(runbook: &SavedRunbook, way: Way) -> Option<usize> {
    match way {
        Way::Forward => (runbook.begun < runbook.steps.len()).then_some(runbook.begun),
        Way::Undo => {
            let begun = runbook.steps.iter().enumerate().take(runbook.begun).rev();
            let mut undone = begun.filter(|(_, step)| step.deed(Direction::Back).is_some());
            undone.next().map(|(number, _)| number)
        }
    }
}

/// How long the runbook of the release that runs may take on its way back, if that can be walked by order.
pub(crate) fn time_back(saved: &SavedApplication) -> Result<Duration, Refusal> {
    let refused = |why: &str| {
        let facts =
            format!("{why}: release a package whose runbook does what is to be done to go back");
        Refusal::new(Code::RollbackNotAuthorised, facts)
    };
    let came = saved.runbook_committed();
    let came = came.ok_or_else(|| {
        refused("this gateway knows no runbook by which the release came that runs")
    })?;
    if !came.is_whole() {
        return Err(refused(
            "an operator at the host put right what came by a part of its runbook, or was taken back in part",
        ));
    }
    Ok(came.steps.iter().filter_map(|it| it.deed(Direction::Back)).map(|it| it.timeout).sum())
}

fn environment(step: &RunbookStep, way: Way) -> BTreeMap<String, String> {
    let word = match way {
        Way::Forward => "forward",
        Way::Undo => "back",
    };
    BTreeMap::from([
        ("CUTOVER_STEP".to_owned(), step.name.to_string()),
        ("CUTOVER_DIRECTION".to_owned(), word.to_owned()),
        ("CUTOVER_ELEMENTS".to_owned(), step.elements.join("\n")),
    ])
}

impl Core {
    /// Walks the runbook of the order in hand, or what was begun of it back, or by an ordered return that of
    /// the release that is left, for the machine's effect.
    pub(crate) fn walk(
        &mut self,
        name: &Name,
        effect: EffectId,
        (slot, way): (Slot, Way),
        outside: &mut Outside<'_>,
    ) {
        match self.course(name, (slot, way)) {
            Some(course) => self.walk_on(name, effect, course, outside),
            None => self.lost(name, effect, outside),
        }
    }

    fn course(&self, name: &Name, (slot, way): (Slot, Way)) -> Option<Course> {
        let deployment = self.deployments.get(name)?;
        let forward = deployment.machine.record().state.going_forward();
        if forward.is_some_and(|(task, _)| task.assignment.kind == Kind::Return) {
            let saved = self.saved.applications.get(name)?;
            let (slot, runbook) = (saved.record.committed?, saved.runbook_committed()?.order);
            return Some(Course { runbook, slot, way: Way::Undo, ordered: true });
        }
        Some(Course { runbook: deployment.working_on()?, slot, way, ordered: false })
    }

    fn runbook(&mut self, name: &Name, order: Digest) -> Option<&mut SavedRunbook> {
        let saved = self.saved.applications.get_mut(name)?;
        saved.runbooks.iter_mut().find(|it| it.order == order)
    }

    fn lost(&mut self, name: &Name, effect: EffectId, outside: &mut Outside<'_>) {
        let why = "the ledger has no runbook of this order".to_owned();
        self.answered(name, effect, Answer::Failed(why), outside);
    }

    fn walk_on(
        &mut self,
        name: &Name,
        effect: EffectId,
        course: Course,
        outside: &mut Outside<'_>,
    ) {
        let Course { way, slot, .. } = course;
        let Some(runbook) = self.runbook(name, course.runbook) else {
            return self.lost(name, effect, outside);
        };
        let Some(number) = next(runbook, way) else {
            return self.answered(name, effect, Answer::Done, outside);
        };
        let before = std::mem::replace(&mut runbook.begun, number + 1);
        let step = runbook.steps[number].clone();
        // What is not known to be begun would not be taken back. On the way back by itself it may be done
        // again, and there is nowhere else to go.
        match (self.save(outside), way == Way::Undo && !course.ordered) {
            (Ok(()), _) => {}
            (Err(error), true) => {
                self.note(Note::error("the ledger cannot be written").saying(&error));
            }
            (Err(error), false) => {
                self.put_back(name, course, before);
                let why = format!("the ledger cannot be written: {error}");
                return self.answered(name, effect, Answer::Failed(why), outside);
            }
        }
        let Some(deed) = step.deed(direction(way)) else { return };
        let at = match &deed.command {
            Some(_) => At::Command,
            None => {
                At::Person { until: outside.now.monotonic + deed.timeout, asked_at: self.known() }
            }
        };
        let walk = Walk { effect, course, number, step: step.name.clone(), at };
        let asked = format!("{}, by {}: {}", walk.told(), step.by, deed.what);
        self.note(Note::info("a step of the runbook").of(name).saying(&asked));
        if let Some(deployment) = self.deployments.get_mut(name) {
            deployment.walk = Some(walk);
        }
        if let Some(command) = deed.command.clone() {
            let environment = environment(&step, way);
            let run = StepRun { command, timeout: deed.timeout, environment };
            let work = Work::Step { slot, run };
            self.output(Output::Work { application: name.clone(), effect, work });
        }
    }

    fn put_back(&mut self, name: &Name, course: Course, begun: usize) {
        if let Some(runbook) = self.runbook(name, course.runbook) {
            runbook.begun = begun;
        }
    }

    /// The step is over: on to the next one, or the end of the machine's effect.
    fn step_over(&mut self, name: &Name, result: Result<(), String>, outside: &mut Outside<'_>) {
        let walk = self.deployments.get_mut(name).and_then(|it| it.walk.take());
        let Some(walk) = walk else { return };
        match result {
            Ok(()) => {
                if walk.course.way == Way::Undo {
                    self.put_back(name, walk.course, walk.number);
                }
                self.walk_on(name, walk.effect, walk.course, outside);
            }
            Err(why) => {
                let why = format!("{}: {why}", walk.told());
                self.answered(name, walk.effect, Answer::Failed(why), outside);
            }
        }
    }

    /// The answer to a step's command, if a runbook is walked for that effect.
    pub(crate) fn step_answered(
        &mut self,
        name: &Name,
        effect: EffectId,
        answer: Answer,
        outside: &mut Outside<'_>,
    ) -> Result<(), Answer> {
        let walk = self.deployments.get(name).and_then(|it| it.walk.as_ref());
        let Some(walk) = walk.filter(|it| it.effect == effect) else { return Err(answer) };
        if matches!(walk.at, At::Person { .. }) {
            // The command of a step before has answered twice: it says nothing of what people do.
            return Ok(());
        }
        let result = match answer {
            Answer::Done | Answer::Started(_) | Answer::Repaired(..) => Ok(()),
            Answer::Failed(why) | Answer::Blocked(why) => Err(why),
            Answer::Sample(_) => Err("it was answered with readings".to_owned()),
        };
        self.step_over(name, result, outside);
        Ok(())
    }

    /// A step that nobody did in time has failed.
    pub(crate) fn step_if_late(&mut self, name: &Name, outside: &mut Outside<'_>) {
        let walk = self.deployments.get(name).and_then(|it| it.walk.as_ref());
        if walk.and_then(Walk::due).is_some_and(|due| due <= outside.now.monotonic) {
            let why = "nobody who may has signed in time that it is done".to_owned();
            self.step_over(name, Err(why), outside);
        }
    }

    /// The machine does not want the effect `of` any longer: whether nothing runs for it.
    pub(crate) fn leave_runbook(&mut self, name: &Name, of: EffectId) -> bool {
        let Some(deployment) = self.deployments.get_mut(name) else { return false };
        let left = deployment.walk.take_if(|walk| walk.effect == of);
        left.is_some_and(|walk| matches!(walk.at, At::Person { .. }))
    }

    /// The coordinator shows what people did of an order's runbook.
    pub(crate) fn steps_shown(
        &mut self,
        order: Digest,
        evidence: &Evidence,
        outside: &mut Outside<'_>,
    ) {
        let unfit = Note::warn("what is shown of a step is not good evidence");
        let Some(opened) = self.open_or_note(order, evidence, unfit, outside) else { return };
        let Some(name) = application_of(&opened, order) else { return };
        let deployment = self.deployments.get(&name).filter(|it| it.working_on() == Some(order));
        let Some(walk) = deployment.and_then(|it| it.walk.as_ref()) else { return };
        let At::Person { asked_at, .. } = walk.at else { return };
        let saved = self.saved.applications.get(&name);
        let runbook = saved.and_then(|it| it.runbook(&walk.course.runbook));
        let step = runbook.and_then(|it| it.steps.get(walk.number));
        let (Some(step), Some(policy)) = (step, opened.state().policy()) else { return };
        let (host, awaited) = (self.host_key.public().id(), walk.awaited());
        let question = Question { host: &host, awaited: &awaited, by: &step.by, asked_at };
        let Some(said) = answer(&question, opened.state().steps_of(&order), policy.document())
        else {
            return;
        };
        let signers: Vec<&str> = said.owners().into_iter().map(Name::as_str).collect();
        let result = match &said.says().result {
            StepResult::Done { .. } => Ok(()),
            StepResult::Failed { reason } => {
                Err(format!("{} said that it failed: {reason}", signers.join(" and ")))
            }
        };
        let note = Note::info("somebody said how a step went").of(&name).about(said.id());
        self.note(note.saying(&awaited));
        self.step_over(&name, result, outside);
    }
}

#[cfg(test)]
mod tests;
