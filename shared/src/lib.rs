//! The vocabulary and the decisions of Cutover.
//!
//! Every decision that a person makes and every outcome that a host reports is a signed statement in
//! one tamper-evident log; everything else is a fold of that log. This crate holds what both ends must
//! agree on, and nothing that needs the outside world: **no I/O, no clock, no randomness, no async, no
//! logging**. The time, a nonce, a seed or an order of arrival is always an argument.
//!
//! Read it from the bottom up:
//!
//! - [`digest`], [`time`], [`key`], [`codec`]: SHA-256, UTC milliseconds, ed25519 keys as `openssl`
//!   writes them, bincode with limits.
//! - [`dsse`], [`statement`]: signed envelopes and what they may say.
//! - [`log`]: the RFC 6962 tree, its proofs and its checkpoints.
//! - [`package`]: what a release is made of, byte for byte.
//! - [`policy`], [`case`], [`mod@authorise`]: who may say what, what has been said about one release, and
//!   whether this host may act on it now; [`evidence`]: the part of the log that shows it.
//! - [`fold`], [`rollout`], [`window`]: the state of everything, whose turn it is, and when.
//! - [`board`]: what the change advisory board is to decide, and what went by it.
//! - [`turn`], [`witness`]: who gets a clearance, by the coordinator's word and by witnesses'.
//! - [`metrics`]: how timely the process is and how well it goes, from the log alone.
//! - [`calendar`]: civil times, windows that come again, and which slot a release could have.
//! - [`protocol`]: the messages between coordinator, people and hosts, and between the agent's halves.

pub mod authorise;
pub mod board;
pub mod calendar;
pub mod case;
pub mod codec;
pub mod digest;
pub mod dsse;
pub mod evidence;
pub mod fold;
mod json;
pub mod key;
pub mod log;
pub mod metrics;
pub mod name;
pub mod package;
pub mod policy;
pub mod protocol;
pub mod refusal;
pub mod rollout;
pub mod seeded;
pub mod statement;
pub mod time;
pub mod turn;
pub mod window;
pub mod witness;
