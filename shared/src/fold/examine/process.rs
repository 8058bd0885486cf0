//! What is said around the decisions: consults, rehearsals, tasks, steps, acknowledgements, closures.

use std::collections::BTreeSet;

use super::{Exam, refuse};
use crate::digest::Digest;
use crate::name::Name;
use crate::policy::Role;
use crate::refusal::{Code, Refusal};
use crate::statement::{
    Acknowledgement, ChangeType, Closure, ClosureResult, Consult, Direction, Emergency, HostTurn,
    PostReview, Rehearsal, Rollback, Step, Task, TaskChange, TaskKind, Vote,
};

/// Most conditions of one approval: people read them all.
const MAX_CONDITIONS: usize = 16;

impl Exam<'_> {
    pub(super) fn vote(&self, it: &Vote) -> Result<(), Refusal> {
        if !it.judgement.is_accepted() && !it.conditions.is_empty() {
            return refuse(Code::Malformed, "a vote to reject has no conditions");
        }
        if it.conditions.len() > MAX_CONDITIONS {
            let facts = format!("an approval has at most {MAX_CONDITIONS} conditions");
            return refuse(Code::Malformed, facts);
        }
        if it.conditions.iter().any(|it| it.trim().is_empty()) {
            return refuse(Code::Malformed, "a condition of the approval is empty");
        }
        self.about(&it.release, &it.environments, &[Role::Board])
    }

    /// Anybody's who has a key and did not submit the release.
    pub(super) fn rehearsal(&self, it: &Rehearsal) -> Result<(), Refusal> {
        self.same_package(&it.release, &it.package)?;
        self.not_the_author(&it.release, "rehearsed it")?;
        self.anybody(&it.release)
    }

    pub(super) fn consult(&self, it: &Consult) -> Result<(), Refusal> {
        let (release, department) = (it.release(), it.department());
        if it.environments().is_empty() {
            return refuse(Code::Malformed, "a consult names at least one environment");
        }
        let Some(known) = self.policy.department(department) else {
            let facts = format!("the policy has no department {department}");
            return refuse(Code::SubjectUnknown, facts);
        };
        match it {
            Consult::Asked { .. } => {
                let roles = [Role::Librarian, Role::ChangeManager];
                self.about(&release, it.environments(), &roles)
            }
            Consult::Answered { .. } => {
                self.for_environments(&release, it.environments())?;
                self.not_the_author(&release, "answered for another department")?;
                let application = &self.known_release(&release)?.application;
                let speakers = self.policy.in_scope(&self.signers, application, it.environments());
                if speakers.iter().any(|owner| known.owners.contains(*owner)) {
                    return Ok(());
                }
                let owners: Vec<_> = known.owners.iter().map(Name::as_str).collect();
                let facts = format!("for {department} speak {}", owners.join(", "));
                refuse(Code::RoleMissing, facts)
            }
        }
    }

    pub(super) fn task(&self, it: &Task) -> Result<(), Refusal> {
        if let TaskKind::Condition { vote, number } = it.kind {
            return self.condition(it, &vote, number);
        }
        match &it.change {
            TaskChange::Assigned { to } => {
                self.known_owner(to)?;
                let roles = [Role::Librarian, Role::ChangeManager];
                self.about(&it.release, &BTreeSet::new(), &roles)
            }
            TaskChange::Done { .. } => {
                let assignee = self.state.case(&it.release).and_then(|case| case.assignee(it.kind));
                if let Some(owner) = assignee
                    && self.signers.iter().any(|signer| signer.owner == *owner)
                {
                    return Ok(());
                }
                self.about(&it.release, &BTreeSet::new(), doers(it.kind))
            }
        }
    }

    /// The vote must have set the condition; it is confirmed by the board or a librarian, not the author.
    fn condition(&self, it: &Task, vote: &Digest, number: u32) -> Result<(), Refusal> {
        self.known_release(&it.release)?;
        let votes = self.state.case(&it.release).map(|case| case.votes.as_slice());
        let set = votes.unwrap_or_default().iter().find(|it| it.id == *vote);
        let conditions = set.map_or(0, |it| it.says.conditions.len());
        if number == 0 || number as usize > conditions {
            let facts = format!("no condition {number} of a vote {}", vote.short());
            return refuse(Code::SubjectUnknown, facts);
        }
        match &it.change {
            TaskChange::Assigned { to } => {
                self.known_owner(to)?;
                let roles = [Role::Librarian, Role::ChangeManager];
                self.about(&it.release, &BTreeSet::new(), &roles)
            }
            TaskChange::Done { .. } => {
                self.not_the_author(&it.release, "confirmed a condition")?;
                self.about(&it.release, &BTreeSet::new(), doers(it.kind))
            }
        }
    }

    /// Whether the step is for this operator is the runbook's to say, which the host has that asked for it.
    pub(super) fn step(&self, it: &Step) -> Result<(), Refusal> {
        if let Some(order) = self.state.rollback(&it.booking) {
            return self.step_back(it, order.rollback.says());
        }
        let Some((case, booking)) = self.state.booking(&it.booking) else {
            let facts = format!("no booking or rollback {}", it.booking);
            return refuse(Code::SubjectUnknown, facts);
        };
        let says = &booking.booking.says;
        if !says.plan.hosts().any(|host| host.host == it.host && host.host_key == it.host_key) {
            let facts = format!("the booking does not name {}", it.host);
            return refuse(Code::WrongHost, facts);
        }
        self.not_the_author(&case.release.id, "did a step of it")?;
        self.role(Role::Operator, Some(&case.release.says.application), [&says.environment])
    }

    /// A step that is taken back by an ordered return, of the runbook of the package that is left: by nobody
    /// who submitted that.
    fn step_back(&self, it: &Step, order: &Rollback) -> Result<(), Refusal> {
        let named = |turn: &HostTurn| turn.host == it.host && turn.host_key == it.host_key;
        if !order.hosts.iter().any(named) {
            return refuse(Code::WrongHost, format!("the rollback does not name {}", it.host));
        }
        if it.direction != Direction::Back {
            return refuse(Code::Malformed, "a step of a rollback is one that is taken back");
        }
        let mut left = self.state.cases_of_package(&order.from).peekable();
        if left.peek().is_none() {
            let facts = format!("no release statement with package {}", order.from);
            return refuse(Code::SubjectUnknown, facts);
        }
        for case in left {
            self.not_the_author(&case.release.id, "did a step of it")?;
        }
        self.role(Role::Operator, Some(&order.application), [&order.environment])
    }

    pub(super) fn acknowledgement(&self, it: &Acknowledgement) -> Result<(), Refusal> {
        self.anybody(&it.release)
    }

    pub(super) fn closure(&self, it: &Closure) -> Result<(), Refusal> {
        match it {
            Closure::Release { release, result, review } => {
                self.release_closure(release, *result, review.as_ref())
            }
            Closure::Emergency { grounds, summary } => self.emergency_closure(grounds, summary),
        }
    }

    fn release_closure(
        &self,
        release: &Digest,
        result: ClosureResult,
        review: Option<&PostReview>,
    ) -> Result<(), Refusal> {
        let known = self.known_release(release)?;
        if self.state.case(release).is_some_and(|case| case.closed.is_some()) {
            return refuse(Code::Closed, "it is closed already");
        }
        if review.is_some_and(|it| it.findings.trim().is_empty()) {
            return refuse(Code::Malformed, "the review's findings are empty");
        }
        let emergency = known.change == ChangeType::Emergency;
        let owed = match result {
            ClosureResult::Successful => emergency,
            ClosureResult::SuccessfulWithIssues | ClosureResult::BackedOut => true,
            ClosureResult::NotImplemented => false,
        };
        if owed && review.is_none() {
            let facts = format!("a {} release that is {result} owes a review", known.change);
            return refuse(Code::ReviewOwed, facts);
        }
        self.not_the_author(release, "closed it")?;
        self.about(release, &BTreeSet::new(), &[Role::ChangeManager])
    }

    fn emergency_closure(&self, grounds: &Digest, summary: &str) -> Result<(), Refusal> {
        let Some(opened) = self.state.emergency(grounds) else {
            return refuse(Code::SubjectUnknown, format!("no emergency {grounds}"));
        };
        if summary.trim().is_empty() {
            return refuse(Code::Malformed, "the summary of the emergency is empty");
        }
        if self.state.emergency_closure(grounds).is_some() {
            return refuse(Code::Closed, "it is closed already");
        }
        if let Some(case) = self.state.review_owed(grounds) {
            let facts = format!("{} touched hosts and owes a review: close it first", case.name());
            return refuse(Code::ReviewOwed, facts);
        }
        match &opened.says {
            Emergency::Opened { application, environments, .. } => {
                self.role(Role::ChangeManager, Some(application), environments)
            }
            Emergency::Approved(_) => refuse(Code::SubjectUnknown, "that opened no emergency"),
        }
    }

    /// Somebody whom the policy knows for the application.
    fn anybody(&self, release: &Digest) -> Result<(), Refusal> {
        let application = &self.known_release(release)?.application;
        if !self.policy.in_scope(&self.signers, application, &BTreeSet::new()).is_empty() {
            return Ok(());
        }
        let predicate = self.statement.says.predicate();
        let facts = format!("a {predicate} is signed by somebody whom the policy knows");
        refuse(Code::RoleMissing, facts)
    }

    fn not_the_author(&self, release: &Digest, did: &str) -> Result<(), Refusal> {
        let authors = self.state.case(release).map(|case| case.release.owners());
        let authors = authors.unwrap_or_default();
        match self.signers.iter().find(|signer| authors.contains(&signer.owner)) {
            None => Ok(()),
            Some(signer) => {
                let facts = format!("{} submitted the release and {did}", signer.owner);
                refuse(Code::DutiesNotSeparate, facts)
            }
        }
    }

    fn known_owner(&self, owner: &Name) -> Result<(), Refusal> {
        if self.policy.document().keys.iter().any(|entry| entry.owner == *owner) {
            return Ok(());
        }
        refuse(Code::SubjectUnknown, format!("the policy knows no {owner}"))
    }
}

/// The roles that may say that a task is done, whoever it was given to.
const fn doers(kind: TaskKind) -> &'static [Role] {
    match kind {
        TaskKind::Stage => &[Role::Librarian, Role::ChangeManager],
        TaskKind::Deploy => &[Role::ChangeManager, Role::Operator],
        TaskKind::Verify => {
            &[Role::Submitter, Role::Librarian, Role::ChangeManager, Role::Operator, Role::Board]
        }
        TaskKind::Review => &[Role::ChangeManager, Role::Librarian],
        TaskKind::Condition { .. } => &[Role::Board, Role::Librarian],
    }
}
