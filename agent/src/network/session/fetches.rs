//! The session's fetches.

use std::sync::Arc;

use cutover_shared::digest::Digest;
use cutover_shared::protocol::ToApplier;
use cutover_shared::refusal::{Code, Refusal};

use super::{FETCHES, Over, Session};
use crate::network::event::Event;
use crate::network::fetch::{Fetch, FetchId, Wanted};

impl Session<'_> {
    pub(super) fn fetch(&mut self, wanted: Wanted) -> Result<(), Over> {
        if self.fetches.len() >= FETCHES {
            let facts = format!("{FETCHES} fetches are outstanding");
            return self.fetch_failed(wanted, Refusal::new(Code::Busy, facts));
        }
        let id = FetchId(self.next_fetch);
        self.next_fetch += 1;
        let fetch = Fetch {
            wanted,
            ticket: self.network.spool.ticket(),
            spool: self.network.spool.clone(),
            outbox: self.outbox.clone(),
            connection: self.connection.subscribe(),
            permits: Arc::clone(&self.permits),
        };
        let events = self.events.clone();
        let task = self.tasks.spawn(async move {
            let fetched = Event::Fetched { fetch: id, wanted, outcome: fetch.run().await };
            // Nobody listens when the session is over.
            let _ = events.send(fetched).await;
        });
        self.fetches.insert(id, (wanted.package, task));
        Ok(())
    }

    pub(super) fn fetched(
        &mut self,
        fetch: FetchId,
        wanted: Wanted,
        outcome: Result<(), Refusal>,
    ) -> Result<(), Over> {
        let current = self.fetches.remove(&fetch).is_some();
        match outcome {
            Err(refusal) if current => self.fetch_failed(wanted, refusal),
            // One that was abandoned while its refusal was on its way: nobody wants to know.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    pub(super) fn fetch_failed(&self, wanted: Wanted, refusal: Refusal) -> Result<(), Over> {
        let package = wanted.package;
        tracing::warn!(package = %package.short(), part = ?wanted.part, %refusal, "a fetch is refused");
        self.answer(ToApplier::FetchFailed {
            package,
            part: wanted.part,
            offset: wanted.offset,
            refusal,
        })
    }

    /// Ends the fetches of a package.
    pub(super) fn abandon(&mut self, package: &Digest) {
        self.fetches.retain(|_, (fetched, task)| {
            let other = fetched != package;
            if !other {
                task.abort();
            }
            other
        });
    }

    pub(super) fn stop_fetching(&mut self, package: Digest) {
        self.abandon(&package);
        let spool = self.network.spool.clone();
        spool.remove(package);
        self.tasks.spawn(async move { spool.settle().await });
    }
}
