//! What calendars are written in.

use std::str::FromStr;

use cutover_shared::calendar::ics;
use cutover_shared::calendar::recurring::Recurring;
use cutover_shared::calendar::rule::Rule;
use cutover_shared::calendar::span::Reading;
use cutover_shared::calendar::zone::Zone;

/// A file by another program, read with a zone of ours and without one.
pub(super) fn file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let zone = Zone::find("America/New_York").expect("it is bundled");
    for zone in [Some(&zone), None] {
        match ics::import(text, zone) {
            Ok(imported) => {
                assert!(imported.len() <= ics::MAX_EVENTS);
                for event in imported.iter().take(4) {
                    judged(&event.window);
                }
            }
            Err(faults) => assert!(!faults.is_empty(), "a refusal says why"),
        }
    }
}

/// A window as it is in a statement.
pub(super) fn window(bytes: &[u8]) {
    if let Ok(window) = serde_json::from_slice::<Recurring>(bytes) {
        judged(&window);
    }
}

pub(super) fn rule(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(rule) = Rule::from_str(text) else { return };
    assert_eq!(Rule::from_str(&rule.to_string()), Ok(rule), "it is written as it is read");
}

/// It is written as it is read, and its instances lie where they were looked for, in order.
fn judged(window: &Recurring) {
    let written = serde_json::to_vec(window).expect("a window is JSON");
    assert_eq!(&serde_json::from_slice::<Recurring>(&written).expect("it is read"), window);
    let Ok(zone) = window.find_zone() else { return };
    let from = "2026-03-01T00:00:00Z".parse().expect("an instant");
    let until = "2026-05-01T00:00:00Z".parse().expect("an instant");
    for reading in [Reading::Permission, Reading::Prohibition] {
        let found = window.instances(reading, &zone, from, until).windows;
        assert!(found.iter().all(|it| it.window.start < it.window.end));
        assert!(found.iter().all(|it| it.window.start < until && from < it.window.end));
        assert!(found.is_sorted_by_key(|it| it.window.start));
    }
}
