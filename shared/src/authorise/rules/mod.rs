//! The standing rules, numbered. Each looks at one thing and refuses with its own code.

mod approval;
mod consulting;
mod emergency;
mod exception;
mod forms;
mod halting;
mod moment;
mod rehearsing;
mod returning;

use super::Question;
use crate::case::{BookingCase, Case};
use crate::policy::Rule as PolicyRule;
use crate::refusal::{Code, Refusal};
use crate::statement::Verdict;

pub use consulting::{Answer, Condition, Standpoint, conditions, standpoints};
pub use forms::missing_forms;
pub use moment::unproven_before;
pub use rehearsing::rehearsed_by;

pub(super) use approval::duties_separate_so_far;
pub(super) use exception::{overrides, waivers};

/// A numbered rule.
#[derive(Debug)]
pub struct Rule {
    /// Its number; stable.
    pub number: u16,
    /// From when on it is asked.
    pub from: Stage,
    /// Whether it looks at the booking itself, so that one that is only assumed says nothing.
    pub of_booking: bool,
    /// What it looks at.
    pub about: &'static str,
    /// Refuses or not.
    pub check: Check,
}

/// Refuses or not.
pub type Check = fn(&Question<'_>) -> Result<(), Refusal>;

/// From when on a rule is asked. What is asked early is asked again at every later stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// When a window is booked: what it is for, and that the release was approved.
    Booking,
    /// When the window is released: all that a host can meet before its turn.
    Release,
    /// When it is a host's turn.
    Turn,
}

impl Rule {
    const fn new(number: u16, from: Stage, about: &'static str, check: Check) -> Self {
        Self { number, from, of_booking: false, about, check }
    }

    const fn of_booking(number: u16, from: Stage, about: &'static str, check: Check) -> Self {
        Self { number, from, of_booking: true, about, check }
    }
}

// Numbers of rules that others ask by themselves.
/// No later submission took its place.
pub const SUPERSEDED: u16 = 8;
/// The change type has its ground.
pub const GROUNDED: u16 = 9;
/// The iteration is approved.
pub const ITERATION_APPROVED: u16 = 10;
/// It was reviewed, after any return.
pub const REVIEWED: u16 = 13;
/// Security assessed it.
pub const ASSESSED: u16 = 14;
/// The board approved it.
pub const APPROVED: u16 = 15;
/// It was delivered.
pub const DELIVERED: u16 = 16;
/// The environments before proved it.
pub const PROVEN: u16 = 21;
/// A good booking is known.
pub const BOOKED: u16 = 3;
/// Other departments said yes.
pub const CONSULTED: u16 = 26;
/// The board's conditions are met.
pub const CONDITIONS: u16 = 27;
/// Somebody else rehearsed it.
pub const REHEARSED: u16 = 28;
/// The submission names the forms that the policy asks for.
pub const FORMED: u16 = 29;

/// Everything that must hold to go forward, in the order in which refusals are told. That one release, one
/// package and one environment run through all of it is seen to by the fold (`fold::examine`): what does
/// not fit is no part of the state. (5 was the number of a rule that said so a second time.)
pub const FORWARD: &[Rule] = &[
    Rule::new(1, Stage::Booking, "the policy is in force", policy_in_force),
    Rule::new(2, Stage::Booking, "every predicate is understood", predicates_known),
    // Of a booking that is being made its own examination says more.
    Rule::of_booking(BOOKED, Stage::Turn, "a good booking is known", booked),
    Rule::new(4, Stage::Booking, "the order is for this host", for_this_host),
    Rule::new(6, Stage::Booking, "a rule covers the case", rule_exists),
    Rule::new(7, Stage::Booking, "it was not denied or given up", alive),
    Rule::new(SUPERSEDED, Stage::Booking, "no later submission took its place", not_superseded),
    Rule::new(GROUNDED, Stage::Booking, "the change type has its ground", emergency::grounded),
    Rule::new(
        ITERATION_APPROVED,
        Stage::Booking,
        "the iteration is approved",
        emergency::iteration_approved,
    ),
    Rule::new(11, Stage::Booking, "iterations come in order", emergency::iteration_in_order),
    Rule::new(12, Stage::Booking, "duties are separate", approval::duties_separate),
    Rule::new(REVIEWED, Stage::Booking, "it was reviewed, after any return", approval::reviewed),
    Rule::new(ASSESSED, Stage::Booking, "security assessed it", approval::assessed),
    Rule::new(APPROVED, Stage::Booking, "the board approved it", approval::approved),
    Rule::new(DELIVERED, Stage::Release, "it was delivered", approval::delivered),
    Rule::of_booking(17, Stage::Release, "the window was released", approval::released),
    Rule::of_booking(
        18,
        Stage::Booking,
        "the booking is within the policy",
        approval::window_within_policy,
    ),
    Rule::new(19, Stage::Release, "no hold stands", moment::not_held),
    Rule::new(20, Stage::Booking, "no freeze covers it", moment::not_frozen),
    Rule::new(
        PROVEN,
        Stage::Release,
        "the environments before proved it",
        moment::environments_proven,
    ),
    Rule::of_booking(22, Stage::Turn, "the window is open, with room", moment::window_open),
    Rule::of_booking(23, Stage::Turn, "the waves before proved it", moment::waves_proven),
    Rule::of_booking(24, Stage::Turn, "the order is new here", moment::not_spent),
    Rule::new(25, Stage::Turn, "nothing on the host inhibits it", moment::not_inhibited),
    Rule::new(CONSULTED, Stage::Booking, "other departments said yes", consulting::consulted),
    Rule::new(
        CONDITIONS,
        Stage::Release,
        "the board's conditions are met",
        consulting::conditions_met,
    ),
    Rule::new(REHEARSED, Stage::Booking, "somebody else rehearsed it", rehearsing::rehearsed),
    Rule::new(
        FORMED,
        Stage::Booking,
        "it has the forms that the policy asks for",
        forms::forms_named,
    ),
];

/// Everything that must hold for an ordered return.
pub const RETURN: &[Rule] = &[
    Rule::new(51, Stage::Turn, "every predicate is understood", predicates_known),
    Rule::new(52, Stage::Turn, "it names this host", returning::return_for_this_host),
    Rule::new(53, Stage::Turn, "it is for this generation, once", returning::return_generation),
    Rule::new(54, Stage::Turn, "it goes one release back", returning::return_target),
    Rule::new(55, Stage::Turn, "it has not run out", returning::return_in_time),
];

/// Everything that must hold for the return that a halted booking orders itself.
pub const HALTING: &[Rule] = &[
    Rule::new(61, Stage::Turn, "the booking takes its hosts back", halting::halt_returns),
    Rule::new(62, Stage::Turn, "the order is for this host", for_this_host),
    Rule::new(
        63,
        Stage::Turn,
        "what runs is what the booking brought",
        halting::brought_by_the_booking,
    ),
    Rule::new(64, Stage::Turn, "enough hosts failed", halting::failures_proven),
    Rule::new(65, Stage::Turn, "it goes one release back", halting::release_before),
    Rule::new(66, Stage::Turn, "it has not run out", halting::soon_enough),
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

// 6
fn rule_exists(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    policy_rule(q, case, booking).map(|_| ())
}

// 7
fn alive(q: &Question<'_>) -> Result<(), Refusal> {
    if crate::seeded!(DenialForgotten) {
        return Ok(());
    }
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
    if let Some(closed) = &case.closed {
        return refuse(Code::Closed, format!("it was closed ({})", closed.id().short()));
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
