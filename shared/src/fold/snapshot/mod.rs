//! A snapshot of the fold: what its owner need not read and verify again.
//!
//! It is a cache and nothing more. Whoever keeps a log folds it, writes now and then what has come of it,
//! and at the next start reads that back and goes on from there: what the log has beyond is verified and
//! folded as ever. A snapshot that is missing, torn, damaged, of another log, of a part that the log no
//! longer has, of another version or signed by another key is refused with its reason
//! ([`SnapshotError`]), and everything is folded from the log.
//!
//! **What it is trusted for.** The entries of the log that it stands for are not verified again, so a made-up
//! snapshot could say anything. A coordinator's disk holds its log, too, but nobody can change that without
//! the log's key: the checkpoint beside it is signed. So is the snapshot, by the same key, over origin, size
//! and root of the log and everything in it. Who can write to the disk and does not have the key can take
//! the snapshot away, or put an older one back, and neither changes what comes of the log; who has the key
//! is the coordinator, with the budget of DESIGN 11. Hosts, witnesses and people's programs take no
//! snapshot from anybody.
//!
//! ```text
//! "cutover snapshot"   16 bytes
//! version              4 bytes, big-endian
//! length of the body   8 bytes, big-endian
//! body                 origin, size, root, then the fold (`kept`, `tables`)
//! digest               SHA-256 of everything before it
//! signature            ed25519, over the DSSE pre-authentication encoding of that digest, as
//!                      "application/vnd.cutover.snapshot"
//! ```

mod kept;
mod tables;
#[cfg(test)]
mod tests;

pub use kept::Fault;
use kept::{Kept, Reader, Writer, kept};

use super::State;
use crate::digest::Digest;
use crate::dsse::pae;
use crate::key::{PublicKey, SecretKey};
use crate::log::TreeHead;

/// The version that is written, and the only one that is read: another is a reason to fold the log.
pub const VERSION: u32 = 2;

const MAGIC: &[u8; 16] = b"cutover snapshot";
const PAYLOAD_TYPE: &str = "application/vnd.cutover.snapshot";
const HEADER: usize = MAGIC.len() + 4 + 8;
const DIGEST: usize = 32;
/// Digest and signature.
const SEAL: usize = DIGEST + 64;

/// A snapshot is not taken. In every case the log is folded instead, and nothing is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Not a snapshot, or less than its first bytes.
    #[error("read a snapshot: this is none")]
    None,
    /// Written by another version.
    #[error("read a snapshot of version {0}: this program's is {VERSION}")]
    Version(u32),
    /// Shorter or longer than it says.
    #[error("read a snapshot of {expected} bytes: there are {found}")]
    Torn {
        /// By its header.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// Its bytes are not those that were written.
    #[error("read a snapshot: its bytes were changed")]
    Damaged,
    /// Not signed by the log's key.
    #[error("accept a snapshot that the log's key did not sign")]
    Signature,
    /// Of another log.
    #[error("accept a snapshot of the log {0:?}")]
    Origin(String),
    /// Of a log with the same name that had other entries, or more.
    #[error("accept a snapshot of {0} entries: they are not those of this log")]
    OtherLog(u64),
    /// Whole and signed, and still not what this version writes.
    #[error("read a snapshot: {0}")]
    Malformed(#[from] Fault),
}

/// What a snapshot is of.
struct Of {
    origin: String,
    head: TreeHead,
}

kept! {
    Of { origin, head }
}

/// The snapshot of `state`, which is the fold of the first `head.size` entries of the log `origin` and of
/// nothing else, signed by that log's key.
pub fn write(state: &State, origin: &str, head: &TreeHead, key: &SecretKey) -> Vec<u8> {
    let mut to = Writer::default();
    to.bytes.extend_from_slice(MAGIC);
    to.bytes.extend_from_slice(&VERSION.to_be_bytes());
    to.bytes.extend_from_slice(&[0; 8]);
    Of { origin: origin.to_owned(), head: head.clone() }.write(&mut to);
    state.write(&mut to);
    let mut bytes = to.bytes;
    let length = (bytes.len() - HEADER) as u64;
    bytes[HEADER - 8..HEADER].copy_from_slice(&length.to_be_bytes());
    seal(bytes, key)
}

fn seal(mut bytes: Vec<u8>, key: &SecretKey) -> Vec<u8> {
    let digest = Digest::of(&bytes);
    bytes.extend_from_slice(digest.as_bytes());
    bytes.extend_from_slice(&key.sign(&signed(&digest)));
    bytes
}

/// The fold in a snapshot, and the head that it is the fold of. `root_at` tells the root that the log had,
/// or has, with so many entries; none where it has fewer.
pub fn read(
    bytes: &[u8],
    origin: &str,
    key: &PublicKey,
    root_at: impl FnOnce(u64) -> Option<Digest>,
) -> Result<(State, TreeHead), SnapshotError> {
    let mut from = Reader::new(open(bytes, key)?);
    let of = Of::read(&mut from)?;
    if of.origin != origin {
        return Err(SnapshotError::Origin(of.origin));
    }
    if root_at(of.head.size) != Some(of.head.root) {
        return Err(SnapshotError::OtherLog(of.head.size));
    }
    let state = State::read(&mut from)?;
    from.end()?;
    if state.next_index > of.head.size {
        return Err(from.fault("more than its log has").into());
    }
    Ok((state, of.head))
}

/// The body, once it is known to be what the holder of `key` wrote.
fn open<'a>(bytes: &'a [u8], key: &PublicKey) -> Result<&'a [u8], SnapshotError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(SnapshotError::None)?;
    let (version, rest) = rest.split_first_chunk().ok_or(SnapshotError::None)?;
    let version = u32::from_be_bytes(*version);
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    let (length, rest) = rest.split_first_chunk().ok_or(SnapshotError::None)?;
    let length = u64::from_be_bytes(*length);
    let parts = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
    let seal = parts.and_then(|(_, seal)| seal.split_first_chunk::<DIGEST>());
    let seal = seal.and_then(|(digest, signature)| Some((digest, signature.try_into().ok()?)));
    let (Some((body, _)), Some((digest, signature))) = (parts, seal) else {
        let (expected, found) = (length.saturating_add(SEAL as u64), rest.len() as u64);
        return Err(SnapshotError::Torn { expected, found });
    };
    let digest = Digest::from_bytes(*digest);
    if Digest::of(&bytes[..bytes.len() - SEAL]) != digest {
        return Err(SnapshotError::Damaged);
    }
    if key.verify(&signed(&digest), signature) { Ok(body) } else { Err(SnapshotError::Signature) }
}

fn signed(digest: &Digest) -> Vec<u8> {
    pae(PAYLOAD_TYPE, digest.as_bytes())
}
