//! A run: hosts, the time, and an attacker's means of reaching them.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_applier_core::Input;
use cutover_coordinator_core::{Activations, Asked, Folded, Register, Rules, Turn, clear};
use cutover_machine::Now;
use cutover_shared::digest::Digest;
use cutover_shared::evidence::Evidence;
use cutover_shared::protocol::{ClearanceAnswer, Directive, FromApplier};
use cutover_shared::refusal::Refusal;
use cutover_shared::rollout::Standing;
use cutover_shared::time::Time;
use cutover_shared::turn;

use super::budget::Gain;
use super::epoch;
use super::referee::Referee;
use super::scene::{CANARY, Scene};
use super::target::{Target, clocks};
use super::truth::{Truth, View, Wanted};
use super::witnesses::Witnesses;
use crate::world::{LOG_KEY, Parcel, key};

/// The shortest step of the clock.
const TICK: Duration = Duration::from_millis(1);

/// Whose word a host gets.
#[derive(Debug)]
pub enum Service<'a> {
    /// An honest coordinator's, over a network half that passes everything on.
    Honest,
    /// An owned coordinator's, which clears everything as of the true log.
    Willing,
    /// An owned coordinator's, which clears everything as of a log of its own.
    Shown(&'a mut View),
    /// An owned coordinator's, which clears everything and logs no outcome.
    Hiding(&'a mut View),
}

/// Hosts under attack.
#[derive(Debug)]
pub struct Run {
    /// What was truly said.
    pub truth: Truth,
    /// The hosts.
    pub hosts: Vec<Target>,
    /// Every package.
    pub parcels: BTreeMap<Digest, Parcel>,
    /// Since the scene began.
    pub since: Duration,
    /// Who says what a deed is.
    pub referee: Referee,
    /// The log's witnesses, where they are demanded.
    pub witnesses: Witnesses,
    register: Register,
}

impl Run {
    /// A run with these hosts, so long after the scene began.
    pub fn new(truth: Truth, parcels: BTreeMap<Digest, Parcel>, since: Duration) -> Self {
        Self {
            truth,
            hosts: Vec::new(),
            parcels,
            since,
            referee: Referee::default(),
            witnesses: Witnesses::default(),
            register: Register::new(epoch(), Activations::default()),
        }
    }

    /// Both clocks of every host.
    pub fn now(&self) -> Now {
        clocks(self.since)
    }

    /// What the clock on the wall says.
    pub fn wall(&self) -> Time {
        self.now().wall
    }

    /// A host gets an input, and is fetched for.
    pub fn feed(&mut self, host: usize, input: Input) {
        let now = self.now();
        self.hosts[host].handle(input, now);
        self.look();
    }

    /// Hosts that wait for bytes look again; what they did is judged.
    pub fn look(&mut self) {
        let now = self.now();
        self.witnesses.hear(&self.truth, now.wall);
        for host in &mut self.hosts {
            host.fetch(now);
        }
        let deeds: Vec<_> = self.hosts.iter_mut().flat_map(|it| it.deeds.drain(..)).collect();
        for deed in deeds {
            self.referee.judge(&self.truth, &self.parcels, deed);
        }
        for host in &mut self.hosts {
            let late = host.task().is_some_and(|task| {
                task.window_end <= now.wall && task.kind == cutover_machine::Kind::Forward
            });
            let back = host.went_back.drain(..).map(|facts| (Gain::Repeat, facts));
            let late = late.then(|| (Gain::OutsideWindow, format!("{} is late", host.host)));
            self.referee.gained.extend(back.chain(late));
        }
    }

    /// Time passes, and hosts are woken when they want to be.
    pub fn advance(&mut self, by: Duration) {
        // Who has something to say hands it on now, not when a host wakes next.
        self.witnesses.hear(&self.truth, self.wall());
        let end = self.since + by;
        while self.since < end {
            let now = self.now();
            let wishes = self.hosts.iter().filter_map(|it| it.timeout(now));
            let next = wishes.min().unwrap_or(by).max(TICK);
            self.since = (self.since + next).min(end);
            let now = self.now();
            for host in &mut self.hosts {
                if host.timeout(now).is_some_and(|timeout| timeout.is_zero()) {
                    host.handle(Input::Timeout, now);
                }
            }
            self.look();
        }
    }

    /// Offers an order to a host, on the evidence of a log.
    pub fn offer(&mut self, host: usize, order: Digest, view: Option<&View>) {
        let evidence = self.evidence(host, order, view);
        self.feed(host, Input::Directive(Box::new(Directive::Offer { order, evidence })));
    }

    /// The evidence for an order as a log has it, for what a host knows.
    pub fn evidence(&self, host: usize, order: Digest, view: Option<&View>) -> Evidence {
        let view = view.unwrap_or(&self.truth.view);
        let target = &self.hosts[host];
        view.evidence(&order, &target.key_id(), target.knows(), self.wall())
    }

    /// Answers everything that a host has asked.
    pub fn serve(&mut self, host: usize, service: &mut Service<'_>) {
        // What is asked in answer to an answer is answered, too; never without end.
        for _ in 0..16 {
            let frames = std::mem::take(&mut self.hosts[host].outbox);
            if frames.is_empty() {
                return;
            }
            for frame in frames {
                if let Some(input) = self.reply(host, frame, service) {
                    self.feed(host, input);
                }
            }
        }
    }

    /// The answer to a frame, where one is due.
    pub fn reply(
        &mut self,
        host: usize,
        frame: FromApplier,
        service: &mut Service<'_>,
    ) -> Option<Input> {
        match frame {
            FromApplier::Append { id, envelope, known } => {
                self.logged(id, &envelope, known, service)
            }
            FromApplier::WantClearance { order, phase, nonce, known } => {
                let wanted = Wanted { order, phase, nonce, known };
                let answer = self.clearance(host, &wanted, service);
                Some(Input::Clearance { nonce, answer })
            }
            FromApplier::Welcome { .. }
            | FromApplier::NotJoined
            | FromApplier::Report(_)
            | FromApplier::Fetch { .. }
            | FromApplier::StopFetching { .. } => None,
        }
    }

    fn logged(
        &mut self,
        id: Digest,
        envelope: &[u8],
        known: u64,
        service: &mut Service<'_>,
    ) -> Option<Input> {
        let now = self.wall();
        self.truth.hear(envelope, now);
        let shown = match service {
            Service::Honest | Service::Willing => {
                self.truth.log(id);
                None
            }
            Service::Shown(view) => {
                if view.find(envelope).is_none() {
                    view.push(envelope);
                }
                Some(&**view)
            }
            Service::Hiding(_) => return None,
        };
        let view = shown.unwrap_or(&self.truth.view);
        let receipt = view.receipt(view.find(envelope)?, now);
        Some(Input::Logged { id, receipt, consistency: view.consistency(known) })
    }

    fn clearance(
        &mut self,
        host: usize,
        wanted: &Wanted,
        service: &mut Service<'_>,
    ) -> Result<ClearanceAnswer, Refusal> {
        let now = self.wall();
        let view = match service {
            Service::Honest => return self.honest_clearance(host, wanted),
            Service::Willing => &self.truth.view,
            Service::Shown(view) | Service::Hiding(view) => &**view,
        };
        let subject = self.hosts[host].subject();
        let mut answer = view.answer(view.clearance(&subject, wanted, now), wanted.known, now);
        self.witnesses.hear(&self.truth, now);
        answer.witnesses = self.witnesses.clear(view, &subject, wanted, now);
        Ok(answer)
    }

    /// Whether an honest coordinator would offer the order to the host now.
    pub fn honest_offer(&mut self, host: usize, order: Digest) -> bool {
        self.hear_reports();
        let now = self.wall();
        let (state, host) = (&self.truth.view.state, self.hosts[host].key_id());
        let fleet = self.register.fleet(now);
        let standing = turn::standing(state, fleet, &host, &order, now);
        state.rollback(&order).is_some() || standing == Some(Standing::Turn)
    }

    /// The coordinator hears what the hosts say of themselves.
    fn hear_reports(&mut self) {
        let now = self.wall();
        for target in &self.hosts {
            let id = target.key_id();
            let number = self.register.stream(&id).unwrap_or_else(|| self.register.open(id).0);
            if let Some(report) = target.report.clone() {
                self.register.report(id, number, report, now);
            }
        }
    }

    /// What the real coordinator's core says.
    pub fn honest_clearance(
        &mut self,
        host: usize,
        wanted: &Wanted,
    ) -> Result<ClearanceAnswer, Refusal> {
        let now = self.wall();
        self.hear_reports();
        let view = &self.truth.view;
        let folded = Folded { state: view.state.clone(), head: view.log.head() };
        let asked = Asked {
            turn: Turn { host: self.hosts[host].key_id(), order: wanted.order },
            phase: wanted.phase,
            nonce: wanted.nonce,
            known: wanted.known,
        };
        let cleared = clear(&Rules, &folded, &mut self.register, &asked, now)?;
        let answer = cleared.answer(&key(LOG_KEY), view.log.note(now), &view.log);
        let mut answer = answer.expect("the true log proves what it holds");
        let subject = self.hosts[host].subject();
        self.witnesses.hear(&self.truth, now);
        answer.witnesses = self.witnesses.clear(&self.truth.view, &subject, wanted, now);
        Ok(answer)
    }

    /// Codes of everything that was refused by anybody.
    pub fn refusals(&self) -> BTreeMap<String, u32> {
        let mut all = BTreeMap::new();
        for (code, count) in self.hosts.iter().flat_map(|host| &host.refusals) {
            *all.entry(code.clone()).or_default() += count;
        }
        all
    }

    /// Whether what is due has not been done on every host that it is for.
    pub fn is_delayed(&self, scene: &Scene) -> bool {
        let hosts = &self.hosts[CANARY..];
        !hosts.iter().all(|it| self.referee.has_committed(&it.host, scene.due.booking))
    }

    /// Offers an order to hosts and serves them until all have ended with it, or for so many rounds.
    pub fn carry(&mut self, hosts: &[usize], order: Digest, mut service: Service<'_>, rounds: u32) {
        for _ in 0..rounds {
            for &host in hosts {
                if self.hosts[host].task().is_none() {
                    let view = match &service {
                        Service::Honest | Service::Willing => None,
                        Service::Shown(view) | Service::Hiding(view) => Some(&**view),
                    };
                    let evidence = self.evidence(host, order, view);
                    let offer = Directive::Offer { order, evidence };
                    self.feed(host, Input::Directive(Box::new(offer)));
                }
                self.serve(host, &mut service);
            }
            self.advance(Duration::from_secs(6));
        }
        for &host in hosts {
            self.serve(host, &mut service);
        }
    }
}
