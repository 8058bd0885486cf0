//! The hosts that leave a release by order, by their own word.

use cutover_shared::case::Case;
use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::name::Name;
use cutover_shared::protocol::Fleet;
use serde::Serialize;

/// A host that carries an ordered return out.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LeavingReport {
    /// The `rollback` statement.
    order: Digest,
    environment: Name,
    host: Name,
    step: String,
}

impl LeavingReport {
    pub(super) fn is_on(&self, host: &Name) -> bool {
        self.host == *host
    }

    pub(super) fn text(&self) -> String {
        let Self { order, environment, host, step } = self;
        format!("{host} in {environment}, by order {}: {step}", order.short())
    }
}

/// Those that leave the release.
pub(super) fn leaving(state: &State, fleet: &Fleet, case: &Case) -> Vec<LeavingReport> {
    let leaving = fleet.reports().filter_map(|(view, report)| {
        let order = report.order.filter(|order| state.rollback(order).is_some())?;
        let carried = state.carried(&order, &view.host_key)?;
        (carried.case.release.id() == case.release.id()).then(|| LeavingReport {
            order,
            environment: carried.environment.clone(),
            host: carried.host.clone(),
            step: report.step.clone(),
        })
    });
    leaving.collect()
}

#[cfg(test)]
mod tests {
    use cutover_shared::protocol::{ApplicationReport, HostReport, HostView};

    use super::*;
    use crate::cli::names::scene::{SHOP, Scene, key, minutes, name};
    use crate::cli::status::report::ReleaseReport;

    #[test]
    fn a_host_that_goes_back_by_order_is_shown_under_the_release_that_it_leaves() {
        let mut scene = Scene::new();
        let releases = ["1.0", "1.1"].map(|version| {
            let release = scene.submit(version);
            scene.approve(release);
            scene.deploy(release, "staging", &["stage-1"]);
            scene.wait(minutes(60));
            release
        });
        let (from, to) = (Digest::of(b"1.1"), Digest::of(b"1.0"));
        let order = scene.roll_back("staging", &["stage-1"], from, to);
        let fleet = |order: Option<Digest>| {
            let report = ApplicationReport {
                application: name(SHOP),
                generation: 3,
                running: None,
                order,
                step: "undo of manual step hold-job".to_owned(),
                progress: None,
                refused: None,
            };
            let report = HostReport { known: 0, policy_version: 1, applications: vec![report] };
            let (host_key, heard) = (key("stage-1").public().id(), scene.now);
            let (connected, report) = (true, Some(report));
            let view = HostView { host_key, connected, heard, report, cleared: Vec::new() };
            Fleet { now: scene.now, since: scene.now - minutes(600), hosts: vec![view] }
        };
        let shown = |release: &Digest, order| {
            let case = scene.state.case(release).unwrap();
            ReleaseReport::new(&scene.state, &fleet(order), case, scene.now)
        };
        let line = format!(
            "leaving    stage-1 in staging, by order {}: undo of manual step hold-job",
            order.short()
        );
        assert!(shown(&releases[1], Some(order)).text().contains(&line));
        assert!(!shown(&releases[1], Some(order)).is_over(), "something happens yet");
        assert!(shown(&releases[1], None).is_over());
        assert!(!shown(&releases[0], Some(order)).text().contains("leaving"));
        let mut other = shown(&releases[1], Some(order));
        other.only(&name("stage-2"));
        assert!(!other.text().contains("leaving"));
        let json = serde_json::to_value(shown(&releases[1], Some(order))).unwrap();
        assert_eq!(json["leaving"][0]["order"], serde_json::json!(order));
    }
}
