//! What a host told of a release, whole: how each of its orders ended, where and why, with what a hook that
//! failed said, and the readings that decided. The fold keeps the end alone; the rest is in the log's entry.

use cutover_shared::case::{Case, Verified};
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::fold::State;
use cutover_shared::name::Name;
use cutover_shared::statement::{Event, Outcome, Reading, Says, Statement};
use cutover_shared::time::Time;
use serde::Serialize;

use crate::cli::exit::Failure;

/// One outcome of a host.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Told {
    /// Which entry of the log it is.
    entry: u64,
    host: Name,
    order: Digest,
    generation: u64,
    /// `committed`, `returned`, `rolled-back`, `refused` or `stuck`.
    event: &'static str,
    /// The step that failed, or the code of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    /// Why, with what a hook that failed said: the beginning and the end of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    started: Time,
    ended: Time,
    /// The readings that decided.
    readings: Vec<Reading>,
}

/// The entries of the log in which `host` tells of the release, in their order. What has drifted is told
/// elsewhere.
pub(super) fn entries(state: &State, case: &Case, host: &Name) -> Vec<u64> {
    let returns = state.rollbacks().flat_map(|rollback| &rollback.outcomes);
    let returns = returns.filter(|it| it.says().release == case.release.id());
    let mine = case.outcomes().chain(returns).filter(|it| it.says().host == *host);
    let mine = mine.filter(|it| !matches!(it.says().event, Event::Drifted { .. }));
    let mut entries: Vec<_> = mine.map(Verified::index).collect();
    entries.sort_unstable();
    entries.dedup();
    entries
}

impl Told {
    /// Reads an entry that is an outcome.
    pub(super) fn read(entry: u64, envelope: &Envelope) -> Result<Self, Failure> {
        match Statement::read(envelope).map(|statement| statement.says) {
            Ok(Says::Outcome(outcome)) => Ok(Self::of(entry, *outcome)),
            Ok(_) | Err(_) => Err(Failure::failed(format!("read entry {entry}: it is no outcome"))),
        }
    }

    fn of(entry: u64, outcome: Outcome) -> Self {
        let event = outcome.event.name();
        let (step, output) = match outcome.event {
            Event::Returned { step, reason } | Event::Stuck { step, reason } => {
                (Some(step), Some(reason))
            }
            Event::Refused { code, detail } => (Some(code), Some(detail)),
            Event::Committed | Event::RolledBack | Event::Drifted(_) => (None, None),
        };
        Self {
            entry,
            host: outcome.host,
            order: outcome.order,
            generation: outcome.generation,
            event,
            step,
            output,
            started: outcome.started,
            ended: outcome.ended,
            readings: outcome.readings,
        }
    }

    fn text(&self) -> String {
        let step = self.step.as_ref().map(|step| format!(": {step}")).unwrap_or_default();
        let mut lines = vec![format!(
            "{} {}{step}\n  order {}, generation {}, {} to {}, entry {}",
            self.host,
            self.event,
            self.order.short(),
            self.generation,
            self.started,
            self.ended,
            self.entry
        )];
        let output = self.output.iter().flat_map(|output| output.lines());
        lines.extend(output.map(|line| format!("  | {line}")));
        lines.extend(self.readings.iter().map(|it| {
            let word = if it.healthy { "healthy" } else { "UNHEALTHY" };
            format!("  {} {} {word}: {}", it.time, it.check, it.detail)
        }));
        lines.join("\n")
    }
}

/// All of them, for people.
pub(super) fn text(told: &[Told]) -> String {
    if told.is_empty() {
        return "The host has told nothing of it yet.".to_owned();
    }
    told.iter().map(Told::text).collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::names::scene::{Scene, minutes, name};

    #[test]
    fn what_a_hook_said_is_shown_line_by_line() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        scene.approve(release);
        let booking = scene.book(release, "staging", &[&["stage-1"]]);
        scene.arm(booking);
        scene.wait(minutes(10));
        let event = Event::Returned {
            step: "post-start hook".to_owned(),
            reason: "hooks/post-start: exit status 3: no queue\nno table".to_owned(),
        };
        let at = scene.state.next_index();
        scene.report("stage-1", booking, event.clone());
        let case = scene.state.case(&release).unwrap();
        assert_eq!(entries(&scene.state, case, &name("stage-1")), [at]);
        assert_eq!(entries(&scene.state, case, &name("stage-2")), Vec::<u64>::new());
        let said = case.outcomes().next().unwrap().says();
        let outcome = Outcome {
            host: said.host.clone(),
            host_key: said.host_key,
            application: said.application.clone(),
            generation: 7,
            order: booking,
            release,
            package: said.package,
            event,
            running: None,
            started: scene.now,
            ended: scene.now,
            readings: vec![Reading {
                check: "page".to_owned(),
                time: scene.now,
                healthy: false,
                detail: "status 503".to_owned(),
            }],
            clearances: Vec::new(),
        };
        let shown = text(&[Told::of(at, outcome)]);
        for line in [
            "stage-1 returned: post-start hook",
            "  | hooks/post-start: exit status 3: no queue",
            "  | no table",
        ] {
            assert!(shown.lines().any(|it| it == line), "{line:?} in {shown}");
        }
        assert!(shown.ends_with("page UNHEALTHY: status 503"), "{shown}");
        assert!(text(&[]).contains("nothing"));
    }
}
