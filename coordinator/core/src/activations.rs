//! Who may be down, because it was cleared to activate.
//!
//! It outlives the coordinator's process: what a host's network half reports is nobody's word, so that after a
//! restart only this tells that a host which says that it is idle may be at work. The driver puts
//! [`Activations`] where they are safe before a clearance to activate leaves it, and begins with them again.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::key::KeyId;
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::time::Time;
use serde::{Deserialize, Serialize};

/// From so many activations on those are let go that nothing waits for any more.
const MOST: usize = 4096;
/// An activation is over after so long, whatever became of it: longer than any window.
const KEPT: Duration = Duration::from_hours(24 * 7);

/// The hosts that were cleared to activate, by order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Activation>", into = "Vec<Activation>")]
pub struct Activations(BTreeMap<(Digest, KeyId), Since>);

/// A host that was cleared to activate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Activation {
    order: Digest,
    host: KeyId,
    at: Time,
    outcomes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Since {
    at: Time,
    /// How many outcomes of this host and order the log had then.
    outcomes: usize,
}

impl Activations {
    /// Whether the hosts beside this one leave it room to activate. A host that was cleared for that is
    /// down until it signs what came of it, or until its deadline. With it the place is taken.
    pub(crate) fn take(
        &mut self,
        state: &State,
        (host, order): (&KeyId, Digest),
        now: Time,
    ) -> Result<(), Refusal> {
        let Some((case, booking)) = state.booking(&order) else { return Ok(()) };
        let outcomes =
            |host: &KeyId| booking.outcomes.iter().filter(|it| it.says().host_key == *host).count();
        let longest = case.budget().whole();
        self.0.retain(|(other, key), it| {
            *other != order || it.outcomes == outcomes(key) && now < it.at + longest
        });
        let others = self.0.keys().filter(|(other, key)| *other == order && key != host);
        let (busy, at_once) = (others.count(), booking.booking.says().plan.at_once);
        if busy >= at_once as usize {
            let facts = format!("{busy} hosts may be down, {at_once} are allowed to be");
            return Err(Refusal::new(Code::NotCleared, facts));
        }
        if self.0.len() >= MOST {
            self.0.retain(|_, it| now < it.at + KEPT);
        }
        self.0.insert((order, *host), Since { at: now, outcomes: outcomes(host) });
        Ok(())
    }
}

impl From<Vec<Activation>> for Activations {
    fn from(all: Vec<Activation>) -> Self {
        let since =
            |it: Activation| ((it.order, it.host), Since { at: it.at, outcomes: it.outcomes });
        Self(all.into_iter().map(since).collect())
    }
}

impl From<Activations> for Vec<Activation> {
    fn from(all: Activations) -> Self {
        let activation =
            |((order, host), Since { at, outcomes })| Activation { order, host, at, outcomes };
        all.0.into_iter().map(activation).collect()
    }
}
