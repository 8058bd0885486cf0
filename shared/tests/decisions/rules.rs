//! Every rule has its world: one in which it is the first to refuse, and where that can be, the only one.

use std::collections::BTreeSet;

use cutover_shared::authorise::{self, HostFacts, Question, rules};
use cutover_shared::digest::Digest;
use cutover_shared::policy::{Department, PolicyDocument};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{
    Booking, Cancel, ChangeType, Closure, ClosureResult, Emergency, Event, Freeze, Hold, HostTurn,
    Judgement, OnHalt, Phase, Release, Remark, Review, Rollback, Statement, Verdict, Vote,
};
use cutover_shared::window::Window;

use crate::forward::{emergency, iteration};
use crate::world::{Way, World, at, booking, document, key, name, names, release};

/// A question that is asked.
struct Scene {
    world: World,
    facts: HostFacts,
    order: Digest,
}

impl Scene {
    /// p1 and the booking of a release that went its whole way, as of when its window opens.
    fn whole() -> Self {
        Self::under(|_| {})
    }

    fn under(change: impl FnOnce(&mut PolicyDocument)) -> Self {
        let mut document = document(1);
        change(&mut document);
        let mut world = World::with_policy(document);
        let way = world.whole_way("1.0");
        Self::of(world, "p1", way.booking)
    }

    fn of(world: World, host: &str, order: Digest) -> Self {
        Self { facts: world.facts(host), order, world }
    }

    /// With more said, or something else known of the host.
    fn with(change: impl FnOnce(&mut World, &mut HostFacts, Way)) -> Self {
        let mut world = World::new();
        let way = world.whole_way("1.0");
        let mut facts = world.facts("p1");
        change(&mut world, &mut facts, way);
        Self { world, facts, order: way.booking }
    }

    /// A release that something is left out of on its way to a released window in production.
    fn without(left_out: &str) -> Self {
        let mut world = World::new();
        let (release, package) = world.submit("1.0");
        world.approve_without(release, package, left_out);
        let staging = world.book((release, package), "staging", &[&["s1"]]);
        let on_staging = Way { release, package, booking: staging };
        world.release_window(on_staging);
        if left_out != "staging" {
            world.outcome("s1", on_staging, Event::Committed);
        }
        let booking = world.book((release, package), "production", &[&["p1"]]);
        if left_out != "window release" {
            world.release_window(Way { booking, ..on_staging });
        }
        world.now = at(1000);
        Self::of(world, "p1", booking)
    }

    /// A booking in production of a release of another kind, released without anything else.
    fn changed(change: impl FnOnce(&mut Release)) -> Self {
        let mut world = World::new();
        let package = Digest::of(b"fix");
        let mut says = release("fix", package);
        says.environments = names(&["production"]);
        change(&mut says);
        let release = world.say(&["sue"], says).unwrap();
        let booking = world.book((release, package), "production", &[&["p1"]]);
        world.release_window(Way { release, package, booking });
        world.now = at(1000);
        Self::of(world, "p1", booking)
    }

    /// Iterations of an emergency, of which those in `approved` are approved; asked about the last.
    fn iterations(count: u32, approved: &[u32]) -> Self {
        let mut world = World::new();
        let grounds = emergency(&mut world, 5000);
        let mut previous = None;
        let mut order = grounds;
        for number in 1..=count {
            let way = iteration(&mut world, grounds, number, previous);
            if approved.contains(&number) {
                world.approve_iteration(grounds, way.release, number);
            }
            previous = Some(way.release);
            order = way.booking;
        }
        world.now = at(1000);
        Self::of(world, "p1", order)
    }

    /// An order for p1, which is at generation 4 with 1.1, to go back to 1.0.
    fn back(change: impl FnOnce(&mut World, &mut HostFacts, &mut Rollback)) -> Self {
        Self::back_under(document(1), change)
    }

    fn back_under(
        document: PolicyDocument,
        change: impl FnOnce(&mut World, &mut HostFacts, &mut Rollback),
    ) -> Self {
        let mut world = World::with_policy(document);
        let way = world.whole_way("1.1");
        let mut facts = world.facts("p1");
        let old = Digest::of(b"1.0");
        let host_key = key("p1").public().id();
        let mut says = Rollback {
            application: name("web"),
            environment: name("production"),
            hosts: vec![HostTurn { host: name("p1"), host_key, generation: 4 }],
            from: way.package,
            to: old,
            reason: "slow".to_owned(),
        };
        facts.installed.generation = 4;
        facts.installed.running = Some(way.package);
        facts.installed.previous = Some(old);
        change(&mut world, &mut facts, &mut says);
        let statement = Statement::new(at(1000), says).until(at(1600));
        let order = world.state(&["max"], &statement).unwrap();
        Self { world, facts, order }
    }

    /// A booking whose rollout halted: p1 committed, `failed` went back; p1 is to go back as well.
    fn halted(
        failed: &[&str],
        change: impl FnOnce(&mut Booking),
        know: impl FnOnce(&mut HostFacts),
    ) -> Self {
        let mut world = World::new();
        let (release, package) = world.submit("1.1");
        world.approve(release, package);
        let window = Window { start: at(1000), end: at(2000) };
        let waves: &[&[&str]] = &[&["p1"], &["p2", "p3"]];
        let mut says = booking((release, package), "production", waves, window);
        says.plan.halt_after = 2;
        says.plan.on_halt = OnHalt::ReturnAll { budget: 5 };
        change(&mut says);
        let order = world.say(&["max"], says).unwrap();
        let way = Way { release, package, booking: order };
        world.release_window(way);
        world.now = at(1500);
        world.outcome("p1", way, Event::Committed);
        for host in failed {
            world.outcome(host, way, Event::Returned { step: because(), reason: because() });
        }
        let mut facts = world.facts("p1");
        facts.installed.committed_by = Some(order);
        facts.installed.running = Some(package);
        facts.installed.previous = Some(Digest::of(b"1.0"));
        know(&mut facts);
        Self { world, facts, order }
    }

    fn question(&self) -> Question<'_> {
        Question {
            state: &self.world.state,
            host: &self.facts,
            order: self.order,
            phase: Phase::Start,
            now: self.world.now,
        }
    }

    fn later(mut self, seconds: u64) -> Self {
        self.world.now = at(seconds);
        self
    }
}

fn because() -> String {
    "because".to_owned()
}

fn review(way: Way, verdict: Verdict) -> Review {
    Review { release: way.release, environments: names(&["production"]), verdict }
}

fn returned() -> Verdict {
    Verdict::Returned { items: vec![Remark { item: "NOTES.md".to_owned(), remark: because() }] }
}

fn freeze(world: &World) -> Freeze {
    Freeze::Declared {
        policy: world.state.policy().unwrap().id(),
        environments: names(&["production"]),
        applications: names(&[]),
        start: at(1000),
        end: at(2000),
        reason: because(),
    }
}

/// Whether a rule refuses alone, or others after it see the same trouble.
#[derive(PartialEq)]
enum And {
    Nobody,
    Others,
}

type Example = (u16, Code, And, fn() -> Scene);

/// A world for each rule of going forward; some have several.
const FORWARD: &[Example] = &[
    (1, Code::PolicyExpired, And::Others, || Scene::under(|it| it.expires = at(1500)).later(1500)),
    (1, Code::PolicyNotYet, And::Nobody, || Scene::under(|it| it.not_before = Some(at(1001)))),
    (2, Code::PredicateUnknown, And::Nobody, || {
        Scene::under(|it| it.predicates.extend(["telepathy".to_owned()]))
    }),
    (3, Code::NotBooked, And::Nobody, || {
        let mut scene = Scene::whole();
        scene.order = Digest::of(b"nothing");
        scene
    }),
    (4, Code::WrongHost, And::Nobody, || {
        Scene::with(|_, facts, _| facts.host_key = key("s1").public().id())
    }),
    (4, Code::WrongEnvironment, And::Nobody, || {
        Scene::with(|_, facts, _| facts.environment = name("staging"))
    }),
    (4, Code::WrongApplication, And::Nobody, || {
        Scene::with(|_, facts, _| facts.applications.clear())
    }),
    (4, Code::WrongHost, And::Nobody, || {
        Scene::with(|world, _, _| {
            world.retire("p1").unwrap();
        })
    }),
    (6, Code::RuleMissing, And::Nobody, || {
        Scene::under(|it| it.rules.retain(|rule| rule.environment != name("production")))
    }),
    (7, Code::Cancelled, And::Nobody, || {
        Scene::with(|world, _, way| {
            let says = Cancel { release: way.release, booking: None, reason: because() };
            world.say(&["max"], says).unwrap();
        })
    }),
    (7, Code::Returned, And::Nobody, || {
        Scene::with(|world, _, way| {
            world.say(&["lib"], review(way, returned())).unwrap();
        })
    }),
    (8, Code::Superseded, And::Nobody, || {
        Scene::with(|world, _, way| {
            let mut later = release("1.1", Digest::of(b"1.1"));
            later.supersedes = Some(way.release);
            world.say(&["sue"], later).unwrap();
        })
    }),
    (9, Code::GroundMissing, And::Nobody, || {
        Scene::changed(|it| it.change = ChangeType::Emergency)
    }),
    (10, Code::IterationNotApproved, And::Nobody, || Scene::iterations(1, &[])),
    (11, Code::IterationOutOfOrder, And::Nobody, || Scene::iterations(2, &[2])),
    (12, Code::DutiesNotSeparate, And::Nobody, || {
        Scene::with(|world, _, way| {
            let judgement = Judgement::Accepted { reason: because() };
            let environments = names(&["production"]);
            world
                .say(
                    &["sue"],
                    Vote { release: way.release, environments, judgement, conditions: Vec::new() },
                )
                .unwrap();
        })
    }),
    (13, Code::NotReviewed, And::Nobody, || {
        Scene::with(|world, _, way| {
            let event = Event::Returned { step: because(), reason: because() };
            world.outcome("p1", way, event);
        })
    }),
    (13, Code::NotReviewed, And::Nobody, || Scene::without("review")),
    (14, Code::NotAssessed, And::Nobody, || Scene::without("assessment")),
    (15, Code::NotApproved, And::Nobody, || Scene::without("vote")),
    (16, Code::NotDelivered, And::Nobody, || Scene::without("delivery")),
    (17, Code::NotReleased, And::Nobody, || Scene::without("window release")),
    (18, Code::WindowTooLong, And::Nobody, || {
        Scene::under(|it| it.rules[1].longest_window = at(1999).since(at(1000)))
    }),
    (18, Code::PolicyExpired, And::Nobody, || Scene::under(|it| it.expires = at(1999))),
    (19, Code::Held, And::Nobody, || {
        Scene::with(|world, _, way| {
            let says = Hold { release: way.release, reason: because(), finish: false };
            world.say(&["sec"], says).unwrap();
        })
    }),
    (20, Code::Frozen, And::Nobody, || {
        Scene::with(|world, _, _| {
            world.say(&["max"], freeze(world)).unwrap();
        })
    }),
    (21, Code::EnvironmentNotProven, And::Nobody, || Scene::without("staging")),
    (22, Code::WindowNotOpen, And::Nobody, || Scene::whole().later(999)),
    (22, Code::WindowClosed, And::Nobody, || Scene::whole().later(2000)),
    (22, Code::WindowTooShort, And::Nobody, || Scene::whole().later(1851)),
    (23, Code::WaveNotProven, And::Nobody, || {
        let scene = Scene::whole();
        Scene::of(scene.world, "p2", scene.order)
    }),
    (24, Code::GenerationPassed, And::Nobody, || {
        Scene::with(|_, facts, way| facts.installed.spent.extend([way.booking]))
    }),
    (25, Code::Inhibited, And::Nobody, || {
        Scene::with(|_, facts, _| facts.inhibitors.push("a backup runs".to_owned()))
    }),
    (7, Code::Closed, And::Nobody, || {
        Scene::with(|world, _, way| {
            let result = ClosureResult::Successful;
            let closure = Closure::Release { release: way.release, result, review: None };
            world.say(&["max"], closure).unwrap();
        })
    }),
    (9, Code::Closed, And::Nobody, || {
        let mut scene = Scene::iterations(1, &[1]);
        let (case, _) = scene.world.state.booking(&scene.order).unwrap();
        let grounds = case.release.says().iteration.as_ref().unwrap().grounds;
        scene.world.say(&["max"], Closure::Emergency { grounds, summary: because() }).unwrap();
        scene
    }),
    (15, Code::NotApproved, And::Nobody, || {
        Scene::under(|it| it.rules[1].approval_lifetime = Some(at(1000).since(at(0))))
    }),
    (26, Code::NotConsulted, And::Nobody, || {
        Scene::under(|it| {
            it.departments = vec![Department { name: name("networks"), owners: names(&["ops"]) }];
            it.rules[1].consults = names(&["networks"]);
        })
    }),
    (28, Code::NotRehearsed, And::Nobody, || Scene::under(|it| it.rules[1].rehearsals = 1)),
    (29, Code::FormMissing, And::Nobody, || {
        Scene::under(|it| it.rules[1].forms = names(&["agency-x"]))
    }),
    (27, Code::ConditionOpen, And::Nobody, || {
        Scene::with(|world, _, way| {
            let says = Vote {
                release: way.release,
                environments: names(&["production"]),
                judgement: Judgement::Accepted { reason: because() },
                conditions: vec!["call the desk".to_owned()],
            };
            world.say(&["bea"], says).unwrap();
        })
    }),
];

/// A world for each rule of an ordered return.
const RETURN: &[Example] = &[
    (51, Code::PredicateUnknown, And::Nobody, || {
        let mut document = document(1);
        document.predicates.insert("telepathy".to_owned());
        Scene::back_under(document, |_, _, _| {})
    }),
    (52, Code::WrongHost, And::Nobody, || {
        Scene::back(|_, facts, _| facts.host_key = key("p2").public().id())
    }),
    (52, Code::WrongEnvironment, And::Nobody, || {
        Scene::back(|_, facts, _| facts.environment = name("staging"))
    }),
    (53, Code::GenerationPassed, And::Nobody, || {
        Scene::back(|_, facts, _| facts.installed.generation = 5)
    }),
    (54, Code::RollbackNotAuthorised, And::Nobody, || {
        Scene::back(|_, _, says| says.to = Digest::of(b"0.9"))
    }),
    (54, Code::RollbackNotAuthorised, And::Nobody, || {
        Scene::back(|_, facts, _| facts.installed.running = None)
    }),
    (55, Code::WindowClosed, And::Nobody, || Scene::back(|_, _, _| {}).later(1600)),
];

/// A world for each rule of the return that a halted booking orders.
const HALTING: &[Example] = &[
    (61, Code::RollbackNotAuthorised, And::Nobody, || {
        Scene::halted(&["p2", "p3"], |it| it.plan.on_halt = OnHalt::Pause, |_| {})
    }),
    (62, Code::WrongEnvironment, And::Nobody, || {
        Scene::halted(&["p2", "p3"], |_| {}, |facts| facts.environment = name("staging"))
    }),
    (63, Code::GenerationPassed, And::Nobody, || {
        Scene::halted(&["p2", "p3"], |_| {}, |facts| facts.installed.committed_by = None)
    }),
    (63, Code::RollbackNotAuthorised, And::Nobody, || {
        Scene::halted(&["p2", "p3"], |_| {}, |facts| facts.installed.running = None)
    }),
    (64, Code::RollbackNotAuthorised, And::Nobody, || Scene::halted(&["p2"], |_| {}, |_| {})),
    (65, Code::RollbackNotAuthorised, And::Nobody, || {
        Scene::halted(&["p2", "p3"], |_| {}, |facts| facts.installed.previous = None)
    }),
    (66, Code::WindowClosed, And::Nobody, || {
        Scene::halted(&["p2", "p3"], |_| {}, |_| {}).later(2000 + 3600)
    }),
];

fn refusals(scene: &Scene, of: &[rules::Rule]) -> Vec<(u16, Refusal)> {
    let question = scene.question();
    of.iter().filter_map(|rule| Some((rule.number, (rule.check)(&question).err()?))).collect()
}

fn walk(worlds: &[Example], of: &[rules::Rule], decide: fn(&Scene) -> Result<(), Refusal>) {
    for (number, code, and, make) in worlds {
        let scene = make();
        let found = refusals(&scene, of);
        let told: BTreeSet<_> = found.iter().map(|(_, it)| it.facts.as_str()).collect();
        let (first, refusal) = found.first().unwrap_or_else(|| panic!("rule {number} is silent"));
        assert_eq!((first, refusal.code), (number, *code), "{found:?}");
        assert_eq!(told.len() == 1, *and == And::Nobody, "rule {number}: {found:?}");
        assert_eq!(decide(&scene).unwrap_err(), *refusal, "the first one is told");
    }
    let covered: BTreeSet<_> = worlds.iter().map(|(number, ..)| *number).collect();
    let all: BTreeSet<_> = of.iter().map(|rule| rule.number).collect();
    assert_eq!(covered, all, "each rule has a world");
}

#[test]
fn each_rule_of_going_forward_refuses_first_somewhere() {
    let whole = Scene::whole();
    assert_eq!(refusals(&whole, rules::FORWARD), [], "the worlds begin with one that is good");
    walk(FORWARD, rules::FORWARD, |scene| authorise::judge(&scene.question()).map(drop));
}

#[test]
fn each_rule_of_an_ordered_return_refuses_first_somewhere() {
    let whole = Scene::back(|_, _, _| {});
    assert_eq!(refusals(&whole, rules::RETURN), [], "the worlds begin with one that is good");
    walk(RETURN, rules::RETURN, |scene| authorise::authorise_return(&scene.question()).map(drop));
}

#[test]
fn each_rule_of_a_halted_bookings_return_refuses_first_somewhere() {
    let whole = Scene::halted(&["p2", "p3"], |_| {}, |_| {});
    assert_eq!(refusals(&whole, rules::HALTING), [], "the worlds begin with one that is good");
    walk(HALTING, rules::HALTING, |scene| authorise::authorise_return(&scene.question()).map(drop));
}

/// Several troubles at once: all are told, each once, in the order of the rules.
#[test]
fn explain_tells_all_that_refuses() {
    let scene = Scene::with(|world, facts, way| {
        world.say(&["max"], freeze(world)).unwrap();
        let says = Hold { release: way.release, reason: because(), finish: false };
        world.say(&["sec"], says).unwrap();
        facts.inhibitors.push(because());
        world.now = at(1851);
    });
    let told = authorise::explain(&scene.question());
    assert_eq!(told, refusals(&scene, rules::FORWARD));
    let told: Vec<_> = told.into_iter().map(|(number, it)| (number, it.code)).collect();
    let expected =
        [(19, Code::Held), (20, Code::Frozen), (22, Code::WindowTooShort), (25, Code::Inhibited)];
    assert_eq!(told, expected);
    let nothing = Scene { order: Digest::of(b"nothing"), ..Scene::whole() };
    let told = authorise::explain(&nothing.question());
    assert_eq!(told.len(), 1, "what every rule misses is told once: {told:?}");
}

/// Every change type in every environment: where the policy has no rule, nothing goes forward.
#[test]
fn a_case_that_no_rule_matches_is_refused() {
    for change in [ChangeType::Standard, ChangeType::Normal, ChangeType::Emergency] {
        let mut document = document(1);
        document.rules.retain(|rule| {
            rule.change != change && rule.environment == name("production")
                || rule.environment == name("staging")
        });
        let mut world = World::with_policy(document);
        let package = Digest::of(b"fix");
        let mut says = release("fix", package);
        says.change = change;
        let release = world.say(&["sue"], says).unwrap();
        let window = Window { start: at(1000), end: at(2000) };
        let says = booking((release, package), "production", &[&["p1"]], window);
        let order = world.say(&["max"], says).unwrap();
        world.now = at(1000);
        let scene = Scene::of(world, "p1", order);
        let refusal = authorise::judge(&scene.question()).unwrap_err();
        assert_eq!(refusal.code, Code::RuleMissing, "{change}");
        let staging = scene.world.state.policy().unwrap().rule(&name("moon"), change);
        assert_eq!(staging.unwrap_err().code, Code::RuleMissing);
    }
    let opened = Emergency::Opened {
        policy: Digest::of(b"policy"),
        incident: because(),
        application: name("web"),
        environments: names(&["production"]),
        reason: because(),
    };
    assert!(World::new().say(&["max"], opened).is_err(), "an emergency has an end");
}
