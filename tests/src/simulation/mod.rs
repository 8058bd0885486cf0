//! The fleet, simulated: the real coordinator's core, hosts with the real applier's core and deployment
//! machine, people who really sign, and a world that goes wrong in every way that it can.
//!
//! A run is drawn from a seed ([`Scenario::draw`]): who does what when, and which faults there are. Then it
//! happens, one event after the other in virtual time ([`simulate`]); nothing in it reads a clock, so the
//! same seed gives the same run to the byte. After each event the referee, who knows the log and the true
//! state of every host and none of the product's rules, looks whether the promises of the design still
//! hold; when all faults are over everything must come to rest. A run in which a promise was broken is made
//! smaller ([`shrunk`]): what can be left out of it is not what did it.
//!
//! - `scenario` is what happens, `fleet` makes it happen, `people` sign by the policy of `rules`,
//!   `coordinator` and `host` and `work` drive the cores, `witnesses` clear beside them, `disk` forgets what
//!   was not synced, `referee` judges, `transcript` tells.

mod coordinator;
mod disk;
mod fleet;
mod host;
mod people;
mod random;
mod referee;
mod rules;
mod scenario;
mod shrink;
mod transcript;
mod witnesses;
mod work;

use std::collections::BTreeMap;

use cutover_shared::digest::Digest;
use cutover_shared::time::Time;

pub use self::referee::{Invariant, Violation};
pub use self::scenario::{
    Act, Behaviour, Draft, Fault, Instant, Reservation, Scenario, Seat, Weather, Word,
};
pub use self::shrink::shrunk;

use self::fleet::Fleet;

/// What is deployed in every run.
const APPLICATION: &str = "web";

/// When every run begins.
fn epoch() -> Time {
    const EPOCH: i64 = 1_772_452_800_000;
    Time::from_millis(EPOCH).expect("2026-03-02T12:00:00Z can be written")
}

/// How a run went.
#[derive(Debug)]
pub struct Run {
    /// The first promise that was broken.
    pub violation: Option<Violation>,
    /// Over everything that happened, line by line.
    pub digest: Digest,
    /// The lines, where they were asked for.
    pub text: String,
    /// How often what was seen: `committed`, `returned`, …
    pub seen: BTreeMap<&'static str, u64>,
}

/// Lets a scenario happen. With `trace` its lines are kept.
pub fn simulate(scenario: &Scenario, trace: bool) -> Run {
    let mut fleet = Fleet::new(scenario.clone(), trace);
    fleet.run();
    Run {
        violation: fleet.referee.found().cloned(),
        digest: fleet.transcript.digest(),
        seen: std::mem::take(&mut fleet.referee.seen),
        text: std::mem::take(&mut fleet.transcript.text),
    }
}
