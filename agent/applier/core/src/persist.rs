//! What an end or a step of an order means for what is kept.

use cutover_machine::{EffectId, Kind, Outcome as Ended, Record, State, What};
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::name::Name;
use cutover_shared::statement::{Outcome, Says, Statement};
use cutover_shared::time::Time;

use crate::applier::Core;
use crate::input::Outside;
use crate::outcome;
use crate::output::{Note, Output};
use crate::saved::SavedApplication;

impl Core {
    /// The machine's record, and an ended order's outcome with it, into the ledger.
    pub(crate) fn persist(
        &mut self,
        name: &Name,
        id: EffectId,
        record: &Record,
        ended: Option<&Ended>,
        outside: &mut Outside<'_>,
    ) {
        let before = self.saved.clone();
        self.remember(name, record, ended, outside.now.wall);
        let late = cutover_shared::seeded!(PersistedLate) && ended.is_none();
        let stored = if late { Ok(()) } else { self.save(outside) };
        let now = outside.now;
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        if ended.is_some() {
            // Nobody goes on with a runbook whose order has ended in the midst of it.
            deployment.walk = None;
        }
        match stored {
            Ok(()) => {
                let _ = deployment.machine.handle_done(id, now);
            }
            Err(error) => {
                let _ = deployment.machine.handle_failed(id, error.clone(), now);
                self.saved = before;
                return self.note(Note::error("the ledger cannot be written").saying(&error));
            }
        }
        if let Some(ended) = ended {
            if matches!(ended.what, What::Abandoned) {
                let refusal = outcome::abandoned(ended);
                deployment.refused = Some((ended.booking, refusal));
            }
            deployment.hand = None;
            deployment.asking = None;
            let note = Note::info("ended").of(name).about(ended.booking);
            self.note(note.saying(&format!("{:?}, cause {:?}", ended.what, ended.cause)));
            self.send_newest_outcome();
            self.tidy(name);
        }
    }

    /// What a record means for everything else that is saved.
    fn remember(&mut self, name: &Name, record: &Record, ended: Option<&Ended>, now: Time) {
        let reporter = self.reporter();
        let accepted = self.saved.newest_time;
        let size = self.known();
        let retain = self.settings.applications.get(name).map_or(1, |it| it.retain.max(1));
        let Some(saved) = self.saved.applications.get_mut(name) else { return };
        let report = ended.map(|ended| outcome::of_ended(&reporter, name, ended, saved));
        if touched(record)
            && let Some(order) = saved.order.clone()
        {
            saved.spend(order.order, order.end, accepted);
            if let Some(iteration) = order.iteration {
                saved.begin_iteration(iteration);
            }
        }
        if let Some(ended) = ended {
            remember_end(saved, ended, size, retain);
        }
        saved.record = record.clone();
        if let (Some(report), Some(ended)) = (report, ended) {
            self.replace_outcome(ended.booking, report, now);
        }
    }

    /// Queues the outcome of an order, in the place of one that was believed lost.
    fn replace_outcome(&mut self, order: Digest, report: Outcome, now: Time) {
        if cutover_shared::seeded!(OutcomeForgotten) {
            return;
        }
        let same = |envelope: &[u8]| {
            let envelope = Envelope::parse(envelope).ok()?;
            let statement = Statement::read(&envelope).ok()?;
            let Says::Outcome(it) = statement.says else { return None };
            // An end that an operator made of *stuck* comes beside the report of that, not in its place.
            let same = (it.order, it.generation, it.ended);
            Some(same == (order, report.generation, report.ended))
        };
        self.saved.reports.retain(|(_, envelope)| same(envelope) != Some(true));
        self.queue_outcome(report, now);
    }

    /// Removes the slots that are no longer kept.
    fn tidy(&mut self, name: &Name) {
        let Some(saved) = self.saved.applications.get(name) else { return };
        if matches!(saved.record.state, State::Stuck(..)) {
            return;
        }
        let mut keep = saved.history.clone();
        keep.extend(saved.record.committed);
        self.output(Output::Tidy { application: name.clone(), keep });
    }
}

/// Whether the running application has been touched by the order of this record.
pub(crate) fn touched(record: &Record) -> bool {
    match &record.state {
        State::Returning(_, retreat) => retreat.reached.touches(),
        State::Committed(_) => true,
        State::Returned(ended) | State::Stuck(_, ended) => !matches!(ended.what, What::Abandoned),
        State::Idle
        | State::Authorised(_)
        | State::Fetching(_)
        | State::Assembled(_)
        | State::Preflight(..)
        | State::Stopping(..)
        | State::Activating(..)
        | State::Starting(..)
        | State::Checking(_)
        | State::Baking(_) => {
            record.state.going_forward().is_some_and(|(_, point)| point.touches())
        }
    }
}

fn remember_end(saved: &mut SavedApplication, ended: &Ended, size: u64, retain: usize) {
    let before = saved.record.committed;
    match (&ended.what, ended.kind) {
        (What::Committed, Kind::Forward) => {
            saved.brought.push((ended.generation, ended.booking));
            if let Some(before) = before {
                saved.history.insert(0, before);
                saved.history.truncate(retain);
            }
        }
        (What::Committed, Kind::Return) => {
            saved.brought.push((ended.generation, ended.booking));
            if let Some(left) = before {
                saved.take_back(left.package, size, ended.ended);
            }
            if !saved.history.is_empty() {
                saved.history.remove(0);
            }
        }
        (What::Returned { .. } | What::Stuck { .. }, _) => {
            saved.take_back(ended.package, size, ended.ended);
        }
        (What::Abandoned, _) => {}
    }
    saved.order = None;
    if matches!((&ended.what, ended.kind), (What::Committed, Kind::Return)) {
        // What it came by is taken back; what it went to came by nothing that is known.
        saved.runbooks.clear();
    }
    // What is stuck ends once more, by an operator's word, and its outcome shows them, too.
    if !matches!(ended.what, What::Stuck { .. }) {
        saved.clearances.clear();
    }
    if matches!(ended.what, What::Committed) {
        saved.drifts.clear();
        // What is removed from the disk is not gone back to.
        let kept = saved.history.iter().map(|slot| slot.generation);
        let kept: Vec<_> = kept.chain([ended.generation]).collect();
        saved.brought.retain(|(generation, _)| kept.contains(generation));
    }
}
