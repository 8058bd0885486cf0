//! TLS 1.3 with raw public keys (RFC 7250) on both sides, in rustls' terms.
//!
//! rustls carries a raw public key where a certificate would be: the one "certificate" of a side is the
//! DER of its SubjectPublicKeyInfo. Each verifier below answers two questions, and rustls aborts the
//! handshake on either no: is this key one that I accept, and does the signature over the handshake's
//! transcript prove that the other side holds its private half.

use std::fmt;
use std::sync::{Arc, OnceLock};

use cutover_shared::key::{PublicKey, SecretKey};
use quinn::Connection;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved,
    SignatureScheme,
};

use crate::ALPN;

/// Whether a client with this key may connect at all. Called in the handshake, so it must not block.
pub type Gate = Arc<dyn Fn(&PublicKey) -> bool + Send + Sync>;

/// The TLS side could not be set up: the key or the provider is unusable.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The private key was not accepted.
    #[error("load the private key into TLS")]
    Key(#[source] Error),
    /// The cryptographic provider lacks TLS 1.3.
    #[error("set up TLS 1.3")]
    Versions(#[source] Error),
    /// The provider lacks the cipher suite that QUIC starts with.
    #[error("set up QUIC's initial cipher suite")]
    InitialSuite(#[source] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// The key that the other side proved to hold. `None` only for connections that were not made by this
/// crate's endpoints: theirs have always shown one.
pub fn peer_key(connection: &Connection) -> Option<PublicKey> {
    let identity = connection.peer_identity()?;
    let keys = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    PublicKey::from_spki_der(keys.first()?).ok()
}

/// What a server needs: it shows `key`, and demands one of each client.
pub(crate) fn server_config(
    key: &SecretKey,
    gate: Option<Gate>,
) -> Result<rustls::ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let own = Arc::new(own_key(key)?);
    let verifier = Arc::new(AnyClient { gate, provider: Arc::clone(&provider) });
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Versions)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(own)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session would not prove the client's key again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// What a client needs: it accepts `server` only, and shows `own`. The key that the server showed, the
/// right one or not, is left in `shown`.
pub(crate) fn client_config(
    server: &PublicKey,
    own: CertifiedKey,
    shown: Arc<OnceLock<PublicKey>>,
) -> Result<rustls::ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(PinnedServer {
        spki: server.to_spki_der(),
        shown,
        provider: Arc::clone(&provider),
    });
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Versions)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::new(own))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    // The name says nothing: the key does.
    config.enable_sni = false;
    Ok(config)
}

/// A key of ours as rustls wants it.
pub(crate) fn own_key(key: &SecretKey) -> Result<CertifiedKey, TlsError> {
    let der = key.to_pkcs8_der();
    let pkcs8 = PrivatePkcs8KeyDer::from(&der[..]);
    let signer = ring::sign::any_eddsa_type(&pkcs8).map_err(TlsError::Key)?;
    let spki = CertificateDer::from(key.public().to_spki_der());
    Ok(CertifiedKey::new(vec![spki], signer))
}

/// Accepts exactly one server key.
struct PinnedServer {
    spki: Vec<u8>,
    shown: Arc<OnceLock<PublicKey>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Ok(shown) = PublicKey::from_spki_der(key) {
            // Set once an attempt; that it is set already cannot happen and would not matter.
            let _ = self.shown.set(shown);
        }
        if more.is_empty() && key.as_ref() == self.spki {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(not_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, key, signature, &self.provider)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Accepts any well-formed ed25519 key that the gate lets through.
struct AnyClient {
    gate: Option<Gate>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if !more.is_empty() {
            return Err(CertificateError::BadEncoding.into());
        }
        let key = PublicKey::from_spki_der(key).map_err(|_| CertificateError::BadEncoding)?;
        if self.gate.as_ref().is_none_or(|gate| gate(&key)) {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(not_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, key, signature, &self.provider)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Proof of possession: the signature over the transcript, by the raw key, as ed25519 and nothing else.
fn verify_signature(
    message: &[u8],
    key: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    provider: &CryptoProvider,
) -> Result<HandshakeSignatureValid, Error> {
    if signature.scheme != SignatureScheme::ED25519 {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    verify_tls13_signature_with_raw_key(
        message,
        &SubjectPublicKeyInfoDer::from(key.as_ref()),
        signature,
        &provider.signature_verification_algorithms,
    )
}

/// Unreachable by construction, for only TLS 1.3 is configured and QUIC knows no other.
fn not_tls13() -> Error {
    PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into()
}

impl fmt::Debug for PinnedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PinnedServer")
    }
}

impl fmt::Debug for AnyClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyClient")
    }
}
