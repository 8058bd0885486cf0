//! The applier's loop: it brings the core what happens, and carries out what the core wants done.
//!
//! Events come in one at a time ([`Event`]). The core decides, and its ledger is written before it hands
//! anything out; nothing is decided here. Work runs beside the loop, in the site of its application, and
//! comes back as an event.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cutover_applier_core::{
    Answer, Core, Delivery, Input, Level, Nonces, Note, Output, Outside, Saved, Work,
};
use cutover_machine::{EffectId, Slot};
use cutover_shared::digest::Digest;
use cutover_shared::key::SecretKey;
use cutover_shared::name::Name;
use cutover_shared::protocol::{FromApplier, ToApplier};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::clock::{self, Clock};
use crate::config::Settings;
use crate::event::Event;
use crate::fault::{self, Side};
use crate::fetch::{Desk, Fetcher, Wanted};
use crate::ledger::Ledger;
use crate::link::Link;
use crate::work::{self, Site, chain};
use crate::{content, inbox};

/// The longest that the loop sleeps: the wall clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Everything.
#[derive(Debug)]
pub struct Applier {
    core: Core,
    settings: Arc<Settings>,
    clock: Clock,
    ledger: Ledger,
    sites: BTreeMap<Name, Site>,
    /// What is under way, by application and effect.
    workers: BTreeMap<(Name, EffectId), JoinHandle<()>>,
    /// Readers of a manifest.
    readers: BTreeMap<Name, JoinHandle<()>>,
    link: Option<Link>,
    /// Whether the core was told of a link and not yet of its end.
    linked: bool,
    desk: Desk,
    events: mpsc::Sender<Event>,
    wanted: mpsc::Sender<Wanted>,
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
    pub sites: BTreeMap<Name, Site>,
}

/// The system's randomness.
struct Random;

impl Applier {
    /// An applier that has recovered its machines and not yet acted.
    pub fn new(parts: Parts, events: mpsc::Sender<Event>, wanted: mpsc::Sender<Wanted>) -> Self {
        let Parts { settings, clock, ledger, saved, host_key, sites } = parts;
        let core = Core::recover(settings.host_settings(), saved, host_key, clock.now());
        Self {
            core,
            settings,
            clock,
            ledger,
            sites,
            workers: BTreeMap::new(),
            readers: BTreeMap::new(),
            link: None,
            linked: false,
            desk: Desk::default(),
            events,
            wanted,
        }
    }

    /// Runs until `shutdown`, then ends at once: whatever is on its way is recovered at the next start.
    pub async fn run(mut self, mut inputs: Inputs, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        let watchdog = sd_notify::watchdog_enabled().map(|period| period / 2);
        self.look();
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        tracing::info!(host = %self.settings.host, "ready");
        loop {
            let timeout = self.core.poll_timeout(self.clock.now()).unwrap_or(LONGEST_SLEEP);
            let sleep = timeout.min(LONGEST_SLEEP).min(watchdog.unwrap_or(LONGEST_SLEEP));
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
                    self.tell(Input::Timeout);
                }
            }
            if self.linked && self.link.is_none() {
                self.linked = false;
                self.tell(Input::Unlinked);
            }
        }
    }

    async fn handle(&mut self, event: Event) {
        match event {
            Event::Linked(link) => {
                self.link = Some(link);
                self.linked = true;
                self.tell(Input::Linked);
            }
            Event::Unlinked(number) => {
                self.link.take_if(|link| link.number() == number);
            }
            Event::Frame(number, frame) => {
                if self.link.as_ref().is_some_and(|link| link.number() == number) {
                    self.frame(frame).await;
                }
            }
            Event::Looked => self.look(),
            Event::Told(input) => {
                if let Input::Answered { application, effect, .. } = &input {
                    self.workers.remove(&(application.clone(), *effect));
                }
                self.tell(input);
            }
        }
    }

    async fn frame(&mut self, frame: ToApplier) {
        let hello = matches!(frame, ToApplier::Hello { .. });
        match Input::of_frame(frame) {
            Ok(input) => self.tell(input),
            Err(delivery) => self.deliver(delivery).await,
        }
        if hello && self.core.trust().is_some() {
            for fetch in self.desk.again() {
                self.say(fetch);
            }
        }
    }

    async fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Bytes { package, part, offset, bytes, last } => {
                if !self.desk.bytes((package, part), offset, bytes, last).await {
                    self.say(FromApplier::StopFetching { package });
                }
            }
            Delivery::Failed { package, part, refusal } => {
                tracing::warn!(package = %package.short(), %refusal, "a fetch was refused");
                self.desk.failed(package, part, refusal).await;
            }
        }
    }

    fn look(&mut self) {
        for input in inbox::look(&self.settings) {
            self.tell(input);
        }
    }

    /// Tells the core, and carries out what it wants done.
    fn tell(&mut self, input: Input) {
        let mut outside = Outside {
            now: self.clock.now(),
            clock_synchronised: clock::synchronised(),
            ledger: &mut self.ledger,
            nonces: &mut Random,
        };
        self.core.handle(input, &mut outside);
        while let Some(output) = self.core.poll_output() {
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Say(frame @ FromApplier::WantClearance { .. }) => {
                fault::point(Side::Before, "request clearance");
                self.say(frame);
                fault::point(Side::After, "request clearance");
            }
            Output::Say(frame) => self.say(frame),
            Output::Work { application, effect, work } => self.work(application, effect, work),
            Output::Abort { application, effect, of } => self.abort(application, effect, of),
            Output::Read { application, order, package } => {
                self.read(application, order, package);
            }
            Output::GiveUpReading { application } => {
                if let Some(reader) = self.readers.remove(&application) {
                    reader.abort();
                }
            }
            Output::Watch { application, running } => {
                let told = self.events.clone();
                tokio::spawn(async move {
                    work::watch(running).await;
                    let exited = Input::Exited { application, running };
                    let _ = told.send(Event::Told(exited)).await;
                });
            }
            Output::Restart { application } => self.restart(application),
            Output::Tidy { application, keep } => {
                if let Some(site) = self.sites.get(&application) {
                    site.tidy(keep);
                }
            }
            Output::Sweep { application, number, slot } => self.sweep(application, number, slot),
            Output::Reply { number, answer } => inbox::answer(&self.settings, &number, &answer),
            Output::Status(status) => {
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Status(&status)]);
            }
            Output::Note(note) => log(&note),
        }
    }

    /// Says a frame, if the network half is there. One that is too slow to listen is dropped; it comes
    /// back and is told everything anew.
    fn say(&mut self, frame: FromApplier) {
        let sent = self.link.as_ref().is_some_and(|link| link.send(frame));
        if !sent && self.link.take().is_some() {
            tracing::warn!("the network half does not read; its connection is dropped");
        }
    }

    /// Gives work to a worker; its answer comes back as an event.
    fn work(&mut self, application: Name, effect: EffectId, work: Work) {
        let Some(site) = self.sites.get(&application).cloned() else { return };
        let (told, wanted) = (self.events.clone(), self.wanted.clone());
        let name = application.clone();
        let worker = tokio::spawn(async move {
            let progress = |done, all| {
                let application = application.clone();
                let _ = told.try_send(Event::Told(Input::Progress { application, done, all }));
            };
            let effect_name = work.name();
            fault::point(Side::Before, effect_name);
            let answer = site.carry_out(work, wanted, progress).await;
            fault::point(Side::After, effect_name);
            let answered = Input::Answered { application, effect, answer };
            let _ = told.send(Event::Told(answered)).await;
        });
        self.workers.insert((name, effect), worker);
    }

    /// Ends a worker. What it started in a thread goes on to its end, and is waited for.
    fn abort(&mut self, application: Name, effect: EffectId, of: EffectId) {
        let worker = self.workers.remove(&(application.clone(), of));
        let (told, name) = (self.events.clone(), application.clone());
        let aborter = tokio::spawn(async move {
            fault::point(Side::Before, "abort");
            if let Some(worker) = worker {
                worker.abort();
                let _ = worker.await;
            }
            fault::point(Side::After, "abort");
            let answered = Input::Answered { application, effect, answer: Answer::Done };
            let _ = told.send(Event::Told(answered)).await;
        });
        self.workers.insert((name, effect), aborter);
    }

    fn read(&mut self, application: Name, order: Digest, package: Digest) {
        let fetcher = Fetcher::new(package, self.wanted.clone());
        let (told, name) = (self.events.clone(), application.clone());
        let reader = tokio::spawn(async move {
            let result = content::read(package, &fetcher).await.map(Box::new);
            let read = Input::Read { application, order, result };
            let _ = told.send(Event::Told(read)).await;
        });
        self.readers.insert(name, reader);
    }

    fn sweep(&self, application: Name, number: u64, slot: Slot) {
        let Some(site) = self.sites.get(&application).cloned() else { return };
        let told = self.events.clone();
        let (events, name) = (self.events.clone(), application.clone());
        let changed = move || {
            let _ = events.blocking_send(Event::Told(Input::Changed { application: name.clone() }));
        };
        tokio::spawn(async move {
            let result = site.sweep(slot, changed).await;
            let swept = Input::Swept { application, number, result };
            let _ = told.send(Event::Told(swept)).await;
        });
    }

    fn restart(&self, application: Name) {
        let Some(site) = self.sites.get(&application).cloned() else { return };
        let told = self.events.clone();
        tokio::spawn(async move {
            let result = match site.start().await {
                Answer::Started(running) => Ok(Some(running)),
                Answer::Done | Answer::Repaired(..) | Answer::Blocked(_) | Answer::Sample(_) => {
                    Ok(None)
                }
                Answer::Failed(why) => Err(why),
            };
            let restarted = Input::Restarted { application, result };
            let _ = told.send(Event::Told(restarted)).await;
        });
    }
}

impl Nonces for Random {
    fn nonce(&mut self) -> Result<Digest, String> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|error| error.to_string())?;
        Ok(Digest::from_bytes(random))
    }
}

impl cutover_applier_core::Ledger for Ledger {
    fn save(&mut self, body: &[u8]) -> Result<(), String> {
        fault::point(Side::Before, "persist");
        let saved = Ledger::save(self, body).map_err(|error| chain(&error));
        fault::point(Side::After, "persist");
        saved
    }
}

/// Writes a note of the core.
fn log(note: &Note) {
    let Note { level, text, application, about, detail } = note;
    let application = application.as_ref().map(tracing::field::display);
    let about = about.map(|about| about.short());
    match level {
        Level::Debug => tracing::debug!(application, about, detail, "{text}"),
        Level::Info => tracing::info!(application, about, detail, "{text}"),
        Level::Warn => tracing::warn!(application, about, detail, "{text}"),
        Level::Error => tracing::error!(application, about, detail, "{text}"),
    }
}
