//! The runbook driver: how a gateway host carries a target over that has no agent.
//!
//! To the deployment machine a runbook is one hook, the activate hook of the release, and its undo. Walking
//! it is in here: step after step, each in the ledger before it is begun. A gateway's step is a command that
//! runs as any hook does; at any other the host waits until a `step` statement is proven to be in the log,
//! signed, after the host had asked, by somebody who the step is for. On the way back what was begun is
//! taken back in the reverse order, so that also after a crash nothing is left out; a step that failed or
//! came too late on its way back is asked for again by the machine's next attempt.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_machine::{Direction as Way, EffectId, Slot};
use cutover_shared::digest::Digest;
use cutover_shared::evidence::Evidence;
use cutover_shared::name::Name;
use cutover_shared::package::path::EntryPath;
use cutover_shared::package::runbook::{Awaited, Question, RunbookStep, answer};
use cutover_shared::statement::{Direction, StepResult};

use crate::applier::Core;
use crate::deployment::Deployment;
use crate::input::{Answer, Outside};
use crate::offers::application_of;
use crate::output::{Note, Output, Work};
use crate::saved::SavedRunbook;

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
    /// The release whose runbook it is.
    slot: Slot,
    way: Way,
    /// Counted from 0.
    number: usize,
    step: Name,
    at: At,
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
        match (self.at, self.way) {
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
        Awaited { step: self.step.clone(), direction: direction(self.way) }
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
    /// Walks the runbook of the order in hand, or what was begun of it back, for the machine's effect.
    pub(crate) fn walk(
        &mut self,
        name: &Name,
        effect: EffectId,
        (slot, way): (Slot, Way),
        outside: &mut Outside<'_>,
    ) {
        let order = self.deployments.get(name).and_then(Deployment::working_on);
        let saved = self.saved.applications.get_mut(name);
        let runbook = saved.and_then(|saved| saved.runbook.as_mut());
        let Some(runbook) = runbook.filter(|it| Some(it.order) == order) else {
            let why = "the ledger has no runbook of this order".to_owned();
            return self.answered(name, effect, Answer::Failed(why), outside);
        };
        let Some(number) = next(runbook, way) else {
            return self.answered(name, effect, Answer::Done, outside);
        };
        let before = std::mem::replace(&mut runbook.begun, number + 1);
        let step = runbook.steps[number].clone();
        // What is not known to be begun would not be taken back. On the way back it may be done again.
        match (self.save(outside), way) {
            (Ok(()), _) => {}
            (Err(error), Way::Undo) => {
                self.note(Note::error("the ledger cannot be written").saying(&error));
            }
            (Err(error), Way::Forward) => {
                self.put_back(name, before);
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
        let walk = Walk { effect, slot, way, number, step: step.name.clone(), at };
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

    fn put_back(&mut self, name: &Name, begun: usize) {
        let saved = self.saved.applications.get_mut(name);
        if let Some(runbook) = saved.and_then(|saved| saved.runbook.as_mut()) {
            runbook.begun = begun;
        }
    }

    /// The step is over: on to the next one, or the end of the machine's effect.
    fn step_over(&mut self, name: &Name, result: Result<(), String>, outside: &mut Outside<'_>) {
        let walk = self.deployments.get_mut(name).and_then(|it| it.walk.take());
        let Some(walk) = walk else { return };
        match result {
            Ok(()) => {
                if walk.way == Way::Undo {
                    self.put_back(name, walk.number);
                }
                self.walk(name, walk.effect, (walk.slot, walk.way), outside);
            }
            Err(why) => {
                let why = format!("{}: {why}", walk.told());
                self.answered(name, walk.effect, Answer::Failed(why), outside);
            }
        }
    }

    /// The answer to a step's command, if it is one.
    pub(crate) fn step_answered(
        &mut self,
        name: &Name,
        effect: EffectId,
        answer: Answer,
        outside: &mut Outside<'_>,
    ) -> Result<(), Answer> {
        let walk = self.deployments.get(name).and_then(|it| it.walk.as_ref());
        if !walk.is_some_and(|it| it.effect == effect && matches!(it.at, At::Command)) {
            return Err(answer);
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
        let opened = match self.open(order, evidence, outside) {
            Ok(opened) => opened,
            Err(refusal) => {
                let note = Note::warn("what is shown of a step is not good evidence");
                return self.note(note.about(order).saying(&refusal));
            }
        };
        let Some(name) = application_of(&opened, order) else { return };
        let deployment = self.deployments.get(&name).filter(|it| it.working_on() == Some(order));
        let Some(walk) = deployment.and_then(|it| it.walk.as_ref()) else { return };
        let At::Person { asked_at, .. } = walk.at else { return };
        let runbook = self.saved.applications.get(&name).and_then(|it| it.runbook.as_ref());
        let step = runbook.and_then(|it| it.steps.get(walk.number));
        let (Some(step), Some(policy)) = (step, opened.state().policy()) else { return };
        let Some((_, booking)) = opened.state().booking(&order) else { return };
        let (host, awaited) = (self.host_key.public().id(), walk.awaited());
        let question = Question { host: &host, awaited: &awaited, by: &step.by, asked_at };
        let Some(said) = answer(&question, &booking.steps, policy.document()) else { return };
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
mod tests {
    use cutover_machine::{
        Assignment, Cause, Evidence as Readings, HealthPolicy, HookPhase, Hooks as MachineHooks,
        Kind, Now, Point, Retreat, ReturnStep, Reversibility, State, Task,
    };
    use cutover_shared::key::SecretKey;
    use cutover_shared::package::runbook::{Deed, Doer, Undoing};
    use cutover_shared::time::Time;

    use super::*;
    use crate::input::{Input, Ledger, Nonces};
    use crate::saved::{Saved, SavedApplication};
    use crate::settings::{ApplicationSettings, Driver, Hooks, HostSettings};

    const LIMIT: Duration = Duration::from_mins(1);

    fn web() -> Name {
        "web".parse().unwrap()
    }

    fn deed(command: Option<&str>) -> Deed {
        let command = command.map(|command| command.parse().unwrap());
        Deed { what: "Something is done.".to_owned(), command, timeout: LIMIT }
    }

    fn step(name: &str, by: Doer, undo: Undoing) -> RunbookStep {
        let command = (by == Doer::Gateway).then_some("hooks/do.sh");
        let elements = vec!["A -> B".to_owned(), "C -> D".to_owned()];
        RunbookStep { name: name.parse().unwrap(), by, deed: deed(command), elements, undo }
    }

    /// By hand, by the gateway, and one that leaves nothing to take back.
    fn steps() -> Vec<RunbookStep> {
        vec![
            step("hold", Doer::Operator, Undoing::Deed(deed(None))),
            step("move", Doer::Gateway, Undoing::Deed(deed(Some("hooks/back.sh")))),
            step("look", Doer::Operator, Undoing::Nothing("It only looks.".to_owned())),
        ]
    }

    fn order() -> Digest {
        Digest::of(b"booking")
    }

    #[test]
    fn steps_go_forward_in_order_and_back_in_the_reverse() {
        let runbook = |begun| SavedRunbook { order: order(), steps: steps(), begun };
        let all = |way| (0..=3).map(|begun| next(&runbook(begun), way)).collect::<Vec<_>>();
        assert_eq!(all(Way::Forward), [Some(0), Some(1), Some(2), None]);
        assert_eq!(
            all(Way::Undo),
            [None, Some(0), Some(1), Some(1)],
            "nothing to undo of the last"
        );
    }

    #[test]
    fn a_command_finds_its_inputs() {
        let environment = environment(&steps()[1], Way::Undo);
        assert_eq!(environment["CUTOVER_STEP"], "move");
        assert_eq!(environment["CUTOVER_DIRECTION"], "back");
        assert_eq!(environment["CUTOVER_ELEMENTS"], "A -> B\nC -> D");
    }

    /// A ledger that keeps the newest body, and no nonces.
    #[derive(Default)]
    struct Kept(Vec<u8>);

    impl Ledger for Kept {
        fn save(&mut self, body: &[u8]) -> Result<(), String> {
            self.0 = body.to_owned();
            Ok(())
        }
    }

    impl Nonces for Kept {
        fn nonce(&mut self) -> Result<Digest, String> {
            Err("none".to_owned())
        }
    }

    fn assignment() -> Assignment {
        let wall: Time = "2026-12-01T02:00:00Z".parse().unwrap();
        let activate = std::collections::BTreeSet::from([HookPhase::Activate]);
        Assignment {
            application: "web".to_owned(),
            generation: 1,
            package: Digest::of(b"package"),
            release: Digest::of(b"release"),
            booking: order(),
            kind: Kind::Forward,
            window_start: wall,
            window_end: wall + Duration::from_hours(2),
            apply_budget: Duration::from_mins(30),
            rollback_reserve: Duration::from_mins(20),
            hooks: MachineHooks { forward: activate.clone(), undo: activate },
            health: HealthPolicy {
                start_grace: Duration::ZERO,
                interval: Duration::from_secs(1),
                timeout: Duration::from_secs(3),
                successes: 1,
                deadline: LIMIT,
                bake: Duration::ZERO,
                bake_tolerance: 0,
            },
            reversibility: Reversibility::Reversible,
        }
    }

    /// A gateway that goes back after a crash, having begun so many steps.
    struct Bench {
        core: Core,
        kept: Kept,
        monotonic: Duration,
    }

    impl Bench {
        fn going_back(begun: usize) -> Self {
            let wall = assignment().window_start;
            let task =
                Task { assignment: assignment(), began: wall, resumed: 0, clearances: Vec::new() };
            let retreat = Retreat {
                cause: Cause::Interrupted { at: Point::ActivateHook },
                reached: Point::ActivateHook,
                step: ReturnStep::UndoActivate,
                attempt: 1,
                last_failure: None,
                health: Readings::default(),
            };
            let mut application = SavedApplication::new(&web());
            application.record.generation = 1;
            application.record.state = State::Returning(task, retreat);
            application.runbook = Some(SavedRunbook { order: order(), steps: steps(), begun });
            let mut saved = Saved::default();
            saved.applications.insert(web(), application);
            let settings = ApplicationSettings {
                driver: Driver::Runbook,
                hooks: Hooks::Allowed,
                probes: [].into(),
                retain: 1,
            };
            let settings = HostSettings {
                host: "gw-1".parse().unwrap(),
                environment: "production".parse().unwrap(),
                applications: [(web(), settings)].into(),
            };
            let now = Now { wall, monotonic: Duration::ZERO };
            // As it is found after a crash: through the ledger's own bytes.
            let saved = Saved::decode(&saved.encode().unwrap()).unwrap();
            let core = Core::recover(settings, saved, SecretKey::from_seed([7; 32]), now);
            Self { core, kept: Kept::default(), monotonic: Duration::ZERO }
        }

        fn tell(&mut self, input: Input) -> Vec<Output> {
            let wall = assignment().window_start + self.monotonic;
            let mut nonces = Kept::default();
            let mut outside = Outside {
                now: Now { wall, monotonic: self.monotonic },
                clock_synchronised: None,
                ledger: &mut self.kept,
                nonces: &mut nonces,
            };
            self.core.handle(input, &mut outside);
            std::iter::from_fn(|| self.core.poll_output()).collect()
        }

        /// Carries out everything but the commands of steps, until nothing is left: those commands.
        fn carry_on(&mut self, first: Input) -> Vec<(EffectId, StepRun)> {
            let mut inputs = std::collections::VecDeque::from([first]);
            let mut steps = Vec::new();
            while let Some(input) = inputs.pop_front() {
                for output in self.tell(input) {
                    let Output::Work { effect, work, .. } = output else { continue };
                    if let Work::Step { run, .. } = work {
                        steps.push((effect, run));
                    } else {
                        inputs.push_back(answered(effect, Answer::Done));
                    }
                }
            }
            steps
        }

        fn begun(&self) -> usize {
            let saved = Saved::decode(&self.kept.0).unwrap();
            saved.applications[&web()].runbook.as_ref().unwrap().begun
        }

        fn told(&self) -> String {
            self.core.deployments[&web()].report(&web()).step
        }
    }

    fn answered(effect: EffectId, answer: Answer) -> Input {
        Input::Answered { application: web(), effect, answer }
    }

    fn looked() -> Input {
        Input::Looked { inhibitors: Vec::new(), join: None, clock_accepted: false }
    }

    #[test]
    fn after_a_crash_what_was_begun_is_taken_back_and_people_are_asked() {
        let mut bench = Bench::going_back(3);
        let steps = bench.carry_on(looked());
        let [(effect, run)] = steps.as_slice() else { panic!("{steps:?}") };
        assert_eq!(run.command.as_str(), "hooks/back.sh");
        assert_eq!((bench.begun(), bench.told().as_str()), (2, "undo of step move"));
        assert!(bench.carry_on(answered(*effect, Answer::Done)).is_empty());
        assert_eq!((bench.begun(), bench.told().as_str()), (1, "undo of manual step hold"));

        // Nobody does it: it is asked for again, and in the end the operator at the host is called.
        let mut asked = 0;
        while bench.told() != "stuck" {
            asked += usize::from(bench.told() == "undo of manual step hold");
            let now = Now {
                wall: assignment().window_start + bench.monotonic,
                monotonic: bench.monotonic,
            };
            bench.monotonic += bench.core.poll_timeout(now).expect("it is never left alone");
            assert!(bench.carry_on(Input::Timeout).is_empty(), "what was taken back stays so");
            assert!(asked < 20, "{}", bench.told());
        }
        assert!(asked >= 3);
        assert_eq!(bench.begun(), 1, "what is not taken back is known");
    }

    #[test]
    fn a_command_that_fails_on_the_way_back_is_run_again() {
        let mut bench = Bench::going_back(2);
        let mut steps = bench.carry_on(looked());
        for _ in 1..cutover_machine::RETURN_ATTEMPTS {
            let (effect, _) = steps.pop().unwrap();
            let failed = Answer::Failed("the library is locked".to_owned());
            assert!(bench.carry_on(answered(effect, failed)).is_empty(), "after a pause");
            bench.monotonic += cutover_machine::RETURN_PAUSE;
            steps = bench.carry_on(Input::Timeout);
            assert_eq!(steps.len(), 1);
        }
    }
}
