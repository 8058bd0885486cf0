//! A small world: six people, four hosts, a log. Statements are really signed, the log is a real tree.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cutover_shared::authorise::{
    self, ClearanceFacts, Clearances, HostFacts, InstalledFacts, Order, Question,
};
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::evidence::{self, Evidence, Opened, ProvenEntry, Trust};
use cutover_shared::fold::State;
use cutover_shared::key::SecretKey;
use cutover_shared::log::{Tree, TreeHead, checkpoint, leaf_hash};
use cutover_shared::name::Name;
use cutover_shared::policy::{
    Clock, KeyEntry, KeyStatus, LogKey, PolicyDocument, Proof, Role, Rule, Scope, TrustPolicy,
};
use cutover_shared::refusal::Refusal;
use cutover_shared::statement::{
    Assessment, Booking, ChangeType, Clearance, Delivery, Emergency, Enrolment, Event, HostChange,
    IterationApproval, Judgement, OnHalt, Outcome, Phase, PlannedHost, Release, Review,
    RolloutPlan, Says, Statement, Verdict, Vote, Wave, WindowRelease,
};
use cutover_shared::time::Time;
use cutover_shared::window::Window;
use cutover_shared::witness::Witness;

pub(crate) const ORIGIN: &str = "cutover.test/log";

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn names(texts: &[&str]) -> BTreeSet<Name> {
    texts.iter().map(|text| name(text)).collect()
}

pub(crate) fn at(seconds: u64) -> Time {
    "2026-03-02T12:00:00Z".parse::<Time>().unwrap() + Duration::from_secs(seconds)
}

/// A key made from a name, so that every run has the same ones.
pub(crate) fn key(owner: &str) -> SecretKey {
    SecretKey::from_seed(*Digest::of(owner.as_bytes()).as_bytes())
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) entries: Vec<Vec<u8>>,
    pub(crate) tree: Tree,
    pub(crate) state: State,
    pub(crate) policy: Vec<u8>,
    pub(crate) now: Time,
}

pub(crate) const PEOPLE: [(&str, &[Role]); 8] = [
    ("root", &[Role::Root]),
    ("sue", &[Role::Submitter, Role::Board]),
    ("lib", &[Role::Librarian]),
    ("sec", &[Role::Security]),
    ("bea", &[Role::Board]),
    ("bob", &[Role::Board]),
    ("max", &[Role::ChangeManager]),
    ("ops", &[Role::Operator]),
];

pub(crate) fn document(version: u64) -> PolicyDocument {
    let keys = PEOPLE.iter().map(|(owner, roles)| KeyEntry {
        owner: name(owner),
        email: format!("{owner}@example.org"),
        key: key(owner).public(),
        roles: roles.iter().copied().collect(),
        applications: Scope::All,
        environments: Scope::All,
        status: KeyStatus::Active,
    });
    let rule = |environment: &str, change, strict: bool| Rule {
        reviews: u32::from(change == ChangeType::Normal),
        assessments: u32::from(strict),
        votes: if strict { 2 } else { 0 },
        delivery: strict,
        after: if strict {
            vec![Proof { environment: name("staging"), hosts: 1 }]
        } else {
            Vec::new()
        },
        ..Rule::lax(name(environment), change)
    };
    let log = LogKey { origin: ORIGIN.to_owned(), key: key("log").public() };
    let mut document = PolicyDocument::bare(log, at(365 * 86400));
    document.version = version;
    document.freshness.clock = Clock::CoordinatorBounded;
    document.keys = keys.collect();
    document.rules = vec![
        rule("staging", ChangeType::Normal, false),
        rule("production", ChangeType::Normal, true),
        rule("production", ChangeType::Emergency, false),
    ];
    document
}

const ENVIRONMENTS: [&str; 2] = ["staging", "production"];

/// The identities of a release that went its whole way.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) release: Digest,
    pub(crate) package: Digest,
    pub(crate) booking: Digest,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_policy(document(1))
    }

    pub(crate) fn with_policy(document: PolicyDocument) -> Self {
        let policy = Statement::new(at(0), document).signed_by([&key("root")]).to_bytes();
        let mut world = Self {
            entries: Vec::new(),
            tree: Tree::default(),
            state: State::empty(),
            policy: policy.clone(),
            now: at(0),
        };
        world.append_bytes(policy).unwrap();
        for (host, environment) in
            [("s1", "staging"), ("p1", "production"), ("p2", "production"), ("p3", "production")]
        {
            world.say(&["ops"], enrolment(host, environment)).unwrap();
        }
        world
    }

    /// The first `size` entries of another world, said again.
    pub(crate) fn replay(other: &Self, size: u64) -> Self {
        let mut world = Self {
            entries: Vec::new(),
            tree: Tree::default(),
            state: State::empty(),
            policy: other.policy.clone(),
            now: at(0),
        };
        for entry in other.entries.iter().take(usize::try_from(size).unwrap()) {
            let _ = world.append_bytes(entry.clone());
        }
        world
    }

    pub(crate) fn append_bytes(&mut self, bytes: Vec<u8>) -> Result<Digest, Refusal> {
        let index = self.entries.len() as u64;
        self.tree.append(leaf_hash(&bytes));
        let result = self.state.apply(index, &bytes);
        self.entries.push(bytes);
        result
    }

    pub(crate) fn say(
        &mut self,
        owners: &[&str],
        says: impl Into<Says>,
    ) -> Result<Digest, Refusal> {
        self.state(owners, &Statement::new(self.now, says))
    }

    pub(crate) fn state(
        &mut self,
        owners: &[&str],
        statement: &Statement,
    ) -> Result<Digest, Refusal> {
        let keys: Vec<_> = owners.iter().map(|owner| key(owner)).collect();
        self.append_bytes(statement.signed_by(&keys).to_bytes())
    }

    pub(crate) fn planned(host: &str) -> PlannedHost {
        PlannedHost { host: name(host), host_key: key(host).public().id() }
    }

    pub(crate) fn submit(&mut self, version: &str) -> (Digest, Digest) {
        let package = Digest::of(version.as_bytes());
        let release = self.say(&["sue"], release(version, package)).unwrap();
        (release, package)
    }

    pub(crate) fn approve(&mut self, release: Digest, package: Digest) {
        self.approve_without(release, package, "");
    }

    /// Everything that people judge, but for one of them.
    pub(crate) fn approve_without(&mut self, release: Digest, package: Digest, left_out: &str) {
        let environments = if left_out == "review" { vec!["staging"] } else { ENVIRONMENTS.into() };
        let environments = names(&environments);
        let accepted = || Judgement::Accepted { reason: String::new() };
        self.say(&["lib"], Review { release, environments, verdict: Verdict::Complete }).unwrap();
        let environments = || names(&["production"]);
        if left_out != "assessment" {
            let judgement = accepted();
            let environments = environments();
            self.say(&["sec"], Assessment { release, package, environments, judgement }).unwrap();
        }
        for owner in ["bea", "bob"] {
            if left_out != "votes" && (owner == "bea" || left_out != "vote") {
                let vote = Vote {
                    release,
                    environments: environments(),
                    judgement: accepted(),
                    conditions: Vec::new(),
                };
                self.say(&[owner], vote).unwrap();
            }
        }
        if left_out != "delivery" {
            let location = "shelf 1".to_owned();
            self.say(&["lib"], Delivery { release, package, location }).unwrap();
        }
    }

    pub(crate) fn approve_iteration(&mut self, grounds: Digest, release: Digest, number: u32) {
        let approval = IterationApproval { grounds, release, number };
        self.say(&["max"], Emergency::Approved(approval)).unwrap();
    }

    pub(crate) fn retire(&mut self, host: &str) -> Result<Digest, Refusal> {
        let host_key = key(host).public().id();
        let reason = "old".to_owned();
        self.say(&["ops"], HostChange::Retired { host: name(host), host_key, reason })
    }

    pub(crate) fn book(
        &mut self,
        (release, package): (Digest, Digest),
        environment: &str,
        waves: &[&[&str]],
    ) -> Digest {
        let window = Window { start: at(1000), end: at(2000) };
        self.say(&["max"], booking((release, package), environment, waves, window)).unwrap()
    }

    pub(crate) fn release_window(&mut self, way: Way) -> Digest {
        let checkpoint = self.tree.head();
        let Way { release, package, booking } = way;
        self.say(&["max"], WindowRelease { booking, release, package, checkpoint }).unwrap()
    }

    pub(crate) fn outcome(&mut self, host: &str, way: Way, event: Event) -> Digest {
        self.say(&[host], outcome(host, way, event, self.now)).unwrap()
    }

    /// A release that may act on production in its window: everything said, staging proven.
    pub(crate) fn whole_way(&mut self, version: &str) -> Way {
        let (release, package) = self.submit(version);
        self.approve(release, package);
        let staging = self.book((release, package), "staging", &[&["s1"]]);
        let on_staging = Way { release, package, booking: staging };
        self.release_window(on_staging);
        self.outcome("s1", on_staging, Event::Committed);
        let booking = self.book((release, package), "production", &[&["p1"], &["p2", "p3"]]);
        let way = Way { release, package, booking };
        self.release_window(way);
        self.now = at(1000);
        way
    }

    pub(crate) fn facts(&self, host: &str) -> HostFacts {
        let record = self.state.host_named(&name(host)).unwrap();
        let mut facts = HostFacts::from_log(record, &name("web"));
        facts.installed = InstalledFacts::default();
        facts
    }

    pub(crate) fn trust(&self) -> Trust {
        let envelope = Envelope::parse(&self.policy).unwrap();
        Trust {
            policy: TrustPolicy::pinned(&envelope, &envelope.id()).unwrap(),
            policy_envelope: self.policy.clone(),
            head: TreeHead::empty(),
        }
    }

    pub(crate) fn note(&self) -> Vec<u8> {
        checkpoint::sign(ORIGIN, &self.tree.head(), self.now, &key("log"))
    }

    /// What the honest coordinator sends.
    pub(crate) fn evidence(&self, order: Digest, host: &str, known: u64) -> Evidence {
        let host_key = key(host).public().id();
        let indexes = evidence::select(&self.state, &order, &host_key, 1);
        self.evidence_of(order, indexes, known)
    }

    pub(crate) fn evidence_of(
        &self,
        order: Digest,
        indexes: impl IntoIterator<Item = u64>,
        known: u64,
    ) -> Evidence {
        let size = self.tree.size();
        let released = self.state.booking(&order).and_then(|(_, it)| it.released.as_ref());
        let named = released.map_or(0, |it| it.says().checkpoint.size);
        Evidence {
            checkpoint: self.note(),
            consistency: self.tree.consistency(known, size).unwrap(),
            release_consistency: self.tree.consistency(named, size).unwrap(),
            entries: indexes
                .into_iter()
                .map(|index| ProvenEntry {
                    index,
                    envelope: self.entries[usize::try_from(index).unwrap()].clone(),
                    proof: self.tree.inclusion(index, size).unwrap(),
                })
                .collect(),
        }
    }

    pub(crate) fn clearance(&self, host: &str, order: Digest, nonce: Digest) -> Statement {
        let policy = self.state.policy().unwrap();
        let clearance = Clearance {
            host: name(host),
            host_key: key(host).public().id(),
            nonce,
            order,
            phase: Phase::Start,
            checkpoint: self.tree.head(),
            policy_version: policy.document().version,
            policy: policy.id(),
            time: self.now,
        };
        Statement::new(self.now, clearance).until(self.now + Duration::from_mins(1))
    }

    /// A witness of somebody's that has followed the log up to here.
    pub(crate) fn witness(&self, owner: &str) -> Witness {
        let genesis = Envelope::parse(&self.policy).unwrap().id();
        let name = format!("{owner}.witness.test");
        let mut witness = Witness::new(name, key(owner), genesis, at(0));
        witness.follow(&self.note(), &self.entries).unwrap();
        witness
    }

    /// Lets a witness follow what was logged since it last did.
    pub(crate) fn follow(&self, witness: &mut Witness) -> Result<(), Refusal> {
        let known = usize::try_from(witness.head().size).unwrap();
        witness.follow(&self.note(), &self.entries[known..])
    }

    /// Asks as the host asks, on what the honest coordinator would send.
    pub(crate) fn ask(&self, host: &str, order: Digest) -> Result<Order, Refusal> {
        let evidence = self.evidence(order, host, 0);
        let opened = evidence::open(&evidence, &order, &self.trust())?;
        self.ask_on(&opened, &self.facts(host), order)
    }

    pub(crate) fn ask_on(
        &self,
        opened: &Opened,
        host: &HostFacts,
        order: Digest,
    ) -> Result<Order, Refusal> {
        let nonce = Digest::of(b"nonce");
        let clearance = self.clearance(host.host.as_str(), order, nonce);
        let clearance = clearance.signed_by([&key("log")]).to_bytes();
        let question =
            Question { state: opened.state(), host, order, phase: Phase::Start, now: self.now };
        let head = opened.checkpoint().head.clone();
        let facts = ClearanceFacts { nonce, round_trip: Duration::from_millis(5), head };
        let clearances = Clearances { coordinator: &clearance, witnesses: &[] };
        authorise::authorise(&question, &clearances, &facts)
    }
}

pub(crate) fn enrolment(host: &str, environment: &str) -> HostChange {
    HostChange::Enrolled(Box::new(Enrolment {
        host: name(host),
        environment: name(environment),
        labels: BTreeMap::new(),
        applications: names(&["web"]),
        host_key: key(host).public(),
        transport_key: key(&format!("{host}-transport")).public(),
        replaces: None,
        grant: None,
    }))
}

pub(crate) fn release(version: &str, package: Digest) -> Release {
    Release {
        application: name("web"),
        version: version.to_owned(),
        package,
        change: ChangeType::Normal,
        environments: names(&["staging", "production"]),
        summary: "a change".to_owned(),
        apply_budget: Duration::from_secs(100),
        rollback_reserve: Duration::from_secs(50),
        irreversible: false,
        requested_start: None,
        forms: BTreeSet::new(),
        iteration: None,
        standard: None,
        supersedes: None,
    }
}

pub(crate) fn booking(
    (release, package): (Digest, Digest),
    environment: &str,
    waves: &[&[&str]],
    window: Window,
) -> Booking {
    let waves = waves.iter().enumerate().map(|(number, hosts)| Wave {
        name: name(&format!("wave-{number}")),
        hosts: hosts.iter().map(|host| World::planned(host)).collect(),
    });
    Booking {
        release,
        package,
        application: name("web"),
        environment: name(environment),
        window,
        derivation: None,
        plan: RolloutPlan {
            waves: waves.collect(),
            at_once: 1,
            healthy_for: Duration::ZERO,
            halt_after: 1,
            on_halt: OnHalt::Pause,
        },
    }
}

pub(crate) fn outcome(host: &str, way: Way, event: Event, now: Time) -> Outcome {
    let running = matches!(event, Event::Committed).then_some(way.package);
    Outcome {
        host: name(host),
        host_key: key(host).public().id(),
        application: name("web"),
        generation: 1,
        order: way.booking,
        release: way.release,
        package: way.package,
        event,
        running,
        started: now,
        ended: now,
        readings: Vec::new(),
        clearances: Vec::new(),
    }
}
