//! Who must act on a refusal: the role, and the people who hold it and may act on this release.

use std::collections::BTreeSet;

use cutover_shared::authorise::rules::{Answer, standpoints};
use cutover_shared::case::Case;
use cutover_shared::fold::State;
use cutover_shared::fold::standing::{open_booking, standing_holds};
use cutover_shared::name::Name;
use cutover_shared::package::runbook::Doer;
use cutover_shared::policy::{Duties, KeyStatus, Role};
use cutover_shared::refusal::Code;
use cutover_shared::time::Time;
use serde::Serialize;

/// Who must act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Who {
    /// In one of these roles; empty when it passes by itself, is the host's matter, or takes no role.
    roles: Vec<Role>,
    /// Or for one of these departments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    departments: Vec<Name>,
    /// Those who hold it for this application and environment, and no duty that forbids it.
    owners: BTreeSet<Name>,
}

impl Who {
    /// Whether nobody must: it passes by itself, or is the host's matter.
    pub(super) fn is_nobody(&self) -> bool {
        self.roles.is_empty() && self.departments.is_empty() && self.owners.is_empty()
    }

    /// For people; `None` when nobody must.
    pub(super) fn text(&self) -> Option<String> {
        let roles = self.roles.iter().map(|role| role.name());
        let roles: Vec<_> = roles.chain(self.departments.iter().map(Name::as_str)).collect();
        let owners: Vec<_> = self.owners.iter().map(Name::as_str).collect();
        match (roles.is_empty(), owners.is_empty()) {
            (true, true) => None,
            (true, false) => Some(format!("anybody else: {}", owners.join(", "))),
            (false, true) => {
                Some(format!("{}, and nobody who may act holds that role", roles.join(" or ")))
            }
            (false, false) => Some(format!("{}: {}", roles.join(" or "), owners.join(", "))),
        }
    }
}

/// Who must act on a refusal with that code.
pub(super) fn who_acts(
    state: &State,
    case: &Case,
    environment: &Name,
    code: Code,
    now: Time,
) -> Who {
    let roles = if code == Code::Held {
        holders_of_the_hold(state, case, now)
    } else {
        roles(code).to_vec()
    };
    // A hold, a policy and a freeze are nobody's duty on the release.
    let duty = (!matches!(code, Code::Held | Code::Frozen | Code::GroundMissing)).then_some(now);
    let owners = roles.iter().flat_map(|role| may_act(state, case, environment, *role, duty));
    let mut owners: BTreeSet<_> = owners.collect();
    let mut departments = Vec::new();
    if code == Code::NotConsulted {
        for it in standpoints(state, case, environment, now) {
            if it.mandatory && it.answer != Answer::Yes {
                departments.push(it.department.clone());
                owners.extend(speakers(state, case, it.department));
            }
        }
    }
    if code == Code::NotRehearsed {
        owners = anybody_else(state, case);
    }
    if code == Code::GroundMissing {
        // Who gives the ground did not submit what stands on it.
        owners.retain(|owner| !case.release.owners().contains(owner));
    }
    Who { roles, departments, owners }
}

/// Those who hold a role for this release, and no duty that forbids it.
pub(super) fn who_is(state: &State, case: &Case, environment: &Name, role: Role) -> Who {
    let mut owners = may_act(state, case, environment, role, None);
    if role != Role::Submitter {
        owners.retain(|owner| !case.release.owners().contains(owner));
    }
    Who { roles: vec![role], departments: Vec::new(), owners }
}

/// The change managers of its application, without those whom the rule leaves out.
pub(super) fn who_closes(state: &State, case: &Case, without: &BTreeSet<&Name>) -> Who {
    let application = &case.release.says().application;
    let keys = state.policy().into_iter().flat_map(|it| &it.document().keys);
    let managers = keys.filter(|entry| {
        entry.status == KeyStatus::Active
            && entry.roles.contains(&Role::ChangeManager)
            && entry.applications.covers(application)
            && !without.contains(&entry.owner)
    });
    let owners = managers.map(|entry| entry.owner.clone()).collect();
    Who { roles: vec![Role::ChangeManager], departments: Vec::new(), owners }
}

/// Everybody whom the policy knows for the application, and who did not submit the release.
fn anybody_else(state: &State, case: &Case) -> BTreeSet<Name> {
    let authors = case.release.owners();
    let application = &case.release.says().application;
    let keys = state.policy().into_iter().flat_map(|it| &it.document().keys);
    let others = keys.filter(|entry| {
        entry.status == KeyStatus::Active
            && entry.applications.covers(application)
            && !authors.contains(&entry.owner)
    });
    others.map(|entry| entry.owner.clone()).collect()
}

/// Who does a step of a runbook: operators, or those of them who speak for its department.
pub(super) fn who_does(state: &State, case: &Case, environment: &Name, by: Option<&Doer>) -> Who {
    let operators = who_is(state, case, environment, Role::Operator);
    let Some(Doer::Department(name)) = by else { return operators };
    let speakers = speakers(state, case, name);
    let owners = operators.owners.intersection(&speakers).cloned().collect();
    Who { roles: Vec::new(), departments: vec![name.clone()], owners }
}

/// The roles whose act takes the refusal away.
const fn roles(code: Code) -> &'static [Role] {
    match code {
        Code::PolicyExpired
        | Code::PolicyRollback
        | Code::ThresholdNotMet
        | Code::RuleMissing
        | Code::PredicateUnknown
        | Code::PolicyNotYet
        | Code::NotWaivable => &[Role::Root],
        Code::NotReviewed => &[Role::Librarian],
        Code::NotAssessed => &[Role::Security],
        Code::NotApproved => &[Role::Board],
        Code::ConditionOpen => &[Role::Board, Role::Librarian],
        Code::NotDelivered => &[Role::Librarian, Role::ChangeManager],
        Code::Returned
        | Code::Denied
        | Code::Superseded
        | Code::DigestMismatch
        | Code::FormMissing
        | Code::Closed => &[Role::Submitter],
        Code::NotBooked
        | Code::NotReleased
        | Code::WindowClosed
        | Code::WindowTooShort
        | Code::WindowTooLong
        | Code::OutsideCalendar
        | Code::NoticeTooShort
        | Code::CapacityReached
        | Code::WindowTaken
        | Code::Cancelled
        | Code::GroundMissing
        | Code::IterationNotApproved
        | Code::IterationOutOfOrder
        | Code::Frozen
        | Code::RollbackNotAuthorised
        | Code::GenerationPassed
        | Code::ReviewOwed
        | Code::InProgress
        | Code::DutiesNotSeparate => &[Role::ChangeManager],
        Code::WrongHost
        | Code::WrongEnvironment
        | Code::WrongApplication
        | Code::NameTaken
        | Code::GrantExhausted => &[Role::Operator],
        // These pass by themselves, or with what is told of the hosts and of the log.
        Code::Held
        | Code::SignatureInvalid
        | Code::Malformed
        | Code::RoleMissing
        | Code::SubjectUnknown
        | Code::WindowNotOpen
        | Code::NotCleared
        | Code::EnvironmentNotProven
        | Code::WaveNotProven
        | Code::CheckpointStale
        | Code::CheckpointInconsistent
        | Code::NotLogged
        | Code::ClockSkew
        | Code::ClockSteppedBack
        | Code::ClockUnsynchronised
        | Code::HostNotReady
        | Code::Inhibited
        | Code::Busy
        // A department has speakers, and no role.
        | Code::NotConsulted
        // Whoever has a key rehearses.
        | Code::NotRehearsed => &[],
    }
}

/// The roles in which the holds were made that stand: they resume them.
fn holders_of_the_hold(state: &State, case: &Case, now: Time) -> Vec<Role> {
    let Some(policy) = state.policy() else { return Vec::new() };
    let application = &case.release.says().application;
    let held_as = |role: &Role| {
        standing_holds(state, case, now).into_iter().any(|hold| {
            let everywhere = BTreeSet::new();
            !policy.holders(hold.signers(), *role, Some(application), &everywhere).is_empty()
        })
    };
    [Role::ChangeManager, Role::Security].into_iter().filter(held_as).collect()
}

/// Those who speak for a department and did not submit the release.
fn speakers(state: &State, case: &Case, department: &Name) -> BTreeSet<Name> {
    let known = state.policy().and_then(|policy| policy.department(department));
    let mut owners = known.map(|it| it.owners.clone()).unwrap_or_default();
    let authors = case.release.owners();
    owners.retain(|owner| !authors.contains(owner));
    owners
}

/// Those who can still vote on a release.
pub(in crate::cli) fn who_votes(
    state: &State,
    case: &Case,
    environment: &Name,
    now: Time,
) -> BTreeSet<Name> {
    may_act(state, case, environment, Role::Board, Some(now))
}

/// The owners of active keys with the role for this release; where the act is a duty on it, without those whom
/// another duty bars as of `duty`.
fn may_act(
    state: &State,
    case: &Case,
    environment: &Name,
    role: Role,
    duty: Option<Time>,
) -> BTreeSet<Name> {
    let Some(policy) = state.policy() else { return BTreeSet::new() };
    let release = case.release.says();
    let barred = duty.map(|now| barred(state, case, environment, role, now)).unwrap_or_default();
    let keys = policy.document().keys.iter().filter(|entry| {
        entry.status == KeyStatus::Active
            && entry.roles.contains(&role)
            && entry.applications.covers(&release.application)
            && entry.environments.covers(environment)
            && !barred.contains(&entry.owner)
    });
    keys.map(|entry| entry.owner.clone()).collect()
}

fn barred<'c>(
    state: &State,
    case: &'c Case,
    environment: &Name,
    role: Role,
    now: Time,
) -> BTreeSet<&'c Name> {
    let acted = |role: Role| -> BTreeSet<&'c Name> {
        match role {
            Role::Submitter => case.release.owners(),
            Role::Librarian => {
                case.last_review(environment).map(|it| it.owners()).unwrap_or_default()
            }
            Role::Security => case.assessments_for(environment).into_keys().collect(),
            Role::Board => case.votes_for(environment).into_keys().collect(),
            Role::ChangeManager => {
                let booking = open_booking(state, case, environment, now);
                let released = booking.and_then(|it| it.released.as_ref());
                let mut owners = booking.map(|it| it.booking.owners()).unwrap_or_default();
                owners.extend(released.iter().flat_map(|it| it.owners()));
                owners
            }
            Role::Root | Role::Operator => BTreeSet::new(),
        }
    };
    if matches!(role, Role::Root | Role::Operator | Role::Submitter) {
        return BTreeSet::new();
    }
    let rule = state.policy().and_then(|it| it.rule(environment, case.release.says().change).ok());
    let mut barred = acted(Role::Submitter);
    if rule.is_none_or(|rule| rule.duties == Duties::Separate) {
        let duties = [Role::Librarian, Role::Security, Role::Board, Role::ChangeManager];
        barred.extend(duties.into_iter().filter(|duty| *duty != role).flat_map(acted));
    }
    // Who has said yes already says nothing new.
    match role {
        Role::Board => barred.extend(
            case.votes_for(environment)
                .into_iter()
                .filter(|(_, vote)| vote.says().judgement.is_accepted())
                .map(|(owner, _)| owner),
        ),
        Role::Security => barred.extend(
            case.assessments_for(environment)
                .into_iter()
                .filter(|(_, it)| it.says().judgement.is_accepted())
                .map(|(owner, _)| owner),
        ),
        Role::Root | Role::Submitter | Role::Librarian | Role::ChangeManager | Role::Operator => {}
    }
    barred
}

#[cfg(test)]
mod tests {
    use cutover_shared::statement::{Hold, Verdict};

    use super::*;
    use crate::cli::names::scene::{Scene, name, yes};

    fn told(scene: &Scene, code: Code) -> String {
        let case = scene.state.cases().next().unwrap();
        who_acts(&scene.state, case, &name("production"), code, scene.now)
            .text()
            .unwrap_or_default()
    }

    #[test]
    fn names_those_who_can_still_act() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        assert_eq!(told(&scene, Code::NotReviewed), "librarian: lia");
        assert_eq!(told(&scene, Code::NotApproved), "board: bea, bob");
        assert_eq!(told(&scene, Code::NotBooked), "change-manager: max, mia");
        assert_eq!(told(&scene, Code::NotDelivered), "librarian or change-manager: lia, max, mia");
        assert_eq!(told(&scene, Code::WindowNotOpen), "");
        scene.vote("bea", release, yes());
        assert_eq!(told(&scene, Code::NotApproved), "board: bob");
        scene.assess(release, yes());
        assert_eq!(
            told(&scene, Code::NotAssessed),
            "security, and nobody who may act holds that role"
        );
        scene.review(release, &["production"], Verdict::Complete);
        assert_eq!(told(&scene, Code::RuleMissing), "root: ruth");
    }

    #[test]
    fn who_rehearses_takes_no_role_and_is_another() {
        let mut scene = Scene::new();
        scene.submit("1.0");
        let told = told(&scene, Code::NotRehearsed);
        assert!(told.starts_with("anybody else: bea, bob"), "{told}");
        assert!(!told.contains("sam"), "{told}");
    }

    #[test]
    fn a_hold_is_resumed_in_its_role() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        scene.assess(release, yes());
        scene.say("sergei", Hold { release, reason: "Odd.".to_owned(), finish: false });
        assert_eq!(told(&scene, Code::Held), "security: sergei");
    }
}
