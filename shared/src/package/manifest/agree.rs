//! What the fields of `release.toml` say together.

use std::collections::BTreeSet;

use super::{HookStage, Manifest, Target, runbook};
use crate::package::fields::Faults;
use crate::package::health::{CPU_SPAN, Probe};

/// What each field alone cannot tell.
pub(super) fn check(faults: &mut Faults<'_>, manifest: &Manifest) {
    check_schedule(faults, manifest);
    check_health(faults, manifest);
    check_hooks(faults, manifest);
    runbook::check(faults, manifest);
    check_shared(faults, manifest);
    let unique: BTreeSet<Target> = manifest.targets.iter().copied().collect();
    if unique.len() != manifest.targets.len() {
        faults.contradiction("targets", "a target is there twice", "name each once");
    }
}

fn check_schedule(faults: &mut Faults<'_>, manifest: &Manifest) {
    let schedule = &manifest.schedule;
    if schedule.latest < schedule.start {
        faults.contradiction(
            "schedule.latest",
            "it is before the start that is asked for",
            "write the latest start that would still do",
        );
    }
}

fn check_health(faults: &mut Faults<'_>, manifest: &Manifest) {
    let policy = &manifest.health_policy;
    let rounds = policy.interval * (policy.consecutive_successes - 1);
    if policy.start_grace + rounds >= policy.deadline {
        faults.contradiction(
            "health-policy.deadline",
            "the rounds of checks after the grace do not fit into it",
            "make it longer than start-grace and consecutive-successes times interval",
        );
    }
    if policy.deadline + policy.bake > manifest.apply_budget {
        faults.contradiction(
            "apply-budget",
            "health-policy.deadline and bake together are longer",
            "make it long enough for hooks, checks and baking",
        );
    }
    let mut names = BTreeSet::new();
    for (position, check) in manifest.health.iter().enumerate() {
        if !names.insert(&check.name) {
            faults.contradiction(
                &format!("health[{position}].name"),
                format!("{:?} is the name of two checks", check.name),
                "give each check its own name",
            );
        }
        let measures =
            matches!(check.probe, Probe::Resource(limits) if limits.cpu_percent_at_most.is_some());
        if measures && check.timeout < CPU_SPAN * 2 {
            faults.contradiction(
                &format!("health[{position}].timeout"),
                "processor time is measured for a quarter of a second",
                "make it half a second or longer",
            );
        }
        if check.timeout > policy.deadline {
            faults.contradiction(
                &format!("health[{position}].timeout"),
                "it is longer than health-policy.deadline",
                "make it shorter: such a check could never fail in time",
            );
        }
    }
}

fn check_shared(faults: &mut Faults<'_>, manifest: &Manifest) {
    for (position, path) in manifest.shared.iter().enumerate() {
        let mut others = manifest.shared.iter().enumerate().filter(|(other, _)| *other != position);
        if let Some((_, other)) = others.find(|(_, other)| path.is_within(other.as_str())) {
            faults.contradiction(
                &format!("shared[{position}]"),
                format!("{path} is within {other}, which is shared, too"),
                "name each once, and nothing in it",
            );
        }
    }
}

fn check_hooks(faults: &mut Faults<'_>, manifest: &Manifest) {
    for stage in HookStage::ALL {
        let Some(hook) = manifest.hooks.at(stage) else {
            continue;
        };
        let field = format!("hooks.{}", stage.name());
        if hook.timeout > manifest.apply_budget {
            faults.contradiction(
                &format!("{field}.timeout"),
                "it is longer than apply-budget",
                "make the budget longer or the timeout shorter",
            );
        }
        let undo = hook.undo.as_ref();
        if undo.is_some_and(|undo| undo.timeout > manifest.rollback_reserve) {
            faults.contradiction(
                &format!("{field}.undo.timeout"),
                "it is longer than rollback-reserve",
                "make the reserve longer or the timeout shorter",
            );
        }
    }
}
