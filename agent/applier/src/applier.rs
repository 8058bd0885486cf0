//! The applier's loop: the one owner of everything that this host trusts and does.
//!
//! Events come in one at a time ([`Event`]). What an event changes is in the ledger before anything is
//! said or done about it. The parts: `offers` (what the coordinator sent, and clearances), `effects` (what
//! the deployment machines ask for), `membership` (joining, and what the log has acknowledged).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use cutover_machine::Machine;
use cutover_shared::evidence::Trust;
use cutover_shared::key::SecretKey;
use cutover_shared::log::TreeHead;
use cutover_shared::name::Name;
use cutover_shared::protocol::{FromApplier, HostReport};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::config::Settings;
use crate::deployment::Deployment;
use crate::event::Event;
use crate::fetch::{Desk, Wanted};
use crate::inhibit;
use crate::ledger::Ledger;
use crate::link::Link;
use crate::outcome::Reporter;
use crate::saved::{Saved, SavedApplication, SavedTrust};

/// The longest that the loop sleeps: the wall clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Heads that are remembered as left: more than receipts can overtake one offer.
const HEADS_KEPT: usize = 8;

/// Everything.
#[derive(Debug)]
pub struct Applier {
    pub(crate) settings: Arc<Settings>,
    pub(crate) clock: Clock,
    pub(crate) ledger: Ledger,
    pub(crate) saved: Saved,
    trust: Option<Trust>,
    /// Heads that this run has left, the newest first.
    pub(crate) heads: VecDeque<TreeHead>,
    pub(crate) host_key: SecretKey,
    pub(crate) deployments: BTreeMap<Name, Deployment>,
    pub(crate) link: Option<Link>,
    pub(crate) connected: bool,
    pub(crate) transport_key: Option<cutover_shared::key::PublicKey>,
    pub(crate) desk: Desk,
    pub(crate) inhibitors: Vec<String>,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) wanted: mpsc::Sender<Wanted>,
    pub(crate) told: Option<HostReport>,
    status: String,
}

/// The two channels into the loop.
#[derive(Debug)]
pub struct Inputs {
    /// Events.
    pub events: mpsc::Receiver<Event>,
    /// Wishes for bytes.
    pub wanted: mpsc::Receiver<Wanted>,
}

/// What an applier is made of.
#[derive(Debug)]
pub struct Parts {
    /// The configuration.
    pub settings: Arc<Settings>,
    /// The clock.
    pub clock: Clock,
    /// The ledger.
    pub ledger: Ledger,
    /// What it held.
    pub saved: Saved,
    /// The host key.
    pub host_key: SecretKey,
    /// One site for each application of the configuration.
    pub sites: BTreeMap<Name, crate::work::Site>,
}

impl Applier {
    /// An applier that has recovered its machines and not yet acted.
    pub fn new(parts: Parts, events: mpsc::Sender<Event>, wanted: mpsc::Sender<Wanted>) -> Self {
        let Parts { settings, clock, ledger, mut saved, host_key, sites } = parts;
        let now = clock.now();
        let mut deployments = BTreeMap::new();
        for (name, site) in sites {
            let saved = saved
                .applications
                .entry(name.clone())
                .or_insert_with(|| SavedApplication::new(&name));
            let machine = Machine::recover(saved.record.clone(), now);
            deployments.insert(name, Deployment::new(site, machine));
        }
        let inhibitors = inhibit::reasons(&settings.inhibit_directory);
        let trust = saved.trust.as_ref().and_then(SavedTrust::trust);
        Self {
            settings,
            clock,
            ledger,
            trust,
            heads: VecDeque::new(),
            saved,
            host_key,
            deployments,
            link: None,
            connected: false,
            transport_key: None,
            desk: Desk::default(),
            inhibitors,
            events,
            wanted,
            told: None,
            status: String::new(),
        }
    }

    /// Runs until `shutdown`, then ends at once: whatever is on its way is recovered at the next start.
    pub async fn run(mut self, mut inputs: Inputs, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        let watchdog = sd_notify::watchdog_enabled().map(|period| period / 2);
        self.look();
        self.settle();
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        tracing::info!(host = %self.settings.host, "ready");
        loop {
            let sleep = self.sleep().min(watchdog.unwrap_or(LONGEST_SLEEP));
            tokio::select! {
                () = &mut shutdown => {
                    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
                    return;
                }
                Some(wanted) = inputs.wanted.recv() => {
                    let fetch = self.desk.want(wanted);
                    self.say(fetch);
                }
                Some(event) = inputs.events.recv() => self.handle(event).await,
                () = tokio::time::sleep(sleep) => {
                    if watchdog.is_some() {
                        let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
                    }
                }
            }
            self.settle();
        }
    }

    async fn handle(&mut self, event: Event) {
        match event {
            Event::Linked(link) => self.linked(link),
            Event::Unlinked(number) => {
                if self.link.as_ref().is_some_and(|link| link.number() == number) {
                    self.link = None;
                    self.connected = false;
                }
            }
            Event::Frame(number, frame) => {
                if self.link.as_ref().is_some_and(|link| link.number() == number) {
                    self.frame(frame).await;
                }
            }
            Event::Answered { application, effect, answer } => {
                self.answered(&application, effect, answer);
            }
            Event::Read { application, order, result } => {
                self.package_read(&application, order, result);
            }
            Event::Progress { application, done, all } => {
                if let Some(deployment) = self.deployments.get_mut(&application) {
                    deployment.progress = Some((done, all));
                }
            }
            Event::Exited { application, running } => self.exited(&application, running),
            Event::Restart { application } => self.restart(&application),
            Event::Restarted { application, running } => self.restarted(&application, running),
            Event::Looked => self.look(),
        }
    }

    /// Lets every machine go on as far as it can, and tells what changed.
    fn settle(&mut self) {
        let now = self.clock.now();
        let names: Vec<_> = self.deployments.keys().cloned().collect();
        for name in names {
            if let Some(deployment) = self.deployments.get_mut(&name) {
                deployment.machine.handle_timeout(now);
            }
            self.carry_out(&name);
        }
        self.tell();
    }

    fn sleep(&self) -> Duration {
        let now = self.clock.now();
        let timeouts = self.deployments.values().filter_map(|it| it.machine.poll_timeout(now));
        timeouts.map(|timeout| timeout.after).min().unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)
    }

    /// Says a frame, if the network half is there. One that is too slow to listen is dropped; it comes
    /// back and is told everything anew.
    pub(crate) fn say(&mut self, frame: FromApplier) {
        let sent = self.link.as_ref().is_some_and(|link| link.send(frame));
        if !sent && self.link.take().is_some() {
            tracing::warn!("the network half does not read; its connection is dropped");
            self.connected = false;
        }
    }

    /// Tells the coordinator what goes on here, when that has changed.
    fn tell(&mut self) {
        let report = HostReport {
            known: self.known(),
            policy_version: self.trust().map_or(0, |trust| trust.policy.document().version),
            applications: self.deployments.iter().map(|(name, it)| it.report(name)).collect(),
        };
        if self.told.as_ref() != Some(&report) && self.link.is_some() {
            self.say(FromApplier::Report(report.clone()));
            self.told = Some(report);
        }
        let steps: Vec<_> = self
            .deployments
            .iter()
            .map(|(name, it)| format!("{name}: {}", it.report(name).step))
            .collect();
        let status = steps.join(", ");
        if status != self.status {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    /// Looks into the inbox and the inhibitor directory.
    fn look(&mut self) {
        self.inhibitors = inhibit::reasons(&self.settings.inhibit_directory);
        self.read_inbox();
    }

    /// Writes everything down. An error is the caller's to act on: nothing may be said or done that is
    /// not in the ledger.
    pub(crate) fn save(&mut self) -> Result<(), String> {
        let body = self.saved.encode().map_err(|error| error.to_string())?;
        self.ledger.save(&body).map_err(|error| crate::work::chain(&error))
    }

    /// As [`Applier::save`], where what changed is found again by itself when it is lost.
    pub(crate) fn save_or_warn(&mut self) {
        if let Err(error) = self.save() {
            tracing::error!(%error, "the ledger cannot be written");
        }
    }

    /// What the host trusts; none before it has joined.
    pub(crate) fn trust(&self) -> Option<&Trust> {
        self.trust.as_ref()
    }

    /// Takes over what is to be trusted from now on; the caller saves.
    pub(crate) fn set_trust(&mut self, trust: Trust) {
        self.saved.trust = Some(SavedTrust::of(&trust));
        if let Some(before) = self.trust.replace(trust) {
            self.heads.push_front(before.head);
            self.heads.truncate(HEADS_KEPT);
        }
    }

    /// Size of the newest head known.
    pub(crate) fn known(&self) -> u64 {
        self.trust().map_or(0, |trust| trust.head.size)
    }

    pub(crate) fn reporter(&self) -> Reporter {
        Reporter { host: self.settings.host.clone(), host_key: self.host_key.public().id() }
    }
}
