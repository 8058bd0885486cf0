//! What `tests/attacks/` holds, made from a world in which every key is made from a name.
//!
//! An attack is the honest thing with one thing changed; the honest things are the [`controls`].

mod admissions;
mod clearances;
mod envelopes;
mod frames;
mod keys;
mod logs;
mod offers;
mod packages;
mod places;
mod policies;
mod process;
mod returns;
mod statements;
mod witnesses;

use crate::fixture::{Attack, Common};
use crate::world::World;

/// Who owns what, in the words of the README's table.
pub(crate) const COORDINATOR: &str = "the coordinator, and with it the log's key";
pub(crate) const NETWORK: &str = "the network, or the agent's network half";
pub(crate) const PERSON: &str = "one person's key";
pub(crate) const HOST: &str = "one host's key";
pub(crate) const SUBMITTER: &str = "what a submitter hands in";

/// The envelope of the policy that most attacks are made under.
pub(crate) fn policy() -> Vec<u8> {
    World::new().policy
}

/// What attacks have in common.
pub(crate) fn common() -> Common {
    let entry = statements::release_envelope().to_bytes();
    Common { policy: policy(), evidence: offers::common_evidence(), entry }
}

/// Every attack.
pub(crate) fn attacks() -> Vec<Attack> {
    [
        admissions::attacks(),
        clearances::attacks(),
        envelopes::attacks(),
        frames::attacks(),
        keys::attacks(),
        logs::attacks(),
        offers::attacks(),
        packages::attacks(),
        places::attacks(),
        policies::attacks(),
        process::attacks(),
        returns::attacks(),
        statements::attacks(),
        witnesses::attacks(),
    ]
    .concat()
}

/// The honest thing at each entrance.
pub(crate) fn controls() -> Vec<Attack> {
    [
        admissions::controls(),
        frames::controls(),
        keys::controls(),
        logs::controls(),
        offers::controls(),
        packages::controls(),
        policies::controls(),
        process::controls(),
        returns::controls(),
        statements::controls(),
        witnesses::controls(),
    ]
    .concat()
}
