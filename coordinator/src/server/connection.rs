//! Connections: a task for each, and in it a task for each stream.

use std::sync::Arc;
use std::time::Duration;

use cutover_coordinator_core::Peer;
use cutover_shared::key::PublicKey;
use cutover_transport::{CloseCode, Connection, Endpoint, Incoming, accept, accept_stream, close};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use super::requests::{Call, Desk};
use super::trouble::chain;

/// Connections at the same time: a large fleet, and its people.
const CONNECTIONS: usize = 16_384;

/// Connections of keys that nobody knows: hosts that enrol, a few at a time.
const STRANGERS: usize = 64;

/// How long somebody unknown may stay. An enrolment takes a second.
const STRANGER_STAY: Duration = Duration::from_mins(1);

/// Requests that somebody unknown may have open. Those whom the log knows may have as many as the
/// transport allows.
const STRANGER_REQUESTS: usize = 4;

/// How long what is being answered may take after the server has begun to end.
const DRAIN: Duration = Duration::from_secs(10);

/// Places for connections.
#[derive(Debug, Clone)]
struct Places {
    all: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

/// Takes connections until the server begins to end, and then waits for what is being answered.
pub(super) async fn take_all(desk: Arc<Desk>, endpoint: Endpoint) {
    let places = Places {
        all: Arc::new(Semaphore::new(CONNECTIONS)),
        strangers: Arc::new(Semaphore::new(STRANGERS)),
    };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => {
                    connections.spawn(meet(
                        Arc::clone(&desk), endpoint.clone(), incoming, places.clone(),
                    ));
                }
                None => break,
            },
            Some(done) = connections.join_next(), if !connections.is_empty() => pass_on(done),
            () = desk.core.drained() => break,
        }
    }
    while let Some(done) = connections.join_next().await {
        pass_on(done);
    }
}

/// A panic in a task is one of the server: it may have left a lock behind it.
fn pass_on(done: Result<(), JoinError>) {
    if let Err(error) = done
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

async fn meet(desk: Arc<Desk>, endpoint: Endpoint, incoming: Incoming, places: Places) {
    let (connection, key) = tokio::select! {
        accepted = accept(&endpoint, incoming) => match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(error = %chain(&error), "nobody came in");
                return;
            }
        },
        () = desk.core.drained() => return,
    };
    let Ok(_place) = places.all.try_acquire_owned() else {
        close(&connection, CloseCode::Overloaded, "too many connections");
        tracing::warn!("too many connections: one was turned away");
        return;
    };
    let stranger = if desk.core.peer(&key) == Peer::Unknown {
        let Ok(place) = places.strangers.try_acquire_owned() else {
            close(&connection, CloseCode::Overloaded, "too many unknown clients");
            tracing::warn!(peer = %key.id().short(), "too many unknown clients: one was turned away");
            return;
        };
        tracing::info!(peer = %key.id().short(), remote = %connection.remote_address(), "somebody unknown");
        Some(place)
    } else {
        None
    };
    converse(desk, connection, key, stranger).await;
}

/// Answers a client's requests until it goes, or the server ends.
async fn converse(
    desk: Arc<Desk>,
    connection: Connection,
    key: PublicKey,
    mut stranger: Option<OwnedSemaphorePermit>,
) {
    let mut calls = JoinSet::new();
    let stay = sleep(STRANGER_STAY);
    tokio::pin!(stay);
    loop {
        let room = stranger.is_none() || calls.len() < STRANGER_REQUESTS;
        tokio::select! {
            stream = accept_stream(&connection), if room => {
                let Ok((writer, reader)) = stream else { return };
                if stranger.is_some() && desk.core.peer(&key) != Peer::Unknown {
                    stranger = None;
                }
                let (desk, connection, key) = (Arc::clone(&desk), connection.clone(), key.clone());
                calls.spawn(async move {
                    desk.serve(Call { connection, key, writer, reader }).await;
                });
            }
            Some(done) = calls.join_next(), if !calls.is_empty() => pass_on(done),
            () = &mut stay, if stranger.is_some() => {
                if desk.core.peer(&key) == Peer::Unknown {
                    close(&connection, CloseCode::NotPermitted, "this key is not known here");
                    return;
                }
                stranger = None;
            }
            () = desk.core.drained() => break,
        }
    }
    let rest = async {
        while let Some(done) = calls.join_next().await {
            pass_on(done);
        }
    };
    if timeout(DRAIN, rest).await.is_err() {
        tracing::warn!(peer = %key.id().short(), "a request was cut off: it took too long to end");
    }
    close(&connection, CloseCode::ShuttingDown, "the coordinator is ending");
}
