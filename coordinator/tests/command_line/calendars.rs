//! Calendars, from a file to the log and out again as iCalendar.

use cutover_shared::key::SecretKey;

use crate::policies::signed;
use crate::program::Desk;
use crate::server::Server;

const TERMS: &str = "\
zone = \"America/New_York\"
notice = \"2d\"
capacity-per-day = 3

[[windows]]
name = \"saturdays\"
start = \"2026-01-03T22:00\"
until = \"02:00\"
zone = \"America/New_York\"
repeat = \"FREQ=WEEKLY;BYDAY=SA\"
";

const EVENTS: &str = "\
BEGIN:VCALENDAR
VERSION:2.0
BEGIN:VEVENT
UID:1@example.org
SUMMARY:Patch night
DTSTART;TZID=Eastern Standard Time:20260107T060000
DURATION:PT2H
RRULE:FREQ=WEEKLY;BYDAY=WE
END:VEVENT
END:VCALENDAR
";

/// A desk of mary, a change manager, and an empty log with a policy.
fn desk() -> (Desk, Server) {
    let mut desk = signed(&[("mary", &["change-manager"])]);
    let key = SecretKey::from_pem(&desk.read("log.pem"), None).unwrap();
    let server = Server::start(&key, vec![desk.read("policy.json").into_bytes()]);
    desk.set("CUTOVER_COORDINATOR", &server.address);
    desk.set("CUTOVER_POLICY", "policy.json");
    desk.set("CUTOVER_KEY", "mary.pem");
    desk.write("production.toml", TERMS);
    desk.write("patch.ics", EVENTS);
    (desk, server)
}

#[test]
fn a_calendar_is_set_shown_and_exported() {
    let (desk, _server) = desk();
    let set = ["calendar", "set", "production.toml", "--environment", "production"];
    let dry = desk.json(set.into_iter().chain(["--dry-run"]));
    assert_eq!(dry["dry-run"], true);
    let set: Vec<_> = set.into_iter().chain(["--yes"]).collect();
    let appended = desk.json(set.clone());
    let shown = desk.json(["calendar", "show", "production"]);
    assert_eq!(shown[0]["calendar"], appended["id"]);
    assert_eq!(shown[0]["terms"]["windows"][0]["name"], "saturdays");
    assert!(shown[0]["entries"].as_array().unwrap().len() >= 4, "a window each week: {shown}");
    // The terms as they come out can be put in again: nothing is lost on the way.
    desk.write(
        "again.toml",
        desk.cutover(["calendar", "show", "production", "--terms"]).done().bytes.clone(),
    );
    let again = ["calendar", "set", "again.toml", "--environment", "production", "--yes"];
    let second = desk.json(again);
    let shown_again = desk.json(["calendar", "show", "production"]);
    assert_eq!(shown_again[0]["calendar"], second["id"]);
    assert_eq!(shown_again[0]["terms"], shown[0]["terms"]);

    desk.cutover(["calendar", "export", "--output", "feed.ics"]).done();
    let feed = desk.read("feed.ics");
    for line in [
        "UID:window-production-saturdays@cutover.example.org",
        "SEQUENCE:1",
        "DTSTART;TZID=America/New_York:20260103T220000",
        "RRULE:FREQ=WEEKLY;BYDAY=SA",
        "TZID:America/New_York",
    ] {
        assert!(feed.contains(&format!("{line}\r\n")), "{line}: {feed}");
    }
    let import = ["calendar", "import", "feed.ics", "--zone", "America/New_York"];
    let back = desk.cutover(import).done().out.clone();
    assert!(back.contains("FREQ=WEEKLY;BYDAY=SA"), "{back}");
}

#[test]
fn files_are_linted_and_imported_without_a_coordinator() {
    let desk = Desk::new();
    desk.write("good.toml", TERMS);
    desk.cutover(["calendar", "lint", "good.toml"]).done();
    desk.write("gap.toml", TERMS.replace("22:00", "02:30").replace("SA", "SA,SU"));
    let linted = desk.cutover(["calendar", "lint", "gap.toml"]);
    assert_eq!(linted.code, 4);
    assert!(linted.out.contains("does not exist in America/New_York"), "{}", linted.out);
    desk.write("bad.toml", TERMS.replace("until", "for"));
    desk.cutover(["calendar", "lint", "bad.toml"]).says(2, "bad.toml is no calendar");

    desk.write("patch.ics", EVENTS);
    let import =
        ["calendar", "import", "patch.ics", "--zone", "America/New_York", "--notice", "1d"];
    let made = desk.cutover(import).done().out.clone();
    assert!(made.contains("name = \"patch-night\"") && made.contains("notice = \"1d\""), "{made}");
    desk.write("hourly.ics", EVENTS.replace("WEEKLY", "HOURLY").replace("SUMMARY", "EXRULE"));
    let refused = desk.cutover(["calendar", "import", "hourly.ics", "--zone", "UTC"]);
    refused.says(2, "hourly.ics: line 5, EXRULE: this property cannot be honoured");
    refused.says(2, "hourly.ics: line 8, RRULE: FREQ=HOURLY is not supported");
}

#[test]
fn freezes_recur_and_come_from_files() {
    let (desk, _server) = desk();
    let declare = ["freeze", "declare", "--environment", "production", "--reason", "Month end."];
    let when = ["--start", "2026-01-31T18:00", "--until", "06:00", "--zone", "America/New_York"];
    let again = ["--repeat", "FREQ=MONTHLY;BYMONTHDAY=-1", "--ahead", "366d"];
    let declare: Vec<_> = declare.into_iter().chain(when).chain(again).collect();
    let dry = desk.json(declare.iter().copied().chain(["--dry-run"]));
    let number = dry["statements"].as_array().unwrap().len();
    assert!((12..=13).contains(&number), "{dry}");
    let yes = || declare.iter().copied().chain(["--yes"]);
    assert_eq!(desk.json(yes()).as_array().unwrap().len(), number);
    assert_eq!(desk.json(["freeze", "list"]).as_array().unwrap().len(), number);
    assert_eq!(desk.json(yes()), serde_json::json!([]), "they stand already");

    let import =
        ["freeze", "import", "patch.ics", "--environment", "staging", "--ahead", "28d", "--yes"];
    let imported = desk.json(import);
    assert!((4..=5).contains(&imported.as_array().unwrap().len()), "{imported}");
    let list = desk.json(["freeze", "list"]);
    let patched = list.as_array().unwrap().iter().filter(|it| it["reason"] == "Patch night");
    assert_eq!(patched.count(), imported.as_array().unwrap().len());
    // Two hours a week leave plenty; a month does not.
    let long = ["freeze", "declare", "--environment", "desk", "--start", "now", "--for", "29d13h"];
    desk.cutover(long.into_iter().chain(["--reason", "Audit.", "--yes"]))
        .says(0, "warning: what is frozen in desk then leaves 11 h of 720 h in the next 30 days");
    let linted = desk.cutover(["calendar", "lint"]);
    assert_eq!(linted.code, 4, "{}", linted.out);
}
