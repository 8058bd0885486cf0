//! What happened to a release, in the order of the log.

use std::collections::BTreeSet;

use cutover_shared::case::{BookingCase, Case, Reported, Verified};
use cutover_shared::fold::State;
use cutover_shared::name::Name;
use cutover_shared::statement::{Closure, Consult, Emergency, Event, Judgement, Verdict};
use cutover_shared::time::Time;
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
    all.extend(case.booked().flat_map(booked));
    let returns = state.rollbacks_from(&case.release.says().package);
    all.extend(returns.flat_map(|it| &it.outcomes).filter_map(ended));
    all.extend(
        case.cancelled
            .iter()
            .map(|it| Happened::new(it, format!("cancelled it: {}", it.says().reason))),
    );
    all.extend(case.closed.iter().filter_map(|it| {
        let Closure::Release { result, .. } = it.says() else { return None };
        Some(Happened::new(it, format!("closed it: {result}")))
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
