//! A small agency for tests: a policy, its people, staging and production hosts, and a log that is folded
//! as it grows. Everything in it is signed and goes through [`State::apply`], as in the real one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::fold::State;
use cutover_shared::key::SecretKey;
use cutover_shared::log::TreeHead;
use cutover_shared::name::Name;
use cutover_shared::policy::{
    Clock, Exception, KeyEntry, KeyStatus, LogKey, PolicyDocument, Proof, Role, Rule, Scope,
    Waivable,
};
use cutover_shared::refusal::Refusal;
use cutover_shared::statement::{
    Assessment, Booking, ChangeType, Delivery, Emergency, Enrolment, Event, HostChange, Iteration,
    IterationApproval, Judgement, OnHalt, Outcome, PlannedHost, Release, Review, Rollback,
    RolloutPlan, Says, Statement, Verdict, Vote, Wave, WindowRelease,
};
use cutover_shared::time::Time;
use cutover_shared::window::Window;

/// The one application.
pub(crate) const SHOP: &str = "shop";

/// Everyone, with their roles.
const PEOPLE: &[(&str, Role)] = &[
    ("ruth", Role::Root),
    ("sam", Role::Submitter),
    ("lia", Role::Librarian),
    ("sergei", Role::Security),
    ("bea", Role::Board),
    ("bob", Role::Board),
    ("max", Role::ChangeManager),
    ("mia", Role::ChangeManager),
    ("olga", Role::Operator),
];

/// The secret key of a person or host.
pub(crate) fn key(owner: &str) -> SecretKey {
    SecretKey::from_seed(*Digest::of(owner.as_bytes()).as_bytes())
}

/// A name.
pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Names.
pub(crate) fn names<'a>(texts: impl IntoIterator<Item = &'a str>) -> BTreeSet<Name> {
    texts.into_iter().map(name).collect()
}

/// Minutes.
pub(crate) fn minutes(number: u64) -> Duration {
    Duration::from_secs(60 * number)
}

/// An instant.
pub(crate) fn time(text: &str) -> Time {
    text.parse().unwrap()
}

/// The agency.
#[derive(Clone)]
pub(crate) struct Scene {
    /// Its log, folded.
    pub(crate) state: State,
    /// Its log.
    pub(crate) log: Vec<Vec<u8>>,
    /// Its clock, which stands still unless a test moves it.
    pub(crate) now: Time,
}

fn rule(environment: &str, change: ChangeType, judged: [u32; 3], after: Vec<Proof>) -> Rule {
    Rule {
        reviews: judged[0],
        assessments: judged[1],
        votes: judged[2],
        delivery: !after.is_empty(),
        after,
        ..Rule::lax(name(environment), change)
    }
}

fn policy() -> PolicyDocument {
    let keys = PEOPLE.iter().map(|(owner, role)| KeyEntry {
        owner: name(owner),
        email: format!("{owner}@example.org"),
        key: key(owner).public(),
        roles: BTreeSet::from([*role]),
        applications: Scope::All,
        environments: Scope::All,
        status: KeyStatus::Active,
    });
    let staging = Proof { environment: name("staging"), hosts: 2 };
    let log = LogKey { origin: "cutover.example.org/log".to_owned(), key: key("log").public() };
    let mut policy = PolicyDocument::bare(log, time("2027-01-01T00:00:00Z"));
    policy.freshness.clearance = Duration::from_secs(30);
    policy.freshness.clock = Clock::CoordinatorBounded;
    policy.keys = keys.collect();
    let mut production = rule("production", ChangeType::Normal, [1, 1, 2], vec![staging]);
    production.freeze_override = Some(Role::Security);
    let by = [Role::ChangeManager, Role::Security];
    production.waivable = vec![Waivable { exception: Exception::Votes, by }];
    policy.rules = vec![
        rule("staging", ChangeType::Normal, [1, 0, 0], Vec::new()),
        production,
        rule("production", ChangeType::Emergency, [0, 0, 0], Vec::new()),
    ];
    policy
}

impl Scene {
    /// With the policy, two staging hosts and three production hosts.
    pub(crate) fn new() -> Self {
        let mut scene =
            Self { state: State::empty(), log: Vec::new(), now: time("2026-03-02T10:00:00Z") };
        scene.say("ruth", policy());
        for host in ["stage-1", "stage-2"] {
            scene.enrol(host, "staging");
        }
        for host in ["web-1", "web-2", "web-3"] {
            scene.enrol(host, "production");
        }
        scene
    }

    /// Adds a statement.
    pub(crate) fn try_add(
        &mut self,
        owner: &str,
        statement: &Statement,
    ) -> Result<Digest, Refusal> {
        let envelope = statement.signed_by([&key(owner)]).to_bytes();
        let id = self.state.apply(self.state.next_index(), &envelope)?;
        self.log.push(envelope);
        Ok(id)
    }

    /// Adds what several have signed, and is good.
    pub(crate) fn add_envelope(&mut self, envelope: &Envelope) -> Digest {
        let envelope = envelope.to_bytes();
        let id = self.state.apply(self.state.next_index(), &envelope).unwrap();
        self.log.push(envelope);
        id
    }

    /// Adds a statement that is good.
    pub(crate) fn add(&mut self, owner: &str, statement: &Statement) -> Digest {
        self.try_add(owner, statement).unwrap()
    }

    /// Says something now.
    pub(crate) fn say(&mut self, owner: &str, says: impl Into<Says>) -> Digest {
        self.add(owner, &Statement::new(self.now, says))
    }

    /// Time goes on.
    pub(crate) fn wait(&mut self, span: Duration) {
        self.now = self.now + span;
    }

    /// Enrols a host for the shop.
    pub(crate) fn enrol(&mut self, host: &str, environment: &str) -> Digest {
        let enrolment = Enrolment {
            host: name(host),
            environment: name(environment),
            labels: BTreeMap::new(),
            applications: names([SHOP]),
            host_key: key(host).public(),
            transport_key: key(&format!("{host} transport")).public(),
            replaces: None,
            grant: None,
        };
        self.say("olga", HostChange::Enrolled(Box::new(enrolment)))
    }

    /// A release as sam would submit it.
    pub(crate) fn release(version: &str, environments: &[&str]) -> Release {
        Release {
            application: name(SHOP),
            version: version.to_owned(),
            package: Digest::of(version.as_bytes()),
            change: ChangeType::Normal,
            environments: names(environments.iter().copied()),
            summary: format!("Shop {version}."),
            apply_budget: minutes(5),
            rollback_reserve: minutes(2),
            irreversible: false,
            requested_start: None,
            forms: BTreeSet::new(),
            iteration: None,
            standard: None,
            supersedes: None,
        }
    }

    /// Submits a release for both environments.
    pub(crate) fn submit(&mut self, version: &str) -> Digest {
        let release = Self::release(version, &["staging", "production"]);
        self.say("sam", release)
    }

    /// Opens an emergency for production, for four hours.
    pub(crate) fn open_emergency(&mut self, incident: &str) -> Digest {
        let opened = Emergency::Opened {
            policy: self.state.policy().unwrap().id(),
            incident: incident.to_owned(),
            application: name(SHOP),
            environments: names(["production"]),
            reason: "The shop is down.".to_owned(),
        };
        let statement = Statement::new(self.now, opened).until(self.now + minutes(4 * 60));
        self.add("max", &statement)
    }

    /// Submits an iteration of an emergency.
    pub(crate) fn iterate(
        &mut self,
        version: &str,
        grounds: Digest,
        number: u32,
        previous: Option<Digest>,
    ) -> Digest {
        let mut release = Self::release(version, &["production"]);
        release.change = ChangeType::Emergency;
        release.iteration = Some(Iteration { grounds, number, previous });
        self.say("sam", release)
    }

    /// max approves an iteration.
    pub(crate) fn approve_iteration(
        &mut self,
        grounds: Digest,
        release: Digest,
        number: u32,
    ) -> Digest {
        self.say("max", Emergency::Approved(IterationApproval { grounds, release, number }))
    }

    /// lia reviews a release.
    pub(crate) fn review(
        &mut self,
        release: Digest,
        environments: &[&str],
        verdict: Verdict,
    ) -> Digest {
        let environments = names(environments.iter().copied());
        self.say("lia", Review { release, environments, verdict })
    }

    /// sergei assesses a release.
    pub(crate) fn assess(&mut self, release: Digest, judgement: Judgement) -> Digest {
        let says = &self.state.case(&release).unwrap().release.says();
        let (package, environments) = (says.package, says.environments.clone());
        self.say("sergei", Assessment { release, package, environments, judgement })
    }

    /// A board member votes on a release.
    pub(crate) fn vote(&mut self, owner: &str, release: Digest, judgement: Judgement) -> Digest {
        let environments = self.state.case(&release).unwrap().release.says().environments.clone();
        self.say(owner, Vote { release, environments, judgement, conditions: Vec::new() })
    }

    /// Reviewed, assessed, voted and delivered.
    pub(crate) fn approve(&mut self, release: Digest) {
        let says = self.state.case(&release).unwrap().release.says();
        let (package, environments) = (says.package, says.environments.clone());
        self.say("lia", Review { release, environments, verdict: Verdict::Complete });
        self.assess(release, yes());
        self.vote("bea", release, yes());
        self.vote("bob", release, yes());
        let location = "the staging area".to_owned();
        self.say("lia", Delivery { release, package, location });
    }

    /// Books waves of hosts for an hour, from ten minutes from now.
    pub(crate) fn book(&mut self, release: Digest, environment: &str, waves: &[&[&str]]) -> Digest {
        let says = self.state.case(&release).unwrap().release.says();
        let start = self.now + minutes(10);
        let host =
            |host: &&str| PlannedHost { host: name(host), host_key: key(host).public().id() };
        let wave = |(number, hosts): (usize, &&[&str])| Wave {
            name: name(&format!("wave-{number}")),
            hosts: hosts.iter().map(host).collect(),
        };
        let booking = Booking {
            release,
            package: says.package,
            application: says.application.clone(),
            environment: name(environment),
            window: Window { start, end: start + minutes(60) },
            derivation: None,
            plan: RolloutPlan {
                waves: waves.iter().enumerate().map(wave).collect(),
                at_once: 1,
                healthy_for: Duration::ZERO,
                halt_after: 1,
                on_halt: OnHalt::Pause,
            },
        };
        self.say("max", booking)
    }

    /// max releases the window of a booking.
    pub(crate) fn arm(&mut self, booking: Digest) -> Digest {
        let (case, it) = self.state.booking(&booking).unwrap();
        let (release, package) = (case.release.id(), it.booking.says().package);
        let checkpoint = TreeHead { size: self.state.next_index(), root: Digest::of(b"root") };
        self.say("max", WindowRelease { booking, release, package, checkpoint })
    }

    /// A host reports of a booking, or of an ordered return, that it began and ended now.
    pub(crate) fn report(&mut self, host: &str, order: Digest, event: Event) -> Digest {
        self.took(host, order, event, Duration::ZERO)
    }

    /// A host begins now, and reports when it has ended.
    pub(crate) fn took(
        &mut self,
        host: &str,
        order: Digest,
        event: Event,
        length: Duration,
    ) -> Digest {
        let started = self.now;
        self.wait(length);
        let host_key = key(host).public().id();
        let installed = self.state.host(&host_key).unwrap().installed.get(&name(SHOP)).cloned();
        let before = installed.as_ref().and_then(|it| it.package);
        let (release, package, back) =
            match (self.state.booking(&order), self.state.rollback(&order)) {
                (Some((case, _)), _) => (case.release.id(), case.release.says().package, before),
                (None, Some(it)) => {
                    let says = it.rollback.says();
                    let case =
                        self.state.cases().rev().find(|it| it.release.says().package == says.from);
                    (case.unwrap().release.id(), says.from, Some(says.to))
                }
                (None, None) => panic!("no order {order}"),
            };
        let outcome = Outcome {
            host: name(host),
            host_key,
            application: name(SHOP),
            generation: installed.map_or(0, |it| it.generation) + 1,
            order,
            release,
            package,
            running: if event == Event::Committed { Some(package) } else { back },
            event,
            started,
            ended: self.now,
            readings: Vec::new(),
            clearances: Vec::new(),
        };
        self.say(host, outcome)
    }

    /// Books, releases, and commits a release on hosts, one after the other, once its window is open.
    pub(crate) fn deploy(&mut self, release: Digest, environment: &str, hosts: &[&str]) -> Digest {
        let booking = self.book(release, environment, &[hosts]);
        self.arm(booking);
        self.wait(minutes(10));
        for host in hosts {
            self.report(host, booking, Event::Committed);
        }
        booking
    }

    /// An ordered return of hosts, signed by max, good for ten minutes.
    pub(crate) fn roll_back(
        &mut self,
        environment: &str,
        hosts: &[&str],
        from: Digest,
        to: Digest,
    ) -> Digest {
        let turn = |host: &&str| {
            let host_key = key(host).public().id();
            let installed = &self.state.host(&host_key).unwrap().installed[&name(SHOP)];
            let generation = installed.generation;
            cutover_shared::statement::HostTurn { host: name(host), host_key, generation }
        };
        let rollback = Rollback {
            application: name(SHOP),
            environment: name(environment),
            hosts: hosts.iter().map(turn).collect(),
            from,
            to,
            reason: "It is slow.".to_owned(),
        };
        let statement = Statement::new(self.now, rollback).until(self.now + minutes(10));
        self.add("max", &statement)
    }
}

/// A yes.
pub(crate) fn yes() -> Judgement {
    Judgement::Accepted { reason: "Good.".to_owned() }
}

/// A no.
pub(crate) fn no(reason: &str) -> Judgement {
    Judgement::Denied { reason: reason.to_owned() }
}

/// A host went back.
pub(crate) fn returned() -> Event {
    Event::Returned { step: "checking".to_owned(), reason: "front-page answered 500".to_owned() }
}
