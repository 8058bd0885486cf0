//! The session's dealings with the coordinator, bytes apart.

use cutover_shared::digest::Digest;
use cutover_shared::protocol::{ClearanceAnswer, Request, Response, ToApplier};
use cutover_shared::refusal::Refusal;
use cutover_transport::Connection;

use super::{CLEARANCES, Directives, Over, Session};
use crate::network::append::append;
use crate::network::ask::{Failure, ask};
use crate::network::directives;
use crate::network::event::{Appended, Event};

impl Session<'_> {
    pub(super) fn reached(&mut self, connection: Connection) -> Result<(), Over> {
        tracing::info!(remote = %connection.remote_address(), "the coordinator is reached");
        self.lost = false;
        self.connection.send_replace(Some(connection));
        self.directives_backoff.reset();
        self.directives = Directives::Closed;
        self.open_directives();
        self.start_append();
        self.answer(ToApplier::Connected(true))
    }

    pub(super) fn lost(&mut self, why: &str) -> Result<(), Over> {
        if self.lost {
            tracing::debug!(why, "the coordinator is still not reached");
        } else {
            tracing::warn!(why, "the coordinator is not reached; trying again");
        }
        self.lost = true;
        self.directives = Directives::Closed;
        if self.connection.send_replace(None).is_some() {
            self.answer(ToApplier::Connected(false))?;
        }
        Ok(())
    }

    /// Opens the directive stream unless it is open or there is no connection.
    pub(super) fn open_directives(&mut self) {
        let connection = self.connection.borrow().clone();
        let Some(connection) = connection else {
            return;
        };
        if self.directives != Directives::Open {
            self.directives = Directives::Open;
            self.tasks.spawn(directives::hold(
                connection,
                self.report.subscribe(),
                self.outbox.clone(),
                self.events.clone(),
            ));
        }
    }

    pub(super) fn directives_ended(&mut self, connection: usize, worked: bool, why: &str) {
        let current = self.connection.borrow().as_ref().map(Connection::stable_id);
        if current != Some(connection) || self.directives != Directives::Open {
            return;
        }
        tracing::info!(why, "the directive stream has ended; it will be opened again");
        if worked {
            self.directives_backoff.reset();
        }
        self.directives = Directives::Waiting;
        let wait = self.directives_backoff.next();
        self.later(wait, Event::DirectivesDue);
    }

    /// Asks about the next statement, when there is one and somebody to ask.
    pub(super) fn start_append(&mut self) {
        let connection = self.connection.borrow().clone();
        let Some(connection) = connection else {
            return;
        };
        let Some((id, envelope)) = self.appends.start() else {
            return;
        };
        let (events, known) = (self.events.clone(), self.known.subscribe());
        self.tasks.spawn(async move {
            let answer = append(connection, envelope, known).await;
            // Nobody listens when the session is over.
            let _ = events.send(Event::Appended { id, answer }).await;
        });
    }

    pub(super) fn appended(&mut self, id: Digest, answer: Appended) -> Result<(), Over> {
        let told = match answer {
            Appended::Logged { receipt, consistency } => {
                tracing::info!(statement = %id.short(), index = receipt.index, "a statement is logged");
                self.appends.finish(&id);
                self.appends_backoff.reset();
                // It may have been this host's enrolment: now it may be told something.
                self.open_directives();
                self.answer(ToApplier::Logged { id, receipt, consistency })
            }
            Appended::Refused(refusal) => {
                tracing::warn!(statement = %id.short(), %refusal, "a statement is refused");
                self.appends.finish(&id);
                self.answer(ToApplier::NotLogged { id, refusal })
            }
            Appended::Again { why } => {
                tracing::warn!(statement = %id.short(), why, "a statement is not logged yet; asking again");
                self.appends.postpone(&id);
                let wait = self.appends_backoff.next();
                self.later(wait, Event::AppendDue);
                Ok(())
            }
        };
        self.start_append();
        told
    }

    /// Asks for a clearance. Where there is no answer the applier asks again, with another nonce: the
    /// same one, answered late, would make its clock look wrong.
    pub(super) fn ask_clearance(&mut self, nonce: Digest, question: Request) {
        let connection = self.connection.borrow().clone();
        let Some(connection) = connection.filter(|_| self.clearances < CLEARANCES) else {
            tracing::info!("a clearance cannot be asked for now; the applier will ask again");
            return;
        };
        self.clearances += 1;
        let events = self.events.clone();
        self.tasks.spawn(async move {
            let answer = match ask(&connection, &question).await {
                Ok(Response::Clearance(answer)) => Some(Ok(answer)),
                Err(Failure::Refused(refusal)) => Some(Err(refusal)),
                Ok(_) => None,
                Err(Failure::Again(why)) => {
                    tracing::warn!(
                        why,
                        "there was no answer about a clearance; the applier will ask again"
                    );
                    None
                }
            };
            // Nobody listens when the session is over.
            let _ = events.send(Event::Cleared { nonce, answer }).await;
        });
    }

    pub(super) fn cleared(
        &mut self,
        nonce: Digest,
        answer: Option<Result<ClearanceAnswer, Refusal>>,
    ) -> Result<(), Over> {
        self.clearances -= 1;
        match answer {
            Some(answer) => self.answer(ToApplier::Clearance { nonce, answer }),
            None => Ok(()),
        }
    }
}
