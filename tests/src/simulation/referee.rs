//! The referee: whether what happens may happen.
//!
//! It knows what is in the log and who signed it, what each host does to its disk and its processes, and the
//! true time. It asks none of the product's rules: `ledger` says in its own words what people demand, and
//! the checks here hold that against what hosts do. Each is one of the promises P1 to P11.

mod acting;
mod ledger;
mod rest;
mod track;
mod witnessed;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cutover_applier_core::{Answer, Level, Note, Work};
use cutover_coordinator_core::Asked;
use cutover_machine::{Kind, State, Task, What};
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::key::KeyId;
use cutover_shared::protocol::ClearanceAnswer;
use cutover_shared::statement::Phase;
use cutover_shared::time::Time;

use self::ledger::Ledger;
use self::track::Track;
use super::coordinator::Coordinator;
use super::disk::{Content, slot_name};
use super::host::Host;
use super::scenario::{Instant, Scenario};
use super::{APPLICATION, epoch};
use crate::world::name;

/// How far a host's idea of the time may be off when it acts: what the policy allows between it and the
/// coordinator, the coordinator's own error, and a round trip.
const TOLERANCE: Duration = Duration::from_secs(4);

/// How long after its clearance a host may stop what runs: the policy's freshness, and the slowest hook.
const CLEARED_FOR: Instant = 66_000;

/// What a promise is called (DESIGN 14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// Only what was approved is activated.
    P1,
    /// Only in its window, and past no freeze.
    P2,
    /// A slot is one release or absent, and nothing is on its way forward when its window is over.
    P3,
    /// A lost check ends in the earlier release, running.
    P4,
    /// What was acknowledged is neither lost nor counted twice.
    P5,
    /// Nothing goes back that only goes forward.
    P6,
    /// An emergency iteration acts with a signature of its own, in order.
    P7,
    /// What was taken back waits for a review.
    P8,
    /// What a network half makes up moves nothing.
    P9,
    /// The plan keeps to what was booked.
    P10,
    /// Everything comes to an end.
    P11,
    /// Nothing is logged as an error, where nothing is.
    NoError,
}

/// What must not be, and is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub invariant: Invariant,
    /// When.
    pub at: Instant,
    /// What.
    pub text: String,
}

/// A clearance that the coordinator gave.
#[derive(Debug, Clone)]
struct Issued {
    host: KeyId,
    order: Digest,
    phase: Phase,
    nonce: Digest,
    at: Instant,
    size: usize,
}

/// Everything that the referee knows.
#[derive(Debug)]
pub(super) struct Referee {
    found: Option<Violation>,
    ledger: Ledger,
    issued: BTreeMap<Digest, Issued>,
    /// What each witness cleared.
    witnessed: Vec<(&'static str, cutover_shared::turn::Asked)>,
    /// How many of them are demanded in production.
    witnesses: u32,
    /// The hosts that each booking has taken back by itself.
    taken_back: BTreeMap<Digest, BTreeSet<KeyId>>,
    tracks: Vec<Track>,
    skew: i64,
    /// Nothing goes wrong in this run but releases.
    faultless: bool,
    /// What was seen in the run, for whoever asks whether anything was.
    pub(super) seen: BTreeMap<&'static str, u64>,
}

impl Referee {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            found: None,
            ledger: Ledger::new(scenario),
            issued: BTreeMap::new(),
            witnessed: Vec::new(),
            witnesses: scenario.witnesses,
            taken_back: BTreeMap::new(),
            tracks: scenario.seats.iter().map(|_| Track::default()).collect(),
            skew: scenario.skew,
            faultless: scenario.is_faultless(),
            seen: BTreeMap::new(),
        }
    }

    pub(super) fn found(&self) -> Option<&Violation> {
        self.found.as_ref()
    }

    /// The first fault of a run is the one that counts.
    pub(super) fn fault(&mut self, invariant: Invariant, at: Instant, text: String) {
        if self.found.is_none() {
            self.found = Some(Violation { invariant, at, text });
        }
    }

    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// The durable log, each time that it may have grown.
    pub(super) fn learn(&mut self, entries: &[Vec<u8>], now: Instant) {
        if let Err(text) = self.ledger.learn(entries, epoch() + Duration::from_millis(now)) {
            self.fault(Invariant::P5, now, text);
        }
    }

    /// Somebody was told that a statement is in the log.
    pub(super) fn acknowledged(&mut self, id: Digest, index: u64) {
        if self.ledger.at(index) != Some(id) {
            let text = format!("{} is acknowledged at {index} and not there", id.short());
            self.fault(Invariant::P5, 0, text);
        }
    }

    /// An applier has asked for a clearance.
    pub(super) fn asked(&mut self, host: usize, order: Digest, phase: Phase, nonce: Digest) {
        self.tracks[host].asked.push((order, phase, nonce));
    }

    /// A host was made anew: what it was is not what it is.
    pub(super) fn remade(&mut self, host: usize) {
        self.tracks[host] = Track::default();
    }

    /// The coordinator clears a host.
    pub(super) fn cleared(
        &mut self,
        now: Instant,
        asked: &Asked,
        answer: &ClearanceAnswer,
        scenario: &Scenario,
    ) {
        self.saw("clearances");
        let size = self.ledger.size();
        let order = asked.turn.order;
        let id = Envelope::parse(&answer.clearance).map(|envelope| envelope.id());
        if let Ok(id) = id {
            let host = asked.turn.host;
            let (phase, nonce) = (asked.phase, asked.nonce);
            self.issued.insert(id, Issued { host, order, phase, nonce, at: now, size });
        }
        debug_assert_eq!(scenario.skew, self.skew);
        for (invariant, text) in self.ledger.against(&order, &asked.turn.host, size, self.wall(now))
        {
            self.fault(invariant, now, format!("cleared for {}: {text}", order.short()));
        }
    }

    /// The coordinator's and people's clock.
    fn wall(&self, now: Instant) -> Time {
        let shift = Duration::from_millis(self.skew.unsigned_abs());
        let now = epoch() + Duration::from_millis(now);
        if self.skew < 0 { now - shift } else { now + shift }
    }

    /// A piece of work begins on a host.
    pub(super) fn begins(&mut self, now: Instant, host: &Host, work: &Work, scenario: &Scenario) {
        let Some(task) = forward_task(host) else { return };
        let seat = seat_of(scenario, host);
        match (work, task.assignment.kind) {
            (Work::Fetch { .. }, Kind::Forward) => {
                self.in_window(now, &task, "fetch");
                self.not_taken_back(now, host, seat, &task);
            }
            (Work::Stop, Kind::Forward) => {
                self.in_window(now, &task, "stop what runs");
                self.once(now, host, seat, &task);
                self.may_act(now, host, seat, &task);
            }
            (Work::Switch { to: Some(slot) }, Kind::Forward) => {
                self.in_window(now, &task, "activate");
                if slot.package != task.assignment.package {
                    let text = format!("{} activates another package than its order's", host.name);
                    self.fault(Invariant::P1, now, text);
                }
                self.may_act(now, host, seat, &task);
            }
            (Work::Stop | Work::Switch { .. }, Kind::Return) => {
                let order = task.assignment.booking;
                let generation = task.assignment.generation;
                if let Err((invariant, text)) =
                    self.ledger.may_return(&order, &host.key_id(), generation, &slot_package(&task))
                {
                    self.fault(invariant, now, format!("{} goes back: {text}", host.name));
                }
                self.within_its_budget(now, host, &order);
            }
            _ => {}
        }
    }

    /// A piece of work has ended on a host.
    pub(super) fn ends(
        &mut self,
        now: Instant,
        host: &Host,
        work: &Work,
        answer: &Answer,
        scenario: &Scenario,
    ) {
        let seat = seat_of(scenario, host);
        match (work, answer) {
            (Work::Check { slot }, Answer::Sample(sample)) => {
                self.tracks[seat].sample(slot_name(slot), sample.healthy(), now);
            }
            (Work::Stop, Answer::Done) => {
                let Some(task) =
                    forward_task(host).filter(|it| it.assignment.kind == Kind::Forward)
                else {
                    return;
                };
                self.tracks[seat].down = Some((task.assignment.booking, now));
                self.down_at_once(now, &task.assignment.booking);
            }
            _ => {}
        }
    }

    /// No more hosts of a booking are down than it allows. A host that is not heard of by its deadline is
    /// no longer counted: it counts as failed.
    fn down_at_once(&mut self, now: Instant, order: &Digest) {
        let Some((at_once, deadline)) = self.ledger.at_once(order) else { return };
        let down = self.tracks.iter().filter(|track| {
            track.down.is_some_and(|(down, since)| down == *order && now < since + deadline)
        });
        let down = down.count();
        if down > at_once {
            let text = format!("{down} hosts are down at once, {at_once} may be");
            self.fault(Invariant::P10, now, text);
        }
    }

    /// After each event: what must hold at every instant.
    pub(super) fn examine(&mut self, now: Instant, hosts: &[Host]) {
        for (seat, host) in hosts.iter().enumerate() {
            if let Some(slot) = host.disk.link
                && host.disk.slots.get(&slot) != Some(&Content::Whole)
            {
                let text = format!("{} points to a slot that is not whole", host.name);
                self.fault(Invariant::P3, now, text);
            }
            let Some(life) = &host.life else { continue };
            let application = name(APPLICATION);
            let Some(machine) = life.core.machine(&application) else { continue };
            let going = matches!(
                machine.record().state,
                State::Stopping(..)
                    | State::Activating(..)
                    | State::Starting(..)
                    | State::Checking(_)
                    | State::Baking(_)
                    | State::Returning(..)
            );
            if !going {
                self.tracks[seat].down = None;
            }
            if let Err((invariant, text)) = self.tracks[seat].only_forward(host) {
                self.fault(invariant, now, format!("{}: {text}", host.name));
            }
            self.not_after_its_window(now, host);
            self.ended(now, seat, host);
        }
    }

    /// When a window has closed no host is on its way forward any longer.
    fn not_after_its_window(&mut self, now: Instant, host: &Host) {
        let Some(task) = forward_task(host).filter(|it| it.assignment.kind == Kind::Forward) else {
            return;
        };
        let Some(window) = self.ledger.window(&task.assignment.booking) else { return };
        let closed = window.end + TOLERANCE;
        if epoch() + Duration::from_millis(now) > closed {
            let text = format!("{} goes forward after {closed}", host.name);
            self.fault(Invariant::P3, now, text);
        }
    }

    /// How an order has ended, the first time that it is seen.
    fn ended(&mut self, now: Instant, seat: usize, host: &Host) {
        let Some(State::Committed(outcome) | State::Returned(outcome) | State::Stuck(_, outcome)) =
            host_state(host)
        else {
            return;
        };
        let end = (outcome.booking, outcome.generation);
        if self.tracks[seat].ended == Some(end) {
            return;
        }
        let outcome = outcome.clone();
        self.tracks[seat].ends(&outcome, host);
        match (&outcome.what, outcome.kind) {
            (What::Committed, kind) => {
                for way in self.ledger.ways(&outcome.booking) {
                    self.saw(way);
                }
                self.saw(match kind {
                    Kind::Forward => "committed",
                    Kind::Return if self.ledger.window(&outcome.booking).is_some() => {
                        "returned by a halt"
                    }
                    Kind::Return => "rolled back",
                });
                let slot = (outcome.generation, outcome.package);
                if let Err(text) = self.tracks[seat].was_well(slot, now) {
                    let text = format!("{} commits: {text}", host.name);
                    self.fault(Invariant::P4, now, text);
                }
            }
            (What::Abandoned, _) => self.saw("abandoned"),
            (What::Returned { to }, _) => {
                self.saw("returned");
                let earlier = to.as_ref().map(slot_name);
                let runs = host.process.map(|process| process.slot);
                if host.disk.link != earlier || runs.is_some_and(|slot| Some(slot) != earlier) {
                    let text = format!(
                        "{} says that it went back to {earlier:?}, its link is {:?} and it runs {runs:?}",
                        host.name, host.disk.link
                    );
                    self.fault(Invariant::P4, now, text);
                }
            }
            (What::Stuck { .. }, _) => self.saw("stuck"),
        }
    }

    /// A line of an applier's log. An error is one only where nothing was done to the host.
    pub(super) fn note(&mut self, now: Instant, host: &Host, note: &Note) {
        let disturbed = host.disk.full || host.failing > 0;
        let explained: BTreeSet<&str> =
            ["the coordinator refused a statement", "the join string in the inbox is refused"]
                .into();
        if note.level == Level::Error && !disturbed && !explained.contains(note.text) {
            let text = format!("{}: {} ({})", host.name, note.text, note.detail);
            self.fault(Invariant::NoError, now, text);
        }
    }

    /// The coordinator's plans, examined.
    pub(super) fn plans(&mut self, now: Instant, wall: Time, coordinator: &mut Coordinator) {
        for (booking, fault) in coordinator.examined(wall) {
            self.fault(Invariant::P10, now, format!("the plan of {}: {fault}", booking.short()));
        }
    }
}

fn host_state(host: &Host) -> Option<&State> {
    let life = host.life.as_ref()?;
    life.core.machine(&name(APPLICATION)).map(|machine| &machine.record().state)
}

fn forward_task(host: &Host) -> Option<Task> {
    host_state(host)?.going_forward().map(|(task, _)| task.clone())
}

fn slot_package(task: &Task) -> Digest {
    task.assignment.package
}

fn seat_of(scenario: &Scenario, host: &Host) -> usize {
    scenario.seats.iter().position(|seat| seat.name == host.name).unwrap_or(0)
}
