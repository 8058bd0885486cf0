//! What people do beside the whole way: exceptions, freezes and who passes them, what is approved ahead.

use cutover_shared::policy::Exception;

use super::super::{Act, Instant};
use super::Drawing;

/// Whether somebody's word is spared by an exception.
pub(super) fn is_spared(act: &Act, exception: Exception) -> bool {
    match exception {
        Exception::Review => matches!(act, Act::Review(..)),
        Exception::Assessment => matches!(act, Act::Assess(..)),
        Exception::Votes => matches!(act, Act::Vote(..) | Act::VoteIf(..)),
        Exception::Delivery => matches!(act, Act::Deliver(_)),
        Exception::Duties | Exception::Environments | Exception::Consults => false,
    }
}

impl Drawing {
    /// Two do without something for a draft, which the policy may let nobody do without.
    pub(super) fn exception(&mut self, draft: usize, at: Instant) -> Option<Exception> {
        if !self.random.chance(250) {
            return None;
        }
        let exception = self.random.pick(&[
            Exception::Review,
            Exception::Votes,
            Exception::Delivery,
            Exception::Environments,
            Exception::Environments,
            Exception::Assessment,
        ]);
        self.act(at, Act::Waive(draft, exception));
        Some(exception)
    }

    /// A freeze, which is lifted, or passed with a booking by two who may or may not.
    pub(super) fn frozen(&mut self, booking: usize, at: Instant) {
        let from = at + self.random.below(20_000);
        let to = from + self.random.between(5000, 60_000);
        let environment = self.random.pick(&["staging", "production", "production"]);
        self.act(at, Act::Freeze(environment, from, to));
        if self.random.chance(250) {
            self.act(at + 8000, Act::Lift);
        }
        if self.random.chance(600) {
            let second = self.random.pick(&["seth", "seth", "seth", "seth", "bea", "mia"]);
            let wait = self.random.between(200, 4000);
            self.act(at + wait, Act::Override(booking, second));
        }
        if self.random.chance(400) {
            // Another one, which nobody passed.
            self.act(at + 5000, Act::Freeze(environment, from, to));
        }
    }

    /// A change of a kind that was approved ahead, or was not quite.
    pub(super) fn standard(&mut self) {
        let draft = self.draft(None);
        self.scenario.drafts[draft].standard = true;
        let mut at = self.next;
        let fits = self.random.chance(750);
        self.act(at, Act::PreApprove(draft, fits));
        at += self.random.between(500, 2000);
        self.act(at, Act::Submit(draft));
        let start = at + self.random.between(4500, 9000);
        let booking = self.reservation(draft, "production", start, (60, 120));
        let end = self.scenario.reservations[booking].end;
        if self.random.chance(200) {
            let withdrawn = self.random.between(at, end);
            self.act(withdrawn, Act::Withdraw(draft));
        }
        if self.random.chance(150) {
            let at = self.random.between(start.saturating_sub(1000), end);
            self.frozen(booking, at);
        }
        self.next = end + 5000;
    }
}
