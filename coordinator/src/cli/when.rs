//! When: what people write for instants and wall-clock times, and which window comes of it.
//!
//! A civil time has two readings: with the offset before and with the offset after the nearest change of
//! the clocks; they are equal when it is unambiguous (PROCESS, "Window cases"). **Permissions shrink and
//! prohibitions grow**:
//!
//! - a permission starts at the earlier reading and ends at its exact length, or at the earlier reading of
//!   its end; a start that does not exist is refused;
//! - a freeze starts at the earlier reading of its start and ends at the later reading of its end, or at
//!   the later reading of its start plus its length.
//!
//! Pure, apart from [`Zone::find`], which looks into this machine's zone database.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use cutover_shared::statement::Derivation;
use cutover_shared::time::{Time, span};
use cutover_shared::window::Window;
use jiff::civil;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use super::exit::Failure;

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
        } else {
            civil_point(text)
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

/// Digits and punctuation only: jiff would read, and pass over, an offset or a zone behind it.
fn civil_point(text: &str) -> Option<Point> {
    let plain = |c: char| c.is_ascii_digit() || "-:T. ".contains(c);
    if !text.chars().all(plain) {
        return None;
    }
    if text.contains(['T', ' ']) {
        text.parse().ok().map(Point::Civil)
    } else {
        let time = text.contains(':') && !text.contains('-');
        text.parse().ok().filter(|_| time).map(Point::TimeOfDay)
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

    fn is_civil(&self) -> bool {
        match self.point {
            Point::Civil(_) | Point::TimeOfDay(_) => true,
            Point::FromNow(_) | Point::Instant(_) => false,
        }
    }
}

/// From when until when, as people say it.
#[derive(Debug, Clone, Args)]
pub struct SpanArgs {
    /// Start: `now`, `+10m`, 2026-03-08T06:30:00Z, or a wall-clock time as 2026-03-08T02:30 with --zone
    #[arg(long, value_name = "WHEN")]
    pub start: When,
    /// Exact length: 90m, 2h, 1d
    #[arg(
        long = "for",
        value_name = "DURATION",
        value_parser = span::parse,
        required_unless_present = "until",
        conflicts_with = "until"
    )]
    pub length: Option<Duration>,
    /// End: as --start, or a time of day as 02:00, which is the first one after the start
    #[arg(long, value_name = "WHEN")]
    pub until: Option<When>,
    /// IANA zone of wall-clock times, as America/New_York
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
}

/// Where a window ends.
#[derive(Debug, Clone, Copy)]
enum End<'a> {
    For(Duration),
    Until(&'a When),
}

/// A zone and its rules.
#[derive(Debug, Clone)]
pub struct Zone {
    name: String,
    rules: TimeZone,
    /// The version of the database that the rules are from.
    database: String,
}

impl Zone {
    /// The zone of that IANA name in this machine's database. Abbreviations are refused: they mean
    /// several things.
    pub fn find(name: &str) -> Result<Self, WhenError> {
        let unknown = || WhenError::UnknownZone(name.to_owned());
        if name != "UTC" && !name.contains('/') {
            return Err(unknown());
        }
        let rules = TimeZone::get(name).map_err(|_| unknown())?;
        let name = rules.iana_name().unwrap_or(name).to_owned();
        Ok(Self { name, rules, database: database_version() })
    }
}

/// No window comes of what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhenError {
    /// Not an IANA name that is known here.
    #[error("no zone {0:?} is known: write an IANA name, as America/New_York, or UTC")]
    UnknownZone(String),
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
    /// Outside the years that can be written.
    #[error("{0} lies outside the years that can be written")]
    OutOfRange(String),
}

impl From<WhenError> for Failure {
    fn from(error: WhenError) -> Self {
        Self::usage(error.to_string())
    }
}

/// The earlier and the later reading of a time.
struct Readings {
    earlier: Time,
    later: Time,
    is_gap: bool,
}

impl Readings {
    fn of(
        when: &When,
        zone: Option<&Zone>,
        now: Time,
        start: Option<&When>,
    ) -> Result<Self, WhenError> {
        let one = |time| Self { earlier: time, later: time, is_gap: false };
        let needed = || WhenError::ZoneNeeded(when.text.clone());
        match when.point {
            Point::FromNow(length) => Ok(one(now + length)),
            Point::Instant(time) => Ok(one(time)),
            Point::Civil(datetime) => Self::of_civil(when, datetime, zone.ok_or_else(needed)?),
            Point::TimeOfDay(time) => {
                let start = start.ok_or_else(|| WhenError::DateNeeded(when.text.clone()))?;
                let zone = zone.ok_or_else(needed)?;
                let begins = match start.point {
                    Point::Civil(datetime) => datetime,
                    Point::FromNow(_) | Point::Instant(_) | Point::TimeOfDay(_) => {
                        let instant = Self::of(start, Some(zone), now, None)?.earlier;
                        zone.rules.to_datetime(instant.timestamp())
                    }
                };
                let same_day = begins.date().to_datetime(time);
                let datetime = if same_day > begins {
                    same_day
                } else {
                    let tomorrow = begins.date().tomorrow();
                    let range = |_| WhenError::OutOfRange(when.text.clone());
                    tomorrow.map_err(range)?.to_datetime(time)
                };
                Self::of_civil(when, datetime, zone)
            }
        }
    }

    fn of_civil(when: &When, datetime: civil::DateTime, zone: &Zone) -> Result<Self, WhenError> {
        let range = || WhenError::OutOfRange(when.text.clone());
        let read = |offset: Offset| {
            offset.to_timestamp(datetime).ok().and_then(Time::from_timestamp).ok_or_else(range)
        };
        let (before, after, is_gap) = match zone.rules.to_ambiguous_timestamp(datetime).offset() {
            AmbiguousOffset::Unambiguous { offset } => (offset, offset, false),
            AmbiguousOffset::Fold { before, after } => (before, after, false),
            AmbiguousOffset::Gap { before, after } => (before, after, true),
        };
        let (one, other) = (read(before)?, read(after)?);
        Ok(Self { earlier: one.min(other), later: one.max(other), is_gap })
    }
}

impl SpanArgs {
    /// The zone that was named.
    pub fn find_zone(&self) -> Result<Option<Zone>, WhenError> {
        self.zone.as_deref().map(Zone::find).transpose()
    }

    fn end(&self) -> End<'_> {
        match (self.length, &self.until) {
            (_, Some(until)) => End::Until(until),
            (length, None) => End::For(length.unwrap_or(Duration::ZERO)),
        }
    }

    /// The window of a permission.
    pub fn permission(&self, zone: Option<&Zone>, now: Time) -> Result<Window, WhenError> {
        let start = permitted_start(&self.start, zone, now)?;
        let end = match self.end() {
            End::For(length) => start + length,
            End::Until(until) => Readings::of(until, zone, now, Some(&self.start))?.earlier,
        };
        not_empty(Window { start, end })
    }

    /// The window of a prohibition.
    pub fn prohibition(&self, zone: Option<&Zone>, now: Time) -> Result<Window, WhenError> {
        let start = Readings::of(&self.start, zone, now, None)?;
        let end = match self.end() {
            End::For(length) => start.later + length,
            End::Until(until) => Readings::of(until, zone, now, Some(&self.start))?.later,
        };
        not_empty(Window { start: start.earlier, end })
    }

    /// How the instants came about, where the wall clock had a part in it; for people.
    pub fn derivation(&self, zone: Option<&Zone>) -> Option<Derivation> {
        let zone = zone?;
        let civil = self.start.is_civil() || self.until.as_ref().is_some_and(When::is_civil);
        let end = match self.end() {
            End::For(length) => format!("for {}", span::format(length)),
            End::Until(until) => format!("until {until}"),
        };
        civil.then(|| Derivation {
            start: self.start.to_string(),
            end,
            zone: zone.name.clone(),
            tzdb: zone.database.clone(),
        })
    }
}

/// The instant at which a permission starts.
pub(super) fn permitted_start(
    start: &When,
    zone: Option<&Zone>,
    now: Time,
) -> Result<Time, WhenError> {
    let readings = Readings::of(start, zone, now, None)?;
    match (readings.is_gap, zone, start.point) {
        (true, Some(zone), Point::Civil(datetime)) => Err(WhenError::Gap {
            start: start.text.clone(),
            zone: zone.name.clone(),
            date: datetime.date(),
        }),
        _ => Ok(readings.earlier),
    }
}

fn not_empty(window: Window) -> Result<Window, WhenError> {
    if window.start < window.end {
        Ok(window)
    } else {
        Err(WhenError::Empty { start: window.start, end: window.end })
    }
}

/// The version of this machine's zone database, as its own text tells it; `unknown` where there is none.
fn database_version() -> String {
    let directory = std::env::var_os("TZDIR").unwrap_or_else(|| "/usr/share/zoneinfo".into());
    let path = std::path::Path::new(&directory).join("tzdata.zi");
    let first = std::fs::File::open(path).ok().and_then(|file| {
        let mut line = String::new();
        let mut reader = std::io::BufReader::new(std::io::Read::take(file, 200));
        std::io::BufRead::read_line(&mut reader, &mut line).ok()?;
        Some(line)
    });
    let version = first.as_deref().and_then(|line| line.trim().strip_prefix("# version "));
    version.unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// America/New_York as POSIX writes it, so that the test needs no database.
    fn new_york() -> Zone {
        let rules = TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").unwrap();
        Zone { name: "America/New_York".to_owned(), rules, database: "2025b".to_owned() }
    }

    fn now() -> Time {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn span_of(start: &str, end: &str) -> SpanArgs {
        let (word, end) = end.split_once(' ').unwrap();
        SpanArgs {
            start: start.parse().unwrap(),
            length: (word == "for").then(|| span::parse(end).unwrap()),
            until: (word == "until").then(|| end.parse().unwrap()),
            zone: None,
        }
    }

    fn told(window: Result<Window, WhenError>) -> String {
        window.map_or_else(|error| error.to_string(), |it| format!("{} {}", it.start, it.end))
    }

    fn permit(start: &str, end: &str) -> String {
        told(span_of(start, end).permission(Some(&new_york()), now()))
    }

    fn freeze(start: &str, end: &str) -> String {
        told(span_of(start, end).prohibition(Some(&new_york()), now()))
    }

    #[test]
    fn the_cases_that_others_get_wrong() {
        let gap = permit("2026-03-08T02:30", "for 1h");
        assert!(gap.contains("on 2026-03-08 the clocks go forward"), "{gap}");
        let table = [
            (freeze("2026-03-08T02:30", "for 1h"), "2026-03-08T06:30:00Z 2026-03-08T08:30:00Z"),
            (permit("2026-03-08T01:00", "for 4h"), "2026-03-08T06:00:00Z 2026-03-08T10:00:00Z"),
            (
                permit("2026-03-08T01:00", "until 05:00"),
                "2026-03-08T06:00:00Z 2026-03-08T09:00:00Z",
            ),
            (permit("2026-11-01T01:00", "for 30m"), "2026-11-01T05:00:00Z 2026-11-01T05:30:00Z"),
            (freeze("2026-11-01T01:00", "for 30m"), "2026-11-01T05:00:00Z 2026-11-01T06:30:00Z"),
            (
                permit("2026-11-01T00:30", "until 01:30"),
                "2026-11-01T04:30:00Z 2026-11-01T05:30:00Z",
            ),
            (
                permit("2026-07-04T22:00", "until 02:00"),
                "2026-07-05T02:00:00Z 2026-07-05T06:00:00Z",
            ),
            (
                freeze("2026-03-08T00:00", "until 2026-03-08T02:30"),
                "2026-03-08T05:00:00Z 2026-03-08T07:30:00Z",
            ),
        ];
        for (found, expected) in table {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn instants_need_no_zone_and_wall_clocks_do() {
        let told = |start, end| told(span_of(start, end).permission(None, now()));
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
        ] {
            assert!(wrong.parse::<When>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn zones_are_iana_names() {
        assert_eq!(Zone::find("EST").unwrap_err(), WhenError::UnknownZone("EST".to_owned()));
        assert!(Zone::find("America/Nowhere").is_err());
        assert_eq!(Zone::find("UTC").unwrap().name, "UTC");
    }

    #[test]
    fn the_derivation_keeps_what_was_written() {
        let zone = new_york();
        let span = span_of("2026-03-08T01:00", "for 4h");
        let derivation = span.derivation(Some(&zone)).unwrap();
        assert_eq!(derivation.start, "2026-03-08T01:00");
        assert_eq!(derivation.end, "for 4h");
        assert_eq!(derivation.zone, "America/New_York");
        assert_eq!(derivation.tzdb, "2025b");
        assert!(span_of("now", "for 4h").derivation(Some(&zone)).is_none());
    }
}
