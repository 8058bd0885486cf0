//! What was truly said: every statement that somebody signed, and the log as it would be without the attacker.

use std::collections::{BTreeMap, BTreeSet};

use cutover_coordinator_core::Proofs as _;
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::evidence::{self, Evidence, ProvenEntry};
use cutover_shared::fold::State;
use cutover_shared::key::KeyId;
use cutover_shared::log::TreeHead;
use cutover_shared::name::Name;
use cutover_shared::protocol::{ClearanceAnswer, Receipt};
use cutover_shared::statement::{Clearance, Phase, Says, Statement};
use cutover_shared::time::Time;

use crate::world::{LOG_KEY, MemoryLog, key, note};

/// A statement that somebody signed.
#[derive(Debug, Clone)]
pub struct Said {
    /// Its identity.
    pub id: Digest,
    /// As it travels.
    pub envelope: Vec<u8>,
    /// What it says.
    pub says: Says,
    /// The keys that signed.
    pub keys: BTreeSet<KeyId>,
    /// When, as the signers say.
    pub issued: Time,
    /// Until when, where it says so.
    pub not_after: Option<Time>,
    /// When it was said in truth.
    pub at: Time,
    /// Its place in the true log; none where an honest coordinator would not have taken it.
    pub index: Option<u64>,
}

/// A log with its fold: the true one, or one that the attacker shows.
#[derive(Debug, Clone)]
pub struct View {
    /// The log.
    pub log: MemoryLog,
    /// What it folds to.
    pub state: State,
}

/// A host, as far as statements name it.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its name.
    pub host: Name,
    /// Its host key.
    pub host_key: KeyId,
}

/// What a host asks to be cleared for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// The order.
    pub order: Digest,
    /// The phase.
    pub phase: Phase,
    /// Its nonce.
    pub nonce: Digest,
    /// The size of the newest head that it knows.
    pub known: u64,
}

/// Everything that was said.
#[derive(Debug, Clone)]
pub struct Truth {
    /// The true log.
    pub view: View,
    /// The log after each entry, to be continued otherwise.
    states: Vec<State>,
    /// By identity.
    pub said: BTreeMap<Digest, Said>,
    /// In the order in which it was said.
    pub order: Vec<Digest>,
}

impl Default for View {
    fn default() -> Self {
        Self { log: MemoryLog::default(), state: State::empty() }
    }
}

impl View {
    /// Adds an entry, good or not; its index.
    pub fn push(&mut self, envelope: &[u8]) -> u64 {
        let index = self.log.append(envelope.to_vec());
        // What has no effect is in the log all the same.
        let _ = self.state.apply(index, envelope);
        index
    }

    /// The evidence for an order, for a host that knows `known` entries and a policy version.
    pub fn evidence(
        &self,
        order: &Digest,
        host: &KeyId,
        (known, policy_version): (u64, u64),
        now: Time,
    ) -> Evidence {
        let indexes = evidence::select(&self.state, order, host, policy_version);
        let size = self.log.size();
        let entry = |index: u64| ProvenEntry {
            index,
            envelope: self.log.entry(index).unwrap_or_default().to_vec(),
            proof: self.log.inclusion(index, size).unwrap_or_default(),
        };
        let released = self.state.booking(order).and_then(|(_, booking)| booking.released.as_ref());
        let released = released.map_or(0, |it| it.says().checkpoint.size);
        Evidence {
            checkpoint: self.log.note(now),
            consistency: self.consistency(known),
            release_consistency: self.consistency(released),
            entries: indexes.into_iter().map(entry).collect(),
        }
    }

    /// From a head that somebody knows to this log's.
    pub fn consistency(&self, known: u64) -> Vec<Digest> {
        self.log.consistency(known, self.log.size()).unwrap_or_default()
    }

    /// What the coordinator's clearance says, as of this log.
    pub fn clearance(&self, subject: &Subject, wanted: &Wanted, now: Time) -> Clearance {
        let policy = self.state.policy().expect("the log begins with a policy");
        Clearance {
            host: subject.host.clone(),
            host_key: subject.host_key,
            nonce: wanted.nonce,
            order: wanted.order,
            phase: wanted.phase,
            checkpoint: self.log.head(),
            policy_version: policy.document().version,
            policy: policy.id(),
            time: now,
        }
    }

    /// A clearance with its checkpoint, signed with the log's key; nothing is asked.
    pub fn answer(&self, clearance: Clearance, known: u64, now: Time) -> ClearanceAnswer {
        let until = clearance.time + super::FRESHNESS;
        let statement = Statement::new(now, Says::Clearance(clearance)).until(until);
        ClearanceAnswer {
            clearance: statement.signed_by([&key(LOG_KEY)]).to_bytes(),
            checkpoint: self.log.note(now),
            consistency: self.consistency(known),
            witnesses: Vec::new(),
        }
    }

    /// The proof that an entry is in this log.
    pub fn receipt(&self, index: u64, now: Time) -> Receipt {
        Receipt {
            index,
            checkpoint: self.log.note(now),
            inclusion: self.log.inclusion(index, self.log.size()).unwrap_or_default(),
        }
    }

    /// Where an envelope is in it.
    pub fn find(&self, envelope: &[u8]) -> Option<u64> {
        let place = self.log.entries().iter().position(|entry| entry == envelope)?;
        u64::try_from(place).ok()
    }
}

impl Default for Truth {
    fn default() -> Self {
        let view = View::default();
        let states = vec![view.state.clone()];
        Self { view, states, said: BTreeMap::new(), order: Vec::new() }
    }
}

impl Truth {
    /// Somebody says something, and it is logged.
    pub fn say(&mut self, by: &[&str], now: Time, says: impl Into<Says>) -> Digest {
        let id = self.whisper(by, &Statement::new(now, says));
        self.log(id);
        id
    }

    /// Somebody permits something until an instant, and it is logged.
    pub fn permit(&mut self, by: &[&str], now: Time, until: Time, says: impl Into<Says>) -> Digest {
        let id = self.whisper(by, &Statement::new(now, says).until(until));
        self.log(id);
        id
    }

    /// Somebody signs something that an honest coordinator does not get, or does not take.
    pub fn whisper(&mut self, by: &[&str], statement: &Statement) -> Digest {
        let keys: Vec<_> = by.iter().map(|owner| key(owner)).collect();
        let now = statement.header.issued;
        self.hear(&statement.signed_by(&keys).to_bytes(), now)
    }

    /// An envelope that somebody signed.
    ///
    /// # Panics
    ///
    /// When it is none.
    pub fn hear(&mut self, envelope: &[u8], at: Time) -> Digest {
        let parsed = Envelope::parse(envelope).expect("what is said is an envelope");
        let statement = Statement::read(&parsed).expect("what is said is a statement");
        let id = parsed.id();
        if self.said.contains_key(&id) {
            return id;
        }
        let said = Said {
            id,
            envelope: envelope.to_vec(),
            says: statement.says,
            keys: parsed.signatures().iter().map(|(key, _)| *key).collect(),
            issued: statement.header.issued,
            not_after: statement.header.not_after,
            at,
            index: None,
        };
        self.said.insert(id, said);
        self.order.push(id);
        id
    }

    /// What was said goes into the true log; where it is there.
    ///
    /// # Panics
    ///
    /// When nobody said it.
    pub fn log(&mut self, id: Digest) -> u64 {
        let said = self.said.get_mut(&id).expect("only what was said is logged");
        *said.index.get_or_insert_with(|| {
            let index = self.view.push(&said.envelope);
            self.states.push(self.view.state.clone());
            index
        })
    }

    /// The true log as it was at a size, to be continued otherwise.
    ///
    /// # Panics
    ///
    /// When it was never so long.
    pub fn fork(&self, size: u64) -> View {
        let mut log = self.view.log.clone();
        log.truncate(size);
        let place = usize::try_from(size).expect("a log in memory is not so long");
        View { log, state: self.states[place].clone() }
    }

    /// Size and root of the true log now.
    pub fn head(&self) -> TreeHead {
        self.view.log.head()
    }

    /// A checkpoint over any head.
    pub fn note(head: &TreeHead, now: Time) -> Vec<u8> {
        note(head, now)
    }
}
