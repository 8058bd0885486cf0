//! The planner held against the checker, over generated rollouts; and the checker held against bad plans.

use std::sync::OnceLock;
use std::time::Duration;

use cutover_shared::authorise::{self, HostFacts, OF_ORDER, Question, Sitting, TakenBack, rules};
use cutover_shared::case::Case;
use cutover_shared::digest::Digest;
use cutover_shared::protocol::{ApplicationReport, Fleet, HostReport, HostView};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::rollout::check::{Fault, check};
use cutover_shared::rollout::{self, Halt, Plan, Standing, WaitingOn};
use cutover_shared::statement::{
    Cancel, Event, Freeze, Hold, HostChange, HostTurn, OnHalt, Phase, Rollback, Statement,
};
use cutover_shared::time::Time;
use cutover_shared::window::Window;
use proptest::prelude::*;
use proptest::sample::subsequence;

use crate::world::{Way, World, at, booking, enrolment, key, name, names, outcome};

pub(crate) const HOSTS: [&str; 6] = ["p1", "p2", "p3", "p4", "p5", "p6"];

/// Six hosts that run 0.9, and 1.0 approved, proven in staging and not yet booked.
pub(crate) fn base() -> &'static (World, Way) {
    static BASE: OnceLock<(World, Way)> = OnceLock::new();
    BASE.get_or_init(|| {
        let mut world = World::new();
        for host in &HOSTS[3..] {
            world.say(&["ops"], enrolment(host, "production")).unwrap();
        }
        let mut last = None;
        for version in ["0.9", "1.0"] {
            let (release, package) = world.submit(version);
            world.approve(release, package);
            let staging = world.book((release, package), "staging", &[&["s1"]]);
            let way = Way { release, package, booking: staging };
            world.release_window(way);
            world.outcome("s1", way, Event::Committed);
            last = Some(way);
            if version == "0.9" {
                let way =
                    Way { booking: world.book((release, package), "production", &[&HOSTS]), ..way };
                world.release_window(way);
                for host in HOSTS {
                    world.outcome(host, way, Event::Committed);
                }
            }
        }
        (world, last.unwrap())
    })
}

#[test]
fn the_log_tells_what_a_host_runs() {
    let (world, _) = base();
    let record = world.state.host(&key("p1").public().id()).unwrap();
    let installed = HostFacts::from_log(record, &name("web")).installed;
    let outcome = record.installed.get(&name("web")).unwrap();
    assert_eq!((installed.generation, outcome.generation), (1, 1));
    assert_eq!((installed.running, installed.previous), (Some(Digest::of(b"0.9")), None));
    assert!(installed.committed_by.is_some());
    let strange = HostFacts::from_log(record, &name("api")).installed;
    assert_eq!((strange.generation, strange.running), (0, None));
}

/// What has become of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Nothing,
    Committed,
    Returned,
    Stuck,
    CommittedThenBack,
    CommittedThenStuck,
    TakenBackByOrder,
}

/// How a host is heard.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Heard {
    Never,
    Idle,
    Here,
    Elsewhere,
    Refused(Code),
}

#[derive(Debug, Clone)]
pub(crate) struct Scene {
    pub(crate) waves: Vec<usize>,
    pub(crate) at_once: u32,
    pub(crate) halt_after: u32,
    pub(crate) on_halt: OnHalt,
    pub(crate) healthy_for: u64,
    pub(crate) fates: Vec<Fate>,
    pub(crate) heard: Vec<(Heard, bool, Option<u64>)>,
    pub(crate) since: u64,
    pub(crate) now: u64,
    pub(crate) against: Option<&'static str>,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Nothing),
        6 => Just(Fate::Committed),
        2 => Just(Fate::Returned),
        1 => Just(Fate::Stuck),
        1 => Just(Fate::CommittedThenBack),
        1 => Just(Fate::CommittedThenStuck),
        1 => Just(Fate::TakenBackByOrder),
    ]
}

fn heard() -> impl Strategy<Value = (Heard, bool, Option<u64>)> {
    let how = prop_oneof![
        1 => Just(Heard::Never),
        6 => Just(Heard::Idle),
        2 => Just(Heard::Here),
        1 => Just(Heard::Elsewhere),
        1 => Just(Heard::Refused(Code::DigestMismatch)),
        1 => Just(Heard::Refused(Code::Busy)),
    ];
    let cleared = prop_oneof![3 => Just(None), 1 => (990_u64..1900).prop_map(Some)];
    (how, prop::bool::weighted(0.85), cleared)
}

prop_compose! {
    fn scene()(
        cuts in subsequence(vec![1_usize, 2, 3, 4, 5], 0..4),
        (at_once, halt_after, budget) in (1_u32..4, 1_u32..4, 0_u32..4),
        healthy_for in prop_oneof![Just(0_u64), Just(60)],
        fates in prop::collection::vec(fate(), 6),
        forward in any::<bool>(),
        heard in prop::collection::vec(heard(), 6),
        since in prop_oneof![2 => Just(0_u64), 1 => 1000_u64..1500],
        now in prop_oneof![1 => 900_u64..1000, 8 => 1000_u64..1850, 2 => 1850_u64..5700],
        against in prop::option::weighted(
            0.1,
            prop::sample::select(vec!["hold", "freeze", "cancel", "denial", "retire"]),
        ),
    ) -> Scene {
        let mut edges = vec![0];
        edges.extend(cuts);
        edges.push(6);
        let waves = edges.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let fates = if forward {
            // Most rollouts go well, wave by wave.
            let good = fates.iter().take_while(|it| **it == Fate::Committed).count();
            (0..6).map(|host| if host < good + 2 { Fate::Committed } else { Fate::Nothing }).collect()
        } else {
            fates
        };
        let on_halt = if budget == 0 { OnHalt::Pause } else { OnHalt::ReturnAll { budget } };
        Scene { waves, at_once, halt_after, on_halt, healthy_for, fates, heard, since, now, against }
    }
}

fn returned() -> Event {
    Event::Returned { step: "checking".to_owned(), reason: "500".to_owned() }
}

fn stuck() -> Event {
    Event::Stuck { step: "start".to_owned(), reason: "no space".to_owned() }
}

impl Scene {
    pub(crate) fn build(&self) -> (World, Fleet, Digest) {
        let (world, way) = base();
        let mut world = world.clone();
        let mut hosts = HOSTS.iter();
        let waves: Vec<Vec<&str>> =
            self.waves.iter().map(|size| hosts.by_ref().take(*size).copied().collect()).collect();
        let waves: Vec<&[&str]> = waves.iter().map(Vec::as_slice).collect();
        let window = Window { start: at(1000), end: at(2000) };
        let mut booked = booking((way.release, way.package), "production", &waves, window);
        booked.plan.at_once = self.at_once;
        booked.plan.halt_after = self.halt_after;
        booked.plan.on_halt = self.on_halt;
        booked.plan.healthy_for = Duration::from_secs(self.healthy_for);
        let way = Way { booking: world.say(&["max"], booked).unwrap(), ..*way };
        world.release_window(way);
        world.now = at(1000);
        for (host, fate) in HOSTS.iter().zip(&self.fates) {
            Self::befall(&mut world, host, *fate, way);
        }
        self.stand_against(&mut world, way);
        world.now = at(self.now);
        let views = HOSTS
            .iter()
            .zip(&self.heard)
            .filter_map(|(host, it)| view(host, *it, way.booking, world.now));
        let mut views: Vec<HostView> = views.collect();
        views.sort_by_key(|view| view.host_key);
        let fleet = Fleet { now: world.now, since: at(self.since), hosts: views };
        (world, fleet, way.booking)
    }

    fn befall(world: &mut World, host: &str, fate: Fate, way: Way) {
        let mut say = |event: Event| {
            let mut said = outcome(host, way, event, at(1100));
            if said.event == Event::RolledBack {
                said.running = Some(Digest::of(b"0.9"));
            }
            world.say(&[host], said).unwrap()
        };
        match fate {
            Fate::Nothing => {}
            Fate::Committed | Fate::TakenBackByOrder => {
                say(Event::Committed);
            }
            Fate::Returned => {
                say(returned());
            }
            Fate::Stuck => {
                say(stuck());
            }
            Fate::CommittedThenBack => {
                say(Event::Committed);
                say(Event::RolledBack);
            }
            Fate::CommittedThenStuck => {
                say(Event::Committed);
                say(stuck());
            }
        }
        if fate == Fate::TakenBackByOrder {
            let host_key = key(host).public().id();
            let turn = HostTurn { host: name(host), host_key, generation: 1 };
            let rollback = Rollback {
                application: name("web"),
                environment: name("production"),
                hosts: vec![turn],
                from: way.package,
                to: Digest::of(b"0.9"),
                reason: "slow".to_owned(),
            };
            let statement = Statement::new(world.now, rollback).until(at(9000));
            let order = world.state(&["max"], &statement).unwrap();
            let mut back =
                outcome(host, Way { booking: order, ..way }, Event::RolledBack, at(1200));
            back.running = Some(Digest::of(b"0.9"));
            world.say(&[host], back).unwrap();
        }
    }

    fn stand_against(&self, world: &mut World, way: Way) {
        let Way { release, booking, .. } = way;
        let reason = "no".to_owned();
        match self.against {
            Some("hold") => {
                world.say(&["sec"], Hold { release, finish: false, reason }).unwrap();
            }
            Some("freeze") => {
                let freeze = Freeze::Declared {
                    policy: world.state.policy().unwrap().id(),
                    environments: names(&["production"]),
                    applications: names(&[]),
                    start: at(0),
                    end: at(9000),
                    reason,
                };
                world.say(&["max"], freeze).unwrap();
            }
            Some("cancel") => {
                world.say(&["max"], Cancel { release, booking: Some(booking), reason }).unwrap();
            }
            Some("denial") => {
                let judgement = cutover_shared::statement::Judgement::Denied { reason };
                let denial = cutover_shared::statement::Assessment {
                    release,
                    package: way.package,
                    environments: names(&["production"]),
                    judgement,
                };
                world.say(&["sec"], denial).unwrap();
            }
            Some("retire") => {
                let host_key = key("p4").public().id();
                let retired = HostChange::Retired { host: name("p4"), host_key, reason };
                world.say(&["ops"], retired).unwrap();
            }
            Some(_) | None => {}
        }
    }
}

pub(crate) fn view(
    host: &str,
    (heard, connected, cleared): (Heard, bool, Option<u64>),
    order: Digest,
    now: Time,
) -> Option<HostView> {
    let mut application = ApplicationReport {
        application: name("web"),
        generation: 1,
        running: None,
        order: None,
        step: "idle".to_owned(),
        progress: None,
        refused: None,
    };
    match heard {
        Heard::Never => return None,
        Heard::Idle => {}
        Heard::Here => {
            application.order = Some(order);
            "baking".clone_into(&mut application.step);
        }
        Heard::Elsewhere => {
            application.order = Some(Digest::of(b"another order"));
            "fetching".clone_into(&mut application.step);
        }
        Heard::Refused(code) => application.refused = Some((order, Refusal::new(code, "no"))),
    }
    Some(HostView {
        host_key: key(host).public().id(),
        connected,
        heard: now,
        report: Some(HostReport { known: 0, policy_version: 1, applications: vec![application] }),
        cleared: cleared.map(|time| (order, at(time))).into_iter().collect(),
    })
}

fn faults(plan: &Plan, world: &World, fleet: &Fleet) -> Vec<String> {
    check(plan, &world.state, fleet, world.now).iter().map(ToString::to_string).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_plan_is_at_fault(scene in scene()) {
        let (world, fleet, booking) = scene.build();
        let plan = rollout::plan(&world.state, &fleet, &booking, world.now).unwrap();
        prop_assert_eq!(faults(&plan, &world, &fleet), Vec::<String>::new(), "{:#?}", plan);
        same_as_one_by_one(&world, booking);
        for (number, host) in plan.hosts.iter().enumerate() {
            // Nobody who waits could have been given a turn, nor has anybody else's standing.
            for standing in [Standing::Turn, Standing::ReturnTurn, Standing::Committed] {
                if host.standing == standing {
                    continue;
                }
                let mut bad = plan.clone();
                bad.hosts[number].standing = standing;
                prop_assert!(!faults(&bad, &world, &fleet).is_empty(), "{:#?}", bad);
            }
        }
    }
}

/// A sitting says to every host what the rules say to it alone, and what is shared depends on no host.
fn same_as_one_by_one(world: &World, order: Digest) {
    let state = &world.state;
    let mut forward = Sitting::forward(state, order, world.now);
    let mut halting = Sitting::halting(state, order, world.now);
    for (number, host) in HOSTS.iter().enumerate() {
        let record = state.host(&key(host).public().id()).unwrap();
        let mut facts = HostFacts::from_log(record, &name("web"));
        let returned = (Digest::of(b"1.0"), TakenBack { size: 1000, time: at(0) });
        match number {
            1 => drop(facts.installed.spent.insert(order)),
            2 => drop(facts.installed.returned.insert(returned.0, returned.1)),
            3 => facts.inhibitors.push("disk".to_owned()),
            4 => facts.installed.committed_by = None,
            5 => facts.applications.clear(),
            _ => {}
        }
        let question = Question { state, host: &facts, order, phase: Phase::Start, now: world.now };
        assert_eq!(forward.judge(&facts), authorise::judge(&question).map(drop), "{host}");
        let alone = authorise::authorise_return(&question).map(drop);
        assert_eq!(halting.judge(&facts), alone, "{host}");
        let stranger =
            HostFacts { host: name("nobody"), environment: name("moon"), ..world.facts("s1") };
        let strangers = Question { host: &stranger, ..question };
        for rule in rules::FORWARD.iter().chain(rules::HALTING) {
            if OF_ORDER.contains(&rule.number) {
                let (mine, theirs) = ((rule.check)(&question), (rule.check)(&strangers));
                assert_eq!(mine, theirs, "rule {}", rule.number);
            }
        }
    }
}

/// A rollout in which p1 has committed, p2 is at work, and two may be under way.
fn midway() -> (World, Fleet, Plan) {
    let idle = (Heard::Idle, true, None);
    let scene = Scene {
        waves: vec![1, 5],
        at_once: 2,
        halt_after: 2,
        on_halt: OnHalt::ReturnAll { budget: 2 },
        healthy_for: 0,
        fates: [Fate::Committed].into_iter().chain([Fate::Nothing; 5]).collect(),
        heard: vec![idle, (Heard::Here, true, None), idle, idle, idle, idle],
        since: 0,
        now: 1200,
        against: None,
    };
    let (world, fleet, booking) = scene.build();
    let plan = rollout::plan(&world.state, &fleet, &booking, world.now).unwrap();
    (world, fleet, plan)
}

/// How a plan is spoilt, and the fault that must be told.
type Spoilt = (Box<dyn Fn(&mut Plan)>, Fault);

fn set(host: usize, standing: Standing) -> Box<dyn Fn(&mut Plan)> {
    Box::new(move |plan| plan.hosts[host].standing = standing.clone())
}

fn p(number: usize) -> cutover_shared::name::Name {
    name(HOSTS[number])
}

fn halt(returns: bool) -> Halt {
    Halt { because: "bad luck".to_owned(), returns }
}

fn spoilt_plans() -> Vec<Spoilt> {
    let against = |host, what| Fault::TurnAgainst { host: p(host), what };
    vec![
        (Box::new(|plan| plan.booking = Digest::of(b"none")), Fault::NoBooking),
        (Box::new(|plan| drop(plan.hosts.pop())), Fault::NotTheBooking),
        (Box::new(|plan| plan.hosts.swap(2, 3)), Fault::NotTheBooking),
        (Box::new(|plan| plan.hosts[5].wave = name("wave-0")), Fault::NotTheBooking),
        (Box::new(|plan| plan.hosts.push(plan.hosts[5].clone())), Fault::NotTheBooking),
        (Box::new(|plan| plan.hosts[5].host_key = key("s1").public().id()), Fault::NotTheBooking),
        (set(3, Standing::Turn), Fault::TooManyDown { down: 3, at_once: 2 }),
        (set(0, Standing::Turn), against(0, "it has ended already")),
        (set(1, Standing::Turn), against(1, "it may be at work")),
        (Box::new(|plan| plan.halted = Some(halt(false))), against(2, "the rollout is halted")),
        (
            Box::new(|plan| plan.halted = Some(halt(false))),
            Fault::HaltWrong { failed: 0, halt_after: 2 },
        ),
        (Box::new(|plan| plan.halted = Some(halt(true))), Fault::ReturnsWrong { signed: 0 }),
        (
            set(0, Standing::ReturnTurn),
            Fault::ReturnAgainst { host: p(0), what: "no halt takes it back" },
        ),
    ]
}

/// Reasons that do not hold for the third host, which has its turn.
fn untrue_reasons() -> Vec<WaitingOn> {
    let rule = |code| WaitingOn::Rule(Refusal::new(code, "facts"));
    vec![
        WaitingOn::Room { under_way: 1, at_once: 1 },
        WaitingOn::Room { under_way: 1, at_once: 2 },
        WaitingOn::Room { under_way: 2, at_once: 2 },
        WaitingOn::Halted,
        WaitingOn::Connection,
        WaitingOn::OtherWork { order: Digest::of(b"another order") },
        WaitingOn::HostRefused { code: "denied".to_owned(), detail: String::new() },
        WaitingOn::ReturnBudget { spent: 2, budget: 2 },
        WaitingOn::ReturnStuck { host: p(1) },
        rule(Code::WaveNotProven),
        rule(Code::WindowNotOpen),
        rule(Code::WindowClosed),
        rule(Code::WindowTooShort),
        WaitingOn::Rule(Refusal::new(Code::Held, "")),
    ]
}

#[test]
fn each_bad_plan_is_told_by_its_fault() {
    let (world, fleet, good) = midway();
    let standings: Vec<&Standing> = good.hosts.iter().map(|it| &it.standing).collect();
    let room = Standing::Waiting(WaitingOn::Room { under_way: 2, at_once: 2 });
    let working = Standing::Working { step: "baking".to_owned() };
    assert_eq!(standings, [&Standing::Committed, &working, &Standing::Turn, &room, &room, &room]);
    let found = |plan: &Plan| check(plan, &world.state, &fleet, world.now);
    assert_eq!(found(&good), []);
    for (spoil, expected) in spoilt_plans() {
        let mut plan = good.clone();
        spoil(&mut plan);
        assert!(found(&plan).contains(&expected), "{expected}: found {:?}", found(&plan));
    }
    // An order that is known and has the host, and is not what it is at work on.
    let other = world.state.cases().flat_map(Case::booked).find(|it| {
        let says = it.booking.says();
        it.booking.id() != good.booking && says.plan.hosts().any(|host| host.host == p(2))
    });
    let other = WaitingOn::OtherWork { order: other.unwrap().booking.id() };
    for reason in untrue_reasons().into_iter().chain([other]) {
        let mut plan = good.clone();
        let expected = Fault::ReasonUntrue { host: p(2), reason: reason.to_string() };
        plan.hosts[2].standing = Standing::Waiting(reason);
        assert!(found(&plan).contains(&expected), "{expected}: found {:?}", found(&plan));
    }
    for standing in [
        Standing::Committed,
        Standing::Returned { reason: "x".to_owned() },
        Standing::Stuck { reason: "x".to_owned() },
        Standing::Silent { since: at(1100) },
        Standing::Working { step: "fetching".to_owned() },
        Standing::ReturnWaiting(WaitingOn::Connection),
    ] {
        let mut plan = good.clone();
        plan.hosts[2].standing = standing.clone();
        let untrue = |it: &Fault| matches!(it, Fault::StandingUntrue { host, .. } if *host == p(2));
        assert!(found(&plan).iter().any(untrue), "{standing:?}: found {:?}", found(&plan));
    }
}

#[test]
fn a_turn_before_the_wave_before_is_proven_is_told() {
    let (mut world, fleet, _) = midway();
    let (_, way) = base();
    let window = Window { start: at(1000), end: at(2000) };
    let waves: [&[&str]; 2] = [&["p1", "p2"], &["p3"]];
    let booked = booking((way.release, way.package), "production", &waves, window);
    let way = Way { booking: world.say(&["max"], booked).unwrap(), ..*way };
    world.release_window(way);
    world.outcome("p1", way, Event::Committed);
    let mut plan = rollout::plan(&world.state, &fleet, &way.booking, world.now).unwrap();
    assert_eq!(faults(&plan, &world, &fleet), Vec::<String>::new());
    plan.hosts[2].standing = Standing::Turn;
    let found = check(&plan, &world.state, &fleet, world.now);
    assert!(found.contains(&Fault::WaveUnproven { host: name("p3"), unproven: name("p2") }));
}
