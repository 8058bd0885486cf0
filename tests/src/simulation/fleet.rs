//! The run itself: one event after the other, in the order of their virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_applier_core::{Answer as WorkAnswer, Input, Running, Unread};
use cutover_coordinator_core::{Asked, Peer, Turn};
use cutover_machine::EffectId;
use cutover_shared::digest::Digest;
use cutover_shared::protocol::{ClearanceAnswer, Directive, FromApplier, HostReport, ToApplier};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::Phase;
use cutover_shared::time::Time;

use super::coordinator::{Answer, Coordinator};
use super::host::Host;
use super::people::{Errand, People};
use super::random::Random;
use super::referee::{Invariant, Referee};
use super::scenario::{Fault, Instant, Scenario};
use super::transcript::Transcript;
use super::witnesses::Watcher;
use super::{APPLICATION, epoch};
use crate::world::name;

/// How long after everything has happened a run may take to come to rest.
const REST: Instant = 400_000;

/// How long one side takes to see that the other is gone.
const NOTICED: Instant = 3000;

/// More events than any run has that comes to rest.
const EVENTS: u64 = 200_000;

/// Something that happens.
#[derive(Debug)]
pub(super) enum Event {
    /// Somebody acts.
    Act(usize),
    /// Somebody's statement arrives at the coordinator.
    Bring(Box<Errand>),
    /// Somebody's statement arrives at a witness.
    Hand(usize, Box<Errand>),
    /// A fault begins.
    Fault(usize),
    /// It ends.
    FaultOver(usize),
    /// From now on nothing goes wrong.
    Calm,
    /// The coordinator starts.
    BootCoordinator,
    /// A host's applier starts.
    BootHost(usize),
    /// A round of the planner may be due.
    Round,
    /// An applier is woken.
    Wake(usize, u64),
    /// A network half connects.
    Connect(usize, u64),
    /// A network half has noticed that the coordinator is gone.
    Lost(usize, u64),
    /// A network half looks after what was not answered.
    Tick(usize, u64),
    /// A message reaches the coordinator.
    Up(usize, u64, Up),
    /// A message reaches an applier.
    Down(usize, u64, Box<ToApplier>),
    /// A piece of work ends.
    Done(usize, u64, EffectId),
    /// A manifest is read.
    Read(usize, u64, Digest, Digest),
    /// What ran has ended.
    Exited(usize, Running),
}

/// What a network half says to the coordinator.
#[derive(Debug, Clone)]
pub(super) enum Up {
    /// Opens its stream.
    Open,
    /// Reports.
    Report(Box<HostReport>),
    /// Asks for a clearance.
    Clearance { order: Digest, phase: Phase, nonce: Digest, known: u64 },
    /// Brings a statement.
    Append { id: Digest, envelope: Vec<u8>, known: u64 },
}

/// Everything in a run.
pub(super) struct Fleet {
    pub(super) scenario: Scenario,
    pub(super) random: Random,
    pub(super) now: Instant,
    queue: BTreeMap<(Instant, u64), Event>,
    next: u64,
    pub(super) coordinator: Coordinator,
    pub(super) hosts: Vec<Host>,
    pub(super) people: People,
    pub(super) watchers: Vec<Watcher>,
    pub(super) referee: Referee,
    pub(super) transcript: Transcript,
    /// Answers that were given, to be given once more to another question.
    old_answers: Vec<ClearanceAnswer>,
    calm: bool,
}

impl Fleet {
    pub(super) fn new(scenario: Scenario, trace: bool) -> Self {
        let hosts: Vec<Host> =
            scenario.seats.iter().map(|seat| Host::new(&seat.name, seat.environment)).collect();
        let referee = Referee::new(&scenario);
        let mut fleet = Self {
            random: Random::new(scenario.seed ^ 0x00c0_ffee),
            now: 0,
            queue: BTreeMap::new(),
            next: 0,
            coordinator: Coordinator::default(),
            people: People::new(&scenario),
            watchers: Vec::new(),
            hosts,
            referee,
            transcript: Transcript::new(trace),
            old_answers: Vec::new(),
            calm: false,
            scenario,
        };
        fleet.begin();
        fleet
    }

    fn begin(&mut self) {
        self.found();
        let wall = self.wall();
        self.coordinator.boot(0, wall);
        self.learn();
        self.begin_witnesses();
        self.at(0, Event::Round);
        for host in 0..self.hosts.len() {
            self.at(200, Event::BootHost(host));
        }
        for act in 0..self.scenario.acts.len() {
            self.at(self.scenario.acts[act].0, Event::Act(act));
        }
        for number in 0..self.scenario.faults.len() {
            match self.scenario.faults[number].clone() {
                Fault::CrashHost { host, point, power, down } => {
                    self.hosts[host].points.planned.push((point, power, down));
                }
                Fault::CrashCoordinator { point, down } => {
                    self.coordinator.planned.push((point, down));
                }
                Fault::Partition { from, to, .. }
                | Fault::Full { from, to, .. }
                | Fault::LogFull { from, to }
                | Fault::Slow { from, to, .. }
                | Fault::Fails { from, to, .. }
                | Fault::Inhibited { from, to, .. }
                | Fault::WitnessGone { from, to, .. }
                | Fault::Step { at: from, until: to, .. } => {
                    self.at(from, Event::Fault(number));
                    self.at(to, Event::FaultOver(number));
                }
                Fault::Dies { at, .. } => self.at(at, Event::Fault(number)),
            }
        }
        self.at(self.scenario.quiet(), Event::Calm);
    }

    /// Runs to the end, or to the first thing that must not be.
    pub(super) fn run(&mut self) {
        let end = self.scenario.quiet() + REST;
        let mut events = 0;
        while let Some(((at, _), event)) = self.queue.pop_first() {
            if at > end || self.referee.found().is_some() {
                break;
            }
            self.now = at;
            events += 1;
            if events > EVENTS {
                let text = "the run does not come to rest".to_owned();
                self.referee.fault(Invariant::P11, at, text);
                break;
            }
            self.transcript.event(at, &event);
            self.happens(event);
            self.referee.examine(self.now, &self.hosts);
        }
        self.now = end;
        if self.referee.found().is_none() {
            self.referee.at_rest(self.now, &self.hosts, &self.coordinator, &self.people);
        }
    }

    pub(super) fn at(&mut self, at: Instant, event: Event) {
        self.next += 1;
        self.queue.insert((at.max(self.now), self.next), event);
    }

    pub(super) fn after(&mut self, wait: Instant, event: Event) {
        self.at(self.now + wait, event);
    }

    /// The coordinator's wall clock; people's, too.
    pub(super) fn wall(&self) -> Time {
        let skew = Duration::from_millis(self.scenario.skew.unsigned_abs());
        let now = epoch() + Duration::from_millis(self.now);
        if self.scenario.skew < 0 { now - skew } else { now + skew }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Act(number) => self.act(number),
            Event::Bring(errand) => self.bring(*errand),
            Event::Hand(witness, errand) => self.handed(witness, *errand),
            Event::Fault(number) => self.fault(number, true),
            Event::FaultOver(number) => self.fault(number, false),
            Event::Calm => self.calm(),
            Event::BootCoordinator => {
                if self.coordinator.life.is_none() {
                    let wall = self.wall();
                    self.coordinator.boot(self.now, wall);
                    self.learn();
                    self.after(0, Event::Round);
                }
            }
            Event::BootHost(host) => self.boot(host),
            Event::Round => self.round(),
            Event::Wake(host, life) => {
                let now = self.now;
                let due = self.life(host, life).is_some_and(|it| it.wake == Some(now));
                if due {
                    self.feed(host, Input::Timeout);
                }
            }
            Event::Connect(host, life) => self.connect(host, life),
            Event::Lost(host, life) => self.lost(host, life),
            Event::Tick(host, life) => self.tick(host, life),
            Event::Up(host, life, up) => {
                if self.life(host, life).is_some() && self.reachable(host) {
                    self.up(host, life, up);
                }
            }
            Event::Down(host, life, frame) => {
                if self.life(host, life).is_some() && !self.hosts[host].cut {
                    self.down(host, *frame);
                }
            }
            Event::Done(host, life, effect) => {
                if self.life(host, life).is_some() {
                    self.done(host, effect);
                }
            }
            Event::Read(host, life, order, package) => {
                if self.life(host, life).is_some_and(|it| it.reading == Some(order)) {
                    self.read(host, life, order, package);
                }
            }
            Event::Exited(host, running) => self.exited(host, running),
        }
    }

    // ---- faults ----

    fn fault(&mut self, number: usize, begins: bool) {
        if self.calm && begins {
            return;
        }
        match self.scenario.faults[number].clone() {
            Fault::CrashHost { .. } | Fault::CrashCoordinator { .. } => {}
            Fault::Partition { host, .. } => {
                let hosts: Vec<usize> = match host {
                    Some(host) => vec![host],
                    None => (0..self.hosts.len()).collect(),
                };
                for host in hosts {
                    self.hosts[host].cut = begins;
                    if begins {
                        self.break_connection(host);
                    }
                }
            }
            Fault::Step { host, by, .. } => {
                self.hosts[host].offset = if begins { by } else { 0 };
                self.feed(host, Input::Timeout);
            }
            Fault::Full { host, .. } => self.hosts[host].disk.full = begins,
            Fault::LogFull { .. } => self.coordinator.full = begins,
            Fault::Slow { host, times, .. } => {
                self.hosts[host].slowness = if begins { times } else { 1 };
            }
            Fault::Fails { host, per_mille, .. } => {
                self.hosts[host].failing = if begins { per_mille } else { 0 };
            }
            Fault::WitnessGone { witness, .. } => {
                if let Some(watcher) = self.watchers.get_mut(witness) {
                    watcher.gone = begins;
                }
            }
            Fault::Dies { host, .. } => {
                if let Some(process) = self.hosts[host].process {
                    self.exited(host, process.running);
                }
            }
            Fault::Inhibited { host, .. } => {
                let reasons =
                    if begins { vec!["somebody is at work".to_owned()] } else { Vec::new() };
                self.hosts[host].inhibitors = reasons;
                self.look(host);
            }
        }
    }

    /// From now on nothing goes wrong, and what is down comes up.
    fn calm(&mut self) {
        self.calm = true;
        self.scenario.network =
            super::scenario::Weather { lost: 0, twice: 0, late: 0, breaks: 0, mixed_up: 0 };
        self.coordinator.planned.clear();
        for host in &mut self.hosts {
            host.points.planned.clear();
        }
        for number in 0..self.scenario.faults.len() {
            self.fault(number, false);
        }
        self.after(0, Event::BootCoordinator);
        for host in 0..self.hosts.len() {
            self.after(0, Event::BootHost(host));
        }
    }

    fn coordinator_gone(&mut self, down: Instant) {
        self.transcript.line(self.now, "the coordinator is gone");
        self.coordinator.life = None;
        self.learn();
        for host in 0..self.hosts.len() {
            self.break_connection(host);
        }
        self.after(down, Event::BootCoordinator);
    }

    // ---- the network ----

    fn latency(&mut self) -> Instant {
        if self.random.chance(self.scenario.network.late) {
            return self.random.between(500, 8000);
        }
        self.random.between(2, 40)
    }

    fn reachable(&self, host: usize) -> bool {
        !self.hosts[host].cut && self.coordinator.life.is_some()
    }

    /// A connection is lost: each side notices in its time.
    fn break_connection(&mut self, host: usize) {
        let id = self.hosts[host].key_id();
        let Some(life) = &mut self.hosts[host].life else { return };
        if !life.half.connected {
            return;
        }
        let number = life.number;
        let stream = life.half.stream.take();
        life.half.connected = false;
        if let Some(stream) = stream {
            self.coordinator.close(&id, stream, self.now);
            self.poke();
        }
        self.after(NOTICED, Event::Lost(host, number));
    }

    fn lost(&mut self, host: usize, number: u64) {
        if self.life(host, number).is_none() {
            return;
        }
        self.feed(host, Input::Connected(false));
        if self.life(host, number).is_some() {
            let wait = self.random.between(300, 2000);
            self.after(wait, Event::Connect(host, number));
        }
    }

    fn connect(&mut self, host: usize, number: u64) {
        let reachable = self.reachable(host);
        let Some(life) = self.life(host, number) else { return };
        if life.half.connected || !life.half.welcomed {
            return;
        }
        if !reachable {
            let wait = self.random.between(500, 3000);
            return self.after(wait, Event::Connect(host, number));
        }
        life.half.connected = true;
        self.feed(host, Input::Connected(true));
        self.send_up(host, Up::Open);
        self.after(50, Event::Tick(host, number));
    }

    /// What was not answered is asked again.
    fn tick(&mut self, host: usize, number: u64) {
        let Some(life) = self.life(host, number) else { return };
        if !life.half.connected {
            return;
        }
        let open = life.half.stream.is_some();
        let known = life.half.known;
        let first = life.half.appends.front().cloned();
        life.half.appends.rotate_left(usize::from(life.half.appends.len() > 1));
        if let Some((id, envelope)) = first {
            self.send_up(host, Up::Append { id, envelope, known });
        }
        if !open {
            self.send_up(host, Up::Open);
        }
        self.after(2000, Event::Tick(host, number));
    }

    pub(super) fn send_up(&mut self, host: usize, up: Up) {
        let Some(life) = &self.hosts[host].life else { return };
        if !life.half.connected {
            return;
        }
        let number = life.number;
        if self.random.chance(self.scenario.network.breaks) {
            return self.break_connection(host);
        }
        let ordered = matches!(up, Up::Report(_) | Up::Open);
        if !ordered && self.random.chance(self.scenario.network.lost) {
            return;
        }
        let mut at = self.now + self.latency();
        if ordered && let Some(life) = &mut self.hosts[host].life {
            at = at.max(life.half.last_up);
            life.half.last_up = at;
        }
        if !ordered && self.random.chance(self.scenario.network.twice) {
            let again = at + self.latency();
            self.at(again, Event::Up(host, number, up.clone()));
        }
        self.at(at, Event::Up(host, number, up));
    }

    fn send_down(&mut self, host: usize, frame: ToApplier) {
        let Some(life) = &self.hosts[host].life else { return };
        let number = life.number;
        if !life.half.connected || self.random.chance(self.scenario.network.lost) {
            return;
        }
        let mut at = self.now + self.latency();
        let again = self.random.chance(self.scenario.network.twice);
        let directive = matches!(frame, ToApplier::Directive(_));
        if directive && let Some(life) = &mut self.hosts[host].life {
            at = at.max(life.half.last_down);
            life.half.last_down = at;
        }
        if again {
            let later = at + self.random.between(1, 30_000);
            self.at(later, Event::Down(host, number, Box::new(frame.clone())));
        }
        self.at(at, Event::Down(host, number, Box::new(frame)));
    }

    /// A message has reached the coordinator.
    fn up(&mut self, host: usize, number: u64, up: Up) {
        let wall = self.wall();
        let key = self.hosts[host].transport_key().public();
        let peer = self.coordinator.peer(&key);
        match up {
            Up::Open => {
                let Some(Peer::Host(id)) = peer else { return };
                let Some(stream) = self.coordinator.open(id, self.now) else { return };
                let Some(life) = self.life(host, number).filter(|it| it.half.connected) else {
                    return self.coordinator.close(&id, stream, self.now);
                };
                life.half.stream = Some(stream);
                if let Some(report) = life.half.report.clone() {
                    self.send_up(host, Up::Report(Box::new(report)));
                }
                self.poke();
            }
            Up::Report(report) => {
                let stream = self.life(host, number).and_then(|it| it.half.stream);
                if let (Some(stream), Some(Peer::Host(id))) = (stream, peer) {
                    self.coordinator.report(id, stream, *report, (self.now, wall));
                    self.poke();
                }
            }
            Up::Clearance { order, phase, nonce, known } => {
                let Some(Peer::Host(id)) = peer else { return };
                let asked = Asked { turn: Turn { host: id, order }, phase, nonce, known };
                let answer = match self.coordinator.clear(&asked, self.now, wall) {
                    Answer::Given(mut answer) => {
                        self.witnessed(&asked, &mut answer);
                        self.referee.cleared(self.now, &asked, &answer, &self.scenario);
                        self.old_answers.push(answer.clone());
                        Ok(answer)
                    }
                    Answer::Refused(refusal) => Err(refusal),
                    Answer::Failed | Answer::Gone(_) => return,
                };
                self.poke();
                if let Ok(answer) = &answer
                    && self.random.chance(self.scenario.network.mixed_up)
                {
                    return self.withhold(host, number, (order, phase, answer.clone()));
                }
                let answer = self.mixed_up(answer);
                self.send_down(host, ToApplier::Clearance { nonce, answer });
            }
            Up::Append { id, envelope, known } => {
                let answer = self.coordinator.append(&envelope, &key, self.now, wall);
                self.learn();
                match answer {
                    Answer::Given(receipt) => {
                        self.referee.acknowledged(id, receipt.index);
                        let consistency = self.coordinator.consistency(known);
                        self.poke();
                        self.send_down(host, ToApplier::Logged { id, receipt, consistency });
                    }
                    Answer::Refused(refusal) => {
                        self.send_down(host, ToApplier::NotLogged { id, refusal });
                    }
                    Answer::Failed => {}
                    Answer::Gone(down) => self.coordinator_gone(down),
                }
            }
        }
    }

    /// The network half may give an applier an answer that was for another question.
    fn mixed_up(
        &mut self,
        answer: Result<ClearanceAnswer, Refusal>,
    ) -> Result<ClearanceAnswer, Refusal> {
        if self.old_answers.is_empty() || !self.random.chance(self.scenario.network.mixed_up) {
            return answer;
        }
        let newest = self.old_answers.len().saturating_sub(8);
        let old = self.random.index(self.old_answers.len() - newest) + newest;
        Ok(self.old_answers[old].clone())
    }

    /// The network half keeps an answer, and makes the applier ask anew: it says that the coordinator was
    /// lost and is there again.
    fn withhold(&mut self, host: usize, number: u64, answer: (Digest, Phase, ClearanceAnswer)) {
        let Some(life) = self.life(host, number) else { return };
        life.half.withheld = Some(answer);
        self.feed(host, Input::Connected(false));
        if self.life(host, number).is_some() {
            self.feed(host, Input::Connected(true));
        }
    }

    /// A message has reached an applier.
    fn down(&mut self, host: usize, frame: ToApplier) {
        if let ToApplier::Logged { id, .. } | ToApplier::NotLogged { id, .. } = &frame
            && let Some(life) = &mut self.hosts[host].life
        {
            let id = *id;
            life.half.appends.retain(|(waiting, _)| *waiting != id);
        }
        if let Ok(input) = Input::of_frame(frame) {
            self.feed(host, input);
        }
    }

    /// What an applier says to its network half.
    pub(super) fn said(&mut self, host: usize, frame: FromApplier) {
        let Some(life) = &mut self.hosts[host].life else { return };
        let number = life.number;
        match frame {
            FromApplier::Welcome { known, .. } => {
                life.half.known = life.half.known.max(known);
                life.half.welcomed = true;
                self.after(20, Event::Connect(host, number));
            }
            FromApplier::NotJoined => life.half.welcomed = true,
            FromApplier::Report(report) => {
                life.half.known = life.half.known.max(report.known);
                life.half.report = Some(report.clone());
                if life.half.stream.is_some() {
                    self.send_up(host, Up::Report(Box::new(report)));
                }
            }
            FromApplier::WantClearance { order, phase, nonce, known } => {
                life.half.known = life.half.known.max(known);
                self.referee.asked(host, order, phase, nonce);
                let kept = life.half.withheld.take();
                if let Some((_, _, answer)) = kept.filter(|it| (it.0, it.1) == (order, phase)) {
                    return self
                        .send_down(host, ToApplier::Clearance { nonce, answer: Ok(answer) });
                }
                self.send_up(host, Up::Clearance { order, phase, nonce, known });
            }
            FromApplier::Append { id, envelope, known } => {
                life.half.known = life.half.known.max(known);
                if life.half.appends.iter().all(|(waiting, _)| *waiting != id) {
                    life.half.appends.push_back((id, envelope.clone()));
                }
                let known = life.half.known;
                self.send_up(host, Up::Append { id, envelope, known });
            }
            FromApplier::Fetch { .. } | FromApplier::StopFetching { .. } => {}
        }
    }

    // ---- the coordinator ----

    /// The referee hears of every entry that has become durable.
    pub(super) fn learn(&mut self) {
        let durable = usize::try_from(self.coordinator.durable()).unwrap_or(usize::MAX);
        self.referee.learn(&self.coordinator.log.entries()[..durable], self.now);
    }

    /// Something may have made a round due.
    pub(super) fn poke(&mut self) {
        if let Some(round) = self.coordinator.life.as_ref().and_then(|life| life.round) {
            self.at(round, Event::Round);
        }
    }

    fn round(&mut self) {
        let due = self.coordinator.life.as_ref().and_then(|life| life.round);
        if due.is_none_or(|due| due > self.now) {
            return;
        }
        let wall = self.wall();
        let (told, turn_out) = self.coordinator.round(self.now, wall);
        self.referee.plans(self.now, wall, &mut self.coordinator);
        for (id, directive) in told {
            let host = self.hosts.iter().position(|host| host.key_id() == id);
            if let Some(host) = host {
                let word = match &directive {
                    Directive::Offer { .. } => "offer",
                    Directive::Stop { .. } => "stop",
                    Directive::Steps { .. } => "steps",
                };
                self.transcript
                    .line(self.now, &format!("{} is told: {word}", self.hosts[host].name));
                self.send_down(host, ToApplier::Directive(Box::new(directive)));
            }
        }
        for id in turn_out {
            if let Some(host) = self.hosts.iter().position(|host| host.key_id() == id) {
                self.break_connection(host);
            }
        }
        self.poke();
    }

    /// Takes a statement to the coordinator, as a person does.
    fn bring(&mut self, errand: Errand) {
        let wall = self.wall();
        let answer = match self.coordinator.life {
            None => Answer::Failed,
            Some(_) => self.coordinator.append(&errand.envelope, &errand.by, self.now, wall),
        };
        self.learn();
        match answer {
            Answer::Given(receipt) => {
                self.referee.acknowledged(errand.id, receipt.index);
                self.poke();
                self.brought(&errand);
            }
            Answer::Refused(refusal) => {
                self.transcript.line(self.now, &format!("refused: {} {refusal}", errand.what));
                self.again(errand);
            }
            Answer::Failed => self.again(errand),
            Answer::Gone(down) => {
                self.coordinator_gone(down);
                self.again(errand);
            }
        }
    }

    fn again(&mut self, errand: Errand) {
        const TRIES: u32 = 6;
        if errand.tries < TRIES {
            let wait = self.random.between(800, 3000);
            let errand = Errand { tries: errand.tries + 1, ..errand };
            self.after(wait, Event::Bring(Box::new(errand)));
        } else if !self.coordinator.log.entries().contains(&errand.envelope) {
            self.people.given_up.insert(errand.id);
            self.let_go(&errand.id);
        }
    }

    // ---- reading packages ----

    fn read(&mut self, host: usize, number: u64, order: Digest, package: Digest) {
        let wall = self.wall();
        let id = self.hosts[host].key_id();
        let permitted = if self.reachable(host) {
            Some(self.coordinator.may_fetch(&id, &package, wall))
        } else {
            None
        };
        let result = match permitted {
            None => {
                // It waits for the connection, until it is given up.
                return self.after(1000, Event::Read(host, number, order, package));
            }
            Some(Err(refusal)) => Err(refusal.to_string()),
            Some(Ok(())) => self.manifest(&package).map(Box::new),
        };
        if let Some(life) = self.life(host, number) {
            life.reading = None;
        }
        self.feed(host, Input::Read { application: name(APPLICATION), order, result });
    }

    fn manifest(&self, package: &Digest) -> Result<cutover_applier_core::Package, String> {
        let unknown = || Refusal::new(Code::SubjectUnknown, "no such package").to_string();
        let parcel = self.coordinator.packages.get(package).ok_or_else(unknown)?;
        let unread = Unread::of(*package, &parcel.index, &parcel.map)?;
        let pieces: Option<Vec<Vec<u8>>> =
            unread.pieces().iter().map(|(piece, _)| parcel.piece(piece)).collect();
        unread.read(&pieces.unwrap_or_default())
    }

    pub(super) fn life(&mut self, host: usize, number: u64) -> Option<&mut super::host::Life> {
        self.hosts[host].life.as_mut().filter(|life| life.number == number)
    }

    pub(super) fn answer(&mut self, host: usize, effect: EffectId, answer: WorkAnswer) {
        self.feed(host, Input::Answered { application: name(APPLICATION), effect, answer });
    }
}
