//! Fetching: the applier's half of getting bytes through the network half.
//!
//! A worker asks a [`Fetcher`] for ranges; the loop keeps the [`Desk`] of what is outstanding, says each
//! [`FromApplier::Fetch`] (again, for what is still missing, when the network half comes back), and hands
//! the bytes on as they arrive. Nothing here is trusted: whoever asked verifies what came.

use std::time::Duration;

use cutover_shared::digest::Digest;
use cutover_shared::protocol::{FromApplier, Part};
use cutover_shared::refusal::Refusal;
use tokio::sync::mpsc;

/// Bytes that may lie between the socket and a worker, in frames of at most 1 MiB.
const WAITING_FRAMES: usize = 4;

/// Bytes of a part, wanted by a worker.
#[derive(Debug)]
pub struct Wanted {
    package: Digest,
    part: Part,
    offset: u64,
    length: u64,
    received: u64,
    reply: mpsc::Sender<Result<Vec<u8>, Refusal>>,
}

/// How long a worker may take to accept bytes: a disk that stands still for longer has failed, and the
/// loop has other things to do.
const PATIENCE: Duration = Duration::from_secs(5);

/// The text for a fetch that was refused. It comes from the network half, so its code is not believed.
pub fn refused(refusal: &Refusal) -> String {
    let facts: String = refusal.to_string().chars().take(500).collect();
    format!("busy: the coordinator gave no bytes: {facts}")
}

/// Asks for bytes of one package.
#[derive(Debug, Clone)]
pub struct Fetcher {
    package: Digest,
    wanted: mpsc::Sender<Wanted>,
}

impl Fetcher {
    /// For `package`, asking over `wanted`.
    pub fn new(package: Digest, wanted: mpsc::Sender<Wanted>) -> Self {
        Self { package, wanted }
    }

    /// Bytes `[offset, offset + length)` of a part as they arrive; length 0 means to its end. The stream
    /// ends when all are there.
    pub async fn stream(
        &self,
        part: Part,
        offset: u64,
        length: u64,
    ) -> mpsc::Receiver<Result<Vec<u8>, Refusal>> {
        let (reply, bytes) = mpsc::channel(WAITING_FRAMES);
        let wanted = Wanted { package: self.package, part, offset, length, received: 0, reply };
        // A loop that is gone answers nothing: the stream ends at once and the worker finds it short.
        let _ = self.wanted.send(wanted).await;
        bytes
    }

    /// A whole part, at most `limit` bytes of it.
    pub async fn whole(&self, part: Part, limit: usize) -> Result<Vec<u8>, String> {
        let mut stream = self.stream(part, 0, 0).await;
        let mut whole = Vec::new();
        while let Some(bytes) = stream.recv().await {
            whole.extend_from_slice(&bytes.map_err(|refusal| refused(&refusal))?);
            if whole.len() > limit {
                return Err(format!("malformed: longer than {limit} bytes"));
            }
        }
        Ok(whole)
    }
}

/// What is outstanding.
#[derive(Debug, Default)]
pub struct Desk {
    outstanding: Vec<Wanted>,
}

impl Desk {
    /// Takes a wish and gives what to say to the network half.
    pub fn want(&mut self, wanted: Wanted) -> FromApplier {
        let fetch = wanted.fetch();
        self.outstanding.push(wanted);
        fetch
    }

    /// What to say to a network half that came back: the rest of everything outstanding.
    pub fn again(&mut self) -> Vec<FromApplier> {
        self.outstanding.retain(|wanted| !wanted.reply.is_closed());
        self.outstanding.iter().map(Wanted::fetch).collect()
    }

    /// Bytes arrived; `false` when nobody waits for them (any longer). Waits when the worker is behind,
    /// which is what slows the network half down.
    pub async fn bytes(
        &mut self,
        (package, part): (Digest, Part),
        offset: u64,
        bytes: Vec<u8>,
        last: bool,
    ) -> bool {
        let place = self.outstanding.iter().position(|wanted| {
            wanted.package == package
                && wanted.part == part
                && wanted.offset + wanted.received == offset
        });
        let Some(place) = place else { return false };
        let wanted = &mut self.outstanding[place];
        wanted.received += bytes.len() as u64;
        let done = last || (wanted.length > 0 && wanted.received >= wanted.length);
        let sent = tokio::time::timeout(PATIENCE, wanted.reply.send(Ok(bytes))).await;
        let gone = !matches!(sent, Ok(Ok(())));
        if done || gone {
            self.outstanding.swap_remove(place);
        }
        !gone
    }

    /// A fetch failed for good.
    pub async fn failed(&mut self, package: Digest, part: Part, refusal: Refusal) {
        let mut kept = Vec::new();
        for wanted in self.outstanding.drain(..) {
            if wanted.package == package && wanted.part == part {
                let _ = wanted.reply.send(Err(refusal.clone())).await;
            } else {
                kept.push(wanted);
            }
        }
        self.outstanding = kept;
    }
}

impl Wanted {
    /// The part, the range `[offset, offset + length)` of it (length 0: to its end), and where it goes.
    pub(crate) fn open(self) -> (Part, u64, u64, mpsc::Sender<Result<Vec<u8>, Refusal>>) {
        (self.part, self.offset, self.length, self.reply)
    }

    fn fetch(&self) -> FromApplier {
        FromApplier::Fetch {
            package: self.package,
            part: self.part,
            offset: self.offset + self.received,
            length: self.length.saturating_sub(self.received),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_missing_is_asked_again_and_only_that() {
        let (sender, mut receiver) = mpsc::channel(4);
        let package = Digest::of(b"package");
        let fetcher = Fetcher::new(package, sender);
        let mut desk = Desk::default();
        let mut stream = fetcher.stream(Part::Pack, 100, 10).await;
        let FromApplier::Fetch { offset, length, .. } = desk.want(receiver.recv().await.unwrap())
        else {
            panic!("a fetch");
        };
        assert_eq!((offset, length), (100, 10));
        assert!(desk.bytes((package, Part::Pack), 100, vec![1; 4], false).await);
        assert!(!desk.bytes((package, Part::Pack), 100, vec![1; 4], false).await, "twice");
        let again = desk.again();
        let [FromApplier::Fetch { offset, length, .. }] = again.as_slice() else { panic!("one") };
        assert_eq!((*offset, *length), (104, 6));
        assert!(desk.bytes((package, Part::Pack), 104, vec![2; 6], true).await);
        assert_eq!(stream.recv().await.unwrap().unwrap(), vec![1; 4]);
        assert_eq!(stream.recv().await.unwrap().unwrap(), vec![2; 6]);
        assert!(stream.recv().await.is_none());
        assert!(desk.again().is_empty());
    }
}
