//! The applier's end: frames on a Unix socket.
//!
//! Two tasks a connection, for the time that it lasts. The reader hands over what the applier says, one
//! message at a time: while the event loop is busy the applier waits. The writer has two queues: short
//! answers (control) go before directives and bytes (bulk), so that a clearance never waits behind a
//! package; whoever fills the bulk queue waits for the applier to read.

use std::future::Future;
use std::io;

use cutover_shared::codec::{self, CodecError, FRAME_HEADER};
use cutover_shared::protocol::{FromApplier, ToApplier};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::event::Event;

/// Short answers on their way to the applier. They answer what the applier asked, so that one which does
/// not read gets no more than it asked for; beyond that it is given up.
const CONTROL: usize = 256;

/// Directives and pieces on their way: with pieces of 256 KiB, 1 MiB.
const BULK: usize = 4;

/// Room made for a frame before any of it is there. Longer ones grow as they arrive.
const FIRST_ROOM: usize = 64 * 1024;

/// The applier cannot be talked to any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    /// It has closed the connection.
    #[error("the applier closed the connection")]
    Closed,
    /// It closed the connection within a message.
    #[error("the applier closed the connection in the middle of a message")]
    Truncated,
    /// The connection fails.
    #[error("use the connection to the applier")]
    Io(#[source] io::Error),
    /// What came is no message of the protocol, or too long for one.
    #[error("understand the applier")]
    Codec(#[from] CodecError),
    /// It asks and does not read the answers.
    #[error("the applier leaves {CONTROL} answers unread")]
    Deaf,
}

/// The way to the applier.
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    control: Sender<ToApplier>,
    bulk: Sender<ToApplier>,
}

impl Outbox {
    /// Queues a short answer, without waiting.
    pub(super) fn answer(&self, message: ToApplier) -> Result<(), SocketError> {
        self.control.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SocketError::Deaf,
            mpsc::error::TrySendError::Closed(_) => SocketError::Closed,
        })
    }

    /// Queues a directive or bytes; waits while the applier has enough to read. `false`: it is gone.
    pub(super) async fn push(&self, message: ToApplier) -> bool {
        self.bulk.send(message).await.is_ok()
    }
}

/// Splits a connection into the outbox and the two tasks that serve it.
pub(super) fn open(
    stream: UnixStream,
    events: Sender<Event>,
) -> (Outbox, impl Future<Output = ()> + Send, impl Future<Output = ()> + Send) {
    let (receive, send) = stream.into_split();
    let (control, control_queue) = mpsc::channel(CONTROL);
    let (bulk, bulk_queue) = mpsc::channel(BULK);
    let reader = read_all(receive, events.clone());
    let writer = write_all(send, control_queue, bulk_queue, events);
    (Outbox { control, bulk }, reader, writer)
}

async fn read_all(mut stream: OwnedReadHalf, events: Sender<Event>) {
    loop {
        let event = match read(&mut stream).await {
            Ok(message) => Event::Said(message),
            Err(error) => Event::ApplierLost(error),
        };
        let last = matches!(event, Event::ApplierLost(_));
        if events.send(event).await.is_err() || last {
            return;
        }
    }
}

async fn read(stream: &mut OwnedReadHalf) -> Result<FromApplier, SocketError> {
    let mut header = [0; FRAME_HEADER];
    let first = stream.read(&mut header).await.map_err(SocketError::Io)?;
    if first == 0 {
        return Err(SocketError::Closed);
    }
    let rest = stream.read_exact(&mut header[first..]).await;
    rest.map_err(truncated)?;
    let length = codec::frame_length(header)?;
    let mut body = Vec::with_capacity(length.min(FIRST_ROOM));
    let mut limited = stream.take(length as u64);
    limited.read_to_end(&mut body).await.map_err(truncated)?;
    if body.len() < length {
        return Err(SocketError::Truncated);
    }
    Ok(codec::decode(&body)?)
}

fn truncated(error: io::Error) -> SocketError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        SocketError::Truncated
    } else {
        SocketError::Io(error)
    }
}

async fn write_all(
    mut stream: OwnedWriteHalf,
    mut control: Receiver<ToApplier>,
    mut bulk: Receiver<ToApplier>,
    events: Sender<Event>,
) {
    loop {
        let message = tokio::select! {
            biased;
            Some(message) = control.recv() => message,
            Some(message) = bulk.recv() => message,
            else => return,
        };
        let frame = match codec::frame(&message) {
            Ok(frame) => frame,
            Err(error) => {
                // A directive fits a frame from the coordinator, and one that fills it to the brim does
                // not fit ours, which names it too.
                tracing::warn!(%error, what = name(&message), "a message is too long for the applier and is dropped");
                continue;
            }
        };
        if let Err(error) = stream.write_all(&frame).await {
            // The reader may have told already; then nobody listens.
            let _ = events.send(Event::ApplierLost(SocketError::Io(error))).await;
            return;
        }
    }
}

fn name(message: &ToApplier) -> &'static str {
    match message {
        ToApplier::Hello { .. } => "hello",
        ToApplier::Connected(_) => "connected",
        ToApplier::Directive(_) => "directive",
        ToApplier::Clearance { .. } => "clearance",
        ToApplier::Bytes { .. } => "bytes",
        ToApplier::FetchFailed { .. } => "fetch-failed",
        ToApplier::Logged { .. } => "logged",
        ToApplier::NotLogged { .. } => "not-logged",
    }
}
