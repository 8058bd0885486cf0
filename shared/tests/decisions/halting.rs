//! What a halt does: hosts that failed take the others back, and nobody else can.

use std::time::Duration;

use cutover_shared::authorise::{self, HostFacts, Question, ReturnOrder, rules};
use cutover_shared::digest::Digest;
use cutover_shared::evidence;
use cutover_shared::protocol::Fleet;
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::rollout::check::check;
use cutover_shared::rollout::{self, Plan, Standing, WaitingOn};
use cutover_shared::statement::{
    Assessment, Event, Freeze, Hold, Judgement, OnHalt, Phase, Statement,
};

use crate::plans::{Fate, HOSTS, Heard, Scene, base};
use crate::world::{Way, World, at, key, name, names, outcome};

const ALL: OnHalt = OnHalt::ReturnAll { budget: 3 };

/// Six hosts in one wave, two at once, a failure halts; what has become of each.
fn scene(on_halt: OnHalt, fates: [Fate; 6]) -> Scene {
    Scene {
        waves: vec![6],
        at_once: 2,
        halt_after: 1,
        on_halt,
        healthy_for: 0,
        fates: fates.to_vec(),
        heard: vec![(Heard::Idle, true, None); 6],
        since: 0,
        now: 1300,
        against: None,
    }
}

const TWO_FAILED: [Fate; 6] = [
    Fate::Committed,
    Fate::Committed,
    Fate::Returned,
    Fate::Committed,
    Fate::Stuck,
    Fate::Committed,
];

fn planned(world: &World, fleet: &Fleet, booking: Digest) -> Plan {
    let plan = rollout::plan(&world.state, fleet, &booking, world.now).unwrap();
    assert_eq!(check(&plan, &world.state, fleet, world.now), []);
    plan
}

fn standings(plan: &Plan) -> Vec<Standing> {
    plan.hosts.iter().map(|it| it.standing.clone()).collect()
}

fn back(world: &mut World, host: &str, booking: Digest) {
    let way = Way { booking, ..base().1 };
    let mut said = outcome(host, way, Event::RolledBack, world.now);
    said.running = Some(Digest::of(b"0.9"));
    world.say(&[host], said).unwrap();
}

#[test]
fn the_others_go_back_a_few_at_a_time_and_no_more_than_the_booking_pays_for() {
    // The stuck host takes one of the two places.
    let (mut world, fleet, booking) = scene(ALL, TWO_FAILED).build();
    let plan = planned(&world, &fleet, booking);
    let halted = plan.halted.clone().unwrap();
    assert!(halted.returns);
    assert_eq!(
        halted.to_string(),
        "p3 went back: checking: 500; p5 is stuck: start: no space; the others go back"
    );
    let room = Standing::ReturnWaiting(WaitingOn::Room { under_way: 2, at_once: 2 });
    let now = standings(&plan);
    assert_eq!(now[0], Standing::ReturnTurn);
    assert_eq!([&now[1], &now[3], &now[5]], [&room, &room, &room]);
    for (host, next) in [("p1", 1), ("p2", 3)] {
        back(&mut world, host, booking);
        let now = standings(&planned(&world, &fleet, booking));
        assert_eq!(now[next], Standing::ReturnTurn, "after {host}");
    }
    back(&mut world, "p4", booking);
    let plan = planned(&world, &fleet, booking);
    let spent = WaitingOn::ReturnBudget { spent: 3, budget: 3 };
    assert_eq!(plan.hosts[5].standing, Standing::ReturnWaiting(spent));
    assert_eq!(plan.hosts[0].standing, Standing::Returned { reason: "by order".to_owned() });
}

#[test]
fn one_failure_pauses_and_so_does_a_booking_that_says_so() {
    use Fate::{Committed, Nothing, Returned};
    let one = [Committed, Committed, Returned, Nothing, Nothing, Nothing];
    for (on_halt, fates) in [(ALL, one), (OnHalt::Pause, TWO_FAILED)] {
        let (world, fleet, booking) = scene(on_halt, fates).build();
        let plan = planned(&world, &fleet, booking);
        assert!(!plan.halted.as_ref().unwrap().returns);
        assert_eq!(plan.hosts[0].standing, Standing::Committed);
        let question = asked(&world, "p1", booking);
        assert_eq!(question.unwrap_err().code, Code::RollbackNotAuthorised);
    }
}

#[test]
fn a_return_that_fails_ends_the_returning() {
    use Fate::{Committed, CommittedThenStuck, Returned};
    let fates = [Committed, CommittedThenStuck, Returned, Committed, Returned, Committed];
    let (world, fleet, booking) = scene(ALL, fates).build();
    let plan = planned(&world, &fleet, booking);
    let stuck = WaitingOn::ReturnStuck { host: name("p2") };
    assert_eq!(plan.hosts[0].standing, Standing::ReturnWaiting(stuck));
}

/// A coordinator that has just begun does not know whether a host that it has not heard of has begun its return.
#[test]
fn who_may_be_on_its_way_back_takes_its_place_after_a_restart() {
    let fates = [
        Fate::Committed,
        Fate::Committed,
        Fate::Returned,
        Fate::Committed,
        Fate::Returned,
        Fate::Committed,
    ];
    let mut scene = scene(ALL, fates);
    scene.since = 1300;
    let (mut world, mut fleet, booking) = scene.build();
    fleet.hosts.retain(|it| !["p1", "p2"].map(|it| key(it).public().id()).contains(&it.host_key));
    let reserve = world.state.booking(&booking).unwrap().0.budget().reserve;
    let unheard = Standing::Working { step: "unheard".to_owned() };
    world.now = fleet.since + reserve - Duration::from_millis(1);
    fleet.now = world.now;
    let now = standings(&planned(&world, &fleet, booking));
    assert_eq!([&now[0], &now[1]], [&unheard, &unheard]);
    assert!(!now.contains(&Standing::ReturnTurn), "two may be down, which is all that may be");
    world.now = fleet.since + reserve;
    fleet.now = world.now;
    let now = standings(&planned(&world, &fleet, booking));
    assert_eq!(
        now[0],
        Standing::ReturnWaiting(WaitingOn::Connection),
        "it is not on its way any more"
    );
    assert_eq!(now[3], Standing::ReturnTurn);
}

#[test]
fn a_host_on_its_way_back_is_at_work_until_it_is_silent_for_too_long() {
    let mut scene = scene(ALL, TWO_FAILED);
    scene.heard[0] = (Heard::Here, true, None);
    let (world, fleet, booking) = scene.build();
    let now = standings(&planned(&world, &fleet, booking));
    assert_eq!(now[0], Standing::Working { step: "baking".to_owned() });
    assert!(!now.contains(&Standing::ReturnTurn));
    let (mut world, mut fleet, booking) = scene.build();
    let view = fleet.hosts.iter_mut().find(|it| it.host_key == key("p1").public().id()).unwrap();
    view.connected = false;
    for (seconds, expected) in [
        (49, Standing::Working { step: "unheard".to_owned() }),
        (50, Standing::Silent { since: at(1350) }),
    ] {
        world.now = at(1300 + seconds);
        let plan = planned(&world, &fleet, booking);
        assert_eq!(plan.hosts[0].standing, expected, "after {seconds} s");
    }
}

/// Asks as a host asks that has committed the booking, on what the honest coordinator shows it.
fn asked(world: &World, host: &str, booking: Digest) -> Result<ReturnOrder, Refusal> {
    asked_with(world, host, booking, |_| ())
}

fn asked_with(
    world: &World,
    host: &str,
    booking: Digest,
    change: impl FnOnce(&mut HostFacts),
) -> Result<ReturnOrder, Refusal> {
    let shown = evidence::select(&world.state, &booking, &key(host).public().id(), 1);
    asked_on(world, host, booking, shown, change)
}

fn asked_on(
    world: &World,
    host: &str,
    order: Digest,
    shown: impl IntoIterator<Item = u64>,
    change: impl FnOnce(&mut HostFacts),
) -> Result<ReturnOrder, Refusal> {
    let opened = evidence::open(&world.evidence_of(order, shown, 0), &order, &world.trust())?;
    let mut facts = world.facts(host);
    facts.installed.generation = 2;
    facts.installed.running = Some(Digest::of(b"1.0"));
    facts.installed.previous = Some(Digest::of(b"0.9"));
    facts.installed.committed_by = Some(order);
    facts.installed.spent.insert(order);
    change(&mut facts);
    let state = opened.state();
    let question = Question { state, host: &facts, order, phase: Phase::Start, now: world.now };
    let judged = authorise::authorise_return(&question);
    let refuses = |rule: &&rules::Rule| (rule.check)(&question).is_err();
    assert_eq!(rules::HALTING.iter().find(refuses).is_some(), judged.is_err());
    judged
}

#[test]
fn the_booking_and_two_signed_failures_are_the_order() {
    let (world, _, booking) = scene(ALL, TWO_FAILED).build();
    let order = asked(&world, "p1", booking).unwrap();
    assert_eq!((order.from(), order.to()), (Digest::of(b"1.0"), Digest::of(b"0.9")));
    assert_eq!((order.order(), order.application()), (booking, &name("web")));
    assert_eq!(order.not_after(), at(2000) + Duration::from_hours(1));
}

#[test]
fn a_coordinator_that_shows_one_failure_takes_nobody_back() {
    let (mut world, _, booking) = scene(ALL, TWO_FAILED).build();
    let whole = evidence::select(&world.state, &booking, &key("p1").public().id(), 1);
    let failures: Vec<u64> = whole.iter().copied().filter(|it| fails(&world, *it)).collect();
    assert_eq!(failures.len(), 2);
    for hidden in failures {
        let shown = whole.iter().copied().filter(|it| *it != hidden);
        let refused = asked_on(&world, "p1", booking, shown, |_| ()).unwrap_err();
        assert_eq!(refused.code, Code::RollbackNotAuthorised);
        assert_eq!(refused.facts, "1 hosts have signed that they failed, 2 are needed");
    }
    // Nor does one host that says so twice.
    let way = Way { booking, ..base().1 };
    let again = Event::Returned { step: "checking".to_owned(), reason: "again".to_owned() };
    let first = world.entries.len() as u64;
    world.say(&["p3"], outcome("p3", way, again, at(1310))).unwrap();
    let stuck = |it: &u64| !fails(&world, *it) || said_by(&world, *it, "p3");
    let shown = whole.iter().copied().filter(stuck).chain([first]);
    assert!(asked_on(&world, "p1", booking, shown, |_| ()).is_err());
}

fn statement(world: &World, index: u64) -> Statement {
    let envelope = &world.entries[usize::try_from(index).unwrap()];
    Statement::read(&cutover_shared::dsse::Envelope::parse(envelope).unwrap()).unwrap()
}

fn said(world: &World, index: u64) -> Option<cutover_shared::statement::Outcome> {
    let says = statement(world, index).says;
    if let cutover_shared::statement::Says::Outcome(it) = says { Some(*it) } else { None }
}

fn fails(world: &World, index: u64) -> bool {
    let event = said(world, index).map(|it| it.event);
    matches!(event, Some(Event::Returned { .. } | Event::Stuck { .. }))
}

fn said_by(world: &World, index: u64, host: &str) -> bool {
    said(world, index).is_some_and(|it| it.host == name(host))
}

#[test]
fn what_stands_in_the_way_of_going_forward_does_not_of_going_back() {
    let (mut world, _, booking) = scene(ALL, TWO_FAILED).build();
    let release = base().1.release;
    let reason = "no".to_owned();
    let freeze = Freeze::Declared {
        policy: world.state.policy().unwrap().id(),
        environments: names(&["production"]),
        applications: names(&[]),
        start: at(0),
        end: at(9000),
        reason: reason.clone(),
    };
    world.say(&["max"], freeze).unwrap();
    world.say(&["sec"], Hold { release, finish: false, reason }).unwrap();
    assert!(asked(&world, "p1", booking).is_ok());
}

/// What is changed of the host's facts, and the refusal that comes of it.
type Case = (&'static dyn Fn(&mut HostFacts), Code);

#[test]
fn each_rule_of_the_return_refuses_by_itself() {
    let (world, _, booking) = scene(ALL, TWO_FAILED).build();
    let code = |change: &dyn Fn(&mut HostFacts)| {
        asked_with(&world, "p1", booking, change).map(drop).map_err(|it| it.code)
    };
    let cases: [Case; 8] = [
        (&|it| it.environment = name("staging"), Code::WrongEnvironment),
        (&|it| it.applications.clear(), Code::WrongApplication),
        (&|it| it.host = name("p9"), Code::WrongHost),
        (&|it| it.installed.committed_by = None, Code::GenerationPassed),
        (&|it| it.installed.committed_by = Some(Digest::of(b"x")), Code::GenerationPassed),
        (&|it| it.installed.running = None, Code::RollbackNotAuthorised),
        (&|it| it.installed.running = it.installed.previous, Code::RollbackNotAuthorised),
        (&|it| it.installed.previous = None, Code::RollbackNotAuthorised),
    ];
    for (number, (change, expected)) in cases.into_iter().enumerate() {
        assert_eq!(code(change), Err(expected), "case {number}");
    }
}

#[test]
fn the_time_for_it_and_the_release_before_count() {
    let millisecond = Duration::from_millis(1);
    let end = at(2000) + Duration::from_hours(1);
    let (mut world, _, booking) = scene(ALL, TWO_FAILED).build();
    for (now, expected) in [
        (at(1000) - millisecond, Err(Code::WindowNotOpen)),
        (at(1000), Ok(())),
        (at(2000), Ok(())),
        (end - millisecond, Ok(())),
        (end, Err(Code::WindowClosed)),
    ] {
        world.now = now;
        let answer = asked(&world, "p1", booking).map(drop).map_err(|it| it.code);
        assert_eq!(answer, expected, "{now}");
    }
    world.now = at(1400);
    let denied = world.state.cases().find(|it| it.release.says().version == "0.9").unwrap();
    let denial = Assessment {
        release: denied.release.id(),
        package: Digest::of(b"0.9"),
        environments: names(&["production"]),
        judgement: Judgement::Denied { reason: "a hole".to_owned() },
    };
    world.say(&["sec"], denial).unwrap();
    let whole = 0..world.entries.len() as u64;
    let refused = asked_on(&world, "p1", booking, whole, |_| ()).unwrap_err();
    assert_eq!(refused.code, Code::Denied);
    // The coordinator shows of itself that the release before was denied.
    assert_eq!(asked(&world, "p1", booking).unwrap_err().code, Code::Denied);
}

#[test]
fn a_plan_says_what_is_wrong_with_it() {
    let fault = |change: &dyn Fn(&mut cutover_shared::statement::RolloutPlan)| {
        let (world, _, booking) = scene(ALL, TWO_FAILED).build();
        let (_, booked) = world.state.booking(&booking).unwrap();
        let mut plan = booked.booking.says().plan.clone();
        change(&mut plan);
        (plan.fault(), plan.returns_after())
    };
    assert_eq!(fault(&|_| ()), (None, Some(2)));
    assert_eq!(fault(&|it| it.halt_after = 3), (None, Some(3)));
    assert_eq!(fault(&|it| it.on_halt = OnHalt::Pause), (None, None));
    assert!(fault(&|it| it.on_halt = OnHalt::ReturnAll { budget: 0 }).0.is_some());
    assert!(fault(&|it| it.at_once = 0).0.is_some());
    assert!(fault(&|it| it.halt_after = 0).0.is_some());
    assert!(fault(&|it| it.waves.clear()).0.is_some());
    assert!(fault(&|it| it.waves[0].hosts.clear()).0.is_some());
    assert!(fault(&|it| it.waves.push(it.waves[0].clone())).0.is_some());
    let split = |it: &mut cutover_shared::statement::RolloutPlan, waves: usize, hosts: usize| {
        it.waves.clear();
        for wave in 0..waves {
            let name = name(&format!("w{wave}"));
            let planned = |host| World::planned(&format!("h{wave}-{host}"));
            let hosts = (0..hosts).map(planned).collect();
            it.waves.push(cutover_shared::statement::Wave { name, hosts });
        }
    };
    assert_eq!(fault(&|it| split(it, 100, 1)).0, None);
    assert!(fault(&|it| split(it, 101, 1)).0.is_some());
    assert_eq!(fault(&|it| split(it, 2, 500)).0, None);
    assert!(fault(&|it| split(it, 3, 334)).0.is_some());
    assert_eq!(HOSTS.len(), 6);
}
