//! How an order ends, and what the host signs of it.

use cutover_applier_core::{Answer, Input, Output};
use cutover_machine::{EffectId, RETURN_ATTEMPTS, State};
use cutover_shared::statement::{Event, Outcome};

use crate::bench::{Bench, TIMING, WINDOW, millis, parcel, seconds, web};
use crate::parcel::Parcel;
use crate::world::Way;

/// Every hook, each with its undo.
const HOOKS: &str = r#"
[hooks]
pre-stop = { command = "hooks/a.sh", timeout = "1s", undo = { command = "hooks/b.sh", timeout = "1s" } }
stop = { command = "hooks/a.sh", timeout = "1s", undo = { command = "hooks/b.sh", timeout = "1s" } }
activate = { command = "hooks/a.sh", timeout = "1s", undo = { command = "hooks/b.sh", timeout = "1s" } }
start = { command = "hooks/a.sh", timeout = "1s", undo = { command = "hooks/b.sh", timeout = "1s" } }
post-start = { command = "hooks/a.sh", timeout = "1s", undo = { command = "hooks/b.sh", timeout = "1s" } }
"#;

fn hooked() -> Parcel {
    parcel("1.0", HOOKS)
}

/// The next work, whatever it is; everything else goes well.
fn next_work(bench: &mut Bench) -> (EffectId, &'static str) {
    let work = bench.until(|it| matches!(it, Output::Work { .. }));
    let Output::Work { effect, work, .. } = work else { panic!() };
    (effect, work.name())
}

fn returned(outcome: &Outcome) -> (&str, &str) {
    let Event::Returned { step, reason } = &outcome.event else { panic!("{outcome:?}") };
    (step, reason)
}

fn refused(outcome: &Outcome) -> (&str, &str) {
    let Event::Refused { code, detail } = &outcome.event else { panic!("{outcome:?}") };
    (code, detail)
}

fn stuck(outcome: &Outcome) -> (&str, &str) {
    let Event::Stuck { step, reason } = &outcome.event else { panic!("{outcome:?}") };
    (step, reason)
}

/// Its checks answer like this, round after round, until the order has ended.
fn checked(bench: &mut Bench, healthy: impl Fn(usize) -> bool) -> Outcome {
    for round in 0.. {
        let next = bench.until(|it| {
            let check = matches!(it, Output::Work { work, .. } if work.name() == "check");
            check || matches!(it, Output::Tidy { .. })
        });
        let Output::Work { effect, .. } = next else { break };
        let sample = bench.sample(healthy(round));
        bench.answered(effect, Answer::Sample(sample));
    }
    bench.outcomes().pop().unwrap()
}

#[test]
fn a_step_that_fails_is_named_and_what_was_touched_goes_back() {
    let steps = [
        ("assemble", "fetching"),
        ("preflight", "preflight"),
        ("hook", "pre-stop hook"),
        ("stop", "stopping"),
        ("hook", "stop hook"),
        ("switch", "activating"),
        ("hook", "activate hook"),
        ("hook", "start hook"),
        ("start", "starting"),
        ("hook", "post-start hook"),
    ];
    for (failing, (work, step)) in steps.into_iter().enumerate() {
        let mut bench = Bench::new();
        let way = bench.order_of(hooked(), |_| {});
        bench.offer(way.booking);
        for (expected, _) in &steps[..failing] {
            let (effect, name) = next_work(&mut bench);
            assert_eq!(name, *expected);
            bench.answered(effect, Answer::Done);
        }
        let (effect, name) = next_work(&mut bench);
        assert_eq!(name, work);
        bench.failed(effect, "the disk is full");
        let outcome = bench.until_ended();
        assert_eq!((outcome.order, outcome.running), (way.booking, None));
        if failing < 2 {
            assert_eq!(refused(&outcome), ("busy", format!("{step}: the disk is full").as_str()));
            assert_eq!(bench.written().applications[&web()].spent, []);
            assert_eq!(bench.written().applications[&web()].returned, []);
        } else {
            assert_eq!(returned(&outcome), (step, "the disk is full"));
            let saved = &bench.written().applications[&web()];
            assert_eq!(saved.spent.len(), 1, "{step}: it is begun once");
            assert_eq!(saved.returned[0].0, way.package, "{step}");
        }
        assert!(
            bench
                .take()
                .iter()
                .any(|it| matches!(it, Output::Tidy { keep, .. } if keep.is_empty()))
        );
    }
}

#[test]
fn what_a_step_says_with_a_code_is_refused_by_that_code() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    let preflight = bench.until_work("preflight");
    bench.failed(preflight, "host-not-ready: port 80 is taken");
    let outcome = bench.until_ended();
    assert_eq!(refused(&outcome), ("host-not-ready", "port 80 is taken"));
    assert_eq!(bench.refused().unwrap().1.name(), "host-not-ready");
}

#[test]
fn what_never_gets_healthy_goes_back_with_its_readings() {
    let mut bench = Bench::new();
    let before = bench.deploy("1.0");
    let way = bench.order("1.1");
    bench.offer(way.booking);
    let began = bench.world.now;
    // Unhealthy until it is on its way back; then well.
    let watched = loop {
        let check =
            bench.until(|it| matches!(it, Output::Work { work, .. } if work.name() == "check"));
        let Output::Work { effect, .. } = check else { panic!() };
        let sample = bench.sample(false);
        bench.answered(effect, Answer::Sample(sample));
        if bench.world.now.since(began) >= seconds(TIMING.deadline - 1) {
            break bench.until_ended();
        }
    };
    assert_eq!(returned(&watched), ("checking", "not healthy by its deadline"));
    assert_eq!(watched.running, Some(before.package));
    assert!(watched.ended.since(watched.started) >= seconds(TIMING.deadline));
    let last = watched.readings.last().unwrap();
    assert_eq!(
        (last.check.as_str(), last.detail.as_str(), last.healthy),
        ("answers", "500", false)
    );
    assert_eq!(bench.report().running, Some(before.package));
    let saved = &bench.written().applications[&web()];
    assert_eq!(saved.record.committed.unwrap().package, before.package);
    assert_eq!((saved.history.len(), saved.brought.len()), (0, 1));
}

#[test]
fn health_that_is_lost_while_it_bakes_sends_it_back() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    let outcome = checked(&mut bench, |round| round < 3);
    assert_eq!(returned(&outcome), ("baking", "health was lost while baking"));
}

#[test]
fn what_ends_while_it_is_checked_goes_back_and_is_not_started_again() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    let watch = bench.until(|it| matches!(it, Output::Watch { .. }));
    let Output::Watch { running, .. } = watch else { panic!() };
    bench.until_work("check");
    bench.tell(Input::Exited { application: web(), running });
    let outcome = bench.until_ended();
    assert_eq!(returned(&outcome), ("checking", "the application ended: its process is gone"));
    bench.wait(seconds(100));
    assert!(!bench.take().iter().any(|it| matches!(it, Output::Restart { .. })));
}

#[test]
fn a_window_that_closes_ends_it() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    bench.until_work("preflight");
    let closing = WINDOW.saturating_sub(seconds(TIMING.rollback_reserve));
    bench.wait(closing.saturating_sub(millis(1)));
    assert_eq!(bench.report().step, "preflight");
    bench.wait(millis(1));
    let outcome = bench.until_ended();
    assert_eq!(refused(&outcome), ("window-too-short", "preflight: the window was closing"));

    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    let preflight = bench.until_work("preflight");
    bench.wait(closing.saturating_sub(seconds(TIMING.bake)));
    bench.answered(preflight, Answer::Done);
    let outcome = bench.until_ended();
    let (code, detail) = refused(&outcome);
    assert_eq!(code, "window-too-short");
    assert!(detail.ends_with("the rest of the window was too short"), "{detail}");
}

#[test]
fn an_applier_that_ends_on_the_way_goes_back() {
    let mut bench = Bench::new();
    let before = bench.deploy("1.0");
    let way = bench.order("1.1");
    bench.offer(way.booking);
    bench.until_work("start");
    bench.restart();
    let outcome = bench.until_ended();
    assert_eq!(returned(&outcome), ("starting", "the applier ended on the way"));
    assert_eq!(outcome.running, Some(before.package));
    assert_eq!(bench.written().applications[&web()].spent.last().unwrap().0, way.booking);
}

#[test]
fn what_cannot_be_written_down_goes_back_and_is_told_when_it_can() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    let switch = bench.until_work("switch");
    bench.kept.full = true;
    let saved = bench.core.saved().clone();
    bench.answered(switch, Answer::Done);
    assert_eq!(*bench.core.saved(), saved, "what is not in the ledger is not so");
    assert!(bench.noted("the ledger cannot be written"));
    while bench.core.machine(&web()).unwrap().record().state.outcome().is_none() {
        bench.see_to_all();
        let wait = bench.core.poll_timeout(bench.now()).unwrap();
        bench.wait(wait);
    }
    bench.see_to_all();
    assert_eq!(bench.outcomes(), [], "what is not written down is not told");
    bench.kept.full = false;
    let outcome = bench.until_ended();
    assert_eq!(returned(&outcome), ("starting", "the ledger: no space is left"));
    assert_eq!(bench.outcomes().len(), 1);
}

#[test]
fn every_end_waits_until_it_is_logged() {
    let mut bench = Bench::new();
    let mut orders = Vec::new();
    for version in ["1.0", "1.1", "1.2"] {
        let way = bench.order(version);
        bench.offer(way.booking);
        let switch = bench.until_work("switch");
        bench.failed(switch, "read-only");
        bench.until_ended();
        bench.take();
        orders.push(way.booking);
    }
    let told: Vec<_> = bench.outcomes().iter().map(|it| (it.order, it.generation)).collect();
    assert_eq!(told, [(orders[0], 1), (orders[1], 2), (orders[2], 3)]);
    let (id, envelope) = bench.core.saved().reports[1].clone();
    let index = bench.world.tree.size();
    bench.world.append_bytes(envelope).unwrap();
    bench.logged(id, index);
    let told: Vec<_> = bench.outcomes().iter().map(|it| it.order).collect();
    assert_eq!(told, [orders[0], orders[2]]);
    assert_eq!(bench.written().reports.len(), 2);
}

/// A second release of which no way back is found.
pub(crate) fn get_stuck(bench: &mut Bench) -> (Way, Way, Outcome) {
    let before = bench.deploy("1.0");
    let way = bench.order_of(parcel("1.1", HOOKS), |_| {});
    bench.offer(way.booking);
    let start = bench.until_work("start");
    bench.failed(start, "no such file");
    for attempt in 0..RETURN_ATTEMPTS {
        let switch = bench.until_work("switch");
        assert!(bench.outcomes().is_empty(), "{attempt}");
        bench.failed(switch, "read-only");
    }
    let outcome = bench.until_ended();
    (before, way, outcome)
}

#[test]
fn what_finds_no_way_back_is_stuck_and_nothing_is_removed() {
    let mut bench = Bench::new();
    let (_, way, outcome) = get_stuck(&mut bench);
    assert_eq!(stuck(&outcome), ("switch", "read-only; before that: no such file"));
    assert_eq!((outcome.order, outcome.running), (way.booking, None), "nobody knows what runs");
    assert!(!bench.take().iter().any(|it| matches!(it, Output::Tidy { .. })));
    assert_eq!(outcome.clearances.len(), 2);
    assert_eq!(bench.report().order, Some(way.booking));
    let saved = &bench.written().applications[&web()];
    assert_eq!(saved.clearances.len(), 2, "how it ends in the end shows them, too");
    assert_eq!(saved.returned[0].0, way.package);
    assert!(matches!(saved.record.state, State::Stuck(..)));
}

#[test]
fn what_was_approved_as_irreversible_is_stuck_at_once() {
    let mut bench = Bench::new();
    let parcel =
        crate::bench::parcel_with("1.0", "data-loss =", "irreversible = true\ndata-loss =");
    let way = bench.order_of(parcel, |says| says.irreversible = true);
    bench.offer(way.booking);
    let start = bench.until_work("start");
    bench.failed(start, "no such file");
    let outcome = bench.until_ended();
    assert_eq!(stuck(&outcome), ("starting", "no such file"));
}
