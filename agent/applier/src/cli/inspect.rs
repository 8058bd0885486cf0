//! `cutover-applier inspect`: what the ledger holds, read and left as it is.

use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use cutover_applier_core::{Saved, SavedApplication, SavedTrust};
use cutover_machine::{State, What};
use cutover_shared::name::Name;

use super::tell;
use crate::config::Settings;
use crate::ledger::{self, Origin};

/// The ledger's body and where it came from.
pub(super) fn read(settings: &Settings) -> anyhow::Result<(Saved, Origin)> {
    let path = settings.state_directory.join("ledger");
    let found = ledger::look(&path)?;
    let Some(body) = found.body else {
        bail!("{} is not there: the service has not run on this host yet", path.display());
    };
    let saved =
        Saved::decode(&body).with_context(|| format!("read the body of {}", path.display()))?;
    Ok((saved, found.origin))
}

pub(super) fn run(settings: &Settings, json: bool) -> anyhow::Result<()> {
    let (saved, origin) = read(settings)?;
    if json {
        return tell(&serde_json::to_string_pretty(&shown(settings, &saved, origin))?);
    }
    let mut text = format!("host {} in {}\n", settings.host, settings.environment);
    if let Origin::Previous(damage) = origin {
        let _ = writeln!(
            text,
            "the ledger is damaged ({damage}); this is the copy before it, and one change may be missing"
        );
    }
    let enrolled = saved.enrolment.as_ref().map(|it| it.logged);
    text.push_str(match (saved.join.is_some(), enrolled) {
        (false, _) => "not joined: run `cutover-applier join`\n",
        (true, Some(true)) => "enrolled\n",
        (true, _) => "joined, enrolment not yet in the log\n",
    });
    if let Some(trust) = saved.trust.as_ref().and_then(SavedTrust::trust) {
        let _ = writeln!(
            text,
            "policy version {} ({}), log of {} entries seen",
            trust.policy.document().version,
            trust.policy.id().short(),
            trust.head.size
        );
    }
    let _ = writeln!(text, "{} outcomes wait to be logged", saved.reports.len());
    for (name, application) in &saved.applications {
        text.push_str(&line(name, application));
    }
    tell(text.trim_end())
}

fn line(name: &Name, application: &SavedApplication) -> String {
    let record = &application.record;
    let running = record.committed.map_or("absent".to_owned(), |slot| slot.package.short());
    let state = record.state.phase();
    let mut text =
        format!("{name}: {state}, generation {}, committed {running}\n", record.generation);
    if let Some(why) = stuck(&record.state) {
        let _ = writeln!(
            text,
            "  {why}\n  look at it, then: cutover-applier return {name} --reason … (or keep {name})"
        );
    }
    text
}

/// Why an application is stuck, if it is.
pub(super) fn stuck(state: &State) -> Option<String> {
    let State::Stuck(_, outcome) = state else { return None };
    match &outcome.what {
        What::Stuck { at: Some((step, why)) } => Some(format!("{step} failed: {why}")),
        What::Stuck { at: None } => {
            Some("the release was approved as irreversible, and it failed".to_owned())
        }
        What::Committed | What::Abandoned | What::Returned { .. } => None,
    }
}

fn shown(settings: &Settings, saved: &Saved, origin: Origin) -> serde_json::Value {
    let trust = saved.trust.as_ref().and_then(SavedTrust::trust);
    let application = |(name, it): (&Name, &SavedApplication)| {
        let value = serde_json::json!({
            "state": it.record.state.phase().to_string(),
            "generation": it.record.generation,
            "running": it.record.committed.map(|slot| slot.package),
            "earlier": it.history.iter().map(|slot| slot.package).collect::<Vec<_>>(),
            "stuck": stuck(&it.record.state),
        });
        (name.to_string(), value)
    };
    serde_json::json!({
        "host": settings.host,
        "environment": settings.environment,
        "ledger": match origin {
            Origin::New | Origin::Current => "whole".to_owned(),
            Origin::Previous(damage) => format!("the copy before it: {damage}"),
        },
        "joined": saved.join.is_some(),
        "enrolled": saved.enrolment.as_ref().is_some_and(|it| it.logged),
        "policy": trust.as_ref().map(|it| it.policy.id()),
        "policy_version": trust.as_ref().map(|it| it.policy.document().version),
        "log_size": trust.as_ref().map(|it| it.head.size),
        "waiting_outcomes": saved.reports.len(),
        "applications": saved.applications.iter().map(application).collect::<serde_json::Map<_, _>>(),
    })
}
