//! The `[[runbook]]` of `release.toml`: how a target without an agent is carried over, step by step.
//!
//! A gateway host carries it out: it runs the commands of its own steps, and waits for a signed `step`
//! statement where people act. The steps go forward in their order, and back in the reverse. What is here is
//! what everybody has to agree on: what a step is, how a host says which one it waits for, and which
//! statement is the answer.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::path::EntryPath;
use crate::case::Verified;
use crate::key::KeyId;
use crate::name::{Name, NotAName};
use crate::policy::{PolicyDocument, Signer};
use crate::statement::{Direction, Step};
use crate::time::span;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RunbookStep {
    /// `name`: what it is called in statements; no two have the same.
    pub name: Name,
    /// `by`: who does it, and who takes it back.
    pub by: Doer,
    /// `what`, `command` and `timeout`: what is done.
    pub deed: Deed,
    /// `elements`: the lines of the package's forms that it is about, as `MEMBER -> DATASET`.
    pub elements: Vec<String>,
    /// `undo`, or `no-undo`: how it is taken back.
    pub undo: Undoing,
}

/// Who does a step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doer {
    /// `gateway`: the host that carries the runbook out runs a command.
    Gateway,
    /// `operator`: anybody with that role.
    Operator,
    /// Any other name: an operator who speaks for this department of the policy.
    Department(Name),
}

/// What is done in a step, or to take it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Deed {
    /// `what`: for whoever does it, or wonders.
    pub what: String,
    /// `command`: the program under `hooks/` that does it, for the gateway's steps and no others.
    pub command: Option<EntryPath>,
    /// `timeout`: it has failed when it is not done by then.
    #[serde(with = "span")]
    pub timeout: Duration,
}

/// How a step is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undoing {
    /// `undo`: by doing this, by whoever does the step. It may meet a step that was done half.
    Deed(Deed),
    /// `no-undo`: there is nothing to take back, and why.
    Nothing(String),
}

impl RunbookStep {
    /// What is done on this way; none where there is nothing to take back.
    pub fn deed(&self, direction: Direction) -> Option<&Deed> {
        match (direction, &self.undo) {
            (Direction::Forward, _) => Some(&self.deed),
            (Direction::Back, Undoing::Deed(deed)) => Some(deed),
            (Direction::Back, Undoing::Nothing(_)) => None,
        }
    }

    /// Everything that is done of it, with the field that says so below the step's own.
    pub fn deeds(&self) -> impl Iterator<Item = (&'static str, &Deed)> {
        let undo = self.deed(Direction::Back).map(|undo| ("undo.", undo));
        std::iter::once(("", &self.deed)).chain(undo)
    }
}

impl Doer {
    /// From the word in `by`.
    pub fn parse(word: &str) -> Result<Self, NotAName> {
        Ok(match word {
            "gateway" => Self::Gateway,
            "operator" => Self::Operator,
            department => Self::Department(department.parse()?),
        })
    }

    /// Whether it is among these who the step is for. That they are operators, and not who submitted the
    /// release, was asked when the statement was read.
    pub fn is_among(&self, signers: &[Signer], policy: &PolicyDocument) -> bool {
        match self {
            Self::Gateway => false,
            Self::Operator => true,
            Self::Department(name) => policy
                .department(name)
                .is_some_and(|it| signers.iter().any(|signer| it.owners.contains(&signer.owner))),
        }
    }
}

impl fmt::Display for Doer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway => f.write_str("gateway"),
            Self::Operator => f.write_str("operator"),
            Self::Department(name) => write!(f, "{name}"),
        }
    }
}

/// A manual step that a host waits for. Its text is the step that the host reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    /// The step.
    pub step: Name,
    /// It, or its undoing.
    pub direction: Direction,
}

/// What the text of an awaited step begins with.
const FORWARD: &str = "manual step ";
/// The same for its undoing.
const BACK: &str = "undo of manual step ";

impl Awaited {
    /// From what a host reports; none where it does not wait for a person.
    pub fn parse(reported: &str) -> Option<Self> {
        let of = |prefix: &str, direction| {
            let step = reported.strip_prefix(prefix)?.parse().ok()?;
            Some(Self { step, direction })
        };
        of(FORWARD, Direction::Forward).or_else(|| of(BACK, Direction::Back))
    }

    /// Whether a statement is about it.
    pub fn is_of(&self, host: &KeyId, said: &Step) -> bool {
        said.host_key == *host && said.step == self.step && said.direction == self.direction
    }
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.direction {
            Direction::Forward => FORWARD,
            Direction::Back => BACK,
        };
        write!(f, "{prefix}{}", self.step)
    }
}

/// Which answer to an awaited step counts.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The host that waits.
    pub host: &'a KeyId,
    /// What for.
    pub awaited: &'a Awaited,
    /// Who does it.
    pub by: &'a Doer,
    /// How many entries the host knew of when it asked: what was signed before is no answer.
    pub asked_at: u64,
}

/// The newest of the statements that answers; none where nobody did yet who may.
pub fn answer<'s>(
    question: &Question<'_>,
    said: &'s [Verified<Step>],
    policy: &PolicyDocument,
) -> Option<&'s Verified<Step>> {
    said.iter().rev().find(|it| {
        it.index() >= question.asked_at
            && question.awaited.is_of(question.host, it.says())
            && question.by.is_among(it.signers(), policy)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::digest::Digest;
    use crate::key::SecretKey;
    use crate::policy::{Department, LogKey};
    use crate::statement::{StepResult, Validity};

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn key(seed: u8) -> KeyId {
        SecretKey::from_seed([seed; 32]).public().id()
    }

    fn policy() -> PolicyDocument {
        let key = SecretKey::from_seed([1; 32]).public();
        let log = LogKey { origin: "cutover.example.org/log".to_owned(), key };
        let mut document = PolicyDocument::bare(log, "2027-01-01T00:00:00Z".parse().unwrap());
        let owners = BTreeSet::from([name("olga")]);
        document.departments.push(Department { name: name("mainframe"), owners });
        document
    }

    fn said(index: u64, owner: &str, step: &str, direction: Direction) -> Verified<Step> {
        Verified {
            id: Digest::of(&index.to_be_bytes()),
            index,
            header: Validity {
                issued: "2026-12-01T00:00:00Z".parse().unwrap(),
                not_before: None,
                not_after: None,
            },
            signers: [Signer { key: key(9), owner: name(owner) }].into(),
            says: Step {
                booking: Digest::of(b"booking"),
                host: name("gw-1"),
                host_key: key(2),
                step: name(step),
                direction,
                result: StepResult::Done { note: String::new() },
            },
        }
    }

    #[test]
    fn what_a_host_reports_is_read_back() {
        for direction in [Direction::Forward, Direction::Back] {
            let awaited = Awaited { step: name("stop-batch"), direction };
            assert_eq!(Awaited::parse(&awaited.to_string()), Some(awaited));
        }
        for other in ["baking", "manual step ", "manual step No Name", "step stop-batch"] {
            assert_eq!(Awaited::parse(other), None, "{other}");
        }
    }

    #[test]
    fn only_what_was_said_of_this_step_to_this_host_after_it_asked_answers() {
        let awaited = Awaited { step: name("stop-batch"), direction: Direction::Forward };
        let (host, other) = (key(2), key(3));
        let asked =
            |host, asked_at| Question { host, awaited: &awaited, by: &Doer::Operator, asked_at };
        let right = said(7, "otto", "stop-batch", Direction::Forward);
        let index = |question: &Question<'_>, said: &[Verified<Step>]| {
            answer(question, said, &policy()).map(Verified::index)
        };
        let right = std::slice::from_ref(&right);
        assert_eq!(index(&asked(&host, 7), right), Some(7));
        assert_eq!(index(&asked(&host, 8), right), None, "signed before it was asked");
        assert_eq!(index(&asked(&other, 7), right), None, "another host's");
        for wrong in [
            said(7, "otto", "start-batch", Direction::Forward),
            said(7, "otto", "stop-batch", Direction::Back),
        ] {
            assert_eq!(index(&asked(&host, 7), &[wrong]), None);
        }
        let both = [right[0].clone(), said(9, "otto", "stop-batch", Direction::Forward)];
        assert_eq!(index(&asked(&host, 7), &both), Some(9), "the newest counts");
    }

    #[test]
    fn a_departments_step_is_answered_by_those_who_speak_for_it() {
        let awaited = Awaited { step: name("stop-batch"), direction: Direction::Forward };
        let host = key(2);
        let index = |by: &Doer, owner: &str| {
            let question = Question { host: &host, awaited: &awaited, by, asked_at: 0 };
            let said = [said(7, owner, "stop-batch", Direction::Forward)];
            answer(&question, &said, &policy()).map(Verified::index)
        };
        assert_eq!(index(&Doer::parse("mainframe").unwrap(), "olga"), Some(7));
        assert_eq!(index(&Doer::parse("mainframe").unwrap(), "otto"), None);
        assert_eq!(index(&Doer::parse("networks").unwrap(), "olga"), None, "nobody's department");
        assert_eq!(index(&Doer::parse("operator").unwrap(), "otto"), Some(7));
        assert_eq!(index(&Doer::parse("gateway").unwrap(), "otto"), None);
    }
}
