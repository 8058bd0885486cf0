//! The budget of DESIGN 11, as a table: what is owned, and what is gained by it.

use std::fmt;

use crate::world::PEOPLE;

/// What somebody owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owned {
    /// Nothing: everybody is honest.
    Nothing,
    /// The network and the network half of each agent, with its transport key.
    Network,
    /// That, and the coordinator with the log's key.
    Coordinator,
    /// The coordinator and the network, where the policy demands two of three witnesses, who are honest.
    CoordinatorAndQuorum,
    /// That, and the key of one of the three.
    CoordinatorAndWitness,
    /// The coordinator, the network, and the host key of the canary.
    CoordinatorAndHost,
    /// The coordinator, the network, and the key of this one person.
    CoordinatorAndPerson(&'static str),
}

/// What somebody gains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gain {
    /// What is due does not happen.
    Delay,
    /// A hold, freeze, denial, cancellation or revocation is passed over that came after the checkpoint which
    /// the window's release names, and longer ago than a clearance is good.
    PassOver,
    /// More hosts of a wave at once than the plan allows, or a host after as many failures as halt it: whose
    /// turn it is, is the coordinator's say.
    OutOfTurn,
    /// A host whose earlier waves, or whose staging, have not proven the release (P10).
    Unproven,
    /// A byte that the policy's approvals do not cover (P1), or an iteration without its own word (P7).
    Unapproved,
    /// Something assembled or activated outside of the window, or on its way after it (P2, P3).
    OutsideWindow,
    /// An order that acts twice, or a generation, policy, checkpoint or time that goes back (P6).
    Repeat,
    /// A package again on the host that took it back, with no review since (P8); or an iteration behind a
    /// later one (P7).
    AfterReturn,
    /// A return that nobody ordered.
    Unordered,
}

impl Gain {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Delay,
        Self::PassOver,
        Self::OutOfTurn,
        Self::Unproven,
        Self::Unapproved,
        Self::OutsideWindow,
        Self::Repeat,
        Self::AfterReturn,
        Self::Unordered,
    ];
}

/// A row of the budget.
#[derive(Debug)]
pub struct Row {
    /// What is owned.
    pub owned: Owned,
    /// What is gained by it. Whatever is not here is denied.
    pub gains: &'static [Gain],
}

/// The rows for one person's key beside the coordinator: what that role may do is in nobody's budget, and is
/// never enough alone; so what is gained is what the coordinator gains.
const WITH_THE_COORDINATOR: &[Gain] = &[Gain::Delay, Gain::PassOver, Gain::OutOfTurn];

/// The budget, but for the rows of persons.
pub const BUDGET: &[Row] = &[
    Row { owned: Owned::Nothing, gains: &[] },
    Row { owned: Owned::Network, gains: &[Gain::Delay] },
    Row { owned: Owned::Coordinator, gains: WITH_THE_COORDINATOR },
    Row { owned: Owned::CoordinatorAndQuorum, gains: &[Gain::Delay] },
    // Each quorum has an honest witness in it, though not always the same. It holds what was said against an
    // order, and whose turn it is it takes from the log alone.
    Row { owned: Owned::CoordinatorAndWitness, gains: &[Gain::Delay] },
    // A host may lie about itself: it was the proof, and is none any longer.
    Row {
        owned: Owned::CoordinatorAndHost,
        gains: &[Gain::Delay, Gain::PassOver, Gain::OutOfTurn, Gain::Unproven],
    },
];

/// Every row.
pub fn rows() -> Vec<Row> {
    let person = |(owner, _): &(&'static str, _)| Row {
        owned: Owned::CoordinatorAndPerson(owner),
        gains: WITH_THE_COORDINATOR,
    };
    let fixed = BUDGET.iter().map(|Row { owned, gains }| Row { owned: *owned, gains });
    fixed.chain(PEOPLE.iter().map(person)).collect()
}

/// Whether a row grants a gain.
pub fn grants(owned: Owned, gain: Gain) -> bool {
    rows().iter().any(|row| row.owned == owned && row.gains.contains(&gain))
}

impl Owned {
    /// Whether the policy demands witnesses.
    pub fn faces_witnesses(self) -> bool {
        matches!(self, Self::CoordinatorAndQuorum | Self::CoordinatorAndWitness)
    }
}

impl fmt::Display for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Network => f.write_str("the network and the network halves"),
            Self::Coordinator => f.write_str("the coordinator and the network"),
            Self::CoordinatorAndQuorum => {
                f.write_str("the coordinator, two of three honest witnesses")
            }
            Self::CoordinatorAndWitness => {
                f.write_str("the coordinator and one of three witnesses")
            }
            Self::CoordinatorAndHost => f.write_str("the coordinator and the canary's host key"),
            Self::CoordinatorAndPerson(owner) => write!(f, "the coordinator and {owner}'s key"),
        }
    }
}
