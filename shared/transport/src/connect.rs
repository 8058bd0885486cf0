//! The client's way in: a name, a pinned key, and the first of its addresses that answers.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use cutover_shared::key::{KeyId, PublicKey, SecretKey};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint};
use rustls::sign::CertifiedKey;

use crate::close::{Ended, ended};
use crate::endpoint::{HANDSHAKE_DEADLINE, client_transport};
use crate::tls::{self, TlsError};

/// Addresses of one name that are tried. A name with more is a mistake or an attack on our patience.
const ADDRESSES: usize = 8;

/// TLS wants a name; with raw keys nobody reads it, and it is not sent.
const SERVER_NAME: &str = "cutover";

/// No connection to the server was made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name does not resolve.
    #[error("resolve {address:?} (expected host:port)")]
    Resolve {
        /// As it was given.
        address: String,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// The name resolves to nothing.
    #[error("resolve {address:?}: the name has no addresses")]
    NoAddress {
        /// As it was given.
        address: String,
    },
    /// What answered is not the server that was asked for.
    #[error(
        "connect to {address:?}: {remote} showed the key {shown}, not {expected}; if the server's key was \
         changed on purpose, take the new one from the trust policy or a new join string"
    )]
    WrongServerKey {
        /// As it was given.
        address: String,
        /// What answered.
        remote: SocketAddr,
        /// The pinned key.
        expected: KeyId,
        /// The key that was shown.
        shown: KeyId,
    },
    /// None of the addresses could be reached; this is the most telling of the failures.
    #[error("connect to {address:?} at {remote}")]
    Attempt {
        /// As it was given.
        address: String,
        /// Which of its addresses.
        remote: SocketAddr,
        /// Why.
        #[source]
        source: AttemptError,
    },
    /// TLS could not be set up.
    #[error("set up the client's TLS")]
    Tls(#[from] TlsError),
}

/// Why one address failed.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// It could not even be tried: no route of that family.
    #[error("start a connection")]
    Start(#[source] quinn::ConnectError),
    /// Nobody answered within [`HANDSHAKE_DEADLINE`].
    #[error("hear an answer in time; is the server running there, and does the network pass UDP?")]
    Silent,
    /// The handshake failed.
    #[error("shake hands: {ended}")]
    Handshake {
        /// How it ended, seen from here.
        ended: Ended,
        /// What QUIC said.
        #[source]
        source: ConnectionError,
    },
}

/// Connects to the server `address` (`host:port`; every address of the name is tried in turn), which
/// must show `server_key`, as the holder of `client`.
///
/// A server may still refuse `client` after this returns: in TLS 1.3 it judges the client's key last.
/// The refusal is then how the connection ends, [`Ended::KeyRefused`].
pub async fn connect(
    endpoint: &Endpoint,
    address: &str,
    server_key: &PublicKey,
    client: &SecretKey,
) -> Result<Connection, ConnectError> {
    let own = tls::own_key(client)?;
    let remotes: Vec<SocketAddr> = tokio::net::lookup_host(address)
        .await
        .map_err(|source| ConnectError::Resolve { address: address.to_owned(), source })?
        .take(ADDRESSES)
        .collect();
    let mut worst: Option<ConnectError> = None;
    for remote in remotes {
        match attempt(endpoint, address, remote, server_key, own.clone()).await {
            Ok(connection) => return Ok(connection),
            Err(error) => {
                tracing::debug!(address, %remote, %error, "an address did not answer as expected");
                if worst.as_ref().is_none_or(|worst| rank(&error) > rank(worst)) {
                    worst = Some(error);
                }
            }
        }
    }
    Err(worst.unwrap_or_else(|| ConnectError::NoAddress { address: address.to_owned() }))
}

async fn attempt(
    endpoint: &Endpoint,
    address: &str,
    remote: SocketAddr,
    server_key: &PublicKey,
    own: CertifiedKey,
) -> Result<Connection, ConnectError> {
    let failed = |source| ConnectError::Attempt { address: address.to_owned(), remote, source };
    let shown = Arc::new(OnceLock::new());
    let crypto = tls::client_config(server_key, own, Arc::clone(&shown))?;
    let connecting = endpoint
        .connect_with(quic(crypto)?, remote, SERVER_NAME)
        .map_err(|source| failed(AttemptError::Start(source)))?;
    let Ok(outcome) = tokio::time::timeout(HANDSHAKE_DEADLINE, connecting).await else {
        return Err(failed(AttemptError::Silent));
    };
    outcome.map_err(|source| match shown.get() {
        Some(shown) if shown != server_key => ConnectError::WrongServerKey {
            address: address.to_owned(),
            remote,
            expected: server_key.id(),
            shown: shown.id(),
        },
        Some(_) | None => failed(AttemptError::Handshake { ended: ended(&source), source }),
    })
}

/// quinn's client configuration around a rustls one.
pub(crate) fn quic(crypto: rustls::ClientConfig) -> Result<ClientConfig, TlsError> {
    let crypto = QuicClientConfig::try_from(crypto).map_err(TlsError::InitialSuite)?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(client_transport()));
    Ok(config)
}

/// How much a failure tells: a wrong key more than a failed handshake, that more than silence.
fn rank(error: &ConnectError) -> u8 {
    match error {
        ConnectError::WrongServerKey { .. } => 3,
        ConnectError::Attempt { source: AttemptError::Handshake { .. }, .. } => 2,
        ConnectError::Attempt { source: AttemptError::Silent, .. } => 1,
        ConnectError::Attempt { source: AttemptError::Start(_), .. }
        | ConnectError::Resolve { .. }
        | ConnectError::NoAddress { .. }
        | ConnectError::Tls(_) => 0,
    }
}
