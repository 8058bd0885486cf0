//! What a coordinator wrote for itself, and might have been changed since.

use cutover_shared::digest::Digest;
use cutover_shared::dsse::pae;
use cutover_shared::fold::snapshot;
use cutover_shared::key::SecretKey;

const ORIGIN: &str = "cutover.test/log";

/// The fold in a snapshot whose seal is good: only who has the log's key can bring one so far, but then
/// anything may be in it. What is taken is written and taken again as the same.
pub(super) fn snapshot(body: &[u8]) {
    let key = SecretKey::from_seed(*Digest::of(b"log").as_bytes());
    let root = Digest::of(b"root");
    let taken = |bytes: &[u8]| snapshot::read(bytes, ORIGIN, &key.public(), |_| Some(root)).ok();
    let Some((state, head)) = taken(&sealed(body, &key)) else { return };
    let again = snapshot::write(&state, ORIGIN, &head, &key);
    let (same, of) = taken(&again).expect("what was written is read");
    assert!(same == state && of == head);
}

fn sealed(body: &[u8], key: &SecretKey) -> Vec<u8> {
    let version = snapshot::VERSION.to_be_bytes();
    let length = (body.len() as u64).to_be_bytes();
    let mut bytes = [b"cutover snapshot", &version[..], &length, body].concat();
    let digest = Digest::of(&bytes);
    let signature = key.sign(&pae("application/vnd.cutover.snapshot", digest.as_bytes()));
    bytes.extend_from_slice(digest.as_bytes());
    bytes.extend_from_slice(&signature);
    bytes
}
