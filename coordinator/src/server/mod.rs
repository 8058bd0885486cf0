//! The server: it keeps the log, serves people and hosts over QUIC, and plans rollouts.
//!
//! It can authorise nothing, and it decides nothing by itself: what to admit, whose turn it is, and to whom
//! bytes are given is decided in `cutover-coordinator-core`, which is pure; every host judges all of that
//! again. This is what drives it: sockets, tasks, the store and the clock.
//!
//! ```text
//! connection tasks ──jobs (bounded)──▶ appender ──▶ store ──▶ fold      the only writer of both
//!   one a client,                                       │
//!   one a stream    ◀─commands (bounded)── planner ◀────┴── reports, clearances, edges of windows
//! ```
//!
//! - `start` opens key, policy and store, and folds the log; `core` is what everybody shares.
//! - `connection` takes connections, `requests` answers what comes on their streams.
//! - `appender` admits, makes durable, folds and acknowledges, one statement after the other.
//! - `hosts` is what is heard of hosts, `directives` their long-lived streams, `planner` tells them what is
//!   due, `evidence` gathers what they are shown.
//! - `packages` takes packages in and gives them out.
//! - `snapshots` writes the fold down now and then, so that the next start need not read the whole log.
//! - `outbox` follows the log and tells people and other programs.
//!
//! What the levels of its log mean: ERROR, somebody must act; WARN, something that should not be, and was
//! dealt with; INFO, something happened; DEBUG, how.
//!
//! Ending: no new requests are taken, what is being answered is finished within a deadline, what waits to
//! be appended is, and clients are told to come back.

mod activations;
mod appender;
mod connection;
mod core;
mod directives;
mod evidence;
mod hosts;
mod outbox;
mod packages;
mod planner;
mod requests;
mod service;
mod snapshots;
mod start;
mod trouble;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cutover_transport::{CloseCode, Endpoint, EndpointError, server_endpoint};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use cutover_coordinator_core::is_snapshot_due;
pub use cutover_coordinator_core::{Conduct, Done, Rules, Situation, Turn};

pub use self::start::{Clock, StartError};

use self::core::Core;
use self::outbox::Outbox;
use self::requests::Desk;
use self::service::Service;
use crate::config::Settings;
use crate::forms::{Forms, FormsError};
use crate::store::StoreError;

/// How long the last packets to clients may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// The server cannot serve, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It did not come up.
    #[error("start")]
    Start(#[from] StartError),
    /// The address cannot be served on.
    #[error("listen")]
    Listen(#[from] EndpointError),
    /// The schemas of forms cannot be used.
    #[error("read the forms")]
    Forms(#[from] FormsError),
    /// The port could not be told.
    #[error("write the port to {}", path.display())]
    PortFile {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Nothing can be appended any more before a restart has looked at what is on the disk.
    #[error("go on without a restart")]
    Store(#[source] StoreError),
}

/// Serves until `shutdown` is done, and then ends in good order.
pub async fn serve(
    settings: Settings,
    conduct: Arc<dyn Conduct>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    serve_with_clock(settings, conduct, Arc::new(crate::clock::now), shutdown).await
}

/// The same by another clock than this machine's.
pub async fn serve_with_clock(
    settings: Settings,
    conduct: Arc<dyn Conduct>,
    clock: Clock,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    service::status("reading the log");
    if let Some(path) = &settings.port_file {
        // An earlier run's port would lead whoever waits for the file astray.
        match std::fs::remove_file(path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(ServeError::PortFile { path: path.clone(), source });
            }
            Ok(()) | Err(_) => {}
        }
    }
    let started = start::start(&settings, clock).await?;
    let now = (started.signer.clock)();
    let outbox = Outbox::open(&settings, &*started.store, now).await?;
    let endpoint = server_endpoint(settings.listen, &started.signer.key, None)?;
    let forms = Forms::new(settings.forms_directory.clone(), settings.data_directory.clone());
    // A faulty schema is told now, and not first to the next submitter.
    forms.catalogue()?;
    let written = started.written;
    let core = Arc::new(Core::new(started, conduct, forms));
    let (jobs, waiting) = mpsc::channel(appender::QUEUE);
    let mut appender = tokio::spawn(appender::run(Arc::clone(&core), waiting));
    let mut others = JoinSet::new();
    others.spawn(snapshots::run(Arc::clone(&core), written, is_snapshot_due));
    others.spawn(planner::run(Arc::clone(&core), Service::from_environment()));
    if let Some(outbox) = &outbox {
        others.spawn(outbox::run(Arc::clone(&core), Arc::clone(outbox)));
    }
    let desk = Arc::new(Desk::new(Arc::clone(&core), jobs, outbox));
    others.spawn(connection::take_all(desk, endpoint.clone()));
    told_where(&endpoint, &settings)?;
    service::ready("serving");

    let mut appended = None;
    tokio::select! {
        () = shutdown => tracing::info!("ending"),
        outcome = &mut appender => appended = Some(outcome),
        // Neither ends before the server does, unless it panics.
        Some(outcome) = others.join_next() => {
            finished(outcome);
        }
    }
    service::stopping();
    core.draining.send_replace(true);
    while let Some(outcome) = others.join_next().await {
        finished(outcome);
    }
    // With the last connection the last who could bring a statement is gone.
    let appended = match appended {
        Some(outcome) => outcome,
        None => appender.await,
    };
    endpoint.close(CloseCode::ShuttingDown.into(), b"the coordinator is ending");
    if timeout(GOODBYE, endpoint.wait_idle()).await.is_err() {
        tracing::debug!("not every client has heard that the server ends");
    }
    // Closing the store waits for its writing thread.
    finished(tokio::task::spawn_blocking(move || drop(core)).await);
    tracing::info!("ended");
    finished(appended).unwrap_or(Ok(())).map_err(ServeError::Store)
}

/// What a task has given; `None` when the runtime is going away. A panic goes on.
fn finished<T>(outcome: Result<T, tokio::task::JoinError>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_cancelled) => None,
    }
}

/// Says where it listens.
fn told_where(endpoint: &Endpoint, settings: &Settings) -> Result<(), ServeError> {
    let address: SocketAddr = endpoint
        .local_addr()
        .map_err(|source| EndpointError::Bind { address: settings.listen, source })?;
    tracing::info!(%address, advertise = settings.advertise.as_deref(), "listening");
    match &settings.port_file {
        None => Ok(()),
        Some(path) => write_port(path, address.port())
            .map_err(|source| ServeError::PortFile { path: path.clone(), source }),
    }
}

/// Writes the port, whole or not at all: somebody may be waiting for the file.
fn write_port(path: &Path, port: u16) -> std::io::Result<()> {
    use std::io::Write as _;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    writeln!(file, "{port}")?;
    file.persist(path)?;
    Ok(())
}

/// Returns at the first SIGTERM or SIGINT.
pub async fn signals() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
