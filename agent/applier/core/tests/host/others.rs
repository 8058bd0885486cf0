//! What others say to the host, or have logged: people, the coordinator.

use cutover_applier_core::Input;
use cutover_shared::digest::Digest;
use cutover_shared::evidence::Evidence;
use cutover_shared::protocol::{ClearanceAnswer, Directive, Join, Receipt};
use cutover_shared::statement::{
    Assessment, HostTurn, Judgement, Outcome, Phase, Release, Review, Rollback, Says, Statement,
    Verdict, Vote,
};
use cutover_shared::window::Window;

use crate::bench::{Bench, HOST, WINDOW, parcel, seconds, web};
use crate::parcel::Parcel;
use crate::world::{self, ORIGIN, Way, World, booking, key, name, names};

impl Bench {
    /// A release of this version may act on the host from now on.
    pub(crate) fn order(&mut self, version: &str) -> Way {
        self.order_of(parcel(version, ""), |_| {})
    }

    /// A release of a package, said as `change` makes it.
    pub(crate) fn order_of(&mut self, parcel: Parcel, change: impl FnOnce(&mut Release)) -> Way {
        let package = parcel.digest;
        let mut says = world::release(&parcel.manifest.version, package);
        change(&mut says);
        let irreversible = says.irreversible;
        let release = self.world.say(&["sue"], says).unwrap();
        let environments = names(&["staging"]);
        if irreversible {
            let judgement = Judgement::Accepted { reason: String::new() };
            let environments = environments.clone();
            let says = Assessment { release, package, environments, judgement };
            self.world.say(&["sec"], says).unwrap();
            let judgement = Judgement::Accepted { reason: String::new() };
            let environments = names(&["staging"]);
            let says = Vote { release, environments, judgement, conditions: Vec::new() };
            self.world.say(&["bea"], says).unwrap();
        }
        let review = Review { release, environments, verdict: Verdict::Complete };
        self.world.say(&["lib"], review).unwrap();
        self.parcels.insert(package, parcel);
        self.book(release, package)
    }

    /// A window from now on, released.
    pub(crate) fn book(&mut self, release: Digest, package: Digest) -> Way {
        let window = Window { start: self.world.now, end: self.world.now + WINDOW };
        let says = booking((release, package), "staging", &[&[HOST]], window);
        let booking = self.world.say(&["max"], says).unwrap();
        let way = Way { release, package, booking };
        self.world.release_window(way);
        way
    }

    /// An ordered return, good for ten minutes.
    pub(crate) fn order_return(&mut self, generation: u64, from: Digest, to: Digest) -> Digest {
        let says = Rollback {
            application: web(),
            environment: name("staging"),
            hosts: vec![HostTurn {
                host: name(HOST),
                host_key: key(HOST).public().id(),
                generation,
            }],
            from,
            to,
            reason: "slow".to_owned(),
        };
        let statement = Statement::new(self.world.now, says).until(self.world.now + seconds(600));
        self.world.state(&["max"], &statement).unwrap()
    }

    pub(crate) fn known(&self) -> u64 {
        self.core.trust().map_or(0, |trust| trust.head.size)
    }

    pub(crate) fn evidence(&self, order: Digest) -> Evidence {
        self.world.evidence(order, HOST, self.known())
    }

    pub(crate) fn offer(&mut self, order: Digest) {
        let evidence = self.evidence(order);
        self.offer_with(order, evidence);
    }

    pub(crate) fn offer_with(&mut self, order: Digest, evidence: Evidence) {
        self.tell(Input::Directive(Box::new(Directive::Offer { order, evidence })));
    }

    pub(crate) fn stop(&mut self, order: Digest) {
        let evidence = self.evidence(order);
        self.stop_with(order, evidence);
    }

    pub(crate) fn stop_with(&mut self, order: Digest, evidence: Evidence) {
        self.tell(Input::Directive(Box::new(Directive::Stop { order, evidence })));
    }

    /// The coordinator's statement in answer to a request.
    pub(crate) fn clearance(&self, order: Digest, phase: Phase, nonce: Digest) -> Statement {
        let mut statement = self.world.clearance(HOST, order, nonce);
        let Says::Clearance(says) = &mut statement.says else { panic!() };
        says.phase = phase;
        statement
    }

    /// A good answer.
    pub(crate) fn answer(
        &self,
        (order, phase, nonce, known): (Digest, Phase, Digest, u64),
    ) -> ClearanceAnswer {
        let clearance = self.clearance(order, phase, nonce).signed_by([&key("log")]).to_bytes();
        let consistency = self.world.tree.consistency(known, self.world.tree.size()).unwrap();
        let checkpoint = self.world.note();
        ClearanceAnswer { clearance, checkpoint, consistency, witnesses: Vec::new() }
    }

    pub(crate) fn clear(&mut self, asked: (Digest, Phase, Digest, u64)) {
        let answer = Ok(self.answer(asked));
        self.tell(Input::Clearance { nonce: asked.2, answer });
    }

    /// The proof that an entry is in the log.
    pub(crate) fn receipt(&self, index: u64) -> Receipt {
        let inclusion = self.world.tree.inclusion(index, self.world.tree.size()).unwrap();
        Receipt { index, checkpoint: self.world.note(), inclusion }
    }

    /// Everything that waits to be logged is logged, and the host hears of it.
    pub(crate) fn log(&mut self) {
        for (id, envelope) in self.core.saved().reports.clone() {
            let index = self.world.tree.size();
            self.world.append_bytes(envelope).unwrap();
            self.logged(id, index);
        }
    }

    pub(crate) fn logged(&mut self, id: Digest, index: u64) {
        let receipt = self.receipt(index);
        let consistency =
            self.world.tree.consistency(self.known(), self.world.tree.size()).unwrap();
        self.tell(Input::Logged { id, receipt, consistency });
    }

    /// A version is deployed, and its outcome logged.
    pub(crate) fn deploy(&mut self, version: &str) -> Way {
        let way = self.order(version);
        self.commit(way);
        way
    }

    /// An order is offered and goes well.
    pub(crate) fn commit(&mut self, way: Way) -> Outcome {
        self.offer(way.booking);
        let outcome = self.until_ended();
        assert_eq!(outcome.event.name(), "committed", "{outcome:?}");
        self.see_to_all();
        self.log();
        self.see_to_all();
        outcome
    }
}

/// What the host was invited with.
pub(crate) fn join(world: &World) -> Join {
    let trust = world.trust();
    Join {
        coordinator: "coordinator.test:7400".to_owned(),
        coordinator_key: key("log").public(),
        policy_id: trust.policy.id(),
        policy: trust.policy_envelope,
        head: world.tree.head(),
        grant: Digest::of(b"grant"),
        environment: name("staging"),
        labels: vec![(name("rack"), "r1".to_owned())],
        applications: names(&["web", "mail"]),
        grant_seed: [9; 32],
    }
}

/// A checkpoint over any head, signed by somebody.
pub(crate) fn note_by(world: &World, signer: &str) -> Vec<u8> {
    cutover_shared::log::checkpoint::sign(ORIGIN, &world.tree.head(), world.now, &key(signer))
}
