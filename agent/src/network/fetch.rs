//! Bytes of packages on their way to the applier.
//!
//! A task a fetch, some of them at work at a time. Each goes along its range: what the spool holds comes
//! from there, the gaps are asked of the coordinator, spooled and passed on piece by piece. Passing on
//! waits for the applier to read, reading from the stream waits for that, and QUIC's flow control makes
//! the coordinator wait in turn. A lost connection or a failure is tried again from where it stood, for
//! as long as the applier wants the bytes; only a refusal ends a fetch early.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use cutover_shared::digest::Digest;
use cutover_shared::protocol::{MAX_RANGE, Part, Request, Response, ToApplier};
use cutover_shared::refusal::{Code, Refusal};
use cutover_transport::{CloseCode, Connection, FrameReader, open_stream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::PIECE;
use super::ask::{ANSWER_DEADLINE, Failure, ask, beside_the_point, sort};
use super::backoff::Backoff;
use super::socket::Outbox;
use super::spool::{Lengths, SpoolHandle, Ticket};

/// Fetches at work at a time: enough that a lost packet of one does not hold up the others.
pub(super) const AT_WORK: usize = 4;

/// Silence within a range after which it is asked for again.
const STALL: Duration = Duration::from_secs(30);

/// First and longest wait before asking again.
const WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));

/// A fetch of this session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FetchId(pub(super) u64);

/// What the applier wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// The package.
    pub(super) package: Digest,
    /// The part.
    pub(super) part: Part,
    /// First byte.
    pub(super) offset: u64,
    /// How many; 0 means to the end.
    pub(super) length: u64,
}

/// One fetch: what it works with.
pub(super) struct Fetch {
    pub(super) wanted: Wanted,
    pub(super) ticket: Ticket,
    pub(super) spool: SpoolHandle,
    pub(super) outbox: Outbox,
    pub(super) connection: watch::Receiver<Option<Connection>>,
    pub(super) permits: Arc<Semaphore>,
}

impl Fetch {
    /// Fetches it all. The one failure is the coordinator's refusal.
    pub(super) async fn run(mut self) -> Result<(), Refusal> {
        let permits = Arc::clone(&self.permits);
        // The semaphore is never closed, and if it were, working without a permit would only be less even.
        let _permit = permits.acquire().await.ok();
        let Wanted { part, offset, length, .. } = self.wanted;
        let end = if length == 0 {
            self.lengths().await?.of(part)
        } else {
            offset.saturating_add(length)
        };
        let mut at = offset;
        if offset > end {
            return Err(ends_early(part, end));
        } else if offset == end {
            self.pass_on(&mut at, end, Vec::new()).await;
        }
        let mut backoff = Backoff::new(WAITS.0, WAITS.1);
        while at < end {
            let before = at;
            let outcome = self.step(&mut at, end).await;
            if at > before {
                backoff.reset();
            }
            match outcome {
                Ok(()) => {}
                Err(Failure::Refused(refusal)) => return Err(refusal),
                Err(Failure::Again(why)) => self.pause(&mut backoff, &why).await,
            }
        }
        Ok(())
    }

    async fn pause(&self, backoff: &mut Backoff, why: &str) {
        let package = self.wanted.package.short();
        tracing::warn!(%package, why, "fetching is interrupted and will go on");
        sleep(backoff.next()).await;
    }

    /// Moves `at` on, from the spool or by one request.
    async fn step(&mut self, at: &mut u64, end: u64) -> Result<(), Failure> {
        let Wanted { package, part, .. } = self.wanted;
        let piece = (end - *at).min(PIECE as u64);
        match self.spool.read(package, part, *at, piece).await {
            Ok(bytes) => {
                self.pass_on(at, end, bytes).await;
                Ok(())
            }
            Err(next_held) => {
                let gap_end = next_held.unwrap_or(end).min(end);
                let gap = (gap_end - *at).min(MAX_RANGE);
                self.request(at, gap, end).await
            }
        }
    }

    /// Hands bytes from `at` to the applier, of a fetch that ends at `end`.
    async fn pass_on(&self, at: &mut u64, end: u64, bytes: Vec<u8>) {
        let offset = *at;
        *at += bytes.len() as u64;
        let Wanted { package, part, .. } = self.wanted;
        let message = ToApplier::Bytes { package, part, offset, bytes, last: *at >= end };
        // Without an applier the session is over, and this task with it.
        self.outbox.push(message).await;
    }

    async fn connected(&mut self) -> Result<Connection, Failure> {
        let reached = self.connection.wait_for(Option::is_some).await;
        reached
            .ok()
            .and_then(|connection| connection.clone())
            .ok_or_else(|| Failure::Again("the session is over".to_owned()))
    }

    /// Asks the coordinator for `length` bytes from `at`, which moves on with what arrives.
    async fn request(&mut self, at: &mut u64, length: u64, end: u64) -> Result<(), Failure> {
        let connection = self.connected().await?;
        let (mut writer, mut reader) = open_stream(&connection).await?;
        let Wanted { package, part, .. } = self.wanted;
        let question = Request::Artifact { package, part, offset: *at, length };
        writer.send(&question).await?;
        writer.finish()?;
        let answer = self.answer(&mut reader).await?;
        let granted = if let Response::Bytes { length: granted } = answer
            && granted <= length
        {
            granted
        } else {
            reader.stop(CloseCode::Protocol);
            return Err(beside_the_point());
        };
        if granted == 0 {
            return Err(Failure::Refused(ends_early(part, *at)));
        }
        self.receive(&mut reader, at, granted, end).await
    }

    async fn answer(&self, reader: &mut FrameReader) -> Result<Response, Failure> {
        let answer = timeout(ANSWER_DEADLINE, reader.recv::<Response>()).await;
        let answer = answer.map_err(|_elapsed| silent())?;
        sort(answer?.ok_or_else(|| Failure::Again("there was no answer".to_owned()))?)
    }

    async fn receive(
        &self,
        reader: &mut FrameReader,
        at: &mut u64,
        granted: u64,
        end: u64,
    ) -> Result<(), Failure> {
        let granted_end = *at + granted;
        let mut buffer = BytesMut::new();
        while *at < granted_end {
            let missing = usize::try_from(granted_end - *at).unwrap_or(PIECE).min(PIECE);
            let read = timeout(STALL, reader.read_raw(&mut buffer, missing)).await;
            let arrived = Vec::from(buffer.split().freeze());
            let nothing = arrived.is_empty();
            if !nothing {
                // What came before a failure has come.
                self.take_in(at, end, arrived).await;
            }
            match read {
                Ok(Ok(_)) if nothing => {
                    return Err(Failure::Again("the range ended early".to_owned()));
                }
                Err(_elapsed) if nothing => return Err(silent()),
                Ok(Err(error)) => return Err(error.into()),
                Ok(Ok(_)) | Err(_) => {}
            }
        }
        Ok(())
    }

    async fn take_in(&self, at: &mut u64, end: u64, arrived: Vec<u8>) {
        let Wanted { package, part, .. } = self.wanted;
        let kept = self.spool.keep_piece(self.ticket, package, part, *at, arrived);
        let bytes = kept.await;
        self.pass_on(at, end, bytes).await;
    }

    /// How long the package's parts are.
    async fn lengths(&mut self) -> Result<Lengths, Refusal> {
        let package = self.wanted.package;
        if let Some(lengths) = self.spool.lengths(package).await {
            return Ok(lengths);
        }
        let mut backoff = Backoff::new(WAITS.0, WAITS.1);
        loop {
            match self.ask_lengths().await {
                Ok(lengths) => {
                    self.spool.keep_lengths(self.ticket, package, lengths).await;
                    return Ok(lengths);
                }
                Err(Failure::Refused(refusal)) => return Err(refusal),
                Err(Failure::Again(why)) => self.pause(&mut backoff, &why).await,
            }
        }
    }

    async fn ask_lengths(&mut self) -> Result<Lengths, Failure> {
        let connection = self.connected().await?;
        let package = self.wanted.package;
        let answer = ask(&connection, &Request::PackageInfo { package }).await?;
        if let Response::PackageInfo { index_length, map_length, pack_length } = answer {
            Ok(Lengths { index: index_length, map: map_length, pack: pack_length })
        } else {
            Err(beside_the_point())
        }
    }
}

fn silent() -> Failure {
    Failure::Again(format!("nothing came for {} s", STALL.as_secs()))
}

/// The applier wants bytes that the coordinator says there are not; asking again would not help.
fn ends_early(part: Part, end: u64) -> Refusal {
    let part = match part {
        Part::Index => "index",
        Part::Map => "map",
        Part::Pack => "pack",
    };
    let facts = format!("the coordinator's {part} of the package ends at byte {end}");
    Refusal::new(Code::Malformed, facts)
}
