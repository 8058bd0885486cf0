//! Rules 52 to 55: an ordered return.

use std::collections::BTreeSet;

use super::{Question, refuse};
use crate::fold::RollbackCase;
use crate::policy::Role;
use crate::refusal::{Code, Refusal};

pub(super) fn rollback_case<'a>(q: &Question<'a>) -> Result<&'a RollbackCase, Refusal> {
    let none = || Refusal::new(Code::RollbackNotAuthorised, "no good rollback statement is known");
    q.state.rollback(&q.order).ok_or_else(none)
}

// 52
pub(super) fn return_for_this_host(q: &Question<'_>) -> Result<(), Refusal> {
    let case = rollback_case(q)?;
    let says = case.rollback.says();
    if says.environment != q.host.environment {
        return refuse(Code::WrongEnvironment, format!("the rollback is for {}", says.environment));
    }
    if !q.host.applications.contains(&says.application) {
        return refuse(
            Code::WrongApplication,
            format!("{} has no {}", q.host.host, says.application),
        );
    }
    if says.hosts.iter().any(|it| it.host_key == q.host.host_key) {
        return Ok(());
    }
    refuse(Code::WrongHost, format!("the rollback does not name {}", q.host.host))
}

// 53
pub(super) fn return_generation(q: &Question<'_>) -> Result<(), Refusal> {
    let case = rollback_case(q)?;
    let turn = case.rollback.says().hosts.iter().find(|it| it.host_key == q.host.host_key);
    let installed = &q.host.installed;
    match turn {
        Some(turn)
            if turn.generation == installed.generation && !installed.spent.contains(&q.order) =>
        {
            Ok(())
        }
        Some(turn) => refuse(
            Code::GenerationPassed,
            format!(
                "signed for generation {}, the host is at {}",
                turn.generation, installed.generation
            ),
        ),
        None => refuse(Code::WrongHost, format!("the rollback does not name {}", q.host.host)),
    }
}

// 54
pub(super) fn return_target(q: &Question<'_>) -> Result<(), Refusal> {
    let case = rollback_case(q)?;
    let says = case.rollback.says();
    if let Some(denial) = q.state.denial(&says.to) {
        return refuse(Code::Denied, format!("security denied the package ({})", denial.short()));
    }
    let role = q.policy()?.holders(
        case.rollback.signers(),
        Role::ChangeManager,
        Some(&says.application),
        &BTreeSet::from([says.environment.clone()]),
    );
    if role.is_empty() {
        return refuse(Code::RollbackNotAuthorised, "not signed by a change manager");
    }
    if q.host.installed.running != Some(says.from) {
        return refuse(Code::RollbackNotAuthorised, "another package runs than the one to leave");
    }
    if q.host.installed.previous != Some(says.to) {
        return refuse(Code::RollbackNotAuthorised, "it does not go to the release before");
    }
    Ok(())
}

// 55
pub(super) fn return_in_time(q: &Question<'_>) -> Result<(), Refusal> {
    let case = rollback_case(q)?;
    if case.rollback.header().covers(q.now) {
        return Ok(());
    }
    refuse(Code::WindowClosed, "the rollback has run out")
}
