//! Rules 26 and 27: other departments' yes, and the conditions of the board's.

use serde::Serialize;

use super::exception::waived;
use super::{Question, policy_rule, refuse};
use crate::case::{Case, Verified};
use crate::fold::State;
use crate::name::Name;
use crate::policy::Exception;
use crate::refusal::{Code, Refusal};
use crate::statement::{Consult, TaskKind};
use crate::time::Time;

/// What a department has said of a release in an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Nothing that counts.
    None,
    /// Yes, and nobody who speaks for it says no.
    Yes,
    /// No.
    No,
}

impl Answer {
    /// The word; nothing where nothing was said.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Yes => "yes",
            Self::No => "no",
        }
    }
}

/// Where a department stands on a release in an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standpoint<'a> {
    /// The department.
    pub department: &'a Name,
    /// Whether it must have said yes: the policy's rule says so, or somebody who asked it.
    pub mandatory: bool,
    /// What it has said.
    pub answer: Answer,
}

/// The departments that must answer, or were asked, or have answered, in the order of their names.
pub fn standpoints<'a>(
    state: &'a State,
    case: &'a Case,
    environment: &Name,
    now: Time,
) -> Vec<Standpoint<'a>> {
    let change = case.release.says().change;
    let rule = state.policy().and_then(|policy| policy.rule(environment, change).ok());
    let mut found: Vec<Standpoint<'a>> = Vec::new();
    let mut add = |department: &'a Name, mandatory| match found
        .iter_mut()
        .find(|it| it.department == department)
    {
        Some(known) => known.mandatory |= mandatory,
        None => {
            let answer = answer(state, case, department, environment, now);
            found.push(Standpoint { department, mandatory, answer });
        }
    };
    for department in rule.iter().flat_map(|rule| &rule.consults) {
        add(department, true);
    }
    for consult in case.consults.iter().map(Verified::says) {
        if consult.environments().contains(environment) {
            let mandatory = matches!(consult, Consult::Asked { mandatory: true, .. });
            add(consult.department(), mandatory);
        }
    }
    found.sort_by_key(|it| it.department);
    found
}

/// The last answer of each of the department's owners counts, as long as the policy lets that owner speak
/// for it.
fn answer(state: &State, case: &Case, department: &Name, environment: &Name, now: Time) -> Answer {
    let known = state.policy().and_then(|it| it.department(department));
    let Some(known) = known else { return Answer::None };
    let mut answer = Answer::None;
    let mut answers = case.answers_of(department, environment);
    answers.retain(|owner, _| known.owners.contains(*owner));
    for said in answers.into_values() {
        let Consult::Answered { judgement, .. } = said.says() else { continue };
        // A no does not run out.
        if !judgement.is_accepted() {
            return Answer::No;
        }
        if said.header().covers(now) {
            answer = Answer::Yes;
        }
    }
    answer
}

// 26
pub(super) fn consulted(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    policy_rule(q, case, booking)?;
    let environment = &booking.booking.says().environment;
    let excepted = waived(q, (case, booking), Exception::Consults);
    let standpoints = standpoints(q.state, case, environment, q.now);
    for Standpoint { department, answer, .. } in standpoints.iter().filter(|it| it.mandatory) {
        let facts = match answer {
            Answer::Yes => continue,
            Answer::None if excepted => continue,
            Answer::None => format!("{department} has not answered for {environment}"),
            Answer::No => format!("{department} says no for {environment}"),
        };
        return refuse(Code::NotConsulted, facts);
    }
    Ok(())
}

/// A condition of an approval, and whether it was confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition<'a> {
    /// Its task.
    pub task: TaskKind,
    /// The board member who set it.
    pub set_by: &'a Name,
    /// What has to be.
    pub text: &'a str,
    /// Who confirmed it; nobody yet.
    pub confirmed_by: Option<&'a Name>,
}

/// The conditions of the approvals that count for an environment, in the order of the owners.
pub fn conditions<'a>(case: &'a Case, environment: &Name) -> Vec<Condition<'a>> {
    let mut all = Vec::new();
    for (owner, vote) in case.votes_for(environment) {
        for (number, text) in (1..).zip(&vote.says().conditions) {
            let task = TaskKind::Condition { vote: vote.id(), number };
            let done = case.task_done(task).map(Verified::signers);
            let confirmed_by = done.and_then(|it| it.first()).map(|signer| &signer.owner);
            all.push(Condition { task, set_by: owner, text, confirmed_by });
        }
    }
    all
}

// 27
pub(super) fn conditions_met(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let environment = &booking.booking.says().environment;
    let open: Vec<_> = conditions(case, environment)
        .into_iter()
        .filter(|it| it.confirmed_by.is_none())
        .map(|it| format!("{:?} of {}", it.text, it.set_by))
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    refuse(Code::ConditionOpen, format!("not confirmed: {}", open.join("; ")))
}
