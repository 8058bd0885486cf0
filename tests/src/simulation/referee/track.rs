//! What one host has done so far.

use std::collections::BTreeMap;

use cutover_machine::{Outcome, What};
use cutover_shared::digest::Digest;
use cutover_shared::statement::Phase;
use cutover_shared::time::Time;

use super::Invariant;
use crate::simulation::APPLICATION;
use crate::simulation::disk::SlotName;
use crate::simulation::host::Host;
use crate::simulation::scenario::Instant;
use crate::world::name;

/// Rounds in a row that the packages of a run ask for, and how long they are to be watched after that.
const SUCCESSES: u32 = 2;
const BAKE: Instant = 3000;

/// What one host has done so far.
#[derive(Debug, Default)]
pub(super) struct Track {
    /// What it asked for, and the nonce that it asked with.
    pub(super) asked: Vec<(Digest, Phase, Digest)>,
    /// The newest iteration of each emergency that it began.
    pub(super) iterations: BTreeMap<Digest, u32>,
    /// It has stopped what ran for this order, and not come to an end.
    pub(super) down: Option<(Digest, Instant)>,
    /// The last end that was seen.
    pub(super) ended: Option<(Digest, u64)>,
    /// The generation at which it carried out each order.
    pub(super) begun: BTreeMap<Digest, u64>,
    /// What it took back itself, and how many entries of the log it knew then.
    pub(super) returned: BTreeMap<Digest, usize>,
    saves: u64,
    size: u64,
    policy: u64,
    generation: u64,
    accepted: Option<Time>,
    /// Of the slot that was checked last: good rounds in a row, when it was well first, and the last round.
    health: BTreeMap<SlotName, (u32, Option<Instant>, bool)>,
}

impl Track {
    /// Whether a clearance answers what this host has asked for, and it has not asked anew since.
    pub(super) fn is_answered(&self, order: &Digest, phase: Phase, nonce: &Digest) -> bool {
        let newest = self.asked.iter().rfind(|(asked, when, _)| asked == order && *when == phase);
        newest.is_some_and(|(_, _, with)| with == nonce)
    }

    /// How an order has ended.
    pub(super) fn ends(&mut self, outcome: &Outcome, host: &Host) {
        self.ended = Some((outcome.booking, outcome.generation));
        if matches!(outcome.what, What::Returned { .. } | What::Stuck { .. }) {
            let trust = host.life.as_ref().and_then(|life| life.core.trust());
            let known = trust.map_or(0, |trust| trust.head.size);
            self.returned.insert(outcome.package, usize::try_from(known).unwrap_or(usize::MAX));
        }
    }

    /// A round of checks.
    pub(super) fn sample(&mut self, slot: SlotName, healthy: bool, now: Instant) {
        let (row, well, last) = self.health.entry(slot).or_insert((0, None, false));
        *row = if healthy { *row + 1 } else { 0 };
        *last = healthy;
        if *row >= SUCCESSES {
            well.get_or_insert(now);
        }
    }

    /// Whether a slot that is committed was well, and for long enough.
    pub(super) fn was_well(&self, slot: SlotName, now: Instant) -> Result<(), String> {
        match self.health.get(&slot) {
            None => Err("nobody checked it".to_owned()),
            Some((_, None, _)) => Err("it was never well".to_owned()),
            Some((_, _, false)) => Err("it was not well at last".to_owned()),
            Some((_, Some(well), true)) if now + 50 < well + BAKE => {
                Err(format!("it was watched for {} ms", now - well))
            }
            Some(_) => Ok(()),
        }
    }

    /// What is in the ledger never goes back.
    pub(super) fn only_forward(&mut self, host: &Host) -> Result<(), (Invariant, String)> {
        let Some(life) = &host.life else { return Ok(()) };
        if self.saves == host.disk.saves {
            return Ok(());
        }
        self.saves = host.disk.saves;
        let saved = life.core.saved();
        let trust = life.core.trust();
        let size = trust.map_or(0, |trust| trust.head.size);
        let policy = trust.map_or(0, |trust| trust.policy.document().version);
        let application = saved.applications.get(&name(APPLICATION));
        let generation = application.map_or(0, |it| it.record.generation);
        let back = [
            ("the log", size, self.size),
            ("the policy", policy, self.policy),
            ("the generation", generation, self.generation),
        ];
        for (what, now, before) in back {
            if now < before {
                let text = format!("{what} goes back from {before} to {now}");
                return Err((Invariant::P6, text));
            }
        }
        if saved.newest_time < self.accepted {
            return Err((Invariant::P6, "the accepted time goes back".to_owned()));
        }
        (self.size, self.policy, self.generation) = (size, policy, generation);
        self.accepted = saved.newest_time;
        Ok(())
    }
}
