//! What the outbox decides: whom an entry of the log is told to, in which words, and what is sent next.
//!
//! **Contract.** Pure, like the rest of this crate. The driver owns one [`Queue`] and does this:
//!
//! 1. It keeps [`Mark`]s in a ledger, durably, and reads them into a [`Remembered`] when it starts.
//! 2. From [`Remembered::below`] on, and for each later growth of the log, it asks of each entry what it
//!    tells ([`notices`]) and to whom ([`deliveries`]), and gives that to [`Queue::handle_planned`].
//! 3. Again and again, at the latest after [`next_look`], it asks what the clock has brought ([`due`], since
//!    [`Queue::told_until`]) and what hosts ask people for ([`asked`]), and gives that to [`Queue::handle_due`] and
//!    [`Queue::handle_asked`].
//! 4. What [`Queue::poll_due`] hands out it makes ready ([`message`], [`ticket`]), sends, and tells the queue
//!    how that ended. It makes the marks that it is answered durable before it polls again.
//!
//! Nothing of this is stored but the marks: an entry tells the same today as on the day on which it was
//! logged, because it is asked of the release as of that entry ([`State::as_of`]). A delivery has a key that
//! follows from statement, channel and recipient (and the instant, or the step, where it is not the entry itself
//! that is told), and whoever is delivered to twice sees the same key twice.
//! Deliveries to one recipient go in the order of the log; one that is parked lets the others pass.
//!
//! [`State::as_of`]: cutover_shared::fold::State::as_of

mod audience;
mod marks;
mod message;
mod notice;
mod policy;
mod queue;
#[cfg(test)]
mod tests;
mod ticket;
mod timed;
mod words;

pub use audience::{Delivery, Destination, Routes, Team, Webhook, deliveries, may_see};
pub use marks::{Mark, Remembered, Tried};
pub use message::{Message, Setting, message};
pub use notice::{Notice, What, notices};
pub use queue::{Failure, Limits, Queue};
pub use ticket::{Ticket, TicketPhase, TicketTask, ticket};
pub use timed::{Asked, Cause, asked, awaited_of, due, next_look};
