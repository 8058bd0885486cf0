//! Everything that can happen to the applier, one event at a time.

use cutover_machine::{EffectId, Sample};
use cutover_shared::digest::Digest;
use cutover_shared::name::Name;
use cutover_shared::protocol::ToApplier;

use crate::content::Package;
use crate::link::Link;
use crate::process::Running;

/// An event of the loop.
#[derive(Debug)]
pub enum Event {
    /// The network half connected.
    Linked(Link),
    /// A connection of it ended.
    Unlinked(u64),
    /// It said something.
    Frame(u64, ToApplier),
    /// An effect was answered.
    Answered {
        /// Of which application.
        application: Name,
        /// Which effect.
        effect: EffectId,
        /// How.
        answer: Answer,
    },
    /// A package's manifest was read, or could not be.
    Read {
        /// For which application.
        application: Name,
        /// For which order.
        order: Digest,
        /// What was read; a failure begins with a refusal's code.
        result: Result<Box<Package>, String>,
    },
    /// Bytes of a slot arrived.
    Progress {
        /// Of which application.
        application: Name,
        /// Bytes there.
        done: u64,
        /// Bytes in all.
        all: u64,
    },
    /// A process of the application ended.
    Exited {
        /// Of which application.
        application: Name,
        /// Which process.
        running: Running,
    },
    /// A process that ended is to be started again, if it is still wanted.
    Restart {
        /// Of which application.
        application: Name,
    },
    /// It was started again.
    Restarted {
        /// Of which application.
        application: Name,
        /// What runs now.
        running: Running,
    },
    /// The inhibitor directory or the inbox changed.
    Looked,
}

/// The answer to an effect.
#[derive(Debug)]
pub enum Answer {
    /// It was carried out.
    Done,
    /// It was carried out, and this runs now.
    Started(Running),
    /// It failed.
    Failed(String),
    /// Something that may go by itself stood in the way.
    Blocked(String),
    /// A round of health checks.
    Sample(Sample),
}
