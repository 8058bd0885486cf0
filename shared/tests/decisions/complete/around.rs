//! What is said around the decisions, in drawn histories: answers of departments, rehearsals, conditions,
//! tasks, steps, acknowledgements, closures; by those who may say it and by those who may not.

use std::time::Duration;

use cutover_shared::digest::Digest;
use cutover_shared::policy::{Department, PolicyDocument};
use cutover_shared::statement::{
    Acknowledgement, Closure, ClosureResult, Consult, Direction, Judgement, PostReview, Rehearsal,
    Rehearsed, Step, StepResult, Task, TaskChange, TaskKind, Vote,
};
use proptest::prelude::*;

use super::{HOSTS, Tale, pick};
use crate::world::{self, key, name, names};

const DEPARTMENTS: [&str; 2] = ["networks", "desk"];

/// Networks must have said yes before production, and somebody must have rehearsed it.
pub(super) fn document(version: u64) -> PolicyDocument {
    let mut document = world::document(version);
    let speak = |department: &str, owners: &[&str]| Department {
        name: name(department),
        owners: names(owners),
    };
    document.departments = vec![speak("networks", &["ops", "max"]), speak("desk", &["bob", "sue"])];
    document.rules[1].consults = names(&["networks"]);
    document.rules[1].rehearsals = 1;
    document
}

/// What may be said next. Numbers choose among what there is.
#[derive(Debug, Clone)]
pub(super) enum Around {
    Ask { release: u8, department: u8, mandatory: bool, by: u8 },
    Answer { release: u8, department: u8, accept: bool, by: u8 },
    Rehearse { release: u8, passed: bool, by: u8 },
    VoteIf { release: u8, by: u8 },
    Confirm { release: u8, vote: u8, number: u8, by: u8 },
    Task { release: u8, kind: u8, done: bool, by: u8 },
    Step { booking: u8, host: u8, done: bool, by: u8 },
    Acknowledge { release: u8, seen: u8, by: u8 },
    Close { release: u8, result: u8, reviewed: bool, by: u8 },
    CloseEmergency { emergency: u8, by: u8 },
}

pub(super) fn around() -> impl Strategy<Value = Around> {
    use Around as A;
    let any3 = || (any::<u8>(), any::<u8>(), any::<u8>());
    prop_oneof![
        2 => (any3(), any::<bool>()).prop_map(|((release, department, by), mandatory)| {
            A::Ask { release, department, mandatory, by }
        }),
        4 => (any3(), proptest::bool::weighted(0.8)).prop_map(|((release, department, by), accept)| {
            A::Answer { release, department, accept, by }
        }),
        4 => (any::<u8>(), proptest::bool::weighted(0.8), any::<u8>())
            .prop_map(|(release, passed, by)| A::Rehearse { release, passed, by }),
        3 => (any::<u8>(), any::<u8>()).prop_map(|(release, by)| A::VoteIf { release, by }),
        4 => (any3(), 0..3_u8).prop_map(|((release, vote, by), number)| {
            A::Confirm { release, vote, number, by }
        }),
        2 => (any3(), any::<bool>())
            .prop_map(|((release, kind, by), done)| A::Task { release, kind, done, by }),
        2 => (any3(), any::<bool>())
            .prop_map(|((booking, host, by), done)| A::Step { booking, host, done, by }),
        1 => any3().prop_map(|(release, seen, by)| A::Acknowledge { release, seen, by }),
        1 => (any3(), any::<bool>()).prop_map(|((release, result, by), reviewed)| {
            A::Close { release, result, reviewed, by }
        }),
        1 => (any::<u8>(), any::<u8>())
            .prop_map(|(emergency, by)| A::CloseEmergency { emergency, by }),
    ]
}

fn judgement(accept: bool) -> Judgement {
    let reason = "so".to_owned();
    if accept { Judgement::Accepted { reason } } else { Judgement::Denied { reason } }
}

impl Tale {
    pub(super) fn around(&mut self, around: &Around) -> Option<()> {
        match *around {
            Around::Ask { release, department, mandatory, by } => {
                let (release, _) = pick(&self.releases, release)?;
                let says = Consult::Asked {
                    release,
                    environments: names(&["production"]),
                    department: name(pick(&DEPARTMENTS, department)?),
                    question: "may it?".to_owned(),
                    mandatory,
                };
                self.say(pick(&["lib", "max", "sec"], by)?, says);
            }
            Around::Answer { release, department, accept, by } => {
                let (release, _) = pick(&self.releases, release)?;
                let department = pick(&DEPARTMENTS, department)?;
                let by = pick(&["ops", "max", "bob", "sue"], by)?;
                self.answer(release, department, accept, by);
            }
            Around::Rehearse { release, passed, by } => {
                let release = pick(&self.releases, release)?;
                self.rehearse(release, passed, pick(&["bob", "ops", "sue"], by)?);
            }
            Around::VoteIf { release, by } => {
                let (release, _) = pick(&self.releases, release)?;
                let (environments, judgement) = (names(&["production"]), judgement(true));
                let conditions = vec!["a backup".to_owned(), "a person there".to_owned()];
                let by = pick(&["bea", "bob", "sue"], by)?;
                let vote = self.say(by, Vote { release, environments, judgement, conditions });
                self.votes.push(vote);
            }
            Around::Confirm { release, vote, number, by } => {
                let (release, _) = pick(&self.releases, release)?;
                let kind =
                    TaskKind::Condition { vote: pick(&self.votes, vote)?, number: number.into() };
                let change = TaskChange::Done { note: String::new() };
                self.say(pick(&["bob", "lib", "sue"], by)?, Task { release, kind, change });
            }
            Around::Task { release, kind, done, by } => {
                let (release, _) = pick(&self.releases, release)?;
                let kind = pick(TaskKind::COMMON, kind)?;
                let change = if done {
                    TaskChange::Done { note: String::new() }
                } else {
                    TaskChange::Assigned { to: name("ops") }
                };
                self.say(pick(&["lib", "max", "ops"], by)?, Task { release, kind, change });
            }
            Around::Step { booking, host, done, by } => self.step(booking, host, done, by)?,
            Around::Acknowledge { release, seen, by } => {
                let (release, _) = pick(&self.releases, release)?;
                let seen = pick(&self.bookings, seen).map_or(release, |way| way.booking);
                self.say(pick(&["bea", "sue"], by)?, Acknowledgement { release, seen });
            }
            Around::Close { release, result, reviewed, by } => {
                let (release, _) = pick(&self.releases, release)?;
                let findings = "as planned".to_owned();
                let review = PostReview { findings, actions: Vec::new(), reference: None };
                let review = reviewed.then_some(review);
                let result = pick(ClosureResult::ALL, result)?;
                self.say(pick(&["max", "sue"], by)?, Closure::Release { release, result, review });
            }
            Around::CloseEmergency { emergency, by } => {
                let grounds = pick(&self.emergencies, emergency)?;
                let summary = "it is out".to_owned();
                self.say(pick(&["max", "sue"], by)?, Closure::Emergency { grounds, summary });
            }
        }
        Some(())
    }

    pub(super) fn answer(&mut self, release: Digest, department: &str, accept: bool, by: &str) {
        let (environments, department) = (names(&["production"]), name(department));
        let judgement = judgement(accept);
        self.say(by, Consult::Answered { release, environments, department, judgement });
    }

    pub(super) fn rehearse(
        &mut self,
        (release, package): (Digest, Digest),
        passed: bool,
        by: &str,
    ) {
        let (applied_in, returned_in) = (Duration::from_secs(9), Duration::from_secs(5));
        let result = if passed {
            Rehearsed::Passed { applied_in, returned_in }
        } else {
            Rehearsed::Failed { step: "start".to_owned(), reason: "no port".to_owned() }
        };
        let says = Rehearsal {
            release,
            package,
            earlier: None,
            result,
            steps: Vec::new(),
            sandbox: "bubblewrap".to_owned(),
            transcript: Digest::of(b"transcript"),
        };
        self.say(by, says);
    }

    fn step(&mut self, booking: u8, host: u8, done: bool, by: u8) -> Option<()> {
        let way = pick(&[&self.bookings[..], &self.rollbacks].concat(), booking)?;
        let (host, signs) = (pick(&HOSTS, host)?, pick(&self.keys, host)?);
        let result = if done {
            StepResult::Done { note: String::new() }
        } else {
            StepResult::Failed { reason: "no tape".to_owned() }
        };
        let says = Step {
            booking: way.booking,
            host: name(host),
            host_key: key(&signs).public().id(),
            step: name("ipl"),
            direction: if by.is_multiple_of(3) { Direction::Back } else { Direction::Forward },
            result,
        };
        self.say(pick(&["ops", "ops", "max", "sue"], by)?, says);
        Some(())
    }
}
