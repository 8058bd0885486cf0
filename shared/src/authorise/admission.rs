//! Admission: what the coordinator says to a statement on the way in.
//!
//! Early and helpful, never the last word: the host decides again. It is the examination of the fold, plus
//! the signer's clock, plus the same numbered rules that the host will run, as far as they can be answered
//! when the statement is made. What is refused here never enters the log.
//!
//! **The signer's clock** is held against people, whose statements permit things from the time that they
//! name. It is not held against a host's outcome. That is an account of what is over, and bound to an order
//! that the log knows; refused because the host's clock was set meanwhile, it would leave everybody else
//! taking the host for one that never ended, and offering it the order again. Its times are evidence: what is
//! decided with them (how long a wave has to stay healthy, whether a review is newer than a return) waits
//! longer where a clock is ahead, and is never shortened by one that is set back, since the deployment machine
//! tells no end that is earlier than its beginning and the time that it took. A host that lies about them can
//! hold up its rollout, which it could anyway.

use std::collections::BTreeSet;
use std::time::Duration;

use super::closing;
use super::rules::{self, Stage};
use super::{HostFacts, Question};
use crate::calendar::agenda;
use crate::case::{Case, Verified};
use crate::digest::Digest;
use crate::fold::{Examined, State};
use crate::name::Name;
use crate::refusal::{Code, Refusal};
use crate::statement::{Booking, Emergency, HostChange, Phase, Release, Says, WindowRelease};
use crate::time::Time;

/// How far a signer's clock may be off: statements are signed by people's machines, and some minutes of
/// error change nothing that they permit.
pub const SIGNER_CLOCK: Duration = Duration::from_mins(5);

/// How long after it was signed a statement may come that forbids and permits nothing: whoever was to have
/// it may have been out of reach, and late it forbids as well as on time. What is older than a day its
/// signer signs again, so that what was never handed over cannot be brought up for ever.
pub const PROHIBITION_LATE: Duration = Duration::from_hours(24);

/// Examines a statement and says whether it may enter the log at `index` now.
pub fn admit(state: &State, index: u64, envelope: &[u8], now: Time) -> Result<Examined, Refusal> {
    let examined = state.examine(index, envelope)?;
    let header = examined.statement().header();
    // Hosts report when they are back, however long that takes, and whatever their clock says then.
    let from_host = matches!(examined.says(), Says::Outcome(_));
    let ahead = header.issued > now + SIGNER_CLOCK;
    let late = if only_forbids(examined.says()) { PROHIBITION_LATE } else { SIGNER_CLOCK };
    let behind = header.issued + late < now;
    // A policy is signed by several people on several days, and an exception is passed from one owner to
    // the other; when that ends, its own `not_after` says.
    let policy = matches!(examined.says(), Says::TrustPolicy(_));
    let passed_on = policy || examined.says().predicate().is_joint();
    if !from_host && ((ahead && !policy) || (behind && !passed_on)) {
        return Err(Refusal::new(
            Code::ClockSkew,
            format!("signed at {} by the signer's clock, {now} by this one", header.issued),
        ));
    }
    if header.not_after.is_some_and(|end| end <= now) {
        return Err(Refusal::new(Code::WindowClosed, "the statement has run out already"));
    }
    match examined.says() {
        Says::Review(it) => early_duties(state, &examined, &it.release, it.environments.iter())?,
        Says::Assessment(it) => {
            early_duties(state, &examined, &it.release, it.environments.iter())?;
        }
        Says::Vote(it) => early_duties(state, &examined, &it.release, it.environments.iter())?,
        Says::Release(it) => by_others(&examined, &ground(state, it), "signed its ground")?,
        Says::Emergency(Emergency::Approved(it)) => {
            let author = state.case(&it.release).map(|case| case.release.owners());
            by_others(&examined, &author.unwrap_or_default(), "submitted the iteration")?;
        }
        Says::Booking(it) => booking(state, &examined, it, now)?,
        Says::WindowRelease(it) => window_release(state, &examined, it, now)?,
        Says::Closure(it) => closing::admit(state, it, now)?,
        Says::Rollback(it) => {
            if let Some(denial) = state.denial(&it.to) {
                let facts = format!("security denied the package ({})", denial.short());
                return Err(Refusal::new(Code::Denied, facts));
            }
        }
        Says::TrustPolicy(_)
        | Says::Host(_)
        | Says::Grant(_)
        | Says::Emergency(Emergency::Opened { .. })
        | Says::Freeze(_)
        | Says::Standard(_)
        | Says::Override(_)
        | Says::Waiver(_)
        | Says::Calendar(_)
        | Says::Delivery(_)
        | Says::Hold(_)
        | Says::Resume(_)
        | Says::Cancel(_)
        | Says::Rehearsal(_)
        | Says::Consult(_)
        | Says::Step(_)
        | Says::Acknowledgement(_)
        | Says::Task(_)
        | Says::Outcome(_)
        | Says::Clearance(_) => {}
    }
    Ok(examined)
}

/// Whether all that a statement does is to stand against something. Some that stand against one thing permit
/// another, and those are as good as their signer's clock says.
fn only_forbids(says: &Says) -> bool {
    let permits = matches!(
        says,
        Says::TrustPolicy(_)
            | Says::Host(HostChange::Enrolled(_))
            | Says::Release(_)
            | Says::Emergency(_)
            | Says::Rollback(_)
            | Says::Outcome(_)
    );
    says.is_against() && !permits
}

fn tried(state: &State, examined: &Examined, release: &Digest) -> State {
    let mut trial = state.trial(release);
    trial.insert(examined.clone());
    trial
}

/// Who signed what a release that is no normal one stands on.
fn ground<'a>(state: &'a State, release: &Release) -> BTreeSet<&'a Name> {
    let opened = release.iteration.as_ref().and_then(|it| state.emergency(&it.grounds));
    let standard = release.standard.and_then(|it| state.standard(&it));
    let opened = opened.map(Verified::owners).unwrap_or_default();
    opened.into_iter().chain(standard.into_iter().flat_map(|it| it.approved.owners())).collect()
}

/// What hosts refuse later (rules 9 and 10) is said when it is signed.
fn by_others(examined: &Examined, others: &BTreeSet<&Name>, did: &str) -> Result<(), Refusal> {
    match examined.statement().owners().intersection(others).next() {
        None => Ok(()),
        Some(owner) => Err(Refusal::new(
            Code::DutiesNotSeparate,
            format!("{owner} {did} too: another owner signs one of the two"),
        )),
    }
}

fn early_duties<'a>(
    state: &State,
    examined: &Examined,
    release: &Digest,
    environments: impl Iterator<Item = &'a Name>,
) -> Result<(), Refusal> {
    let trial = tried(state, examined, release);
    let (Some(case), Some(policy)) = (trial.case(release), trial.policy()) else {
        return Ok(());
    };
    for environment in environments {
        let rule = policy.rule(environment, case.release.says().change)?;
        rules::duties_separate_so_far(case, environment, rule)?;
    }
    Ok(())
}

fn booking(state: &State, examined: &Examined, it: &Booking, now: Time) -> Result<(), Refusal> {
    if it.window.end <= now {
        return Err(Refusal::new(
            Code::WindowClosed,
            format!("the window ended at {}", it.window.end),
        ));
    }
    let trial = tried(state, examined, &it.release);
    if let Some(case) = trial.case(&it.release) {
        fits(case, it)?;
    }
    for_each_host(&trial, examined.id(), it, Stage::Booking, now)?;
    match state.case(&it.release) {
        Some(case) => agenda::admit(state, case, it, now),
        None => Ok(()),
    }
}

/// Whether the window can hold a deployment at all.
fn fits(case: &Case, it: &Booking) -> Result<(), Refusal> {
    let needed = case.budget().whole();
    if it.window.length() >= needed {
        return Ok(());
    }
    Err(Refusal::new(
        Code::WindowTooShort,
        format!(
            "{} s booked, {} s needed to apply and, if need be, go back",
            it.window.length().as_secs(),
            needed.as_secs()
        ),
    ))
}

fn window_release(
    state: &State,
    examined: &Examined,
    it: &WindowRelease,
    now: Time,
) -> Result<(), Refusal> {
    let trial = tried(state, examined, &it.release);
    let Some((_, booking)) = trial.booking(&it.booking) else {
        return Ok(());
    };
    let says = booking.booking.says();
    if says.window.end <= now {
        return Err(Refusal::new(
            Code::WindowClosed,
            format!("the window ended at {}", says.window.end),
        ));
    }
    if it.checkpoint.size > state.next_index() {
        return Err(Refusal::new(Code::CheckpointStale, "it names a longer log than there is"));
    }
    for_each_host(&trial, it.booking, says, Stage::Release, now)
}

fn for_each_host(
    trial: &State,
    order: Digest,
    booking: &Booking,
    stage: Stage,
    now: Time,
) -> Result<(), Refusal> {
    for planned in booking.plan.hosts() {
        let Some(record) = trial.host(&planned.host_key) else {
            return Err(Refusal::new(Code::WrongHost, format!("{} is not enrolled", planned.host)));
        };
        let host = HostFacts::from_log(record, &booking.application);
        let question = Question { state: trial, host: &host, order, phase: Phase::Start, now };
        for rule in rules::FORWARD.iter().filter(|rule| rule.from <= stage) {
            (rule.check)(&question)?;
        }
    }
    Ok(())
}
