//! A window that comes again: a first start on the wall, an end, a rule, and its exceptions.
//!
//! The shape is iCalendar's (RFC 5545: DTSTART, RRULE, RDATE, EXDATE, RECURRENCE-ID), the meaning of civil
//! times is [`super::span`]'s. Instances are instants; day filters are about the start.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::civil;
use serde::{Deserialize, Serialize};

use super::rule::{Rule, is_past};
use super::span::{EndReadings, Reading, Wall, WallTime, first_after};
use super::zone::{OutOfRange, UnknownZone, Zone, is_zone_name};
use crate::name::Name;
use crate::time::{Time, span};
use crate::window::Window;

/// Longest instance. A year-end freeze is shorter; what is longer than two months is no window but a rule.
pub const MAX_LENGTH: Duration = Duration::from_hours(62 * 24);
/// Most dates that one window has beside its rule, and takes out of it, each: one a day for two years.
pub const MAX_EXCEPTIONS: usize = 750;
/// An exception lies at most so many years after the first start.
pub const MAX_EXCEPTION_YEARS: i16 = 30;
/// Longest stretch over which instances are listed; what lies beyond is asked for in another call.
pub const MAX_HORIZON: Duration = Duration::from_hours(5 * 366 * 24);

/// Where an instance ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WallEnd {
    /// After an exact length, whatever the clocks do.
    For(Duration),
    /// When the clock on the wall shows this the first time after the start.
    Until(WallTime),
    /// When it shows this so many days after the start's date.
    DaysLater(u8, WallTime),
}

/// One occurrence that is at another time than the rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moved {
    /// When it starts instead.
    pub start: Wall,
    /// Ends after an exact length; this or `until`.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none", default)]
    pub length: Option<Length>,
    /// Ends at a time on the wall; this or `for`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<WallUntil>,
}

/// `02:00`, the first one after the start; or `+3d 00:00`, so many days after the start's date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallUntil(Option<u8>, WallTime);

/// A window that comes again, checked: it can be made only by [`Recurring::new`] or by reading one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct Recurring(Document);

/// What it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Document {
    /// For people, and for lists and feeds: distinct within a calendar.
    pub name: Name,
    /// The first start on the wall.
    pub start: Wall,
    /// Ends after an exact length; this or `until`.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none", default)]
    pub length: Option<Length>,
    /// Ends at a time on the wall; this or `for`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<WallUntil>,
    /// IANA name of the zone whose clocks are meant.
    pub zone: String,
    /// The rule; without one it comes once, and on the dates in `also`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub repeat: Option<Rule>,
    /// Further starts.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub also: BTreeSet<Wall>,
    /// Starts that are taken out.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub except: BTreeSet<Wall>,
    /// Occurrences that are at another time, by the start that the rule says.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub moved: BTreeMap<Wall, Moved>,
}

/// An exact length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Length(#[serde(with = "span")] pub Duration);

/// Why something is not a window that comes again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecurringError {
    /// Both or none of the two ends.
    #[error("the window {0} has no end, or two: write either for or until")]
    End(Name),
    /// Empty or longer than [`MAX_LENGTH`].
    #[error("an instance of {0} is longer than nothing and at most 62 days long")]
    Length(Name),
    /// Not the form of a zone's name.
    #[error("{1:?}, the zone of {0}, is no IANA name, as America/New_York, or UTC")]
    Zone(Name, String),
    /// RFC 5545 leaves open what it would mean.
    #[error("the first start of {name}, {start}, is not one that its rule brings{}",
        .next.map(|it| format!(": the next one is on {it}")).unwrap_or_default())]
    FirstStart {
        /// The window.
        name: Name,
        /// Its start.
        start: Wall,
        /// The next date of the rule.
        next: Option<civil::Date>,
    },
    /// More than [`MAX_EXCEPTIONS`].
    #[error("{0} has more than 750 further, excepted or moved starts")]
    Exceptions(Name),
    /// An exception to nothing.
    #[error("{1}, which is excepted or moved, is no start of {0}")]
    NoSuchStart(Name, Wall),
}

/// What came of a window over a stretch of time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Instances {
    /// By start, those that share an instant with the stretch.
    pub windows: Vec<Instance>,
    /// Permitted starts that do not exist: no instance (PROCESS, "Window cases").
    pub gaps: Vec<Wall>,
    /// Starts of which nothing is left, as their end is not after them by the clock.
    pub empty: Vec<Wall>,
    /// The rule has brought nothing for a hundred years and is taken to have ended.
    pub is_barren: bool,
}

/// One instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instance {
    /// The start that the rule says, by which exceptions name it.
    pub occurrence: Wall,
    /// When it really is.
    pub window: Window,
}

impl Recurring {
    /// Checks one. Whether the zone is known is not a matter of form, as databases grow: that is told by
    /// [`Recurring::find_zone`].
    pub fn new(it: Document) -> Result<Self, RecurringError> {
        let name = || it.name.clone();
        let moved = it.moved.values().map(|moved| (moved.length, moved.until));
        for (length, until) in moved.chain([(it.length, it.until)]) {
            let long = match end_of(length, until) {
                None => return Err(RecurringError::End(name())),
                Some(WallEnd::For(length)) => length,
                Some(WallEnd::DaysLater(days, _)) => Duration::from_hours(24 * u64::from(days)),
                Some(WallEnd::Until(_)) => continue,
            };
            if long.is_zero() || long > MAX_LENGTH {
                return Err(RecurringError::Length(name()));
            }
        }
        if !is_zone_name(&it.zone) {
            return Err(RecurringError::Zone(name(), it.zone.chars().take(80).collect()));
        }
        let date = it.start.0.date();
        if let Some(next) = it.repeat.as_ref().map(|rule| rule.dates(date, date).next())
            && next != Some(date)
        {
            return Err(RecurringError::FirstStart { name: name(), start: it.start, next });
        }
        if [it.also.len(), it.except.len(), it.moved.len()].iter().any(|n| *n > MAX_EXCEPTIONS) {
            return Err(RecurringError::Exceptions(name()));
        }
        if let Some(other) = it.exception_to_nothing() {
            return Err(RecurringError::NoSuchStart(name(), other));
        }
        Ok(Self(it))
    }

    /// What it is made of.
    pub fn document(&self) -> &Document {
        &self.0
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.0.name
    }

    /// Where its instances end.
    pub fn end(&self) -> WallEnd {
        end_of(self.0.length, self.0.until).expect("`new` refuses a window without an end")
    }

    /// Its zone in the bundled database.
    pub fn find_zone(&self) -> Result<Zone, UnknownZone> {
        Zone::find(&self.0.zone)
    }

    /// Its instances that share an instant with `[from, until)`, at most [`MAX_HORIZON`] of that.
    pub fn instances(&self, reading: Reading, zone: &Zone, from: Time, until: Time) -> Instances {
        let stretch = Window { start: from, end: until.min(from + MAX_HORIZON) };
        let mut found = Instances::default();
        // A day more on both sides: no zone is further from UTC, and no transition longer.
        let margin = Duration::from_hours(48);
        let first = zone.civil(from - MAX_LENGTH - margin).date();
        let last = zone.civil(stretch.end + margin).date();
        for occurrence in self.starts(first, last, zone, &mut found.is_barren) {
            let moved = self.0.moved.get(&occurrence);
            let (start, end) = moved.map_or((occurrence, Some(self.end())), |it| {
                (it.start, end_of(it.length, it.until))
            });
            let end = end.expect("`new` refuses a moved occurrence without an end");
            // What lies outside the years that can be written has no instants.
            let Ok(made) = make(reading, zone, start.0, end) else {
                continue;
            };
            match made {
                Made::Window(window) if window.overlaps(&stretch) => {
                    found.windows.push(Instance { occurrence, window });
                }
                Made::Window(_) => {}
                Made::Gap(near) if stretch.contains(near) => found.gaps.push(start),
                Made::Empty(near) if stretch.contains(near) => found.empty.push(start),
                Made::Gap(_) | Made::Empty(_) => {}
            }
        }
        found.windows.sort_by_key(|it| (it.window.start, it.window.end, it.occurrence));
        found
    }

    /// The starts that rule and further dates bring, without those taken out, between two dates; and every
    /// one that was moved, wherever to.
    fn starts(
        &self,
        first: civil::Date,
        last: civil::Date,
        zone: &Zone,
        is_barren: &mut bool,
    ) -> BTreeSet<Wall> {
        let it = &self.0;
        let mut starts: BTreeSet<Wall> = it.moved.keys().copied().collect();
        let single = it.repeat.is_none().then_some(it.start);
        let further = it.also.iter().copied().chain(single);
        starts.extend(further.filter(|wall| (first..=last).contains(&wall.0.date())));
        if let Some(rule) = &it.repeat {
            let mut dates = rule.dates(it.start.0.date(), first);
            for date in dates.by_ref().take_while(|date| *date <= last) {
                let wall = Wall(date.to_datetime(it.start.0.time()));
                let instant = zone.readings(wall.0).map(|it| it.earlier);
                if !instant.is_ok_and(|instant| is_past(rule.end(), wall, instant)) {
                    starts.insert(wall);
                }
            }
            *is_barren = dates.is_barren();
        }
        starts.retain(|wall| !it.except.contains(wall));
        starts
    }
}

impl Document {
    /// An excepted or moved start that neither rule nor further dates bring, or too far off to tell.
    fn exception_to_nothing(&self) -> Option<Wall> {
        let known = |wall: &&Wall| !self.also.contains(*wall) && **wall != self.start;
        let asked: BTreeSet<_> =
            self.except.iter().chain(self.moved.keys()).filter(known).collect();
        let last = asked.last()?.0.date();
        let (first, time) = (self.start.0.date(), self.start.0.time());
        if last.year() - first.year() > MAX_EXCEPTION_YEARS {
            return asked.last().map(|wall| **wall);
        }
        let dates = self.repeat.iter().flat_map(|rule| rule.dates(first, first));
        let brought: BTreeSet<_> = dates.take_while(|date| *date <= last).collect();
        let is_brought = |wall: &Wall| wall.0.time() == time && brought.contains(&wall.0.date());
        asked.into_iter().find(|wall| !is_brought(wall)).copied()
    }
}

fn end_of(length: Option<Length>, until: Option<WallUntil>) -> Option<WallEnd> {
    match (length, until) {
        (Some(Length(length)), None) => Some(WallEnd::For(length)),
        (None, Some(WallUntil(None, time))) => Some(WallEnd::Until(time)),
        (None, Some(WallUntil(Some(days), time))) => Some(WallEnd::DaysLater(days, time)),
        (None, None) | (Some(_), Some(_)) => None,
    }
}

enum Made {
    Window(Window),
    Gap(Time),
    Empty(Time),
}

fn make(
    reading: Reading,
    zone: &Zone,
    start: civil::DateTime,
    end: WallEnd,
) -> Result<Made, OutOfRange> {
    let readings = zone.readings(start)?;
    if readings.is_gap && reading == Reading::Permission {
        return Ok(Made::Gap(readings.earlier));
    }
    let end = match end {
        WallEnd::For(length) => EndReadings::For(length),
        WallEnd::Until(WallTime(time)) => {
            EndReadings::Until(zone.readings(first_after(start, time)?)?)
        }
        WallEnd::DaysLater(days, WallTime(time)) => {
            let days = jiff::Span::new().days(i64::from(days));
            let date = start.date().checked_add(days).map_err(|_| OutOfRange(start))?;
            EndReadings::Until(zone.readings(date.to_datetime(time))?)
        }
    };
    let window = reading.window(readings, end);
    let is_empty = window.start >= window.end;
    Ok(if is_empty { Made::Empty(window.start) } else { Made::Window(window) })
}

impl TryFrom<Document> for Recurring {
    type Error = RecurringError;

    fn try_from(document: Document) -> Result<Self, RecurringError> {
        Self::new(document)
    }
}

impl From<Recurring> for Document {
    fn from(recurring: Recurring) -> Self {
        recurring.0
    }
}

impl WallUntil {
    /// The first time that the clock shows `time` after the start.
    pub const fn first(time: WallTime) -> Self {
        Self(None, time)
    }

    /// So many days after the start's date.
    pub const fn days_later(days: u8, time: WallTime) -> Self {
        Self(Some(days), time)
    }
}

impl FromStr for WallUntil {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(later) = text.strip_prefix('+') else {
            return Ok(Self(None, text.parse()?));
        };
        let wrong = || format!("{text:?} is no end, as 02:00 or +3d 02:00");
        let (days, time) = later.split_once("d ").ok_or_else(wrong)?;
        let digits = !days.is_empty() && days.bytes().all(|byte| byte.is_ascii_digit());
        let days = digits.then(|| days.parse().ok()).flatten().filter(|days| *days > 0);
        Ok(Self(Some(days.ok_or_else(wrong)?), time.parse()?))
    }
}

impl fmt::Display for WallUntil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(None, time) => write!(f, "{time}"),
            Self(Some(days), time) => write!(f, "+{days}d {time}"),
        }
    }
}

impl Serialize for WallUntil {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WallUntil {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Recurring {
        toml::from_str(text).unwrap()
    }

    fn time(text: &str) -> Time {
        text.parse().unwrap()
    }

    fn listed(window: &Recurring, reading: Reading, from: &str, until: &str) -> Vec<String> {
        let zone = window.find_zone().unwrap();
        let found = window.instances(reading, &zone, time(from), time(until));
        let windows =
            found.windows.iter().map(|it| format!("{} {}", it.window.start, it.window.end));
        let gaps = found.gaps.iter().map(|it| format!("gap {it}"));
        windows.chain(gaps).collect()
    }

    const SATURDAYS: &str = r#"
        name = "saturdays"
        start = "2026-02-28T02:30"
        for = "1h"
        zone = "America/New_York"
        repeat = "FREQ=WEEKLY;BYDAY=SA,SU"
        also = ["2026-03-11T12:00"]
        except = ["2026-03-07T02:30"]
        moved = { "2026-03-15T02:30" = { start = "2026-03-16T22:00", until = "01:00" } }
    "#;

    #[test]
    fn instances_with_gaps_and_exceptions() {
        let window = read(SATURDAYS);
        let found =
            listed(&window, Reading::Permission, "2026-03-01T00:00:00Z", "2026-03-20T00:00:00Z");
        assert_eq!(
            found,
            [
                "2026-03-01T07:30:00Z 2026-03-01T08:30:00Z",
                "2026-03-11T16:00:00Z 2026-03-11T17:00:00Z",
                "2026-03-14T06:30:00Z 2026-03-14T07:30:00Z",
                "2026-03-17T02:00:00Z 2026-03-17T05:00:00Z",
                "gap 2026-03-08T02:30",
            ]
        );
        let frozen =
            listed(&window, Reading::Prohibition, "2026-03-08T00:00:00Z", "2026-03-09T00:00:00Z");
        assert_eq!(frozen, ["2026-03-08T06:30:00Z 2026-03-08T08:30:00Z"]);
    }

    #[test]
    fn an_instance_under_way_belongs_to_the_stretch() {
        let window = read(SATURDAYS);
        let found =
            listed(&window, Reading::Permission, "2026-03-01T08:00:00Z", "2026-03-01T08:10:00Z");
        assert_eq!(found, ["2026-03-01T07:30:00Z 2026-03-01T08:30:00Z"]);
        let none =
            listed(&window, Reading::Permission, "2026-03-01T08:30:00Z", "2026-03-01T09:00:00Z");
        assert!(none.is_empty(), "half-open at its end");
    }

    #[test]
    fn until_ends_a_rule_to_the_instant() {
        let base =
            SATURDAYS.lines().filter(|line| !line.contains("moved") && !line.contains("except"));
        let base = base.collect::<Vec<_>>().join("\n");
        for (until, last) in [
            ("20260301T073000Z", "2026-03-01T07:30:00Z 2026-03-01T08:30:00Z"),
            ("20260301T072959Z", "2026-02-28T07:30:00Z 2026-02-28T08:30:00Z"),
            ("20260301T022959", "2026-02-28T07:30:00Z 2026-02-28T08:30:00Z"),
            ("20260301", "2026-03-01T07:30:00Z 2026-03-01T08:30:00Z"),
        ] {
            let text = base
                .replace("SA,SU", &format!("SA,SU;UNTIL={until}"))
                .replace("2026-03-11", "2020-03-11");
            let found = listed(
                &read(&text),
                Reading::Permission,
                "2026-02-01T00:00:00Z",
                "2027-02-01T00:00:00Z",
            );
            assert_eq!(found.last().unwrap(), last, "{until}");
        }
    }

    #[test]
    fn documents_read_back_and_faults_are_named() {
        let window = read(SATURDAYS);
        let json = serde_json::to_string(&window).unwrap();
        assert_eq!(serde_json::from_str::<Recurring>(&json).unwrap(), window);
        assert_eq!(read(&toml::to_string(&window).unwrap()), window);
        for (from, to, fault) in [
            ("for = \"1h\"", "", "either for or until"),
            ("for = \"1h\"", "for = \"1h\"\nuntil = \"04:00\"", "either for or until"),
            ("for = \"1h\"", "for = \"63d\"", "at most 62 days"),
            ("America/New_York", "EST", "no IANA name"),
            ("2026-02-28T02:30", "2026-02-27T02:30", "the next one is on 2026-02-28"),
            ("2026-03-07T02:30", "2026-03-07T02:31", "no start of saturdays"),
            ("2026-03-07T02:30", "2026-03-06T02:30", "no start of saturdays"),
            ("2026-03-07T02:30", "2096-03-10T02:30", "no start of saturdays"),
            ("FREQ=WEEKLY", "FREQ=HOURLY", "FREQ=HOURLY is not supported"),
            ("2026-03-07T02:30", "2026-03-07T02:30-05:00", "no date and time"),
        ] {
            let told = toml::from_str::<Recurring>(&SATURDAYS.replace(from, to)).unwrap_err();
            assert!(told.to_string().contains(fault), "{from} {to}: {told}");
        }
    }

    #[test]
    fn an_end_may_be_days_later() {
        let text = "name = \"holidays\"\nstart = \"2026-03-06T18:00\"\nuntil = \"+3d 06:00\"\nzone = \"America/New_York\"";
        let window = read(text);
        assert_eq!(
            listed(&window, Reading::Prohibition, "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"),
            ["2026-03-06T23:00:00Z 2026-03-09T10:00:00Z"]
        );
        for wrong in
            ["+d 06:00", "+0d 06:00", "+3d", "3d 06:00", "+300d 06:00", "+-1d 06:00", "++1d 06:00"]
        {
            assert!(wrong.parse::<WallUntil>().is_err(), "{wrong}");
        }
    }
}
