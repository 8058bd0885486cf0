//! The spool for async code: each call runs where blocking is allowed, one at a time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cutover_shared::digest::Digest;
use cutover_shared::protocol::Part;

use super::record::Lengths;
use super::{Spool, SpoolError};

/// Given to each fetch when it begins, in rising order. A removal calls in those given out before it, so
/// that a fetch whose end crosses with the removal does not bring the package back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::network) struct Ticket(u64);

impl Ticket {
    pub(super) fn number(self) -> u64 {
        self.0
    }

    #[cfg(test)]
    pub(super) fn numbered(number: u64) -> Self {
        Self(number)
    }
}

/// The spool, shared by the fetches.
#[derive(Debug, Clone)]
pub(in crate::network) struct SpoolHandle {
    spool: Arc<Mutex<Spool>>,
    book: Arc<Mutex<Book>>,
}

/// What is noted at once, for the disk to follow: never locked while anything waits.
#[derive(Debug, Default)]
struct Book {
    tickets: u64,
    removals: Vec<(Ticket, Digest)>,
}

impl Book {
    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }
}

impl SpoolHandle {
    /// Opens the spool in `directory`.
    pub(in crate::network) async fn open(
        directory: PathBuf,
        limit: u64,
    ) -> Result<Self, SpoolError> {
        let spool = blocking(move || Spool::open(&directory, limit)).await?;
        Ok(Self { spool: Arc::new(Mutex::new(spool)), book: Arc::default() })
    }

    /// A new ticket.
    pub(in crate::network) fn ticket(&self) -> Ticket {
        unpoisoned(&self.book).ticket()
    }

    /// Notes that a package is to be removed, calling in every ticket given out before. Each later call
    /// finds it removed; without one, [`settle`](Self::settle) does it.
    pub(in crate::network) fn remove(&self, package: Digest) {
        let mut book = unpoisoned(&self.book);
        let last = book.ticket();
        book.removals.push((last, package));
    }

    /// Carries out what is noted.
    pub(in crate::network) async fn settle(&self) {
        self.with(|_spool| ()).await;
    }

    /// See [`Spool::read`]; and where the next piece begins, when there is none at `at`.
    pub(in crate::network) async fn read(
        &self,
        package: Digest,
        part: Part,
        at: u64,
        at_most: u64,
    ) -> Result<Vec<u8>, Option<u64>> {
        self.with(move |spool| {
            let bytes = spool.read(&package, part, at, at_most);
            bytes.ok_or_else(|| spool.next_after(&package, part, at))
        })
        .await
    }

    /// Keeps a piece and gives it back.
    pub(in crate::network) async fn keep_piece(
        &self,
        ticket: Ticket,
        package: Digest,
        part: Part,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Vec<u8> {
        self.with(move |spool| {
            spool.keep_piece(ticket, &package, part, offset, &bytes);
            bytes
        })
        .await
    }

    /// See [`Spool::lengths`].
    pub(in crate::network) async fn lengths(&self, package: Digest) -> Option<Lengths> {
        self.with(move |spool| spool.lengths(&package)).await
    }

    /// See [`Spool::keep_lengths`].
    pub(in crate::network) async fn keep_lengths(
        &self,
        ticket: Ticket,
        package: Digest,
        lengths: Lengths,
    ) {
        self.with(move |spool| spool.keep_lengths(ticket, &package, lengths)).await;
    }

    async fn with<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Spool) -> T + Send + 'static,
    ) -> T {
        let (spool, book) = (Arc::clone(&self.spool), Arc::clone(&self.book));
        blocking(move || {
            let mut spool = unpoisoned(&spool);
            let removals = std::mem::take(&mut unpoisoned(&book).removals);
            for (ticket, package) in removals {
                spool.remove(ticket, &package);
            }
            call(&mut spool)
        })
        .await
    }
}

/// A call that panicked leaves nothing behind that is worse than a piece to be fetched again.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(call).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going away, and this task with it.
            Err(_cancelled) => std::future::pending().await,
        },
    }
}
