//! The pure half of a witness: it follows the log, and clears nothing that something stands against.
//!
//! A witness runs on somebody else's machine with a key of its own (DESIGN 11). Whoever drives it hands
//! it, in any order:
//!
//! - [`Witness::follow`]: the log's newest checkpoint with every entry since the last one. The entries must
//!   be exactly those of the checkpoint, so a log that was forked or shortened is never followed.
//! - [`Witness::hold`]: a statement *against*, from the one who signed it. It is examined as the
//!   coordinator would, and held until it is in the log. **While one is missing there, nothing is cleared**:
//!   a coordinator that hides it gains no clearance of this witness.
//! - [`Witness::clear`]: what a host asks. The answer is a clearance by the same measure as the
//!   coordinator's ([`mod@crate::turn`]), or why not.
//! - [`Witness::cosign`]: the checkpoint that it follows, with its cosignature (C2SP `tlog-cosignature`).
//!
//! What it hears of hosts is only what it cleared itself and what they had logged, so it takes a host that
//! it cleared to be at work until its outcome is in the log or its deadline has passed.

use std::collections::BTreeMap;

use crate::authorise::admission;
use crate::digest::Digest;
use crate::dsse::Envelope;
use crate::fold::State;
use crate::key::{KeyId, SecretKey};
use crate::log::checkpoint::{self, Checkpoint};
use crate::log::{Frontier, TreeHead, leaf_hash};
use crate::protocol::{Fleet, HostReport, HostView};
use crate::refusal::{Code, Refusal};
use crate::statement::Phase;
use crate::time::Time;
use crate::turn::{self, Asked};

/// Most statements that are held: a day's holds and freezes of a large agency with its coordinator down.
pub const MAX_HELD: usize = 1024;

/// A witness.
#[derive(Debug)]
pub struct Witness {
    name: String,
    key: SecretKey,
    genesis: Digest,
    since: Time,
    state: State,
    frontier: Frontier,
    newest: Option<(Checkpoint, Vec<u8>)>,
    held: Vec<(Digest, Vec<u8>)>,
    cleared: BTreeMap<(Digest, KeyId), Time>,
}

impl Witness {
    /// A witness that has seen nothing. `genesis` is the identity of the log's first policy, which its owner
    /// put in; `now` is when it begins: it takes hosts that it has not heard of since then for idle.
    pub fn new(name: String, key: SecretKey, genesis: Digest, now: Time) -> Self {
        Self {
            name,
            key,
            genesis,
            since: now,
            state: State::empty(),
            frontier: Frontier::default(),
            newest: None,
            held: Vec::new(),
            cleared: BTreeMap::new(),
        }
    }

    /// The log as it follows it.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Size and root of the log that it follows.
    pub fn head(&self) -> TreeHead {
        self.frontier.head()
    }

    /// The statements that it holds and that the log lacks, by identity.
    pub fn held(&self) -> impl Iterator<Item = &Digest> {
        self.held.iter().map(|(id, _)| id)
    }

    /// Follows the log to a checkpoint; `entries` are all that come after those it has. On refusal nothing
    /// changes. Refusals: `digest-mismatch` (another log's first policy), `signature-invalid`,
    /// `checkpoint-stale` (a shorter log), `checkpoint-inconsistent` (a forked one, or other entries).
    pub fn follow(&mut self, note: &[u8], entries: &[Vec<u8>]) -> Result<(), Refusal> {
        let mut state = self.state.clone();
        for (index, entry) in (self.frontier.size()..).zip(entries) {
            if index == 0 && Envelope::parse(entry).map(|it| it.id()).ok() != Some(self.genesis) {
                let facts = format!("the log does not begin with the policy {}", self.genesis);
                return Err(Refusal::new(Code::DigestMismatch, facts));
            }
            // What is refused is in the log all the same, and changes nothing.
            let _ = state.apply(index, entry);
        }
        let Some(policy) = state.policy() else {
            return Err(Refusal::new(Code::SubjectUnknown, "the log has no trust policy yet"));
        };
        let log = &policy.document().log;
        let checkpoint = checkpoint::verify(note, &log.origin, &log.key).map_err(|error| {
            Refusal::new(Code::SignatureInvalid, format!("checkpoint: {error}"))
        })?;
        let older = self.newest.as_ref().is_some_and(|(known, _)| checkpoint.time < known.time);
        if checkpoint.head.size < self.frontier.size() || older {
            return Err(Refusal::new(
                Code::CheckpointStale,
                format!(
                    "a log of {} entries as of {}, {} were seen before",
                    checkpoint.head.size,
                    checkpoint.time,
                    self.frontier.size()
                ),
            ));
        }
        let leaves = entries.iter().map(|entry| leaf_hash(entry));
        let frontier = self.frontier.extended(leaves, &checkpoint.head).map_err(|error| {
            Refusal::new(Code::CheckpointInconsistent, format!("the entries offered: {error}"))
        })?;
        for entry in entries {
            // Good or not, it is there for everybody to judge.
            let id = Envelope::parse(entry).map(|it| it.id()).ok();
            self.held.retain(|(held, _)| Some(*held) != id);
        }
        self.state = state;
        self.frontier = frontier;
        self.newest = Some((checkpoint, note.to_vec()));
        Ok(())
    }

    /// Holds a statement against, and gives its identity; one that the log has need not be held, however old
    /// it is. Refusals: those of the log's admission, which takes what only forbids for a day after it was
    /// signed, and `malformed` for a statement that nothing is stopped by.
    pub fn hold(&mut self, envelope: &[u8], now: Time) -> Result<Digest, Refusal> {
        // It may rest on others that are held: a hold by a key that a policy held here brought.
        let mut ahead = self.state.clone();
        for (_, held) in &self.held {
            let _ = ahead.apply(ahead.next_index(), held);
        }
        let examined = ahead.examine(ahead.next_index(), envelope)?;
        let id = examined.id();
        if !examined.says().is_against() {
            let facts = format!("a {} stands against nothing", examined.says().predicate());
            return Err(Refusal::new(Code::Malformed, facts));
        }
        if ahead.contains(&id) {
            return Ok(id);
        }
        admission::admit(&ahead, ahead.next_index(), envelope, now)?;
        if self.held.len() == MAX_HELD {
            return Err(Refusal::new(Code::Busy, format!("{MAX_HELD} statements are held")));
        }
        self.held.push((id, envelope.to_vec()));
        Ok(id)
    }

    /// Lets go of a statement that the log will never have, because its signer took it back. For the
    /// witness's owner alone: it is what keeps the coordinator from hiding it.
    pub fn let_go(&mut self, id: &Digest) -> bool {
        let before = self.held.len();
        self.held.retain(|(held, _)| held != id);
        self.held.len() < before
    }

    /// A clearance for a host, signed. Refusals: `not-cleared` (a statement that it holds is missing from
    /// the log, or it is not the host's turn), `checkpoint-stale` (the log has not been heard of for longer
    /// than a clearance is good), and whatever the standing rules say.
    pub fn clear(&mut self, asked: &Asked, now: Time) -> Result<Envelope, Refusal> {
        if let Some((id, _)) = self.held.first() {
            return Err(Refusal::new(
                Code::NotCleared,
                format!("the log lacks {} statements that are held, {id} first", self.held.len()),
            ));
        }
        self.is_fresh(now)?;
        let fleet = self.fleet(&asked.order, now);
        turn::allow(&self.state, &fleet, &asked.host, (&asked.order, asked.phase), now)?;
        let statement = turn::clearance(&self.state, &self.head(), asked, now)?;
        let begins = self.cleared.entry((asked.order, asked.host)).or_insert(now);
        if asked.phase == Phase::Start {
            *begins = now;
        }
        Ok(statement.signed_by([&self.key]))
    }

    /// The newest checkpoint that it follows, with its cosignature of now; `None` before the first. A line
    /// of another time is not added to one that has this witness's already.
    pub fn cosign(&self, now: Time) -> Option<Vec<u8>> {
        let (_, note) = self.newest.as_ref()?;
        checkpoint::cosign(note, &self.name, now, &self.key).ok()
    }

    fn is_fresh(&self, now: Time) -> Result<(), Refusal> {
        let known = self.state.policy().zip(self.newest.as_ref());
        let Some((policy, (newest, _))) = known else {
            return Err(Refusal::new(Code::CheckpointStale, "no checkpoint has been seen"));
        };
        let freshness = &policy.document().freshness;
        if now.distance(newest.time) <= freshness.clearance {
            return Ok(());
        }
        Err(Refusal::new(
            Code::CheckpointStale,
            format!("the newest checkpoint is of {}, by the clock here it is {now}", newest.time),
        ))
    }

    /// The hosts of a booking as far as this witness knows: those that it cleared are at work, wherever
    /// they are; the others are ready.
    fn fleet(&self, order: &Digest, now: Time) -> Fleet {
        let planned = self.state.booking(order);
        let planned = planned.into_iter().flat_map(|(_, it)| it.booking.says().plan.hosts());
        let view = |host_key: KeyId| match self.cleared.get(&(*order, host_key)) {
            Some(time) => HostView {
                host_key,
                connected: false,
                heard: *time,
                report: None,
                cleared: vec![(*order, *time)],
            },
            None => HostView {
                host_key,
                connected: true,
                heard: now,
                report: Some(HostReport {
                    known: self.frontier.size(),
                    policy_version: 0,
                    applications: Vec::new(),
                }),
                cleared: Vec::new(),
            },
        };
        let hosts = planned.map(|host| view(host.host_key)).collect();
        Fleet { now, since: self.since, hosts }
    }
}
