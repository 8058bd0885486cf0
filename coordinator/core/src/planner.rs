//! Which hosts are told what, again and again.
//!
//! A round is due when something may have changed whose turn it is (a statement, a report, a clearance, a
//! connection), at the next edge of a window, and once a second while a window is open, for what passes
//! with time alone: a clearance that led to nothing, the time that a wave must stay healthy. A [`Planner`]
//! keeps nothing but when it told whom what, so that nobody is told the same twice in a moment.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::key::KeyId;
use cutover_shared::time::Time;

use crate::append::Folded;
use crate::conduct::{Conduct, Done, Situation, Turn};
use crate::register::Register;

/// An order is offered to a host again after so long, if it is still its turn: the host may have refused
/// for a reason that passes, or the offer may have been lost with a connection.
const OFFER_AGAIN: Duration = Duration::from_secs(2);

/// A host that is at work is told to stop, or what was done of its runbook, again after so long.
const STOP_AGAIN: Duration = Duration::from_secs(10);

/// How often one looks while a window is open.
const TICK: Duration = Duration::from_secs(1);

/// Longest wait for an edge: the wall clock may be set while one waits.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// What a host is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Offer this order.
    Offer(Digest),
    /// Tell that something stands against this order.
    Stop(Digest),
    /// Tell what people did of this order's runbook.
    Steps(Digest),
}

impl Command {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offer(_) => "offer",
            Self::Stop(_) => "stop",
            Self::Steps(_) => "steps",
        }
    }

    /// What it is about.
    pub const fn order(self) -> Digest {
        match self {
            Self::Offer(order) | Self::Stop(order) | Self::Steps(order) => order,
        }
    }
}

/// Whom to tell what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tell {
    /// The host.
    pub host: KeyId,
    /// The stream of it that this was decided for.
    pub stream: u64,
    /// What.
    pub command: Command,
}

/// What a round has come to.
#[derive(Debug)]
pub struct Round {
    /// Hosts that have no business here any more: their connections are to be closed.
    pub turn_out: Vec<KeyId>,
    /// Whom to tell what. What cannot be told is given back with [`Planner::untold`].
    pub tell: Vec<Tell>,
    /// How long until time alone may change something; `None` when it cannot.
    pub next: Option<Duration>,
}

/// When whom was told what, and on which stream: on a new one it is told anew.
#[derive(Debug, Default)]
pub struct Planner {
    offers: BTreeMap<Turn, (u64, Duration)>,
    stops: BTreeMap<Turn, (u64, Duration)>,
    /// Each statement for itself: the next step may be done within a moment of the one before.
    steps: BTreeMap<Done, (u64, Duration)>,
}

impl Planner {
    /// One look at everything. `monotonic` is a clock that is never set, since any start.
    pub fn round(
        &mut self,
        conduct: &dyn Conduct,
        folded: &Folded,
        register: &mut Register,
        now: Time,
        monotonic: Duration,
    ) -> Round {
        let turn_out = retired(&folded.state, register);
        let situation = Situation { state: &folded.state, fleet: register.fleet(now), now };
        let offers = conduct.offers(&situation);
        let stops = conduct.stops(&situation);
        let steps = conduct.steps(&situation);
        let telling = Telling { register, monotonic };
        let mut due = telling.due(&mut self.stops, &stops, STOP_AGAIN, Command::Stop);
        due.extend(telling.due(&mut self.steps, &steps, STOP_AGAIN, Command::Steps));
        due.extend(telling.due(&mut self.offers, &offers, OFFER_AGAIN, Command::Offer));
        let idle = offers.is_empty() && stops.is_empty() && steps.is_empty();
        let next = if idle { next_look(&folded.state, now) } else { Some(TICK) };
        Round { turn_out, tell: due, next }
    }

    /// The host could not be told: it is told in the next round that finds it due.
    pub fn untold(&mut self, tell: &Tell) {
        let turn = Turn { host: tell.host, order: tell.command.order() };
        match tell.command {
            Command::Offer(_) => self.offers.retain(|told, _| *told != turn),
            Command::Stop(_) => self.stops.retain(|told, _| *told != turn),
            Command::Steps(_) => self.steps.retain(|told, _| told.turn != turn),
        }
    }
}

/// What hosts are told again and again until it is over.
trait Told: Copy + Ord {
    /// Which host, of which order.
    fn turn(&self) -> Turn;
}

impl Told for Turn {
    fn turn(&self) -> Turn {
        *self
    }
}

impl Told for Done {
    fn turn(&self) -> Turn {
        self.turn
    }
}

/// Whom one look can tell anything, and when it is.
struct Telling<'a> {
    register: &'a Register,
    monotonic: Duration,
}

impl Telling<'_> {
    /// What is to be told now. It is taken to be told.
    fn due<T: Told>(
        &self,
        told: &mut BTreeMap<T, (u64, Duration)>,
        all: &[T],
        again: Duration,
        command: fn(Digest) -> Command,
    ) -> Vec<Tell> {
        told.retain(|_, (_, then)| self.monotonic.saturating_sub(*then) < again);
        let mut due = Vec::new();
        for it in all {
            let turn = it.turn();
            let Some(stream) = self.register.stream(&turn.host) else { continue };
            if told.get(it).is_some_and(|(number, _)| *number == stream) {
                continue;
            }
            told.insert(*it, (stream, self.monotonic));
            due.push(Tell { host: turn.host, stream, command: command(turn.order) });
        }
        due
    }
}

/// Hosts with an open stream that were retired.
fn retired(state: &State, register: &Register) -> Vec<KeyId> {
    let retired = |host: &KeyId| state.host(host).is_none_or(|record| record.retired.is_some());
    register.streams().map(|(host, _)| *host).filter(retired).collect()
}

/// How long until time alone may change something; `None` when it cannot.
fn next_look(state: &State, now: Time) -> Option<Duration> {
    let windows = state
        .bookings_ending_after(now)
        .map(|(_, booking)| booking)
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
    let mut rollbacks = state.rollbacks_ending_after(now);
    if rollbacks.any(|it| it.outcomes.len() < it.rollback.says().hosts.len()) {
        next = Some(TICK);
    }
    next.map(|wait| wait.min(LONGEST_WAIT))
}
