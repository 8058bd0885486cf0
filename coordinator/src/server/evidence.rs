//! What hosts are shown: the evidence for an order, and clearances.

use std::collections::BTreeSet;

use cutover_shared::digest::Digest;
use cutover_shared::evidence::{Evidence, ProvenEntry};
use cutover_shared::key::KeyId;
use cutover_shared::log::TreeHead;
use cutover_shared::protocol::{ClearanceAnswer, HostReport};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{Clearance, Phase, Statement};

use super::conduct::{Situation, Turn};
use super::core::{Core, Folded};
use super::trouble::Trouble;

/// The evidence for an order, for a host that has said `report`. All of it is as of one head.
pub(super) async fn gather(
    core: &Core,
    turn: &Turn,
    report: &HostReport,
) -> Result<Evidence, Trouble> {
    let (indexes, head, released) = {
        let folded = core.folded();
        let indexes = core.conduct.evidence(&folded.state, turn, report.policy_version);
        let booking = folded.state.booking(&turn.order);
        let released = booking.and_then(|(_, booking)| booking.released.as_ref());
        let released = released.map_or(0, |it| it.says().checkpoint.size);
        (indexes, folded.head.clone(), released)
    };
    not_shorter(&head, report.known)?;
    let envelopes = read(core, &indexes).await?;
    let mut entries = Vec::with_capacity(envelopes.len());
    for (index, envelope) in indexes.into_iter().zip(envelopes) {
        let proof = core.store.inclusion(index, head.size)?;
        entries.push(ProvenEntry { index, envelope, proof });
    }
    Ok(Evidence {
        checkpoint: core.signer.sign(&head),
        consistency: core.store.consistency(report.known, head.size)?,
        release_consistency: core.store.consistency(released.min(head.size), head.size)?,
        entries,
    })
}

/// The bytes of the entries at `indexes`, in one read for each run of neighbours.
async fn read(core: &Core, indexes: &BTreeSet<u64>) -> Result<Vec<Vec<u8>>, Trouble> {
    let mut entries = Vec::with_capacity(indexes.len());
    let mut wanted = indexes.iter().copied().peekable();
    while let Some(first) = wanted.next() {
        let mut next = first + 1;
        while wanted.next_if_eq(&next).is_some() {
            next += 1;
        }
        let mut from = first;
        while from < next {
            let read = core.store.read(from..next).await?;
            from += read.len() as u64;
            entries.extend(read);
        }
    }
    Ok(entries)
}

/// Refuses a host that knows a longer log than there is: something was lost here, or is being hidden.
pub(super) fn not_shorter(head: &TreeHead, known: u64) -> Result<(), Refusal> {
    if known <= head.size {
        return Ok(());
    }
    Err(Refusal::new(
        Code::CheckpointInconsistent,
        format!("the host has seen {known} entries, the log here has {}", head.size),
    ))
}

/// What a host asks with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) turn: Turn,
    pub(super) phase: Phase,
    pub(super) nonce: Digest,
    pub(super) known: u64,
}

/// Clears a host for an order, or says why not. Judging, taking note and naming the head are one step, so
/// that two hosts that ask at the same time are not both given the last place.
pub(super) fn clear(core: &Core, asked: &Asked) -> Result<ClearanceAnswer, Trouble> {
    let (statement, head) = {
        let folded = core.folded();
        not_shorter(&folded.head, asked.known)?;
        let mut register = core.register();
        let now = core.now();
        let situation = Situation { state: &folded.state, fleet: register.fleet(now), now };
        core.conduct.clear(&situation, &asked.turn, asked.phase)?;
        let statement = statement(&folded, asked, now)?;
        register.cleared(&asked.turn.host, asked.turn.order, asked.phase, now);
        (statement, folded.head.clone())
    };
    core.changed.notify_one();
    let clearance = statement.signed_by([&core.signer.key]).to_bytes();
    let consistency = core.store.consistency(asked.known, head.size)?;
    Ok(ClearanceAnswer { clearance, checkpoint: core.signer.sign(&head), consistency })
}

fn statement(
    folded: &Folded,
    asked: &Asked,
    now: cutover_shared::time::Time,
) -> Result<Statement, Refusal> {
    let host = host_name(folded, &asked.turn.host)?;
    let Some(policy) = folded.state.policy() else {
        return Err(Refusal::new(Code::SubjectUnknown, "the log has no trust policy"));
    };
    let document = policy.document();
    let clearance = Clearance {
        host,
        host_key: asked.turn.host,
        nonce: asked.nonce,
        order: asked.turn.order,
        phase: asked.phase,
        checkpoint: folded.head.clone(),
        policy_version: document.version,
        policy: policy.id(),
        time: now,
    };
    Ok(Statement::new(now, cutover_shared::statement::Says::Clearance(clearance))
        .until(now + document.freshness.clearance))
}

fn host_name(folded: &Folded, host: &KeyId) -> Result<cutover_shared::name::Name, Refusal> {
    let record = folded.state.host(host);
    let name = record.map(|record| record.enrolment.says().host.clone());
    name.ok_or_else(|| Refusal::new(Code::WrongHost, "the host is not enrolled"))
}
