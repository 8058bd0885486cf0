//! The agent: what runs on every host. See the modules for its parts.

pub mod network;
pub mod probe;
