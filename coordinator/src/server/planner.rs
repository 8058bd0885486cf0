//! The task that has round after round, and tells hosts what a round says.
//!
//! It is also what the service manager's watchdog watches: a server whose planner stands still does.

use std::sync::Arc;
use std::time::Duration;

use cutover_coordinator_core::Planner;
use cutover_shared::digest::Digest;
use cutover_shared::policy::TrustPolicy;
use cutover_shared::time::Time;
use cutover_transport::{CloseCode, close};
use tokio::time::Instant;

use super::core::Core;
use super::service::Service;

/// Least time between two looks, in which what happens at the same time is gathered: in a large rollout
/// hosts report some hundred times a second.
const GATHER: Duration = Duration::from_millis(20);

/// Plans until the server ends.
pub(super) async fn run(core: Arc<Core>, mut service: Service) {
    let began = Instant::now();
    let mut planner = Planner::default();
    let mut expiry = Expiry::default();
    loop {
        let wait;
        (planner, expiry, wait) = {
            let core = Arc::clone(&core);
            // Planning a large rollout takes some milliseconds, in which the network is to go on.
            let round = tokio::task::spawn_blocking(move || {
                let wait = round(&core, &mut planner, &mut expiry, began.elapsed());
                (planner, expiry, wait)
            });
            match round.await {
                Ok(done) => done,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // The runtime is going away.
                Err(_cancelled) => return,
            }
        };
        service.alive();
        tokio::time::sleep(GATHER).await;
        let elapsed = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = core.changed.notified() => {}
            () = elapsed => {}
            () = service.due() => {}
            () = core.drained() => return,
        }
    }
}

/// One look at everything: tells hosts what is due, and says how long to wait before the next.
fn round(
    core: &Core,
    planner: &mut Planner,
    expiry: &mut Expiry,
    monotonic: Duration,
) -> Option<Duration> {
    let folded = core.folded();
    let mut hosts = core.hosts();
    let now = core.now();
    let round = planner.round(&*core.conduct, &folded, &mut hosts.register, now, monotonic);
    for connection in round.turn_out.iter().filter_map(|host| hosts.connection(host)) {
        close(connection, CloseCode::NotPermitted, "this host was retired");
    }
    for tell in &round.tell {
        if !hosts.tell(tell) {
            planner.untold(tell);
        }
    }
    let announced = folded.state.policy().and_then(|policy| expiry.announce(policy, now));
    [round.next, announced].into_iter().flatten().min()
}

/// Up to when the end of which policy was announced.
#[derive(Debug, Default)]
struct Expiry(Option<(Digest, Time)>);

impl Expiry {
    /// Tells the administrator when a policy's end has come nearer: after a start, and with a policy that
    /// is new, what is due already. Answers how long until there is more to tell.
    fn announce(&mut self, policy: &TrustPolicy, now: Time) -> Option<Duration> {
        let told = self.0.filter(|(id, _)| *id == policy.id()).map(|(_, until)| until);
        let document = policy.document();
        let due = match told {
            Some(since) => document.expiry_due(since, now),
            None => document.expiry_due(document.expires - ALL_ANNOUNCED, now),
        };
        if let Some(days) = due.last() {
            let (version, expires) = (document.version, document.expires);
            tracing::warn!(version, %expires, days, "the trust policy expires: sign the next version");
        }
        self.0 = Some((policy.id(), now));
        document.next_expiry_due(now).map(|due| due.since(now))
    }
}

/// Longer before a policy's end than the first announcement of it.
const ALL_ANNOUNCED: Duration = Duration::from_hours(24 * 61);

#[cfg(test)]
mod tests {
    use cutover_shared::key::SecretKey;
    use cutover_shared::policy::{KeyEntry, KeyStatus, LogKey, PolicyDocument, Role, Scope};
    use cutover_shared::statement::Statement;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn policy(expires: Time) -> TrustPolicy {
        let key = SecretKey::from_seed([1; 32]);
        let log = SecretKey::from_seed([2; 32]).public();
        let log = LogKey { origin: "cutover.example.org/log".to_owned(), key: log };
        let mut document = PolicyDocument::bare(log, expires);
        document.keys.push(KeyEntry {
            owner: "ruth".parse().unwrap(),
            email: "ruth@example.org".to_owned(),
            key: key.public(),
            roles: [Role::Root].into(),
            applications: Scope::All,
            environments: Scope::All,
            status: KeyStatus::Active,
        });
        let envelope = Statement::new(expires - DAY * 365, document).signed_by([&key]);
        TrustPolicy::pinned(&envelope, &envelope.id()).unwrap()
    }

    #[test]
    fn the_planner_wakes_for_each_announcement_and_not_after_the_last() {
        let end: Time = "2026-12-31T00:00:00Z".parse().unwrap();
        let (policy, mut expiry) = (policy(end), Expiry::default());
        let mut now = end - DAY * 100;
        let mut waits = Vec::new();
        while let Some(wait) = expiry.announce(&policy, now) {
            waits.push(wait.as_secs() / DAY.as_secs());
            now = now + wait;
        }
        assert_eq!(waits, [40, 30, 23, 6]);
        assert_eq!(now, end - DAY);
    }
}
