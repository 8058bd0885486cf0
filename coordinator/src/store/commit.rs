//! The group commit: many appenders, one writing thread, one durable step for all that wait.
//!
//! An appender sends a [`Job`] down a bounded channel and awaits its answer. The thread takes what has
//! gathered while it was busy with the step before, decides for each job which of its entries are new
//! (identities are known from the cache, and from the jobs before it in the same step), appends all of
//! them at once, and answers everybody. Answers are given after the checkpoint is on the disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use cutover_shared::digest::Digest;
use tokio::sync::{mpsc, oneshot};

use super::append::LogWriter;
use super::cache::{Cache, CacheError};
use super::log::LogError;
use super::{Appended, Entry, StoreError};

/// Jobs that may wait. Beyond, appenders wait to be let in.
pub(super) const QUEUE: usize = 256;

/// No more jobs are taken into a step that has this many entries: some 4 ms of hashing and signing.
const STEP_ENTRIES: usize = 1024;

/// Or this many bytes: 8 MiB are written in less time than the syncs take.
const STEP_BYTES: usize = 8 * 1024 * 1024;

/// One append that waits.
pub(super) struct Job {
    /// How long the appender believes the log to be, if that matters to it.
    pub(super) expected: Option<u64>,
    pub(super) entries: Vec<Entry>,
    pub(super) answer: oneshot::Sender<Result<Vec<Appended>, StoreError>>,
}

/// The writing thread's state.
pub(super) struct Committer {
    jobs: mpsc::Receiver<Job>,
    writer: LogWriter,
    cache: Arc<Cache>,
    /// Set when an entry is in the log and could not be noted in the cache: from then on the cache no
    /// longer tells what is new. The next start brings it up to date.
    cache_failed: Option<Arc<CacheError>>,
}

/// What one step will append.
struct Step {
    start: u64,
    entries: Vec<Vec<u8>>,
    ids: BTreeMap<Digest, u64>,
}

impl Committer {
    pub(super) fn new(jobs: mpsc::Receiver<Job>, writer: LogWriter, cache: Arc<Cache>) -> Self {
        Self { jobs, writer, cache, cache_failed: None }
    }

    /// Works until the last appender is gone, and does what still waits.
    pub(super) fn run(mut self) {
        while let Some(jobs) = self.gather() {
            self.commit(jobs);
        }
    }

    /// Waits for a job and takes those that wait with it; `None` when no more can come.
    fn gather(&mut self) -> Option<Vec<Job>> {
        let first = self.jobs.blocking_recv()?;
        let mut entries = first.entries.len();
        let mut bytes = size_of_entries(&first);
        let mut jobs = vec![first];
        while entries < STEP_ENTRIES && bytes < STEP_BYTES {
            let Ok(job) = self.jobs.try_recv() else { break };
            entries += job.entries.len();
            bytes += size_of_entries(&job);
            jobs.push(job);
        }
        Some(jobs)
    }

    fn commit(&mut self, jobs: Vec<Job>) {
        let mut step =
            Step { start: self.writer.size(), entries: Vec::new(), ids: BTreeMap::new() };
        let mut decided = Vec::with_capacity(jobs.len());
        for job in jobs {
            let outcome = self.decide(job.expected, job.entries, &mut step);
            decided.push((job.answer, outcome));
        }
        let appended = self.append(&step);
        for (answer, outcome) in decided {
            let answered = match (&appended, outcome) {
                (Err(error), Ok(entries))
                    if entries.iter().any(|entry| entry.index >= step.start) =>
                {
                    Err(error.clone())
                }
                (Ok(()) | Err(_), outcome) => outcome,
            };
            // An appender that did not wait for its answer does not want it.
            let _ = answer.send(answered);
        }
    }

    /// Where each entry of a job is or will be. The new ones are added to the step, all or none.
    fn decide(
        &self,
        expected: Option<u64>,
        entries: Vec<Entry>,
        step: &mut Step,
    ) -> Result<Vec<Appended>, StoreError> {
        if let Some(error) = &self.cache_failed {
            return Err(StoreError::Cache(Arc::clone(error)));
        }
        let size = step.start + step.entries.len() as u64;
        let mut outcome = Vec::with_capacity(entries.len());
        let mut new: Vec<Vec<u8>> = Vec::new();
        let mut new_ids: BTreeMap<Digest, u64> = BTreeMap::new();
        for entry in entries {
            let pending = new_ids.get(&entry.id).or_else(|| step.ids.get(&entry.id));
            let known = match pending {
                Some(index) => Some(*index),
                None => self.cache.find(&entry.id).map_err(Arc::new)?,
            };
            let index = known.unwrap_or(size + new.len() as u64);
            outcome.push(Appended { index, new: known.is_none() });
            if known.is_none() {
                new_ids.insert(entry.id, index);
                new.push(entry.bytes);
            }
        }
        if let Some(expected) = expected
            && expected != size
            && !new.is_empty()
        {
            return Err(Arc::new(LogError::SizeChanged { expected, size }).into());
        }
        step.entries.append(&mut new);
        step.ids.append(&mut new_ids);
        Ok(outcome)
    }

    fn append(&mut self, step: &Step) -> Result<(), StoreError> {
        if step.entries.is_empty() {
            return Ok(());
        }
        let head = self.writer.append_batch(step.start, &step.entries).map_err(Arc::new)?;
        let ids: Vec<(Digest, u64)> = step.ids.iter().map(|(id, index)| (*id, *index)).collect();
        if let Err(error) = self.cache.record(&ids, &head) {
            // The entries are in the log, so this step has succeeded; the next one will not begin.
            self.cache_failed = Some(Arc::new(error));
        }
        Ok(())
    }
}

fn size_of_entries(job: &Job) -> usize {
    job.entries.iter().map(|entry| entry.bytes.len()).sum()
}
