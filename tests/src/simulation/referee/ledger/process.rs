//! What is said around the decisions, as far as a host must not move without it: other departments' yes, a
//! rehearsal, conditions of the board; and that all is closed.

use std::collections::{BTreeMap, BTreeSet};

use cutover_shared::digest::Digest;
use cutover_shared::name::Name;
use cutover_shared::policy::Role;
use cutover_shared::statement::{ChangeType, Closure, Consult, Says, TaskChange, TaskKind};

use super::{Against, Asked, Ledger, any_with, has};
use crate::simulation::referee::Invariant;
use crate::simulation::rules::{CONSULTED, DEPARTMENTS, STRICT};
use crate::world::name;

impl Ledger {
    /// P1, P2: nothing of this is missing.
    pub(super) fn around(&self, asked: &Asked<'_>, against: &mut Against) {
        let strict =
            asked.booking.environment == name(STRICT) && asked.release.change == ChangeType::Normal;
        let mut departments = self.asked_of(asked);
        if strict && self.consults {
            departments.insert(name(CONSULTED));
        }
        for department in departments {
            if !self.says_yes(asked, &department) {
                against.push((Invariant::P1, format!("no yes of {department}")));
            }
        }
        if strict && self.rehearsals && !self.is_rehearsed(asked) {
            against.push((Invariant::P1, "no rehearsal, or one that failed".to_owned()));
        }
        if !self.conditions_are_met(asked) {
            against.push((Invariant::P1, "a condition of the board's is open".to_owned()));
        }
        if self.is_closed(asked) {
            against.push((Invariant::P2, "it was closed".to_owned()));
        }
    }

    /// The departments without which somebody said that nothing goes on.
    fn asked_of(&self, asked: &Asked<'_>) -> BTreeSet<Name> {
        let asked_of = self.said(asked.size).filter_map(|(_, _, statement)| {
            let Says::Consult(Consult::Asked {
                release,
                environments,
                department,
                mandatory: true,
                ..
            }) = &statement.says
            else {
                return None;
            };
            let mine = *release == asked.booking.release
                && environments.contains(&asked.booking.environment);
            mine.then(|| department.clone())
        });
        asked_of.collect()
    }

    /// One who speaks for a department says yes, and none no.
    fn says_yes(&self, asked: &Asked<'_>, department: &Name) -> bool {
        let speakers = DEPARTMENTS.iter().find(|(known, _)| name(known) == *department);
        let speakers = speakers.map_or(&[][..], |(_, speakers)| speakers);
        let mut answers: BTreeMap<&str, bool> = BTreeMap::new();
        for (_, entry, statement) in self.said(asked.size) {
            let Says::Consult(Consult::Answered {
                release,
                environments,
                department: of,
                judgement,
            }) = &statement.says
            else {
                continue;
            };
            let mine = *release == asked.booking.release
                && of == department
                && environments.contains(&asked.booking.environment)
                && entry.by.is_disjoint(&asked.submitted_by.by);
            for who in entry.by.iter().filter(|who| mine && speakers.contains(*who)) {
                answers.insert(who, judgement.is_accepted());
            }
        }
        !answers.is_empty() && answers.values().all(|yes| *yes)
    }

    /// The newest rehearsal, by somebody who did not make it, went well.
    fn is_rehearsed(&self, asked: &Asked<'_>) -> bool {
        let rehearsals = self.said(asked.size).filter_map(|(_, entry, statement)| {
            let Says::Rehearsal(it) = &statement.says else { return None };
            let mine = it.release == asked.booking.release && it.package == asked.release.package;
            let others = entry.by.is_disjoint(&asked.submitted_by.by);
            (mine && others).then(|| it.result.is_passed())
        });
        rehearsals.last() == Some(true)
    }

    /// Each condition of an approval that counts was confirmed by somebody who did not submit it.
    fn conditions_are_met(&self, asked: &Asked<'_>) -> bool {
        let mut set: BTreeMap<&str, (Digest, usize)> = BTreeMap::new();
        for (_, entry, statement) in self.said(asked.size) {
            let Says::Vote(it) = &statement.says else { continue };
            let mine = it.release == asked.booking.release
                && it.environments.contains(&asked.booking.environment);
            for who in entry.by.iter().filter(|who| mine && has(who, Role::Board)) {
                set.insert(who, (entry.id, it.conditions.len()));
            }
        }
        let confirmed = |vote: Digest, number: usize| {
            self.said(asked.size).any(|(_, entry, statement)| {
                let Says::Task(it) = &statement.says else { return false };
                let same = matches!(it.kind, TaskKind::Condition { vote: of, number: which }
                    if of == vote && which as usize == number);
                let may = any_with(&entry.by, Role::Board) || any_with(&entry.by, Role::Librarian);
                same && may
                    && matches!(it.change, TaskChange::Done { .. })
                    && entry.by.is_disjoint(&asked.submitted_by.by)
            })
        };
        set.values().all(|(vote, count)| (1..=*count).all(|number| confirmed(*vote, number)))
    }

    fn is_closed(&self, asked: &Asked<'_>) -> bool {
        self.said(asked.size).any(|(_, entry, statement)| {
            matches!(&statement.says, Says::Closure(Closure::Release { release, .. })
                if *release == asked.booking.release)
                && any_with(&entry.by, Role::ChangeManager)
                && entry.by.is_disjoint(&asked.submitted_by.by)
        })
    }

    /// What was out of the common way about an order.
    pub(in crate::simulation::referee) fn ways(&self, order: &Digest) -> Vec<&'static str> {
        let Some((_, _, booking)) = self.booking(order) else { return Vec::new() };
        let Some((_, _, release)) = self.release(&booking.release) else { return Vec::new() };
        let said =
            |is: &dyn Fn(&Says) -> bool| self.said(usize::MAX).any(|(_, _, it)| is(&it.says));
        let ways = [
            (release.change == ChangeType::Standard, "approved ahead"),
            (said(&|it| matches!(it, Says::Override(it) if it.booking == *order)), "past a freeze"),
            (
                said(&|it| {
                    matches!(it, Says::Waiver(it) if it.release == booking.release
                        && it.environment == booking.environment)
                }),
                "waived",
            ),
        ];
        ways.into_iter().filter(|(is, _)| *is).map(|(_, way)| way).collect()
    }
}
