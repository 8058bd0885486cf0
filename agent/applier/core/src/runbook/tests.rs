//! A gateway that walks a runbook, and takes it back.

use cutover_machine::{
    Assignment, Cause, Evidence as Readings, HealthPolicy, HookPhase, Hooks as MachineHooks, Kind,
    Now, Point, Retreat, ReturnStep, Reversibility, State, Task,
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
    assert_eq!(all(Way::Undo), [None, Some(0), Some(1), Some(1)], "nothing to undo of the last");
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
        Self::with(vec![SavedRunbook { order: order(), steps: steps(), begun }])
    }

    fn with(runbooks: Vec<SavedRunbook>) -> Self {
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
        application.runbooks = runbooks;
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
        saved.applications[&web()].runbook(&order()).unwrap().begun
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
    for what in ["the command is done", "it says so twice"] {
        assert!(bench.carry_on(answered(*effect, Answer::Done)).is_empty(), "{what}");
        assert_eq!(
            (bench.begun(), bench.told().as_str()),
            (1, "undo of manual step hold"),
            "{what}"
        );
    }

    // Nobody does it: it is asked for again, and in the end the operator at the host is called.
    let mut asked = 0;
    while bench.told() != "stuck" {
        asked += usize::from(bench.told() == "undo of manual step hold");
        let now =
            Now { wall: assignment().window_start + bench.monotonic, monotonic: bench.monotonic };
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

#[test]
fn a_ledger_without_the_runbook_is_stuck_at_once_and_waits_for_nobody() {
    let mut bench = Bench::with(Vec::new());
    assert!(bench.carry_on(looked()).is_empty());
    for _ in 1..cutover_machine::RETURN_ATTEMPTS {
        assert_ne!(bench.told(), "stuck");
        bench.monotonic += cutover_machine::RETURN_PAUSE;
        assert!(bench.carry_on(Input::Timeout).is_empty());
    }
    assert_eq!(bench.told(), "stuck");
}
