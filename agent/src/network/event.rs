//! What happens to a session.

use cutover_shared::digest::Digest;
use cutover_shared::protocol::{ClearanceAnswer, FromApplier, Receipt};
use cutover_shared::refusal::Refusal;
use cutover_transport::Connection;

use super::fetch::{FetchId, Wanted};
use super::socket::SocketError;

/// Everything that the event loop reacts to.
#[derive(Debug)]
pub(super) enum Event {
    /// The applier said something.
    Said(FromApplier),
    /// The applier is gone, or not to be understood: the session is over.
    ApplierLost(SocketError),
    /// The coordinator is reached.
    Reached(Connection),
    /// The coordinator is not, or no longer, reached. It is tried again by itself.
    Lost {
        /// Why.
        why: String,
    },
    /// The directive stream has ended.
    DirectivesEnded {
        /// Of which connection.
        connection: usize,
        /// Whether it had worked.
        worked: bool,
        /// Why.
        why: String,
    },
    /// It is time to open the directive stream again.
    DirectivesDue,
    /// The statement at the head of the queue was answered.
    Appended {
        /// Its identity.
        id: Digest,
        /// How.
        answer: Appended,
    },
    /// It is time to ask again to have statements logged.
    AppendDue,
    /// A request for a clearance has ended.
    Cleared {
        /// The nonce.
        nonce: Digest,
        /// The coordinator's answer; `None` when there was none.
        answer: Option<Result<ClearanceAnswer, Refusal>>,
    },
    /// A fetch has ended.
    Fetched {
        /// Which.
        fetch: FetchId,
        /// What it was to bring.
        wanted: Wanted,
        /// Everything was handed over, or the coordinator refused.
        outcome: Result<(), Refusal>,
    },
}

/// The coordinator's answer to a statement.
#[derive(Debug)]
pub(super) enum Appended {
    /// It is in the log.
    Logged {
        /// The proof.
        receipt: Receipt,
        /// From the head that the applier knows to the receipt's.
        consistency: Vec<Digest>,
    },
    /// It is refused for good.
    Refused(Refusal),
    /// There was no answer, or none that counts.
    Again {
        /// Why.
        why: String,
    },
}
