//! The connection to the coordinator: made, watched, and made again.

use std::time::Duration;

use cutover_shared::key::{PublicKey, SecretKey};
use cutover_transport::{Endpoint, connect, ended};
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep};

use super::backoff::Backoff;
use super::event::Event;

/// Wait before the first new attempt: a coordinator that restarts is back in about as long.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Longest wait between attempts. Ten thousand hosts then make 500 handshakes a second, a quarter of
/// what the coordinator bears.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A connection that lasted so long was a good one: the next attempt comes soon again.
const STEADY: Duration = Duration::from_secs(10);

/// Where the coordinator is and who it is, as the applier says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Coordinator {
    /// `host:port`.
    pub(super) address: String,
    /// Its key.
    pub(super) key: PublicKey,
}

/// Keeps a connection for as long as it is not dropped; tells of each that is made and lost.
pub(super) async fn keep(
    endpoint: Endpoint,
    coordinator: Coordinator,
    own: SecretKey,
    events: Sender<Event>,
) {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    loop {
        let why = match connect(&endpoint, &coordinator.address, &coordinator.key, &own).await {
            Ok(connection) => {
                let since = Instant::now();
                if events.send(Event::Reached(connection.clone())).await.is_err() {
                    return;
                }
                let why = ended(&connection.closed().await).to_string();
                if since.elapsed() >= STEADY {
                    backoff.reset();
                }
                why
            }
            Err(error) => super::chain(&error),
        };
        if events.send(Event::Lost { why }).await.is_err() {
            return;
        }
        sleep(backoff.next()).await;
    }
}
