//! Recurrence rules as text: read, checked, and written.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::civil::{self, Date, Weekday};
use jiff::tz::Offset;

use super::{
    DayOfWeek, Frequency, MAX_COUNT, MAX_INTERVAL, MAX_TEXT_BYTES, Rule, RuleEnd, RuleError,
};
use crate::time::Time;

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let head = || RuleError::NoFrequency(text.chars().take(80).collect());
        if text.len() > MAX_TEXT_BYTES {
            return Err(head());
        }
        let mut rule: Option<Self> = None;
        let mut seen = BTreeSet::new();
        for part in text.split(';') {
            let (name, value) = part.split_once('=').ok_or_else(|| unknown(part))?;
            let name = name.to_ascii_uppercase();
            if !seen.insert(name.clone()) {
                return Err(RuleError::Twice(name));
            }
            match (&mut rule, name.as_str()) {
                (rule @ None, "FREQ") => *rule = Some(Self::of(frequency(value)?)),
                (None, _) => return Err(head()),
                (Some(rule), name) => rule.read_part(name, &value.to_ascii_uppercase())?,
            }
        }
        let rule = rule.ok_or_else(head)?;
        if seen.contains("COUNT") && seen.contains("UNTIL") {
            return Err(RuleError::Combination("COUNT and UNTIL exclude each other"));
        }
        rule.check()?;
        Ok(rule)
    }
}

fn unknown(part: &str) -> RuleError {
    RuleError::Unknown(part.chars().take(80).collect())
}

fn frequency(value: &str) -> Result<Frequency, RuleError> {
    match value.to_ascii_uppercase().as_str() {
        "DAILY" => Ok(Frequency::Daily),
        "WEEKLY" => Ok(Frequency::Weekly),
        "MONTHLY" => Ok(Frequency::Monthly),
        "YEARLY" => Ok(Frequency::Yearly),
        other @ ("SECONDLY" | "MINUTELY" | "HOURLY") => {
            Err(RuleError::Unsupported(format!("FREQ={other}")))
        }
        _ => Err(RuleError::NoFrequency(format!(
            "FREQ={}",
            value.chars().take(80).collect::<String>()
        ))),
    }
}

impl Rule {
    fn of(frequency: Frequency) -> Self {
        Self {
            frequency,
            interval: 1,
            months: BTreeSet::new(),
            month_days: BTreeSet::new(),
            days: Vec::new(),
            positions: BTreeSet::new(),
            week_start: Weekday::Monday,
            end: RuleEnd::Never,
        }
    }

    fn read_part(&mut self, name: &str, value: &str) -> Result<(), RuleError> {
        let wrong = |part, expected| {
            let value = value.chars().take(80).collect();
            RuleError::Value { part, value, expected }
        };
        match name {
            "INTERVAL" => {
                let interval = value.parse().ok().filter(|it| (1..=MAX_INTERVAL).contains(it));
                self.interval = interval.ok_or_else(|| wrong("INTERVAL", "1 to 1000"))?;
            }
            "COUNT" => {
                let count = value.parse().ok().filter(|it| (1..=MAX_COUNT).contains(it));
                self.end = RuleEnd::Count(count.ok_or_else(|| wrong("COUNT", "1 to 10000"))?);
            }
            "UNTIL" => {
                let expected = "a date as 20261231, a time on the wall as 20261231T220000, or an instant \
                                as 20261231T220000Z";
                self.end = until(value).ok_or_else(|| wrong("UNTIL", expected))?;
            }
            "BYMONTH" => {
                self.months =
                    numbers(value, 12, false).ok_or_else(|| wrong("BYMONTH", "1 to 12"))?;
            }
            "BYMONTHDAY" => {
                let days = numbers(value, 31, true);
                self.month_days = days.ok_or_else(|| wrong("BYMONTHDAY", "1 to 31, -31 to -1"))?;
            }
            "BYSETPOS" => {
                let positions = numbers(value, 366, true);
                self.positions =
                    positions.ok_or_else(|| wrong("BYSETPOS", "1 to 366, -366 to -1"))?;
            }
            "BYDAY" => {
                let days = days(value);
                self.days = days.ok_or_else(|| wrong("BYDAY", "days as MO,2TU,-1FR, each once"))?;
            }
            "WKST" => {
                self.week_start = weekday(value).ok_or_else(|| wrong("WKST", "a day as MO"))?;
            }
            "BYSECOND" | "BYMINUTE" | "BYHOUR" | "BYYEARDAY" | "BYWEEKNO" | "RSCALE" | "SKIP" => {
                return Err(RuleError::Unsupported(name.to_owned()));
            }
            other => return Err(unknown(other)),
        }
        Ok(())
    }

    /// RFC 5545 gives these no meaning, or forbids them.
    fn check(&self) -> Result<(), RuleError> {
        let wrong = |text| Err(RuleError::Combination(text));
        let ordinals = self.days.iter().any(|day| day.ordinal.is_some());
        if ordinals && matches!(self.frequency, Frequency::Daily | Frequency::Weekly) {
            return wrong("BYDAY with a number, as 2TU, needs FREQ=MONTHLY or YEARLY");
        }
        let in_month = self.frequency == Frequency::Monthly || !self.months.is_empty();
        if in_month
            && self.days.iter().any(|day| day.ordinal.is_some_and(|it| it.unsigned_abs() > 5))
        {
            return wrong("no month has a sixth weekday: BYDAY goes from -5 to 5 there");
        }
        if self.frequency == Frequency::Weekly && !self.month_days.is_empty() {
            return wrong("BYMONTHDAY has no meaning with FREQ=WEEKLY");
        }
        let others = self.months.len() + self.month_days.len() + self.days.len();
        if !self.positions.is_empty() && others == 0 {
            return wrong("BYSETPOS needs another BY… part to choose from");
        }
        Ok(())
    }
}

fn numbers<N>(value: &str, largest: N, negative: bool) -> Option<BTreeSet<N>>
where
    N: Ord + Copy + FromStr + From<i8> + std::ops::Neg<Output = N>,
{
    let number = |text: &str| {
        let number = text.parse::<N>().ok()?;
        let zero = N::from(0);
        let good =
            number > zero && number <= largest || negative && number < zero && number >= -largest;
        good.then_some(number)
    };
    value.split(',').map(number).collect()
}

fn days(value: &str) -> Option<Vec<DayOfWeek>> {
    let mut days = Vec::new();
    for text in value.split(',') {
        let at = text.len().checked_sub(2).filter(|at| text.is_char_boundary(*at))?;
        let (ordinal, day) = text.split_at(at);
        let ordinal = match ordinal {
            "" => None,
            text => Some(text.parse::<i8>().ok().filter(|it| *it != 0 && it.unsigned_abs() <= 53)?),
        };
        let day = DayOfWeek { ordinal, weekday: weekday(day)? };
        if days.contains(&day) {
            return None;
        }
        days.push(day);
    }
    Some(days)
}

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("MO", Weekday::Monday),
    ("TU", Weekday::Tuesday),
    ("WE", Weekday::Wednesday),
    ("TH", Weekday::Thursday),
    ("FR", Weekday::Friday),
    ("SA", Weekday::Saturday),
    ("SU", Weekday::Sunday),
];

fn weekday(text: &str) -> Option<Weekday> {
    WEEKDAYS.iter().find(|(name, _)| *name == text).map(|(_, day)| *day)
}

fn weekday_name(weekday: Weekday) -> &'static str {
    WEEKDAYS[usize::from(weekday.to_monday_zero_offset().unsigned_abs())].0
}

fn until(value: &str) -> Option<RuleEnd> {
    match value.strip_suffix('Z') {
        Some(utc) => {
            let instant = Offset::UTC.to_timestamp(basic_datetime(utc)?).ok()?;
            Time::from_timestamp(instant).map(RuleEnd::Instant)
        }
        None if value.contains('T') => basic_datetime(value).map(RuleEnd::Wall),
        None => basic_date(value).map(RuleEnd::Date),
    }
}

/// `20261231`, as iCalendar writes dates.
pub(in crate::calendar) fn basic_date(text: &str) -> Option<Date> {
    let digits = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse().ok();
    let (month, day) = (number(4..6)?, number(6..8)?);
    let date = |year| Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok();
    digits.then(|| date(number(0..4)?)).flatten()
}

/// `20261231T220000`, as iCalendar writes times on the wall.
pub(in crate::calendar) fn basic_datetime(text: &str) -> Option<civil::DateTime> {
    let (date, time) = text.split_once('T')?;
    let digits = time.len() == 6 && time.bytes().all(|byte| byte.is_ascii_digit());
    let number = |range: std::ops::Range<usize>| time.get(range)?.parse::<i8>().ok();
    let time = |()| civil::Time::new(number(0..2)?, number(2..4)?, number(4..6)?, 0).ok();
    Some(basic_date(date)?.to_datetime(digits.then_some(()).and_then(time)?))
}

/// The same notation, written.
pub(in crate::calendar) fn write_basic(datetime: civil::DateTime) -> String {
    datetime.strftime("%Y%m%dT%H%M%S").to_string()
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frequency = match self.frequency {
            Frequency::Daily => "DAILY",
            Frequency::Weekly => "WEEKLY",
            Frequency::Monthly => "MONTHLY",
            Frequency::Yearly => "YEARLY",
        };
        write!(f, "FREQ={frequency}")?;
        if self.interval != 1 {
            write!(f, ";INTERVAL={}", self.interval)?;
        }
        list(f, "BYMONTH", self.months.iter().copied())?;
        list(f, "BYMONTHDAY", self.month_days.iter().copied())?;
        let day = |day: &DayOfWeek| {
            let ordinal = day.ordinal.map(|it| it.to_string()).unwrap_or_default();
            format!("{ordinal}{}", weekday_name(day.weekday))
        };
        list(f, "BYDAY", self.days.iter().map(day))?;
        list(f, "BYSETPOS", self.positions.iter().copied())?;
        if self.week_start != Weekday::Monday {
            write!(f, ";WKST={}", weekday_name(self.week_start))?;
        }
        match self.end {
            RuleEnd::Never => Ok(()),
            RuleEnd::Count(count) => write!(f, ";COUNT={count}"),
            RuleEnd::Date(date) => write!(f, ";UNTIL={}", date.strftime("%Y%m%d")),
            RuleEnd::Wall(wall) => write!(f, ";UNTIL={}", write_basic(wall)),
            RuleEnd::Instant(time) => {
                let utc = Offset::UTC.to_datetime(time.timestamp());
                write!(f, ";UNTIL={}Z", write_basic(utc))
            }
        }
    }
}

fn list<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    values: impl Iterator<Item = T>,
) -> fmt::Result {
    for (place, value) in values.enumerate() {
        if place == 0 {
            write!(f, ";{name}={value}")?;
        } else {
            write!(f, ",{value}")?;
        }
    }
    Ok(())
}
