//! Who takes part, and what the policy says of them.

use cutover_shared::digest::Digest;
use cutover_shared::key::{KeyId, SecretKey};
use cutover_shared::policy::{
    Clock, KeyEntry, KeyStatus, LogKey, PolicyDocument, Proof, Role, Rule, Scope, WitnessKey,
};
use cutover_shared::statement::ChangeType;
use cutover_shared::time::Time;

use super::name;

/// The log's name.
pub const ORIGIN: &str = "cutover.test/log";

/// Whose key signs the log.
pub const LOG_KEY: &str = "log";

/// Everybody, and what they may do. A submitter who sits on the board is somebody who could try.
pub const PEOPLE: [(&str, &[Role]); 10] = [
    ("ruth", &[Role::Root]),
    ("sue", &[Role::Submitter, Role::Board]),
    ("sam", &[Role::Submitter]),
    ("lena", &[Role::Librarian]),
    ("seth", &[Role::Security]),
    ("bea", &[Role::Board]),
    ("bob", &[Role::Board]),
    ("max", &[Role::ChangeManager]),
    ("mia", &[Role::ChangeManager]),
    ("otto", &[Role::Operator]),
];

/// Who has a witness of the log each.
pub const WITNESSES: [&str; 3] = ["wanda", "will", "wim"];

/// A key made from a name, the same each time.
pub fn key(owner: &str) -> SecretKey {
    SecretKey::from_seed(*Digest::of(owner.as_bytes()).as_bytes())
}

/// The identity of that key.
pub fn key_id(owner: &str) -> KeyId {
    key(owner).public().id()
}

/// A policy: staging wants a review, production everything and a host of staging before, an emergency in
/// production a change manager's word.
pub fn policy(version: u64, expires: Time) -> PolicyDocument {
    let keys = PEOPLE.iter().map(|(owner, roles)| KeyEntry {
        owner: name(owner),
        email: format!("{owner}@example.org"),
        key: key(owner).public(),
        roles: roles.iter().copied().collect(),
        applications: Scope::All,
        environments: Scope::All,
        status: KeyStatus::Active,
    });
    let log = LogKey { origin: ORIGIN.to_owned(), key: key(LOG_KEY).public() };
    let mut policy = PolicyDocument::bare(log, expires);
    policy.version = version;
    policy.freshness.clock = Clock::CoordinatorBounded;
    policy.keys = keys.collect();
    policy.rules = vec![
        rule("staging", ChangeType::Normal),
        rule("production", ChangeType::Normal),
        rule("production", ChangeType::Emergency),
    ];
    policy
}

/// Puts the witnesses into a policy, and the demand for so many of them into its rules for production.
pub fn demand_witnesses(policy: &mut PolicyDocument, quorum: u32) {
    let witness = |owner| WitnessKey {
        name: witness_name(owner),
        owner: name(owner),
        email: format!("{owner}@example.org"),
        key: key(owner).public(),
    };
    policy.witnesses = WITNESSES.map(witness).to_vec();
    for rule in policy.rules.iter_mut().filter(|it| it.environment == name("production")) {
        rule.witnesses = quorum;
    }
}

/// The name on the lines of somebody's witness.
pub fn witness_name(owner: &str) -> String {
    format!("{owner}.witness.test")
}

fn rule(environment: &str, change: ChangeType) -> Rule {
    let normal = change == ChangeType::Normal;
    let strict = normal && environment == "production";
    Rule {
        reviews: u32::from(normal),
        assessments: u32::from(strict),
        votes: if strict { 2 } else { 0 },
        delivery: strict,
        after: if strict {
            vec![Proof { environment: name("staging"), hosts: 1 }]
        } else {
            Vec::new()
        },
        ..Rule::lax(name(environment), change)
    }
}
