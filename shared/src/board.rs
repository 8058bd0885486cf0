//! The change advisory board: what it is to decide, what it set conditions on, and what went by it
//! (PROCESS 12).
//!
//! Nothing is counted here a second time: whether the board has approved a release, and what has to come
//! before its turn, is asked of the numbered rules that the hosts ask
//! ([`crate::authorise::rules::FORWARD`]).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::authorise::rules::{
    APPROVED, ASSESSED, CONSULTED, Condition, FORMED, GROUNDED, ITERATION_APPROVED, REVIEWED,
    conditions,
};
use crate::case::{BookingCase, Case, Verified};
use crate::fold::State;
use crate::fold::standing::{Lifecycle, Trial, open_booking, release_standing};
use crate::name::Name;
use crate::policy::{Exception, TrustPolicy};
use crate::refusal::Refusal;
use crate::statement::{Vote, Waiver};
use crate::time::Time;

/// How far back a meeting looks at what went by the board: boards that meet at all meet every week.
const LOOK_BACK: Duration = Duration::from_hours(7 * 24);

/// What a meeting is about.
#[derive(Debug)]
pub struct Agenda<'a> {
    /// The board's turn, the most urgent first.
    pub decide: Vec<Item<'a>>,
    /// Others' turn first.
    pub waiting: Vec<Item<'a>>,
    /// Conditions that nobody has confirmed.
    pub conditions: Vec<(&'a Case, Condition<'a>)>,
    /// Windows that were released in the week before without the board.
    pub skipped: Vec<Skipped<'a>>,
    /// The iterations whose closures have to bring the reviews that emergencies owe.
    pub reviews_owed: Vec<&'a Case>,
}

/// A release that the board decides.
#[derive(Debug)]
pub struct Item<'a> {
    /// The release.
    pub case: &'a Case,
    /// By environment.
    pub ballots: Vec<Ballot<'a>>,
    /// When it is to begin: as booked, or as asked for.
    pub start: Option<Time>,
}

/// The votes on a release in one environment.
#[derive(Debug)]
pub struct Ballot<'a> {
    /// The environment.
    pub environment: &'a Name,
    /// Distinct board members who must approve.
    pub needed: u32,
    /// The last vote of each.
    pub votes: Vec<(&'a Name, &'a Verified<Vote>)>,
    /// What others have to do before the board.
    pub waits_for: Vec<Refusal>,
}

/// How a booking's release came to need no votes, or needed them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route<'a> {
    /// The board decided.
    Board {
        /// Distinct members who must have approved.
        needed: u32,
    },
    /// The policy's rule asks for no votes.
    Rule,
    /// Two owners let it do without.
    Waived(&'a Verified<Waiver>),
}

/// A released window that went by the board.
#[derive(Debug)]
pub struct Skipped<'a> {
    /// The release.
    pub case: &'a Case,
    /// The booking.
    pub booking: &'a BookingCase,
    /// When its window was released.
    pub released: Time,
    /// The policy that was in force then: an entry of the same log.
    pub policy: &'a TrustPolicy,
    /// Why the board was not asked.
    pub route: Route<'a>,
}

/// What the board has to deal with at a meeting at `at`.
pub fn agenda(state: &State, at: Time) -> Agenda<'_> {
    let (mut decide, mut waiting) = (Vec::new(), Vec::new());
    let mut all_conditions = Vec::new();
    let mut skipped = Vec::new();
    for case in state.cases() {
        skipped.extend(case.booked().filter_map(|it| skipped_by(state, case, it, at)));
        if case.closed.is_some() || case.cancelled.is_some() || case.superseded_by.is_some() {
            continue;
        }
        if let Some(item) = item(state, case, at) {
            if item.ballots.iter().any(|it| it.waits_for.is_empty()) {
                decide.push(item);
            } else {
                waiting.push(item);
            }
        }
        all_conditions.extend(open_conditions(case).into_iter().map(|it| (case, it)));
    }
    let urgency = |it: &Item<'_>| (it.start.is_none(), it.start, it.case.number);
    decide.sort_by_key(urgency);
    waiting.sort_by_key(urgency);
    skipped.sort_by_key(|it| it.released);
    let mut reviews_owed: Vec<_> =
        state.emergencies().filter_map(|it| state.review_owed(&it.id())).collect();
    reviews_owed.sort_by_key(|case| case.number);
    Agenda { decide, waiting, conditions: all_conditions, skipped, reviews_owed }
}

/// The release with the environments in which votes are missing; none where the board has nothing to do.
fn item<'a>(state: &'a State, case: &'a Case, at: Time) -> Option<Item<'a>> {
    let release = case.release.says();
    let needed = |environment: &Name| {
        let rule = state.policy().and_then(|it| it.rule(environment, release.change).ok());
        rule.map_or(0, |rule| rule.votes.max(u32::from(release.irreversible)))
    };
    if release.environments.iter().all(|environment| needed(environment) == 0) {
        return None;
    }
    let standing = release_standing(state, case, at);
    let open: BTreeSet<_> = standing
        .environments
        .into_iter()
        .filter(|it| is_undecided(it.word))
        .map(|it| it.environment)
        .collect();
    let ballots = release.environments.iter().filter(|it| open.contains(it)).filter_map(|it| {
        let trial = Trial::new(state, case, it, at);
        trial.refuses(APPROVED, at)?;
        let before = [GROUNDED, FORMED, ITERATION_APPROVED, REVIEWED, ASSESSED, CONSULTED];
        Some(Ballot {
            environment: it,
            needed: needed(it),
            votes: case.votes_for(it).into_iter().collect(),
            waits_for: before.into_iter().filter_map(|rule| trial.refuses(rule, at)).collect(),
        })
    });
    let ballots: Vec<_> = ballots.collect();
    if ballots.is_empty() {
        return None;
    }
    let booked = ballots.iter().filter_map(|it| open_booking(state, case, it.environment, at));
    let booked = booked.map(|it| it.booking.says().window.start).min();
    Some(Item { case, ballots, start: booked.or(release.requested_start) })
}

/// Whether a vote can still change something where a release has come so far.
const fn is_undecided(word: Lifecycle) -> bool {
    match word {
        Lifecycle::Submitted
        | Lifecycle::InReview
        | Lifecycle::Complete
        | Lifecycle::Assessing
        | Lifecycle::Approved
        | Lifecycle::Booked
        | Lifecycle::Staged
        | Lifecycle::Released
        | Lifecycle::Expired
        | Lifecycle::OnHold => true,
        Lifecycle::Returned
        | Lifecycle::Denied
        | Lifecycle::Deploying
        | Lifecycle::Verifying
        | Lifecycle::Returning
        | Lifecycle::RolledBack
        | Lifecycle::Cancelled
        | Lifecycle::Superseded
        | Lifecycle::Closed => false,
    }
}

/// The conditions of a release that nobody has confirmed, each once, in the order of those who set them.
pub fn open_conditions(case: &Case) -> Vec<Condition<'_>> {
    let mut open: Vec<Condition<'_>> = Vec::new();
    for environment in &case.release.says().environments {
        for condition in conditions(case, environment) {
            let is_new = open.iter().all(|known| known.task != condition.task);
            if condition.confirmed_by.is_none() && is_new {
                open.push(condition);
            }
        }
    }
    open
}

/// The route that a booking took or takes, under the policy that was in force when its window was released:
/// both are in the same log, so neither can be changed afterwards.
pub fn route<'a>(
    state: &'a State,
    case: &'a Case,
    booking: &'a BookingCase,
) -> Option<(&'a TrustPolicy, Route<'a>)> {
    let (release, says) = (case.release.says(), booking.booking.says());
    let index = booking.released.as_ref().map_or(u64::MAX, Verified::index);
    let policy = state.policy_at(index)?;
    let rule = policy.rule(&says.environment, release.change).ok()?;
    let needed = rule.votes.max(u32::from(release.irreversible));
    if needed == 0 {
        return Some((policy, Route::Rule));
    }
    let approving = case.votes.iter().filter(|it| {
        it.index() < index
            && it.says().environments.contains(&says.environment)
            && it.says().judgement.is_accepted()
    });
    let approving: BTreeSet<_> = approving.flat_map(|it| it.owners()).collect();
    let waiver = case.waivers.iter().find(|it| {
        it.index() < index
            && it.says().exception == Exception::Votes
            && it.says().environment == says.environment
            && it.header().covers(says.window.start)
    });
    let route = match waiver {
        Some(waiver) if approving.len() < needed as usize && !release.irreversible => {
            Route::Waived(waiver)
        }
        Some(_) | None => Route::Board { needed },
    };
    Some((policy, route))
}

fn skipped_by<'a>(
    state: &'a State,
    case: &'a Case,
    booking: &'a BookingCase,
    at: Time,
) -> Option<Skipped<'a>> {
    let released = booking.released.as_ref()?.header().issued;
    if released + LOOK_BACK < at {
        return None;
    }
    let (policy, route) = route(state, case, booking)?;
    match route {
        Route::Board { .. } => None,
        Route::Rule | Route::Waived(_) => Some(Skipped { case, booking, released, policy, route }),
    }
}
