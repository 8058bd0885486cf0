//! What the policy of a run says beside what the small world's says: who may make which exception, changes
//! that are approved ahead, other departments, rehearsals, witnesses. The referee reads the same lines.

use cutover_shared::policy::{Department, Exception, PolicyDocument, Role, Rule, Waivable};
use cutover_shared::statement::ChangeType;
use cutover_shared::time::Time;

use super::scenario::Scenario;
use crate::world::{demand_witnesses, name, names, policy};

/// Where everything is demanded, and may be done without.
pub(super) const STRICT: &str = "production";

/// Who passes a freeze beside a change manager.
pub(super) const PASSES: Role = Role::Security;

/// What can be done without in production, and the roles of the two who say so. Whatever else there is to
/// be done without nobody can.
pub(super) const WAIVABLE: [(Exception, [Role; 2]); 4] = [
    (Exception::Review, [Role::ChangeManager, Role::ChangeManager]),
    (Exception::Votes, [Role::ChangeManager, Role::Security]),
    (Exception::Delivery, [Role::ChangeManager, Role::ChangeManager]),
    (Exception::Environments, [Role::ChangeManager, Role::Security]),
];

/// The departments, and who speaks for each.
pub(super) const DEPARTMENTS: [(&str, &[&str]); 2] =
    [("networks", &["otto", "mia"]), ("desk", &["bob", "sue"])];

/// The one without whose yes nothing goes to production, where it is asked at all.
pub(super) const CONSULTED: &str = "networks";

/// The policy of a run.
pub(super) fn document(scenario: &Scenario, version: u64, expires: Time) -> PolicyDocument {
    let mut policy = policy(version, expires);
    let waivable = WAIVABLE.map(|(exception, by)| Waivable { exception, by });
    for rule in &mut policy.rules {
        rule.freeze_override = Some(PASSES);
        if rule.environment == name(STRICT) && rule.change == ChangeType::Normal {
            rule.waivable = waivable.to_vec();
            rule.rehearsals = u32::from(scenario.rehearsals);
            if scenario.consults {
                rule.consults = names(&[CONSULTED]);
            }
        }
    }
    let department = |(department, owners): (&str, &[&str])| Department {
        name: name(department),
        owners: names(owners),
    };
    policy.departments = DEPARTMENTS.map(department).to_vec();
    policy.rules.push(Rule::lax(name(STRICT), ChangeType::Standard));
    if scenario.witnesses > 0 {
        demand_witnesses(&mut policy, scenario.witnesses);
    }
    policy
}
