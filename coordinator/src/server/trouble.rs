//! Why a request has no good answer.

use std::time::Duration;

use cutover_coordinator_core::Peer;
use cutover_shared::protocol::Response;
use cutover_shared::refusal::Refusal;
use cutover_transport::StreamError;
use tokio::time::timeout;

use crate::store::StoreError;

/// How long a client may take to send what it announced, or to take what it asked for, a piece at a time.
/// What stands still for longer holds memory, and a place that others wait for.
const STANDSTILL: Duration = Duration::from_mins(1);

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// It is refused, which is the answer.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error("use the store")]
    Store(#[from] StoreError),
    /// Something else failed here.
    #[error("{0}")]
    Failed(String),
    /// The client is gone, or breaks the protocol: nobody is there to be answered.
    #[error("use the stream")]
    Stream(#[from] StreamError),
    /// The client does not go on.
    #[error("go on: the client has stood still for {} s", STANDSTILL.as_secs())]
    Standstill,
}

/// What is sent or received, unless the client stands still.
pub(super) async fn moving<T>(
    piece: impl Future<Output = Result<T, StreamError>>,
) -> Result<T, Trouble> {
    let moved = timeout(STANDSTILL, piece).await.map_err(|_elapsed| Trouble::Standstill)?;
    Ok(moved?)
}

impl Trouble {
    /// What the client is told; nothing when it is gone. How things are here is for people only.
    pub(super) fn answer(&self, peer: Peer) -> Option<Response> {
        match (self, peer) {
            (Self::Refused(refusal), _) => Some(Response::Refused(refusal.clone())),
            (Self::Store(_) | Self::Failed(_), Peer::Person(_)) => {
                Some(Response::Failed(chain(self)))
            }
            (Self::Store(_) | Self::Failed(_), Peer::Host(_) | Peer::Unknown) => {
                Some(Response::Failed("its own log says why".to_owned()))
            }
            (Self::Stream(_) | Self::Standstill, _) => None,
        }
    }
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
