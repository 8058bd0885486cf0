//! The agenda: what a booking in one environment has to go by, collected from the fold and sorted.
//!
//! A booking is refused on its way into the log when
//!
//! 1. it lies outside every offered window of the environment's calendar (`outside-calendar`),
//! 2. it comes too late for the notice that the calendar asks for (`notice-too-short`),
//! 3. as many windows as the calendar allows start that day already (`capacity-reached`), or
//! 4. another release is booked at that time on one of its hosts, or for the same application in the same
//!    environment (`window-taken`), and some host has not ended that one yet.
//!
//! An environment without a calendar offers any time, without notice and capacity. **Emergencies are
//! exempt from all four**, and from no freeze: what is on fire does not wait for Saturday, and who freezes
//! an environment means emergencies too, unless an override names the freeze. Their windows count against
//! the capacity of the others. Freezes are rule 20's, at admission as on hosts; here they are what
//! [`super::suggest`] has to go round.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::civil;

use super::span::Reading;
use super::zone::{UnknownZone, Zone};
use crate::case::{BookingCase, Case, Verified};
use crate::digest::Digest;
use crate::fold::State;
use crate::key::KeyId;
use crate::name::Name;
use crate::refusal::{Code, Refusal};
use crate::statement::{Booking, Calendar, ChangeType, Event, Freeze, OnHalt};
use crate::time::{Time, span};
use crate::window::Window;

/// What somebody wants to book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The `release` statement.
    pub release: Digest,
    /// Its application.
    pub application: Name,
    /// Where.
    pub environment: Name,
    /// On which hosts.
    pub hosts: BTreeSet<KeyId>,
    /// What kind of change.
    pub change: ChangeType,
    /// How long the window must be: apply budget and rollback reserve fit.
    pub length: Duration,
    /// The start that is asked for; nearer is better.
    pub preferred: Option<Time>,
    /// How far to look ahead.
    pub days: u32,
    /// How many slots to tell.
    pub count: usize,
}

/// Something that keeps a booking out of a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    /// When.
    pub window: Window,
    /// What.
    pub cause: Cause,
}

/// What keeps a booking out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// This `freeze` statement.
    Freeze(Digest),
    /// This `booking` statement.
    Booking(Digest),
}

impl Cause {
    /// The code of a refusal for it.
    pub fn code(self) -> Code {
        match self {
            Self::Freeze(_) => Code::Frozen,
            Self::Booking(_) => Code::WindowTaken,
        }
    }
}

/// An instance of a window of the calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// When.
    pub window: Window,
    /// Which.
    pub name: Name,
}

/// All that stands for and against a booking, over a stretch of time.
#[derive(Debug, Clone)]
pub struct Agenda {
    /// By start; `None` where any time is offered.
    pub(super) offered: Option<Vec<Offered>>,
    /// By start.
    pub(super) blocks: Vec<Block>,
    /// How many windows start on each day, where that is limited.
    pub(super) starts: BTreeMap<civil::Date, u32>,
    pub(super) capacity: Option<u32>,
    pub(super) notice: Duration,
    /// Whose days are counted.
    pub(super) zone: Zone,
    /// The longest window that the policy's rule allows.
    pub(super) longest: Option<Duration>,
    /// Nothing can be booked past the policy's expiry.
    pub(super) expires: Option<Time>,
}

impl Agenda {
    /// The agenda for a request that is made now.
    ///
    /// Errors: the calendar names a zone that the bundled database does not have.
    pub fn of(state: &State, request: &Request, now: Time) -> Result<Self, UnknownZone> {
        let ahead = Duration::from_hours(24 * u64::from(request.days));
        Self::over(state, request, Window { start: now, end: now + ahead })
    }

    fn over(state: &State, request: &Request, stretch: Window) -> Result<Self, UnknownZone> {
        let exempt = request.change == ChangeType::Emergency;
        let calendar = state.calendar(&request.environment).filter(|_| !exempt);
        let calendar = calendar.map(|it| it.declared.says());
        let terms = calendar.map(|it| &it.terms);
        let zone = terms.map(|it| Zone::find(&it.zone)).transpose()?.unwrap_or_else(Zone::utc);
        let policy = state.policy();
        let rule = policy.and_then(|it| it.rule(&request.environment, request.change).ok());
        let mut agenda = Self {
            offered: calendar.map(|it| offered(it, stretch)).transpose()?.flatten(),
            blocks: freezes(state, request, stretch),
            starts: BTreeMap::new(),
            capacity: terms.and_then(|it| it.capacity_per_day),
            notice: terms.map_or(Duration::ZERO, |it| it.notice),
            longest: rule.map(|it| it.longest_window),
            expires: policy.map(|it| it.document().expires),
            zone,
        };
        if !exempt {
            agenda.add_bookings(state, request, stretch);
        }
        agenda.blocks.sort_unstable();
        Ok(agenda)
    }

    fn add_bookings(&mut self, state: &State, request: &Request, stretch: Window) {
        // A day that the stretch only touches is counted whole.
        let day = Duration::from_hours(48);
        let counted = Window { start: stretch.start - day, end: stretch.end + day };
        for booking in standing_bookings(state, counted.start) {
            let says = booking.booking.says();
            if says.environment == request.environment && counted.contains(says.window.start) {
                *self.starts.entry(self.zone.civil(says.window.start).date()).or_default() += 1;
            }
            let taken = clashes(says, request) && !is_done(booking);
            if says.window.overlaps(&stretch) && taken {
                let cause = Cause::Booking(booking.booking.id());
                self.blocks.push(Block { window: says.window, cause });
            }
        }
    }

    /// Everything that refuses a window, in the order of the rules; freezes too.
    pub fn refusals(&self, window: Window, now: Time) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        if let Some(offered) = &self.offered
            && !is_within(window, offered.iter().map(|it| it.window))
        {
            let next = offered.iter().find(|it| it.window.end > window.start);
            let next = next.map_or_else(
                || "none follows".to_owned(),
                |it| {
                    format!(
                        "the next one, {}, is {} to {}",
                        it.name, it.window.start, it.window.end
                    )
                },
            );
            refusals.push(Refusal::new(Code::OutsideCalendar, next));
        }
        // Where no notice is asked for, a window may have begun: signed `now` a moment ago.
        if !self.notice.is_zero() && window.start < now + self.notice {
            let facts = format!(
                "the calendar asks for {}: not before {}",
                span::format(self.notice),
                now + self.notice
            );
            refusals.push(Refusal::new(Code::NoticeTooShort, facts));
        }
        let day = self.zone.civil(window.start).date();
        if self.is_full(day) {
            refusals.push(self.full(day));
        }
        for code in [Code::WindowTaken, Code::Frozen] {
            let here = |it: &&Block| it.cause.code() == code && it.window.overlaps(&window);
            let causes: Vec<_> = self.blocks.iter().filter(here).map(|it| it.cause).collect();
            if !causes.is_empty() {
                refusals.push(Refusal::new(code, told(&causes)));
            }
        }
        refusals
    }

    pub(super) fn is_full(&self, day: civil::Date) -> bool {
        let starting = self.starts.get(&day).copied().unwrap_or(0);
        self.capacity.is_some_and(|capacity| starting >= capacity)
    }

    pub(super) fn full(&self, day: civil::Date) -> Refusal {
        let starting = self.starts.get(&day).copied().unwrap_or(0);
        let facts = format!("{starting} windows start on {day} ({}) already", self.zone.name());
        Refusal::new(Code::CapacityReached, facts)
    }
}

/// Says whether the calendar lets a booking in; freezes are rule 20's.
pub(crate) fn admit(state: &State, case: &Case, it: &Booking, now: Time) -> Result<(), Refusal> {
    let release = case.release.says();
    let request = Request {
        release: it.release,
        application: it.application.clone(),
        environment: it.environment.clone(),
        hosts: it.plan.hosts().map(|planned| planned.host_key).collect(),
        change: release.change,
        length: it.window.length(),
        preferred: None,
        days: 0,
        count: 0,
    };
    // Far enough behind for the whole window to be seen as offered, and ahead to name the next one.
    let ahead = it.window.end + Duration::from_hours(31 * 24);
    let stretch = Window { start: it.window.start, end: ahead };
    let agenda = Agenda::over(state, &request, stretch)
        .map_err(|error| Refusal::new(Code::OutsideCalendar, error.to_string()))?;
    let refusals = agenda.refusals(it.window, now);
    match refusals.into_iter().find(|refusal| refusal.code != Code::Frozen) {
        None => Ok(()),
        Some(refusal) => Err(refusal),
    }
}

/// The instances of a calendar's windows over a stretch, by start; `None` where any time is offered.
///
/// Errors: a zone that the bundled database does not have.
pub fn offered(calendar: &Calendar, stretch: Window) -> Result<Option<Vec<Offered>>, UnknownZone> {
    let windows = &calendar.terms.windows;
    if windows.is_empty() {
        return Ok(None);
    }
    let mut offered = Vec::new();
    for window in windows {
        let zone = window.find_zone()?;
        let found = window.instances(Reading::Permission, &zone, stretch.start, stretch.end);
        let name = window.name();
        offered.extend(
            found.windows.into_iter().map(|it| Offered { window: it.window, name: name.clone() }),
        );
    }
    offered.sort_by(|a, b| (a.window, &a.name).cmp(&(b.window, &b.name)));
    Ok(Some(offered))
}

/// The bookings that have not been given up and whose windows end after an instant.
pub fn standing_bookings(state: &State, after: Time) -> impl Iterator<Item = &BookingCase> {
    let standing = state.bookings_ending_after(after).filter(|(case, booking)| {
        let given_up = [&case.cancelled, &booking.cancelled].iter().any(|it| it.is_some());
        !given_up && case.superseded_by.is_none()
    });
    standing.map(|(_, booking)| booking)
}

/// Whether every host of a booking has ended it, one way or the other, or it has halted and leaves the
/// hosts as they are: the rest of its window is free.
fn is_done(booking: &BookingCase) -> bool {
    let (mut ended, mut failed) = (BTreeSet::new(), BTreeSet::new());
    for outcome in &booking.outcomes {
        let host = outcome.says().host_key;
        match outcome.says().event {
            Event::Committed | Event::RolledBack => ended.insert(host),
            Event::Returned { .. } | Event::Stuck { .. } => {
                ended.insert(host) | failed.insert(host)
            }
            Event::Refused { .. } | Event::Drifted { .. } => false,
        };
    }
    let plan = &booking.booking.says().plan;
    let halted = plan.on_halt == OnHalt::Pause && failed.len() >= plan.halt_after as usize;
    halted || plan.hosts().all(|planned| ended.contains(&planned.host_key))
}

/// Whether a booking and a request are in each other's way, if their times are.
fn clashes(booked: &Booking, request: &Request) -> bool {
    if booked.release == request.release {
        return false;
    }
    let one_place =
        booked.environment == request.environment && booked.application == request.application;
    one_place || booked.plan.hosts().any(|planned| request.hosts.contains(&planned.host_key))
}

fn freezes(state: &State, request: &Request, stretch: Window) -> Vec<Block> {
    let freezes = state.freezes_over(&request.application, &request.environment, stretch);
    let block = |freeze: &Verified<Freeze>| match freeze.says() {
        Freeze::Declared { start, end, .. } => Some(Block {
            window: Window { start: *start, end: *end },
            cause: Cause::Freeze(freeze.id()),
        }),
        Freeze::Lifted { .. } => None,
    };
    freezes.filter_map(block).collect()
}

/// Whether one window lies within others, taken together; those are sorted by start.
pub fn is_within(window: Window, others: impl IntoIterator<Item = Window>) -> bool {
    let mut reached = window.start;
    for other in others {
        if other.start > reached {
            break;
        }
        reached = reached.max(other.end);
    }
    reached >= window.end && window.start < window.end
}

/// Most causes that one refusal names.
const MAX_TOLD: usize = 20;

/// The causes as the facts of a refusal: all of them named, as far as a line goes.
pub(super) fn told(causes: &[Cause]) -> String {
    let name = |cause: &Cause| match cause {
        Cause::Freeze(id) | Cause::Booking(id) => id.short(),
    };
    let mut names: Vec<_> = causes.iter().take(MAX_TOLD).map(name).collect();
    if causes.len() > MAX_TOLD {
        names.push(format!("and {} more", causes.len() - MAX_TOLD));
    }
    format!("by {}", names.join(", "))
}
