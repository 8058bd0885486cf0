//! "Window cases that others get wrong", as the process has them: the table is read, not retyped.

use cutover_shared::calendar::recurring::Recurring;
use cutover_shared::calendar::span::{Reading, Span, WhenError};
use cutover_shared::calendar::zone::Zone;
use cutover_shared::time::Time;

const TABLE: &str = "\
| author wrote | on | must be |
|---|---|---|
| permit 02:30, `for 1h` | 8 March | no instance; lint says so |
| freeze 02:30, `for 1h` | 8 March | 06:30Z–08:30Z (read with the offset before and with the one after, and joined) |
| permit 01:00, `for 4h` | 8 March | 06:00Z–10:00Z, exactly 4 h |
| permit 01:00, `until 05:00` | 8 March | 06:00Z–09:00Z |
| permit 01:00, `for 30m` | 1 November | opens once: 05:00Z–05:30Z |
| freeze 01:00, `for 30m` | 1 November | 05:00Z–06:30Z (both readings joined) |
| permit 00:30, `until 01:30` | 1 November | 04:30Z–05:30Z (the earlier end) |
| permit Saturday 22:00, `until 02:00` | any | ends Sunday 02:00; day filters are about the start |
| any window | its edges | half-open: open at `start`, closed at `end` |
";

const ZONE: &str = "America/New_York";

struct Case {
    reading: Reading,
    start: String,
    end: String,
    must_be: String,
}

fn cases() -> Vec<Case> {
    let rows = TABLE.lines().skip(2).map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [wrote, on, must_be] = cells[..] else { panic!("{line}") };
        let date = match on {
            "8 March" => "2026-03-08",
            "1 November" => "2026-11-01",
            _ => return None,
        };
        let (what, end) = wrote.split_once(", ").unwrap();
        let (word, time) = what.split_once(' ').unwrap();
        let reading = match word {
            "permit" => Reading::Permission,
            "freeze" => Reading::Prohibition,
            other => panic!("{other}"),
        };
        let end = end.trim_matches('`').to_owned();
        Some(Case { reading, start: format!("{date}T{time}"), end, must_be: must_be.to_owned() })
    });
    rows.flatten().collect()
}

/// `06:30Z–08:30Z` out of what must be; `None` where there is no instance.
fn instants(case: &Case) -> Option<(Time, Time)> {
    let date = &case.start[..10];
    let ends = case.must_be.split([' ', ',', ':']).find(|it| it.contains('–'));
    assert_eq!(ends.is_none(), case.must_be.starts_with("no instance"), "{}", case.must_be);
    let at = case.must_be.find('–')?;
    let time = |text: &str| format!("{date}T{}:00Z", text.trim_end_matches('Z')).parse().unwrap();
    let (before, after) = (&case.must_be[at - 6..at], &case.must_be[at + '–'.len_utf8()..]);
    Some((time(before), time(&after[..6])))
}

/// Once as it is written on a command line, once as a window of a calendar.
#[test]
fn the_table_of_the_process() {
    let zone = Zone::find(ZONE).unwrap();
    let cases = cases();
    assert_eq!(cases.len(), 7, "the two rows without a date are tests of their own");
    for case in &cases {
        let what = format!("{:?} {} {}", case.reading, case.start, case.end);
        let expected = instants(case);

        let span = Span::parse(&case.start, &case.end).unwrap();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let found = span.window(case.reading, Some(&zone), now);
        match expected {
            Some(expected) => {
                let found = found.unwrap();
                assert_eq!((found.start, found.end), expected, "{what}");
            }
            None => assert!(matches!(found, Err(WhenError::Gap { .. })), "{what}"),
        }

        let (word, end) = case.end.split_once(' ').unwrap();
        let daily: Recurring = toml::from_str(&format!(
            "name = \"w\"\nstart = \"2026-01-05T{}\"\n{word} = \"{end}\"\nzone = \"{ZONE}\"\nrepeat = \"FREQ=DAILY\"",
            &case.start[11..]
        ))
        .unwrap();
        let midnight = |time: &str| format!("{}T{time}Z", &case.start[..10]).parse().unwrap();
        let (from, until) = (midnight("04:00:00"), midnight("20:00:00"));
        let found = daily.instances(case.reading, &zone, from, until);
        let windows: Vec<_> =
            found.windows.iter().map(|it| (it.window.start, it.window.end)).collect();
        assert_eq!(windows, expected.into_iter().collect::<Vec<_>>(), "{what}");
        assert_eq!(found.gaps.len(), usize::from(expected.is_none()), "{what}");
    }
}

#[test]
fn day_filters_are_about_the_start() {
    let text = "name = \"w\"\nstart = \"2026-01-03T22:00\"\nuntil = \"02:00\"\nzone = \"America/New_York\"\n\
                repeat = \"FREQ=WEEKLY;BYDAY=SA\"";
    let window: Recurring = toml::from_str(text).unwrap();
    let zone = Zone::find(ZONE).unwrap();
    let time = |text: &str| text.parse::<Time>().unwrap();
    let year = window.instances(
        Reading::Permission,
        &zone,
        time("2026-01-01T06:00:00Z"),
        time("2026-12-31T00:00:00Z"),
    );
    assert_eq!(year.windows.len(), 52);
    for it in year.windows {
        let (start, end) = (zone.civil(it.window.start), zone.civil(it.window.end));
        assert_eq!(start.strftime("%a %H:%M").to_string(), "Sat 22:00");
        // In the night of 8 March there is no 02:00; by the exact rule the earlier reading ends it.
        let forward = end.date() == jiff::civil::date(2026, 3, 8);
        let expected = if forward { "Sun 01:00" } else { "Sun 02:00" };
        assert_eq!(end.strftime("%a %H:%M").to_string(), expected);
    }
}

#[test]
fn any_window_is_half_open_at_its_edges() {
    for case in cases() {
        let Some((start, end)) = instants(&case) else { continue };
        let window = cutover_shared::window::Window { start, end };
        let instant = std::time::Duration::from_millis(1);
        assert!(window.contains(start) && !window.contains(end));
        assert!(!window.contains(start - instant) && window.contains(end - instant));
    }
}
