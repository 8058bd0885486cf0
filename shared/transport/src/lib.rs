//! The network edge of Cutover: QUIC with raw public keys, and frames on its streams.
//!
//! Both ends of a connection are known by an ed25519 key and nothing else (RFC 7250 raw public keys in
//! TLS 1.3): there is no certificate authority to run and no certificate to expire.
//!
//! - The **client** pins the server's key exactly; another key is [`ConnectError::WrongServerKey`].
//! - The **server** demands a key of the client and proof that the client holds its private half. Any
//!   well-formed ed25519 key may shake hands (an optional [`Gate`] narrows that); what a key may *do* is
//!   decided by whoever reads [`peer_key`], never here.
//! - Nothing is resumed: no session tickets, no 0-RTT data, so every connection proves both keys anew
//!   and nothing that was sent can be replayed.
//!
//! The use of streams is the protocol's: one long-lived directive stream an agent, one stream a
//! request, one-way streams for ranges of artifacts. This crate knows frames ([`FrameWriter`],
//! [`FrameReader`]) and raw ranges, and not what is in them. A frame is a `u32` big-endian length and
//! that many bytes of [`cutover_shared::codec`]; a reader checks the length before it allocates, and
//! its memory grows with the bytes that arrived, not with the length that was claimed.
//!
//! Tasks: none of its own apart from quinn's drivers. Whoever calls [`accept`] or [`connect`] owns the
//! connection; dropping its last handle closes it, [`close`] closes it with a reason.

mod close;
mod connect;
mod endpoint;
mod frame;
#[cfg(test)]
mod impostors;
mod reset;
mod tls;

pub use close::{CloseCode, Ended, close, ended};
pub use connect::{AttemptError, ConnectError, connect};
pub use endpoint::{
    AcceptError, EndpointError, HANDSHAKE_DEADLINE, IDLE_TIMEOUT, KEEP_ALIVE, accept,
    client_endpoint, server_endpoint,
};
pub use frame::{
    FrameReader, FrameWriter, RAW_PIECE, StreamError, accept_one_way, accept_stream, open_one_way,
    open_stream, request,
};
pub use quinn::{Connection, Endpoint, Incoming};
pub use tls::{Gate, TlsError, peer_key};

/// The application protocol both sides must name in the TLS handshake. A new major version of the
/// messages gets a new name here, so that two versions which cannot talk say so before they try.
pub const ALPN: &[u8] = b"cutover/1";
