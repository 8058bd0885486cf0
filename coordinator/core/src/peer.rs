//! Who is at the other end: that follows from the key, the policy in force and the hosts that are enrolled.

use cutover_shared::fold::State;
use cutover_shared::key::{KeyId, PublicKey};
use cutover_shared::policy::KeyStatus;
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{HostChange, Says};

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Somebody whose key is in the policy and may sign.
    Person(KeyId),
    /// An enrolled host, by its host key.
    Host(KeyId),
    /// Anybody else: a host that is to enrol itself, one that was retired, a stranger.
    Unknown,
}

impl Peer {
    /// Who the holder of `key` is.
    pub fn of(state: &State, key: &PublicKey) -> Self {
        let entry = state.policy().and_then(|policy| policy.document().entry(&key.id()));
        if entry.is_some_and(|entry| entry.status == KeyStatus::Active) {
            return Self::Person(key.id());
        }
        match state.host_by_transport(key) {
            Some(host) => Self::Host(host.enrolment.says().host_key.id()),
            None => Self::Unknown,
        }
    }

    /// The key of the person, or why not.
    pub fn person(self) -> Result<KeyId, Refusal> {
        match self {
            Self::Person(key) => Ok(key),
            Self::Host(_) | Self::Unknown => {
                Err(Refusal::new(Code::RoleMissing, "only for people whose key is in the policy"))
            }
        }
    }

    /// The key of the host, or why not.
    pub fn host(self) -> Result<KeyId, Refusal> {
        match self {
            Self::Host(key) => Ok(key),
            Self::Person(_) | Self::Unknown => {
                Err(Refusal::new(Code::RoleMissing, "only for enrolled hosts"))
            }
        }
    }

    /// Anybody whom the log knows, or why not.
    pub fn known(self) -> Result<(), Refusal> {
        match self {
            Self::Person(_) | Self::Host(_) => Ok(()),
            Self::Unknown => Err(Refusal::new(
                Code::RoleMissing,
                "this key is in no policy and of no enrolled host",
            )),
        }
    }

    /// Whether it may bring such a statement. A person brings any: what counts is who signed it. A host
    /// brings what hosts say. A stranger brings its own enrolment, by grant.
    pub fn may_append(self, says: &Says, transport_key: &PublicKey) -> Result<(), Refusal> {
        let allowed = match (self, says) {
            (Self::Person(_), _) => true,
            (Self::Host(_), Says::Outcome(_) | Says::Host(_)) => true,
            (Self::Unknown, Says::Host(HostChange::Enrolled(enrolment))) => {
                enrolment.grant.is_some() && enrolment.transport_key == *transport_key
            }
            (Self::Host(_) | Self::Unknown, _) => false,
        };
        if allowed {
            return Ok(());
        }
        let who = match self {
            Self::Person(_) => "a person",
            Self::Host(_) => "a host",
            Self::Unknown => "somebody unknown",
        };
        Err(Refusal::new(
            Code::RoleMissing,
            format!("such a {} statement is not for {who} to bring", says.predicate()),
        ))
    }
}
