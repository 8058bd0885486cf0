//! What they say around the decisions: other departments, those who rehearse, who confirms a condition,
//! who closes.

use std::time::Duration;

use cutover_shared::digest::Digest;
use cutover_shared::statement::{
    Closure, ClosureResult, Consult, PostReview, Rehearsal, Rehearsed, Says, Task, TaskChange,
    TaskKind, Vote,
};

use super::super::fleet::Fleet;
use super::super::rules::STRICT;
use super::super::scenario::{Act, Word};
use super::judged;
use crate::world::{accepted, name, names, vote};

impl Fleet {
    /// Who says what, where one statement is all there is to it.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "whatever else somebody does is said elsewhere"
    )]
    pub(super) fn said_around(&self, act: &Act) -> Option<(&'static str, Says)> {
        let environments = names(&[STRICT]);
        let drafted = |draft: &usize| self.people.releases.get(draft).copied();
        Some(match act {
            Act::Ask(draft, department) => {
                let asked = Consult::Asked {
                    release: drafted(draft)?.0,
                    environments,
                    department: name(department),
                    question: "does it get through to you?".to_owned(),
                    mandatory: true,
                };
                ("lena", asked.into())
            }
            Act::Answer(draft, department, who, word) => {
                let (release, department) = (drafted(draft)?.0, name(department));
                let judgement = judged(*word);
                (who, Consult::Answered { release, environments, department, judgement }.into())
            }
            Act::Rehearse(draft, who, word) => {
                (who, rehearsal(drafted(draft)?, *word == Word::Yes).into())
            }
            Act::Confirm(draft, who) => {
                let vote = *self.people.conditions.get(draft)?;
                let kind = TaskKind::Condition { vote, number: 1 };
                let change = TaskChange::Done { note: "it is so".to_owned() };
                (who, Task { release: drafted(draft)?.0, kind, change }.into())
            }
            Act::Close(draft, who, result) => (who, closure(drafted(draft)?.0, *result).into()),
            _ => return None,
        })
    }

    /// A board member says yes, on a condition.
    pub(super) fn vote_if(&mut self, draft: usize, who: &'static str, what: &str) {
        let Some((release, _)) = self.people.releases.get(&draft).copied() else { return };
        let conditions = vec!["there is a backup".to_owned()];
        let says = Vote { conditions, ..vote(release, &[STRICT], accepted()) };
        let id = self.say(who, what, says);
        self.people.conditions.insert(draft, id);
    }
}

fn rehearsal((release, package): (Digest, Digest), passed: bool) -> Rehearsal {
    let result = if passed {
        let (applied_in, returned_in) = (Duration::from_secs(9), Duration::from_secs(5));
        Rehearsed::Passed { applied_in, returned_in }
    } else {
        Rehearsed::Failed { step: "start".to_owned(), reason: "no such file".to_owned() }
    };
    Rehearsal {
        release,
        package,
        earlier: None,
        result,
        steps: Vec::new(),
        sandbox: "bubblewrap".to_owned(),
        transcript: Digest::of(b"transcript"),
    }
}

fn closure(release: Digest, result: ClosureResult) -> Closure {
    let review =
        PostReview { findings: "as was planned".to_owned(), actions: Vec::new(), reference: None };
    Closure::Release { release, result, review: Some(review) }
}
