//! A host's applier core, and everything around it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use cutover_applier_core::{
    Answer, ApplicationSettings, Core, Driver, Hooks, HostSettings, Input, Ledger, Nonces, Note,
    Output, Outside, Package, ProbeKind, Running, Saved, SavedEnrolment, SavedTrust, Unread, Work,
};
use cutover_machine::{EffectId, Now, Reading, Sample};
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::evidence::Trust;
use cutover_shared::name::Name;
use cutover_shared::protocol::{ApplicationReport, FromApplier, HostReport};
use cutover_shared::refusal::Code;
use cutover_shared::statement::{Outcome, Phase, Says, Statement};

use crate::others::join;
use crate::parcel::{Parcel, Timing};
use crate::world::{World, key, name};

/// The host: of staging, which asks for a review alone.
pub(crate) const HOST: &str = "s1";

/// How long its windows are.
pub(crate) const WINDOW: Duration = Duration::from_secs(1000);

/// As the world's releases have it.
pub(crate) const TIMING: Timing =
    Timing { apply_budget: 100, rollback_reserve: 50, interval: 1, deadline: 20, bake: 5 };

/// A step of a runbook that people do.
pub(crate) const HOLD: &str = r#"
[[runbook]]
name = "hold-job"
by = "operator"
what = "Hold the job PAYR010 and wait until it has ended."
timeout = "20s"
undo = { what = "Release the job PAYR010 again.", timeout = "20s" }
"#;

/// One that the gateway does by itself.
pub(crate) const MOVE: &str = r#"
[[runbook]]
name = "move-members"
by = "gateway"
what = "Copies the members into the production libraries."
command = "hooks/move.sh"
timeout = "20s"
elements = ["PAYR010 -> PROD.PAYROLL.JCL"]
undo = { what = "Puts the saved members back.", command = "hooks/back.sh", timeout = "20s" }
"#;

pub(crate) fn web() -> Name {
    name("web")
}

pub(crate) const fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

pub(crate) const fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// A package of the application, with this at the end of its manifest.
pub(crate) fn parcel(version: &str, extra: &str) -> Parcel {
    Parcel::new("web", version, version.as_bytes(), TIMING, extra)
}

/// A package whose manifest is changed.
pub(crate) fn parcel_with(version: &str, from: &str, to: &str) -> Parcel {
    let text = Parcel::release_toml("web", version, TIMING, "");
    assert!(text.contains(from), "{from}");
    Parcel::of_manifest(&text.replace(from, to), version.as_bytes())
}

/// A parcel as the host reads it.
pub(crate) fn read(parcel: &Parcel) -> Box<Package> {
    let unread = Unread::of(parcel.digest, &parcel.index, &parcel.map).unwrap();
    let stored = unread.pieces().iter().map(|(piece, _)| parcel.piece(piece).unwrap());
    let stored: Vec<_> = stored.collect();
    Box::new(unread.read(&stored).unwrap())
}

/// What the host's own configuration says.
pub(crate) fn settings() -> HostSettings {
    let settings = ApplicationSettings {
        driver: Driver::Slot,
        hooks: Hooks::Allowed,
        probes: ProbeKind::ALL.into(),
        retain: 2,
    };
    HostSettings {
        host: name(HOST),
        environment: name("staging"),
        applications: [(web(), settings)].into(),
    }
}

/// A ledger, which can be full.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) body: Vec<u8>,
    pub(crate) full: bool,
}

impl Ledger for Kept {
    fn save(&mut self, body: &[u8]) -> Result<(), String> {
        if self.full {
            return Err("no space is left".to_owned());
        }
        body.clone_into(&mut self.body);
        Ok(())
    }
}

/// Nonces by number, until there are none.
#[derive(Debug, Default)]
pub(crate) struct Numbered {
    next: u64,
    pub(crate) dry: bool,
}

impl Nonces for Numbered {
    fn nonce(&mut self) -> Result<Digest, String> {
        if self.dry {
            return Err("the kernel gives none".to_owned());
        }
        self.next += 1;
        Ok(Digest::of(&self.next.to_be_bytes()))
    }
}

/// The host and its world.
pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) core: Core,
    pub(crate) kept: Kept,
    pub(crate) nonces: Numbered,
    pub(crate) monotonic: Duration,
    pub(crate) synchronised: Option<bool>,
    pub(crate) inhibitors: Vec<String>,
    /// What the core wants done, and is not seen to yet.
    pub(crate) pending: VecDeque<Output>,
    pub(crate) notes: Vec<Note>,
    pub(crate) reports: Vec<HostReport>,
    pub(crate) statuses: Vec<String>,
    settings: HostSettings,
    pub(crate) parcels: BTreeMap<Digest, Parcel>,
    started: u32,
}

impl Bench {
    /// Enrolled, connected, and nothing was ever deployed.
    pub(crate) fn new() -> Self {
        Self::with(World::new(), settings())
    }

    pub(crate) fn with(world: World, settings: HostSettings) -> Self {
        let mut saved = Saved::default();
        let trust = Trust { head: world.tree.head(), ..world.trust() };
        saved.trust = Some(SavedTrust::of(&trust));
        saved.join = Some(join(&world));
        let enrolment = world.state.host_named(&name(HOST)).unwrap().enrolment.id();
        saved.enrolment =
            Some(SavedEnrolment { id: enrolment, envelope: Vec::new(), logged: true });
        let mut bench = Self::on(world, settings, saved);
        bench.connect();
        bench.see_to_all();
        bench
    }

    /// A host that finds this in its ledger. Its network half is not there yet.
    pub(crate) fn on(world: World, settings: HostSettings, saved: Saved) -> Self {
        let now = Now { wall: world.now, monotonic: Duration::ZERO };
        let core = Core::recover(settings.clone(), saved, key(HOST), now);
        let mut bench = Self {
            world,
            core,
            kept: Kept::default(),
            nonces: Numbered::default(),
            monotonic: Duration::ZERO,
            synchronised: None,
            inhibitors: Vec::new(),
            pending: VecDeque::new(),
            notes: Vec::new(),
            reports: Vec::new(),
            statuses: Vec::new(),
            settings,
            parcels: BTreeMap::new(),
            started: 0,
        };
        bench.look();
        bench
    }

    /// The network half is there, and reaches the coordinator.
    pub(crate) fn connect(&mut self) {
        self.tell(Input::Linked);
        self.tell(Input::Hello { transport_key: key("s1-transport").public() });
        self.tell(Input::Connected(true));
    }

    /// The applier ends and starts again.
    pub(crate) fn restart(&mut self) {
        let saved = Saved::decode(&self.kept.body).unwrap();
        self.core = Core::recover(self.settings.clone(), saved, key(HOST), self.now());
        self.pending.clear();
        self.look();
        self.connect();
    }

    pub(crate) fn look(&mut self) {
        let inhibitors = self.inhibitors.clone();
        self.tell(Input::Looked { inhibitors, join: None, clock_accepted: false });
    }

    pub(crate) fn now(&self) -> Now {
        Now { wall: self.world.now, monotonic: self.monotonic }
    }

    /// Time passes, and nobody notices.
    pub(crate) fn pass(&mut self, span: Duration) {
        self.world.now = self.world.now + span;
        self.monotonic += span;
    }

    /// Time passes, and the core is woken.
    pub(crate) fn wait(&mut self, span: Duration) {
        self.pass(span);
        self.tell(Input::Timeout);
    }

    pub(crate) fn tell(&mut self, input: Input) {
        let mut outside = Outside {
            now: Now { wall: self.world.now, monotonic: self.monotonic },
            clock_synchronised: self.synchronised,
            ledger: &mut self.kept,
            nonces: &mut self.nonces,
        };
        self.core.handle(input, &mut outside);
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Note(note) => self.notes.push(note),
                Output::Status(status) => self.statuses.push(status),
                Output::Say(FromApplier::Report(report)) => self.reports.push(report),
                other @ (Output::Say(_)
                | Output::Work { .. }
                | Output::Abort { .. }
                | Output::Read { .. }
                | Output::GiveUpReading { .. }
                | Output::Watch { .. }
                | Output::Restart { .. }
                | Output::Tidy { .. }
                | Output::Sweep { .. }
                | Output::Reply { .. }) => self.pending.push_back(other),
            }
        }
    }

    pub(crate) fn answered(&mut self, effect: EffectId, answer: Answer) {
        self.tell(Input::Answered { application: web(), effect, answer });
    }

    pub(crate) fn failed(&mut self, effect: EffectId, why: &str) {
        self.answered(effect, Answer::Failed(why.to_owned()));
    }

    /// What is not seen to yet.
    pub(crate) fn take(&mut self) -> Vec<Output> {
        self.pending.drain(..).collect()
    }

    /// The frames among it.
    pub(crate) fn said(&mut self) -> Vec<FromApplier> {
        let say = |output| if let Output::Say(frame) = output { Some(frame) } else { None };
        self.take().into_iter().filter_map(say).collect()
    }

    /// The names of the work among it.
    pub(crate) fn works(&mut self) -> Vec<&'static str> {
        let work =
            |output| if let Output::Work { work, .. } = output { Some(work.name()) } else { None };
        self.take().into_iter().filter_map(work).collect()
    }

    /// Lets everything go well until the core wants this; that is not seen to.
    pub(crate) fn until(&mut self, wanted: impl Fn(&Output) -> bool) -> Output {
        for _ in 0..500 {
            while let Some(output) = self.pending.pop_front() {
                if wanted(&output) {
                    return output;
                }
                self.see_to(output);
            }
            let Some(wait) = self.core.poll_timeout(self.now()) else { break };
            self.wait(wait);
        }
        panic!("it never came: {:#?}", self.notes);
    }

    /// Until there is work of this name.
    pub(crate) fn until_work(&mut self, called: &str) -> EffectId {
        let is =
            |output: &Output| matches!(output, Output::Work { work, .. } if work.name() == called);
        let Output::Work { effect, .. } = self.until(is) else { panic!() };
        effect
    }

    /// Until a clearance is asked for: order, phase, nonce, and the size known.
    pub(crate) fn until_asked(&mut self) -> (Digest, Phase, Digest, u64) {
        let asked = self.until(|it| matches!(it, Output::Say(FromApplier::WantClearance { .. })));
        let Output::Say(FromApplier::WantClearance { order, phase, nonce, known }) = asked else {
            panic!()
        };
        (order, phase, nonce, known)
    }

    /// Until it says how something ended.
    pub(crate) fn until_ended(&mut self) -> Outcome {
        self.until(|it| matches!(it, Output::Say(FromApplier::Append { .. })));
        self.outcomes().pop().unwrap()
    }

    /// Sees to everything that is wanted now, well; no time passes.
    pub(crate) fn see_to_all(&mut self) {
        while let Some(output) = self.pending.pop_front() {
            self.see_to(output);
        }
    }

    fn see_to(&mut self, output: Output) {
        match output {
            Output::Work { effect, work, .. } => {
                let answer = self.well(&work);
                self.answered(effect, answer);
            }
            Output::Abort { effect, .. } => self.answered(effect, Answer::Done),
            Output::Read { order, package, .. } => {
                let result = Ok(read(&self.parcels[&package]));
                self.tell(Input::Read { application: web(), order, result });
            }
            Output::Say(FromApplier::WantClearance { order, phase, nonce, known }) => {
                self.clear((order, phase, nonce, known));
            }
            Output::Say(_)
            | Output::GiveUpReading { .. }
            | Output::Watch { .. }
            | Output::Restart { .. }
            | Output::Tidy { .. }
            | Output::Sweep { .. }
            | Output::Reply { .. }
            | Output::Status(_)
            | Output::Note(_) => {}
        }
    }

    fn well(&mut self, work: &Work) -> Answer {
        match work {
            Work::Start => Answer::Started(self.process()),
            Work::Check { .. } => Answer::Sample(self.sample(true)),
            Work::Fetch { .. }
            | Work::Copy { .. }
            | Work::Preflight { .. }
            | Work::Hook { .. }
            | Work::Step { .. }
            | Work::Stop
            | Work::Switch { .. }
            | Work::CleanUp { .. }
            | Work::Settle { .. } => Answer::Done,
        }
    }

    /// A process that is new.
    pub(crate) fn process(&mut self) -> Running {
        self.started += 1;
        Running { pid: self.started, started_ticks: 7 }
    }

    pub(crate) fn sample(&self, healthy: bool) -> Sample {
        let detail = if healthy { "200" } else { "500" }.to_owned();
        let took = millis(20);
        let reading = Reading { check: "answers".to_owned(), healthy, detail, took };
        Sample { at: self.world.now, readings: vec![reading] }
    }

    /// What waits to be logged.
    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        let outcome = |(id, envelope): &(Digest, Vec<u8>)| {
            let envelope = Envelope::parse(envelope).unwrap();
            assert_eq!(envelope.id(), *id);
            let host = key(HOST).public();
            let signers = envelope.valid_signers(|id| (*id == host.id()).then(|| host.clone()));
            assert_eq!(signers.unwrap().len(), 1, "the host signs what it says");
            let Says::Outcome(outcome) = Statement::read(&envelope).unwrap().says else { panic!() };
            *outcome
        };
        self.core.saved().reports.iter().map(outcome).collect()
    }

    /// What it reported last of the application.
    pub(crate) fn report(&self) -> &ApplicationReport {
        &self.reports.last().unwrap().applications[0]
    }

    /// Which order it refused last, and by which code.
    pub(crate) fn refused(&self) -> Option<(Digest, Code)> {
        self.report().refused.as_ref().map(|(order, refusal)| (*order, refusal.code))
    }

    /// Whether something was noted.
    pub(crate) fn noted(&self, text: &str) -> bool {
        self.notes.iter().any(|note| note.text == text)
    }

    /// What the ledger would give back.
    pub(crate) fn written(&self) -> Saved {
        Saved::decode(&self.kept.body).unwrap()
    }
}
