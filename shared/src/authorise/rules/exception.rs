//! Exceptions that two owners made: what a waiver does without, and which freezes a booking passes.

use std::collections::BTreeSet;

use super::Question;
use crate::case::{BookingCase, Case, Verified};
use crate::digest::Digest;
use crate::policy::{Exception, Role};
use crate::statement::{Override, Validity, Waiver};

/// The waivers that hold for the booking asked about: still listed by the policy, by two who still hold
/// the roles that it names. Judged ahead of the window, one must still hold when that begins.
pub(in crate::authorise) fn waivers<'a>(
    q: &Question<'a>,
    (case, booking): (&'a Case, &'a BookingCase),
) -> impl Iterator<Item = &'a Verified<Waiver>> {
    let (release, says) = (case.release.says(), booking.booking.says());
    let policy = q.policy().ok();
    let rule = policy.and_then(|it| it.rule(&says.environment, release.change).ok());
    let now = q.now;
    let holds = move |waiver: &&Verified<Waiver>| {
        let (Some(policy), Some(rule)) = (policy, rule) else { return false };
        let listed = rule.waivable.iter().find(|it| it.exception == waiver.says().exception);
        waiver.says().environment == says.environment
            && in_time(waiver.header(), now, booking)
            && listed.is_some_and(|it| {
                let signers = waiver.signers();
                policy.is_pair(signers, it.by, &release.application, &says.environment)
            })
    };
    case.waivers.iter().filter(holds)
}

/// Whether two owners made this exception for the booking asked about.
pub(super) fn waived(q: &Question<'_>, about: (&Case, &BookingCase), what: Exception) -> bool {
    waivers(q, about).any(|it| it.says().exception == what)
}

/// The overrides that hold for the booking asked about, by the same measure.
pub(in crate::authorise) fn overrides<'a>(
    q: &Question<'a>,
    (case, booking): (&'a Case, &'a BookingCase),
) -> impl Iterator<Item = &'a Verified<Override>> {
    let (release, says) = (case.release.says(), booking.booking.says());
    let policy = q.policy().ok();
    let rule = policy.and_then(|it| it.rule(&says.environment, release.change).ok());
    let role = rule.and_then(|rule| rule.freeze_override);
    let now = q.now;
    let holds = move |it: &&Verified<Override>| {
        let (Some(policy), Some(role)) = (policy, role) else { return false };
        let roles = [Role::ChangeManager, role];
        in_time(it.header(), now, booking)
            && policy.is_pair(it.signers(), roles, &release.application, &says.environment)
    };
    booking.overrides.iter().filter(holds)
}

/// The freezes that the booking asked about passes.
pub(super) fn passed(q: &Question<'_>, about: (&Case, &BookingCase)) -> BTreeSet<Digest> {
    let named = overrides(q, about).flat_map(|it| &it.says().freezes);
    let named: BTreeSet<Digest> = named.map(|it| it.freeze).collect();
    if crate::seeded!(OverridePassesAll) && !named.is_empty() {
        return q.state.freezes().map(|it| it.declared.id()).collect();
    }
    named
}

fn in_time(header: &Validity, now: crate::time::Time, booking: &BookingCase) -> bool {
    header.covers(now.max(booking.booking.says().window.start))
}
