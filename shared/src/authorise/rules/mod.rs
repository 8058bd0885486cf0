//! The standing rules, numbered. Each looks at one thing and refuses with its own code.

mod approval;
mod emergency;
mod exception;
mod halting;
mod moment;
mod returning;

use super::Question;
use crate::case::{BookingCase, Case};
use crate::policy::Rule as PolicyRule;
use crate::refusal::{Code, Refusal};
use crate::statement::Verdict;

pub use moment::unproven_before;

pub(super) use approval::duties_separate_so_far;
pub(super) use exception::{overrides, waivers};

/// A numbered rule.
#[derive(Debug)]
pub struct Rule {
    /// Its number; stable.
    pub number: u16,
    /// What it looks at.
    pub about: &'static str,
    /// Refuses or not.
    pub check: fn(&Question<'_>) -> Result<(), Refusal>,
}

/// Everything that must hold to go forward, in the order in which refusals are told.
pub const FORWARD: &[Rule] = &[
    Rule { number: 1, about: "the policy is in force", check: policy_in_force },
    Rule { number: 2, about: "every predicate is understood", check: predicates_known },
    Rule { number: 3, about: "a good booking is known", check: booked },
    Rule { number: 4, about: "the order is for this host", check: for_this_host },
    Rule { number: 5, about: "one package throughout", check: one_package },
    Rule { number: 6, about: "a rule covers the case", check: rule_exists },
    Rule { number: 7, about: "it was not denied or given up", check: alive },
    Rule { number: 8, about: "no later submission took its place", check: not_superseded },
    Rule { number: 9, about: "the change type has its ground", check: emergency::grounded },
    Rule { number: 10, about: "the iteration is approved", check: emergency::iteration_approved },
    Rule { number: 11, about: "iterations come in order", check: emergency::iteration_in_order },
    Rule { number: 12, about: "duties are separate", check: approval::duties_separate },
    Rule { number: 13, about: "it was reviewed, after any return", check: approval::reviewed },
    Rule { number: 14, about: "security assessed it", check: approval::assessed },
    Rule { number: 15, about: "the board approved it", check: approval::approved },
    Rule { number: 16, about: "it was delivered", check: approval::delivered },
    Rule { number: 17, about: "the window was released", check: approval::released },
    Rule {
        number: 18,
        about: "the booking is within the policy",
        check: approval::window_within_policy,
    },
    Rule { number: 19, about: "no hold stands", check: moment::not_held },
    Rule { number: 20, about: "no freeze covers it", check: moment::not_frozen },
    Rule {
        number: 21,
        about: "the environments before proved it",
        check: moment::environments_proven,
    },
    Rule { number: 22, about: "the window is open, with room", check: moment::window_open },
    Rule { number: 23, about: "the waves before proved it", check: moment::waves_proven },
    Rule { number: 24, about: "the order is new here", check: moment::not_spent },
    Rule { number: 25, about: "nothing on the host inhibits it", check: moment::not_inhibited },
];

/// Everything that must hold for an ordered return.
pub const RETURN: &[Rule] = &[
    Rule { number: 51, about: "every predicate is understood", check: predicates_known },
    Rule { number: 52, about: "it names this host", check: returning::return_for_this_host },
    Rule {
        number: 53,
        about: "it is for this generation, once",
        check: returning::return_generation,
    },
    Rule { number: 54, about: "it goes one release back", check: returning::return_target },
    Rule { number: 55, about: "it has not run out", check: returning::return_in_time },
];

/// Everything that must hold for the return that a halted booking orders itself.
pub const HALTING: &[Rule] = &[
    Rule { number: 61, about: "the booking takes its hosts back", check: halting::halt_returns },
    Rule { number: 62, about: "the order is for this host", check: for_this_host },
    Rule {
        number: 63,
        about: "what runs is what the booking brought",
        check: halting::brought_by_the_booking,
    },
    Rule { number: 64, about: "enough hosts failed", check: halting::failures_proven },
    Rule { number: 65, about: "it goes one release back", check: halting::release_before },
    Rule { number: 66, about: "it has not run out", check: halting::soon_enough },
];

fn refuse<T>(code: Code, facts: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(code, facts))
}

fn policy_rule<'a>(
    q: &Question<'a>,
    case: &Case,
    booking: &BookingCase,
) -> Result<&'a PolicyRule, Refusal> {
    q.policy()?.rule(&booking.booking.says().environment, case.release.says().change)
}

// 1
fn policy_in_force(q: &Question<'_>) -> Result<(), Refusal> {
    let document = q.policy()?.document();
    if let Some(first) = document.not_before.filter(|first| q.now < *first) {
        let facts = format!("policy version {} comes into force at {first}", document.version);
        return refuse(Code::PolicyNotYet, facts);
    }
    if q.now < document.expires {
        return Ok(());
    }
    refuse(
        Code::PolicyExpired,
        format!("policy version {} expired at {}", document.version, document.expires),
    )
}

// 2, 51
fn predicates_known(q: &Question<'_>) -> Result<(), Refusal> {
    match q.state.unknown_predicates().first() {
        None => Ok(()),
        Some(name) => refuse(Code::PredicateUnknown, format!("the policy lists {name:?}")),
    }
}

// 3
fn booked(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    if booking.booking.header().covers(q.now) && case.release.header().covers(q.now) {
        return Ok(());
    }
    refuse(Code::NotBooked, "the booking, or the release statement, is not valid at this time")
}

// 4
fn for_this_host(q: &Question<'_>) -> Result<(), Refusal> {
    let (_, booking) = q.booking()?;
    let says = booking.booking.says();
    if says.environment != q.host.environment {
        return refuse(
            Code::WrongEnvironment,
            format!(
                "the booking is for {}, this host is in {}",
                says.environment, q.host.environment
            ),
        );
    }
    if !q.host.applications.contains(&says.application) {
        return refuse(
            Code::WrongApplication,
            format!("{} has no {}", q.host.host, says.application),
        );
    }
    let planned =
        says.plan.hosts().any(|it| it.host_key == q.host.host_key && it.host == q.host.host);
    if !planned {
        return refuse(Code::WrongHost, format!("the booking does not name {}", q.host.host));
    }
    match q.state.host(&q.host.host_key) {
        Some(record) if record.retired.is_none() => Ok(()),
        Some(_) => refuse(Code::WrongHost, format!("{} was retired", q.host.host)),
        None => refuse(Code::WrongHost, format!("{} is not enrolled", q.host.host)),
    }
}

// 5
fn one_package(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let package = case.release.says().package;
    let others = [
        Some(booking.booking.says().package),
        booking.released.as_ref().map(|it| it.says().package),
    ];
    match others.into_iter().flatten().find(|other| *other != package) {
        None => Ok(()),
        Some(other) => {
            refuse(Code::DigestMismatch, format!("package {other} where {package} was approved"))
        }
    }
}

// 6
fn rule_exists(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    if !case.release.says().environments.contains(&booking.booking.says().environment) {
        return refuse(
            Code::WrongEnvironment,
            format!("the release is not for {}", booking.booking.says().environment),
        );
    }
    policy_rule(q, case, booking).map(|_| ())
}

// 7
fn alive(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    if let Some(denial) = q.state.denial(&case.release.says().package) {
        return refuse(Code::Denied, format!("security denied the package ({})", denial.short()));
    }
    let environment = &booking.booking.says().environment;
    match case.last_review(environment).map(|review| &review.says().verdict) {
        Some(Verdict::Denied { reason }) => return refuse(Code::Denied, reason.clone()),
        Some(Verdict::Returned { items }) => {
            return refuse(Code::Returned, format!("{} items to mend", items.len()));
        }
        Some(Verdict::Complete) | None => {}
    }
    if let Some(cancel) = case.cancelled.as_ref().or(booking.cancelled.as_ref()) {
        return refuse(Code::Cancelled, cancel.says().reason.clone());
    }
    Ok(())
}

// 8
fn not_superseded(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, _) = q.booking()?;
    if let Some(later) = case.superseded_by {
        return refuse(Code::Superseded, format!("by release statement {}", later.short()));
    }
    let Some(mine) = &case.release.says().iteration else {
        return Ok(());
    };
    let later = q.state.cases_of_emergency(&mine.grounds).find(|other| {
        let theirs = other.release.says().iteration.as_ref();
        !other.approvals.is_empty() && theirs.is_some_and(|it| it.number > mine.number)
    });
    match later {
        None => Ok(()),
        Some(other) => refuse(Code::Superseded, format!("iteration {} is approved", other.name())),
    }
}
