//! What the service manager is told: ready, what we are at, and that we are alive.

use std::future::pending;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Shortest time between two signs of life, whatever the manager asks for.
const FASTEST: Duration = Duration::from_millis(100);

/// The watchdog's clock. Without a service manager it never rings.
#[derive(Debug)]
pub(super) struct Service {
    watchdog: Option<Interval>,
}

impl Service {
    /// From the environment that the service manager gave us.
    pub(super) fn from_environment() -> Self {
        let watchdog = sd_notify::watchdog_enabled().map(|limit| {
            // Twice in each period, as sd_watchdog_enabled(3) recommends.
            let mut watchdog = interval((limit / 2).max(FASTEST));
            watchdog.set_missed_tick_behavior(MissedTickBehavior::Delay);
            watchdog
        });
        Self { watchdog }
    }

    /// Returns when a sign of life is due; never where nobody watches.
    pub(super) async fn due(&mut self) {
        match &mut self.watchdog {
            Some(watchdog) => {
                watchdog.tick().await;
            }
            None => pending().await,
        }
    }

    /// The sign of life.
    pub(super) fn alive(&self) {
        if self.watchdog.is_some() {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

/// Start-up is finished.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// What we are at now.
pub(super) fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// We are ending.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("ending")]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager does not listen");
    }
}
