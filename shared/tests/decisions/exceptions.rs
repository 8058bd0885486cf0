//! Exceptions: overrides of freezes, waivers, standard changes, each by two people or by somebody else.

use std::collections::BTreeSet;
use std::time::Duration;

use cutover_shared::authorise::{self, Question};
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::policy::{
    Department, Duties, Exception, KeyStatus, MAX_WITNESSES, PolicyDocument, Role, Rule, Waivable,
    WitnessKey,
};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{
    ChangeType, Differing, Event, Freeze, Judgement, Override, PassedFreeze, Phase, Release,
    Review, Says, Standard, Statement, Template, Verdict, Vote, Waiver,
};

use crate::world::{Way, World, at, document, key, name, names, release};

/// A freeze of production can be passed with security, and everything waived with security.
fn lenient() -> PolicyDocument {
    let mut document = document(1);
    let by = [Role::ChangeManager, Role::Security];
    let waivable = || Exception::ALL.iter().map(|exception| Waivable { exception: *exception, by });
    let rule = document
        .rules
        .iter_mut()
        .find(|rule| rule.environment == name("production") && rule.change == ChangeType::Normal);
    let rule = rule.unwrap();
    rule.freeze_override = Some(Role::Security);
    rule.waivable = waivable().collect();
    document
}

fn because() -> String {
    "because".to_owned()
}

fn freeze(world: &mut World, start: u64, end: u64) -> Digest {
    let says = Freeze::Declared {
        policy: world.state.policy().unwrap().id(),
        environments: names(&["production"]),
        applications: names(&[]),
        start: at(start),
        end: at(end),
        reason: because(),
    };
    world.say(&["max"], says).unwrap()
}

fn passing(way: Way, freezes: &[Digest]) -> Override {
    let freezes = freezes.iter().map(|id| PassedFreeze { freeze: *id, reason: because() });
    Override { release: way.release, booking: way.booking, freezes: freezes.collect() }
}

/// What p1 says, on the evidence that an honest coordinator sends.
fn ask(world: &World, way: Way) -> Option<Code> {
    world.ask("p1", way.booking).err().map(|it| it.code)
}

fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> Code {
    result.unwrap_err().code
}

#[test]
fn an_override_passes_the_freezes_that_it_names() {
    let mut world = World::with_policy(lenient());
    let way = world.whole_way("1.0");
    let first = freeze(&mut world, 900, 3000);
    let second = freeze(&mut world, 1000, 1200);
    world.say(&["max", "sec"], passing(way, &[first])).unwrap();
    assert_eq!(ask(&world, way), Some(Code::Frozen), "the second was not named");
    world.say(&["sec", "max"], passing(way, &[first, second])).unwrap();
    assert_eq!(ask(&world, way), None);
    let facts = world.facts("p1");
    let (order, phase) = (way.booking, Phase::Start);
    let question = Question { state: &world.state, host: &facts, order, phase, now: world.now };
    assert_eq!(authorise::exceptions(&question).overrides.len(), 2, "for all to see");
    freeze(&mut world, 1500, 3000);
    world.now = at(1400);
    assert_eq!(ask(&world, way), Some(Code::Frozen), "one declared later was not named");
}

#[test]
fn an_override_takes_two_owners_in_their_roles() {
    let mut world = World::with_policy(lenient());
    let way = world.whole_way("1.0");
    let id = freeze(&mut world, 900, 3000);
    let cases: [(&[&str], Code); 6] = [
        (&["max"], Code::ThresholdNotMet),
        (&["sec"], Code::ThresholdNotMet),
        (&["max", "stranger"], Code::ThresholdNotMet),
        (&["max", "bea"], Code::RoleMissing),
        (&["sec", "bea"], Code::RoleMissing),
        (&["max", "sec", "sue"], Code::DutiesNotSeparate),
    ];
    for (owners, expected) in cases {
        assert_eq!(code(world.say(owners, passing(way, &[id]))), expected, "{owners:?}");
    }
    let unknown = Digest::of(b"no freeze");
    let both = ["max", "sec"];
    assert_eq!(code(world.say(&both, passing(way, &[unknown]))), Code::SubjectUnknown);
    assert_eq!(code(world.say(&both, passing(way, &[]))), Code::Malformed);
    assert_eq!(code(world.say(&both, passing(way, &[id, id]))), Code::Malformed);
    let other = Way { release: way.package, ..way };
    assert_eq!(code(world.say(&both, passing(other, &[id]))), Code::DigestMismatch);
    assert_eq!(ask(&world, way), Some(Code::Frozen));
    // Somebody who is both is still one person.
    let mut both_roles = lenient();
    let max = both_roles.keys.iter_mut().find(|it| it.owner == name("max")).unwrap();
    max.roles.insert(Role::Security);
    let mut second = max.clone();
    second.key = key("max's other key").public();
    both_roles.keys.push(second);
    let mut world = World::with_policy(both_roles);
    let way = world.whole_way("1.0");
    let id = freeze(&mut world, 900, 3000);
    let alone = world.say(&["max", "max's other key"], passing(way, &[id]));
    assert_eq!(code(alone), Code::ThresholdNotMet);
}

#[test]
fn where_the_policy_names_nobody_no_freeze_is_passed() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let id = freeze(&mut world, 900, 3000);
    assert_eq!(code(world.say(&["max", "sec"], passing(way, &[id]))), Code::NotWaivable);
    // And what was passed is passed no longer when the next policy takes that back.
    let mut world = World::with_policy(lenient());
    let way = world.whole_way("1.0");
    let id = freeze(&mut world, 900, 3000);
    world.say(&["max", "sec"], passing(way, &[id])).unwrap();
    assert_eq!(ask(&world, way), None);
    let mut stricter = lenient();
    stricter.version = 2;
    stricter.rules[1].freeze_override = None;
    let bytes = Statement::new(world.now, stricter).signed_by([&key("root")]).to_bytes();
    world.append_bytes(bytes).unwrap();
    assert_eq!(ask(&world, way), Some(Code::Frozen));
}

fn waiver(release: Digest, exception: Exception) -> Statement {
    let environment = name("production");
    let says = Waiver { release, environment, exception, reason: because() };
    Statement::new(at(0), says).until(at(5000))
}

/// A way on which something that people judge is missing.
fn lacking(what: Exception) -> (World, Way) {
    let mut policy = lenient();
    if what == Exception::Consults {
        policy.departments = vec![Department { name: name("desk"), owners: names(&["ops"]) }];
        policy.rules[1].consults = names(&["desk"]);
    }
    let mut world = World::with_policy(policy);
    let (release, package) = world.submit("1.0");
    let left_out = match what {
        Exception::Review => "review",
        Exception::Assessment => "assessment",
        Exception::Votes => "vote",
        Exception::Delivery => "delivery",
        Exception::Duties | Exception::Environments | Exception::Consults => "",
    };
    world.approve_without(release, package, left_out);
    if what == Exception::Duties {
        let judgement = Judgement::Accepted { reason: because() };
        let environments = names(&["production"]);
        world
            .say(&["sue"], Vote { release, environments, judgement, conditions: Vec::new() })
            .unwrap();
    }
    let staging = world.book((release, package), "staging", &[&["s1"]]);
    let on_staging = Way { release, package, booking: staging };
    world.release_window(on_staging);
    if what != Exception::Environments {
        world.outcome("s1", on_staging, Event::Committed);
    }
    let booking = world.book((release, package), "production", &[&["p1"]]);
    let way = Way { booking, ..on_staging };
    world.release_window(way);
    world.now = at(1000);
    (world, way)
}

#[test]
fn each_exception_waives_its_rule_and_no_other() {
    let expected = [
        Code::DutiesNotSeparate,
        Code::NotReviewed,
        Code::NotAssessed,
        Code::NotApproved,
        Code::NotDelivered,
        Code::EnvironmentNotProven,
        Code::NotConsulted,
    ];
    assert_eq!(Exception::ALL.len(), expected.len());
    for (what, expected) in Exception::ALL.iter().zip(expected) {
        let (mut world, way) = lacking(*what);
        assert_eq!(ask(&world, way), Some(expected), "{what}");
        for other in Exception::ALL.iter().filter(|it| *it != what) {
            world.state(&["max", "sec"], &waiver(way.release, *other)).unwrap();
        }
        assert_eq!(ask(&world, way), Some(expected), "{what}, with all the others waived");
        world.state(&["max", "sec"], &waiver(way.release, *what)).unwrap();
        assert_eq!(ask(&world, way), None, "{what}");
        let facts = world.facts("p1");
        let (order, phase) = (way.booking, Phase::Start);
        let question = Question { state: &world.state, host: &facts, order, phase, now: world.now };
        let told = authorise::exceptions(&question).waivers.len();
        assert_eq!(told, Exception::ALL.len(), "for all to see");
    }
}

#[test]
fn waivers_take_two_owners_an_end_and_a_policy_that_lists_them() {
    let (mut world, way) = lacking(Exception::Delivery);
    let good = waiver(way.release, Exception::Delivery);
    let cases: [(&[&str], Code); 4] = [
        (&["max"], Code::ThresholdNotMet),
        (&["max", "lib"], Code::RoleMissing),
        (&["sec", "lib"], Code::RoleMissing),
        (&["max", "sec", "sue"], Code::DutiesNotSeparate),
    ];
    for (owners, expected) in cases {
        assert_eq!(code(world.state(owners, &good)), expected, "{owners:?}");
    }
    let mut endless = good.clone();
    endless.header.not_after = None;
    assert_eq!(code(world.state(&["max", "sec"], &endless)), Code::Malformed);
    let mut elsewhere = good.clone();
    let Says::Waiver(says) = &mut elsewhere.says else { panic!("a waiver") };
    says.environment = name("moon");
    assert_eq!(code(world.state(&["max", "sec"], &elsewhere)), Code::WrongEnvironment);
    let ended = good.clone().until(at(1500));
    world.state(&["max", "sec"], &ended).unwrap();
    assert_eq!(ask(&world, way), None);
    world.now = at(1500);
    assert_eq!(ask(&world, way), Some(Code::NotDelivered), "it has run out");
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let unlisted = waiver(way.release, Exception::Delivery);
    assert_eq!(code(world.state(&["max", "sec"], &unlisted)), Code::NotWaivable);
}

#[test]
fn what_no_waiver_can_do_without() {
    // A rejecting vote, the review that a return made necessary (P8), and what cannot be taken back.
    let (mut world, way) = lacking(Exception::Votes);
    world.state(&["max", "sec"], &waiver(way.release, Exception::Votes)).unwrap();
    let judgement = Judgement::Denied { reason: because() };
    let environments = names(&["production"]);
    let vote = Vote { release: way.release, environments, judgement, conditions: Vec::new() };
    world.say(&["bob"], vote).unwrap();
    assert_eq!(ask(&world, way), Some(Code::NotApproved));
    let (mut world, way) = lacking(Exception::Review);
    world.state(&["max", "sec"], &waiver(way.release, Exception::Review)).unwrap();
    assert_eq!(ask(&world, way), None);
    world.outcome("p1", way, Event::Returned { step: because(), reason: because() });
    assert_eq!(ask(&world, way), Some(Code::NotReviewed));
    for (what, expected) in
        [(Exception::Assessment, Code::NotAssessed), (Exception::Votes, Code::NotApproved)]
    {
        let mut world = World::with_policy(lenient());
        let package = Digest::of(b"for good");
        let mut says = release("for good", package);
        says.irreversible = true;
        let release = world.say(&["sue"], says).unwrap();
        let left_out = if what == Exception::Votes { "votes" } else { "assessment" };
        world.approve_without(release, package, left_out);
        for exception in Exception::ALL {
            world.state(&["max", "sec"], &waiver(release, *exception)).unwrap();
        }
        let booking = world.book((release, package), "production", &[&["p1"]]);
        let way = Way { release, package, booking };
        world.release_window(way);
        world.now = at(1000);
        assert_eq!(ask(&world, way), Some(expected), "{what}");
    }
}

#[test]
fn words_for_what_must_not_be_waived_do_not_exist() {
    for word in ["signature", "log", "host", "window", "generation", "freeze", "hold", "denial"] {
        let json = format!(r#"{{"exception":"{word}","by":["change-manager","security"]}}"#);
        assert!(serde_json::from_str::<Waivable>(&json).is_err(), "{word}");
    }
    for by in [r#"["security"]"#, r#"["security","board","root"]"#] {
        let json = format!(r#"{{"exception":"review","by":{by}}}"#);
        assert!(serde_json::from_str::<Waivable>(&json).is_err(), "{by}");
    }
}

fn template(world: &World, may_differ: &[Differing]) -> Template {
    Template {
        policy: world.state.policy().unwrap().id(),
        title: "refresh the list".to_owned(),
        application: name("web"),
        environments: names(&["staging", "production"]),
        package: Digest::of(b"list 1"),
        apply_budget: Duration::from_secs(100),
        rollback_reserve: Duration::from_secs(50),
        may_differ: may_differ.iter().copied().collect(),
        reason: because(),
    }
}

/// A policy with a rule for standard changes of staging that asks for nothing else.
fn with_standard() -> World {
    let mut document = document(1);
    document.rules.push(Rule::lax(name("staging"), ChangeType::Standard));
    World::with_policy(document)
}

fn standard(
    world: &mut World,
    ground: Option<Digest>,
    change: impl FnOnce(&mut Release),
) -> Option<Code> {
    world.now = at(0);
    let mut says = release("list 1", Digest::of(b"list 1"));
    says.change = ChangeType::Standard;
    says.standard = ground;
    change(&mut says);
    let package = says.package;
    let release = world.say(&["sue"], says).unwrap();
    let booking = world.book((release, package), "staging", &[&["s1"]]);
    world.release_window(Way { release, package, booking });
    world.now = at(1000);
    world.ask("s1", booking).err().map(|it| it.code)
}

fn approve_ahead(world: &mut World, may_differ: &[Differing], until: u64) -> Digest {
    let says = Standard::Approved(Box::new(template(world, may_differ)));
    world.state(&["max"], &Statement::new(at(0), says).until(at(until))).unwrap()
}

/// What makes a release another than its template.
type Change = fn(&mut Release);

#[test]
fn a_standard_change_stands_on_a_pre_approval_that_it_fits() {
    let mut world = with_standard();
    assert_eq!(standard(&mut world, None, |_| {}), Some(Code::GroundMissing));
    let unknown = Some(Digest::of(b"nothing"));
    assert_eq!(standard(&mut world, unknown, |_| {}), Some(Code::GroundMissing));
    let ground = Some(approve_ahead(&mut world, &[], 5000));
    assert_eq!(standard(&mut world, ground, |_| {}), None);
    let misfits: [(&str, Option<Differing>, Change); 7] = [
        ("package", Some(Differing::Package), |it| it.package = Digest::of(b"list 2")),
        ("environments", Some(Differing::FewerEnvironments), |it| {
            it.environments = names(&["staging"]);
        }),
        ("budget", Some(Differing::ShorterBudget), |it| {
            it.apply_budget = Duration::from_secs(99);
        }),
        ("reserve", Some(Differing::LongerReserve), |it| {
            it.rollback_reserve = Duration::from_secs(51);
        }),
        ("longer budget", None, |it| it.apply_budget = Duration::from_secs(101)),
        ("shorter reserve", None, |it| it.rollback_reserve = Duration::from_secs(49)),
        ("irreversible", None, |it| it.irreversible = true),
    ];
    let all: Vec<_> = misfits.iter().filter_map(|(_, may, _)| *may).collect();
    let everything = Some(approve_ahead(&mut world, &all, 5000));
    for (what, may, change) in misfits {
        let refused = standard(&mut world, ground, change);
        assert_eq!(refused, Some(Code::GroundMissing), "{what}");
        let allowed = standard(&mut world, everything, change);
        assert_eq!(allowed, may.is_none().then_some(Code::GroundMissing), "{what}");
        if let Some(may) = may {
            let others: Vec<_> = all.iter().copied().filter(|it| *it != may).collect();
            let others = Some(approve_ahead(&mut world, &others, 5000));
            assert_eq!(standard(&mut world, others, change), Some(Code::GroundMissing), "{what}");
        }
    }
}

#[test]
fn pre_approvals_end_and_are_nobodys_own() {
    let mut world = with_standard();
    let short = Some(approve_ahead(&mut world, &[], 1000));
    assert_eq!(standard(&mut world, short, |_| {}), Some(Code::GroundMissing), "it has run out");
    let ground = approve_ahead(&mut world, &[], 5000);
    assert_eq!(standard(&mut world, Some(ground), |_| {}), None);
    let withdrawn = || Standard::Withdrawn { standard: ground, reason: because() };
    assert_eq!(code(world.say(&["bea"], withdrawn())), Code::RoleMissing);
    world.say(&["sec"], withdrawn()).unwrap();
    assert_eq!(standard(&mut world, Some(ground), |_| {}), Some(Code::GroundMissing));
    let endless = Standard::Approved(Box::new(template(&world, &[])));
    assert_eq!(code(world.say(&["max"], endless)), Code::Malformed);
    // By the submitter it is none.
    let mut document = document(1);
    document.rules.push(Rule::lax(name("staging"), ChangeType::Standard));
    let sue = document.keys.iter_mut().find(|it| it.owner == name("sue")).unwrap();
    sue.roles.insert(Role::ChangeManager);
    let mut world = World::with_policy(document);
    let says = Standard::Approved(Box::new(template(&world, &[])));
    let own = world.state(&["sue"], &Statement::new(at(0), says).until(at(5000))).unwrap();
    assert_eq!(standard(&mut world, Some(own), |_| {}), Some(Code::DutiesNotSeparate));
}

#[test]
fn a_signature_added_later_makes_no_second_statement() {
    let mut world = World::with_policy(lenient());
    let way = world.whole_way("1.0");
    let id = freeze(&mut world, 900, 3000);
    let statement = Statement::new(world.now, passing(way, &[id]));
    let mut envelope = statement.signed_by([&key("max")]);
    let first = envelope.id();
    assert_eq!(code(world.append_bytes(envelope.to_bytes())), Code::ThresholdNotMet);
    envelope.sign(&key("sec"));
    assert_eq!(world.append_bytes(envelope.to_bytes()).unwrap(), first);
    assert_eq!(ask(&world, way), None);
    let owners: BTreeSet<_> = {
        let (_, booking) = world.state.booking(&way.booking).unwrap();
        booking.overrides[0].owners().into_iter().cloned().collect()
    };
    assert_eq!(owners, names(&["max", "sec"]));
    assert_eq!(Envelope::parse(&envelope.to_bytes()).unwrap().id(), first);
}

#[test]
fn who_may_sign_beside_the_first_is_another_owner_in_the_other_role() {
    let mut lenient = lenient();
    let extra = |owner: &str, roles: &[Role]| {
        let mut entry = lenient.keys[0].clone();
        entry.owner = name(owner);
        entry.key = key(owner).public();
        entry.roles = roles.iter().copied().collect();
        entry
    };
    // Somebody who could be both, an author in the role, and one whose key is of no use any more.
    let mut gone = extra("gus", &[Role::Security]);
    gone.status = KeyStatus::Compromised;
    let both = extra("zoe", &[Role::Security, Role::ChangeManager]);
    lenient.keys.extend([both, gone]);
    let sue = lenient.keys.iter_mut().find(|it| it.owner == name("sue")).unwrap();
    sue.roles.insert(Role::Security);
    let mut world = World::with_policy(lenient);
    let way = world.whole_way("1.0");
    let freeze = freeze(&mut world, 1200, 2100);
    let over: Says = passing(way, &[freeze]).into();
    let waived = waiver(way.release, Exception::Votes).says;
    let beside = |says: &Says, owner: &str| {
        let found = world.state.cosigners(says, &key(owner).public().id());
        found.map_err(|refusal| refusal.code)
    };
    for says in [&over, &waived] {
        assert_eq!(beside(says, "max"), Ok(names(&["sec", "zoe"])));
        assert_eq!(beside(says, "sec"), Ok(names(&["max", "zoe"])));
        assert_eq!(beside(says, "zoe"), Ok(names(&["max", "sec"])), "not she herself");
        assert_eq!(beside(says, "bea"), Err(Code::RoleMissing));
        assert_eq!(beside(says, "nobody"), Err(Code::RoleMissing));
    }
    let ordinary: Says = release("9", Digest::of(b"9")).into();
    assert_eq!(beside(&ordinary, "sue"), Ok(names(&[])), "nobody else has to");
    let unknown: Says = Override { booking: freeze, ..passing(way, &[freeze]) }.into();
    assert_eq!(beside(&unknown, "max"), Err(Code::SubjectUnknown));
}

#[test]
fn a_reviewer_holds_no_other_duty_in_that_environment() {
    let mut document = document(1);
    let bea = document.keys.iter_mut().find(|it| it.owner == name("bea")).unwrap();
    bea.roles.insert(Role::Librarian);
    let mut world = World::with_policy(document);
    let (release, package) = world.submit("1.0");
    let review = |environments: &[&str]| Review {
        release,
        environments: names(environments),
        verdict: Verdict::Complete,
    };
    world.approve(release, package);
    let booking = world.book((release, package), "staging", &[&["s1"]]);
    let staging = Way { release, package, booking };
    world.release_window(staging);
    world.outcome("s1", staging, Event::Committed);
    let booking = world.book((release, package), "production", &[&["p1"]]);
    let way = Way { release, package, booking };
    world.release_window(way);
    world.say(&["bea"], review(&["staging"])).unwrap();
    world.now = at(1000);
    assert_eq!(ask(&world, way), None, "she has reviewed it for another environment");
    world.say(&["bea"], review(&["production"])).unwrap();
    assert_eq!(ask(&world, way), Some(Code::DutiesNotSeparate), "and votes on it");

    // Where only the submitter is apart, others may hold two duties.
    let mut lax = world.state.policy().unwrap().document().clone();
    lax.version = 2;
    lax.rules[1].duties = Duties::SubmitterApart;
    world.now = at(999);
    world.say(&["root"], lax).unwrap();
    world.now = at(1000);
    assert_eq!(ask(&world, way), None);
}

#[test]
fn a_policy_tells_each_of_its_faults() {
    let faults = |change: &dyn Fn(&mut PolicyDocument)| {
        let mut document = document(1);
        change(&mut document);
        document.faults()
    };
    let witnesses = |document: &mut PolicyDocument, count: usize| {
        let witness = |number: usize| WitnessKey {
            name: format!("w{number}.witness.test"),
            owner: name(&format!("w{number}")),
            email: "w@example.org".to_owned(),
            key: key(&format!("w{number}")).public(),
        };
        document.witnesses = (0..count).map(witness).collect();
    };
    assert_eq!(faults(&|it| witnesses(it, MAX_WITNESSES)), Vec::<String>::new());
    for more in [MAX_WITNESSES + 1, MAX_WITNESSES + 2] {
        assert!(faults(&|it| witnesses(it, more))[0].starts_with("witnesses: "), "{more}");
    }
    let standing = |rule: usize, seconds: u64| {
        let longest = Duration::from_mins(10);
        let found = faults(&|it| {
            it.rules[rule].longest_window = longest;
            it.rules[rule].standing_window = Some(Duration::from_secs(seconds));
        });
        found.iter().any(|it| it.contains("standing_window"))
    };
    assert!(!standing(2, 600) && !standing(2, 1), "an emergency's, as long as a window at most");
    assert!(standing(2, 601) && standing(2, 0));
    assert!(standing(0, 300) && standing(1, 300), "no other change has one");
}
