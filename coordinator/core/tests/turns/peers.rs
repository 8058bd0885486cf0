//! Who is at the other end, what they may bring, and what is heard of hosts.

use std::time::Duration;

use cutover_coordinator_core::{
    Activations, Asked, Brought, Conduct as _, Peer, Planner, Register, Rules, Situation, Turn,
    brought_again, clear, not_shorter,
};
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::log::TreeHead;
use cutover_shared::policy::KeyStatus;
use cutover_shared::protocol::{ApplicationReport, HostReport};
use cutover_shared::refusal::Code;
use cutover_shared::statement::{
    Cancel, Enrolment, Event, HostChange, Outcome, Phase, Says, Statement,
};

use serde_json::json;

use crate::scene::{SHOP, Scene, key, minutes, name, names};
use crate::{Desk, STAGE, host};

fn report(step: &str, done: u64) -> HostReport {
    let application = ApplicationReport {
        application: name(SHOP),
        generation: 1,
        running: None,
        order: None,
        step: step.to_owned(),
        progress: Some((done, 10)),
        refused: None,
    };
    HostReport { known: 1, policy_version: 1, applications: vec![application] }
}

#[test]
fn a_report_counts_on_the_newest_stream_and_is_news_when_it_says_something_new() {
    let scene = Scene::new();
    let mut register = Register::new(scene.now, Activations::default());
    let one = host("stage-1");
    let (first, none) = register.open(one);
    assert_eq!((none, register.stream(&one)), (None, Some(first)));
    assert_eq!(register.last_report(&one), None);
    assert!(register.report(one, first, report("idle", 0), scene.now));
    assert!(!register.report(one, first, report("idle", 0), scene.now));
    let later = scene.now + minutes(1);
    assert!(!register.report(one, first, report("idle", 5), later), "bytes that arrive");
    assert_eq!(register.last_report(&one), Some(&report("idle", 5)), "but they are shown");
    assert_eq!(register.fleet(later).hosts[0].heard, later);
    assert!(register.report(one, first, report("fetching", 5), later));

    let (second, earlier) = register.open(one);
    assert_eq!(earlier, Some(first));
    assert_ne!(first, second);
    assert_eq!(register.last_report(&one), None, "it has not said yet what it does now");
    assert!(!register.report(one, first, report("idle", 0), later), "an old stream");
    assert!(!register.close(&one, first));
    assert!(register.report(one, second, report("fetching", 5), later), "it is here again");
    assert!(register.fleet(later).hosts[0].connected);
    assert!(register.close(&one, second));
    assert!(!register.fleet(later).hosts[0].connected);
    assert_eq!((register.stream(&one), register.last_report(&one)), (None, None));
    assert!(!register.close(&one, second), "once");
}

#[test]
fn hosts_are_kept_in_order_and_every_stream_has_its_number() {
    let scene = Scene::new();
    let mut register = Register::new(scene.now, Activations::default());
    let all = ["web-1", "stage-1", "web-3", "stage-2"].map(host);
    let mut numbers = Vec::new();
    for it in all {
        let (number, _) = register.open(it);
        assert!(register.report(it, number, report("idle", 0), scene.now));
        numbers.push(number);
    }
    let now = scene.now + minutes(5);
    let fleet = register.fleet(now);
    assert_eq!((fleet.now, fleet.since), (now, scene.now));
    assert!(fleet.hosts.is_sorted_by_key(|it| it.host_key));
    assert_eq!(fleet.hosts.len(), 4);
    for (it, number) in all.iter().zip(&numbers) {
        assert_eq!(register.stream(it), Some(*number));
        assert!(register.last_report(it).is_some());
    }
    assert_eq!(register.streams().count(), 4);
}

#[test]
fn what_counts_of_a_clearance_is_when_it_began() {
    let scene = Scene::new();
    let mut register = Register::new(scene.now, Activations::default());
    let one = host("stage-1");
    let order = Digest::of(b"order");
    register.cleared(&one, order, Phase::Start, scene.now);
    assert!(register.fleet(scene.now).hosts.is_empty(), "nothing was heard of it");
    let (number, _) = register.open(one);
    register.report(one, number, report("idle", 0), scene.now);
    let cleared = |register: &mut Register| register.fleet(scene.now).hosts[0].cleared.clone();
    let at = |number| scene.now + minutes(number);
    register.cleared(&one, order, Phase::Start, at(1));
    register.cleared(&one, order, Phase::Activate, at(2));
    assert_eq!(cleared(&mut register), [(order, at(1))]);
    register.cleared(&one, order, Phase::Start, at(3));
    assert_eq!(cleared(&mut register), [(order, at(3))], "it has begun anew");
    for number in 0..64_u64 {
        register.cleared(&one, Digest::of(&number.to_be_bytes()), Phase::Activate, at(4));
    }
    let all = cleared(&mut register);
    assert_eq!(all.len(), 64, "the oldest is let go");
    assert!(all.iter().all(|(it, _)| *it != order));
}

#[test]
fn who_is_at_the_other_end_follows_from_the_key() {
    let mut scene = Scene::new();
    let of = |scene: &Scene, owner: &str| Peer::of(&scene.state, &key(owner).public());
    let wire = "stage-1 transport";
    assert_eq!(of(&scene, "max"), Peer::Person(key("max").public().id()));
    assert_eq!(of(&scene, wire), Peer::Host(host("stage-1")));
    assert_eq!(of(&scene, "stage-1"), Peer::Unknown, "the host key is not on the wire");
    assert_eq!(of(&scene, "nobody"), Peer::Unknown);
    let host_key = host("stage-1");
    let reason = "Old.".to_owned();
    scene.say("olga", HostChange::Retired { host: name("stage-1"), host_key, reason });
    assert_eq!(of(&scene, wire), Peer::Unknown);
    let mut next = scene.state.policy().unwrap().document().clone();
    next.version = 2;
    let entry = next.keys.iter_mut().find(|it| it.owner == name("max")).unwrap();
    entry.status = KeyStatus::Rotated { logged_below: 99 };
    scene.say("ruth", next);
    assert_eq!(of(&scene, "max"), Peer::Unknown, "it signs nothing any more");
    let reads = |owner: &str| Rules.may_read(&scene.state, &key(owner).public().id());
    assert_eq!(reads("max").unwrap_err().code, Code::RoleMissing);
    assert!(reads("mia").is_ok());
}

#[test]
fn each_may_do_what_it_is_there_for() {
    let (person, machine) = (Peer::Person(host("max")), Peer::Host(host("stage-1")));
    assert_eq!(person.person(), Ok(host("max")));
    assert_eq!(machine.host(), Ok(host("stage-1")));
    for refused in [machine.person(), Peer::Unknown.person(), person.host(), Peer::Unknown.host()] {
        assert_eq!(refused.unwrap_err().code, Code::RoleMissing);
    }
    assert!(person.known().is_ok() && machine.known().is_ok() && Peer::Unknown.known().is_err());
}

fn enrolment(grant: Option<Digest>) -> Says {
    let enrolment = Enrolment {
        host: name("new"),
        environment: name("staging"),
        labels: std::collections::BTreeMap::new(),
        applications: names([SHOP]),
        host_key: key("new").public(),
        transport_key: key("new transport").public(),
        replaces: None,
        grant,
    };
    HostChange::Enrolled(Box::new(enrolment)).into()
}

#[test]
fn each_may_bring_what_it_says_itself() {
    let scene = Scene::new();
    let id = Digest::of(b"statement");
    let outcome: Says = Outcome {
        host: name("stage-1"),
        host_key: host("stage-1"),
        application: name(SHOP),
        generation: 1,
        order: id,
        release: id,
        package: id,
        event: Event::Committed,
        running: None,
        started: scene.now,
        ended: scene.now,
        readings: Vec::new(),
        clearances: Vec::new(),
    }
    .into();
    let cancel: Says = Cancel { release: id, booking: None, reason: "No.".to_owned() }.into();
    let granted = enrolment(Some(id));
    let wire = key("new transport").public();
    let (person, machine) = (Peer::Person(host("max")), Peer::Host(host("stage-1")));
    let cases = [
        (person, &cancel, &wire, true),
        (person, &outcome, &wire, true),
        (machine, &outcome, &wire, true),
        (machine, &granted, &wire, true),
        (machine, &cancel, &wire, false),
        (Peer::Unknown, &granted, &wire, true),
        (Peer::Unknown, &granted, &key("another").public(), false),
        (Peer::Unknown, &enrolment(None), &wire, false),
        (Peer::Unknown, &outcome, &wire, false),
        (Peer::Unknown, &cancel, &wire, false),
    ];
    for (peer, says, transport, good) in cases {
        let answer = peer.may_append(says, transport);
        let expected = if good { None } else { Some(Code::RoleMissing) };
        assert_eq!(answer.err().map(|it| it.code), expected, "{peer:?} {}", says.predicate());
    }
}

#[test]
fn packages_are_stored_by_submitters_and_read_by_those_who_work_with_them() {
    let scene = Scene::new();
    let reads = |owner: &str| Rules.may_read(&scene.state, &key(owner).public().id()).is_ok();
    let stores = |owner: &str| Rules.may_store(&scene.state, &key(owner).public().id()).is_ok();
    for owner in ["sam", "lia", "sergei", "bea", "max", "olga"] {
        assert!(reads(owner), "{owner}");
        assert_eq!(stores(owner), owner == "sam", "{owner}");
    }
    for owner in ["ruth", "nobody"] {
        assert!(!reads(owner) && !stores(owner), "{owner}");
    }
}

#[test]
fn the_same_statement_with_other_signatures_is_not_in_the_log() {
    let scene = Scene::new();
    let cancel = Cancel { release: Digest::of(b"x"), booking: None, reason: "No.".to_owned() };
    let statement = Statement::new(scene.now, cancel);
    let one: Envelope = statement.signed_by([&key("max")]);
    let two = statement.signed_by([&key("max"), &key("mia")]);
    assert_eq!(one.id(), two.id());
    assert_eq!(brought_again(7, &one.to_bytes(), &one.to_bytes()), Ok(()));
    let refusal = brought_again(7, &one.to_bytes(), &two.to_bytes()).unwrap_err();
    assert_eq!(refusal.code, Code::SignatureInvalid);
    assert!(refusal.facts.contains("entry 7"), "{refusal}");
}

#[test]
fn a_host_that_knows_more_than_there_is_is_refused() {
    let head = TreeHead { size: 5, root: Digest::of(b"root") };
    assert_eq!((not_shorter(&head, 4), not_shorter(&head, 5)), (Ok(()), Ok(())));
    let refusal = not_shorter(&head, 6).unwrap_err();
    assert_eq!(refusal.code, Code::CheckpointInconsistent);
}

#[test]
fn a_place_is_taken_by_who_is_cleared_to_activate_and_by_nobody_else() {
    let mut desk = Desk::new();
    let booking = desk.booked(&STAGE);
    desk.scene.arm(booking);
    desk.scene.wait(minutes(10));
    let [one, two] = STAGE.map(host);
    for it in STAGE {
        desk.connect(it);
    }
    let ask = |desk: &mut Desk, of, phase, known| {
        let (folded, now) = (desk.folded(), desk.scene.now);
        let turn = Turn { host: of, order: booking };
        let asked = Asked { turn, phase, nonce: Digest::of(b"nonce"), known };
        clear(&Rules, &folded, &mut desk.register, &asked, now)
            .map(|it| it.head)
            .map_err(|it| it.code)
    };
    let head = desk.folded().head;
    let more = head.size + 1;
    assert_eq!(ask(&mut desk, one, Phase::Start, more), Err(Code::CheckpointInconsistent));
    assert_eq!(ask(&mut desk, one, Phase::Start, 0), Ok(head.clone()));
    assert_eq!(desk.register.activations(), &Activations::default());
    assert_eq!(ask(&mut desk, one, Phase::Activate, 0), Ok(head));
    assert_ne!(desk.register.activations(), &Activations::default());
    let (state, now) = (desk.scene.state.clone(), desk.scene.now);
    let refused = desk.register.activates(&state, (&two, booking), now).unwrap_err();
    assert_eq!(refused.code, Code::NotCleared);
    let noted = desk.register.fleet(now).hosts.iter().find(|it| it.host_key == one).unwrap();
    assert_eq!(noted.cleared, [(booking, now)]);
}

#[test]
fn who_could_not_be_told_is_told_in_the_next_round() {
    let mut desk = Desk::new();
    let booking = desk.booked(&STAGE[..1]);
    desk.scene.arm(booking);
    desk.scene.wait(minutes(10));
    desk.connect("stage-1");
    let told = desk.round(10).tell;
    assert_eq!(
        (told.len(), told[0].command.order(), told[0].command.name()),
        (1, booking, "offer")
    );
    assert!(desk.offered(11).is_empty());
    desk.planner.untold(&told[0]);
    assert_eq!(desk.offered(11).len(), 1);
    let mut another = told[0];
    another.host = host("stage-2");
    desk.planner.untold(&another);
    assert!(desk.offered(11).is_empty(), "that was somebody else");
}

#[test]
fn one_looks_again_when_time_alone_may_change_something() {
    let mut desk = Desk::new();
    let booking = desk.booked(&STAGE[..1]);
    desk.scene.arm(booking);
    let window = desk.scene.state.booking(&booking).unwrap().1.booking.says().window;
    let mut next = |now| {
        desk.scene.now = now;
        desk.planner = Planner::default();
        desk.round(0).next
    };
    let second = Duration::from_secs(1);
    assert_eq!(next(window.start - 90 * second), Some(60 * second), "the clock may be set");
    assert_eq!(next(window.start - 30 * second), Some(30 * second));
    assert_eq!(next(window.start), Some(second));
    assert_eq!(next(window.end - second), Some(second));
    assert_eq!(next(window.end), None);
}

#[test]
fn only_activations_that_nothing_waits_for_are_let_go_and_only_when_there_are_many() {
    let mut desk = Desk::new();
    let booking = desk.booked(&STAGE);
    desk.scene.arm(booking);
    desk.scene.wait(minutes(10));
    let (state, now) = (desk.scene.state.clone(), desk.scene.now);
    let over = now - Duration::from_hours(24 * 7);
    let order = |number: u64| Digest::of(&number.to_be_bytes());
    let many = |count: u64| -> Activations {
        let at = |number| match number {
            0 => over,
            1 => over + Duration::from_millis(1),
            _ => now,
        };
        let one = |number| json!({ "order": order(number), "host": host("web-1"), "at": at(number), "outcomes": 0 });
        serde_json::from_value((0..count).map(one).collect()).unwrap()
    };
    for (count, first_is_kept) in [(4095, true), (4096, false)] {
        let mut register = Register::new(now, many(count));
        register.activates(&state, (&host("stage-1"), booking), now).unwrap();
        let kept = serde_json::to_value(register.activations()).unwrap();
        let kept = kept.as_array().unwrap();
        let is_kept = |number| kept.iter().any(|it| it["order"] == json!(order(number)));
        assert_eq!(kept.len(), 4096, "{count}");
        assert_eq!((is_kept(0), is_kept(1)), (first_is_kept, true), "{count}");
    }
}

#[test]
fn what_is_brought_is_for_this_log_and_from_who_may_bring_it() {
    let scene = Scene::new();
    let policy = scene.state.policy().unwrap().document().clone();
    let log = policy.log.clone();
    let bring = |peer: Peer, says: Says| {
        let envelope: Envelope = Statement::new(scene.now, says).signed_by([&key("ruth")]);
        let brought = Brought::read(&envelope, peer, &key("stage-1 transport").public(), &log);
        brought.map(|it| (it.id == envelope.id(), it.release().is_some())).map_err(|it| it.code)
    };
    let (person, machine) = (Peer::Person(host("max")), Peer::Host(host("stage-1")));
    assert_eq!(bring(person, policy.clone().into()), Ok((true, false)));
    let mut other = policy.clone();
    other.log.origin = "elsewhere.example.org/log".to_owned();
    assert_eq!(bring(person, other.into()), Err(Code::Malformed));
    let mut other = policy;
    other.log.key = key("another log").public();
    assert_eq!(bring(person, other.into()), Err(Code::Malformed));
    let release = || Scene::release("1.0", &["staging"]);
    assert_eq!(bring(person, release().into()), Ok((true, true)));
    assert_eq!(bring(machine, release().into()), Err(Code::RoleMissing));

    // What this program cannot read is for the rules to refuse, and nothing that hosts bring.
    let strange = Envelope::unsigned("application/strange", b"{}".to_vec());
    let wire = key("stage-1 transport").public();
    assert!(Brought::read(&strange, person, &wire, &log).is_ok());
    assert_eq!(Brought::read(&strange, machine, &wire, &log).unwrap_err().code, Code::RoleMissing);
}

#[test]
fn one_looks_for_an_ordered_return_until_all_have_said_what_came_of_it() {
    let mut desk = Desk::new();
    let order = desk.ordered_return();
    let second = Some(Duration::from_secs(1));
    assert_eq!(desk.round(0).next, second);
    desk.scene.report("stage-1", order, Event::RolledBack);
    assert_eq!(desk.round(0).next, second);
    desk.scene.report("stage-2", order, Event::RolledBack);
    assert_eq!(desk.round(0).next, None);
}

#[test]
fn bytes_are_for_the_host_whose_turn_has_come() {
    let mut desk = Desk::new();
    let booking = desk.booked(&STAGE);
    desk.scene.arm(booking);
    desk.scene.wait(minutes(10));
    for it in STAGE {
        desk.connect(it);
    }
    let package = Digest::of(b"1.0");
    let now = desk.scene.now;
    desk.register.cleared(&host("stage-1"), booking, Phase::Start, now);
    let may_fetch = |desk: &mut Desk, of: &str| {
        let fleet = desk.register.fleet(now).clone();
        let situation = Situation { state: &desk.scene.state, fleet: &fleet, now };
        Rules.may_fetch(&situation, &host(of), &package).map_err(|it| it.code)
    };
    assert_eq!(may_fetch(&mut desk, "stage-1"), Ok(()));
    assert_eq!(may_fetch(&mut desk, "stage-2"), Err(Code::NotCleared), "one at once");
    assert_eq!(may_fetch(&mut desk, "web-1"), Err(Code::NotReleased));
    desk.scene.report("stage-1", booking, Event::Committed);
    assert_eq!(may_fetch(&mut desk, "stage-1"), Err(Code::NotCleared), "it has it");
    assert_eq!(may_fetch(&mut desk, "stage-2"), Ok(()));
}
