//! The rule that let a release go by the board, as the log holds it.

use cutover_shared::board::{self, Route};
use cutover_shared::case::Case;
use cutover_shared::fold::State;
use cutover_shared::fold::standing::newest_booking;
use cutover_shared::name::Name;
use cutover_shared::policy::TrustPolicy;
use cutover_shared::statement::{ChangeType, Emergency};

/// Why the board is not asked about a release in an environment; `None` where it is. Once a window is
/// released it is the policy of then that says so, whatever was installed later.
pub(in crate::cli) fn without_the_board(
    state: &State,
    case: &Case,
    environment: &Name,
) -> Option<String> {
    let release = case.release.says();
    if let Some(booking) = newest_booking(case, environment) {
        let (policy, route) = board::route(state, case, booking)?;
        return told(state, case, environment, policy, &route);
    }
    let policy = state.policy()?;
    let rule = policy.rule(environment, release.change).ok()?;
    let asked = rule.votes > 0 || release.irreversible;
    (!asked).then(|| told(state, case, environment, policy, &Route::Rule)).flatten()
}

/// The rule, with the policy's version and place in the log, and the ground that the change type stands on.
pub(in crate::cli) fn told(
    state: &State,
    case: &Case,
    environment: &Name,
    policy: &TrustPolicy,
    route: &Route<'_>,
) -> Option<String> {
    let release = case.release.says();
    let version = policy.document().version;
    let entry = state.policy_indexes().get(&version);
    let entry = entry.map(|index| format!(" (entry {index})")).unwrap_or_default();
    let change = release.change;
    match route {
        Route::Board { .. } => None,
        Route::Rule => Some(format!(
            "policy {version}{entry} asks for no votes on {change} changes in {environment}{}",
            ground(state, case)
        )),
        Route::Waived(waiver) => {
            let owners: Vec<_> = waiver.owners().into_iter().map(Name::as_str).collect();
            Some(format!(
                "policy {version}{entry} lets two owners waive the votes, and {} did (entry {}): {}",
                owners.join(" and "),
                waiver.index(),
                waiver.says().reason
            ))
        }
    }
}

/// What a change that is no normal one stands on.
fn ground(state: &State, case: &Case) -> String {
    let release = case.release.says();
    match release.change {
        ChangeType::Normal => String::new(),
        ChangeType::Standard => {
            let record = release.standard.and_then(|it| state.standard(&it));
            record.map_or_else(String::new, |it| {
                let title = &it.approved.says().title;
                format!("; approved ahead as {title:?} (entry {})", it.approved.index())
            })
        }
        ChangeType::Emergency => {
            let grounds = release.iteration.as_ref().map(|it| it.grounds);
            let opened = grounds.and_then(|it| state.emergency(&it));
            opened.map_or_else(String::new, |opened| match opened.says() {
                Emergency::Opened { incident, .. } => {
                    format!("; emergency {incident} (entry {})", opened.index())
                }
                Emergency::Approved(_) => String::new(),
            })
        }
    }
}
