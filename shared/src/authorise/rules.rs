//! The standing rules, numbered. Each looks at one thing and refuses with its own code.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Question;
use crate::case::{BookingCase, Case, Verified};
use crate::digest::Digest;
use crate::fold::State;
use crate::key::KeyId;
use crate::name::Name;
use crate::policy::{Duties, Role, Rule as PolicyRule};
use crate::refusal::{Code, Refusal};
use crate::statement::{
    Assessment, ChangeType, Emergency, Event, Hold, Outcome, Phase, Review, Verdict,
};
use crate::window::{Position, Window};

/// A numbered rule.
#[derive(Debug)]
pub struct Rule {
    /// Its number; stable.
    pub number: u16,
    /// What it looks at.
    pub about: &'static str,
    /// Refuses or not.
    pub check: fn(&Question<'_>) -> Result<(), Refusal>,
}

/// Everything that must hold to go forward, in the order in which refusals are told.
pub const FORWARD: &[Rule] = &[
    Rule { number: 1, about: "the policy is in force", check: policy_in_force },
    Rule { number: 2, about: "every predicate is understood", check: predicates_known },
    Rule { number: 3, about: "a good booking is known", check: booked },
    Rule { number: 4, about: "the order is for this host", check: for_this_host },
    Rule { number: 5, about: "one package throughout", check: one_package },
    Rule { number: 6, about: "a rule covers the case", check: rule_exists },
    Rule { number: 7, about: "it was not denied or given up", check: alive },
    Rule { number: 8, about: "no later submission took its place", check: not_superseded },
    Rule { number: 9, about: "the change type has its ground", check: grounded },
    Rule { number: 10, about: "the iteration is approved", check: iteration_approved },
    Rule { number: 11, about: "iterations come in order", check: iteration_in_order },
    Rule { number: 12, about: "duties are separate", check: duties_separate },
    Rule { number: 13, about: "it was reviewed, after any return", check: reviewed },
    Rule { number: 14, about: "security assessed it", check: assessed },
    Rule { number: 15, about: "the board approved it", check: approved },
    Rule { number: 16, about: "it was delivered", check: delivered },
    Rule { number: 17, about: "the window was released", check: released },
    Rule { number: 18, about: "the booking is within the policy", check: window_within_policy },
    Rule { number: 19, about: "no hold stands", check: not_held },
    Rule { number: 20, about: "no freeze covers it", check: not_frozen },
    Rule { number: 21, about: "the environments before proved it", check: environments_proven },
    Rule { number: 22, about: "the window is open, with room", check: window_open },
    Rule { number: 23, about: "the waves before proved it", check: waves_proven },
    Rule { number: 24, about: "the order is new here", check: not_spent },
    Rule { number: 25, about: "nothing on the host inhibits it", check: not_inhibited },
];

/// Everything that must hold for an ordered return.
pub const RETURN: &[Rule] = &[
    Rule { number: 51, about: "every predicate is understood", check: predicates_known },
    Rule { number: 52, about: "it names this host", check: return_for_this_host },
    Rule { number: 53, about: "it is for this generation, once", check: return_generation },
    Rule { number: 54, about: "it goes one release back", check: return_target },
    Rule { number: 55, about: "it has not run out", check: return_in_time },
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
    q.booking().map(|_| ())
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

// 5
fn one_package(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let package = case.release.says().package;
    let others = [
        Some(booking.booking.says().package),
        booking.released.as_ref().map(|it| it.says().package),
    ];
    match others.into_iter().flatten().find(|other| *other != package) {
        None => Ok(()),
        Some(other) => {
            refuse(Code::DigestMismatch, format!("package {other} where {package} was approved"))
        }
    }
}

// 6
fn rule_exists(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    if !case.release.says().environments.contains(&booking.booking.says().environment) {
        return refuse(
            Code::WrongEnvironment,
            format!("the release is not for {}", booking.booking.says().environment),
        );
    }
    policy_rule(q, case, booking).map(|_| ())
}

// 7
fn alive(q: &Question<'_>) -> Result<(), Refusal> {
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
    let later = q.state.cases().find(|other| {
        let theirs = other.release.says().iteration.as_ref();
        !other.approvals.is_empty()
            && theirs.is_some_and(|it| it.grounds == mine.grounds && it.number > mine.number)
    });
    match later {
        None => Ok(()),
        Some(other) => refuse(Code::Superseded, format!("iteration {} is approved", other.name())),
    }
}

// 9
fn grounded(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let release = case.release.says();
    match (release.change, &release.iteration) {
        (ChangeType::Normal, None) => Ok(()),
        (ChangeType::Normal | ChangeType::Standard, _) => {
            refuse(Code::GroundMissing, format!("no pre-approval for a {} change", release.change))
        }
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
            if let Some(owner) = opened.owners().intersection(&case.release.owners()).next() {
                return refuse(Code::DutiesNotSeparate, format!("{owner} opened it and submitted"));
            }
            Ok(())
        }
    }
}

// 10
fn iteration_approved(q: &Question<'_>) -> Result<(), Refusal> {
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
fn iteration_in_order(q: &Question<'_>) -> Result<(), Refusal> {
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

/// Everybody who has reviewed it for an environment.
fn reviewers<'a>(case: &'a Case, environment: &Name) -> BTreeSet<&'a Name> {
    let mine = case.reviews.iter().filter(|it| it.says().environments.contains(environment));
    mine.flat_map(|it| it.owners()).collect()
}

/// Owners by duty for one environment: author, reviewer, assessor, board vote, window release.
fn duties<'a>(
    case: &'a Case,
    environment: &Name,
    releasers: BTreeSet<&'a Name>,
) -> Vec<(&'static str, BTreeSet<&'a Name>)> {
    vec![
        ("author", case.release.owners()),
        ("reviewer", reviewers(case, environment)),
        ("assessor", case.assessments_for(environment).into_keys().collect()),
        ("board vote", case.votes_for(environment).into_keys().collect()),
        ("window release", releasers),
    ]
}

// 12
fn duties_separate(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let mut releasers = booking.booking.owners();
    releasers.extend(booking.released.iter().flat_map(|it| it.owners()));
    let rule = policy_rule(q, case, booking)?;
    check_duties(&duties(case, &booking.booking.says().environment, releasers), rule.duties)
}

/// Whether nobody holds two duties, as far as they are taken yet in an environment.
pub(super) fn duties_separate_so_far(
    case: &Case,
    environment: &Name,
    rule: &PolicyRule,
) -> Result<(), Refusal> {
    check_duties(&duties(case, environment, BTreeSet::new()), rule.duties)
}

fn check_duties(duties: &[(&'static str, BTreeSet<&Name>)], apart: Duties) -> Result<(), Refusal> {
    for (number, (duty, owners)) in duties.iter().enumerate() {
        // The author is the first of them.
        if number > 0 && apart == Duties::SubmitterApart {
            break;
        }
        for (other_duty, others) in &duties[number + 1..] {
            if let Some(owner) = owners.intersection(others).next() {
                return refuse(
                    Code::DutiesNotSeparate,
                    format!("{owner} is {duty} and {other_duty} of the same release"),
                );
            }
        }
    }
    Ok(())
}

// 13
fn reviewed(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let rule = policy_rule(q, case, booking)?;
    let package = case.release.says().package;
    let logged = q.state.returned_at(&package).map(|index| index + 1);
    let here = q.host.installed.returned.get(&package);
    let after = logged.into_iter().chain(here.map(|it| it.size)).max();
    if rule.reviews == 0 && after.is_none() {
        return Ok(());
    }
    let environment = &booking.booking.says().environment;
    // A review from before the return is none, also when somebody logs it a second time.
    let is_new = |it: &&Verified<Review>| {
        it.index() >= after.unwrap_or(0) && here.is_none_or(|back| it.header().issued >= back.time)
    };
    let owners: BTreeSet<_> = case
        .reviews
        .iter()
        .filter(is_new)
        .filter(|it| it.header().covers(q.now))
        .filter(|it| it.says().environments.contains(environment))
        .filter(|it| it.says().verdict == Verdict::Complete)
        .flat_map(|it| it.owners())
        .collect();
    let needed = rule.reviews.max(1) as usize;
    if owners.len() >= needed {
        return Ok(());
    }
    let why = if after.is_some() { " since a host took it back" } else { "" };
    refuse(
        Code::NotReviewed,
        format!("{} of {needed} reviews for {environment}{why}", owners.len()),
    )
}

// 14
fn assessed(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let rule = policy_rule(q, case, booking)?;
    let environment = &booking.booking.says().environment;
    let needed = rule.assessments.max(u32::from(case.release.says().irreversible)) as usize;
    let good =
        |it: &&Verified<Assessment>| it.says().judgement.is_accepted() && it.header().covers(q.now);
    let accepted = case.assessments_for(environment).into_values().filter(good).count();
    if accepted >= needed {
        return Ok(());
    }
    refuse(Code::NotAssessed, format!("{accepted} of {needed} assessments for {environment}"))
}

// 15
fn approved(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let rule = policy_rule(q, case, booking)?;
    let environment = &booking.booking.says().environment;
    let needed = rule.votes.max(u32::from(case.release.says().irreversible)) as usize;
    let votes = case.votes_for(environment);
    if let Some((owner, _)) = votes.iter().find(|(_, vote)| !vote.says().judgement.is_accepted()) {
        return refuse(Code::NotApproved, format!("{owner} voted to reject"));
    }
    let good = votes.values().filter(|vote| vote.header().covers(q.now)).count();
    if good >= needed {
        return Ok(());
    }
    refuse(Code::NotApproved, format!("{good} of {needed} votes for {environment}"))
}

// 16
fn delivered(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    if !policy_rule(q, case, booking)?.delivery || !case.deliveries.is_empty() {
        return Ok(());
    }
    refuse(Code::NotDelivered, "not delivered to the staging area")
}

// 17
fn released(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let Some(release) = &booking.released else {
        return refuse(
            Code::NotReleased,
            format!("the window of {} was not released", case.name()),
        );
    };
    if !release.header().covers(q.now) {
        return refuse(Code::NotReleased, "the window's release is not valid now");
    }
    // The releaser's own program judged the log up to this checkpoint, the booking in it.
    if release.says().checkpoint.size <= booking.booking.index() {
        return refuse(
            Code::CheckpointStale,
            "the window's release names a log without the booking",
        );
    }
    Ok(())
}

// 18
fn window_within_policy(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let rule = policy_rule(q, case, booking)?;
    let window = booking.booking.says().window;
    if window.length() > rule.longest_window {
        return refuse(
            Code::WindowTooLong,
            format!(
                "{} s booked, {} s allowed",
                window.length().as_secs(),
                rule.longest_window.as_secs()
            ),
        );
    }
    let expires = q.policy()?.document().expires;
    if window.end > expires {
        return refuse(
            Code::PolicyExpired,
            format!("the window ends after the policy does, {expires}"),
        );
    }
    Ok(())
}

// 19
fn not_held(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let mut releasers = booking.booking.owners();
    releasers.extend(booking.released.iter().flat_map(Verified::owners));
    // Another owner than the releaser's lets it go on (DESIGN 3).
    let stands = |hold: &&Verified<Hold>| {
        let resume = case.resumes.get(&hold.id());
        resume.is_none_or(|resume| !resume.owners().is_disjoint(&releasers))
    };
    match case.holds.iter().find(stands) {
        None => Ok(()),
        Some(hold) => refuse(Code::Held, hold.says().reason.clone()),
    }
}

// 20
fn not_frozen(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let says = booking.booking.says();
    let freezes: Vec<_> = q
        .state
        .freezes_over(&says.application, &says.environment, reach(q, case, says.window))
        .map(|freeze| freeze.id().short())
        .collect();
    if freezes.is_empty() {
        return Ok(());
    }
    refuse(Code::Frozen, format!("by {}", freezes.join(", ")))
}

/// What a deployment could still touch: from now to its latest end; ahead of the window, all of that.
fn reach(q: &Question<'_>, case: &Case, window: Window) -> Window {
    if q.now < window.start {
        return window;
    }
    let release = case.release.says();
    let apply = match q.phase {
        Phase::Start => release.apply_budget,
        Phase::Activate => Duration::ZERO,
    };
    Window { start: q.now, end: (q.now + apply + release.rollback_reserve).min(window.end) }
}

/// Whether the last of these outcomes by a host that tells of an end is that it committed.
fn committed<'a>(outcomes: impl Iterator<Item = &'a Verified<Outcome>>, host: &KeyId) -> bool {
    let last = outcomes
        .filter(|it| it.says().host_key == *host)
        .filter(|it| !matches!(it.says().event, Event::Refused { .. } | Event::Drifted { .. }))
        .max_by_key(|it| it.index());
    last.is_some_and(|it| it.says().event == Event::Committed)
}

/// What hosts said of ordered returns from the package of a release.
fn returns<'a>(state: &'a State, case: &Case) -> impl Iterator<Item = &'a Verified<Outcome>> {
    let package = case.release.says().package;
    let all = state.rollbacks().flat_map(|rollback| &rollback.outcomes);
    all.filter(move |it| it.says().package == package)
}

// 21
fn environments_proven(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let authors = case.release.owners();
    for proof in &policy_rule(q, case, booking)?.after {
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
fn window_open(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let release = case.release.says();
    let window = booking.booking.says().window;
    let apply = match q.phase {
        Phase::Start => release.apply_budget,
        Phase::Activate => Duration::ZERO,
    };
    match window.position(q.now, apply, release.rollback_reserve) {
        Position::Open => Ok(()),
        Position::Before => refuse(Code::WindowNotOpen, format!("opens at {}", window.start)),
        Position::After => refuse(Code::WindowClosed, format!("closed at {}", window.end)),
        Position::TooLate => refuse(
            Code::WindowTooShort,
            format!(
                "{} s left, {} s needed to apply and, if need be, go back",
                window.end.since(q.now).as_secs(),
                (apply + release.rollback_reserve).as_secs()
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
    let proven =
        |host: &KeyId| committed(booking.outcomes.iter().chain(returns(state, case)), host);
    before.filter(|it| !proven(&it.host_key)).map(|it| it.host.clone()).collect()
}

// 23
fn waves_proven(q: &Question<'_>) -> Result<(), Refusal> {
    let (_, booking) = q.booking()?;
    let unproven = unproven_before(q.state, &q.order, &q.host.host_key);
    if !unproven.is_empty() {
        let names: Vec<_> = unproven.iter().map(Name::as_str).collect();
        return refuse(Code::WaveNotProven, format!("not committed on {}", names.join(", ")));
    }
    let plan = &booking.booking.says().plan;
    let wave = plan.wave_of(&q.host.host_key).unwrap_or(0);
    let ended = booking
        .outcomes
        .iter()
        .filter(|it| it.says().event == Event::Committed)
        .filter(|it| plan.wave_of(&it.says().host_key).is_some_and(|other| other < wave))
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
fn not_spent(q: &Question<'_>) -> Result<(), Refusal> {
    // To activate is to go on with the order that was begun.
    if q.phase == Phase::Start && q.host.installed.spent.contains(&q.order) {
        return refuse(Code::GenerationPassed, "this booking has been carried out here");
    }
    Ok(())
}

// 25
fn not_inhibited(q: &Question<'_>) -> Result<(), Refusal> {
    match q.host.inhibitors.first() {
        None => Ok(()),
        Some(reason) => refuse(Code::Inhibited, reason.clone()),
    }
}

fn rollback_case<'a>(q: &Question<'a>) -> Result<&'a crate::fold::RollbackCase, Refusal> {
    let none = || Refusal::new(Code::RollbackNotAuthorised, "no good rollback statement is known");
    q.state.rollback(&q.order).ok_or_else(none)
}

// 52
fn return_for_this_host(q: &Question<'_>) -> Result<(), Refusal> {
    let case = rollback_case(q)?;
    let says = case.rollback.says();
    if says.environment != q.host.environment {
        return refuse(Code::WrongEnvironment, format!("the rollback is for {}", says.environment));
    }
    if !q.host.applications.contains(&says.application) {
        return refuse(
            Code::WrongApplication,
            format!("{} has no {}", q.host.host, says.application),
        );
    }
    if says.hosts.iter().any(|it| it.host_key == q.host.host_key) {
        return Ok(());
    }
    refuse(Code::WrongHost, format!("the rollback does not name {}", q.host.host))
}

// 53
fn return_generation(q: &Question<'_>) -> Result<(), Refusal> {
    let case = rollback_case(q)?;
    let turn = case.rollback.says().hosts.iter().find(|it| it.host_key == q.host.host_key);
    let installed = &q.host.installed;
    match turn {
        Some(turn)
            if turn.generation == installed.generation && !installed.spent.contains(&q.order) =>
        {
            Ok(())
        }
        Some(turn) => refuse(
            Code::GenerationPassed,
            format!(
                "signed for generation {}, the host is at {}",
                turn.generation, installed.generation
            ),
        ),
        None => refuse(Code::WrongHost, format!("the rollback does not name {}", q.host.host)),
    }
}

// 54
fn return_target(q: &Question<'_>) -> Result<(), Refusal> {
    let case = rollback_case(q)?;
    let says = case.rollback.says();
    if let Some(denial) = q.state.denial(&says.to) {
        return refuse(Code::Denied, format!("security denied the package ({})", denial.short()));
    }
    let role = q.policy()?.holders(
        case.rollback.signers(),
        Role::ChangeManager,
        Some(&says.application),
        &BTreeSet::from([says.environment.clone()]),
    );
    if role.is_empty() {
        return refuse(Code::RollbackNotAuthorised, "not signed by a change manager");
    }
    if q.host.installed.running != Some(says.from) {
        return refuse(Code::RollbackNotAuthorised, "another package runs than the one to leave");
    }
    if q.host.installed.previous != Some(says.to) {
        return refuse(Code::RollbackNotAuthorised, "it does not go to the release before");
    }
    Ok(())
}

// 55
fn return_in_time(q: &Question<'_>) -> Result<(), Refusal> {
    let case = rollback_case(q)?;
    if case.rollback.header().covers(q.now) {
        return Ok(());
    }
    refuse(Code::WindowClosed, "the rollback has run out")
}
