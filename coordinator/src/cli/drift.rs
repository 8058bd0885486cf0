//! Drift as the log has it: what hosts found changed since a release was committed, and nobody approved.

use cutover_shared::case::{Case, Reported, Verified};
use cutover_shared::fold::State;
use cutover_shared::key::KeyId;
use cutover_shared::name::Name;
use cutover_shared::statement::{Drift, Event};
use cutover_shared::time::Time;
use serde::Serialize;

/// One change that nobody approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct DriftReport {
    pub(super) host: Name,
    /// When the host saw it.
    pub(super) seen: Time,
    #[serde(flatten)]
    pub(super) drift: Drift,
}

impl DriftReport {
    /// What a report of a host says of drift, if it does.
    pub(super) fn of(outcome: &Verified<Reported>) -> Option<Self> {
        let says = outcome.says();
        let Event::Drifted(drift) = &says.event else { return None };
        Some(Self { host: says.host.clone(), seen: says.ended, drift: (**drift).clone() })
    }
}

/// What has changed of an application on a host since its release was brought in, in the order of the log.
pub(super) fn of_host(state: &State, host: &KeyId, application: &Name) -> Vec<DriftReport> {
    let of_bookings = state.cases().flat_map(Case::outcomes);
    let of_rollbacks = state.rollbacks().flat_map(|rollback| &rollback.outcomes);
    let mine = |it: &&Verified<Reported>| {
        it.says().host_key == *host && it.says().application == *application
    };
    let mut reports: Vec<_> = of_bookings.chain(of_rollbacks).filter(mine).collect();
    reports.sort_by_key(|it| it.index());
    let brings =
        |it: &&Verified<Reported>| matches!(it.says().event, Event::Committed | Event::RolledBack);
    let since = reports.iter().rposition(brings).map_or(0, |place| place + 1);
    reports[since..].iter().filter_map(|it| DriftReport::of(it)).collect()
}
