//! The places at which bytes from outside come into the product.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use cutover_shared::authorise::{
    self, ClearanceFacts, Clearances, HostFacts, InstalledFacts, Question, TakenBack,
    WitnessClearance, admission,
};
use cutover_shared::codec;
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::evidence::{self, Evidence, Trust};
use cutover_shared::fold::State;
use cutover_shared::key::{KeyId, PublicKey};
use cutover_shared::log::{TreeHead, checkpoint};
use cutover_shared::name::Name;
use cutover_shared::package::chunk::{self, ChunkRef};
use cutover_shared::package::index::Index;
use cutover_shared::package::manifest::Manifest;
use cutover_shared::package::map::PackMap;
use cutover_shared::policy::TrustPolicy;
use cutover_shared::protocol::{Request, ToApplier};
use cutover_shared::statement::Phase;
use cutover_shared::time::Time;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::fixture::{Attack, Common, FIRST, Refused};

/// Where an attack is brought to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Entrance {
    /// The fold of the log: `entry-NN.json` after the policy, in order; where there is no first one, the
    /// common one. The last one is refused, and those before it are good.
    Log,
    /// The coordinator's door to the log: as before, and the last one comes in [`Arrival::now`].
    Admission,
    /// A new host's pinned policy: `policy.json`, which should be [`Pin::pinned`].
    Pin,
    /// A host that is offered a booking: `evidence.bin` and, where it comes so far, `clearance.json` and
    /// those of witnesses, `witness-NN.bin`, each as it is in a frame.
    Order,
    /// A host that is offered an ordered return: `evidence.bin`.
    Return,
    /// A reader of checkpoints: `note.txt`, which should be of the policy's log.
    Checkpoint,
    /// A reader of public keys: `keys.txt`, a line of hexadecimal digits each. All are refused alike.
    Keys,
    /// A reader of package indexes: `index.json`.
    Index,
    /// A reader of chunks: `chunk.zst`, which should be [`Expected`].
    Chunk,
    /// A reader of pack maps: `map.bin`.
    Map,
    /// A reader of frames from the wire: `frame.bin`, a request.
    Frame,
    /// A reader of frames from the agent's network half: `frame.bin`.
    Socket,
    /// A reader of manifests: `release.toml`.
    Manifest,
}

/// When a statement comes to the coordinator.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arrival {
    pub(crate) now: Time,
}

/// The policy that the operator put in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pin {
    pub(crate) pinned: Digest,
}

/// The chunk that an index asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    pub(crate) digest: Digest,
    pub(crate) length: u32,
}

/// A host that is asked to act, and what it knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Asked {
    pub(crate) host: Name,
    pub(crate) host_key: KeyId,
    pub(crate) environment: Name,
    pub(crate) applications: BTreeSet<Name>,
    pub(crate) order: Digest,
    pub(crate) phase: Phase,
    pub(crate) now: Time,
    /// What it sent with its request for a clearance.
    pub(crate) nonce: Digest,
    pub(crate) round_trip_milliseconds: u64,
    /// The newest head of the log that it has seen.
    pub(crate) seen: TreeHead,
    /// The newest time that it has accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) newest_time: Option<Time>,
    pub(crate) generation: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) running: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) previous: Option<Digest>,
    /// The order that brought what runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) committed_by: Option<Digest>,
    /// Orders that it has begun.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) spent: BTreeSet<Digest>,
    /// Packages that it took back, each when it knew so many entries of the log.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) returned: BTreeMap<Digest, u64>,
}

/// The inputs of an attack, each to be taken once.
struct Inputs {
    files: BTreeMap<String, Vec<u8>>,
    given: toml::Table,
}

/// How an attack is met: let in, or refused.
///
/// # Errors
///
/// When the fixture is not laid out as its entrance wants it.
pub(crate) fn meet(attack: &Attack, common: &Common) -> anyhow::Result<Result<(), Refused>> {
    let mut inputs = Inputs { files: attack.inputs()?, given: attack.about.given.clone() };
    let met = match attack.about.entrance {
        Entrance::Log => log(&mut inputs, common, None)?,
        Entrance::Admission => {
            let Arrival { now } = inputs.given()?;
            log(&mut inputs, common, Some(now))?
        }
        Entrance::Pin => pin(&mut inputs)?,
        Entrance::Order => order(&mut inputs, common)?,
        Entrance::Return => ordered_return(&mut inputs, common)?,
        Entrance::Checkpoint => read_checkpoint(&mut inputs, common)?,
        Entrance::Keys => keys(&mut inputs)?,
        Entrance::Index => judged(Index::parse(&inputs.take("index.json")?)),
        Entrance::Chunk => {
            let Expected { digest, length } = inputs.given()?;
            judged(chunk::inflate(&inputs.take("chunk.zst")?, &ChunkRef { digest, length }))
        }
        Entrance::Map => judged(PackMap::parse(&inputs.take("map.bin")?)),
        Entrance::Frame => frame::<Request>(&inputs.take("frame.bin")?)?,
        Entrance::Socket => frame::<ToApplier>(&inputs.take("frame.bin")?)?,
        Entrance::Manifest => manifest(&mut inputs)?,
    };
    inputs.end()?;
    Ok(met)
}

impl Inputs {
    fn take(&mut self, name: &str) -> anyhow::Result<Vec<u8>> {
        self.files.remove(name).with_context(|| format!("no file {name}"))
    }

    /// What `attack.toml` gives, all of it.
    fn given<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        Ok(std::mem::take(&mut self.given).try_into()?)
    }

    fn end(self) -> anyhow::Result<()> {
        let left: Vec<_> = self.files.into_keys().collect();
        ensure!(left.is_empty(), "files that the entrance does not read: {}", left.join(", "));
        ensure!(self.given.is_empty(), "given what the entrance does not ask for");
        Ok(())
    }

    /// The policy that is trusted at this entrance.
    fn policy(&mut self, common: &Common) -> anyhow::Result<(TrustPolicy, Vec<u8>)> {
        let bytes = self.take("policy.json").unwrap_or_else(|_| common.policy.clone());
        let envelope = Envelope::parse(&bytes)?;
        Ok((TrustPolicy::pinned(&envelope, &envelope.id())?, bytes))
    }
}

fn judged<T, E: std::error::Error + Send + Sync + 'static>(
    read: Result<T, E>,
) -> Result<(), Refused> {
    read.map(|_| ()).map_err(Refused::because)
}

fn log(
    inputs: &mut Inputs,
    common: &Common,
    arrives: Option<Time>,
) -> anyhow::Result<Result<(), Refused>> {
    let (_, policy) = inputs.policy(common)?;
    let mut state = State::empty();
    state.apply(0, &policy)?;
    let first = inputs.take(FIRST).unwrap_or_else(|_| common.entry.clone());
    let mut entries = vec![first];
    while let Ok(entry) = inputs.take(&format!("entry-{:02}.json", entries.len() + 1)) {
        entries.push(entry);
    }
    let last = entries.pop().context("no entry")?;
    for (index, entry) in (1..).zip(&entries) {
        state.apply(index, entry).with_context(|| format!("entry {index}"))?;
    }
    let index = state.next_index();
    let met = match arrives {
        Some(now) => admission::admit(&state, index, &last, now).map(|_| ()),
        None => state.apply(index, &last).map(|_| ()),
    };
    Ok(met.map_err(Refused::from))
}

fn pin(inputs: &mut Inputs) -> anyhow::Result<Result<(), Refused>> {
    let Pin { pinned } = inputs.given()?;
    let envelope = match Envelope::parse(&inputs.take("policy.json")?) {
        Ok(envelope) => envelope,
        Err(error) => return Ok(Err(Refused::because(error))),
    };
    Ok(TrustPolicy::pinned(&envelope, &pinned).map(|_| ()).map_err(Refused::from))
}

/// What a host makes of an offer, with the clearance that comes with it, if one does.
fn order(inputs: &mut Inputs, common: &Common) -> anyhow::Result<Result<(), Refused>> {
    let clearance = inputs.take("clearance.json").ok();
    let mut witnesses: Vec<WitnessClearance> = Vec::new();
    while let Ok(bytes) = inputs.take(&format!("witness-{:02}.bin", witnesses.len() + 1)) {
        witnesses.push(codec::decode(&bytes)?);
    }
    let (asked, trust, evidence) = offered(inputs, common)?;
    let opened = match evidence::open(&evidence, &asked.order, &trust) {
        Ok(opened) => opened,
        Err(refusal) => return Ok(Err(refusal.into())),
    };
    let host = asked.facts();
    let question = asked.question(opened.state(), &host);
    let Some(clearance) = clearance else {
        // The attack comes to its end before anybody is asked for a clearance.
        return Ok(authorise::judge(&question).map(|_| ()).map_err(Refused::from));
    };
    let facts = ClearanceFacts {
        nonce: asked.nonce,
        round_trip: Duration::from_millis(asked.round_trip_milliseconds),
        head: opened.checkpoint().head.clone(),
    };
    let clearances = Clearances { coordinator: &clearance, witnesses: &witnesses };
    Ok(authorise::authorise(&question, &clearances, &facts).map(|_| ()).map_err(Refused::from))
}

fn ordered_return(inputs: &mut Inputs, common: &Common) -> anyhow::Result<Result<(), Refused>> {
    let (asked, trust, evidence) = offered(inputs, common)?;
    let opened = match evidence::open(&evidence, &asked.order, &trust) {
        Ok(opened) => opened,
        Err(refusal) => return Ok(Err(refusal.into())),
    };
    let host = asked.facts();
    let question = asked.question(opened.state(), &host);
    Ok(authorise::authorise_return(&question).map(|_| ()).map_err(Refused::from))
}

fn offered(inputs: &mut Inputs, common: &Common) -> anyhow::Result<(Asked, Trust, Evidence)> {
    let asked: Asked = inputs.given()?;
    let (policy, policy_envelope) = inputs.policy(common)?;
    let trust = Trust { policy, policy_envelope, head: asked.seen.clone() };
    let evidence = inputs.take("evidence.bin").unwrap_or_else(|_| common.evidence.clone());
    Ok((asked, trust, codec::decode(&evidence)?))
}

impl Asked {
    fn facts(&self) -> HostFacts {
        HostFacts {
            host: self.host.clone(),
            host_key: self.host_key,
            environment: self.environment.clone(),
            applications: self.applications.clone(),
            installed: InstalledFacts {
                generation: self.generation,
                running: self.running,
                previous: self.previous,
                committed_by: self.committed_by,
                spent: self.spent.clone(),
                returned: self
                    .returned
                    .iter()
                    .map(|(package, size)| (*package, TakenBack { size: *size, time: self.now }))
                    .collect(),
                ..InstalledFacts::default()
            },
            newest_time: self.newest_time,
            clock_synchronised: None,
            inhibitors: Vec::new(),
        }
    }

    fn question<'a>(&self, state: &'a State, host: &'a HostFacts) -> Question<'a> {
        Question { state, host, order: self.order, phase: self.phase, now: self.now }
    }
}

fn read_checkpoint(inputs: &mut Inputs, common: &Common) -> anyhow::Result<Result<(), Refused>> {
    let (policy, _) = inputs.policy(common)?;
    let log = &policy.document().log;
    Ok(judged(checkpoint::verify(&inputs.take("note.txt")?, &log.origin, &log.key)))
}

fn keys(inputs: &mut Inputs) -> anyhow::Result<Result<(), Refused>> {
    let text = String::from_utf8(inputs.take("keys.txt")?)?;
    let mut errors = BTreeSet::new();
    for line in text.lines() {
        let digest: Digest = line.parse()?;
        let raw = *digest.as_bytes();
        match PublicKey::from_raw(raw) {
            // One that is let in is let in, whatever happens to the others.
            Ok(_) => return Ok(Ok(())),
            Err(error) => errors.insert(Refused::because(error).facts),
        };
    }
    ensure!(errors.len() == 1, "refused in {} ways", errors.len());
    Ok(Err(Refused { code: None, facts: errors.pop_first().unwrap_or_default() }))
}

fn frame<T: DeserializeOwned>(bytes: &[u8]) -> anyhow::Result<Result<(), Refused>> {
    let (header, body) = bytes.split_first_chunk().context("no header")?;
    let length = match codec::frame_length(*header) {
        Ok(length) => length,
        Err(error) => return Ok(Err(Refused::because(error))),
    };
    // Where less is there, the reader waits for the rest and its peer is timed out.
    ensure!(body.len() == length, "{} bytes of {length}", body.len());
    Ok(judged(codec::decode::<T>(body)))
}

fn manifest(inputs: &mut Inputs) -> anyhow::Result<Result<(), Refused>> {
    let text = String::from_utf8(inputs.take("release.toml")?)?;
    let told = |findings: Vec<cutover_shared::package::finding::Finding>| {
        let told = findings.into_iter().map(|it| {
            format!("{}: {}", it.field.unwrap_or_default(), it.problem).trim().to_owned()
        });
        Refused { code: None, facts: told.collect::<Vec<_>>().join("; ") }
    };
    Ok(Manifest::parse(&text).map(|_| ()).map_err(told))
}
