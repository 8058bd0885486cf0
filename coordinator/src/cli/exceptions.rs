//! The exceptions that are in force for a release, told wherever the release is: nobody should learn of a
//! waiver from the log alone.

use cutover_shared::authorise;
use cutover_shared::case::{Case, Verified};
use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::fold::standing::Trial;
use cutover_shared::name::Name;
use cutover_shared::time::Time;
use serde::Serialize;

/// An exception in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ExceptionReport {
    /// The `waiver` or `override` statement.
    statement: Digest,
    /// What it lets the release do.
    what: String,
    reason: String,
    signed_by: Vec<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Time>,
}

impl ExceptionReport {
    fn new<T>(verified: &Verified<T>, what: String, reason: &str) -> Self {
        Self {
            statement: verified.id(),
            what,
            reason: reason.to_owned(),
            signed_by: verified.owners().into_iter().cloned().collect(),
            until: verified.header().not_after,
        }
    }

    /// A line for people.
    pub(super) fn text(&self) -> String {
        let owners: Vec<_> = self.signed_by.iter().map(Name::as_str).collect();
        let until = self.until.map(|it| format!(", until {it}")).unwrap_or_default();
        let Self { what, reason, .. } = self;
        format!("  EXCEPTION: it {what}, signed by {}{until}: {reason}", owners.join(" and "))
    }
}

/// The exceptions in force for a release in an environment: for its newest booking, or one of now.
pub(super) fn exceptions(
    state: &State,
    case: &Case,
    environment: &Name,
    now: Time,
) -> Vec<ExceptionReport> {
    // A trial with an assumed booking copies the case; most releases have no exception.
    if case.waivers.is_empty() && case.booked().all(|it| it.overrides.is_empty()) {
        return Vec::new();
    }
    let trial = Trial::new(state, case, environment, now);
    let nobody = trial.nobody();
    let found = authorise::exceptions(&trial.question(&nobody, now));
    let waivers = found.waivers.iter().map(|waiver| {
        let says = waiver.says();
        let what = format!("goes without {}", says.exception);
        ExceptionReport::new(waiver, what, &says.reason)
    });
    let overrides = found.overrides.iter().flat_map(|it| {
        it.says().freezes.iter().map(|passed| {
            let what = format!("passes the freeze {}", passed.freeze.short());
            ExceptionReport::new(it, what, &passed.reason)
        })
    });
    waivers.chain(overrides).collect()
}
