//! What the clock brings and what hosts ask for, at the edges.

use cutover_shared::key::KeyId;
use cutover_shared::package::runbook::{Deed, Doer, RunbookStep, Undoing};
use cutover_shared::policy::Department;
use cutover_shared::protocol::{ApplicationReport, Fleet, HostReport, HostView};

use super::*;

fn second() -> Duration {
    Duration::from_secs(1)
}

fn everything() -> Routes {
    Routes {
        mail: true,
        teams: vec![Team {
            name: name("shop"),
            address: "shop@example.org".to_owned(),
            applications: Scope::All,
            environments: Scope::All,
            events: BTreeSet::new(),
        }],
        webhooks: vec![Webhook { name: name("chat"), events: BTreeSet::new() }],
        trackers: vec![name("jira")],
    }
}

fn to(state: &State, notice: &Notice) -> Vec<String> {
    let made = deliveries(state, &everything(), notice);
    made.iter().map(|it| it.to.recipient().to_owned()).collect()
}

/// A release with a window in staging, and the window's end.
fn booked(log: &mut Log) -> (Digest, Digest, Time) {
    let release = log.scene.submit("1.0");
    log.scene.approve(release);
    let says = {
        let booking = log.scene.book(release, "staging", &[&STAGE]);
        log.state().booking(&booking).unwrap().1.booking.says().clone()
    };
    // The same again, so that its statement is at hand.
    log.scene.wait(second());
    let (_, booking) = log.say("max", says);
    let (case, it) = log.state().booking(&booking).unwrap();
    let end = it.booking.says().window.end;
    let other = case.booked().map(|it| it.booking.id()).find(|id| *id != booking).unwrap();
    let reason = "Twice.".to_owned();
    log.scene.say("max", Cancel { release, booking: Some(other), reason });
    (release, booking, end)
}

/// The windows that ended in the second before the instant.
fn ended(log: &Log, end: Time) -> Vec<Digest> {
    let told = due(log.state(), end - second(), end);
    assert!(told.iter().all(|it| it.what == What::Expired && it.cause == Cause::Due(end)));
    told.iter().map(|it| it.statement).collect()
}

#[test]
fn a_window_that_ends_unused_is_told_at_its_end_and_not_a_moment_before() {
    let mut log = Log::new();
    let (release, booking, end) = booked(&mut log);
    assert_eq!(due(log.state(), Time::EPOCH, end - Duration::from_millis(1)), []);
    assert_eq!(due(log.state(), end, end + minutes(600)), []);
    let told = due(log.state(), Time::EPOCH, end);
    let [notice] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(ended(&log, end), [booking]);
    let people = ["max@example.org", "mia@example.org", "sam@example.org", "shop@example.org"];
    assert_eq!(to(log.state(), notice), [&people[..], &["chat"]].concat(), "and no tracker");
    let keys = |notice: &Notice| {
        let made = deliveries(log.state(), &everything(), notice);
        made.into_iter().map(|it| it.key).collect::<BTreeSet<_>>()
    };
    let (_, statement) = &log.statements[&notice.index];
    let first = Notice { cause: Cause::Entry, what: What::Booked, ..notice.clone() };
    assert!(keys(notice).is_disjoint(&keys(&first)), "another message than that of the booking");
    let zone = Zone::find("America/New_York").unwrap();
    let setting = Setting { zone: &zone, organizer: "", attendee: "", now: end + minutes(5) };
    let message = message(log.state(), &setting, notice, statement).unwrap();
    assert_eq!(message.event, "release.expired");
    let part = format!("State        expired (staging: the window ended at {end})");
    assert!(message.text.contains(&part), "{}", message.text);
    assert!(message.subject.contains("has a window that ended before every host had it: staging"));
    assert_eq!((message.about.as_str(), message.invitations.len()), ("R-1", 0));

    // One host had it: the other had not. What is given up after the end changes nothing of it.
    log.scene.arm(booking);
    log.scene.wait(minutes(20));
    let says = outcome(&log, "stage-1", booking, Event::Committed);
    log.say("stage-1", says);
    log.scene.now = end;
    let reason = "Too late.".to_owned();
    log.scene.say("max", Cancel { release, booking: Some(booking), reason });
    assert_eq!(ended(&log, end), [booking]);
    let says = outcome(&log, "stage-2", booking, Event::Committed);
    log.say("stage-2", says);
    assert_eq!(ended(&log, end), [], "it was heard of late, and had it");
}

#[test]
fn a_window_that_was_given_up_or_went_wrong_before_its_end_is_no_news() {
    type Act = fn(&mut Log, Digest, Digest);
    let acts: [(&str, Act); 6] = [
        ("the window was cancelled", |log, release, booking| {
            let reason = "No.".to_owned();
            log.say("max", Cancel { release, booking: Some(booking), reason });
        }),
        ("the release was cancelled", |log, release, _| {
            log.say("max", Cancel { release, booking: None, reason: "No.".to_owned() });
        }),
        ("another took its place", |log, release, _| {
            let mut later = Scene::release("1.1", &["staging", "production"]);
            later.supersedes = Some(release);
            log.say("sam", later);
        }),
        ("it is to be mended", |log, release, _| to_be_mended(log, release, "staging")),
        ("it was mended at its end", |log, release, booking| {
            to_be_mended(log, release, "staging");
            let (_, booked) = log.state().booking(&booking).unwrap();
            log.scene.now = booked.booking.says().window.end;
            log.scene.review(release, &["staging"], Verdict::Complete);
        }),
        ("a host went back", |log, _, booking| {
            log.scene.arm(booking);
            log.scene.wait(minutes(20));
            let says = outcome(log, "stage-1", booking, returned());
            log.say("stage-1", says);
        }),
    ];
    for (what, act) in acts {
        let mut log = Log::new();
        let (release, booking, end) = booked(&mut log);
        act(&mut log, release, booking);
        assert_eq!(ended(&log, end), [], "{what}");
    }
}

fn to_be_mended(log: &mut Log, release: Digest, environment: &str) {
    let (item, remark) = ("NOTES.md".to_owned(), "Say more.".to_owned());
    let items = vec![cutover_shared::statement::Remark { item, remark }];
    log.scene.review(release, &[environment], Verdict::Returned { items });
}

#[test]
fn a_window_is_not_given_up_by_what_a_review_says_of_another_environment() {
    let mut log = Log::new();
    let (release, booking, end) = booked(&mut log);
    to_be_mended(&mut log, release, "production");
    assert_eq!(ended(&log, end), [booking]);
}

#[test]
fn the_window_of_an_iteration_is_no_news_when_a_later_one_was_approved_before_its_end() {
    let mut log = Log::new();
    let grounds = log.scene.open_emergency("INC-7");
    let first = log.scene.iterate("fix 1", grounds, 1, None);
    log.scene.approve_iteration(grounds, first, 1);
    let booking = log.scene.book(first, "production", &[&["web-1"]]);
    let end = log.state().booking(&booking).unwrap().1.booking.says().window.end;
    assert_eq!(ended(&log, end), [booking], "its own approval is not a later one's");
    let second = log.scene.iterate("fix 2", grounds, 2, Some(first));
    assert_eq!(ended(&log, end), [booking], "that is not approved");
    log.scene.approve_iteration(grounds, second, 2);
    assert_eq!(ended(&log, end), []);
}

#[test]
fn the_policys_end_is_told_to_root_holders_and_change_managers() {
    let log = Log::new();
    let document = log.state().policy().unwrap().document().clone();
    let day = Duration::from_hours(24);
    for days in [60, 30, 7, 1] {
        let at = document.expires - day * u32::try_from(days).unwrap();
        assert_eq!(due(log.state(), at - minutes(1), at - second()), []);
        let told = due(log.state(), at - second(), at);
        let [notice] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!((notice.what, &notice.cause), (What::PolicyExpires, &Cause::Due(at)));
        let people = ["max@example.org", "mia@example.org", "ruth@example.org"];
        assert_eq!(to(log.state(), notice), [&people[..], &["chat"]].concat());
    }
    // After a long rest only the last is told; and nothing of one that has ended.
    let told = due(log.state(), Time::EPOCH, document.expires - day * 20);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].cause, Cause::Due(document.expires - day * 30));
    assert_eq!(due(log.state(), Time::EPOCH, document.expires), []);

    let statement = Statement::new(log.scene.now, document.clone());
    let zone = Zone::find("UTC").unwrap();
    let setting = Setting { zone: &zone, organizer: "", attendee: "", now: document.expires };
    let message = message(log.state(), &setting, &told[0], &statement).unwrap();
    for part in ["version 1, ends in 30 days", "2027-01-01T00:00:00Z (UTC)", "root holders: ruth"] {
        assert!(message.text.contains(part), "{part} in\n{}", message.text);
    }
    assert_eq!(message.event, "policy.expires");
    assert_eq!((&message.data["days"], &message.data["version"]), (&30.into(), &1.into()));
}

#[test]
fn a_restart_neither_repeats_nor_loses_what_fell_due() {
    let mut log = Log::new();
    let (_, _, end) = booked(&mut log);
    let fallen = |queue: &mut Queue, remembered: &Remembered, since: Time, now: Time| {
        let told = due(log.state(), since, now).into_iter();
        let routes = Routes { trackers: Vec::new(), ..everything() };
        let made = told.flat_map(|it| deliveries(log.state(), &routes, &it)).collect();
        queue.handle_due(made, now, remembered, Duration::ZERO);
    };
    let start = end - minutes(60);
    let mut remembered = Remembered::default();
    remembered.add(Mark::Until(start));
    let mut queue = Queue::new(LIMITS, 0, start);
    fallen(&mut queue, &remembered, start, end - second());
    assert!(queue.poll_due(seconds(0)).is_empty());
    let since = queue.told_until();
    fallen(&mut queue, &remembered, since, end);
    let first = queue.poll_due(seconds(0));
    assert_eq!(first.len(), 5);
    // All but one are delivered, and then it is killed.
    for delivery in &first[1..] {
        for mark in queue.handle_delivered(&delivery.key, at()) {
            assert!(!matches!(mark, Mark::Until(_)), "one is open");
            remembered.add(mark);
        }
    }
    let mut queue = Queue::new(LIMITS, 0, remembered.until().unwrap());
    fallen(&mut queue, &remembered, Time::EPOCH, end + minutes(1));
    assert_eq!(queue.poll_due(seconds(0)), first[..1]);
    let marks = queue.handle_delivered(&first[0].key, at());
    assert!(marks.contains(&Mark::Until(end + minutes(1))), "{marks:?}");
    for mark in marks {
        remembered.add(mark);
    }
    // Even where the single marks are gone, nothing is told again.
    let mut bare = Remembered::default();
    bare.add(Mark::Until(remembered.until().unwrap()));
    for remembered in [remembered, bare] {
        let mut queue = Queue::new(LIMITS, 0, remembered.until().unwrap());
        fallen(&mut queue, &remembered, Time::EPOCH, end + minutes(2));
        assert!(queue.poll_due(seconds(0)).is_empty());
        assert!(!queue.advance().iter().any(|it| matches!(it, Mark::Until(_))));
    }
}

/// stage-1 says that it is at this step of the booking.
fn fleet(log: &Log, booking: Digest, step: &str) -> Fleet {
    let report = ApplicationReport {
        application: name(scene::SHOP),
        generation: 1,
        running: None,
        order: Some(booking),
        step: step.to_owned(),
        progress: None,
        refused: None,
    };
    let host_key: KeyId = key("stage-1").public().id();
    let report = HostReport { known: 0, policy_version: 1, applications: vec![report] };
    let (connected, heard, report) = (true, log.scene.now, Some(report));
    let view = HostView { host_key, connected, heard, report, cleared: Vec::new() };
    Fleet { now: log.scene.now, since: log.scene.now, hosts: vec![view] }
}

fn step(by: Doer) -> RunbookStep {
    let deed = |what: &str| Deed { what: what.to_owned(), command: None, timeout: minutes(1) };
    let undo = Undoing::Deed(deed("Release the job."));
    let (name, deed) = (name("hold-job"), deed("Hold the job."));
    RunbookStep { name, by, deed, elements: Vec::new(), undo }
}

#[test]
fn those_who_may_do_a_step_hear_that_a_host_waits_for_it_once() {
    let mut log = Log::new();
    let (_, booking, _) = booked(&mut log);
    let mut policy = log.state().policy().unwrap().document().clone();
    policy.version += 1;
    let oscar = cutover_shared::policy::KeyEntry {
        owner: name("oscar"),
        email: "oscar@example.org".to_owned(),
        key: key("oscar").public(),
        ..policy.keys.iter().find(|it| it.owner == name("olga")).unwrap().clone()
    };
    policy.keys.push(oscar);
    let owners = scene::names(["oscar", "sam"]);
    policy.departments = vec![Department { name: name("mainframe"), owners }];
    log.say("ruth", policy);

    let told = |fleet: &Fleet, by: Option<Doer>| {
        asked(log.state(), fleet, |_, name| by.clone().map(step).filter(|it| it.name == *name))
    };
    assert_eq!(told(&fleet(&log, booking, "baking"), None), []);
    let waits = fleet(&log, booking, "manual step hold-job");
    let both = ["olga@example.org", "oscar@example.org", "shop@example.org", "chat"];
    let mainframe = Doer::Department(name("mainframe"));
    for (by, people) in
        [(None, &both[..]), (Some(Doer::Operator), &both), (Some(mainframe), &both[1..])]
    {
        assert_eq!(to(log.state(), &told(&waits, by)[0]), people);
    }
    let notice = told(&waits, Some(Doer::Operator)).remove(0);
    let back = told(&fleet(&log, booking, "undo of manual step hold-job"), Some(Doer::Operator));
    let of = |notice: &Notice| {
        deliveries(log.state(), &Routes { trackers: vec![], ..everything() }, notice)
    };
    assert_ne!(of(&notice)[0].key, of(&back[0])[0].key, "the way back is another step");
    let (_, statement) = &log.statements[&notice.index];
    let zone = Zone::find("UTC").unwrap();
    let setting = Setting { zone: &zone, organizer: "", attendee: "", now: log.scene.now };
    let message = message(log.state(), &setting, &notice, statement).unwrap();
    for part in ["Hold the job.", "stage-1", "cutover step done R-1 hold-job --note"] {
        assert!(message.text.contains(part), "{part} in\n{}", message.text);
    }
    assert!(message.subject.ends_with("(stage-1: manual step hold-job)"), "{}", message.subject);
    assert_eq!(message.data["step"]["what"], "Hold the job.");

    let (mut queue, mut remembered) = (Queue::new(LIMITS, 0, at()), Remembered::default());
    queue.handle_asked(of(&notice), &remembered, seconds(0));
    let sent = queue.poll_due(seconds(0));
    assert_eq!(sent.len(), 4);
    for delivery in &sent {
        for mark in queue.handle_delivered(&delivery.key, at()) {
            remembered.add(mark);
        }
    }
    queue.handle_asked(of(&notice), &remembered, seconds(1));
    assert!(queue.poll_due(seconds(1)).is_empty(), "it goes on asking");
    let mut queue = Queue::new(LIMITS, 0, at());
    queue.handle_asked(of(&notice), &remembered, seconds(0));
    assert!(queue.poll_due(seconds(0)).is_empty(), "it was told before the restart");
    queue.handle_asked(of(&back[0]), &remembered, seconds(2));
    assert_eq!(queue.poll_due(seconds(2)).len(), 4);
}

#[test]
fn one_looks_again_when_time_may_bring_something() {
    let mut log = Log::new();
    let far = Duration::from_mins(1);
    assert_eq!(next_look(log.state(), log.scene.now), Some(far), "the policy's end");
    let (_, booking, end) = booked(&mut log);
    let start = log.state().booking(&booking).unwrap().1.booking.says().window.start;
    assert_eq!(next_look(log.state(), start - second()), Some(second()));
    assert_eq!(next_look(log.state(), end - second()), Some(second()));
    assert_eq!(next_look(log.state(), end - minutes(30)), Some(far), "nobody may use it");
    log.scene.arm(booking);
    assert_eq!(next_look(log.state(), end - minutes(30)), Some(second()), "hosts may ask");
    assert_eq!(next_look(log.state(), end + minutes(59)), Some(second()), "or take steps back");
    assert_eq!(next_look(log.state(), end + minutes(60)), Some(far));
}

#[test]
fn a_step_that_an_ordered_return_waits_for_is_told_of_the_release_that_it_leaves() {
    let mut log = Log::new();
    let mut releases = Vec::new();
    for version in ["1.0", "1.1"] {
        let release = log.scene.submit(version);
        log.scene.approve(release);
        log.scene.deploy(release, "staging", &["stage-1"]);
        log.scene.wait(minutes(600));
        releases.push(release);
    }
    let (from, before) = (Digest::of(b"1.1"), Digest::of(b"1.0"));
    let far = Duration::from_mins(1);
    assert_eq!(next_look(log.state(), log.scene.now), Some(far));
    let order = log.scene.roll_back("staging", &["stage-1"], from, before);
    let end = log.scene.now + minutes(10);
    assert_eq!(next_look(log.state(), log.scene.now), Some(second()), "its hosts may ask");
    assert_eq!(next_look(log.state(), end + minutes(59)), Some(second()), "and go on after it");
    assert_eq!(next_look(log.state(), end + minutes(60)), Some(far));

    let waits = fleet(&log, order, "undo of manual step hold-job");
    let left: Vec<_> = awaited_of(log.state(), &waits).map(|case| case.release.id()).collect();
    assert_eq!(left, releases[1..]);
    let told = asked(log.state(), &waits, |case, _| {
        (case.release.id() == releases[1]).then(|| step(Doer::Operator))
    });
    let [notice] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((notice.statement, notice.release), (order, Some(releases[1])));
    let Cause::Asked(it) = &notice.cause else { panic!("{notice:?}") };
    assert_eq!((&it.host, it.step.is_some()), (&name("stage-1"), true));
    assert!(to(log.state(), notice).contains(&"olga@example.org".to_owned()));
    let statement = Statement::new(log.scene.now, {
        let case = log.state().rollback(&order).unwrap();
        case.rollback.says().clone()
    });
    let zone = Zone::find("UTC").unwrap();
    let setting = Setting { zone: &zone, organizer: "", attendee: "", now: log.scene.now };
    let message = message(log.state(), &setting, notice, &statement).unwrap();
    for part in ["Release the job.", "cutover step done R-2 hold-job --note"] {
        assert!(message.text.contains(part), "{part} in\n{}", message.text);
    }

    log.scene.report("stage-1", order, Event::RolledBack);
    assert_eq!(next_look(log.state(), log.scene.now), Some(far), "it has ended there");
}
