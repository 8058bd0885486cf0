//! What a host may do, when it is about to do it.

use std::time::Duration;

use cutover_machine::{State, Task};
use cutover_shared::statement::Phase;

use super::{CLEARED_FOR, Host, Instant, Invariant, Referee, TOLERANCE, host_state};
use crate::simulation::epoch;
use cutover_shared::digest::Digest;

impl Referee {
    /// A booking takes back no more hosts by itself than it says.
    pub(super) fn within_its_budget(&mut self, now: Instant, host: &Host, order: &Digest) {
        let Some(budget) = self.ledger.budget(order) else { return };
        let back = self.taken_back.entry(*order).or_default();
        back.insert(host.key_id());
        let taken = back.len();
        if taken > budget {
            let text = format!("{taken} hosts are taken back, {budget} may be");
            self.fault(Invariant::P10, now, text);
        }
    }

    pub(super) fn in_window(&mut self, now: Instant, task: &Task, what: &str) {
        let order = task.assignment.booking;
        let true_time = epoch() + Duration::from_millis(now);
        let Some(window) = self.ledger.window(&order) else {
            let text = format!("order {} to {what} is in no log", order.short());
            return self.fault(Invariant::P1, now, text);
        };
        if true_time + TOLERANCE < window.start || true_time >= window.end + TOLERANCE {
            let text = format!("{what} at {true_time}, the window is {window:?}");
            self.fault(Invariant::P2, now, text);
        }
    }

    /// A host does what cannot be undone by leaving it: everything that people demand must stand behind it.
    pub(super) fn may_act(&mut self, now: Instant, host: &Host, seat: usize, task: &Task) {
        let order = task.assignment.booking;
        let key = host.key_id();
        let newest =
            task.clearances.iter().rev().find_map(|id| {
                self.issued.get(id).filter(|it| it.phase == Phase::Activate).cloned()
            });
        let Some(issued) = newest else {
            let text = format!("{} acts without a clearance to activate", host.name);
            return self.fault(Invariant::P2, now, text);
        };
        if issued.host != key || issued.order != order {
            let text = format!("{} acts on the clearance of another", host.name);
            self.fault(Invariant::P9, now, text);
        }
        if issued.at + CLEARED_FOR < now && matches!(host_state(host), Some(State::Stopping(..))) {
            let text = format!("{} acts on a clearance of {} ms ago", host.name, now - issued.at);
            self.fault(Invariant::P2, now, text);
        }
        if !self.tracks[seat].is_answered(&order, issued.phase, &issued.nonce) {
            let text = format!("{} acts on an answer to another question", host.name);
            self.fault(Invariant::P9, now, text);
        }
        if let Err(text) = self.is_witnessed(&issued) {
            self.fault(Invariant::P2, now, format!("{} acts: {text}", host.name));
        }
        let wall = self.wall(issued.at);
        for (invariant, text) in self.ledger.against(&order, &key, issued.size, wall) {
            self.fault(invariant, now, format!("{} acts: {text}", host.name));
        }
        if let Some((grounds, number)) = self.ledger.iteration(&order) {
            let newest = self.tracks[seat].iterations.entry(grounds).or_insert(number);
            if *newest > number {
                let text = format!("{} begins iteration {number} after {newest}", host.name);
                self.fault(Invariant::P7, now, text);
            } else {
                *newest = number;
            }
        }
    }

    /// An order touches a host once.
    pub(super) fn once(&mut self, now: Instant, host: &Host, seat: usize, task: &Task) {
        let (order, generation) = (task.assignment.booking, task.assignment.generation);
        let begun = *self.tracks[seat].begun.entry(order).or_insert(generation);
        if begun != generation {
            let text = format!("{} carries {} out once more", host.name, order.short());
            self.fault(Invariant::P6, now, text);
        }
    }

    /// What a host itself took back does not come again before somebody has reviewed it, whatever the log
    /// knows of that.
    pub(super) fn not_taken_back(&mut self, now: Instant, host: &Host, seat: usize, task: &Task) {
        let assignment = &task.assignment;
        let Some(known) = self.tracks[seat].returned.get(&assignment.package) else { return };
        if !self.ledger.is_reviewed_since(&assignment.booking, *known) {
            let text = format!("{} fetches what it took back, which nobody reviewed", host.name);
            self.fault(Invariant::P8, now, text);
        }
    }
}
