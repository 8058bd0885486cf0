//! Stops: what ends an order that is under way, and what does not.

use cutover_applier_core::{Answer, Input};
use cutover_machine::{EffectId, Phase as MachinePhase};
use cutover_shared::digest::Digest;
use cutover_shared::refusal::Code;
use cutover_shared::statement::{
    Assessment, Cancel, Event, Freeze, Hold, Judgement, Remark, Resume, Review, Says, Verdict,
};

use crate::bench::{Bench, HOST, seconds, web};
use crate::world::{Way, names, release};

fn why() -> String {
    "it is wrong".to_owned()
}

fn hold(way: Way, finish: bool) -> Hold {
    Hold { release: way.release, reason: why(), finish }
}

/// An order that is being fetched.
fn fetching() -> (Bench, Way) {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    bench.until_work("assemble");
    (bench, way)
}

/// An order whose release is switched to and is being started.
fn active() -> (Bench, Way, EffectId) {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    let start = bench.until_work("start");
    (bench, way, start)
}

fn phase(bench: &Bench) -> MachinePhase {
    bench.core.machine(&web()).unwrap().phase()
}

#[test]
fn whatever_stands_against_an_order_stops_it_by_its_own_name() {
    type Against = fn(&mut Bench, Way);
    let cases: [(Code, Against); 8] = [
        (Code::Held, |bench, way| {
            bench.world.say(&["sec"], hold(way, false)).unwrap();
        }),
        (Code::Cancelled, |bench, way| {
            let says = Cancel { release: way.release, booking: None, reason: why() };
            bench.world.say(&["max"], says).unwrap();
        }),
        (Code::Cancelled, |bench, way| {
            let booking = Some(way.booking);
            let says = Cancel { release: way.release, booking, reason: why() };
            bench.world.say(&["max"], says).unwrap();
        }),
        (Code::Denied, |bench, way| {
            let says = Assessment {
                release: way.release,
                package: way.package,
                environments: names(&["staging"]),
                judgement: Judgement::Denied { reason: why() },
            };
            bench.world.say(&["sec"], says).unwrap();
        }),
        (Code::Returned, |bench, way| {
            let items = vec![Remark { item: "NOTES.md".to_owned(), remark: why() }];
            let verdict = Verdict::Returned { items };
            let environments = names(&["staging"]);
            let says = Review { release: way.release, environments, verdict };
            bench.world.say(&["lib"], says).unwrap();
        }),
        (Code::Frozen, |bench, _| {
            let says = Freeze::Declared {
                policy: bench.world.state.policy().unwrap().id(),
                environments: names(&["staging"]),
                applications: names(&[]),
                start: bench.world.now,
                end: bench.world.now + seconds(600),
                reason: why(),
            };
            bench.world.say(&["max"], says).unwrap();
        }),
        (Code::Superseded, |bench, way| {
            let mut says = release("1.0.1", Digest::of(b"1.0.1"));
            says.supersedes = Some(way.release);
            bench.world.say(&["sue"], says).unwrap();
        }),
        (Code::WrongHost, |bench, _| {
            bench.world.retire(HOST).unwrap();
        }),
    ];
    for (code, against) in cases {
        let (mut bench, way) = fetching();
        against(&mut bench, way);
        bench.stop(way.booking);
        assert!(bench.noted("stopped on the way"), "{code}");
        let outcome = bench.until_ended();
        let Event::Refused { code: told, .. } = &outcome.event else { panic!("{outcome:?}") };
        assert_eq!((told.as_str(), outcome.order), (code.name(), way.booking));
        assert_eq!(bench.refused(), Some((way.booking, code)));
        assert!(outcome.ended >= outcome.started);
    }
}

#[test]
fn a_stop_that_shows_nothing_against_the_order_is_none() {
    // Nothing is left out, but nothing was said; what only this host knows is no stop; nor is what misses a
    // statement, for then anybody could stop everything.
    type LeftOut = fn(&Says) -> bool;
    type Show = fn(&mut Bench, Way, &dyn Fn(&Says) -> bool);
    let without: Show = |bench, way, left_out| {
        let mut evidence = bench.evidence(way.booking);
        let before = evidence.entries.len();
        evidence.entries.retain(|entry| {
            let envelope = cutover_shared::dsse::Envelope::parse(&entry.envelope).unwrap();
            let statement = cutover_shared::statement::Statement::read(&envelope).unwrap();
            !left_out(&statement.says)
        });
        assert!(evidence.entries.len() < before);
        bench.stop_with(way.booking, evidence);
    };
    let cases: [(&str, Show, LeftOut); 4] = [
        ("nothing", |bench, way, _| bench.stop(way.booking), |_| false),
        (
            "inhibited",
            |bench, way, _| {
                bench.inhibitors = vec!["a backup".to_owned()];
                bench.look();
                bench.stop(way.booking);
                bench.inhibitors.clear();
                bench.look();
            },
            |_| false,
        ),
        ("no review", without, |says| matches!(says, Says::Review(_))),
        ("no enrolment", without, |says| matches!(says, Says::Host(_))),
    ];
    for (what, show, left_out) in cases {
        let (mut bench, way) = fetching();
        show(&mut bench, way, &left_out);
        assert_eq!(phase(&bench), MachinePhase::Fetching, "{what}");
        assert!(!bench.noted("stopped on the way"), "{what}");
        assert_eq!(bench.report().order, Some(way.booking), "{what}");
    }
}

#[test]
fn a_stop_on_bad_evidence_is_none() {
    let (mut bench, way) = fetching();
    bench.world.say(&["sec"], hold(way, false)).unwrap();
    let mut evidence = bench.evidence(way.booking);
    evidence.entries.last_mut().unwrap().proof.clear();
    bench.stop_with(way.booking, evidence);
    assert!(bench.noted("a stop is not good evidence"));
    assert_eq!(phase(&bench), MachinePhase::Fetching);
}

#[test]
fn a_stop_that_leaves_out_the_resume_is_none() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    let held = bench.world.say(&["sec"], hold(way, false)).unwrap();
    let resumed = bench.world.tree.size();
    bench.world.say(&["sec"], Resume { hold: held, reason: why() }).unwrap();
    bench.offer(way.booking);
    bench.until_work("assemble");
    let mut evidence = bench.evidence(way.booking);
    evidence.entries.retain(|entry| entry.index != resumed);
    bench.stop_with(way.booking, evidence);
    assert!(bench.noted("a stop that leaves out what the order stood on is no stop"));
    assert_eq!(phase(&bench), MachinePhase::Fetching);
    // The same hold, and another one that nobody has resumed.
    bench.world.say(&["sec"], hold(way, false)).unwrap();
    bench.stop(way.booking);
    assert_eq!(bench.until_ended().event.name(), "refused");
}

#[test]
fn what_is_only_looked_at_is_dropped() {
    let mut bench = Bench::new();
    let way = bench.order("1.0");
    bench.offer(way.booking);
    let asked = bench.until_asked();
    bench.world.say(&["sec"], hold(way, false)).unwrap();
    bench.stop(way.booking);
    bench.tell(Input::Timeout);
    assert_eq!((bench.report().order, bench.report().step.as_str()), (None, "idle"));
    bench.clear(asked);
    bench.tell(Input::Connected(true));
    assert_eq!(bench.take().len(), 0, "nothing is asked any longer");
    bench.offer(way.booking);
    assert_eq!(bench.refused(), Some((way.booking, Code::Held)));
}

#[test]
fn a_stop_of_another_order_stops_that_one_alone() {
    let mut bench = Bench::new();
    let (one, two) = (bench.order("1.0"), bench.order("1.1"));
    bench.offer(one.booking);
    bench.until_asked();
    bench.world.say(&["sec"], hold(two, false)).unwrap();
    bench.stop(two.booking);
    assert_eq!(bench.report().order, Some(one.booking));
    let asked = {
        bench.tell(Input::Connected(true));
        bench.until_asked()
    };
    bench.clear(asked);
    bench.until_work("assemble");
    bench.stop(two.booking);
    assert_eq!(phase(&bench), MachinePhase::Fetching);
    assert_eq!(bench.report().order, Some(one.booking));
}

#[test]
fn a_hold_that_lets_finish_does_so_only_once_the_release_is_active() {
    let (mut bench, way, start) = active();
    bench.world.say(&["sec"], hold(way, true)).unwrap();
    bench.stop(way.booking);
    let process = bench.process();
    bench.answered(start, Answer::Started(process));
    assert_eq!(bench.until_ended().event, Event::Committed);

    let (mut bench, way) = fetching();
    bench.world.say(&["sec"], hold(way, true)).unwrap();
    bench.stop(way.booking);
    assert_eq!(bench.until_ended().event.name(), "refused");
}

#[test]
fn what_is_active_goes_back_unless_all_that_stands_lets_it_finish() {
    type Against = fn(&mut Bench, Way);
    let cases: [(&str, Against); 4] = [
        ("a hold", |bench, way| {
            bench.world.say(&["sec"], hold(way, false)).unwrap();
        }),
        ("two holds", |bench, way| {
            bench.world.say(&["sec"], hold(way, true)).unwrap();
            bench.world.say(&["max"], hold(way, false)).unwrap();
        }),
        ("cancelled beside a hold", |bench, way| {
            bench.world.say(&["sec"], hold(way, true)).unwrap();
            let says = Cancel { release: way.release, booking: None, reason: why() };
            bench.world.say(&["max"], says).unwrap();
        }),
        ("resumed by its releaser alone, which counts for nothing", |bench, way| {
            let held = bench.world.say(&["max"], hold(way, false)).unwrap();
            bench.world.say(&["max"], Resume { hold: held, reason: why() }).unwrap();
        }),
    ];
    for (what, against) in cases {
        let (mut bench, way, _) = active();
        against(&mut bench, way);
        bench.stop(way.booking);
        let outcome = bench.until_ended();
        let Event::Returned { step, reason } = &outcome.event else {
            panic!("{what}: {outcome:?}")
        };
        assert_eq!(step, "starting", "{what}");
        assert!(reason.contains(": it is wrong"), "{what}: {reason}");
        assert_eq!(outcome.running, None);
    }
}

#[test]
fn a_stop_on_the_way_back_comes_too_late() {
    let (mut bench, way, start) = active();
    bench.failed(start, "no such file");
    bench.world.say(&["sec"], hold(way, false)).unwrap();
    bench.stop(way.booking);
    assert!(bench.noted("a stop comes too late"));
    let outcome = bench.until_ended();
    let Event::Returned { reason, .. } = &outcome.event else { panic!() };
    assert_eq!(reason, "no such file");
}
