//! DSSE v1 envelopes: signatures over the exact payload bytes.
//!
//! The format is secure-systems-lab's DSSE 1.0: JSON with a base64 payload, its type, and signatures over
//! the pre-authentication encoding ([`pae`]). Signatures are checked on the bytes as received; nothing is
//! ever re-encoded to be checked. An envelope's identity is the SHA-256 of that encoding, so that
//! wrapping the same payload again, or adding a signature, does not make another statement.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::Digest;
use crate::json;
use crate::key::{KeyId, PublicKey, SecretKey};

/// Largest envelope in bytes: a policy with two thousand keys is a quarter of it.
pub const MAX_ENVELOPE: usize = 2 * 1024 * 1024;

/// Most signatures on one envelope: a root threshold of a large agency, twice over.
pub const MAX_SIGNATURES: usize = 32;

/// An envelope: payload, type and signatures, none of them checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signatures: Vec<(KeyId, [u8; 64])>,
}

/// Why bytes are not an envelope, or its signatures not good.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Longer than [`MAX_ENVELOPE`].
    #[error("read an envelope of {0} bytes: the limit is {MAX_ENVELOPE}")]
    TooLong(usize),
    /// Not JSON of the right shape. What and where is part of the text, so it is not the source as well.
    #[error("read an envelope as DSSE JSON: {0}")]
    Json(serde_json::Error),
    /// Not canonical, padded, standard base64.
    #[error("read the envelope's {0}: expected padded standard base64")]
    Base64(&'static str),
    /// None, or more than [`MAX_SIGNATURES`].
    #[error("accept {0} signatures: expected 1 to {MAX_SIGNATURES}")]
    Count(usize),
    /// Two signatures with one key id.
    #[error("accept two signatures by the key {0}")]
    Repeated(KeyId),
    /// A signature of a known key that does not verify.
    #[error("verify the signature by the key {0}")]
    Signature(KeyId),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeJson<'a> {
    #[serde(borrow)]
    payload: Cow<'a, str>,
    #[serde(borrow, rename = "payloadType")]
    payload_type: Cow<'a, str>,
    #[serde(borrow)]
    signatures: Vec<Object<SignatureJson<'a>>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureJson<'a> {
    keyid: KeyId,
    #[serde(borrow)]
    sig: Cow<'a, str>,
}

/// A JSON object and nothing else: serde takes an array of the fields' values for a struct as well, which
/// no other reader of DSSE does.
#[derive(Serialize)]
#[serde(transparent)]
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Fields(PhantomData))
    }
}

/// The pre-authentication encoding: `DSSEv1 <length of type> <type> <length of payload> <payload>`.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = pae_head(payload_type, payload);
    bytes.extend_from_slice(payload);
    bytes
}

/// What stands before the payload in it.
fn pae_head(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes()
}

impl Envelope {
    /// An envelope without signatures.
    pub fn unsigned(payload_type: &str, payload: Vec<u8>) -> Self {
        Self { payload_type: payload_type.to_owned(), payload, signatures: Vec::new() }
    }

    /// Reads the JSON form. At least one signature must be there; none is verified.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_ENVELOPE {
            return Err(EnvelopeError::TooLong(bytes.len()));
        }
        let Object(json): Object<EnvelopeJson<'_>> =
            json::from_slice(bytes).map_err(EnvelopeError::Json)?;
        if json.signatures.is_empty() || json.signatures.len() > MAX_SIGNATURES {
            return Err(EnvelopeError::Count(json.signatures.len()));
        }
        let payload = BASE64_STANDARD
            .decode(json.payload.as_bytes())
            .map_err(|_| EnvelopeError::Base64("payload"))?;
        let mut signatures = Vec::with_capacity(json.signatures.len());
        let mut keys = BTreeSet::new();
        for Object(signature) in json.signatures {
            let bytes = BASE64_STANDARD.decode(signature.sig.as_bytes()).ok();
            let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
            if !keys.insert(signature.keyid) {
                return Err(EnvelopeError::Repeated(signature.keyid));
            }
            signatures.push((signature.keyid, bytes.ok_or(EnvelopeError::Base64("signature"))?));
        }
        Ok(Self { payload_type: json.payload_type.into_owned(), payload, signatures })
    }

    /// The JSON form, compact.
    pub fn to_bytes(&self) -> Vec<u8> {
        let signatures = self.signatures.iter().map(|(keyid, sig)| {
            Object(SignatureJson { keyid: *keyid, sig: BASE64_STANDARD.encode(sig).into() })
        });
        let json = EnvelopeJson {
            payload: BASE64_STANDARD.encode(&self.payload).into(),
            payload_type: self.payload_type.as_str().into(),
            signatures: signatures.collect(),
        };
        serde_json::to_vec(&json).expect("an envelope is plain text in JSON")
    }

    /// The payload's type.
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signatures, unchecked.
    pub fn signatures(&self) -> &[(KeyId, [u8; 64])] {
        &self.signatures
    }

    /// What the signatures are over.
    pub fn pae(&self) -> Vec<u8> {
        pae(&self.payload_type, &self.payload)
    }

    /// The identity: SHA-256 of [`Envelope::pae`].
    pub fn id(&self) -> Digest {
        Digest::of_parts([&*pae_head(&self.payload_type, &self.payload), &self.payload])
    }

    /// Adds the signature of `key`, in place of an earlier one of the same key.
    pub fn sign(&mut self, key: &SecretKey) {
        let id = key.public().id();
        let signature = key.sign(&self.pae());
        self.signatures.retain(|(other, _)| *other != id);
        self.signatures.push((id, signature));
    }

    /// The keys, of those that `lookup` knows, whose signatures verify. A signature of a known key that
    /// does not verify is an error; one of an unknown key is not counted.
    pub fn valid_signers(
        &self,
        lookup: impl Fn(&KeyId) -> Option<PublicKey>,
    ) -> Result<BTreeSet<KeyId>, EnvelopeError> {
        let pae = self.pae();
        let mut valid = BTreeSet::new();
        for (id, signature) in &self.signatures {
            let Some(key) = lookup(id) else { continue };
            if key.id() != *id || !key.verify(&pae, signature) {
                return Err(EnvelopeError::Signature(*id));
            }
            valid.insert(*id);
        }
        Ok(valid)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed([seed; 32])
    }

    #[test]
    fn pre_authentication_encoding_of_the_specification() {
        // The example of the DSSE protocol text.
        let encoded = pae("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn signs_reads_back_and_finds_its_signers() {
        let mut envelope = Envelope::unsigned("text/plain", b"hello".to_vec());
        envelope.sign(&key(1));
        envelope.sign(&key(2));
        let read = Envelope::parse(&envelope.to_bytes()).unwrap();
        assert_eq!(read, envelope);
        let known = key(1).public();
        let signers = read.valid_signers(|id| (*id == known.id()).then(|| known.clone())).unwrap();
        assert_eq!(signers, BTreeSet::from([known.id()]), "unknown keys are not counted");
        let mut more = read.clone();
        more.sign(&key(3));
        assert_eq!(more.id(), read.id(), "signatures are not part of the identity");
    }

    #[test]
    fn signing_again_replaces_and_a_bent_signature_is_an_error_not_a_miss() {
        let mut envelope = Envelope::unsigned("text/plain", b"hello".to_vec());
        envelope.sign(&key(1));
        envelope.sign(&key(2));
        let before = envelope.signatures().to_vec();
        envelope.sign(&key(1));
        assert_eq!(envelope.signatures(), [before[1], before[0]]);

        let mut bent = envelope.clone();
        bent.signatures[1].1[0] ^= 1;
        let known =
            |id: &KeyId| [key(1).public(), key(2).public()].into_iter().find(|k| k.id() == *id);
        let error = bent.valid_signers(known).unwrap_err();
        assert!(matches!(error, EnvelopeError::Signature(id) if id == key(1).public().id()));
        // Nobody counts it who does not know the key.
        let two = key(2).public();
        let signers = bent.valid_signers(|id| (*id == two.id()).then(|| two.clone())).unwrap();
        assert_eq!(signers, BTreeSet::from([two.id()]));
        // A lookup that answers with another key than it was asked for makes nobody a signer.
        assert!(envelope.valid_signers(|_| Some(key(3).public())).is_err());
    }

    #[test]
    fn every_flipped_byte_of_payload_and_type_breaks_the_signature() {
        let mut envelope = Envelope::unsigned("text/plain", b"hello".to_vec());
        envelope.sign(&key(1));
        let mut all = Vec::new();
        for position in 0..5 {
            let mut bent = envelope.clone();
            bent.payload[position] ^= 1;
            all.push(bent);
        }
        all.push(Envelope { payload_type: "text/plaim".to_owned(), ..envelope.clone() });
        // The lengths in the encoding keep bytes from moving between the type and the payload.
        all.push(Envelope {
            payload_type: "text/plain 5 hel".to_owned(),
            payload: b"lo".to_vec(),
            ..envelope
        });
        for bent in all {
            let error = bent.valid_signers(|_| Some(key(1).public())).unwrap_err();
            assert!(matches!(error, EnvelopeError::Signature(_)), "{bent:?}");
        }
    }

    /// Version 1 of the stored form: the log's leaves are hashes of these bytes. The signature and the
    /// digests were made with `openssl`.
    #[test]
    fn golden_bytes() {
        let mut envelope = Envelope::unsigned("text/plain", b"hello".to_vec());
        envelope.sign(&key(1));
        let golden = concat!(
            r#"{"payload":"aGVsbG8=","payloadType":"text/plain","signatures":[{"keyid":""#,
            "fd110d301d2f077de1414b8f99f441b1403fab207b2052fbd2c065e4ee8e7dc2",
            r#"","sig":""#,
            "Em2FR/JKWWA0O5wk0PDZNUOMjRcxen+2s14DUpadcDz9G+YmVSGiWpZbiPXGKeb/RiJiYj0OfAhk1aHEj+fvAw==",
            r#""}]}"#,
        );
        assert_eq!(String::from_utf8(envelope.to_bytes()).unwrap(), golden);
        assert_eq!(
            envelope.id().to_string(),
            "281fffacf48ee9bb9064f55bb170cd4a233719881fdf20fbf075fc8091f4933c"
        );
    }

    #[test]
    fn the_json_of_other_tools_is_read() {
        let mut envelope = Envelope::unsigned("text/plain", b"hello".to_vec());
        envelope.sign(&key(1));
        let value: serde_json::Value = serde_json::from_slice(&envelope.to_bytes()).unwrap();
        let pretty = serde_json::to_vec_pretty(&value).unwrap();
        assert_eq!(Envelope::parse(&pretty).unwrap(), envelope);
    }

    #[test]
    fn the_longest_envelope_is_one_and_a_byte_more_is_not() {
        let mut envelope = Envelope::unsigned("text/plain", b"hello".to_vec());
        envelope.sign(&key(1));
        let mut bytes = envelope.to_bytes();
        // White space after it says nothing.
        bytes.resize(MAX_ENVELOPE, b' ');
        assert_eq!(Envelope::parse(&bytes).unwrap(), envelope);
        bytes.push(b' ');
        assert!(
            matches!(Envelope::parse(&bytes), Err(EnvelopeError::TooLong(it)) if it == MAX_ENVELOPE + 1)
        );
    }

    /// What a refusal is about.
    #[derive(Debug, PartialEq)]
    enum Fault {
        Json,
        Base64,
        Count,
        Repeated,
    }

    fn fault(text: &str) -> Option<Fault> {
        match Envelope::parse(text.as_bytes()) {
            Err(EnvelopeError::Json(_)) => Some(Fault::Json),
            Err(EnvelopeError::Base64(_)) => Some(Fault::Base64),
            Err(EnvelopeError::Count(_)) => Some(Fault::Count),
            Err(EnvelopeError::Repeated(_)) => Some(Fault::Repeated),
            Ok(_) | Err(EnvelopeError::TooLong(_) | EnvelopeError::Signature(_)) => None,
        }
    }

    #[test]
    fn refuses_json_of_another_shape() {
        let mut envelope = Envelope::unsigned("text/plain", b"hello".to_vec());
        envelope.sign(&key(1));
        let good = String::from_utf8(envelope.to_bytes()).unwrap();
        let one = good.split("\"signatures\":[").nth(1).unwrap().trim_end_matches("]}");
        let sig = BASE64_STANDARD.encode(envelope.signatures()[0].1);
        let id = key(1).public().id().to_string();
        let bad = [
            ("nothing", String::new()),
            ("an empty object", "{}".to_owned()),
            ("a field more", good.replace("{\"payload\"", "{\"more\":1,\"payload\"")),
            ("a field twice", good.replace("{\"payload\"", "{\"payload\":\"\",\"payload\"")),
            ("a signature's field more", good.replace("{\"keyid\"", "{\"more\":1,\"keyid\"")),
            ("a signature's field twice", good.replace("{\"keyid\"", "{\"sig\":\"\",\"keyid\"")),
            ("something after it", format!("{good} {good}")),
            ("an array for an envelope", format!("[\"aGVsbG8=\",\"text/plain\",[{one}]]")),
            ("an array for a signature", good.replace(one, &format!("[\"{id}\",\"{sig}\"]"))),
            ("an upper-case key id", good.replace(&id, &id.to_uppercase())),
            ("a short key id", good.replace(&id, &id[..12])),
        ];
        for (what, text) in bad {
            assert_ne!(text, good, "{what}");
            assert_eq!(fault(&text), Some(Fault::Json), "{what}");
        }
    }

    #[test]
    fn refuses_a_second_spelling_of_the_same_bytes() {
        let mut envelope = Envelope::unsigned("text/plain", b"hello".to_vec());
        envelope.sign(&key(1));
        let good = String::from_utf8(envelope.to_bytes()).unwrap();
        let sig = BASE64_STANDARD.encode(envelope.signatures()[0].1);
        assert!(sig.contains('+') || sig.contains('/'), "the URL-safe spelling differs");
        let bad = [
            ("no padding", good.replace("aGVsbG8=", "aGVsbG8")),
            ("bits left over", good.replace("aGVsbG8=", "aGVsbG9=")),
            ("white space in it", good.replace("aGVsbG8=", "aGVs bG8=")),
            ("the URL-safe alphabet", good.replace(&sig, &sig.replace('+', "-").replace('/', "_"))),
            ("a short signature", good.replace(&sig, "AAAA")),
            ("an empty signature", good.replace(&sig, "")),
            ("a long signature", good.replace(&sig, &BASE64_STANDARD.encode([0; 65]))),
        ];
        for (what, text) in bad {
            assert_ne!(text, good, "{what}");
            assert_eq!(fault(&text), Some(Fault::Base64), "{what}");
        }
    }

    #[test]
    fn signatures_are_bounded_and_one_a_key() {
        let mut envelope = Envelope::unsigned("text/plain", b"hello".to_vec());
        assert_eq!(fault(&String::from_utf8(envelope.to_bytes()).unwrap()), Some(Fault::Count));
        for seed in 0..32 {
            envelope.sign(&key(seed));
        }
        assert_eq!(Envelope::parse(&envelope.to_bytes()).unwrap(), envelope);
        envelope.sign(&key(32));
        assert_eq!(fault(&String::from_utf8(envelope.to_bytes()).unwrap()), Some(Fault::Count));
        envelope.signatures.truncate(2);
        envelope.signatures[1].0 = envelope.signatures[0].0;
        assert_eq!(fault(&String::from_utf8(envelope.to_bytes()).unwrap()), Some(Fault::Repeated));
        assert!(matches!(
            Envelope::parse(&vec![b' '; MAX_ENVELOPE + 1]),
            Err(EnvelopeError::TooLong(_))
        ));
    }

    proptest! {
        #[test]
        fn bent_json_is_refused_or_another_envelope(at in 0usize..400, byte in any::<u8>()) {
            let mut envelope = Envelope::unsigned("text/plain", b"hello".to_vec());
            envelope.sign(&key(1));
            let good = envelope.to_bytes();
            let at = at % good.len();
            let mut bent = good.clone();
            bent[at] = byte;
            if let Ok(read) = Envelope::parse(&bent) {
                prop_assert_eq!(read == envelope, bent == good);
            }
        }
    }
}
