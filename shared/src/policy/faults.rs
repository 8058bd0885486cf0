//! What is wrong with a policy as such: every fault at once, each naming its field.

use std::collections::{BTreeMap, BTreeSet};

use super::{KeyEntry, KeyStatus, MAX_KEYS, MAX_WITNESSES, PolicyDocument, Role};
use crate::log::checkpoint;
use crate::statement::ChangeType;

impl PolicyDocument {
    /// What is wrong with the document as such: every fault, each naming its field.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.version == 0 {
            faults.push("version: must be 1 or more".to_owned());
        }
        let roots = self.owners_with(Role::Root).len();
        if self.root_threshold == 0 || roots < self.root_threshold as usize {
            faults.push(format!(
                "root_threshold: {} cannot be met by {roots} distinct owners with role root",
                self.root_threshold
            ));
        }
        if self.keys.len() > MAX_KEYS {
            faults.push(format!("keys: {} are more than {MAX_KEYS}", self.keys.len()));
        }
        self.key_faults(&mut faults);
        self.witness_faults(&mut faults);
        self.department_faults(&mut faults);
        self.rule_faults(&mut faults);
        if !checkpoint::is_name(&self.log.origin) {
            faults.push("log.origin: must be one word, as cutover.example.org/log".to_owned());
        }
        if self.not_before.is_some_and(|first| first >= self.expires) {
            faults.push("not_before: must be before expires".to_owned());
        }
        faults
    }

    fn key_faults(&self, faults: &mut Vec<String>) {
        let mut materials = BTreeMap::new();
        for (number, entry) in self.keys.iter().enumerate() {
            if let Some(first) = materials.insert(entry.key.id(), number) {
                faults.push(format!("keys[{number}].key: the same key as keys[{first}]"));
            }
            if entry.key == self.log.key {
                faults.push(format!("keys[{number}].key: the log's key cannot be a person's"));
            }
            let speaks = self.departments.iter().any(|it| it.owners.contains(&entry.owner));
            if entry.roles.is_empty() && !speaks {
                faults
                    .push(format!("keys[{number}].roles: none; {} could do nothing", entry.owner));
            }
        }
    }

    fn witness_faults(&self, faults: &mut Vec<String>) {
        if self.witnesses.len() > MAX_WITNESSES {
            faults
                .push(format!("witnesses: {} are more than {MAX_WITNESSES}", self.witnesses.len()));
        }
        let mut keys = BTreeSet::new();
        let mut names = BTreeSet::from([self.log.origin.as_str()]);
        for (number, it) in self.witnesses.iter().enumerate() {
            let key = it.key.id();
            if !keys.insert(key) || it.key == self.log.key || self.entry(&key).is_some() {
                faults
                    .push(format!("witnesses[{number}].key: it is somebody else's, or the log's"));
            }
            if !checkpoint::is_name(&it.name) || !names.insert(&it.name) {
                faults.push(format!(
                    "witnesses[{number}].name: must be one word of its own, as witness.example.org"
                ));
            }
        }
    }

    fn department_faults(&self, faults: &mut Vec<String>) {
        let active = |entry: &&KeyEntry| entry.status == KeyStatus::Active;
        let owners: BTreeSet<_> = self.keys.iter().filter(active).map(|it| &it.owner).collect();
        let mut names = BTreeSet::new();
        for (number, it) in self.departments.iter().enumerate() {
            if !names.insert(&it.name) {
                faults.push(format!("departments[{number}]: {} is listed twice", it.name));
            }
            if it.owners.is_empty() {
                faults.push(format!("departments[{number}].owners: nobody speaks for {}", it.name));
            }
            for owner in it.owners.iter().filter(|owner| !owners.contains(owner)) {
                faults.push(format!(
                    "departments[{number}].owners: {owner} has no key that is active"
                ));
            }
        }
    }

    fn rule_faults(&self, faults: &mut Vec<String>) {
        let witnesses: BTreeSet<_> = self.witnesses.iter().map(|it| &it.owner).collect();
        let mut cases = BTreeSet::new();
        for (number, rule) in self.rules.iter().enumerate() {
            if !cases.insert((&rule.environment, rule.change)) {
                faults.push(format!(
                    "rules[{number}]: a second rule for {} changes in {}",
                    rule.change, rule.environment
                ));
            }
            if rule.after.iter().any(|proof| proof.environment == rule.environment) {
                faults.push(format!("rules[{number}].after: names its own environment"));
            }
            if witnesses.len() < rule.witnesses as usize {
                faults.push(format!(
                    "rules[{number}].witnesses: {} cannot be met by {} distinct owners of witnesses",
                    rule.witnesses,
                    witnesses.len()
                ));
            }
            for name in rule.consults.iter().filter(|name| self.department(name).is_none()) {
                faults.push(format!("rules[{number}].consults: there is no department {name}"));
            }
            if rule.approval_lifetime.is_some_and(|it| it.is_zero()) {
                faults.push(format!("rules[{number}].approval_lifetime: no vote would ever count"));
            }
            if let Some(standing) = rule.standing_window
                && (rule.change != ChangeType::Emergency
                    || standing.is_zero()
                    || standing > rule.longest_window)
            {
                faults.push(format!(
                    "rules[{number}].standing_window: is for emergency changes, and no longer than \
                     longest_window"
                ));
            }
            let waivable: BTreeSet<_> = rule.waivable.iter().map(|it| it.exception).collect();
            if waivable.len() < rule.waivable.len() {
                faults.push(format!("rules[{number}].waivable: an exception is listed twice"));
            }
        }
    }
}
