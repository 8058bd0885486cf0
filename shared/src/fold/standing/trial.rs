//! The rules, asked about a release in one environment whether or not a window is booked there.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{newest_booking, open_booking};
use crate::authorise::{HostFacts, InstalledFacts, Question, rules};
use crate::case::{Case, Verified};
use crate::digest::Digest;
use crate::fold::{HostRecord, State};
use crate::key::KeyId;
use crate::name::Name;
use crate::refusal::{Code, Refusal};
use crate::statement::{Booking, OnHalt, Phase, PlannedHost, RolloutPlan, Validity, Wave};
use crate::time::Time;
use crate::window::Window;

/// A release in one environment with the booking in which it goes on, or with one assumed where there is none:
/// the rules can be asked about it either way.
#[derive(Debug, Clone)]
pub struct Trial<'a> {
    state: Cow<'a, State>,
    order: Digest,
    pub(super) environment: Name,
    assumed: bool,
    /// The booking that it had, where that is used up.
    used_up: Option<Digest>,
}

impl<'a> Trial<'a> {
    /// With the booking in which it goes on ([`open_booking`]), or else with one that is assumed to begin now on
    /// every host that is enrolled for the application.
    pub fn new(state: &'a State, case: &Case, environment: &Name, now: Time) -> Self {
        let environment_name = environment.clone();
        if let Some(booking) = open_booking(state, case, environment, now) {
            let order = booking.booking.id;
            return Self {
                state: Cow::Borrowed(state),
                order,
                environment: environment_name,
                assumed: false,
                used_up: None,
            };
        }
        let id = case.release.id;
        let order = Digest::of_parts([
            b"assumed booking".as_slice(),
            id.as_bytes().as_slice(),
            environment.as_str().as_bytes(),
        ]);
        let booking = Verified {
            id: order,
            index: state.next_index,
            header: Validity { issued: now, not_before: None, not_after: None },
            signers: Arc::default(),
            says: assumed_booking(state, case, environment, now),
        };
        let mut trial = state.trial(&id);
        trial.add_booking(booking);
        let used_up = newest_booking(case, environment).map(|it| it.booking.id);
        let state = Cow::Owned(trial);
        Self { state, order, environment: environment_name, assumed: true, used_up }
    }

    /// Whether the booking is assumed: then what the rules say of its window and its release is void.
    pub fn is_assumed(&self) -> bool {
        self.assumed
    }

    /// The booking.
    pub fn order(&self) -> Digest {
        self.order
    }

    /// The hosts of the booking.
    pub fn hosts(&self) -> Vec<PlannedHost> {
        let booking = self.state.booking(&self.order);
        booking.map(|(_, it)| it.booking.says.plan.hosts().cloned().collect()).unwrap_or_default()
    }

    /// The question whether `host` may start.
    pub fn question<'q>(&'q self, host: &'q HostFacts, now: Time) -> Question<'q> {
        Question { state: &self.state, host, order: self.order, phase: Phase::Start, now }
    }

    /// Every standing rule that refuses for `host`, in rule order; of an assumed booking only those that
    /// it cannot have brought about itself.
    pub fn explain(&self, host: &HostFacts, now: Time) -> Vec<(u16, Refusal)> {
        let question = self.question(host, now);
        let mut found: Vec<(u16, Refusal)> = Vec::new();
        if self.assumed {
            let facts = format!("{} in {}", self.no_window(), self.environment);
            found.push((rules::BOOKED, Refusal::new(Code::NotBooked, facts)));
        }
        for rule in rules::FORWARD {
            if self.assumed && rule.of_booking {
                continue;
            }
            if let Err(refusal) = (rule.check)(&question)
                && !found.iter().any(|(_, known)| *known == refusal)
            {
                found.push((rule.number, refusal));
            }
        }
        found
    }

    /// What is said where it has no window to go on in.
    pub(super) fn no_window(&self) -> String {
        match &self.used_up {
            None => "no window is booked".to_owned(),
            Some(order) => format!("booking {} is used up, and no other is there", order.short()),
        }
    }

    /// What is known of a host of the environment of which nothing is known.
    pub fn nobody(&self) -> HostFacts {
        HostFacts {
            host: self.environment.clone(),
            host_key: KeyId::from_digest(self.order),
            environment: self.environment.clone(),
            applications: BTreeSet::new(),
            installed: InstalledFacts::default(),
            newest_time: None,
            clock_synchronised: None,
            inhibitors: Vec::new(),
        }
    }

    /// What the rule of that number refuses for such a host.
    pub fn refuses(&self, number: u16, now: Time) -> Option<Refusal> {
        let nobody = self.nobody();
        let question = self.question(&nobody, now);
        let rule = rules::FORWARD.iter().find(|rule| rule.number == number)?;
        (rule.check)(&question).err()
    }

    /// Whether the policy asks for anything between approval and release.
    pub(super) fn has_staging(&self) -> bool {
        let Some((case, _)) = self.state.booking(&self.order) else { return false };
        let rule =
            self.state.policy().map(|it| it.rule(&self.environment, case.release.says.change));
        matches!(rule, Some(Ok(rule)) if rule.delivery || !rule.after.is_empty())
    }
}

fn assumed_booking(state: &State, case: &Case, environment: &Name, now: Time) -> Booking {
    let release = &case.release.says;
    let fits = |host: &&HostRecord| {
        host.retired.is_none()
            && host.enrolment.says.environment == *environment
            && host.enrolment.says.applications.contains(&release.application)
    };
    let planned = |host: &HostRecord| PlannedHost {
        host: host.enrolment.says.host.clone(),
        host_key: host.enrolment.says.host_key.id(),
    };
    let mut hosts: Vec<_> = state.hosts.values().filter(fits).map(planned).collect();
    hosts.sort();
    let waves = vec![Wave { name: environment.clone(), hosts }];
    Booking {
        release: case.release.id,
        package: release.package,
        application: release.application.clone(),
        environment: environment.clone(),
        window: Window { start: now, end: now + case.budget().whole() },
        derivation: None,
        plan: RolloutPlan {
            waves,
            at_once: 1,
            healthy_for: Duration::ZERO,
            halt_after: 1,
            on_halt: OnHalt::Pause,
        },
    }
}
