//! From what the deployment machine tells at an order's end to the statement that the host signs.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cutover_machine::{Cause, Kind, Outcome as Ended, Point, What};
use cutover_shared::digest::Digest;
use cutover_shared::key::KeyId;
use cutover_shared::name::Name;
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{Event, Outcome, Reading};
use cutover_shared::time::Time;

use crate::saved::SavedApplication;

/// Who reports.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    /// The host.
    pub(crate) host: Name,
    /// Its key.
    pub(crate) host_key: KeyId,
}

/// The statement of an order that has ended; `before` is what was saved up to now.
pub(crate) fn of_ended(
    reporter: &Reporter,
    application: &Name,
    ended: &Ended,
    before: &SavedApplication,
) -> Outcome {
    let running = running_after(ended, before);
    let left = before.record.committed.filter(|_| ended.kind == Kind::Return);
    let clearances = |id: &Digest| {
        let id = *id;
        let found = before.clearances.iter().filter(move |(known, _)| *known == id);
        found.map(|(_, envelope)| BASE64_STANDARD.encode(envelope))
    };
    Outcome {
        host: reporter.host.clone(),
        host_key: reporter.host_key,
        application: application.clone(),
        generation: ended.generation,
        order: ended.booking,
        // An ordered return is about the release that it leaves.
        release: left.map_or(ended.release, |slot| slot.release),
        package: left.map_or(ended.package, |slot| slot.package),
        event: event(ended),
        running,
        started: ended.began,
        ended: ended.ended,
        readings: readings(ended),
        clearances: ended.clearances.iter().flat_map(clearances).collect(),
    }
}

/// The statement of an order that was refused before anything was begun.
pub(crate) fn of_refused(
    reporter: &Reporter,
    application: &Name,
    (order, release, package): (Digest, Digest, Digest),
    refusal: &Refusal,
    before: &SavedApplication,
    now: Time,
) -> Outcome {
    Outcome {
        host: reporter.host.clone(),
        host_key: reporter.host_key,
        application: application.clone(),
        generation: before.record.generation,
        order,
        release,
        package,
        event: Event::Refused { code: refusal.code.to_string(), detail: refusal.facts.clone() },
        running: before.record.committed.map(|slot| slot.package),
        started: now,
        ended: now,
        readings: Vec::new(),
        clearances: Vec::new(),
    }
}

/// What runs when the order has ended.
fn running_after(ended: &Ended, before: &SavedApplication) -> Option<Digest> {
    match &ended.what {
        What::Committed => Some(ended.package),
        What::Returned { to } => to.map(|slot| slot.package),
        What::Abandoned => before.record.committed.map(|slot| slot.package),
        What::Stuck { .. } => None,
    }
}

fn event(ended: &Ended) -> Event {
    let (step, reason) = match &ended.cause {
        Some(cause) => told(cause, ended.reached),
        None => (step_name(ended.reached).to_owned(), "unknown".to_owned()),
    };
    match (&ended.what, ended.kind) {
        (What::Committed, Kind::Forward) => Event::Committed,
        (What::Committed, Kind::Return) => Event::RolledBack,
        (What::Abandoned, _) => {
            let refusal = abandoned(ended);
            Event::Refused { code: refusal.code.to_string(), detail: refusal.facts }
        }
        (What::Returned { .. }, _) => Event::Returned { step, reason },
        (What::Stuck { at }, _) => {
            let (step, reason) = match at {
                Some((step, why)) => {
                    (format!("{step:?}").to_lowercase(), format!("{why}; before that: {reason}"))
                }
                None => (step, reason),
            };
            Event::Stuck { step, reason }
        }
    }
}

/// Why an order was given up before it touched the host, as a refusal: what the failing step said begins
/// with a code where it has one.
pub(crate) fn abandoned(ended: &Ended) -> Refusal {
    let (step, reason) = match &ended.cause {
        Some(cause) => told(cause, ended.reached),
        None => (step_name(ended.reached).to_owned(), String::new()),
    };
    let coded = |text: &str| {
        let (name, facts) = text.split_once(": ")?;
        let code = Code::ALL.iter().find(|code| code.name() == name)?;
        Some(Refusal::new(*code, facts))
    };
    let code = match &ended.cause {
        Some(Cause::Held { .. }) => Code::Held,
        Some(Cause::NotCleared { .. }) => Code::NotCleared,
        Some(Cause::WindowClosing | Cause::NoRoom) => Code::WindowTooShort,
        Some(
            Cause::Failed { .. }
            | Cause::NeverHealthy
            | Cause::HealthLost
            | Cause::Exited { .. }
            | Cause::Interrupted { .. }
            | Cause::NotRecorded { .. }
            | Cause::Operator { .. },
        )
        | None => Code::Busy,
    };
    coded(&reason).unwrap_or_else(|| Refusal::new(code, format!("{step}: {reason}")))
}

fn told(cause: &Cause, reached: Point) -> (String, String) {
    let step = |point| step_name(point).to_owned();
    match cause {
        Cause::Failed { at, why } => (step(*at), why.clone()),
        Cause::NeverHealthy => (step(reached), "not healthy by its deadline".to_owned()),
        Cause::HealthLost => (step(reached), "health was lost while baking".to_owned()),
        Cause::Exited { why } => (step(reached), format!("the application ended: {why}")),
        Cause::WindowClosing => (step(reached), "the window was closing".to_owned()),
        Cause::NoRoom => (step(reached), "the rest of the window was too short".to_owned()),
        Cause::Held { why } | Cause::NotCleared { why } => (step(reached), why.clone()),
        Cause::Interrupted { at } => (step(*at), "the applier ended on the way".to_owned()),
        Cause::NotRecorded { why } => (step(reached), format!("the ledger: {why}")),
        Cause::Operator { why } => (step(reached), why.clone()),
    }
}

/// The deployment machine's step, as people and reports call it.
pub(crate) fn step_name(point: Point) -> &'static str {
    match point {
        Point::Clear => "authorised",
        Point::Fetch => "fetching",
        Point::Wait => "assembled",
        Point::Preflight | Point::ClearAgain => "preflight",
        Point::PreStopHook => "pre-stop hook",
        Point::Stop => "stopping",
        Point::StopHook => "stop hook",
        Point::Switch => "activating",
        Point::ActivateHook => "activate hook",
        Point::StartHook => "start hook",
        Point::Start => "starting",
        Point::PostStartHook => "post-start hook",
        Point::Check => "checking",
        Point::Bake => "baking",
    }
}

/// The readings that decided. Where an operator's word did, it stands among them.
fn readings(ended: &Ended) -> Vec<Reading> {
    let rounds = ended.health.samples.iter();
    let seen = rounds.flat_map(|sample| {
        sample.readings.iter().map(|reading| Reading {
            check: reading.check.clone(),
            time: sample.at,
            healthy: reading.healthy,
            detail: reading.detail.clone(),
        })
    });
    let word = match (&ended.what, &ended.cause) {
        (What::Committed, Some(Cause::Operator { why })) => Some(Reading {
            check: OPERATOR.to_owned(),
            time: ended.ended,
            healthy: true,
            detail: why.clone(),
        }),
        _ => None,
    };
    seen.chain(word).collect()
}

/// The name under which an operator's word stands among the readings.
const OPERATOR: &str = "operator";
