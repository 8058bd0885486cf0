//! Clearances: asked for with a nonce of ours, and taken only when everything stands still.

use cutover_machine::{Decision, EffectId, Now};
use cutover_shared::authorise::{self, ClearanceFacts, Clearances, Order, Question};
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::evidence;
use cutover_shared::log::checkpoint;
use cutover_shared::name::Name;
use cutover_shared::policy::TrustPolicy;
use cutover_shared::protocol::{ClearanceAnswer, FromApplier};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::Phase;

use crate::applier::Core;
use crate::deployment::{Asking, Deployment};
use crate::input::Outside;
use crate::offers::about;
use crate::output::{Note, Output};
use crate::refusals::MAX_FACTS;

impl Core {
    /// Asks for a clearance with a new nonce.
    pub(crate) fn ask(
        &mut self,
        name: &Name,
        order: Digest,
        phase: Phase,
        effect: Option<EffectId>,
        outside: &mut Outside<'_>,
    ) {
        let nonce = match outside.nonces.nonce() {
            Ok(nonce) => nonce,
            Err(why) => return self.note(Note::error("no randomness for a nonce").saying(&why)),
        };
        let known = self.known();
        let sent = outside.now.monotonic;
        if let Some(deployment) = self.deployments.get_mut(name) {
            deployment.asking = Some(Asking { nonce, order, phase, sent, known, effect });
        }
        self.say(FromApplier::WantClearance { order, phase, nonce, known });
    }

    /// Asks again, each with a new nonce, for what was asked before a connection was lost.
    pub(crate) fn ask_again(&mut self, outside: &mut Outside<'_>) {
        let unanswered = |(name, it): (&Name, &Deployment)| {
            it.asking.clone().map(|asking| (name.clone(), asking))
        };
        let asked: Vec<_> = self.deployments.iter().filter_map(unanswered).collect();
        for (name, asking) in asked {
            self.ask(&name, asking.order, asking.phase, asking.effect, outside);
        }
    }

    /// An answer to a request for a clearance.
    pub(crate) fn clearance(
        &mut self,
        nonce: Digest,
        answer: Result<ClearanceAnswer, Refusal>,
        outside: &mut Outside<'_>,
    ) {
        let mine = |(name, deployment): (&Name, &Deployment)| {
            let asking = deployment.asking.as_ref().filter(|asking| asking.nonce == nonce)?;
            Some((name.clone(), asking.clone()))
        };
        let Some((name, asking)) = self.deployments.iter().find_map(mine) else { return };
        if answer.is_ok() && asking.known != self.known() {
            // A receipt came in between and moved the head: the answer's proof begins at the old one.
            return self.ask(&name, asking.order, asking.phase, asking.effect, outside);
        }
        // What the network half says is not to be signed: it could say anything.
        let answer = answer.map_err(|refusal| {
            let facts: String = refusal.to_string().chars().take(MAX_FACTS).collect();
            Refusal::new(Code::NotCleared, facts)
        });
        let result =
            answer.and_then(|answer| self.check_clearance(&name, &asking, &answer, outside));
        let about = self
            .deployments
            .get(&name)
            .and_then(|it| it.hand.as_ref())
            .and_then(|hand| about(&hand.opened, hand.order));
        if let Some(deployment) = self.deployments.get_mut(&name) {
            deployment.asking = None;
        }
        match (result, asking.effect) {
            (Ok((order, id)), effect) => {
                self.cleared(&name, asking.order, order, id, effect, outside.now);
            }
            (Err(refusal), Some(_))
                if refusal.code == Code::NotCleared && asking.phase == Phase::Start =>
            {
                // Not its turn yet: the machine asks again by itself until the window closes.
                self.note(Note::info("no clearance to start").of(&name).saying(&refusal));
            }
            (Err(refusal), Some(effect)) => {
                let now = outside.now;
                if let Some(deployment) = self.deployments.get_mut(&name) {
                    let decision = Decision::Refused(refusal.to_string());
                    let _ = deployment.machine.handle_clearance(effect, decision, now);
                }
            }
            (Err(refusal), None) => {
                if let Some(deployment) = self.deployments.get_mut(&name) {
                    deployment.hand = None;
                }
                self.refuse(Some(&name), asking.order, about, &refusal, outside);
            }
        }
    }

    /// The order with a good clearance, and the clearance's identity.
    fn check_clearance(
        &mut self,
        name: &Name,
        asking: &Asking,
        answer: &ClearanceAnswer,
        outside: &mut Outside<'_>,
    ) -> Result<(Order, Digest), Refusal> {
        let now = outside.now;
        let unjoined = || Refusal::new(Code::SubjectUnknown, "this host has not joined");
        let mut trust = self.trust().cloned().ok_or_else(unjoined)?;
        let log = &trust.policy.document().log;
        let checkpoint = checkpoint::verify(&answer.checkpoint, &log.origin, &log.key)
            .map_err(|error| Refusal::new(Code::SignatureInvalid, error.to_string()))?;
        if checkpoint.head != trust.head {
            evidence::extends(&trust.head, &checkpoint.head, &answer.consistency)?;
        }
        trust.head = checkpoint.head.clone();
        let facts = self.facts(name, outside);
        let nothing = || Refusal::new(Code::NotCleared, "the order is not in hand any longer");
        let deployment = self.deployments.get(name).ok_or_else(nothing)?;
        let hand =
            deployment.hand.as_ref().filter(|it| it.order == asking.order).ok_or_else(nothing)?;
        let judged_by = hand.opened.state().policy().map(TrustPolicy::id);
        if judged_by != Some(trust.policy.id()) {
            // The policy has moved on since the evidence was opened: it is offered again, with the new one.
            return Err(Refusal::new(Code::NotCleared, "the trust policy has changed meanwhile"));
        }
        let question = Question {
            state: hand.opened.state(),
            host: &facts,
            order: asking.order,
            phase: asking.phase,
            now: now.wall,
        };
        let clearance = ClearanceFacts {
            nonce: asking.nonce,
            round_trip: now.monotonic.saturating_sub(asking.sent),
            head: checkpoint.head,
        };
        let clearances =
            Clearances { coordinator: &answer.clearance, witnesses: &answer.witnesses };
        let order = authorise::authorise(&question, &clearances, &clearance)?;
        let id = Envelope::parse(&answer.clearance).map(|envelope| envelope.id());
        let id = id.map_err(|error| Refusal::new(Code::Malformed, error.to_string()))?;
        self.set_trust(trust);
        self.saved.newest_time = self.saved.newest_time.max(Some(order.cleared().time()));
        if let Some(application) = self.saved.applications.get_mut(name) {
            // Those that counted, and nothing else that the network half may have put beside them.
            let counted = |envelope: &&Vec<u8>| {
                let id = Envelope::parse(envelope).map(|it| it.id()).ok();
                order.cleared().witnesses().values().any(|known| Some(*known) == id)
            };
            let witnesses = answer.witnesses.iter().map(|it| &it.clearance).filter(counted);
            let all = [&answer.clearance].into_iter().chain(witnesses);
            application.clearances.extend(all.map(|envelope| (id, envelope.clone())));
        }
        self.save(outside).map_err(|error| Refusal::new(Code::Busy, format!("ledger: {error}")))?;
        Ok((order, id))
    }

    fn cleared(
        &mut self,
        name: &Name,
        order_id: Digest,
        order: Order,
        id: Digest,
        effect: Option<EffectId>,
        now: Now,
    ) {
        let Some(deployment) = self.deployments.get_mut(name) else { return };
        let package = order.candidate().package();
        if let Some(hand) = &mut deployment.hand {
            hand.cleared = Some(order);
            hand.clearance = Some(id);
        }
        if let Some(effect) = effect {
            let _ = deployment.machine.handle_clearance(effect, Decision::Granted(id), now);
            return;
        }
        deployment.reading = true;
        self.output(Output::Read { application: name.clone(), order: order_id, package });
    }
}
