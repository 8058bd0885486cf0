//! Strategies drawn from a seed: an attacker that serves well enough to get somewhere, and deviates as often
//! as its seed says; people who go on saying things; hosts that fail.

mod says;

use std::time::Duration;

use cutover_applier_core::Input;
use cutover_shared::digest::Digest;
use cutover_shared::evidence::Evidence;
use cutover_shared::protocol::{ClearanceAnswer, Directive, FromApplier};
use cutover_shared::statement::Phase;

use super::budget::Owned;
use super::run::{Run, Service};
use super::scene::{CANARY, HOSTS, SECOND, Scene, THIRD};
use super::truth::{View, Wanted};
use crate::world::Random;

/// Steps of a run. Sized so that a rollout of three hosts fits, and most deviations with it.
const STEPS: u32 = 160;

/// What the attacker has seen go by, to be said again.
#[derive(Debug, Clone)]
enum Kept {
    Offer(Digest, Evidence),
    Clearance(ClearanceAnswer),
}

/// An attacker with a seed.
#[derive(Debug)]
struct Attacker<'a> {
    scene: &'a Scene,
    owned: Owned,
    random: Random,
    /// How often in a thousand it deviates.
    deviates: u64,
    /// Logs that it shows.
    views: Vec<View>,
    kept: Vec<Kept>,
}

/// A run with a strategy.
pub fn run(scene: &Scene, owned: Owned, seed: u64) -> Run {
    let mut random = Random::new(seed);
    let deviates = random.pick(&[20, 80, 200, 500]);
    let mut run = if random.chance(800) { scene.at_window(seed) } else { scene.run(seed) };
    let mut attacker =
        Attacker { scene, owned, random, deviates, views: Vec::new(), kept: Vec::new() };
    for _ in 0..STEPS {
        attacker.step(&mut run);
    }
    run.advance(scene.window.end.since(run.wall()) + Duration::from_secs(1));
    run
}

impl Attacker<'_> {
    fn step(&mut self, run: &mut Run) {
        match self.random.below(100) {
            0..30 => run.advance(Duration::from_millis(self.random.between(200, 12_000))),
            30..34 => run.advance(Duration::from_secs(self.random.between(20, 400))),
            34..62 => self.offer(run),
            62..84 => self.serve(run),
            84..89 => self.people(run),
            89..91 => self.stop(run),
            91..93 => self.nature(run),
            93..95 => self.bytes(run),
            95..97 => self.show(run),
            _ => self.again(run),
        }
    }

    fn deviates(&mut self) -> bool {
        self.random.chance(self.deviates)
    }

    fn host(&mut self) -> usize {
        self.random.pick(&[CANARY, CANARY, SECOND, SECOND, THIRD, THIRD, 0])
    }

    fn order(&mut self, run: &Run) -> Digest {
        let scene = self.scene;
        if !self.deviates() {
            return scene.due.booking;
        }
        let [one, two] = scene.iterations;
        let known = [
            scene.due.booking,
            scene.missed.booking,
            scene.unvoted.booking,
            scene.unstaged.booking,
            scene.unreleased.booking,
            one.booking,
            two.booking,
            scene.first.booking,
            scene.due.release,
        ];
        if self.random.chance(600) {
            return self.random.pick(&known);
        }
        self.random.pick(&run.truth.order)
    }

    /// The log to show: the true one, or one of the attacker's.
    fn view(&mut self) -> Option<usize> {
        if self.owned == Owned::Network || self.views.is_empty() || self.random.chance(500) {
            return None;
        }
        Some(self.random.index(self.views.len()))
    }

    fn offer(&mut self, run: &mut Run) {
        let (host, order) = (self.host(), self.order(run));
        if self.owned == Owned::Network && !run.honest_offer(host, order) {
            // An honest coordinator does not send that; only what it sent once can be said again.
            return self.again(run);
        }
        let view = self.view();
        let mut evidence = run.evidence(host, order, view.map(|view| &self.views[view]));
        self.kept.push(Kept::Offer(order, evidence.clone()));
        if self.deviates() {
            self.tamper(&mut evidence);
        }
        run.feed(host, Input::Directive(Box::new(Directive::Offer { order, evidence })));
    }

    fn stop(&mut self, run: &mut Run) {
        let host = self.host();
        let order = run.hosts[host].task().map_or(self.scene.due.booking, |task| task.booking);
        let view = self.view();
        let mut evidence = run.evidence(host, order, view.map(|view| &self.views[view]));
        if self.deviates() {
            self.tamper(&mut evidence);
        }
        run.feed(host, Input::Directive(Box::new(Directive::Stop { order, evidence })));
    }

    /// Changes evidence somewhere.
    fn tamper(&mut self, evidence: &mut Evidence) {
        if evidence.entries.is_empty() {
            return;
        }
        let place = self.random.index(evidence.entries.len());
        match self.random.below(7) {
            0 | 1 => drop(evidence.entries.remove(place)),
            2 => evidence.entries.truncate(place),
            3 => {
                let entry = &mut evidence.entries[place];
                let byte = self.random.index(entry.envelope.len().max(1));
                if let Some(byte) = entry.envelope.get_mut(byte) {
                    *byte ^= 1;
                }
            }
            4 => {
                let other = self.random.index(evidence.entries.len());
                evidence.entries.swap(place, other);
            }
            5 => evidence.entries[place].index += 1,
            _ => evidence.consistency.clear(),
        }
    }

    /// Answers what a host has asked, more or less.
    fn serve(&mut self, run: &mut Run) {
        let host = self.host();
        for frame in std::mem::take(&mut run.hosts[host].outbox) {
            if self.deviates() {
                self.answer_badly(run, host, &frame);
                continue;
            }
            let input = self.with_service(host, frame, run);
            if let Some(input) = input {
                if let Input::Clearance { answer: Ok(answer), .. } = &input {
                    self.kept.push(Kept::Clearance(answer.clone()));
                }
                run.feed(host, input);
            }
        }
    }

    fn with_service(&mut self, host: usize, frame: FromApplier, run: &mut Run) -> Option<Input> {
        let view = self.view();
        if self.owned.faces_witnesses() {
            run.witnesses.through = self.random.pick(&[None, Some(0), Some(1)]);
        }
        let mut service = match (self.owned, view) {
            (Owned::Network, _) => Service::Honest,
            (_, Some(view)) => Service::Shown(&mut self.views[view]),
            (_, None) => Service::Willing,
        };
        run.reply(host, frame, &mut service)
    }

    /// Withholds, delays, or answers with something else.
    fn answer_badly(&mut self, run: &mut Run, host: usize, frame: &FromApplier) {
        let FromApplier::WantClearance { order, phase, nonce, known } = frame else { return };
        let wanted = Wanted { order: *order, phase: *phase, nonce: *nonce, known: *known };
        let answer = if self.owned == Owned::Network {
            let answer = run.honest_clearance(host, &wanted);
            run.advance(Duration::from_secs(self.random.between(1, 90)));
            answer
        } else {
            Ok(self.lie(run, host, wanted))
        };
        run.feed(host, Input::Clearance { nonce: *nonce, answer });
    }

    /// A clearance that is not as it should be.
    fn lie(&mut self, run: &mut Run, host: usize, wanted: Wanted) -> ClearanceAnswer {
        let view = self.view();
        let view = view.map_or(&run.truth.view, |view| &self.views[view]);
        let (subject, now) = (run.hosts[host].subject(), run.wall());
        let witnesses = run.witnesses.clear(view, &subject, &wanted, now);
        let mut clearance = view.clearance(&subject, &wanted, now);
        match self.random.below(6) {
            0 => clearance.time = clearance.time + Duration::from_millis(self.random.below(9000)),
            1 => clearance.time = clearance.time - Duration::from_millis(self.random.below(9000)),
            2 => clearance.nonce = wanted.order,
            3 => {
                clearance.phase = match wanted.phase {
                    Phase::Start => Phase::Activate,
                    Phase::Activate => Phase::Start,
                };
            }
            4 => clearance.checkpoint = run.truth.fork(self.random.between(1, 20)).log.head(),
            _ => clearance.order = self.scene.unvoted.booking,
        }
        ClearanceAnswer { witnesses, ..view.answer(clearance, wanted.known, now) }
    }

    /// Hosts crash, connections break, checks fail.
    fn nature(&mut self, run: &mut Run) {
        let host = self.host();
        let now = run.now();
        match self.random.below(4) {
            0 => run.hosts[host].restart(now),
            1 => run.hosts[host].connect(now),
            2 => run.hosts[host].healthy = false,
            _ => run.hosts[host].healthy = true,
        }
        run.look();
    }

    /// Bytes are withheld, changed, or served again.
    fn bytes(&mut self, run: &mut Run) {
        let host = self.host();
        let package = self.scene.due.package;
        let mut parcel = run.parcels[&package].clone();
        match self.random.below(5) {
            0 => drop(run.hosts[host].supply.remove(&package)),
            1 => {
                let byte = self.random.index(parcel.pack.len());
                parcel.pack[byte] ^= 1;
                run.hosts[host].supply.insert(package, parcel);
            }
            2 => {
                let other = run.parcels[&self.scene.unvoted.package].clone();
                run.hosts[host].supply.insert(package, other);
            }
            _ => drop(run.hosts[host].supply.insert(package, parcel)),
        }
        run.look();
    }

    /// Makes another log to show: the true one up to a place, and then what it likes.
    fn show(&mut self, run: &mut Run) {
        let size = run.truth.view.log.size();
        let from = size - self.random.below(6).min(size - 1);
        let mut view = run.truth.fork(from);
        for id in &run.truth.order {
            let said = &run.truth.said[id];
            let later = said.index.is_none_or(|index| index >= from);
            if later && self.random.chance(600) {
                view.push(&said.envelope);
            }
        }
        if self.random.chance(200) {
            let old = self.random.pick(&run.truth.order);
            view.push(&run.truth.said[&old].envelope);
        }
        self.views.push(view);
        if self.views.len() > 4 {
            self.views.remove(0);
        }
    }

    /// Says again what was said before, to anybody.
    fn again(&mut self, run: &mut Run) {
        if self.kept.is_empty() {
            return;
        }
        let host = self.host();
        let place = self.random.index(self.kept.len());
        let asked = run.hosts[host].outbox.iter().rev().find_map(|frame| match frame {
            FromApplier::WantClearance { nonce, .. } => Some(*nonce),
            FromApplier::Welcome { .. }
            | FromApplier::NotJoined
            | FromApplier::Report(_)
            | FromApplier::Fetch { .. }
            | FromApplier::StopFetching { .. }
            | FromApplier::Append { .. } => None,
        });
        let input = match (self.kept[place].clone(), asked) {
            (Kept::Offer(order, evidence), _) => {
                Input::Directive(Box::new(Directive::Offer { order, evidence }))
            }
            (Kept::Clearance(answer), Some(nonce)) => {
                Input::Clearance { nonce, answer: Ok(answer) }
            }
            (Kept::Clearance(_), None) => return,
        };
        run.feed(host, input);
    }

    /// Somebody says something, and whoever's key is owned says anything.
    fn people(&mut self, run: &mut Run) {
        let host = HOSTS[CANARY].0;
        match self.owned {
            Owned::CoordinatorAndHost if self.random.chance(500) => {
                says::outcome(&mut self.random, run, self.scene, host);
            }
            Owned::CoordinatorAndPerson(who) if self.random.chance(500) => {
                says::anything(&mut self.random, run, self.scene, who);
            }
            Owned::Nothing
            | Owned::Network
            | Owned::Coordinator
            | Owned::CoordinatorAndQuorum
            | Owned::CoordinatorAndWitness
            | Owned::CoordinatorAndHost
            | Owned::CoordinatorAndPerson(_) => {
                says::somebody(&mut self.random, run, self.scene);
            }
        }
    }
}
