use super::super::recurring::WallEnd;
use super::super::span::Reading;
use super::*;

fn file(events: &str) -> String {
    let events = events.trim().lines().map(str::trim).collect::<Vec<_>>().join("\r\n");
    format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\n{events}\r\nEND:VCALENDAR\r\n")
}

fn event(properties: &str) -> String {
    file(&format!("BEGIN:VEVENT\nUID:a@b\nSUMMARY:Patch night\n{properties}\nEND:VEVENT"))
}

fn one(properties: &str) -> Imported {
    let mut all = import(&event(properties), None).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn faults(properties: &str) -> Vec<String> {
    import(&event(properties), None).unwrap_err().iter().map(ToString::to_string).collect()
}

fn starts(imported: &Imported, from: &str, until: &str) -> Vec<String> {
    let zone = imported.window.find_zone().unwrap();
    let (from, until) = (from.parse().unwrap(), until.parse().unwrap());
    let found = imported.window.instances(Reading::Permission, &zone, from, until);
    found.windows.iter().map(|it| format!("{} {}", it.window.start, it.window.end)).collect()
}

#[test]
fn an_event_of_outlook() {
    let text = file(
        "BEGIN:VTIMEZONE
         TZID:Eastern Standard Time
         BEGIN:STANDARD
         DTSTART:16010101T020000
         TZOFFSETFROM:-0400
         TZOFFSETTO:-0500
         RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=1SU;BYMONTH=11
         END:STANDARD
         END:VTIMEZONE
         BEGIN:VEVENT
         UID:040000008200E0
         SUMMARY;LANGUAGE=en-us:Patch night\\, production
         DTSTART;TZID=\"Eastern Standard Time\":20260307T220000
         DTEND;TZID=\"Eastern Standard Time\":20260308T010000
         RRULE:FREQ=WEEKLY;UNTIL=20260329T020000Z;INTERVAL=1;BYDAY=SA;WKST=SU
         EXDATE;TZID=\"Eastern Standard Time\":20260321T220000
         SEQUENCE:3
         X-MICROSOFT-CDO-BUSYSTATUS:BUSY
         BEGIN:VALARM
         TRIGGER:-PT15M
         ACTION:DISPLAY
         END:VALARM
         END:VEVENT
         BEGIN:VEVENT
         UID:040000008200E0
         RECURRENCE-ID;TZID=\"Eastern Standard Time\":20260314T220000
         DTSTART:20260316T010000Z
         DTEND:20260316T020000Z
         END:VEVENT",
    );
    let all = import(&text, None).unwrap();
    let [it] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((it.uid.as_str(), it.sequence, it.is_cancelled), ("040000008200E0", 3, false));
    assert_eq!(it.summary, "Patch night, production");
    assert_eq!(it.window.name().as_str(), "patch-night-production");
    assert_eq!(it.window.document().zone, "America/New_York");
    assert_eq!(
        starts(it, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        [
            "2026-03-08T03:00:00Z 2026-03-08T06:00:00Z",
            "2026-03-16T01:00:00Z 2026-03-16T02:00:00Z",
            "2026-03-29T02:00:00Z 2026-03-29T05:00:00Z",
        ]
    );
}

#[test]
fn ends_are_exact_or_days_on_the_wall() {
    let saturday = "DTSTART;TZID=America/New_York:20260307T220000\n";
    for (end, expected) in [
        (
            "DTEND;TZID=America/New_York:20260308T040000",
            "2026-03-08T03:00:00Z 2026-03-08T08:00:00Z",
        ),
        ("DURATION:PT6H30M", "2026-03-08T03:00:00Z 2026-03-08T09:30:00Z"),
        ("DURATION:P1D", "2026-03-08T03:00:00Z 2026-03-09T02:00:00Z"),
        ("DTEND:20260308T040000Z", "2026-03-08T03:00:00Z 2026-03-08T04:00:00Z"),
    ] {
        let it = one(&format!("{saturday}{end}"));
        assert_eq!(
            starts(&it, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            [expected],
            "{end}"
        );
    }
    let zone = Zone::find("America/New_York").unwrap();
    let days = event("DTSTART;VALUE=DATE:20260307\nDTEND;VALUE=DATE:20260310");
    let it = import(&days, Some(&zone)).unwrap().remove(0);
    assert!(matches!(it.window.end(), WallEnd::DaysLater(3, _)));
    assert_eq!(
        starts(&it, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ["2026-03-07T05:00:00Z 2026-03-10T04:00:00Z"]
    );
    assert!(import(&days, None).unwrap_err()[0].problem.contains("say which zone"));
}

#[test]
fn zones_have_many_spellings() {
    for tzid in [
        "America/New_York",
        "Eastern Standard Time",
        "/freeassociation.sourceforge.net/America/New_York",
        "/mozilla.org/20050126_1/America/New_York",
    ] {
        let it = one(&format!("DTSTART;TZID={tzid}:20260307T220000\nDURATION:PT1H"));
        assert_eq!(it.window.document().zone, "America/New_York", "{tzid}");
    }
    let located = file(
        "BEGIN:VTIMEZONE\nTZID:ours\nX-LIC-LOCATION:Europe/Berlin\nEND:VTIMEZONE
         BEGIN:VEVENT\nUID:1\nDTSTART;TZID=ours:20260307T220000\nDURATION:PT1H\nEND:VEVENT",
    );
    assert_eq!(import(&located, None).unwrap()[0].window.document().zone, "Europe/Berlin");
}

#[test]
fn what_cannot_be_honoured_is_named_with_its_line() {
    let start = "DTSTART:20260307T220000Z";
    let base = format!("{start}\nDURATION:PT1H");
    for (properties, told) in [
        (base.replace('Z', ""), "line 7, DTSTART: a time without a zone"),
        (format!("{base}\nRRULE:FREQ=HOURLY"), "line 9, RRULE: FREQ=HOURLY is not supported"),
        (format!("{base}\nRRULE:FREQ=DAILY\nRRULE:FREQ=DAILY"), "line 10, RRULE: is there twice"),
        (format!("{base}\nEXRULE:FREQ=DAILY"), "line 9, EXRULE: this property cannot be honoured"),
        (
            format!("{base}\nRDATE;VALUE=PERIOD:20260308T220000Z/PT1H"),
            "line 9, RDATE: VALUE=PERIOD",
        ),
        (format!("{base}\nEXDATE;VALUE=DATE:20260307"), "line 9, EXDATE"),
        (format!("{base}\nEXDATE:20260308T220000Z"), "line 7, DTSTART: 2026-03-08T22:00"),
        (format!("{base}\nSTATUS:TENTATIVE"), "line 9, STATUS: TENTATIVE cannot be honoured"),
        (
            format!("{base}\nRECURRENCE-ID:20260307T220000Z"),
            "line 9, RECURRENCE-ID: there is no recurring",
        ),
        (format!("{base}\nDTEND:20260307T230000Z"), "line 9, DTEND: and DURATION exclude"),
        (format!("{start}\nDTEND:20260307T220000Z"), "line 8, DTEND: is not after DTSTART"),
        (format!("{start}\nDURATION:P1DT1H"), "line 8, DURATION: expected whole days"),
        (format!("{start}\nDURATION:-PT1H"), "line 8, DURATION"),
        (start.to_owned(), "line 4, DTEND: the event has no end"),
        ("DURATION:PT1H".to_owned(), "line 4, DTSTART: the event has none"),
        (
            format!("{base}\nRRULE:FREQ=WEEKLY;BYDAY=MO"),
            "line 7, DTSTART: the first start of patch-night",
        ),
        (
            "DTSTART;TZID=Atlantis:20260307T220000\nDURATION:PT1H".to_owned(),
            "line 7, DTSTART: the zone \"Atlantis\"",
        ),
        (format!("{base}\nBEGIN:VTODO\nEND:VTODO"), "line 9, BEGIN: VTODO is no window"),
        (format!("{base}\nnonsense"), "line 9, nonsense: no content line"),
    ] {
        let found = faults(&properties);
        assert!(found.iter().any(|it| it.starts_with(told)), "{properties}: {found:?}");
    }
    let several = faults("DTSTART:20260307T2200\nRRULE:FREQ=HOURLY\nEXRULE:x\nSTATUS:x");
    assert!(several.len() > 1, "all at once: {several:?}");
    for (text, told) in [
        ("", "line 1, VCALENDAR: one is expected"),
        ("BEGIN:VCALENDAR\n", "line 1, BEGIN: VCALENDAR has no END"),
        ("BEGIN:VCALENDAR\nEND:VEVENT\n", "line 2, END: nothing called VEVENT is open"),
        ("BEGIN:VCALENDAR\nVERSION:1.0\nEND:VCALENDAR", "line 2, VERSION: 1.0 cannot"),
        ("UID:x", "line 1, UID: stands outside"),
    ] {
        let found = import(text, None).unwrap_err();
        assert!(found.iter().any(|it| it.to_string().starts_with(told)), "{text}: {found:?}");
    }
}

#[test]
fn lines_are_unfolded_and_folded() {
    let folded = event("DTSTART:20260307T220000Z\nDURATION:PT1H");
    let folded = folded.replace("T220000Z", "T22\r\n 0000Z").replace("PT1H", "PT\r\n\t1H");
    let it = import(&folded, None).unwrap().remove(0);
    assert_eq!(it.window.document().start.to_string(), "2026-03-07T22:00");
    let mut writer = line::Writer::default();
    writer.text("SUMMARY", &"Prüfung; \\ 東京, \n".repeat(20));
    let text = writer.finish();
    assert!(text.lines().all(|line| line.len() <= 75 && line.is_char_boundary(0)), "{text}");
    let (lines, faults) = line::lines(&text);
    assert!(faults.is_empty());
    assert_eq!(lines[0].text(), "Prüfung; \\ 東京, \n".repeat(20));
}

#[test]
fn what_is_off_is_off() {
    assert!(one("DTSTART:20260307T220000Z\nDURATION:PT1H\nSTATUS:CANCELLED").is_cancelled);
    let text =
        event("DTSTART:20260307T220000Z\nDURATION:PT1H").replace("PRODID:test", "METHOD:CANCEL");
    assert!(import(&text, None).unwrap()[0].is_cancelled);
    let off = file(
        "BEGIN:VEVENT\nUID:1\nDTSTART:20260307T220000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=2\nEND:VEVENT
         BEGIN:VEVENT\nUID:1\nRECURRENCE-ID:20260308T220000Z\nSTATUS:CANCELLED\nEND:VEVENT",
    );
    let it = import(&off, None).unwrap().remove(0);
    assert_eq!(starts(&it, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z").len(), 1);
}

#[test]
fn a_file_may_be_as_large_as_the_limit() {
    let large = |length| import(&"x".repeat(length), None).unwrap_err()[0].problem.clone();
    assert!(!large(MAX_BYTES).starts_with("larger"));
    assert!(
        large(MAX_BYTES + 1).starts_with("larger") && large(MAX_BYTES + 2).starts_with("larger")
    );
}

#[test]
fn a_window_is_named_after_its_summary() {
    let named = |summary: &str| {
        let text = event("DTSTART:20260302T100000Z\nDTEND:20260302T110000Z");
        let text = text.replace("SUMMARY:Patch night", &format!("SUMMARY:{summary}"));
        import(&text, None).unwrap()[0].window.document().name.to_string()
    };
    assert_eq!(named("Patch night"), "patch-night");
    assert_eq!(named("..Night of v1.2_b!"), "night-of-v1.2_b");
    assert_eq!(named("!!"), "window");
}

#[test]
fn offsets_have_a_sign_and_as_few_digits_as_there_are() {
    let written = [0, 3600, -3600, 20_700, -17_762].map(export::offset);
    assert_eq!(written, ["+0000", "+0100", "-0100", "+0545", "-045602"]);
}
