//! What people should know of a calendar, a freeze or a booking before they sign it, or when the zone
//! database has changed since.
//!
//! A finding is no refusal: what must not be is refused elsewhere ([`crate::statement::Terms::fault`],
//! [`super::recurring::RecurringError`], admission). A calendar with findings may still be signed by someone
//! who has read them.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::agenda::{offered, standing_bookings};
use super::span::{Reading, WhenError, moved};
use super::zone::{Zone, database_version};
use crate::digest::Digest;
use crate::fold::State;
use crate::name::Name;
use crate::statement::{Calendar, Freeze, Terms};
use crate::time::Time;
use crate::window::Window;

/// How far ahead gaps and empty instances are looked for: two springs and two autumns.
const AHEAD: Duration = Duration::from_hours(2 * 366 * 24);
/// "The coming weeks" of the process, for what freezes leave.
pub const COMING_DAYS: u32 = 30;
/// Most findings of one kind about one window: each spring and autumn of the two years, and some more.
const MAX_EACH: usize = 8;

/// Something that people should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about: `saturdays`, `production`, the beginning of a booking's digest.
    pub about: String,
    /// What.
    pub problem: String,
}

impl Finding {
    fn new(about: impl fmt::Display, problem: impl Into<String>) -> Self {
        Self { about: about.to_string(), problem: problem.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.about, self.problem)
    }
}

/// What the terms of a calendar bring with them from `now` on.
pub fn terms(terms: &Terms, now: Time) -> Vec<Finding> {
    let mut findings: Vec<_> =
        terms.fault().map(|it| Finding::new("calendar", it)).into_iter().collect();
    if let Err(unknown) = Zone::find(&terms.zone) {
        findings.push(Finding::new("zone", unknown.to_string()));
    }
    for window in &terms.windows {
        let name = window.name();
        let zone = match window.find_zone() {
            Ok(zone) => zone,
            Err(unknown) => {
                findings.push(Finding::new(name, unknown.to_string()));
                continue;
            }
        };
        let found = window.instances(Reading::Permission, &zone, now, now + AHEAD);
        findings.extend(found.gaps.iter().take(MAX_EACH).map(|wall| {
            let date = wall.0.date();
            Finding::new(
                name,
                format!("no instance on {date}: {wall} does not exist in {}", zone.name()),
            )
        }));
        findings.extend(found.empty.iter().take(MAX_EACH).map(|wall| {
            Finding::new(
                name,
                format!("nothing is left of the instance of {wall}: it ends before it starts"),
            )
        }));
        if found.is_barren {
            findings.push(Finding::new(name, "its rule brings nothing for a hundred years"));
        } else if found.windows.is_empty() {
            findings.push(Finding::new(name, "it does not come within two years from now"));
        }
        let overlapping =
            found.windows.windows(2).find(|pair| pair[0].window.overlaps(&pair[1].window));
        if let Some(pair) = overlapping {
            let (one, other) = (pair[0].occurrence, pair[1].occurrence);
            findings
                .push(Finding::new(name, format!("its instances of {one} and {other} overlap")));
        }
    }
    findings
}

/// How much of the offered time freezes leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Over so many days from now.
    pub days: u32,
    /// Offered by the calendar; all of it where there is none.
    #[serde(serialize_with = "as_seconds")]
    pub offered: Duration,
    /// What no freeze covers.
    #[serde(serialize_with = "as_seconds")]
    pub left: Duration,
}

fn as_seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

impl Left {
    /// Too little: less than half of what is offered.
    pub fn is_too_little(&self) -> bool {
        self.left < self.offered / 2
    }
}

/// In whole hours, rounded down: what is told must not be more than there is.
impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = |it: Duration| it.as_secs() / 3600;
        write!(
            f,
            "leaves {} h of {} h in the next {} days",
            hours(self.left),
            hours(self.offered),
            self.days
        )
    }
}

/// What freezes leave of the time that a calendar offers, in the [`COMING_DAYS`] from `now` on.
pub fn left(
    calendar: Option<&Calendar>,
    freezes: impl IntoIterator<Item = Window>,
    now: Time,
) -> Left {
    let stretch =
        Window { start: now, end: now + Duration::from_hours(24 * u64::from(COMING_DAYS)) };
    // A zone that nobody knows offers nothing; that is a finding of its own.
    let offered = calendar.and_then(|it| offered(it, stretch).unwrap_or(Some(Vec::new())));
    let offered = offered.map_or(vec![stretch], |it| it.into_iter().map(|it| it.window).collect());
    let offered = union(offered, stretch);
    let freezes = union(freezes, stretch);
    let length = |windows: &[Window]| windows.iter().map(Window::length).sum::<Duration>();
    let both = offered.iter().flat_map(|one| {
        let first = freezes.partition_point(|it| it.end <= one.start);
        let over = freezes[first..].iter().take_while(|it| it.start < one.end);
        over.filter_map(|it| it.intersection(one))
    });
    let both: Vec<_> = both.collect();
    Left {
        days: COMING_DAYS,
        offered: length(&offered),
        left: length(&offered).saturating_sub(length(&both)),
    }
}

/// Merged, sorted, and cut to the stretch.
fn union(windows: impl IntoIterator<Item = Window>, stretch: Window) -> Vec<Window> {
    let mut windows: Vec<_> =
        windows.into_iter().filter_map(|it| it.intersection(&stretch)).collect();
    windows.sort_unstable();
    let mut merged: Vec<Window> = Vec::new();
    for window in windows {
        match merged.last_mut() {
            Some(last) if window.start <= last.end => last.end = last.end.max(window.end),
            _ => merged.push(window),
        }
    }
    merged
}

/// What the standing freezes of an environment, and `more`, leave of it. Freezes of single applications
/// leave the others alone and do not count.
pub fn left_in(state: &State, environment: &Name, more: &[Window], now: Time) -> Left {
    let calendar = state.calendar(environment).map(|it| it.declared.says());
    left(calendar, frozen(state, environment).chain(more.iter().copied()), now)
}

/// What they leave of a calendar that is not in force yet.
pub fn left_under(state: &State, calendar: &Calendar, now: Time) -> Left {
    left(Some(calendar), frozen(state, &calendar.environment), now)
}

fn frozen<'a>(state: &'a State, environment: &'a Name) -> impl Iterator<Item = Window> + 'a {
    let standing = state.freezes().filter(|it| it.lifted.is_none());
    standing.filter_map(|it| match it.declared.says() {
        Freeze::Declared { environments, applications, start, end, .. }
            if environments.contains(environment) && applications.is_empty() =>
        {
            Some(Window { start: *start, end: *end })
        }
        Freeze::Declared { .. } | Freeze::Lifted { .. } => None,
    })
}

/// A booking whose instants are no longer what its words say, as the zone's rules have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drifted {
    /// The `booking` statement.
    pub booking: Digest,
    /// The instants that it has, and keeps.
    pub window: Window,
    /// What the same words would give today.
    pub again: Result<Window, WhenError>,
    /// The version of the database that they were read with.
    pub read_with: String,
}

/// The bookings that have not ended and that the bundled zone database would place elsewhere (DESIGN 6:
/// the change manager confirms again, by booking again).
pub fn drifted(state: &State, now: Time) -> Vec<Drifted> {
    let drifted = standing_bookings(state, now).filter_map(|booking| {
        let booking = &booking.booking;
        let (says, window) = (booking.says(), booking.says().window);
        let derivation = says.derivation.as_ref()?;
        let again = match Zone::find(&derivation.zone) {
            Ok(zone) => moved(window, derivation, Reading::Permission, &zone)?,
            Err(unknown) => Err(WhenError::UnknownZone(unknown)),
        };
        let read_with = derivation.tzdb.clone();
        Some(Drifted { booking: booking.id(), window, again, read_with })
    });
    drifted.collect()
}

/// Everything that people should know of the calendars, freezes and bookings in the log.
pub fn everything(state: &State, now: Time) -> Vec<Finding> {
    let mut findings = Vec::new();
    for calendar in state.calendars() {
        let says = calendar.declared.says();
        findings.extend(terms(&says.terms, now).into_iter().map(|it| {
            Finding::new(format_args!("{}, {}", says.environment, it.about), it.problem)
        }));
    }
    for environment in environments(state) {
        let left = left_in(state, &environment, &[], now);
        if left.is_too_little() {
            findings.push(Finding::new(&environment, format!("the freezes together: {left}")));
        }
    }
    findings.extend(drifted(state, now).into_iter().map(|it| {
        let again = match it.again {
            Ok(window) => format!("{} to {}", window.start, window.end),
            Err(error) => error.to_string(),
        };
        let (start, end, tzdb) = (it.window.start, it.window.end, database_version());
        let told = format!(
            "booked for {start} to {end} with tz {}; by tz {tzdb} the same words mean: {again}. It stays \
             where it is; to move it, cancel it and book again",
            it.read_with
        );
        Finding::new(format_args!("booking {}", it.booking.short()), told)
    }));
    findings
}

/// Every environment with a calendar or a standing freeze.
fn environments(state: &State) -> BTreeSet<Name> {
    let calendars = state.calendars().map(|it| it.declared.says().environment.clone());
    let frozen =
        state.freezes().filter(|it| it.lifted.is_none()).flat_map(|it| match it.declared.says() {
            Freeze::Declared { environments, .. } => environments.iter().cloned().collect(),
            Freeze::Lifted { .. } => Vec::new(),
        });
    calendars.chain(frozen).collect()
}
