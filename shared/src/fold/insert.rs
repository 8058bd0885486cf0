//! Adding what was examined: where each statement goes, and the indexes over what is there.
//!
//! The names in a statement are replaced by those that are known from its release or host, so that a log of
//! a million statements holds each name a few times.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{
    CalendarRecord, Examined, FreezeRecord, GrantRecord, HostRecord, Installed, RollbackCase,
    StandardRecord, State,
};
use crate::case::{About, BookingCase, Case, Reported, Verified};
use crate::digest::Digest;
use crate::name::Name;
use crate::policy::TrustPolicy;
use crate::statement::{
    Assessment, Booking, Calendar, Cancel, Closure, Emergency, Enrolment, Event, Freeze, Hold,
    HostChange, Outcome, Predicate, Release, Resume, Rollback, Says, Standard, Step,
};

/// Adds to a list that seldom grows, with a quarter of room to spare where a plain list doubles.
fn keep<T>(list: &mut Vec<T>, item: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(1 + list.len() / 4);
    }
    list.push(item);
}

/// The same names, those of them that are known as they are known.
fn shared(names: BTreeSet<Name>, known: &BTreeSet<Name>) -> BTreeSet<Name> {
    let known = |name: Name| known.get(&name).cloned().unwrap_or(name);
    names.into_iter().map(known).collect()
}

impl State {
    /// Adds what was examined against this very state.
    pub(crate) fn insert(&mut self, examined: Examined) {
        let Examined { statement, policy, vouchers } = examined;
        let (id, index) = (statement.id, statement.index);
        self.next_index = self.next_index.max(index.saturating_add(1));
        if !Arc::make_mut(&mut self.statements).insert(id) {
            return;
        }
        if let Some(policy) = policy {
            let document = policy.document();
            self.policy_indexes.entry(document.version).or_insert(index);
            let epoch = document.epoch.as_ref().map(|it| (document.version, it.last_good.clone()));
            self.epochs.extend(epoch);
            self.policies.entry(index).or_insert_with(|| policy.clone());
            self.note_unknown_predicates(&policy);
            if let Some(before) = self.policy.replace(policy) {
                self.revise(&before);
            }
            return;
        }
        let (frame, says) = statement.split();
        self.insert_said(frame, says, vouchers);
    }

    fn insert_said(&mut self, frame: Verified<()>, says: Says, vouchers: BTreeSet<Name>) {
        let id = frame.id;
        match says {
            // A policy is handled above; clearances are refused from the log by the examination.
            Says::TrustPolicy(_) | Says::Clearance(_) => {}
            Says::Host(HostChange::Enrolled(it)) => self.add_host(frame.carry(*it), vouchers),
            Says::Host(HostChange::Retired { host_key, .. }) => {
                self.retire(&host_key, frame.index);
            }
            Says::Grant(it) => {
                self.grants.insert(id, GrantRecord { grant: frame.carry(it), used: 0 });
            }
            Says::Emergency(it @ Emergency::Opened { .. }) => {
                self.emergencies.insert(id, frame.carry(it));
            }
            Says::Emergency(Emergency::Approved(it)) => {
                self.in_case(it.release, |case| keep(&mut case.approvals, frame.carry(it)));
            }
            Says::Standard(it) => self.add_standard(frame, it),
            Says::Freeze(it) => self.add_freeze(frame.carry(it)),
            Says::Calendar(it) => self.add_calendar(frame.carry(*it)),
            Says::Rollback(it) => self.add_rollback(frame.carry(*it)),
            Says::Outcome(it) => self.add_outcome(frame, *it),
            Says::Release(it) => self.add_release(frame.carry(*it)),
            Says::Booking(it) => self.add_booking(frame.carry(*it)),
            Says::Hold(it) => self.add_hold(frame.carry(it)),
            Says::Resume(it) => self.add_resume(frame.carry(it)),
            Says::Cancel(it) => self.add_cancel(frame.carry(it)),
            Says::Assessment(it) => self.add_assessment(frame.carry(it)),
            Says::Review(mut it) => self.in_case(it.release, |case| {
                it.environments = shared(it.environments, &case.release.says.environments);
                keep(&mut case.reviews, frame.carry(it));
            }),
            Says::Vote(mut it) => self.in_case(it.release, |case| {
                it.environments = shared(it.environments, &case.release.says.environments);
                keep(&mut case.votes, frame.carry(it));
            }),
            Says::Delivery(it) => {
                self.in_case(it.release, |case| keep(&mut case.deliveries, frame.carry(it)));
            }
            Says::Override(it) => self.in_booking(it.booking, |booking| {
                keep(&mut booking.overrides, frame.carry(it));
            }),
            Says::Waiver(it) => {
                self.in_case(it.release, |case| keep(&mut case.waivers, frame.carry(it)));
            }
            Says::Rehearsal(it) => {
                self.in_case(it.release, |case| keep(&mut case.rehearsals, frame.carry(it)));
            }
            Says::Consult(mut it) => self.in_case(it.release(), |case| {
                let environments = std::mem::take(it.environments_mut());
                *it.environments_mut() = shared(environments, &case.release.says.environments);
                keep(&mut case.consults, frame.carry(it));
            }),
            Says::Task(it) => {
                self.in_case(it.release, |case| keep(&mut case.tasks, frame.carry(it)));
            }
            Says::Step(it) => self.add_step(frame.carry(it)),
            Says::Acknowledgement(it) => self.in_case(it.release, |case| {
                keep(&mut case.acknowledgements, frame.carry(it));
            }),
            Says::Closure(it) => self.add_closure(frame.carry(it)),
            Says::WindowRelease(it) => self.in_booking(it.booking, |booking| {
                booking.released = Some(frame.carry(it));
            }),
        }
    }

    pub(super) fn in_case(&mut self, release: Digest, change: impl FnOnce(&mut Case)) {
        if let Some(case) = self.cases.get_mut(&release) {
            change(case);
        }
    }

    fn in_booking(&mut self, booking: Digest, change: impl FnOnce(&mut BookingCase)) {
        if let Some(release) = self.bookings.get(&booking).copied() {
            self.in_case(release, |case| {
                if let Some(booking) = case.bookings.get_mut(&booking) {
                    change(Arc::make_mut(booking));
                }
            });
        }
    }

    pub(super) fn note_unknown_predicates(&mut self, policy: &TrustPolicy) {
        let known: BTreeSet<_> = Predicate::ALL.iter().map(|it| it.name()).collect();
        let listed = policy.document().predicates.iter();
        self.unknown_predicates =
            listed.filter(|it| !known.contains(it.as_str())).cloned().collect();
    }

    fn add_host(&mut self, enrolment: Verified<Enrolment>, vouchers: BTreeSet<Name>) {
        let says = &enrolment.says;
        if let Some(grant) = says.grant.and_then(|grant| self.grants.get_mut(&grant)) {
            grant.used += 1;
        }
        if let Some(old) = says.replaces {
            self.retire(&old, enrolment.index);
        }
        let key = says.host_key.id();
        Arc::make_mut(&mut self.host_names).insert(says.host.clone(), key);
        Arc::make_mut(&mut self.transport_keys).insert(says.transport_key.id(), key);
        let record = HostRecord { enrolment, vouchers, retired: None, installed: BTreeMap::new() };
        self.hosts.insert(key, record);
    }

    fn retire(&mut self, host_key: &crate::key::KeyId, index: u64) {
        let Some(host) = self.hosts.get_mut(host_key) else { return };
        host.retired = Some(index);
        let says = &host.enrolment.says;
        // Its name and transport key may be another host's by now.
        if self.host_names.get(&says.host) == Some(host_key) {
            Arc::make_mut(&mut self.host_names).remove(&says.host);
        }
        let transport = says.transport_key.id();
        if self.transport_keys.get(&transport) == Some(host_key) {
            Arc::make_mut(&mut self.transport_keys).remove(&transport);
        }
    }

    fn add_standard(&mut self, frame: Verified<()>, standard: Standard) {
        match standard {
            Standard::Approved(it) => {
                let approved = frame.carry(*it);
                let record = StandardRecord { approved, withdrawn: None };
                self.standards.insert(record.approved.id, record);
            }
            Standard::Withdrawn { standard, .. } => {
                if let Some(record) = self.standards.get_mut(&standard) {
                    record.withdrawn.get_or_insert(frame.index);
                }
            }
        }
    }

    fn add_calendar(&mut self, declared: Verified<Calendar>) {
        let environment = declared.says.environment.clone();
        let revision = 1 + self.calendar(&environment).map_or(0, |it| it.revision);
        self.calendars.insert(environment, CalendarRecord { declared, revision });
    }

    fn add_freeze(&mut self, freeze: Verified<Freeze>) {
        let (frame, says) = freeze.split();
        match says {
            Freeze::Lifted { freeze: lifted, .. } => {
                if let Some(record) = self.freezes.get_mut(&lifted) {
                    record.lifted.get_or_insert(frame);
                    if let Freeze::Declared { end, .. } = &record.declared.says {
                        Arc::make_mut(&mut self.standing_freezes).remove(&(*end, lifted));
                    }
                }
            }
            Freeze::Declared { end, .. } => {
                let id = frame.id;
                Arc::make_mut(&mut self.standing_freezes).insert((end, id));
                let record = FreezeRecord { declared: frame.carry(says), lifted: None };
                self.freezes.insert(id, record);
            }
        }
    }

    fn add_rollback(&mut self, rollback: Verified<Rollback>) {
        let id = rollback.id;
        let of_package = Arc::make_mut(&mut self.rollbacks_from).entry(rollback.says.from);
        of_package.or_default().push(id);
        // The examination demands an end.
        if let Some(end) = rollback.header.not_after {
            Arc::make_mut(&mut self.rollback_ends).insert((end, id));
        }
        let case = RollbackCase { rollback, steps: Vec::new(), outcomes: Vec::new() };
        self.rollbacks.insert(id, case);
    }

    fn add_step(&mut self, step: Verified<Step>) {
        let order = step.says.booking;
        if let Some(rollback) = self.rollbacks.get_mut(&order) {
            keep(&mut rollback.steps, step);
        } else {
            self.in_booking(order, |booking| keep(&mut booking.steps, step));
        }
    }

    fn add_release(&mut self, release: Verified<Release>) {
        let id = release.id;
        if let Some(earlier) = release.says.supersedes {
            self.in_case(earlier, |case| case.superseded_by = Some(id));
        }
        if let Some(iteration) = &release.says.iteration {
            let of_emergency = Arc::make_mut(&mut self.iterations).entry(iteration.grounds);
            keep(of_emergency.or_default(), id);
        }
        keep(Arc::make_mut(&mut self.packages).entry(release.says.package).or_default(), id);
        let numbers = Arc::make_mut(&mut self.numbers);
        numbers.push(id);
        let number = numbers.len() as u64;
        self.cases.insert(id, Case::new(release, number));
    }

    pub(super) fn add_booking(&mut self, mut booking: Verified<Booking>) {
        let (id, release) = (booking.id, booking.says.release);
        for planned in booking.says.plan.waves.iter_mut().flat_map(|wave| &mut wave.hosts) {
            match self.hosts.get(&planned.host_key).map(|known| &known.enrolment.says.host) {
                Some(known) if *known == planned.host => planned.host = known.clone(),
                Some(_) | None => {}
            }
        }
        let end = booking.says.window.end;
        Arc::make_mut(&mut self.bookings).insert(id, release);
        Arc::make_mut(&mut self.window_ends).insert((end, id));
        self.in_case(release, |case| {
            let known = &case.release.says;
            booking.says.application = known.application.clone();
            if let Some(environment) = known.environments.get(&booking.says.environment) {
                booking.says.environment = environment.clone();
            }
            case.bookings.insert(id, Arc::new(BookingCase::new(booking)));
        });
    }

    fn add_hold(&mut self, hold: Verified<Hold>) {
        Arc::make_mut(&mut self.holds).insert(hold.id, hold.says.release);
        self.in_case(hold.says.release, |case| keep(&mut case.holds, hold));
    }

    fn add_resume(&mut self, resume: Verified<Resume>) {
        let hold = resume.says.hold;
        if let Some(release) = self.holds.get(&hold).copied() {
            self.in_case(release, |case| {
                case.resumes.insert(hold, resume);
            });
        }
    }

    fn add_cancel(&mut self, cancel: Verified<Cancel>) {
        match cancel.says.booking {
            Some(booking) => self.in_booking(booking, |it| it.cancelled = Some(Box::new(cancel))),
            None => self.in_case(cancel.says.release, |case| {
                case.cancelled = Some(Box::new(cancel));
            }),
        }
    }

    fn add_closure(&mut self, closure: Verified<Closure>) {
        match closure.says {
            Closure::Release { release, .. } => self.in_case(release, |case| {
                case.closed = Some(Box::new(closure));
            }),
            Closure::Emergency { grounds, .. } => self.closed_emergencies.insert(grounds, closure),
        }
    }

    fn add_assessment(&mut self, mut assessment: Verified<Assessment>) {
        if !assessment.says.judgement.is_accepted() {
            let denied = Arc::make_mut(&mut self.denied_packages);
            denied.insert(assessment.says.package, assessment.id);
        }
        self.in_case(assessment.says.release, |case| {
            let says = &mut assessment.says;
            says.environments =
                shared(std::mem::take(&mut says.environments), &case.release.says.environments);
            keep(&mut case.assessments, assessment);
        });
    }

    fn add_outcome(&mut self, frame: Verified<()>, outcome: Outcome) {
        let mut reported = Reported::from(outcome);
        if let Some(known) = self.known_about(&reported) {
            reported.about = known;
        }
        if let Some(host) = self.hosts.get_mut(&reported.host_key) {
            reported.host = host.enrolment.says.host.clone();
            note_installed(host, &reported);
        }
        match &reported.event {
            Event::Returned { .. } | Event::RolledBack | Event::Stuck { .. } => {
                let returned = Arc::make_mut(&mut self.returned_packages);
                returned.insert(reported.package, frame.index);
            }
            Event::Committed | Event::Refused { .. } | Event::Drifted { .. } => {}
        }
        let order = reported.order;
        let outcome = frame.carry(reported);
        if let Some(rollback) = self.rollbacks.get_mut(&order) {
            keep(&mut rollback.outcomes, outcome);
        } else {
            self.in_booking(order, |booking| keep(&mut booking.outcomes, outcome));
        }
    }

    /// What an earlier report of the same order was about, when it is the same.
    fn known_about(&self, reported: &Reported) -> Option<Arc<About>> {
        let of_booking = self.booking(&reported.order).map(|(_, it)| it.outcomes.as_slice());
        let of_rollback = self.rollbacks.get(&reported.order).map(|it| it.outcomes.as_slice());
        let known = &of_booking.or(of_rollback)?.first()?.says.about;
        (*known == reported.about).then(|| Arc::clone(known))
    }
}

fn note_installed(host: &mut HostRecord, says: &Reported) {
    let before = host.installed.get(&says.application);
    let committed = matches!(says.event, Event::Committed);
    let installed = Installed {
        generation: says.generation,
        package: says.running,
        release: if committed { Some(says.release) } else { before.and_then(|it| it.release) },
        previous: match (&says.event, before) {
            (Event::Committed, Some(before)) => before.package,
            (Event::RolledBack, _) | (_, None) => None,
            (_, Some(before)) => before.previous,
        },
        committed_by: match says.event {
            Event::Committed => Some(says.order),
            Event::Refused { .. } | Event::Drifted { .. } => before.and_then(|it| it.committed_by),
            Event::Returned { .. } | Event::RolledBack | Event::Stuck { .. } => None,
        },
    };
    host.installed.insert(says.application.clone(), installed);
}
