//! What the machine is asked to do: an order that was already verified, in plain values.

use std::collections::BTreeSet;
use std::time::Duration;

use cutover_shared::digest::Digest;
use cutover_shared::time::{Time, span};
use serde::{Deserialize, Serialize};

/// One order for one application of this host. Whoever makes it has verified every statement behind
/// it; the machine only keeps to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The application that it is for.
    pub application: String,
    /// The host's order generation of this application: each order has a higher one.
    pub generation: u64,
    /// The package to bring into place.
    pub package: Digest,
    /// The `release` statement that named it.
    pub release: Digest,
    /// The `booking`, or for a return the `rollback` statement.
    pub booking: Digest,
    /// Forward, or an ordered return.
    pub kind: Kind,
    /// Nothing is stopped or switched before this instant.
    pub window_start: Time,
    /// At this instant nothing is on its way forward any longer.
    pub window_end: Time,
    /// What fetching, applying, checking and baking are planned to take together.
    #[serde(with = "span")]
    pub apply_budget: Duration,
    /// What going back is planned to take; the last part of the window is kept for it.
    #[serde(with = "span")]
    pub rollback_reserve: Duration,
    /// The hooks of the package.
    pub hooks: Hooks,
    /// When it counts as healthy.
    pub health: HealthPolicy,
    /// Approved as one that cannot be undone once it was switched to.
    pub reversibility: Reversibility,
}

impl Assignment {
    /// From this instant on, what is not committed goes back.
    pub fn last_commit(&self) -> Time {
        if cutover_shared::seeded!(ClosingForgotten) {
            return self.window_end + 9 * self.rollback_reserve;
        }
        self.window_end - self.rollback_reserve
    }

    /// The release as it will be remembered when it was committed.
    pub fn slot(&self) -> Slot {
        Slot {
            generation: self.generation,
            package: self.package,
            release: self.release,
            health: self.health,
        }
    }
}

/// Which way an order goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// To a new release: inside its window only, cleared twice.
    Forward,
    /// To an earlier release, by a `rollback` statement: at any time until its end, no clearance, no
    /// hold. Its budget and reserve, counted from its beginning, bound it instead of a window.
    Return,
}

/// Whether the release can be left again after it was switched to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reversibility {
    /// A failure goes back by itself.
    Reversible,
    /// A failure after the switch ends `stuck`: everything is kept and the operator called.
    Irreversible,
}

/// Where in a deployment a hook runs. The hooks are those of the release that is brought in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HookPhase {
    /// While the earlier release still runs.
    PreStop,
    /// After the earlier release was stopped.
    Stop,
    /// After the link was switched.
    Activate,
    /// Just before the new release is started.
    Start,
    /// After it was started.
    PostStart,
}

/// Which hooks a package has. An undo may run more than once, and also when its hook ended half-way.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hooks {
    /// Phases with a hook.
    pub forward: BTreeSet<HookPhase>,
    /// Phases whose hook has an undo.
    pub undo: BTreeSet<HookPhase>,
}

/// When a release counts as healthy, counted on the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthPolicy {
    /// For so long after its start a failed round is not held against it: neither counted nor kept.
    #[serde(with = "span")]
    pub start_grace: Duration,
    /// From the beginning of one round of checks to the beginning of the next.
    #[serde(with = "span")]
    pub interval: Duration,
    /// A round that took longer is a failed one.
    #[serde(with = "span")]
    pub timeout: Duration,
    /// So many healthy rounds in a row; zero is read as one.
    pub successes: u32,
    /// Healthy within this time from its start, grace included, or it goes back.
    #[serde(with = "span")]
    pub deadline: Duration,
    /// Watched for so long before it is committed.
    #[serde(with = "span")]
    pub bake: Duration,
    /// So many failed rounds are borne while baking; one more and it goes back.
    pub bake_tolerance: u32,
}

/// A committed release: what a host runs, and what it goes back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The generation of the order that brought it; with the digest it names the directory.
    pub generation: u64,
    /// Its package.
    pub package: Digest,
    /// Its `release` statement.
    pub release: Digest,
    /// When it counts as healthy; asked again when the host went back to it.
    pub health: HealthPolicy,
}
