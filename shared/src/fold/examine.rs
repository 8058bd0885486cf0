//! The examination of one statement: is it well signed, by someone with the role, about things that are
//! known? What several statements add up to is not decided here but in [`mod@crate::authorise`].

mod exceptions;
mod process;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::State;
use super::signed::{Sealed, Signed, unreadable};
use crate::case::Verified;
use crate::digest::Digest;
use crate::key::KeyId;
use crate::name::Name;
use crate::policy::{Role, Signer, TrustPolicy};
use crate::refusal::{Code, Refusal};
use crate::statement::{
    Booking, Calendar, Cancel, Emergency, Enrolment, Event, Freeze, Grant, Header, HostChange,
    IterationApproval, Outcome, Release, Resume, Rollback, Says, Statement, WindowRelease,
};

/// A statement that passed its examination against one state.
#[derive(Debug, Clone)]
pub struct Examined {
    pub(super) statement: Verified<Says>,
    pub(super) policy: Option<TrustPolicy>,
    pub(super) vouchers: BTreeSet<Name>,
}

impl Examined {
    /// The statement's identity.
    pub fn id(&self) -> Digest {
        self.statement.id
    }

    /// What it says.
    pub fn says(&self) -> &Says {
        &self.statement.says
    }

    /// The statement.
    pub fn statement(&self) -> &Verified<Says> {
        &self.statement
    }
}

fn refuse<T>(code: Code, facts: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(code, facts))
}

struct Exam<'a> {
    state: &'a State,
    policy: &'a TrustPolicy,
    signed: &'a Signed,
    signers: Arc<[Signer]>,
    statement: &'a Statement,
}

impl State {
    /// Examines a statement that would stand at `index`. Pure: the state does not change.
    pub fn examine(&self, index: u64, envelope: &[u8]) -> Result<Examined, Refusal> {
        let sealed = Sealed::read(envelope)?;
        let signed = match self.policy().filter(|it| it.id() == sealed.id) {
            // What the policy in force says was read before: its identity is a digest of that.
            Some(known) => {
                let says = Says::TrustPolicy(Box::new(known.document().clone()));
                let header = Header::read(&sealed.envelope).map_err(|error| unreadable(&error))?;
                Signed { sealed, statement: Statement { header, says } }
            }
            None => sealed.open()?,
        };
        self.examine_signed(index, signed)
    }

    /// Examines a statement that was read.
    pub(super) fn examine_signed(&self, index: u64, signed: Signed) -> Result<Examined, Refusal> {
        if let Says::TrustPolicy(_) = signed.statement.says {
            return self.examine_policy(signed, index);
        }
        let Some(policy) = self.policy() else {
            return refuse(Code::SubjectUnknown, "the log has no trust policy yet");
        };
        let predicate = signed.statement.says.predicate();
        if !policy.in_force(predicate) {
            return refuse(Code::PredicateUnknown, format!("the policy does not list {predicate}"));
        }
        let mut valid = signed.signers(|key| policy.entry(key).map(|entry| entry.key.clone()))?;
        // One voice a statement, its speaker's: else one person's vote with another's signature beside it
        // would be two. What takes two owners is another matter.
        valid.retain(|key| predicate.is_joint() || signed.statement.header.by == Some(*key));
        let signers = policy.signers(&valid, index);
        let statement = &signed.statement;
        let exam = Exam { state: self, policy, signed: &signed, signers, statement };
        let vouchers = exam.check()?;
        let signers = exam.signers;
        let statement = verified(signed, index, signers);
        Ok(Examined { statement, policy: None, vouchers })
    }

    fn examine_policy(&self, signed: Signed, index: u64) -> Result<Examined, Refusal> {
        let envelope = &signed.sealed.envelope;
        let policy = match self.policy() {
            // A part of the log may restate the policy that is trusted already: that tells its place.
            Some(current) if current.id() == signed.id() => {
                let policy = current.clone();
                return in_force(policy, signed, index);
            }
            Some(current) => current.successor(envelope)?,
            None => TrustPolicy::pinned(envelope, &signed.id())?,
        };
        if let Some(epoch) = &policy.document().epoch
            && epoch.last_good.size != index
        {
            return refuse(
                Code::CheckpointInconsistent,
                format!(
                    "the policy comes after {} entries that were saved, not at {index}",
                    epoch.last_good.size
                ),
            );
        }
        in_force(policy, signed, index)
    }
}

/// A policy whose place in the chain was verified.
fn in_force(policy: TrustPolicy, signed: Signed, index: u64) -> Result<Examined, Refusal> {
    let valid = signed.signers(|key| policy.entry(key).map(|entry| entry.key.clone()))?;
    let signers = policy.signers(&valid, index);
    let statement = verified(signed, index, signers);
    Ok(Examined { statement, policy: Some(policy), vouchers: BTreeSet::new() })
}

fn verified(signed: Signed, index: u64, signers: Arc<[Signer]>) -> Verified<Says> {
    let Signed { sealed, statement: Statement { header, says } } = signed;
    Verified { id: sealed.id, index, header: header.validity(), signers, says }
}

impl Exam<'_> {
    /// The owners who vouch for a host, where the statement enrols one; else nothing.
    fn check(&self) -> Result<BTreeSet<Name>, Refusal> {
        match &self.statement.says {
            Says::Host(HostChange::Enrolled(it)) => return self.enrolment(it),
            Says::Host(HostChange::Retired { host_key, host, .. }) => {
                let Some(record) = self.state.hosts.get(host_key) else {
                    return refuse(
                        Code::SubjectUnknown,
                        format!("no host {host} with key {host_key}"),
                    );
                };
                self.role(Role::Operator, None, [&record.enrolment.says.environment])?;
            }
            Says::Grant(it) => self.grant(it)?,
            Says::Release(it) => self.release(it)?,
            Says::Emergency(Emergency::Opened { application, environments, .. }) => {
                if self.statement.header.not_after.is_none() {
                    return refuse(Code::Malformed, "an open emergency needs not_after");
                }
                self.role(Role::ChangeManager, Some(application), environments)?;
            }
            Says::Emergency(Emergency::Approved(it)) => self.iteration_approval(it)?,
            Says::Rehearsal(it) => self.rehearsal(it)?,
            Says::Review(it) => self.about(&it.release, &it.environments, &[Role::Librarian])?,
            Says::Assessment(it) => {
                self.same_package(&it.release, &it.package)?;
                self.about(&it.release, &it.environments, &[Role::Security])?;
            }
            Says::Vote(it) => self.vote(it)?,
            Says::Consult(it) => self.consult(it)?,
            Says::Booking(it) => self.booking(it)?,
            Says::Freeze(Freeze::Declared { environments, start, end, .. }) => {
                if start >= end || environments.is_empty() {
                    return refuse(Code::Malformed, "a freeze ends after it starts, somewhere");
                }
                self.role(Role::ChangeManager, None, environments)?;
            }
            Says::Freeze(Freeze::Lifted { freeze, .. }) => {
                let Some(record) = self.state.freezes.get(freeze) else {
                    return refuse(Code::SubjectUnknown, format!("no freeze {freeze}"));
                };
                if let Freeze::Declared { environments, .. } = &record.declared.says {
                    self.role(Role::ChangeManager, None, environments)?;
                }
            }
            Says::Standard(it) => self.standard(it)?,
            Says::Override(it) => self.freeze_override(it)?,
            Says::Waiver(it) => self.waiver(it)?,
            Says::Calendar(it) => self.calendar(it)?,
            Says::Delivery(it) => {
                self.same_package(&it.release, &it.package)?;
                self.about(&it.release, &BTreeSet::new(), &[Role::Librarian, Role::ChangeManager])?;
            }
            Says::WindowRelease(it) => self.window_release(it)?,
            Says::Hold(it) => {
                self.about(&it.release, &BTreeSet::new(), &[Role::ChangeManager, Role::Security])?;
            }
            Says::Resume(it) => self.resume(it)?,
            Says::Cancel(it) => self.cancel(it)?,
            Says::Rollback(it) => self.rollback(it)?,
            Says::Step(it) => self.step(it)?,
            Says::Outcome(it) => self.outcome(it)?,
            Says::Acknowledgement(it) => self.acknowledgement(it)?,
            Says::Task(it) => self.task(it)?,
            Says::Closure(it) => self.closure(it)?,
            Says::Clearance(_) | Says::TrustPolicy(_) => {
                return refuse(Code::Malformed, "this predicate is not for the log");
            }
        }
        Ok(BTreeSet::new())
    }

    /// Some signer holds `role` for the application and every environment.
    fn role<'b>(
        &self,
        role: Role,
        application: Option<&Name>,
        environments: impl IntoIterator<Item = &'b Name>,
    ) -> Result<(), Refusal> {
        self.any_role(&[role], application, &environments.into_iter().cloned().collect())
    }

    fn any_role(
        &self,
        roles: &[Role],
        application: Option<&Name>,
        environments: &BTreeSet<Name>,
    ) -> Result<(), Refusal> {
        let holds = |role: &Role| {
            !self.policy.holders(&self.signers, *role, application, environments).is_empty()
        };
        if roles.iter().any(holds) {
            return Ok(());
        }
        let roles: Vec<_> = roles.iter().map(|role| role.name()).collect();
        let signers: Vec<_> = self.signers.iter().map(|signer| signer.owner.as_str()).collect();
        refuse(
            Code::RoleMissing,
            format!(
                "a {} must be signed by {}{}; signed by {}",
                self.statement.says.predicate(),
                roles.join(" or "),
                application.map(|it| format!(" for {it}")).unwrap_or_default(),
                if signers.is_empty() { "no known key".to_owned() } else { signers.join(", ") }
            ),
        )
    }

    fn known_release(&self, release: &Digest) -> Result<&Release, Refusal> {
        match self.state.cases.get(release) {
            Some(case) => Ok(case.release.says()),
            None => refuse(Code::SubjectUnknown, format!("no release statement {release}")),
        }
    }

    fn same_package(&self, release: &Digest, package: &Digest) -> Result<(), Refusal> {
        let known = self.known_release(release)?.package;
        if known == *package {
            return Ok(());
        }
        refuse(Code::DigestMismatch, format!("the release's package is {known}, not {package}"))
    }

    /// A statement about a known release, in environments that it is for, by one of the roles.
    fn about(
        &self,
        release: &Digest,
        environments: &BTreeSet<Name>,
        roles: &[Role],
    ) -> Result<(), Refusal> {
        self.for_environments(release, environments)?;
        self.any_role(roles, Some(&self.known_release(release)?.application), environments)
    }

    /// The release is for all of these environments.
    fn for_environments(
        &self,
        release: &Digest,
        environments: &BTreeSet<Name>,
    ) -> Result<(), Refusal> {
        let known = self.known_release(release)?;
        match environments.difference(&known.environments).next() {
            None => Ok(()),
            Some(other) => {
                refuse(Code::WrongEnvironment, format!("the release is not for {other}"))
            }
        }
    }

    fn enrolment(&self, it: &Enrolment) -> Result<BTreeSet<Name>, Refusal> {
        let taken = |key, what: &str| {
            refuse(Code::NameTaken, format!("the {what} key {key} belongs to another host"))
        };
        if self.state.hosts.get(&it.host_key.id()).is_some() {
            return taken(it.host_key.id(), "host");
        }
        if self.state.host_by_transport(&it.transport_key).is_some() {
            return taken(it.transport_key.id(), "transport");
        }
        let same_name =
            self.state.host_named(&it.host).map(|host| host.enrolment.says.host_key.id());
        if same_name.is_some() && same_name != it.replaces {
            return refuse(Code::NameTaken, format!("there is a host {} already", it.host));
        }
        if let Some(old) = &it.replaces {
            self.replacement(it, old)?;
        }
        match &it.grant {
            Some(grant) => self.enrolment_by_grant(it, grant),
            None => {
                self.role(Role::Operator, None, [&it.environment])?;
                Ok(self.signers.iter().map(|signer| signer.owner.clone()).collect())
            }
        }
    }

    /// The old self must be there, and be the same host in the same environment.
    fn replacement(&self, it: &Enrolment, old: &KeyId) -> Result<(), Refusal> {
        let Some(record) = self.state.hosts.get(old).filter(|host| host.retired.is_none()) else {
            return refuse(Code::SubjectUnknown, format!("no host with key {old} to replace"));
        };
        let before = record.enrolment.says();
        if before.host == it.host && before.environment == it.environment {
            return Ok(());
        }
        refuse(
            Code::WrongHost,
            format!("it would replace {} in {}", before.host, before.environment),
        )
    }

    fn enrolment_by_grant(
        &self,
        it: &Enrolment,
        grant: &Digest,
    ) -> Result<BTreeSet<Name>, Refusal> {
        let Some(record) = self.state.grants.get(grant) else {
            return refuse(Code::SubjectUnknown, format!("no grant {grant}"));
        };
        let says = record.grant.says();
        let key = says.grant_key.id();
        let signed = self.signed.signers(|id| (*id == key).then(|| says.grant_key.clone()));
        if !signed.is_ok_and(|signers| signers.contains(&key)) {
            return refuse(
                Code::SignatureInvalid,
                format!("not signed with the key of grant {grant}"),
            );
        }
        if record.used >= says.count {
            return refuse(Code::GrantExhausted, format!("all {} uses are spent", says.count));
        }
        if !record.grant.header.covers(self.statement.header.issued) {
            return refuse(Code::GrantExhausted, "the grant has expired");
        }
        if it.environment != says.environment
            || it.labels != says.labels
            || !it.applications.is_subset(&says.applications)
            || it.replaces.is_some()
        {
            return refuse(
                Code::WrongEnvironment,
                "the enrolment asks for more than its grant gives",
            );
        }
        Ok(record.grant.signers.iter().map(|signer| signer.owner.clone()).collect())
    }

    fn grant(&self, it: &Grant) -> Result<(), Refusal> {
        if self.statement.header.not_after.is_none() || it.count == 0 {
            return refuse(Code::Malformed, "a grant needs not_after and a count of 1 or more");
        }
        self.role(Role::Operator, None, [&it.environment])
    }

    fn calendar(&self, it: &Calendar) -> Result<(), Refusal> {
        if let Some(fault) = it.terms.fault() {
            return refuse(Code::Malformed, fault);
        }
        self.role(Role::ChangeManager, None, [&it.environment])?;
        let current = self.state.calendar(&it.environment).map(|it| it.declared.id());
        if it.replaces == current {
            return Ok(());
        }
        let current = current.map_or("no calendar yet".to_owned(), |it| it.short());
        refuse(
            Code::Superseded,
            format!("{} has {current}: read it and write again", it.environment),
        )
    }

    fn release(&self, it: &Release) -> Result<(), Refusal> {
        if it.environments.is_empty() {
            return refuse(Code::Malformed, "a release needs at least one environment");
        }
        self.role(Role::Submitter, Some(&it.application), &it.environments)?;
        if let Some(earlier) = &it.supersedes {
            let known = self.known_release(earlier)?;
            if known.application != it.application {
                return refuse(
                    Code::WrongApplication,
                    "it supersedes a release of another application",
                );
            }
            if !it.environments.is_superset(&known.environments) {
                let facts = "it would supersede a release for environments that it is not for";
                return refuse(Code::WrongEnvironment, facts);
            }
        }
        let Some(iteration) = &it.iteration else {
            return Ok(());
        };
        if iteration.number == 0 || (iteration.number == 1) != iteration.previous.is_none() {
            return refuse(
                Code::IterationOutOfOrder,
                "iteration 1 has no previous one, later ones have",
            );
        }
        if let Some(previous) = &iteration.previous {
            let known = self.known_release(previous)?.iteration.as_ref();
            let follows = known.is_some_and(|known| {
                known.grounds == iteration.grounds && known.number + 1 == iteration.number
            });
            if !follows {
                return refuse(
                    Code::IterationOutOfOrder,
                    format!("the release before is not iteration {}", iteration.number - 1),
                );
            }
        }
        Ok(())
    }

    fn iteration_approval(&self, it: &IterationApproval) -> Result<(), Refusal> {
        let release = self.known_release(&it.release)?;
        let fits = release.iteration.as_ref().is_some_and(|iteration| {
            iteration.grounds == it.grounds && iteration.number == it.number
        });
        if !fits {
            return refuse(
                Code::DigestMismatch,
                "the release is not that iteration of that emergency",
            );
        }
        self.role(Role::ChangeManager, Some(&release.application), &release.environments)
    }

    fn booking(&self, it: &Booking) -> Result<(), Refusal> {
        self.same_package(&it.release, &it.package)?;
        let release = self.known_release(&it.release)?;
        if release.application != it.application {
            return refuse(
                Code::WrongApplication,
                format!("the release is of {}", release.application),
            );
        }
        if it.window.start >= it.window.end {
            return refuse(Code::Malformed, "the window ends before it starts");
        }
        if let Some(fault) = it.plan.fault() {
            return refuse(Code::Malformed, fault);
        }
        self.about(&it.release, &BTreeSet::from([it.environment.clone()]), &[Role::ChangeManager])
    }

    fn window_release(&self, it: &WindowRelease) -> Result<(), Refusal> {
        let Some((case, booking)) = self.state.booking(&it.booking) else {
            return refuse(Code::SubjectUnknown, format!("no booking {}", it.booking));
        };
        let says = booking.booking.says();
        if case.release.id != it.release || says.package != it.package {
            return refuse(Code::DigestMismatch, "the booking is of another release");
        }
        self.about(&it.release, &BTreeSet::from([says.environment.clone()]), &[Role::ChangeManager])
    }

    fn resume(&self, it: &Resume) -> Result<(), Refusal> {
        let Some(release) = self.state.holds.get(&it.hold) else {
            return refuse(Code::SubjectUnknown, format!("no hold {}", it.hold));
        };
        let holds =
            self.state.cases.get(release).map(|case| case.holds.as_slice()).unwrap_or_default();
        let Some(hold) = holds.iter().find(|hold| hold.id == it.hold) else {
            return refuse(Code::SubjectUnknown, format!("no hold {}", it.hold));
        };
        // The role that held it resumes (DESIGN 3): security's hold is security's to lift.
        let application = &self.known_release(release)?.application;
        let roles = [Role::ChangeManager, Role::Security];
        let held_as = roles.into_iter().filter(|role| {
            let everywhere = BTreeSet::new();
            !self.policy.holders(&hold.signers, *role, Some(application), &everywhere).is_empty()
        });
        let held_as: Vec<_> = held_as.collect();
        self.about(release, &BTreeSet::new(), &held_as)
    }

    fn cancel(&self, it: &Cancel) -> Result<(), Refusal> {
        if let Some(booking) = &it.booking
            && self.state.bookings.get(booking) != Some(&it.release)
        {
            return refuse(Code::SubjectUnknown, format!("no booking {booking} of that release"));
        }
        self.about(&it.release, &BTreeSet::new(), &[Role::ChangeManager, Role::Security])
    }

    fn rollback(&self, it: &Rollback) -> Result<(), Refusal> {
        if self.statement.header.not_after.is_none() || it.hosts.is_empty() {
            return refuse(Code::Malformed, "a rollback needs not_after and at least one host");
        }
        self.role(Role::ChangeManager, Some(&it.application), [&it.environment])
    }

    fn outcome(&self, it: &Outcome) -> Result<(), Refusal> {
        let Some(host) = self.state.hosts.get(&it.host_key) else {
            return refuse(Code::SubjectUnknown, format!("no host with key {}", it.host_key));
        };
        let enrolment = host.enrolment.says();
        if host.retired.is_some() {
            return refuse(Code::RoleMissing, format!("host {} was retired", enrolment.host));
        }
        if enrolment.host != it.host {
            return refuse(
                Code::WrongHost,
                format!("the key is {}'s, not {}'s", enrolment.host, it.host),
            );
        }
        let key = &enrolment.host_key;
        let signed = self.signed.signers(|id| (*id == it.host_key).then(|| key.clone()));
        if signed.is_ok_and(|signers| signers.contains(&it.host_key)) {
            return self.outcome_of_order(it);
        }
        refuse(Code::SignatureInvalid, format!("not signed with the host key of {}", it.host))
    }

    /// An outcome counts for the order that it names only when that order names the host, and what it is
    /// about. A host may *refuse* anything that it was offered.
    fn outcome_of_order(&self, it: &Outcome) -> Result<(), Refusal> {
        if matches!(it.event, Event::Refused { .. } | Event::Drifted { .. }) {
            return Ok(());
        }
        let named = if let Some((case, booking)) = self.state.booking(&it.order) {
            let says = booking.booking.says();
            says.plan.wave_of(&it.host_key).is_some()
                && (it.release, it.package) == (case.release.id, says.package)
                && it.application == says.application
        } else if let Some(case) = self.state.rollback(&it.order) {
            let says = case.rollback.says();
            says.hosts.iter().any(|turn| turn.host_key == it.host_key)
                && it.package == says.from
                && it.application == says.application
        } else {
            return refuse(Code::SubjectUnknown, format!("no order {}", it.order));
        };
        if named {
            Ok(())
        } else {
            refuse(Code::WrongHost, "the order is not for that host or package")
        }
    }
}
