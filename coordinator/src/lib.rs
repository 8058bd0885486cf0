//! The coordinator and the command line: what the `cutover` binary is made of.

pub mod cli;
pub mod clock;
pub mod config;
pub mod forms;
pub mod outbox;
pub mod package;
pub mod server;
pub mod store;
