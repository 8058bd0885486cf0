//! Statements that make an exception: pre-approvals, overrides of freezes, waivers.

use std::collections::BTreeSet;

use super::{Exam, State, refuse};
use crate::digest::Digest;
use crate::key::KeyId;
use crate::name::Name;
use crate::policy::{KeyEntry, KeyStatus, Role, Signer};
use crate::refusal::{Code, Refusal};
use crate::statement::{Override, Release, Says, Standard, Template, Waiver};

impl State {
    /// Who can sign an exception as its second owner, when the holder of `first` is its first: nobody is
    /// `role-missing`, so that it is heard of before the file is passed on.
    pub fn cosigners(&self, says: &Says, first: &KeyId) -> Result<BTreeSet<Name>, Refusal> {
        let (release, environment, exception) = if let Says::Override(it) = says {
            let booking = self.booking(&it.booking);
            (it.release, booking.map(|(_, it)| &it.booking.says.environment), None)
        } else if let Says::Waiver(it) = says {
            (it.release, Some(&it.environment), Some(it.exception))
        } else {
            return Ok(BTreeSet::new());
        };
        let known = (self.policy(), self.case(&release), environment);
        let (Some(policy), Some(case), Some(environment)) = known else {
            return refuse(Code::SubjectUnknown, "what the exception is for is not known");
        };
        let application = &case.release.says.application;
        let rule = policy.rule(environment, case.release.says.change)?;
        let roles = match exception {
            Some(what) => rule.waivable.iter().find(|it| it.exception == what).map(|it| it.by),
            None => rule.freeze_override.map(|role| [Role::ChangeManager, role]),
        };
        let (Some(roles), Some(mine)) = (roles, policy.entry(first)) else {
            return refuse(Code::RoleMissing, "you hold no role that the exception takes");
        };
        let authors = case.release.owners();
        let signer = |it: &KeyEntry| Signer { key: it.key.id(), owner: it.owner.clone() };
        let pairs = |it: &&KeyEntry| {
            it.status == KeyStatus::Active
                && it.owner != mine.owner
                && !authors.contains(&it.owner)
                && policy.is_pair(&[signer(mine), signer(it)], roles, application, environment)
        };
        let others: BTreeSet<_> =
            policy.document().keys.iter().filter(pairs).map(|it| it.owner.clone()).collect();
        if !others.is_empty() {
            return Ok(others);
        }
        let [one, other] = roles.map(Role::name);
        let facts = format!(
            "nobody can sign it beside {}: it takes a {one} and another owner who is {other}, for \
             {application} in {environment}",
            mine.owner
        );
        refuse(Code::RoleMissing, facts)
    }
}

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
