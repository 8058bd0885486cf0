//! The referee: which gain a deed is, if any.
//!
//! It knows what was truly said, by whom and when, and what the hosts truly did. It asks none of the
//! product's rules: what people demand is said here in its own words.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cutover_machine::{Assignment, Kind};
use cutover_shared::digest::Digest;
use cutover_shared::key::KeyId;
use cutover_shared::policy::{KeyEntry, KeyStatus, Role};
use cutover_shared::statement::{
    Booking, ChangeType, Emergency, Freeze, HostChange, Release, Says, Verdict,
};
use cutover_shared::time::Time;

use super::APPLICATION;
use super::budget::Gain;
use super::target::{Act, Deed, End, true_content};
use super::truth::{Said, Truth};
use crate::world::{PEOPLE, Parcel, key, key_id, name};

/// How long after it was said a ground against an order may still be passed: the policy's freshness, and
/// what a host needs from its second clearance to the switch.
const CLEARED_FOR: Duration = Duration::from_secs(75);

/// Everything that the hosts did, and what of it is a gain.
#[derive(Debug, Clone, Default)]
pub struct Referee {
    /// What was gained, with the facts.
    pub gained: Vec<(Gain, String)>,
    /// What was truly committed: host, order, package, when.
    committed: Vec<(String, Digest, Digest, Time)>,
    /// What was taken back on a host: package, when.
    returned: Vec<(String, Digest, Time)>,
    /// Orders that were activated on a host.
    activated: BTreeSet<(String, Digest)>,
    /// Hosts that are down for an order: activated, and not ended.
    down: BTreeMap<String, Digest>,
    /// The newest iteration that was begun on a host.
    iterations: BTreeMap<(String, Digest), u32>,
    /// How many activations there were, whatever they were.
    pub activations: u32,
}

impl Referee {
    /// Whether a host has truly committed an order.
    pub fn has_committed(&self, host: &str, order: Digest) -> bool {
        self.committed.iter().any(|(who, what, _, _)| who == host && *what == order)
    }

    /// Whether a host has activated an order.
    pub fn has_activated(&self, host: &str, order: Digest) -> bool {
        self.activated.contains(&(host.to_owned(), order))
    }

    /// Judges a deed.
    pub fn judge(&mut self, truth: &Truth, parcels: &BTreeMap<Digest, Parcel>, deed: Deed) {
        let Deed { at, host, task, act } = deed;
        match (act, task.kind) {
            (Act::Assembled(content), _) => {
                let good = parcels.get(&task.package).map(true_content);
                if good != Some(content) {
                    self.gain(Gain::Unapproved, &host, "other bytes than the package's");
                }
                self.begins(truth, &host, &task, at);
            }
            (Act::Activated, Kind::Forward) => self.activates(truth, &host, &task, at),
            (Act::Activated, Kind::Return) => self.goes_back(truth, &host, &task, at),
            (Act::Ended(end), kind) => self.ends(&host, &task, (end, kind), at),
        }
    }

    fn gain(&mut self, gain: Gain, host: &str, facts: &str) {
        self.gained.push((gain, format!("{host}: {facts}")));
    }

    /// A slot is assembled: already for that it must be approved, and its window open.
    fn begins(&mut self, truth: &Truth, host: &str, task: &Assignment, at: Time) {
        match ordered(truth, task) {
            Err(facts) => self.gain(Gain::Unapproved, host, &facts),
            Ok((booking, release)) => {
                if let Err(facts) = approved(truth, task, booking, release) {
                    self.gain(Gain::Unapproved, host, &facts);
                }
                if at < booking.window.start || at >= booking.window.end {
                    self.gain(Gain::OutsideWindow, host, "it is assembled outside of its window");
                }
            }
        }
    }

    fn activates(&mut self, truth: &Truth, host: &str, task: &Assignment, at: Time) {
        self.activations += 1;
        self.down.insert(host.to_owned(), task.booking);
        if !self.activated.insert((host.to_owned(), task.booking)) {
            self.gain(Gain::Repeat, host, "an order is activated twice");
        }
        let (booking, release) = match ordered(truth, task) {
            Ok(found) => found,
            Err(facts) => return self.gain(Gain::Unapproved, host, &facts),
        };
        if let Err(facts) = approved(truth, task, booking, release) {
            self.gain(Gain::Unapproved, host, &facts);
        }
        if at < booking.window.start || at >= booking.window.end {
            self.gain(Gain::OutsideWindow, host, "it is activated outside of its window");
        }
        for facts in against(truth, host, task, booking, at) {
            self.gain(Gain::PassOver, host, &facts);
        }
        self.proven(host, task, booking, release, at);
        self.in_turn(host, task, booking);
        self.not_again(truth, host, (task, release), at);
    }

    /// The waves and the environment before have proven it.
    fn proven(
        &mut self,
        host: &str,
        task: &Assignment,
        booking: &Booking,
        release: &Release,
        at: Time,
    ) {
        let wave = |it: &str| {
            let named = |planned: &_| names(planned, it);
            booking.plan.waves.iter().position(|wave| wave.hosts.iter().any(named))
        };
        let mine = wave(host).unwrap_or(0);
        let waves = booking.plan.waves.iter().take(mine).flat_map(|wave| &wave.hosts);
        let before: Vec<_> = waves.map(|it| it.host.to_string()).collect();
        for other in before {
            let when = self
                .committed
                .iter()
                .find(|(who, what, _, _)| *who == other && *what == task.booking);
            match when {
                None => self.gain(Gain::Unproven, host, &format!("{other} has not committed it")),
                Some((_, _, _, when)) if at < *when + booking.plan.healthy_for => {
                    self.gain(Gain::Unproven, host, &format!("{other} has just committed it"));
                }
                Some(_) => {}
            }
        }
        let strict =
            release.change == ChangeType::Normal && booking.environment == name("production");
        let staged = |(who, _, package, _): &(String, Digest, Digest, Time)| {
            who == "stage-1" && *package == task.package
        };
        if strict && !self.committed.iter().any(staged) {
            self.gain(Gain::Unproven, host, "staging has not committed it");
        }
    }

    fn in_turn(&mut self, host: &str, task: &Assignment, booking: &Booking) {
        let busy = self.down.iter().filter(|(_, order)| **order == task.booking).count();
        if busy > booking.plan.at_once as usize {
            self.gain(Gain::OutOfTurn, host, &format!("{busy} hosts are down at once"));
        }
        let failed = self.returned.iter().filter(|(_, package, _)| *package == task.package);
        if failed.count() >= booking.plan.halt_after as usize {
            self.gain(Gain::OutOfTurn, host, "the rollout was halted by a failure");
        }
    }

    /// What this host took back, it does not take again; an earlier iteration does not follow a later one.
    fn not_again(
        &mut self,
        truth: &Truth,
        host: &str,
        (task, release): (&Assignment, &Release),
        at: Time,
    ) {
        let back = self
            .returned
            .iter()
            .filter(|(who, package, _)| who == host && *package == task.package);
        if let Some((_, _, when)) = back.max_by_key(|(_, _, when)| *when) {
            let since = truth.said.values().any(|said| {
                let Says::Review(review) = &said.says else { return false };
                review.release == task.release
                    && review.verdict == Verdict::Complete
                    && said.at >= *when
                    && said.at <= at
                    && signed(said, Role::Librarian)
            });
            if !since {
                self.gain(Gain::AfterReturn, host, "it comes again without a review");
            }
        }
        if let Some(iteration) = &release.iteration {
            let place = (host.to_owned(), iteration.grounds);
            let newest = self.iterations.entry(place).or_insert(iteration.number);
            if *newest > iteration.number {
                let facts = format!("iteration {} after {newest}", iteration.number);
                self.gain(Gain::AfterReturn, host, &facts);
            } else {
                *newest = iteration.number;
            }
        }
    }

    fn goes_back(&mut self, truth: &Truth, host: &str, task: &Assignment, at: Time) {
        let ordered = truth.said.get(&task.booking).is_some_and(|said| {
            let Says::Rollback(rollback) = &said.says else { return false };
            let named = rollback
                .hosts
                .iter()
                .any(|it| it.host_key == key_id(host) && it.generation + 1 == task.generation);
            let in_time = said.not_after.is_none_or(|end| at < end + CLEARED_FOR);
            signed(said, Role::ChangeManager) && named && in_time && rollback.to == task.package
        });
        if !ordered {
            self.gain(Gain::Unordered, host, "nobody ordered this return");
        }
    }

    fn ends(&mut self, host: &str, task: &Assignment, (end, kind): (End, Kind), at: Time) {
        self.down.remove(host);
        match (end, kind) {
            (End::Committed, Kind::Forward) => {
                self.committed.push((host.to_owned(), task.booking, task.package, at));
            }
            (End::Committed, Kind::Return) => {
                // What it left cannot be told from the task; it is what was committed last.
                let left = self
                    .committed
                    .iter()
                    .rfind(|(who, _, package, _)| who == host && *package != task.package);
                if let Some((_, _, package, _)) = left.cloned() {
                    self.returned.push((host.to_owned(), package, at));
                    self.committed.retain(|(who, _, what, _)| who != host || *what != package);
                }
            }
            (End::Returned, Kind::Forward) => {
                self.returned.push((host.to_owned(), task.package, at));
            }
            (End::Returned, Kind::Return) | (End::Abandoned, _) => {}
        }
    }
}

/// What stands against an order and was said long enough ago.
fn against(
    truth: &Truth,
    host: &str,
    task: &Assignment,
    booking: &Booking,
    at: Time,
) -> Vec<String> {
    let old = truth.said.values().filter(|said| said.index.is_some());
    let old = old.filter(|said| said.at + CLEARED_FOR < at);
    let withdrawn: BTreeSet<Digest> =
        truth.said.values().filter(|said| said.at <= at).filter_map(withdraws).collect();
    old.filter(|said| !withdrawn.contains(&said.id))
        .filter_map(|said| objection(truth, said, (host, task, booking), at))
        .collect()
}

/// What a statement says against an order.
fn objection(
    truth: &Truth,
    said: &Said,
    (host, task, booking): (&str, &Assignment, &Booking),
    at: Time,
) -> Option<String> {
    let release = task.release;
    let now = |start: &Time, end: &Time| *start <= at && at < *end;
    let held = matches!(&said.says, Says::Hold(it) if it.release == release);
    let cancelled = matches!(&said.says, Says::Cancel(it) if it.release == release
        && it.booking.is_none_or(|other| other == task.booking));
    let denied = matches!(&said.says, Says::Assessment(it) if it.package == task.package
        && !it.judgement.is_accepted());
    let rejected = matches!(&said.says, Says::Vote(it) if it.release == release
        && !it.judgement.is_accepted());
    let sent_back = matches!(&said.says, Says::Review(it) if it.release == release
        && it.verdict != Verdict::Complete);
    let frozen = matches!(&said.says,
        Says::Freeze(Freeze::Declared { environments, applications, start, end, .. })
            if environments.contains(&booking.environment)
                && applications.contains(&name(APPLICATION))
                && now(start, end));
    let retired = matches!(&said.says, Says::Host(HostChange::Retired { host_key, .. })
        if *host_key == key_id(host));
    let revoked = matches!(&said.says, Says::TrustPolicy(policy)
        if voids(truth, &policy.keys, task));
    let against = held || cancelled || denied || rejected || sent_back || frozen;
    (against || retired || revoked)
        .then(|| format!("a {} said at {} is passed over", said.says.predicate(), said.at))
}

/// What a statement takes back.
fn withdraws(said: &Said) -> Option<Digest> {
    if let Says::Resume(resume) = &said.says {
        return Some(resume.hold);
    }
    if let Says::Freeze(Freeze::Lifted { freeze, .. }) = &said.says {
        return Some(*freeze);
    }
    None
}

/// Whether these keys void a word on which an order stands.
fn voids(truth: &Truth, keys: &[KeyEntry], task: &Assignment) -> bool {
    let gone = keys.iter().filter(|it| it.status == KeyStatus::Compromised);
    let gone: BTreeSet<KeyId> = gone.map(|it| it.key.id()).collect();
    let needed = truth.said.values().filter(|it| speaks_for(it, task));
    needed.flat_map(|it| &it.keys).any(|key| gone.contains(key))
}

/// Whether a statement is one of those on which an order stands.
fn speaks_for(said: &Said, task: &Assignment) -> bool {
    matches!(&said.says, Says::Release(_) if said.id == task.release)
        || matches!(&said.says, Says::Review(it) if it.release == task.release)
        || matches!(&said.says, Says::Assessment(it) if it.release == task.release)
        || matches!(&said.says, Says::WindowRelease(it) if it.booking == task.booking)
        || matches!(&said.says, Says::Booking(_) if said.id == task.booking)
}

/// The booking and the release that a task says it is for, if they were said by those who may.
fn ordered<'a>(truth: &'a Truth, task: &Assignment) -> Result<(&'a Booking, &'a Release), String> {
    let booking = truth.said.get(&task.booking).ok_or("nobody booked it")?;
    let Says::Booking(says) = &booking.says else { return Err("it is no booking".to_owned()) };
    if !signed(booking, Role::ChangeManager) {
        return Err("no change manager booked it".to_owned());
    }
    let release = truth.said.get(&says.release).ok_or("nobody submitted it")?;
    let Says::Release(release_says) = &release.says else {
        return Err("it is no release".to_owned());
    };
    let same = says.release == task.release
        && says.package == task.package
        && release_says.package == task.package;
    if !same || !signed(release, Role::Submitter) {
        return Err("it is another release than the one that was submitted".to_owned());
    }
    Ok((says, release_says))
}

/// Whether everybody has said yes whom the policy names.
fn approved(
    truth: &Truth,
    task: &Assignment,
    booking: &Booking,
    release: &Release,
) -> Result<(), String> {
    let author = &truth.said[&task.release].keys;
    let by = |role: Role, about: &dyn Fn(&Says) -> bool| {
        let good = truth.said.values().filter(|said| about(&said.says) && signed(said, role));
        let keys: BTreeSet<KeyId> = good.flat_map(|said| said.keys.iter().copied()).collect();
        keys.difference(author).count()
    };
    let here = &booking.environment;
    let released = by(
        Role::ChangeManager,
        &|says| matches!(says, Says::WindowRelease(it) if it.booking == task.booking && it.package == task.package),
    );
    if released == 0 {
        return Err("the window was not released".to_owned());
    }
    if release.change == ChangeType::Emergency {
        let own = by(
            Role::ChangeManager,
            &|says| matches!(says, Says::Emergency(Emergency::Approved(it)) if it.release == task.release),
        );
        return if own > 0 {
            Ok(())
        } else {
            Err("the iteration has no word of its own".to_owned())
        };
    }
    let reviews = by(Role::Librarian, &|says| {
        matches!(says, Says::Review(it) if it.release == task.release
            && it.environments.contains(here) && it.verdict == Verdict::Complete)
    });
    let strict = *here == name("production");
    let assessments = by(Role::Security, &|says| {
        matches!(says, Says::Assessment(it) if it.release == task.release
            && it.environments.contains(here) && it.judgement.is_accepted())
    });
    let votes = by(Role::Board, &|says| {
        matches!(says, Says::Vote(it) if it.release == task.release
            && it.environments.contains(here) && it.judgement.is_accepted())
    });
    if reviews < 1 || strict && (assessments < 1 || votes < 2) {
        return Err(format!("{reviews} reviews, {assessments} assessments, {votes} votes"));
    }
    Ok(())
}

/// Whether somebody with a role signed. Roots are not asked here: who signs a policy is the policy's.
fn signed(said: &Said, role: Role) -> bool {
    PEOPLE
        .iter()
        .filter(|(_, roles)| roles.contains(&role))
        .any(|(owner, _)| said.keys.contains(&key(owner).public().id()))
}

fn names(planned: &cutover_shared::statement::PlannedHost, host: &str) -> bool {
    planned.host.as_str() == host
}
