//! Rules 9 to 11: what stands behind a change that is not a normal one.

use super::{Question, refuse};
use crate::case::{BookingCase, Case, Verified};
use crate::refusal::{Code, Refusal};
use crate::statement::{ChangeType, Emergency, Verdict};

// 9
pub(super) fn grounded(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let release = case.release.says();
    match (release.change, &release.iteration) {
        (ChangeType::Normal, None) => Ok(()),
        (ChangeType::Normal | ChangeType::Standard, Some(_)) => {
            refuse(Code::GroundMissing, "only an emergency release is an iteration")
        }
        (ChangeType::Standard, None) => standard(q, case, booking),
        (ChangeType::Emergency, None) => {
            refuse(Code::GroundMissing, "an emergency release names the emergency that it is for")
        }
        (ChangeType::Emergency, Some(iteration)) => {
            let Some(opened) = q.state.emergency(&iteration.grounds) else {
                return refuse(Code::GroundMissing, "the emergency that it names is not open");
            };
            let Emergency::Opened { application, environments, .. } = opened.says() else {
                return refuse(Code::GroundMissing, "what it names is not an open emergency");
            };
            let covers = *application == release.application
                && environments.contains(&booking.booking.says().environment);
            if !covers {
                return refuse(Code::GroundMissing, "the emergency is for something else");
            }
            // Judged ahead of the window, it must still be open when that begins.
            let when = q.now.max(booking.booking.says().window.start);
            if !opened.header().covers(when) {
                return refuse(Code::GroundMissing, "the emergency has run out");
            }
            if let Some(closed) = q.state.emergency_closure(&iteration.grounds) {
                let facts = format!("the emergency was closed ({})", closed.id().short());
                return refuse(Code::Closed, facts);
            }
            if let Some(owner) = opened.owners().intersection(&case.release.owners()).next() {
                return refuse(Code::DutiesNotSeparate, format!("{owner} opened it and submitted"));
            }
            Ok(())
        }
    }
}

/// A standard change stands on a pre-approval that it fits, by someone who did not submit it.
fn standard(q: &Question<'_>, case: &Case, booking: &BookingCase) -> Result<(), Refusal> {
    let release = case.release.says();
    let record = release.standard.and_then(|it| q.state.standard(&it));
    let Some(record) = record.filter(|it| it.withdrawn.is_none()) else {
        return refuse(Code::GroundMissing, "no pre-approval that stands is named");
    };
    let when = q.now.max(booking.booking.says().window.start);
    if !record.approved.header().covers(when) {
        return refuse(Code::GroundMissing, "the pre-approval has run out");
    }
    if let Some(misfit) = record.approved.says().misfit(release)
        && !crate::seeded!(PreApprovalFitsAll)
    {
        return refuse(Code::GroundMissing, format!("it does not fit its pre-approval: {misfit}"));
    }
    if let Some(owner) = record.approved.owners().intersection(&case.release.owners()).next() {
        return refuse(Code::DutiesNotSeparate, format!("{owner} approved it ahead and submitted"));
    }
    Ok(())
}

// 10
pub(super) fn iteration_approved(q: &Question<'_>) -> Result<(), Refusal> {
    if crate::seeded!(IterationNotApproved) {
        return Ok(());
    }
    let (case, _) = q.booking()?;
    let Some(iteration) = &case.release.says().iteration else {
        return Ok(());
    };
    let authors = case.release.owners();
    let by_another = |approval: &&Verified<_>| -> bool {
        approval.header().covers(q.now) && approval.owners().is_disjoint(&authors)
    };
    if case.approvals.iter().any(|it| by_another(&it)) {
        return Ok(());
    }
    refuse(
        Code::IterationNotApproved,
        format!(
            "no change manager other than its author approved iteration {} ({})",
            iteration.number,
            case.release.says().package.short()
        ),
    )
}

// 11
pub(super) fn iteration_in_order(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, _) = q.booking()?;
    let Some(iteration) = &case.release.says().iteration else {
        return Ok(());
    };
    if let Some(&number) = q.host.installed.iterations.get(&iteration.grounds)
        && number > iteration.number
    {
        return refuse(
            Code::IterationOutOfOrder,
            format!("iteration {number} has begun here already"),
        );
    }
    let Some(previous) = &iteration.previous else {
        return Ok(());
    };
    let Some(before) = q.state.case(previous) else {
        return refuse(Code::IterationOutOfOrder, "the iteration before is not known");
    };
    let denied =
        before.reviews.iter().any(|it| matches!(it.says().verdict, Verdict::Denied { .. }));
    if before.cancelled.is_some() || denied || !before.approvals.is_empty() {
        return Ok(());
    }
    refuse(
        Code::IterationOutOfOrder,
        format!("{} was neither approved nor cancelled nor denied", before.name()),
    )
}
