//! Where a release stands: the state words of the process, folded from what was said and never stored.
//!
//! `submitted → in-review → {returned | denied | complete} → assessing → {denied | approved} → booked →
//! staged → released → deploying → verifying`, `returning → rolled-back`, and the side states `on-hold`,
//! `expired`, `cancelled`, `superseded` (PROCESS, "States of a release"). `draft` is before the log, and
//! `closed` is what a change manager says at the end.
//!
//! Nothing is counted here a second time: whether a release is reviewed, assessed or approved is asked of
//! the numbered rules that the hosts ask ([`crate::authorise::rules::FORWARD`]), with a booking assumed where there is none
//! yet ([`Trial`]). So the word that people read cannot drift from what is enforced.

mod fates;
mod trial;

use std::collections::BTreeSet;

use serde::Serialize;

use fates::Fates;
pub use trial::Trial;

use super::State;
use crate::authorise::rules::{
    APPROVED, ASSESSED, CONDITIONS, CONSULTED, DELIVERED, FORMED, GROUNDED, ITERATION_APPROVED,
    PROVEN, REVIEWED, SUPERSEDED,
};
use crate::case::{BookingCase, Case, Verified};
use crate::digest::Digest;
use crate::name::Name;
use crate::rollout::{is_over, is_used_up};
use crate::statement::{Closure, Hold, Verdict};
use crate::time::Time;

/// The state words, in the order of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lifecycle {
    /// It is in the log; a librarian looks at it next.
    Submitted,
    /// Reviewed, but by fewer librarians than the rule demands, or not since a host took it back.
    InReview,
    /// A librarian sent it back to the submitter, who submits again.
    Returned,
    /// Refused for good: its documentation, its risk, or the board.
    Denied,
    /// The review is done; security and the board decide next.
    Complete,
    /// They have begun to.
    Assessing,
    /// Everything that the rule demands of people's judgement is there; a window is booked next.
    Approved,
    /// A window is booked and lies ahead.
    Booked,
    /// Delivered, and proven in the environments before; the window is released next.
    Staged,
    /// The agents are armed; the window opens next.
    Released,
    /// The window is open; hosts take their turns.
    Deploying,
    /// Every host of the booking committed it; people look at it and close it.
    Verifying,
    /// Some host went back or is stuck, while others have it: a person decides.
    Returning,
    /// Hosts went back and none has it; it moves again only after a new review.
    RolledBack,
    /// Its window ended before every host committed it; it is booked again.
    Expired,
    /// A hold stands.
    OnHold,
    /// It was given up.
    Cancelled,
    /// A later submission took its place.
    Superseded,
    /// A change manager closed it; nothing is to be done any more.
    Closed,
}

impl Lifecycle {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::InReview => "in-review",
            Self::Returned => "returned",
            Self::Denied => "denied",
            Self::Complete => "complete",
            Self::Assessing => "assessing",
            Self::Approved => "approved",
            Self::Booked => "booked",
            Self::Staged => "staged",
            Self::Released => "released",
            Self::Deploying => "deploying",
            Self::Verifying => "verifying",
            Self::Returning => "returning",
            Self::RolledBack => "rolled-back",
            Self::Expired => "expired",
            Self::OnHold => "on-hold",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
            Self::Closed => "closed",
        }
    }

    /// Whether this state of the whole is what counts where a release had come to `here`: what hosts did
    /// stays true, and a hold stops only what moves.
    const fn takes_over(self, here: Self) -> bool {
        if matches!(self, Self::Closed) {
            return true;
        }
        match here {
            Self::Verifying | Self::Returning | Self::RolledBack => false,
            Self::Released | Self::Deploying => true,
            Self::Submitted
            | Self::InReview
            | Self::Returned
            | Self::Denied
            | Self::Complete
            | Self::Assessing
            | Self::Approved
            | Self::Booked
            | Self::Staged
            | Self::Expired
            | Self::OnHold
            | Self::Cancelled
            | Self::Superseded
            | Self::Closed => !matches!(self, Self::OnHold),
        }
    }

    /// Whether it stands above how far the other environments have come.
    const fn is_trouble(self) -> bool {
        matches!(self, Self::Returned | Self::Denied | Self::Returning | Self::RolledBack)
    }
}

impl std::fmt::Display for Lifecycle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Where a release stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReleaseStanding {
    /// The word for the whole: trouble anywhere, or else how far it has come where it is bound for.
    pub word: Lifecycle,
    /// The facts behind it, for people.
    pub detail: String,
    /// Where it stands in each of its environments, those that come first in the policy first.
    pub environments: Vec<EnvironmentStanding>,
}

/// Where a release stands in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EnvironmentStanding {
    /// The environment.
    pub environment: Name,
    /// The word.
    pub word: Lifecycle,
    /// The facts behind it, for people.
    pub detail: String,
    /// The booking that it is about: the newest that was not cancelled, or the one in which it still goes on.
    pub booking: Option<Digest>,
}

/// The newest booking of a release in an environment that was not cancelled.
pub fn newest_booking<'a>(case: &'a Case, environment: &Name) -> Option<&'a BookingCase> {
    let standing =
        |it: &&BookingCase| it.cancelled.is_none() && it.booking.says.environment == *environment;
    case.booked().filter(standing).max_by_key(|it| it.booking.index)
}

/// The booking in which a release goes forward in an environment: the newest that was neither cancelled nor used
/// up. One that was made before another that is used up counts as long as its window is not over.
pub fn open_booking<'a>(
    state: &State,
    case: &'a Case,
    environment: &Name,
    now: Time,
) -> Option<&'a BookingCase> {
    let newest = newest_booking(case, environment)?;
    if !is_used_up(state, case, newest) {
        return Some(newest);
    }
    let left = case.booked().filter(|it| {
        it.cancelled.is_none()
            && it.booking.says.environment == *environment
            && now < it.booking.says.window.end
            && !is_used_up(state, case, it)
    });
    left.max_by_key(|it| it.booking.index)
}

/// The holds that stand: nobody has resumed them, or only who has a part in a window in which the release has yet to
/// go on, so that hosts refuse it there.
pub fn standing_holds<'a>(state: &State, case: &'a Case, now: Time) -> Vec<&'a Verified<Hold>> {
    let ahead = case.booked().filter(|it| {
        it.cancelled.is_none() && now < it.booking.says.window.end && !is_over(state, case, it)
    });
    let against: BTreeSet<Digest> =
        ahead.flat_map(|it| case.holds_on(it)).map(|hold| hold.id).collect();
    let stands =
        |hold: &&Verified<Hold>| !case.resumes.contains_key(&hold.id) || against.contains(&hold.id);
    case.holds.iter().filter(stands).collect()
}

/// Where a release stands now.
pub fn release_standing(state: &State, case: &Case, now: Time) -> ReleaseStanding {
    let order = in_policy_order(state, case);
    let trials: Vec<_> =
        order.iter().map(|environment| Trial::new(state, case, environment, now)).collect();
    let mut environments: Vec<_> =
        trials.iter().map(|trial| environment_standing(state, case, trial, now)).collect();
    let Some((word, detail)) = side_state(state, case, &trials, now) else {
        let (word, detail) = whole(state, case, &environments);
        return ReleaseStanding { word, detail, environments };
    };
    for here in &mut environments {
        if word.takes_over(here.word) {
            (here.word, here.detail) = (word, detail.clone());
        }
    }
    ReleaseStanding { word, detail, environments }
}

/// The environments of a release, each after those that must have proven it.
fn in_policy_order<'a>(state: &State, case: &'a Case) -> Vec<&'a Name> {
    let mut left: Vec<_> = case.release.says.environments.iter().collect();
    let mut order: Vec<&Name> = Vec::new();
    while !left.is_empty() {
        let ready =
            |it: &&&Name| befores(state, case, it).iter().all(|before| !left.contains(before));
        // Rules that go round in a circle are nobody's order; they are told by name.
        let next = left.iter().position(|it| ready(&it)).unwrap_or(0);
        order.push(left.remove(next));
    }
    order
}

fn befores<'a>(state: &'a State, case: &Case, environment: &Name) -> Vec<&'a Name> {
    let rule = state.policy().and_then(|it| it.rule(environment, case.release.says.change).ok());
    rule.map(|rule| rule.after.iter().map(|proof| &proof.environment).collect()).unwrap_or_default()
}

fn side_state(
    state: &State,
    case: &Case,
    trials: &[Trial<'_>],
    now: Time,
) -> Option<(Lifecycle, String)> {
    if let Some(Closure::Release { result, .. }) = case.closed.as_ref().map(|it| &it.says) {
        return Some((Lifecycle::Closed, result.name().to_owned()));
    }
    let package = &case.release.says.package;
    if let Some(denial) = state.denial(package) {
        return Some((
            Lifecycle::Denied,
            format!("security denied the package ({})", denial.short()),
        ));
    }
    if let Some(cancel) = &case.cancelled {
        return Some((Lifecycle::Cancelled, cancel.says.reason.clone()));
    }
    if let Some(refusal) = trials.first()?.refuses(SUPERSEDED, now) {
        return Some((Lifecycle::Superseded, refusal.facts));
    }
    let hold = standing_holds(state, case, now).into_iter().next()?;
    Some((Lifecycle::OnHold, hold.says.reason.clone()))
}

fn whole(state: &State, case: &Case, environments: &[EnvironmentStanding]) -> (Lifecycle, String) {
    let tell = |it: &EnvironmentStanding| (it.word, format!("{}: {}", it.environment, it.detail));
    if let Some(trouble) = environments.iter().rev().find(|it| it.word.is_trouble()) {
        return tell(trouble);
    }
    // Where it is bound for: environments that no other one of the release waits for.
    let passed: BTreeSet<_> =
        environments.iter().flat_map(|it| befores(state, case, &it.environment)).collect();
    let bound_for = environments.iter().filter(|it| !passed.contains(&it.environment));
    let last = bound_for.min_by_key(|it| it.word).or(environments.first());
    last.map_or((Lifecycle::Submitted, String::new()), tell)
}

fn environment_standing(
    state: &State,
    case: &Case,
    trial: &Trial<'_>,
    now: Time,
) -> EnvironmentStanding {
    let environment = &trial.environment;
    let booking = open_booking(state, case, environment, now);
    let shown = booking.or_else(|| newest_booking(case, environment));
    // A window that is over has expired, whether or not it was used up before.
    let over = shown.filter(|it| it.booking.says.window.end <= now);
    let fates = Fates::of(state, case, environment);
    let (word, detail) = judged(case, trial, now)
        .filter(|(word, _)| matches!(word, Lifecycle::Returned | Lifecycle::Denied))
        .or_else(|| fates.gone_back())
        .or_else(|| shown.and_then(|it| fates.all_committed(&it.booking.says.plan)))
        .or_else(|| judged(case, trial, now))
        .unwrap_or_else(|| scheduled(trial, booking.or(over), &fates, now));
    let booking = shown.map(|it| it.booking.id);
    EnvironmentStanding { environment: environment.clone(), word, detail, booking }
}

/// How far people's judgement has come; `None` when everything is approved.
fn judged(case: &Case, trial: &Trial<'_>, now: Time) -> Option<(Lifecycle, String)> {
    let environment = &trial.environment;
    let review = case.last_review(environment);
    match review.map(|it| &it.says.verdict) {
        Some(Verdict::Denied { reason }) => return Some((Lifecycle::Denied, reason.clone())),
        Some(Verdict::Returned { items }) => {
            return Some((Lifecycle::Returned, format!("{} to mend", count(items.len(), "item"))));
        }
        Some(Verdict::Complete) | None => {}
    }
    let votes = case.votes_for(environment);
    if let Some((owner, _)) = votes.iter().find(|(_, vote)| !vote.says.judgement.is_accepted()) {
        return Some((Lifecycle::Denied, format!("{owner} voted to reject")));
    }
    if let Some(refusal) = trial.refuses(REVIEWED, now) {
        let word = if review.is_some() { Lifecycle::InReview } else { Lifecycle::Submitted };
        return Some((word, refusal.facts));
    }
    let missing = [GROUNDED, FORMED, ITERATION_APPROVED, ASSESSED, APPROVED, CONSULTED];
    let refusal = missing.into_iter().find_map(|number| trial.refuses(number, now))?;
    let begun = !votes.is_empty()
        || !case.consults.is_empty()
        || !case.assessments_for(environment).is_empty()
        || !case.approvals.is_empty();
    let word = match (begun, review) {
        (true, _) => Lifecycle::Assessing,
        (false, Some(_)) => Lifecycle::Complete,
        (false, None) => Lifecycle::Submitted,
    };
    Some((word, refusal.facts))
}

/// How far an approved release has come.
fn scheduled(
    trial: &Trial<'_>,
    booking: Option<&BookingCase>,
    fates: &Fates<'_>,
    now: Time,
) -> (Lifecycle, String) {
    let waits =
        [DELIVERED, PROVEN, CONDITIONS].into_iter().find_map(|number| trial.refuses(number, now));
    let staged = waits.is_none() && trial.has_staging();
    let Some(booking) = booking else {
        let word = if staged { Lifecycle::Staged } else { Lifecycle::Approved };
        return (word, trial.no_window());
    };
    let plan = &booking.booking.says.plan;
    let window = booking.booking.says.window;
    if window.end <= now {
        return (Lifecycle::Expired, format!("the window ended at {}", window.end));
    }
    if booking.released.is_some() {
        return if now < window.start {
            (Lifecycle::Released, format!("the window opens at {}", window.start))
        } else {
            let (committed, hosts) =
                (fates.committed_of(plan), count(plan.hosts().count(), "host"));
            (Lifecycle::Deploying, format!("committed on {committed} of {hosts}"))
        };
    }
    match waits {
        None if staged => (Lifecycle::Staged, "the window is not released".to_owned()),
        None => (Lifecycle::Booked, "the window is not released".to_owned()),
        Some(refusal) => (Lifecycle::Booked, refusal.facts),
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
