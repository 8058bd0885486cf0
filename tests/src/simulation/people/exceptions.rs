//! What two of them sign together, and what they approve ahead.

use std::collections::BTreeSet;
use std::time::Duration;

use cutover_shared::digest::Digest;
use cutover_shared::policy::Exception;
use cutover_shared::statement::{
    ChangeType, Override, PassedFreeze, Release, Says, Standard, Statement, Template, Waiver,
};

use super::super::fleet::Fleet;
use super::super::rules::STRICT;
use super::super::scenario::Draft;
use super::{parcel, release};
use crate::world::{Parcel, name};

/// How long an exception holds.
const HOLDS: Duration = Duration::from_mins(10);

impl Fleet {
    /// Passes the last freeze with a booking.
    pub(super) fn override_freeze(&mut self, number: usize, second: &str) {
        let known = self.people.bookings.get(&number).map(|(id, says)| (*id, says.release));
        let (Some((booking, release)), Some(freeze)) = (known, self.people.freeze) else { return };
        let reason = "it cannot wait for the year to end".to_owned();
        let freezes = vec![PassedFreeze { freeze, reason }];
        let statement =
            Statement::new(self.wall(), Override { release, booking, freezes }).until(self.later());
        self.sign(&["max", second], &format!("pass the freeze with {number}"), &statement);
    }

    /// Does without something for a draft.
    pub(super) fn waive(&mut self, draft: usize, exception: Exception) {
        let Some((release, _)) = self.people.releases.get(&draft).copied() else { return };
        let reason = "there is nobody to ask".to_owned();
        let says = Waiver { release, environment: name(STRICT), exception, reason };
        let statement = Statement::new(self.wall(), says).until(self.later());
        // For each exception the two hold the roles that it takes, one way or the other.
        let second = match exception {
            Exception::Review | Exception::Delivery => "mia",
            Exception::Duties
            | Exception::Assessment
            | Exception::Votes
            | Exception::Environments
            | Exception::Consults => "seth",
        };
        self.sign(&["max", second], &format!("do without {exception} for {draft}"), &statement);
    }

    /// Approves ahead what a draft will be, or another package than it will have.
    pub(super) fn approve_ahead(&mut self, draft: usize, fits: bool) {
        let submitted = self.standard_release(draft);
        let package = if fits { submitted.package } else { Digest::of(b"another package") };
        let says = Standard::Approved(Box::new(Template {
            policy: self.people.policy,
            title: "the monthly text".to_owned(),
            application: submitted.application,
            environments: submitted.environments,
            package,
            apply_budget: submitted.apply_budget,
            rollback_reserve: submitted.rollback_reserve,
            may_differ: BTreeSet::new(),
            reason: "it is the same each time".to_owned(),
        }));
        let statement = Statement::new(self.wall(), says).until(self.later());
        let id = self.sign(&["max"], &format!("approve {draft} ahead"), &statement);
        self.people.standards.insert(draft, id);
    }

    fn standard_release(&self, draft: usize) -> Release {
        let Draft { version, .. } = &self.scenario.drafts[draft];
        release(&parcel(version), ChangeType::Standard, &[STRICT])
    }

    /// What a draft of this kind is submitted as, where somebody approved it ahead.
    pub(super) fn standard(&self, draft: usize, parcel: &Parcel) -> Option<Release> {
        let standard = Some(*self.people.standards.get(&draft)?);
        Some(Release { standard, ..release(parcel, ChangeType::Standard, &[STRICT]) })
    }

    /// The pre-approval of a draft is taken back.
    pub(super) fn withdrawal(&self, draft: usize) -> Option<Says> {
        let standard = *self.people.standards.get(&draft)?;
        let reason = "the last one went wrong".to_owned();
        Some(Standard::Withdrawn { standard, reason }.into())
    }

    fn later(&self) -> cutover_shared::time::Time {
        self.wall() + HOLDS
    }
}
