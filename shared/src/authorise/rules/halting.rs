//! Rules 61 to 66: the return that a booking orders for its own hosts when its rollout is halted
//! (DESIGN 7, `return-all`).
//!
//! The booking is the order: a change manager signed it, and with it that its hosts go back when enough of
//! them fail. What the coordinator adds is evidence alone, the outcomes that the failed hosts signed; a
//! host goes back only from what this very booking brought it.

use super::{Question, refuse};
use crate::refusal::Code;
use crate::refusal::Refusal;
use crate::rollout::{LINGER, is_failure, last_ends};

// 61
pub(super) fn halt_returns(q: &Question<'_>) -> Result<(), Refusal> {
    let (_, booking) = q.booking()?;
    if booking.released.is_none() {
        return refuse(Code::NotReleased, "the booking's window was not released");
    }
    if booking.booking.says().plan.returns_after().is_some() {
        return Ok(());
    }
    refuse(Code::RollbackNotAuthorised, "the booking says that a halt pauses")
}

// 63
pub(super) fn brought_by_the_booking(q: &Question<'_>) -> Result<(), Refusal> {
    let (_, booking) = q.booking()?;
    let installed = &q.host.installed;
    if installed.committed_by != Some(q.order) {
        return refuse(
            Code::GenerationPassed,
            format!("what runs at generation {} is not of this booking", installed.generation),
        );
    }
    if installed.running != Some(booking.booking.says().package) {
        return refuse(Code::RollbackNotAuthorised, "another package runs than the one to leave");
    }
    Ok(())
}

// 64
pub(super) fn failures_proven(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let plan = &booking.booking.says().plan;
    let ends = last_ends(q.state, case, booking);
    let failed = plan
        .hosts()
        .filter(|host| ends.get(&host.host_key).is_some_and(|it| is_failure(&it.says().event)));
    let failed = failed.count();
    match plan.returns_after() {
        Some(enough) if failed >= enough as usize => Ok(()),
        Some(enough) => refuse(
            Code::RollbackNotAuthorised,
            format!("{failed} hosts have signed that they failed, {enough} are needed"),
        ),
        None => refuse(Code::RollbackNotAuthorised, "the booking says that a halt pauses"),
    }
}

// 65
pub(super) fn release_before(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, _) = q.booking()?;
    if case.release.says().irreversible {
        return refuse(Code::RollbackNotAuthorised, "the release cannot be taken back");
    }
    let Some(before) = q.host.installed.previous else {
        return refuse(Code::RollbackNotAuthorised, "there is no release before it on this host");
    };
    match q.state.denial(&before) {
        Some(denial) => {
            refuse(Code::Denied, format!("security denied the package ({})", denial.short()))
        }
        None => Ok(()),
    }
}

// 66
pub(super) fn soon_enough(q: &Question<'_>) -> Result<(), Refusal> {
    let (_, booking) = q.booking()?;
    let window = booking.booking.says().window;
    if q.now < window.start {
        return refuse(Code::WindowNotOpen, format!("opens at {}", window.start));
    }
    let end = window.end + LINGER;
    if q.now < end {
        return Ok(());
    }
    refuse(Code::WindowClosed, format!("what the booking says of a halt ended at {end}"))
}
