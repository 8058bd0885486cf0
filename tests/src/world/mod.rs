//! A small world in memory: people with keys, a policy, packages, a log. Nothing here reads a clock, a file
//! or a source of randomness, so that who builds on it has the same world each time: the simulator of a
//! fleet, the adversary, the attacks.
//!
//! Everything in it is real: keys sign, packages have an index, a map and a pack, the log is a Merkle tree
//! and proves what it holds. What people say is made by plain functions, which neither ask nor know the
//! rules of the product.

mod log;
mod package;
mod people;
mod random;
mod says;

use std::collections::BTreeSet;

use cutover_shared::name::Name;

pub use self::log::{MemoryLog, note};
pub use self::package::{Parcel, Timing};
pub use self::people::{
    LOG_KEY, ORIGIN, PEOPLE, WITNESSES, demand_witnesses, key, key_id, policy, witness_name,
};
pub use self::random::Random;
pub use self::says::{
    Booked, accepted, approval, assessment, booking, delivery, emergency, enrolment, grant, join,
    planned, release, review, vote, window_release,
};

/// A name that is known to be one.
///
/// # Panics
///
/// When it is none.
pub fn name(text: &str) -> Name {
    text.parse().expect("the tests use good names")
}

/// Several of them.
///
/// # Panics
///
/// When one is none.
pub fn names(texts: &[&str]) -> BTreeSet<Name> {
    texts.iter().map(|text| name(text)).collect()
}
