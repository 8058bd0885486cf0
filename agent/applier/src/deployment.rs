//! One application on this host: its machine, what surrounds an order in hand, and its workers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cutover_machine::{EffectId, Machine, Phase as MachinePhase, State};
use cutover_shared::authorise::Order;
use cutover_shared::digest::Digest;
use cutover_shared::evidence::Opened;
use cutover_shared::name::Name;
use cutover_shared::protocol::ApplicationReport;
use cutover_shared::refusal::Refusal;
use cutover_shared::statement::Phase;
use tokio::task::JoinHandle;

use crate::content::Package;
use crate::outcome::step_name;
use crate::process::Running;
use crate::work::Site;

/// An application and what is going on with it.
#[derive(Debug)]
pub struct Deployment {
    /// What workers need.
    pub site: Site,
    /// The deployment machine.
    pub machine: Machine,
    /// The order that is looked at or in hand.
    pub hand: Option<Hand>,
    /// A clearance that was asked for.
    pub asking: Option<Asking>,
    /// Workers by effect.
    pub workers: BTreeMap<EffectId, JoinHandle<()>>,
    /// The reader of a package's manifest.
    pub reader: Option<JoinHandle<()>>,
    /// The last thing refused.
    pub refused: Option<(Digest, Refusal)>,
    /// The effect that fetches, and the package that it fetches.
    pub fetching: Option<(EffectId, Digest)>,
    /// Bytes fetched, and to fetch.
    pub progress: Option<(u64, u64)>,
    /// The process that is watched, in command mode.
    pub watched: Option<Running>,
    /// How often in a row the process ended by itself.
    pub falls: u32,
}

/// An order that is looked at or in hand, with everything that it stands on.
#[derive(Debug)]
pub struct Hand {
    /// The `booking` or `rollback` statement.
    pub order: Digest,
    /// The entries of the log that it came with.
    pub indexes: BTreeSet<u64>,
    /// The evidence, opened.
    pub opened: Opened,
    /// The authorised order, with its newest clearance.
    pub cleared: Option<Order>,
    /// The identity of that clearance.
    pub clearance: Option<Digest>,
    /// The package, once its manifest was read.
    pub package: Option<Box<Package>>,
    /// When it was taken into the hand, on the monotonic clock.
    pub since: Duration,
}

/// A request for a clearance.
#[derive(Debug, Clone)]
pub struct Asking {
    /// The nonce.
    pub nonce: Digest,
    /// The order.
    pub order: Digest,
    /// What for.
    pub phase: Phase,
    /// When it was sent, on the monotonic clock.
    pub sent: Duration,
    /// Size of the head that was known then.
    pub known: u64,
    /// The machine's effect that waits for it; none while the package has not been read.
    pub effect: Option<EffectId>,
}

impl Deployment {
    /// A deployment with nothing going on.
    pub fn new(site: Site, machine: Machine) -> Self {
        Self {
            site,
            machine,
            hand: None,
            asking: None,
            workers: BTreeMap::new(),
            reader: None,
            refused: None,
            fetching: None,
            progress: None,
            watched: None,
            falls: 0,
        }
    }

    /// The order that the machine works on.
    pub fn working_on(&self) -> Option<Digest> {
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
    pub fn report(&self, name: &Name) -> ApplicationReport {
        let record = self.machine.record();
        let step = match record.state.going_forward() {
            Some((_, point)) => step_name(point).to_owned(),
            None if self.hand.is_some() => "looking".to_owned(),
            None => self.machine.phase().to_string(),
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
