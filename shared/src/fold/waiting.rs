//! On whose side a release waits for its review (PROCESS 7): from each submission to the librarian's
//! answer on the librarian's, from a return to the next submission on the submitter's.

use serde::{Deserialize, Serialize};

use super::State;
use crate::case::Case;
use crate::statement::Verdict;
use crate::time::Time;

/// The most submissions that are followed back: more are no history that anybody reads.
const MAX_SUBMISSIONS: usize = 1000;

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The submitter mends what was returned.
    Submitter,
    /// A librarian reviews.
    Librarian,
}

/// A span in which a release waited for somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// For whom.
    pub side: Side,
    /// From when on.
    pub from: Time,
    /// Until when; none: it still waits.
    pub until: Option<Time>,
}

impl Wait {
    /// How long it was, or is by `now`.
    pub fn length(&self, now: Time) -> std::time::Duration {
        self.until.unwrap_or(now).since(self.from)
    }
}

/// The submission that another one takes the place of, or follows: for whoever compares the two.
pub fn before<'s>(state: &'s State, case: &Case) -> Option<&'s Case> {
    let release = case.release.says();
    let named = release.supersedes.or(release.iteration.as_ref().and_then(|it| it.previous));
    match named {
        Some(earlier) => state.case(&earlier),
        None => {
            let earlier = state.cases().filter(|other| {
                other.number < case.number
                    && other.release.says().application == release.application
            });
            earlier.max_by_key(|other| other.number)
        }
    }
}

/// Every span in which this release and those that it takes the place of waited for their reviews, in
/// order.
pub fn waits(state: &State, case: &Case) -> Vec<Wait> {
    let mut chain = vec![case];
    while let Some(earlier) = chain.last().and_then(|it| it.release.says().supersedes)
        && let Some(earlier) = state.case(&earlier)
        && chain.len() < MAX_SUBMISSIONS
    {
        chain.push(earlier);
    }
    chain.reverse();
    let mut waits = Vec::new();
    for case in chain {
        let next = case.superseded_by.and_then(|next| state.case(&next));
        of_one(case, next.map(|next| next.release.header().issued), &mut waits);
    }
    waits
}

/// The waits of one submission, which `next` ends whatever they wait for.
fn of_one(case: &Case, next: Option<Time>, waits: &mut Vec<Wait>) {
    let cancelled = case.cancelled.as_ref().map(|it| it.header().issued);
    let ended = [next, cancelled].into_iter().flatten().min();
    let mut open =
        Some(Wait { side: Side::Librarian, from: case.release.header().issued, until: None });
    let mut missing = case.release.says().environments.clone();
    for review in &case.reviews {
        let at = review.header().issued;
        missing.retain(|environment| !review.says().environments.contains(environment));
        let side = match &review.says().verdict {
            Verdict::Returned { .. } | Verdict::Denied { .. } => Some(Side::Submitter),
            Verdict::Complete if missing.is_empty() => None,
            Verdict::Complete => Some(Side::Librarian),
        };
        if open.is_some_and(|wait| Some(wait.side) == side) {
            continue;
        }
        waits.extend(open.take().map(|wait| Wait { until: Some(at), ..wait }));
        open = side.map(|side| Wait { side, from: at, until: None });
    }
    waits.extend(open.map(|wait| Wait { until: ended, ..wait }));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn time(minute: u64) -> Time {
        Time::EPOCH + Duration::from_mins(minute)
    }

    #[test]
    fn a_span_is_as_long_as_somebody_waited() {
        let wait = Wait { side: Side::Librarian, from: time(1), until: Some(time(3)) };
        assert_eq!(wait.length(time(9)), Duration::from_mins(2));
        let open = Wait { until: None, ..wait };
        assert_eq!(open.length(time(9)), Duration::from_mins(8));
        assert_eq!(open.length(time(0)), Duration::ZERO);
    }
}
