//! The task that has round after round, and tells hosts what a round says.
//!
//! It is also what the service manager's watchdog watches: a server whose planner stands still does.

use std::sync::Arc;
use std::time::Duration;

use cutover_coordinator_core::Planner;
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
    loop {
        let wait;
        (planner, wait) = {
            let core = Arc::clone(&core);
            // Planning a large rollout takes some milliseconds, in which the network is to go on.
            let round = tokio::task::spawn_blocking(move || {
                let wait = round(&core, &mut planner, began.elapsed());
                (planner, wait)
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
fn round(core: &Core, planner: &mut Planner, monotonic: Duration) -> Option<Duration> {
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
    round.next
}
