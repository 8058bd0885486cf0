//! Orders that hosts carry out, whichever kind they are: a booking, or an ordered return.

use super::State;
use crate::case::{Case, Verified};
use crate::digest::Digest;
use crate::key::KeyId;
use crate::name::Name;
use crate::statement::Step;

/// An order on one of its hosts.
#[derive(Debug, Clone, Copy)]
pub struct Carried<'a> {
    /// The release that it brings, or that it leaves: the one whose runbook is walked.
    pub case: &'a Case,
    /// The `booking` or `rollback` statement.
    pub order: Digest,
    /// Its place in the log.
    pub index: u64,
    /// Where.
    pub environment: &'a Name,
    /// The host's name.
    pub host: &'a Name,
    /// What people said of its manual steps, on all of its hosts, in log order.
    pub steps: &'a [Verified<Step>],
}

impl State {
    /// What people said of an order's manual steps, in log order; nothing of what is no order.
    pub fn steps_of(&self, order: &Digest) -> &[Verified<Step>] {
        let of_booking = self.booking(order).map(|(_, booking)| booking.steps.as_slice());
        let of_rollback = || self.rollbacks.get(order).map(|it| it.steps.as_slice());
        of_booking.or_else(of_rollback).unwrap_or_default()
    }

    /// An order on a host that it names.
    pub fn carried(&self, order: &Digest, host: &KeyId) -> Option<Carried<'_>> {
        let steps = self.steps_of(order);
        if let Some((case, booking)) = self.booking(order) {
            let says = &booking.booking.says;
            let (index, environment) = (booking.booking.index, &says.environment);
            let host = &says.plan.hosts().find(|it| it.host_key == *host)?.host;
            return Some(Carried { case, order: *order, index, environment, host, steps });
        }
        let rollback = &self.rollbacks.get(order)?.rollback;
        let says = &rollback.says;
        let turn = says.hosts.iter().find(|it| it.host_key == *host)?;
        // A package may have been submitted more than once: the host knows by which it came.
        let installed = self.hosts.get(host).and_then(|it| it.installed.get(&says.application));
        let came = installed.and_then(|it| self.cases.get(&it.release?));
        let came = came.filter(|it| it.release.says.package == says.from);
        let case = came.or_else(|| self.cases_of_package(&says.from).next_back())?;
        let (index, environment) = (rollback.index, &says.environment);
        Some(Carried { case, order: *order, index, environment, host: &turn.host, steps })
    }
}
