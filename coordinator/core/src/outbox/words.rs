//! What a statement says in words: how a host ended, and reasons.

use cutover_shared::statement::{
    Closure, Consult, Event, Freeze, Outcome, Rehearsal, Rehearsed, Says, Task, TaskChange, Verdict,
};

/// The end of a host's output that is told.
const OUTPUT: usize = 4000;

/// Readings that did not pass and are told.
const READINGS: usize = 5;

/// The step at which a host ended, and the end of what it said.
pub(super) fn ending(event: &Event) -> (Option<String>, Option<String>) {
    match event {
        Event::Returned { step, reason } | Event::Stuck { step, reason } => {
            (Some(step.clone()), Some(end_of(reason)))
        }
        Event::Refused { code, detail } => (Some(code.clone()), Some(end_of(detail))),
        Event::Drifted(drift) => (None, Some(drift.to_string())),
        Event::Committed | Event::RolledBack => (None, None),
    }
}

/// The last characters of a long text.
fn end_of(text: &str) -> String {
    let surplus = text.chars().count().saturating_sub(OUTPUT);
    if surplus == 0 {
        return text.trim_end().to_owned();
    }
    let end: String = text.chars().skip(surplus).collect();
    format!("… {}", end.trim_end())
}

pub(super) fn failed_readings(outcome: &Outcome) -> Vec<String> {
    let failed = outcome.readings.iter().rev().filter(|reading| !reading.healthy);
    let told = failed.take(READINGS).map(|it| format!("{} {}: {}", it.time, it.check, it.detail));
    told.collect::<Vec<_>>().into_iter().rev().collect()
}

/// What the signer gave as reasons, each with the item that it is about.
pub(super) fn reasons(says: &Says) -> Vec<(Option<String>, String)> {
    let one = |reason: &str| vec![(None, reason.to_owned())];
    let all = match says {
        Says::Review(it) => match &it.verdict {
            Verdict::Complete => Vec::new(),
            Verdict::Denied { reason } => one(reason),
            Verdict::Returned { items } => {
                items.iter().map(|it| (Some(it.item.clone()), it.remark.clone())).collect()
            }
        },
        Says::Assessment(it) => one(it.judgement.reason()),
        Says::Vote(it) => {
            let conditions = it.conditions.iter();
            let conditions = conditions.map(|it| (Some("condition".to_owned()), it.clone()));
            std::iter::once((None, it.judgement.reason().to_owned())).chain(conditions).collect()
        }
        Says::Consult(Consult::Asked { department, question, .. }) => {
            vec![(Some(department.to_string()), question.clone())]
        }
        Says::Consult(Consult::Answered { department, judgement, .. }) => {
            vec![(Some(department.to_string()), judgement.reason().to_owned())]
        }
        Says::Rehearsal(Rehearsal { result: Rehearsed::Failed { step, reason }, .. }) => {
            vec![(Some(step.clone()), reason.clone())]
        }
        Says::Task(Task { change: TaskChange::Done { note }, .. }) => one(note),
        Says::Closure(Closure::Release { result, review, .. }) => {
            let findings = review.iter().map(|it| (None, it.findings.clone()));
            std::iter::once((None, result.to_string())).chain(findings).collect()
        }
        Says::Freeze(Freeze::Declared { reason, .. }) => one(reason),
        Says::Hold(it) => one(&it.reason),
        Says::Resume(it) => one(&it.reason),
        Says::Cancel(it) => one(&it.reason),
        Says::Rollback(it) => one(&it.reason),
        Says::Waiver(it) => one(&it.reason),
        Says::Override(it) => it.freezes.iter().map(|it| (None, it.reason.clone())).collect(),
        Says::TrustPolicy(_)
        | Says::Host(_)
        | Says::Grant(_)
        | Says::Release(_)
        | Says::Emergency(_)
        | Says::Standard(_)
        | Says::Rehearsal(_)
        | Says::Booking(_)
        | Says::Freeze(_)
        | Says::Calendar(_)
        | Says::Delivery(_)
        | Says::WindowRelease(_)
        | Says::Task(_)
        | Says::Step(_)
        | Says::Outcome(_)
        | Says::Acknowledgement(_)
        | Says::Closure(_)
        | Says::Clearance(_) => Vec::new(),
    };
    all.into_iter().filter(|(_, reason)| !reason.is_empty()).collect()
}
