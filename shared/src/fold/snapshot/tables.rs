//! What of the fold is kept. Each record is taken apart by name, so that a new field cannot be forgotten.
//!
//! **Whoever changes one of these, or what they are made of, counts [`super::VERSION`] up**: a test holds
//! the bytes.

use super::super::table::Table;
use super::super::{
    CalendarRecord, FreezeRecord, GrantRecord, HostRecord, Installed, RollbackCase, StandardRecord,
    State,
};
use super::kept::{Fault, Kept, Reader, Writer, kept, kept_as_json};
use crate::case::{BookingCase, Case, Reported};
use crate::digest::Digest;
use crate::log::TreeHead;
use crate::policy::TrustPolicy;
use crate::refusal::Refusal;
use crate::statement::{
    Acknowledgement, Assessment, Booking, Calendar, Cancel, Closure, Consult, Delivery, Derivation,
    Emergency, Enrolment, Event, Freeze, Grant, Hold, IterationApproval, OnHalt, Override,
    PlannedHost, Rehearsal, Release, Resume, Review, Rollback, RolloutPlan, Step, Task, Template,
    Validity, Vote, Waiver, Wave, WindowRelease,
};
use crate::window::Window;

kept! {
    State {
        policy, policies, policy_indexes, epochs, next_index, hosts, host_names, transport_keys, grants, cases,
        numbers, packages, iterations, bookings, window_ends, holds, emergencies, closed_emergencies,
        standards, freezes, standing_freezes, calendars, rollbacks, rollbacks_from, rollback_ends, denied_packages,
        returned_packages, statements, unknown_predicates, ignored, ignored_count,
    }
    HostRecord { enrolment, vouchers, retired, installed }
    Installed { generation, package, release, previous, committed_by }
    GrantRecord { grant, used }
    RollbackCase { rollback, outcomes, steps }
    FreezeRecord { declared, lifted }
    StandardRecord { approved, withdrawn }
    CalendarRecord { declared, revision }
    Case {
        release, number, reviews, assessments, votes, approvals, deliveries, waivers, bookings, holds,
        resumes, cancelled, superseded_by, rehearsals, consults, tasks, acknowledgements, closed,
    }
    BookingCase { booking, released, cancelled, overrides, outcomes, steps }
    Reported { about, host, host_key, generation, event, running, started, ended }
}

kept! {
    Validity { issued, not_before, not_after }
    Booking { release, package, application, environment, window, derivation, plan }
    RolloutPlan { waves, at_once, healthy_for, halt_after, on_halt }
    Wave { name, hosts }
    PlannedHost { host, host_key }
    WindowRelease { booking, release, package, checkpoint }
    Window { start, end }
    TreeHead { size, root }
}

kept_as_json! {
    Acknowledgement, Assessment, Calendar, Cancel, Closure, Consult, Delivery, Derivation, Emergency,
    Enrolment, Event, Freeze, Grant, Hold, IterationApproval, OnHalt, Override, Refusal, Rehearsal, Release,
    Resume, Review, Rollback, Step, Task, Template, Vote, Waiver,
}

impl Kept for TrustPolicy {
    fn write(&self, to: &mut Writer) {
        self.id().write(to);
        to.json(self.document());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Fault> {
        let id = Digest::read(from)?;
        Ok(Self::trusted(id, from.json()?))
    }
}

impl<K: Kept + Ord + Clone, V: Kept + Clone> Kept for Table<K, V> {
    fn write(&self, to: &mut Writer) {
        to.pairs(self.iter());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Fault> {
        from.pairs().map(Self::from)
    }
}
