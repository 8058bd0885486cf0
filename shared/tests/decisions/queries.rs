//! What the fold of a log can be asked for, and the edges of each question.

use std::collections::BTreeSet;
use std::time::Duration;

use cutover_shared::case::{Case, Verified};
use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::refusal::Code;
use cutover_shared::statement::{
    Assessment, Cancel, Emergency, Event, Freeze, HostTurn, Judgement, Rollback, Statement,
};
use cutover_shared::window::Window;

use crate::forward::{emergency, iteration};
use crate::world::{World, at, booking, document, key, name, names, release};

fn why() -> String {
    "because".to_owned()
}

#[test]
fn the_policy_of_each_place_in_the_log_is_known() {
    let mut world = World::new();
    world.submit("1.0");
    let second = world.tree.size();
    world.say(&["root"], document(2)).unwrap();
    let state = &world.state;
    assert_eq!(state.policy_indexes().iter().collect::<Vec<_>>(), [(&1, &0), (&2, &second)]);
    let version = |index| state.policy_at(index).map(|it| it.document().version);
    assert_eq!(version(0), None, "nobody can have signed under it before");
    assert_eq!((version(1), version(second)), (Some(1), Some(1)));
    assert_eq!(version(second + 1), Some(2));
    assert_eq!(state.policy().unwrap().document().version, 2);
    assert!(state.epochs().is_empty() && state.unknown_predicates().is_empty());
    assert_eq!(state.next_index(), second + 1);
}

#[test]
fn a_part_of_the_log_may_restate_the_policy_that_is_trusted() {
    let world = World::new();
    let policy = world.trust().policy;
    let mut state = State::trusting(policy.clone());
    assert!(state.policy_at(9).is_none(), "where it stands is not known");
    let id = state.apply(3, &world.entries[0]).unwrap();
    assert_eq!((id, state.policy_indexes().get(&1)), (policy.id(), Some(&3)));
    assert_eq!(state.policy_at(4).unwrap().id(), policy.id());
    assert!(state.contains(&id));

    // Another one of the same version is no part of this chain.
    let mut other = document(1);
    other.expires = at(99);
    let other = Statement::new(at(0), other).signed_by([&key("root")]).to_bytes();
    assert_eq!(state.apply(4, &other).unwrap_err().code, Code::PolicyRollback);
    assert_eq!(state.ignored().len(), 1);
    assert_eq!((state.ignored()[0].0, state.next_index()), (4, 5));
}

#[test]
fn cases_are_found_by_number_package_and_emergency() {
    let mut world = World::new();
    let (one, package) = world.submit("1.0");
    let (two, _) = world.submit("1.1");
    let again = world.say(&["sue"], release("1.0.1", package)).unwrap();
    let ids = |cases: Vec<&Case>| -> Vec<Digest> {
        cases.into_iter().map(|case| case.release.id()).collect()
    };
    assert_eq!(ids(world.state.cases().collect()), [one, two, again]);
    assert_eq!(ids(world.state.cases_of_package(&package).collect()), [one, again]);
    assert_eq!(world.state.cases_of_package(&Digest::of(b"none")).count(), 0);
    let numbers: Vec<_> = world.state.cases().map(Case::name).collect();
    assert_eq!(numbers, ["R-1", "R-2", "R-3"]);

    let grounds = emergency(&mut world, 5000);
    let first = iteration(&mut world, grounds, 1, None);
    assert_eq!(ids(world.state.cases_of_emergency(&grounds).collect()), [first.release]);
    assert_eq!(world.state.cases_of_emergency(&one).count(), 0);
    assert_eq!(world.state.case(&first.release).unwrap().name(), "R-4 (E1)");
    let opened: Vec<_> = world.state.emergencies().map(Verified::id).collect();
    assert_eq!(opened, [grounds]);
    assert!(matches!(world.state.emergency(&grounds).unwrap().says(), Emergency::Opened { .. }));
    assert!(world.state.emergency(&one).is_none());
    assert!(world.state.emergency_closure(&grounds).is_none());
}

#[test]
fn an_emergency_owes_one_review_of_the_newest_that_touched_a_host() {
    let mut world = World::new();
    let grounds = emergency(&mut world, 5000);
    let first = iteration(&mut world, grounds, 1, None);
    world.approve_iteration(grounds, first.release, 1);
    let owed = |world: &World| world.state.review_owed(&grounds).map(|it| it.release.id());
    assert_eq!(owed(&world), None);
    world.now = at(1000);
    let refused = Event::Refused { code: "busy".to_owned(), detail: why() };
    world.outcome("p1", first, refused);
    assert_eq!(owed(&world), None, "nothing was touched");
    world.outcome("p1", first, Event::Returned { step: why(), reason: why() });
    assert_eq!(owed(&world), Some(first.release));
    world.now = at(0);
    let second = iteration(&mut world, grounds, 2, Some(first.release));
    world.approve_iteration(grounds, second.release, 2);
    assert_eq!(owed(&world), Some(first.release));
    world.now = at(1000);
    world.outcome("p1", second, Event::Committed);
    assert_eq!(owed(&world), Some(second.release));
}

#[test]
fn what_is_over_at_an_instant_is_not_found_after_it() {
    let mut world = World::new();
    let (release, package) = world.submit("1.0");
    let mut booked = Vec::new();
    for (start, end) in [(100, 300), (100, 200)] {
        let window = Window { start: at(start), end: at(end) };
        let says = booking((release, package), "staging", &[&["s1"]], window);
        booked.push(world.say(&["max"], says).unwrap());
    }
    let after = |world: &World, instant| -> Vec<Digest> {
        world.state.bookings_ending_after(instant).map(|(_, it)| it.booking.id()).collect()
    };
    assert_eq!(after(&world, at(0)), [booked[1], booked[0]], "in the order of their ends");
    assert_eq!(after(&world, at(200)), [booked[0]]);
    assert_eq!(after(&world, at(200) - Duration::from_millis(1)).len(), 2);
    assert_eq!(after(&world, at(300)), []);
    let says = Cancel { release, booking: Some(booked[0]), reason: why() };
    world.say(&["max"], says).unwrap();
    assert_eq!(after(&world, at(200)), [booked[0]], "cancelled ones too");
    let (case, found) = world.state.booking(&booked[1]).unwrap();
    assert_eq!((case.release.id(), found.booking.id()), (release, booked[1]));
    assert!(world.state.booking(&release).is_none());
}

#[test]
fn ordered_returns_are_found_by_what_they_leave_and_until_they_run_out() {
    let mut world = World::new();
    let way = world.whole_way("1.1");
    let order = |world: &mut World, from: Digest, until: u64| {
        let turn = |host: &str| HostTurn {
            host: name(host),
            host_key: key(host).public().id(),
            generation: 1,
        };
        let says = Rollback {
            application: name("web"),
            environment: name("production"),
            hosts: vec![turn("p1")],
            from,
            to: Digest::of(b"1.0"),
            reason: why(),
        };
        world.state(&["max"], &Statement::new(world.now, says).until(at(until))).unwrap()
    };
    let one = order(&mut world, way.package, 1600);
    let two = order(&mut world, way.package, 1500);
    let other = order(&mut world, Digest::of(b"0.9"), 1700);
    let ids = |cases: Vec<&cutover_shared::fold::RollbackCase>| -> Vec<Digest> {
        cases.into_iter().map(|it| it.rollback.id()).collect()
    };
    let state = &world.state;
    assert_eq!(ids(state.rollbacks_from(&way.package).collect()), [one, two]);
    assert_eq!(ids(state.rollbacks_from(&Digest::of(b"0.9")).collect()), [other]);
    assert_eq!(state.rollbacks_from(&Digest::of(b"none")).count(), 0);
    assert_eq!(ids(state.rollbacks_ending_after(at(1499)).collect()), [two, one, other]);
    assert_eq!(ids(state.rollbacks_ending_after(at(1500)).collect()), [one, other]);
    assert_eq!(state.rollbacks_ending_after(at(1700)).count(), 0);
    let all: BTreeSet<_> = state.rollbacks().map(|it| it.rollback.id()).collect();
    assert_eq!(all, BTreeSet::from([one, two, other]));
    assert_eq!(state.rollback(&one).unwrap().rollback.says().from, way.package);
    assert!(state.rollback(&way.booking).is_none());
}

#[test]
fn hosts_are_found_by_key_name_and_wire_until_they_are_retired() {
    let mut world = World::new();
    let transport = key("p1-transport").public();
    let p1 = key("p1").public().id();
    let named = |world: &World| world.state.host_named(&name("p1")).map(|it| it.enrolment.id());
    let wired =
        |world: &World| world.state.host_by_transport(&transport).map(|it| it.enrolment.id());
    assert!(named(&world).is_some());
    assert_eq!(named(&world), wired(&world));
    assert!(world.state.host_by_transport(&key("p1").public()).is_none());
    assert_eq!(world.state.hosts().count(), 4);
    let index = world.tree.size();
    world.retire("p1").unwrap();
    assert_eq!((named(&world), wired(&world)), (None, None));
    assert_eq!(world.state.host(&p1).unwrap().retired, Some(index), "it is known as that");
    assert_eq!(world.state.hosts().count(), 4);
    assert!(world.state.host(&key("p9").public().id()).is_none());
}

#[test]
fn a_freeze_covers_what_it_names_while_it_stands() {
    let mut world = World::new();
    let policy = world.state.policy().unwrap().id();
    let mut declare = |applications: &[&str], start: u64, end: u64| {
        let says = Freeze::Declared {
            policy,
            environments: names(&["production"]),
            applications: names(applications),
            start: at(start),
            end: at(end),
            reason: why(),
        };
        world.say(&["max"], says).unwrap()
    };
    let (all, web) = (declare(&[], 100, 200), declare(&["web"], 200, 300));
    let over = |world: &World, application: &str, environment: &str, start, end| {
        let (application, environment) = (name(application), name(environment));
        let window = Window { start: at(start), end: at(end) };
        let found = world.state.freezes_over(&application, &environment, window);
        found.map(Verified::id).collect::<Vec<_>>()
    };
    assert_eq!(over(&world, "web", "production", 150, 250), [all, web]);
    assert_eq!(over(&world, "mail", "production", 150, 250), [all]);
    assert_eq!(over(&world, "web", "staging", 150, 250), []);
    assert_eq!(over(&world, "web", "production", 0, 100), [], "it begins with the freeze");
    assert_eq!(over(&world, "web", "production", 0, 101), [all]);
    assert_eq!(over(&world, "web", "production", 200, 250), [web], "it ended before");
    assert_eq!(over(&world, "web", "production", 300, 400), []);
    assert_eq!(world.state.freezes().count(), 2);
    assert!(world.state.freeze(&all).unwrap().lifted.is_none());
    world.say(&["max"], Freeze::Lifted { freeze: all, reason: why() }).unwrap();
    assert!(world.state.freeze(&all).unwrap().lifted.is_some());
    assert_eq!(over(&world, "web", "production", 150, 250), [web]);
}

#[test]
fn what_was_denied_or_taken_back_is_known_by_its_package() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    assert_eq!(world.state.denial(&way.package), None);
    assert_eq!(world.state.returned_at(&way.package), None);
    let index = world.tree.size();
    world.outcome("p1", way, Event::Returned { step: why(), reason: why() });
    assert_eq!(world.state.returned_at(&way.package), Some(index));
    let says = Assessment {
        release: way.release,
        package: way.package,
        environments: names(&["production"]),
        judgement: Judgement::Denied { reason: why() },
    };
    let denial = world.say(&["sec"], says).unwrap();
    assert_eq!(world.state.denial(&way.package), Some(&denial));
    assert!(world.state.contains(&denial) && !world.state.contains(&way.package));
}

#[test]
fn what_was_said_is_the_same_wherever_it_stands() {
    let mut one = World::new();
    let mut other = one.clone();
    assert!(one.state.said_alike(&other.state));
    let gap = Statement::new(at(0), release("0", Digest::of(b"0"))).signed_by([&key("nobody")]);
    assert!(other.append_bytes(gap.to_bytes()).is_err());
    assert!(one.state.said_alike(&other.state), "what is refused says nothing");
    one.submit("1.0");
    assert!(!one.state.said_alike(&other.state) && !other.state.said_alike(&one.state));
}

#[test]
fn a_host_is_booked_by_the_name_that_was_signed_and_no_other() {
    let mut world = World::new();
    let (release, package) = world.submit("1.0");
    world.approve(release, package);
    let window = Window { start: at(1000), end: at(2000) };
    let mut says = booking((release, package), "staging", &[&["s1"]], window);
    says.plan.waves[0].hosts[0].host = name("s9");
    let order = world.say(&["max"], says).unwrap();
    let (_, booked) = world.state.booking(&order).unwrap();
    let named: Vec<_> = booked.booking.says().plan.hosts().map(|it| it.host.clone()).collect();
    assert_eq!(named, [name("s9")]);
}
