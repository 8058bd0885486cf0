//! A calendar statement in the fold, and at the admission of bookings; suggestions that keep to it.

use std::collections::BTreeSet;
use std::time::Duration;

use cutover_shared::authorise::admission::admit;
use cutover_shared::calendar::agenda::{Agenda, Request, is_within};
use cutover_shared::calendar::suggest::{Suggestions, suggest};
use cutover_shared::digest::Digest;
use cutover_shared::key::KeyId;
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{
    Booking, Calendar, Cancel, ChangeType, Freeze, Says, Statement, Terms,
};
use cutover_shared::time::Time;
use cutover_shared::window::Window;

use super::scene::{Scene, key, minutes, name, names, time};

/// Saturdays from 22:00 to 02:00 and Wednesdays for two hours; a day's notice, one window a day.
const TERMS: &str = r#"
    zone = "America/New_York"
    notice = "1d"
    capacity-per-day = 1

    [[windows]]
    name = "saturdays"
    start = "2026-01-03T22:00"
    until = "02:00"
    zone = "America/New_York"
    repeat = "FREQ=WEEKLY;BYDAY=SA"

    [[windows]]
    name = "wednesdays"
    start = "2026-01-07T06:00"
    for = "2h"
    zone = "America/New_York"
    repeat = "FREQ=WEEKLY;BYDAY=WE"
"#;

fn calendar(scene: &Scene, environment: &str, terms: &str) -> Calendar {
    Calendar {
        policy: scene.state.policy().unwrap().id(),
        environment: name(environment),
        replaces: scene.state.calendar(&name(environment)).map(|it| it.declared.id()),
        terms: toml::from_str::<Terms>(terms).unwrap(),
    }
}

/// With a release that is approved for staging, and a calendar there.
fn scene() -> (Scene, Digest) {
    let mut scene = Scene::new();
    let release = scene.submit("1.0");
    scene.approve(release);
    let calendar = calendar(&scene, "staging", TERMS);
    scene.say("max", calendar);
    (scene, release)
}

fn booking(
    scene: &Scene,
    release: Digest,
    hosts: &[&str],
    start: &str,
    length: Duration,
) -> Booking {
    let mut trial = scene.clone();
    let id = trial.book(release, "staging", &[hosts]);
    let (_, made) = trial.state.booking(&id).unwrap();
    let start = time(start);
    Booking { window: Window { start, end: start + length }, ..made.booking.says().clone() }
}

fn admitted(scene: &Scene, booking: Booking) -> Result<(), Refusal> {
    let envelope = Statement::new(scene.now, booking).signed_by([&key("max")]).to_bytes();
    admit(&scene.state, scene.state.next_index(), &envelope, scene.now).map(|_| ())
}

fn code(result: Result<(), Refusal>) -> Code {
    result.unwrap_err().code
}

fn hosts(hosts: &[&str]) -> BTreeSet<KeyId> {
    hosts.iter().map(|host| key(host).public().id()).collect()
}

fn request(release: Digest, on: &[&str], length: Duration) -> Request {
    Request {
        release,
        application: name("shop"),
        environment: name("staging"),
        hosts: hosts(on),
        change: ChangeType::Normal,
        length,
        preferred: None,
        days: 30,
        count: 5,
    }
}

fn found(scene: &Scene, request: &Request) -> Suggestions {
    let agenda = Agenda::of(&scene.state, request, scene.now).unwrap();
    let found = suggest(request, &agenda, scene.now);
    for slot in &found.slots {
        assert_eq!(agenda.refusals(slot.window, scene.now), [], "{slot:?}");
        assert_eq!(slot.window.length(), request.length);
    }
    found
}

fn starts(found: &Suggestions) -> Vec<String> {
    found.slots.iter().map(|slot| slot.window.start.to_string()).collect()
}

#[test]
fn where_no_notice_is_asked_a_window_may_begin_when_it_is_signed() {
    let mut scene = Scene::new();
    let release = scene.submit("1.0");
    scene.approve(release);
    let began = (scene.now - Duration::from_millis(300)).to_string();
    let signed_now = booking(&scene, release, &["stage-1"], &began, minutes(60));
    assert_eq!(admitted(&scene, signed_now), Ok(()), "without a calendar");
    let terms = "zone = \"America/New_York\"\nnotice = \"0s\"";
    let calendar = calendar(&scene, "staging", terms);
    scene.say("max", calendar);
    let signed_now = booking(&scene, release, &["stage-1"], &began, minutes(60));
    assert_eq!(admitted(&scene, signed_now), Ok(()), "with one that asks for none");
}

#[test]
fn the_last_calendar_is_in_force_and_none_is_written_over_unread() {
    let (mut scene, _) = scene();
    assert_eq!(scene.state.calendar(&name("staging")).unwrap().revision, 1);
    let mut second = calendar(&scene, "staging", TERMS);
    second.terms.notice = Duration::ZERO;
    let stale = Calendar { replaces: None, ..second.clone() };
    let try_say = |scene: &mut Scene, who: &str, it: Calendar| {
        scene.try_add(who, &Statement::new(scene.now, it)).map(|_| ()).map_err(|it| it.code)
    };
    assert_eq!(try_say(&mut scene, "max", stale), Err(Code::Superseded));
    assert_eq!(try_say(&mut scene, "olga", second.clone()), Err(Code::RoleMissing));
    let mut twice = second.clone();
    twice.terms.windows.push(twice.terms.windows[0].clone());
    assert_eq!(try_say(&mut scene, "max", twice), Err(Code::Malformed));
    let mut nowhere = second.clone();
    nowhere.terms.zone = "EST".to_owned();
    assert_eq!(try_say(&mut scene, "max", nowhere), Err(Code::Malformed));
    assert_eq!(try_say(&mut scene, "max", second), Ok(()));
    let record = scene.state.calendar(&name("staging")).unwrap();
    assert_eq!((record.revision, record.declared.says().terms.notice), (2, Duration::ZERO));
}

#[test]
fn bookings_keep_to_the_calendar() {
    let (mut scene, release) = scene();
    let book = |scene: &Scene, start: &str, length| {
        admitted(scene, booking(scene, release, &["stage-1"], start, length))
    };
    // Saturday 22:00 to Sunday 02:00, New York, on summer time.
    let saturday = "2026-03-15T02:00:00Z";
    book(&scene, saturday, minutes(240)).unwrap();
    assert_eq!(code(book(&scene, saturday, minutes(241))), Code::OutsideCalendar);
    assert_eq!(code(book(&scene, "2026-03-15T01:59:00Z", minutes(60))), Code::OutsideCalendar);
    // A week earlier the clocks go forward over 02:00: the window ends at the earlier reading of it.
    book(&scene, "2026-03-08T03:00:00Z", minutes(180)).unwrap();
    assert_eq!(code(book(&scene, "2026-03-08T03:00:00Z", minutes(181))), Code::OutsideCalendar);

    // It is Monday; on Wednesday 06:00 to 08:00 there is a window.
    book(&scene, "2026-03-04T11:00:00Z", minutes(120)).unwrap();
    scene.wait(minutes(25 * 60 + 1));
    assert_eq!(code(book(&scene, "2026-03-04T11:00:00Z", minutes(120))), Code::NoticeTooShort);
}

#[test]
fn capacity_counts_the_days_of_the_calendars_zone_and_clashes_are_refused() {
    let (mut scene, first) = scene();
    let second = scene.submit("1.1");
    scene.approve(second);
    let saturday = booking(&scene, first, &["stage-1"], "2026-03-08T03:00:00Z", minutes(60));
    let booked = scene.say("max", saturday);
    let book = |scene: &Scene, start: &str| {
        admitted(scene, booking(scene, second, &["stage-2"], start, minutes(60)))
    };
    // Still Saturday in New York, though Sunday in UTC.
    assert_eq!(code(book(&scene, "2026-03-08T04:00:00Z")), Code::CapacityReached);
    // After midnight there it is the next day.
    book(&scene, "2026-03-08T05:00:00Z").unwrap();

    let mut free = calendar(&scene, "staging", TERMS);
    free.terms.capacity_per_day = None;
    scene.say("max", free);
    let refusal = book(&scene, "2026-03-08T03:30:00Z").unwrap_err();
    assert_eq!(refusal.code, Code::WindowTaken, "one application in one environment");
    assert_eq!(refusal.facts, format!("by {}", booked.short()));
    book(&scene, "2026-03-08T04:00:00Z").unwrap();
    let again = booking(&scene, first, &["stage-1"], "2026-03-08T03:30:00Z", minutes(60));
    admitted(&scene, again).unwrap();
    scene.say("max", Cancel { release: first, booking: Some(booked), reason: "No.".to_owned() });
    book(&scene, "2026-03-08T03:30:00Z").unwrap();
}

#[test]
fn an_emergency_waits_for_no_saturday() {
    let mut scene = Scene::new();
    let calendar = calendar(&scene, "production", TERMS);
    scene.say("max", calendar);
    let grounds = scene.open_emergency("INC-1");
    let release = scene.iterate("1.0.1", grounds, 1, None);
    scene.say("mia", {
        let approval = cutover_shared::statement::IterationApproval { grounds, release, number: 1 };
        Says::Emergency(cutover_shared::statement::Emergency::Approved(approval))
    });
    let mut trial = scene.clone();
    let id = trial.book(release, "production", &[&["web-1"]]);
    let made = trial.state.booking(&id).unwrap().1.booking.says().clone();
    admitted(&scene, made.clone()).unwrap();

    let frozen = Freeze::Declared {
        policy: scene.state.policy().unwrap().id(),
        environments: names(["production"]),
        applications: names([]),
        start: scene.now,
        end: scene.now + minutes(24 * 60),
        reason: "Elections.".to_owned(),
    };
    scene.say("max", frozen);
    assert_eq!(code(admitted(&scene, made)), Code::Frozen, "a freeze means emergencies too");
}

#[test]
fn suggestions_are_the_nearest_offered_time() {
    let (mut scene, release) = scene();
    let mut asked = request(release, &["stage-1"], minutes(60));
    asked.count = 3;
    assert_eq!(
        starts(&found(&scene, &asked)),
        ["2026-03-04T11:00:00Z", "2026-03-08T03:00:00Z", "2026-03-11T10:00:00Z"],
        "the last one an hour earlier by UTC: the clocks went forward"
    );
    asked.preferred = Some(time("2026-03-11T10:30:00Z"));
    assert_eq!(starts(&found(&scene, &asked))[0], "2026-03-11T10:30:00Z");
    asked.preferred = Some(time("2026-03-11T11:30:00Z"));
    assert_eq!(starts(&found(&scene, &asked))[0], "2026-03-11T11:00:00Z", "as late as fits");

    // Too long for a Wednesday: each is refused with its reason.
    asked.length = minutes(180);
    let long = found(&scene, &asked);
    assert!(long.slots.iter().all(|it| it.offered_by == Some(name("saturdays"))));
    assert!(long.refused.iter().all(|it| it.refusal.code == Code::WindowTooShort));
    assert!(!long.refused.is_empty());

    // An hour into its window, a Wednesday has no notice left.
    scene.now = time("2026-03-03T11:30:00Z");
    asked.length = minutes(120);
    asked.preferred = None;
    let late = found(&scene, &asked);
    let (first, until) = (&late.refused[0].refusal, late.refused[0].blocked_until);
    assert_eq!((first.code, until), (Code::NoticeTooShort, Some(time("2026-03-04T11:30:00Z"))));
}

#[test]
fn what_is_in_the_way_is_told_with_its_end() {
    let (mut scene, release) = scene();
    let freeze = |from: &str, until: &str| Freeze::Declared {
        policy: scene.state.policy().unwrap().id(),
        environments: names(["staging"]),
        applications: names([]),
        start: time(from),
        end: time(until),
        reason: "Audit.".to_owned(),
    };
    let (one, two) = (
        freeze("2026-03-01T00:00:00Z", "2026-03-20T00:00:00Z"),
        freeze("2026-03-10T00:00:00Z", "2026-04-20T00:00:00Z"),
    );
    let (one, two) = (scene.say("max", one), scene.say("max", two));
    let asked = request(release, &["stage-1"], minutes(60));
    let nothing = found(&scene, &asked);
    assert!(nothing.slots.is_empty());
    let (refusal, until) = nothing.blocked_by.clone().unwrap();
    assert_eq!((refusal.code, until), (Code::Frozen, Some(time("2026-04-20T00:00:00Z"))));
    let both = nothing.refused.iter().find(|it| it.window.contains(time("2026-03-11T10:30:00Z")));
    let facts = &both.unwrap().refusal.facts;
    assert!(facts.contains(&one.short()) && facts.contains(&two.short()), "a union, all named");

    let long = Request { length: minutes(9 * 60), ..asked.clone() };
    assert_eq!(found(&scene, &long).blocked_by.unwrap().0.code, Code::WindowTooLong);
    scene.now = time("2027-01-01T00:00:00Z");
    assert_eq!(found(&scene, &asked).blocked_by.unwrap().0.code, Code::PolicyExpired);
    scene.now = time("2026-12-30T12:00:00Z");
    let last = found(&scene, &asked);
    assert!(last.slots.is_empty(), "the policy ends before the next window with notice");
}

#[test]
fn without_a_calendar_each_day_is_a_candidate() {
    let mut scene = Scene::new();
    let (first, second) = (scene.submit("1.0"), scene.submit("1.1"));
    let booked = scene.book(first, "staging", &[&["stage-1"]]);
    let mut asked = request(second, &["stage-1"], minutes(60));
    asked.count = 2;
    asked.days = 3;
    scene.now = scene.now + minutes(10) + Duration::from_millis(1);
    let free = found(&scene, &asked);
    // The first is booked until 11:10; whole minutes.
    assert_eq!(starts(&free), ["2026-03-02T11:10:00Z", "2026-03-03T00:00:00Z"]);
    assert_eq!(
        scene.state.booking(&booked).unwrap().1.booking.says().window.end,
        time("2026-03-02T11:10:00Z")
    );
    let own = request(first, &["stage-1"], minutes(60));
    assert_eq!(starts(&found(&scene, &own))[0], "2026-03-02T10:11:00Z");
    // A slot begins on its day: one that is frozen to its end has none, though the next one is free.
    let frozen = Freeze::Declared {
        policy: scene.state.policy().unwrap().id(),
        environments: names(["staging"]),
        applications: names([]),
        start: time("2026-03-03T00:00:00Z"),
        end: time("2026-03-04T00:00:00Z"),
        reason: "Audit.".to_owned(),
    };
    scene.say("max", frozen);
    let around = found(&scene, &asked);
    assert_eq!(starts(&around), ["2026-03-02T11:10:00Z", "2026-03-04T00:00:00Z"]);
    let refused: Vec<_> =
        around.refused.iter().map(|it| (it.window.start, it.refusal.code)).collect();
    assert_eq!(refused, [(time("2026-03-03T00:00:00Z"), Code::Frozen)]);
}

#[test]
fn one_place_is_an_application_in_an_environment_or_a_host() {
    let mut scene = Scene::new();
    let (first, second) = (scene.submit("1.0"), scene.submit("1.1"));
    scene.book(first, "staging", &[&["stage-1"]]);
    let start = time("2026-03-02T10:30:00Z");
    let window = Window { start, end: start + minutes(10) };
    let clashes = |application: &str, environment: &str, on: &[&str]| {
        let (application, environment) = (name(application), name(environment));
        let asked = Request { application, environment, ..request(second, on, minutes(10)) };
        let agenda = Agenda::of(&scene.state, &asked, scene.now).unwrap();
        agenda.refusals(window, scene.now).iter().any(|it| it.code == Code::WindowTaken)
    };
    assert!(clashes("shop", "staging", &["stage-2"]), "the application there");
    assert!(clashes("shop", "production", &["stage-1"]), "the host");
    assert!(clashes("forum", "staging", &["stage-1"]), "the host");
    assert!(!clashes("shop", "production", &["stage-2"]), "elsewhere");
    assert!(!clashes("forum", "staging", &["stage-2"]), "another one on other hosts");
}

/// The sweep against a search that tries every minute.
#[test]
fn a_slow_search_finds_the_same() {
    let (mut scene, release) = scene();
    let other = scene.submit("1.1");
    scene.approve(other);
    for (seed, (from, long)) in
        [(3, 40), (4, 70), (6, 30), (6, 45), (9, 500), (13, 90)].into_iter().enumerate()
    {
        let start = time("2026-03-08T03:00:00Z") + minutes(from * 60 * 24 / 2 + 17 * seed as u64);
        let freeze = Freeze::Declared {
            policy: scene.state.policy().unwrap().id(),
            environments: names(["staging"]),
            applications: names(["shop"]),
            start,
            end: start + minutes(long),
            reason: "Seeded.".to_owned(),
        };
        scene.say("max", freeze);
    }
    let taken = booking(&scene, other, &["stage-2"], "2026-03-15T02:00:00Z", minutes(100));
    scene.say("max", taken);
    for length in [20, 75, 120, 200] {
        let asked = Request { count: 100, ..request(release, &["stage-1"], minutes(length)) };
        let agenda = Agenda::of(&scene.state, &asked, scene.now).unwrap();
        let fast = suggest(&asked, &agenda, scene.now);
        let mut firsts: Vec<Time> = Vec::new();
        let (mut at, end) = (scene.now, scene.now + minutes(30 * 24 * 60));
        let mut offered_before = None;
        while at < end {
            let window = Window { start: at, end: at + minutes(length) };
            let free = agenda.refusals(window, scene.now).is_empty();
            // One slot for each offered window: the hours between them tell them apart.
            let apart = offered_before.is_none_or(|before: Time| at.since(before) > minutes(600));
            if free && apart {
                firsts.push(at);
                offered_before = Some(at);
            }
            at = at + minutes(1);
        }
        let mut found: Vec<_> = fast.slots.iter().map(|it| it.window.start).collect();
        found.sort();
        assert_eq!(found, firsts, "{length} minutes");
    }
}

#[test]
fn offered_windows_that_touch_are_one() {
    let window = |from: u64, to: u64| Window {
        start: time("2026-03-01T00:00:00Z") + minutes(from),
        end: time("2026-03-01T00:00:00Z") + minutes(to),
    };
    assert!(is_within(window(5, 25), [window(0, 10), window(10, 30)]));
    assert!(!is_within(window(5, 25), [window(0, 10), window(11, 30)]));
    assert!(!is_within(window(5, 5), [window(0, 10)]));
    assert!(!is_within(window(5, 6), []));
}
