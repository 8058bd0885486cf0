//! The task that decides, again and again, which hosts are told what.
//!
//! It is woken when something may have changed whose turn it is (a statement, a report, a clearance, a
//! connection), by the next edge of a window, and once a second while a window is open, for what passes
//! with time alone: a clearance that led to nothing, the time that a wave must stay healthy. It keeps
//! nothing but when it told whom what, so that nobody is told the same twice in a moment.
//!
//! It is also what the service manager's watchdog watches: a server whose planner stands still does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::key::KeyId;
use cutover_shared::time::Time;
use cutover_transport::{CloseCode, Connection, close};
use tokio::time::Instant;

use super::conduct::{Situation, Turn};
use super::core::Core;
use super::register::{Command, Register};
use super::service::Service;

/// An order is offered to a host again after so long, if it is still its turn: the host may have refused
/// for a reason that passes, or the offer may have been lost with a connection.
const OFFER_AGAIN: Duration = Duration::from_secs(2);

/// A host that is at work is told to stop again after so long.
const STOP_AGAIN: Duration = Duration::from_secs(10);

/// How often one looks while a window is open.
const TICK: Duration = Duration::from_secs(1);

/// Least time between two looks, in which what happens at the same time is gathered: in a large rollout
/// hosts report some hundred times a second.
const GATHER: Duration = Duration::from_millis(20);

/// Longest wait for an edge: the wall clock may be set while one waits.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// When whom was told what, and on which stream: on a new one it is told anew.
#[derive(Debug, Default)]
struct Told {
    offers: BTreeMap<Turn, (u64, Instant)>,
    stops: BTreeMap<Turn, (u64, Instant)>,
}

/// Plans until the server ends.
pub(super) async fn run(core: Arc<Core>, mut service: Service) {
    let mut told = Told::default();
    loop {
        let wait;
        (told, wait) = {
            let core = Arc::clone(&core);
            // Planning a large rollout takes some milliseconds, in which the network is to go on.
            let round = tokio::task::spawn_blocking(move || {
                let wait = round(&core, &mut told, Instant::now());
                (told, wait)
            });
            match round.await {
                Ok(done) => done,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // The runtime is going away.
                Err(_cancelled) => return,
            }
        };
        service.alive();
        tokio::time::sleep(GATHER).await;
        let elapsed = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = core.changed.notified() => {}
            () = elapsed => {}
            () = service.due() => {}
            () = core.drained() => return,
        }
    }
}

/// One look at everything: tells hosts what is due, and says how long to wait before the next.
fn round(core: &Core, told: &mut Told, instant: Instant) -> Option<Duration> {
    let folded = core.folded();
    let mut register = core.register();
    let now = core.now();
    turn_out(&folded.state, &register);
    let situation = Situation { state: &folded.state, fleet: register.fleet(now), now };
    let offers = core.conduct.offers(&situation);
    let stops = core.conduct.stops(&situation);
    tell(&register, &mut told.stops, &stops, Command::Stop, STOP_AGAIN, instant);
    tell(&register, &mut told.offers, &offers, Command::Offer, OFFER_AGAIN, instant);
    if offers.is_empty() && stops.is_empty() { next_look(&folded.state, now) } else { Some(TICK) }
}

fn tell(
    register: &Register,
    told: &mut BTreeMap<Turn, (u64, Instant)>,
    turns: &[Turn],
    command: fn(Digest) -> Command,
    again: Duration,
    instant: Instant,
) {
    told.retain(|_, (_, then)| instant.duration_since(*then) < again);
    for turn in turns {
        let Some(session) = register.session(&turn.host) else { continue };
        if told.get(turn).is_some_and(|(number, _)| *number == session.number) {
            continue;
        }
        if register.tell(&turn.host, command(turn.order)) {
            told.insert(*turn, (session.number, instant));
        }
    }
}

/// Hosts that were retired have no business here any more.
fn turn_out(state: &State, register: &Register) {
    let retired = |host: &KeyId| state.host(host).is_none_or(|record| record.retired.is_some());
    let connections: Vec<&Connection> = register
        .sessions()
        .filter(|(host, _)| retired(host))
        .map(|(_, session)| &session.connection)
        .collect();
    for connection in connections {
        close(connection, CloseCode::NotPermitted, "this host was retired");
    }
}

/// How long until time alone may change something; `None` when it cannot.
fn next_look(state: &State, now: Time) -> Option<Duration> {
    let bookings = state.cases().flat_map(|case| case.bookings.values());
    let windows = bookings
        .filter(|it| it.released.is_some() && it.cancelled.is_none())
        .map(|it| it.booking.says().window);
    let mut next: Option<Duration> = None;
    for window in windows {
        let wait = if window.contains(now) {
            TICK
        } else if now < window.start {
            window.start.since(now)
        } else {
            continue;
        };
        next = Some(next.map_or(wait, |next| next.min(wait)));
    }
    let rollbacks =
        state.rollbacks().filter(|it| it.outcomes.len() < it.rollback.says().hosts.len());
    let headers = rollbacks.map(|it| it.rollback.header());
    if headers.into_iter().any(|header| header.not_after.is_some_and(|end| now < end)) {
        next = Some(TICK);
    }
    next.map(|wait| wait.min(LONGEST_WAIT))
}
