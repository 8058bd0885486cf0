//! What the coordinator decides: pure.
//!
//! **Contract.** No clock, file, process, network, randomness, log or async in here. The driver (the server;
//! the simulator) owns one [`Folded`] and one [`Register`], a [`Planner`] and a [`Conduct`], and does this:
//!
//! 1. It folds its log into a [`Folded`], entry by entry, or goes on from a snapshot that it wrote when one
//!    was due ([`is_snapshot_due`]), and begins a [`Register`] with the [`Activations`] of its life before.
//! 2. A statement that is brought is looked at ([`Brought::read`]). Unless the log has it already, it is
//!    admitted ([`Folded::admit`]) and made durable at exactly the size that was answered; only then it is
//!    folded ([`Folded::add`]), and only then acknowledged.
//! 3. A host's stream is told with [`Register::open`], [`Register::report`] and [`Register::close`].
//! 4. Whenever one of these has changed something, a clearance was given, or the time has come that
//!    [`Planner::round`] named: it has another round, and tells each host what the round says, with the
//!    evidence that a [`Selection`] names and assembles.
//! 5. A host that asks is cleared, or not, by [`clear`], with fold and register held together, so that two
//!    hosts that ask at the same time are not both given the last place. A clearance to activate leaves the
//!    driver when the register's [`Activations`] are safe from the end of the process.
//!
//! What people and other programs are told of what was logged is decided in [`outbox`], which has a contract of
//! its own; what is to be done for a release, in [`tasks`].
//!
//! It can authorise nothing: what it decides, every host judges again.

mod activations;
mod append;
mod conduct;
mod evidence;
pub mod outbox;
mod peer;
mod planner;
mod register;
mod rules;
mod snapshot;
pub mod tasks;

pub use activations::Activations;
pub use append::{Brought, Folded, brought_again};
pub use conduct::{Conduct, Done, Situation, Turn};
pub use evidence::{Asked, Cleared, Proofs, Selection, clear, not_shorter};
pub use peer::Peer;
pub use planner::{Command, Planner, Round, Tell};
pub use register::Register;
pub use rules::Rules;
pub use snapshot::is_snapshot_due;
