//! A booking as an event: in feeds, and as an invitation (RFC 5546).

use super::export::utc;
use super::line::Writer;
use crate::case::{BookingCase, Case};
use crate::digest::Digest;
use crate::fold::State;

/// A calendar entry that is sent to one person: a file with one event, and what is to be done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// `REQUEST`, or `CANCEL`: the media type's `method`, too (RFC 6047).
    pub method: &'static str,
    /// The file.
    pub text: String,
}

/// Who sends an invitation, and to whom: mail addresses.
#[derive(Clone, Copy)]
pub(super) struct Parties<'a> {
    organizer: &'a str,
    attendee: &'a str,
}

/// The entry for a booking as the state has it, from `organizer` to `attendee`; `None` where there is no such
/// booking. Its UID is the one that feeds have, and each change of the booking raises its SEQUENCE.
pub fn invitation(
    state: &State,
    booking: &Digest,
    organizer: &str,
    attendee: &str,
) -> Option<Invitation> {
    let (case, it) = state.booking(booking)?;
    let method = if is_off(case, it) { "CANCEL" } else { "REQUEST" };
    let mut writer = Writer::default();
    writer.raw("BEGIN", "VCALENDAR");
    writer.raw("VERSION", "2.0");
    writer.raw("PRODID", "-//Cutover//Calendar//EN");
    writer.raw("METHOD", method);
    write(&mut writer, &domain(state), case, it, Some(Parties { organizer, attendee }));
    writer.raw("END", "VCALENDAR");
    Some(Invitation { method, text: writer.finish() })
}

/// What UIDs end in: the log's own name without its path.
pub(super) fn domain(state: &State) -> String {
    let origin = state.policy().map_or("cutover", |it| it.document().log.origin.as_str());
    origin.split('/').next().unwrap_or(origin).to_owned()
}

fn is_off(case: &Case, it: &BookingCase) -> bool {
    it.cancelled.is_some() || case.cancelled.is_some()
}

/// How often the booking was changed: it was released, it was cancelled.
fn revision(case: &Case, it: &BookingCase) -> u64 {
    u64::from(it.released.is_some()) + u64::from(is_off(case, it))
}

/// Writes the event.
pub(super) fn write(
    writer: &mut Writer,
    domain: &str,
    case: &Case,
    it: &BookingCase,
    parties: Option<Parties<'_>>,
) {
    let (id, says) = (it.booking.id(), it.booking.says());
    let status = if is_off(case, it) { "CANCELLED" } else { "CONFIRMED" };
    let changed = [
        it.cancelled.as_ref().map(|it| it.header().issued),
        case.cancelled.as_ref().map(|it| it.header().issued),
        it.released.as_ref().map(|it| it.header().issued),
        Some(it.booking.header().issued),
    ];
    writer.raw("BEGIN", "VEVENT");
    writer.raw("UID", &format!("booking-{id}@{domain}"));
    if let Some(stamp) = changed.into_iter().flatten().max() {
        writer.raw("DTSTAMP", &utc(stamp));
    }
    writer.raw("SEQUENCE", &revision(case, it).to_string());
    writer.raw("STATUS", status);
    writer.raw("DTSTART", &utc(says.window.start));
    writer.raw("DTEND", &utc(says.window.end));
    let release = case.release.says();
    let (name, version) = (case.name(), &release.version);
    let summary = format!("{name}: {} {version} → {}", says.application, says.environment);
    writer.text("SUMMARY", &summary);
    let hosts: Vec<_> = says.plan.hosts().map(|it| it.host.as_str()).collect();
    let hosts = hosts.join(", ");
    let package = release.package;
    let told = format!("{}\nHosts: {hosts}\nPackage: sha256:{package}", release.summary);
    writer.text("DESCRIPTION", &told);
    writer.text("LOCATION", says.environment.as_str());
    if let Some(Parties { organizer, attendee }) = parties {
        writer.raw("ORGANIZER", &format!("mailto:{organizer}"));
        writer.raw("ATTENDEE;RSVP=FALSE", &format!("mailto:{attendee}"));
    }
    writer.raw("END", "VEVENT");
}
