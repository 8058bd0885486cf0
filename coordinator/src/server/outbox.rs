//! The task that tells people and other programs what was logged.
//!
//! It follows the log by itself, from the first entry of which not everything was delivered: an append does
//! not wait for it, and what is appended just before the process is killed is told by the next one. What it
//! does is decided in [`cutover_coordinator_core::outbox`]. Marks are on the disk before anything else is
//! sent, so that at most what was under way when the process died is sent again.

mod around;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use cutover_coordinator_core::outbox::{
    Cause, Delivery, Destination, Failure, Mark, Queue, Remembered, Routes, Setting, deliveries,
    may_see, message, notices, ticket,
};
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::key::KeyId;
use cutover_shared::package::runbook::RunbookStep;
use cutover_shared::protocol::Response;
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::Statement;
use cutover_shared::time::Time;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use self::around::{fallen_due, look_around};
use super::core::Core;
use super::start::StartError;
use super::trouble::{Trouble, chain};
use crate::config::{OutboxSettings, Settings};
use crate::outbox::{Content, Courier, Ledger, LedgerReport, OutboxError, Parcel};
use crate::store::{Store, StoreError};

const UNPOISONED: &str = "whoever panics with this lock has ended the process";

/// Entries that are looked at together.
const BATCH: u64 = 512;

/// How long deliveries that are under way may take when the server ends. What is not told to be done by then
/// is made again by the next run.
const FAREWELL: Duration = Duration::from_secs(3);

/// The outbox, as requests see it.
pub(super) struct Outbox {
    settings: OutboxSettings,
    routes: Routes,
    courier: Courier,
    began: Instant,
    queue: Mutex<Queue>,
    ledger: Mutex<(Ledger, Remembered)>,
    /// Told that somebody wants a delivery tried again.
    woken: Notify,
    /// The runbooks of packages of which hosts wait for a step.
    runbooks: Mutex<BTreeMap<Digest, Vec<RunbookStep>>>,
}

/// How a delivery ended.
struct Ended {
    key: Digest,
    at: Time,
    /// What is to be remembered of its tracker.
    known: Vec<Mark>,
    outcome: Result<(), Failure>,
}

impl Outbox {
    /// Opens it, if the settings have one.
    pub(super) async fn open(
        settings: &Settings,
        store: &dyn Store,
        now: Time,
    ) -> Result<Option<Arc<Self>>, StartError> {
        let directory = &settings.data_directory;
        let Some(settings) = &settings.outbox else { return Ok(None) };
        let courier = Courier::open(settings).map_err(StartError::Outbox)?;
        let opened = Ledger::open(directory).map_err(OutboxError::from);
        let (ledger, remembered, report) = opened.map_err(StartError::Outbox)?;
        if let LedgerReport::Cut { kept } = report {
            let kept = kept.display();
            tracing::warn!(%kept, "the outbox's ledger was damaged: some messages are sent again");
        }
        let from = match remembered.below() {
            Some(from) => from,
            None => first_since(store, now - settings.catch_up).await?,
        };
        let until = remembered.until().unwrap_or(now - settings.catch_up);
        let outbox = Self {
            routes: settings.routes(),
            courier,
            began: Instant::now(),
            queue: Mutex::new(Queue::new(settings.limits, from, until)),
            ledger: Mutex::new((ledger, remembered)),
            woken: Notify::new(),
            runbooks: Mutex::default(),
            settings: settings.clone(),
        };
        // From here on there is a ledger, which says from where on a next run has to look.
        outbox.keep(&[Mark::Below(from), Mark::Until(until)]).map_err(StartError::Outbox)?;
        tracing::info!(from, "the outbox is open");
        Ok(Some(Arc::new(outbox)))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect(UNPOISONED)
    }

    fn keep(&self, marks: &[Mark]) -> Result<(), OutboxError> {
        let mut guard = self.ledger.lock().expect(UNPOISONED);
        let (ledger, remembered) = &mut *guard;
        for mark in marks {
            remembered.add(mark.clone());
        }
        Ok(ledger.add(marks, remembered)?)
    }

    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// What a person may see of it.
    pub(super) fn view(&self, core: &Core, person: &KeyId) -> Response {
        let (all, own) = may_see(&core.folded().state, person);
        let shown = |delivery: &Delivery| {
            all || own.as_deref().is_some_and(|own| delivery.to.recipient() == own)
        };
        Response::Outbox(self.queue().view(self.elapsed(), shown))
    }

    /// Tries a delivery again at once.
    pub(super) fn retry(
        &self,
        core: &Core,
        person: &KeyId,
        key: &Digest,
    ) -> Result<Response, Trouble> {
        let (all, _) = may_see(&core.folded().state, person);
        if !all {
            let facts = "to try a delivery again one must be change-manager, librarian or operator";
            return Err(Refusal::new(Code::RoleMissing, facts).into());
        }
        let mark = self.queue().handle_retry(key, self.elapsed());
        let Some(mark) = mark else {
            let facts = format!("no delivery {} waits or is parked", key.short());
            return Err(Refusal::new(Code::SubjectUnknown, facts).into());
        };
        self.keep(&[mark]).map_err(|error| Trouble::Failed(chain(&error)))?;
        self.woken.notify_one();
        Ok(Response::Retried)
    }
}

/// The first entry of the log that is not older than `since`, by what its signer says.
async fn first_since(store: &dyn Store, since: Time) -> Result<u64, StoreError> {
    let mut to = store.published().head.size;
    while to > 0 {
        let mut from = to.saturating_sub(BATCH);
        let mut young = to;
        let start = from;
        while from < to {
            for entry in store.read(from..to).await? {
                let issued = statement_in(&entry).map(|(_, statement)| statement.header.issued);
                if issued.is_some_and(|issued| issued < since) {
                    young = from + 1;
                }
                from += 1;
            }
        }
        if young != to || start == 0 {
            // The last that is too old is before it; where none is, the whole batch is young.
            let none_old = young == to && start == 0;
            return Ok(if none_old { start } else { young });
        }
        to = start;
    }
    Ok(0)
}

fn statement_in(entry: &[u8]) -> Option<(Digest, Statement)> {
    let envelope = Envelope::parse(entry).ok()?;
    let statement = Statement::read(&envelope).ok()?;
    Some((envelope.id(), statement))
}

/// Delivers until the server ends.
pub(super) async fn run(core: Arc<Core>, outbox: Arc<Outbox>) {
    if let Err(error) = drive(&core, &outbox).await {
        // Nothing is lost by it: the log has everything, and a restart goes on.
        tracing::error!(error = %chain(&*error), "the outbox stands still: nobody is told of anything");
    }
}

async fn drive(
    core: &Arc<Core>,
    outbox: &Arc<Outbox>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut grown = core.grown();
    let mut sending: JoinSet<Ended> = JoinSet::new();
    look_back(core, outbox).await?;
    loop {
        grown.borrow_and_update();
        plan(core, outbox).await?;
        let look = look_around(core, outbox).await?;
        let due = outbox.queue().poll_due(outbox.elapsed());
        for delivery in due {
            send(core, outbox, delivery, &mut sending).await?;
        }
        let again = outbox.queue().next_due().map(|due| due.saturating_sub(outbox.elapsed()));
        let wait = [again, look].into_iter().flatten().min();
        let elapsed = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = sending.join_next(), if !sending.is_empty() => note(outbox, ended)?,
            _ = grown.changed() => {}
            () = outbox.woken.notified() => {}
            () = elapsed => {}
            () = core.drained() => break,
        }
    }
    let rest = async {
        while let Some(ended) = sending.join_next().await {
            note(outbox, Some(ended))?;
        }
        Ok::<(), OutboxError>(())
    };
    match timeout(FAREWELL, rest).await {
        Ok(rest) => rest?,
        Err(_elapsed) => tracing::info!("deliveries under way are made again by the next run"),
    }
    Ok(())
}

/// What is parked, or was delivered not long ago, of the entries before those that are looked at.
async fn look_back(core: &Core, outbox: &Outbox) -> Result<(), StoreError> {
    let earlier = outbox.ledger.lock().expect(UNPOISONED).1.earlier();
    let size = core.folded().head.size;
    for index in earlier.into_iter().filter(|index| *index < size) {
        let entries = core.store.read(index..index + 1).await?;
        planned(core, outbox, index, &entries);
    }
    fallen_due(core, outbox, Time::EPOCH);
    Ok(())
}

/// Takes in what the log has grown by.
async fn plan(
    core: &Core,
    outbox: &Outbox,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    loop {
        let from = outbox.queue().seen();
        let to = core.folded().head.size.min(from + BATCH);
        if from >= to {
            break;
        }
        let entries = core.store.read(from..to).await?;
        planned(core, outbox, from, &entries);
    }
    let marks = outbox.queue().advance();
    outbox.keep(&marks)?;
    Ok(())
}

fn planned(core: &Core, outbox: &Outbox, from: u64, entries: &[Vec<u8>]) {
    let folded = core.folded();
    for (index, entry) in (from..).zip(entries) {
        let told = statement_in(entry)
            .map(|(id, statement)| notices(&folded.state, index, id, &statement))
            .unwrap_or_default();
        let told = told.into_iter().flat_map(|it| deliveries(&folded.state, &outbox.routes, &it));
        let told = told.collect();
        let ledger = outbox.ledger.lock().expect(UNPOISONED);
        outbox.queue().handle_planned(index, told, &ledger.1, outbox.elapsed());
    }
}

/// Makes a delivery ready and has it sent.
async fn send(
    core: &Arc<Core>,
    outbox: &Arc<Outbox>,
    delivery: Delivery,
    sending: &mut JoinSet<Ended>,
) -> Result<(), StoreError> {
    let index = delivery.notice.index;
    let entries = core.store.read(index..index + 1).await?;
    let statement = entries.first().and_then(|entry| statement_in(entry));
    let key = delivery.key;
    let parcel = statement.and_then(|(_, statement)| ready(core, outbox, &delivery, &statement));
    let now = core.now();
    let (core, outbox) = (Arc::clone(core), Arc::clone(outbox));
    sending.spawn_blocking(move || {
        let mut ended = Ended { key, at: now, known: Vec::new(), outcome: Ok(()) };
        let Some(parcel) = parcel else {
            let why = "the log does not say any more what it was about".to_owned();
            ended.outcome = Err(Failure::Lasting { why });
            return ended;
        };
        let tracker = parcel.to.recipient().to_owned();
        let known = |correlation: &str| {
            let ledger = outbox.ledger.lock().expect(UNPOISONED);
            ledger.1.known(&tracker, correlation).map(str::to_owned)
        };
        ended.outcome = outbox.courier.deliver(&parcel, now, &known, &mut ended.known);
        ended.at = core.now();
        ended
    });
    Ok(())
}

/// The parcel of a delivery, in the words of now for trackers, and of then for people.
fn ready(
    core: &Core,
    outbox: &Outbox,
    delivery: &Delivery,
    statement: &Statement,
) -> Option<Parcel> {
    let folded = core.folded();
    let now = core.now();
    let from = outbox.courier.from().unwrap_or_default();
    let content = match &delivery.to {
        Destination::Tracker(_) => {
            Content::Ticket(Box::new(ticket(&folded.state, &delivery.notice.release?, now)?))
        }
        Destination::Mail { .. } | Destination::Webhook(_) => {
            let zone = &outbox.settings.zone;
            let attendee = delivery.to.recipient();
            let setting = Setting { zone, organizer: &from, attendee, now };
            let message = message(&folded.state, &setting, &delivery.notice, statement)?;
            Content::Message(Box::new(message))
        }
    };
    Some(Parcel {
        key: delivery.key,
        origin: core.signer.origin.clone(),
        subject: delivery.notice.subject(),
        issued: match &delivery.notice.cause {
            Cause::Entry => statement.header.issued,
            Cause::Due(instant) => *instant,
            Cause::Asked(_) => now,
        },
        to: delivery.to.clone(),
        content,
    })
}

/// Remembers how a delivery ended.
fn note(
    outbox: &Outbox,
    ended: Option<Result<Ended, tokio::task::JoinError>>,
) -> Result<(), OutboxError> {
    let Some(ended) = ended.and_then(super::finished) else { return Ok(()) };
    let Ended { key, at, known: mut marks, outcome } = ended;
    let now = outbox.elapsed();
    marks.extend(match outcome {
        Ok(()) => {
            tracing::info!(delivery = %key.short(), "delivered");
            outbox.queue().handle_delivered(&key, at)
        }
        Err(failure) => {
            let (why, lasting) = match &failure {
                Failure::Passing { why, .. } => (why, false),
                Failure::Lasting { why } => (why, true),
            };
            tracing::warn!(delivery = %key.short(), why, lasting, "not delivered");
            outbox.queue().handle_failed(&key, failure, now, jitter())
        }
    });
    outbox.keep(&marks)
}

/// A random number. Where the system has none, deliveries that failed together are tried together.
fn jitter() -> u64 {
    getrandom::u64().unwrap_or(0)
}
