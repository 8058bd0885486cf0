//! Statements: what people, hosts and coordinators say, as in-toto Statements v1.
//!
//! A statement is the payload of a DSSE envelope ([`crate::dsse`]):
//!
//! ```json
//! {"_type":"https://in-toto.io/Statement/v1",
//!  "subject":[{"name":"release","digest":{"sha256":"…"}}],
//!  "predicateType":"urn:cutover:vote:v1",
//!  "predicate":{"by":"…","issued":"2026-03-08T06:30:00Z","says":{…}}}
//! ```
//!
//! Its identity is the SHA-256 of the envelope's pre-authentication encoding. The subjects follow from
//! what is said ([`Says::subjects`]) and are compared with those written: there is one truth, and stock
//! tools can read it. Unknown fields are errors, and so are second spellings ([`StatementError::Spelling`]); a predicate type that this code does not know is
//! [`StatementError::UnknownPredicate`], which a verifier must treat as a reason not to go forward.

mod calendar;
mod decision;
mod host;
mod order;
mod process;

use std::borrow::Cow;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

pub use calendar::{Calendar, MAX_WINDOWS, Terms};
pub use decision::{
    Assessment, Cancel, Delivery, Differing, Emergency, FormUsed, Freeze, Hold, Iteration,
    IterationApproval, Judgement, Override, PassedFreeze, Release, Remark, Resume, Review,
    Standard, Template, Verdict, Vote, Waiver,
};
pub use host::{
    Drift, Enrolment, Event, Grant, HostChange, Managed, ManagedKind, Outcome, Reading,
};
pub use order::{
    Booking, Clearance, Derivation, HostTurn, MAX_HOSTS, MAX_WAVES, OnHalt, Phase, PlannedHost,
    Rollback, RolloutPlan, Wave, WindowRelease,
};
pub use process::{
    Acknowledgement, Closure, ClosureResult, Consult, Direction, PostReview, Rehearsal, Rehearsed,
    RehearsedStep, Step, StepResult, Task, TaskChange, TaskKind,
};

use crate::digest::Digest;
use crate::dsse::Envelope;
use crate::json;
use crate::key::{KeyId, SecretKey};
use crate::policy::PolicyDocument;
use crate::time::Time;

/// The payload type of every envelope here.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// What a change is, which decides the rule that must be met (ITIL's change types).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeType {
    /// Needs a pre-approval of its kind, signed by someone else.
    Standard,
    /// The whole way.
    Normal,
    /// Needs an open `emergency` statement by someone else, and an approval of each iteration.
    Emergency,
}

impl std::fmt::Display for ChangeType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Standard => "standard",
            Self::Normal => "normal",
            Self::Emergency => "emergency",
        })
    }
}

/// What any statement has: who speaks, when, and between which instants what it permits may be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The key of the one who speaks, so that two people who say the same make two statements. A trust
    /// policy, which many sign, has none.
    pub by: Option<KeyId>,
    /// When the signer's clock said it was signed.
    pub issued: Time,
    /// Not usable before.
    pub not_before: Option<Time>,
    /// Not usable from this instant on.
    pub not_after: Option<Time>,
}

/// A statement, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// When, and between which instants.
    pub header: Header,
    /// What.
    pub says: Says,
}

macro_rules! predicates {
    ($($(#[$doc:meta])* $variant:ident($type:ty) = $name:literal,)*) => {
        /// What a statement says, by predicate type.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Says {
            $($(#[$doc])* $variant($type),)*
        }

        /// The name of a predicate, without `urn:cutover:` and version.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Predicate {
            $($(#[$doc])* $variant,)*
        }

        impl Predicate {
            /// Every predicate that this code knows.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word: `vote`, `window-release`, …
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// As the predicate type of an in-toto Statement.
            const fn urn(self) -> &'static str {
                match self { $(Self::$variant => concat!("urn:cutover:", $name, ":v1"),)* }
            }
        }

        impl Says {
            /// Which predicate this is.
            pub const fn predicate(&self) -> Predicate {
                match self { $(Self::$variant(_) => Predicate::$variant,)* }
            }

            fn from_json(predicate: Predicate, json: &str) -> Result<Self, serde_json::Error> {
                match predicate {
                    $(Predicate::$variant => serde_json::from_str(json).map(Self::$variant),)*
                }
            }
        }

        /// What is said alone; which predicate it is stands elsewhere.
        impl Serialize for Bare<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self.0 { $(Says::$variant(says) => says.serialize(serializer),)* }
            }
        }
    };
}

predicates! {
    /// Keys, owners, roles, rules.
    TrustPolicy(Box<PolicyDocument>) = "trust-policy",
    /// A host is enrolled, or retired.
    Host(HostChange) = "host",
    /// Hosts may enrol themselves.
    Grant(Grant) = "grant",
    /// A package is a release of an application.
    Release(Box<Release>) = "release",
    /// The emergency route is open, or an iteration on it is approved.
    Emergency(Emergency) = "emergency",
    /// Changes of one kind are approved ahead, or no longer.
    Standard(Standard) = "standard",
    /// Somebody who did not submit it tried it out.
    Rehearsal(Rehearsal) = "rehearsal",
    /// The librarian's check.
    Review(Review) = "review",
    /// Security's check.
    Assessment(Assessment) = "assessment",
    /// A board member's vote.
    Vote(Vote) = "vote",
    /// Another department is asked, or answers.
    Consult(Consult) = "consult",
    /// A window is bought.
    Booking(Box<Booking>) = "booking",
    /// Nothing goes forward for a while.
    Freeze(Freeze) = "freeze",
    /// Two owners pass freezes with one booking.
    Override(Override) = "override",
    /// Two owners make an exception for one release.
    Waiver(Waiver) = "waiver",
    /// When an environment may be worked on.
    Calendar(Box<Calendar>) = "calendar",
    /// Delivered to the staging area.
    Delivery(Delivery) = "delivery",
    /// The booking may be executed.
    WindowRelease(WindowRelease) = "window-release",
    /// Stop.
    Hold(Hold) = "hold",
    /// Go on.
    Resume(Resume) = "resume",
    /// Give up.
    Cancel(Cancel) = "cancel",
    /// Go back.
    Rollback(Box<Rollback>) = "rollback",
    /// A manual step of a runbook was done, or failed.
    Step(Step) = "step",
    /// What a host did.
    Outcome(Box<Outcome>) = "outcome",
    /// Somebody has seen something.
    Acknowledgement(Acknowledgement) = "acknowledgement",
    /// A task is given to somebody, or done.
    Task(Task) = "task",
    /// A release is over.
    Closure(Closure) = "closure",
    /// Nothing stands against it now. Never in the log.
    Clearance(Clearance) = "clearance",
}

impl Predicate {
    /// The predicates that can stand in the log: all but the clearance.
    pub fn in_log() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|it| *it != Self::Clearance)
    }

    /// Whether it takes two owners: then every signature counts and not the speaker's alone.
    pub const fn is_joint(self) -> bool {
        matches!(self, Self::Override | Self::Waiver)
    }
}

impl std::fmt::Display for Predicate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl Says {
    /// The subjects of the statement, each a name and a digest: what it is about.
    pub fn subjects(&self) -> Vec<(&'static str, Digest)> {
        match self {
            Self::TrustPolicy(policy) => vec![("log-key", policy.log.key.id().digest())],
            Self::Host(HostChange::Enrolled(enrolment)) => {
                vec![("host-key", enrolment.host_key.id().digest())]
            }
            Self::Host(HostChange::Retired { host_key, .. }) => {
                vec![("host-key", host_key.digest())]
            }
            Self::Grant(grant) => vec![("grant-key", grant.grant_key.id().digest())],
            Self::Release(release) => vec![("package", release.package)],
            Self::Emergency(Emergency::Opened { policy, .. }) => vec![("policy", *policy)],
            Self::Emergency(Emergency::Approved(approval)) => vec![("release", approval.release)],
            Self::Standard(Standard::Approved(it)) => vec![("policy", it.policy)],
            Self::Standard(Standard::Withdrawn { standard, .. }) => vec![("standard", *standard)],
            Self::Rehearsal(it) => vec![("release", it.release), ("package", it.package)],
            Self::Review(review) => vec![("release", review.release)],
            Self::Assessment(it) => vec![("release", it.release), ("package", it.package)],
            Self::Vote(vote) => vec![("release", vote.release)],
            Self::Consult(it) => vec![("release", it.release())],
            Self::Booking(it) => vec![("release", it.release), ("package", it.package)],
            Self::Freeze(Freeze::Declared { policy, .. }) => vec![("policy", *policy)],
            Self::Freeze(Freeze::Lifted { freeze, .. }) => vec![("freeze", *freeze)],
            Self::Override(it) => {
                let freezes = it.freezes.iter().map(|passed| ("freeze", passed.freeze));
                [("booking", it.booking), ("release", it.release)]
                    .into_iter()
                    .chain(freezes)
                    .collect()
            }
            Self::Waiver(waiver) => vec![("release", waiver.release)],
            Self::Calendar(it) => match it.replaces {
                Some(earlier) => vec![("policy", it.policy), ("calendar", earlier)],
                None => vec![("policy", it.policy)],
            },
            Self::Delivery(it) => vec![("release", it.release), ("package", it.package)],
            Self::WindowRelease(it) => {
                vec![("booking", it.booking), ("release", it.release), ("package", it.package)]
            }
            Self::Hold(hold) => vec![("release", hold.release)],
            Self::Resume(resume) => vec![("hold", resume.hold)],
            Self::Cancel(cancel) => vec![("release", cancel.release)],
            Self::Rollback(it) => vec![("from", it.from), ("to", it.to)],
            Self::Outcome(it) => vec![("package", it.package), ("host-key", it.host_key.digest())],
            Self::Step(it) => vec![("booking", it.booking), ("host-key", it.host_key.digest())],
            Self::Acknowledgement(it) => vec![("release", it.release), ("seen", it.seen)],
            Self::Task(Task { release, kind: TaskKind::Condition { vote, .. }, .. }) => {
                vec![("release", *release), ("vote", *vote)]
            }
            Self::Task(it) => vec![("release", it.release)],
            Self::Closure(Closure::Release { release, .. }) => vec![("release", *release)],
            Self::Closure(Closure::Emergency { grounds, .. }) => vec![("emergency", *grounds)],
            Self::Clearance(it) => vec![("order", it.order), ("host-key", it.host_key.digest())],
        }
    }
}

impl Says {
    /// Whether it can be a reason *against* going forward, so that hiding it would let something happen.
    /// Whoever signs one hands it to the coordinator and to every witness (DESIGN 11).
    pub fn is_against(&self) -> bool {
        match self {
            Self::TrustPolicy(_)
            | Self::Host(HostChange::Retired { .. })
            | Self::Standard(Standard::Withdrawn { .. })
            | Self::Freeze(Freeze::Declared { .. })
            | Self::Hold(_)
            | Self::Cancel(_)
            | Self::Rollback(_)
            | Self::Closure(_) => true,
            Self::Host(HostChange::Enrolled(it)) => it.replaces.is_some(),
            Self::Release(it) => it.supersedes.is_some(),
            // It supersedes the iterations before.
            Self::Emergency(Emergency::Approved(_)) => true,
            Self::Review(it) => it.verdict != Verdict::Complete,
            Self::Assessment(it) => !it.judgement.is_accepted(),
            // An approval with conditions takes the place of one without.
            Self::Vote(it) => !it.judgement.is_accepted() || !it.conditions.is_empty(),
            Self::Rehearsal(it) => !it.result.is_passed(),
            Self::Consult(Consult::Asked { mandatory, .. }) => *mandatory,
            Self::Consult(Consult::Answered { judgement, .. }) => !judgement.is_accepted(),
            Self::Step(it) => matches!(it.result, StepResult::Failed { .. }),
            Self::Outcome(it) => {
                matches!(it.event, Event::Returned { .. } | Event::RolledBack | Event::Stuck { .. })
            }
            Self::Grant(_)
            | Self::Emergency(Emergency::Opened { .. })
            | Self::Standard(Standard::Approved(_))
            | Self::Booking(_)
            | Self::Freeze(Freeze::Lifted { .. })
            // It binds bookings on their way in, and nothing that was booked.
            | Self::Calendar(_)
            | Self::Override(_)
            | Self::Waiver(_)
            | Self::Delivery(_)
            | Self::WindowRelease(_)
            | Self::Resume(_)
            | Self::Acknowledgement(_)
            | Self::Task(_)
            | Self::Clearance(_) => false,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubjectJson<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    digest: SubjectDigest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubjectDigest {
    sha256: Digest,
}

/// `P` is the predicate: what is said, or its text before it is read.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StatementJson<'a, P> {
    #[serde(borrow, rename = "_type")]
    statement_type: Cow<'a, str>,
    #[serde(borrow)]
    subject: Vec<SubjectJson<'a>>,
    #[serde(borrow, rename = "predicateType")]
    predicate_type: Cow<'a, str>,
    predicate: P,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PredicateJson<S> {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    by: Option<KeyId>,
    issued: Time,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    not_before: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    not_after: Option<Time>,
    says: S,
}

impl<S> PredicateJson<S> {
    fn header(&self) -> Header {
        let Self { by, issued, not_before, not_after, .. } = *self;
        Header { by, issued, not_before, not_after }
    }
}

/// The statement in an envelope's payload, what it says not read yet.
fn frame(
    envelope: &Envelope,
) -> Result<(Predicate, Vec<SubjectJson<'_>>, PredicateJson<&RawValue>), StatementError> {
    if envelope.payload_type() != PAYLOAD_TYPE {
        return Err(StatementError::Type(envelope.payload_type().to_owned(), PAYLOAD_TYPE));
    }
    let json: StatementJson<'_, PredicateJson<&RawValue>> =
        json::from_slice(envelope.payload()).map_err(|fault| not_ours(envelope, fault))?;
    let predicate = predicate_of(&json)?;
    Ok((predicate, json.subject, json.predicate))
}

/// Why a payload cannot be read, told from without to within. The statements of others, and those of a newer
/// Cutover, need not have our predicates' shape: their types tell more than where they differ.
fn not_ours(envelope: &Envelope, fault: serde_json::Error) -> StatementError {
    match json::from_slice::<StatementJson<'_, &RawValue>>(envelope.payload()) {
        Ok(json) => predicate_of(&json).err().unwrap_or(StatementError::Json(fault)),
        Err(outer) => StatementError::Json(outer),
    }
}

struct Bare<'a>(&'a Says);

/// Why bytes are not a statement.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// Not JSON of the right shape. What and where is part of the text, so it is not the source as well.
    #[error("read the statement as JSON: {0}")]
    Json(serde_json::Error),
    /// What is said does not have the shape of its predicate.
    #[error("read what the {predicate} statement says: {fault}")]
    Says {
        /// The predicate.
        predicate: Predicate,
        /// Where and why; part of the text.
        fault: serde_json::Error,
    },
    /// Another payload or statement type.
    #[error("accept the type {0:?}: expected {1:?}")]
    Type(String, &'static str),
    /// A predicate that this code does not know.
    #[error("know the predicate type {0:?}: a newer Cutover may")]
    UnknownPredicate(String),
    /// The subjects written are not those that follow from what is said.
    #[error("match the statement's subjects with what it says")]
    Subjects,
    /// A key twice, a list in the place of an object, a value in another spelling: two readers could read
    /// two things.
    #[error("accept a second spelling: each thing is written once, as Cutover writes it")]
    Spelling,
    /// No speaker is named, or one who did not sign.
    #[error("find the speaker's signature: `by` must name a key that signed (a policy has none)")]
    Speaker,
    /// `not_before` is not before `not_after`.
    #[error("use an empty validity: not_before must be before not_after")]
    Validity,
}

impl Statement {
    /// Reads the statement in an envelope's payload. No signature is checked here.
    pub fn read(envelope: &Envelope) -> Result<Self, StatementError> {
        let statement = Self::read_again(envelope)?;
        if statement.is_spelt_as(envelope.payload()) {
            Ok(statement)
        } else {
            Err(StatementError::Spelling)
        }
    }

    /// Reads a statement that was read before: that it has one spelling was seen then.
    pub(crate) fn read_again(envelope: &Envelope) -> Result<Self, StatementError> {
        let (predicate, written, body) = frame(envelope)?;
        let says = Says::from_json(predicate, body.says.get())
            .map_err(|fault| StatementError::Says { predicate, fault })?;
        let subjects = says.subjects();
        let written = written.iter().map(|it| (&*it.name, it.digest.sha256));
        if !written.eq(subjects) {
            return Err(StatementError::Subjects);
        }
        let policy = predicate == Predicate::TrustPolicy;
        let signed = |by| envelope.signatures().iter().any(|(key, _)| *key == by);
        if policy != body.by.is_none() || !body.by.is_none_or(signed) {
            return Err(StatementError::Speaker);
        }
        let header = body.header();
        if let (Some(first), Some(end)) = (header.not_before, header.not_after)
            && first >= end
        {
            return Err(StatementError::Validity);
        }
        Ok(Self { header, says })
    }

    /// Whether these bytes, which it was read from, say what it says and nothing else. Nearly all are
    /// written as we write; then nothing need be written to see it.
    fn is_spelt_as(&self, payload: &[u8]) -> bool {
        json::is_written_as(&self.to_json(), payload)
            || json::says_the_same(&self.to_payload(), payload)
    }

    /// The payload bytes of a new statement.
    pub fn to_payload(&self) -> Vec<u8> {
        serde_json::to_vec(&self.to_json()).expect("statements are plain data with text keys")
    }

    fn to_json(&self) -> StatementJson<'static, PredicateJson<Bare<'_>>> {
        let Header { by, issued, not_before, not_after } = self.header;
        let subject = |(name, sha256): (&'static str, Digest)| SubjectJson {
            name: name.into(),
            digest: SubjectDigest { sha256 },
        };
        StatementJson {
            statement_type: STATEMENT_TYPE.into(),
            subject: self.says.subjects().into_iter().map(subject).collect(),
            predicate_type: self.says.predicate().urn().into(),
            predicate: PredicateJson { by, issued, not_before, not_after, says: Bare(&self.says) },
        }
    }

    /// The statement in an envelope, signed by each of `keys`; the first of them speaks.
    pub fn signed_by<'a>(&self, keys: impl IntoIterator<Item = &'a SecretKey>) -> Envelope {
        let mut keys = keys.into_iter().peekable();
        let mut statement = self.clone();
        if self.says.predicate() != Predicate::TrustPolicy {
            statement.header.by = keys.peek().map(|key| key.public().id());
        }
        let mut envelope = Envelope::unsigned(PAYLOAD_TYPE, statement.to_payload());
        for key in keys {
            envelope.sign(key);
        }
        envelope
    }

    /// A statement of now, valid at any time.
    pub fn new(issued: Time, says: impl Into<Says>) -> Self {
        Self {
            header: Header { by: None, issued, not_before: None, not_after: None },
            says: says.into(),
        }
    }

    /// The same, not usable from `not_after` on.
    #[must_use]
    pub fn until(mut self, not_after: Time) -> Self {
        self.header.not_after = Some(not_after);
        self
    }
}

fn predicate_of<P>(json: &StatementJson<'_, P>) -> Result<Predicate, StatementError> {
    if json.statement_type != STATEMENT_TYPE {
        let found = json.statement_type.as_ref().to_owned();
        return Err(StatementError::Type(found, STATEMENT_TYPE));
    }
    let found = &*json.predicate_type;
    let known = Predicate::ALL.iter().copied().find(|known| known.urn() == found);
    known.ok_or_else(|| StatementError::UnknownPredicate(found.chars().take(120).collect()))
}

/// When something was said, and between which instants what it permits may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// When the signer's clock said it was signed.
    pub issued: Time,
    /// Not usable before.
    pub not_before: Option<Time>,
    /// Not usable from this instant on.
    pub not_after: Option<Time>,
}

impl Header {
    /// Reads the header alone, of a statement that was read as a whole before.
    pub(crate) fn read(envelope: &Envelope) -> Result<Self, StatementError> {
        frame(envelope).map(|(.., body)| body.header())
    }

    /// Its instants.
    pub fn validity(&self) -> Validity {
        Validity { issued: self.issued, not_before: self.not_before, not_after: self.not_after }
    }
}

impl Validity {
    /// Whether `now` is within the validity.
    pub fn covers(&self, now: Time) -> bool {
        self.not_before.is_none_or(|first| first <= now)
            && self.not_after.is_none_or(|end| now < end)
    }
}

macro_rules! into_says {
    ($($variant:ident($type:ty)),* $(,)?) => {
        $(impl From<$type> for Says {
            fn from(says: $type) -> Self { Self::$variant(says.into()) }
        })*
    };
}

into_says! {
    TrustPolicy(PolicyDocument), Host(HostChange), Grant(Grant), Release(Release), Emergency(Emergency),
    Review(Review), Assessment(Assessment), Vote(Vote), Booking(Booking), Freeze(Freeze), Calendar(Calendar),
    Delivery(Delivery), WindowRelease(WindowRelease), Hold(Hold), Resume(Resume), Cancel(Cancel),
    Rollback(Rollback), Outcome(Outcome), Clearance(Clearance), Standard(Standard),
    Override(Override), Waiver(Waiver), Consult(Consult), Rehearsal(Rehearsal), Step(Step),
    Acknowledgement(Acknowledgement), Task(Task), Closure(Closure),
}
