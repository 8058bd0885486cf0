//! One application on this host: its machine, what surrounds an order in hand, and its process.

use std::collections::BTreeSet;
use std::time::Duration;

use cutover_machine::{EffectId, Machine, Phase as MachinePhase, State};
use cutover_shared::authorise::Order;
use cutover_shared::digest::Digest;
use cutover_shared::evidence::Opened;
use cutover_shared::name::Name;
use cutover_shared::protocol::ApplicationReport;
use cutover_shared::refusal::Refusal;
use cutover_shared::statement::Phase;

use crate::drift::Vigil;
use crate::input::Running;
use crate::outcome::step_name;
use crate::package::Package;
use crate::runbook::Walk;

/// An application and what is going on with it.
#[derive(Debug)]
pub(crate) struct Deployment {
    /// The deployment machine.
    pub(crate) machine: Machine,
    /// The order that is looked at or in hand.
    pub(crate) hand: Option<Hand>,
    /// A clearance that was asked for.
    pub(crate) asking: Option<Asking>,
    /// Whether a package's manifest is being read for the order in hand.
    pub(crate) reading: bool,
    /// The last thing refused.
    pub(crate) refused: Option<(Digest, Refusal)>,
    /// The effect that fetches, and the package that it fetches.
    pub(crate) fetching: Option<(EffectId, Digest)>,
    /// Bytes fetched, and to fetch.
    pub(crate) progress: Option<(u64, u64)>,
    /// The process that is watched, in command mode.
    pub(crate) watched: Option<Running>,
    /// Since when, on the monotonic clock.
    pub(crate) watched_since: Duration,
    /// How often in a row the process ended by itself.
    pub(crate) falls: u32,
    /// When it is started again, on the monotonic clock.
    pub(crate) restart_due: Option<Duration>,
    /// Whether it is being started again.
    pub(crate) restarting: bool,
    /// A stop that waits until it is known what that came to: nothing may start behind a stop.
    pub(crate) stop_waits: Option<EffectId>,
    /// The watch over what is deployed.
    pub(crate) vigil: Vigil,
    /// The runbook that is being carried out.
    pub(crate) walk: Option<Walk>,
}

/// An order that is looked at or in hand, with everything that it stands on.
#[derive(Debug)]
pub(crate) struct Hand {
    /// The `booking` or `rollback` statement.
    pub(crate) order: Digest,
    /// The entries of the log that it came with.
    pub(crate) indexes: BTreeSet<u64>,
    /// The evidence, opened.
    pub(crate) opened: Opened,
    /// The authorised order, with its newest clearance.
    pub(crate) cleared: Option<Order>,
    /// The identity of that clearance.
    pub(crate) clearance: Option<Digest>,
    /// The package, once its manifest was read.
    pub(crate) package: Option<Box<Package>>,
    /// When it was taken into the hand, on the monotonic clock.
    pub(crate) since: Duration,
}

/// A request for a clearance.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    /// The nonce.
    pub(crate) nonce: Digest,
    /// The order.
    pub(crate) order: Digest,
    /// What for.
    pub(crate) phase: Phase,
    /// When it was sent, on the monotonic clock.
    pub(crate) sent: Duration,
    /// Size of the head that was known then.
    pub(crate) known: u64,
    /// The machine's effect that waits for it; none while the package has not been read.
    pub(crate) effect: Option<EffectId>,
}

impl Deployment {
    /// A deployment with nothing going on.
    pub(crate) fn new(machine: Machine) -> Self {
        Self {
            machine,
            hand: None,
            asking: None,
            reading: false,
            refused: None,
            fetching: None,
            progress: None,
            watched: None,
            watched_since: Duration::ZERO,
            falls: 0,
            restart_due: None,
            restarting: false,
            stop_waits: None,
            vigil: Vigil::default(),
            walk: None,
        }
    }

    /// This process runs now.
    pub(crate) fn watch(&mut self, running: Running, now: Duration) {
        self.watched = Some(running);
        self.watched_since = now;
    }

    /// The order that the machine works on.
    pub(crate) fn working_on(&self) -> Option<Digest> {
        match &self.machine.record().state {
            State::Idle | State::Committed(_) | State::Returned(_) => None,
            State::Authorised(task)
            | State::Fetching(task)
            | State::Assembled(task)
            | State::Preflight(task, _)
            | State::Stopping(task, _)
            | State::Activating(task, _)
            | State::Starting(task, _)
            | State::Checking(task)
            | State::Baking(task)
            | State::Returning(task, _)
            | State::Stuck(task, _) => Some(task.assignment.booking),
        }
    }

    /// What to tell of it.
    pub(crate) fn report(&self, name: &Name) -> ApplicationReport {
        let record = self.machine.record();
        let step = match (&self.walk, record.state.going_forward()) {
            (Some(walk), _) => walk.told(),
            (None, Some((_, point))) => step_name(point).to_owned(),
            (None, None) if self.hand.is_some() => "looking".to_owned(),
            (None, None) => self.machine.phase().to_string(),
        };
        let fetching = self.machine.phase() == MachinePhase::Fetching;
        ApplicationReport {
            application: name.clone(),
            generation: record.generation,
            running: record.committed.map(|slot| slot.package),
            order: self.working_on().or(self.hand.as_ref().map(|hand| hand.order)),
            step,
            progress: self.progress.filter(|_| fetching),
            refused: self.refused.clone(),
        }
    }
}
