//! iCalendar files (RFC 5545): windows and freezes, in and out.
//!
//! **In** ([`import()`]): events become [`super::recurring::Recurring`] windows. What bears on when something is, and cannot be
//! honoured, is refused with its line and property (all of it at once); what only tells people something
//! (DESCRIPTION, ATTENDEE, VALARM, `X-…`, …) is passed over. Zones are found by name: an IANA name (with the
//! prefixes that some programs write), X-LIC-LOCATION, or a Windows name; a VTIMEZONE's own rules are not
//! read, since the zone's real ones are known here. What each property becomes:
//!
//! - DTSTART, RRULE, RDATE, EXDATE: as they are. A first start that its rule does not bring has no meaning
//!   by the RFC, and is refused.
//! - DTEND: an exact length, as RFC 5545 3.8.5.3 has it; DURATION the same, whole days of it on the wall.
//! - dates without time (VALUE=DATE): from midnight until midnight on the wall of the default zone.
//! - RECURRENCE-ID: the occurrence is moved, or taken out where it is CANCELLED.
//!
//! **Out** ([`export()`]): bookings in UTC, the windows of calendars with their rules, freezes. Programs read
//! repeated and missing times of the wall in their own ways; where what RFC 5545 makes of an event is not
//! what Cutover does (a start in a gap, an end by the clock), the next years' differences are written out as
//! EXDATE and RECURRENCE-ID, so that every reader sees the same hours. Each zone is defined by a VTIMEZONE
//! made of its transitions. UID is stable; SEQUENCE rises; what was cancelled or lifted is CANCELLED.
//! One booking by itself is an invitation ([`invitation`]).

mod booking;
mod event;
mod export;
mod import;
mod line;
mod place;
mod windows;

pub use booking::{Invitation, invitation};
pub use export::{Feed, export};
pub use import::{Imported, import};
use jiff::civil;

use super::zone::{OutOfRange, Zone};
use crate::time::Time;

/// Largest file: a year's feed of a large agency is a tenth of it.
pub const MAX_BYTES: usize = 4 << 20;
/// Most events in a file.
pub const MAX_EVENTS: usize = 10_000;

/// What cannot be honoured in a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, {property}: {problem}")]
pub struct Fault {
    /// Counted from 1, as an editor shows it: where the property begins.
    pub line: usize,
    /// The property or component.
    pub property: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Fault {
    fn new(line: usize, property: &str, problem: impl Into<String>) -> Self {
        let property = property.chars().take(60).collect();
        Self { line, property, problem: problem.into() }
    }
}

/// The instant that RFC 5545 3.3.5 gives a civil time: the first of two; one that does not exist is read
/// with the offset before the gap.
fn rfc_instant(zone: &Zone, datetime: civil::DateTime) -> Result<Time, OutOfRange> {
    let readings = zone.readings(datetime)?;
    Ok(if readings.is_gap { readings.later } else { readings.earlier })
}

#[cfg(test)]
mod tests;
