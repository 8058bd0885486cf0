//! What happened to a release, in the order of the log.

use std::collections::BTreeSet;

use cutover_shared::case::{BookingCase, Case, Reported, Verified};
use cutover_shared::fold::{RollbackCase, State};
use cutover_shared::name::Name;
use cutover_shared::statement::{
    Acknowledgement, Closure, Consult, Direction, Emergency, Event, Judgement, Rehearsal,
    Rehearsed, Step, StepResult, Task, TaskChange, TaskKind, Verdict,
};
use cutover_shared::time::{Time, span};
use serde::Serialize;

/// Something that happened.
#[derive(Debug, Serialize)]
pub(super) struct Happened {
    /// Its place in the log.
    index: u64,
    /// When it was signed.
    time: Time,
    /// Who signed it; the host itself for what a host did.
    who: BTreeSet<Name>,
    /// What, for people.
    what: String,
}

impl Happened {
    fn new<T>(said: &Verified<T>, what: impl Into<String>) -> Self {
        Self {
            index: said.index(),
            time: said.header().issued,
            who: said.owners().into_iter().cloned().collect(),
            what: what.into(),
        }
    }

    /// A line for people.
    pub(super) fn text(&self) -> String {
        let who: Vec<_> = self.who.iter().map(Name::as_str).collect();
        format!("  {}  {} {}", self.time, who.join(" and "), self.what)
    }
}

/// Everything that happened to a release.
pub(super) fn history(state: &State, case: &Case) -> Vec<Happened> {
    let mut all = vec![Happened::new(&case.release, submitted(case))];
    all.extend(ground(state, case));
    all.extend(judged(case));
    all.extend(case.deliveries.iter().map(|it| {
        Happened::new(it, format!("delivered it to the staging area: {}", it.says().location))
    }));
    all.extend(case.waivers.iter().map(|it| {
        let says = it.says();
        let (what, environment) = (says.exception, &says.environment);
        Happened::new(it, format!("waived {what} for {environment}: {}", says.reason))
    }));
    all.extend(
        case.holds.iter().map(|it| Happened::new(it, format!("held it: {}", it.says().reason))),
    );
    all.extend(
        case.resumes
            .values()
            .map(|it| Happened::new(it, format!("resumed it: {}", it.says().reason))),
    );
    all.extend(case.consults.iter().map(consulted));
    all.extend(case.rehearsals.iter().map(rehearsed));
    all.extend(case.tasks.iter().map(|it| tasked(case, it)));
    all.extend(case.acknowledgements.iter().map(|it| seen(case, it)));
    all.extend(case.booked().flat_map(booked));
    let returns = state.rollbacks_from(&case.release.says().package);
    all.extend(returns.flat_map(ordered_back));
    all.extend(
        case.cancelled
            .iter()
            .map(|it| Happened::new(it, format!("cancelled it: {}", it.says().reason))),
    );
    all.extend(case.closed.iter().filter_map(|it| {
        let Closure::Release { result, review, .. } = it.says() else { return None };
        let found = review.as_ref().map(|it| format!("; {}", it.findings)).unwrap_or_default();
        Some(Happened::new(it, format!("closed it: {result}{found}")))
    }));
    let later = case.superseded_by.and_then(|it| state.case(&it));
    all.extend(
        later.map(|it| {
            Happened::new(&it.release, format!("submitted R-{} in its place", it.number))
        }),
    );
    all.sort_by_key(|it| it.index);
    all
}

fn submitted(case: &Case) -> String {
    let release = case.release.says();
    let what = match &release.iteration {
        Some(iteration) => format!("iteration {}", iteration.number),
        None => format!("a {} change", release.change),
    };
    format!("submitted it as {what}: {}", release.summary)
}

/// What was signed before it, and that it stands on.
fn ground(state: &State, case: &Case) -> Option<Happened> {
    let release = case.release.says();
    if let Some(iteration) = &release.iteration {
        let opened = state.emergency(&iteration.grounds)?;
        let Emergency::Opened { incident, reason, .. } = opened.says() else { return None };
        return Some(Happened::new(opened, format!("opened the emergency {incident}: {reason}")));
    }
    let approved = &state.standard(&release.standard?)?.approved;
    let title = &approved.says().title;
    Some(Happened::new(approved, format!("approved changes of this kind ahead: {title}")))
}

fn judged(case: &Case) -> Vec<Happened> {
    let reviews = case.reviews.iter().map(|it| {
        let says = it.says();
        let what = match &says.verdict {
            Verdict::Complete => "called it complete".to_owned(),
            Verdict::Returned { items } => {
                let items: Vec<_> =
                    items.iter().map(|it| format!("{}: {}", it.item, it.remark)).collect();
                format!("returned it; to mend: {}", items.join("; "))
            }
            Verdict::Denied { reason } => format!("denied it for its documentation: {reason}"),
        };
        Happened::new(it, format!("{what} ({})", join(&says.environments)))
    });
    let assessments = case.assessments.iter().map(|it| {
        let says = it.says();
        let what = judgement(&says.judgement, "accepted its risk", "denied it as a risk");
        Happened::new(it, format!("{what} ({})", join(&says.environments)))
    });
    let votes = case.votes.iter().map(|it| {
        let says = it.says();
        let what = judgement(&says.judgement, "voted for it", "voted against it");
        Happened::new(it, format!("{what} ({})", join(&says.environments)))
    });
    let approvals = case
        .approvals
        .iter()
        .map(|it| Happened::new(it, format!("approved iteration {}", it.says().number)));
    reviews.chain(assessments).chain(votes).chain(approvals).collect()
}

fn judgement(judgement: &Judgement, yes: &str, no: &str) -> String {
    let (word, reason) = match judgement {
        Judgement::Accepted { reason } => (yes, reason),
        Judgement::Denied { reason } => (no, reason),
    };
    if reason.is_empty() { word.to_owned() } else { format!("{word}: {reason}") }
}

fn consulted(consult: &Verified<Consult>) -> Happened {
    let what = match consult.says() {
        Consult::Asked { department, question, .. } => format!("asked {department}: {question}"),
        Consult::Answered { department, judgement: said, .. } => judgement(
            said,
            &format!("said yes for {department}"),
            &format!("said no for {department}"),
        ),
    };
    Happened::new(consult, what)
}

fn rehearsed(rehearsal: &Verified<Rehearsal>) -> Happened {
    let what = match &rehearsal.says().result {
        Rehearsed::Passed { applied_in, returned_in } => {
            let (there, back) = (span::format(*applied_in), span::format(*returned_in));
            format!("rehearsed it: applied in {there}, taken back in {back}")
        }
        Rehearsed::Failed { step, reason } => {
            format!("rehearsed it, which failed at {step}: {reason}")
        }
    };
    Happened::new(rehearsal, what)
}

fn tasked(case: &Case, task: &Verified<Task>) -> Happened {
    let Task { kind, change, .. } = task.says();
    let which = match kind {
        TaskKind::Condition { vote, number } => {
            let vote = case.votes.iter().find(|it| it.id() == *vote);
            let position = (*number as usize).saturating_sub(1);
            let condition = vote.and_then(|it| it.says().conditions.get(position));
            format!("the condition {:?}", condition.map(String::as_str).unwrap_or_default())
        }
        TaskKind::Stage | TaskKind::Deploy | TaskKind::Verify | TaskKind::Review => {
            format!("the task {}", kind.name())
        }
    };
    let what = match change {
        TaskChange::Assigned { to } => format!("gave {which} to {to}"),
        TaskChange::Done { note } => format!("said that {which} is done{}", after_colon(note)),
    };
    Happened::new(task, what)
}

fn seen(case: &Case, acknowledgement: &Verified<Acknowledgement>) -> Happened {
    let seen = &acknowledgement.says().seen;
    let booking = case.bookings.get(seen).map(|it| &it.booking.says().environment);
    let released = case.booked().find_map(|it| {
        let released = it.released.as_ref()?;
        (released.id() == *seen).then(|| &it.booking.says().environment)
    });
    let what = match (booking, released) {
        (Some(environment), _) => format!("the window that was booked in {environment}"),
        (None, Some(environment)) => format!("that the window in {environment} was released"),
        (None, None) if *seen == case.release.id() => "that it was submitted".to_owned(),
        (None, None) => seen.short(),
    };
    Happened::new(acknowledgement, format!("has seen {what}"))
}

/// An operator's manual step of a runbook.
fn stepped(step: &Verified<Step>) -> Happened {
    let Step { host, step: name, direction, result, .. } = step.says();
    let (did, failed) = match direction {
        Direction::Forward => ("did", "failed at"),
        Direction::Back => ("undid", "failed to undo"),
    };
    let what = match result {
        StepResult::Done { note } => format!("{did} step {name} on {host}{}", after_colon(note)),
        StepResult::Failed { reason } => format!("{failed} step {name} on {host}: {reason}"),
    };
    Happened::new(step, what)
}

/// What became of an ordered return.
fn ordered_back(order: &RollbackCase) -> impl Iterator<Item = Happened> {
    order.steps.iter().map(stepped).chain(order.outcomes.iter().filter_map(ended))
}

fn after_colon(note: &str) -> String {
    if note.is_empty() { String::new() } else { format!(": {note}") }
}

fn booked(booking: &BookingCase) -> Vec<Happened> {
    let says = booking.booking.says();
    let environment = &says.environment;
    let window = says.window;
    let hosts: Vec<_> = says.plan.hosts().map(|it| it.host.as_str()).collect();
    let what = format!(
        "booked {environment} from {} to {}: {}",
        window.start,
        window.end,
        hosts.join(", ")
    );
    let mut all = vec![Happened::new(&booking.booking, what)];
    all.extend(
        booking
            .released
            .iter()
            .map(|it| Happened::new(it, format!("released the window in {environment}"))),
    );
    all.extend(
        booking
            .overrides
            .iter()
            .map(|it| Happened::new(it, format!("let it pass a freeze of {environment}"))),
    );
    all.extend(booking.cancelled.iter().map(|it| {
        let reason = &it.says().reason;
        Happened::new(it, format!("cancelled the window in {environment}: {reason}"))
    }));
    all.extend(booking.steps.iter().map(stepped));
    all.extend(booking.outcomes.iter().filter_map(ended));
    all
}

/// What a host did; a refusal is no deed, and is told where it stands in the way.
fn ended(outcome: &Verified<Reported>) -> Option<Happened> {
    let says = outcome.says();
    let what = match &says.event {
        Event::Committed => "committed it".to_owned(),
        Event::Returned { step, reason } => format!("went back, at {step}: {reason}"),
        Event::RolledBack => "went back, as was ordered".to_owned(),
        Event::Stuck { step, reason } => format!("is stuck, at {step}: {reason}"),
        Event::Drifted(_) => "found that a file is not what was deployed".to_owned(),
        Event::Refused { .. } => return None,
    };
    let mut happened = Happened::new(outcome, what);
    happened.who = BTreeSet::from([says.host.clone()]);
    Some(happened)
}

fn join(names: &BTreeSet<Name>) -> String {
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cutover_shared::digest::Digest;
    use cutover_shared::statement::Vote;

    use super::*;
    use crate::cli::names::scene::{Scene, key, name, names, yes};

    #[test]
    fn everything_that_was_said_of_a_release_is_told() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        let package = Digest::of(b"1.0");
        let (applied_in, returned_in) = (Duration::from_secs(90), Duration::from_secs(5));
        for result in [
            Rehearsed::Passed { applied_in, returned_in },
            Rehearsed::Failed { step: "check".to_owned(), reason: "no page".to_owned() },
        ] {
            let (sandbox, transcript) = ("bubblewrap".to_owned(), Digest::of(b"transcript"));
            let (earlier, steps) = (None, Vec::new());
            let rehearsal =
                Rehearsal { release, package, earlier, result, steps, sandbox, transcript };
            scene.say("olga", rehearsal);
        }
        scene.approve(release);
        let (environments, conditions) =
            (names(["staging", "production"]), vec!["The desk knows.".to_owned()]);
        let vote = scene.say("bea", Vote { release, environments, judgement: yes(), conditions });
        let kind = TaskKind::Condition { vote, number: 1 };
        let change = TaskChange::Done { note: "Called them.".to_owned() };
        scene.say("bob", Task { release, kind, change });
        let change = TaskChange::Assigned { to: name("sam") };
        scene.say("max", Task { release, kind: TaskKind::Verify, change });
        let booking = scene.book(release, "staging", &[&["stage-1"]]);
        scene.say("sam", Acknowledgement { release, seen: booking });
        let armed = scene.arm(booking);
        scene.say("sam", Acknowledgement { release, seen: armed });
        for (direction, result) in [
            (Direction::Forward, StepResult::Done { note: String::new() }),
            (Direction::Back, StepResult::Failed { reason: "The tape is full.".to_owned() }),
        ] {
            let (host, host_key) = (name("stage-1"), key("stage-1").public().id());
            let step = name("load-tables");
            scene.say("olga", Step { booking, host, host_key, step, direction, result });
        }
        let case = scene.state.case(&release).unwrap();
        let told: Vec<_> = history(&scene.state, case).iter().map(Happened::text).collect();
        for line in [
            "olga rehearsed it: applied in 1m30s, taken back in 5s",
            "olga rehearsed it, which failed at check: no page",
            "bob said that the condition \"The desk knows.\" is done: Called them.",
            "max gave the task verify to sam",
            "sam has seen the window that was booked in staging",
            "sam has seen that the window in staging was released",
            "olga did step load-tables on stage-1",
            "olga failed to undo step load-tables on stage-1: The tape is full.",
        ] {
            assert!(told.iter().any(|it| it.ends_with(line)), "{line:?} is not in {told:#?}");
        }
    }

    #[test]
    fn the_steps_of_an_ordered_return_are_told_of_the_release_that_it_leaves() {
        let mut scene = Scene::new();
        let release = scene.submit("1.0");
        scene.approve(release);
        scene.deploy(release, "staging", &["stage-1"]);
        let (from, to) = (Digest::of(b"1.0"), Digest::of(b"0.9"));
        let booking = scene.roll_back("staging", &["stage-1"], from, to);
        let (host, host_key) = (name("stage-1"), key("stage-1").public().id());
        let (step, direction) = (name("load-tables"), Direction::Back);
        let result = StepResult::Done { note: "Loaded.".to_owned() };
        scene.say("olga", Step { booking, host, host_key, step, direction, result });
        let told = history(&scene.state, scene.state.case(&release).unwrap());
        let last = told.last().unwrap().text();
        assert!(last.ends_with("olga undid step load-tables on stage-1: Loaded."), "{last}");
    }
}
