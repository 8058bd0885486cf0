//! A host of a run: the real applier's core on a disk of ours, and a network half that does what it is told.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use cutover_applier_core::{
    ApplicationSettings, Core, Driver, Hooks, HostSettings, ProbeKind, Running, Saved, Work,
};
use cutover_machine::{EffectId, Now};
use cutover_shared::digest::Digest;
use cutover_shared::key::{KeyId, SecretKey};
use cutover_shared::protocol::{ClearanceAnswer, HostReport};
use cutover_shared::statement::Phase;
use cutover_shared::time::Time;

use super::APPLICATION;
use super::disk::{CrashPoints, Disk, SlotName};
use super::scenario::Instant;
use crate::world::{key, name};

/// A host.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) environment: &'static str,
    /// How often it was made anew: each time it has other keys.
    pub(super) made: u32,
    /// How far its wall clock is off, in milliseconds.
    pub(super) offset: i64,
    pub(super) disk: Disk,
    pub(super) points: CrashPoints,
    /// What runs.
    pub(super) process: Option<Process>,
    next_process: u32,
    /// When the machine itself was started.
    pub(super) booted: Instant,
    pub(super) life: Option<Life>,
    pub(super) lives: u64,
    pub(super) inhibitors: Vec<String>,
    /// A join string in its inbox.
    pub(super) join: Option<String>,
    /// How many times as long everything takes.
    pub(super) slowness: u64,
    /// How often in a thousand work fails.
    pub(super) failing: u64,
    /// It is cut off from the network.
    pub(super) cut: bool,
}

/// What runs of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) running: Running,
    pub(super) slot: SlotName,
    pub(super) since: Instant,
    /// Rounds of checks that it has answered.
    pub(super) answered: u32,
}

/// An applier that runs, and its network half.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) number: u64,
    pub(super) core: Core,
    /// Work that is being done; none where other work is being given up.
    pub(super) work: BTreeMap<EffectId, Option<Work>>,
    /// The order whose manifest is being read.
    pub(super) reading: Option<Digest>,
    pub(super) half: Half,
    /// When it is woken, if nothing happens before.
    pub(super) wake: Option<Instant>,
}

/// The network half.
#[derive(Debug, Default)]
pub(super) struct Half {
    pub(super) welcomed: bool,
    pub(super) connected: bool,
    pub(super) stream: Option<u64>,
    pub(super) report: Option<HostReport>,
    pub(super) known: u64,
    pub(super) appends: VecDeque<(Digest, Vec<u8>)>,
    /// An answer that it keeps for another question about the same.
    pub(super) withheld: Option<(Digest, Phase, ClearanceAnswer)>,
    /// A directive never overtakes one before it on its stream, nor a report another.
    pub(super) last_up: Instant,
    pub(super) last_down: Instant,
}

impl Host {
    pub(super) fn new(name: &str, environment: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            environment,
            made: 0,
            offset: 0,
            disk: Disk::default(),
            points: CrashPoints::default(),
            process: None,
            next_process: 1,
            booted: 0,
            life: None,
            lives: 0,
            inhibitors: Vec::new(),
            join: None,
            slowness: 1,
            failing: 0,
            cut: false,
        }
    }

    /// The key that signs what it says.
    pub(super) fn key(&self) -> SecretKey {
        key(&format!("{}/{}", self.name, self.made))
    }

    pub(super) fn key_id(&self) -> KeyId {
        self.key().public().id()
    }

    /// Its key on the wire.
    pub(super) fn transport_key(&self) -> SecretKey {
        key(&format!("{}/{}/transport", self.name, self.made))
    }

    fn settings(&self) -> HostSettings {
        let settings = ApplicationSettings {
            driver: Driver::Slot,
            hooks: Hooks::Allowed,
            probes: [ProbeKind::Http, ProbeKind::Tcp, ProbeKind::Exec].into(),
            retain: 2,
        };
        HostSettings {
            host: name(&self.name),
            environment: name(self.environment),
            applications: [(name(APPLICATION), settings)].into(),
        }
    }

    /// Both of its clocks.
    pub(super) fn now(&self, now: Instant, epoch: Time) -> Now {
        let wall = epoch + Duration::from_millis(now);
        let shift = Duration::from_millis(self.offset.unsigned_abs());
        let wall = if self.offset < 0 { wall - shift } else { wall + shift };
        Now { wall, monotonic: Duration::from_millis(now.saturating_sub(self.booted)) }
    }

    /// Its applier starts, from what is on the disk.
    pub(super) fn boot(&mut self, now: Instant, epoch: Time) {
        let saved = self.disk.ledger.as_deref().map(|body| Saved::decode(body).ok());
        let saved = saved.map_or(Some(Saved::default()), |saved| saved);
        let saved = saved.expect("a ledger is whole or not there");
        let core = Core::recover(self.settings(), saved, self.key(), self.now(now, epoch));
        self.lives += 1;
        self.life = Some(Life {
            number: self.lives,
            core,
            work: BTreeMap::new(),
            reading: None,
            half: Half::default(),
            wake: None,
        });
    }

    /// Starts what the link names.
    pub(super) fn start(&mut self, slot: SlotName, now: Instant) -> Running {
        if let Some(process) = self.process.filter(|process| process.slot == slot) {
            return process.running;
        }
        let running =
            Running { pid: self.next_process, started_ticks: u64::from(self.next_process) };
        self.next_process += 1;
        self.process = Some(Process { running, slot, since: now, answered: 0 });
        running
    }
}
