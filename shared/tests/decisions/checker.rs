//! The checker of plans, held to each edge: what it has against a turn, against a return, and what it
//! believes of what a plan says.

use std::time::Duration;

use cutover_shared::digest::Digest;
use cutover_shared::key::KeyId;
use cutover_shared::protocol::Fleet;
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::rollout::check::{Fault, check};
use cutover_shared::rollout::{self, Plan, Standing, WaitingOn};
use cutover_shared::statement::{
    Assessment, Emergency, Freeze, Hold, IterationApproval, Judgement, OnHalt, Resume, Review,
    Verdict,
};
use cutover_shared::time::Time;

use crate::forward::{emergency, iteration};
use crate::plans::{Fate, HOSTS, Heard, Scene, base, view};
use crate::world::{Way, World, at, key, name, names, release};

const ALL: OnHalt = OnHalt::ReturnAll { budget: 3 };

fn why() -> String {
    "no".to_owned()
}

/// One wave of six of which the first has it; two at once, and two failures halt it.
fn scene() -> Scene {
    Scene {
        waves: vec![6],
        at_once: 2,
        halt_after: 2,
        on_halt: ALL,
        healthy_for: 0,
        fates: [Fate::Committed].into_iter().chain([Fate::Nothing; 5]).collect(),
        heard: vec![(Heard::Idle, true, None); 6],
        since: 0,
        now: 1200,
        against: None,
    }
}

/// One in which two have failed, and the others go back.
fn halted() -> Scene {
    use Fate::{Committed, Returned, Stuck};
    Scene { fates: vec![Committed, Committed, Returned, Committed, Stuck, Committed], ..scene() }
}

struct Held {
    world: World,
    fleet: Fleet,
    booking: Digest,
}

impl Held {
    fn of(scene: &Scene) -> Self {
        let (world, fleet, booking) = scene.build();
        Self { world, fleet, booking }
    }

    fn plan(&self) -> Plan {
        rollout::plan(&self.world.state, &self.fleet, &self.booking, self.world.now).unwrap()
    }

    /// What is wrong with the plan when a host stands like this.
    fn with(&self, host: usize, standing: Standing) -> Vec<Fault> {
        let mut plan = self.plan();
        plan.hosts[host].standing = standing;
        check(&plan, &self.world.state, &self.fleet, self.world.now)
    }

    /// What stands against a turn of a host.
    fn turn(&self, host: usize) -> Option<&'static str> {
        self.with(host, Standing::Turn).into_iter().find_map(|fault| {
            let Fault::TurnAgainst { host: it, what } = fault else { return None };
            (it == name(HOSTS[host])).then_some(what)
        })
    }

    /// What stands against its return.
    fn back(&self, host: usize) -> Option<&'static str> {
        self.with(host, Standing::ReturnTurn).into_iter().find_map(|fault| {
            let Fault::ReturnAgainst { host: it, what } = fault else { return None };
            (it == name(HOSTS[host])).then_some(what)
        })
    }

    /// Whether it is untrue that a host stands like this.
    fn untrue(&self, host: usize, standing: Standing) -> bool {
        let untrue = |it: &Fault| matches!(it, Fault::StandingUntrue { host: named, .. } if *named == name(HOSTS[host]));
        self.with(host, standing).iter().any(untrue)
    }

    fn at(mut self, now: Time) -> Self {
        self.world.now = now;
        self
    }
}

fn millisecond() -> Duration {
    Duration::from_millis(1)
}

/// The third host is heard like this.
fn hearing(heard: (Heard, bool, Option<u64>)) -> Scene {
    let mut scene = scene();
    scene.heard[2] = heard;
    scene
}

#[test]
fn what_is_said_against_a_release_is_against_its_turns() {
    assert_eq!(Held::of(&scene()).turn(2), None);
    let cases = [
        ("hold", 2, "a hold stands"),
        ("freeze", 2, "a freeze covers it"),
        ("cancel", 2, "it was cancelled"),
        ("denial", 2, "its package was denied"),
        ("retire", 3, "it is not enrolled, or was retired"),
    ];
    for (against, host, expected) in cases {
        let held = Held::of(&Scene { against: Some(against), ..scene() });
        assert_eq!(held.turn(host), Some(expected));
    }
    let retired = Held::of(&Scene { against: Some("retire"), ..scene() });
    assert_eq!(retired.turn(2), None, "that was another host");
    let mut held = Held::of(&scene());
    let mut later = release("1.0.1", Digest::of(b"1.0.1"));
    later.supersedes = Some(base().1.release);
    held.world.say(&["sue"], later).unwrap();
    assert_eq!(held.turn(2), Some("it was superseded"));
}

#[test]
fn a_hold_stands_until_somebody_else_resumes_it() {
    for (by, resumed, expected) in [("sec", "sec", None), ("max", "max", Some("a hold stands"))] {
        let mut held = Held::of(&scene());
        let hold = Hold { release: base().1.release, reason: why(), finish: false };
        let hold = held.world.say(&[by], hold).unwrap();
        held.world.say(&[resumed], Resume { hold, reason: why() }).unwrap();
        assert_eq!(held.turn(2), expected, "{by}");
    }
}

#[test]
fn a_freeze_covers_what_it_names_from_its_start_to_its_end() {
    let frozen = |environment: &str, applications: &[&str], start: u64, end: u64, lifted: bool| {
        let mut held = Held::of(&scene());
        let says = Freeze::Declared {
            policy: held.world.state.policy().unwrap().id(),
            environments: names(&[environment]),
            applications: names(applications),
            start: at(start),
            end: at(end),
            reason: why(),
        };
        let freeze = held.world.say(&["max"], says).unwrap();
        if lifted {
            held.world.say(&["max"], Freeze::Lifted { freeze, reason: why() }).unwrap();
        }
        held.turn(2).is_some()
    };
    assert!(frozen("production", &[], 1200, 1201, false), "it begins now");
    assert!(!frozen("production", &[], 1100, 1200, false), "it has just ended");
    assert!(!frozen("production", &[], 1201, 1300, false), "it has not begun");
    assert!(frozen("production", &["web"], 1100, 1300, false));
    assert!(!frozen("production", &["mail"], 1100, 1300, false));
    assert!(!frozen("staging", &[], 1100, 1300, false));
    assert!(!frozen("production", &[], 1100, 1300, true));
}

#[test]
fn a_turn_is_within_the_window_with_room_for_all_of_it() {
    let turn = |now: Time| Held::of(&scene()).at(now).turn(2);
    assert_eq!(turn(at(1000) - millisecond()), Some("its window is not open"));
    assert_eq!(turn(at(1000)), None);
    assert_eq!(turn(at(1850)), None);
    assert_eq!(turn(at(1850) + millisecond()), Some("its window has no room for it"));
}

#[test]
fn a_turn_is_for_who_is_there_and_idle() {
    let turn = |heard| Held::of(&hearing(heard)).turn(2);
    let at_work = Some("it may be at work");
    assert_eq!(turn((Heard::Idle, true, None)), None);
    assert_eq!(turn((Heard::Idle, false, None)), Some("it is not connected"));
    assert_eq!(turn((Heard::Here, true, None)), at_work);
    assert_eq!(turn((Heard::Elsewhere, true, None)), Some("it is at work on something else"));
    assert_eq!(turn((Heard::Refused(Code::DigestMismatch), true, None)), Some("it has refused"));
    assert_eq!(turn((Heard::Refused(Code::Busy), true, None)), None);
    assert_eq!(turn((Heard::Idle, true, Some(1190))), None, "it would have said so by now");
    assert_eq!(turn((Heard::Idle, true, Some(1191))), at_work);
    assert_eq!(turn((Heard::Idle, false, Some(1100))), at_work);
}

#[test]
fn who_was_never_heard_may_have_begun_before_this_run() {
    let turn = |since: u64, now: Time| {
        let scene = Scene { since, ..hearing((Heard::Never, true, None)) };
        Held::of(&scene).at(now).turn(2)
    };
    let (at_work, away) = (Some("it may be at work"), Some("it is not connected"));
    assert_eq!(turn(1100, at(1250) - millisecond()), at_work);
    assert_eq!(turn(1100, at(1250)), away, "budget and reserve are over");
    assert_eq!(turn(999, at(1001)), away, "the window was not open then");
    assert_eq!(turn(1000, at(1001)), at_work);
}

#[test]
fn a_turn_is_for_who_has_not_ended_and_what_was_not_taken_back() {
    for fate in [Fate::Committed, Fate::Stuck, Fate::CommittedThenBack, Fate::TakenBackByOrder] {
        let mut scene = scene();
        scene.fates[2] = fate;
        let against = Held::of(&scene).turn(2);
        assert!(against.is_some(), "{fate:?}");
    }
    let mut scene = scene();
    scene.fates[1] = Fate::Returned;
    let mut held = Held::of(&scene);
    let review = |environment: &str| Review {
        release: base().1.release,
        environments: names(&[environment]),
        verdict: Verdict::Complete,
    };
    let back = Some("its package was taken back and not reviewed since");
    assert_eq!(held.turn(2), back);
    held.world.say(&["lib"], review("staging")).unwrap();
    assert_eq!(held.turn(2), back, "that was for another environment");
    held.world.say(&["lib"], review("production")).unwrap();
    assert_eq!(held.turn(2), None);
}

#[test]
fn a_wave_waits_until_the_one_before_was_healthy_for_long_enough() {
    // The first has committed at 1100.
    let scene = Scene { waves: vec![1, 5], healthy_for: 60, ..scene() };
    let turn = |now: Time| Held::of(&scene).at(now).turn(2);
    assert_eq!(turn(at(1160) - millisecond()), Some("the wave before is not healthy yet"));
    assert_eq!(turn(at(1160)), None);
}

#[test]
fn a_return_is_for_who_has_it_and_is_there() {
    assert_eq!(Held::of(&halted()).back(0), None);
    assert_eq!(Held::of(&scene()).back(0), Some("no halt takes it back"));
    for failed in [2, 4] {
        assert_eq!(Held::of(&halted()).back(failed), Some("it does not run the release"));
    }
    let hearing = |heard| {
        let mut scene = halted();
        scene.heard[0] = heard;
        Held::of(&scene).back(0)
    };
    assert_eq!(hearing((Heard::Idle, false, None)), Some("it is not connected"));
    assert_eq!(hearing((Heard::Elsewhere, true, None)), Some("it is at work on something else"));
    assert_eq!(hearing((Heard::Refused(Code::DigestMismatch), true, None)), Some("it has refused"));
    assert_eq!(hearing((Heard::Refused(Code::Busy), true, None)), None);
    assert_eq!(hearing((Heard::Here, true, None)), Some("it is on its way back already"));
    let mut scene = halted();
    scene.fates[1] = Fate::CommittedThenStuck;
    assert_eq!(Held::of(&scene).back(0), Some("another return has failed"));
}

#[test]
fn a_return_is_in_time_and_to_a_release_that_is_still_good() {
    let back = |now: Time| Held::of(&halted()).at(now).back(0);
    let over = Some("the time for it is over");
    assert_eq!((back(at(1000) - millisecond()), back(at(1000))), (over, None));
    assert_eq!((back(at(5600) - millisecond()), back(at(5600))), (None, over));

    let mut held = Held::of(&halted());
    let before = held.world.state.cases_of_package(&Digest::of(b"0.9")).next().unwrap();
    let says = Assessment {
        release: before.release.id(),
        package: Digest::of(b"0.9"),
        environments: names(&["production"]),
        judgement: Judgement::Denied { reason: why() },
    };
    held.world.say(&["sec"], says).unwrap();
    assert_eq!(held.back(0), Some("the release before was denied"));
    let mut held = Held::of(&halted());
    held.world.retire("p1").unwrap();
    assert_eq!(held.back(0), Some("it is not enrolled, or was retired"));
}

#[test]
fn what_a_plan_says_of_a_host_is_so() {
    let reason = |text: &str| text.to_owned();
    let held = Held::of(&halted());
    assert!(!held.untrue(2, Standing::Returned { reason: reason("500") }));
    assert!(held.untrue(2, Standing::Returned { reason: reason("") }), "it says why");
    assert!(held.untrue(2, Standing::Stuck { reason: reason("500") }), "it went back");
    assert!(!held.untrue(4, Standing::Stuck { reason: reason("no space") }));
    assert!(held.untrue(4, Standing::Stuck { reason: reason("") }));
    assert!(held.untrue(0, Standing::Returned { reason: reason("by order") }));
    assert!(held.untrue(0, Standing::Committed), "it is to go back");
    assert!(!Held::of(&scene()).untrue(0, Standing::Committed));
    let mut scene = scene();
    scene.fates[2] = Fate::TakenBackByOrder;
    assert!(!Held::of(&scene).untrue(2, Standing::Returned { reason: reason("by order") }));

    let working = |step: &str| Standing::Working { step: step.to_owned() };
    let here = Held::of(&hearing((Heard::Here, true, None)));
    assert!(!here.untrue(2, working("baking")));
    assert!(here.untrue(2, working("")), "it says at what");
    assert!(here.untrue(3, working("baking")), "it is idle");
}

#[test]
fn who_is_silent_was_cleared_and_is_away() {
    let silent = |since: u64| Standing::Silent { since: at(since) };
    let away = Held::of(&hearing((Heard::Idle, false, Some(1100))));
    assert!(!away.untrue(2, silent(1200)));
    assert!(away.untrue(2, silent(1201)), "that is still to come");
    let there = Held::of(&hearing((Heard::Here, true, Some(1100))));
    assert!(there.untrue(2, silent(1200)));
    let idle = Held::of(&hearing((Heard::Idle, false, None)));
    assert!(idle.untrue(2, silent(1200)), "it was never cleared");
    let mut ended = hearing((Heard::Idle, false, Some(1100)));
    ended.fates[2] = Fate::Committed;
    assert!(Held::of(&ended).untrue(2, silent(1200)), "it has ended");
    let host: KeyId = key("p3").public().id();
    assert!(away.fleet.hosts.iter().any(|it| it.host_key == host));
}

#[test]
fn what_the_window_is_said_to_be_is_so_to_the_instant() {
    let holds = |code: Code, now: Time| {
        let held = Held::of(&scene()).at(now);
        let reason = WaitingOn::Rule(Refusal::new(code, "facts"));
        let faults = held.with(2, Standing::Waiting(reason));
        let untrue =
            |it: &Fault| matches!(it, Fault::ReasonUntrue { host, .. } if *host == name(HOSTS[2]));
        !faults.iter().any(untrue)
    };
    let edges = [
        (Code::WindowNotOpen, at(1000) - millisecond(), at(1000)),
        (Code::WindowTooShort, at(1850) + millisecond(), at(1850)),
        (Code::WindowClosed, at(2000), at(2000) - millisecond()),
    ];
    for (code, true_at, untrue_at) in edges {
        assert_eq!((holds(code, true_at), holds(code, untrue_at)), (true, false), "{code}");
    }
    let mut waves = scene();
    (waves.waves, waves.healthy_for) = (vec![1, 5], 60);
    let unproven = |now: Time| {
        let reason = WaitingOn::Rule(Refusal::new(Code::WaveNotProven, "facts"));
        let faults = Held::of(&waves).at(now).with(2, Standing::Waiting(reason));
        faults.iter().any(|it| matches!(it, Fault::ReasonUntrue { .. }))
    };
    assert!(!unproven(at(1160) - millisecond()) && unproven(at(1160)));
}

#[test]
fn a_host_that_may_still_be_at_work_on_the_iteration_before_waits_for_that() {
    let mut world = World::new();
    let grounds = emergency(&mut world, 5000);
    let ways: Vec<Way> = (1..=2).fold(Vec::new(), |mut ways, number| {
        let previous = ways.last().map(|it: &Way| it.release);
        let way = iteration(&mut world, grounds, number, previous);
        let approved = IterationApproval { grounds, release: way.release, number };
        world.say(&["max"], Emergency::Approved(approved)).unwrap();
        ways.push(way);
        ways
    });
    let (first, second) = (ways[0].booking, ways[1].booking);
    world.now = at(1000);
    // Cleared for the first just now, and nothing is heard of that yet.
    let hosts = Vec::from_iter(view("p1", (Heard::Idle, true, Some(1000)), first, world.now));
    let fleet = Fleet { now: world.now, since: at(0), hosts };
    let plan = rollout::plan(&world.state, &fleet, &second, world.now).unwrap();
    let waits = Standing::Waiting(WaitingOn::OtherWork { order: first });
    assert_eq!(plan.hosts[0].standing, waits);
    assert_eq!(check(&plan, &world.state, &fleet, world.now), []);
}
