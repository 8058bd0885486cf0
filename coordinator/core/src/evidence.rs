//! What hosts are shown: the evidence for an order, and clearances.

use std::collections::BTreeSet;

use cutover_shared::digest::Digest;
use cutover_shared::evidence::{self, Evidence, ProvenEntry};
use cutover_shared::key::SecretKey;
use cutover_shared::log::TreeHead;
use cutover_shared::protocol::{ClearanceAnswer, HostReport};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{Phase, Statement};
use cutover_shared::time::Time;
use cutover_shared::turn;

use crate::append::Folded;
use crate::conduct::{Conduct, Situation, Turn};
use crate::register::Register;

/// What proves things about the log.
pub trait Proofs {
    /// Why there is no proof.
    type Error;

    /// That entry `index` is in the log as it was at `size`.
    fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Digest>, Self::Error>;

    /// That the log at `old` is the beginning of the log at `new`.
    fn consistency(&self, old: u64, new: u64) -> Result<Vec<Digest>, Self::Error>;
}

/// The evidence for an order that a host is to be shown, before it is read. All of it is as of one head.
#[derive(Debug)]
pub struct Selection {
    /// Which entries of the log, in their order.
    pub indexes: BTreeSet<u64>,
    /// The head that the evidence is as of.
    pub head: TreeHead,
    known: u64,
    released: u64,
}

impl Selection {
    /// Selects for a host that has said `report`.
    pub fn new(
        conduct: &dyn Conduct,
        folded: &Folded,
        turn: &Turn,
        report: &HostReport,
    ) -> Result<Self, Refusal> {
        let known = evidence::seen_of(&folded.state, report.known, report.policy_version);
        not_shorter(&folded.head, known)?;
        let indexes = conduct.evidence(&folded.state, turn, report.policy_version);
        let booking = folded.state.booking(&turn.order);
        let released = booking.and_then(|(_, booking)| booking.released.as_ref());
        let released = released.map_or(0, |it| it.says().checkpoint.size);
        let head = folded.head.clone();
        Ok(Self { indexes, known, released: released.min(head.size), head })
    }

    /// Puts it together from the envelopes at the indexes and a checkpoint over the head.
    pub fn assemble<P: Proofs + ?Sized>(
        self,
        envelopes: Vec<Vec<u8>>,
        checkpoint: Vec<u8>,
        proofs: &P,
    ) -> Result<Evidence, P::Error> {
        let size = self.head.size;
        let mut entries = Vec::with_capacity(envelopes.len());
        for (index, envelope) in self.indexes.into_iter().zip(envelopes) {
            entries.push(ProvenEntry { index, envelope, proof: proofs.inclusion(index, size)? });
        }
        Ok(Evidence {
            checkpoint,
            consistency: proofs.consistency(self.known, size)?,
            release_consistency: proofs.consistency(self.released, size)?,
            entries,
        })
    }
}

/// Refuses a host that knows a longer log than there is: something was lost here, or is being hidden.
pub fn not_shorter(head: &TreeHead, known: u64) -> Result<(), Refusal> {
    if known <= head.size {
        return Ok(());
    }
    Err(Refusal::new(
        Code::CheckpointInconsistent,
        format!("the host has seen {known} entries, the log here has {}", head.size),
    ))
}

/// What a host asks for a clearance with.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// The host and the order.
    pub turn: Turn,
    /// To start or to activate.
    pub phase: Phase,
    /// The applier's nonce.
    pub nonce: Digest,
    /// Size of the newest head that the host knows.
    pub known: u64,
}

/// A clearance that is to be signed.
#[derive(Debug)]
pub struct Cleared {
    statement: Statement,
    known: u64,
    /// The head that it names.
    pub head: TreeHead,
}

impl Cleared {
    /// Signs it, and puts a checkpoint over its head beside it.
    pub fn answer<P: Proofs + ?Sized>(
        self,
        key: &SecretKey,
        checkpoint: Vec<u8>,
        proofs: &P,
    ) -> Result<ClearanceAnswer, P::Error> {
        let clearance = self.statement.signed_by([key]).to_bytes();
        let consistency = proofs.consistency(self.known, self.head.size)?;
        Ok(ClearanceAnswer { clearance, checkpoint, consistency, witnesses: Vec::new() })
    }
}

/// Clears a host for an order, or says why not. Judging, taking note and naming the head are one step.
pub fn clear(
    conduct: &dyn Conduct,
    folded: &Folded,
    register: &mut Register,
    asked: &Asked,
    now: Time,
) -> Result<Cleared, Refusal> {
    not_shorter(&folded.head, asked.known)?;
    let situation = Situation { state: &folded.state, fleet: register.fleet(now), now };
    conduct.clear(&situation, &asked.turn, asked.phase)?;
    let Asked { turn: Turn { host, order }, phase, nonce, .. } = *asked;
    let asking = turn::Asked { host, order, phase, nonce };
    let statement = turn::clearance(&folded.state, &folded.head, &asking, now)?;
    if phase == Phase::Activate {
        register.activates(&folded.state, (&host, order), now)?;
    }
    register.cleared(&asked.turn.host, asked.turn.order, asked.phase, now);
    Ok(Cleared { statement, known: asked.known, head: folded.head.clone() })
}
