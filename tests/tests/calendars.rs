//! Recurrence rules and the clocks of the world, compared with what others make of them: python-dateutil,
//! and Python's `zoneinfo` on the same version of the zone database.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use cutover_shared::calendar::rule::Rule;
use cutover_shared::calendar::zone::{Zone, database_version};
use cutover_shared::time::Time;
use cutover_tests::oracle::Python;
use fastrand::Rng;

/// Rules that Python is asked about, unless CUTOVER_RECURRENCE_RULES says another number: a second of its
/// work for each ten.
const RULES: usize = 300;
/// Minutes to each side of a transition.
const SIDE: i64 = 180;
const YEARS: (i16, i16) = (2020, 2038);

fn pick<'a, T>(random: &mut Rng, of: &'a [T]) -> &'a T {
    &of[random.usize(..of.len())]
}

fn some<T: ToString>(random: &mut Rng, of: impl Fn(&mut Rng) -> T, most: usize) -> String {
    let mut all: Vec<_> = (0..random.usize(1..=most)).map(|_| of(random).to_string()).collect();
    all.sort();
    all.dedup();
    all.join(",")
}

/// A rule of the subset. Plain and numbered days are not mixed: dateutil takes only days that are both.
fn rule(random: &mut Rng) -> String {
    let frequency = *pick(random, &["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]);
    let mut parts = vec![format!("FREQ={frequency}")];
    if random.bool() {
        parts.push(format!("INTERVAL={}", random.u8(1..8)));
    }
    let by = parts.len();
    if random.u8(..4) == 0 {
        parts.push(format!("BYMONTH={}", some(random, |it| it.u8(1..13), 4)));
    }
    let in_month = frequency == "MONTHLY" || parts.len() > by;
    if random.u8(..3) == 0 && frequency != "WEEKLY" {
        let day = |it: &mut Rng| if it.bool() { it.i8(1..32) } else { it.i8(-31..0) };
        parts.push(format!("BYMONTHDAY={}", some(random, day, 4)));
    }
    if random.u8(..2) == 0 {
        let numbered = matches!(frequency, "MONTHLY" | "YEARLY") && random.bool();
        let largest = if in_month { 5 } else { 53 };
        let day = |it: &mut Rng| {
            let name = *pick(it, &["MO", "TU", "WE", "TH", "FR", "SA", "SU"]);
            let number = it.i8(1..=largest) * if it.bool() { 1 } else { -1 };
            if numbered { format!("{number}{name}") } else { name.to_owned() }
        };
        parts.push(format!("BYDAY={}", some(random, day, 4)));
    }
    if parts.len() > by && random.u8(..3) == 0 {
        let position = |it: &mut Rng| if it.bool() { it.i8(1..5) } else { it.i8(-4..0) };
        parts.push(format!("BYSETPOS={}", some(random, position, 3)));
    }
    if random.u8(..3) == 0 {
        parts.push(format!("WKST={}", pick(random, &["SU", "TU", "SA"])));
    }
    match random.u8(..4) {
        0 => parts.push(format!("COUNT={}", random.u8(1..40))),
        1 => parts.push(format!(
            "UNTIL={}{:02}{:02}",
            random.u16(2024..2040),
            random.u8(1..13),
            random.u8(1..29)
        )),
        _ => {}
    }
    parts.join(";")
}

/// The dates by our own rule, none after forty years; `None` where dateutil would look until the year 9999.
fn ours(rule: &str, first: jiff::civil::Date, count: usize) -> anyhow::Result<Option<String>> {
    let parsed: Rule = rule.parse().with_context(|| format!("read {rule}"))?;
    let year = first.year() + 40;
    let end = jiff::civil::date(year, first.month(), first.day().min(28));
    let mut dates = parsed.dates(first, first);
    let found: Vec<_> = dates.by_ref().take(count).take_while(|date| *date <= end).collect();
    let endless = rule.contains("COUNT")
        && found.len() < count
        && (dates.next().is_some() || dates.is_barren());
    let text: Vec<_> = found.iter().map(|date| date.strftime("%Y%m%d").to_string()).collect();
    Ok((!endless).then(|| text.join(" ")))
}

#[test]
fn recurrence_is_dateutils() -> anyhow::Result<()> {
    let Some(python) = Python::open("recurrence_is_dateutils", &["dateutil"])? else {
        return Ok(());
    };
    let rules = match std::env::var("CUTOVER_RECURRENCE_RULES") {
        Ok(number) => number.parse()?,
        Err(_) => RULES,
    };
    let mut random = Rng::with_seed(20_260_307);
    let (mut questions, mut expected) = (Vec::new(), Vec::new());
    while questions.len() < rules {
        let rule = rule(&mut random);
        if rule.contains("FREQ=WEEKLY") && rule.contains("BYSETPOS") {
            // dateutil cuts the first week off before the start and counts positions in the rest; RFC 5545
            // counts them in the whole interval.
            continue;
        }
        let day = random.i8(1..32);
        let (year, month) = (random.i16(2019..2029), random.i8(1..13));
        let Ok(first) = jiff::civil::Date::new(year, month, day) else { continue };
        let count = random.usize(1..40);
        if let Some(dates) = ours(&rule, first, count)? {
            questions.push(format!("{rule} {} {count}", first.strftime("%Y%m%d")));
            expected.push(dates);
        }
    }
    let with_dates = expected.iter().filter(|it| !it.is_empty()).count();
    ensure!(with_dates > rules / 2, "only {with_dates} rules bring anything: they test little");
    for ((question, theirs), ours) in
        questions.iter().zip(python.ask("recurrence.py", &questions)?).zip(&expected)
    {
        ensure!(theirs == *ours, "{question}\ndateutil: {theirs}\nours:     {ours}");
    }
    Ok(())
}

fn runs(values: impl Iterator<Item = String>) -> String {
    let mut told: Vec<(String, usize)> = Vec::new();
    for value in values {
        match told.last_mut() {
            Some((last, count)) if *last == value => *count += 1,
            _ => told.push((value, 1)),
        }
    }
    told.iter().map(|(value, count)| format!("{value}*{count}")).collect::<Vec<_>>().join(" ")
}

fn instant(seconds: i64) -> anyhow::Result<Time> {
    Time::from_millis(seconds * 1000).context("an instant that can be written")
}

fn year(year: i16) -> i64 {
    jiff::tz::Offset::UTC
        .to_timestamp(jiff::civil::date(year, 1, 1).at(0, 0, 0, 0))
        .map_or(0, jiff::Timestamp::as_second)
}

fn daily(zone: &Zone) -> anyhow::Result<String> {
    let mut offsets = Vec::new();
    let mut day = year(YEARS.0);
    while day < year(YEARS.1) {
        offsets.push(zone.offset_seconds(instant(day)?).to_string());
        day += 86_400;
    }
    Ok(runs(offsets.into_iter()))
}

fn around(zone: &Zone, at: i64, minutes: i64) -> anyhow::Result<String> {
    let mut offsets = Vec::new();
    let mut readings = Vec::new();
    let wall = at + i64::from(zone.offset_seconds(instant(at - 1)?));
    for step in -minutes..=minutes {
        offsets.push(zone.offset_seconds(instant(at + step * 60)?).to_string());
        let wall = wall + step * 60;
        let found = zone.readings(Zone::utc().civil(instant(wall)?))?;
        let less = |time: Time| wall - time.as_millis() / 1000;
        let gap = if found.is_gap { ",gap" } else { "" };
        readings.push(format!("{},{}{gap}", less(found.earlier), less(found.later)));
    }
    Ok(format!("{} | {}", runs(offsets.into_iter()), runs(readings.into_iter())))
}

/// Compares the zones that are picked, and so many instants of all zones.
fn compare(test: &str, is_picked: impl Fn(usize) -> bool, elsewhere: usize) -> anyhow::Result<()> {
    let Some(python) = Python::open(test, &["zoneinfo", "tzdata"])? else { return Ok(()) };
    let (mut questions, mut expected) =
        (vec!["version".to_owned()], vec![database_version().to_owned()]);
    let zones: Result<Vec<_>, _> = Zone::names().map(Zone::find).collect();
    let zones = zones?;
    let (from, until) = (instant(year(YEARS.0))?, instant(year(YEARS.1))?);
    let mut transitions = 0;
    for (_, zone) in zones.iter().enumerate().filter(|(place, _)| is_picked(*place)) {
        questions.push(format!("daily {} {} {}", zone.name(), YEARS.0, YEARS.1));
        expected.push(daily(zone)?);
        for it in zone.transitions(from - Duration::from_millis(1), until) {
            let at = it.at.as_millis() / 1000;
            questions.push(format!("around {} {at} {SIDE}", zone.name()));
            expected.push(around(zone, at, SIDE)?);
            transitions += 1;
        }
    }
    let mut random = Rng::with_seed(20_261_101);
    for _ in 0..elsewhere {
        let (zone, at) = (pick(&mut random, &zones), random.i64(year(1970)..year(2100)));
        questions.push(format!("around {} {at} 0", zone.name()));
        expected.push(around(zone, at, 0)?);
    }
    let answers = python.ask("zones.py", &questions)?;
    for ((question, theirs), ours) in questions.iter().zip(&answers).zip(&expected) {
        ensure!(theirs == ours, "{question}\nzoneinfo: {theirs}\nours:     {ours}");
    }
    ensure!(transitions > 0, "no transition was looked at");
    Ok(())
}

/// Every twentieth zone, by name, and the one of the process's table among them.
#[test]
fn the_clocks_of_some_zones_are_zoneinfos() -> anyhow::Result<()> {
    let new_york = Zone::names().position(|name| name == "America/New_York").context("New York")?;
    let picked = |place: usize| place % 20 == new_york % 20;
    compare("the_clocks_of_some_zones_are_zoneinfos", picked, 10_000)
}

/// Every zone, every transition, minute by minute.
#[test]
#[ignore = "minutes of work: run by .ci/long"]
fn the_clocks_of_every_zone_are_zoneinfos() -> anyhow::Result<()> {
    compare("the_clocks_of_every_zone_are_zoneinfos", |_| true, 200_000)
}
