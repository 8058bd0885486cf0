//! What people and hosts sign, and what they name.

use std::str::FromStr;
use std::sync::OnceLock;

use cutover_shared::authorise::{self, HostFacts, Question};
use cutover_shared::digest::Digest;
use cutover_shared::dsse::{Envelope, MAX_ENVELOPE, MAX_SIGNATURES};
use cutover_shared::fold::State;
use cutover_shared::key::{KeyId, PublicKey, SecretKey};
use cutover_shared::log::checkpoint as notes;
use cutover_shared::name::Name;
use cutover_shared::policy::PolicyDocument;
use cutover_shared::statement::{PAYLOAD_TYPE, Phase, Statement};
use cutover_shared::time::{Time, span};

use super::wire::policy;

/// The people and hosts of `tests/attacks/`, whose keys are made from their names.
const OWNERS: [&str; 12] =
    ["root", "sue", "lib", "sec", "bea", "bob", "max", "ops", "log", "s1", "p1", "grant"];

fn keys() -> &'static [SecretKey] {
    static KEYS: OnceLock<Vec<SecretKey>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let seeds = OWNERS.iter().map(|owner| *Digest::of(owner.as_bytes()).as_bytes());
        seeds.map(SecretKey::from_seed).collect()
    })
}

pub(super) fn envelope(bytes: &[u8]) {
    let Ok(envelope) = Envelope::parse(bytes) else { return };
    assert!(bytes.len() <= MAX_ENVELOPE && envelope.payload().len() <= bytes.len());
    assert!((1..=MAX_SIGNATURES).contains(&envelope.signatures().len()));
    let again = Envelope::parse(&envelope.to_bytes()).expect("what was written is read");
    assert_eq!(again, envelope);
    assert_eq!(again.id(), envelope.id());
    // Nobody signs by chance.
    let known = |id: &KeyId| keys().iter().map(SecretKey::public).find(|key| key.id() == *id);
    if let Ok(signers) = envelope.valid_signers(known) {
        assert!(signers.len() <= envelope.signatures().len());
    }
}

/// A payload that somebody signs: the first byte says who.
fn signed(bytes: &[u8]) -> Option<Envelope> {
    let (owner, payload) = bytes.split_first()?;
    let mut envelope = Envelope::unsigned(PAYLOAD_TYPE, payload.to_vec());
    envelope.sign(&keys()[usize::from(*owner) % keys().len()]);
    Some(envelope)
}

/// There is one reading of a statement, and it is written as it was.
pub(super) fn statement(bytes: &[u8]) {
    let Some(envelope) = signed(bytes) else { return };
    let Ok(statement) = Statement::read(&envelope) else { return };
    let written: serde_json::Value =
        serde_json::from_slice(&statement.to_payload()).expect("a statement is JSON");
    let read: serde_json::Value =
        serde_json::from_slice(envelope.payload()).expect("what was read is JSON");
    assert_eq!(written, read);
}

/// A log: the payloads of its entries, a line each, whose first byte says who signs.
pub(super) fn log(bytes: &[u8]) {
    let (_, first) = policy();
    let mut state = State::empty();
    state.apply(0, first).expect("the policy begins the log");
    for line in bytes.split(|byte| *byte == b'\n').take(40) {
        let Some(envelope) = signed(line) else { continue };
        let index = state.next_index();
        let bytes = envelope.to_bytes();
        let examined = state.examine(index, &bytes).map(|examined| examined.id());
        let before = state.contains(&envelope.id());
        let applied = state.apply(index, &bytes);
        assert_eq!(applied, examined, "what was examined is what is applied");
        assert_eq!(state.contains(&envelope.id()), before || applied.is_ok());
    }
    let now = "2026-03-02T12:20:00Z".parse().expect("an instant");
    for case in state.cases() {
        for booking in case.bookings.keys() {
            for (_, record) in state.hosts() {
                let host = HostFacts::from_log(record, &case.release.says().application);
                let phase = Phase::Start;
                let question = Question { state: &state, host: &host, order: *booking, phase, now };
                let all = authorise::explain(&question);
                let first = authorise::judge(&question).err();
                assert_eq!(first, all.into_iter().next().map(|(_, refusal)| refusal));
            }
        }
    }
}

pub(super) fn policy_json(bytes: &[u8]) {
    if let Ok(document) = serde_json::from_slice::<PolicyDocument>(bytes) {
        judged(&document);
    }
}

pub(super) fn policy_toml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(document) = toml::from_str::<PolicyDocument>(text) else { return };
    judged(&document);
    let written = toml::to_string(&document).expect("a policy is a TOML table");
    assert_eq!(toml::from_str::<PolicyDocument>(&written).expect("it is read"), document);
}

fn judged(document: &PolicyDocument) {
    let _ = document.faults();
    let written = serde_json::to_vec(document).expect("a policy is JSON");
    let again: PolicyDocument = serde_json::from_slice(&written).expect("it is read");
    assert_eq!(again, *document);
}

pub(super) fn checkpoint(bytes: &[u8]) {
    let log = &policy().0.document().log;
    let witness = &keys()[0];
    let now = "2026-03-02T12:20:00Z".parse().expect("an instant");
    let verified = notes::verify(bytes, &log.origin, &log.key);
    if let Ok(cosigned) = notes::cosign(bytes, "witness.test", now, witness) {
        assert!(cosigned.len() <= notes::MAX_NOTE);
        let key = witness.public();
        let times = notes::cosignatures(&cosigned, &[("witness.test", &key)]);
        assert_eq!(times.expect("the witness's own line").get(&key.id()), Some(&now));
        assert_eq!(notes::verify(&cosigned, &log.origin, &log.key), verified);
    }
}

pub(super) fn key(bytes: &[u8]) {
    if let Ok(key) = PublicKey::from_spki_der(bytes) {
        assert_eq!(key.to_spki_der(), bytes, "one spelling");
    }
    if let Some(raw) = bytes.first_chunk::<32>()
        && let Ok(key) = PublicKey::from_raw(*raw)
    {
        assert_eq!(key.raw(), *raw, "one spelling");
        let signature = bytes.get(32..96).and_then(|it| it.try_into().ok()).unwrap_or([0; 64]);
        assert!(!key.verify(bytes, &signature), "nobody signs by chance");
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(key) = PublicKey::from_pem(text) {
        assert_eq!(PublicKey::from_pem(&key.to_pem()).expect("it is read"), key);
    }
    if let Ok(key) = SecretKey::from_pem(text, None) {
        let again = SecretKey::from_pem(&key.to_pem(), None).expect("it is read");
        assert_eq!(again.public(), key.public());
    }
}

/// Names, digests, keys, instants and durations.
pub(super) fn words(bytes: &[u8]) {
    fn comes_back<T: FromStr + ToString + PartialEq>(text: &str) {
        if let Ok(value) = text.parse::<T>() {
            assert!(value.to_string().parse::<T>().is_ok_and(|again| again == value), "{text:?}");
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    comes_back::<Name>(text);
    comes_back::<Digest>(text);
    comes_back::<KeyId>(text);
    comes_back::<PublicKey>(text);
    comes_back::<Time>(text);
    let _ = span::parse(text);
    let _ = cutover_shared::rollout::waves::WaveSpec::from_str(text);
    let _ = cutover_shared::package::path::EntryPath::new(text);
}
