//! The `cutover` binary as a person meets it: files, exit codes, what it prints, and what it refuses to
//! believe of a coordinator.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod calendars;
mod help;
mod keys;
mod log;
mod policies;
mod program;
mod server;
mod serving;
mod terminal;
