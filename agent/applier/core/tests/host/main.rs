//! The applier's core as its loop drives it: a real log with people who sign, a coordinator that is honest
//! where a test does not say otherwise, a ledger, two clocks. What is asserted is what a host can be seen
//! to do: what it says, what it begins, what it signs, and what it has written down.

#![expect(clippy::unwrap_used, reason = "in tests a failure to prepare is a failure")]

mod bench;
mod clearances;
mod ends;
mod gateway_returns;
mod gateways;
mod membership;
mod offers;
mod operators;
mod others;
mod packages;
mod packages_read;
#[path = "../../../../../tests/src/world/package.rs"]
#[expect(unreachable_pub, reason = "it is the world of other tests, too")]
mod parcel;
mod processes;
mod stops;
#[path = "../../../../../shared/tests/decisions/world.rs"]
#[expect(dead_code, reason = "other tests use more of the world")]
mod world;
