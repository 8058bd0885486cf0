//! The adversary: a coordinator, a network and the network half of each agent that may do anything but sign
//! with the keys of others.
//!
//! What is attacked is the real core of the applier on several hosts, with real keys, real log trees and a
//! clock of ours. The attacker holds the log's key, which is the coordinator's, and the hosts' transport
//! keys; it reads every statement that anybody ever signed, shows each host whatever log it likes, answers
//! what it likes or nothing, and serves what bytes it likes. DESIGN 11 says what it gets from that: the
//! [`BUDGET`](budget::BUDGET), row by row what is owned, column by column what is gained.
//!
//! - `truth`: what was truly said, and logs that somebody shows.
//! - `target`: a host; `run`: several of them, and the time; `scene`: what was before the attack.
//! - `witnesses`: those whom the policy of the second scene demands, each on a machine of its own.
//! - `referee`: which [`Gain`](budget::Gain) each deed of a host is. It asks none of the product's rules.
//! - `directed`: each power of the budget taken on purpose, and each one that is denied tried for;
//!   `chance`: strategies drawn from a seed.

pub mod budget;
pub mod chance;
pub mod directed;
pub mod referee;
pub mod run;
pub mod scene;
pub mod target;
pub mod truth;
pub mod witnesses;

use std::time::Duration;

use cutover_shared::time::Time;

/// The application that is attacked.
const APPLICATION: &str = "web";

/// How long a clearance is good, as the policy of the scene has it.
const FRESHNESS: Duration = Duration::from_mins(1);

/// When the scene begins.
fn epoch() -> Time {
    "2026-03-01T00:00:00Z".parse().expect("it is an instant")
}
