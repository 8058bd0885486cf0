//! What a server keeps across restarts so that peers notice one at once.
//!
//! After `kill -9` the peers' connections are unknown to the new process. It answers their next packet
//! with a *stateless reset* (RFC 9000, 10.3), which a peer believes only if it carries a token that the
//! old process gave out. quinn draws the key of these tokens anew at each start, so peers would wait for
//! the idle timeout; here it is derived from the server's own key. Connection ids are random and of one
//! length, so that the new process can read the old one's packets.

use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use std::sync::Arc;
use std::time::Duration;

use cutover_shared::key::SecretKey;

/// What is signed to derive the token key. ed25519 signatures are deterministic and this one is shown
/// to nobody, so the signature is a secret that only the holder of the key can compute. It can be
/// neither a TLS signature (those begin with 64 spaces) nor a DSSE one (those begin with `DSSEv1`).
const DERIVATION: &[u8] = b"cutover/1 stateless reset";

/// Twelve random bytes: never twice, and short enough to cost nothing in each packet.
const CONNECTION_ID_LENGTH: usize = 12;

/// The endpoint configuration of a server with this key.
pub(crate) fn endpoint_config(key: &SecretKey) -> EndpointConfig {
    let secret = key.sign(DERIVATION);
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &secret)));
    config.cid_generator(|| Box::new(RandomIds(SystemRandom::new())));
    config
}

struct RandomIds(SystemRandom);

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; CONNECTION_ID_LENGTH];
        self.0
            .fill(&mut bytes)
            .expect("the operating system's random source does not fail once it is open");
        ConnectionId::new(&bytes)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
