//! A gateway that goes back by order: the runbook of the release that it leaves, walked back.

use cutover_applier_core::{Answer, OperatorAct, Output, StepRun, Work};
use cutover_machine::{EffectId, HookPhase, Kind, Phase, Reversibility, Slot};
use cutover_shared::digest::Digest;
use cutover_shared::refusal::Code;
use cutover_shared::statement::{Direction, Event, OnHalt, Outcome, StepResult};
use cutover_shared::window::Window;

use crate::bench::{Bench, HOST, WINDOW, millis, seconds, web};
use crate::gateways::{bench, done, says, show, zseries};
use crate::operators::{RETURN, ask, phase};
use crate::world::{Way, booking, enrolment};

const EVEN: OperatorAct = OperatorAct::Return { skip_undo: false, even_irreversible: true };

/// A release comes by its runbook; all of it goes well.
fn carry(bench: &mut Bench, version: &str) -> Way {
    let way = bench.order_of(zseries(version), |_| {});
    walk_forward(bench, way);
    way
}

fn walk_forward(bench: &mut Bench, way: Way) {
    bench.offer(way.booking);
    let switch = bench.until_work("switch");
    bench.answered(switch, Answer::Done);
    done(bench, "ops", way, "hold-job", Direction::Forward);
    let (effect, ..) = command(bench);
    bench.answered(effect, Answer::Done);
    done(bench, "bea", way, "refresh-region", Direction::Forward);
    assert_eq!(ended(bench).event, Event::Committed);
}

/// How it ended; the log has it.
fn ended(bench: &mut Bench) -> Outcome {
    let outcome = bench.until_ended();
    bench.see_to_all();
    bench.log();
    bench.see_to_all();
    outcome
}

fn carried() -> (Bench, Way, Way) {
    let mut bench = bench();
    let (one, two) = (carry(&mut bench, "1.0"), carry(&mut bench, "1.1"));
    (bench, one, two)
}

/// On its way back from the second release by this order, at the first command.
fn returning() -> (Bench, Way, Way, Way) {
    let (mut bench, one, two) = carried();
    let order = bench.order_return(2, two.package, one.package);
    bench.offer(order);
    let switch = bench.until_work("switch");
    bench.answered(switch, Answer::Done);
    (bench, one, two, Way { booking: order, ..two })
}

/// The same, where a person is waited for.
fn asking() -> (Bench, Way, Way, Way) {
    let (mut bench, one, two, back) = returning();
    let (effect, ..) = command(&mut bench);
    bench.answered(effect, Answer::Done);
    assert_eq!(bench.report().step, "undo of manual step hold-job");
    (bench, one, two, back)
}

/// The command that is wanted now, and whose it is.
fn command(bench: &mut Bench) -> (EffectId, Slot, StepRun) {
    let work = bench.until(|it| matches!(it, Output::Work { work: Work::Step { .. }, .. }));
    let Output::Work { effect, work: Work::Step { slot, run }, .. } = work else { panic!() };
    (effect, slot, run)
}

/// How much of a release's runbook the ledger says is to be taken back.
fn begun(bench: &Bench, way: Way) -> usize {
    bench.written().applications[&web()].runbook(&way.booking).unwrap().begun
}

fn stuck(outcome: &Outcome) -> (&str, &str) {
    let Event::Stuck { step, reason } = &outcome.event else { panic!("{outcome:?}") };
    (step, reason)
}

fn facts(bench: &Bench) -> &str {
    &bench.report().refused.as_ref().unwrap().1.facts
}

fn nothing() -> StepResult {
    StepResult::Done { note: String::new() }
}

#[test]
fn the_runbook_of_what_is_left_is_walked_back_by_its_commands_and_by_people() {
    let (mut bench, one, two, back) = returning();
    let (effect, slot, run) = command(&mut bench);
    assert_eq!(
        (slot.generation, slot.package),
        (2, two.package),
        "its programs are in what is left"
    );
    assert_eq!((run.command.as_str(), run.timeout), ("hooks/back.sh", seconds(20)));
    assert_eq!(run.environment["CUTOVER_DIRECTION"], "back");
    assert_eq!(run.environment["CUTOVER_ELEMENTS"], "PAYR010 -> PROD.PAYROLL.JCL");
    assert_eq!(bench.report().step, "undo of step move-members");
    assert_eq!(bench.report().order, Some(back.booking));
    assert_eq!(begun(&bench, two), 2, "the last step leaves nothing to take back");
    // What is said of a step before it is asked for is no answer to the question.
    says(&mut bench, "ops", back, "hold-job", Direction::Back, nothing());
    show(&mut bench, back.booking);
    bench.answered(effect, Answer::Done);
    assert_eq!(begun(&bench, two), 1);
    show(&mut bench, back.booking);
    assert_eq!(bench.report().step, "undo of manual step hold-job");
    // Nor is what is said of the booking that is taken back.
    done(&mut bench, "ops", two, "hold-job", Direction::Back);
    show(&mut bench, back.booking);
    assert_eq!(bench.report().step, "undo of manual step hold-job");
    done(&mut bench, "ops", back, "hold-job", Direction::Back);
    assert_eq!(bench.report().step, "starting");
    let outcome = ended(&mut bench);
    assert_eq!(outcome.event, Event::RolledBack);
    assert_eq!((outcome.order, outcome.release), (back.booking, two.release));
    assert_eq!(outcome.running, Some(one.package));
    assert_eq!(bench.written().applications[&web()].runbooks, []);
    let again = bench.book(two.release, two.package);
    bench.offer(again.booking);
    assert_eq!(bench.refused(), Some((again.booking, Code::NotReviewed)));
}

#[test]
fn a_return_has_the_time_of_its_undos_and_none_from_there() {
    let (bench, ..) = returning();
    let state = &bench.core.machine(&web()).unwrap().record().state;
    let (task, _) = state.going_forward().unwrap();
    let it = &task.assignment;
    assert_eq!((it.kind, it.reversibility), (Kind::Return, Reversibility::Irreversible));
    assert!(it.hooks.forward.iter().eq([&HookPhase::Activate]) && it.hooks.undo.is_empty());
    assert_eq!(it.apply_budget, seconds(20 + 20) + seconds(20 + 5), "two undos, then health");
}

#[test]
fn what_somebody_says_was_not_taken_back_is_stuck_and_an_operator_leads_back() {
    let (mut bench, one, two, back) = asking();
    bench.wait(millis(1));
    let failed = StepResult::Failed { reason: "another holds it".to_owned() };
    says(&mut bench, "ops", back, "hold-job", Direction::Back, failed);
    show(&mut bench, back.booking);
    let outcome = ended(&mut bench);
    let why = "undo of manual step hold-job: ops said that it failed: another holds it";
    assert_eq!(stuck(&outcome), ("activate hook", why));
    assert_eq!((begun(&bench, two), bench.report().step.as_str()), (1, "stuck"));
    bench.take();
    assert!(ask(&mut bench, RETURN).unwrap_err().contains("--even-irreversible"));
    assert_eq!(ask(&mut bench, EVEN).unwrap(), "it goes the whole way back again");
    let mut works = Vec::new();
    while phase(&bench) == Phase::Returning {
        let next = bench.until(|it| matches!(it, Output::Work { .. } | Output::Tidy { .. }));
        let Output::Work { effect, work, .. } = next else { break };
        works.push(work.name());
        let sample = Answer::Sample(bench.sample(true));
        bench.answered(effect, if work.name() == "check" { sample } else { Answer::Done });
    }
    assert!(works.contains(&"switch") && !works.contains(&"step"), "{works:?}");
    let outcome = bench.outcomes().pop().unwrap();
    assert!(matches!(outcome.event, Event::Returned { .. }), "{outcome:?}");
    assert_eq!(outcome.running, Some(two.package));
    bench.see_to_all();
    bench.log();
    bench.see_to_all();
    // The operator has put right what the ledger does not know.
    let order = bench.order_return(3, two.package, one.package);
    bench.offer(order);
    assert_eq!(bench.refused(), Some((order, Code::RollbackNotAuthorised)));
    assert!(facts(&bench).contains("in part"), "{}", facts(&bench));
}

#[test]
fn a_command_that_fails_is_not_tried_again() {
    let (mut bench, ..) = returning();
    let (effect, ..) = command(&mut bench);
    bench.failed(effect, "the library is locked");
    let why = "undo of step move-members: the library is locked";
    assert_eq!(stuck(&ended(&mut bench)), ("activate hook", why));
}

#[test]
fn who_comes_too_late_moves_nothing_any_more_and_an_operator_may_keep_it() {
    let (mut bench, one, _, back) = asking();
    bench.wait(seconds(20).saturating_sub(millis(1)));
    assert_eq!(bench.report().step, "undo of manual step hold-job");
    bench.wait(millis(1));
    let outcome = ended(&mut bench);
    let why = "undo of manual step hold-job: nobody who may has signed in time that it is done";
    assert_eq!(stuck(&outcome), ("activate hook", why));
    done(&mut bench, "ops", back, "hold-job", Direction::Back);
    assert_eq!((phase(&bench), bench.report().step.as_str()), (Phase::Stuck, "stuck"));
    let kept = ask(&mut bench, OperatorAct::Keep).unwrap();
    assert_eq!(kept, "it is committed as it is, and seen to");
    let outcome = ended(&mut bench);
    assert_eq!((outcome.event, outcome.running), (Event::RolledBack, Some(one.package)));
    assert_eq!(bench.written().applications[&web()].runbooks, []);
}

#[test]
fn a_crash_at_any_step_is_stuck_and_the_ledger_knows_how_far_it_was() {
    type Ways = fn() -> (Bench, Way, Way, Way);
    let at: [(Ways, usize); 2] = [(returning, 2), (asking, 1)];
    for (prepared, left) in at {
        let (mut bench, _, two, back) = prepared();
        bench.take();
        bench.restart();
        let outcome = ended(&mut bench);
        assert_eq!(stuck(&outcome), ("activate hook", "the applier ended on the way"));
        assert_eq!((outcome.order, begun(&bench, two)), (back.booking, left));
        done(&mut bench, "ops", back, "hold-job", Direction::Back);
        assert_eq!(bench.report().step, "stuck", "nothing goes on");
    }
}

#[test]
fn a_step_back_that_cannot_be_written_down_is_not_begun() {
    let (mut bench, _, two, back) = asking();
    bench.wait(millis(1));
    says(&mut bench, "ops", back, "hold-job", Direction::Back, nothing());
    let (mut other, ..) = returning();
    let (effect, ..) = command(&mut other);
    other.kept.full = true;
    other.answered(effect, Answer::Done);
    assert_ne!(other.report().step, "undo of manual step hold-job");
    let failed = other.notes.iter().find(|it| it.text == "failed").unwrap();
    assert!(failed.detail.ends_with("the ledger cannot be written: no space is left"));
    // What follows the last step is the machine's to write down.
    assert_eq!(begun(&bench, two), 1);
    show(&mut bench, back.booking);
    assert_eq!(begun(&bench, two), 0);
}

#[test]
fn what_was_given_up_before_it_touched_anything_may_be_ordered_again() {
    let (mut bench, one, two) = carried();
    let order = bench.order_return(2, two.package, one.package);
    bench.offer(order);
    let preflight = bench.until_work("preflight");
    bench.failed(preflight, "host-not-ready: the library is locked");
    assert!(matches!(ended(&mut bench).event, Event::Refused { .. }));

    // And so may it when another release has failed in between.
    let three = bench.order_of(zseries("1.2"), |_| {});
    bench.offer(three.booking);
    let switch = bench.until_work("switch");
    bench.failed(switch, "read-only");
    assert!(matches!(ended(&mut bench).event, Event::Returned { .. }));
    let generation = bench.report().generation;
    let order = bench.order_return(generation, two.package, one.package);
    bench.offer(order);
    let switch = bench.until_work("switch");
    bench.answered(switch, Answer::Done);
    let (_, slot, run) = command(&mut bench);
    assert_eq!((slot.package, run.command.as_str()), (two.package, "hooks/back.sh"));
}

#[test]
fn what_came_by_a_return_is_left_by_a_release_only() {
    let (mut bench, one, two) = carried();
    let three = carry(&mut bench, "1.2");
    let order = bench.order_return(3, three.package, two.package);
    bench.offer(order);
    let back = Way { booking: order, ..three };
    let switch = bench.until_work("switch");
    bench.answered(switch, Answer::Done);
    let (effect, ..) = command(&mut bench);
    bench.answered(effect, Answer::Done);
    done(&mut bench, "ops", back, "hold-job", Direction::Back);
    assert_eq!(ended(&mut bench).event, Event::RolledBack);
    let order = bench.order_return(4, two.package, one.package);
    bench.offer(order);
    assert_eq!(bench.refused(), Some((order, Code::RollbackNotAuthorised)));
    assert!(facts(&bench).contains("release a package whose runbook does"), "{}", facts(&bench));
}

#[test]
fn a_halted_rollout_takes_a_gateway_back_and_the_booking_has_its_steps() {
    let mut bench = bench();
    carry(&mut bench, "1.0");
    for other in ["s2", "s3"] {
        bench.world.say(&["ops"], enrolment(other, "staging")).unwrap();
    }
    let two = bench.order_of(zseries("1.1"), |_| {});
    let window = Window { start: bench.world.now, end: bench.world.now + WINDOW };
    let mut both = booking((two.release, two.package), "staging", &[&[HOST, "s2", "s3"]], window);
    both.plan.on_halt = OnHalt::ReturnAll { budget: 2 };
    let booked = bench.world.say(&["max"], both).unwrap();
    let two = Way { booking: booked, ..two };
    bench.world.release_window(two);
    walk_forward(&mut bench, two);
    for other in ["s2", "s3"] {
        let (step, reason) = ("checking".to_owned(), "no answer".to_owned());
        bench.world.outcome(other, two, Event::Returned { step, reason });
    }

    bench.offer(two.booking);
    let switch = bench.until_work("switch");
    bench.answered(switch, Answer::Done);
    let (effect, slot, _) = command(&mut bench);
    assert_eq!(slot.package, two.package);
    bench.answered(effect, Answer::Done);
    assert_eq!(bench.report().step, "undo of manual step hold-job");
    done(&mut bench, "ops", two, "hold-job", Direction::Back);
    let outcome = ended(&mut bench);
    assert_eq!((outcome.event, outcome.order), (Event::RolledBack, two.booking));
    let left: Vec<Digest> =
        bench.written().applications[&web()].runbooks.iter().map(|it| it.order).collect();
    assert_eq!(left, []);
}
