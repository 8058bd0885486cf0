//! A package on the disk, in the place of a coordinator that serves it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use cutover_applier_core::{Package, Unread};
use cutover_shared::digest::Digest;
use cutover_shared::protocol::Part;
use cutover_shared::refusal::{Code, Refusal};
use tokio::sync::mpsc;

use crate::fetch::Wanted;

/// Bytes that are handed on at once.
const PIECE: u64 = 1 << 20;

/// A package whose index, map and manifest were read; the rest is verified as it is taken.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    package: Package,
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    index: File,
    map: File,
    pack: File,
}

impl Shelf {
    /// The package whose parts are in the directory.
    pub(super) fn open(directory: &Path) -> anyhow::Result<Self> {
        let read = |part: &str| {
            let path = directory.join(part);
            std::fs::read(&path).with_context(|| format!("read {}", path.display()))
        };
        let open = |part: &str| {
            let path = directory.join(part);
            File::open(&path).with_context(|| format!("open {}", path.display()))
        };
        let (index, map) = (read("index")?, read("map")?);
        let parts = Parts { index: open("index")?, map: open("map")?, pack: open("pack")? };
        let unread = Unread::of(Digest::of(&index), &index, &map).map_err(anyhow::Error::msg)?;
        let mut stored = Vec::new();
        for (piece, _) in unread.pieces() {
            let mut bytes = vec![0; usize::try_from(piece.stored)?];
            parts.pack.read_exact_at(&mut bytes, piece.offset).context("read the pack")?;
            stored.push(bytes);
        }
        let package = unread.read(&stored).map_err(anyhow::Error::msg)?;
        Ok(Self { package, parts: Arc::new(parts) })
    }

    /// What was read.
    pub(super) fn package(&self) -> &Package {
        &self.package
    }

    /// Serves whatever is wanted, until nobody wants anything any longer.
    pub(super) async fn serve(self, mut wishes: mpsc::Receiver<Wanted>) {
        while let Some(wanted) = wishes.recv().await {
            let (part, offset, length, reply) = wanted.open();
            let parts = self.parts.clone();
            let sent = tokio::task::spawn_blocking(move || {
                let file = match part {
                    Part::Index => &parts.index,
                    Part::Map => &parts.map,
                    Part::Pack => &parts.pack,
                };
                let send = |bytes| reply.blocking_send(bytes).is_ok();
                if let Err(error) = send_range(file, offset, length, &mut |bytes| send(Ok(bytes))) {
                    send(Err(Refusal::new(Code::Malformed, error.to_string())));
                }
            });
            // Who wanted it sees that it is not all there.
            let _ = sent.await;
        }
    }
}

/// Hands on `[offset, offset + length)` of a file (length 0: to its end), until `send` says that nobody
/// wants more.
fn send_range(
    file: &File,
    offset: u64,
    length: u64,
    send: &mut impl FnMut(Vec<u8>) -> bool,
) -> io::Result<()> {
    let size = file.metadata()?.len();
    let end = if length == 0 { size } else { offset.saturating_add(length).min(size) };
    let mut at = offset;
    while at < end {
        let piece = PIECE.min(end - at);
        let mut bytes = vec![0; usize::try_from(piece).unwrap_or_default()];
        file.read_exact_at(&mut bytes, at)?;
        at += piece;
        if !send(bytes) {
            break;
        }
    }
    Ok(())
}
