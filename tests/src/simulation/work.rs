//! What a host does: its applier's inputs and outputs, and the work on its disk.

use std::time::Duration;

use cutover_applier_core::{Answer, Input, Output, Outside, Running, Work};
use cutover_machine::{EffectId, Reading, Sample};
use cutover_shared::digest::Digest;

use super::disk::{Content, DiskLedger, SlotName, slot_name};
use super::fleet::{Event, Fleet};
use super::scenario::{Behaviour, Instant};
use super::{APPLICATION, epoch};
use crate::world::name;

/// The longest that an applier sleeps, as the real one does.
const LONGEST_SLEEP: Instant = 30_000;

impl Fleet {
    /// A host's applier starts.
    pub(super) fn boot(&mut self, host: usize) {
        if self.hosts[host].life.is_some() {
            return;
        }
        self.hosts[host].boot(self.now, epoch());
        self.look(host);
        let key = self.hosts[host].transport_key().public();
        self.feed(host, Input::Linked);
        self.feed(host, Input::Hello { transport_key: key });
    }

    /// An applier looks into its host's own directories.
    pub(super) fn look(&mut self, host: usize) {
        let inhibitors = self.hosts[host].inhibitors.clone();
        let join = self.hosts[host].join.clone();
        let taken = self.hosts[host].life.is_some();
        self.feed(host, Input::Looked { inhibitors, join, clock_accepted: false });
        if taken && self.hosts[host].life.is_some() {
            self.hosts[host].join = None;
        }
    }

    /// One input, and everything that comes of it.
    pub(super) fn feed(&mut self, host: usize, input: Input) {
        let at = &mut self.hosts[host];
        let now = at.now(self.now, epoch());
        let Some(life) = &mut at.life else { return };
        let mut ledger = DiskLedger { disk: &mut at.disk, points: &mut at.points };
        let mut outside = Outside {
            now,
            clock_synchronised: None,
            ledger: &mut ledger,
            nonces: &mut self.random,
        };
        life.core.handle(input, &mut outside);
        if self.crash_if_due(host) {
            return;
        }
        let number = self.hosts[host].lives;
        while let Some(output) = self.life(host, number).and_then(|life| life.core.poll_output()) {
            self.output(host, output);
        }
        self.sleep(host, number);
    }

    fn sleep(&mut self, host: usize, number: u64) {
        let now = self.hosts[host].now(self.now, epoch());
        let at = self.now;
        let Some(life) = self.life(host, number) else { return };
        let wait = life.core.poll_timeout(now).map_or(LONGEST_SLEEP, |wait| {
            u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(LONGEST_SLEEP)
        });
        // A timeout that is due at once is given at once, and never in the same instant for ever.
        let wake = at + wait.clamp(1, LONGEST_SLEEP);
        if life.wake != Some(wake) {
            life.wake = Some(wake);
            self.at(wake, Event::Wake(host, number));
        }
    }

    fn output(&mut self, host: usize, output: Output) {
        let number = self.hosts[host].lives;
        match output {
            Output::Say(frame) => self.said(host, frame),
            Output::Work { effect, work, .. } => self.begin_work(host, effect, work),
            Output::Abort { effect, of, .. } => {
                if let Some(life) = self.life(host, number) {
                    life.work.remove(&of);
                    life.work.insert(effect, None);
                }
                self.after(20, Event::Done(host, number, effect));
            }
            Output::Read { order, package, .. } => {
                if let Some(life) = self.life(host, number) {
                    life.reading = Some(order);
                }
                let wait = self.random.between(50, 600);
                self.after(wait, Event::Read(host, number, order, package));
            }
            Output::GiveUpReading { .. } => {
                if let Some(life) = self.life(host, number) {
                    life.reading = None;
                }
            }
            Output::Watch { running, .. } => {
                let runs = self.hosts[host].process.is_some_and(|it| it.running == running);
                if !runs {
                    self.after(1, Event::Exited(host, running));
                }
            }
            Output::Restart { .. } => {
                let running = self.hosts[host].disk.link;
                let result = match running {
                    Some(slot) => Ok(Some(self.start(host, slot))),
                    None => Err("nothing is there to be started".to_owned()),
                };
                self.feed(host, Input::Restarted { application: name(APPLICATION), result });
            }
            Output::Tidy { keep, .. } => {
                let keep: Vec<SlotName> = keep.iter().map(slot_name).collect();
                self.hosts[host].disk.slots.retain(|slot, _| keep.contains(slot));
            }
            Output::Sweep { application, number, .. } => {
                let result = Ok(Vec::new());
                self.feed(host, Input::Swept { application, number, result });
            }
            Output::Status(_) | Output::Reply { .. } => {}
            Output::Note(note) => {
                let line = format!(
                    "{}: {:?} {} {}",
                    self.hosts[host].name, note.level, note.text, note.detail
                );
                self.transcript.line(self.now, &line);
                self.referee.note(self.now, &self.hosts[host], &note);
            }
        }
    }

    fn begin_work(&mut self, host: usize, effect: EffectId, work: Work) {
        self.referee.begins(self.now, &self.hosts[host], &work, &self.scenario);
        if self.hosts[host].points.pass() {
            self.crash_if_due(host);
            return;
        }
        if let Work::Fetch { slot, .. } | Work::Copy { slot, .. } = &work {
            self.hosts[host].disk.slots.insert(slot_name(slot), Content::Partial);
        }
        let wait = match &work {
            Work::Fetch { .. } => self.random.between(300, 2500),
            Work::Copy { .. } => self.random.between(100, 900),
            Work::Stop | Work::Start | Work::Settle { .. } => self.random.between(50, 700),
            Work::Check { .. } => self.random.between(10, 200),
            Work::Preflight { .. }
            | Work::Hook { .. }
            | Work::Step { .. }
            | Work::Switch { .. }
            | Work::CleanUp { .. } => self.random.between(5, 60),
        };
        let wait = wait * self.hosts[host].slowness;
        let number = self.hosts[host].lives;
        if let Some(life) = self.life(host, number) {
            life.work.insert(effect, Some(work));
        }
        self.after(wait, Event::Done(host, number, effect));
    }

    /// A piece of work has come to its end.
    pub(super) fn done(&mut self, host: usize, effect: EffectId) {
        let number = self.hosts[host].lives;
        let Some(work) = self.life(host, number).and_then(|life| life.work.remove(&effect)) else {
            return;
        };
        if let Some(Work::Fetch { slot, .. }) = &work {
            match self.permitted(host, &slot.package) {
                None => {
                    // No bytes come; it goes on when some do, unless it is given up.
                    if let Some(life) = self.life(host, number) {
                        life.work.insert(effect, work);
                    }
                    return self.after(1000, Event::Done(host, number, effect));
                }
                Some(Err(why)) => return self.answer(host, effect, Answer::Failed(why)),
                Some(Ok(())) => {}
            }
        }
        let answer = match &work {
            None => Answer::Done,
            Some(work) if self.fails(host, work) => {
                Answer::Failed("it does not work just now".to_owned())
            }
            Some(work) => self.carry_out(host, work),
        };
        if let Some(work) = &work {
            self.referee.ends(self.now, &self.hosts[host], work, &answer, &self.scenario);
        }
        if self.hosts[host].points.pass() {
            self.crash_if_due(host);
            return;
        }
        self.answer(host, effect, answer);
    }

    /// Whether bytes of a package come now; nothing when there is nobody to ask.
    fn permitted(&mut self, host: usize, package: &Digest) -> Option<Result<(), String>> {
        if self.hosts[host].cut || self.coordinator.life.is_none() {
            return None;
        }
        let id = self.hosts[host].key_id();
        let wall = self.wall();
        Some(self.coordinator.may_fetch(&id, package, wall).map_err(|refusal| refusal.to_string()))
    }

    fn fails(&mut self, host: usize, work: &Work) -> bool {
        let can = match work {
            Work::Fetch { .. }
            | Work::Copy { .. }
            | Work::Hook { .. }
            | Work::Step { .. }
            | Work::Stop
            | Work::Switch { .. }
            | Work::Start
            | Work::Settle { .. }
            | Work::CleanUp { .. } => true,
            Work::Preflight { .. } | Work::Check { .. } => false,
        };
        can && self.random.chance(self.hosts[host].failing)
    }

    fn carry_out(&mut self, host: usize, work: &Work) -> Answer {
        let full = self.hosts[host].disk.full;
        let disk = &mut self.hosts[host].disk;
        match work {
            Work::Fetch { slot, .. } | Work::Copy { slot, .. } if full => {
                disk.slots.insert(slot_name(slot), Content::Partial);
                Answer::Failed("no space left on device".to_owned())
            }
            Work::Fetch { slot, .. } => {
                disk.slots.insert(slot_name(slot), Content::Whole);
                Answer::Done
            }
            Work::Copy { slot, sources } => {
                let whole = |source: &SlotName| {
                    source.1 == slot.package && disk.slots.get(source) == Some(&Content::Whole)
                };
                if sources.iter().map(slot_name).any(|source| whole(&source)) {
                    disk.slots.insert(slot_name(slot), Content::Whole);
                    return Answer::Done;
                }
                Answer::Failed("the release is not on this host any longer".to_owned())
            }
            Work::Preflight { .. } if full => Answer::Blocked("the disk is full".to_owned()),
            Work::Preflight { .. } | Work::Hook { .. } | Work::Step { .. } => Answer::Done,
            Work::Stop => {
                self.hosts[host].process = None;
                Answer::Done
            }
            Work::Switch { to } => {
                disk.link = to.as_ref().map(slot_name);
                Answer::Done
            }
            Work::Start => match disk.link {
                Some(slot) => Answer::Started(self.start(host, slot)),
                None => Answer::Failed("there is nothing to start".to_owned()),
            },
            Work::Check { slot } => Answer::Sample(self.sample(host, slot_name(slot))),
            Work::CleanUp { slot } => {
                disk.slots.remove(&slot_name(slot));
                Answer::Done
            }
            Work::Settle { slot: None } => {
                disk.link = None;
                self.hosts[host].process = None;
                Answer::Done
            }
            Work::Settle { slot: Some(slot) } => {
                let slot = slot_name(slot);
                if disk.slots.get(&slot) != Some(&Content::Whole) {
                    return Answer::Failed("the committed release is gone".to_owned());
                }
                disk.link = Some(slot);
                if self.hosts[host].process.is_some_and(|it| it.slot != slot) {
                    self.hosts[host].process = None;
                }
                Answer::Started(self.start(host, slot))
            }
        }
    }

    fn start(&mut self, host: usize, slot: SlotName) -> Running {
        let ran = self.hosts[host].process.is_some();
        let running = self.hosts[host].start(slot, self.now);
        if !ran && let Some(Behaviour::Dies(after)) = self.people.behaviour(&slot.1) {
            self.after(after, Event::Exited(host, running));
        }
        running
    }

    fn sample(&mut self, host: usize, slot: SlotName) -> Sample {
        let behaviour = self.people.behaviour(&slot.1).unwrap_or(Behaviour::Good);
        let at = self.hosts[host].now(self.now, epoch()).wall;
        let process = self.hosts[host].process.as_mut().filter(|it| it.slot == slot);
        let healthy = process.is_some_and(|process| {
            process.answered += 1;
            match behaviour {
                Behaviour::Good | Behaviour::Dies(_) => true,
                Behaviour::Bad => false,
                Behaviour::BadOn(bad) => bad != host,
                Behaviour::BadBehind(last) => host <= last,
                Behaviour::Flaps(rounds) => process.answered <= rounds,
            }
        });
        let reading = Reading {
            check: "answers".to_owned(),
            healthy,
            detail: if healthy { "it answers" } else { "it does not answer" }.to_owned(),
            took: Duration::from_millis(3),
        };
        Sample { at, readings: vec![reading] }
    }

    /// What ran has ended by itself.
    pub(super) fn exited(&mut self, host: usize, running: Running) {
        if self.hosts[host].process.is_some_and(|it| it.running == running) {
            self.hosts[host].process = None;
        }
        self.feed(host, Input::Exited { application: name(APPLICATION), running });
    }

    /// The host crashes, if a crash point has said so.
    fn crash_if_due(&mut self, host: usize) -> bool {
        let Some((power, down)) = self.hosts[host].points.due.take() else { return false };
        let word = if power { "loses power" } else { "has its applier killed" };
        self.transcript.line(self.now, &format!("{} {word}", self.hosts[host].name));
        // What was being done may be done, or not.
        let life = self.hosts[host].life.take();
        let work: Vec<_> = life.into_iter().flat_map(|life| life.work.into_values()).collect();
        self.retire_connection(host);
        for work in work {
            let half_done = self.random.chance(500);
            if let Some(work) = work.filter(|_| half_done)
                && !matches!(work, Work::Fetch { .. } | Work::Check { .. })
            {
                self.carry_out(host, &work);
            }
        }
        let at = &mut self.hosts[host];
        if power {
            at.process = None;
            at.booted = self.now + down;
            // What was not synced is gone, or is not.
            let lost = self.random.chance(500);
            at.disk.slots.retain(|_, content| *content == Content::Whole || !lost);
        }
        self.after(down, Event::BootHost(host));
        true
    }

    /// The connection of an applier that is gone.
    pub(super) fn retire_connection(&mut self, host: usize) {
        let id = self.hosts[host].key_id();
        if let Some(stream) = self.coordinator.stream(&id) {
            self.coordinator.close(&id, stream, self.now);
            self.poke();
        }
    }
}
