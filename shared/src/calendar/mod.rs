//! The calendar: civil times, recurrences, windows that come again, and which slot a release could have.
//!
//! Pure, as all of this crate: the zone database is bundled ([`zone::database_version`]), so that the same
//! text gives the same instants on every machine. What comes out are instants ([`crate::window::Window`]);
//! hosts never see anything else (DESIGN 6).
//!
//! Read it from the bottom up:
//!
//! - [`zone`]: IANA zones, and the two readings of a civil time;
//! - [`span`]: from when until when, as people write it, as a permission and as a prohibition;
//! - [`rule`]: recurrence rules, a subset of RFC 5545;
//! - [`recurring`]: a window that comes again, with its exceptions;
//! - [`agenda`]: everything that stands in the way of a booking, sorted; [`mod@suggest`]: what is left of
//!   the offered time, ranked; [`lint`]: what people should know of a calendar before they sign it;
//! - [`ics`]: iCalendar files, in and out.

pub mod agenda;
pub mod ics;
pub mod lint;
pub mod recurring;
pub mod rule;
pub mod span;
pub mod suggest;
pub mod zone;
