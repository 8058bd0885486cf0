//! What the service manager is told: ready, what we are at, and that the event loop still turns.

use std::future::pending;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Shortest time between two signs of life, whatever the manager asks for.
const FASTEST: Duration = Duration::from_millis(100);

/// The connection to the service manager. Without one (`$NOTIFY_SOCKET` is not set) it does nothing.
#[derive(Debug)]
pub(super) struct Service {
    watchdog: Option<Interval>,
    status: String,
}

impl Service {
    /// From the environment that the service manager gave us. Must be called within a tokio runtime.
    pub(super) fn from_environment() -> Self {
        let watchdog = sd_notify::watchdog_enabled().map(|limit| {
            // Twice in each period, as sd_watchdog_enabled(3) recommends.
            let mut watchdog = interval((limit / 2).max(FASTEST));
            watchdog.set_missed_tick_behavior(MissedTickBehavior::Delay);
            watchdog
        });
        Self { watchdog, status: String::new() }
    }

    /// Start-up is finished.
    pub(super) fn ready() {
        tell(&[NotifyState::Ready]);
    }

    /// Shutting down.
    pub(super) fn stopping() {
        tell(&[NotifyState::Stopping]);
    }

    /// What we are at now, for `systemctl status`. Told when it changes.
    pub(super) fn status(&mut self, status: String) {
        if self.status != status {
            tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    /// Returns when a sign of life is due; never where nobody watches. Cancel-safe.
    pub(super) async fn due(&mut self) {
        match &mut self.watchdog {
            Some(watchdog) => {
                watchdog.tick().await;
            }
            None => pending().await,
        }
    }

    /// The sign of life. Only the event loop gives it, so that it stops when the loop does.
    pub(super) fn alive() {
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager does not listen");
    }
}
