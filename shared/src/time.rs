//! Instants: UTC, in whole milliseconds since 1970. Nothing here reads a clock.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Text;

/// An instant. In documents RFC 3339 in UTC (`2026-03-08T06:30:00Z`, milliseconds only where there are
/// some), in frames milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(NonZeroU64);

impl Time {
    /// From milliseconds since 1970; `None` outside the years that RFC 3339 can write.
    pub fn from_millis(millis: i64) -> Option<Self> {
        let first = Timestamp::MIN.as_millisecond().max(YEAR_0001);
        (first..=Timestamp::MAX.as_millisecond()).contains(&millis).then(|| Self::written(millis))
    }

    /// From a jiff timestamp, cut to milliseconds.
    pub fn from_timestamp(timestamp: Timestamp) -> Option<Self> {
        Self::from_millis(timestamp.as_millisecond())
    }

    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(NonZeroU64::new(SIGN).expect("the sign is a bit"));

    /// Milliseconds since 1970.
    pub const fn as_millis(self) -> i64 {
        (self.0.get() ^ SIGN).cast_signed()
    }

    /// Of milliseconds that are within bounds. Kept so that the order is that of the number, and that no
    /// instant is a zero: an instant that may be absent takes no more room than one.
    fn written(millis: i64) -> Self {
        Self(NonZeroU64::new(millis.cast_unsigned() ^ SIGN).unwrap_or(NonZeroU64::MIN))
    }

    /// As a jiff timestamp.
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_millisecond(self.as_millis()).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// How long after `earlier` this is; zero when it is not after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(
            u64::try_from(self.as_millis().saturating_sub(earlier.as_millis())).unwrap_or(0),
        )
    }

    /// How far apart the two are, whichever is first.
    pub fn distance(self, other: Self) -> Duration {
        Duration::from_millis(self.as_millis().abs_diff(other.as_millis()))
    }
}

/// 0001-01-01T00:00:00Z: RFC 3339 has no years before 0000, and nothing here happens before year 1.
const YEAR_0001: i64 = -62_135_596_800_000;

/// What turns the order of whole numbers into that of natural ones.
const SIGN: u64 = 1 << 63;

impl Add<Duration> for Time {
    type Output = Self;

    /// Saturates at the last instant that can be written.
    fn add(self, span: Duration) -> Self {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Self::written(self.as_millis().saturating_add(millis).min(Timestamp::MAX.as_millisecond()))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    /// Saturates at the first instant that can be written.
    fn sub(self, span: Duration) -> Self {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Self::written(self.as_millis().saturating_sub(millis).max(YEAR_0001))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timestamp = self.timestamp();
        if self.as_millis() % 1000 == 0 {
            write!(f, "{timestamp:.0}")
        } else {
            write!(f, "{timestamp:.3}")
        }
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an instant: expected RFC 3339 with an offset, as 2026-03-08T06:30:00Z")]
pub struct NotATime(String);

impl FromStr for Time {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        let wrong = || NotATime(text.chars().take(80).collect());
        let timestamp: Timestamp = text.parse().map_err(|_| wrong())?;
        Self::from_timestamp(timestamp).ok_or_else(wrong)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.as_millis().serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Text(PhantomData))
        } else {
            let millis = i64::deserialize(deserializer)?;
            Self::from_millis(millis).ok_or_else(|| D::Error::custom("instant out of range"))
        }
    }
}

/// Durations in documents: whole units as people write them, `90s`, `15m`, `2h`, `1d`, or several of
/// them largest first, `1h30m`. For `#[serde(with = "…::time::span")]`.
pub mod span {
    use std::fmt::Write as _;
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    const UNITS: [(&str, u64); 5] =
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

    /// The shortest spelling of `duration`.
    pub fn format(duration: Duration) -> String {
        let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let mut text = String::new();
        for (unit, millis) in UNITS {
            if left >= millis {
                let _ = write!(text, "{}{unit}", left / millis);
                left %= millis;
            }
        }
        if text.is_empty() { "0s".to_owned() } else { text }
    }

    /// Reads a duration; the error says what was expected.
    pub fn parse(text: &str) -> Result<Duration, String> {
        let wrong = || format!("{text:?} is not a duration: expected as 90s, 15m, 2h, 1d or 1h30m");
        let mut rest = text;
        let mut total: u64 = 0;
        let mut last_unit = u64::MAX;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            if *millis >= last_unit {
                return Err(wrong());
            }
            last_unit = *millis;
            let number: u64 = number.parse().map_err(|_| wrong())?;
            let part = number.checked_mul(*millis).ok_or_else(wrong)?;
            total = total.checked_add(part).ok_or_else(wrong)?;
            rest = tail;
        }
        if last_unit == u64::MAX { Err(wrong()) } else { Ok(Duration::from_millis(total)) }
    }

    /// For serde: text in documents, milliseconds in frames.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&format(*duration))
        } else {
            u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).serialize(serializer)
        }
    }

    /// For serde: text in documents, milliseconds in frames.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        if deserializer.is_human_readable() {
            parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
        } else {
            u64::deserialize(deserializer).map(Duration::from_millis)
        }
    }

    /// For serde: the same where there may be none; with `default` and `skip_serializing_if`.
    pub mod optional {
        use std::time::Duration;

        use serde::{Deserializer, Serializer};

        /// A span, written as [`super::serialize`] does.
        pub fn serialize<S: Serializer>(
            span: &Option<Duration>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match span {
                Some(span) => super::serialize(span, serializer),
                None => serializer.serialize_none(),
            }
        }

        /// A span that is there, read as [`super::deserialize`] does.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Duration>, D::Error> {
            super::deserialize(deserializer).map(Some)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_read_back() {
        for text in ["2026-03-08T06:30:00Z", "1969-12-31T23:59:59.999Z", "2037-01-01T00:00:00.120Z"]
        {
            let time: Time = text.parse().unwrap();
            assert_eq!(time.to_string(), text);
            assert_eq!(
                serde_json::from_str::<Time>(&serde_json::to_string(&time).unwrap()).unwrap(),
                time
            );
        }
        assert_eq!(
            "2026-03-08T01:30:00-05:00".parse::<Time>().unwrap().to_string(),
            "2026-03-08T06:30:00Z"
        );
        assert!("2026-03-08T01:30:00".parse::<Time>().is_err(), "an offset is demanded");
    }

    #[test]
    fn spans_read_back_and_have_one_order() {
        for text in ["0s", "90ms", "15m", "2h", "1d", "1h30m", "1d2h3m4s5ms"] {
            assert_eq!(span::format(span::parse(text).unwrap()), text);
        }
        assert_eq!(span::format(span::parse("90s").unwrap()), "1m30s");
        for wrong in ["", "5", "h", "1m1h", "1h1h", "-1s", "1.5h", "99999999999999999999s", "1 h"] {
            assert!(span::parse(wrong).is_err(), "{wrong}");
        }
    }
}
