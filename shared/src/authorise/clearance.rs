//! Clearances: the proof that nothing stands against an order now.
//!
//! A Merkle log proves what is in it, not what is absent. So whoever folds the whole log (the
//! coordinator; witnesses where a policy demands them) signs that nothing stands against this order on
//! this host, in answer to a nonce of the host's applier.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Question;
use crate::digest::Digest;
use crate::dsse::Envelope;
use crate::evidence;
use crate::key::PublicKey;
use crate::log::TreeHead;
use crate::name::Name;
use crate::policy::{Clock, MAX_WITNESSES};
use crate::refusal::{Code, Refusal};
use crate::statement::{Clearance, Header, Says, Statement};
use crate::time::Time;

/// What the applier knows of its own request.
#[derive(Debug, Clone)]
pub struct ClearanceFacts {
    /// The nonce that it sent.
    pub nonce: Digest,
    /// From sending to receiving, on the monotonic clock: bounds the error of the signed time.
    pub round_trip: Duration,
    /// The newest head that the host has verified; it must be the one that the clearance names, or be
    /// extended by it (which the caller has verified, with the note that came along).
    pub head: TreeHead,
}

/// A witness's clearance, which may be as of an earlier head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessClearance {
    /// The `clearance` statement's envelope.
    pub clearance: Vec<u8>,
    /// From the head that it names to the one that the coordinator's clearance names.
    pub consistency: Vec<Digest>,
}

/// What a host was answered.
#[derive(Debug, Clone, Copy)]
pub struct Clearances<'a> {
    /// The coordinator's: an envelope.
    pub coordinator: &'a [u8],
    /// The witnesses'.
    pub witnesses: &'a [WitnessClearance],
}

/// A clearance that holds. Only [`authorise`](super::authorise()) makes one, which has checked it:
///
/// ```compile_fail,E0451
/// # use cutover_shared::{authorise::Cleared, time::Time};
/// fn stretch(cleared: Cleared, not_after: Time) -> Cleared {
///     Cleared { not_after, ..cleared }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleared {
    time: Time,
    checkpoint: TreeHead,
    not_after: Time,
    witnesses: BTreeMap<Name, Digest>,
}

impl Cleared {
    /// The coordinator's signed time.
    pub fn time(&self) -> Time {
        self.time
    }

    /// The log up to which it was judged.
    pub fn checkpoint(&self) -> &TreeHead {
        &self.checkpoint
    }

    /// Good until.
    pub fn not_after(&self) -> Time {
        self.not_after
    }

    /// The owners of witnesses that cleared it as well, each with the identity of its clearance.
    pub fn witnesses(&self) -> &BTreeMap<Name, Digest> {
        &self.witnesses
    }
}

/// Checks the clearances. Steps:
///
/// 1. the coordinator's is a clearance signed by the log key of the policy in force (`not-cleared`,
///    `signature-invalid`);
/// 2. for this host, order, phase and nonce (`not-cleared`);
/// 3. naming the policy that the host has (`policy-rollback`);
/// 4. the host's clock agrees with the signed time (`clock-skew`) and is what the policy demands
///    (`clock-unsynchronised`), and has not gone behind a time accepted before (`clock-stepped-back`);
/// 5. it has not run out (`not-cleared`);
/// 6. it is under the head that the host has just verified (`checkpoint-stale`);
/// 7. as many distinct owners of witnesses as the rule demands cleared the same, by steps 1 to 5 with
///    their own keys, each under that head or one that it is proven to extend (`not-cleared`, with what
///    is wrong with each).
pub(super) fn check(
    question: &Question<'_>,
    clearances: &Clearances<'_>,
    facts: &ClearanceFacts,
) -> Result<Cleared, Refusal> {
    let log_key = &question.policy()?.document().log.key;
    let coordinator = Signed::read(clearances.coordinator)?;
    let end = coordinator.check(question, log_key, facts)?;
    let Clearance { time, checkpoint, .. } = coordinator.clearance;
    if checkpoint != facts.head {
        return Err(Refusal::new(
            Code::CheckpointStale,
            format!(
                "the clearance judged {} entries, the host knows {}",
                checkpoint.size, facts.head.size
            ),
        ));
    }
    let (witnesses, witnessed) = quorum(question, clearances.witnesses, facts)?;
    let not_after = witnessed.map_or(end, |other| end.min(other));
    Ok(Cleared { time, checkpoint, not_after, witnesses })
}

/// The witnesses that cleared it, and until when as many as the rule demands say so.
fn quorum(
    question: &Question<'_>,
    witnesses: &[WitnessClearance],
    facts: &ClearanceFacts,
) -> Result<(BTreeMap<Name, Digest>, Option<Time>), Refusal> {
    let (case, booking) = question.booking()?;
    let environment = &booking.booking.says().environment;
    let needed =
        question.policy()?.rule(environment, case.release.says().change)?.witnesses as usize;
    let mut good: BTreeMap<Name, (Digest, Time)> = BTreeMap::new();
    let mut bad = Vec::new();
    // Where none is demanded none is looked at: nobody else's word can stand in the way.
    let looked_at = if needed == 0 { 0 } else { MAX_WITNESSES };
    for witness in witnesses.iter().take(looked_at) {
        match witnessed(question, witness, facts) {
            Ok((owner, id, end)) => {
                let place = good.entry(owner).or_insert((id, end));
                if place.1 < end {
                    *place = (id, end);
                }
            }
            Err(refusal) => bad.push(refusal.to_string()),
        }
    }
    if good.len() < needed && !crate::seeded!(WitnessesNotCounted) {
        let why = if bad.is_empty() { String::new() } else { format!(": {}", bad.join("; ")) };
        return Err(Refusal::new(
            Code::NotCleared,
            format!("{} of {needed} witnesses cleared it{why}", good.len()),
        ));
    }
    let mut ends: Vec<_> = good.values().map(|(_, end)| *end).collect();
    ends.sort_unstable_by(|one, other| other.cmp(one));
    let until = needed.checked_sub(1).and_then(|last| ends.get(last).copied());
    Ok((good.into_iter().map(|(owner, (id, _))| (owner, id)).collect(), until))
}

/// The owner of the witness that cleared it, the clearance's identity, and until when it is good.
fn witnessed(
    question: &Question<'_>,
    witness: &WitnessClearance,
    facts: &ClearanceFacts,
) -> Result<(Name, Digest, Time), Refusal> {
    let signed = Signed::read(&witness.clearance)?;
    let keys = &question.policy()?.document().witnesses;
    let Some(known) = keys.iter().find(|it| Some(it.key.id()) == signed.header.by) else {
        return Err(Refusal::new(Code::SignatureInvalid, "by no witness of the policy"));
    };
    let of = |refusal: Refusal| {
        Refusal::new(refusal.code, format!("{}: {}", known.owner, refusal.facts))
    };
    let end = signed.check(question, &known.key, facts).map_err(of)?;
    evidence::extends(&signed.clearance.checkpoint, &facts.head, &witness.consistency)
        .map_err(of)?;
    Ok((known.owner.clone(), signed.envelope.id(), end))
}

/// A clearance as it was received.
struct Signed {
    envelope: Envelope,
    header: Header,
    clearance: Clearance,
    not_after: Time,
}

impl Signed {
    /// Reads it; nothing is verified here.
    fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let malformed = |facts: String| Refusal::new(Code::Malformed, facts);
        let envelope = Envelope::parse(bytes).map_err(|error| malformed(error.to_string()))?;
        let statement = Statement::read(&envelope).map_err(|error| malformed(error.to_string()))?;
        let Statement { header, says } = statement;
        match (says, header.not_after) {
            (Says::Clearance(clearance), Some(not_after)) => {
                Ok(Self { envelope, header, clearance, not_after })
            }
            (Says::Clearance(_), None) => {
                Err(malformed("the clearance has no not_after".to_owned()))
            }
            (other, _) => {
                Err(malformed(format!("a {} where a clearance was due", other.predicate())))
            }
        }
    }

    /// Until when it is good, if `key` signed it in answer to this request.
    fn check(
        &self,
        question: &Question<'_>,
        key: &PublicKey,
        facts: &ClearanceFacts,
    ) -> Result<Time, Refusal> {
        let policy = question.policy()?;
        let not_cleared = |text: &str| Refusal::new(Code::NotCleared, text);
        let signers = self
            .envelope
            .valid_signers(|id| (*id == key.id()).then(|| key.clone()))
            .map_err(|error| Refusal::new(Code::SignatureInvalid, error.to_string()))?;
        if signers.is_empty() || self.header.by != Some(key.id()) {
            let facts = "the clearance is not signed by the key that is to sign it";
            return Err(Refusal::new(Code::SignatureInvalid, facts));
        }
        let clearance = &self.clearance;
        let mine = clearance.host_key == question.host.host_key
            && clearance.host == question.host.host
            && clearance.order == question.order
            && clearance.phase == question.phase;
        if !mine {
            return Err(not_cleared("the clearance is for another host, order or phase"));
        }
        if clearance.nonce != facts.nonce && !crate::seeded!(NonceNotCompared) {
            return Err(not_cleared("the clearance answers another request"));
        }
        if clearance.policy != policy.id() {
            return Err(Refusal::new(
                Code::PolicyRollback,
                format!(
                    "the clearance names policy version {}, the evidence has version {}",
                    clearance.policy_version,
                    policy.document().version
                ),
            ));
        }
        check_clock(question, clearance.time, facts.round_trip)?;
        // The signed validity is bounded by the policy, whatever the signer wrote.
        let end = self.not_after.min(clearance.time + policy.document().freshness.clearance);
        if question.now >= end {
            return Err(not_cleared("the clearance has run out"));
        }
        Ok(end)
    }
}

fn check_clock(question: &Question<'_>, signed: Time, round_trip: Duration) -> Result<(), Refusal> {
    let freshness = &question.policy()?.document().freshness;
    let offset = question.now.distance(signed);
    if offset > freshness.clock_offset + round_trip {
        return Err(Refusal::new(
            Code::ClockSkew,
            format!(
                "the clock here says {}, the signed time {signed}: {} ms apart, {} allowed",
                question.now,
                offset.as_millis(),
                (freshness.clock_offset + round_trip).as_millis()
            ),
        ));
    }
    if round_trip > freshness.clearance {
        return Err(Refusal::new(
            Code::NotCleared,
            "the answer took longer than a clearance is good",
        ));
    }
    if let Some(newest) = question.host.newest_time
        && question.now < newest
    {
        return Err(Refusal::new(
            Code::ClockSteppedBack,
            format!("the clock here says {}, {newest} was accepted before", question.now),
        ));
    }
    if freshness.clock == Clock::Synchronised && question.host.clock_synchronised != Some(true) {
        return Err(Refusal::new(
            Code::ClockUnsynchronised,
            "the kernel's clock is not synchronised",
        ));
    }
    Ok(())
}
