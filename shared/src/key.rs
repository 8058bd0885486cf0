//! Keys: ed25519 (FIPS 186-5, RFC 8032), in the files that `openssl` writes and reads.
//!
//! A public key is a SubjectPublicKeyInfo (RFC 8410), a secret key a PKCS#8 file, plain or encrypted
//! (PBES2, RFC 8018); a [`KeyId`] is the SHA-256 of the SubjectPublicKeyInfo's DER. Signatures are
//! verified strictly, and a public key has one spelling only, so that neither a signature nor a key can
//! be dressed up as a second one.
//!
//! Where randomness is needed (a seed, a salt, an initialisation vector) it is an argument.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::pkcs8::KeypairBytes;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use pkcs8::der::pem::PemLabel as _;
use pkcs8::pkcs5::pbes2;
use pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _,
    EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::digest::{Digest, NotADigest};

/// The rounds of PBKDF2-HMAC-SHA256 that a file we encrypt is made with: OWASP's figure of 2023, about
/// a quarter of a second.
const ENCRYPTION_ROUNDS: u32 = 600_000;

/// The rounds of PBKDF2 that we will go through to read a file: some seconds.
const MAX_ROUNDS: u32 = 10_000_000;

/// The memory in bytes that we will take to read a file made with scrypt: twice what `openssl` would.
const MAX_SCRYPT_MEMORY: u64 = 64 * 1024 * 1024;

/// The passes over that memory that we will go through.
const MAX_SCRYPT_PASSES: u16 = 16;

/// A key could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not a SubjectPublicKeyInfo of ed25519.
    #[error("read a public key: expected ed25519 in SPKI, as `openssl pkey -pubout` writes it")]
    Public(#[source] pkcs8::spki::Error),
    /// The 32 bytes are no point of the curve, a second spelling of one, or a point of small order.
    #[error("read a public key: it is not a valid ed25519 point")]
    Point,
    /// Not base64 of a SubjectPublicKeyInfo.
    #[error("read a public key: expected base64 of its SPKI DER")]
    Base64(#[source] base64::DecodeError),
    /// Not a PKCS#8 file of an ed25519 key.
    #[error("read a secret key: expected ed25519 in PKCS#8, as `openssl genpkey` writes it")]
    Secret(#[source] pkcs8::Error),
    /// The file is encrypted and no passphrase was given.
    #[error("read a secret key: it is encrypted and needs a passphrase")]
    PassphraseNeeded,
    /// The file is not an encrypted PKCS#8 file that we can read.
    #[error("read an encrypted secret key: expected PKCS#8 with PBES2")]
    Encrypted(#[source] pkcs8::Error),
    /// The passphrase does not open the file.
    #[error("read an encrypted secret key: the passphrase does not open it")]
    Passphrase,
    /// The file asks for more work or memory to open it than we will spend, or for none that makes sense.
    #[error("read an encrypted secret key: opening it costs more than the limit")]
    Costly,
    /// The key could not be encrypted.
    #[error("encrypt a secret key")]
    Encrypt(#[source] pkcs8::Error),
}

/// Names a key: the SHA-256 of its SubjectPublicKeyInfo in DER. In documents 64 hexadecimal digits, in
/// frames 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(Digest);

impl KeyId {
    /// A key id from its digest.
    pub const fn from_digest(digest: Digest) -> Self {
        Self(digest)
    }

    /// The digest that it is.
    pub const fn digest(&self) -> Digest {
        self.0
    }

    /// The first 12 hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.0.short()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for KeyId {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        text.parse().map(Self)
    }
}

/// An ed25519 public key. In documents base64 of its SubjectPublicKeyInfo in DER, in frames its 32 bytes.
///
/// Only the canonical encoding of a point that is not of small order becomes one: small-order keys
/// verify signatures that nobody made, and a second encoding would be a second name for one key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
    id: KeyId,
}

impl PublicKey {
    /// A public key from its 32 bytes (RFC 8032, section 5.1.2).
    pub fn from_raw(raw: [u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(&raw).map_err(|_| KeyError::Point)?;
        if key.is_weak() || !is_reduced(&raw) {
            return Err(KeyError::Point);
        }
        Ok(Self::named(key))
    }

    /// The name is worked out once: it is asked for at every signature.
    fn named(key: VerifyingKey) -> Self {
        let der = key.to_public_key_der().expect("44 bytes fit every DER length");
        Self { key, id: KeyId(Digest::of(der.as_bytes())) }
    }

    /// Its 32 bytes.
    pub fn raw(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// Reads a SubjectPublicKeyInfo in DER.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let bytes = ed25519_dalek::pkcs8::PublicKeyBytes::from_public_key_der(der)
            .map_err(KeyError::Public)?;
        Self::from_raw(bytes.to_bytes())
    }

    /// As SubjectPublicKeyInfo in DER: 44 bytes.
    pub fn to_spki_der(&self) -> Vec<u8> {
        self.key.to_public_key_der().expect("44 bytes fit every DER length").into_vec()
    }

    /// Reads a PEM file, as `openssl pkey -pubout` writes it.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let bytes = ed25519_dalek::pkcs8::PublicKeyBytes::from_public_key_pem(pem)
            .map_err(KeyError::Public)?;
        Self::from_raw(bytes.to_bytes())
    }

    /// As a PEM file, byte for byte what `openssl pkey -pubout` writes.
    pub fn to_pem(&self) -> String {
        self.key.to_public_key_pem(LineEnding::LF).expect("44 bytes fit every PEM file")
    }

    /// Its name.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Whether `signature` over `message` is by this key; strict, as RFC 8032 demands and a little more:
    /// no second signature can be made out of one, and nothing of small order is accepted.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

/// Whether the y-coordinate is less than 2^255 - 19 (RFC 8032, section 5.1.3, step 1). The other second
/// spelling, a sign where x is zero, is only of points of small order. To encode the point again and compare
/// would say the same, at the cost of a tenth of a signature.
fn is_reduced(raw: &[u8; 32]) -> bool {
    let [first, middle @ .., last] = raw;
    *first < 0xed || middle.iter().any(|byte| *byte != 0xff) || last & 0x7f != 0x7f
}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.as_bytes().hash(state);
    }
}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.as_bytes().cmp(other.key.as_bytes())
    }
}

/// Base64 of its SubjectPublicKeyInfo in DER: the body of its PEM file, on one line.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_STANDARD.encode(self.to_spki_der()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::from_spki_der(&BASE64_STANDARD.decode(text).map_err(KeyError::Base64)?)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.raw().serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(D::Error::custom)
        } else {
            Self::from_raw(<[u8; 32]>::deserialize(deserializer)?).map_err(D::Error::custom)
        }
    }
}

/// An ed25519 secret key. Wiped from memory when dropped; printing it shows its public key's id.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key of 32 random bytes (RFC 8032, section 5.1.5).
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        Self(SigningKey::from_bytes(&seed))
    }

    /// Whether the PEM file is encrypted, so that a passphrase must be asked for.
    pub fn is_encrypted(pem: &str) -> bool {
        pkcs8::der::pem::decode_label(pem.as_bytes())
            .is_ok_and(|label| label == EncryptedPrivateKeyInfoRef::PEM_LABEL)
    }

    /// Reads a PEM file as `openssl genpkey` and `openssl pkcs8 -topk8` write it. A passphrase that is
    /// not needed is not looked at.
    pub fn from_pem(pem: &str, passphrase: Option<&str>) -> Result<Self, KeyError> {
        if !Self::is_encrypted(pem) {
            return Self::from_pkcs8(KeypairBytes::from_pkcs8_pem(pem).map_err(KeyError::Secret)?);
        }
        let passphrase = passphrase.ok_or(KeyError::PassphraseNeeded)?;
        let (_, document) =
            SecretDocument::from_pem(pem).map_err(|e| KeyError::Encrypted(e.into()))?;
        let sealed = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
            .map_err(KeyError::Encrypted)?;
        check_cost(&sealed)?;
        // A wrong passphrase shows as wrong padding, or by chance as DER that is none.
        let opened = sealed.decrypt(passphrase).map_err(|error| {
            use pkcs8::Error::{Asn1, EncryptedPrivateKey};
            use pkcs8::pkcs5::Error::DecryptFailed;
            if matches!(error, EncryptedPrivateKey(DecryptFailed) | Asn1(_)) {
                KeyError::Passphrase
            } else {
                KeyError::Encrypted(error)
            }
        })?;
        let info =
            PrivateKeyInfoRef::try_from(opened.as_bytes()).map_err(|_| KeyError::Passphrase)?;
        Self::from_pkcs8(KeypairBytes::try_from(info).map_err(KeyError::Secret)?)
    }

    fn from_pkcs8(pair: KeypairBytes) -> Result<Self, KeyError> {
        // Checks that the public key, where the file has one, belongs to the secret one.
        SigningKey::try_from(pair).map(Self).map_err(KeyError::Secret)
    }

    /// As PKCS#8 in DER, version 1 as `openssl` writes it: 48 bytes.
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        self.document().to_bytes()
    }

    /// As a PEM file, byte for byte what `openssl genpkey -algorithm ed25519` writes.
    pub fn to_pem(&self) -> Zeroizing<String> {
        self.document().to_pem("PRIVATE KEY", LineEnding::LF).expect("48 bytes fit every PEM file")
    }

    /// As a PEM file that `passphrase` opens: PBKDF2-HMAC-SHA256 and AES-256-CBC, what every `openssl`
    /// reads, one that is held to FIPS too. `salt` and `iv` must be random and new.
    pub fn to_encrypted_pem(
        &self,
        passphrase: &str,
        salt: [u8; 16],
        iv: [u8; 16],
    ) -> Result<Zeroizing<String>, KeyError> {
        let encrypt = |error: pkcs8::pkcs5::Error| KeyError::Encrypt(error.into());
        let parameters =
            pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(ENCRYPTION_ROUNDS, &salt, iv)
                .map_err(encrypt)?;
        let sealed = parameters.encrypt(passphrase, self.document().as_bytes()).map_err(encrypt)?;
        let info = EncryptedPrivateKeyInfoRef {
            encryption_algorithm: parameters.into(),
            encrypted_data: pkcs8::der::asn1::OctetStringRef::new(&sealed)
                .map_err(|e| KeyError::Encrypt(e.into()))?,
        };
        SecretDocument::try_from(&info)
            .map_err(KeyError::Encrypt)?
            .to_pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, LineEnding::LF)
            .map_err(|e| KeyError::Encrypt(e.into()))
    }

    fn document(&self) -> SecretDocument {
        let pair = KeypairBytes {
            secret_key: self.0.to_bytes(),
            // Without it the file is version 1.
            public_key: None,
        };
        pair.to_pkcs8_der().expect("48 bytes fit every DER length")
    }

    /// Its public key.
    pub fn public(&self) -> PublicKey {
        PublicKey::named(self.0.verifying_key())
    }

    /// The signature over `message`. Deterministic: the same message has the same signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public().id())
    }
}

/// Refuses a file whose key derivation would occupy us for minutes or take memory that is not there.
fn check_cost(sealed: &EncryptedPrivateKeyInfoRef<'_>) -> Result<(), KeyError> {
    let Some(parameters) = sealed.encryption_algorithm.pbes2() else {
        // PBES1, which is not compiled in: decryption refuses it by name.
        return Ok(());
    };
    let within = if let Some(pbkdf2) = parameters.kdf.pbkdf2() {
        pbkdf2.iteration_count <= MAX_ROUNDS
    } else if let Some(scrypt) = parameters.kdf.scrypt() {
        let memory = scrypt.cost_parameter.saturating_mul(u64::from(scrypt.block_size) * 128);
        // Zero is no power of two either; the crate below would stumble over it.
        scrypt.cost_parameter.is_power_of_two()
            && memory <= MAX_SCRYPT_MEMORY
            && scrypt.parallelization <= MAX_SCRYPT_PASSES
    } else {
        false
    };
    if within { Ok(()) } else { Err(KeyError::Costly) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    fn hex32(text: &str) -> [u8; 32] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    /// RFC 8410, section 10.3: the same key as version 1 and, with its public key, as version 2.
    const RFC_8410_V1: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    const RFC_8410_V2: &str = "-----BEGIN PRIVATE KEY-----\n\
        MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB\n\
        Z9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PRIVATE KEY-----\n";
    /// RFC 8410, section 10.1.
    const RFC_8410_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";

    /// The library's own encoding is the measure, for each y around the field's order and beyond.
    #[test]
    fn what_is_not_reduced_is_what_is_not_encoded_in_that_way() {
        let mut points = 0;
        for (first, last) in (0xa0_u8..=0xff).flat_map(|y| [(y, 0x7f), (y, 0xff), (y, 0x7e)]) {
            let mut raw = [0xff; 32];
            (raw[0], raw[31]) = (first, last);
            let Ok(key) = VerifyingKey::from_bytes(&raw) else { continue };
            let canonical = VerifyingKey::from(key.to_edwards()).to_bytes() == raw;
            assert_eq!(PublicKey::from_raw(raw).is_ok(), canonical && !key.is_weak(), "{raw:?}");
            points += 1;
        }
        assert!(points > 100, "half of all y are of points");
    }

    #[test]
    fn files_of_rfc_8410() {
        let key = SecretKey::from_pem(RFC_8410_V1, None).unwrap();
        assert_eq!(key.to_pem().as_str(), RFC_8410_V1);
        assert_eq!(key.to_pkcs8_der().len(), 48);
        assert_eq!(key.public().to_pem(), RFC_8410_PUBLIC);
        assert_eq!(PublicKey::from_pem(RFC_8410_PUBLIC).unwrap(), key.public());
        let with_public = SecretKey::from_pem(RFC_8410_V2, None).unwrap();
        assert_eq!(with_public.public(), key.public());
        // The public key of another secret key inside the file is refused.
        let crossed = RFC_8410_V2.replace("INTuctv5", "INTuctv6");
        assert!(matches!(SecretKey::from_pem(&crossed, None), Err(KeyError::Secret(_))));
    }

    #[test]
    fn signatures_of_rfc_8032() {
        // Section 7.1, tests 1 to 3: secret key, public key, message, signature.
        let vectors = [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                "72",
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
            (
                "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
                "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
                "af82",
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
            ),
        ];
        for (secret, public, message, signature) in vectors {
            let key = SecretKey::from_seed(hex32(secret));
            let message = hex::decode(message).unwrap();
            assert_eq!(hex::encode(key.public().raw()), public);
            let signed = key.sign(&message);
            assert_eq!(hex::encode(signed), signature);
            assert!(key.public().verify(&message, &signed));
            for position in 0..64 {
                let mut bent = signed;
                bent[position] ^= 1;
                assert!(!key.public().verify(&message, &bent), "byte {position}");
            }
            assert!(!key.public().verify(b"another", &signed));
        }
    }

    #[test]
    fn a_signature_has_no_second_form() {
        // s + L, with L the order of the base point, passes verifiers that forget RFC 8032's range check.
        let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
        let key = SecretKey::from_seed([1; 32]);
        let mut signature = key.sign(b"text");
        let mut carry = 0;
        for (byte, add) in signature[32..].iter_mut().zip(hex32(order)) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            *byte = u8::try_from(sum & 0xff).unwrap();
            carry = sum >> 8;
        }
        assert_eq!(carry, 0, "it still fits 32 bytes");
        assert!(!key.public().verify(b"text", &signature));
    }

    #[test]
    fn points_that_are_nobodys_key_are_refused() {
        let refused = [
            // Small order: the neutral element, orders 2, 4 and 8.
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0000000000000000000000000000000000000000000000000000000000000080",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
            // Second spellings: y = p + 1 of the neutral element, and x = 0 with a sign.
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "0100000000000000000000000000000000000000000000000000000000000080",
            // A second spelling of a point of large order: y = p + 3, which is 3.
            "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            // No point at all: y = 2.
            "0200000000000000000000000000000000000000000000000000000000000000",
        ];
        for text in refused {
            assert!(matches!(PublicKey::from_raw(hex32(text)), Err(KeyError::Point)), "{text}");
        }
        // The canonical spelling of y = 3 is a point: it was the spelling that was refused.
        let mut three = [0; 32];
        three[0] = 3;
        PublicKey::from_raw(three).unwrap();
    }

    #[test]
    fn documents_and_frames_read_back_and_refuse_bad_points() {
        let key = SecretKey::from_seed([1; 32]).public();
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(text, format!("\"{key}\""));
        assert_eq!(serde_json::from_str::<PublicKey>(&text).unwrap(), key);
        let frame = crate::codec::encode(&key).unwrap();
        assert_eq!(frame, key.raw());
        assert_eq!(crate::codec::decode::<PublicKey>(&frame).unwrap(), key);
        assert!(crate::codec::decode::<PublicKey>(&[0; 32]).is_err());

        let id = key.id();
        assert_eq!(id.digest(), Digest::of(&key.to_spki_der()));
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{id}\""));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(crate::codec::encode(&id).unwrap(), id.digest().as_bytes());
    }

    #[test]
    fn other_algorithms_and_broken_files_are_refused() {
        let x25519 = "-----BEGIN PUBLIC KEY-----\n\
            MCowBQYDK2VuAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
            -----END PUBLIC KEY-----\n";
        for wrong in ["", "text", RFC_8410_V1, x25519, &RFC_8410_PUBLIC[..80]] {
            assert!(matches!(PublicKey::from_pem(wrong), Err(KeyError::Public(_))), "{wrong}");
        }
        for wrong in ["", "text", RFC_8410_PUBLIC, &RFC_8410_V1[..80]] {
            assert!(
                matches!(SecretKey::from_pem(wrong, None), Err(KeyError::Secret(_))),
                "{wrong}"
            );
        }
        let mut der = SecretKey::from_seed([1; 32]).public().to_spki_der();
        der.push(0);
        assert!(PublicKey::from_spki_der(&der).is_err(), "trailing bytes");
    }

    #[test]
    fn printing_a_secret_key_shows_no_secret() {
        let key = SecretKey::from_seed([1; 32]);
        assert_eq!(format!("{key:?}"), format!("SecretKey({})", key.public().id()));
    }

    /// Of the seed of 32 ones, "correct horse", with few rounds: `openssl pkcs8 -topk8 -iter 1000`.
    const SEALED_PBKDF2: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n\
        MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjDwk0xLcYqiAICA+gw\n\
        DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEDltqpSP3DhXUglNjUA7VB8EQAey\n\
        /TtBGP8wFFm9mOvPcB4cHZNB0dxgyiBWNU4wEyvOcajPlQLuimBoHcPQUjuphLuB\n\
        XEwDecwZ5pBJ6ispBVk=\n\
        -----END ENCRYPTED PRIVATE KEY-----\n";
    /// The same with `-scrypt`, N = 16, r = 8, p = 1.
    const SEALED_SCRYPT: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n\
        MIGSME4GCSqGSIb3DQEFDTBBMCAGCSsGAQQB2kcECzATBAjIerJkPzDxGQIBEAIB\n\
        CAIBATAdBglghkgBZQMEASoEEFjW06XxFsSt+piV5p3f+GwEQN2lN92MyFjTdvJ3\n\
        htZk3Md/gU5/rsvnJjEUbzKxsvAJFSnFWhLL6VYNW47h05OaDtastJkITH+JO0U2\n\
        bu4mjvk=\n\
        -----END ENCRYPTED PRIVATE KEY-----\n";

    #[test]
    fn opens_what_openssl_sealed() {
        let key = SecretKey::from_seed([1; 32]);
        for sealed in [SEALED_PBKDF2, SEALED_SCRYPT] {
            assert!(SecretKey::is_encrypted(sealed));
            let opened = SecretKey::from_pem(sealed, Some("correct horse")).unwrap();
            assert_eq!(opened.public(), key.public());
            assert!(matches!(
                SecretKey::from_pem(sealed, Some("wrong horse")),
                Err(KeyError::Passphrase)
            ));
            assert!(matches!(SecretKey::from_pem(sealed, None), Err(KeyError::PassphraseNeeded)));
        }
        assert!(!SecretKey::is_encrypted(RFC_8410_V1));
        // A passphrase that is not needed does no harm.
        SecretKey::from_pem(RFC_8410_V1, Some("unneeded")).unwrap();
    }

    /// A sealed key whose key derivation has these parameters.
    fn sealed_with(kdf: pbes2::Kdf) -> String {
        let parameters = pbes2::Parameters {
            kdf,
            encryption: pbes2::EncryptionScheme::Aes256Cbc { iv: [0; 16] },
        };
        let info = EncryptedPrivateKeyInfoRef {
            encryption_algorithm: parameters.into(),
            encrypted_data: pkcs8::der::asn1::OctetStringRef::new(&[0; 64]).unwrap(),
        };
        let document = SecretDocument::try_from(&info).unwrap();
        let pem = document.to_pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, LineEnding::LF);
        pem.unwrap().to_string()
    }

    #[test]
    fn a_file_that_costs_too_much_to_open_is_not_opened() {
        let rounds = pbes2::Pbkdf2Params::hmac_sha256(MAX_ROUNDS + 1, &[0; 16]).unwrap();
        let scrypt = |cost_parameter, block_size, parallelization| pbes2::ScryptParams {
            salt: [0; 16][..].try_into().unwrap(),
            cost_parameter,
            block_size,
            parallelization,
            key_length: None,
        };
        let costly: [pbes2::Kdf; 5] = [
            rounds.into(),
            scrypt(1 << 20, 8, 1).into(),
            scrypt(1 << 14, 8, 17).into(),
            scrypt(u64::MAX, 8, 1).into(),
            scrypt(0, 8, 1).into(),
        ];
        for kdf in costly {
            let sealed = sealed_with(kdf.clone());
            let result = SecretKey::from_pem(&sealed, Some("text"));
            assert!(matches!(result, Err(KeyError::Costly)), "{kdf:?}: {result:?}");
        }
        // Sizes of nothing are within the limits and must fail, not panic.
        for kdf in [scrypt(1, 8, 1), scrypt(16, 0, 1), scrypt(16, 8, 0)] {
            assert!(
                SecretKey::from_pem(&sealed_with(kdf.into()), Some("text")).is_err(),
                "{kdf:?}"
            );
        }
    }

    #[test]
    fn our_sealed_files_read_back_and_are_what_their_salt_makes_them() {
        let key = SecretKey::from_seed([1; 32]);
        let sealed = key.to_encrypted_pem("correct horse", [2; 16], [3; 16]).unwrap();
        let again = key.to_encrypted_pem("correct horse", [2; 16], [3; 16]).unwrap();
        assert_eq!(sealed, again, "nothing random inside");
        let opened = SecretKey::from_pem(&sealed, Some("correct horse")).unwrap();
        assert_eq!(opened.to_pem(), key.to_pem());
    }

    /// Runs `openssl`; `None`, said aloud, where there is none.
    fn openssl(arguments: &[&str], input: &str) -> Option<String> {
        let child = Command::new("openssl")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            println!("SKIPPED: no `openssl` to compare with");
            return None;
        };
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments:?}: {errors}");
        Some(String::from_utf8(output.stdout).unwrap())
    }

    #[test]
    fn openssl_and_we_write_the_same_bytes() {
        let Some(theirs) = openssl(&["genpkey", "-algorithm", "ed25519"], "") else {
            return;
        };
        let key = SecretKey::from_pem(&theirs, None).unwrap();
        assert_eq!(key.to_pem().as_str(), theirs);
        let public = openssl(&["pkey", "-pubout"], &theirs).unwrap();
        assert_eq!(key.public().to_pem(), public);
        assert_eq!(PublicKey::from_pem(&public).unwrap(), key.public());
        let again = openssl(&["pkey"], &key.to_pem()).unwrap();
        assert_eq!(again, theirs);
    }

    #[test]
    fn openssl_and_we_open_each_others_sealed_files() {
        let key = SecretKey::from_seed([1; 32]);
        let sealed = key.to_encrypted_pem("correct horse", [2; 16], [3; 16]).unwrap();
        let open = ["pkey", "-passin", "pass:correct horse"];
        let Some(opened) = openssl(&open, &sealed) else {
            return;
        };
        assert_eq!(opened, key.to_pem().as_str());
        let seal = ["pkcs8", "-topk8", "-passout", "pass:correct horse"];
        for options in [&[][..], &["-scrypt"], &["-v2", "aes-128-cbc"]] {
            let theirs = openssl(&[&seal, options].concat(), &key.to_pem()).unwrap();
            let opened = SecretKey::from_pem(&theirs, Some("correct horse")).unwrap();
            assert_eq!(opened.public(), key.public(), "{options:?}");
        }
        // A cipher of the past is refused as such, and not blamed on the passphrase.
        let old = openssl(&[&seal, &["-v2", "des3"][..]].concat(), &key.to_pem()).unwrap();
        let refused = SecretKey::from_pem(&old, Some("correct horse"));
        assert!(matches!(refused, Err(KeyError::Encrypted(_))), "{refused:?}");
    }
}
