//! What people are told of a calendar before they sign it.

use cutover_shared::calendar::lint::{self, Left};
use cutover_shared::statement::{Freeze, Terms};
use cutover_shared::window::Window;

use super::scene::{Scene, minutes, name, names, time};

fn problems(windows: &str) -> Vec<String> {
    let text = format!("zone = \"America/New_York\"\nnotice = \"0s\"\n{windows}");
    let terms: Terms = toml::from_str(&text).unwrap();
    let found = lint::terms(&terms, time("2026-03-01T00:00:00Z"));
    found.iter().map(ToString::to_string).collect()
}

fn window(lines: &str) -> String {
    format!("[[windows]]\nname = \"w\"\nzone = \"America/New_York\"\n{lines}\n")
}

#[test]
fn each_thing_that_is_amiss_has_its_words() {
    assert!(problems("").is_empty());
    let sundays =
        window("start = \"2026-01-04T02:30\"\nfor = \"1h\"\nrepeat = \"FREQ=WEEKLY;BYDAY=SU\"");
    let told = problems(&sundays);
    assert_eq!(
        told[0],
        "w: no instance on 2026-03-08: 2026-03-08T02:30 does not exist in America/New_York"
    );
    assert_eq!(told.len(), 2, "this spring and the next one");
    for (lines, words) in [
        ("start = \"2020-01-04T02:30\"\nfor = \"1h\"", "does not come within two years"),
        ("start = \"2026-02-01T01:00\"\nfor = \"25h\"\nrepeat = \"FREQ=DAILY\"", "overlap"),
        (
            "start = \"2026-11-01T01:30\"\nuntil = \"+1d 01:30\"\nrepeat = \"FREQ=YEARLY;COUNT=1\"",
            "",
        ),
    ] {
        let told = problems(&window(lines));
        assert!(told.iter().any(|it| it.contains(words)) != words.is_empty(), "{lines}: {told:?}");
    }
    let twice = format!("{sundays}{sundays}");
    assert!(problems(&twice)[0].contains("two windows are called w"));
}

#[test]
fn what_freezes_leave_is_counted_once() {
    let now = time("2026-03-01T00:00:00Z");
    let days = |from: u64, to: u64| Window {
        start: now + minutes(from * 1440),
        end: now + minutes(to * 1440),
    };
    let left: Left = lint::left(None, [days(0, 20), days(5, 10), days(19, 25), days(28, 90)], now);
    assert_eq!(
        left.left,
        minutes(3 * 1440),
        "overlapping freezes are a union, cut to the thirty days"
    );
    assert!(left.is_too_little());
    assert_eq!(left.to_string(), "leaves 72 h of 720 h in the next 30 days");
    assert!(!lint::left(None, [days(0, 15)], now).is_too_little());
}

#[test]
fn a_log_is_linted_whole() {
    let mut scene = Scene::new();
    assert!(lint::everything(&scene.state, scene.now).is_empty());
    let frozen = |scene: &Scene, applications: &[&str]| Freeze::Declared {
        policy: scene.state.policy().unwrap().id(),
        environments: names(["production"]),
        applications: names(applications.iter().copied()),
        start: scene.now,
        end: scene.now + minutes(29 * 1440 + 13 * 60),
        reason: "Audit.".to_owned(),
    };
    let one = frozen(&scene, &["shop"]);
    scene.say("max", one);
    assert!(lint::everything(&scene.state, scene.now).is_empty(), "other applications go on");
    let all = frozen(&scene, &[]);
    let all = scene.say("max", all);
    let told = lint::everything(&scene.state, scene.now);
    assert_eq!(
        told[0].to_string(),
        "production: the freezes together: leaves 11 h of 720 h in the next 30 days"
    );
    scene.say("max", Freeze::Lifted { freeze: all, reason: "Over.".to_owned() });
    assert!(lint::everything(&scene.state, scene.now).is_empty());
    assert!(lint::left_in(&scene.state, &name("staging"), &[], scene.now).left > minutes(0));
}

#[test]
fn a_booking_that_another_database_would_move_is_told() {
    let mut scene = Scene::new();
    let release = scene.submit("1.0");
    let booked = scene.book(release, "staging", &[&["stage-1"]]);
    let mut says = scene.state.booking(&booked).unwrap().1.booking.says().clone();
    // As if a database had New York on UTC when this was booked.
    says.derivation = Some(cutover_shared::statement::Derivation {
        start: "2026-03-02T10:10".to_owned(),
        end: "for 1h".to_owned(),
        zone: "America/New_York".to_owned(),
        tzdb: "1999z".to_owned(),
    });
    let wrong = scene.say("max", says.clone());
    let mut right = says;
    right.derivation.as_mut().unwrap().start = "2026-03-02T05:10".to_owned();
    scene.say("max", right);
    let drifted = lint::drifted(&scene.state, scene.now);
    assert_eq!(drifted.iter().map(|it| it.booking).collect::<Vec<_>>(), [wrong]);
    assert_eq!(drifted[0].again.as_ref().unwrap().start, time("2026-03-02T15:10:00Z"));
    let told = lint::everything(&scene.state, scene.now).remove(0).to_string();
    assert!(told.contains("1999z") && told.contains("2026-03-02T15:10:00Z"), "{told}");
    scene.wait(minutes(71));
    assert!(lint::drifted(&scene.state, scene.now).is_empty(), "what is over is over");
}
