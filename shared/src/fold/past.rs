//! One release as it stood before: what the log said of it when it was shorter.

use std::sync::Arc;

use super::{RollbackCase, State};
use crate::case::{BookingCase, Case, Reported, Verified};
use crate::digest::Digest;
use crate::statement::Event;

impl State {
    /// What the first `size` entries of the log say of one release and of those of its emergency; `None`
    /// where it was not submitted among them. All else (policy, hosts, freezes, calendars) is today's.
    ///
    /// So a state that knows more tells of an earlier change of a release what it would have told then,
    /// and the same each time that it is asked.
    pub fn as_of(&self, release: &Digest, size: u64) -> Option<Self> {
        let package = self.cases.get(release)?.release.says.package;
        let mut past = self.trial(release);
        past.cases.retain(|case| {
            case.shorten(size);
            let later = case.superseded_by.and_then(|later| self.cases.get(&later));
            case.superseded_by = later.filter(|it| it.release.index < size).map(|it| it.release.id);
            case.release.index < size
        });
        past.cases.get(release)?;
        past.rollbacks =
            self.rollbacks.only(self.rollbacks_from.get(&package).into_iter().flatten());
        past.rollbacks.retain(|it| {
            let RollbackCase { rollback, steps, outcomes } = it;
            keep(steps, size);
            keep(outcomes, size);
            rollback.index < size
        });
        past.next_index = size.min(self.next_index);
        past.shorten_marks(self, &package, size);
        Some(past)
    }

    /// What was noted of a package, up to there.
    fn shorten_marks(&mut self, full: &Self, package: &Digest, size: u64) {
        let assessments = || full.cases_of_package(package).flat_map(|case| &case.assessments);
        let denied = Arc::make_mut(&mut self.denied_packages);
        let denials = assessments().filter(|it| !it.says.judgement.is_accepted());
        match denials.filter(|it| it.index < size).max_by_key(|it| it.index) {
            Some(denial) => denied.insert(*package, denial.id),
            None => denied.remove(package),
        };
        let of_bookings = full.cases_of_package(package).flat_map(Case::outcomes);
        let of_orders = full.rollbacks_from(package).flat_map(|it| &it.outcomes);
        let back = of_bookings.chain(of_orders).filter(|it| it.index < size && is_return(it));
        let returned = Arc::make_mut(&mut self.returned_packages);
        match back.map(|it| it.index).max() {
            Some(index) => returned.insert(*package, index),
            None => returned.remove(package),
        };
    }
}

fn is_return(outcome: &Verified<Reported>) -> bool {
    matches!(outcome.says.event, Event::Returned { .. } | Event::RolledBack | Event::Stuck { .. })
}

fn keep<T>(statements: &mut Vec<Verified<T>>, size: u64) {
    statements.retain(|it| it.index < size);
}

impl Case {
    /// Forgets what was said of it from entry `size` of the log on. Every field is named, so that a new one
    /// cannot be forgotten here.
    fn shorten(&mut self, size: u64) {
        let Self {
            release: _,
            number: _,
            rehearsals,
            reviews,
            assessments,
            votes,
            consults,
            approvals,
            deliveries,
            waivers,
            bookings,
            holds,
            resumes,
            cancelled,
            superseded_by: _,
            tasks,
            acknowledgements,
            closed,
        } = self;
        keep(rehearsals, size);
        keep(consults, size);
        keep(tasks, size);
        keep(acknowledgements, size);
        if closed.as_ref().is_some_and(|it| it.index >= size) {
            *closed = None;
        }
        keep(reviews, size);
        keep(assessments, size);
        keep(votes, size);
        keep(approvals, size);
        keep(deliveries, size);
        keep(waivers, size);
        bookings.retain(|_, booking| {
            Arc::make_mut(booking).shorten(size);
            booking.booking.index < size
        });
        keep(holds, size);
        resumes.retain(|_, resume| resume.index < size);
        if cancelled.as_ref().is_some_and(|it| it.index >= size) {
            *cancelled = None;
        }
    }
}

impl BookingCase {
    fn shorten(&mut self, size: u64) {
        let Self { booking: _, released, cancelled, overrides, steps, outcomes } = self;
        keep(steps, size);
        if released.as_ref().is_some_and(|it| it.index >= size) {
            *released = None;
        }
        if cancelled.as_ref().is_some_and(|it| it.index >= size) {
            *cancelled = None;
        }
        keep(overrides, size);
        keep(outcomes, size);
    }
}
