//! A host's question before it begins in production: may I? On everything that the coordinator sends, read
//! and verified afresh, and on what was opened before; and the bare signatures in it, to compare with.

use std::time::Duration;

use cutover_shared::authorise::{self, ClearanceFacts, Clearances, HostFacts, Order, Question};
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::evidence::{self, Evidence, Opened, Trust};
use cutover_shared::key::{KeyId, PublicKey};
use cutover_shared::policy::{KeyEntry, KeyStatus, Role, Scope};
use cutover_shared::statement::{Event, Judgement, Phase, Vote};
use cutover_shared::time::Time;

use crate::world::{PEOPLE, Way, World, at, document, key, name, names};

/// The third vote is of somebody whom the small world does not have.
const THIRD: &str = "bud";

pub(crate) struct Asked {
    evidence: Evidence,
    trust: Trust,
    order: Digest,
    host: HostFacts,
    nonce: Digest,
    clearance: Vec<u8>,
    now: Time,
}

/// Key, message, signature: nothing but to verify.
type Signature = (PublicKey, Vec<u8>, [u8; 64]);

impl Asked {
    /// A release whose whole way is said, which a wave in production waits for.
    pub(crate) fn new() -> Self {
        let (world, order) = prepared();
        let nonce = Digest::of(b"nonce");
        let clearance = world.clearance("p1", order, nonce).signed_by([&key("log")]).to_bytes();
        Self {
            evidence: world.evidence(order, "p1", 0),
            trust: world.trust(),
            host: world.facts("p1"),
            now: world.now,
            order,
            nonce,
            clearance,
        }
    }

    /// How many statements the evidence has.
    pub(crate) fn statements(&self) -> usize {
        self.evidence.entries.len()
    }

    /// Reads and verifies everything: statements, proofs, checkpoint.
    pub(crate) fn open(&self) -> Opened {
        evidence::open(&self.evidence, &self.order, &self.trust).expect("the evidence is whole")
    }

    /// Asks, with a clearance that is verified each time, on evidence that was opened.
    pub(crate) fn authorise(&self, opened: &Opened) -> Order {
        let question = self.question(opened);
        let head = opened.checkpoint().head.clone();
        let facts =
            ClearanceFacts { nonce: self.nonce, round_trip: Duration::from_millis(5), head };
        let clearances = Clearances { coordinator: &self.clearance, witnesses: &[] };
        authorise::authorise(&question, &clearances, &facts).expect("nothing stands against it")
    }

    /// The standing rules alone, on evidence that was opened.
    pub(crate) fn judge(&self, opened: &Opened) {
        authorise::judge(&self.question(opened)).expect("nothing stands against it");
    }

    fn question<'a>(&'a self, opened: &'a Opened) -> Question<'a> {
        let (host, order, now) = (&self.host, self.order, self.now);
        Question { state: opened.state(), host, order, phase: Phase::Start, now }
    }

    /// Every signature that [`Asked::open`] and [`Asked::authorise`] verify: those of the statements, the
    /// two of the checkpoint (here over the whole note, which is as long), that of the clearance.
    pub(crate) fn signatures(&self) -> Vec<Signature> {
        let envelopes =
            self.evidence.entries.iter().map(|it| &it.envelope).chain([&self.clearance]);
        let of_envelope = |bytes: &Vec<u8>| -> Signature {
            let envelope = Envelope::parse(bytes).expect("an envelope");
            let (id, signature) = envelope.signatures()[0];
            (owner(id), envelope.pae(), signature)
        };
        let log = key("log");
        let of_log = |_| {
            let note = self.evidence.checkpoint.clone();
            let signature = log.sign(&note);
            (log.public(), note, signature)
        };
        envelopes.map(of_envelope).chain((0..2).map(of_log)).collect()
    }
}

/// Whether all are good.
pub(crate) fn verify(signatures: &[Signature]) -> bool {
    signatures.iter().all(|(key, message, signature)| key.verify(message, signature))
}

fn prepared() -> (World, Digest) {
    let mut document = document(1);
    document.keys.push(KeyEntry {
        owner: name(THIRD),
        email: format!("{THIRD}@example.org"),
        key: key(THIRD).public(),
        roles: [Role::Board].into(),
        applications: Scope::All,
        environments: Scope::All,
        status: KeyStatus::Active,
    });
    for rule in document.rules.iter_mut().filter(|rule| rule.votes > 0) {
        rule.votes = 3;
    }
    let mut world = World::with_policy(document);
    let (release, package) = world.submit("1.0");
    world.approve(release, package);
    let judgement = Judgement::Accepted { reason: String::new() };
    let environments = names(&["production"]);
    world
        .say(&[THIRD], Vote { release, environments, judgement, conditions: Vec::new() })
        .expect("a third vote");
    let booking = world.book((release, package), "staging", &[&["s1"]]);
    let on_staging = Way { release, package, booking };
    world.release_window(on_staging);
    world.outcome("s1", on_staging, Event::Committed);
    let booking = world.book((release, package), "production", &[&["p1"], &["p2", "p3"]]);
    world.release_window(Way { release, package, booking });
    world.now = at(1000);
    (world, booking)
}

fn owner(id: KeyId) -> PublicKey {
    let people = PEOPLE.iter().map(|(owner, _)| *owner);
    let mut keys = people.chain([THIRD, "s1", "p1", "log"]).map(|owner| key(owner).public());
    keys.find(|key| key.id() == id).expect("the signature of somebody who takes part")
}
