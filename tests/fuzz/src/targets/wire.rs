//! What comes over a connection.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use cutover_applier_core::{HostSettings, JOIN_PREFIX, Saved, read_join};
use cutover_shared::codec::{self, FRAME_HEADER, MAX_FRAME};
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::evidence::{self, Evidence, Trust};
use cutover_shared::log::TreeHead;
use cutover_shared::policy::TrustPolicy;
use cutover_shared::protocol::{Directive, FromApplier, Request, Response, ToApplier};
use cutover_shared::statement::{Says, Statement};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The policy of `tests/attacks/`.
pub(super) fn policy() -> &'static (TrustPolicy, Vec<u8>) {
    static POLICY: OnceLock<(TrustPolicy, Vec<u8>)> = OnceLock::new();
    POLICY.get_or_init(|| {
        let bytes = include_bytes!("../../../attacks/policy.json").to_vec();
        let envelope = Envelope::parse(&bytes).expect("an envelope");
        (TrustPolicy::pinned(&envelope, &envelope.id()).expect("a good policy"), bytes)
    })
}

/// What is read is written, and read as the same.
fn comes_back<T: DeserializeOwned + Serialize>(body: &[u8]) {
    let Ok(value) = codec::decode::<T>(body) else { return };
    let written = codec::encode(&value).expect("what was decoded is encoded");
    assert!(written.len() <= MAX_FRAME);
    let again: T = codec::decode(&written).expect("what was encoded is decoded");
    assert_eq!(codec::encode(&again).expect("once more"), written);
}

/// The first byte says which type is expected.
fn framed(bytes: &[u8], types: &[fn(&[u8])]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let Some((header, body)) = bytes.split_first_chunk::<FRAME_HEADER>() else { return };
    if let Ok(length) = codec::frame_length(*header) {
        assert!(length <= MAX_FRAME);
    }
    types[usize::from(*first) % types.len()](body);
}

pub(super) fn frame(bytes: &[u8]) {
    framed(bytes, &[comes_back::<Request>, comes_back::<Response>, comes_back::<Directive>]);
}

pub(super) fn frame_of_the_agent(bytes: &[u8]) {
    framed(bytes, &[comes_back::<ToApplier>, comes_back::<FromApplier>]);
}

/// Evidence for an order, which its first 32 bytes name. Nobody opens what is not under a signed head.
pub(super) fn evidence(bytes: &[u8]) {
    let Some((order, body)) = bytes.split_first_chunk::<32>() else { return };
    comes_back::<Evidence>(body);
    let Ok(evidence) = codec::decode::<Evidence>(body) else { return };
    let (policy, envelope) = policy();
    let head = TreeHead::empty();
    let trust = Trust { policy: policy.clone(), policy_envelope: envelope.clone(), head };
    if let Ok(opened) = evidence::open(&evidence, &Digest::from_bytes(*order), &trust) {
        for entry in &evidence.entries {
            assert!(entry.index < opened.checkpoint().head.size);
        }
    }
}

/// A clearance as an envelope: it is read as any statement, and is one only by its predicate.
pub(super) fn clearance(bytes: &[u8]) {
    let Ok(envelope) = Envelope::parse(bytes) else { return };
    if let Ok(Statement { says: Says::Clearance(it), .. }) = Statement::read(&envelope) {
        comes_back::<cutover_shared::statement::Clearance>(
            &codec::encode(&it).expect("a clearance is plain data"),
        );
    }
}

/// A join string as text, and its content without the armour.
pub(super) fn join(bytes: &[u8]) {
    comes_back::<cutover_shared::protocol::Join>(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let settings = HostSettings {
        host: "s1".parse().expect("a name"),
        environment: "staging".parse().expect("a name"),
        applications: BTreeMap::new(),
    };
    for text in [text.to_owned(), format!("{JOIN_PREFIX}{text}")] {
        if let Ok(join) = read_join(&text, &settings) {
            assert_eq!(join.environment, settings.environment);
        }
    }
}

/// The applier's ledger: its own file, but on a disk.
pub(super) fn ledger(bytes: &[u8]) {
    let Ok(saved) = Saved::decode(bytes) else { return };
    let written = saved.encode().expect("what was decoded is encoded");
    let again = Saved::decode(&written).expect("what was encoded is decoded");
    assert_eq!(again.encode().expect("once more"), written);
}
