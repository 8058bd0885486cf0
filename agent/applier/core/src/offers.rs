//! Offers, judged.
//!
//! An offer is opened (proofs), judged (standing rules), cleared to start (a nonce of ours), then the
//! package's manifest is read, and only then does the deployment machine get its assignment. Every step
//! can refuse, and says so: to the coordinator in the report, and, where an honest coordinator would not
//! have offered, as a signed outcome, once for each order and code.

use std::time::Duration;

use cutover_machine::{Assignment, Hooks as MachineHooks, Kind, Now, Reversibility};
use cutover_shared::authorise::{self, Question, ReturnOrder};
use cutover_shared::digest::Digest;
use cutover_shared::evidence::{self, Evidence, Opened, Trust};
use cutover_shared::log::TreeHead;
use cutover_shared::log::checkpoint::{self, Checkpoint};
use cutover_shared::name::Name;
use cutover_shared::protocol::{Directive, FromApplier};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::Phase;

use crate::applier::Core;
use crate::assignment::{
    Terms, accept, coded, forward_assignment, refusal_of, runbook_back, speaks,
};
use crate::deployment::Hand;
use crate::input::Outside;
use crate::output::{Note, Output};
use crate::package::Package;
use crate::runbook::time_back;
use crate::saved::{SavedOrder, SavedRunbook};
use crate::settings::Driver;

/// An order that is looked at for longer than this without getting anywhere gives way to a new offer.
const LOOKING_TOO_LONG: Duration = Duration::from_secs(10);

impl Core {
    /// What the coordinator sent.
    pub(crate) fn directive(&mut self, directive: Directive, outside: &mut Outside<'_>) {
        match directive {
            Directive::Offer { order, evidence } => self.offer(order, &evidence, outside),
            Directive::Stop { order, evidence } => self.stop_order(order, &evidence, outside),
            Directive::Steps { order, evidence } => self.steps_shown(order, &evidence, outside),
        }
    }

    /// Opens evidence and takes over what it teaches: newer policies, a newer head.
    pub(crate) fn open(
        &mut self,
        order: Digest,
        evidence: &Evidence,
        outside: &mut Outside<'_>,
    ) -> Result<Opened, Refusal> {
        let Some(trust) = self.trust().cloned() else {
            return Err(Refusal::new(Code::SubjectUnknown, "this host has not joined"));
        };
        let opened = evidence::open(evidence, &order, &trust)?;
        let advanced = opened.advance(&trust);
        if advanced.head != trust.head || advanced.policy.id() != trust.policy.id() {
            self.set_trust(advanced);
            self.save(outside)
                .map_err(|error| Refusal::new(Code::Busy, format!("ledger: {error}")))?;
        }
        Ok(opened)
    }

    /// As [`Core::open`]; what is wrong with evidence that is not good is told with the note `unfit`.
    pub(crate) fn open_or_note(
        &mut self,
        order: Digest,
        evidence: &Evidence,
        unfit: Note,
        outside: &mut Outside<'_>,
    ) -> Option<Opened> {
        match self.open(order, evidence, outside) {
            Ok(opened) => Some(opened),
            Err(refusal) => {
                self.note(unfit.about(order).saying(&refusal));
                None
            }
        }
    }

    /// Whether the evidence was made for a head that this host has left since: then its proofs begin there,
    /// and the coordinator offers again when it has heard of the new one.
    fn overtaken(&self, order: Digest, evidence: &Evidence) -> bool {
        let Some(trust) = self.trust() else { return false };
        let log = &trust.policy.document().log;
        let checkpoint = checkpoint::verify(&evidence.checkpoint, &log.origin, &log.key);
        let Ok(Checkpoint { head: now, .. }) = checkpoint else { return false };
        // Cheap first: who makes up evidence is not to have it folded once for each head.
        let begins =
            |head: &&TreeHead| evidence::extends(head, &now, &evidence.consistency).is_ok();
        self.heads.iter().filter(begins).any(|head| {
            let before = Trust { head: head.clone(), ..trust.clone() };
            evidence::open(evidence, &order, &before).is_ok()
        })
    }

    fn offer(&mut self, order: Digest, evidence: &Evidence, outside: &mut Outside<'_>) {
        if cutover_shared::seeded!(OfferIgnored) {
            return;
        }
        let opened = match self.open(order, evidence, outside) {
            Ok(opened) => opened,
            Err(refusal)
                if refusal.code == Code::CheckpointInconsistent
                    && self.overtaken(order, evidence) =>
            {
                let note = Note::debug("the offer was made for a head of before");
                return self.note(note.about(order).saying(&refusal));
            }
            Err(refusal) => return self.refuse(None, order, None, &refusal, outside),
        };
        let application = application_of(&opened, order);
        let about = about(&opened, order);
        let known = application.filter(|name| self.deployments.contains_key(name));
        let Some(name) = known else {
            let refusal =
                Refusal::new(Code::WrongApplication, "the order is for no application here");
            return self.refuse(None, order, about, &refusal, outside);
        };
        if let Err(refusal) = self.room_for(&name, order, outside.now) {
            let Some(refusal) = refusal else { return };
            return self.refuse(Some(&name), order, about, &refusal, outside);
        }
        let facts = self.facts(&name, outside);
        // What this host has committed may only be taken back.
        if opened.state().rollback(&order).is_some() || facts.installed.committed_by == Some(order)
        {
            return self.offer_return(&name, order, &opened, about, outside);
        }
        let now = outside.now;
        let question = Question {
            state: opened.state(),
            host: &facts,
            order,
            phase: Phase::Start,
            now: now.wall,
        };
        if let Err(refusal) = authorise::judge(&question) {
            return self.refuse(Some(&name), order, about, &refusal, outside);
        }
        self.note(Note::info("an order stands; asking for clearance").of(&name).about(order));
        if let Some(deployment) = self.deployments.get_mut(&name) {
            deployment.refused = None;
            deployment.hand = Some(Hand {
                order,
                indexes: evidence.entries.iter().map(|entry| entry.index).collect(),
                opened,
                cleared: None,
                clearance: None,
                package: None,
                since: now.monotonic,
            });
        }
        self.ask(&name, order, Phase::Start, None, outside);
    }

    /// Whether the application is free for an order. An error with nothing in it: there is nothing to
    /// say, the order is the one in hand or done.
    fn room_for(&mut self, name: &Name, order: Digest, now: Now) -> Result<(), Option<Refusal>> {
        let Some(deployment) = self.deployments.get_mut(name) else { return Err(None) };
        let ended_with_it = self
            .saved
            .applications
            .get(name)
            .is_some_and(|it| it.spent.iter().any(|(spent, _)| *spent == order));
        match deployment.working_on() {
            Some(other) if other == order => return Err(None),
            Some(other) => {
                let facts = format!("order {} is in hand", other.short());
                return Err(Some(Refusal::new(Code::Busy, facts)));
            }
            None => {}
        }
        if let Some(hand) = &deployment.hand {
            let stale = now.monotonic.saturating_sub(hand.since) > LOOKING_TOO_LONG;
            if hand.order == order && !stale {
                return Err(None);
            }
            deployment.hand = None;
            deployment.asking = None;
            if std::mem::take(&mut deployment.reading) {
                self.output(Output::GiveUpReading { application: name.clone() });
            }
        }
        if ended_with_it && !self.saved.reports.is_empty() {
            // Its outcome is on the way to the log; the coordinator does not know yet.
            return Err(None);
        }
        Ok(())
    }

    fn offer_return(
        &mut self,
        name: &Name,
        order: Digest,
        opened: &Opened,
        about: Option<(Digest, Digest)>,
        outside: &mut Outside<'_>,
    ) {
        let facts = self.facts(name, outside);
        let now = outside.now;
        let question = Question {
            state: opened.state(),
            host: &facts,
            order,
            phase: Phase::Start,
            now: now.wall,
        };
        let returning = match authorise::authorise_return(&question) {
            Ok(returning) => returning,
            // An offer of the booking that was on its way when it was committed: no refusal to remember.
            Err(refusal) if facts.installed.committed_by == Some(order) => {
                let note = Note::debug("what was committed is not to be taken back");
                return self.note(note.of(name).about(order).saying(&refusal));
            }
            Err(refusal) => return self.refuse(Some(name), order, about, &refusal, outside),
        };
        let assignment = match self.return_assignment(name, &returning, now) {
            Ok(assignment) => assignment,
            Err(refusal) => return self.refuse(Some(name), order, about, &refusal, outside),
        };
        let saved = SavedOrder { order, end: returning.not_after(), iteration: None };
        self.take_up(name, assignment, (saved, None), about, outside);
    }

    /// Whether this host is a gateway for the application.
    pub(crate) fn is_gateway(&self, name: &Name) -> bool {
        self.settings.applications.get(name).is_some_and(|it| it.driver == Driver::Runbook)
    }

    fn return_assignment(
        &self,
        name: &Name,
        order: &ReturnOrder,
        now: Now,
    ) -> Result<Assignment, Refusal> {
        let refused = |facts: &str| Refusal::new(Code::RollbackNotAuthorised, facts);
        let saved = self.saved.applications.get(name).ok_or(refused("nothing is installed"))?;
        let to = saved.history.first().filter(|slot| slot.package == order.to());
        let to = to.ok_or(refused("the release to go back to is not on disk"))?;
        let (hooks, reversibility, walked) = if self.is_gateway(name) {
            // The way back of a runbook is the hook, and there is none from there.
            let walked = time_back(saved)?;
            (runbook_back(), Reversibility::Irreversible, walked)
        } else {
            (MachineHooks::default(), Reversibility::Reversible, Duration::ZERO)
        };
        Ok(Assignment {
            application: name.to_string(),
            generation: saved.record.generation + 1,
            package: to.package,
            release: to.release,
            booking: order.order(),
            kind: Kind::Return,
            window_start: now.wall,
            window_end: order.not_after(),
            apply_budget: walked + to.health.deadline + to.health.bake,
            rollback_reserve: to.health.deadline,
            hooks,
            health: to.health,
            reversibility,
        })
    }

    /// The manifest is here: is it what was approved, and does the host allow it?
    pub(crate) fn package_read(
        &mut self,
        name: &Name,
        order: Digest,
        result: Result<Box<Package>, String>,
        outside: &mut Outside<'_>,
    ) {
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        let Some(hand) = deployment.hand.as_mut().filter(|hand| hand.order == order) else {
            return;
        };
        if !std::mem::take(&mut deployment.reading) {
            return;
        }
        let about = about(&hand.opened, order);
        let Some(settings) = self.settings.applications.get(name) else { return };
        let accepted = result.map_err(|text| coded(&text)).and_then(|package| {
            let cleared = hand.cleared.as_ref();
            let cleared =
                cleared.ok_or(Refusal::new(Code::NotCleared, "no clearance is at hand"))?;
            accept(package.manifest(), cleared, settings)?;
            if settings.driver == Driver::Runbook {
                speaks(package.manifest(), hand.opened.state().policy())?;
            }
            Ok((package, cleared.clone()))
        });
        let (package, cleared) = match accepted {
            Ok(accepted) => accepted,
            Err(refusal) => {
                deployment.hand = None;
                if let Some((_, package)) = about {
                    self.say(FromApplier::StopFetching { package });
                }
                return self.refuse(Some(name), order, about, &refusal, outside);
            }
        };
        let candidate = cleared.candidate();
        let generation = deployment.machine.record().generation + 1;
        let terms = Terms::of(&cleared, generation);
        let driver = settings.driver;
        let assignment = forward_assignment(package.manifest(), name, &terms, driver);
        let steps = package.manifest().runbook.clone();
        let runbook =
            (driver == Driver::Runbook).then_some(SavedRunbook { order, steps, begun: 0 });
        let saved =
            SavedOrder { order, end: candidate.window().end, iteration: candidate.iteration() };
        hand.package = Some(package);
        self.take_up(name, assignment, (saved, runbook), about, outside);
    }

    fn take_up(
        &mut self,
        name: &Name,
        assignment: Assignment,
        (order, runbook): (SavedOrder, Option<SavedRunbook>),
        about: Option<(Digest, Digest)>,
        outside: &mut Outside<'_>,
    ) {
        let id = order.order;
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        match deployment.machine.handle_order(assignment, outside.now) {
            Ok(()) => {
                deployment.refused = None;
                deployment.progress = None;
                if let Some(saved) = self.saved.applications.get_mut(name) {
                    saved.order = Some(order);
                    if let Some(runbook) = runbook {
                        saved.begin_runbook(runbook);
                    }
                }
                self.note(Note::info("taken up").of(name).about(id));
            }
            Err(rejection) => {
                deployment.hand = None;
                let refusal = refusal_of(&rejection);
                self.refuse(Some(name), id, about, &refusal, outside);
            }
        }
    }
}

/// The application of an order.
pub(crate) fn application_of(opened: &Opened, order: Digest) -> Option<Name> {
    let booking = opened.state().booking(&order);
    let booking = booking.map(|(_, booking)| booking.booking.says().application.clone());
    let rollback =
        || opened.state().rollback(&order).map(|it| it.rollback.says().application.clone());
    booking.or_else(rollback)
}

/// Release and package of an order.
pub(crate) fn about(opened: &Opened, order: Digest) -> Option<(Digest, Digest)> {
    let booking = opened.state().booking(&order);
    let booking = booking.map(|(case, _)| (case.release.id(), case.release.says().package));
    booking.or_else(|| {
        let rollback = opened.state().rollback(&order)?;
        Some((order, rollback.rollback.says().from))
    })
}
