//! What two may sign together, what was approved ahead, and what a booking itself orders.

use std::collections::BTreeSet;

use cutover_shared::digest::Digest;
use cutover_shared::key::KeyId;
use cutover_shared::policy::{Exception, Role};
use cutover_shared::statement::{
    Booking, Event, OnHalt, Release, Says, Standard, Statement, Template,
};
use cutover_shared::time::Time;

use super::{Against, Asked, Entry, Ledger, any_with, has};
use crate::simulation::referee::Invariant;
use crate::simulation::rules::{PASSES, STRICT, WAIVABLE};
use crate::world::name;

impl Ledger {
    /// Whether two did without this for what is asked about: one for each role, neither of them its author,
    /// and it has not run out.
    pub(super) fn is_waived(&self, asked: &Asked<'_>, what: Exception, now: Time) -> bool {
        let booking = asked.booking;
        let listed = WAIVABLE.iter().find(|(exception, _)| *exception == what);
        let Some((_, roles)) = listed.filter(|_| booking.environment == name(STRICT)) else {
            return false;
        };
        self.said(asked.size).any(|(_, entry, statement)| {
            let Says::Waiver(it) = &statement.says else { return false };
            it.release == booking.release
                && it.environment == booking.environment
                && it.exception == what
                && holds(statement, booking, now)
                && are_two(entry, asked, *roles)
        })
    }

    /// Whether two pass this very freeze with this very booking.
    pub(super) fn is_passed(
        &self,
        order: &Digest,
        asked: &Asked<'_>,
        freeze: &Digest,
        now: Time,
    ) -> bool {
        self.said(asked.size).any(|(_, entry, statement)| {
            let Says::Override(it) = &statement.says else { return false };
            it.booking == *order
                && it.freezes.iter().any(|passed| passed.freeze == *freeze)
                && holds(statement, asked.booking, now)
                && are_two(entry, asked, [Role::ChangeManager, PASSES])
        })
    }

    /// P1: a change of a kind that was approved ahead is exactly of that kind, and nobody took it back.
    pub(super) fn approved_ahead(&self, asked: &Asked<'_>, now: Time, against: &mut Against) {
        let release = asked.release;
        let found = self.said(asked.size).find_map(|(_, entry, statement)| match &statement.says {
            Says::Standard(Standard::Approved(it)) if Some(entry.id) == release.standard => {
                Some((entry, statement, &**it))
            }
            _ => None,
        });
        let Some((entry, statement, template)) = found else {
            return against.push((Invariant::P1, "nobody approved it ahead".to_owned()));
        };
        let withdrawn = self.said(asked.size).any(|(_, _, said)| {
            matches!(&said.says, Says::Standard(Standard::Withdrawn { standard, .. })
                if *standard == entry.id)
        });
        let cases = [
            (!is_of_kind(release, template), "it is not what was approved ahead"),
            (withdrawn, "what was approved ahead was taken back"),
            (!holds(statement, asked.booking, now), "what was approved ahead has run out"),
            (!any_with(&entry.by, Role::ChangeManager), "no change manager approved it ahead"),
            (!entry.by.is_disjoint(&asked.submitted_by.by), "its author approved it ahead"),
        ];
        let stands = cases.into_iter().filter(|(stands, _)| *stands);
        against.extend(stands.map(|(_, what)| (Invariant::P1, what.to_owned())));
    }

    /// Whether a host may go back because its booking says so: enough others have signed that they failed.
    pub(super) fn may_return_all(
        &self,
        order: &Digest,
        booking: &Booking,
        host: &KeyId,
        to: &Digest,
    ) -> Result<(), (Invariant, String)> {
        let plan = &booking.plan;
        let refuse = |text: &str| Err((Invariant::P1, text.to_owned()));
        if plan.on_halt == OnHalt::Pause {
            return refuse("its booking says that a halt pauses");
        }
        if !plan.hosts().any(|planned| planned.host_key == *host) {
            return refuse("the booking is for others");
        }
        if *to == booking.package {
            return refuse("to what it is to leave");
        }
        let failed = self.ends(usize::MAX).filter(|(_, it)| {
            it.order == *order
                && it.host_key != *host
                && matches!(it.event, Event::Returned { .. } | Event::Stuck { .. })
        });
        let failed: BTreeSet<KeyId> = failed.map(|(_, it)| it.host_key).collect();
        let enough = (plan.halt_after as usize).max(2);
        if failed.len() < enough {
            let text = format!("{} of {enough} hosts have failed", failed.len());
            return Err((Invariant::P1, text));
        }
        Ok(())
    }

    /// The most hosts that a booking takes back by itself; none for an order that is no booking.
    pub(in crate::simulation::referee) fn budget(&self, order: &Digest) -> Option<usize> {
        let (_, _, booking) = self.booking(order)?;
        match booking.plan.on_halt {
            OnHalt::Pause => Some(0),
            OnHalt::ReturnAll { budget } => Some(budget as usize),
        }
    }
}

/// Whether a statement that permits something still does when the window begins, and now.
fn holds(statement: &Statement, booking: &Booking, now: Time) -> bool {
    let when = now.max(booking.window.start);
    statement.header.not_after.is_none_or(|end| when < end)
}

/// Whether two different people signed who hold the two roles, and none of them is the author.
fn are_two(entry: &Entry, asked: &Asked<'_>, [one, other]: [Role; 2]) -> bool {
    let pair = |first: &str| {
        has(first, one) && entry.by.iter().any(|second| *second != first && has(second, other))
    };
    entry.by.is_disjoint(&asked.submitted_by.by) && entry.by.iter().any(|first| pair(first))
}

fn is_of_kind(release: &Release, template: &Template) -> bool {
    release.application == template.application
        && release.environments == template.environments
        && release.package == template.package
        && release.apply_budget == template.apply_budget
        && release.rollback_reserve == template.rollback_reserve
        && !release.irreversible
}
