//! Rules 26 and 27: other departments' yes, and the conditions of the board's.

use std::collections::BTreeSet;

use super::exception::waived;
use super::{Question, policy_rule, refuse};
use crate::case::{Case, Verified};
use crate::name::Name;
use crate::policy::Exception;
use crate::refusal::{Code, Refusal};
use crate::statement::{Consult, TaskKind};

/// What a department has said of a release in an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nothing that counts.
    None,
    /// Yes, and nobody who speaks for it says no.
    Yes,
    /// No.
    No,
}

/// The departments that must have said yes: those of the policy's rule, and those that were asked so.
pub fn mandatory_departments<'a>(
    case: &'a Case,
    environment: &Name,
    by_rule: &'a BTreeSet<Name>,
) -> BTreeSet<&'a Name> {
    let asked = case.consults.iter().filter_map(|it| match it.says() {
        Consult::Asked { environments, department, mandatory: true, .. }
            if environments.contains(environment) =>
        {
            Some(department)
        }
        Consult::Asked { .. } | Consult::Answered { .. } => None,
    });
    by_rule.iter().chain(asked).collect()
}

/// What a department has said, as it stands at `now`. The last answer of each of its owners counts, as long
/// as the policy lets that owner speak for it.
pub fn answer(q: &Question<'_>, case: &Case, department: &Name, environment: &Name) -> Answer {
    let known = q.state.policy().and_then(|it| it.department(department));
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
        if said.header().covers(q.now) {
            answer = Answer::Yes;
        }
    }
    answer
}

// 26
pub(super) fn consulted(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let rule = policy_rule(q, case, booking)?;
    let environment = &booking.booking.says().environment;
    let excepted = waived(q, (case, booking), Exception::Consults);
    for department in mandatory_departments(case, environment, &rule.consults) {
        match answer(q, case, department, environment) {
            Answer::Yes => {}
            Answer::None if excepted => {}
            Answer::None => {
                let facts = format!("{department} has not answered for {environment}");
                return refuse(Code::NotConsulted, facts);
            }
            Answer::No => {
                return refuse(
                    Code::NotConsulted,
                    format!("{department} says no for {environment}"),
                );
            }
        }
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
