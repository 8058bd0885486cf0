//! Going forward: the whole way passes, and each thing missing or wrong refuses with its own code.

use std::time::Duration;

use cutover_shared::authorise::{self, ClearanceFacts, Clearances, Question};
use cutover_shared::digest::Digest;
use cutover_shared::evidence;
use cutover_shared::policy::Clock;
use cutover_shared::refusal::Code;
use cutover_shared::statement::{
    Assessment, Cancel, ChangeType, Emergency, Event, Freeze, Hold, HostTurn, Iteration,
    IterationApproval, Judgement, Phase, Remark, Resume, Review, Rollback, Statement, Verdict,
    Vote,
};
use cutover_shared::window::Window;

use crate::world::{Way, World, at, booking, document, key, name, names, release};

fn code<T: std::fmt::Debug>(result: Result<T, cutover_shared::refusal::Refusal>) -> Code {
    result.unwrap_err().code
}

fn returned() -> Event {
    Event::Returned { step: "checking".to_owned(), reason: "unhealthy".to_owned() }
}

#[test]
fn the_whole_way_is_an_order() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let order = world.ask("p1", way.booking).unwrap();
    assert_eq!(order.candidate().package(), way.package);
    assert_eq!(order.candidate().window(), Window { start: at(1000), end: at(2000) });
}

#[test]
fn each_statement_that_is_missing_is_named() {
    // The statements of the whole way, by what their absence must be called.
    let missing = [
        ("review", Code::NotReviewed),
        ("assessment", Code::NotAssessed),
        ("vote", Code::NotApproved),
        ("delivery", Code::NotDelivered),
        ("window-release", Code::NotReleased),
        ("booking", Code::NotBooked),
        ("release", Code::NotBooked),
        ("outcome", Code::EnvironmentNotProven),
    ];
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let whole = evidence::select(&world.state, &way.booking, &key("p1").public().id(), 1);
    for (predicate, expected) in missing {
        let is = |index: &u64| {
            let envelope = &world.entries[usize::try_from(*index).unwrap()];
            let envelope = cutover_shared::dsse::Envelope::parse(envelope).unwrap();
            Statement::read(&envelope).unwrap().says.predicate().name() == predicate
        };
        let dropped = whole.iter().copied().rfind(is).unwrap();
        let rest = whole.iter().copied().filter(|index| *index != dropped);
        let evidence = world.evidence_of(way.booking, rest, 0);
        let opened = evidence::open(&evidence, &way.booking, &world.trust()).unwrap();
        let answer = world.ask_on(&opened, &world.facts("p1"), way.booking);
        assert_eq!(code(answer), expected, "without the {predicate}");
    }
}

#[test]
fn window_edges() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let millisecond = Duration::from_millis(1);
    let cases = [
        (at(1000) - millisecond, Some(Code::WindowNotOpen)),
        (at(1000), None),
        (at(2000) - Duration::from_secs(150), None),
        (at(2000) - Duration::from_secs(150) + millisecond, Some(Code::WindowTooShort)),
        (at(2000) - millisecond, Some(Code::WindowTooShort)),
        (at(2000), Some(Code::WindowClosed)),
    ];
    for (now, expected) in cases {
        world.now = now;
        assert_eq!(world.ask("p1", way.booking).err().map(|it| it.code), expected, "{now}");
    }
}

#[test]
fn other_hosts_environments_and_applications() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let evidence = world.evidence(way.booking, "p1", 0);
    let opened = evidence::open(&evidence, &way.booking, &world.trust()).unwrap();
    let mut facts = world.facts("p1");
    facts.applications = names(&["mail"]);
    assert_eq!(code(world.ask_on(&opened, &facts, way.booking)), Code::WrongApplication);
    let mut facts = world.facts("p1");
    facts.environment = name("staging");
    assert_eq!(code(world.ask_on(&opened, &facts, way.booking)), Code::WrongEnvironment);
    let mut facts = world.facts("p1");
    facts.host_key = key("somebody").public().id();
    assert_eq!(code(world.ask_on(&opened, &facts, way.booking)), Code::WrongHost);
    assert_eq!(code(world.ask("s1", way.booking)), Code::WrongEnvironment);
}

#[test]
fn later_waves_need_the_earlier_hosts_own_word() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    assert_eq!(code(world.ask("p2", way.booking)), Code::WaveNotProven);
    world.outcome("p1", way, Event::Committed);
    assert!(world.ask("p2", way.booking).is_ok());
    world.outcome("p1", way, returned());
    // The return also makes a new review necessary, and that is told first.
    assert_eq!(code(world.ask("p2", way.booking)), Code::NotReviewed);
}

#[test]
fn a_returned_release_needs_a_new_review() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    world.outcome("p1", way, returned());
    assert_eq!(code(world.ask("p1", way.booking)), Code::NotReviewed);
    // The host knows by itself, even when the coordinator hides the outcome.
    let mut facts = world.facts("p1");
    let back = authorise::TakenBack { size: world.tree.size(), time: world.now };
    facts.installed.returned.insert(way.package, back);
    let hidden = world.tree.size() - 1;
    let all = evidence::select(&world.state, &way.booking, &key("p1").public().id(), 1);
    let evidence =
        world.evidence_of(way.booking, all.into_iter().filter(|index| *index != hidden), 0);
    let opened = evidence::open(&evidence, &way.booking, &world.trust()).unwrap();
    assert_eq!(code(world.ask_on(&opened, &facts, way.booking)), Code::NotReviewed);
    let review = Review {
        release: way.release,
        environments: names(&["production"]),
        verdict: Verdict::Complete,
    };
    world.say(&["lib"], review).unwrap();
    let evidence = world.evidence(way.booking, "p1", 0);
    let opened = evidence::open(&evidence, &way.booking, &world.trust()).unwrap();
    assert!(world.ask_on(&opened, &facts, way.booking).is_ok());
    facts.installed.spent.insert(way.booking);
    assert_eq!(code(world.ask_on(&opened, &facts, way.booking)), Code::GenerationPassed);
}

#[test]
fn what_stands_against_it() {
    let reason = || "because".to_owned();
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let release = way.release;
    let hold = world.say(&["sec"], Hold { release, reason: reason(), finish: false }).unwrap();
    assert_eq!(code(world.ask("p1", way.booking)), Code::Held);
    let resume = Resume { hold, reason: reason() };
    assert_eq!(code(world.say(&["max"], resume.clone())), Code::RoleMissing, "security's to lift");
    world.say(&["sec"], resume).unwrap();
    assert!(world.ask("p1", way.booking).is_ok());
    let freeze = Freeze::Declared {
        policy: world.state.policy().unwrap().id(),
        environments: names(&["production"]),
        applications: names(&[]),
        start: at(1200),
        end: at(2100),
        reason: reason(),
    };
    let freeze = world.say(&["max"], freeze).unwrap();
    // Applying takes 100 s and going back 50 s: what would end before the freeze may begin.
    world.now = at(1050);
    assert!(world.ask("p1", way.booking).is_ok());
    world.now = at(1050) + Duration::from_millis(1);
    assert_eq!(code(world.ask("p1", way.booking)), Code::Frozen);
    world.now = at(1600);
    assert_eq!(code(world.ask("p1", way.booking)), Code::Frozen);
    world.say(&["max"], Freeze::Lifted { freeze, reason: reason() }).unwrap();
    assert!(world.ask("p1", way.booking).is_ok());
    let items = vec![Remark { item: "NOTES.md".to_owned(), remark: "empty".to_owned() }];
    for (verdict, expected) in [
        (Verdict::Returned { items }, Code::Returned),
        (Verdict::Denied { reason: reason() }, Code::Denied),
    ] {
        world
            .say(&["lib"], Review { release, environments: names(&["production"]), verdict })
            .unwrap();
        assert_eq!(code(world.ask("p1", way.booking)), expected);
    }
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let cancel = Cancel { release: way.release, booking: Some(way.booking), reason: reason() };
    world.say(&["max"], cancel).unwrap();
    assert_eq!(code(world.ask("p1", way.booking)), Code::Cancelled);
}

#[test]
fn a_denied_package_is_denied_under_any_release() {
    let mut world = World::new();
    let first = world.whole_way("1.0");
    let denial = Assessment {
        release: first.release,
        package: first.package,
        environments: names(&["production"]),
        judgement: Judgement::Denied { reason: "leaks".to_owned() },
    };
    world.say(&["sec"], denial).unwrap();
    assert_eq!(code(world.ask("p1", first.booking)), Code::Denied);
    let mut again = release("1.0 again", first.package);
    again.summary = "the same bytes".to_owned();
    world.now = at(0);
    let second = world.say(&["sue"], again).unwrap();
    world.approve(second, first.package);
    let booking = world.book((second, first.package), "production", &[&["p1"]]);
    world.release_window(Way { release: second, package: first.package, booking });
    world.now = at(1000);
    // Even when the sub-log holds the second release only, the full fold knows: the clearance is refused
    // by whoever folds it all. With the denial in the evidence the host itself says so.
    let all = 0..world.tree.size();
    let evidence = world.evidence_of(booking, all, 0);
    let opened = evidence::open(&evidence, &booking, &world.trust()).unwrap();
    assert_eq!(code(world.ask_on(&opened, &world.facts("p1"), booking)), Code::Denied);
}

#[test]
fn duties_are_owners_not_keys() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    // The submitter is a board member too; a coordinator that admits the vote gains nothing.
    let vote = Vote {
        release: way.release,
        environments: names(&["production"]),
        judgement: Judgement::Accepted { reason: String::new() },
        conditions: Vec::new(),
    };
    world.say(&["sue"], vote).unwrap();
    assert_eq!(code(world.ask("p1", way.booking)), Code::DutiesNotSeparate);
}

#[test]
fn one_owner_is_one_vote() {
    let mut document = document(1);
    let mut second = document.keys.iter().find(|it| it.owner == name("bea")).unwrap().clone();
    second.key = key("bea's other key").public();
    document.keys.push(second);
    let mut world = World::with_policy(document);
    let (release, package) = world.submit("1.0");
    let review = Review {
        release,
        environments: names(&["staging", "production"]),
        verdict: Verdict::Complete,
    };
    world.say(&["lib"], review).unwrap();
    for owner in ["bea", "bea's other key"] {
        let vote = Vote {
            release,
            environments: names(&["production"]),
            judgement: Judgement::Accepted { reason: String::new() },
            conditions: Vec::new(),
        };
        world.say(&[owner], vote).unwrap();
    }
    let case = world.state.case(&release).unwrap();
    assert_eq!(case.votes_for(&name("production")).len(), 1);
    let _ = package;
}

#[test]
fn the_clearance_must_be_this_one() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let nonce = Digest::of(b"nonce");
    let evidence = world.evidence(way.booking, "p1", 0);
    let opened = evidence::open(&evidence, &way.booking, &world.trust()).unwrap();
    let facts = world.facts("p1");
    let good = world.clearance("p1", way.booking, nonce);
    let ask = |bytes: &[u8], phase, now, nonce| {
        let question =
            Question { state: opened.state(), host: &facts, order: way.booking, phase, now };
        let head = opened.checkpoint().head.clone();
        let round_trip = Duration::from_millis(5);
        let clearances = Clearances { coordinator: bytes, witnesses: &[] };
        authorise::authorise(&question, &clearances, &ClearanceFacts { nonce, round_trip, head })
            .err()
            .map(|it| it.code)
    };
    let signed = |owner: &str| good.signed_by([&key(owner)]).to_bytes();
    let now = world.now;
    assert_eq!(ask(&signed("log"), Phase::Start, now, nonce), None);
    assert_eq!(ask(&signed("max"), Phase::Start, now, nonce), Some(Code::SignatureInvalid));
    assert_eq!(ask(&signed("log"), Phase::Activate, now, nonce), Some(Code::NotCleared));
    let replayed = Digest::of(b"another");
    assert_eq!(ask(&signed("log"), Phase::Start, now, replayed), Some(Code::NotCleared));
    let late = now + Duration::from_secs(3);
    assert_eq!(ask(&signed("log"), Phase::Start, late, nonce), Some(Code::ClockSkew));
    assert_eq!(ask(b"{}", Phase::Start, now, nonce), Some(Code::Malformed));
    let other = world.clearance("p2", way.booking, nonce).signed_by([&key("log")]).to_bytes();
    assert_eq!(ask(&other, Phase::Start, now, nonce), Some(Code::NotCleared));
}

#[test]
fn clocks() {
    let mut strict = document(1);
    strict.freshness.clock = Clock::Synchronised;
    let mut world = World::with_policy(strict);
    let way = world.whole_way("1.0");
    let evidence = world.evidence(way.booking, "p1", 0);
    let opened = evidence::open(&evidence, &way.booking, &world.trust()).unwrap();
    let mut facts = world.facts("p1");
    facts.clock_synchronised = Some(false);
    assert_eq!(code(world.ask_on(&opened, &facts, way.booking)), Code::ClockUnsynchronised);
    facts.clock_synchronised = Some(true);
    assert!(world.ask_on(&opened, &facts, way.booking).is_ok());
    facts.newest_time = Some(world.now + Duration::from_millis(1));
    assert_eq!(code(world.ask_on(&opened, &facts, way.booking)), Code::ClockSteppedBack);
    facts.newest_time = None;
    facts.inhibitors = vec!["a backup runs".to_owned()];
    assert_eq!(code(world.ask_on(&opened, &facts, way.booking)), Code::Inhibited);
}

#[test]
fn policies_end_and_know_what_they_know() {
    let mut ending = document(1);
    ending.expires = at(1500);
    let mut world = World::with_policy(ending);
    let way = world.whole_way("1.0");
    assert_eq!(code(world.ask("p1", way.booking)), Code::PolicyExpired, "booked past its end");
    let mut newer = document(1);
    newer.predicates.insert("telepathy".to_owned());
    let mut world = World::with_policy(newer);
    let way = world.whole_way("1.0");
    let answer = world.ask("p1", way.booking);
    // The pinned policy is trusted before it is folded, so the fold meets it again in the evidence.
    assert_eq!(code(answer), Code::PredicateUnknown);
    let mut no_rule = document(1);
    no_rule.rules.retain(|rule| rule.environment != name("production"));
    let mut world = World::with_policy(no_rule);
    let way = world.whole_way("1.0");
    assert_eq!(code(world.ask("p1", way.booking)), Code::RuleMissing);
}

pub(crate) fn emergency(world: &mut World, until: u64) -> Digest {
    let opened = Emergency::Opened {
        policy: world.state.policy().unwrap().id(),
        incident: "INC-7".to_owned(),
        application: name("web"),
        environments: names(&["production"]),
        reason: "down".to_owned(),
    };
    world.state(&["max"], &Statement::new(at(0), opened).until(at(until))).unwrap()
}

pub(crate) fn iteration(
    world: &mut World,
    grounds: Digest,
    number: u32,
    previous: Option<Digest>,
) -> Way {
    let version = format!("fix {number}");
    let package = Digest::of(version.as_bytes());
    let mut says = release(&version, package);
    says.change = ChangeType::Emergency;
    says.environments = names(&["production"]);
    says.iteration = Some(Iteration { grounds, number, previous });
    let release = world.say(&["sue"], says).unwrap();
    let booking = world.book((release, package), "production", &[&["p1"]]);
    let way = Way { release, package, booking };
    world.release_window(way);
    way
}

#[test]
fn iterations_act_one_by_one_each_with_its_own_signature() {
    let mut world = World::new();
    let grounds = emergency(&mut world, 5000);
    let first = iteration(&mut world, grounds, 1, None);
    world.now = at(1000);
    assert_eq!(code(world.ask("p1", first.booking)), Code::IterationNotApproved);
    let approval = |way: Way, number| {
        Emergency::Approved(IterationApproval { grounds, release: way.release, number })
    };
    world.say(&["max"], approval(first, 1)).unwrap();
    assert!(world.ask("p1", first.booking).is_ok());
    world.now = at(0);
    let second = iteration(&mut world, grounds, 2, Some(first.release));
    world.now = at(1000);
    assert_eq!(code(world.ask("p1", second.booking)), Code::IterationNotApproved);
    assert_eq!(code(world.say(&["max"], approval(second, 1))), Code::DigestMismatch);
    world.say(&["max"], approval(second, 2)).unwrap();
    assert!(world.ask("p1", second.booking).is_ok());
    let mut facts = world.facts("p1");
    facts.installed.iterations.insert(grounds, 2);
    let all = world.evidence_of(first.booking, 0..world.tree.size(), 0);
    let opened = evidence::open(&all, &first.booking, &world.trust()).unwrap();
    assert_eq!(code(world.ask_on(&opened, &facts, first.booking)), Code::Superseded);
    let third = {
        world.now = at(0);
        let unapproved = iteration(&mut world, grounds, 3, Some(second.release));
        let third = iteration(&mut world, grounds, 4, Some(unapproved.release));
        world.say(&["max"], approval(third, 4)).unwrap();
        world.now = at(1000);
        third
    };
    assert_eq!(code(world.ask("p1", third.booking)), Code::IterationOutOfOrder);
    world.now = at(0);
    let late = emergency(&mut world, 500);
    let way = iteration(&mut world, late, 1, None);
    world.now = at(1000);
    assert_eq!(code(world.ask("p1", way.booking)), Code::GroundMissing, "it has run out");
}

#[test]
fn rollbacks_go_one_back_at_one_generation_once() {
    let mut world = World::new();
    let way = world.whole_way("1.1");
    let old = Digest::of(b"1.0");
    let says = Rollback {
        application: name("web"),
        environment: name("production"),
        hosts: vec![HostTurn {
            host: name("p1"),
            host_key: key("p1").public().id(),
            generation: 4,
        }],
        from: way.package,
        to: old,
        reason: "slow".to_owned(),
    };
    let order = world.state(&["max"], &Statement::new(at(1000), says).until(at(1600))).unwrap();
    let mut facts = world.facts("p1");
    facts.installed.generation = 4;
    facts.installed.running = Some(way.package);
    facts.installed.previous = Some(old);
    let ask = |world: &World, facts: &authorise::HostFacts, now| {
        let evidence = world.evidence(order, "p1", 0);
        let opened = evidence::open(&evidence, &order, &world.trust()).unwrap();
        let question =
            Question { state: opened.state(), host: facts, order, phase: Phase::Start, now };
        authorise::authorise_return(&question)
    };
    assert_eq!(ask(&world, &facts, at(1000)).unwrap().to(), old);
    assert_eq!(code(ask(&world, &facts, at(1600))), Code::WindowClosed);
    let mut later = facts.clone();
    later.installed.generation = 5;
    assert_eq!(code(ask(&world, &later, at(1000))), Code::GenerationPassed);
    let mut further = facts.clone();
    further.installed.previous = Some(Digest::of(b"0.9"));
    assert_eq!(code(ask(&world, &further, at(1000))), Code::RollbackNotAuthorised);
    let mut elsewhere = facts.clone();
    elsewhere.host_key = key("p2").public().id();
    assert_eq!(code(ask(&world, &elsewhere, at(1000))), Code::WrongHost);
}

#[test]
fn explain_names_every_refusal() {
    let mut world = World::new();
    let (release, package) = world.submit("1.0");
    let order = world.book((release, package), "production", &[&["p1"]]);
    let facts = world.facts("p1");
    let question =
        Question { state: &world.state, host: &facts, order, phase: Phase::Start, now: at(0) };
    let codes: Vec<_> = authorise::explain(&question).into_iter().map(|(_, it)| it.code).collect();
    let expected = [
        Code::NotReviewed,
        Code::NotAssessed,
        Code::NotApproved,
        Code::NotDelivered,
        Code::NotReleased,
        Code::EnvironmentNotProven,
        Code::WindowNotOpen,
    ];
    assert_eq!(codes, expected);
    let long = Window { start: at(1000), end: at(1000 + 9 * 3600) };
    let order =
        world.say(&["max"], booking((release, package), "production", &[&["p1"]], long)).unwrap();
    let question = Question { order, ..question_of(&world, &facts) };
    let codes: Vec<_> = authorise::explain(&question).into_iter().map(|(_, it)| it.code).collect();
    assert!(codes.contains(&Code::WindowTooLong));
}

fn question_of<'a>(world: &'a World, host: &'a authorise::HostFacts) -> Question<'a> {
    Question { state: &world.state, host, order: Digest::of(b""), phase: Phase::Start, now: at(0) }
}
