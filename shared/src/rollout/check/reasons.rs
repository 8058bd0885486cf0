//! Whether the reason that an idle host is given is so.

use super::{Facts, Fault};
use crate::digest::Digest;
use crate::key::KeyId;
use crate::refusal::{Code, Refusal};
use crate::rollout::{PlannedState, Standing, WaitingOn};
use crate::statement::OnHalt;

impl Facts<'_> {
    pub(super) fn check_reason(
        &self,
        host: &PlannedState,
        reason: &WaitingOn,
        faults: &mut Vec<Fault>,
    ) {
        let key = &host.host_key;
        let rollout = &self.booking.booking.says().plan;
        let given = |standing: &Standing| {
            let so_far = self.plan.hosts.iter().take_while(|it| it.host_key != *key);
            so_far.filter(|it| it.standing == *standing).count()
        };
        let holds = match reason {
            WaitingOn::Rule(refusal) => self.rule_holds(host, refusal),
            WaitingOn::Room { under_way, at_once } => {
                let down = self.down.len() + given(&Standing::Turn) + given(&Standing::ReturnTurn);
                *at_once == rollout.at_once
                    && down == *under_way as usize
                    && down >= rollout.at_once as usize
            }
            WaitingOn::Connection => !self.connected(key),
            WaitingOn::OtherWork { order } => self.works_on(key, order),
            WaitingOn::Halted => self.plan.halted.is_some(),
            WaitingOn::HostRefused { code, .. } => !code.is_empty() && self.refused_for_good(key),
            WaitingOn::ReturnBudget { spent, budget } => {
                rollout.on_halt == OnHalt::ReturnAll { budget: *budget }
                    && spent >= budget
                    && self.taken + given(&Standing::ReturnTurn) == *spent as usize
            }
            WaitingOn::ReturnStuck { host } => self.return_failed() == Some(host),
        };
        if !holds || reason.to_string().is_empty() {
            let reason = reason.to_string();
            faults.push(Fault::ReasonUntrue { host: host.host.clone(), reason });
        }
    }

    /// Whether a rule's refusal is so, as far as this checker can tell: what is about the window, the halt
    /// and the waves it knows exactly.
    fn rule_holds(&self, host: &PlannedState, refusal: &Refusal) -> bool {
        let says = self.booking.booking.says();
        let code = refusal.code;
        let earlier_unproven = self.unproven.is_some_and(|(_, wave)| {
            let waves = says.plan.waves.iter().map(|it| &it.name);
            let first = waves.into_iter().find(|it| *it == wave || **it == host.wave);
            first == Some(wave) && *wave != host.wave
        });
        if code == Code::WaveNotProven {
            let healthy = self.healthy.get(&host.wave);
            return earlier_unproven || healthy.is_some_and(|until| self.now < *until);
        }
        if code == Code::WindowNotOpen {
            return self.now < says.window.start;
        }
        if code == Code::WindowClosed {
            return self.now >= says.window.end;
        }
        if code == Code::WindowTooShort {
            let ends = self.now + self.case.budget().whole();
            return ends > says.window.end;
        }
        if code == Code::NotReleased {
            return self.booking.released.is_none() || !refusal.facts.is_empty();
        }
        !refusal.facts.is_empty()
    }

    /// Whether the host may be at work on another order: it says so, or the emergency iteration before this
    /// one has it.
    fn works_on(&self, key: &KeyId, order: &Digest) -> bool {
        let reported = self.own_report(key).and_then(|it| it.order) == Some(*order);
        let before = self.case.release.says().iteration.as_ref().and_then(|it| it.previous);
        let earlier = self.state.booking(order).is_some_and(|(case, booking)| {
            Some(case.release.id()) == before
                && booking.booking.says().plan.hosts().any(|it| it.host_key == *key)
        });
        *order != self.plan.booking && (reported || earlier)
    }
}
