//! Joining, and what the log has acknowledged: the applier's part in the host's identity.

use std::time::Duration;

use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::evidence::{self, Trust};
use cutover_shared::key::{PublicKey, SecretKey};
use cutover_shared::log::{TreeHead, checkpoint, leaf_hash, verify_inclusion};
use cutover_shared::protocol::{FromApplier, Join, Receipt};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{Enrolment, Event as Report, HostChange, Outcome, Says, Statement};
use cutover_shared::time::Time;

use crate::applier::Core;
use crate::input::Outside;
use crate::join::{pinned, read_join};
use crate::output::Note;
use crate::saved::{MAX_DRIFT_REPORTS, MAX_REFUSALS, MAX_REPORTS, SavedEnrolment};

/// How long after an enrolment was refused for the time that it names it is signed anew: a clock that is wrong
/// is not asked about all the time, and one that was mended is noticed soon.
const SIGN_ANEW: Duration = Duration::from_secs(15);

impl Core {
    /// What an operator has put into the inbox.
    pub(crate) fn read_inbox(
        &mut self,
        join: Option<&str>,
        clock_accepted: bool,
        outside: &mut Outside<'_>,
    ) {
        if let Some(text) = join {
            match read_join(text, &self.settings) {
                Ok(join) => self.join(join, outside),
                Err(why) => {
                    let note = Note::error("the join string in the inbox is refused");
                    self.note(note.saying(&why));
                }
            }
        }
        if clock_accepted {
            let was = self.saved.newest_time.map_or("none".to_owned(), |time| time.to_string());
            let note = Note::warn("an operator accepted the clock as it is");
            self.note(note.saying(&format!("the newest accepted time was {was}")));
            self.saved.newest_time = None;
            self.save_or_warn(outside);
        }
    }

    fn join(&mut self, join: Join, outside: &mut Outside<'_>) {
        if self.saved.enrolment.as_ref().is_some_and(|it| it.logged) {
            let text = "this host is enrolled already; retire it and clear its state to join anew";
            return self.note(Note::error(text));
        }
        let policy = match pinned(&join) {
            Ok(policy) => policy,
            Err(why) => {
                let note = Note::error("the join string's policy is refused");
                return self.note(note.saying(&why));
            }
        };
        let trust = Trust { policy, policy_envelope: join.policy.clone(), head: join.head.clone() };
        let policy = trust.policy.id();
        self.set_trust(trust);
        self.saved.join = Some(join);
        self.saved.enrolment = None;
        self.enrolment_due = None;
        self.save_or_warn(outside);
        let note = Note::info("joined; enrolling when the network half connects");
        self.note(note.saying(&format!("policy {policy}")));
        if let Some(transport_key) = self.transport_key.clone() {
            self.welcome(&transport_key, outside);
        }
    }

    /// The network half says who it is.
    pub(crate) fn hello(&mut self, transport_key: &PublicKey, outside: &mut Outside<'_>) {
        self.transport_key = Some(transport_key.clone());
        self.welcome(transport_key, outside);
    }

    /// The coordinator is reached, or lost.
    pub(crate) fn connected(&mut self, connected: bool, outside: &mut Outside<'_>) {
        let text = if connected { "the coordinator is reached" } else { "the coordinator is lost" };
        self.note(Note::info(text));
        if connected {
            self.ask_again(outside);
        }
    }

    /// Tells the network half where the coordinator is, and everything that waits for it.
    fn welcome(&mut self, transport_key: &PublicKey, outside: &mut Outside<'_>) {
        let (Some(join), Some(trust)) = (self.saved.join.clone(), self.trust().cloned()) else {
            let text = "not joined: an operator runs `cutover-applier join` with a join string";
            self.note(Note::warn(text));
            return self.say(FromApplier::NotJoined);
        };
        self.enrol(&join, transport_key, outside);
        self.say(FromApplier::Welcome {
            coordinator: join.coordinator,
            coordinator_key: trust.policy.document().log.key.clone(),
            known: trust.head.size,
        });
        let enrolment = self.saved.enrolment.iter().filter(|it| !it.logged);
        let waiting: Vec<_> = enrolment
            .map(|it| (it.id, it.envelope.clone()))
            .chain(self.saved.reports.iter().cloned())
            .collect();
        for (id, envelope) in waiting {
            self.append(id, envelope);
        }
        self.told = None;
    }

    pub(crate) fn append(&mut self, id: Digest, envelope: Vec<u8>) {
        let known = self.known();
        self.say(FromApplier::Append { id, envelope, known });
    }

    /// Makes the enrolment statement for this transport key, unless there is one that can still be logged.
    fn enrol(&mut self, join: &Join, transport_key: &PublicKey, outside: &mut Outside<'_>) {
        let made = self.saved.enrolment.as_ref();
        let anew = self.is_enrolment_due(outside.now.monotonic);
        if made.is_some_and(|it| it.logged || !anew && names_key(it, transport_key)) {
            return;
        }
        self.enrolment_due = None;
        let enrolment = Enrolment {
            host: self.settings.host.clone(),
            environment: self.settings.environment.clone(),
            labels: join.labels.iter().cloned().collect(),
            applications: self.settings.applications.keys().cloned().collect(),
            host_key: self.host_key.public(),
            transport_key: transport_key.clone(),
            replaces: None,
            grant: Some(join.grant),
        };
        let says = HostChange::Enrolled(Box::new(enrolment));
        let statement = Statement::new(outside.now.wall, says);
        let grant_key = SecretKey::from_seed(join.grant_seed);
        let envelope = statement.signed_by([&grant_key, &self.host_key]);
        self.saved.enrolment = Some(SavedEnrolment {
            id: envelope.id(),
            envelope: envelope.to_bytes(),
            logged: false,
        });
        self.save_or_warn(outside);
    }

    /// When the enrolment is to be signed anew, on the monotonic clock; never while there is nobody to say it
    /// to.
    pub(crate) fn enrolment_due(&self) -> Option<Duration> {
        self.enrolment_due.filter(|_| self.transport_key.is_some())
    }

    fn is_enrolment_due(&self, monotonic: Duration) -> bool {
        self.enrolment_due().is_some_and(|due| due <= monotonic)
    }

    /// Signs the enrolment anew when that is due.
    pub(crate) fn enrol_if_due(&mut self, outside: &mut Outside<'_>) {
        if !self.is_enrolment_due(outside.now.monotonic) {
            return;
        }
        let (Some(join), Some(key)) = (self.saved.join.clone(), self.transport_key.clone()) else {
            return;
        };
        self.enrol(&join, &key, outside);
        if let Some(made) = self.saved.enrolment.clone() {
            self.append(made.id, made.envelope);
        }
    }

    /// The coordinator refused a statement of this host. An enrolment that was signed by a wrong clock, or so
    /// long ago that the coordinator was out of reach meanwhile, never gets any better: it is signed anew.
    pub(crate) fn not_logged(&mut self, id: Digest, refusal: &Refusal, outside: &Outside<'_>) {
        let enrolment = self.saved.enrolment.as_ref();
        let is_enrolment = enrolment.is_some_and(|it| it.id == id && !it.logged);
        if is_enrolment && refusal.code == Code::ClockSkew {
            self.enrolment_due = Some(outside.now.monotonic + SIGN_ANEW);
            let note = Note::warn("the enrolment is refused for its time, and will be signed anew");
            return self.note(note.about(id).saying(refusal));
        }
        let note = Note::error("the coordinator refused a statement");
        self.note(note.about(id).saying(refusal));
    }

    /// A statement of this host is in the log, if the proof holds.
    pub(crate) fn logged(
        &mut self,
        id: Digest,
        receipt: &Receipt,
        consistency: &[Digest],
        outside: &mut Outside<'_>,
    ) {
        let Some(envelope) = self.waiting(id) else { return };
        let Some(mut trust) = self.trust().cloned() else { return };
        match check_receipt(&trust, &envelope, receipt, consistency) {
            Ok(head) => {
                trust.head = head;
                self.set_trust(trust);
            }
            Err(Receipted::Older) => {
                // The host has seen a longer log meanwhile: ask again, for a proof under that.
                return self.append(id, envelope);
            }
            Err(Receipted::Wrong(why)) => {
                let note = Note::error("a receipt does not hold");
                return self.note(note.about(id).saying(&why));
            }
        }
        self.saved.reports.retain(|(known, _)| *known != id);
        if let Some(enrolment) = self.saved.enrolment.as_mut().filter(|it| it.id == id) {
            enrolment.logged = true;
            if let Some(join) = &mut self.saved.join {
                join.grant_seed = [0; 32];
            }
            let note = Note::info("this host is enrolled");
            self.note(note.about(id).saying(&format!("entry {}", receipt.index)));
        }
        self.save_or_warn(outside);
    }

    /// The envelope of a statement of this host that is not known to be logged.
    fn waiting(&self, id: Digest) -> Option<Vec<u8>> {
        let report = self.saved.reports.iter().find(|(known, _)| *known == id);
        let enrolment = self.saved.enrolment.as_ref().filter(|it| it.id == id && !it.logged);
        report
            .map(|(_, envelope)| envelope.clone())
            .or_else(|| enrolment.map(|it| it.envelope.clone()))
    }

    /// Signs an outcome and queues it until the log has it, if there is room. The caller saves.
    pub(crate) fn queue_outcome(
        &mut self,
        outcome: Outcome,
        now: Time,
    ) -> Option<(Digest, Vec<u8>)> {
        let limit = match outcome.event {
            Report::Refused { .. } => MAX_REFUSALS,
            Report::Drifted { .. } => MAX_DRIFT_REPORTS,
            Report::Committed
            | Report::Returned { .. }
            | Report::RolledBack
            | Report::Stuck { .. } => MAX_REPORTS,
        };
        let statement = Statement::new(now, outcome);
        let envelope = statement.signed_by([&self.host_key]);
        if self.saved.reports.len() >= limit {
            let note = Note::error("too many outcomes wait to be logged");
            self.note(note.saying(&limit));
            return None;
        }
        let report = (envelope.id(), envelope.to_bytes());
        self.saved.reports.push(report.clone());
        Some(report)
    }

    /// Says the newest queued outcome; what is lost on the way is said again with the next connection.
    pub(crate) fn send_newest_outcome(&mut self) {
        if let Some((id, envelope)) = self.saved.reports.last().cloned() {
            self.append(id, envelope);
        }
    }
}

enum Receipted {
    Older,
    Wrong(String),
}

fn check_receipt(
    trust: &Trust,
    envelope: &[u8],
    receipt: &Receipt,
    consistency: &[Digest],
) -> Result<TreeHead, Receipted> {
    let wrong = |error: &dyn std::fmt::Display| Receipted::Wrong(error.to_string());
    let log = &trust.policy.document().log;
    let checkpoint = checkpoint::verify(&receipt.checkpoint, &log.origin, &log.key)
        .map_err(|error| wrong(&error))?;
    if checkpoint.head.size < trust.head.size {
        return Err(Receipted::Older);
    }
    if checkpoint.head != trust.head
        && evidence::extends(&trust.head, &checkpoint.head, consistency).is_err()
    {
        // The proof may begin at a head that this host has left since it asked.
        return Err(Receipted::Older);
    }
    verify_inclusion(&leaf_hash(envelope), receipt.index, &receipt.inclusion, &checkpoint.head)
        .map_err(|error| wrong(&error))?;
    Ok(checkpoint.head)
}

fn names_key(enrolment: &SavedEnrolment, transport_key: &PublicKey) -> bool {
    let statement = Envelope::parse(&enrolment.envelope).ok();
    let statement = statement.and_then(|envelope| Statement::read(&envelope).ok());
    statement.is_some_and(|statement| {
        let Says::Host(HostChange::Enrolled(it)) = statement.says else { return false };
        it.transport_key == *transport_key
    })
}
