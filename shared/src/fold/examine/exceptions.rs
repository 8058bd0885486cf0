//! Statements that make an exception: pre-approvals, overrides of freezes, waivers.

use std::collections::BTreeSet;

use super::{Exam, refuse};
use crate::digest::Digest;
use crate::name::Name;
use crate::policy::Role;
use crate::refusal::{Code, Refusal};
use crate::statement::{Override, Release, Standard, Template, Waiver};

impl Exam<'_> {
    pub(super) fn standard(&self, it: &Standard) -> Result<(), Refusal> {
        match it {
            Standard::Approved(template) => self.template(template),
            Standard::Withdrawn { standard, .. } => {
                let Some(record) = self.state.standards.get(standard) else {
                    return refuse(Code::SubjectUnknown, format!("no pre-approval {standard}"));
                };
                let template = record.approved.says();
                let roles = [Role::ChangeManager, Role::Security];
                self.any_role(&roles, Some(&template.application), &template.environments)
            }
        }
    }

    fn template(&self, it: &Template) -> Result<(), Refusal> {
        if self.statement.header.not_after.is_none() || it.environments.is_empty() {
            return refuse(Code::Malformed, "a pre-approval needs not_after and an environment");
        }
        self.role(Role::ChangeManager, Some(&it.application), &it.environments)
    }

    pub(super) fn freeze_override(&self, it: &Override) -> Result<(), Refusal> {
        let Some((case, booking)) = self.state.booking(&it.booking) else {
            return refuse(Code::SubjectUnknown, format!("no booking {}", it.booking));
        };
        if case.release.id != it.release {
            return refuse(Code::DigestMismatch, "the booking is of another release");
        }
        let named: BTreeSet<_> = it.freezes.iter().map(|passed| passed.freeze).collect();
        if named.is_empty() || named.len() < it.freezes.len() {
            return refuse(Code::Malformed, "an override names freezes, each once");
        }
        if let Some(unknown) = named.iter().find(|id| self.state.freezes.get(id).is_none()) {
            return refuse(Code::SubjectUnknown, format!("no freeze {unknown}"));
        }
        let (environment, release) = (&booking.booking.says.environment, &case.release.says);
        match self.policy.rule(environment, release.change)?.freeze_override {
            Some(role) => {
                let roles = [Role::ChangeManager, role];
                self.joint(&it.release, release, environment, roles)
            }
            None => refuse(
                Code::NotWaivable,
                format!(
                    "the policy lets nobody pass a freeze with {} changes in {environment}",
                    release.change
                ),
            ),
        }
    }

    pub(super) fn waiver(&self, it: &Waiver) -> Result<(), Refusal> {
        if self.statement.header.not_after.is_none() {
            return refuse(Code::Malformed, "a waiver needs not_after");
        }
        let release = self.known_release(&it.release)?;
        if !release.environments.contains(&it.environment) {
            return refuse(
                Code::WrongEnvironment,
                format!("the release is not for {}", it.environment),
            );
        }
        let rule = self.policy.rule(&it.environment, release.change)?;
        match rule.waivable.iter().find(|listed| listed.exception == it.exception) {
            Some(listed) => self.joint(&it.release, release, &it.environment, listed.by),
            None => refuse(
                Code::NotWaivable,
                format!(
                    "the policy lets nobody do without {} for {} changes in {}",
                    it.exception, release.change, it.environment
                ),
            ),
        }
    }

    /// Two owners sign, one for each role, and neither of them submitted the release.
    fn joint(
        &self,
        id: &Digest,
        release: &Release,
        environment: &Name,
        roles: [Role; 2],
    ) -> Result<(), Refusal> {
        let authors = self.state.cases.get(id).map(|case| case.release.owners());
        let signers = self.signers.iter().map(|signer| &signer.owner);
        if let Some(owner) =
            signers.clone().find(|owner| authors.as_ref().is_some_and(|it| it.contains(owner)))
        {
            let facts = format!("{owner} submitted the release and signed an exception for it");
            return refuse(Code::DutiesNotSeparate, facts);
        }
        if self.policy.is_pair(&self.signers, roles, &release.application, environment) {
            return Ok(());
        }
        let owners: BTreeSet<_> = signers.map(Name::as_str).collect();
        let code = if owners.len() < 2 { Code::ThresholdNotMet } else { Code::RoleMissing };
        let signed = owners.into_iter().collect::<Vec<_>>().join(", ");
        refuse(
            code,
            format!(
                "a {} takes a {} and another owner who is {}, for {} in {environment}; signed by {}",
                self.statement.says.predicate(),
                roles[0].name(),
                roles[1].name(),
                release.application,
                if signed.is_empty() { "no known key" } else { &signed }
            ),
        )
    }
}
