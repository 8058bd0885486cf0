//! Stops: evidence that something stands against an order in hand.

use std::collections::BTreeSet;

use cutover_machine::{Hold, Withstands};
use cutover_shared::authorise::{self, Question};
use cutover_shared::digest::Digest;
use cutover_shared::evidence::Evidence;
use cutover_shared::refusal::Code;
use cutover_shared::statement::Phase;

use crate::applier::Core;
use crate::input::Outside;
use crate::offers::application_of;
use crate::output::Note;

impl Core {
    /// Something stands against an order in hand.
    pub(crate) fn stop_order(
        &mut self,
        order: Digest,
        evidence: &Evidence,
        outside: &mut Outside<'_>,
    ) {
        let unfit = Note::warn("a stop is not good evidence");
        let Some(opened) = self.open_or_note(order, evidence, unfit, outside) else { return };
        let Some(name) = application_of(&opened, order) else { return };
        let facts = self.facts(&name, outside);
        let now = outside.now;
        let question = Question {
            state: opened.state(),
            host: &facts,
            order,
            phase: Phase::Activate,
            now: now.wall,
        };
        let Err(refusal) = authorise::judge(&question) else { return };
        let finish = opened.state().booking(&order).is_some_and(|(case, booking)| {
            refusal.code == Code::Held && case.holds_on(booking).all(|hold| hold.says().finish)
        });
        let retired = || {
            opened.state().host(&self.host_key.public().id()).is_some_and(|it| it.retired.is_some())
        };
        let against = stops(refusal.code) || retired();
        if !against {
            return;
        }
        // A stop shows all that the order stood on, and more: leaving out a resume would be a stop, too.
        let hand = self.deployments.get(&name).and_then(|it| it.hand.as_ref());
        let shown: BTreeSet<u64> = evidence.entries.iter().map(|entry| entry.index).collect();
        if hand.is_some_and(|hand| hand.order == order && !hand.indexes.is_subset(&shown)) {
            let note = Note::warn("a stop that leaves out what the order stood on is no stop");
            return self.note(note.of(&name).about(order));
        }
        let Some(deployment) = self.deployments.get_mut(&name) else { return };
        if deployment.working_on() != Some(order) {
            if deployment.hand.as_ref().is_some_and(|hand| hand.order == order) {
                deployment.hand = None;
                deployment.asking = None;
            }
            return;
        }
        let active = if finish { Withstands::Finish } else { Withstands::Return };
        let hold = Hold { why: refusal.to_string(), active };
        match deployment.machine.handle_hold(hold, now) {
            Ok(answer) => {
                let note = Note::warn("stopped on the way").of(&name).about(order);
                self.note(note.saying(&format!("{refusal} ({answer:?})")));
            }
            Err(rejection) => {
                let note = Note::info("a stop comes too late").of(&name).about(order);
                self.note(note.saying(&rejection));
            }
        }
    }
}

/// Codes that stop an order that is under way.
fn stops(code: Code) -> bool {
    matches!(
        code,
        Code::Held
            | Code::Cancelled
            | Code::Denied
            | Code::Returned
            | Code::Frozen
            | Code::Superseded
    )
}
