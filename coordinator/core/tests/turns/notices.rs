//! What is told to whom: of a freeze what it found, of a question whom it is for, of an end what failed.

use std::collections::BTreeSet;

use cutover_coordinator_core::outbox::{
    Notice, Routes, Setting, What, deliveries, message, notices,
};
use cutover_shared::calendar::zone::Zone;
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::policy::Department;
use cutover_shared::statement::{
    Cancel, Consult, Event, Freeze, Outcome, Reading, Says, Statement,
};

use crate::STAGE;
use crate::scene::{SHOP, Scene, key, minutes, name, names, returned, time};

/// A freeze that was logged, and can be asked about again.
struct Logged {
    index: u64,
    id: Digest,
    statement: Statement,
}

fn log(scene: &mut Scene, says: impl Into<Says>) -> Logged {
    let envelope: Envelope = Statement::new(scene.now, says).signed_by([&key("mia")]);
    let (index, statement) = (scene.state.next_index(), Statement::read(&envelope).unwrap());
    let id = scene.add_envelope(&envelope);
    Logged { index, id, statement }
}

/// The releases of which it is news.
fn told(scene: &Scene, it: &Logged) -> BTreeSet<Digest> {
    let told = notices(&scene.state, it.index, it.id, &it.statement);
    assert!(told.iter().all(|notice| notice.what == What::Frozen && notice.statement == it.id));
    told.iter().map(Notice::subject).collect()
}

fn freeze(scene: &Scene, applications: &[&str], start: &str, end: &str) -> Freeze {
    Freeze::Declared {
        policy: scene.state.policy().unwrap().id(),
        environments: names(["staging"]),
        applications: names(applications.iter().copied()),
        start: time(start),
        end: time(end),
        reason: "Elections.".to_owned(),
    }
}

const DAY: (&str, &str) = ("2026-03-02T10:00:00Z", "2026-03-03T10:00:00Z");

fn all_day(scene: &mut Scene, applications: &[&str]) -> Logged {
    let says = freeze(scene, applications, DAY.0, DAY.1);
    log(scene, says)
}

#[test]
fn it_is_no_news_where_every_host_had_committed_before() {
    let mut scene = Scene::new();
    let mut booked = Vec::new();
    for (version, host) in [("1.0", STAGE[0]), ("1.1", STAGE[1])] {
        let release = scene.submit(version);
        scene.approve(release);
        let booking = scene.book(release, "staging", &[&[host]]);
        scene.arm(booking);
        booked.push((release, booking, host));
    }
    scene.wait(minutes(20));
    let mut freezes = Vec::new();
    for (_, booking, host) in &booked {
        freezes.push(all_day(&mut scene, &[SHOP]));
        scene.report(host, *booking, Event::Committed);
        scene.wait(minutes(1));
    }
    // As each found it then, whatever was committed since.
    let [one, two] = [booked[0].0, booked[1].0];
    assert_eq!(told(&scene, &freezes[0]), BTreeSet::from([one, two]));
    assert_eq!(told(&scene, &freezes[1]), BTreeSet::from([two]));
}

#[test]
fn it_is_news_of_windows_that_it_covers_and_that_nobody_has_given_up() {
    let mut scene = Scene::new();
    let release = scene.submit("1.0");
    scene.approve(release);
    let early = all_day(&mut scene, &[]);
    let booking = scene.book(release, "staging", &[&STAGE]);
    let mine = BTreeSet::from([release]);
    let nobody = BTreeSet::new();
    assert_eq!(told(&scene, &early), nobody, "there was no window yet");
    let others = all_day(&mut scene, &["mail"]);
    assert_eq!(told(&scene, &others), nobody);
    let ours = all_day(&mut scene, &["mail", SHOP]);
    assert_eq!(told(&scene, &ours), mine);
    let says = Freeze::Lifted { freeze: ours.id, reason: "No.".to_owned() };
    let lifted = log(&mut scene, says);
    assert_eq!(told(&scene, &lifted), nobody);

    // Some of the window is over: what is left of it counts.
    let window = scene.state.booking(&booking).unwrap().1.booking.says().window;
    scene.now = window.start + minutes(30);
    let past = freeze(&scene, &[], DAY.0, "2026-03-02T10:40:00Z");
    let past = log(&mut scene, past);
    assert_eq!(told(&scene, &past), nobody, "it ends as this is said");
    scene.now = window.end;
    let late = all_day(&mut scene, &[]);
    assert_eq!(told(&scene, &late), nobody, "it is over");
    scene.say("max", Cancel { release, booking: None, reason: "No.".to_owned() });
    assert_eq!(told(&scene, &ours), mine, "whatever became of it since");
    scene.now = window.start;
    let after = all_day(&mut scene, &["web", SHOP]);
    assert_eq!(told(&scene, &after), nobody, "it was given up");
}

#[test]
fn a_question_is_told_to_those_who_speak_for_its_department() {
    let mut scene = Scene::new();
    let mut next = scene.state.policy().unwrap().document().clone();
    next.version = 2;
    next.departments = vec![Department { name: name("networks"), owners: names(["bea"]) }];
    scene.say("ruth", next);
    let release = scene.submit("1.0");
    let asked = Consult::Asked {
        release,
        environments: names(["production"]),
        department: name("networks"),
        question: "Is there room?".to_owned(),
        mandatory: true,
    };
    let asked = log(&mut scene, asked);
    let told = notices(&scene.state, asked.index, asked.id, &asked.statement);
    let [notice] = &told[..] else { panic!("{told:?}") };
    let routes = Routes { mail: true, ..Routes::default() };
    let found = deliveries(&scene.state, &routes, notice);
    let to: Vec<_> = found.iter().map(|it| it.to.recipient().to_owned()).collect();
    assert_eq!(to, ["bea@example.org", "sam@example.org"]);
}

#[test]
fn of_an_end_the_checks_that_failed_are_told() {
    let mut scene = Scene::new();
    let release = scene.submit("1.0");
    scene.approve(release);
    let booking = scene.book(release, "staging", &[&STAGE]);
    scene.arm(booking);
    scene.wait(minutes(10));
    let reading = |check: &str, healthy| Reading {
        check: check.to_owned(),
        time: scene.now,
        healthy,
        detail: "as found".to_owned(),
    };
    let outcome = Outcome {
        host: name("stage-1"),
        host_key: key("stage-1").public().id(),
        application: name(SHOP),
        generation: 1,
        order: booking,
        release,
        package: Digest::of(b"1.0"),
        event: returned(),
        running: None,
        started: scene.now,
        ended: scene.now,
        readings: vec![reading("front-page", false), reading("database", true)],
        clearances: Vec::new(),
    };
    let envelope = Statement::new(scene.now, outcome).signed_by([&key("stage-1")]);
    let (index, statement) = (scene.state.next_index(), Statement::read(&envelope).unwrap());
    let id = scene.add_envelope(&envelope);
    let told = notices(&scene.state, index, id, &statement);
    let (zone, now) = (&Zone::utc(), scene.now);
    let setting = Setting { zone, organizer: "c@example.org", attendee: "", now };
    let message = message(&scene.state, &setting, &told[0], &statement).unwrap();
    let failed = message.data["host"]["failed-checks"].as_array().unwrap();
    assert_eq!(failed.len(), 1);
    assert!(failed[0].as_str().unwrap().contains("front-page: as found"), "{failed:?}");
    assert!(message.text.contains("front-page") && !message.text.contains("database"));
}
