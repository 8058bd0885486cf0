//! What this host knows of itself for the rules, and how an order is refused.

use cutover_machine::{Kind, Record, State};
use cutover_shared::authorise::{HostFacts, InstalledFacts, TakenBack};
use cutover_shared::digest::Digest;
use cutover_shared::name::Name;
use cutover_shared::refusal::{Code, Refusal};

use crate::applier::Core;
use crate::input::Outside;
use crate::outcome;
use crate::output::Note;

/// Most characters of a refusal's facts that are kept and signed.
pub(crate) const MAX_FACTS: usize = 1000;

/// The order whose commit is the last thing that the machine did.
fn committed_by(record: &Record) -> Option<Digest> {
    match &record.state {
        State::Committed(outcome) if outcome.kind == Kind::Forward => Some(outcome.booking),
        State::Idle
        | State::Authorised(_)
        | State::Fetching(_)
        | State::Assembled(_)
        | State::Preflight(..)
        | State::Stopping(..)
        | State::Activating(..)
        | State::Starting(..)
        | State::Checking(_)
        | State::Baking(_)
        | State::Committed(_)
        | State::Returning(..)
        | State::Returned(_)
        | State::Stuck(..) => None,
    }
}

impl Core {
    /// What this host knows of itself, for the rules.
    pub(crate) fn facts(&self, name: &Name, outside: &Outside<'_>) -> HostFacts {
        let installed = self.saved.applications.get(name).map(|saved| InstalledFacts {
            generation: saved.record.generation,
            running: saved.record.committed.map(|slot| slot.package),
            previous: saved.history.first().map(|slot| slot.package),
            committed_by: committed_by(&saved.record),
            spent: saved.spent.iter().map(|(order, _)| *order).collect(),
            returned: saved
                .returned
                .iter()
                .map(|(package, size, time)| (*package, TakenBack { size: *size, time: *time }))
                .collect(),
            iterations: saved.iterations.iter().copied().collect(),
        });
        HostFacts {
            host: self.settings.host.clone(),
            host_key: self.host_key.public().id(),
            environment: self.settings.environment.clone(),
            applications: self.settings.applications.keys().cloned().collect(),
            installed: installed.unwrap_or_default(),
            newest_time: self.saved.newest_time,
            clock_synchronised: outside.clock_synchronised,
            inhibitors: self.inhibitors.clone(),
        }
    }

    /// Refuses an order: in the log, in the report, and, where it is worth a signature, as an outcome.
    pub(crate) fn refuse(
        &mut self,
        name: Option<&Name>,
        order: Digest,
        about: Option<(Digest, Digest)>,
        refusal: &Refusal,
        outside: &mut Outside<'_>,
    ) {
        let facts: String = refusal.facts.chars().take(MAX_FACTS).collect();
        let refusal = &Refusal::new(refusal.code, facts);
        self.note(Note::warn("refused").about(order).saying(&refusal));
        let name = name.or_else(|| self.settings.applications.keys().next()).cloned();
        let Some(name) = name else { return };
        if let Some(deployment) = self.deployments.get_mut(&name) {
            deployment.refused = Some((order, refusal.clone()));
        }
        // Orders that nothing is known of can be made up without end: each code once for all of them.
        let told_of = if about.is_some() { order } else { Digest::of(b"") };
        if !self.worth_signing(refusal.code) || !self.saved.tell_once(told_of, refusal.code.name())
        {
            return;
        }
        let Some(saved) = self.saved.applications.get(&name) else { return };
        // Where the host could not even read what the order is about, it is about itself.
        let (release, package) = about.unwrap_or((order, order));
        let now = outside.now.wall;
        let outcome = outcome::of_refused(
            &self.reporter(),
            &name,
            (order, release, package),
            refusal,
            saved,
            now,
        );
        self.queue_outcome(outcome, now);
        self.save_or_warn(outside);
        self.send_newest_outcome();
    }

    /// Whether an honest coordinator would not have come with this. What only this host knows, or what
    /// a moment cures, is told in the report alone.
    fn worth_signing(&self, code: Code) -> bool {
        !matches!(
            code,
            Code::Busy
                | Code::Inhibited
                | Code::NotCleared
                | Code::ClockSkew
                | Code::ClockSteppedBack
                | Code::ClockUnsynchronised
                | Code::CheckpointStale
        ) && self.saved.enrolment.is_some()
    }
}
