//! Rules 19 to 25: what must hold at this moment, on this host.

use std::collections::BTreeSet;
use std::time::Duration;

use super::exception::{passed, waived};
use super::{Question, policy_rule, refuse};
use crate::case::{Case, Reported, Verified};
use crate::digest::Digest;
use crate::fold::State;
use crate::key::KeyId;
use crate::name::Name;
use crate::policy::Exception;
use crate::refusal::{Code, Refusal};
use crate::rollout::last_ends;
use crate::statement::{Event, Phase};
use crate::window::{Position, Window};

// 19
pub(super) fn not_held(q: &Question<'_>) -> Result<(), Refusal> {
    if crate::seeded!(HoldIgnored) {
        return Ok(());
    }
    let (case, booking) = q.booking()?;
    match case.holds_on(booking).next() {
        None => Ok(()),
        Some(hold) => refuse(Code::Held, hold.says().reason.clone()),
    }
}

// 20
pub(super) fn not_frozen(q: &Question<'_>) -> Result<(), Refusal> {
    if crate::seeded!(FreezeIgnored) {
        return Ok(());
    }
    let (case, booking) = q.booking()?;
    let says = booking.booking.says();
    let passed = passed(q, (case, booking));
    let freezes: Vec<_> = q
        .state
        .freezes_over(&says.application, &says.environment, reach(q, case, says.window))
        .filter(|freeze| !passed.contains(&freeze.id()))
        .map(|freeze| freeze.id().short())
        .collect();
    if freezes.is_empty() {
        return Ok(());
    }
    refuse(Code::Frozen, format!("by {}", freezes.join(", ")))
}

/// What a deployment could still touch: from now to its latest end; ahead of the window, all of that.
pub(super) fn reach(q: &Question<'_>, case: &Case, window: Window) -> Window {
    if q.now < window.start {
        return window;
    }
    let budget = case.budget();
    let apply = match q.phase {
        Phase::Start => budget.apply,
        Phase::Activate => Duration::ZERO,
    };
    Window { start: q.now, end: (q.now + apply + budget.reserve).min(window.end) }
}

/// Whether the last of these outcomes by a host that tells of an end is that it committed.
pub(super) fn committed<'a>(
    outcomes: impl Iterator<Item = &'a Verified<Reported>>,
    host: &KeyId,
) -> bool {
    let last = outcomes
        .filter(|it| it.says().host_key == *host)
        .filter(|it| !matches!(it.says().event, Event::Refused { .. } | Event::Drifted { .. }))
        .max_by_key(|it| it.index());
    last.is_some_and(|it| it.says().event == Event::Committed)
}

/// What hosts said of ordered returns from the package of a release.
pub(super) fn returns<'a>(
    state: &'a State,
    case: &'a Case,
) -> impl Iterator<Item = &'a Verified<Reported>> {
    let package = &case.release.says().package;
    let all = state.rollbacks_from(package).flat_map(|rollback| &rollback.outcomes);
    all.filter(move |it| it.says().package == *package)
}

// 21
pub(super) fn environments_proven(q: &Question<'_>) -> Result<(), Refusal> {
    if crate::seeded!(StagingNotProven) {
        return Ok(());
    }
    let (case, booking) = q.booking()?;
    let authors = case.release.owners();
    let rule = policy_rule(q, case, booking)?;
    if waived(q, (case, booking), Exception::Environments) {
        return Ok(());
    }
    for proof in &rule.after {
        let counts = |key: &KeyId| {
            q.state.host(key).is_some_and(|host| {
                host.enrolment.says().environment == proof.environment
                    && host.enrolment.index() < case.release.index()
                    && host.vouchers.iter().all(|owner| !authors.contains(owner))
            })
        };
        let keys: BTreeSet<_> = case.outcomes().map(|it| it.says().host_key).collect();
        let proven = |key: &KeyId| committed(case.outcomes().chain(returns(q.state, case)), key);
        let good = keys.iter().filter(|key| counts(key) && proven(key)).count();
        if good < proof.hosts as usize {
            return refuse(
                Code::EnvironmentNotProven,
                format!("committed on {good} of {} hosts of {}", proof.hosts, proof.environment),
            );
        }
    }
    Ok(())
}

// 22
pub(super) fn window_open(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let budget = case.budget();
    let window = booking.booking.says().window;
    let apply = match q.phase {
        Phase::Start => budget.apply,
        Phase::Activate => Duration::ZERO,
    };
    match window.position(q.now, apply, budget.reserve) {
        Position::Open => Ok(()),
        Position::Before => refuse(Code::WindowNotOpen, format!("opens at {}", window.start)),
        Position::After => refuse(Code::WindowClosed, format!("closed at {}", window.end)),
        Position::TooLate => refuse(
            Code::WindowTooShort,
            format!(
                "{} s left, {} s needed to apply and, if need be, go back",
                window.end.since(q.now).as_secs(),
                (apply + budget.reserve).as_secs()
            ),
        ),
    }
}

/// The hosts of earlier waves that have not proven the booking's release, for the wave of `host`.
pub fn unproven_before(state: &State, order: &Digest, host: &KeyId) -> Vec<Name> {
    let Some((case, booking)) = state.booking(order) else {
        return Vec::new();
    };
    let plan = &booking.booking.says().plan;
    let wave = plan.wave_of(host).unwrap_or(0);
    let before = plan.waves.iter().take(wave).flat_map(|it| &it.hosts);
    let ends = last_ends(state, case, booking);
    let proven =
        |host: &KeyId| ends.get(host).is_some_and(|it| it.says().event == Event::Committed);
    before.filter(|it| !proven(&it.host_key)).map(|it| it.host.clone()).collect()
}

/// Most hosts that a refusal names.
const NAMED: usize = 8;

// 23
pub(super) fn waves_proven(q: &Question<'_>) -> Result<(), Refusal> {
    if crate::seeded!(WaveProofSkipped) {
        return Ok(());
    }
    let (_, booking) = q.booking()?;
    let unproven = unproven_before(q.state, &q.order, &q.host.host_key);
    if !unproven.is_empty() {
        let mut names: Vec<_> = unproven.iter().take(NAMED).map(Name::to_string).collect();
        if unproven.len() > NAMED {
            names.push(format!("{} more", unproven.len() - NAMED));
        }
        let names = names.join(", ");
        return refuse(Code::WaveNotProven, format!("not committed on {names}"));
    }
    let plan = &booking.booking.says().plan;
    let wave = plan.wave_of(&q.host.host_key).unwrap_or(0);
    let before: BTreeSet<KeyId> =
        plan.waves.iter().take(wave).flat_map(|it| &it.hosts).map(|it| it.host_key).collect();
    let ended = booking
        .outcomes
        .iter()
        .filter(|it| it.says().event == Event::Committed)
        .filter(|it| before.contains(&it.says().host_key))
        .map(|it| it.says().ended)
        .max();
    match ended {
        Some(ended) if q.now < ended + plan.healthy_for => refuse(
            Code::WaveNotProven,
            format!("the wave before must stay healthy until {}", ended + plan.healthy_for),
        ),
        Some(_) | None => Ok(()),
    }
}

// 24
pub(super) fn not_spent(q: &Question<'_>) -> Result<(), Refusal> {
    // To activate is to go on with the order that was begun.
    if q.phase == Phase::Start && q.host.installed.spent.contains(&q.order) {
        return refuse(Code::GenerationPassed, "this booking has been carried out here");
    }
    Ok(())
}

// 25
pub(super) fn not_inhibited(q: &Question<'_>) -> Result<(), Refusal> {
    match q.host.inhibitors.first() {
        None => Ok(()),
        Some(reason) => refuse(Code::Inhibited, reason.clone()),
    }
}
