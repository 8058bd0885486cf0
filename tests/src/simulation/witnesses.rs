//! The witnesses of a run: each follows the log on a machine of its own, holds what it was handed against
//! an order until the log has it, and clears hosts beside the coordinator.

use std::collections::BTreeSet;

use cutover_coordinator_core::{Asked, Proofs as _};
use cutover_shared::authorise::WitnessClearance;
use cutover_shared::digest::Digest;
use cutover_shared::protocol::ClearanceAnswer;
use cutover_shared::turn;
use cutover_shared::witness::Witness;

use super::fleet::{Event, Fleet};
use super::people::Errand;
use super::scenario::Instant;
use crate::world::{self, WITNESSES, key, note};

/// Between two tries to hand a witness something.
const AGAIN: Instant = 2000;

/// So often is it tried.
const TRIES: u32 = 60;

/// A witness.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) owner: &'static str,
    witness: Witness,
    /// It is not to be reached.
    pub(super) gone: bool,
    /// What it has taken against an order, as those remember who handed it over.
    pub(super) handed: BTreeSet<Digest>,
}

impl Fleet {
    /// The witnesses begin, where some are demanded.
    pub(super) fn begin_witnesses(&mut self) {
        if self.scenario.witnesses == 0 {
            return;
        }
        let (genesis, wall) = (self.people.policy(), self.wall());
        let begin = |owner: &'static str| {
            let witness = Witness::new(world::witness_name(owner), key(owner), genesis, wall);
            Watcher { owner, witness, gone: false, handed: BTreeSet::new() }
        };
        self.watchers = WITNESSES.map(begin).into();
    }

    /// Whoever says something against an order hands it to each witness.
    pub(super) fn hand(&mut self, errand: &Errand) {
        for watcher in 0..self.watchers.len() {
            if errand.against {
                let wait = self.random.between(5, 80);
                self.after(wait, Event::Hand(watcher, Box::new(errand.clone())));
            }
        }
    }

    pub(super) fn handed(&mut self, number: usize, errand: Errand) {
        let wall = self.wall();
        let watcher = &mut self.watchers[number];
        let taken = !watcher.gone && watcher.witness.hold(&errand.envelope, wall).is_ok();
        if taken {
            watcher.handed.insert(errand.id);
        } else if errand.tries < TRIES && !self.people.gave_up(&errand.id) {
            let errand = Errand { tries: errand.tries + 1, ..errand };
            self.after(AGAIN, Event::Hand(number, Box::new(errand)));
        }
    }

    /// The log will not have it, says who signed it: the witnesses' owners let go of it.
    pub(super) fn let_go(&mut self, id: &Digest) {
        for watcher in &mut self.watchers {
            watcher.handed.remove(id);
            watcher.witness.let_go(id);
        }
    }

    /// The witnesses are asked what the coordinator was, and what they say is put beside its answer. Now and
    /// then one of them has not heard of the newest entries.
    pub(super) fn witnessed(&mut self, asked: &Asked, answer: &mut ClearanceAnswer) {
        let Some(head) = self.coordinator.life.as_ref().map(|life| life.folded.head.clone()) else {
            return;
        };
        let wall = self.wall();
        let asking = turn::Asked {
            host: asked.turn.host,
            order: asked.turn.order,
            phase: asked.phase,
            nonce: asked.nonce,
        };
        let faultless = self.scenario.is_faultless();
        for number in 0..self.watchers.len() {
            let lags = !faultless && self.random.chance(100);
            let watcher = &mut self.watchers[number];
            if watcher.gone {
                continue;
            }
            let log = &self.coordinator.log;
            let known = usize::try_from(watcher.witness.head().size).unwrap_or(usize::MAX);
            if !lags && let Some(new) = log.entries().get(known..) {
                // What does not go on from what it follows it does not follow.
                let _ = watcher.witness.follow(&note(&head, wall), new);
            }
            let Ok(envelope) = watcher.witness.clear(&asking, wall) else { continue };
            let from = watcher.witness.head().size;
            self.referee.witnessed(self.now, watcher, &asking);
            let consistency = log.consistency(from, head.size).unwrap_or_default();
            answer.witnesses.push(WitnessClearance { clearance: envelope.to_bytes(), consistency });
        }
    }
}
