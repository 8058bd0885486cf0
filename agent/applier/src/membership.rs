//! Joining, and what the log has acknowledged: the applier's part in the host's identity.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use cutover_shared::codec;
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::evidence::{self, Trust};
use cutover_shared::key::{PublicKey, SecretKey};
use cutover_shared::log::{checkpoint, leaf_hash, verify_inclusion};
use cutover_shared::policy::TrustPolicy;
use cutover_shared::protocol::{FromApplier, Join, Receipt, ToApplier};
use cutover_shared::statement::{Enrolment, Event as Report, HostChange, Outcome, Says, Statement};

use crate::applier::Applier;
use crate::config::Settings;
use crate::link::Link;
use crate::saved::{MAX_REFUSALS, MAX_REPORTS, SavedEnrolment};

/// What a join string begins with.
pub const JOIN_PREFIX: &str = "cutover-join:";
/// The file in the inbox that holds a join string.
pub const JOIN_FILE: &str = "join";
/// The file in the inbox that says that an operator accepts the clock as it is.
pub const CLOCK_FILE: &str = "clock-accept";

/// Where an operator's words to the applier are put.
pub fn inbox(settings: &Settings) -> PathBuf {
    settings.state_directory.join("inbox")
}

/// Reads a join string and checks it against the host's own configuration: the policy is what its digest
/// says and well signed, and the grant is for this environment and these applications.
pub fn read_join(text: &str, settings: &Settings) -> Result<Join, String> {
    let body = text.trim().strip_prefix(JOIN_PREFIX);
    let body = body.ok_or(format!("not a join string: it begins with {JOIN_PREFIX}"))?;
    let bytes = BASE64_URL_SAFE_NO_PAD
        .decode(body)
        .map_err(|_| "the join string is damaged: copy it whole, on one line".to_owned())?;
    let join: Join = codec::decode(&bytes)
        .map_err(|_| "the join string is damaged, or made by another version".to_owned())?;
    let policy = pinned(&join)?;
    if policy.document().log.key != join.coordinator_key {
        return Err("the join string's coordinator is not the one of its trust policy".to_owned());
    }
    if join.environment != settings.environment {
        return Err(format!(
            "the join string is for environment {}, this host's configuration says {}",
            join.environment, settings.environment
        ));
    }
    let foreign = settings.applications.keys().find(|name| !join.applications.contains(*name));
    match foreign {
        None => Ok(join),
        Some(name) => Err(format!(
            "the configuration has application {name}, for which the join string gives no grant"
        )),
    }
}

fn pinned(join: &Join) -> Result<TrustPolicy, String> {
    let envelope = Envelope::parse(&join.policy).map_err(|error| error.to_string())?;
    TrustPolicy::pinned(&envelope, &join.policy_id).map_err(|refusal| refusal.to_string())
}

impl Applier {
    /// Reads what an operator has put into the inbox.
    pub(crate) fn read_inbox(&mut self) {
        let inbox = inbox(&self.settings);
        if let Some(text) = take(&inbox.join(JOIN_FILE)) {
            match read_join(&text, &self.settings) {
                Ok(join) => self.join(join),
                Err(why) => tracing::error!(%why, "the join string in the inbox is refused"),
            }
        }
        if take(&inbox.join(CLOCK_FILE)).is_some() {
            tracing::warn!(was = ?self.saved.newest_time, "an operator accepted the clock as it is");
            self.saved.newest_time = None;
            self.save_or_warn();
        }
    }

    fn join(&mut self, join: Join) {
        if self.saved.enrolment.as_ref().is_some_and(|it| it.logged) {
            tracing::error!(
                "this host is enrolled already; retire it and clear its state to join anew"
            );
            return;
        }
        let policy = match pinned(&join) {
            Ok(policy) => policy,
            Err(why) => return tracing::error!(%why, "the join string's policy is refused"),
        };
        let trust = Trust { policy, policy_envelope: join.policy.clone(), head: join.head.clone() };
        let policy = trust.policy.id();
        self.set_trust(trust);
        self.saved.join = Some(join);
        self.saved.enrolment = None;
        self.save_or_warn();
        tracing::info!(%policy, "joined; enrolling when the network half connects");
        if let Some(transport_key) = self.transport_key.clone() {
            self.welcome(&transport_key);
        }
    }

    /// A new connection of the network half: nothing is known of it until it says hello.
    pub(crate) fn linked(&mut self, link: Link) {
        self.link = Some(link);
        self.connected = false;
        self.told = None;
        self.transport_key = None;
    }

    pub(crate) async fn frame(&mut self, frame: ToApplier) {
        match frame {
            ToApplier::Hello { transport_key } => {
                self.transport_key = Some(transport_key.clone());
                self.welcome(&transport_key);
            }
            ToApplier::Connected(connected) => {
                self.connected = connected;
                tracing::info!(connected, "coordinator");
                if connected {
                    self.ask_again();
                }
            }
            ToApplier::Directive(directive) => self.directive(*directive),
            ToApplier::Clearance { nonce, answer } => self.clearance(nonce, answer),
            ToApplier::Bytes { package, part, offset, bytes, last } => {
                if !self.desk.bytes((package, part), offset, bytes, last).await {
                    self.say(FromApplier::StopFetching { package });
                }
            }
            ToApplier::FetchFailed { package, part, refusal, .. } => {
                tracing::warn!(package = %package.short(), %refusal, "a fetch was refused");
                self.desk.failed(package, part, refusal).await;
            }
            ToApplier::Logged { id, receipt, consistency } => {
                self.logged(id, &receipt, &consistency);
            }
            ToApplier::NotLogged { id, refusal } => {
                tracing::error!(statement = %id, %refusal, "the coordinator refused a statement");
            }
        }
    }

    /// Tells the network half where the coordinator is, and everything that waits for it.
    fn welcome(&mut self, transport_key: &PublicKey) {
        let (Some(join), Some(trust)) = (self.saved.join.clone(), self.trust().cloned()) else {
            tracing::warn!(
                "not joined: an operator runs `cutover-applier join` with a join string"
            );
            return self.say(FromApplier::NotJoined);
        };
        self.enrol(&join, transport_key);
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
        for fetch in self.desk.again() {
            self.say(fetch);
        }
        self.told = None;
    }

    pub(crate) fn append(&mut self, id: Digest, envelope: Vec<u8>) {
        let known = self.known();
        self.say(FromApplier::Append { id, envelope, known });
    }

    /// Makes the enrolment statement for this transport key, unless there is one.
    fn enrol(&mut self, join: &Join, transport_key: &PublicKey) {
        let made = self.saved.enrolment.as_ref();
        if made.is_some_and(|it| it.logged || names_key(it, transport_key)) {
            return;
        }
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
        let statement = Statement::new(self.clock.now().wall, says);
        let grant_key = SecretKey::from_seed(join.grant_seed);
        let envelope = statement.signed_by([&grant_key, &self.host_key]);
        self.saved.enrolment = Some(SavedEnrolment {
            id: envelope.id(),
            envelope: envelope.to_bytes(),
            logged: false,
        });
        self.save_or_warn();
    }

    /// A statement of this host is in the log, if the proof holds.
    fn logged(&mut self, id: Digest, receipt: &Receipt, consistency: &[Digest]) {
        let envelope = self
            .saved
            .reports
            .iter()
            .find(|(known, _)| *known == id)
            .map(|(_, envelope)| envelope.clone())
            .or_else(|| {
                let enrolment =
                    self.saved.enrolment.as_ref().filter(|it| it.id == id && !it.logged);
                enrolment.map(|it| it.envelope.clone())
            });
        let Some(envelope) = envelope else { return };
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
                return tracing::error!(statement = %id, %why, "a receipt does not hold");
            }
        }
        self.saved.reports.retain(|(known, _)| *known != id);
        if let Some(enrolment) = self.saved.enrolment.as_mut().filter(|it| it.id == id) {
            enrolment.logged = true;
            tracing::info!(index = receipt.index, "this host is enrolled");
            if let Some(join) = &mut self.saved.join {
                join.grant_seed = [0; 32];
            }
        }
        self.save_or_warn();
    }

    /// Signs an outcome and queues it until the log has it. The caller saves.
    pub(crate) fn queue_outcome(&mut self, outcome: Outcome) {
        let statement = Statement::new(self.clock.now().wall, outcome);
        let envelope = statement.signed_by([&self.host_key]);
        let refusal = matches!(statement.says, Says::Outcome(ref it) if matches!(it.event, Report::Refused { .. }));
        let limit = if refusal { MAX_REFUSALS } else { MAX_REPORTS };
        if self.saved.reports.len() >= limit {
            tracing::error!(limit, "too many outcomes wait to be logged");
            return;
        }
        self.saved.reports.push((envelope.id(), envelope.to_bytes()));
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
) -> Result<cutover_shared::log::TreeHead, Receipted> {
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

/// Reads a file of the inbox and removes it.
fn take(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    if let Err(error) = std::fs::remove_file(path) {
        tracing::error!(path = %path.display(), %error, "the inbox cannot be emptied");
        return None;
    }
    Some(text)
}
