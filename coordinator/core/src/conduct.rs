//! How the coordinator behaves: everything that it can say yes or no to.
//!
//! The rest of the server is mechanism: it moves bytes, keeps the log, signs what it was told to. What to
//! admit, whom to offer what, whom to clear, and to whom to give bytes, is asked of a [`Conduct`]. The
//! product has one, [`Rules`](crate::Rules); the tests have dishonest ones, to show that hosts are safe
//! from a coordinator that somebody else owns.
//!
//! A conduct is pure: what is known and the time go in, an answer comes out. It is called with locks
//! held, and must not wait for anything.

use std::collections::BTreeSet;

use cutover_shared::digest::Digest;
use cutover_shared::fold::State;
use cutover_shared::key::KeyId;
use cutover_shared::package::check::Checked;
use cutover_shared::protocol::Fleet;
use cutover_shared::refusal::Refusal;
use cutover_shared::statement::{Phase, Release};
use cutover_shared::time::Time;

/// What the coordinator knows when it decides.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The fold of the whole log.
    pub state: &'a State,
    /// What it hears of the hosts. A host is in it from its first report on.
    pub fleet: &'a Fleet,
    /// Its clock.
    pub now: Time,
}

/// A host and an order that is for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    /// The host.
    pub host: KeyId,
    /// The `booking` or `rollback` statement.
    pub order: Digest,
}

/// A statement of a step that a host waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Done {
    /// The host, and the order whose runbook it carries out.
    pub turn: Turn,
    /// Its place in the log.
    pub index: u64,
}

/// What the coordinator says yes and no to.
pub trait Conduct: Send + Sync + 'static {
    /// Whether a statement may be the next entry of the log.
    fn admit(&self, state: &State, envelope: &[u8], now: Time) -> Result<(), Refusal>;

    /// Whether a release may be submitted for the package that is stored under its digest, if one is, and
    /// what that was found to be by the forms that are needed now.
    fn accept_release(&self, release: &Release, stored: Option<&Checked>) -> Result<(), Refusal>;

    /// Which hosts are offered which orders now. Each is offered again from time to time for as long as
    /// it is among them.
    fn offers(&self, situation: &Situation<'_>) -> Vec<Turn>;

    /// Which hosts are told that something stands against the order that they are at work on.
    fn stops(&self, situation: &Situation<'_>) -> Vec<Turn>;

    /// Which hosts are shown what people did of the runbook that they carry out.
    fn steps(&self, situation: &Situation<'_>) -> Vec<Done>;

    /// Which entries of the log a host that has policy version `policy_version` is shown for an order.
    fn evidence(&self, state: &State, turn: &Turn, policy_version: u64) -> BTreeSet<u64>;

    /// Whether a host gets its clearance.
    fn clear(&self, situation: &Situation<'_>, turn: &Turn, phase: Phase) -> Result<(), Refusal>;

    /// Whether a host gets bytes of a package.
    fn may_fetch(
        &self,
        situation: &Situation<'_>,
        host: &KeyId,
        package: &Digest,
    ) -> Result<(), Refusal>;

    /// Whether a person of the policy may read packages.
    fn may_read(&self, state: &State, person: &KeyId) -> Result<(), Refusal>;

    /// Whether a person of the policy may store packages.
    fn may_store(&self, state: &State, person: &KeyId) -> Result<(), Refusal>;
}
