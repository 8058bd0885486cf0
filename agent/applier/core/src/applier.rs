//! The core itself: the one owner of everything that this host trusts and does.
//!
//! The parts, by what they answer: `offers` and `stops` (what the coordinator sent), `clearances`,
//! `effects`, `runbook` and `persist` (what the deployment machines ask for), `membership` (joining, and what the log
//! has acknowledged), `refusals` (how an order is refused).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use cutover_machine::{Machine, Now};
use cutover_shared::evidence::Trust;
use cutover_shared::key::{PublicKey, SecretKey};
use cutover_shared::log::TreeHead;
use cutover_shared::name::Name;
use cutover_shared::protocol::{FromApplier, HostReport};

use crate::deployment::Deployment;
use crate::input::{Input, Outside};
use crate::outcome::Reporter;
use crate::output::{Note, Output};
use crate::runbook::Walk;
use crate::saved::{Saved, SavedApplication, SavedTrust};
use crate::settings::HostSettings;

/// Heads that are remembered as left: more than receipts can overtake one offer.
const HEADS_KEPT: usize = 8;

/// The applier without the world; see the crate's documentation.
#[derive(Debug)]
pub struct Core {
    pub(crate) settings: HostSettings,
    pub(crate) saved: Saved,
    trust: Option<Trust>,
    /// Heads that this run has left, the newest first.
    pub(crate) heads: VecDeque<TreeHead>,
    pub(crate) host_key: SecretKey,
    pub(crate) deployments: BTreeMap<Name, Deployment>,
    linked: bool,
    /// Who the network half says that it is on the wire.
    pub(crate) transport_key: Option<PublicKey>,
    /// When the enrolment is signed anew, on the monotonic clock: the one before was refused for its time.
    pub(crate) enrolment_due: Option<Duration>,
    pub(crate) inhibitors: Vec<String>,
    outputs: VecDeque<Output>,
    /// The report that was said last to this connection.
    pub(crate) told: Option<HostReport>,
    status: String,
}

impl Core {
    /// The core as the ledger has it, its machines recovered and not yet acting.
    pub fn recover(
        settings: HostSettings,
        mut saved: Saved,
        host_key: SecretKey,
        now: Now,
    ) -> Self {
        let mut deployments = BTreeMap::new();
        for name in settings.applications.keys() {
            let new = || SavedApplication::new(name);
            let application = saved.applications.entry(name.clone()).or_insert_with(new);
            let machine = Machine::recover(application.record.clone(), now);
            deployments.insert(name.clone(), Deployment::new(machine));
        }
        let trust = saved.trust.as_ref().and_then(SavedTrust::trust);
        Self {
            settings,
            saved,
            trust,
            heads: VecDeque::new(),
            host_key,
            deployments,
            linked: false,
            transport_key: None,
            enrolment_due: None,
            inhibitors: Vec::new(),
            outputs: VecDeque::new(),
            told: None,
            status: String::new(),
        }
    }

    /// One input; afterwards every machine has gone on as far as it can.
    pub fn handle(&mut self, input: Input, outside: &mut Outside<'_>) {
        match input {
            Input::Linked => self.link(true),
            Input::Unlinked => self.link(false),
            Input::Hello { transport_key } => self.hello(&transport_key, outside),
            Input::Connected(connected) => self.connected(connected, outside),
            Input::Directive(directive) => self.directive(*directive, outside),
            Input::Clearance { nonce, answer } => self.clearance(nonce, answer, outside),
            Input::Logged { id, receipt, consistency } => {
                self.logged(id, &receipt, &consistency, outside);
            }
            Input::NotLogged { id, refusal } => self.not_logged(id, &refusal, outside),
            Input::Answered { application, effect, answer } => {
                self.answered(&application, effect, answer, outside);
            }
            Input::Read { application, order, result } => {
                self.package_read(&application, order, result, outside);
            }
            Input::Progress { application, done, all } => {
                if let Some(deployment) = self.deployments.get_mut(&application) {
                    deployment.progress = Some((done, all));
                }
            }
            Input::Exited { application, running } => {
                self.exited(&application, running, outside.now);
            }
            Input::Restarted { application, result } => {
                self.restarted(&application, result, outside);
            }
            Input::Changed { application } => self.changed(&application, outside.now),
            Input::Swept { application, number, result } => {
                self.swept(&application, number, result, outside);
            }
            Input::Looked { inhibitors, join, clock_accepted } => {
                self.inhibitors = inhibitors;
                self.read_inbox(join.as_deref(), clock_accepted, outside);
            }
            Input::Asked { number, ask } => self.asked_by_operator(number, &ask, outside),
            Input::Timeout => {}
        }
        self.settle(outside);
    }

    /// The next thing to do, if any.
    #[must_use = "an output is handed out once"]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// After how long it wants [`Input::Timeout`] at the latest.
    #[must_use = "a timeout that nobody waits for never comes"]
    pub fn poll_timeout(&self, now: Now) -> Option<Duration> {
        let machines = self.deployments.values().filter_map(|it| it.machine.poll_timeout(now));
        let step = |it: &Deployment| it.walk.as_ref().and_then(Walk::due);
        let ours = self.deployments.values();
        let ours = ours.flat_map(|it| [it.restart_due, it.vigil.due(), step(it)]);
        let ours = ours.flatten().map(|due| due.saturating_sub(now.monotonic));
        let enrolment = self.enrolment_due().map(|due| due.saturating_sub(now.monotonic));
        machines.map(|timeout| timeout.after).chain(ours).chain(enrolment).min()
    }

    /// What the ledger holds, or will hold with the next change.
    pub fn saved(&self) -> &Saved {
        &self.saved
    }

    /// The deployment machine of an application.
    pub fn machine(&self, application: &Name) -> Option<&Machine> {
        self.deployments.get(application).map(|it| &it.machine)
    }

    /// What the host trusts; none before it has joined.
    pub fn trust(&self) -> Option<&Trust> {
        self.trust.as_ref()
    }

    fn link(&mut self, linked: bool) {
        self.linked = linked;
        self.told = None;
        self.transport_key = None;
    }

    /// Lets every machine go on as far as it can, and tells what changed.
    fn settle(&mut self, outside: &mut Outside<'_>) {
        self.enrol_if_due(outside);
        let names: Vec<_> = self.deployments.keys().cloned().collect();
        for name in names {
            if let Some(deployment) = self.deployments.get_mut(&name) {
                deployment.machine.handle_timeout(outside.now);
            }
            self.step_if_late(&name, outside);
            self.carry_out(&name, outside);
            self.restart_if_due(&name, outside.now);
            self.keep_watch(&name, outside.now);
        }
        self.tell();
    }

    /// Tells the coordinator what goes on here, when that has changed.
    fn tell(&mut self) {
        let report = HostReport {
            known: self.known(),
            policy_version: self.trust().map_or(0, |trust| trust.policy.document().version),
            applications: self.deployments.iter().map(|(name, it)| it.report(name)).collect(),
        };
        let step = |(name, it): (&Name, &Deployment)| format!("{name}: {}", it.report(name).step);
        let status = self.deployments.iter().map(step).collect::<Vec<_>>().join(", ");
        if status != self.status {
            self.output(Output::Status(status.clone()));
            self.status = status;
        }
        if self.linked && self.told.as_ref() != Some(&report) {
            self.say(FromApplier::Report(report.clone()));
            self.told = Some(report);
        }
    }

    /// Says a frame, if the network half is there. Whatever it misses it is told anew when it comes back.
    pub(crate) fn say(&mut self, frame: FromApplier) {
        if self.linked {
            self.output(Output::Say(frame));
        }
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.output(Output::Note(note));
    }

    pub(crate) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// Writes everything down. An error is the caller's to act on: nothing may be said or done that is
    /// not in the ledger.
    pub(crate) fn save(&mut self, outside: &mut Outside<'_>) -> Result<(), String> {
        let body = self.saved.encode().map_err(|error| error.to_string())?;
        outside.ledger.save(&body)
    }

    /// As [`Core::save`], where what changed is found again by itself when it is lost.
    pub(crate) fn save_or_warn(&mut self, outside: &mut Outside<'_>) {
        if let Err(error) = self.save(outside) {
            self.note(Note::error("the ledger cannot be written").saying(&error));
        }
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
