//! What is heard of hosts, and which of their streams is the newest.
//!
//! A host is in the fleet from its first report on. Before that nothing is known of what it does, and the
//! planner must not take it for idle: after a restart of the coordinator it may be at work.

use std::collections::BTreeMap;

use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::key::KeyId;
use cutover_shared::protocol::{Fleet, HostReport, HostView};
use cutover_shared::refusal::Refusal;
use cutover_shared::statement::Phase;
use cutover_shared::time::Time;

use crate::activations::Activations;

/// Clearances of one host that are remembered.
const CLEARED: usize = 64;

/// What is heard of hosts.
#[derive(Debug)]
pub struct Register {
    /// Ordered by host key.
    fleet: Fleet,
    /// The number of each host's open stream.
    streams: BTreeMap<KeyId, u64>,
    next: u64,
    activations: Activations,
}

impl Register {
    /// Nobody has been heard of; the coordinator serves `since` now. `activations` are those of its life
    /// before.
    pub fn new(since: Time, activations: Activations) -> Self {
        let fleet = Fleet { now: since, since, hosts: Vec::new() };
        Self { fleet, streams: BTreeMap::new(), next: 0, activations }
    }

    /// The fleet as of `now`.
    pub fn fleet(&mut self, now: Time) -> &Fleet {
        self.fleet.now = now;
        &self.fleet
    }

    /// A host has opened its stream: the stream's number, and that of the one that it takes the place of.
    pub fn open(&mut self, host: KeyId) -> (u64, Option<u64>) {
        let number = self.next;
        self.next += 1;
        let earlier = self.streams.insert(host, number);
        if let Some(view) = self.view(&host) {
            // What this stream's first report will say is not known yet.
            view.connected = false;
        }
        (number, earlier)
    }

    /// A host has reported on stream `number`. Whether that can change whose turn it is.
    pub fn report(&mut self, host: KeyId, number: u64, report: HostReport, now: Time) -> bool {
        if self.stream(&host) != Some(number) {
            return false;
        }
        match self.fleet.hosts.binary_search_by_key(&host, |view| view.host_key) {
            Ok(position) => {
                let view = &mut self.fleet.hosts[position];
                let known = view.report.as_ref().map(without_progress);
                let changed = !view.connected || known != Some(without_progress(&report));
                view.connected = true;
                view.heard = now;
                view.report = Some(report);
                changed
            }
            Err(position) => {
                let view = HostView {
                    host_key: host,
                    connected: true,
                    heard: now,
                    report: Some(report),
                    cleared: Vec::new(),
                };
                self.fleet.hosts.insert(position, view);
                true
            }
        }
    }

    /// Stream `number` of a host has ended. Whether that was its newest.
    pub fn close(&mut self, host: &KeyId, number: u64) -> bool {
        if self.stream(host) != Some(number) {
            return false;
        }
        self.streams.remove(host);
        if let Some(view) = self.view(host) {
            view.connected = false;
        }
        true
    }

    /// A host gets a clearance. What counts is when it began: activation goes on with that.
    pub fn cleared(&mut self, host: &KeyId, order: Digest, phase: Phase, now: Time) {
        let Some(view) = self.view(host) else { return };
        match view.cleared.iter_mut().find(|(known, _)| *known == order) {
            Some((_, time)) if phase == Phase::Start => *time = now,
            Some(_) => {}
            None => {
                if view.cleared.len() >= CLEARED {
                    view.cleared.remove(0);
                }
                view.cleared.push((order, now));
            }
        }
    }

    /// Whether the hosts beside this one leave it room to activate. With it the place is taken.
    pub fn activates(
        &mut self,
        state: &State,
        (host, order): (&KeyId, Digest),
        now: Time,
    ) -> Result<(), Refusal> {
        self.activations.take(state, (host, order), now)
    }

    /// Who was cleared to activate: to be safe before the newest of them is told so.
    pub const fn activations(&self) -> &Activations {
        &self.activations
    }

    /// The number of a host's open stream.
    pub fn stream(&self, host: &KeyId) -> Option<u64> {
        self.streams.get(host).copied()
    }

    /// All open streams.
    pub fn streams(&self) -> impl Iterator<Item = (&KeyId, u64)> {
        self.streams.iter().map(|(host, number)| (host, *number))
    }

    /// What a host said last on the stream that is open.
    pub fn last_report(&self, host: &KeyId) -> Option<&HostReport> {
        let hosts = &self.fleet.hosts;
        let position = hosts.binary_search_by_key(host, |view| view.host_key).ok()?;
        hosts[position].report.as_ref().filter(|_| hosts[position].connected)
    }

    fn view(&mut self, host: &KeyId) -> Option<&mut HostView> {
        let position = self.fleet.hosts.binary_search_by_key(host, |view| view.host_key).ok()?;
        Some(&mut self.fleet.hosts[position])
    }
}

/// A report without what changes with every byte that is fetched.
fn without_progress(report: &HostReport) -> HostReport {
    let mut report = report.clone();
    for application in &mut report.applications {
        application.progress = None;
    }
    report
}
