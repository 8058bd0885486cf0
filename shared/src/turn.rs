//! Whether it is a host's turn, and the clearance that says so.
//!
//! The coordinator and witnesses sign clearances by the same measure: the standing rules let the order
//! through as far as the log tells, and the plan of the rollout gives the host its turn. What they hear of
//! hosts differs, so each brings its own [`Fleet`].

use crate::authorise::{self, HostFacts, Question};
use crate::digest::Digest;
use crate::fold::State;
use crate::key::KeyId;
use crate::log::TreeHead;
use crate::protocol::Fleet;
use crate::refusal::{Code, Refusal};
use crate::rollout::{self, Standing};
use crate::statement::{Clearance, Phase, Says, Statement};
use crate::time::Time;

/// What a host asks a clearance for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The host.
    pub host: KeyId,
    /// The `booking` statement.
    pub order: Digest,
    /// To start, or to activate.
    pub phase: Phase,
    /// The applier's nonce.
    pub nonce: Digest,
}

/// Whether the standing rules let an order through on a host in a phase, as far as the log tells.
pub fn judge(
    state: &State,
    host: &KeyId,
    order: &Digest,
    phase: Phase,
    now: Time,
) -> Result<(), Refusal> {
    let Some((case, _)) = state.booking(order) else {
        let facts = format!("no good booking {} is known", order.short());
        return Err(Refusal::new(Code::NotBooked, facts));
    };
    let Some(record) = state.host(host) else {
        return Err(Refusal::new(Code::WrongHost, "the host is not enrolled"));
    };
    let host = HostFacts::from_log(record, &case.release.says().application);
    let question = Question { state, host: &host, order: *order, phase, now };
    authorise::judge(&question).map(drop)
}

/// Where a host stands in a booking.
pub fn standing(
    state: &State,
    fleet: &Fleet,
    host: &KeyId,
    order: &Digest,
    now: Time,
) -> Option<Standing> {
    let plan = rollout::plan(state, fleet, order, now)?;
    let mine = plan.hosts.into_iter().find(|planned| planned.host_key == *host)?;
    Some(mine.standing)
}

/// Whether nothing stands against the order and it is the host's turn, or the host is at it already. That
/// it is, is the host's own word, which anybody with its transport key can say: to start it needs room
/// beside the others all the same.
pub fn allow(
    state: &State,
    fleet: &Fleet,
    host: &KeyId,
    (order, phase): (&Digest, Phase),
    now: Time,
) -> Result<(), Refusal> {
    judge(state, host, order, phase, now)?;
    match standing(state, fleet, host, order, now) {
        Some(Standing::Turn) => Ok(()),
        Some(Standing::Working { .. }) => match phase {
            Phase::Start => has_room(state, fleet, host, order, now),
            Phase::Activate => Ok(()),
        },
        Some(Standing::Waiting(reason)) => not_cleared(format!("it waits for {reason}")),
        Some(Standing::Committed | Standing::ReturnTurn | Standing::ReturnWaiting(_)) => {
            not_cleared("it has committed this order".to_owned())
        }
        Some(Standing::Returned { reason } | Standing::Stuck { reason }) => {
            not_cleared(format!("this order has failed here: {reason}"))
        }
        Some(Standing::Silent { since }) => {
            not_cleared(format!("it had to be done by {since} and counts as failed"))
        }
        None => not_cleared("the order does not name the host".to_owned()),
    }
}

fn not_cleared<T>(facts: String) -> Result<T, Refusal> {
    Err(Refusal::new(Code::NotCleared, facts))
}

/// Whether the hosts beside this one leave it room to start.
fn has_room(
    state: &State,
    fleet: &Fleet,
    host: &KeyId,
    order: &Digest,
    now: Time,
) -> Result<(), Refusal> {
    let planned = rollout::plan(state, fleet, order, now).zip(state.booking(order));
    let Some((plan, (_, booking))) = planned else {
        return not_cleared("the order is no booking".to_owned());
    };
    if plan.halted.is_some() {
        return not_cleared("the rollout is halted".to_owned());
    }
    let others = plan.hosts.iter().filter(|planned| planned.host_key != *host);
    let busy = others.filter(|planned| {
        matches!(planned.standing, Standing::Working { .. } | Standing::Silent { .. })
    });
    let (busy, at_once) = (busy.count(), booking.booking.says().plan.at_once);
    if busy < at_once as usize + usize::from(crate::seeded!(AtOnceOffByOne)) {
        return Ok(());
    }
    not_cleared(format!("it waits for room: {busy} are under way, {at_once} may be"))
}

/// The clearance, to be signed: good for as long as the policy lets one be.
pub fn clearance(
    state: &State,
    head: &TreeHead,
    asked: &Asked,
    now: Time,
) -> Result<Statement, Refusal> {
    let Some(record) = state.host(&asked.host) else {
        return Err(Refusal::new(Code::WrongHost, "the host is not enrolled"));
    };
    let Some(policy) = state.policy() else {
        return Err(Refusal::new(Code::SubjectUnknown, "the log has no trust policy"));
    };
    let document = policy.document();
    let clearance = Clearance {
        host: record.enrolment.says().host.clone(),
        host_key: asked.host,
        nonce: asked.nonce,
        order: asked.order,
        phase: asked.phase,
        checkpoint: head.clone(),
        policy_version: document.version,
        policy: policy.id(),
        time: now,
    };
    Ok(Statement::new(now, Says::Clearance(clearance)).until(now + document.freshness.clearance))
}
