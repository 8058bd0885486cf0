//! The honest conduct: the rules that hosts run, run early.

use std::collections::BTreeSet;

use cutover_shared::authorise::{self, HostFacts, Question, admission};
use cutover_shared::case::{BookingCase, Case};
use cutover_shared::digest::Digest;
use cutover_shared::evidence;
use cutover_shared::fold::{RollbackCase, State};
use cutover_shared::key::KeyId;
use cutover_shared::name::Name;
use cutover_shared::package::check::Checked;
use cutover_shared::package::runbook::Awaited;
use cutover_shared::policy::{KeyStatus, Role};
use cutover_shared::protocol::{ApplicationReport, Fleet};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::rollout::{self, Standing};
use cutover_shared::statement::{Phase, Release};
use cutover_shared::time::Time;
use cutover_shared::turn;

use crate::conduct::{Conduct, Done, Situation, Turn};

/// The conduct of the product.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules;

/// Who must be able to read a package to do their part.
const READERS: &[Role] = &[
    Role::Submitter,
    Role::Librarian,
    Role::Security,
    Role::Board,
    Role::ChangeManager,
    Role::Operator,
];

/// What stops an order that is under way. A window that ends, or a wave that is not proven any more, does
/// not: the host's own clock and machine see to the first, and the second is no reason to go back.
const STOPPING: &[Code] =
    &[Code::Held, Code::Frozen, Code::Cancelled, Code::Denied, Code::Superseded, Code::Returned];

impl Conduct for Rules {
    fn admit(&self, state: &State, envelope: &[u8], now: Time) -> Result<(), Refusal> {
        admission::admit(state, state.next_index(), envelope, now).map(drop)
    }

    fn accept_release(&self, release: &Release, stored: Option<&Checked>) -> Result<(), Refusal> {
        let Some(checked) = stored else {
            return Err(Refusal::new(
                Code::SubjectUnknown,
                format!("package {} is not stored here: upload it first", release.package.short()),
            ));
        };
        let Some(manifest) = checked.manifest.as_ref().filter(|_| checked.findings.is_empty())
        else {
            return Err(incomplete(checked));
        };
        let differs = [
            ("application", release.application != manifest.application),
            ("version", release.version != manifest.version),
            ("apply budget", release.apply_budget != manifest.apply_budget),
            ("rollback reserve", release.rollback_reserve != manifest.rollback_reserve),
            ("irreversible", release.irreversible != manifest.rollback.irreversible),
            ("set of forms", release.forms != checked.forms_used()),
        ];
        let differs: Vec<&str> =
            differs.iter().filter(|(_, differs)| *differs).map(|(what, _)| *what).collect();
        if differs.is_empty() {
            return Ok(());
        }
        Err(Refusal::new(
            Code::DigestMismatch,
            format!("the package says another {}", differs.join(", ")),
        ))
    }

    fn offers(&self, situation: &Situation<'_>) -> Vec<Turn> {
        let mut turns = Vec::new();
        for order in rollout::live_bookings(situation.state, situation.now) {
            let plan = rollout::plan(situation.state, situation.fleet, &order, situation.now);
            let hosts = plan.into_iter().flat_map(|plan| plan.hosts);
            turns.extend(
                hosts
                    .filter(|it| matches!(it.standing, Standing::Turn | Standing::ReturnTurn))
                    .map(|host| Turn { host: host.host_key, order }),
            );
        }
        let rollbacks = situation.state.rollbacks_ending_after(situation.now);
        turns.extend(rollbacks.flat_map(|case| returns(situation, case)));
        turns
    }

    fn stops(&self, situation: &Situation<'_>) -> Vec<Turn> {
        let connected = situation.fleet.hosts.iter().filter(|view| view.connected);
        connected
            .flat_map(|view| {
                let orders = view.reports().filter_map(|it| it.order);
                orders.map(|order| Turn { host: view.host_key, order })
            })
            .filter(|turn| {
                judged(situation, turn, Phase::Activate)
                    .is_err_and(|refusal| STOPPING.contains(&refusal.code))
            })
            .collect()
    }

    fn steps(&self, situation: &Situation<'_>) -> Vec<Done> {
        let connected = situation.fleet.hosts.iter().filter(|view| view.connected);
        let done = connected.flat_map(|view| {
            let host = view.host_key;
            view.reports().filter_map(move |report| {
                let order = report.order?;
                let awaited = Awaited::parse(&report.step)?;
                let said = situation.state.steps_of(&order);
                let newest = said.iter().rev().find(|it| awaited.is_of(&host, it.says()))?;
                Some(Done { turn: Turn { host, order }, index: newest.index() })
            })
        });
        done.collect()
    }

    fn evidence(&self, state: &State, turn: &Turn, policy_version: u64) -> BTreeSet<u64> {
        evidence::select(state, &turn.order, &turn.host, policy_version)
    }

    fn clear(&self, situation: &Situation<'_>, it: &Turn, phase: Phase) -> Result<(), Refusal> {
        let Situation { state, fleet, now } = situation;
        turn::allow(state, fleet, &it.host, (&it.order, phase), *now)
    }

    fn may_fetch(
        &self,
        situation: &Situation<'_>,
        host: &KeyId,
        package: &Digest,
    ) -> Result<(), Refusal> {
        let mut newest = Refusal::new(
            Code::NotReleased,
            format!("no released booking brings package {} to this host", package.short()),
        );
        for (case, booking) in bookings_of(situation.state, package, host) {
            match may_fetch_for(situation, host, case, booking) {
                Ok(()) => return Ok(()),
                Err(refusal) => newest = refusal,
            }
        }
        Err(newest)
    }

    fn may_read(&self, state: &State, person: &KeyId) -> Result<(), Refusal> {
        holds_any(state, person, READERS, "read packages")
    }

    fn may_store(&self, state: &State, person: &KeyId) -> Result<(), Refusal> {
        holds_any(state, person, &[Role::Submitter], "store packages")
    }
}

/// Most findings that a refusal names; `cutover package check` tells all.
const FINDINGS: usize = 8;

/// The package is not complete: what is wrong with it.
fn incomplete(checked: &Checked) -> Refusal {
    let told = checked.findings.iter().take(FINDINGS).map(|it| {
        let field = it.field.as_deref().map(|field| format!(" {field}")).unwrap_or_default();
        format!("{}{field}: {}", it.file, it.problem)
    });
    let told = told.collect::<Vec<_>>().join("; ");
    let count = checked.findings.len();
    Refusal::new(Code::Malformed, format!("the package is not complete, {count} faults: {told}"))
}

fn not_cleared(facts: impl Into<String>) -> Result<(), Refusal> {
    Err(Refusal::new(Code::NotCleared, facts))
}

fn holds_any(state: &State, person: &KeyId, roles: &[Role], what: &str) -> Result<(), Refusal> {
    let entry = state.policy().and_then(|policy| policy.document().entry(person));
    let holds = entry.is_some_and(|entry| {
        entry.status == KeyStatus::Active && roles.iter().any(|role| entry.roles.contains(role))
    });
    if holds {
        return Ok(());
    }
    let roles: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    Err(Refusal::new(Code::RoleMissing, format!("to {what} one must be {}", roles.join(" or "))))
}

fn report_of<'a>(
    fleet: &'a Fleet,
    host: &KeyId,
    application: &Name,
) -> Option<&'a ApplicationReport> {
    let view = fleet.hosts.iter().find(|view| view.host_key == *host)?;
    view.reports().find(|it| it.application == *application)
}

/// Where a host stands in a booking.
fn standing(situation: &Situation<'_>, it: &Turn) -> Option<Standing> {
    turn::standing(situation.state, situation.fleet, &it.host, &it.order, situation.now)
}

/// What the standing rules say to a booking on a host, as far as the log tells.
fn judged(situation: &Situation<'_>, it: &Turn, phase: Phase) -> Result<(), Refusal> {
    turn::judge(situation.state, &it.host, &it.order, phase, situation.now)
}

/// The released bookings that bring `package` to `host`.
fn bookings_of<'a>(
    state: &'a State,
    package: &'a Digest,
    host: &'a KeyId,
) -> impl Iterator<Item = (&'a Case, &'a BookingCase)> {
    let cases = state.cases_of_package(package);
    cases
        .flat_map(|case| case.booked().map(move |booking| (case, booking)))
        .filter(|(_, it)| it.released.is_some())
        .filter(|(_, it)| it.booking.says().plan.wave_of(host).is_some())
}

fn may_fetch_for(
    situation: &Situation<'_>,
    host: &KeyId,
    case: &Case,
    booking: &BookingCase,
) -> Result<(), Refusal> {
    let turn = Turn { host: *host, order: booking.booking.id() };
    judged(situation, &turn, Phase::Activate)?;
    let view = situation.fleet.hosts.iter().find(|view| view.host_key == *host);
    // The cheap answer for the many requests of a long transfer: its turn has come before.
    let cleared = view.is_some_and(|it| it.cleared.iter().any(|(order, _)| *order == turn.order));
    let ended = case.outcomes().any(|it| {
        let says = it.says();
        says.host_key == *host && says.order == turn.order && rollout::is_end(&says.event)
    });
    if cleared && !ended {
        return Ok(());
    }
    match standing(situation, &turn) {
        Some(Standing::Turn | Standing::Working { .. }) => Ok(()),
        Some(Standing::Waiting(reason)) => not_cleared(format!("it waits for {reason}")),
        Some(
            Standing::Committed
            | Standing::ReturnTurn
            | Standing::ReturnWaiting(_)
            | Standing::Returned { .. }
            | Standing::Stuck { .. }
            | Standing::Silent { .. },
        )
        | None => not_cleared("the order has ended on this host"),
    }
}

/// The hosts that are to be offered an ordered return now.
fn returns(situation: &Situation<'_>, case: &RollbackCase) -> Vec<Turn> {
    let says = case.rollback.says();
    if !case.rollback.header().covers(situation.now) {
        return Vec::new();
    }
    let order = case.rollback.id();
    let due = |host: &KeyId| {
        let Some(record) = situation.state.host(host) else { return false };
        let facts = HostFacts::from_log(record, &says.application);
        let question = Question {
            state: situation.state,
            host: &facts,
            order,
            phase: Phase::Start,
            now: situation.now,
        };
        let report = report_of(situation.fleet, host, &says.application);
        let idle = report.is_none_or(|it| it.order.is_none());
        let refused = report
            .and_then(|it| it.refused.as_ref())
            .is_some_and(|(which, refusal)| *which == order && !refusal.code.is_passing());
        let connected =
            situation.fleet.hosts.iter().any(|view| view.host_key == *host && view.connected);
        let reported = case.outcomes.iter().any(|it| it.says().host_key == *host);
        connected && idle && !refused && !reported && authorise::authorise_return(&question).is_ok()
    };
    says.hosts
        .iter()
        .filter(|it| due(&it.host_key))
        .map(|it| Turn { host: it.host_key, order })
        .collect()
}
