//! Clearances: the proof that nothing stands against an order now.
//!
//! A Merkle log proves what is in it, not what is absent. So whoever folds the whole log (the
//! coordinator; witnesses where a policy demands them) signs that nothing stands against this order on
//! this host, in answer to a nonce of the host's applier.

use std::time::Duration;

use super::Question;
use crate::digest::Digest;
use crate::dsse::Envelope;
use crate::log::TreeHead;
use crate::policy::Clock;
use crate::refusal::{Code, Refusal};
use crate::statement::{Clearance, Says, Statement};
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

/// A clearance that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleared {
    time: Time,
    checkpoint: TreeHead,
    not_after: Time,
}

impl Cleared {
    /// The signed time.
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
}

/// Checks a clearance. Steps:
///
/// 1. it is a clearance signed by the log key of the policy in force (`not-cleared`, `signature-invalid`);
/// 2. for this host, order, phase and nonce (`not-cleared`);
/// 3. under the head that the host has just verified (`checkpoint-stale`);
/// 4. naming the policy that the host has (`policy-rollback`);
/// 5. the host's clock agrees with the signed time (`clock-skew`) and is what the policy demands
///    (`clock-unsynchronised`), and has not gone behind a time accepted before (`clock-stepped-back`);
/// 6. it has not run out (`not-cleared`).
pub(super) fn check(
    question: &Question<'_>,
    clearance: &[u8],
    facts: &ClearanceFacts,
) -> Result<Cleared, Refusal> {
    let policy = question.policy()?;
    let not_cleared = |text: &str| Refusal::new(Code::NotCleared, text);
    let (clearance, not_after) = read(question, clearance)?;
    let mine = clearance.host_key == question.host.host_key
        && clearance.host == question.host.host
        && clearance.order == question.order
        && clearance.phase == question.phase;
    if !mine {
        return Err(not_cleared("the clearance is for another host, order or phase"));
    }
    if clearance.nonce != facts.nonce {
        return Err(not_cleared("the clearance answers another request"));
    }
    if clearance.checkpoint != facts.head {
        return Err(Refusal::new(
            Code::CheckpointStale,
            format!(
                "the clearance judged {} entries, the host knows {}",
                clearance.checkpoint.size, facts.head.size
            ),
        ));
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
    let end = not_after.min(clearance.time + policy.document().freshness.clearance);
    if question.now >= end {
        return Err(not_cleared("the clearance has run out"));
    }
    Ok(Cleared { time: clearance.time, checkpoint: clearance.checkpoint, not_after: end })
}

fn read(question: &Question<'_>, bytes: &[u8]) -> Result<(Clearance, Time), Refusal> {
    let log_key = &question.policy()?.document().log.key;
    let malformed = |facts: String| Refusal::new(Code::Malformed, facts);
    let envelope = Envelope::parse(bytes).map_err(|error| malformed(error.to_string()))?;
    let signers = envelope
        .valid_signers(|key| (*key == log_key.id()).then(|| log_key.clone()))
        .map_err(|error| Refusal::new(Code::SignatureInvalid, error.to_string()))?;
    if signers.is_empty() {
        return Err(Refusal::new(
            Code::SignatureInvalid,
            "the clearance is not signed by the log key",
        ));
    }
    let statement = Statement::read(&envelope).map_err(|error| malformed(error.to_string()))?;
    match (statement.says, statement.header.not_after) {
        (Says::Clearance(clearance), Some(not_after)) => Ok((clearance, not_after)),
        (Says::Clearance(_), None) => Err(malformed("the clearance has no not_after".to_owned())),
        (other, _) => Err(malformed(format!("a {} where a clearance was due", other.predicate()))),
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
