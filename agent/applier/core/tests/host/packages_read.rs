//! What becomes of an offer when its package was read, and of ordered returns.

use cutover_applier_core::{Answer, Input, Output, Work};
use cutover_machine::Phase as MachinePhase;
use cutover_shared::digest::Digest;
use cutover_shared::log::TreeHead;
use cutover_shared::protocol::FromApplier;
use cutover_shared::refusal::Code;
use cutover_shared::statement::Event;

use crate::bench::{Bench, TIMING, WINDOW, millis, parcel, parcel_with, read, seconds, web};

use crate::offers::refusal;

#[test]
fn an_ordered_return_has_as_long_as_the_release_before_took_at_most() {
    let mut bench = Bench::new();
    let (one, two) = (bench.deploy("1.0"), bench.deploy("1.1"));
    let order = bench.order_return(2, two.package, one.package);
    bench.offer(order);
    bench.until_work("stop");
    let longest = seconds(TIMING.deadline + TIMING.bake);
    bench.wait(longest.saturating_sub(millis(1)));
    assert_eq!(bench.report().step, "stopping");
    bench.wait(millis(1));
    assert_eq!(bench.report().step, "returning");
}

#[test]
fn a_manifest_that_says_otherwise_than_the_release_is_refused() {
    type Change = fn(&mut cutover_shared::statement::Release);
    let cases: [(&str, &str, Change); 4] = [
        ("application = \"web\"", "application = \"mail\"", |_| {}),
        ("apply-budget = \"100s\"", "apply-budget = \"101s\"", |_| {}),
        ("rollback-reserve = \"50s\"", "rollback-reserve = \"51s\"", |_| {}),
        ("data-loss =", "irreversible = true\ndata-loss =", |_| {}),
    ];
    for (from, to, change) in cases {
        let mut bench = Bench::new();
        let way = bench.order_of(parcel_with("1.0", from, to), change);
        bench.offer(way.booking);
        let stopped = bench.until(|it| matches!(it, Output::Say(FromApplier::StopFetching { .. })));
        let Output::Say(FromApplier::StopFetching { package }) = stopped else { panic!() };
        assert_eq!(package, way.package, "{to}");
        assert_eq!(bench.refused(), Some((way.booking, Code::DigestMismatch)), "{to}");
        assert_eq!(refusal(&bench.outcomes()[0]), "digest-mismatch");
        assert_eq!(bench.report().order, None);
        bench.wait(seconds(60));
        assert!(!bench.works().contains(&"assemble"), "{to}");
    }
}

#[test]
fn a_package_that_cannot_be_read_is_refused_by_its_code() {
    for (why, expected) in [
        ("digest-mismatch: the index served is another", Code::DigestMismatch),
        ("the disk is full", Code::Busy),
        ("such-a-code: there is not", Code::Busy),
    ] {
        let mut bench = Bench::new();
        let way = bench.order("1.0");
        bench.offer(way.booking);
        bench.until(|it| matches!(it, Output::Read { .. }));
        let elsewhere = Input::Read {
            application: web(),
            order: Digest::of(b"another order"),
            result: Err(why.to_owned()),
        };
        bench.tell(elsewhere);
        assert_eq!(bench.refused(), None, "that is for another order");
        let order = way.booking;
        bench.tell(Input::Read { application: web(), order, result: Err(why.to_owned()) });
        assert_eq!(bench.refused(), Some((order, expected)), "{why}");
        let facts = &bench.report().refused.as_ref().unwrap().1.facts;
        assert!(why.ends_with(facts), "{facts}");
        let result = Ok(read(&parcel("1.0", "")));
        bench.tell(Input::Read { application: web(), order, result });
        assert_eq!(bench.core.machine(&web()).unwrap().phase(), MachinePhase::Idle, "too late");
    }
}

#[test]
fn a_manifest_is_read_once() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    bench.until_asked();
    let result = || Ok(read(&parcel("1.0", "")));
    bench.tell(Input::Read { application: web(), order: way.booking, result: result() });
    assert_eq!(bench.core.machine(&web()).unwrap().phase(), MachinePhase::Idle, "not asked for");
}

#[test]
fn what_no_longer_fits_when_it_was_read_is_not_begun() {
    for (late, expected) in
        [(WINDOW.saturating_sub(seconds(149)), Code::WindowTooShort), (WINDOW, Code::WindowClosed)]
    {
        let mut bench = Bench::new();
        let way = bench.order("1.0");
        bench.offer(way.booking);
        bench.until(|it| matches!(it, Output::Read { .. }));
        bench.pass(late);
        let (order, result) = (way.booking, Ok(read(&parcel("1.0", ""))));
        bench.tell(Input::Read { application: web(), order, result });
        assert_eq!(bench.refused(), Some((order, expected)));
        assert_eq!(bench.report().order, None);
        assert_eq!(bench.core.saved().applications[&web()].record.generation, 0);
    }
}

#[test]
fn an_ordered_return_goes_to_the_release_before_and_is_told_of_the_one_it_leaves() {
    let mut bench = Bench::new();
    let (one, two) = (bench.deploy("1.0"), bench.deploy("1.1"));
    let kept = bench.written().applications[&web()].clone();
    assert_eq!(kept.history.iter().map(|it| it.package).collect::<Vec<_>>(), [one.package]);
    let order = bench.order_return(2, two.package, one.package);
    bench.offer(order);
    let copy = bench.until(|it| matches!(it, Output::Work { work: Work::Copy { .. }, .. }));
    let Output::Work { effect, work: Work::Copy { slot, sources }, .. } = copy else { panic!() };
    assert_eq!((slot.generation, slot.package, slot.release), (3, one.package, one.release));
    let sources: Vec<_> = sources.iter().map(|it| it.package).collect();
    assert_eq!(sources, [two.package, one.package]);
    bench.answered(effect, Answer::Done);
    let looks = bench.until(|it| matches!(it, Output::Work { work: Work::Preflight { .. }, .. }));
    let Output::Work { effect, work: Work::Preflight { slot, back }, .. } = looks else { panic!() };
    assert_eq!((slot.generation, back.map(|it| it.package)), (3, Some(two.package)));
    bench.answered(effect, Answer::Done);
    let outcome = bench.until_ended();
    assert_eq!(outcome.event, Event::RolledBack);
    assert_eq!((outcome.release, outcome.package), (two.release, two.package));
    assert_eq!((outcome.running, outcome.order), (Some(one.package), order));
    let saved = bench.written().applications[&web()].clone();
    assert_eq!(saved.history, [], "the release before is the one that runs");
    assert_eq!(saved.brought, [(3, order)]);
    let [(package, size, time)] = saved.returned[..] else { panic!() };
    assert_eq!((package, size, time), (two.package, bench.known(), bench.world.now));

    // An order that was carried out is not carried out again.
    bench.log();
    bench.take();
    bench.offer(order);
    assert_eq!(bench.refused(), Some((order, Code::GenerationPassed)));

    // What was left by order comes back only after another review.
    bench.log();
    bench.take();
    let again = bench.book(two.release, two.package);
    bench.offer(again.booking);
    assert_eq!(bench.refused(), Some((again.booking, Code::NotReviewed)));
}

#[test]
fn a_return_that_is_not_this_hosts_is_refused() {
    let mut bench = Bench::new();
    let (one, two) = (bench.deploy("1.0"), bench.deploy("1.1"));
    let cases = [
        (1, two.package, one.package, Code::GenerationPassed),
        (2, one.package, one.package, Code::RollbackNotAuthorised),
        (2, two.package, two.package, Code::RollbackNotAuthorised),
    ];
    for (generation, from, to, expected) in cases {
        let order = bench.order_return(generation, from, to);
        bench.offer(order);
        assert_eq!(bench.refused(), Some((order, expected)));
        let outcome = bench.outcomes().pop().unwrap();
        assert_eq!((refusal(&outcome), outcome.release), (expected.name(), order));
        assert_eq!((outcome.package, outcome.running), (from, Some(two.package)));
        assert_eq!(bench.report().order, None);
    }
}

#[test]
fn only_so_many_earlier_releases_stay() {
    let mut bench = Bench::new();
    let ways: Vec<_> = ["1.0", "1.1", "1.2", "1.3"].map(|it| bench.order(it)).into();
    for way in &ways[..3] {
        bench.commit(*way);
    }
    bench.offer(ways[3].booking);
    bench.until_ended();
    let tidy = bench.until(|it| matches!(it, Output::Tidy { .. }));
    let Output::Tidy { keep, .. } = tidy else { panic!() };
    let keep: Vec<_> = keep.iter().map(|it| it.package).collect();
    assert_eq!(keep, [ways[2].package, ways[1].package, ways[3].package]);
    let saved = bench.written().applications[&web()].clone();
    let brought: Vec<_> = saved.brought.iter().map(|it| it.0).collect();
    assert_eq!(brought, [2, 3, 4], "of what is not on disk nothing is known");
    assert_eq!(saved.brought_by(&saved.history[1]), Some(ways[1].booking));
    let missing = cutover_machine::Slot { generation: 1, ..saved.history[1] };
    assert_eq!(saved.brought_by(&missing), None);
}

#[test]
fn a_stale_head_is_told_and_not_signed() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    let early = bench.evidence(way.booking);
    let later = bench.order("1.1");
    bench.offer(later.booking);
    bench.offer_with(way.booking, early);
    assert_eq!(bench.refused(), Some((way.booking, Code::CheckpointStale)));
    assert_eq!(bench.outcomes(), []);
    assert_ne!(bench.core.trust().unwrap().head, TreeHead::empty());
}
