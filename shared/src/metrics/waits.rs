//! Whom releases wait for, and for how long.
//!
//! After each statement about a release its state words are asked, environment by environment; a word says
//! whom it waits for, and in the words of judgement the rules that refuse do. So a wait ends exactly when
//! the rule is met that the hosts ask, whoever met it. Only the clock moves a release without a statement:
//! when its window opens, and when that ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::{Period, Spread, releases_of};
use crate::authorise::rules::{
    APPROVED, ASSESSED, CONDITIONS, CONSULTED, DELIVERED, FORMED, GROUNDED, ITERATION_APPROVED,
    PROVEN, REVIEWED,
};
use crate::case::Case;
use crate::digest::Digest;
use crate::fold::State;
use crate::fold::standing::{Lifecycle, Trial, open_booking, release_standing};
use crate::name::Name;
use crate::statement::Statement;
use crate::time::Time;
use crate::window::Window;

/// Whom a release waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The submitter: it was returned.
    Submitter,
    /// A librarian: to review it, or to deliver it.
    Librarian,
    /// Security.
    Security,
    /// The change advisory board.
    Board,
    /// Another department that is consulted.
    Department,
    /// A change manager: to open a route, to approve an iteration, to book, to release a window, to decide
    /// about a return.
    ChangeManager,
    /// Whoever holds it.
    Holder,
    /// The environments in which it must be proven first.
    EarlierEnvironments,
    /// Its window, which has not opened.
    Window,
    /// Its hosts, at work.
    Hosts,
}

impl Side {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Submitter => "submitter",
            Self::Librarian => "librarian",
            Self::Security => "security",
            Self::Board => "board (CAB)",
            Self::Department => "other departments",
            Self::ChangeManager => "change manager",
            Self::Holder => "holder of a hold",
            Self::EarlierEnvironments => "earlier environments",
            Self::Window => "window to open",
            Self::Hosts => "hosts",
        }
    }
}

/// A release in one environment.
type Place = (Digest, Name);

/// For whom it waits since when, and the window that it waits for.
#[derive(Debug)]
struct Waiting {
    since: Time,
    sides: BTreeSet<Side>,
    window: Option<Window>,
}

/// How long everything has waited.
#[derive(Debug)]
pub(super) struct Waits {
    since: Option<Time>,
    /// The newest instant that anybody has signed: signers' clocks differ by minutes.
    now: Option<Time>,
    waiting: BTreeMap<Place, Waiting>,
    waited: BTreeMap<(Side, Place), Duration>,
}

impl Waits {
    pub(super) fn new(since: Option<Time>) -> Self {
        Self { since, now: None, waiting: BTreeMap::new(), waited: BTreeMap::new() }
    }

    /// `statement` has just been added to `state`.
    pub(super) fn observe(&mut self, state: &State, id: Digest, statement: &Statement) {
        let said = statement.header.issued;
        let now = self.now.map_or(said, |now| now.max(said));
        self.now = Some(now);
        for release in releases_of(state, id, &statement.says) {
            let Some(case) = state.case(&release) else { continue };
            for (environment, sides, window) in awaited(state, case, now) {
                let place = (release, environment);
                let next = Waiting { since: now, sides, window };
                if let Some(before) = self.waiting.insert(place.clone(), next) {
                    self.settle(&place, &before, now);
                }
            }
        }
    }

    pub(super) fn finish(mut self, until: Time) -> BTreeMap<Side, Spread> {
        let mut open: BTreeMap<Side, u64> = BTreeMap::new();
        for (place, waiting) in std::mem::take(&mut self.waiting) {
            for side in self.settle(&place, &waiting, until) {
                *open.entry(side).or_default() += 1;
            }
        }
        let mut spans: BTreeMap<Side, Vec<Duration>> = BTreeMap::new();
        for ((side, _), span) in self.waited {
            if !span.is_zero() {
                spans.entry(side).or_default().push(span);
            }
        }
        let spread =
            |(side, spans)| (side, Spread::of(spans, open.get(&side).copied().unwrap_or_default()));
        spans.into_iter().map(spread).collect()
    }

    /// Adds a wait up to `now` to what was waited; whom it waits for then.
    fn settle(&mut self, place: &Place, waiting: &Waiting, now: Time) -> BTreeSet<Side> {
        let period = Period { since: self.since, until: now };
        let mut last = BTreeSet::new();
        for (side, from, to) in stretches(waiting, now) {
            let waited = self.waited.entry((side, place.clone())).or_default();
            *waited += period.part_of(from, to);
            if to >= now {
                last.insert(side);
            }
        }
        last
    }
}

/// A wait, cut where the window opens and ends.
fn stretches(waiting: &Waiting, now: Time) -> Vec<(Side, Time, Time)> {
    let from = waiting.since;
    let is_timed = |side: &Side| matches!(side, Side::Window | Side::Hosts);
    let (Some(window), Some(_)) = (waiting.window, waiting.sides.iter().find(|it| is_timed(it)))
    else {
        return waiting.sides.iter().map(|side| (*side, from, now)).collect();
    };
    let (opens, ends) = (window.start.max(from), window.end.max(from));
    let cut = [
        (Side::Window, from, opens.min(now)),
        (Side::Hosts, opens, ends.min(now)),
        // It has expired: it is booked again, or given up.
        (Side::ChangeManager, ends, now),
    ];
    cut.into_iter().filter(|(_, from, to)| from < to).collect()
}

/// Whom a release waits for, in each of its environments.
fn awaited(state: &State, case: &Case, now: Time) -> Vec<(Name, BTreeSet<Side>, Option<Window>)> {
    let standing = release_standing(state, case, now);
    let here = standing.environments.into_iter().map(|it| {
        let sides = sides(state, case, &it.environment, it.word, now);
        let open = open_booking(state, case, &it.environment, now);
        let window = open.map(|it| it.booking.says().window);
        (it.environment, sides, window)
    });
    here.collect()
}

fn sides(
    state: &State,
    case: &Case,
    environment: &Name,
    word: Lifecycle,
    now: Time,
) -> BTreeSet<Side> {
    let refusing = |asked: &[(u16, Side)]| -> BTreeSet<Side> {
        let trial = Trial::new(state, case, environment, now);
        let refuses = asked.iter().filter(|(rule, _)| trial.refuses(*rule, now).is_some());
        refuses.map(|(_, side)| *side).collect()
    };
    match word {
        Lifecycle::Returned => BTreeSet::from([Side::Submitter]),
        Lifecycle::Submitted | Lifecycle::InReview | Lifecycle::Complete | Lifecycle::Assessing => {
            // Who decides about a release that is not complete does so early, and is not waited for.
            let review = refusing(&[(REVIEWED, Side::Librarian)]);
            if !review.is_empty() {
                return review;
            }
            refusing(&[
                (ASSESSED, Side::Security),
                (APPROVED, Side::Board),
                (CONSULTED, Side::Department),
                (FORMED, Side::Submitter),
                (GROUNDED, Side::ChangeManager),
                (ITERATION_APPROVED, Side::ChangeManager),
            ])
        }
        Lifecycle::Approved | Lifecycle::Booked | Lifecycle::Staged => {
            let before = refusing(&[
                (CONDITIONS, Side::Board),
                (DELIVERED, Side::Librarian),
                (PROVEN, Side::EarlierEnvironments),
            ]);
            if before.is_empty() { BTreeSet::from([Side::ChangeManager]) } else { before }
        }
        Lifecycle::Released => BTreeSet::from([Side::Window]),
        Lifecycle::Deploying => BTreeSet::from([Side::Hosts]),
        Lifecycle::Returning | Lifecycle::Expired => BTreeSet::from([Side::ChangeManager]),
        Lifecycle::OnHold => BTreeSet::from([Side::Holder]),
        // It has arrived, or it goes nowhere unless somebody begins anew.
        Lifecycle::Verifying
        | Lifecycle::RolledBack
        | Lifecycle::Denied
        | Lifecycle::Cancelled
        | Lifecycle::Closed
        | Lifecycle::Superseded => BTreeSet::new(),
    }
}
