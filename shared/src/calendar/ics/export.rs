//! From the fold to a feed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::civil;

use super::line::Writer;
use super::{booking, rfc_instant};
use crate::calendar::recurring::{Instance, MAX_LENGTH, Recurring};
use crate::calendar::rule::{Rule, RuleEnd, write_basic};
use crate::calendar::span::{Reading, Wall};
use crate::calendar::zone::{OutOfRange, UnknownZone, Zone};
use crate::fold::{CalendarRecord, FreezeRecord, State};
use crate::name::Name;
use crate::statement::Freeze;
use crate::time::Time;

/// So far ahead what the clocks do to a window is written out, and each zone's transitions are.
const AHEAD: Duration = Duration::from_hours(3 * 366 * 24);

/// What to write.
#[derive(Debug, Clone, Copy)]
pub struct Feed<'a> {
    /// Everything in the log, folded.
    pub state: &'a State,
    /// One environment only.
    pub environment: Option<&'a Name>,
    /// What ended before is left out.
    pub now: Time,
}

/// Writes a feed: bookings, windows of calendars, freezes.
///
/// Errors: a calendar names a zone that the bundled database does not have.
pub fn export(feed: &Feed<'_>) -> Result<String, UnknownZone> {
    let domain = booking::domain(feed.state);
    let mut events = Events { feed, domain, writer: Writer::default(), zones: BTreeMap::new() };
    let calendars =
        feed.state.calendars().filter(|it| feed.is_here(&it.declared.says().environment));
    for calendar in calendars {
        events.calendar(calendar)?;
    }
    for freeze in feed.state.freezes() {
        events.freeze(freeze);
    }
    for (case, booking) in feed.state.bookings_ending_after(feed.now) {
        if feed.is_here(&booking.booking.says().environment) {
            booking::write(&mut events.writer, &events.domain, case, booking, None);
        }
    }
    let mut writer = Writer::default();
    writer.raw("BEGIN", "VCALENDAR");
    writer.raw("VERSION", "2.0");
    writer.raw("PRODID", "-//Cutover//Calendar//EN");
    writer.raw("CALSCALE", "GREGORIAN");
    writer.raw("METHOD", "PUBLISH");
    for (zone, from) in events.zones.values() {
        vtimezone(&mut writer, zone, *from, feed.now + AHEAD);
    }
    let body = events.writer.finish();
    Ok(format!("{}{body}END:VCALENDAR\r\n", writer.finish()))
}

impl Feed<'_> {
    fn is_here(&self, environment: &Name) -> bool {
        self.environment.is_none_or(|it| it == environment)
    }
}

struct Events<'a> {
    feed: &'a Feed<'a>,
    domain: String,
    writer: Writer,
    /// Those that are spoken of, and from when on.
    zones: BTreeMap<String, (Zone, Time)>,
}

/// What the events of one window share.
struct Series<'a> {
    uid: String,
    revision: u64,
    stamp: Time,
    window: &'a Recurring,
    zone: &'a Zone,
    environment: &'a Name,
}

impl Events<'_> {
    fn begin(&mut self, uid: &str, stamp: Time, sequence: u64, is_off: bool) {
        self.writer.raw("BEGIN", "VEVENT");
        self.writer.raw("UID", uid);
        self.writer.raw("DTSTAMP", &utc(stamp));
        self.writer.raw("SEQUENCE", &sequence.to_string());
        self.writer.raw("STATUS", if is_off { "CANCELLED" } else { "CONFIRMED" });
    }

    fn freeze(&mut self, record: &FreezeRecord) {
        let Freeze::Declared { environments, applications, start, end, reason, .. } =
            record.declared.says()
        else {
            return;
        };
        if *end <= self.feed.now || !environments.iter().any(|it| self.feed.is_here(it)) {
            return;
        }
        let is_off = record.lifted.is_some();
        let uid = format!("freeze-{}@{}", record.declared.id(), self.domain);
        self.begin(&uid, record.declared.header().issued, u64::from(is_off), is_off);
        self.writer.raw("DTSTART", &utc(*start));
        self.writer.raw("DTEND", &utc(*end));
        let join =
            |names: &BTreeSet<Name>| names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
        let what = if applications.is_empty() { "all".to_owned() } else { join(applications) };
        self.writer.text("SUMMARY", &format!("Freeze: {} ({what})", join(environments)));
        self.writer.text("DESCRIPTION", reason);
        self.writer.text("LOCATION", &join(environments));
        self.writer.raw("END", "VEVENT");
    }

    fn calendar(&mut self, record: &CalendarRecord) -> Result<(), UnknownZone> {
        let says = record.declared.says();
        for window in &says.terms.windows {
            let zone = window.find_zone()?;
            let series = Series {
                uid: format!("window-{}-{}@{}", says.environment, window.name(), self.domain),
                revision: record.revision - 1,
                stamp: record.declared.header().issued,
                window,
                zone: &zone,
                environment: &says.environment,
            };
            // What lies outside the years that can be written cannot be read either.
            let _ = self.window(&series);
        }
        Ok(())
    }

    /// A window that comes again, and what the clocks do to it.
    fn window(&mut self, series: &Series<'_>) -> Result<(), OutOfRange> {
        let (window, zone) = (series.window.document(), series.zone);
        let start = window.start.0;
        let first = rfc_instant(zone, start)?;
        let until = self.feed.now.max(first) + AHEAD;
        let seen =
            self.zones.entry(zone.name().to_owned()).or_insert_with(|| (zone.clone(), first));
        seen.1 = seen.1.min(first);

        // What is over is nobody's plan.
        let from = first.max(self.feed.now - MAX_LENGTH);
        let instances = series.window.instances(Reading::Permission, zone, from, until);
        let length = usual_length(&instances.windows);
        let (mut except, mut elsewhere) = (window.except.clone(), Vec::new());
        except.extend(instances.gaps.iter().chain(&instances.empty));
        for it in &instances.windows {
            let begins = rfc_instant(zone, it.occurrence.0)?;
            if (it.window.start, it.window.end) != (begins, begins + length) {
                elsewhere.push(*it);
            }
        }
        self.begin(&series.uid, series.stamp, series.revision, false);
        self.at("DTSTART", zone, start);
        // The exact length is that of every occurrence (RFC 5545, 3.8.5.3).
        self.writer.raw("DURATION", &exactly(length));
        if let Some(rule) = &window.repeat {
            self.writer.raw("RRULE", &for_feed(rule, zone)?);
        }
        for wall in &window.also {
            self.at("RDATE", zone, wall.0);
        }
        for wall in &except {
            self.at("EXDATE", zone, wall.0);
        }
        self.tail(series);
        for it in elsewhere {
            self.begin(&series.uid, series.stamp, series.revision, false);
            self.at("RECURRENCE-ID", zone, it.occurrence.0);
            self.writer.raw("DTSTART", &utc(it.window.start));
            self.writer.raw("DTEND", &utc(it.window.end));
            self.tail(series);
        }
        Ok(())
    }

    fn tail(&mut self, series: &Series<'_>) {
        self.writer.text("SUMMARY", series.window.name().as_str());
        self.writer.text("DESCRIPTION", &format!("Change window of {}", series.environment));
        self.writer.text("LOCATION", series.environment.as_str());
        self.writer.raw("END", "VEVENT");
    }

    fn at(&mut self, name: &str, zone: &Zone, datetime: civil::DateTime) {
        let wall = write_basic(datetime);
        match zone.name() {
            "UTC" => self.writer.raw(name, &format!("{wall}Z")),
            zone => self.writer.raw(&format!("{name};TZID={zone}"), &wall),
        }
    }
}

/// The length of most of a window's instances: the others are written out one by one.
fn usual_length(instances: &[Instance]) -> Duration {
    let mut lengths: BTreeMap<Duration, usize> = BTreeMap::new();
    for it in instances {
        *lengths.entry(it.window.length()).or_default() += 1;
    }
    let most = lengths.into_iter().max_by_key(|(_, count)| *count);
    most.map_or(Duration::from_hours(1), |(length, _)| length)
}

/// The rule with an UNTIL in UTC, as RFC 5545 demands where DTSTART has a zone.
fn for_feed(rule: &Rule, zone: &Zone) -> Result<String, OutOfRange> {
    let last = match rule.end() {
        RuleEnd::Never | RuleEnd::Count(_) | RuleEnd::Instant(_) => return Ok(rule.to_string()),
        RuleEnd::Date(date) => date.to_datetime(civil::time(23, 59, 59, 0)),
        RuleEnd::Wall(wall) => wall,
    };
    Ok(rule.ending_with(zone.readings(last)?.later).to_string())
}

fn exactly(length: Duration) -> String {
    let seconds = length.as_secs();
    let parts = [(seconds / 3600, 'H'), (seconds / 60 % 60, 'M'), (seconds % 60, 'S')];
    let parts = parts.iter().filter(|(number, _)| *number > 0);
    let text = parts.map(|(number, unit)| format!("{number}{unit}")).collect::<Vec<_>>().concat();
    if text.is_empty() { "PT1S".to_owned() } else { format!("PT{text}") }
}

pub(super) fn utc(time: Time) -> String {
    format!("{}Z", write_basic(Zone::utc().civil(time)))
}

/// The zone's transitions, as RFC 5545 3.6.5 has them: an observance for each pair of offsets and name.
fn vtimezone(writer: &mut Writer, zone: &Zone, from: Time, until: Time) {
    if zone.name() == "UTC" {
        return;
    }
    let from = from - Duration::from_hours(366 * 24);
    writer.raw("BEGIN", "VTIMEZONE");
    writer.raw("TZID", zone.name());
    writer.raw("X-LIC-LOCATION", zone.name());
    let (abbreviation, is_daylight) = zone.abbreviation(from);
    let first = Observance {
        before: zone.offset_seconds(from),
        after: zone.offset_seconds(from),
        abbreviation,
        is_daylight,
    };
    let mut observances: BTreeMap<Observance, BTreeSet<Wall>> = BTreeMap::new();
    observances.entry(first).or_default().insert(Wall(zone.civil(from)));
    for it in zone.transitions(from, until) {
        let onset = it.at.timestamp().as_second() + i64::from(it.before_seconds);
        let onset = jiff::Timestamp::from_second(onset).ok().and_then(Time::from_timestamp);
        let Some(onset) = onset else { continue };
        let observance = Observance {
            before: it.before_seconds,
            after: it.after_seconds,
            abbreviation: it.abbreviation,
            is_daylight: it.is_daylight,
        };
        observances.entry(observance).or_default().insert(Wall(Zone::utc().civil(onset)));
    }
    for (it, onsets) in &observances {
        let kind = if it.is_daylight { "DAYLIGHT" } else { "STANDARD" };
        writer.raw("BEGIN", kind);
        let mut onsets = onsets.iter();
        if let Some(first) = onsets.next() {
            writer.raw("DTSTART", &write_basic(first.0));
        }
        for onset in onsets {
            writer.raw("RDATE", &write_basic(onset.0));
        }
        writer.raw("TZOFFSETFROM", &offset(it.before));
        writer.raw("TZOFFSETTO", &offset(it.after));
        writer.text("TZNAME", &it.abbreviation);
        writer.raw("END", kind);
    }
    writer.raw("END", "VTIMEZONE");
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Observance {
    before: i32,
    after: i32,
    abbreviation: String,
    is_daylight: bool,
}

pub(super) fn offset(seconds: i32) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let all = seconds.unsigned_abs();
    let (hours, minutes, rest) = (all / 3600, all / 60 % 60, all % 60);
    let tail = if rest == 0 { String::new() } else { format!("{rest:02}") };
    format!("{sign}{hours:02}{minutes:02}{tail}")
}
