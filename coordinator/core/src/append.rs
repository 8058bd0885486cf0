//! The fold of the log, and what may be added to it.

use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::fold::State;
use cutover_shared::key::PublicKey;
use cutover_shared::log::TreeHead;
use cutover_shared::policy::LogKey;
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{Release, Says, Statement};
use cutover_shared::time::Time;

use crate::conduct::Conduct;
use crate::peer::Peer;

/// The fold, and the head of the log that it is the fold of.
#[derive(Debug, Clone)]
pub struct Folded {
    /// The fold of the whole log.
    pub state: State,
    /// Size and root of the log.
    pub head: TreeHead,
}

impl Folded {
    /// Whether a statement may be the next entry, and at which size of the log that was decided: it may be
    /// appended there and nowhere else.
    pub fn admit(&self, conduct: &dyn Conduct, envelope: &[u8], now: Time) -> Result<u64, Refusal> {
        conduct.admit(&self.state, envelope, now)?;
        Ok(self.head.size)
    }

    /// Adds entry `index`, which is durable under `head`. A refusal says that the entry has no effect.
    pub fn add(&mut self, index: u64, envelope: &[u8], head: TreeHead) -> Result<Digest, Refusal> {
        self.head = head;
        self.state.apply(index, envelope)
    }
}

/// Whether an envelope is the one that the log has, as entry `index`, of the same statement: then bringing it
/// again is answered with its place. The identity does not cover the signatures, and a receipt proves the bytes
/// of the entry and no others; an envelope with other ones, bent or good, is not in the log.
pub fn brought_again(index: u64, entry: &[u8], envelope: &[u8]) -> Result<(), Refusal> {
    if entry == envelope {
        return Ok(());
    }
    Err(Refusal::new(
        Code::SignatureInvalid,
        format!("the log has this statement as entry {index}, signed otherwise than it is here"),
    ))
}

/// A statement that somebody brings and may bring. Whether it is admitted is another question.
#[derive(Debug)]
pub struct Brought {
    /// Its identity.
    pub id: Digest,
    /// What it says; `None` for what only the fold can tell.
    says: Option<Says>,
}

impl Brought {
    /// Looks at what `peer`, who holds `key`, brings to the log that is kept under `log`.
    pub fn read(
        envelope: &Envelope,
        peer: Peer,
        key: &PublicKey,
        log: &LogKey,
    ) -> Result<Self, Refusal> {
        let says = match Statement::read(envelope) {
            Ok(statement) => {
                peer.may_append(&statement.says, key)?;
                one_log(&statement.says, log)?;
                Some(statement.says)
            }
            Err(_) => {
                // What it is is for the conduct to say; it is nothing that hosts or strangers bring.
                peer.person()?;
                None
            }
        };
        Ok(Self { id: envelope.id(), says })
    }

    /// The release that it is, to be compared with the package that is stored.
    pub fn release(&self) -> Option<&Release> {
        match &self.says {
            Some(Says::Release(release)) => Some(release),
            Some(_) | None => None,
        }
    }
}

/// A policy that names another log or key for it would be the last thing that anybody could verify here:
/// this coordinator goes on signing with its own.
fn one_log(says: &Says, log: &LogKey) -> Result<(), Refusal> {
    let Says::TrustPolicy(document) = says else { return Ok(()) };
    if document.log.origin == log.origin && document.log.key == log.key {
        return Ok(());
    }
    Err(Refusal::new(
        Code::Malformed,
        format!("the policy is for the log {}, or for another key of it", document.log.origin),
    ))
}
