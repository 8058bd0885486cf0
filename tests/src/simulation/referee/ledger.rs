//! What people and hosts have said, and what that means, in the referee's own words.
//!
//! The log is short, so everything is looked up by reading it from the beginning: slow, and without an
//! index that could be wrong.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each look is for one kind of statement among all that there are and will be"
)]

mod exceptions;
mod process;
mod untouched;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::key::KeyId;
use cutover_shared::name::Name;
use cutover_shared::policy::{Exception, Role};
use cutover_shared::statement::{
    Booking, ChangeType, Emergency, Event, Freeze, HostChange, Outcome, Release, Says, Statement,
    Verdict,
};
use cutover_shared::time::Time;
use cutover_shared::window::Window;

use super::Invariant;
use crate::simulation::scenario::{Instant, Scenario};
use crate::world::{PEOPLE, key_id, name};

/// An entry of the log.
#[derive(Debug)]
struct Entry {
    id: Digest,
    /// When it had become durable, by the true time.
    since: Time,
    bytes: Digest,
    statement: Option<Statement>,
    /// The names of those who signed, as far as they are people.
    by: BTreeSet<&'static str>,
}

/// The log, read.
#[derive(Debug)]
pub(super) struct Ledger {
    entries: Vec<Entry>,
    people: BTreeMap<KeyId, &'static str>,
    /// Whether another department must say yes before production.
    consults: bool,
    /// Whether somebody must have rehearsed it before.
    rehearsals: bool,
}

type Against = Vec<(Invariant, String)>;

impl Ledger {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let people = PEOPLE.iter().map(|(owner, _)| (key_id(owner), *owner)).collect();
        let Scenario { consults, rehearsals, .. } = *scenario;
        Self { entries: Vec::new(), people, consults, rehearsals }
    }

    /// Reads what is new. An error says that what was there is not any longer, or is there twice.
    pub(super) fn learn(&mut self, entries: &[Vec<u8>], since: Time) -> Result<(), String> {
        if entries.len() < self.entries.len() {
            return Err(format!("of {} entries {} are left", self.entries.len(), entries.len()));
        }
        if let Some(last) = self.entries.len().checked_sub(1)
            && self.entries[last].bytes != Digest::of(&entries[last])
        {
            return Err(format!("entry {last} is another one"));
        }
        for bytes in &entries[self.entries.len()..] {
            let Ok(envelope) = Envelope::parse(bytes) else {
                return Err("an entry is no envelope".to_owned());
            };
            let id = envelope.id();
            if self.entries.iter().any(|entry| entry.id == id) {
                return Err(format!("{} is in the log twice", id.short()));
            }
            let signers = envelope.signatures().iter();
            self.entries.push(Entry {
                id,
                since,
                bytes: Digest::of(bytes),
                statement: Statement::read(&envelope).ok(),
                by: signers.filter_map(|(key, _)| self.people.get(key).copied()).collect(),
            });
        }
        Ok(())
    }

    pub(super) fn size(&self) -> usize {
        self.entries.len()
    }

    /// Whether a host has told how an order ended that it carried out at this generation.
    pub(super) fn is_told(&self, order: &Digest, host: &KeyId, generation: u64) -> bool {
        self.said(usize::MAX).any(|(_, _, statement)| {
            matches!(&statement.says, Says::Outcome(it)
                if it.order == *order && it.host_key == *host && it.generation == generation)
        })
    }

    /// What is at an index.
    pub(super) fn at(&self, index: u64) -> Option<Digest> {
        self.entries.get(usize::try_from(index).ok()?).map(|entry| entry.id)
    }

    fn said(&self, size: usize) -> impl Iterator<Item = (usize, &Entry, &Statement)> {
        let entries = self.entries[..size.min(self.entries.len())].iter().enumerate();
        entries.filter_map(|(index, entry)| Some((index, entry, entry.statement.as_ref()?)))
    }

    fn booking(&self, order: &Digest) -> Option<(usize, &Entry, &Booking)> {
        self.said(usize::MAX).find_map(|(index, entry, statement)| match &statement.says {
            Says::Booking(booking) if entry.id == *order => Some((index, entry, &**booking)),
            _ => None,
        })
    }

    fn release(&self, id: &Digest) -> Option<(usize, &Entry, &Release)> {
        self.said(usize::MAX).find_map(|(index, entry, statement)| match &statement.says {
            Says::Release(release) if entry.id == *id => Some((index, entry, &**release)),
            _ => None,
        })
    }

    /// Whether a statement is in the log.
    pub(super) fn has(&self, id: &Digest) -> bool {
        self.entries.iter().any(|entry| entry.id == *id)
    }

    /// The environment of a booking.
    pub(super) fn environment(&self, order: &Digest) -> Option<&Name> {
        self.booking(order).map(|(_, _, booking)| &booking.environment)
    }

    /// The window of a booking.
    pub(super) fn window(&self, order: &Digest) -> Option<Window> {
        self.booking(order).map(|(_, _, booking)| booking.window)
    }

    /// How many hosts of a booking may be down at once, and after how long one of them counts as failed.
    pub(super) fn at_once(&self, order: &Digest) -> Option<(usize, Instant)> {
        let (_, _, booking) = self.booking(order)?;
        let (_, _, release) = self.release(&booking.release)?;
        let deadline = release.apply_budget + release.rollback_reserve;
        Some((booking.plan.at_once as usize, u64::try_from(deadline.as_millis()).ok()?))
    }

    /// The emergency and the number of what a booking brings.
    pub(super) fn iteration(&self, order: &Digest) -> Option<(Digest, u32)> {
        let (_, _, booking) = self.booking(order)?;
        let (_, _, release) = self.release(&booking.release)?;
        release.iteration.as_ref().map(|it| (it.grounds, it.number))
    }

    /// Whether a host may carry out an ordered return.
    pub(super) fn may_return(
        &self,
        order: &Digest,
        host: &KeyId,
        generation: u64,
        to: &Digest,
    ) -> Result<(), (Invariant, String)> {
        if let Some((_, _, booking)) = self.booking(order) {
            return self.may_return_all(order, booking, host, to);
        }
        let found = self.said(usize::MAX).find_map(|(_, entry, statement)| match &statement.says {
            Says::Rollback(rollback) if entry.id == *order => Some((entry, rollback)),
            _ => None,
        });
        let Some((entry, rollback)) = found else {
            return Err((Invariant::P1, "nobody said that it may".to_owned()));
        };
        if !any_with(&entry.by, Role::ChangeManager) {
            return Err((Invariant::P1, "no change manager said that it may".to_owned()));
        }
        if rollback.to != *to {
            return Err((Invariant::P1, "to another release than was said".to_owned()));
        }
        let turn = rollback.hosts.iter().find(|turn| turn.host_key == *host);
        match turn {
            Some(turn) if turn.generation + 1 == generation => Ok(()),
            Some(turn) => {
                let text = format!("at generation {generation}, said was {}", turn.generation);
                Err((Invariant::P6, text))
            }
            None => Err((Invariant::P1, "the order is for others".to_owned())),
        }
    }

    /// Everything that stands against a booking on a host, in a log of `size` entries, at `now`.
    pub(super) fn against(&self, order: &Digest, host: &KeyId, size: usize, now: Time) -> Against {
        let mut against = Vec::new();
        let Some((booked_at, booked_by, booking)) = self.booking(order) else {
            return vec![(Invariant::P1, "nobody booked it".to_owned())];
        };
        let Some((_, submitted_by, release)) = self.release(&booking.release) else {
            return vec![(Invariant::P1, "nobody submitted it".to_owned())];
        };
        if booking.package != release.package || booked_at >= size {
            against.push((Invariant::P1, "what was booked is not what was submitted".to_owned()));
        }
        if !booking.plan.hosts().any(|planned| planned.host_key == *host) {
            against.push((Invariant::P1, "the booking is for others".to_owned()));
        }
        let released = self.said(size).find(|(_, _, statement)| {
            matches!(&statement.says, Says::WindowRelease(it) if it.booking == *order)
        });
        match released {
            Some((_, entry, _)) if any_with(&entry.by, Role::ChangeManager) => {
                if !entry.by.is_disjoint(&submitted_by.by) {
                    against.push((Invariant::P1, "its author released the window".to_owned()));
                }
            }
            Some(_) | None => against.push((Invariant::P1, "nobody released it".to_owned())),
        }
        let asked = Asked { booking, release, submitted_by, size };
        match release.change {
            ChangeType::Normal => self.approvals(&asked, now, &mut against),
            ChangeType::Emergency => self.iterations(&asked, &mut against),
            ChangeType::Standard => self.approved_ahead(&asked, now, &mut against),
        }
        self.denied(&asked, &mut against);
        self.around(&asked, &mut against);
        self.taken_back(&asked, &mut against);
        self.prohibitions(order, &asked, booked_by, now, &mut against);
        self.waves(order, &asked, host, now, &mut against);
        against
    }

    /// P1: who must have approved a normal change, and who must not have said no.
    fn approvals(&self, asked: &Asked<'_>, now: Time, against: &mut Against) {
        let Asked { booking, submitted_by, size, .. } = *asked;
        let environment = &booking.environment;
        let strict = *environment == name("production");
        let mut complete = BTreeSet::new();
        let mut accepted = BTreeSet::new();
        let mut votes: BTreeMap<&str, bool> = BTreeMap::new();
        let mut delivered = false;
        for (_, entry, statement) in self.said(size) {
            match &statement.says {
                Says::Review(it)
                    if it.release == booking.release && it.environments.contains(environment) =>
                {
                    for who in entry.by.iter().filter(|who| has(who, Role::Librarian)) {
                        match it.verdict {
                            Verdict::Complete => complete.insert(*who),
                            Verdict::Returned { .. } | Verdict::Denied { .. } => {
                                complete.remove(who)
                            }
                        };
                    }
                }
                Says::Assessment(it)
                    if it.release == booking.release && it.environments.contains(environment) =>
                {
                    for who in entry.by.iter().filter(|who| has(who, Role::Security)) {
                        if it.judgement.is_accepted() {
                            accepted.insert(*who);
                        } else {
                            accepted.remove(who);
                        }
                    }
                }
                Says::Vote(it)
                    if it.release == booking.release && it.environments.contains(environment) =>
                {
                    for who in entry.by.iter().filter(|who| has(who, Role::Board)) {
                        votes.insert(who, it.judgement.is_accepted());
                    }
                }
                Says::Delivery(it) => delivered |= it.release == booking.release,
                _ => {}
            }
        }
        let mut demand = |good: bool, what: &str| {
            if !good {
                against.push((Invariant::P1, what.to_owned()));
            }
        };
        let without = |what| self.is_waived(asked, what, now);
        let reviewed = complete.iter().any(|who| !submitted_by.by.contains(who));
        demand(reviewed || without(Exception::Review), "no librarian's yes");
        if strict {
            demand(!accepted.is_empty(), "no yes of security");
            demand(votes.values().all(|yes| *yes), "a no of the board");
            let others = votes.keys().filter(|who| !submitted_by.by.contains(**who)).count();
            demand(others >= 2 || without(Exception::Votes), "fewer than two votes of others");
            demand(delivered || without(Exception::Delivery), "it was not delivered");
            let proven = self.proven_on_staging(booking, size);
            demand(proven || without(Exception::Environments), "no host of staging has it");
        }
    }

    /// P1: security did not say no to the package, and the librarian's last word was yes, if there was one.
    fn denied(&self, asked: &Asked<'_>, against: &mut Against) {
        let Asked { booking, release, size, .. } = *asked;
        let denied = self.said(size).any(|(_, _, statement)| {
            matches!(&statement.says, Says::Assessment(it)
                if it.package == release.package && !it.judgement.is_accepted())
        });
        let reviews = self.said(size).filter_map(|(_, _, statement)| match &statement.says {
            Says::Review(it) if it.release == booking.release => Some(&it.verdict),
            _ => None,
        });
        if denied || reviews.last().is_some_and(|last| *last != Verdict::Complete) {
            against.push((Invariant::P1, "it was denied, or given back to its author".to_owned()));
        }
    }

    fn proven_on_staging(&self, booking: &Booking, size: usize) -> bool {
        let staging: BTreeSet<KeyId> = self
            .said(size)
            .filter_map(|(_, _, statement)| match &statement.says {
                Says::Host(HostChange::Enrolled(it)) if it.environment == name("staging") => {
                    Some(it.host_key.id())
                }
                _ => None,
            })
            .collect();
        staging.iter().any(|host| {
            let last = self
                .ends(size)
                .filter(|(_, it)| it.host_key == *host && it.release == booking.release);
            last.last().is_some_and(|(_, it)| it.event == Event::Committed)
        })
    }

    /// What hosts said of how orders ended.
    fn ends(&self, size: usize) -> impl Iterator<Item = (usize, &Outcome)> {
        self.said(size).filter_map(|(index, _, statement)| match &statement.says {
            Says::Outcome(it)
                if !matches!(it.event, Event::Refused { .. } | Event::Drifted { .. }) =>
            {
                Some((index, &**it))
            }
            _ => None,
        })
    }

    /// P7: an iteration has a change manager's word of its own.
    fn iterations(&self, asked: &Asked<'_>, against: &mut Against) {
        let approved = self.said(asked.size).any(|(_, entry, statement)| {
            let Says::Emergency(Emergency::Approved(it)) = &statement.says else { return false };
            it.release == asked.booking.release
                && any_with(&entry.by, Role::ChangeManager)
                && entry.by.is_disjoint(&asked.submitted_by.by)
        });
        if !approved {
            against.push((Invariant::P7, "no change manager approved this iteration".to_owned()));
        }
    }

    /// P8: what a host took back waits for a librarian, or for a change manager where it is an iteration.
    fn taken_back(&self, asked: &Asked<'_>, against: &mut Against) {
        let package = asked.booking.package;
        let back = self.ends(asked.size).filter(|(_, it)| {
            it.package == package
                && matches!(
                    it.event,
                    Event::Returned { .. } | Event::RolledBack | Event::Stuck { .. }
                )
        });
        let Some(last) = back.map(|(index, _)| index).last() else { return };
        let again = self.said(asked.size).any(|(index, entry, statement)| {
            let Says::Review(it) = &statement.says else { return false };
            index > last
                && it.release == asked.booking.release
                && it.verdict == Verdict::Complete
                && any_with(&entry.by, Role::Librarian)
        });
        if !again {
            let text = format!("it was taken back (entry {last}) and not reviewed since");
            against.push((Invariant::P8, text));
        }
    }

    /// Whether a librarian called the release of a booking complete, from an entry on.
    pub(super) fn is_reviewed_since(&self, order: &Digest, from: usize) -> bool {
        let release = self.booking(order).map(|(_, _, booking)| booking.release);
        self.said(usize::MAX).any(|(index, entry, statement)| {
            let Says::Review(it) = &statement.says else { return false };
            index >= from
                && Some(it.release) == release
                && it.verdict == Verdict::Complete
                && any_with(&entry.by, Role::Librarian)
        })
    }

    /// P2: holds, freezes, and giving up.
    fn prohibitions(
        &self,
        order: &Digest,
        asked: &Asked<'_>,
        booked_by: &Entry,
        now: Time,
        against: &mut Against,
    ) {
        let booking = asked.booking;
        for (_, entry, statement) in self.said(asked.size) {
            let stands = match &statement.says {
                Says::Cancel(it) => {
                    it.release == booking.release && it.booking.is_none_or(|it| it == *order)
                }
                Says::Hold(it) if it.release == booking.release => {
                    !self.said(asked.size).any(|(_, by, resumed)| {
                        matches!(&resumed.says, Says::Resume(it) if it.hold == entry.id)
                            && by.by.is_disjoint(&booked_by.by)
                    })
                }
                Says::Freeze(Freeze::Declared { environments, start, end, .. }) => {
                    let lifted = self.said(asked.size).any(|(_, _, lifted)| {
                        matches!(&lifted.says, Says::Freeze(Freeze::Lifted { freeze, .. })
                            if *freeze == entry.id)
                    });
                    environments.contains(&booking.environment)
                        && *start <= now
                        && now < *end
                        && !lifted
                        && !self.is_passed(order, asked, &entry.id, now)
                }
                _ => false,
            };
            if stands {
                let what = statement.says.predicate();
                against.push((Invariant::P2, format!("a {what} ({}) stands", entry.id.short())));
            }
        }
    }

    /// P10: the waves before are proven and have been well, and the rollout is not halted.
    fn waves(
        &self,
        order: &Digest,
        asked: &Asked<'_>,
        host: &KeyId,
        now: Time,
        against: &mut Against,
    ) {
        let plan = &asked.booking.plan;
        let mine = plan
            .waves
            .iter()
            .position(|wave| wave.hosts.iter().any(|planned| planned.host_key == *host));
        let Some(mine) = mine else { return };
        let last = |host: &KeyId| {
            let ends = self.ends(asked.size);
            ends.filter(|(_, it)| it.order == *order && it.host_key == *host).last()
        };
        for planned in plan.waves[..mine].iter().flat_map(|wave| &wave.hosts) {
            match last(&planned.host_key) {
                Some((_, it)) if it.event == Event::Committed => {
                    let well = it.ended + plan.healthy_for;
                    // Its clock may be ahead of the coordinator's.
                    if now + Duration::from_secs(4) < well {
                        let text = format!("{} must be well until {well}", planned.host);
                        against.push((Invariant::P10, text));
                    }
                }
                Some(_) | None => {
                    let text = format!("{} of an earlier wave has not committed", planned.host);
                    against.push((Invariant::P10, text));
                }
            }
        }
    }
}

/// What is asked about.
#[derive(Clone, Copy)]
struct Asked<'a> {
    booking: &'a Booking,
    release: &'a Release,
    submitted_by: &'a Entry,
    size: usize,
}

fn has(who: &str, role: Role) -> bool {
    PEOPLE.iter().any(|(owner, roles)| *owner == who && roles.contains(&role))
}

fn any_with(who: &BTreeSet<&'static str>, role: Role) -> bool {
    who.iter().any(|who| has(who, role))
}
