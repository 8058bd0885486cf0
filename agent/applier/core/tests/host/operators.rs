//! What an operator at the host asks for, and what comes of it.

use cutover_applier_core::{Answer, Input, MAX_REASON, OperatorAct, OperatorAsk, Output};
use cutover_machine::Phase as MachinePhase;
use cutover_shared::statement::{Event, Reading};

use crate::bench::{Bench, parcel_with, seconds, web};
use crate::ends::get_stuck;
use crate::world::name;

pub(crate) const RETURN: OperatorAct =
    OperatorAct::Return { skip_undo: false, even_irreversible: false };

/// What is answered.
fn ask_of(
    bench: &mut Bench,
    application: &str,
    act: OperatorAct,
    reason: &str,
) -> Result<String, String> {
    let ask = OperatorAsk { application: name(application), act, reason: reason.to_owned() };
    bench.tell(Input::Asked { number: "7".to_owned(), ask });
    let at = bench.pending.iter().position(|it| matches!(it, Output::Reply { .. })).unwrap();
    let Some(Output::Reply { number, answer }) = bench.pending.remove(at) else { panic!() };
    assert_eq!(number, "7");
    answer
}

pub(crate) fn ask(bench: &mut Bench, act: OperatorAct) -> Result<String, String> {
    ask_of(bench, "web", act, "it hangs")
}

pub(crate) fn phase(bench: &Bench) -> MachinePhase {
    bench.core.machine(&web()).unwrap().phase()
}

#[test]
fn what_is_not_here_cannot_be_asked_for() {
    let mut bench = Bench::new();
    let answer = ask_of(&mut bench, "mail", RETURN, "it hangs").unwrap_err();
    assert_eq!(answer, "this host's configuration has no application mail");
}

#[test]
fn what_touched_nothing_is_given_up() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    bench.until_work("assemble");
    let answer = ask(&mut bench, RETURN).unwrap();
    assert!(answer.starts_with("fetching ends. Nothing was touched"), "{answer}");
    let outcome = bench.until_ended();
    let Event::Refused { code, detail } = &outcome.event else { panic!("{outcome:?}") };
    assert_eq!(
        (code.as_str(), detail.as_str()),
        ("held", "fetching: an operator at the host: it hangs")
    );
}

#[test]
fn what_touched_the_host_goes_back() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    bench.until_work("stop");
    assert_eq!(ask(&mut bench, RETURN).unwrap(), "stopping ends, and it goes back");
    assert_eq!(ask(&mut bench, RETURN).unwrap(), "it is on its way back already");
    let keep = ask(&mut bench, OperatorAct::Keep).unwrap_err();
    assert!(keep.starts_with("only a release that is stuck"), "{keep}");
    let outcome = bench.until_ended();
    let Event::Returned { step, reason } = &outcome.event else { panic!("{outcome:?}") };
    assert_eq!((step.as_str(), reason.as_str()), ("stopping", "an operator at the host: it hangs"));
}

#[test]
fn what_is_at_rest_is_seen_to() {
    let mut bench = Bench::new();
    assert_eq!(
        ask(&mut bench, RETURN).unwrap(),
        "nothing is under way (idle): the committed release is seen to"
    );
    bench.see_to_all();
    bench.deploy("1.0");
    bench.take();
    let answer = ask(&mut bench, RETURN).unwrap();
    assert_eq!(answer, "nothing is under way (committed): the committed release is seen to");
    assert_eq!(bench.works(), ["settle"]);
    let busy = ask(&mut bench, RETURN).unwrap_err();
    assert!(busy.starts_with("an order is in hand"), "{busy}");
    assert!(ask(&mut bench, OperatorAct::Keep).is_err());
}

#[test]
fn an_ordered_return_is_let_end() {
    let mut bench = Bench::new();
    let (one, two) = (bench.deploy("1.0"), bench.deploy("1.1"));
    let order = bench.order_return(2, two.package, one.package);
    bench.offer(order);
    let stop = bench.until_work("stop");
    let answer = ask(&mut bench, RETURN).unwrap_err();
    bench.answered(stop, Answer::Done);
    assert_eq!(answer, "an ordered return is not held: wait for its end");
    assert_eq!(bench.until_ended().event, Event::RolledBack);
}

#[test]
fn what_is_irreversible_and_active_is_let_end() {
    let mut bench = Bench::new();
    let parcel = parcel_with("1.0", "data-loss =", "irreversible = true\ndata-loss =");
    let way = bench.order_of(parcel, |says| says.irreversible = true);
    bench.offer(way.booking);
    let start = bench.until_work("start");
    let answer = ask(&mut bench, RETURN).unwrap_err();
    assert!(answer.contains("irreversible and is active already"), "{answer}");
    bench.failed(start, "no such file");
    bench.until_ended();
    assert_eq!(phase(&bench), MachinePhase::Stuck);
    let answer = ask(&mut bench, RETURN).unwrap_err();
    assert!(answer.contains("--even-irreversible"), "{answer}");
    assert_eq!(phase(&bench), MachinePhase::Stuck);
    let even = OperatorAct::Return { skip_undo: false, even_irreversible: true };
    assert_eq!(ask(&mut bench, even).unwrap(), "it goes the whole way back again");
    assert_eq!(phase(&bench), MachinePhase::Returning);
}

#[test]
fn what_is_stuck_goes_the_whole_way_back_again_with_undo_or_without() {
    for skip_undo in [false, true] {
        let mut bench = Bench::new();
        let (before, way, _) = get_stuck(&mut bench);
        bench.log();
        bench.take();
        let act = OperatorAct::Return { skip_undo, even_irreversible: false };
        assert_eq!(ask(&mut bench, act).unwrap(), "it goes the whole way back again");
        let mut hooks = 0;
        let end = loop {
            let next = bench.until(|it| matches!(it, Output::Work { .. } | Output::Tidy { .. }));
            let Output::Work { effect, work, .. } = next else {
                break bench.outcomes().pop().unwrap();
            };
            hooks += usize::from(work.name() == "hook");
            let answer = match work.name() {
                "check" => Answer::Sample(bench.sample(true)),
                _ => Answer::Done,
            };
            bench.answered(effect, answer);
        };
        assert_eq!(hooks > 0, !skip_undo);
        let Event::Returned { reason, .. } = &end.event else { panic!("{end:?}") };
        assert_eq!(reason, "an operator at the host: it hangs");
        assert_eq!((end.order, end.running), (way.booking, Some(before.package)));
        assert_eq!(bench.written().applications[&web()].clearances.len(), 0);
    }
}

#[test]
fn what_is_stuck_may_be_kept_by_an_operators_word() {
    let mut bench = Bench::new();
    let (_, way, stuck) = get_stuck(&mut bench);
    bench.wait(seconds(5));
    assert_eq!(
        ask(&mut bench, OperatorAct::Keep).unwrap(),
        "it is committed as it is, and seen to"
    );
    let outcome = bench.until_ended();
    assert_eq!(bench.outcomes().len(), 2, "beside what was told of being stuck");
    assert_eq!((outcome.event, outcome.running), (Event::Committed, Some(way.package)));
    assert_eq!(outcome.clearances, stuck.clearances);
    let word = Reading {
        check: "operator".to_owned(),
        time: outcome.ended,
        healthy: true,
        detail: "an operator at the host: it hangs".to_owned(),
    };
    assert_eq!(outcome.readings, [word]);
    let saved = &bench.written().applications[&web()];
    assert_eq!(saved.record.committed.unwrap().package, way.package);
    assert_eq!(saved.history.len(), 1);
}

#[test]
fn a_long_reason_is_cut() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    bench.until_work("stop");
    ask_of(&mut bench, "web", RETURN, &"x".repeat(MAX_REASON + 1)).unwrap();
    let outcome = bench.until_ended();
    let Event::Returned { reason, .. } = &outcome.event else { panic!("{outcome:?}") };
    assert_eq!(*reason, format!("an operator at the host: {}", "x".repeat(MAX_REASON)));
    assert!(bench.noted("an operator at the host asked to return"));
}
