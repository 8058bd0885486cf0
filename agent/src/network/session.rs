//! One session: from the applier's accepting us to its going away.
//!
//! The event loop owns everything here and never waits for anybody: what takes time is done by tasks of
//! the session, which report back with an [`Event`] and end with it. So no answer to an applier that is
//! gone can reach the next one.

mod fetches;
mod uplink;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cutover_shared::digest::Digest;
use cutover_shared::protocol::{FromApplier, HostReport, Request, ToApplier};
use cutover_transport::{CloseCode, Connection, close};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use super::Network;
use super::append::Appends;
use super::backoff::Backoff;
use super::event::Event;
use super::fetch::{AT_WORK, FetchId, Wanted};
use super::link::{self, Coordinator};
use super::service::Service;
use super::socket::{self, Outbox, SocketError};

/// Events that may wait. The loop is quick; who fills this waits for a moment.
const EVENTS: usize = 64;

/// Fetches that the applier may have outstanding: it asks for a few at a time.
const FETCHES: usize = 256;

/// Clearances that may be asked for at a time: one an application.
const CLEARANCES: usize = 64;

/// First and longest wait before the directive stream is opened, or a statement offered, again.
const WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Why a session is over.
#[derive(Debug)]
pub(super) enum Over {
    /// The applier went away.
    Applier {
        /// How.
        error: SocketError,
        /// Whether it had welcomed us.
        welcomed: bool,
    },
    /// The applier says that the coordinator is another one now: begin anew.
    Moved,
    /// We were told to stop.
    Shutdown,
}

/// The directive stream.
#[derive(Debug, PartialEq, Eq)]
enum Directives {
    /// There is none, and no connection either.
    Closed,
    /// It is open. It ends with [`Event::DirectivesEnded`].
    Open,
    /// It ended and is opened again at [`Event::DirectivesDue`].
    Waiting,
}

struct Session<'a> {
    network: &'a mut Network,
    outbox: Outbox,
    events: mpsc::Sender<Event>,
    tasks: JoinSet<()>,
    welcomed: bool,
    coordinator: Option<Coordinator>,
    connection: watch::Sender<Option<Connection>>,
    /// Whether the loss of the coordinator was logged; its further failures are of less interest.
    lost: bool,
    report: watch::Sender<Option<HostReport>>,
    /// Size of the newest head that the applier knows.
    known: watch::Sender<u64>,
    directives: Directives,
    directives_backoff: Backoff,
    appends: Appends,
    appends_backoff: Backoff,
    clearances: usize,
    fetches: BTreeMap<FetchId, (Digest, AbortHandle)>,
    next_fetch: u64,
    permits: Arc<Semaphore>,
}

/// Serves the applier at the other end of `stream` until the session is over.
pub(super) async fn serve<S: Future<Output = ()>>(
    network: &mut Network,
    stream: UnixStream,
    mut shutdown: Pin<&mut S>,
) -> Over {
    let (events, mut queue) = mpsc::channel(EVENTS);
    let (outbox, reader, writer) = socket::open(stream, events.clone());
    let mut session = Session::new(network, outbox, events);
    session.tasks.spawn(reader);
    session.tasks.spawn(writer);
    let over = match session.hello() {
        Err(over) => over,
        Ok(()) => loop {
            let handled = tokio::select! {
                () = shutdown.as_mut() => Err(Over::Shutdown),
                Some(event) = queue.recv() => session.handle(event),
                () = session.network.service.due() => {
                    Service::alive();
                    Ok(())
                }
                Some(ended) = session.tasks.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        // The panic was printed; what the task was to do is asked for again.
                        tracing::error!(%error, "a task of the session failed");
                    }
                    Ok(())
                }
            };
            session.show();
            if let Err(over) = handled {
                break over;
            }
        },
    };
    session.close(&over);
    over
}

impl<'a> Session<'a> {
    fn new(network: &'a mut Network, outbox: Outbox, events: mpsc::Sender<Event>) -> Self {
        Self {
            network,
            outbox,
            events,
            tasks: JoinSet::new(),
            welcomed: false,
            coordinator: None,
            connection: watch::Sender::new(None),
            lost: false,
            report: watch::Sender::new(None),
            known: watch::Sender::new(0),
            directives: Directives::Closed,
            directives_backoff: Backoff::new(WAITS.0, WAITS.1),
            appends: Appends::default(),
            appends_backoff: Backoff::new(WAITS.0, WAITS.1),
            clearances: 0,
            fetches: BTreeMap::new(),
            next_fetch: 0,
            permits: Arc::new(Semaphore::new(AT_WORK)),
        }
    }

    fn hello(&self) -> Result<(), Over> {
        let transport_key = self.network.key.public();
        self.answer(ToApplier::Hello { transport_key })
    }

    fn answer(&self, message: ToApplier) -> Result<(), Over> {
        self.outbox.answer(message).map_err(|error| self.gone(error))
    }

    fn gone(&self, error: SocketError) -> Over {
        Over::Applier { error, welcomed: self.welcomed }
    }

    fn handle(&mut self, event: Event) -> Result<(), Over> {
        match event {
            Event::Said(message) => return self.said(message),
            Event::ApplierLost(error) => return Err(self.gone(error)),
            Event::Reached(connection) => return self.reached(connection),
            Event::Lost { why } => return self.lost(&why),
            Event::DirectivesEnded { connection, worked, why } => {
                self.directives_ended(connection, worked, &why);
            }
            Event::DirectivesDue => self.open_directives(),
            Event::Appended { id, answer } => return self.appended(id, answer),
            Event::AppendDue => {
                self.appends.resume();
                self.start_append();
            }
            Event::Cleared { nonce, answer } => return self.cleared(nonce, answer),
            Event::Fetched { fetch, wanted, outcome } => {
                return self.fetched(fetch, wanted, outcome);
            }
        }
        Ok(())
    }

    fn said(&mut self, message: FromApplier) -> Result<(), Over> {
        match message {
            FromApplier::Welcome { coordinator: address, coordinator_key: key, known } => {
                self.knows(known);
                return self.welcome(Coordinator { address, key });
            }
            FromApplier::NotJoined => {
                tracing::info!("the host has not joined; `cutover-applier join` lets it");
                self.welcomed = true;
            }
            FromApplier::Report(report) => {
                self.knows(report.known);
                self.report.send_replace(Some(report));
            }
            FromApplier::WantClearance { order, phase, nonce, known } => {
                self.knows(known);
                let question = Request::Clearance { order, phase, nonce, known };
                self.ask_clearance(nonce, question);
            }
            FromApplier::Fetch { package, part, offset, length } => {
                let wanted = Wanted { package, part, offset, length };
                return self.fetch(wanted);
            }
            FromApplier::StopFetching { package } => self.stop_fetching(package),
            FromApplier::Append { id, envelope, known } => {
                self.knows(known);
                self.appends.add(id, envelope);
                self.start_append();
            }
        }
        Ok(())
    }

    fn knows(&self, known: u64) {
        // It never goes back (P6); an older message that comes later says nothing.
        self.known.send_if_modified(|newest| {
            let newer = known > *newest;
            *newest = known.max(*newest);
            newer
        });
    }

    fn welcome(&mut self, coordinator: Coordinator) -> Result<(), Over> {
        self.welcomed = true;
        match &self.coordinator {
            Some(same) if *same == coordinator => Ok(()),
            Some(_) => Err(Over::Moved),
            None => {
                let keeper = link::keep(
                    self.network.endpoint.clone(),
                    coordinator.clone(),
                    self.network.key.clone(),
                    self.events.clone(),
                );
                self.tasks.spawn(keeper);
                self.coordinator = Some(coordinator);
                Ok(())
            }
        }
    }

    fn later(&mut self, wait: Duration, event: Event) {
        let events = self.events.clone();
        self.tasks.spawn(async move {
            sleep(wait).await;
            // Nobody listens when the session is over.
            let _ = events.send(event).await;
        });
    }

    fn show(&mut self) {
        let connected = self.connection.borrow().is_some();
        let status = match &self.coordinator {
            None if self.welcomed => "the host has not joined".to_owned(),
            None => "talking to the applier".to_owned(),
            Some(Coordinator { address, .. }) if connected => format!(
                "connected to {address}; {} fetches, {} statements to log",
                self.fetches.len(),
                self.appends.len()
            ),
            Some(Coordinator { address, .. }) => format!("trying to reach {address}"),
        };
        self.network.service.status(status);
    }

    /// Ends the connection to the coordinator: without its applier this host cannot do anything, and
    /// the coordinator offers its orders again on the next one.
    fn close(self, over: &Over) {
        if let Some(connection) = self.connection.borrow().as_ref() {
            let (code, reason) = match over {
                Over::Shutdown => (CloseCode::ShuttingDown, "the agent stops"),
                Over::Applier { .. } => (CloseCode::Done, "the applier is gone"),
                Over::Moved => (CloseCode::Done, "the coordinator is another one"),
            };
            close(connection, code, reason);
        }
    }
}
