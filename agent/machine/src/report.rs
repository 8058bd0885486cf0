//! What the machine is told by health checks, and what it tells when an order has ended.

use std::time::Duration;

use cutover_shared::digest::Digest;
use cutover_shared::time::{Time, span};
use serde::{Deserialize, Serialize};

use crate::assignment::{Kind, Slot};
use crate::route::{Point, ReturnStep};

/// Rounds that an outcome keeps: enough to show a usual success streak or what went wrong, small
/// enough to be stored with every state.
pub const SAMPLES_KEPT: usize = 8;

/// Readings that are kept of a round; a package has a handful of checks.
pub const READINGS_KEPT: usize = 16;

/// Bytes that are kept of a detail, a failure or a reason: some lines of text.
pub const TEXT_KEPT: usize = 1024;

/// `text`, cut to [`TEXT_KEPT`] bytes at a character's edge.
pub(crate) fn bounded(mut text: String) -> String {
    if text.len() > TEXT_KEPT {
        text.truncate(text.floor_char_boundary(TEXT_KEPT));
    }
    text
}

/// What one check said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The check's name.
    pub check: String,
    /// Whether it passed.
    pub healthy: bool,
    /// What was seen, for people.
    pub detail: String,
    /// How long it took.
    #[serde(with = "span")]
    pub took: Duration,
}

/// One round: a reading for each check. A release without checks makes empty, healthy rounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When the round ended.
    pub at: Time,
    /// The readings.
    pub readings: Vec<Reading>,
}

impl Sample {
    /// Whether every check passed.
    pub fn healthy(&self) -> bool {
        self.readings.iter().all(|reading| reading.healthy)
    }
}

/// The health checks of one order, as its outcome shows them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// Rounds taken.
    pub taken: u32,
    /// Failed ones among them.
    pub failed: u32,
    /// The last [`SAMPLES_KEPT`] rounds: those that decided.
    pub samples: Vec<Sample>,
}

impl Evidence {
    /// Counts `sample` and keeps it, cut to size.
    pub(crate) fn add(&mut self, mut sample: Sample) {
        self.taken = self.taken.saturating_add(1);
        if !sample.healthy() {
            self.failed = self.failed.saturating_add(1);
        }
        // Failed readings are kept before others: they are what a reader needs.
        sample.readings.sort_by_key(|reading| reading.healthy);
        sample.readings.truncate(READINGS_KEPT);
        for reading in &mut sample.readings {
            reading.check = bounded(std::mem::take(&mut reading.check));
            reading.detail = bounded(std::mem::take(&mut reading.detail));
        }
        if self.samples.len() == SAMPLES_KEPT {
            self.samples.remove(0);
        }
        self.samples.push(sample);
    }
}

/// Why an order did not end committed, or by whose word it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// A step failed.
    Failed {
        /// The step.
        at: Point,
        /// What it said.
        why: String,
    },
    /// Not healthy by the deadline.
    NeverHealthy,
    /// Healthy first, then lost beyond the tolerance while baking.
    HealthLost,
    /// The application ended while it was being checked.
    Exited {
        /// How it ended.
        why: String,
    },
    /// Not committed by the end of the window less the rollback reserve.
    WindowClosing,
    /// The window is not open, or what is left of it too short to begin again or to stop anything.
    NoRoom,
    /// A hold, a cancellation, a freeze or a denial that arrived on the way.
    Held {
        /// What it said.
        why: String,
    },
    /// A clearance was refused.
    NotCleared {
        /// The refusal.
        why: String,
    },
    /// The applier ended on the way.
    Interrupted {
        /// Where it was.
        at: Point,
    },
    /// The ledger could not be written.
    NotRecorded {
        /// What the ledger said.
        why: String,
    },
    /// It was stuck, and an operator at the host put it right.
    Operator {
        /// What the operator said.
        why: String,
    },
}

/// How an order ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// The new release runs.
    Committed,
    /// It never came to stopping the earlier one; what was fetched is cleaned up.
    Abandoned,
    /// The earlier release runs again; after a first installation: absent again.
    Returned {
        /// What the host went back to.
        to: Option<Slot>,
    },
    /// Neither; everything is kept and the operator must look.
    Stuck {
        /// Where going back failed and why; `None`: the release was irreversible.
        at: Option<(ReturnStep, String)>,
    },
}

/// The end of one order, to be signed and reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The application.
    pub application: String,
    /// The order's generation.
    pub generation: u64,
    /// The package that it was about.
    pub package: Digest,
    /// The `release` statement.
    pub release: Digest,
    /// The `booking` or `rollback` statement.
    pub booking: Digest,
    /// Which way it went.
    pub kind: Kind,
    /// How it ended.
    pub what: What,
    /// The furthest point that was begun.
    pub reached: Point,
    /// Why it did not end committed; of a commit: that it was by an operator's word.
    pub cause: Option<Cause>,
    /// Health of the release that was brought in.
    pub health: Evidence,
    /// Health of the earlier release after going back.
    pub health_after: Evidence,
    /// The clearances that it acted upon.
    pub clearances: Vec<Digest>,
    /// When it was taken up.
    pub began: Time,
    /// When it ended.
    pub ended: Time,
}
