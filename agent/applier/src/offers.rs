//! What the coordinator sends, judged: offers, stops and clearances.
//!
//! An offer is opened (proofs), judged (standing rules), cleared to start (a nonce of ours), then the
//! package's manifest is read, and only then does the deployment machine get its assignment. Every step
//! can refuse, and says so: to the coordinator in the report, and, where an honest coordinator would not
//! have offered, as a signed outcome, once for each order and code.

use std::collections::BTreeSet;

use cutover_machine::{Assignment, Hold, Hooks as MachineHooks, Kind, Reversibility, Withstands};
use cutover_shared::authorise::{
    self, HostFacts, InstalledFacts, Question, ReturnOrder, TakenBack,
};
use cutover_shared::digest::Digest;
use cutover_shared::evidence::{self, Evidence, Opened, Trust};
use cutover_shared::name::Name;
use cutover_shared::protocol::{Directive, FromApplier};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::Phase;

use crate::applier::Applier;
use crate::assignment::{accept, coded, forward_assignment, refusal_of};
use crate::clock;
use crate::content::Package;
use crate::deployment::Hand;
use crate::outcome;
use crate::saved::SavedOrder;

/// Most characters of a refusal's facts that are kept and signed.
pub(crate) const MAX_FACTS: usize = 1000;

/// An order that is looked at for longer than this without getting anywhere gives way to a new offer.
const LOOKING_TOO_LONG: std::time::Duration = std::time::Duration::from_secs(10);

impl Applier {
    pub(crate) fn directive(&mut self, directive: Directive) {
        match directive {
            Directive::Offer { order, evidence } => self.offer(order, &evidence),
            Directive::Stop { order, evidence } => self.stop_order(order, &evidence),
        }
    }

    /// Opens evidence and takes over what it teaches: newer policies, a newer head.
    fn open(&mut self, order: Digest, evidence: &Evidence) -> Result<Opened, Refusal> {
        let Some(trust) = self.trust().cloned() else {
            return Err(Refusal::new(Code::SubjectUnknown, "this host has not joined"));
        };
        let opened = evidence::open(evidence, &order, &trust)?;
        let advanced = opened.advance(&trust);
        if advanced.head != trust.head || advanced.policy.id() != trust.policy.id() {
            self.set_trust(advanced);
            self.save().map_err(|error| Refusal::new(Code::Busy, format!("ledger: {error}")))?;
        }
        Ok(opened)
    }

    /// Whether the evidence was made for a head that this host has left since: then its proofs begin there,
    /// and the coordinator offers again when it has heard of the new one.
    fn overtaken(&self, order: Digest, evidence: &Evidence) -> bool {
        let Some(trust) = self.trust() else { return false };
        self.heads.iter().any(|head| {
            let before = Trust { head: head.clone(), ..trust.clone() };
            evidence::open(evidence, &order, &before).is_ok()
        })
    }

    fn offer(&mut self, order: Digest, evidence: &Evidence) {
        let opened = match self.open(order, evidence) {
            Ok(opened) => opened,
            Err(refusal)
                if refusal.code == Code::CheckpointInconsistent
                    && self.overtaken(order, evidence) =>
            {
                return tracing::debug!(%refusal, "the offer was made for a head of before");
            }
            Err(refusal) => return self.refuse(None, order, None, &refusal),
        };
        let application = application_of(&opened, order);
        let about = about(&opened, order);
        let known = application.filter(|name| self.deployments.contains_key(name));
        let Some(name) = known else {
            let refusal =
                Refusal::new(Code::WrongApplication, "the order is for no application here");
            return self.refuse(None, order, about, &refusal);
        };
        if let Err(refusal) = self.room_for(&name, order) {
            return refusal.map_or((), |refusal| self.refuse(Some(&name), order, about, &refusal));
        }
        if opened.state().rollback(&order).is_some() {
            return self.offer_return(&name, order, &opened, about);
        }
        let facts = self.facts(&name);
        let now = self.clock.now();
        let question = Question {
            state: opened.state(),
            host: &facts,
            order,
            phase: Phase::Start,
            now: now.wall,
        };
        if let Err(refusal) = authorise::judge(&question) {
            return self.refuse(Some(&name), order, about, &refusal);
        }
        tracing::info!(order = %order.short(), application = %name, "an order stands; asking for clearance");
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
        self.ask(&name, order, Phase::Start, None);
    }

    /// Whether the application is free for an order. An error with nothing in it: there is nothing to
    /// say, the order is the one in hand or done.
    fn room_for(&mut self, name: &Name, order: Digest) -> Result<(), Option<Refusal>> {
        let monotonic = self.clock.now().monotonic;
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
            let stale = monotonic.saturating_sub(hand.since) > LOOKING_TOO_LONG;
            if hand.order == order && !stale {
                return Err(None);
            }
            if let Some(reader) = deployment.reader.take() {
                reader.abort();
            }
            deployment.hand = None;
            deployment.asking = None;
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
    ) {
        let facts = self.facts(name);
        let now = self.clock.now();
        let question = Question {
            state: opened.state(),
            host: &facts,
            order,
            phase: Phase::Start,
            now: now.wall,
        };
        let returning = match authorise::authorise_return(&question) {
            Ok(returning) => returning,
            Err(refusal) => return self.refuse(Some(name), order, about, &refusal),
        };
        let assignment = match self.return_assignment(name, &returning) {
            Ok(assignment) => assignment,
            Err(refusal) => return self.refuse(Some(name), order, about, &refusal),
        };
        let saved = SavedOrder { order, end: returning.not_after(), iteration: None };
        self.take_up(name, assignment, saved, about);
    }

    fn return_assignment(&self, name: &Name, order: &ReturnOrder) -> Result<Assignment, Refusal> {
        let refused = |facts: &str| Refusal::new(Code::RollbackNotAuthorised, facts);
        let saved = self.saved.applications.get(name).ok_or(refused("nothing is installed"))?;
        let to = saved.history.first().filter(|slot| slot.package == order.to());
        let to = to.ok_or(refused("the release to go back to is not on disk"))?;
        Ok(Assignment {
            application: name.to_string(),
            generation: saved.record.generation + 1,
            package: to.package,
            release: to.release,
            booking: order.order(),
            kind: Kind::Return,
            window_start: self.clock.now().wall,
            window_end: order.not_after(),
            apply_budget: to.health.deadline + to.health.bake,
            rollback_reserve: to.health.deadline,
            hooks: MachineHooks::default(),
            health: to.health,
            reversibility: Reversibility::Reversible,
        })
    }

    /// Something stands against an order in hand.
    fn stop_order(&mut self, order: Digest, evidence: &Evidence) {
        let opened = match self.open(order, evidence) {
            Ok(opened) => opened,
            Err(refusal) => return tracing::warn!(%refusal, "a stop is not good evidence"),
        };
        let Some(name) = application_of(&opened, order) else { return };
        let facts = self.facts(&name);
        let now = self.clock.now();
        let question = Question {
            state: opened.state(),
            host: &facts,
            order,
            phase: Phase::Activate,
            now: now.wall,
        };
        let Err(refusal) = authorise::judge(&question) else { return };
        let finish = opened.state().booking(&order).is_some_and(|(case, _)| {
            refusal.code == Code::Held && case.standing_holds().all(|hold| hold.says().finish)
        });
        let retired = || {
            opened.state().host(&self.host_key.public().id()).is_some_and(|it| it.retired.is_some())
        };
        let against = stops(refusal.code) || refusal.code == Code::WrongHost && retired();
        if !against {
            return;
        }
        // A stop shows all that the order stood on, and more: leaving out a resume would be a stop, too.
        let hand = self.deployments.get(&name).and_then(|it| it.hand.as_ref());
        let shown: BTreeSet<u64> = evidence.entries.iter().map(|entry| entry.index).collect();
        if hand.is_some_and(|hand| hand.order == order && !hand.indexes.is_subset(&shown)) {
            return tracing::warn!("a stop that leaves out what the order stood on is no stop");
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
            Ok(answer) => tracing::warn!(%refusal, ?answer, "stopped on the way"),
            Err(rejection) => tracing::info!(%rejection, "a stop comes too late"),
        }
    }

    /// The manifest is here: is it what was approved, and does the host allow it?
    pub(crate) fn package_read(
        &mut self,
        name: &Name,
        order: Digest,
        result: Result<Box<Package>, String>,
    ) {
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        deployment.reader = None;
        let Some(hand) = deployment.hand.as_mut().filter(|hand| hand.order == order) else {
            return;
        };
        let about = about(&hand.opened, order);
        let site = deployment.site.config.clone();
        let accepted = result.map_err(|text| coded(&text)).and_then(|package| {
            let cleared = hand.cleared.as_ref();
            let cleared =
                cleared.ok_or(Refusal::new(Code::NotCleared, "no clearance is at hand"))?;
            accept(&package.manifest, cleared, &site)?;
            Ok((package, cleared.clone()))
        });
        let (package, cleared) = match accepted {
            Ok(accepted) => accepted,
            Err(refusal) => {
                deployment.hand = None;
                if let Some((_, package)) = about {
                    self.say(FromApplier::StopFetching { package });
                }
                return self.refuse(Some(name), order, about, &refusal);
            }
        };
        let candidate = cleared.candidate();
        let generation = deployment.machine.record().generation + 1;
        let assignment = forward_assignment(&package.manifest, &cleared, name, generation);
        let saved =
            SavedOrder { order, end: candidate.window().end, iteration: candidate.iteration() };
        hand.package = Some(package);
        self.take_up(name, assignment, saved, about);
    }

    fn take_up(
        &mut self,
        name: &Name,
        assignment: Assignment,
        order: SavedOrder,
        about: Option<(Digest, Digest)>,
    ) {
        let now = self.clock.now();
        let id = order.order;
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        match deployment.machine.handle_order(assignment, now) {
            Ok(()) => {
                deployment.refused = None;
                deployment.progress = None;
                if let Some(saved) = self.saved.applications.get_mut(name) {
                    saved.order = Some(order);
                }
                tracing::info!(order = %id.short(), application = %name, "taken up");
            }
            Err(rejection) => {
                deployment.hand = None;
                let refusal = refusal_of(&rejection);
                self.refuse(Some(name), id, about, &refusal);
            }
        }
    }

    /// What this host knows of itself, for the rules.
    pub(crate) fn facts(&self, name: &Name) -> HostFacts {
        let installed = self.saved.applications.get(name).map(|saved| InstalledFacts {
            generation: saved.record.generation,
            running: saved.record.committed.map(|slot| slot.package),
            previous: saved.history.first().map(|slot| slot.package),
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
            clock_synchronised: clock::synchronised(),
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
    ) {
        let facts: String = refusal.facts.chars().take(MAX_FACTS).collect();
        let refusal = &Refusal::new(refusal.code, facts);
        tracing::warn!(order = %order.short(), code = %refusal.code, facts = ?refusal.facts, "refused");
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
        let now = self.clock.now().wall;
        let outcome = outcome::of_refused(
            &self.reporter(),
            &name,
            (order, release, package),
            refusal,
            saved,
            now,
        );
        self.queue_outcome(outcome);
        self.save_or_warn();
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

fn application_of(opened: &Opened, order: Digest) -> Option<Name> {
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
