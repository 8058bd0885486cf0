//! From events to windows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::civil;

use super::event::{Contents, Event, contents};
use super::line::{Line, lines};
use super::{Fault, MAX_BYTES, rfc_instant};
use crate::calendar::recurring::{Document, Length, Moved, Recurring, WallUntil};
use crate::calendar::rule::{Rule, basic_date, basic_datetime};
use crate::calendar::span::{Wall, WallTime};
use crate::calendar::zone::Zone;
use crate::name::Name;

/// An event of a file, as a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Its UID.
    pub uid: String,
    /// Its SEQUENCE; 0 where it has none.
    pub sequence: u32,
    /// Its SUMMARY.
    pub summary: String,
    /// It is off.
    pub is_cancelled: bool,
    /// When it is; named after its SUMMARY.
    pub window: Recurring,
}

/// Reads a file. `zone` is that of dates without a time and of times without a zone; without it they are
/// refused. On faults all of them are told, in the order of their lines.
pub fn import(text: &str, zone: Option<&Zone>) -> Result<Vec<Imported>, Vec<Fault>> {
    if text.len() > MAX_BYTES {
        return Err(vec![Fault::new(1, "file", format!("larger than {MAX_BYTES} bytes"))]);
    }
    let (lines, mut faults) = lines(text);
    let contents = contents(lines, &mut faults);
    let mut reader = Reader { contents: &contents, zone, faults, names: BTreeSet::new() };
    let imported = reader.windows();
    let mut faults = reader.faults;
    if faults.is_empty() {
        return Ok(imported);
    }
    faults.sort_by_key(|fault| fault.line);
    Err(faults)
}

/// A time as a property has it.
struct Point {
    zone: Zone,
    wall: civil::DateTime,
    is_date: bool,
}

struct Reader<'a> {
    contents: &'a Contents,
    zone: Option<&'a Zone>,
    faults: Vec<Fault>,
    names: BTreeSet<Name>,
}

impl Reader<'_> {
    fn windows(&mut self) -> Vec<Imported> {
        let events = &self.contents.events;
        let mut overrides: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
        let mut masters = Vec::new();
        let mut uids = BTreeSet::new();
        for event in events {
            let Some(uid) = &event.uid else {
                self.faults.push(Fault::new(event.number, "UID", "the event has none"));
                continue;
            };
            if event.occurrence.is_some() {
                overrides.entry(&uid.value).or_default().push(event);
            } else if uids.insert(&uid.value) {
                masters.push((uid, event));
            } else {
                self.faults.push(uid.fault("another event has it too"));
            }
        }
        let mut imported = Vec::new();
        for (uid, event) in masters {
            let overrides = overrides.remove(uid.value.as_str()).unwrap_or_default();
            let before = self.faults.len();
            match self.window(uid, event, &overrides) {
                Ok(window) if self.faults.len() == before => imported.push(window),
                Ok(_) => {}
                Err(fault) => self.faults.push(fault),
            }
        }
        for event in overrides.into_values().flatten() {
            let line = event.occurrence.as_ref().map_or(event.number, |line| line.number);
            let problem = "there is no recurring event with its UID";
            self.faults.push(Fault::new(line, "RECURRENCE-ID", problem));
        }
        imported
    }

    fn window(
        &mut self,
        uid: &Line,
        event: &Event,
        overrides: &[&Event],
    ) -> Result<Imported, Fault> {
        let (line, start) = self.start(event)?;
        let (length, until) = self.end(event, &start)?;
        let repeat = match &event.rule {
            Some(rule) => {
                Some(rule.value.parse::<Rule>().map_err(|it| rule.fault(it.to_string()))?)
            }
            None => None,
        };
        let summary = event.summary.as_ref().map(Line::text).unwrap_or_default();
        let sequence = match &event.sequence {
            Some(it) => it.value.parse().map_err(|_| it.fault("is no number"))?,
            None => 0,
        };
        let mut document = Document {
            name: self.name(&summary),
            start: Wall(start.wall),
            length,
            until,
            zone: start.zone.name().to_owned(),
            repeat,
            also: self.walls(&event.also, &start),
            except: self.walls(&event.except, &start),
            moved: BTreeMap::new(),
        };
        for event in overrides {
            if let Err(fault) = self.moved(event, &start, &mut document) {
                self.faults.push(fault);
            }
        }
        let is_cancelled = self.contents.is_cancelling || is_cancelled(event)?;
        let window = Recurring::new(document).map_err(|error| line.fault(error.to_string()))?;
        Ok(Imported { uid: uid.value.clone(), sequence, summary, is_cancelled, window })
    }

    /// One occurrence that is elsewhere, or off.
    fn moved(
        &mut self,
        event: &Event,
        start: &Point,
        document: &mut Document,
    ) -> Result<(), Fault> {
        let Some(line) = &event.occurrence else { return Ok(()) };
        if line.parameter("RANGE").is_some() {
            return Err(line.fault(
                "RANGE (this and the following) cannot be honoured: end the rule and begin another",
            ));
        }
        if let Some(other) = event.rule.as_ref().or(event.also.first()).or(event.except.first()) {
            return Err(other.fault("one occurrence does not recur"));
        }
        let wall = self.same_zone(line, &line.value, start)?;
        if is_cancelled(event)? {
            document.except.insert(wall);
            return Ok(());
        }
        let (line, begins) = self.start(event)?;
        let (length, until) = self.end(event, &begins)?;
        let begins = Wall(in_zone(&begins, &start.zone, line)?);
        if document.moved.insert(wall, Moved { start: begins, length, until }).is_some() {
            return Err(line.fault("this occurrence is moved twice"));
        }
        Ok(())
    }

    fn start<'e>(&self, event: &'e Event) -> Result<(&'e Line, Point), Fault> {
        let line = event.start.as_ref();
        let line = line.ok_or_else(|| Fault::new(event.number, "DTSTART", "the event has none"))?;
        Ok((line, self.point(line, &line.value)?))
    }

    fn end(
        &self,
        event: &Event,
        start: &Point,
    ) -> Result<(Option<Length>, Option<WallUntil>), Fault> {
        let midnights =
            |days| (None, Some(WallUntil::days_later(days, WallTime(start.wall.time()))));
        match (&event.end, &event.duration) {
            (Some(end), Some(_)) => Err(end.fault("and DURATION exclude each other")),
            (Some(line), None) => {
                let end = self.point(line, &line.value)?;
                if end.is_date != start.is_date {
                    return Err(line.fault("is a date where DTSTART is a time, or the other way round"));
                }
                if end.is_date {
                    let days = start.wall.date().until(end.wall.date()).map_or(0, |it| it.get_days());
                    let days = u8::try_from(days).ok().filter(|days| *days > 0);
                    return days.map(midnights).ok_or_else(|| line.fault("is not 1 to 62 days after DTSTART"));
                }
                let range = |_| line.fault("lies outside the years that can be written");
                let from = rfc_instant(&start.zone, start.wall).map_err(range)?;
                let to = rfc_instant(&end.zone, end.wall).map_err(range)?;
                if to <= from {
                    return Err(line.fault("is not after DTSTART"));
                }
                Ok((Some(Length(to.since(from))), None))
            }
            (None, Some(line)) => match duration(&line.value) {
                Some(Lasting::Days(days)) => Ok(midnights(days)),
                Some(Lasting::Exactly(length)) if !start.is_date => Ok((Some(Length(length)), None)),
                Some(Lasting::Exactly(_)) | None => Err(line.fault(
                    "expected whole days or weeks, as P3D, or an exact length after a time, as PT2H30M",
                )),
            },
            (None, None) if start.is_date => Ok(midnights(1)),
            (None, None) => Err(Fault::new(event.number, "DTEND", "the event has no end and no DURATION")),
        }
    }

    fn point(&self, line: &Line, value: &str) -> Result<Point, Fault> {
        let default = || {
            let zone = self.zone.cloned();
            zone.ok_or_else(|| line.fault("a time without a zone: say which zone is meant"))
        };
        match line.parameter("VALUE").map(str::to_ascii_uppercase).as_deref() {
            Some("DATE") => {
                let date =
                    basic_date(value).ok_or_else(|| line.fault("is no date, as 20261231"))?;
                let wall = date.to_datetime(civil::Time::midnight());
                return Ok(Point { zone: default()?, wall, is_date: true });
            }
            Some("DATE-TIME") | None => {}
            Some(other) => return Err(line.fault(format!("VALUE={other} cannot be honoured"))),
        }
        let wrong = || {
            line.fault(format!(
                "{:?} is no time, as 20261231T220000",
                value.chars().take(40).collect::<String>()
            ))
        };
        if let Some(utc) = value.strip_suffix(['Z', 'z']) {
            let wall = basic_datetime(utc).ok_or_else(wrong)?;
            return Ok(Point { zone: Zone::utc(), wall, is_date: false });
        }
        let wall = basic_datetime(value).ok_or_else(wrong)?;
        let zone = match line.parameter("TZID") {
            Some(tzid) => self.contents.places.find(tzid).map_err(|told| line.fault(told))?,
            None => default()?,
        };
        Ok(Point { zone, wall, is_date: false })
    }

    /// The values of RDATE or EXDATE lines, on the wall of the event's zone.
    fn walls(&mut self, lines: &[Line], start: &Point) -> BTreeSet<Wall> {
        let mut walls = BTreeSet::new();
        for line in lines {
            for value in line.value.split(',') {
                match self.same_zone(line, value, start) {
                    Ok(wall) => {
                        walls.insert(wall);
                    }
                    Err(fault) => self.faults.push(fault),
                }
            }
        }
        walls
    }

    fn same_zone(&self, line: &Line, value: &str, start: &Point) -> Result<Wall, Fault> {
        let point = self.point(line, value)?;
        if point.is_date != start.is_date {
            return Err(line.fault("is a date where DTSTART is a time, or the other way round"));
        }
        in_zone(&point, &start.zone, line).map(Wall)
    }

    /// A name out of the SUMMARY, that no other window of the file has.
    fn name(&mut self, summary: &str) -> Name {
        let mut slug = String::new();
        for c in summary.to_lowercase().chars().take(50) {
            if c.is_ascii_alphanumeric() || !slug.is_empty() && "._".contains(c) {
                slug.push(c);
            } else if !slug.is_empty() && !slug.ends_with('-') {
                slug.push('-');
            }
        }
        let slug = slug.trim_end_matches(['-', '.', '_']);
        let slug = if slug.is_empty() { "window" } else { slug };
        let numbered = (2..).map(|number| format!("{slug}-{number}"));
        let names = [slug.to_owned()].into_iter().chain(numbered).filter_map(|it| it.parse().ok());
        let name = names.into_iter().find(|it: &Name| !self.names.contains(it));
        let name = name.expect("numbers do not end");
        self.names.insert(name.clone());
        name
    }
}

/// What the wall of a zone shows at a time that was written for another one.
fn in_zone(point: &Point, zone: &Zone, line: &Line) -> Result<civil::DateTime, Fault> {
    if point.zone == *zone {
        return Ok(point.wall);
    }
    let instant = rfc_instant(&point.zone, point.wall);
    instant
        .map(|instant| zone.civil(instant))
        .map_err(|_| line.fault("lies outside the years that can be written"))
}

fn is_cancelled(event: &Event) -> Result<bool, Fault> {
    let Some(line) = &event.status else { return Ok(false) };
    match line.value.to_ascii_uppercase().as_str() {
        "CONFIRMED" => Ok(false),
        "CANCELLED" => Ok(true),
        other => {
            Err(line.fault(format!("{other} cannot be honoured: a window is offered or it is not")))
        }
    }
}

enum Lasting {
    /// On the wall.
    Days(u8),
    /// By the clock.
    Exactly(Duration),
}

/// RFC 5545, 3.3.6; days and times together have no exact meaning on the wall.
fn duration(text: &str) -> Option<Lasting> {
    let text = text.strip_prefix('+').unwrap_or(text).strip_prefix('P')?;
    let number = |text: &str| {
        let digits =
            !text.is_empty() && text.len() < 8 && text.bytes().all(|it| it.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten()
    };
    let days = |days: u64| u8::try_from(days).ok().filter(|it| *it > 0).map(Lasting::Days);
    if let Some(weeks) = text.strip_suffix('W') {
        return days(number(weeks)? * 7);
    }
    if let Some(whole) = text.strip_suffix('D') {
        return days(number(whole)?);
    }
    let mut rest = text.strip_prefix('T')?;
    let mut seconds = 0;
    for (unit, factor) in [('H', 3600), ('M', 60), ('S', 1)] {
        if let Some((digits, after)) = rest.split_once(unit) {
            seconds += number(digits)? * factor;
            rest = after;
        }
    }
    (rest.is_empty() && seconds > 0).then_some(Lasting::Exactly(Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Days, or seconds.
    fn lasting(text: &str) -> Option<(Option<u8>, u64)> {
        duration(text).map(|it| match it {
            Lasting::Days(days) => (Some(days), 0),
            Lasting::Exactly(it) => (None, it.as_secs()),
        })
    }

    #[test]
    fn durations_are_days_or_times_and_nothing_else() {
        for (text, expected) in [
            ("P2W", (Some(14), 0)),
            ("+P3D", (Some(3), 0)),
            ("PT1H30M", (None, 5400)),
            ("PT45S", (None, 45)),
            ("PT9999999S", (None, 9_999_999)),
        ] {
            assert_eq!(lasting(text), Some(expected), "{text}");
        }
        for text in
            ["P", "PT", "P0D", "P1DT1H", "-P1D", "PTH", "PT+1H", "P+1D", "PT10000000S", "P40W"]
        {
            assert_eq!(lasting(text), None, "{text}");
        }
    }
}
