//! Peers that are not who they say they are. They are built from the crate's own parts, each with the
//! one change that makes it an attack.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use cutover_shared::key::SecretKey;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, ConnectionError, Endpoint, ServerConfig};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::CertifiedKey;

use crate::connect::quic;
use crate::{
    AcceptError, AttemptError, ConnectError, Ended, accept, client_endpoint, connect, ended,
    server_endpoint, tls,
};

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed([number; 32])
}

/// The public key of `shown`, with the signing key of `holder`.
fn claims(shown: &SecretKey, holder: &SecretKey) -> CertifiedKey {
    let mut claimed = tls::own_key(holder).unwrap();
    claimed.cert = vec![CertificateDer::from(shown.public().to_spki_der())];
    claimed
}

fn client_config(own: CertifiedKey) -> rustls::ClientConfig {
    tls::client_config(&key(1).public(), own, Arc::new(OnceLock::new())).unwrap()
}

/// Connects with `config`, and says how the server and the client saw it end.
async fn outcome_of(server: &Endpoint, config: rustls::ClientConfig) -> (Ended, Ended) {
    let client = client_endpoint().unwrap();
    let connecting = client
        .connect_with(quic(config).unwrap(), server.local_addr().unwrap(), "cutover")
        .unwrap();
    let incoming = server.accept().await.unwrap();
    let (accepted, connected) = tokio::join!(accept(server, incoming), connecting);
    let seen_by_server = match accepted {
        Err(AcceptError::Handshake { ended, .. }) => ended,
        other => panic!("the server was expected to fail the handshake: {other:?}"),
    };
    (seen_by_server, ended(&last_error(connected).await))
}

/// A client learns of a refusal of its key only after its own side of the handshake is done.
async fn last_error(outcome: Result<Connection, ConnectionError>) -> ConnectionError {
    match outcome {
        Ok(connection) => connection.closed().await,
        Err(error) => error,
    }
}

fn server() -> Endpoint {
    server_endpoint(LOOPBACK, &key(1), None).unwrap()
}

#[tokio::test]
async fn a_client_cannot_show_a_key_that_it_does_not_hold() {
    let (seen_by_server, seen_by_client) =
        outcome_of(&server(), client_config(claims(&key(2), &key(3)))).await;
    assert_eq!(seen_by_server, Ended::KeyRefused);
    assert_eq!(seen_by_client, Ended::KeyRefused);
}

#[tokio::test]
async fn a_client_without_a_key_is_refused() {
    let mut config = client_config(tls::own_key(&key(2)).unwrap());
    let without = rustls::ClientConfig::builder_with_provider(Arc::clone(config.crypto_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.client_auth_cert_resolver = Arc::clone(&without.client_auth_cert_resolver);
    let (seen_by_server, seen_by_client) = outcome_of(&server(), config).await;
    assert!(matches!(seen_by_server, Ended::Broken(_)), "{seen_by_server:?}");
    assert!(matches!(seen_by_client, Ended::Broken(_)), "{seen_by_client:?}");
}

#[tokio::test]
async fn a_key_of_another_algorithm_is_refused() {
    let random = ring::rand::SystemRandom::new();
    let algorithm = &ring::signature::ECDSA_P256_SHA256_ASN1_SIGNING;
    let pkcs8 = ring::signature::EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let signer = rustls::crypto::ring::sign::any_ecdsa_type(
        &PrivatePkcs8KeyDer::from(pkcs8.as_ref()).into(),
    )
    .unwrap();
    let spki = signer.public_key().unwrap().to_vec();
    let own = CertifiedKey::new(vec![CertificateDer::from(spki)], signer);
    let (seen_by_server, seen_by_client) = outcome_of(&server(), client_config(own)).await;
    assert_eq!(seen_by_server, Ended::KeyRefused);
    // The client itself notices that the server takes ed25519 only, and shows no key at all.
    assert_eq!(seen_by_client, Ended::KeyRefused);
}

#[tokio::test]
async fn another_protocol_is_refused_on_both_sides() {
    let mut config = client_config(tls::own_key(&key(2)).unwrap());
    config.alpn_protocols = vec![b"cutover/0".to_vec()];
    let (seen_by_server, seen_by_client) = outcome_of(&server(), config).await;
    assert_eq!(seen_by_server, Ended::WrongProtocol);
    assert_eq!(seen_by_client, Ended::WrongProtocol);
}

#[tokio::test]
async fn a_server_cannot_show_the_pinned_key_without_holding_it() {
    let mut crypto = tls::server_config(&key(4), None).unwrap();
    crypto.cert_resolver =
        Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::new(claims(&key(1), &key(4)))));
    let crypto = QuicServerConfig::try_from(crypto).unwrap();
    let config = ServerConfig::with_crypto(Arc::new(crypto));
    let server = Endpoint::server(config, LOOPBACK).unwrap();
    let address = server.local_addr().unwrap().to_string();
    let accepting = tokio::spawn(async move {
        let incoming = server.accept().await.unwrap();
        accept(&server, incoming).await.map(|_| ())
    });
    let client = client_endpoint().unwrap();
    let error = connect(&client, &address, &key(1).public(), &key(2)).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::Attempt { source: AttemptError::Handshake { .. }, .. }),
        "{error:?}"
    );
    assert!(accepting.await.unwrap().is_err());
}
