//! Closing a release: only what is over can be closed, and only as what it came to.

use crate::fold::State;
use crate::fold::standing::{Lifecycle, release_standing};
use crate::refusal::{Code, Refusal};
use crate::statement::{Closure, ClosureResult};
use crate::time::Time;

/// Whether a closure may enter the log now. Who may sign it, and whether it has the review that it owes, is
/// found out when it is examined.
pub fn admit(state: &State, closure: &Closure, now: Time) -> Result<(), Refusal> {
    let Closure::Release { release, result, .. } = closure else { return Ok(()) };
    let Some(case) = state.case(release) else { return Ok(()) };
    let standing = release_standing(state, case, now);
    let possible = results(standing.word, case.touched_a_host());
    if possible.contains(result) {
        return Ok(());
    }
    if possible.is_empty() {
        let facts = format!("it is {}: {}", standing.word, standing.detail);
        return Err(Refusal::new(Code::InProgress, facts));
    }
    let words: Vec<_> = possible.iter().map(|it| it.name()).collect();
    let facts = format!(
        "it is {}, which is not {result} but {}: {}",
        standing.word,
        words.join(" or "),
        standing.detail
    );
    Err(Refusal::new(Code::InProgress, facts))
}

/// As what a release in this state can be closed; nothing while it moves, or waits for somebody.
pub fn results(word: Lifecycle, touched_a_host: bool) -> &'static [ClosureResult] {
    use ClosureResult::{BackedOut, NotImplemented, Successful, SuccessfulWithIssues};
    match word {
        Lifecycle::Verifying => &[Successful, SuccessfulWithIssues],
        Lifecycle::RolledBack => &[BackedOut],
        Lifecycle::Returned
        | Lifecycle::Denied
        | Lifecycle::Expired
        | Lifecycle::Cancelled
        | Lifecycle::Superseded => {
            if touched_a_host {
                &[BackedOut, SuccessfulWithIssues]
            } else {
                &[NotImplemented]
            }
        }
        Lifecycle::Submitted
        | Lifecycle::InReview
        | Lifecycle::Complete
        | Lifecycle::Assessing
        | Lifecycle::Approved
        | Lifecycle::Booked
        | Lifecycle::Staged
        | Lifecycle::Released
        | Lifecycle::Deploying
        | Lifecycle::Returning
        | Lifecycle::OnHold
        | Lifecycle::Closed => &[],
    }
}
