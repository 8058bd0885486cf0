//! The server as it runs: real QUIC on loopback, a real log in a directory, people and hosts that do
//! what a script says. Only the clock is the test's.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
#![expect(clippy::wildcard_enum_match_arm, reason = "whatever else comes is a failure")]

mod ending;
mod hosts;
mod killed;
mod packages;
mod people;
mod policies;
mod world;
