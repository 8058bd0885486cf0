//! Recurrence rules: a subset of RFC 5545, section 3.3.10, on dates.
//!
//! FREQ=DAILY, WEEKLY, MONTHLY, YEARLY with INTERVAL, BYDAY (with ordinals), BYMONTHDAY, BYMONTH, BYSETPOS,
//! UNTIL, COUNT and WKST. What RFC 5545 has besides is refused by name, as are combinations to which it
//! gives no meaning. The time of day is the first start's.
//!
//! A rule is a sieve: each period (day, week, month, year) that the interval meets is gone through date by
//! date, and a date stays that passes every part; so the order in which parts "expand" or "limit" in the
//! RFC's table never matters. What a rule brings is bounded: after [`BARREN_YEARS`] without a date it ends
//! ([`Dates::is_barren`]).

mod text;

use std::collections::BTreeSet;

use jiff::civil::{self, Date, Weekday};
use jiff::tz::Offset;

pub(super) use self::text::{basic_date, basic_datetime, write_basic};

use super::span::Wall;
use crate::time::Time;

/// Most periods that an INTERVAL may pass over: more than two years of days.
pub const MAX_INTERVAL: u16 = 1000;
/// Largest COUNT: three recurrences a day for nine years.
pub const MAX_COUNT: u32 = 10_000;
/// Longest rule as text: every month, day and position named is shorter.
pub const MAX_TEXT_BYTES: usize = 1000;
/// So long without a single date, and a rule is taken to have no more of them. 29 February on a given
/// weekday comes within 40.
pub const BARREN_YEARS: i16 = 100;

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Frequency {
    /// Every day.
    Daily,
    /// Every week.
    Weekly,
    /// Every month.
    Monthly,
    /// Every year.
    Yearly,
}

/// When a rule ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleEnd {
    /// Never.
    Never,
    /// After so many dates, counted from the first start; those that an exception takes out count.
    Count(u32),
    /// With this date, inclusive.
    Date(Date),
    /// With this time on the wall, inclusive.
    Wall(civil::DateTime),
    /// With this instant, inclusive.
    Instant(Time),
}

/// A day of the week: every one, or the n-th in the month or year (-1 is the last).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayOfWeek {
    /// Which of them; `None` means all.
    pub ordinal: Option<i8>,
    /// The day.
    pub weekday: Weekday,
}

/// A recurrence rule. It can be made only by reading it, which checks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    frequency: Frequency,
    interval: u16,
    months: BTreeSet<i8>,
    month_days: BTreeSet<i8>,
    days: Vec<DayOfWeek>,
    positions: BTreeSet<i16>,
    week_start: Weekday,
    end: RuleEnd,
}

/// Why a text is not a recurrence rule that can be honoured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It has no FREQ, or not first.
    #[error("the rule {0:?} does not begin with FREQ=DAILY, WEEKLY, MONTHLY or YEARLY")]
    NoFrequency(String),
    /// RFC 5545 has it and this program does not.
    #[error("{0} is not supported: no window of a calendar needs it")]
    Unsupported(String),
    /// Not a part of a rule.
    #[error("{0:?} is no part of a recurrence rule (RFC 5545, 3.3.10)")]
    Unknown(String),
    /// A part twice.
    #[error("{0} is there twice")]
    Twice(String),
    /// A value that is no good.
    #[error("{part}={value} is no good: {expected}")]
    Value {
        /// The part.
        part: &'static str,
        /// What it says.
        value: String,
        /// What would do.
        expected: &'static str,
    },
    /// Parts that have no meaning together.
    #[error("{0}")]
    Combination(&'static str),
}

impl Rule {
    /// How often.
    pub fn frequency(&self) -> Frequency {
        self.frequency
    }

    /// When it ends.
    pub fn end(&self) -> RuleEnd {
        self.end
    }

    /// The same rule, ending with another instant, inclusive.
    #[must_use]
    pub fn ending_with(&self, last: Time) -> Self {
        Self { end: RuleEnd::Instant(last), ..self.clone() }
    }

    /// The dates of a rule whose first start is on `first`, from `from` on, in order. UNTIL is applied as
    /// far as dates can tell; an UNTIL of the same day in time or instants is the caller's.
    pub fn dates(&self, first: Date, from: Date) -> Dates<'_> {
        let counted = matches!(self.end, RuleEnd::Count(_));
        let period = Period::of(self, first);
        let mut dates = Dates {
            rule: self,
            first,
            from: from.max(first),
            counted: 0,
            ready: Vec::new(),
            next: Some(period),
            barren_from: first,
            is_barren: false,
        };
        // Nothing is counted, so the periods between can be passed over.
        if !counted && from > first {
            dates.next = period.reaching(self, from);
            dates.barren_from = from;
        }
        dates
    }

    fn matches(&self, date: Date, first: Date) -> bool {
        self.is_as_first(date, first)
            && (self.months.is_empty() || self.months.contains(&date.month()))
            && (self.month_days.is_empty()
                || self.month_days.iter().any(|day| is_month_day(date, *day)))
            && (self.days.is_empty() || self.days.iter().any(|day| self.is_day(date, *day)))
    }

    /// What the rule does not say is the first start's (RFC 5545: "taken from DTSTART").
    fn is_as_first(&self, date: Date, first: Date) -> bool {
        if !self.days.is_empty() || !self.month_days.is_empty() {
            return true;
        }
        match self.frequency {
            Frequency::Daily => true,
            Frequency::Weekly => date.weekday() == first.weekday(),
            Frequency::Monthly => date.day() == first.day(),
            Frequency::Yearly => {
                date.day() == first.day()
                    && (!self.months.is_empty() || date.month() == first.month())
            }
        }
    }

    /// The n-th weekday is counted in the month, or in the year where the rule is yearly without BYMONTH.
    fn is_day(&self, date: Date, day: DayOfWeek) -> bool {
        if date.weekday() != day.weekday {
            return false;
        }
        let Some(ordinal) = day.ordinal else {
            return true;
        };
        let by_year = self.frequency == Frequency::Yearly && self.months.is_empty();
        let (place, length) = if by_year {
            (date.day_of_year(), date.days_in_year())
        } else {
            (i16::from(date.day()), i16::from(date.days_in_month()))
        };
        let from_start = (place - 1) / 7 + 1;
        let from_end = -((length - place) / 7 + 1);
        i16::from(ordinal) == from_start || i16::from(ordinal) == from_end
    }
}

fn is_month_day(date: Date, day: i8) -> bool {
    date.day() == day || date.day() - date.days_in_month() - 1 == day
}

/// The dates of one turn of the frequency.
#[derive(Debug, Clone, Copy)]
struct Period {
    start: Date,
    frequency: Frequency,
    interval: u16,
}

impl Period {
    fn of(rule: &Rule, date: Date) -> Self {
        let start = match rule.frequency {
            Frequency::Daily => date,
            Frequency::Weekly => {
                let into = date.weekday().since(rule.week_start);
                date.checked_sub(jiff::Span::new().days(into)).unwrap_or(Date::MIN)
            }
            Frequency::Monthly => date.first_of_month(),
            Frequency::Yearly => date.first_of_year(),
        };
        Self { start, frequency: rule.frequency, interval: rule.interval }
    }

    fn after(self, periods: i64) -> Option<Self> {
        let turns = periods.checked_mul(i64::from(self.interval))?;
        let span = match self.frequency {
            Frequency::Daily => jiff::Span::new().try_days(turns),
            Frequency::Weekly => jiff::Span::new().try_weeks(turns),
            Frequency::Monthly => jiff::Span::new().try_months(turns),
            Frequency::Yearly => jiff::Span::new().try_years(turns),
        };
        Some(Self { start: self.start.checked_add(span.ok()?).ok()?, ..self })
    }

    /// The last period of the rule that starts on `date` or before.
    fn reaching(self, rule: &Rule, date: Date) -> Option<Self> {
        let months = |it: Date| i64::from(it.year()) * 12 + i64::from(it.month());
        let target = Self::of(rule, date).start;
        let turns = match self.frequency {
            Frequency::Daily => days_between(self.start, target),
            Frequency::Weekly => days_between(self.start, target) / 7,
            Frequency::Monthly => months(target) - months(self.start),
            Frequency::Yearly => i64::from(target.year()) - i64::from(self.start.year()),
        };
        self.after(turns / i64::from(self.interval))
    }

    fn dates(self) -> impl Iterator<Item = Date> {
        let days = match self.frequency {
            Frequency::Daily => 1,
            Frequency::Weekly => 7,
            Frequency::Monthly => i16::from(self.start.days_in_month()),
            Frequency::Yearly => self.start.days_in_year(),
        };
        (0..days).filter_map(move |day| self.start.checked_add(jiff::Span::new().days(day)).ok())
    }
}

fn days_between(from: Date, to: Date) -> i64 {
    from.until(to).map_or(0, |span| i64::from(span.get_days()))
}

/// The dates of a rule, in order.
#[derive(Debug, Clone)]
pub struct Dates<'r> {
    rule: &'r Rule,
    first: Date,
    from: Date,
    counted: u32,
    /// The rest of the period that is gone through, last date first.
    ready: Vec<Date>,
    next: Option<Period>,
    barren_from: Date,
    is_barren: bool,
}

impl Dates<'_> {
    /// Whether it ended because no date came for [`BARREN_YEARS`] years, though the rule has no end.
    pub fn is_barren(&self) -> bool {
        self.is_barren
    }

    /// Goes through one more period; `false` when there is none.
    fn fill(&mut self) -> bool {
        let Some(period) = self.next else {
            return false;
        };
        if period.start.year() - self.barren_from.year() > BARREN_YEARS {
            self.is_barren = true;
            self.next = None;
            return false;
        }
        self.next = period.after(1);
        let matching = period.dates().filter(|date| self.rule.matches(*date, self.first));
        self.ready = matching.collect();
        if !self.rule.positions.is_empty() {
            let count = i16::try_from(self.ready.len()).unwrap_or(i16::MAX);
            let mut place = 0;
            self.ready.retain(|_| {
                place += 1;
                let positions = &self.rule.positions;
                positions.contains(&place) || positions.contains(&(place - count - 1))
            });
        }
        self.ready.retain(|date| *date >= self.first);
        if let Some(last) = self.ready.last() {
            self.barren_from = *last;
        }
        self.ready.reverse();
        true
    }
}

impl Iterator for Dates<'_> {
    type Item = Date;

    fn next(&mut self) -> Option<Date> {
        loop {
            while let Some(date) = self.ready.pop() {
                let ended = match self.rule.end {
                    RuleEnd::Never => false,
                    RuleEnd::Count(count) => self.counted >= count,
                    RuleEnd::Date(last) => date > last,
                    RuleEnd::Wall(last) => date > last.date(),
                    // No zone is more than a day from UTC.
                    RuleEnd::Instant(last) => {
                        let last = Offset::UTC.to_datetime(last.timestamp()).date();
                        days_between(last, date) > 1
                    }
                };
                if ended {
                    self.ready.clear();
                    self.next = None;
                    return None;
                }
                self.counted += 1;
                if date >= self.from {
                    return Some(date);
                }
            }
            if !self.fill() {
                return None;
            }
        }
    }
}

/// Whether an occurrence is past a rule's UNTIL, as far as [`Rule::dates`] could not tell.
pub(super) fn is_past(end: RuleEnd, start: Wall, instant: Time) -> bool {
    match end {
        RuleEnd::Never | RuleEnd::Count(_) | RuleEnd::Date(_) => false,
        RuleEnd::Wall(last) => start.0 > last,
        RuleEnd::Instant(last) => instant > last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dates(rule: &str, first: &str, from: &str, count: usize) -> Vec<String> {
        let rule: Rule = rule.parse().unwrap();
        let (first, from) = (first.parse().unwrap(), from.parse().unwrap());
        rule.dates(first, from).take(count).map(|date| date.to_string()).collect()
    }

    #[test]
    fn what_rfc_5545_shows() {
        for (rule, first, expected) in [
            ("FREQ=DAILY;COUNT=3", "1997-09-02", &["1997-09-02", "1997-09-03", "1997-09-04"][..]),
            ("FREQ=DAILY;INTERVAL=10", "1997-09-02", &["1997-09-02", "1997-09-12"]),
            ("FREQ=DAILY;UNTIL=19970903", "1997-09-02", &["1997-09-02", "1997-09-03"]),
            (
                "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO",
                "1997-08-05",
                &["1997-08-05", "1997-08-10", "1997-08-19", "1997-08-24"],
            ),
            (
                "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU",
                "1997-08-05",
                &["1997-08-05", "1997-08-17", "1997-08-19", "1997-08-31"],
            ),
            (
                "FREQ=MONTHLY;COUNT=3;BYDAY=1FR",
                "1997-09-05",
                &["1997-09-05", "1997-10-03", "1997-11-07"],
            ),
            (
                "FREQ=MONTHLY;COUNT=3;BYDAY=-2MO",
                "1997-09-22",
                &["1997-09-22", "1997-10-20", "1997-11-17"],
            ),
            (
                "FREQ=MONTHLY;BYMONTHDAY=-3",
                "1997-09-28",
                &["1997-09-28", "1997-10-29", "1997-11-28"],
            ),
            ("FREQ=MONTHLY;COUNT=3", "1997-01-31", &["1997-01-31", "1997-03-31", "1997-05-31"]),
            (
                "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13",
                "1998-02-13",
                &["1998-02-13", "1998-03-13", "1998-11-13"],
            ),
            (
                "FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3",
                "1997-09-04",
                &["1997-09-04", "1997-10-07", "1997-11-06"],
            ),
            (
                "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2",
                "1997-09-29",
                &["1997-09-29", "1997-10-30", "1997-11-27"],
            ),
            (
                "FREQ=YEARLY;COUNT=4;BYMONTH=6,7",
                "1997-06-10",
                &["1997-06-10", "1997-07-10", "1998-06-10", "1998-07-10"],
            ),
            ("FREQ=YEARLY;BYDAY=20MO", "1997-05-19", &["1997-05-19", "1998-05-18", "1999-05-17"]),
            (
                "FREQ=YEARLY;BYMONTH=3;BYDAY=TH",
                "1997-03-13",
                &["1997-03-13", "1997-03-20", "1997-03-27", "1998-03-05"],
            ),
            (
                "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8",
                "1996-11-05",
                &["1996-11-05", "2000-11-07", "2004-11-02"],
            ),
            ("FREQ=YEARLY", "1996-02-29", &["1996-02-29", "2000-02-29"]),
        ] {
            assert_eq!(dates(rule, first, first, expected.len()), expected, "{rule}");
        }
    }

    #[test]
    fn a_later_start_of_listing_changes_nothing() {
        for rule in [
            "FREQ=DAILY;INTERVAL=3",
            "FREQ=WEEKLY;INTERVAL=3;BYDAY=MO,SU;WKST=WE",
            "FREQ=MONTHLY;INTERVAL=5;BYMONTHDAY=-1,15",
            "FREQ=YEARLY;INTERVAL=2;BYDAY=MO;BYSETPOS=3,-1",
            "FREQ=DAILY;COUNT=40",
        ] {
            let all = dates(rule, "2020-01-31", "2020-01-31", 60);
            for from in ["2020-02-15", "2020-05-31", "2021-01-01", "2024-02-29"] {
                let later =
                    all.iter().filter(|date| date.as_str() >= from).cloned().collect::<Vec<_>>();
                assert_eq!(
                    dates(rule, "2020-01-31", from, later.len()),
                    later,
                    "{rule} from {from}"
                );
            }
        }
        let within = ["2026-01-15", "2026-02-01"];
        for rule in ["FREQ=MONTHLY;BYMONTHDAY=1,15", "FREQ=YEARLY;BYMONTHDAY=1,15"] {
            assert_eq!(dates(rule, "2026-01-01", "2026-01-02", 2), within, "the same period");
        }
    }

    #[test]
    fn what_never_comes_ends() {
        for rule in
            ["FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "FREQ=MONTHLY;INTERVAL=12;BYMONTHDAY=31"]
        {
            let rule: Rule = rule.parse().unwrap();
            let first = Date::constant(2026, 2, 1);
            let mut dates = rule.dates(first, first);
            assert_eq!(dates.next(), None);
            assert!(dates.is_barren());
        }
        let leap =
            dates("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO", "2072-02-29", "2072-02-29", 2);
        assert_eq!(leap, ["2072-02-29", "2112-02-29"], "over the year 2100, which has no leap day");
        assert_eq!(
            dates("FREQ=YEARLY", "9998-06-01", "9998-06-01", 5),
            ["9998-06-01", "9999-06-01"]
        );
    }

    #[test]
    fn rules_read_back_in_one_spelling() {
        for text in [
            "FREQ=DAILY",
            "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU;WKST=SU;COUNT=4",
            "FREQ=MONTHLY;BYMONTHDAY=-3,15",
            "FREQ=MONTHLY;BYDAY=-2MO,FR;BYSETPOS=-1,1",
            "FREQ=YEARLY;BYMONTH=1,12;UNTIL=20261231",
            "FREQ=YEARLY;UNTIL=20261231T220000",
            "FREQ=YEARLY;UNTIL=20261231T220000Z",
        ] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
        assert_eq!(
            "freq=weekly;byday=mo;wkst=mo;interval=1".parse::<Rule>().unwrap().to_string(),
            "FREQ=WEEKLY;BYDAY=MO"
        );
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        for (text, told) in [
            ("", "no part"),
            ("BYDAY=MO", "does not begin with FREQ"),
            ("FREQ=HOURLY", "FREQ=HOURLY is not supported"),
            ("FREQ=DAILY;BYHOUR=3", "BYHOUR is not supported"),
            ("FREQ=YEARLY;BYWEEKNO=3", "BYWEEKNO is not supported"),
            ("FREQ=YEARLY;BYYEARDAY=3", "BYYEARDAY is not supported"),
            ("FREQ=YEARLY;RSCALE=CHINESE", "RSCALE is not supported"),
            ("FREQ=DAILY;BYEASTER=1", "\"BYEASTER\" is no part"),
            ("FREQ=DAILY;COUNT=1;COUNT=2", "COUNT is there twice"),
            ("FREQ=DAILY;COUNT=1;UNTIL=20260101", "exclude each other"),
            ("FREQ=DAILY;COUNT=0", "COUNT=0 is no good"),
            ("FREQ=DAILY;INTERVAL=0", "INTERVAL=0"),
            ("FREQ=DAILY;INTERVAL=1001", "1 to 1000"),
            ("FREQ=DAILY;BYMONTH=13", "1 to 12"),
            ("FREQ=DAILY;BYMONTHDAY=0", "BYMONTHDAY=0"),
            ("FREQ=DAILY;BYMONTHDAY=-32", "-31 to -1"),
            ("FREQ=DAILY;BYDAY=XX", "BYDAY=XX"),
            ("FREQ=DAILY;BYDAY=é", "BYDAY=é"),
            ("FREQ=YEARLY;BYDAY=54MO", "BYDAY=54MO"),
            ("FREQ=YEARLY;BYDAY=-128MO", "BYDAY=-128MO"),
            ("FREQ=MONTHLY;BYDAY=MO,MO", "each once"),
            ("FREQ=WEEKLY;BYDAY=2MO", "needs FREQ=MONTHLY or YEARLY"),
            ("FREQ=MONTHLY;BYDAY=6MO", "no month has a sixth"),
            ("FREQ=WEEKLY;BYMONTHDAY=1", "no meaning with FREQ=WEEKLY"),
            ("FREQ=MONTHLY;BYSETPOS=1", "BYSETPOS needs another"),
            ("FREQ=DAILY;UNTIL=2026-01-01", "UNTIL=2026-01-01"),
            ("FREQ=DAILY;UNTIL=20260230", "UNTIL=20260230"),
        ] {
            let error = text.parse::<Rule>().unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
