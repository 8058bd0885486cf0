//! A person's connection to the coordinator: requests, and the checks of what comes back.
//!
//! The coordinator is known by the log's key, which the pinned policy names; the person by their own.
//! Nothing that it answers about the log is believed unproven ([`super::sync`]).

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use cutover_shared::authorise::admission;
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::log::checkpoint::Checkpoint;
use cutover_shared::log::{leaf_hash, verify_consistency, verify_inclusion};
use cutover_shared::package::chunk::inflate;
use cutover_shared::package::form::{Catalogue, MAX_SCHEMAS};
use cutover_shared::package::index::Index;
use cutover_shared::package::listing::Listing;
use cutover_shared::package::map::PackMap;
use cutover_shared::policy::{LogKey, TrustPolicy};
use cutover_shared::protocol::{Fleet, MAX_RANGE, OutboxView, Part, Receipt, Request, Response};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{Release, Statement};
use cutover_transport::{
    Connection, FrameReader, FrameWriter, RAW_PIECE, StreamError, open_stream,
};

use super::cache::Cache;
use super::context::{Beside, Context};
use super::exit::Failure;
use super::settings::Reach;
use super::sync::{Log, Synced, verify};
use crate::package::Progress;
use crate::package::file::PackageFile;

/// How long an answer may take. An append waits for a disk, and for a log that others append to.
const ANSWER_DEADLINE: Duration = Duration::from_mins(1);

/// How long the coordinator may take to verify a package that it has received: the largest one, on a
/// slow machine.
const STORE_DEADLINE: Duration = Duration::from_mins(30);

/// A statement that is proven to be in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its identity.
    pub id: Digest,
    /// Its place.
    pub index: u64,
}

/// How large the parts of a package are, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackageLengths {
    /// The index.
    pub index: u64,
    /// The map.
    pub map: u64,
    /// The pack.
    pub pack: u64,
}

/// A connection to the coordinator, and the copy of its log.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    log: Log,
    synced: Option<Arc<Synced>>,
}

impl Client {
    /// Connects; see [`Context::connect`].
    pub(super) async fn connect(context: &Context) -> Result<Self, Failure> {
        let Reach { coordinator, policy, cache } = context.settings.reach()?;
        let pinned = pinned_policy(policy)?;
        let cache = Cache::open(cache, &pinned.document().log);
        let log = Log::open(cache.context("open the copy of the log")?, &pinned)?;
        let LogKey { key, .. } = log.key();
        let endpoint = context.endpoint()?;
        let connected =
            cutover_transport::connect(endpoint, coordinator, key, context.secret_key()?).await;
        let connection = connected.context("reach the coordinator")?;
        Ok(Self { wire: Wire { connection }, log, synced: None })
    }

    /// Fetches what is missing of the log, verifies all of it, and folds it. A log that was forked or
    /// shortened, or that is not the pinned policy's, is refused.
    pub async fn sync(&mut self) -> Result<Arc<Synced>, Failure> {
        let synced = self.log.sync(&self.wire).await?;
        self.synced = Some(Arc::clone(&synced));
        Ok(synced)
    }

    /// Has a statement logged: answered when it is durable, and believed when its inclusion is proven
    /// under a checkpoint that extends the log known here.
    pub async fn append(&mut self, envelope: &Envelope) -> Result<Appended, Failure> {
        let bytes = envelope.to_bytes();
        let request = Request::Append { envelope: bytes.clone() };
        let Response::Appended(receipt) = self.wire.ask("append the statement", &request).await?
        else {
            return Err(unexpected("append the statement"));
        };
        self.check_receipt(&bytes, &receipt).await?;
        Ok(Appended { id: envelope.id(), index: receipt.index })
    }

    async fn check_receipt(&self, entry: &[u8], receipt: &Receipt) -> Result<(), Failure> {
        let checkpoint = self.log.verify(&receipt.checkpoint)?;
        let proof = &receipt.inclusion;
        verify_inclusion(&leaf_hash(entry), receipt.index, proof, &checkpoint.head).map_err(
            |error| {
                Refusal::new(
                    Code::NotLogged,
                    format!("the coordinator's receipt is no proof: {error}"),
                )
            },
        )?;
        let Some(known) = self.log.head() else { return Ok(()) };
        let inconsistent = |facts: String| Refusal::new(Code::CheckpointInconsistent, facts);
        if checkpoint.head.size < known.size {
            return Err(inconsistent(format!(
                "the receipt is for a log of {} entries, and one of {} was verified here before",
                checkpoint.head.size, known.size
            ))
            .into());
        }
        let proof = self.wire.consistency(known.size, checkpoint.head.size).await?;
        verify_consistency(known, &checkpoint.head, &proof).map_err(|error| {
            inconsistent(format!("the log does not extend the one verified here before: {error}"))
        })?;
        Ok(())
    }

    /// The whole way of a command that says one thing: shows it and asks, signs it, has it logged, and
    /// prints identity, place and `more`. `None` for a dry run.
    pub async fn sign_and_append(
        &mut self,
        context: &Context,
        statement: &Statement,
        more: &[(&str, serde_json::Value)],
    ) -> Result<Option<Appended>, Failure> {
        self.sign_and_append_beside(context, statement, more, None).await
    }

    /// The same, with what is to be seen `beside` the statement.
    pub async fn sign_and_append_beside(
        &mut self,
        context: &Context,
        statement: &Statement,
        more: &[(&str, serde_json::Value)],
        beside: Option<&Beside>,
    ) -> Result<Option<Appended>, Failure> {
        let state = self.synced.as_ref().map(|synced| &synced.state);
        let Some(envelope) = context.sign(statement, state, beside)? else { return Ok(None) };
        // The signer's own program judges, on the log that it verified itself: who releases a window says
        // with the checkpoint in it that nothing stood against it up to there.
        if let Some(state) = state {
            admission::admit(state, state.next_index(), &envelope.to_bytes(), context.now())?;
        }
        let appended = self.append(&envelope).await?;
        let beside = beside.map(|it| (it.name, it.value.clone()));
        let more: Vec<_> = more.iter().cloned().chain(beside).collect();
        context.sink().appended(&appended, &more)?;
        Ok(Some(appended))
    }

    /// The same for several statements that belong together: they are asked for once, under `shown`.
    pub async fn sign_and_append_each(
        &mut self,
        context: &Context,
        statements: &[Statement],
        shown: &str,
    ) -> Result<(), Failure> {
        let Some(envelopes) = context.sign_each(statements, shown, None)? else { return Ok(()) };
        let mut all = Vec::new();
        for envelope in &envelopes {
            if let Some(state) = self.synced.as_ref().map(|synced| &synced.state) {
                admission::admit(state, state.next_index(), &envelope.to_bytes(), context.now())?;
            }
        }
        for envelope in &envelopes {
            let Appended { id, index } = self.append(envelope).await?;
            context.sink().note(format!("logged    entry {index}: {}", id.short()));
            all.push(serde_json::json!({ "id": id.to_string(), "index": index }));
        }
        context.sink().json(&all)
    }

    /// What the coordinator knows of the hosts now. Unsigned: for people.
    pub async fn fleet(&self) -> Result<Fleet, Failure> {
        let doing = "ask for the hosts";
        let Response::Fleet(fleet) = self.wire.ask(doing, &Request::Fleet).await? else {
            return Err(unexpected(doing));
        };
        Ok(fleet)
    }

    /// What was told to whom, as far as this person may see it. Unsigned: for people.
    pub async fn outbox(&self) -> Result<OutboxView, Failure> {
        let doing = "ask for the outbox";
        let Response::Outbox(view) = self.wire.ask(doing, &Request::Outbox).await? else {
            return Err(unexpected(doing));
        };
        Ok(view)
    }

    /// Has a delivery tried again.
    pub async fn retry_delivery(&self, key: Digest) -> Result<(), Failure> {
        let doing = "have a delivery tried again";
        let answer = self.wire.ask(doing, &Request::RetryDelivery { key }).await?;
        if answer == Response::Retried { Ok(()) } else { Err(unexpected(doing)) }
    }

    /// A checkpoint now and after each growth of the log.
    pub async fn follow(&self) -> Result<Follow, Failure> {
        let reader = self.wire.open("follow the log", &Request::Follow).await?;
        Ok(Follow { reader, log: self.log.key().clone() })
    }

    /// Has a package stored. It must have been verified.
    pub async fn upload_package(
        &self,
        package: &PackageFile,
        progress: &mut dyn Progress,
    ) -> Result<(), Failure> {
        let doing = "upload the package";
        let map = package.map().to_bytes();
        let request = Request::PutPackage {
            package: package.index().digest(),
            index_length: package.index_bytes().len() as u64,
            map_length: map.len() as u64,
            pack_length: package.pack_length(),
        };
        let (mut writer, mut reader) = open_stream(&self.wire.connection).await.context(doing)?;
        writer.send(&request).await.context(doing)?;
        let parts = package.index_bytes().chain(&map[..]).chain(package.pack());
        progress
            .begin(package.index_bytes().len() as u64 + map.len() as u64 + package.pack_length());
        let sent = send_all(&mut writer, parts, progress).await;
        // Whoever refuses does not read to the end: the answer says more than the broken stream.
        let answer = answer_within(STORE_DEADLINE, doing, &mut reader).await;
        match (sent, answer) {
            (_, Ok(Response::Stored)) => Ok(()),
            (_, Err(Failure::Refused(refusal))) => Err(refusal.into()),
            (Err(failure), _) | (Ok(()), Err(failure)) => Err(failure),
            (Ok(()), Ok(_)) => Err(unexpected(doing)),
        }
    }

    /// How large the parts of a stored package are.
    pub async fn package_lengths(&self, package: Digest) -> Result<PackageLengths, Failure> {
        let doing = "ask for a package";
        let response = self.wire.ask(doing, &Request::PackageInfo { package }).await?;
        let Response::PackageInfo { index_length, map_length, pack_length } = response else {
            return Err(unexpected(doing));
        };
        Ok(PackageLengths { index: index_length, map: map_length, pack: pack_length })
    }

    /// The schemas of forms that the coordinator demands now.
    pub async fn catalogue(&self) -> Result<Catalogue, Failure> {
        self.schemas(Vec::new()).await
    }

    /// The schemas that a release was submitted with, each verified against its digest.
    pub async fn catalogue_of(&self, release: &Release) -> Result<Catalogue, Failure> {
        if release.forms.is_empty() {
            return self.catalogue().await;
        }
        let catalogue = self.schemas(release.forms.iter().map(|it| it.digest).collect()).await?;
        for form in &release.forms {
            if catalogue.of_digest(&form.digest).is_none() {
                return Err(Failure::failed(format!(
                    "find the schema {}/{} ({}): the coordinator does not have it",
                    form.form,
                    form.version,
                    form.digest.short()
                )));
            }
        }
        Ok(catalogue)
    }

    async fn schemas(&self, of: Vec<Digest>) -> Result<Catalogue, Failure> {
        let doing = "ask for the forms";
        let response = self.wire.ask(doing, &Request::Forms { of }).await?;
        let Response::Forms(texts) = response else { return Err(unexpected(doing)) };
        let mut catalogue = Catalogue::empty();
        for text in texts.iter().take(MAX_SCHEMAS) {
            catalogue.add("a form's schema of the coordinator", text).context(doing)?;
        }
        Ok(catalogue)
    }

    /// What is in a stored package, with its documents: verified against the package's digest.
    pub async fn listing(&self, package: Digest) -> Result<Listing, Failure> {
        let PackageLengths { index, map, .. } = self.package_lengths(package).await?;
        let damaged = |what: &str| {
            Failure::failed(format!("read package {}: {what} is damaged", package.short()))
        };
        let index = self.part(package, Part::Index, index).await?;
        if Digest::of(&index) != package {
            return Err(damaged("its index"));
        }
        let index = Index::parse(&index).context("read the package's index")?;
        let map = self.part(package, Part::Map, map).await?;
        let map = PackMap::parse(&map).context("read the package's map")?;
        let mut documents = BTreeMap::new();
        for (path, file) in index.documents() {
            let mut text = Vec::new();
            for chunk in &file.chunks {
                let piece = map.locate(&chunk.digest).ok_or_else(|| damaged("its map"))?;
                let stored = u64::from(piece.stored);
                let stored = self.artifact(package, Part::Pack, piece.offset, stored).await?;
                text.extend(inflate(&stored, chunk).map_err(|_| damaged(path))?);
            }
            documents.insert(path.to_owned(), text);
        }
        Ok(Listing::of_index(&index, documents))
    }

    /// A whole part of a stored package.
    async fn part(&self, package: Digest, part: Part, length: u64) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < length {
            let from = bytes.len() as u64;
            let piece = self.artifact(package, part, from, MAX_RANGE.min(length - from)).await?;
            if piece.is_empty() {
                return Err(unexpected("read a part of a package"));
            }
            bytes.extend(piece);
        }
        Ok(bytes)
    }

    /// Bytes of a stored package, at most [`MAX_RANGE`]. What they are worth is for the caller to check.
    pub async fn artifact(
        &self,
        package: Digest,
        part: Part,
        offset: u64,
        length: u64,
    ) -> Result<Vec<u8>, Failure> {
        let doing = "read a part of a package";
        let request = Request::Artifact { package, part, offset, length };
        let mut reader = self.wire.open(doing, &request).await?;
        let Response::Bytes { length: announced @ ..=MAX_RANGE } =
            answer(doing, &mut reader).await?
        else {
            return Err(unexpected(doing));
        };
        let announced = usize::try_from(announced).expect("MAX_RANGE fits in memory");
        let mut bytes = BytesMut::new();
        while bytes.len() < announced {
            let piece = RAW_PIECE.min(announced - bytes.len());
            let read = tokio::time::timeout(ANSWER_DEADLINE, reader.read_raw(&mut bytes, piece));
            let read = read.await.map_err(|_elapsed| silent(doing))?.context(doing)?;
            if read < piece {
                return Err(unexpected(doing));
            }
        }
        reader.expect_end().await.context(doing)?;
        Ok(bytes.to_vec())
    }
}

/// Checkpoints as the log grows.
#[derive(Debug)]
pub struct Follow {
    reader: FrameReader,
    log: LogKey,
}

impl Follow {
    /// The next checkpoint, verified; `None` when the coordinator ends.
    pub async fn next(&mut self) -> Result<Option<Checkpoint>, Failure> {
        let doing = "follow the log";
        let Some(response) = self.reader.recv::<Response>().await.context(doing)? else {
            return Ok(None);
        };
        let Response::Checkpoint(note) = checked(doing, response)? else {
            return Err(unexpected(doing));
        };
        verify(&note, &self.log).map(Some)
    }
}

/// The pinned policy, whose own signatures must hold.
fn pinned_policy(path: &Path) -> Result<TrustPolicy, Failure> {
    let bytes =
        std::fs::read(path).with_context(|| format!("read the policy {}", path.display()))?;
    let envelope = Envelope::parse(&bytes).map_err(|error| {
        Failure::Usage(anyhow::Error::new(error).context(path.display().to_string()))
    })?;
    Ok(TrustPolicy::pinned(&envelope, &envelope.id())?)
}

/// The requests as such.
#[derive(Debug)]
pub(super) struct Wire {
    connection: Connection,
}

impl Wire {
    /// One question, one answer, which is not a refusal.
    async fn ask(&self, doing: &'static str, request: &Request) -> Result<Response, Failure> {
        let mut reader = self.open(doing, request).await?;
        let response = answer(doing, &mut reader).await?;
        reader.expect_end().await.context(doing)?;
        Ok(response)
    }

    /// Asks, and leaves the answers to be read.
    async fn open(&self, doing: &'static str, request: &Request) -> Result<FrameReader, Failure> {
        let (mut writer, reader) = open_stream(&self.connection).await.context(doing)?;
        writer.send(request).await.context(doing)?;
        writer.finish().context(doing)?;
        Ok(reader)
    }

    /// The newest checkpoint, as a signed note that nobody has verified.
    pub(super) async fn checkpoint(&self) -> Result<Vec<u8>, Failure> {
        let doing = "ask for the checkpoint";
        let Response::Checkpoint(note) = self.ask(doing, &Request::Checkpoint).await? else {
            return Err(unexpected(doing));
        };
        Ok(note)
    }

    /// A consistency proof.
    async fn consistency(&self, old: u64, new: u64) -> Result<Vec<Digest>, Failure> {
        let doing = "ask for a consistency proof";
        let request = Request::Consistency { old, new };
        let Response::Consistency(proof) = self.ask(doing, &request).await? else {
            return Err(unexpected(doing));
        };
        Ok(proof)
    }

    /// Entries `[from, to)`.
    pub(super) async fn entries(&self, from: u64, to: u64) -> Result<EntryStream, Failure> {
        let reader = self.open("fetch the log", &Request::Entries { from, to }).await?;
        Ok(EntryStream { reader })
    }
}

/// Entries on their way.
pub(super) struct EntryStream {
    reader: FrameReader,
}

impl EntryStream {
    /// The next entry, which is the one at `index`.
    pub(super) async fn next(&mut self, index: u64) -> Result<Vec<u8>, Failure> {
        let Response::Entry(entry) = answer("fetch the log", &mut self.reader).await? else {
            return Err(Failure::failed(format!(
                "fetch entry {index} of the log: something else came"
            )));
        };
        Ok(entry)
    }
}

async fn send_all(
    writer: &mut FrameWriter,
    mut parts: impl Read,
    progress: &mut dyn Progress,
) -> Result<(), Failure> {
    let doing = "upload the package";
    loop {
        let mut piece = Vec::with_capacity(RAW_PIECE);
        let read = parts.by_ref().take(RAW_PIECE as u64).read_to_end(&mut piece);
        let read = read.context("read the package file")?;
        if read == 0 {
            break;
        }
        writer.write_raw(Bytes::from(piece)).await.context(doing)?;
        progress.advance(read as u64);
    }
    Ok(writer.finish().context(doing)?)
}

/// The next frame, which is neither a refusal nor late.
async fn answer(doing: &'static str, reader: &mut FrameReader) -> Result<Response, Failure> {
    answer_within(ANSWER_DEADLINE, doing, reader).await
}

async fn answer_within(
    deadline: Duration,
    doing: &'static str,
    reader: &mut FrameReader,
) -> Result<Response, Failure> {
    let response = tokio::time::timeout(deadline, reader.recv::<Response>()).await;
    let response = response.map_err(|_elapsed| silent(doing))?.context(doing)?;
    checked(doing, response.ok_or(StreamError::NoAnswer).context(doing)?)
}

fn checked(doing: &'static str, response: Response) -> Result<Response, Failure> {
    if let Response::Refused(refusal) = response {
        return Err(refusal.into());
    }
    if let Response::Failed(text) = response {
        return Err(Failure::failed(format!("{doing}: the coordinator failed: {text}")));
    }
    Ok(response)
}

fn silent(doing: &str) -> Failure {
    Failure::failed(format!("{doing}: the coordinator did not answer in time"))
}

fn unexpected(doing: &str) -> Failure {
    Failure::failed(format!("{doing}: the coordinator answered something else than was asked"))
}
