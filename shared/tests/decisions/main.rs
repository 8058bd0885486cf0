//! The decisions, asked as a host asks them: every refusal by its code, on evidence with real signatures
//! and real proofs.

#![expect(clippy::unwrap_used, reason = "in tests a failure to prepare is a failure")]

mod admission;
mod attacks;
mod checker;
mod complete;
mod evidence;
mod exceptions;
mod forward;
mod halting;
mod keys;
mod plans;
mod process;
mod queries;
mod rollout;
mod rules;
mod steps;
mod witnesses;
mod world;
