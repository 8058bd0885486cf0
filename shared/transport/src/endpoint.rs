//! Endpoints: the UDP sockets and the limits of the connections on them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use cutover_shared::key::{PublicKey, SecretKey};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, ConnectionError, Endpoint, EndpointConfig, Incoming, TransportConfig};
use quinn::{ServerConfig, TokioRuntime, VarInt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::close::{Ended, ended};
use crate::reset;
use crate::tls::{self, Gate, TlsError};

/// How often an idle client says that it is there. Below the half minute after which the impatient NAT
/// devices forget a UDP mapping, and three of them fit in the idle timeout. Only clients do this: one
/// side is enough to keep both alive, and a server with ten thousand agents has better things to do.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Silence after which a connection is given up: two lost keep-alives are survived, the third is not.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(45);

/// How long a handshake may take. Two round trips and two losses on a bad intercontinental line stay
/// well under it.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Socket buffers asked for. With the default of some 200 KiB a burst at gigabit speed loses packets
/// while the process is not scheduled; 7 MiB is 60 ms of it. The kernel gives no more than
/// `net.core.rmem_max` and `wmem_max` allow.
const SOCKET_BUFFER: usize = 7 * 1024 * 1024;

/// Requests that one client may have open at the server: an agent has a directive stream and a handful
/// of requests, a person's CLI a few at a time.
const CLIENT_REQUESTS: u32 = 64;

/// Streams that the server may open towards a client: one-way ranges of artifacts, fetched a few at a
/// time so that a lost packet of one does not hold up the others.
const SERVER_STREAMS: u32 = 16;

/// What the server buffers of one stream. Submitted packs come in this way: 1 MiB over a round trip of
/// 20 ms is 50 MB/s.
const SERVER_STREAM_WINDOW: u32 = 1024 * 1024;

/// What the server buffers of one connection: what a hostile client can make it hold.
const SERVER_WINDOW: u32 = 4 * 1024 * 1024;

/// What a client buffers of one stream. Artifacts come in this way: 2 MiB over a round trip of 20 ms is
/// 100 MB/s.
const CLIENT_STREAM_WINDOW: u32 = 2 * 1024 * 1024;

/// What a client buffers of its one connection; several ranges together fill a gigabit line over 40 ms.
const CLIENT_WINDOW: u32 = 6 * 1024 * 1024;

/// What either side keeps of bytes that were sent and not yet acknowledged.
const SEND_WINDOW: u64 = 6 * 1024 * 1024;

/// Handshakes that may wait for [`accept`]; beyond, newcomers are refused outright. A fleet that comes
/// back after an outage makes about 1,900 handshakes a second.
const WAITING_HANDSHAKES: usize = 1024;

/// With more connections than this a newcomer must first show that it receives at its address
/// (QUIC Retry, one more round trip), so that forged addresses cost the server nothing.
const RETRY_ABOVE: usize = 512;

/// The endpoint could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The socket could not be opened at this address.
    #[error("open a UDP socket at {address}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// TLS could not be set up.
    #[error("set up the server's TLS")]
    Tls(#[from] TlsError),
}

/// A newcomer was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// It was asked to prove its address first and will come again by itself.
    #[error("asked {remote} to prove its address")]
    AskedToRetry {
        /// Who.
        remote: SocketAddr,
    },
    /// The handshake failed.
    #[error("shake hands with {remote}: {ended}")]
    Handshake {
        /// Who.
        remote: SocketAddr,
        /// How it ended, seen from here.
        ended: Ended,
        /// What QUIC said.
        #[source]
        source: ConnectionError,
    },
    /// The handshake took longer than [`HANDSHAKE_DEADLINE`].
    #[error("shake hands with {remote} in time")]
    TooSlow {
        /// Who.
        remote: SocketAddr,
    },
    /// The connection came without a key.
    #[error("read the key of {remote}")]
    NoKey {
        /// Who.
        remote: SocketAddr,
    },
}

/// A server at `address` (an unspecified IPv6 address serves IPv4 too) that shows `key`. The gate, if
/// there is one, is asked in each handshake. Must be called within a tokio runtime.
pub fn server_endpoint(
    address: SocketAddr,
    key: &SecretKey,
    gate: Option<Gate>,
) -> Result<Endpoint, EndpointError> {
    let crypto = QuicServerConfig::try_from(tls::server_config(key, gate)?)
        .map_err(TlsError::InitialSuite)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(server_transport())).max_incoming(WAITING_HANDSHAKES);
    open(address, reset::endpoint_config(key), Some(config)).map_err(bind_error(address))
}

/// An endpoint for [`connect`](crate::connect): any free port, IPv6 and IPv4 where there is IPv6. Must
/// be called within a tokio runtime.
pub fn client_endpoint() -> Result<Endpoint, EndpointError> {
    let dual = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);
    let plain = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    open(dual, EndpointConfig::default(), None)
        .or_else(|_no_ipv6| open(plain, EndpointConfig::default(), None))
        .map_err(bind_error(plain))
}

/// Finishes one handshake: the connection and the key that the client proved to hold. Run it in a task
/// of its own, for a slow client takes up to [`HANDSHAKE_DEADLINE`].
pub async fn accept(
    endpoint: &Endpoint,
    incoming: Incoming,
) -> Result<(Connection, PublicKey), AcceptError> {
    let remote = incoming.remote_address();
    let handshake =
        |source: ConnectionError| AcceptError::Handshake { remote, ended: ended(&source), source };
    if endpoint.open_connections() > RETRY_ABOVE && incoming.may_retry() {
        // The one failure of `retry` is that the address is proven already, which `may_retry` excludes.
        let _ = incoming.retry();
        return Err(AcceptError::AskedToRetry { remote });
    }
    let connecting = incoming.accept().map_err(handshake)?;
    let connection = tokio::time::timeout(HANDSHAKE_DEADLINE, connecting)
        .await
        .map_err(|_elapsed| AcceptError::TooSlow { remote })?
        .map_err(handshake)?;
    let key = tls::peer_key(&connection).ok_or(AcceptError::NoKey { remote })?;
    Ok((connection, key))
}

fn open(
    address: SocketAddr,
    config: EndpointConfig,
    server: Option<ServerConfig>,
) -> io::Result<Endpoint> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.bind(&address.into())?;
    // Linux reports twice what it gives, the other half being its own bookkeeping.
    let given = socket.recv_buffer_size()? / 2;
    if given < SOCKET_BUFFER {
        tracing::debug!(
            asked = SOCKET_BUFFER,
            given,
            "small UDP buffers: raise net.core.rmem_max and wmem_max for fast transfers"
        );
    }
    Endpoint::new(config, server, socket.into(), Arc::new(TokioRuntime))
}

fn bind_error(address: SocketAddr) -> impl FnOnce(io::Error) -> EndpointError {
    move |source| EndpointError::Bind { address, source }
}

fn idle_timeout() -> quinn::IdleTimeout {
    IDLE_TIMEOUT.try_into().expect("45 s fit in a QUIC variable-length integer")
}

fn server_transport() -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(idle_timeout()))
        .max_concurrent_bidi_streams(VarInt::from_u32(CLIENT_REQUESTS))
        .max_concurrent_uni_streams(VarInt::from_u32(CLIENT_REQUESTS))
        .stream_receive_window(VarInt::from_u32(SERVER_STREAM_WINDOW))
        .receive_window(VarInt::from_u32(SERVER_WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None);
    config
}

pub(crate) fn client_transport() -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(idle_timeout()))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from_u32(SERVER_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(SERVER_STREAMS))
        .stream_receive_window(VarInt::from_u32(CLIENT_STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CLIENT_WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None);
    config
}
