//! A gateway: the runbook of a target without an agent, forward and back, by commands and by people.

use cutover_applier_core::{Answer, Driver, HostSettings, Input, Output, StepRun, Work};
use cutover_machine::EffectId;
use cutover_shared::digest::Digest;
use cutover_shared::policy::Department;
use cutover_shared::protocol::Directive;
use cutover_shared::refusal::Code;
use cutover_shared::statement::{Direction, Event, Hold, Step, StepResult};

use crate::bench::{Bench, HOLD, HOST, MOVE, TIMING, millis, seconds, settings, web};
use crate::parcel::Parcel;
use crate::world::{Way, World, document, key, name, names};

/// Last, people of another department.
const REFRESH: &str = r#"
[[runbook]]
name = "refresh-region"
by = "mainframe"
what = "Refresh the region and look at the first list."
timeout = "20s"
no-undo = "The region reads the members again by itself."
"#;

fn runbook() -> String {
    [HOLD, MOVE, REFRESH].concat()
}

fn gateway() -> HostSettings {
    let mut settings = settings();
    settings.applications.get_mut(&web()).unwrap().driver = Driver::Runbook;
    settings
}

pub(crate) fn zseries(version: &str) -> Parcel {
    let text = Parcel::release_toml("web", version, TIMING, &runbook());
    Parcel::of_manifest(&text.replace(r#"["hosts"]"#, r#"["zseries"]"#), version.as_bytes())
}

/// A gateway, in a world where bea speaks for the mainframe, and ops does not.
pub(crate) fn bench() -> Bench {
    let mut document = document(1);
    document.departments = vec![Department { name: name("mainframe"), owners: names(&["bea"]) }];
    document
        .keys
        .iter_mut()
        .find(|it| it.owner == name("bea"))
        .unwrap()
        .roles
        .insert(cutover_shared::policy::Role::Operator);
    Bench::with(World::with_policy(document), gateway())
}

/// The first step waits for a person.
fn begun() -> (Bench, Way) {
    let mut bench = bench();
    let way = bench.order_of(zseries("1.0"), |_| {});
    bench.offer(way.booking);
    let switch = bench.until_work("switch");
    bench.answered(switch, Answer::Done);
    assert_eq!(bench.report().step, "manual step hold-job");
    (bench, way)
}

pub(crate) fn says(
    bench: &mut Bench,
    by: &str,
    way: Way,
    step: &str,
    direction: Direction,
    result: StepResult,
) {
    let says = Step {
        booking: way.booking,
        host: name(HOST),
        host_key: key(HOST).public().id(),
        step: name(step),
        direction,
        result,
    };
    bench.world.say(&[by], says).unwrap();
}

pub(crate) fn done(bench: &mut Bench, by: &str, way: Way, step: &str, direction: Direction) {
    // Nobody says the same twice in one instant.
    bench.wait(millis(1));
    says(bench, by, way, step, direction, StepResult::Done { note: String::new() });
    show(bench, way.booking);
}

pub(crate) fn show(bench: &mut Bench, order: Digest) {
    let evidence = bench.evidence(order);
    bench.tell(Input::Directive(Box::new(Directive::Steps { order, evidence })));
}

/// The command that is wanted now.
fn command(bench: &mut Bench) -> (EffectId, StepRun) {
    let work = bench.until(|it| matches!(it, Output::Work { work: Work::Step { .. }, .. }));
    let Output::Work { effect, work: Work::Step { run, .. }, .. } = work else { panic!() };
    (effect, run)
}

pub(crate) fn begun_steps(bench: &Bench) -> usize {
    bench.core.saved().applications[&web()].runbooks.last().unwrap().begun
}

#[test]
fn a_runbook_is_walked_by_its_commands_and_by_who_each_step_is_for() {
    let (mut bench, way) = begun();
    assert_eq!(bench.written().applications[&web()].runbooks[0].begun, 1);
    let other = bench.order("1.1");
    show(&mut bench, other.booking);
    show(&mut bench, way.booking);
    assert_eq!(bench.report().step, "manual step hold-job", "nobody has done anything");
    done(&mut bench, "ops", way, "hold-job", Direction::Back);
    assert_eq!(bench.report().step, "manual step hold-job", "that is another way");
    done(&mut bench, "ops", way, "hold-job", Direction::Forward);
    assert_eq!(bench.report().step, "step move-members");
    let (effect, run) = command(&mut bench);
    assert_eq!((run.command.as_str(), run.timeout), ("hooks/move.sh", seconds(20)));
    assert_eq!(run.environment["CUTOVER_DIRECTION"], "forward");
    assert_eq!(run.environment["CUTOVER_ELEMENTS"], "PAYR010 -> PROD.PAYROLL.JCL");
    // What is said of a step before it is asked for is no answer to the question.
    says(
        &mut bench,
        "bea",
        way,
        "refresh-region",
        Direction::Forward,
        StepResult::Done { note: String::new() },
    );
    show(&mut bench, way.booking);
    bench.answered(effect, Answer::Done);
    assert_eq!(
        (bench.report().step.as_str(), begun_steps(&bench)),
        ("manual step refresh-region", 3)
    );
    show(&mut bench, way.booking);
    assert_eq!(bench.report().step, "manual step refresh-region");
    done(&mut bench, "ops", way, "refresh-region", Direction::Forward);
    assert_eq!(bench.report().step, "manual step refresh-region", "ops is of another department");
    done(&mut bench, "bea", way, "refresh-region", Direction::Forward);
    assert_eq!(bench.report().step, "starting");
    assert_eq!(bench.until_ended().event, Event::Committed);
    assert!(bench.noted("somebody said how a step went"));
}

#[test]
fn what_somebody_says_has_failed_goes_back() {
    let (mut bench, way) = begun();
    bench.wait(millis(1));
    let failed = StepResult::Failed { reason: "the job runs on".to_owned() };
    says(&mut bench, "ops", way, "hold-job", Direction::Forward, failed);
    show(&mut bench, way.booking);
    bench.until(|it| matches!(it, Output::Work { work, .. } if work.name() == "stop"));
    let stop = bench.core.machine(&web()).unwrap().record().state.phase();
    assert_eq!(stop, cutover_machine::Phase::Returning);
}

#[test]
fn a_step_that_nobody_does_in_time_goes_back_and_so_does_what_was_begun() {
    let (mut bench, way) = begun();
    done(&mut bench, "ops", way, "hold-job", Direction::Forward);
    let (effect, _) = command(&mut bench);
    bench.answered(effect, Answer::Done);
    bench.take();
    bench.wait(seconds(20).saturating_sub(millis(1)));
    assert_eq!(bench.report().step, "manual step refresh-region");
    bench.wait(millis(1));
    assert_ne!(bench.report().step, "manual step refresh-region");
    let (effect, run) = command(&mut bench);
    assert_eq!(
        (run.command.as_str(), bench.report().step.as_str()),
        ("hooks/back.sh", "undo of step move-members")
    );
    assert_eq!(run.environment["CUTOVER_DIRECTION"], "back");
    bench.answered(effect, Answer::Done);
    assert_eq!(bench.report().step, "undo of manual step hold-job");
    assert_eq!(begun_steps(&bench), 1);
    done(&mut bench, "ops", way, "hold-job", Direction::Back);
    assert_eq!(begun_steps(&bench), 0, "all is taken back");
    let outcome = bench.until_ended();
    let Event::Returned { step, reason } = &outcome.event else { panic!("{outcome:?}") };
    assert_eq!(step, "activate hook");
    let why = "manual step refresh-region: nobody who may has signed in time that it is done";
    assert_eq!(reason, why);
}

#[test]
fn who_stops_a_person_waits_for_nobody_and_who_stops_a_command_for_its_end() {
    let hold = |way: Way| Hold { release: way.release, reason: "no".to_owned(), finish: false };
    let (mut bench, way) = begun();
    bench.world.say(&["sec"], hold(way)).unwrap();
    bench.take();
    bench.stop(way.booking);
    let outputs = bench.take();
    assert!(!outputs.iter().any(|it| matches!(it, Output::Abort { .. })), "{outputs:?}");
    assert!(
        matches!(&outputs[..], [Output::Work { work, .. }] if work.name() == "stop"),
        "{outputs:?}"
    );

    let (mut bench, way) = begun();
    done(&mut bench, "ops", way, "hold-job", Direction::Forward);
    let (running, _) = command(&mut bench);
    bench.world.say(&["sec"], hold(way)).unwrap();
    bench.take();
    bench.stop(way.booking);
    let outputs = bench.take();
    let [Output::Abort { effect, of, .. }] = outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(of, running);
    bench.answered(running, Answer::Done);
    assert_eq!(bench.take().len(), 0, "its own end is no news now");
    bench.answered(effect, Answer::Done);
    assert_eq!(bench.works(), ["stop"]);
}

#[test]
fn a_step_that_cannot_be_written_down_is_not_begun() {
    let (mut bench, way) = begun();
    bench.wait(millis(1));
    let result = StepResult::Done { note: String::new() };
    says(&mut bench, "ops", way, "hold-job", Direction::Forward, result);
    show(&mut bench, Digest::of(b"another order"));
    let evidence = bench.evidence(way.booking);
    // The head is learnt, and then nothing more can be written.
    bench.stop_with(way.booking, evidence.clone());
    bench.kept.full = true;
    show(&mut bench, way.booking);
    assert_eq!(begun_steps(&bench), 1, "the second was not begun");
    assert!(!bench.works().contains(&"hook"));
    let failed = bench.notes.iter().find(|it| it.text == "failed").unwrap();
    assert!(failed.detail.ends_with("the ledger cannot be written: no space is left"));
}

#[test]
fn what_is_shown_of_steps_has_to_be_good_evidence() {
    let (mut bench, way) = begun();
    bench.wait(millis(1));
    let result = StepResult::Done { note: String::new() };
    says(&mut bench, "ops", way, "hold-job", Direction::Forward, result);
    let mut evidence = bench.evidence(way.booking);
    evidence.entries.last_mut().unwrap().proof.clear();
    let order = way.booking;
    bench.tell(Input::Directive(Box::new(Directive::Steps { order, evidence })));
    assert!(bench.noted("what is shown of a step is not good evidence"));
    assert_eq!(bench.report().step, "manual step hold-job");
}

#[test]
fn a_runbook_for_a_department_that_nobody_speaks_for_is_refused() {
    let mut bench = Bench::with(World::new(), gateway());
    let way = bench.order_of(zseries("1.0"), |_| {});
    bench.offer(way.booking);
    bench.see_to_all();
    assert_eq!(bench.refused(), Some((way.booking, Code::SubjectUnknown)));
    let facts = &bench.report().refused.as_ref().unwrap().1.facts;
    assert!(facts.contains("step refresh-region is by mainframe"), "{facts}");
}
