//! A host under attack: the real core, on a ledger, a disk and clocks of ours. All that reaches it is what
//! the attacker hands it; what it does with its own disk it does honestly, and every deed is noted.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use cutover_applier_core::{
    Answer, ApplicationSettings, Core, Driver, Hooks, HostSettings, Input, Ledger, Level, Output,
    Outside, Package, ProbeKind, Saved, Unread, Work,
};
use cutover_machine::{Assignment, EffectId, Now, Reading, Sample, Slot, State, What};
use cutover_shared::digest::Digest;
use cutover_shared::key::KeyId;
use cutover_shared::name::Name;
use cutover_shared::package::chunk::inflate;
use cutover_shared::package::index::Index;
use cutover_shared::package::map::PackMap;
use cutover_shared::protocol::{FromApplier, HostReport};
use cutover_shared::time::Time;

use super::truth::Subject;
use super::{APPLICATION, epoch};
use crate::world::{Parcel, Random, key, name};

/// The notes whose facts are a refusal.
const REFUSING: [&str; 3] =
    ["refused", "no clearance to start", "what was committed is not to be taken back"];

/// What a host did.
#[derive(Debug, Clone)]
pub struct Deed {
    /// When.
    pub at: Time,
    /// Which host.
    pub host: String,
    /// What for.
    pub task: Assignment,
    /// What.
    pub act: Act,
}

/// Something that a host does to itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// A slot was filled with these bytes, by their digest.
    Assembled(Digest),
    /// The release was made the current one.
    Activated,
    /// The order ended so.
    Ended(End),
}

/// How an order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In the new release.
    Committed,
    /// In the one before.
    Returned,
    /// It was given up before it touched anything.
    Abandoned,
}

/// A ledger in memory.
#[derive(Debug, Clone, Default)]
struct Kept(Vec<u8>);

/// A host.
#[derive(Debug)]
pub struct Target {
    /// Its name.
    pub host: String,
    environment: &'static str,
    core: Core,
    ledger: Kept,
    nonces: Random,
    /// Bytes of packages, as the attacker serves them: without an entry it waits.
    pub supply: BTreeMap<Digest, Parcel>,
    slots: BTreeMap<(u64, Digest), Digest>,
    current: Option<(u64, Digest)>,
    pending: Vec<(EffectId, Work)>,
    reading: Option<(Digest, Digest)>,
    /// Whether checks are answered well.
    pub healthy: bool,
    /// What it said to its network half and was not heard yet.
    pub outbox: Vec<FromApplier>,
    /// What it said of itself last.
    pub report: Option<HostReport>,
    /// What it did since somebody looked.
    pub deeds: Vec<Deed>,
    /// What it noted for its log, but for the finest.
    pub notes: Vec<String>,
    /// Codes of the refusals that it noted.
    pub refusals: BTreeMap<String, u32>,
    last: Option<Assignment>,
    marks: Marks,
    /// What went back that never may.
    pub went_back: Vec<String>,
}

/// What never goes back (P6).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Marks {
    generation: u64,
    policy: u64,
    head: u64,
    time: Option<Time>,
}

impl Target {
    /// A host from what its ledger holds.
    pub fn new(host: &str, environment: &'static str, saved: &Saved, now: Now, seed: u64) -> Self {
        let ledger = Kept(saved.encode().expect("a ledger can be written"));
        let core = Core::recover(settings(host, environment), saved.clone(), key(host), now);
        let committed = saved.applications.get(&name(APPLICATION));
        let current = committed.and_then(|it| it.record.committed).map(|slot| slot_name(&slot));
        let mut target = Self {
            host: host.to_owned(),
            environment,
            core,
            ledger,
            nonces: Random::new(seed),
            supply: BTreeMap::new(),
            slots: BTreeMap::new(),
            current,
            pending: Vec::new(),
            reading: None,
            healthy: true,
            outbox: Vec::new(),
            report: None,
            deeds: Vec::new(),
            notes: Vec::new(),
            refusals: BTreeMap::new(),
            last: None,
            marks: Marks::default(),
            went_back: Vec::new(),
        };
        for slot in committed.iter().flat_map(|it| it.record.committed.iter().chain(&it.history)) {
            target.slots.insert(slot_name(slot), slot.package);
        }
        target.marks = target.marked();
        target
    }

    /// It begins to work: its directories are looked at, and the network half says hello.
    pub fn begin(&mut self, join: Option<String>, now: Now) {
        self.handle(Input::Looked { inhibitors: Vec::new(), join, clock_accepted: false }, now);
        self.connect(now);
    }

    /// The network half comes, as the one that it enrolled with.
    pub fn connect(&mut self, now: Now) {
        self.handle(Input::Linked, now);
        let transport_key = key(&format!("{}-transport", self.host)).public();
        self.handle(Input::Hello { transport_key }, now);
        self.handle(Input::Connected(true), now);
    }

    /// It is killed and started again, from its ledger.
    pub fn restart(&mut self, now: Now) {
        let saved = Saved::decode(&self.ledger.0).expect("the ledger reads");
        let settings = settings(&self.host, self.environment);
        self.core = Core::recover(settings, saved, key(&self.host), now);
        self.pending.clear();
        self.reading = None;
        self.outbox.clear();
        self.begin(None, now);
    }

    /// One input, and all that comes of it.
    pub fn handle(&mut self, input: Input, now: Now) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut outside = Outside {
                now,
                clock_synchronised: Some(true),
                ledger: &mut self.ledger,
                nonces: &mut self.nonces,
            };
            self.core.handle(input, &mut outside);
            self.mark(now);
            while let Some(output) = self.core.poll_output() {
                inputs.extend(self.carry_out(output, now));
            }
        }
    }

    /// What waits for bytes looks again whether there are some.
    pub fn fetch(&mut self, now: Now) {
        if let Some((order, package)) = self.reading
            && let Some(parcel) = self.supply.get(&package)
        {
            let result = read(package, parcel).map(Box::new);
            self.reading = None;
            self.handle(Input::Read { application: name(APPLICATION), order, result }, now);
        }
        for (effect, work) in std::mem::take(&mut self.pending) {
            match self.work(&work, now) {
                Some(answer) => self.handle(answered(effect, answer), now),
                None => self.pending.push((effect, work)),
            }
        }
    }

    /// When it wants to be woken at the latest.
    pub fn timeout(&self, now: Now) -> Option<Duration> {
        self.core.poll_timeout(now)
    }

    /// What its ledger holds.
    pub fn saved(&self) -> Saved {
        Saved::decode(&self.ledger.0).expect("the ledger reads")
    }

    /// Who it is.
    pub fn subject(&self) -> Subject {
        Subject { host: name(&self.host), host_key: self.key_id() }
    }

    /// Its key.
    pub fn key_id(&self) -> KeyId {
        key(&self.host).public().id()
    }

    /// What it knows: size of the newest head, version of the policy.
    pub fn knows(&self) -> (u64, u64) {
        self.core.trust().map_or((0, 0), |trust| (trust.head.size, trust.policy.document().version))
    }

    /// The order that it works on, and whether it goes forward with it.
    pub fn task(&self) -> Option<&Assignment> {
        let machine = self.core.machine(&name(APPLICATION))?;
        machine.record().state.going_forward().map(|(task, _)| &task.assignment)
    }

    /// The package that is committed.
    pub fn runs(&self) -> Option<Digest> {
        let machine = self.core.machine(&name(APPLICATION))?;
        machine.record().committed.map(|slot| slot.package)
    }

    /// Its order generation.
    pub fn generation(&self) -> u64 {
        self.core.machine(&name(APPLICATION)).map_or(0, |machine| machine.record().generation)
    }

    fn carry_out(&mut self, output: Output, now: Now) -> Option<Input> {
        match output {
            Output::Say(FromApplier::Report(report)) => self.report = Some(report),
            Output::Say(frame) => self.outbox.push(frame),
            Output::Work { effect, work, .. } => match self.work(&work, now) {
                Some(answer) => return Some(answered(effect, answer)),
                None => self.pending.push((effect, work)),
            },
            Output::Abort { effect, of, .. } => {
                self.pending.retain(|(pending, _)| *pending != of);
                return Some(answered(effect, Answer::Done));
            }
            Output::Read { order, package, .. } => self.reading = Some((order, package)),
            Output::GiveUpReading { .. } => self.reading = None,
            Output::Tidy { keep, .. } => {
                let keep: Vec<_> = keep.iter().map(slot_name).collect();
                let current = self.current;
                self.slots.retain(|slot, _| keep.contains(slot) || Some(*slot) == current);
            }
            Output::Note(note) => {
                if note.level > Level::Debug {
                    self.notes.push(format!("{} {}: {}", now.wall, note.text, note.detail));
                }
                if REFUSING.contains(&note.text) {
                    let code = note.detail.split(':').next().unwrap_or_default().to_owned();
                    *self.refusals.entry(code).or_default() += 1;
                }
            }
            Output::Watch { .. }
            | Output::Restart { .. }
            | Output::Sweep { .. }
            | Output::Reply { .. }
            | Output::Status(_) => {}
        }
        None
    }

    /// Does some work; nothing when it has to wait for bytes.
    fn work(&mut self, work: &Work, now: Now) -> Option<Answer> {
        Some(match work {
            Work::Fetch { slot, package, .. } => {
                let parcel = self.supply.get(&slot.package)?;
                match content(package, parcel) {
                    Ok(bytes) => {
                        self.slots.insert(slot_name(slot), slot.package);
                        self.deed(Act::Assembled(bytes), now);
                        Answer::Done
                    }
                    Err(why) => Answer::Failed(why),
                }
            }
            Work::Copy { slot, sources } => {
                let source = sources.iter().find(|it| it.package == slot.package);
                if source.is_none_or(|it| !self.slots.contains_key(&slot_name(it))) {
                    return Some(Answer::Failed("it is not here".to_owned()));
                }
                self.slots.insert(slot_name(slot), slot.package);
                Answer::Done
            }
            Work::Switch { to } => {
                self.current = to.as_ref().map(slot_name);
                let forward = self.task().map(Assignment::slot);
                if to.is_some() && forward == *to {
                    self.deed(Act::Activated, now);
                }
                Answer::Done
            }
            Work::Check { .. } => Answer::Sample(Sample {
                at: now.wall,
                readings: vec![Reading {
                    check: "answers".to_owned(),
                    healthy: self.healthy,
                    detail: String::new(),
                    took: Duration::from_millis(1),
                }],
            }),
            Work::CleanUp { slot } => {
                self.slots.remove(&slot_name(slot));
                Answer::Done
            }
            Work::Settle { slot } => {
                self.current = slot.as_ref().map(slot_name);
                Answer::Done
            }
            Work::Preflight { .. }
            | Work::Hook { .. }
            | Work::Step { .. }
            | Work::Stop
            | Work::Start => Answer::Done,
        })
    }

    fn deed(&mut self, act: Act, now: Now) {
        if let Some(task) = self.task().cloned() {
            self.deeds.push(Deed { at: now.wall, host: self.host.clone(), task, act });
        }
    }

    /// Looks for what went back, and for an order that has ended.
    fn mark(&mut self, now: Now) {
        let marks = self.marked();
        let before = self.marks;
        let back = marks.generation < before.generation
            || marks.policy < before.policy
            || marks.head < before.head
            || marks.time < before.time;
        if back {
            self.went_back.push(format!("{}: {before:?}, then {marks:?}", self.host));
        }
        self.marks = marks;
        if let Some(task) = self.task().cloned() {
            self.last = Some(task);
        }
        let machine = self.core.machine(&name(APPLICATION)).expect("it has one application");
        let end = match &machine.record().state {
            State::Committed(_) => End::Committed,
            State::Returned(ended) if matches!(ended.what, What::Abandoned) => End::Abandoned,
            State::Returned(_) => End::Returned,
            State::Idle
            | State::Authorised(_)
            | State::Fetching(_)
            | State::Assembled(_)
            | State::Preflight(..)
            | State::Stopping(..)
            | State::Activating(..)
            | State::Starting(..)
            | State::Checking(_)
            | State::Baking(_)
            | State::Returning(..)
            | State::Stuck(..) => return,
        };
        if let Some(task) = self.last.take() {
            let act = Act::Ended(end);
            self.deeds.push(Deed { at: now.wall, host: self.host.clone(), task, act });
        }
    }

    fn marked(&self) -> Marks {
        let (head, policy) = self.knows();
        let time = self.core.saved().newest_time;
        Marks { generation: self.generation(), policy, head, time }
    }
}

impl Ledger for Kept {
    fn save(&mut self, body: &[u8]) -> Result<(), String> {
        self.0 = body.to_vec();
        Ok(())
    }
}

/// Both clocks, so long after the beginning of the scene.
pub fn clocks(since: Duration) -> Now {
    Now { wall: epoch() + since, monotonic: since }
}

/// What a host with these settings is told of itself.
pub fn settings(host: &str, environment: &str) -> HostSettings {
    let application = ApplicationSettings {
        driver: Driver::Slot,
        hooks: Hooks::Refused,
        probes: [ProbeKind::Tcp].into(),
        retain: 2,
    };
    let applications: BTreeMap<Name, _> = [(name(APPLICATION), application)].into();
    HostSettings { host: name(host), environment: name(environment), applications }
}

fn answered(effect: EffectId, answer: Answer) -> Input {
    Input::Answered { application: name(APPLICATION), effect, answer }
}

fn slot_name(slot: &Slot) -> (u64, Digest) {
    (slot.generation, slot.package)
}

/// Reads a manifest from what is served.
fn read(package: Digest, parcel: &Parcel) -> Result<Package, String> {
    let unread = Unread::of(package, &parcel.index, &parcel.map)?;
    let stored = unread.pieces().iter().map(|(piece, _)| parcel.piece(piece).unwrap_or_default());
    let stored: Vec<_> = stored.collect();
    unread.read(&stored)
}

/// The bytes of a package as they are assembled from what is served, by their digest.
fn content(package: &Package, parcel: &Parcel) -> Result<Digest, String> {
    let mut all = Vec::new();
    for chunk in package.index().chunks() {
        let piece = package.piece(&chunk)?;
        let stored = parcel.piece(&piece).unwrap_or_default();
        all.extend(inflate(&stored, &chunk).map_err(|error| error.to_string())?);
    }
    Ok(Digest::of(&all))
}

/// The bytes of an honest parcel, by their digest.
pub fn true_content(parcel: &Parcel) -> Digest {
    let index = Index::parse(&parcel.index).expect("the parcel is good");
    let map = PackMap::parse(&parcel.map).expect("the parcel is good");
    let mut all = Vec::new();
    for chunk in index.chunks() {
        let piece = map.locate(&chunk.digest).expect("the parcel is whole");
        let stored = parcel.piece(piece).expect("the parcel is whole");
        all.extend(inflate(&stored, &chunk).expect("the parcel is whole"));
    }
    Digest::of(&all)
}
