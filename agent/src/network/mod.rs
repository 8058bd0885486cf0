//! The network half: it moves frames between the applier's Unix socket and the coordinator's QUIC
//! streams, and decides nothing.
//!
//! It is the one part of the agent on the wide network, runs without any privilege, and holds one
//! secret, the transport key, which says who this host is on the wire and nothing more. What passes
//! through it is verified by the applier; whoever takes it over can delay, withhold and spoil, and have
//! nothing done that was not approved.
//!
//! ```text
//!            Unix socket                                          QUIC
//! applier ── reader ──▶ event loop (session) ──▶ link ─────────── coordinator
//!    ▲                    │ Report               directives ◀───▶ Directives, HostReport
//!    │                    │ Append            ─▶ append    ─────▶ Append, Consistency
//!    │                    │ WantClearance     ─▶ (a task)  ─────▶ Clearance
//!    │                    │ Fetch             ─▶ fetch ◀─ spool ─▶ PackageInfo, Artifact
//!    └── writer ◀─────────┴──────────────────────┘
//! ```
//!
//! - The **applier's connection** comes first. Without it there is no session and no connection to the
//!   coordinator; when it ends, everything that was under way ends with it, and the applier asks again.
//! - The **session** is the event loop. It owns all state, never waits, and gives what takes time to
//!   tasks, which come back as events. All channels are bounded.
//! - The **link** keeps the connection to the coordinator, with growing delays between attempts.
//! - **Statements** are asked about until they are answered, **fetches** until all bytes are there or
//!   the coordinator refuses, **clearances** once: the applier asks again itself, with a new nonce.
//! - The **[`spool`]** keeps bytes that arrived until the applier says that it wants no more of the
//!   package, and answers for the coordinator what it has.
//!
//! Log levels: ERROR is a fault in this program; WARN something that a person may have to look into;
//! INFO what this host did; DEBUG what helps whoever works on this code.

mod append;
mod ask;
mod backoff;
mod directives;
mod event;
mod fetch;
mod identity;
mod link;
mod service;
mod session;
mod settings;
mod socket;
mod spool;

use std::error::Error;
use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use cutover_shared::key::SecretKey;
use cutover_transport::{Endpoint, EndpointError, RAW_PIECE, client_endpoint};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use self::backoff::Backoff;
pub use self::identity::IdentityError;
use self::service::Service;
use self::session::Over;
pub use self::settings::{Fault, LogFormat, Settings, SettingsError};
pub use self::spool::SpoolError;
use self::spool::SpoolHandle;

/// How many bytes of a package go to the applier in one message, and into the spool in one record. A
/// quarter of what the applier takes at most: it is what the transport hands over at once.
const PIECE: usize = RAW_PIECE;

/// First and longest wait before the applier's socket is tried again. It is on this machine, so that
/// trying costs next to nothing.
const WAITS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How long the coordinator may take to hear that we stop.
const DRAIN: Duration = Duration::from_secs(2);

/// The network half cannot run.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Without its transport key.
    #[error("prepare the transport key")]
    Identity(#[from] IdentityError),
    /// Without its spool.
    #[error("prepare the spool")]
    Spool(#[from] SpoolError),
    /// Without a UDP socket.
    #[error("prepare the network endpoint")]
    Endpoint(#[from] EndpointError),
}

/// What sessions share.
struct Network {
    key: SecretKey,
    endpoint: Endpoint,
    spool: SpoolHandle,
    service: Service,
}

/// Runs until `shutdown` is ready. Must be called within a tokio runtime with I/O and time.
pub async fn run(
    settings: &Settings,
    shutdown: impl Future<Output = ()>,
) -> Result<(), NetworkError> {
    let mut shutdown = pin!(shutdown);
    let mut network = Network {
        key: identity::load_or_make(&settings.transport_key)?,
        endpoint: client_endpoint()?,
        spool: SpoolHandle::open(settings.spool.clone(), settings.spool_limit).await?,
        service: Service::from_environment(),
    };
    tracing::info!(key = %network.key.public().id(), "the agent's network half is ready");
    Service::ready();
    let mut backoff = Backoff::new(WAITS.0, WAITS.1);
    while let Some(stream) =
        reach_applier(&mut network, settings, &mut backoff, shutdown.as_mut()).await
    {
        match session::serve(&mut network, stream, shutdown.as_mut()).await {
            Over::Shutdown => break,
            Over::Moved => {
                tracing::info!("the applier names another coordinator");
                backoff.reset();
            }
            Over::Applier { error, welcomed } => {
                if welcomed {
                    backoff.reset();
                }
                tracing::warn!(error = chain(&error), "the applier is gone");
            }
        }
    }
    Service::stopping();
    tracing::info!("the agent's network half stops");
    // The close frames go out, or nobody is there to hear them.
    let _ = timeout(DRAIN, network.endpoint.wait_idle()).await;
    Ok(())
}

/// A connection to the applier's socket; `None` when it is time to stop.
async fn reach_applier<S: Future<Output = ()>>(
    network: &mut Network,
    settings: &Settings,
    backoff: &mut Backoff,
    mut shutdown: Pin<&mut S>,
) -> Option<UnixStream> {
    let path = settings.socket.display();
    let mut told = false;
    loop {
        // A wait before the first attempt too: an applier that accepts and goes away at once must not
        // keep us in a hot loop.
        let mut wait = pin!(sleep(backoff.next()));
        loop {
            tokio::select! {
                () = shutdown.as_mut() => return None,
                () = network.service.due() => Service::alive(),
                () = wait.as_mut() => break,
            }
        }
        match UnixStream::connect(&settings.socket).await {
            Ok(stream) => return Some(stream),
            Err(error) => {
                if !told {
                    tracing::info!(%path, %error, "waiting for the applier");
                    told = true;
                }
                network.service.status(format!("waiting for the applier at {path}: {error}"));
            }
        }
    }
}

/// An error with its causes, for a log line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
