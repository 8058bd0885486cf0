//! A long and likely history: hosts are enrolled, releases go their whole way to staging and production,
//! wave by wave, with what now and then comes between. Made as it is read, so that it takes no room.
//!
//! Its signatures are of the right length and nobody's: it is for folds of what was verified before.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cutover_shared::digest::Digest;
use cutover_shared::dsse::pae;
use cutover_shared::key::{KeyId, PublicKey};
use cutover_shared::log::TreeHead;
use cutover_shared::name::Name;
use cutover_shared::statement::{
    Assessment, Booking, Cancel, ChangeType, Delivery, Enrolment, Event, Freeze, Hold, HostChange,
    Judgement, OnHalt, Outcome, PAYLOAD_TYPE, PlannedHost, Reading, Release, Resume, Review,
    RolloutPlan, Says, Statement, Verdict, Vote, Wave, WindowRelease,
};
use cutover_shared::time::Time;
use cutover_shared::window::Window;

use crate::world::{document, key, name, names};

/// Hosts of staging, and of production.
const STAGING: usize = 200;
const PRODUCTION: usize = 1800;
/// Hosts of one booking in staging, and in production.
const ON_STAGING: usize = 2;
const ON_PRODUCTION: usize = 10;

/// How long after the one before each release is submitted.
const PACE: Duration = Duration::from_mins(12);

/// The first instant.
pub(crate) fn beginning() -> Time {
    "2021-01-04T08:00:00Z".parse().expect("an instant")
}

struct Host {
    name: Name,
    key: KeyId,
    generations: u64,
}

/// What comes next in the log.
pub(crate) struct History {
    ready: VecDeque<Vec<u8>>,
    people: BTreeMap<&'static str, KeyId>,
    staging: Vec<Host>,
    production: Vec<Host>,
    releases: usize,
    now: Time,
    made: u64,
    clearance: String,
}

impl History {
    pub(crate) fn new() -> Self {
        let now = beginning();
        let mut document = document(1);
        document.expires = now + Duration::from_hours(24 * 365 * 20);
        let policy = Statement::new(now, document).signed_by([&key("root")]).to_bytes();
        let people = ["sue", "lib", "sec", "bea", "bob", "max", "ops"];
        let mut history = Self {
            ready: VecDeque::from([policy]),
            people: people.into_iter().map(|who| (who, key(who).public().id())).collect(),
            staging: Vec::new(),
            production: Vec::new(),
            releases: 0,
            now,
            made: 1,
            clearance: "c".repeat(1200),
        };
        history.staging = history.enrol("staging", STAGING);
        history.production = history.enrol("production", PRODUCTION);
        history
    }

    /// The next entry of the log.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return entry;
            }
            self.release();
        }
    }

    fn enrol(&mut self, environment: &str, count: usize) -> Vec<Host> {
        let keys = |number: usize| -> (PublicKey, PublicKey) {
            let host = key(&format!("{environment}-{number}")).public();
            (host, key(&format!("{environment}-{number}-transport")).public())
        };
        let mut hosts = Vec::new();
        for number in 0..count {
            let (host_key, transport_key) = keys(number);
            let host = Host {
                name: name(&format!("{environment}-{number}")),
                key: host_key.id(),
                generations: 0,
            };
            let enrolment = Enrolment {
                host: host.name.clone(),
                environment: name(environment),
                labels: BTreeMap::from([(name("rack"), format!("r{}", number % 40))]),
                applications: (0..8).map(application).collect(),
                host_key,
                transport_key,
                replaces: None,
                grant: None,
            };
            self.say("ops", HostChange::Enrolled(Box::new(enrolment)));
            hosts.push(host);
        }
        hosts
    }

    fn say(&mut self, who: &str, says: impl Into<Says>) -> Digest {
        let by = self.people[who];
        self.state(by, says)
    }

    fn state(&mut self, by: KeyId, says: impl Into<Says>) -> Digest {
        let mut statement = Statement::new(self.now, says);
        statement.header.by = Some(by);
        let payload = statement.to_payload();
        let id = Digest::of(&pae(PAYLOAD_TYPE, &payload));
        let envelope = format!(
            r#"{{"payload":"{}","payloadType":"{PAYLOAD_TYPE}","signatures":[{{"keyid":"{by}","sig":"{}"}}]}}"#,
            BASE64_STANDARD.encode(payload),
            BASE64_STANDARD.encode([7; 64])
        );
        self.ready.push_back(envelope.into_bytes());
        self.made += 1;
        id
    }

    /// One release from its submission to its last host, and now and then what comes between.
    fn release(&mut self) {
        let number = self.releases;
        self.releases += 1;
        self.now = self.now + PACE;
        let package = Digest::of(&number.to_be_bytes());
        let both = names(&["staging", "production"]);
        let release = self.say(
            "sue",
            Release {
                application: application(number),
                version: format!("{}.{}", number / 8, number % 8),
                package,
                change: ChangeType::Normal,
                environments: both.clone(),
                summary: "what it changes for those who use it, in a line".to_owned(),
                apply_budget: Duration::from_mins(10),
                rollback_reserve: Duration::from_mins(5),
                irreversible: false,
                requested_start: None,
                forms: std::collections::BTreeSet::new(),
                iteration: None,
                standard: None,
                supersedes: None,
            },
        );
        let reviewed = Review { release, environments: both, verdict: Verdict::Complete };
        self.say("lib", reviewed);
        let production = names(&["production"]);
        self.say(
            "sec",
            Assessment {
                release,
                package,
                environments: production.clone(),
                judgement: accepted(),
            },
        );
        for member in ["bea", "bob"] {
            let environments = production.clone();
            self.say(
                member,
                Vote { release, environments, judgement: accepted(), conditions: Vec::new() },
            );
        }
        self.say("lib", Delivery { release, package, location: "shelf 7, left".to_owned() });
        self.deploy((release, package), number, "staging");
        if number % 20 == 19 {
            let hold = self.say(
                "sec",
                Hold { release, reason: "an advisory is looked at".to_owned(), finish: false },
            );
            self.say("sec", Resume { hold, reason: "it does not concern us".to_owned() });
        }
        if number % 50 == 49 {
            let reason = "no longer wanted".to_owned();
            self.say("max", Cancel { release, booking: None, reason });
            return;
        }
        if number % 500 == 499 {
            self.freeze();
        }
        self.deploy((release, package), number, "production");
    }

    fn freeze(&mut self) {
        let policy = Digest::of(b"policy");
        let freeze = self.say(
            "max",
            Freeze::Declared {
                policy,
                environments: names(&["production"]),
                applications: names(&["app-7"]),
                start: self.now + Duration::from_hours(24),
                end: self.now + Duration::from_hours(48),
                reason: "the month is closed".to_owned(),
            },
        );
        self.say("max", Freeze::Lifted { freeze, reason: "done".to_owned() });
    }

    fn deploy(&mut self, (release, package): (Digest, Digest), number: usize, environment: &str) {
        let staging = environment == "staging";
        let (hosts, count) =
            if staging { (&self.staging, ON_STAGING) } else { (&self.production, ON_PRODUCTION) };
        let places: Vec<_> =
            (0..count).map(|place| (number * count + place) % hosts.len()).collect();
        let planned: Vec<_> = places
            .iter()
            .map(|place| PlannedHost {
                host: hosts[*place].name.clone(),
                host_key: hosts[*place].key,
            })
            .collect();
        let mut waves = vec![Wave { name: name("canary"), hosts: planned[..1].to_vec() }];
        let rest = &planned[1..];
        for (number, hosts) in rest.chunks(rest.len().div_ceil(2)).enumerate() {
            waves.push(Wave { name: name(&format!("wave-{number}")), hosts: hosts.to_vec() });
        }
        let window = Window { start: self.now, end: self.now + Duration::from_hours(2) };
        let booking = self.say(
            "max",
            Booking {
                release,
                package,
                application: application(number),
                environment: name(environment),
                window,
                derivation: None,
                plan: RolloutPlan {
                    waves,
                    at_once: 3,
                    healthy_for: Duration::from_mins(1),
                    halt_after: 2,
                    on_halt: OnHalt::Pause,
                },
            },
        );
        let checkpoint = TreeHead { size: self.made, root: Digest::of(&self.made.to_be_bytes()) };
        self.say("max", WindowRelease { booking, release, package, checkpoint });
        for place in places {
            self.report(place, staging, (release, package, booking), number);
        }
    }

    fn report(
        &mut self,
        place: usize,
        staging: bool,
        (release, package, order): (Digest, Digest, Digest),
        number: usize,
    ) {
        let hosts = if staging { &mut self.staging } else { &mut self.production };
        let host = &mut hosts[place];
        host.generations += 1;
        let failed = number % 40 == 39 && !staging;
        let event = if failed {
            Event::Returned {
                step: "checking".to_owned(),
                reason: "page: 500 where 200 was due".to_owned(),
            }
        } else {
            Event::Committed
        };
        let reading = |check: &str| Reading {
            check: check.to_owned(),
            time: self.now,
            healthy: true,
            detail: "answered in 12 ms".to_owned(),
        };
        let outcome = Outcome {
            host: host.name.clone(),
            host_key: host.key,
            application: application(number),
            generation: host.generations,
            order,
            release,
            package,
            event,
            running: (!failed).then_some(package),
            started: self.now,
            ended: self.now + Duration::from_mins(4),
            readings: ["page", "port", "process"].map(reading).to_vec(),
            clearances: vec![self.clearance.clone(), self.clearance.clone()],
        };
        let by = host.key;
        self.state(by, outcome);
    }
}

fn application(number: usize) -> Name {
    name(&format!("app-{}", number % 8))
}

fn accepted() -> Judgement {
    Judgement::Accepted { reason: String::new() }
}
