//! What goes out as iCalendar: every reader must come to the same hours.

use cutover_shared::calendar::ics::{Feed, Imported, export, import};
use cutover_shared::calendar::recurring::Recurring;
use cutover_shared::calendar::span::Reading;
use cutover_shared::statement::{Calendar, Cancel, Freeze, Terms};
use cutover_shared::time::Time;

use super::scene::{Scene, minutes, name, names};

fn lines(feed: &str) -> Vec<String> {
    feed.replace("\r\n ", "").split("\r\n").map(str::to_owned).collect()
}

fn written(scene: &Scene, environment: Option<&str>) -> String {
    let environment = environment.map(name);
    let feed = Feed { state: &scene.state, environment: environment.as_ref(), now: scene.now };
    export(&feed).unwrap()
}

fn with_window(window: &str) -> Scene {
    let mut scene = Scene::new();
    let terms = format!(
        "zone = \"America/New_York\"\nnotice = \"0s\"\n[[windows]]\nname = \"nights\"\nzone = \"America/New_York\"\n{window}"
    );
    let calendar = Calendar {
        policy: scene.state.policy().unwrap().id(),
        environment: name("staging"),
        replaces: None,
        terms: toml::from_str::<Terms>(&terms).unwrap(),
    };
    scene.say("max", calendar);
    scene
}

fn instants(window: &Recurring, from: Time, until: Time) -> Vec<(Time, Time)> {
    let zone = window.find_zone().unwrap();
    let found = window.instances(Reading::Permission, &zone, from, until);
    found.windows.iter().map(|it| (it.window.start, it.window.end)).collect()
}

#[test]
fn what_the_clocks_do_is_written_out() {
    let gap = with_window(
        "start = \"2026-01-04T02:30\"\nfor = \"1h\"\nrepeat = \"FREQ=WEEKLY;BYDAY=SU\"",
    );
    let feed = lines(&written(&gap, None));
    for line in [
        "UID:window-staging-nights@cutover.example.org",
        "DTSTART;TZID=America/New_York:20260104T023000",
        "DURATION:PT1H",
        "EXDATE;TZID=America/New_York:20260308T023000",
        "EXDATE;TZID=America/New_York:20270314T023000",
    ] {
        assert!(feed.iter().any(|it| it == line), "{line}: {feed:#?}");
    }
    assert!(
        !feed.iter().any(|it| it.starts_with("RECURRENCE-ID")),
        "the rest is as the RFC reads it"
    );

    // Until two in the morning: an hour more in autumn, and by the exact rule an hour less in spring.
    let until = with_window(
        "start = \"2026-01-03T22:00\"\nuntil = \"02:00\"\nrepeat = \"FREQ=WEEKLY;BYDAY=SA;UNTIL=20261231\"",
    );
    let feed = lines(&written(&until, None));
    assert!(feed.contains(&"RRULE:FREQ=WEEKLY;BYDAY=SA;UNTIL=20270101T045959Z".to_owned()));
    let at = |line: &str| feed.iter().position(|it| it == line).unwrap();
    let spring = at("RECURRENCE-ID;TZID=America/New_York:20260307T220000");
    assert_eq!(
        feed[spring + 1..spring + 3],
        ["DTSTART:20260308T030000Z", "DTEND:20260308T060000Z"]
    );
    let autumn = at("RECURRENCE-ID;TZID=America/New_York:20261031T220000");
    assert_eq!(
        feed[autumn + 1..autumn + 3],
        ["DTSTART:20261101T020000Z", "DTEND:20261101T070000Z"]
    );
    assert_eq!(feed.iter().filter(|it| it.starts_with("RECURRENCE-ID")).count(), 2);
}

#[test]
fn what_is_read_back_is_at_the_same_instants() {
    for window in [
        "start = \"2026-01-03T22:00\"\nuntil = \"02:00\"\nrepeat = \"FREQ=WEEKLY;BYDAY=SA\"",
        "start = \"2026-01-04T01:30\"\nfor = \"45m\"\nrepeat = \"FREQ=DAILY\"\nexcept = [\"2026-03-05T01:30\"]",
        "start = \"2026-01-31T18:00\"\nuntil = \"+2d 06:00\"\nrepeat = \"FREQ=MONTHLY;BYMONTHDAY=-1;COUNT=20\"\nalso = [\"2026-03-11T09:00\"]",
        "start = \"2026-01-04T02:30\"\nfor = \"1h\"\nrepeat = \"FREQ=WEEKLY;BYDAY=SU\"\nmoved = { \"2026-03-29T02:30\" = { start = \"2026-03-30T01:00\", until = \"03:00\" } }",
        "start = \"2026-03-08T02:30\"\nfor = \"1h\"\nrepeat = \"FREQ=YEARLY\"",
    ] {
        let scene = with_window(window);
        let calendar = scene.state.calendar(&name("staging")).unwrap();
        let original = &calendar.declared.says().terms.windows[0];
        let back = import(&written(&scene, None), None)
            .unwrap_or_else(|faults| panic!("{window}: {faults:?}"));
        let [Imported { window: back, sequence: 0, is_cancelled: false, .. }] = back.as_slice()
        else {
            panic!("{window}: {back:?}");
        };
        assert_eq!(back.name().as_str(), "nights");
        let (from, until) = (scene.now, scene.now + minutes(2 * 365 * 24 * 60));
        assert_eq!(instants(back, from, until), instants(original, from, until), "{window}");
    }
}

#[test]
fn a_zone_is_defined_by_its_transitions() {
    let scene = with_window("start = \"2026-03-03T22:00\"\nfor = \"1h\"\nrepeat = \"FREQ=DAILY\"");
    let feed = lines(&written(&scene, None));
    let from = feed.iter().position(|it| it == "BEGIN:VTIMEZONE").unwrap();
    let to = feed.iter().position(|it| it == "END:VTIMEZONE").unwrap();
    let zone = &feed[from..to];
    let after = |line: &str, offset: usize| {
        let at = zone.iter().position(|it| it == line);
        zone[at.unwrap_or_else(|| panic!("{line}: {zone:#?}")) + offset].as_str()
    };
    assert_eq!(after("BEGIN:DAYLIGHT", 1), "DTSTART:20250309T020000");
    assert!(zone.contains(&"RDATE:20260308T020000".to_owned()), "{zone:#?}");
    assert!(zone.contains(&"RDATE:20261101T020000".to_owned()), "{zone:#?}");
    assert_eq!(after("TZOFFSETFROM:-0500", 1), "TZOFFSETTO:-0500", "what was before them");
    assert_eq!(after("TZOFFSETTO:-0400", 1), "TZNAME:EDT");
}

#[test]
fn what_was_cancelled_or_lifted_says_so() {
    let mut scene = Scene::new();
    let release = scene.submit("1.0");
    let booking = scene.book(release, "staging", &[&["stage-1"]]);
    let frozen = Freeze::Declared {
        policy: scene.state.policy().unwrap().id(),
        environments: names(["production"]),
        applications: names([]),
        start: scene.now,
        end: scene.now + minutes(60),
        reason: "Elections; all of them.".to_owned(),
    };
    let freeze = scene.say("max", frozen);
    let event = |feed: &[String], uid: &str| -> Vec<String> {
        let at = feed.iter().position(|it| it.starts_with(uid)).unwrap();
        feed[at..].iter().take_while(|it| *it != "END:VEVENT").cloned().collect()
    };
    let uid = format!("UID:booking-{booking}@cutover.example.org");
    let before = lines(&written(&scene, None));
    let booked = event(&before, &uid);
    for line in [
        "SEQUENCE:0",
        "STATUS:CONFIRMED",
        "DTSTART:20260302T101000Z",
        "SUMMARY:R-1: shop 1.0 → staging",
    ] {
        assert!(booked.contains(&line.to_owned()), "{line}: {booked:#?}");
    }
    assert!(
        event(&before, "UID:freeze-").contains(&"DESCRIPTION:Elections\\; all of them.".to_owned())
    );
    assert!(!lines(&written(&scene, Some("production"))).contains(&uid));

    scene.say("max", Cancel { release, booking: Some(booking), reason: "No.".to_owned() });
    scene.say("max", Freeze::Lifted { freeze, reason: "Over.".to_owned() });
    let after = lines(&written(&scene, None));
    for uid in [uid.as_str(), "UID:freeze-"] {
        let event = event(&after, uid);
        assert!(event.contains(&"SEQUENCE:1".to_owned()), "{event:#?}");
        assert!(event.contains(&"STATUS:CANCELLED".to_owned()), "{event:#?}");
    }
    assert!(import(&written(&scene, None), None).unwrap().iter().all(|it| it.is_cancelled));
}
