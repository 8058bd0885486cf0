//! The network half between a real Unix socket and a real QUIC endpoint.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod conversation;
mod fetching;
mod harness;
mod losses;
mod process;
