//! Rules 12 to 18: whose word there must be, and that no word is one too many.

use std::collections::BTreeSet;

use super::exception::waived;
use super::{Question, policy_rule, refuse};
use crate::case::{Case, Verified};
use crate::name::Name;
use crate::policy::{Duties, Exception, Rule as PolicyRule};
use crate::refusal::{Code, Refusal};
use crate::statement::{Assessment, Review, Verdict, Vote};

/// Everybody who has reviewed it for an environment.
pub(super) fn reviewers<'a>(case: &'a Case, environment: &Name) -> BTreeSet<&'a Name> {
    let mine = case.reviews.iter().filter(|it| it.says().environments.contains(environment));
    mine.flat_map(|it| it.owners()).collect()
}

/// Owners by duty for one environment: author, reviewer, assessor, board vote, window release.
pub(super) fn duties<'a>(
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
pub(super) fn duties_separate(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let mut releasers = booking.booking.owners();
    releasers.extend(booking.released.iter().flat_map(|it| it.owners()));
    let rule = policy_rule(q, case, booking)?;
    if waived(q, (case, booking), Exception::Duties) {
        return Ok(());
    }
    check_duties(&duties(case, &booking.booking.says().environment, releasers), rule.duties)
}

/// Whether nobody holds two duties, as far as they are taken yet in an environment.
pub(in crate::authorise) fn duties_separate_so_far(
    case: &Case,
    environment: &Name,
    rule: &PolicyRule,
) -> Result<(), Refusal> {
    check_duties(&duties(case, environment, BTreeSet::new()), rule.duties)
}

pub(super) fn check_duties(
    duties: &[(&'static str, BTreeSet<&Name>)],
    apart: Duties,
) -> Result<(), Refusal> {
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
pub(super) fn reviewed(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let rule = policy_rule(q, case, booking)?;
    let package = case.release.says().package;
    let logged = q.state.returned_at(&package).map(|index| index + 1);
    let here = q.host.installed.returned.get(&package);
    let after = logged.into_iter().chain(here.map(|it| it.size)).max();
    let (after, here) =
        if crate::seeded!(ReviewAfterReturnSkipped) { (None, None) } else { (after, here) };
    let needless = rule.reviews == 0 || waived(q, (case, booking), Exception::Review);
    if needless && after.is_none() {
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
pub(super) fn assessed(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let rule = policy_rule(q, case, booking)?;
    let environment = &booking.booking.says().environment;
    let irreversible = case.release.says().irreversible;
    if !irreversible && waived(q, (case, booking), Exception::Assessment) {
        return Ok(());
    }
    let needed = rule.assessments.max(u32::from(irreversible)) as usize;
    let good =
        |it: &&Verified<Assessment>| it.says().judgement.is_accepted() && it.header().covers(q.now);
    let accepted = case.assessments_for(environment).into_values().filter(good).count();
    if accepted >= needed {
        return Ok(());
    }
    refuse(Code::NotAssessed, format!("{accepted} of {needed} assessments for {environment}"))
}

// 15
pub(super) fn approved(q: &Question<'_>) -> Result<(), Refusal> {
    if crate::seeded!(VotesNotCounted) {
        return Ok(());
    }
    let (case, booking) = q.booking()?;
    let rule = policy_rule(q, case, booking)?;
    let environment = &booking.booking.says().environment;
    let irreversible = case.release.says().irreversible;
    let needed = rule.votes.max(u32::from(irreversible)) as usize;
    let votes = case.votes_for(environment);
    if let Some((owner, _)) = votes.iter().find(|(_, vote)| !vote.says().judgement.is_accepted()) {
        return refuse(Code::NotApproved, format!("{owner} voted to reject"));
    }
    if !irreversible && waived(q, (case, booking), Exception::Votes) {
        return Ok(());
    }
    let when = q.now.max(booking.booking.says().window.start);
    let fresh = |vote: &Verified<Vote>| {
        rule.approval_lifetime.is_none_or(|it| when < vote.header().issued + it)
    };
    let valid = || votes.values().filter(|vote| vote.header().covers(q.now));
    let good = valid().filter(|vote| fresh(vote)).count();
    if good >= needed {
        return Ok(());
    }
    let old = match valid().count() - good {
        0 => String::new(),
        old => format!("; {old} run out before the window starts"),
    };
    refuse(Code::NotApproved, format!("{good} of {needed} votes for {environment}{old}"))
}

// 16
pub(super) fn delivered(q: &Question<'_>) -> Result<(), Refusal> {
    let (case, booking) = q.booking()?;
    let needed =
        policy_rule(q, case, booking)?.delivery && !waived(q, (case, booking), Exception::Delivery);
    if !needed || !case.deliveries.is_empty() {
        return Ok(());
    }
    refuse(Code::NotDelivered, "not delivered to the staging area")
}

// 17
pub(super) fn released(q: &Question<'_>) -> Result<(), Refusal> {
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
pub(super) fn window_within_policy(q: &Question<'_>) -> Result<(), Refusal> {
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
