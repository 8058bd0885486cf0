//! The coordinator of a run: the real core, driven as the server drives it, on a disk of ours.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_coordinator_core::{
    Activations, Asked, Brought, Command, Conduct as _, Folded, Peer, Planner, Proofs as _,
    Register, Rules, Selection, Situation, Tell, Turn, brought_again, clear,
};
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::fold::State;
use cutover_shared::key::{KeyId, PublicKey};
use cutover_shared::log::TreeHead;
use cutover_shared::package::check::Checked;
use cutover_shared::policy::LogKey;
use cutover_shared::protocol::{ClearanceAnswer, Directive, HostReport, Receipt};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::rollout;
use cutover_shared::time::Time;

use crate::world::{LOG_KEY, MemoryLog, ORIGIN, Parcel, key, note};

/// The coordinator: a disk, and a process while it runs.
#[derive(Debug, Default)]
pub(super) struct Coordinator {
    /// Everything that was written; on a crash what is not durable is gone.
    pub(super) log: MemoryLog,
    durable: u64,
    /// The file of who was cleared to activate: written whole, and synced.
    activations: Activations,
    pub(super) full: bool,
    pub(super) packages: BTreeMap<Digest, Parcel>,
    pub(super) life: Option<Life>,
    passed: u32,
    /// Crash points that will be its last: which, and for how long it is down then.
    pub(super) planned: Vec<(u32, u64)>,
}

/// A process of it.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) folded: Folded,
    pub(super) register: Register,
    planner: Planner,
    ids: BTreeMap<Digest, u64>,
    /// When the next round is due.
    pub(super) round: Option<u64>,
    began: u64,
}

/// How a request ended.
pub(super) enum Answer<T> {
    /// With an answer.
    Given(T),
    /// With a refusal.
    Refused(Refusal),
    /// It failed, and nothing was done.
    Failed,
    /// The coordinator is gone; for how long.
    Gone(u64),
}

impl Coordinator {
    /// It starts: the log is what the disk has, and is folded anew.
    pub(super) fn boot(&mut self, now: u64, wall: Time) {
        self.log.truncate(self.durable);
        let mut folded = Folded { state: State::empty(), head: TreeHead::empty() };
        let mut ids = BTreeMap::new();
        for (index, entry) in (0..).zip(self.log.entries()) {
            // What has no effect has none again.
            let _ = folded.state.apply(index, entry);
            if let Ok(envelope) = Envelope::parse(entry) {
                ids.insert(envelope.id(), index);
            }
        }
        folded.head = self.log.head();
        self.life = Some(Life {
            folded,
            register: Register::new(wall, self.activations.clone()),
            planner: Planner::default(),
            ids,
            round: Some(now),
            began: now,
        });
    }

    /// Begins a log with a policy, before anything else.
    pub(super) fn found(&mut self, policy: Vec<u8>) {
        self.log.append(policy);
        self.durable = self.log.size();
    }

    /// A point at which it can crash: for how long it is down, if it does.
    fn point(&mut self) -> Option<u64> {
        self.passed += 1;
        let passed = self.passed;
        let here = self.planned.iter().position(|(point, _)| *point == passed)?;
        Some(self.planned.remove(here).1)
    }

    /// Something has changed whose turn it may be.
    fn changed(&mut self, now: u64) {
        const GATHER: u64 = 20;
        if let Some(life) = &mut self.life {
            let soon = now + GATHER;
            life.round = Some(life.round.map_or(soon, |round| round.min(soon)));
        }
    }

    /// How many entries are durable.
    pub(super) fn durable(&self) -> u64 {
        self.durable
    }

    /// Who the holder of a key is.
    pub(super) fn peer(&self, key: &PublicKey) -> Option<Peer> {
        self.life.as_ref().map(|life| Peer::of(&life.folded.state, key))
    }

    /// Somebody brings a statement: looked at, found, admitted, made durable, folded, acknowledged.
    pub(super) fn append(
        &mut self,
        envelope: &[u8],
        by: &PublicKey,
        now: u64,
        wall: Time,
    ) -> Answer<Receipt> {
        let Some(life) = &self.life else { return Answer::Failed };
        let parsed = match Envelope::parse(envelope) {
            Ok(parsed) => parsed,
            Err(error) => return Answer::Refused(Refusal::new(Code::Malformed, error.to_string())),
        };
        let log = LogKey { origin: ORIGIN.to_owned(), key: key(LOG_KEY).public() };
        let peer = Peer::of(&life.folded.state, by);
        let brought = match Brought::read(&parsed, peer, by, &log) {
            Ok(brought) => brought,
            Err(refusal) => return Answer::Refused(refusal),
        };
        if let Some(release) = brought.release() {
            let stored = self.packages.get(&release.package).map(|parcel| Checked {
                manifest: Some(parcel.manifest.clone()),
                ..Checked::default()
            });
            if let Err(refusal) = Rules.accept_release(release, stored.as_ref()) {
                return Answer::Refused(refusal);
            }
        }
        if let Some(index) = life.ids.get(&brought.id) {
            let index = *index;
            let entry = self.log.entry(index).unwrap_or_default();
            return match brought_again(index, entry, envelope) {
                Ok(()) => self.receipt(index, wall),
                Err(refusal) => Answer::Refused(refusal),
            };
        }
        let size = match life.folded.admit(&Rules, envelope, wall) {
            Ok(size) => size,
            Err(refusal) => return Answer::Refused(refusal),
        };
        if self.full {
            return Answer::Failed;
        }
        assert_eq!(size, self.log.size(), "nobody else appends");
        let index = self.log.append(envelope.to_vec());
        if let Some(down) = self.point() {
            return Answer::Gone(down);
        }
        if !cutover_shared::seeded!(AcknowledgedBeforeSync) || self.log.size().is_multiple_of(4) {
            self.durable = self.log.size();
        }
        if let Some(down) = self.point() {
            return Answer::Gone(down);
        }
        let head = self.log.head();
        if let Some(life) = &mut self.life {
            life.ids.insert(brought.id, index);
            // An honest coordinator admits nothing that has no effect; a policy's own entry is the fold's.
            let _ = life.folded.add(index, envelope, head);
        }
        self.changed(now);
        if let Some(down) = self.point() {
            return Answer::Gone(down);
        }
        self.receipt(index, wall)
    }

    fn receipt(&self, index: u64, wall: Time) -> Answer<Receipt> {
        let Some(life) = &self.life else { return Answer::Failed };
        let head = &life.folded.head;
        match self.log.inclusion(index, head.size) {
            Ok(inclusion) => {
                Answer::Given(Receipt { index, checkpoint: note(head, wall), inclusion })
            }
            Err(_) => Answer::Failed,
        }
    }

    /// The proof that the log extends what somebody knows.
    pub(super) fn consistency(&self, known: u64) -> Vec<Digest> {
        let size = self.life.as_ref().map_or(0, |life| life.folded.head.size);
        self.log.consistency(known, size).unwrap_or_default()
    }

    /// A host's stream is there.
    pub(super) fn open(&mut self, host: KeyId, now: u64) -> Option<u64> {
        let (number, _) = self.life.as_mut()?.register.open(host);
        self.changed(now);
        Some(number)
    }

    /// A host's stream has ended.
    pub(super) fn close(&mut self, host: &KeyId, stream: u64, now: u64) {
        let newest = self.life.as_mut().is_some_and(|life| life.register.close(host, stream));
        if newest {
            self.changed(now);
        }
    }

    /// The stream of a host that is open.
    pub(super) fn stream(&self, host: &KeyId) -> Option<u64> {
        self.life.as_ref()?.register.stream(host)
    }

    /// A host reports.
    pub(super) fn report(
        &mut self,
        host: KeyId,
        stream: u64,
        report: HostReport,
        (now, wall): (u64, Time),
    ) {
        let changed =
            self.life.as_mut().is_some_and(|life| life.register.report(host, stream, report, wall));
        if changed {
            self.changed(now);
        }
    }

    /// A host asks for a clearance.
    pub(super) fn clear(&mut self, asked: &Asked, now: u64, wall: Time) -> Answer<ClearanceAnswer> {
        let Some(life) = &mut self.life else { return Answer::Failed };
        let cleared = match clear(&Rules, &life.folded, &mut life.register, asked, wall) {
            Ok(cleared) => cleared,
            Err(refusal) => return Answer::Refused(refusal),
        };
        self.activations.clone_from(life.register.activations());
        let checkpoint = note(&cleared.head, wall);
        let answer = cleared.answer(&key(LOG_KEY), checkpoint, &self.log);
        self.changed(now);
        answer.map_or(Answer::Failed, Answer::Given)
    }

    /// Whether a host gets bytes of a package now.
    pub(super) fn may_fetch(
        &mut self,
        host: &KeyId,
        package: &Digest,
        wall: Time,
    ) -> Result<(), Refusal> {
        let Some(life) = &mut self.life else {
            return Err(Refusal::new(Code::Busy, "the coordinator is gone"));
        };
        let fleet = life.register.fleet(wall);
        let situation = Situation { state: &life.folded.state, fleet, now: wall };
        Rules.may_fetch(&situation, host, package)
    }

    /// One round: what each host is told, with its evidence, and what an examiner who is not the planner
    /// finds wrong with the plans.
    pub(super) fn round(&mut self, now: u64, wall: Time) -> (Vec<(KeyId, Directive)>, Vec<KeyId>) {
        let Some(life) = &mut self.life else { return (Vec::new(), Vec::new()) };
        let monotonic = Duration::from_millis(now - life.began);
        let round = life.planner.round(&Rules, &life.folded, &mut life.register, wall, monotonic);
        life.round =
            round.next.map(|next| now + u64::try_from(next.as_millis()).unwrap_or(0).max(20));
        let told = round.tell.iter().filter_map(|tell| self.directive(tell, wall)).collect();
        (told, round.turn_out)
    }

    fn directive(&self, tell: &Tell, wall: Time) -> Option<(KeyId, Directive)> {
        let life = self.life.as_ref()?;
        let report = life.register.last_report(&tell.host)?;
        let order = tell.command.order();
        let turn = Turn { host: tell.host, order };
        let selection = Selection::new(&Rules, &life.folded, &turn, report).ok()?;
        let envelopes =
            selection.indexes.iter().map(|index| self.log.entry(*index).map(<[u8]>::to_vec));
        let envelopes = envelopes.collect::<Option<Vec<_>>>()?;
        let checkpoint = note(&selection.head, wall);
        let evidence = selection.assemble(envelopes, checkpoint, &self.log).ok()?;
        let directive = match tell.command {
            Command::Offer(_) => Directive::Offer { order, evidence },
            Command::Stop(_) => Directive::Stop { order, evidence },
            Command::Steps(_) => Directive::Steps { order, evidence },
        };
        Some((tell.host, directive))
    }

    /// What the examiner of plans, who is not the planner, finds wrong with those of now.
    pub(super) fn examined(&mut self, wall: Time) -> Vec<(Digest, String)> {
        let Some(life) = &mut self.life else { return Vec::new() };
        let fleet = life.register.fleet(wall);
        let live = rollout::live_bookings(&life.folded.state, wall);
        let state = &life.folded.state;
        let plans = live.iter().filter_map(|booking| rollout::plan(state, fleet, booking, wall));
        plans
            .flat_map(|plan| {
                let faults = rollout::check::check(&plan, state, fleet, wall);
                faults.into_iter().map(move |fault| (plan.booking, fault.to_string()))
            })
            .collect()
    }
}
