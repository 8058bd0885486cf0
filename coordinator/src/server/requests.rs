//! One request: who may make it, and its answer.

use std::sync::Arc;
use std::time::Duration;

use cutover_coordinator_core::{Asked, Brought, Peer, Situation, Turn};
use cutover_shared::digest::Digest;
use cutover_shared::dsse::{Envelope, MAX_ENVELOPE};
use cutover_shared::fold::State;
use cutover_shared::key::{KeyId, PublicKey};
use cutover_shared::policy::LogKey;
use cutover_shared::protocol::{MAX_ENTRIES, Request, Response};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::Release;
use cutover_transport::{CloseCode, Connection, FrameReader, FrameWriter, StreamError};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::appender::{self, Job};
use super::core::Core;
use super::directives;
use super::evidence;
use super::outbox::Outbox;
use super::packages::{self, Lengths, Range};
use super::trouble::{Trouble, chain, moving};

/// Longest request of somebody known: an envelope and what frames it.
const REQUEST_LIMIT: usize = MAX_ENVELOPE + 1024;

/// Longest request of somebody unknown: an enrolment.
const STRANGER_LIMIT: usize = 32 * 1024;

/// How long a request may take to arrive.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// Packages that are taken in at the same time: each is hashed and inflated whole.
const UPLOADS: usize = 2;

/// What requests are answered with.
pub(super) struct Desk {
    pub(super) core: Arc<Core>,
    jobs: mpsc::Sender<Job>,
    uploads: Semaphore,
    outbox: Option<Arc<Outbox>>,
}

/// A stream with a request on it.
pub(super) struct Call {
    pub(super) connection: Connection,
    pub(super) key: PublicKey,
    pub(super) writer: FrameWriter,
    pub(super) reader: FrameReader,
}

impl Desk {
    pub(super) fn new(
        core: Arc<Core>,
        jobs: mpsc::Sender<Job>,
        outbox: Option<Arc<Outbox>>,
    ) -> Self {
        Self { core, jobs, uploads: Semaphore::new(UPLOADS), outbox }
    }

    /// Reads the request, answers it, and ends the stream.
    pub(super) async fn serve(&self, call: Call) {
        let Call { connection, key, mut writer, reader } = call;
        let peer = self.core.peer(&key);
        let limit = if peer == Peer::Unknown { STRANGER_LIMIT } else { REQUEST_LIMIT };
        let mut reader = reader.with_limit(limit);
        let request = match timeout(REQUEST_DEADLINE, reader.recv::<Request>()).await {
            Ok(Ok(Some(request))) => request,
            Ok(Ok(None)) | Err(_) => {
                writer.cut(CloseCode::Protocol);
                return;
            }
            Ok(Err(error)) => {
                tracing::debug!(peer = %key.id().short(), error = %chain(&error), "no request");
                writer.cut(CloseCode::Protocol);
                return;
            }
        };
        let name = name(&request);
        let caller = Caller { desk: self, connection: &connection, key: &key, peer };
        let outcome = caller.answer(request, &mut writer, reader).await;
        let ended = match outcome {
            Ok(()) => writer.finish(),
            Err(trouble) => fail(&mut writer, (&key, peer), name, &trouble).await,
        };
        let delivered = match ended {
            Ok(()) => moving(writer.delivered()).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = delivered {
            tracing::debug!(
                peer = %key.id().short(),
                request = name,
                error = %chain(&error),
                "an answer did not arrive"
            );
        }
    }
}

/// Tells the client what went wrong, and the log here as much as it deserves.
async fn fail(
    writer: &mut FrameWriter,
    (key, who): (&PublicKey, Peer),
    request: &'static str,
    trouble: &Trouble,
) -> Result<(), StreamError> {
    let peer = key.id().short();
    match trouble {
        Trouble::Refused(refusal) => {
            tracing::info!(%peer, request, code = %refusal.code, facts = refusal.facts, "refused");
        }
        Trouble::Store(_) | Trouble::Failed(_) => {
            tracing::error!(%peer, request, error = %chain(trouble), "a request failed");
        }
        Trouble::Stream(_) | Trouble::Standstill => {
            tracing::debug!(%peer, request, error = %chain(trouble), "a stream was lost");
        }
    }
    match trouble.answer(who) {
        Some(answer) => {
            writer.send(&answer).await?;
            writer.finish()
        }
        None => {
            writer.cut(CloseCode::Cancelled);
            Ok(())
        }
    }
}

fn name(request: &Request) -> &'static str {
    match request {
        Request::Checkpoint => "checkpoint",
        Request::Consistency { .. } => "consistency",
        Request::Entries { .. } => "entries",
        Request::Follow => "follow",
        Request::Append { .. } => "append",
        Request::PutPackage { .. } => "put-package",
        Request::PackageInfo { .. } => "package-info",
        Request::Artifact { .. } => "artifact",
        Request::Fleet => "fleet",
        Request::Clearance { .. } => "clearance",
        Request::Directives => "directives",
        Request::Outbox => "outbox",
        Request::RetryDelivery { .. } => "retry-delivery",
        Request::Forms { .. } => "forms",
    }
}

/// Somebody with a request.
struct Caller<'d> {
    desk: &'d Desk,
    connection: &'d Connection,
    key: &'d PublicKey,
    peer: Peer,
}

impl Caller<'_> {
    fn core(&self) -> &Arc<Core> {
        &self.desk.core
    }

    async fn answer(
        &self,
        request: Request,
        writer: &mut FrameWriter,
        mut reader: FrameReader,
    ) -> Result<(), Trouble> {
        let response = match request {
            Request::Checkpoint => Response::Checkpoint(self.core().checkpoint()),
            Request::Consistency { old, new } => self.consistency(old, new)?,
            Request::Entries { from, to } => return self.entries(from, to, writer).await,
            Request::Follow => return self.follow(writer).await,
            Request::Append { envelope } => self.append(envelope).await?,
            Request::PutPackage { package, index_length, map_length, pack_length } => {
                let person = self.peer.person()?;
                self.core().conduct.may_store(&self.core().folded().state, &person)?;
                let ending = || Trouble::Failed("store: the coordinator is ending".to_owned());
                let _permit = self.desk.uploads.acquire().await.map_err(|_closed| ending())?;
                let lengths = Lengths { index: index_length, map: map_length, pack: pack_length };
                packages::put(self.core(), package, lengths, &mut reader).await?
            }
            Request::PackageInfo { package } => {
                self.may_get(&package)?;
                let Lengths { index, map, pack } = packages::lengths(self.core(), package).await?;
                Response::PackageInfo { index_length: index, map_length: map, pack_length: pack }
            }
            Request::Artifact { package, part, offset, length } => {
                let range = Range { package, part: packages::part(part), offset, length };
                let permitted = || self.may_get(&package);
                return packages::give(self.core(), range, permitted, writer).await;
            }
            Request::Fleet => {
                self.peer.person()?;
                let now = self.core().now();
                let fleet = self.core().hosts().register.fleet(now).clone();
                Response::Fleet(fleet)
            }
            Request::Forms { of } => {
                self.peer.person()?;
                Response::Forms(packages::forms(self.core(), of).await?)
            }
            Request::Clearance { order, phase, nonce, known } => {
                let turn = Turn { host: self.peer.host()?, order };
                let asked = Asked { turn, phase, nonce, known };
                let answer = evidence::clear(self.core(), &asked).await?;
                tracing::info!(
                    host = %turn.host.short(),
                    order = %order.short(),
                    ?phase,
                    "a host is cleared"
                );
                Response::Clearance(answer)
            }
            Request::Outbox => {
                let person = self.peer.person()?;
                self.outbox()?.view(self.core(), &person)
            }
            Request::RetryDelivery { key } => {
                let person = self.peer.person()?;
                self.outbox()?.retry(self.core(), &person, &key)?
            }
            Request::Directives => {
                let host = self.peer.host()?;
                let core = self.core();
                return directives::hold(core, host, self.connection, writer, reader).await;
            }
        };
        moving(writer.send(&response)).await
    }

    fn outbox(&self) -> Result<&Outbox, Refusal> {
        let facts = "this coordinator tells nobody: its configuration has no [outbox]";
        self.desk.outbox.as_deref().ok_or_else(|| Refusal::new(Code::SubjectUnknown, facts))
    }

    fn consistency(&self, old: u64, new: u64) -> Result<Response, Trouble> {
        self.peer.known()?;
        let size = self.core().folded().head.size;
        if old > new {
            return refuse(Code::Malformed, format!("from {old} to {new} entries is backwards"));
        }
        if new > size {
            return refuse(
                Code::CheckpointStale,
                format!("{new} entries were asked about, the log has {size}"),
            );
        }
        Ok(Response::Consistency(self.core().store.consistency(old, new)?))
    }

    async fn entries(&self, from: u64, to: u64, writer: &mut FrameWriter) -> Result<(), Trouble> {
        self.peer.person()?;
        let size = self.core().folded().head.size;
        if from > to || to > size || to - from > MAX_ENTRIES {
            return refuse(
                Code::Malformed,
                format!(
                    "entries {from} to {to} of {size}: a range is at most {MAX_ENTRIES} within the log"
                ),
            );
        }
        let mut next = from;
        while next < to {
            let entries = self.core().store.read(next..to).await?;
            next += entries.len() as u64;
            for entry in entries {
                moving(writer.send(&Response::Entry(entry))).await?;
            }
        }
        Ok(())
    }

    async fn follow(&self, writer: &mut FrameWriter) -> Result<(), Trouble> {
        self.peer.person()?;
        let mut grown = self.core().grown();
        loop {
            grown.borrow_and_update();
            moving(writer.send(&Response::Checkpoint(self.core().checkpoint()))).await?;
            tokio::select! {
                changed = grown.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                // Nothing was finished: this ends when the client wants no more.
                gone = writer.delivered() => return Ok(gone?),
                () = self.core().drained() => return Ok(()),
            }
        }
    }

    async fn append(&self, envelope: Vec<u8>) -> Result<Response, Trouble> {
        let malformed = |error: &dyn std::error::Error| {
            Trouble::Refused(Refusal::new(Code::Malformed, chain(error)))
        };
        let parsed = Envelope::parse(&envelope).map_err(|error| malformed(&error))?;
        let signer = &self.core().signer;
        let log = LogKey { origin: signer.origin.clone(), key: signer.key.public() };
        let brought = Brought::read(&parsed, self.peer, self.key, &log)?;
        if let Some(release) = brought.release() {
            self.accept(release).await?;
        }
        Ok(Response::Appended(appender::submit(&self.desk.jobs, brought.id, envelope).await?))
    }

    /// What a release says is compared with its package before it waits for its turn: packages do not
    /// change, and reading one takes its time. The forms that are needed do change, so that a package that
    /// was taken in long ago is checked by those of now; what it was checked by is kept.
    async fn accept(&self, release: &Release) -> Result<(), Trouble> {
        let checked = packages::checked(self.core(), release.package).await?;
        self.core().conduct.accept_release(release, checked.as_ref())?;
        packages::keep_forms(self.core(), checked.unwrap_or_default()).await
    }

    /// Whether the caller may have bytes of a package now.
    fn may_get(&self, package: &Digest) -> Result<(), Refusal> {
        let core = self.core();
        let folded = core.folded();
        match self.peer {
            Peer::Person(person) => core.conduct.may_read(&folded.state, &person),
            Peer::Host(host) => fetches(core, &folded.state, &host, package),
            Peer::Unknown => self.peer.known(),
        }
    }
}

fn fetches(core: &Core, state: &State, host: &KeyId, package: &Digest) -> Result<(), Refusal> {
    let mut hosts = core.hosts();
    let now = core.now();
    let situation = Situation { state, fleet: hosts.register.fleet(now), now };
    core.conduct.may_fetch(&situation, host, package)
}

fn refuse<T>(code: Code, facts: impl Into<String>) -> Result<T, Trouble> {
    Err(Refusal::new(code, facts).into())
}
