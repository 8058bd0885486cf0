//! What was said before, judged again by the policy in force.
//!
//! A policy may say of a key that it was rotated (what it signed counts below a place in the log) or
//! compromised (nothing that it ever signed counts), or leave it out (DESIGN 4). A host that has that
//! policy judges the whole of an order's evidence by it; so must everybody who folded the earlier part
//! under the policy before. What a void statement had stopped, or replaced, stays stopped.

use std::borrow::BorrowMut;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::State;
use crate::case::{BookingCase, Case, Verified};
use crate::digest::Digest;
use crate::key::KeyId;
use crate::policy::TrustPolicy;
use crate::statement::Freeze;

impl State {
    /// Takes away what no longer counts, now that the policy in force has followed `before`.
    pub(super) fn revise(&mut self, before: &TrustPolicy) {
        let Some(policy) = self.policy.clone() else { return };
        let status = |policy: &TrustPolicy, key: &KeyId| policy.entry(key).map(|it| it.status);
        let changed = |key: &KeyId| status(before, key) != status(&policy, key);
        if !before.document().keys.iter().any(|entry| changed(&entry.key.id())) {
            return;
        }
        let judge = Judge { policy };
        self.grants.retain(|it| judge.keeps(&mut it.grant));
        self.revise_hosts(&judge);
        self.emergencies.retain(|it| judge.keeps(it));
        self.closed_emergencies.retain(|it| judge.keeps(it));
        self.standards.retain(|it| judge.keeps(&mut it.approved));
        self.rollbacks.retain(|it| {
            it.steps.retain_mut(|it| judge.keeps(it));
            judge.keeps(&mut it.rollback)
        });
        self.revise_freezes(&judge);
        self.revise_cases(&judge);
    }

    fn revise_hosts(&mut self, judge: &Judge) {
        let grants = self.grants.clone();
        self.hosts.retain(|host| {
            let owners = match host.enrolment.says.grant {
                Some(grant) => grants.get(&grant).map(|it| it.grant.owners()).unwrap_or_default(),
                None => {
                    judge.keeps(&mut host.enrolment);
                    host.enrolment.owners()
                }
            };
            host.vouchers = owners.into_iter().cloned().collect();
            !host.vouchers.is_empty()
        });
        let hosts = self.hosts.clone();
        Arc::make_mut(&mut self.host_names).retain(|_, key| hosts.get(key).is_some());
        Arc::make_mut(&mut self.transport_keys).retain(|_, key| hosts.get(key).is_some());
        self.rollbacks.retain(|it| {
            it.outcomes.retain(|it| hosts.get(&it.says.host_key).is_some());
            true
        });
    }

    fn revise_freezes(&mut self, judge: &Judge) {
        let standing = Arc::make_mut(&mut self.standing_freezes);
        self.freezes.retain(|record| {
            let Freeze::Declared { end, .. } = &record.declared.says else { return false };
            let place = (*end, record.declared.id);
            if !judge.keeps(&mut record.declared) {
                standing.remove(&place);
                return false;
            }
            if judge.forgets(&mut record.lifted) {
                standing.insert(place);
            }
            true
        });
    }

    /// In the order of the log, because a release stands on those that it names.
    fn revise_cases(&mut self, judge: &Judge) {
        let hosts = self.hosts.clone();
        let mut gone = BTreeSet::new();
        for id in self.numbers.iter() {
            let Some(case) = self.cases.get_mut(id) else { continue };
            let release = &case.release.says;
            let previous = release.iteration.as_ref().and_then(|it| it.previous);
            let rests_on = release.supersedes.into_iter().chain(previous);
            if rests_on.into_iter().any(|it| gone.contains(&it)) || !judge.keeps_case(case) {
                gone.insert(*id);
                continue;
            }
            for booking in case.bookings.values_mut() {
                let outcomes = &mut Arc::make_mut(booking).outcomes;
                outcomes.retain(|it| hosts.get(&it.says.host_key).is_some());
            }
        }
        self.cases.retain(|case| {
            case.superseded_by = case.superseded_by.filter(|later| !gone.contains(later));
            !gone.contains(&case.release.id)
        });
        let denials = self.cases.values().flat_map(|case| &case.assessments);
        let denials = denials.filter(|it| !it.says.judgement.is_accepted());
        let denials: BTreeMap<Digest, Digest> =
            denials.map(|it| (it.says.package, it.id)).collect();
        self.denied_packages = Arc::new(denials);
        let cases = &self.cases;
        let known = |booking: &Digest, release: &Digest| {
            cases.get(release).is_some_and(|case| case.bookings.contains_key(booking))
        };
        Arc::make_mut(&mut self.bookings).retain(|booking, release| known(booking, release));
    }
}

/// The policy in force, asked about what was said before it was.
struct Judge {
    policy: TrustPolicy,
}

impl Judge {
    /// Whether somebody's signature on it still counts; those that do not are taken off. What no person
    /// signed (a host's word, an enrolment by a grant) is not asked about here.
    fn keeps<T>(&self, it: &mut Verified<T>) -> bool {
        if it.signers.is_empty() {
            return true;
        }
        let index = it.index;
        let counts = |key: &KeyId| self.policy.counts(key, index);
        if it.signers.iter().any(|signer| !counts(&signer.key)) {
            it.signers = it.signers.iter().filter(|signer| counts(&signer.key)).cloned().collect();
        }
        !it.signers.is_empty()
    }

    /// Whether it was there and counts no longer; then it is gone.
    fn forgets<T>(&self, it: &mut Option<impl BorrowMut<Verified<T>>>) -> bool {
        let void = it.as_mut().is_some_and(|it| !self.keeps(it.borrow_mut()));
        if void {
            *it = None;
        }
        void
    }

    fn keeps_case(&self, case: &mut Case) -> bool {
        case.rehearsals.retain_mut(|it| self.keeps(it));
        case.reviews.retain_mut(|it| self.keeps(it));
        case.assessments.retain_mut(|it| self.keeps(it));
        case.votes.retain_mut(|it| self.keeps(it));
        case.consults.retain_mut(|it| self.keeps(it));
        case.approvals.retain_mut(|it| self.keeps(it));
        case.deliveries.retain_mut(|it| self.keeps(it));
        case.waivers.retain_mut(|it| self.keeps(it));
        case.holds.retain_mut(|it| self.keeps(it));
        case.resumes.retain(|_, it| self.keeps(it));
        case.tasks.retain_mut(|it| self.keeps(it));
        case.acknowledgements.retain_mut(|it| self.keeps(it));
        self.forgets(&mut case.cancelled);
        self.forgets(&mut case.closed);
        case.bookings.retain(|_, it| self.keeps_booking(Arc::make_mut(it)));
        self.keeps(&mut case.release)
    }

    fn keeps_booking(&self, it: &mut BookingCase) -> bool {
        self.forgets(&mut it.released);
        self.forgets(&mut it.cancelled);
        it.overrides.retain_mut(|it| self.keeps(it));
        it.steps.retain_mut(|it| self.keeps(it));
        self.keeps(&mut it.booking)
    }
}
