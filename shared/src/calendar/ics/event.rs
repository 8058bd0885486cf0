//! Components: which events a file has, and what each says.

use super::line::Line;
use super::place::Places;
use super::{Fault, MAX_EVENTS};

/// A VEVENT, its properties sorted out and not yet understood.
#[derive(Debug)]
pub(super) struct Event {
    /// Of its BEGIN.
    pub(super) number: usize,
    pub(super) uid: Option<Line>,
    pub(super) sequence: Option<Line>,
    pub(super) summary: Option<Line>,
    pub(super) status: Option<Line>,
    pub(super) start: Option<Line>,
    pub(super) end: Option<Line>,
    pub(super) duration: Option<Line>,
    pub(super) rule: Option<Line>,
    pub(super) occurrence: Option<Line>,
    pub(super) also: Vec<Line>,
    pub(super) except: Vec<Line>,
}

/// What tells people something and has no say in when an event is.
const PASSED_OVER: &[&str] = &[
    "ATTACH",
    "ATTENDEE",
    "CATEGORIES",
    "CLASS",
    "COLOR",
    "COMMENT",
    "CONFERENCE",
    "CONTACT",
    "CREATED",
    "DESCRIPTION",
    "DTSTAMP",
    "GEO",
    "IMAGE",
    "LAST-MODIFIED",
    "LOCATION",
    "NAME",
    "ORGANIZER",
    "PRIORITY",
    "PRODID",
    "REFRESH-INTERVAL",
    "RELATED-TO",
    "REQUEST-STATUS",
    "RESOURCES",
    "SOURCE",
    "TRANSP",
    "TZID-ALIAS-OF",
    "UID",
    "URL",
];

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) events: Vec<Event>,
    pub(super) places: Places,
    /// METHOD:CANCEL: all that is in it is off (RFC 5546).
    pub(super) is_cancelling: bool,
}

/// Sorts the lines of a file out.
pub(super) fn contents(lines: Vec<Line>, faults: &mut Vec<Fault>) -> Contents {
    let mut contents = Contents::default();
    let mut open: Vec<Line> = Vec::new();
    let mut event: Option<Event> = None;
    let (mut tzid, mut location) = (None, None);
    let mut calendars = 0;
    for line in lines {
        match line.name.as_str() {
            "BEGIN" => {
                let name = line.value.to_ascii_uppercase();
                let within: Vec<_> = open.iter().map(|it| it.value.as_str()).collect();
                match (within.as_slice(), name.as_str()) {
                    ([], "VCALENDAR") => calendars += 1,
                    (["VCALENDAR"], "VEVENT") => event = Some(Event::new(line.number)),
                    (["VCALENDAR"], "VTIMEZONE") | (["VCALENDAR", "VEVENT"], "VALARM") => {}
                    (["VCALENDAR", "VTIMEZONE"], "STANDARD" | "DAYLIGHT") => {}
                    // What nobody knows is passed over where the RFC lets anybody put it.
                    (["VCALENDAR", ..], name) if name.starts_with("X-") => {}
                    _ => faults.push(
                        line.fault(format!("{name} is no window, or stands where it cannot")),
                    ),
                }
                open.push(Line { value: name, ..line });
            }
            "END" => {
                let matching = open.pop();
                if matching.as_ref().is_none_or(|it| !it.value.eq_ignore_ascii_case(&line.value)) {
                    faults.push(line.fault(format!("nothing called {} is open", line.value)));
                    return contents;
                }
                match line.value.to_ascii_uppercase().as_str() {
                    "VEVENT" => contents.events.extend(event.take()),
                    "VTIMEZONE" => {
                        if let (Some(tzid), Some(location)) = (tzid.take(), location.take()) {
                            contents.places.add(tzid, location);
                        }
                    }
                    _ => {}
                }
                if contents.events.len() > MAX_EVENTS {
                    faults.push(line.fault(format!("more than {MAX_EVENTS} events")));
                    return contents;
                }
            }
            name => {
                let within = open.last().map(|it| it.value.as_str());
                match (within, name, &mut event) {
                    (Some("VEVENT"), _, Some(event)) => event.add(line, faults),
                    (Some("VTIMEZONE"), "TZID", _) => tzid = Some(line.value),
                    (Some("VTIMEZONE"), "X-LIC-LOCATION", _) => location = Some(line.value),
                    (Some("VCALENDAR"), _, _) => {
                        contents.is_cancelling |= calendar_property(&line, faults);
                    }
                    (Some(_), _, _) => {}
                    (None, _, _) => faults.push(line.fault("stands outside every VCALENDAR")),
                }
            }
        }
    }
    if let Some(unclosed) = open.pop() {
        faults.push(unclosed.fault(format!("{} has no END", unclosed.value)));
    }
    if calendars != 1 {
        faults.push(Fault::new(1, "VCALENDAR", format!("one is expected, there are {calendars}")));
    }
    contents
}

/// A property of the whole file; whether it says that all of it is off.
fn calendar_property(line: &Line, faults: &mut Vec<Fault>) -> bool {
    let value = line.value.to_ascii_uppercase();
    let good = match line.name.as_str() {
        "VERSION" => value == "2.0",
        "CALSCALE" => value == "GREGORIAN",
        "METHOD" => matches!(value.as_str(), "PUBLISH" | "REQUEST" | "ADD" | "CANCEL"),
        name => name.starts_with("X-") || PASSED_OVER.contains(&name),
    };
    if !good {
        faults.push(line.fault(format!("{} cannot be honoured", line.value)));
    }
    line.name == "METHOD" && value == "CANCEL"
}

impl Event {
    fn new(number: usize) -> Self {
        Self {
            number,
            uid: None,
            sequence: None,
            summary: None,
            status: None,
            start: None,
            end: None,
            duration: None,
            rule: None,
            occurrence: None,
            also: Vec::new(),
            except: Vec::new(),
        }
    }

    fn add(&mut self, line: Line, faults: &mut Vec<Fault>) {
        let once = match line.name.as_str() {
            "UID" => &mut self.uid,
            "SEQUENCE" => &mut self.sequence,
            "SUMMARY" => &mut self.summary,
            "STATUS" => &mut self.status,
            "DTSTART" => &mut self.start,
            "DTEND" => &mut self.end,
            "DURATION" => &mut self.duration,
            "RRULE" => &mut self.rule,
            "RECURRENCE-ID" => &mut self.occurrence,
            "RDATE" => return self.also.push(line),
            "EXDATE" => return self.except.push(line),
            name if name.starts_with("X-") || PASSED_OVER.contains(&name) => return,
            _ => return faults.push(line.fault("this property cannot be honoured")),
        };
        if once.is_some() {
            faults.push(line.fault("is there twice"));
        } else {
            *once = Some(line);
        }
    }
}
