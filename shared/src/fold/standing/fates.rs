//! How hosts ended with a release.

use std::collections::BTreeMap;

use super::{Lifecycle, count};
use crate::case::{Case, Reported, Verified};
use crate::fold::State;
use crate::key::KeyId;
use crate::name::Name;
use crate::statement::{Event, RolloutPlan, Verdict};

/// How the hosts of one environment ended with the package of a release, as they last said.
pub(super) struct Fates<'a> {
    committed: BTreeMap<KeyId, &'a Name>,
    back: Vec<(&'a Name, String)>,
    stuck: Vec<(&'a Name, String)>,
}

impl<'a> Fates<'a> {
    pub(super) fn of(state: &'a State, case: &'a Case, environment: &Name) -> Self {
        let package = case.release.says.package;
        let here = |it: &&Verified<Reported>| {
            it.says.package == package
                && !matches!(it.says.event, Event::Refused { .. } | Event::Drifted { .. })
                && state
                    .host(&it.says.host_key)
                    .is_some_and(|host| host.enrolment.says.environment == *environment)
        };
        let ordered = state.rollbacks_from(&package).flat_map(|it| &it.outcomes);
        let mut last: BTreeMap<KeyId, &Verified<Reported>> = BTreeMap::new();
        for outcome in case.outcomes().chain(ordered).filter(here) {
            let newest = last.entry(outcome.says.host_key).or_insert(outcome);
            if newest.index < outcome.index {
                *newest = outcome;
            }
        }
        // A review that came after a host went back has dealt with that.
        let complete = case.reviews.iter().filter(|it| it.says.verdict == Verdict::Complete);
        let complete = complete.filter(|it| it.says.environments.contains(environment));
        let reviewed = complete.map(|it| it.index).max();
        let open = |outcome: &Verified<Reported>| reviewed.is_none_or(|at| at < outcome.index);
        let mut fates = Self { committed: BTreeMap::new(), back: Vec::new(), stuck: Vec::new() };
        for (key, outcome) in last {
            let host = &outcome.says.host;
            match &outcome.says.event {
                Event::Committed => {
                    fates.committed.insert(key, host);
                }
                Event::Returned { step, reason } if open(outcome) => {
                    fates.back.push((host, format!("{step}: {reason}")));
                }
                Event::RolledBack if open(outcome) => {
                    fates.back.push((host, "by order".to_owned()));
                }
                Event::Stuck { step, reason } if open(outcome) => {
                    fates.stuck.push((host, format!("{step}: {reason}")));
                }
                Event::Returned { .. }
                | Event::RolledBack
                | Event::Stuck { .. }
                | Event::Refused { .. }
                | Event::Drifted { .. } => {}
            }
        }
        fates
    }

    pub(super) fn gone_back(&self) -> Option<(Lifecycle, String)> {
        let back = self.back.iter().map(|(host, why)| format!("{host} went back: {why}"));
        let stuck = self.stuck.iter().map(|(host, why)| format!("{host} is stuck: {why}"));
        let mut told: Vec<_> = stuck.chain(back).collect();
        if told.is_empty() {
            return None;
        }
        let word = if self.committed.is_empty() && self.stuck.is_empty() {
            Lifecycle::RolledBack
        } else {
            Lifecycle::Returning
        };
        if !self.committed.is_empty() {
            let names: Vec<_> = self.committed.values().map(|it| it.as_str()).collect();
            told.push(format!("still on {}", names.join(", ")));
        }
        Some((word, told.join("; ")))
    }

    pub(super) fn committed_of(&self, plan: &RolloutPlan) -> usize {
        plan.hosts().filter(|it| self.committed.contains_key(&it.host_key)).count()
    }

    pub(super) fn all_committed(&self, plan: &RolloutPlan) -> Option<(Lifecycle, String)> {
        let all = plan.hosts().count();
        (self.committed_of(plan) == all)
            .then(|| (Lifecycle::Verifying, format!("committed on {}", count(all, "host"))))
    }
}
