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
use crate::statement::{Says, Statement, StatementError};

/// A statement that was read.
#[derive(Debug, Clone)]
pub struct Signed {
    pub(super) id: Digest,
    pub(super) envelope: Envelope,
    pub(super) statement: Statement,
    vouched: bool,
}

impl Signed {
    /// Reads an envelope's bytes; its signatures are verified when it is examined. Refusals: `malformed`,
    /// `predicate-unknown`.
    pub fn read(envelope: &[u8]) -> Result<Self, Refusal> {
        let envelope = Envelope::parse(envelope)
            .map_err(|error| Refusal::new(Code::Malformed, error.to_string()))?;
        let statement = Statement::read(&envelope).map_err(|error| unreadable(&error))?;
        Ok(Self { id: envelope.id(), envelope, statement, vouched: false })
    }

    /// Reads an envelope whose every signature the reader has verified before, and has kept where nobody
    /// else writes: an entry of its own log that had its effect then. They are not verified again.
    ///
    /// Nothing else may come in this way: to whoever hands over bytes that nobody verified, this gives
    /// everyone's signature.
    pub fn vouched(envelope: &[u8]) -> Result<Self, Refusal> {
        Self::read(envelope).map(|signed| Self { vouched: true, ..signed })
    }

    /// The statement's identity.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// What it says, unexamined.
    pub fn says(&self) -> &Says {
        &self.statement.says
    }

    /// The keys, of those that `lookup` knows, whose signatures are good; a bad one of a known key is
    /// `signature-invalid`.
    pub(crate) fn signers(
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

fn unreadable(error: &StatementError) -> Refusal {
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
