//! What people say, as plain data; who signs it is the caller's to choose.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use cutover_coordinator::cli::host::JOIN_PREFIX;
use cutover_shared::codec;
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::key::KeyId;
use cutover_shared::log::TreeHead;
use cutover_shared::name::Name;
use cutover_shared::protocol::Join;
use cutover_shared::statement::{
    Assessment, Booking, ChangeType, Delivery, Emergency, Enrolment, Grant, HostChange,
    IterationApproval, Judgement, OnHalt, PlannedHost, Release, Review, RolloutPlan, Verdict, Vote,
    Wave, WindowRelease,
};
use cutover_shared::window::Window;

use super::package::Parcel;
use super::people::{LOG_KEY, key};
use super::{name, names};

/// A release of a parcel, for these environments.
pub fn release(parcel: &Parcel, change: ChangeType, environments: &[&str]) -> Release {
    let manifest = &parcel.manifest;
    Release {
        application: manifest.application.clone(),
        version: manifest.version.clone(),
        package: parcel.digest,
        change,
        environments: names(environments),
        summary: "a change".to_owned(),
        apply_budget: manifest.apply_budget,
        rollback_reserve: manifest.rollback_reserve,
        irreversible: manifest.rollback.irreversible,
        requested_start: None,
        forms: BTreeSet::new(),
        iteration: None,
        standard: None,
        supersedes: None,
    }
}

/// The librarian's word.
pub fn review(release: Digest, environments: &[&str], verdict: Verdict) -> Review {
    Review { release, environments: names(environments), verdict }
}

/// Yes.
pub fn accepted() -> Judgement {
    Judgement::Accepted { reason: String::new() }
}

/// Security's word.
pub fn assessment(
    (release, package): (Digest, Digest),
    environments: &[&str],
    judgement: Judgement,
) -> Assessment {
    Assessment { release, package, environments: names(environments), judgement }
}

/// A board member's.
pub fn vote(release: Digest, environments: &[&str], judgement: Judgement) -> Vote {
    Vote { release, environments: names(environments), judgement, conditions: Vec::new() }
}

/// Delivered.
pub fn delivery((release, package): (Digest, Digest)) -> Delivery {
    Delivery { release, package, location: "shelf 1".to_owned() }
}

/// What is booked.
#[derive(Debug, Clone)]
pub struct Booked<'a> {
    /// The release statement.
    pub release: Digest,
    /// Its package.
    pub package: Digest,
    /// Of which application.
    pub application: &'a Name,
    /// Where.
    pub environment: &'a str,
    /// When.
    pub window: Window,
    /// On which hosts, wave by wave.
    pub waves: Vec<Vec<PlannedHost>>,
    /// How many at once.
    pub at_once: u32,
    /// How many failures halt it.
    pub halt_after: u32,
    /// How long a wave must have been well.
    pub healthy_for: Duration,
}

/// A booking.
pub fn booking(booked: Booked<'_>) -> Booking {
    let waves = booked.waves.into_iter().enumerate();
    Booking {
        release: booked.release,
        package: booked.package,
        application: booked.application.clone(),
        environment: name(booked.environment),
        window: booked.window,
        derivation: None,
        plan: RolloutPlan {
            waves: waves
                .map(|(number, hosts)| Wave { name: name(&format!("wave-{number}")), hosts })
                .collect(),
            at_once: booked.at_once,
            healthy_for: booked.healthy_for,
            halt_after: booked.halt_after,
            on_halt: OnHalt::Pause,
        },
    }
}

/// A host in a plan.
pub fn planned(host: &str, host_key: KeyId) -> PlannedHost {
    PlannedHost { host: name(host), host_key }
}

/// The booking may be executed.
pub fn window_release(booking: Digest, booked: &Booking, checkpoint: TreeHead) -> WindowRelease {
    WindowRelease { booking, release: booked.release, package: booked.package, checkpoint }
}

/// The emergency route is open.
pub fn emergency(policy: Digest, application: &Name, environments: &[&str]) -> Emergency {
    Emergency::Opened {
        policy,
        incident: "INC-1".to_owned(),
        application: application.clone(),
        environments: names(environments),
        reason: "orders get lost".to_owned(),
    }
}

/// An iteration of it is approved.
pub fn approval(grounds: Digest, release: Digest, number: u32) -> Emergency {
    Emergency::Approved(IterationApproval { grounds, release, number })
}

/// A host that an operator enrols; its keys are made from its name.
pub fn enrolment(host: &str, environment: &str, applications: &[&str]) -> HostChange {
    HostChange::Enrolled(Box::new(Enrolment {
        host: name(host),
        environment: name(environment),
        labels: BTreeMap::new(),
        applications: names(applications),
        host_key: key(host).public(),
        transport_key: key(&format!("{host}-transport")).public(),
        replaces: None,
        grant: None,
    }))
}

/// A grant with which `count` hosts enrol themselves. Its key is made from `seed`.
pub fn grant(seed: &str, environment: &str, applications: &[&str], count: u32) -> Grant {
    Grant {
        grant_key: key(seed).public(),
        environment: name(environment),
        labels: BTreeMap::new(),
        applications: names(applications),
        count,
    }
}

/// The join string for a grant that is in the log as `id`.
///
/// # Panics
///
/// When the policy is no envelope, or too large for a frame.
pub fn join(policy: &[u8], head: TreeHead, (seed, id): (&str, Digest), grant: &Grant) -> String {
    let envelope = Envelope::parse(policy).expect("the policy is an envelope");
    let applications: BTreeSet<Name> = grant.applications.clone();
    let join = Join {
        coordinator: "coordinator.test:7400".to_owned(),
        coordinator_key: key(LOG_KEY).public(),
        policy: policy.to_vec(),
        policy_id: envelope.id(),
        head,
        grant: id,
        environment: grant.environment.clone(),
        labels: Vec::new(),
        applications,
        grant_seed: *seed_of(seed).as_bytes(),
    };
    let body = codec::encode(&join).expect("a join string fits into a frame");
    format!("{JOIN_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(body))
}

/// What [`key`] makes a key of.
fn seed_of(owner: &str) -> Digest {
    Digest::of(owner.as_bytes())
}
