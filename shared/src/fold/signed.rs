//! Statements as they come: read, and with which of their signatures are known to be good.
//!
//! Whether a signature is good depends on the envelope and the key alone, and a key's id is a digest of
//! the key. So it is found out once; whether a key may say what was said is asked of a state each time
//! (`examine`).

use std::collections::BTreeSet;

use crate::digest::Digest;
use crate::dsse::Envelope;
use crate::key::{KeyId, PublicKey};
use crate::refusal::{Code, Refusal};
use crate::statement::{Statement, StatementError};

/// A statement that was read.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    pub(super) sealed: Sealed,
    pub(super) statement: Statement,
}

impl Signed {
    /// The statement's identity.
    pub(super) fn id(&self) -> Digest {
        self.sealed.id
    }

    /// See [`Sealed::signers`].
    pub(super) fn signers(
        &self,
        lookup: impl Fn(&KeyId) -> Option<PublicKey>,
    ) -> Result<BTreeSet<KeyId>, Refusal> {
        self.sealed.signers(lookup)
    }
}

/// An envelope whose statement is not read yet.
#[derive(Debug, Clone)]
pub(super) struct Sealed {
    pub(super) id: Digest,
    pub(super) envelope: Envelope,
    vouched: bool,
}

impl Sealed {
    /// Reads an envelope's bytes.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let envelope = Envelope::parse(bytes)
            .map_err(|error| Refusal::new(Code::Malformed, error.to_string()))?;
        Ok(Self { id: envelope.id(), envelope, vouched: false })
    }

    /// Reads the statement. Refusals: `malformed`, `predicate-unknown`.
    pub(super) fn open(self) -> Result<Signed, Refusal> {
        let read = if self.vouched { Statement::read_again } else { Statement::read };
        let statement = read(&self.envelope).map_err(|error| unreadable(&error))?;
        Ok(Signed { sealed: self, statement })
    }

    /// The keys, of those that `lookup` knows, whose signatures are good; a bad one of a known key is
    /// `signature-invalid`.
    pub(super) fn signers(
        &self,
        lookup: impl Fn(&KeyId) -> Option<PublicKey>,
    ) -> Result<BTreeSet<KeyId>, Refusal> {
        if self.vouched {
            let known = self.envelope.signatures().iter().map(|(key, _)| *key);
            return Ok(known.filter(|key| lookup(key).is_some()).collect());
        }
        self.envelope
            .valid_signers(lookup)
            .map_err(|error| Refusal::new(Code::SignatureInvalid, error.to_string()))
    }
}

/// An entry of the reader's own log, read: one that had its effect there when it was new, and has been kept
/// where nobody else writes. Its spelling and its signatures were looked at then, and are not again.
///
/// Nothing else may come in this way: to whoever hands over bytes that nobody verified, this gives everyone's
/// signature.
#[derive(Debug, Clone)]
pub struct Vouched(pub(super) Signed);

impl Vouched {
    /// Reads an entry. Refusals: `malformed`, `predicate-unknown`.
    pub fn read(entry: &[u8]) -> Result<Self, Refusal> {
        Sealed { vouched: true, ..Sealed::read(entry)? }.open().map(Self)
    }

    /// What it says, and who says it when.
    pub fn statement(&self) -> &Statement {
        &self.0.statement
    }
}

pub(super) fn unreadable(error: &StatementError) -> Refusal {
    let code = match error {
        StatementError::UnknownPredicate(_) => Code::PredicateUnknown,
        StatementError::Json(_)
        | StatementError::Says { .. }
        | StatementError::Type(..)
        | StatementError::Subjects
        | StatementError::Spelling
        | StatementError::Speaker
        | StatementError::Validity => Code::Malformed,
    };
    Refusal::new(code, error.to_string())
}
