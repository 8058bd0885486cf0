//! What is heard of hosts, and the streams on which they are told something.
//!
//! A host is in the fleet from its first report on. Before that nothing is known of what it does, and the
//! planner must not take it for idle: after a restart of the coordinator it may be at work.

use std::collections::BTreeMap;

use cutover_shared::digest::Digest;
use cutover_shared::key::KeyId;
use cutover_shared::protocol::{Fleet, HostReport, HostView};
use cutover_shared::statement::Phase;
use cutover_shared::time::Time;
use cutover_transport::Connection;
use tokio::sync::mpsc;

/// Orders to tell a host that may wait for its stream: one for each of its applications, and then some.
/// Beyond, they are told later.
const COMMANDS: usize = 16;

/// Clearances of one host that are remembered.
const CLEARED: usize = 64;

/// What the task of a host's stream is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// Offer this order.
    Offer(Digest),
    /// Tell that something stands against this order.
    Stop(Digest),
}

impl Command {
    /// The word.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Offer(_) => "offer",
            Self::Stop(_) => "stop",
        }
    }
}

/// A host's open stream.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) number: u64,
    pub(super) connection: Connection,
    commands: mpsc::Sender<Command>,
}

/// What is heard of hosts.
#[derive(Debug)]
pub(super) struct Register {
    /// Ordered by host key.
    fleet: Fleet,
    sessions: BTreeMap<KeyId, Session>,
    next: u64,
}

impl Register {
    pub(super) fn new(since: Time) -> Self {
        let fleet = Fleet { now: since, since, hosts: Vec::new() };
        Self { fleet, sessions: BTreeMap::new(), next: 0 }
    }

    /// The fleet as of `now`.
    pub(super) fn fleet(&mut self, now: Time) -> &Fleet {
        self.fleet.now = now;
        &self.fleet
    }

    /// A host has opened its stream: the stream's number, what to do on it, and the stream that it takes
    /// the place of.
    pub(super) fn open(
        &mut self,
        host: KeyId,
        connection: Connection,
    ) -> (u64, mpsc::Receiver<Command>, Option<Session>) {
        let number = self.next;
        self.next += 1;
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let earlier = self.sessions.insert(host, Session { number, connection, commands });
        if let Some(view) = self.view(&host) {
            // What this stream's first report will say is not known yet.
            view.connected = false;
        }
        (number, receiver, earlier)
    }

    /// A host has reported on stream `number`. Whether that can change whose turn it is.
    pub(super) fn report(
        &mut self,
        host: KeyId,
        number: u64,
        report: HostReport,
        now: Time,
    ) -> bool {
        if self.session(&host).is_none_or(|session| session.number != number) {
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
    pub(super) fn close(&mut self, host: &KeyId, number: u64) -> bool {
        if self.session(host).is_none_or(|session| session.number != number) {
            return false;
        }
        self.sessions.remove(host);
        if let Some(view) = self.view(host) {
            view.connected = false;
        }
        true
    }

    /// A host gets a clearance. What counts is when it began: activation goes on with that.
    pub(super) fn cleared(&mut self, host: &KeyId, order: Digest, phase: Phase, now: Time) {
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

    /// Tells a host something, if its stream is open and does not stand still.
    pub(super) fn tell(&self, host: &KeyId, command: Command) -> bool {
        let session = self.sessions.get(host);
        session.is_some_and(|session| session.commands.try_send(command).is_ok())
    }

    /// A host's open stream.
    pub(super) fn session(&self, host: &KeyId) -> Option<&Session> {
        self.sessions.get(host)
    }

    /// All open streams.
    pub(super) fn sessions(&self) -> impl Iterator<Item = (&KeyId, &Session)> {
        self.sessions.iter()
    }

    /// What a host said last on the stream that is open.
    pub(super) fn last_report(&self, host: &KeyId) -> Option<&HostReport> {
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
