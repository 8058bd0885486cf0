//! The socket: where the network half connects, and frames go to and fro.
//!
//! One connection at a time counts, the newest. A connection is accepted from the agent's user, root and
//! the applier's own user only (peer credentials); what comes over it is believed by nobody.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use cutover_shared::codec;
use cutover_shared::protocol::{FromApplier, ToApplier};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use crate::event::Event;

/// Frames on their way to a network half that is slow to read; beyond that the connection is dropped and
/// it starts anew.
const WAITING_FRAMES: usize = 1024;

/// How much is read at once, so that a length that a peer only claims allocates nothing.
const READ_STEP: usize = 256 << 10;

/// The way to one connection of the network half.
#[derive(Debug, Clone)]
pub struct Link {
    number: u64,
    frames: mpsc::Sender<FromApplier>,
}

impl Link {
    /// Which connection this is.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Sends a frame; `false` when the connection is gone or too slow.
    pub fn send(&self, frame: FromApplier) -> bool {
        self.frames.try_send(frame).is_ok()
    }
}

/// The socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It cannot be bound.
    #[error("listen on {path}")]
    Listen {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The socket that systemd passed, or one bound at `path`, mode 0660.
pub fn listen(path: &Path) -> Result<UnixListener, LinkError> {
    let failed = |source| LinkError::Listen { path: path.to_owned(), source };
    let passed = listenfd::ListenFd::from_env().take_unix_listener(0).map_err(failed)?;
    let listener = if let Some(listener) = passed {
        listener
    } else {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            Err(_) | Ok(()) => {}
        }
        let listener = std::os::unix::net::UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
        listener
    };
    listener.set_nonblocking(true).map_err(failed)?;
    UnixListener::from_std(listener).map_err(failed)
}

/// Accepts connections for ever and tells of each, and of each frame, as events.
pub async fn serve(listener: UnixListener, allowed: Vec<u32>, events: mpsc::Sender<Event>) {
    let mut number = 0;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                continue;
            }
        };
        let peer = stream.peer_cred().map(|peer| peer.uid());
        match peer {
            Ok(uid) if allowed.contains(&uid) => {}
            other => {
                tracing::warn!(peer = ?other, "a connection by another user is refused");
                continue;
            }
        }
        number += 1;
        let link = start(number, stream, events.clone());
        if events.send(Event::Linked(link)).await.is_err() {
            return;
        }
    }
}

fn start(number: u64, stream: UnixStream, events: mpsc::Sender<Event>) -> Link {
    let (reader, writer) = stream.into_split();
    let (frames, outgoing) = mpsc::channel(WAITING_FRAMES);
    tokio::spawn(write(writer, outgoing));
    tokio::spawn(async move {
        if let Err(error) = read(number, reader, &events).await {
            tracing::warn!(error = %format!("{error:#}"), "the network half's connection ended");
        }
        let _ = events.send(Event::Unlinked(number)).await;
    });
    Link { number, frames }
}

async fn read(
    number: u64,
    mut reader: OwnedReadHalf,
    events: &mpsc::Sender<Event>,
) -> anyhow::Result<()> {
    let mut header = [0; 4];
    loop {
        if reader.read_exact(&mut header).await.is_err() {
            return Ok(());
        }
        let length = codec::frame_length(header)?;
        let mut body = Vec::new();
        while body.len() < length {
            let start = body.len();
            body.resize(length.min(start + READ_STEP), 0);
            reader.read_exact(&mut body[start..]).await?;
        }
        let frame: ToApplier = codec::decode(&body)?;
        if events.send(Event::Frame(number, frame)).await.is_err() {
            return Ok(());
        }
    }
}

async fn write(mut writer: OwnedWriteHalf, mut frames: mpsc::Receiver<FromApplier>) {
    while let Some(frame) = frames.recv().await {
        let bytes = match codec::frame(&frame) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(%error, "a frame cannot be encoded");
                continue;
            }
        };
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
