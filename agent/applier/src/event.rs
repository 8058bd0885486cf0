//! Everything that comes into the loop, one event at a time.

use cutover_applier_core::Input;
use cutover_shared::protocol::ToApplier;

use crate::link::Link;

/// An event of the loop.
#[derive(Debug)]
pub enum Event {
    /// The network half connected.
    Linked(Link),
    /// A connection of it ended.
    Unlinked(u64),
    /// It said something.
    Frame(u64, ToApplier),
    /// The inhibitor directory or the inbox changed.
    Looked,
    /// What a worker found out for the core.
    Told(Input),
}
