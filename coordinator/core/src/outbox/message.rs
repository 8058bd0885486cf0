//! A notice in words, as data for programs, and as calendar entries.

use std::fmt::Write as _;

use cutover_shared::calendar::ics::{self, Invitation};
use cutover_shared::calendar::zone::Zone;
use cutover_shared::case::{BookingCase, Case};
use cutover_shared::fold::State;
use cutover_shared::fold::standing::{ReleaseStanding, release_standing};
use cutover_shared::name::Name;
use cutover_shared::package::runbook::Deed;
use cutover_shared::policy::KeyEntry;
use cutover_shared::statement::{Cancel, Derivation, Freeze, Outcome, Says, Statement};
use cutover_shared::time::Time;
use serde_json::{Value, json};

use super::notice::{Notice, What, frozen};
use super::policy;
use super::timed::{Asked, Cause};
use super::words::{ending, failed_readings, reasons};

/// How messages are written.
#[derive(Debug, Clone)]
pub struct Setting<'a> {
    /// In whose time windows are told besides UTC, where neither booking nor calendar says it.
    pub zone: &'a Zone,
    /// The address that calendar entries come from.
    pub organizer: &'a str,
    /// The address that they are for; empty for programs.
    pub attendee: &'a str,
    /// The clock.
    pub now: Time,
}

/// What is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// What happened to what, for programs: `release.booked`.
    pub event: String,
    /// What it is about: `R-7`.
    pub about: String,
    /// One line.
    pub subject: String,
    /// Lines for people.
    pub text: String,
    /// The same for programs.
    pub data: Value,
    /// A calendar entry for each window that begins, changes or ends by it.
    pub invitations: Vec<Invitation>,
}

/// The message of a notice, from the statement that it tells of; `None` where what it is about is not known.
pub fn message(
    state: &State,
    setting: &Setting<'_>,
    notice: &Notice,
    statement: &Statement,
) -> Option<Message> {
    let Some(release) = notice.release else { return policy::message(notice, statement) };
    // What the clock brings or a host asks is told of the release as it is by then.
    let (size, at) = match &notice.cause {
        Cause::Entry => (notice.index + 1, statement.header.issued),
        Cause::Due(instant) => (state.next_index(), *instant),
        Cause::Asked(_) => (state.next_index(), setting.now),
    };
    let past = state.as_of(&release, size)?;
    let case = past.case(&release)?;
    let mut standing = release_standing(&past, case, at);
    if let (Cause::Due(_), Some((_, booking))) = (&notice.cause, past.booking(&notice.statement)) {
        // A window has ended: what counts is where it was.
        let place = &booking.booking.says().environment;
        if let Some(here) = standing.environments.iter().find(|it| it.environment == *place) {
            (standing.word, standing.detail) = (here.word, format!("{place}: {}", here.detail));
        }
    }
    let told = Told { state: &past, case, standing, notice, statement, setting };
    let bookings = told.bookings();
    let lines = told.lines(&bookings);
    let mut text = format!("{}\n\n", told.headline());
    for (name, value) in &lines {
        let value = value.replace('\n', "\n             ");
        let _ = writeln!(text, "{name:12} {value}");
    }
    let _ = write!(text, "\n{}\n", told.foot());
    let calls = matches!(
        notice.what,
        What::Booked | What::Released | What::WindowCancelled | What::Cancelled
    );
    let invitations = bookings.iter().filter(|_| calls).filter_map(|booking| {
        let id = booking.booking.id();
        ics::invitation(&past, &id, setting.organizer, setting.attendee)
    });
    Some(Message {
        event: format!("release.{}", notice.what.name()),
        about: format!("R-{}", case.number),
        subject: told.subject(&bookings),
        text,
        data: told.data(&bookings),
        invitations: invitations.collect(),
    })
}

struct Told<'a> {
    state: &'a State,
    case: &'a Case,
    standing: ReleaseStanding,
    notice: &'a Notice,
    statement: &'a Statement,
    setting: &'a Setting<'a>,
}

impl<'a> Told<'a> {
    /// The bookings that it is about, in the order of the log.
    fn bookings(&self) -> Vec<&'a BookingCase> {
        if let Says::Cancel(Cancel { booking: None, .. }) = &self.statement.says {
            let mut all: Vec<_> = self.case.booked().filter(|it| it.cancelled.is_none()).collect();
            all.sort_by_key(|it| it.booking.index());
            return all;
        }
        if let Says::Freeze(freeze) = &self.statement.says {
            let (index, issued) = (self.notice.index, self.statement.header.issued);
            let mut all: Vec<_> = frozen(self.state, self.case, freeze, index, issued).collect();
            all.sort_by_key(|it| it.booking.index());
            return all;
        }
        let own = self.notice.statement;
        let subjects = self.statement.says.subjects();
        let named = subjects.iter().filter(|(name, _)| *name == "booking").map(|(_, id)| *id);
        let order = self.outcome().map(|it| it.order);
        let cancelled = if let Says::Cancel(it) = &self.statement.says { it.booking } else { None };
        let ids = std::iter::once(own).chain(named).chain(order).chain(cancelled);
        ids.filter_map(|id| self.case.bookings.get(&id).map(|it| &**it)).collect()
    }

    fn name(&self) -> String {
        let release = self.case.release.says();
        format!("{} {} {}", self.case.name(), release.application, release.version)
    }

    fn outcome(&self) -> Option<&'a Outcome> {
        if let Says::Outcome(it) = &self.statement.says { Some(it) } else { None }
    }

    fn headline(&self) -> String {
        let change = self.case.release.says().change;
        format!("{} ({change} change) {}.", self.name(), self.notice.what.sentence())
    }

    fn subject(&self, bookings: &[&BookingCase]) -> String {
        let name = self.name();
        let what = self.notice.what.sentence();
        let place = match (self.outcome(), &self.notice.cause, bookings) {
            (Some(it), ..) => format!(" ({})", it.host),
            (None, Cause::Asked(it), _) => format!(" ({}: {})", it.host, it.awaited),
            (None, _, [booking]) => {
                let says = booking.booking.says();
                format!(": {}, {}", says.environment, says.window.start)
            }
            (None, ..) => String::new(),
        };
        format!("[Cutover] {name} {what}{place}")
    }

    fn lines(&self, bookings: &[&BookingCase]) -> Vec<(&'static str, String)> {
        let release = self.case.release.says();
        let mut lines = vec![("What", release.summary.clone())];
        let state = match self.standing.detail.as_str() {
            "" => self.standing.word.to_string(),
            detail => format!("{} ({detail})", self.standing.word),
        };
        lines.push(("State", state));
        lines.push(("By", self.by()));
        for booking in bookings {
            let says = booking.booking.says();
            lines.push(("When", self.when(booking)));
            lines.push(("Where", places(booking)));
            let slot = format!(
                "{}: releases/<generation>-{}/, switched in as `current`",
                says.application,
                release.package.short()
            );
            lines.push(("Slot", slot));
        }
        lines.push(("Package", format!("sha256:{}", release.package)));
        if let Says::Freeze(Freeze::Declared { start, end, .. }) = &self.statement.says {
            lines.push(("Freeze", format!("{start} to {end} (UTC)")));
        }
        for delivery in self.case.deliveries.iter().rev().take(1) {
            lines.push(("Delivered", delivery.says().location.clone()));
        }
        if let Some(outcome) = self.outcome() {
            lines.push(("Host", outcome.host.to_string()));
            let (step, output) = ending(&outcome.event);
            lines.extend(step.map(|step| ("Step", step)));
            lines.extend(output.map(|output| ("Output", output)));
            let failed = failed_readings(outcome);
            lines.extend(failed.into_iter().map(|reading| ("Check", reading)));
        }
        if let Cause::Asked(asked) = &self.notice.cause {
            lines.push(("Host", asked.host.to_string()));
            lines.push(("Step", asked.awaited.to_string()));
            lines.extend(deed(asked).map(|deed| ("To do", deed.what.clone())));
            let (number, step) = (self.case.number, &asked.awaited.step);
            lines.push((
                "Done",
                format!("cutover step done R-{number} {step} --note WHAT-WAS-SEEN"),
            ));
        }
        let reasons = reasons(&self.statement.says);
        lines.extend(reasons.into_iter().map(|(item, reason)| match item {
            Some(item) => ("Item", format!("{item}: {reason}")),
            None => ("Reason", reason),
        }));
        let contacts: Vec<String> = self
            .contacts(bookings)
            .iter()
            .map(|(what, name, address)| format!("{what}: {name} <{address}>"))
            .collect();
        lines.push(("Contacts", contacts.join("\n")));
        lines
    }

    fn by(&self) -> String {
        match (self.outcome(), &self.notice.cause) {
            (Some(outcome), _) => format!("host {}", outcome.host),
            (None, Cause::Asked(asked)) => format!("host {}", asked.host),
            (None, Cause::Due(instant)) => format!("the clock, {instant}"),
            (None, Cause::Entry) => {
                self.owner().map_or_else(|| "an unknown key".to_owned(), Name::to_string)
            }
        }
    }

    fn owner(&self) -> Option<&'a Name> {
        let policy = self.state.policy()?;
        policy.document().entry(&self.statement.header.by?).map(|entry| &entry.owner)
    }

    /// Whose time a booking is told in.
    fn zone(&self, booking: &BookingCase) -> Zone {
        let says = booking.booking.says();
        let written = says.derivation.as_ref().map(|Derivation { zone, .. }| zone.as_str());
        let calendar = self.state.calendar(&says.environment);
        let calendar = calendar.map(|it| it.declared.says().terms.zone.as_str());
        let found = written.into_iter().chain(calendar).find_map(|name| Zone::find(name).ok());
        found.unwrap_or_else(|| self.setting.zone.clone())
    }

    fn when(&self, booking: &BookingCase) -> String {
        let (window, zone) = (booking.booking.says().window, self.zone(booking));
        let utc = format!("{} to {} (UTC)", window.start, window.end);
        if zone.name() == "UTC" {
            return utc;
        }
        let (start, end) = (local(&zone, window.start), local(&zone, window.end));
        format!("{utc}\n{start} to {end} ({})", zone.name())
    }

    /// What they are to it, who, and where they are told.
    fn contacts(&self, bookings: &[&BookingCase]) -> Vec<(&'static str, &'a Name, &'a str)> {
        let mut found = Vec::new();
        let keys = self.state.policy().map(|it| it.document().keys.as_slice()).unwrap_or_default();
        let mut add = |what: &'static str, owner: &Name| {
            let entry: Option<&'a KeyEntry> = keys.iter().find(|entry| entry.owner == *owner);
            let entry = entry.map(|entry| (what, &entry.owner, entry.email.as_str()));
            found.extend(entry.filter(|it| !found.contains(it)));
        };
        for signer in self.case.release.signers() {
            add("requester", &signer.owner);
        }
        for booking in bookings {
            for signer in booking.booking.signers() {
                add("booked by", &signer.owner);
            }
        }
        if self.outcome().is_none()
            && let Some(owner) = self.owner()
        {
            add("signed by", owner);
        }
        found
    }

    fn foot(&self) -> String {
        let number = self.case.number;
        let origin = self.state.policy().map_or("", |it| it.document().log.origin.as_str());
        format!(
            "What is next, who must act, and by when: cutover explain R-{number}\nWhat was signed: cutover \
             log show {} (log {origin}, statement {})",
            self.notice.index, self.notice.statement
        )
    }

    fn data(&self, bookings: &[&BookingCase]) -> Value {
        let release = self.case.release.says();
        let windows: Vec<Value> = bookings.iter().map(|booking| self.window(booking)).collect();
        let contacts: Vec<Value> = self
            .contacts(bookings)
            .into_iter()
            .map(|(what, name, address)| json!({ "what": what, "name": name, "e-mail": address }))
            .collect();
        let environments = self.standing.environments.iter();
        let environments: serde_json::Map<String, Value> =
            environments.map(|it| (it.environment.to_string(), json!(it.word))).collect();
        let reasons: Vec<Value> = reasons(&self.statement.says)
            .into_iter()
            .map(|(item, reason)| json!({ "item": item, "reason": reason }))
            .collect();
        let host = self.outcome().map(|it| {
            let (step, output) = ending(&it.event);
            json!({
                "host": it.host,
                "event": it.event.name(),
                "step": step,
                "output": output,
                "failed-checks": failed_readings(it),
            })
        });
        let step = if let Cause::Asked(it) = &self.notice.cause {
            let what = deed(it).map(|deed| &deed.what);
            Some(
                json!({ "host": it.host, "step": it.awaited.step, "direction": it.awaited.direction, "what": what }),
            )
        } else {
            None
        };
        json!({
            "release": format!("R-{}", self.case.number),
            "iteration": release.iteration.as_ref().map(|it| it.number),
            "release-statement": self.case.release.id(),
            "application": release.application,
            "version": release.version,
            "package": release.package,
            "change": release.change,
            "summary": release.summary,
            "what": self.notice.what.name(),
            "state": self.standing.word,
            "detail": self.standing.detail,
            "environments": environments,
            "windows": windows,
            "location": self.case.deliveries.last().map(|it| &it.says().location),
            "host": host,
            "step": step,
            "reasons": reasons,
            "contacts": contacts,
            "by": self.by(),
            "statement": self.notice.statement,
            "log-index": self.notice.index,
            "issued": self.statement.header.issued,
        })
    }

    fn window(&self, booking: &BookingCase) -> Value {
        let (says, zone) = (booking.booking.says(), self.zone(booking));
        let waves = says.plan.waves.iter().map(|wave| {
            let hosts: Vec<_> = wave.hosts.iter().map(|it| &it.host).collect();
            json!({ "name": wave.name, "hosts": hosts })
        });
        json!({
            "booking": booking.booking.id(),
            "environment": says.environment,
            "start": says.window.start,
            "end": says.window.end,
            "zone": zone.name(),
            "local-start": local(&zone, says.window.start),
            "local-end": local(&zone, says.window.end),
            "waves": waves.collect::<Vec<_>>(),
            "cancelled": booking.cancelled.is_some() || self.case.cancelled.is_some(),
        })
    }
}

/// What is to be done of a step that is waited for.
fn deed(asked: &Asked) -> Option<&Deed> {
    asked.step.as_ref()?.deed(asked.awaited.direction)
}

/// An instant on the clocks of a zone.
fn local(zone: &Zone, instant: Time) -> String {
    let (abbreviation, _) = zone.abbreviation(instant);
    let civil = zone.civil(instant);
    format!("{} {:02}:{:02} {abbreviation}", civil.date(), civil.hour(), civil.minute())
}

fn places(booking: &BookingCase) -> String {
    let says = booking.booking.says();
    let waves = says.plan.waves.iter().map(|wave| {
        let hosts: Vec<_> = wave.hosts.iter().map(|it| it.host.as_str()).collect();
        format!("wave {}: {}", wave.name, hosts.join(", "))
    });
    let waves: Vec<String> = waves.collect();
    format!("{}\n{}", says.environment, waves.join("\n"))
}
