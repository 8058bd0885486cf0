//! Whatever happened: the part of the log that an order's evidence holds says of the order what the whole
//! log says, and a fold that goes on from anywhere is the fold from scratch.
//!
//! The histories are drawn, the senseless ones too: what is refused stays in the log, without effect, as
//! it does for whoever folds a log that others wrote to.

mod around;

use std::collections::BTreeSet;
use std::time::Duration;

use cutover_shared::authorise::{self, HostFacts, InstalledFacts, Question};
use cutover_shared::digest::Digest;
use cutover_shared::evidence;
use cutover_shared::fold::{State, Vouched, snapshot};
use cutover_shared::refusal::Code;
use cutover_shared::statement::{
    Assessment, Cancel, ChangeType, Delivery, Emergency, Event, Freeze, Hold, HostChange, HostTurn,
    Iteration, IterationApproval, Judgement, Phase, Remark, Resume, Review, Rollback, Statement,
    Verdict, Vote, WindowRelease,
};
use cutover_shared::time::Time;
use cutover_shared::window::Window;
use proptest::prelude::*;

use crate::world::{
    ORIGIN, Way, World, at, booking, enrolment, key, name, names, outcome, release,
};
use around::{Around, document};

/// What may happen next. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Happening {
    WholeWay,
    Submit { package: u8, supersedes: Option<u8> },
    Iterate { package: u8, grounds: u8, previous: Option<u8> },
    Review { release: u8, verdict: u8, by: u8 },
    Assess { release: u8, accept: bool },
    Vote { release: u8, by: u8, accept: bool },
    Deliver { release: u8 },
    Book { release: u8, environment: u8, waves: u8, early: bool },
    ReleaseWindow { booking: u8 },
    Outcome { host: u8, order: u8, event: u8 },
    Hold { release: u8, by: u8 },
    Resume { hold: u8, by: u8 },
    Cancel { release: u8, booking: Option<u8> },
    Freeze { application: bool, production: bool, start: u8 },
    Lift { freeze: u8 },
    OpenEmergency,
    ApproveIteration { release: u8, by: u8 },
    Rollback { from: u8, to: u8, host: u8 },
    Retire { host: u8 },
    Replace { host: u8 },
    Policy,
    Around(Around),
    Again { entry: u8 },
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening as H;
    let some = || proptest::option::weighted(0.4, any::<u8>());
    prop_oneof![
        2 => Just(H::WholeWay),
        4 => (0..3_u8, some()).prop_map(|(package, supersedes)| H::Submit { package, supersedes }),
        4 => (0..3_u8, any::<u8>(), some())
            .prop_map(|(package, grounds, previous)| H::Iterate { package, grounds, previous }),
        4 => (any::<u8>(), 0..6_u8, any::<u8>())
            .prop_map(|(release, verdict, by)| H::Review { release, verdict, by }),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(release, accept)| H::Assess { release, accept }),
        3 => (any::<u8>(), any::<u8>(), proptest::bool::weighted(0.9))
            .prop_map(|(release, by, accept)| H::Vote { release, by, accept }),
        1 => any::<u8>().prop_map(|release| H::Deliver { release }),
        5 => (any::<u8>(), any::<u8>(), any::<u8>(), any::<bool>())
            .prop_map(|(release, environment, waves, early)| H::Book { release, environment, waves, early }),
        5 => any::<u8>().prop_map(|booking| H::ReleaseWindow { booking }),
        8 => (any::<u8>(), any::<u8>(), any::<u8>())
            .prop_map(|(host, order, event)| H::Outcome { host, order, event }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(release, by)| H::Hold { release, by }),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(hold, by)| H::Resume { hold, by }),
        1 => (any::<u8>(), some()).prop_map(|(release, booking)| H::Cancel { release, booking }),
        1 => (any::<bool>(), any::<bool>(), any::<u8>())
            .prop_map(|(application, production, start)| H::Freeze { application, production, start }),
        1 => any::<u8>().prop_map(|freeze| H::Lift { freeze }),
        2 => Just(H::OpenEmergency),
        4 => (any::<u8>(), any::<u8>())
            .prop_map(|(release, by)| H::ApproveIteration { release, by }),
        3 => (0..3_u8, 0..3_u8, any::<u8>())
            .prop_map(|(from, to, host)| H::Rollback { from, to, host }),
        1 => any::<u8>().prop_map(|host| H::Retire { host }),
        1 => any::<u8>().prop_map(|host| H::Replace { host }),
        1 => Just(H::Policy),
        8 => around::around().prop_map(H::Around),
        2 => any::<u8>().prop_map(|entry| H::Again { entry }),
    ]
}

const HOSTS: [&str; 4] = ["s1", "p1", "p2", "p3"];

fn package(number: u8) -> Digest {
    Digest::of(&[number % 3])
}

/// A world, and what can be chosen in it. Chosen is also what was refused.
struct Tale {
    world: World,
    releases: Vec<(Digest, Digest)>,
    bookings: Vec<Way>,
    rollbacks: Vec<Way>,
    holds: Vec<Digest>,
    freezes: Vec<Digest>,
    emergencies: Vec<Digest>,
    /// Those with conditions.
    votes: Vec<Digest>,
    /// The key of each host now: a host that was set up anew has another.
    keys: Vec<String>,
    policies: u64,
    generation: u64,
}

fn pick<T: Clone>(from: &[T], number: u8) -> Option<T> {
    from.get(usize::from(number) % from.len().max(1)).cloned()
}

impl Tale {
    fn new() -> Self {
        Self {
            world: World::with_policy(document(1)),
            releases: Vec::new(),
            bookings: Vec::new(),
            rollbacks: Vec::new(),
            holds: Vec::new(),
            freezes: Vec::new(),
            emergencies: Vec::new(),
            votes: Vec::new(),
            keys: HOSTS.iter().map(|host| (*host).to_owned()).collect(),
            policies: 1,
            generation: 0,
        }
    }

    fn told(happenings: &[Happening]) -> Self {
        let mut tale = Self::new();
        for it in happenings {
            // What there is nothing to choose for does not happen.
            let _ = tale.happens(it);
        }
        tale
    }

    fn say(&mut self, by: &str, says: impl Into<cutover_shared::statement::Says>) -> Digest {
        let statement = Statement::new(self.world.now, says);
        self.state(by, &statement)
    }

    fn state(&mut self, by: &str, statement: &Statement) -> Digest {
        // Each is said a second later, so that no two are the same by chance.
        self.world.now = self.world.now + Duration::from_secs(1);
        let envelope = statement.signed_by([&key(by)]);
        let _ = self.world.append_bytes(envelope.to_bytes());
        envelope.id()
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each thing that can happen")]
    fn happens(&mut self, happening: &Happening) -> Option<()> {
        let accepted = Judgement::Accepted { reason: String::new() };
        let denied = Judgement::Denied { reason: "no".to_owned() };
        match happening.clone() {
            Happening::WholeWay => self.whole_way(),
            Happening::Submit { package: number, supersedes } => {
                let mut says = release("1", package(number));
                says.supersedes = supersedes.and_then(|it| pick(&self.releases, it)).map(|it| it.0);
                self.submit(says);
            }
            Happening::Iterate { package: number, grounds, previous } => {
                self.iterate(package(number), pick(&self.emergencies, grounds)?, previous);
            }
            Happening::Review { release, verdict, by } => {
                let (release, _) = pick(&self.releases, release)?;
                let reason = "no".to_owned();
                let verdict = match verdict {
                    0 => Verdict::Denied { reason },
                    1 => Verdict::Returned {
                        items: vec![Remark { item: "a".to_owned(), remark: reason }],
                    },
                    _ => Verdict::Complete,
                };
                let environments = names(&["staging", "production"]);
                let by = pick(&["lib", "lib", "lib", "max"], by)?;
                self.say(by, Review { release, environments, verdict });
            }
            Happening::Assess { release, accept } => {
                let (release, package) = pick(&self.releases, release)?;
                let environments = names(&["production"]);
                let judgement = if accept { accepted } else { denied };
                self.say("sec", Assessment { release, package, environments, judgement });
            }
            Happening::Vote { release, by, accept } => {
                let (release, _) = pick(&self.releases, release)?;
                let environments = names(&["production"]);
                let judgement = if accept { accepted } else { denied };
                let by = pick(&["bea", "bob", "sue"], by)?;
                self.say(by, Vote { release, environments, judgement, conditions: Vec::new() });
            }
            Happening::Deliver { release } => {
                let (release, package) = pick(&self.releases, release)?;
                self.say("lib", Delivery { release, package, location: "shelf".to_owned() });
            }
            Happening::Book { release, environment, waves, early } => {
                self.book(pick(&self.releases, release)?, environment, waves, early);
            }
            Happening::ReleaseWindow { booking } => {
                self.release_window(pick(&self.bookings, booking)?);
            }
            Happening::Outcome { host, order, event } => self.report(host, order, event)?,
            Happening::Hold { release, by } => {
                let (release, _) = pick(&self.releases, release)?;
                let says = Hold { release, reason: "wait".to_owned(), finish: false };
                let hold = self.say(pick(&["max", "sec"], by)?, says);
                self.holds.push(hold);
            }
            Happening::Resume { hold, by } => {
                let hold = pick(&self.holds, hold)?;
                self.say(pick(&["max", "sec"], by)?, Resume { hold, reason: "go".to_owned() });
            }
            Happening::Cancel { release, booking } => {
                let booking = booking.and_then(|it| pick(&self.bookings, it));
                let release = match booking {
                    Some(way) => way.release,
                    None => pick(&self.releases, release)?.0,
                };
                let booking = booking.map(|way| way.booking);
                self.say("max", Cancel { release, booking, reason: "no more".to_owned() });
            }
            Happening::Freeze { application, production, start } => {
                let start = at(u64::from(start) * 10);
                let freeze = Freeze::Declared {
                    policy: Digest::of(b"policy"),
                    environments: names(&[if production { "production" } else { "staging" }]),
                    applications: if application { names(&["web"]) } else { BTreeSet::new() },
                    start,
                    end: start + Duration::from_secs(400),
                    reason: "quiet".to_owned(),
                };
                let freeze = self.say("max", freeze);
                self.freezes.push(freeze);
            }
            Happening::Lift { freeze } => {
                let freeze = pick(&self.freezes, freeze)?;
                self.say("max", Freeze::Lifted { freeze, reason: "over".to_owned() });
            }
            Happening::OpenEmergency => {
                let opened = Emergency::Opened {
                    policy: Digest::of(b"policy"),
                    incident: "INC-1".to_owned(),
                    application: name("web"),
                    environments: names(&["production"]),
                    reason: "it burns".to_owned(),
                };
                let opened = Statement::new(self.world.now, opened).until(at(5000));
                let opened = self.state("max", &opened);
                self.emergencies.push(opened);
            }
            Happening::ApproveIteration { release, by } => {
                let (release, _) = pick(&self.releases, release)?;
                let case = self.world.state.case(&release)?;
                let iteration = case.release.says().iteration.clone()?;
                let Iteration { grounds, number, .. } = iteration;
                let approval = IterationApproval { grounds, release, number };
                self.say(pick(&["max", "max", "sue"], by)?, Emergency::Approved(approval));
            }
            Happening::Rollback { from, to, host } => {
                self.roll_back(package(from), package(to), host)?;
            }
            Happening::Retire { host } => {
                let (host, host_key) = (pick(&HOSTS, host)?, pick(&self.keys, host)?);
                let host_key = key(&host_key).public().id();
                let reason = "old".to_owned();
                self.say("ops", HostChange::Retired { host: name(host), host_key, reason });
            }
            Happening::Replace { host } => self.replace(host)?,
            Happening::Policy => {
                self.policies += 1;
                self.say("root", document(self.policies));
            }
            Happening::Around(around) => self.around(&around)?,
            Happening::Again { entry } => {
                let entry = pick(&self.world.entries, entry)?;
                let _ = self.world.append_bytes(entry);
            }
        }
        Some(())
    }

    fn whole_way(&mut self) {
        let number = u8::try_from(self.releases.len() % 3).unwrap();
        let mut ways = Vec::new();
        self.submit(release("1", package(number)));
        let (release, package) = *self.releases.last().unwrap();
        self.world.approve(release, package);
        self.answer(release, "networks", true, "ops");
        self.rehearse((release, package), true, "bob");
        for (environment, hosts) in [(0, 0), (1, 1)] {
            self.book((release, package), environment, hosts, false);
            let way = *self.bookings.last().unwrap();
            self.release_window(way);
            ways.push(way);
        }
        let _ = self.world.say(&["s1"], outcome("s1", ways[0], Event::Committed, self.world.now));
    }

    fn submit(&mut self, says: cutover_shared::statement::Release) {
        let package = says.package;
        let release = self.say("sue", says);
        self.releases.push((release, package));
    }

    fn iterate(&mut self, package: Digest, grounds: Digest, previous: Option<u8>) {
        let previous = previous.and_then(|it| pick(&self.releases, it)).map(|it| it.0);
        let before = previous.and_then(|it| self.world.state.case(&it));
        let before = before.and_then(|case| case.release.says().iteration.clone());
        let mut says = release("1", package);
        says.change = ChangeType::Emergency;
        says.environments = names(&["production"]);
        says.iteration = Some(match before {
            Some(before) => {
                Iteration { grounds: before.grounds, number: before.number + 1, previous }
            }
            None => Iteration { grounds, number: 1, previous: None },
        });
        self.submit(says);
    }

    fn book(
        &mut self,
        (release, package): (Digest, Digest),
        environment: u8,
        waves: u8,
        early: bool,
    ) {
        let environment = pick(&["staging", "production", "production"], environment).unwrap();
        let waves: &[&[&str]] = match (environment, waves % 3) {
            ("staging", _) => &[&["s1"]],
            (_, 0) => &[&["p1"]],
            (_, 1) => &[&["p1"], &["p2", "p3"]],
            (_, _) => &[&["p3", "p2"], &["p1"]],
        };
        let start = if early { 500 } else { 1000 };
        let window = Window { start: at(start), end: at(2000) };
        let mut says = booking((release, package), environment, waves, window);
        for planned in says.plan.waves.iter_mut().flat_map(|wave| &mut wave.hosts) {
            let place = HOSTS.iter().position(|it| name(it) == planned.host).unwrap();
            planned.host_key = key(&self.keys[place]).public().id();
        }
        let booking = self.say("max", says);
        self.bookings.push(Way { release, package, booking });
    }

    fn release_window(&mut self, Way { release, package, booking }: Way) {
        let checkpoint = self.world.tree.head();
        self.say("max", WindowRelease { booking, release, package, checkpoint });
    }

    fn report(&mut self, host: u8, order: u8, event: u8) -> Option<()> {
        let orders = [&self.bookings[..], &self.rollbacks].concat();
        let way = pick(&orders, order)?;
        let back = self.rollbacks.iter().any(|it| it.booking == way.booking);
        let (host, signs) = (pick(&HOSTS, host)?, pick(&self.keys, host)?);
        let (step, reason) = ("checking".to_owned(), "no answer".to_owned());
        let event = match event % 8 {
            0 => Event::Returned { step, reason },
            1 => Event::Stuck { step, reason },
            2 => Event::Refused { code: "held".to_owned(), detail: reason },
            _ if back => Event::RolledBack,
            _ => Event::Committed,
        };
        let mut says = outcome(host, way, event, self.world.now);
        self.generation += 1;
        says.generation = self.generation;
        says.host_key = key(&signs).public().id();
        self.say(&signs, says);
        Some(())
    }

    fn roll_back(&mut self, from: Digest, to: Digest, host: u8) -> Option<()> {
        let (host, signs) = (pick(&HOSTS, host)?, pick(&self.keys, host)?);
        let host_key = key(&signs).public().id();
        let turn = HostTurn { host: name(host), host_key, generation: self.generation };
        let says = Rollback {
            application: name("web"),
            environment: name(if host == "s1" { "staging" } else { "production" }),
            hosts: vec![turn],
            from,
            to,
            reason: "it is slow".to_owned(),
        };
        let rollback = Statement::new(self.world.now, says).until(at(3000));
        let booking = self.state("max", &rollback);
        self.rollbacks.push(Way { release: Digest::of(b"any"), package: from, booking });
        Some(())
    }

    fn replace(&mut self, host: u8) -> Option<()> {
        let place = usize::from(host) % HOSTS.len();
        let (host, old) = (HOSTS[place], self.keys[place].clone());
        let anew = format!("{old}-anew");
        let environment = if host == "s1" { "staging" } else { "production" };
        let HostChange::Enrolled(mut says) = enrolment(host, environment) else { return None };
        says.host_key = key(&anew).public();
        says.transport_key = key(&format!("{anew}-transport")).public();
        says.replaces = Some(key(&old).public().id());
        self.say("ops", HostChange::Enrolled(says));
        self.keys[place] = anew;
        Some(())
    }

    /// What a host knows that has seen nothing but the first policy.
    fn evidence(&self, order: &Digest, host: &str) -> State {
        let host_key = key(host).public().id();
        let indexes = evidence::select(&self.world.state, order, &host_key, 1);
        let mut state = State::trusting(self.world.trust().policy);
        for index in indexes {
            let _ = state.apply(index, &self.world.entries[usize::try_from(index).unwrap()]);
        }
        state
    }

    fn facts(&self, host: &str) -> Option<HostFacts> {
        let record = self.world.state.host(&key(host).public().id())?;
        let facts = HostFacts::from_log(record, &name("web"));
        let installed = InstalledFacts { spent: BTreeSet::new(), ..facts.installed };
        Some(HostFacts { installed, ..facts })
    }
}

/// Everything that refuses an order to start and to activate. (The facts may call a release by its number,
/// which only the whole log gives.)
fn refusals(state: &State, host: &HostFacts, order: Digest, now: Time) -> Vec<(u16, Code)> {
    let question = |phase| Question { state, host, order, phase, now };
    let all = [Phase::Start, Phase::Activate]
        .into_iter()
        .flat_map(|it| authorise::explain(&question(it)));
    all.map(|(number, refusal)| (number, refusal.code)).collect()
}

/// The fold of the first `size` entries, from a snapshot of it.
fn written_and_read(world: &World, size: usize, state: &State) -> State {
    let head = world.tree.head_at(size as u64).unwrap();
    let bytes = snapshot::write(state, ORIGIN, &head, &key("log"));
    let root_at = |size| world.tree.head_at(size).ok().map(|it| it.root);
    let (read, of) = snapshot::read(&bytes, ORIGIN, &key("log").public(), root_at).unwrap();
    assert_eq!((&read, of), (state, head));
    read
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn evidence_says_of_an_order_what_the_whole_log_says(
        happenings in proptest::collection::vec(happening(), 1..40),
    ) {
        let tale = Tale::told(&happenings);
        for way in &tale.bookings {
            for host in &tale.keys {
                let Some(facts) = tale.facts(host) else { continue };
                let part = tale.evidence(&way.booking, host);
                for now in [at(100), at(600), at(1100), at(1990), at(2500)] {
                    let whole = refusals(&tale.world.state, &facts, way.booking, now);
                    prop_assert_eq!(refusals(&part, &facts, way.booking, now), whole, "{} {}", host, now);
                }
            }
        }
        for way in &tale.rollbacks {
            for host in &tale.keys {
                let Some(facts) = tale.facts(host) else { continue };
                let part = tale.evidence(&way.booking, host);
                let steps = tale.world.state.steps_of(&way.booking);
                prop_assert_eq!(part.steps_of(&way.booking), steps, "{}", host);
                for now in [at(100), at(3100)] {
                    let ask = |state| {
                        let (order, phase) = (way.booking, Phase::Start);
                        authorise::authorise_return(&Question { state, host: &facts, order, phase, now })
                            .map_err(|refusal| refusal.code)
                    };
                    prop_assert_eq!(ask(&part), ask(&tale.world.state), "{} {}", host, now);
                }
            }
        }
    }

    #[test]
    fn a_fold_that_goes_on_is_the_fold_from_scratch(
        happenings in proptest::collection::vec(happening(), 1..40),
        splits in proptest::collection::vec(any::<proptest::sample::Index>(), 3),
    ) {
        let tale = Tale::told(&happenings);
        let entries = &tale.world.entries;
        let splits: BTreeSet<_> = splits.iter().map(|it| it.index(entries.len())).collect();
        let mut state = State::empty();
        let mut kept = Vec::new();
        for (place, entry) in entries.iter().enumerate() {
            if splits.contains(&place) {
                kept.push((place, state.clone()));
                // Copies share; neither sees what the other does.
                state = state.clone();
            }
            let index = place as u64;
            let examined = state.examine(index, entry);
            let before = state.clone();
            match state.apply(index, entry) {
                Ok(id) => prop_assert_eq!(examined.map(|it| it.id()), Ok(id)),
                Err(refusal) => {
                    prop_assert_eq!(examined.map(|it| it.id()), Err(refusal));
                    prop_assert!(state.said_alike(&before), "what is refused changes nothing");
                }
            }
        }
        prop_assert_eq!(&state, &tale.world.state);
        for (place, state) in &kept {
            // One that was written and read back is as good as one that was kept.
            let mut state = written_and_read(&tale.world, *place, state);
            for (index, entry) in entries.iter().enumerate().skip(*place) {
                let _ = state.apply(index as u64, entry);
            }
            prop_assert_eq!(&state, &tale.world.state);
        }
        for (place, mut state) in kept {
            for (index, entry) in entries.iter().enumerate().skip(place) {
                let _ = state.apply(index as u64, entry);
            }
            prop_assert_eq!(&state, &tale.world.state);
        }
    }

    #[test]
    fn what_was_verified_once_folds_alike_without_verifying(
        happenings in proptest::collection::vec(happening(), 1..40),
    ) {
        let tale = Tale::told(&happenings);
        let ignored: BTreeSet<_> = tale.world.state.ignored().iter().map(|it| it.0).collect();
        let mut state = State::empty();
        for (index, entry) in tale.world.entries.iter().enumerate() {
            let index = index as u64;
            if ignored.contains(&index) {
                continue;
            }
            let read = Vouched::read(entry).expect("what was taken can be read");
            prop_assert!(state.apply_vouched(index, read).is_ok(), "entry {}", index);
        }
        prop_assert!(state.said_alike(&tale.world.state));
    }
}
