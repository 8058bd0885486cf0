//! The calendar, from outside: the cases that the process names, word for word; calendars in the fold and
//! at the admission of bookings; suggestions.

#![expect(clippy::unwrap_used, reason = "in tests a failure to prepare is a failure")]

mod feeds;
mod lints;
mod process;
#[expect(dead_code, reason = "an agency that other tests share; these need less of it")]
#[path = "../standing/scene.rs"]
mod scene;
mod terms;
