//! Suggestions: which slots a release could have, nearest to what was asked for first.
//!
//! Each stretch of offered time is a candidate (each day, where any time is offered). What blocks it is
//! taken out; in what is left the slot is laid as near to the preferred start as it goes, or as early. A
//! candidate without room is refused with its reason. Sorted once and swept, so that the cost grows with
//! what there is and not with its square.
//!
//! **The order** is total: by distance from the preferred start (or from now, where none is), then by
//! start. The same request and agenda give the same list on every machine.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::agenda::{Agenda, Block, Cause, Request, told};
use crate::name::Name;
use crate::refusal::{Code, Refusal};
use crate::time::{Time, span};
use crate::window::Window;

const MINUTE: Duration = Duration::from_mins(1);
/// Most refused candidates that are told: two a day for 90 days.
const MAX_REFUSED: usize = 180;

/// A window that could be booked now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Slot {
    /// When.
    pub window: Window,
    /// The window of the calendar that it lies in.
    pub offered_by: Option<Name>,
}

/// A stretch of offered time in which there is no room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// When.
    pub window: Window,
    /// The window of the calendar that it is.
    pub offered_by: Option<Name>,
    /// Why not.
    pub refusal: Refusal,
    /// When the last thing that is in the way ends.
    pub blocked_until: Option<Time>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Suggestions {
    /// The best first.
    pub slots: Vec<Slot>,
    /// By start.
    pub refused: Vec<Candidate>,
    /// Where there is no slot: the rule that stands in the way most often, and the end of it where it has
    /// one.
    pub blocked_by: Option<(Refusal, Option<Time>)>,
}

/// Looks for slots from now on.
pub fn suggest(request: &Request, agenda: &Agenda, now: Time) -> Suggestions {
    let mut found = Suggestions::default();
    if let Some(longest) = agenda.longest.filter(|longest| request.length > *longest) {
        let (asked, longest) = (span::format(request.length), span::format(longest));
        let facts = format!("{asked} asked for, the policy allows {longest}");
        found.blocked_by = Some((Refusal::new(Code::WindowTooLong, facts), None));
        return found;
    }
    let horizon = now + Duration::from_hours(24 * u64::from(request.days));
    let stretch = Window { start: now, end: agenda.expires.map_or(horizon, |it| it.min(horizon)) };
    if stretch.start >= stretch.end && agenda.expires.is_some_and(|it| it <= now) {
        let refusal = Refusal::new(Code::PolicyExpired, "nothing can be booked past its expiry");
        found.blocked_by = Some((refusal, None));
        return found;
    }
    let blocked = Blocked::of(&agenda.blocks);
    let mut slots = Vec::new();
    for (window, offered_by) in candidates(agenda, stretch) {
        match lay(request, agenda, &blocked, window, now) {
            Ok(window) => slots.push(Slot { window, offered_by }),
            Err((refusal, blocked_until)) => {
                found.refused.push(Candidate { window, offered_by, refusal, blocked_until });
            }
        }
    }
    let wanted = request.preferred.unwrap_or(now);
    slots.sort_by_key(|slot| (slot.window.start.distance(wanted), slot.window));
    slots.dedup_by_key(|slot| slot.window);
    slots.truncate(request.count);
    found.slots = slots;
    if found.slots.is_empty() {
        found.blocked_by = Some(in_the_way(&found.refused, stretch));
    }
    found.refused.truncate(MAX_REFUSED);
    found
}

/// The offered windows, or the days where any time is offered, as far as they lie in the stretch.
fn candidates(agenda: &Agenda, stretch: Window) -> Vec<(Window, Option<Name>)> {
    if let Some(offered) = &agenda.offered {
        let here = offered
            .iter()
            .filter_map(|it| Some((it.window.intersection(&stretch)?, Some(it.name.clone()))));
        return here.collect();
    }
    let mut days = Vec::new();
    let mut start = stretch.start;
    while start < stretch.end {
        let end = next_day(agenda, start).unwrap_or(stretch.end).min(stretch.end);
        // A slot may reach into the next day; that it starts in this one is what counts.
        days.push((Window { start, end }, None));
        start = end;
    }
    days
}

/// The first instant of the next day on the calendar's wall.
fn next_day(agenda: &Agenda, instant: Time) -> Option<Time> {
    let tomorrow = agenda.zone.civil(instant).date().tomorrow().ok()?;
    let start = agenda.zone.readings(tomorrow.to_datetime(jiff::civil::Time::midnight())).ok()?;
    // A midnight that the clocks pass over begins at the later reading's instant or before it.
    Some(start.earlier).filter(|it| *it > instant).or(Some(start.later)).filter(|it| *it > instant)
}

type Refused = (Refusal, Option<Time>);

/// Lays the slot into one candidate.
fn lay(
    request: &Request,
    agenda: &Agenda,
    blocked: &Blocked<'_>,
    candidate: Window,
    now: Time,
) -> Result<Window, Refused> {
    let start = whole_minute(candidate.start.max(now + agenda.notice));
    let end = match agenda.offered {
        Some(_) => candidate.end,
        // Where any time is offered the slot only has to start on the day.
        None => {
            let end = candidate.end - MINUTE + request.length;
            agenda.expires.map_or(end, |expires| end.min(expires))
        }
    };
    let noticed = Window { start, end };
    if noticed.start + request.length > noticed.end {
        return Err(too_short(request, agenda, candidate, now));
    }
    let mut full = None;
    let mut best: Option<Window> = None;
    for gap in blocked.gaps(noticed) {
        match start_in(request, agenda, gap) {
            Ok(start) => {
                let slot = Window { start, end: start + request.length };
                let wanted = request.preferred.unwrap_or(now);
                let is_nearer = |it: &Window| {
                    (slot.start.distance(wanted), slot) < (it.start.distance(wanted), *it)
                };
                if best.as_ref().is_none_or(is_nearer) {
                    best = Some(slot);
                }
            }
            Err(day) => full = full.or(day),
        }
    }
    if let Some(best) = best {
        return Ok(best);
    }
    if let Some(day) = full {
        let until = day.tomorrow().ok().and_then(|it| {
            agenda.zone.readings(it.to_datetime(jiff::civil::Time::midnight())).ok()
        });
        return Err((agenda.full(day), until.map(|it| it.earlier)));
    }
    Err(blocked.refusal(noticed))
}

/// The same instant, or the next whole minute: slots are for people.
fn whole_minute(time: Time) -> Time {
    let over = time.as_millis().rem_euclid(60_000);
    if over == 0 { time } else { time + MINUTE - Duration::from_millis(over.unsigned_abs()) }
}

/// Why even the whole candidate would not do.
fn too_short(request: &Request, agenda: &Agenda, candidate: Window, now: Time) -> Refused {
    let needed = span::format(request.length);
    if now + agenda.notice > candidate.start {
        let from = now + agenda.notice;
        let facts = format!(
            "the calendar asks for {}: from {from} on there is no room for {needed}",
            span::format(agenda.notice)
        );
        return (Refusal::new(Code::NoticeTooShort, facts), Some(from));
    }
    let facts = format!("{} offered, {needed} needed", span::format(candidate.length()));
    (Refusal::new(Code::WindowTooShort, facts), None)
}

/// The best start within a gap, or the day on which no more may start, if that is why there is none.
fn start_in(
    request: &Request,
    agenda: &Agenda,
    gap: Window,
) -> Result<Time, Option<jiff::civil::Date>> {
    if gap.length() < request.length {
        return Err(None);
    }
    let last = gap.end - request.length;
    let preferred = request.preferred.map_or(gap.start, |it| it.clamp(gap.start, last));
    let day = |time| agenda.zone.civil(time).date();
    if !agenda.is_full(day(preferred)) {
        return Ok(preferred);
    }
    // Day by day through the gap; a gap is one candidate's at most, which is no longer than two months.
    let mut full = None;
    let mut start = gap.start;
    let mut best: Option<Time> = None;
    while start <= last {
        if agenda.is_full(day(start)) {
            full = full.or(Some(day(start)));
        } else if best.is_none_or(|it: Time| start.distance(preferred) < it.distance(preferred)) {
            best = Some(start);
        }
        match next_day(agenda, start) {
            Some(next) => start = next,
            None => break,
        }
    }
    best.ok_or(full)
}

/// What blocks, merged to stretches that do not touch; each knows its blocks.
struct Blocked<'a> {
    blocks: &'a [Block],
    merged: Vec<(Window, std::ops::Range<usize>)>,
}

impl<'a> Blocked<'a> {
    /// Blocks come sorted by start.
    fn of(blocks: &'a [Block]) -> Self {
        let mut merged: Vec<(Window, std::ops::Range<usize>)> = Vec::new();
        for (place, block) in blocks.iter().enumerate() {
            match merged.last_mut() {
                Some((window, range)) if block.window.start <= window.end => {
                    window.end = window.end.max(block.window.end);
                    range.end = place + 1;
                }
                _ => merged.push((block.window, place..place + 1)),
            }
        }
        Self { blocks, merged }
    }

    fn over(&self, window: Window) -> impl Iterator<Item = &(Window, std::ops::Range<usize>)> {
        let first = self.merged.partition_point(|(it, _)| it.end <= window.start);
        self.merged[first..].iter().take_while(move |(it, _)| it.start < window.end)
    }

    /// What is left of a window, in order.
    fn gaps(&self, window: Window) -> Vec<Window> {
        let mut gaps = Vec::new();
        let mut start = window.start;
        for (it, _) in self.over(window) {
            if start < it.start {
                gaps.push(Window { start, end: it.start });
            }
            start = start.max(it.end);
        }
        if start < window.end {
            gaps.push(Window { start, end: window.end });
        }
        gaps
    }

    /// Freezes before bookings, all of them named, and the end of the last.
    fn refusal(&self, window: Window) -> Refused {
        let members = self.over(window).flat_map(|(_, range)| &self.blocks[range.clone()]);
        let members = members.filter(|it| it.window.overlaps(&window));
        let mut by_code: BTreeMap<bool, (Vec<Cause>, Time)> = BTreeMap::new();
        for block in members {
            let is_booking = matches!(block.cause, Cause::Booking(_));
            let (causes, end) = by_code.entry(is_booking).or_insert((Vec::new(), block.window.end));
            causes.push(block.cause);
            *end = (*end).max(block.window.end);
        }
        let first = by_code.into_values().next();
        let (causes, end) = first.expect("a candidate with room and nothing in the way has a slot");
        (Refusal::new(causes[0].code(), told(&causes)), Some(end))
    }
}

/// The rule that refuses most candidates, with the last end of it.
fn in_the_way(refused: &[Candidate], stretch: Window) -> Refused {
    let mut counts: BTreeMap<Code, usize> = BTreeMap::new();
    for candidate in refused {
        *counts.entry(candidate.refusal.code).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(code, count)| (*count, std::cmp::Reverse(*code)));
    let Some((code, _)) = most else {
        let facts = format!("none is offered between {} and {}", stretch.start, stretch.end);
        return (Refusal::new(Code::OutsideCalendar, facts), None);
    };
    let of_it = || refused.iter().filter(|it| it.refusal.code == code);
    let first = of_it().next().expect("it was counted");
    (first.refusal.clone(), of_it().filter_map(|it| it.blocked_until).max())
}
