//! What the applier trusts, decides and remembers: pure.
//!
//! **Contract.** No clock, file, process, network, randomness, async or logging in here. The driver (the
//! applier's loop, or a simulated host) owns one [`Core`] and does this, one input at a time:
//!
//! 1. [`Core::recover`] from what the ledger holds, then [`Input::Looked`] with what the host's own
//!    directories say;
//! 2. [`Core::handle`] an [`Input`], and carry out every [`Output`] of [`Core::poll_output`] in its order
//!    until there is none. Work is answered, once, with [`Input::Answered`];
//! 3. sleep until an input, or until [`Core::poll_timeout`], then [`Input::Timeout`].
//!
//! Everything outside is lent for the one call in [`Outside`]: both clocks, what the kernel says of them, a
//! source of nonces, and the [`Ledger`].
//!
//! **Persist before effect.** What an input changes is in the ledger when [`Core::handle`] returns, and so
//! before any output of it is carried out. A ledger that cannot be written is an answer like any other: the
//! deployment machine turns back, an offer is refused, and what is only told again is told again.
//!
//! **Nothing is believed.** Frames come from a network half that may be anybody's. Offers are opened and
//! judged by `cutover_shared`, order by order; a [`Package`] exists only for bytes whose digests were
//! compared; only an authorised order reaches the deployment machine, which is `cutover_machine`'s.
//!
//! Not in here: how an application is started, how bytes come over the wire, what a line of log looks like.

mod applier;
mod assignment;
mod clearances;
mod deployment;
mod drift;
mod effects;
mod input;
mod join;
mod membership;
mod offers;
mod operator;
mod outcome;
mod output;
mod package;
mod persist;
mod refusals;
mod runbook;
mod saved;
mod settings;
mod stops;

pub use applier::Core;
pub use assignment::{Terms, allow, forward_assignment};
pub use drift::SWEEP_LIMIT;
pub use input::{Answer, Delivery, Input, Ledger, Nonces, Outside, Running};
pub use join::{JOIN_PREFIX, read_join};
pub use operator::{MAX_REASON, OperatorAct, OperatorAsk};
pub use output::{Level, Note, Output, Work};
pub use package::{Failure, Package, Unread, parse_manifest};
pub use runbook::StepRun;
pub use saved::{Saved, SavedApplication, SavedEnrolment, SavedOrder, SavedRunbook, SavedTrust};
pub use settings::{ApplicationSettings, Driver, Hooks, HostSettings, ProbeKind};
