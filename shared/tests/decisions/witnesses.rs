//! Witnesses: a quorum of distinct owners beside the coordinator, and what none of them lets be hidden.

use std::time::Duration;

use cutover_shared::authorise::admission;
use cutover_shared::authorise::{
    self, ClearanceFacts, Clearances, Order, Question, WitnessClearance,
};
use cutover_shared::digest::Digest;
use cutover_shared::dsse::Envelope;
use cutover_shared::evidence;
use cutover_shared::key::SecretKey;
use cutover_shared::log::{Tree, checkpoint, leaf_hash};
use cutover_shared::policy::{PolicyDocument, WitnessKey};
use cutover_shared::refusal::{Code, Refusal};
use cutover_shared::statement::{
    Assessment, Cancel, Event, Freeze, Hold, HostChange, HostTurn, Judgement, Phase, Rollback,
    Says, Statement, Vote,
};
use cutover_shared::turn::Asked;
use cutover_shared::witness::Witness;

use crate::world::{Way, World, at, document, key, name, names};

/// Owners and their witnesses' keys: one has two.
const WITNESSES: [(&str, &str); 4] =
    [("wanda", "wanda"), ("wanda", "wanda's other"), ("will", "will"), ("wim", "wim")];

fn demanding(quorum: u32) -> PolicyDocument {
    let mut document = document(1);
    document.witnesses = WITNESSES
        .iter()
        .map(|(owner, of)| WitnessKey {
            name: format!("{}.witness.test", of.replace(['\'', ' '], "")),
            owner: name(owner),
            email: format!("{owner}@example.org"),
            key: key(of).public(),
        })
        .collect();
    for rule in &mut document.rules {
        if rule.environment == name("production") {
            rule.witnesses = quorum;
        }
    }
    assert_eq!(document.faults(), Vec::<String>::new());
    document
}

fn nonce() -> Digest {
    Digest::of(b"nonce")
}

fn asked(host: &str, way: Way, phase: Phase) -> Asked {
    Asked { host: key(host).public().id(), order: way.booking, phase, nonce: nonce() }
}

/// A witness's clearance with the proof that goes with it.
fn with_proof(world: &World, envelope: &Envelope, from: u64) -> WitnessClearance {
    let consistency = world.tree.consistency(from, world.tree.size()).unwrap();
    WitnessClearance { clearance: envelope.to_bytes(), consistency }
}

/// What p1 decides with the coordinator's clearance and these.
fn ask(world: &World, way: Way, witnesses: &[WitnessClearance]) -> Result<Order, Refusal> {
    let evidence = world.evidence(way.booking, "p1", 0);
    let opened = evidence::open(&evidence, &way.booking, &world.trust())?;
    let host = world.facts("p1");
    let coordinator = world.clearance("p1", way.booking, nonce());
    let coordinator = coordinator.signed_by([&key("log")]).to_bytes();
    let question = Question {
        state: opened.state(),
        host: &host,
        order: way.booking,
        phase: Phase::Start,
        now: world.now,
    };
    let head = opened.checkpoint().head.clone();
    let facts = ClearanceFacts { nonce: nonce(), round_trip: Duration::from_millis(5), head };
    let clearances = Clearances { coordinator: &coordinator, witnesses };
    authorise::authorise(&question, &clearances, &facts)
}

fn signed(world: &World, way: Way, by: &str) -> WitnessClearance {
    let statement = world.clearance("p1", way.booking, nonce());
    with_proof(world, &statement.signed_by([&key(by)]), world.tree.size())
}

#[test]
fn a_quorum_is_of_distinct_owners_beside_the_coordinator() {
    let mut world = World::with_policy(demanding(2));
    let way = world.whole_way("1.0");
    let by = |owners: &[&str]| -> Vec<_> {
        owners.iter().map(|owner| signed(&world, way, owner)).collect()
    };
    let cases: [(&[&str], bool); 8] = [
        (&[], false),
        (&["wanda"], false),
        (&["wanda", "wanda"], false),
        (&["wanda", "wanda's other"], false),
        (&["wanda", "max"], false),
        (&["wanda", "log"], false),
        (&["wanda", "will"], true),
        (&["max", "wanda's other", "log", "wim"], true),
    ];
    for (owners, good) in cases {
        let answer = ask(&world, way, &by(owners));
        let code = answer.as_ref().err().map(|it| it.code);
        assert_eq!(code, (!good).then_some(Code::NotCleared), "{owners:?}");
        if let Ok(order) = answer {
            assert_eq!(order.cleared().witnesses().len(), 2, "{owners:?}");
        }
    }
    let order = ask(&world, way, &by(&["wanda", "will"])).unwrap();
    assert!(order.cleared().not_after() > world.now);
    // Of two clearances that are good for as long the first is the one that is kept.
    let twice = by(&["wanda", "wanda's other", "will"]);
    let kept = ask(&world, way, &twice).unwrap().cleared().witnesses()[&name("wanda")];
    assert_eq!(Envelope::parse(&twice[0].clearance).unwrap().id(), kept);
    let many = vec![signed(&world, way, "max"); cutover_shared::policy::MAX_WITNESSES];
    let late = [many, by(&["wanda", "will"])].concat();
    assert_eq!(ask(&world, way, &late).unwrap_err().code, Code::NotCleared, "bounded");
}

#[test]
fn each_clearance_must_be_this_one() {
    let mut world = World::with_policy(demanding(1));
    let way = world.whole_way("1.0");
    let before = world.tree.size();
    let old = world.clearance("p1", way.booking, nonce());
    world.say(&["ops"], crate::world::enrolment("p9", "production")).unwrap();
    let statement = || world.clearance("p1", way.booking, nonce());
    let changed = |change: &dyn Fn(&mut Statement)| {
        let mut statement = statement();
        change(&mut statement);
        with_proof(&world, &statement.signed_by([&key("will")]), world.tree.size())
    };
    let clearance =
        |statement: &mut Statement, change: &dyn Fn(&mut cutover_shared::statement::Clearance)| {
            let Says::Clearance(it) = &mut statement.says else { panic!("a clearance") };
            change(it);
        };
    assert!(ask(&world, way, &[changed(&|_| {})]).is_ok());
    let bad: [(&str, WitnessClearance); 9] = [
        ("nonce", changed(&|s| clearance(s, &|it| it.nonce = Digest::of(b"replayed")))),
        ("host", changed(&|s| clearance(s, &|it| it.host_key = key("p2").public().id()))),
        ("order", changed(&|s| clearance(s, &|it| it.order = way.release))),
        ("phase", changed(&|s| clearance(s, &|it| it.phase = Phase::Activate))),
        ("policy", changed(&|s| clearance(s, &|it| it.policy = way.release))),
        ("time", changed(&|s| clearance(s, &|it| it.time = at(0)))),
        ("root", changed(&|s| clearance(s, &|it| it.checkpoint.root = way.release))),
        ("end", changed(&|s| s.header.not_after = Some(world.now))),
        ("no end", changed(&|s| s.header.not_after = None)),
    ];
    for (what, witness) in bad {
        let code = ask(&world, way, &[witness]).unwrap_err().code;
        assert_eq!(code, Code::NotCleared, "{what}");
    }
    // An earlier head counts with the proof that this one extends it, and not without.
    let old = old.signed_by([&key("will")]);
    assert!(ask(&world, way, &[with_proof(&world, &old, before)]).is_ok());
    let bare = WitnessClearance { clearance: old.to_bytes(), consistency: Vec::new() };
    assert_eq!(ask(&world, way, &[bare]).unwrap_err().code, Code::NotCleared);
    // One that is no good does not stand in the way of one that is.
    let garbage = WitnessClearance { clearance: b"{}".to_vec(), consistency: Vec::new() };
    assert!(ask(&world, way, &[garbage, changed(&|_| {})]).is_ok());
}

/// Everything that can stand against it, said by whoever may.
fn reasons_against(world: &World, way: Way) -> Vec<(&'static str, &'static str, Says)> {
    let reason = || "because".to_owned();
    let (release, package) = (way.release, way.package);
    let environments = || names(&["production"]);
    let denied = || Judgement::Denied { reason: reason() };
    let freeze = Freeze::Declared {
        policy: world.state.policy().unwrap().id(),
        environments: environments(),
        applications: names(&[]),
        start: at(900),
        end: at(5000),
        reason: reason(),
    };
    let retired = HostChange::Retired {
        host: name("p1"),
        host_key: key("p1").public().id(),
        reason: reason(),
    };
    let mut next = demanding(1);
    next.version = 2;
    vec![
        ("a hold", "sec", Hold { release, reason: reason(), finish: false }.into()),
        ("a freeze", "max", freeze.into()),
        ("a cancellation", "max", Cancel { release, booking: None, reason: reason() }.into()),
        (
            "a denial",
            "sec",
            Assessment { release, package, environments: environments(), judgement: denied() }
                .into(),
        ),
        (
            "a vote to reject",
            "bea",
            Vote {
                release,
                environments: environments(),
                judgement: denied(),
                conditions: Vec::new(),
            }
            .into(),
        ),
        ("a retirement", "ops", retired.into()),
        ("a policy", "root", next.into()),
    ]
}

#[test]
fn a_coordinator_that_hides_a_reason_against_gains_nothing_of_an_honest_quorum() {
    let mut world = World::with_policy(demanding(1));
    let way = world.whole_way("1.0");
    for (what, owner, says) in reasons_against(&world, way) {
        let mut witness = world.witness("will");
        let start = asked("p1", way, Phase::Start);
        let good = witness.clear(&start, world.now).unwrap();
        let good = with_proof(&world, &good, world.tree.size());
        assert!(ask(&world, way, &[good]).is_ok(), "without {what}");
        let bytes = Statement::new(world.now, says).signed_by([&key(owner)]).to_bytes();
        witness.hold(&bytes, world.now).unwrap();
        // The coordinator goes on as if nothing had been said, and clears the host.
        for phase in [Phase::Start, Phase::Activate] {
            let refusal = witness.clear(&asked("p1", way, phase), world.now).unwrap_err();
            assert_eq!(refusal.code, Code::NotCleared, "{what}");
        }
        assert_eq!(ask(&world, way, &[]).unwrap_err().code, Code::NotCleared, "{what}");
        world.follow(&mut witness).unwrap();
        assert_eq!(witness.held().count(), 1, "{what} is missing still");
        assert!(witness.clear(&start, world.now).is_err(), "{what}");
    }
}

#[test]
fn what_was_logged_is_judged_and_not_held() {
    let mut world = World::with_policy(demanding(1));
    let way = world.whole_way("1.0");
    let mut witness = world.witness("will");
    let hold = Hold { release: way.release, reason: "because".to_owned(), finish: false };
    let hold = Statement::new(world.now, hold).signed_by([&key("sec")]);
    let id = witness.hold(&hold.to_bytes(), world.now).unwrap();
    assert_eq!(witness.hold(&hold.to_bytes(), world.now).unwrap(), id, "once");
    assert_eq!(witness.held().collect::<Vec<_>>(), [&id]);
    world.append_bytes(hold.to_bytes()).unwrap();
    world.follow(&mut witness).unwrap();
    assert_eq!(witness.held().count(), 0);
    let start = asked("p1", way, Phase::Start);
    assert_eq!(witness.clear(&start, world.now).unwrap_err().code, Code::Held);
    assert_eq!(witness.hold(&hold.to_bytes(), world.now).unwrap(), id);
    assert_eq!(witness.held().count(), 0, "the log has it");
    // What is not against, or not good, is not held.
    let accepted = Judgement::Accepted { reason: String::new() };
    let environments = names(&["production"]);
    let vote =
        Vote { release: way.release, environments, judgement: accepted, conditions: Vec::new() };
    let vote = Statement::new(world.now, vote).signed_by([&key("bea")]).to_bytes();
    assert_eq!(witness.hold(&vote, world.now).unwrap_err().code, Code::Malformed);
    let strange = Hold { release: way.release, reason: "mine".to_owned(), finish: false };
    let strange = Statement::new(world.now, strange).signed_by([&key("bea")]).to_bytes();
    assert_eq!(witness.hold(&strange, world.now).unwrap_err().code, Code::RoleMissing);
    assert!(!witness.let_go(&id));
}

#[test]
fn a_witness_that_was_out_of_reach_is_told_later() {
    let mut world = World::with_policy(demanding(1));
    let way = world.whole_way("1.0");
    let (minutes, day) = (Duration::from_mins, Duration::from_hours(24));
    let hold = Hold { release: way.release, reason: "because".to_owned(), finish: false };
    let hold = Statement::new(world.now, hold).signed_by([&key("sec")]).to_bytes();
    for late in [minutes(10), day] {
        let mut witness = world.witness("will");
        let id = witness.hold(&hold, world.now + late).unwrap();
        assert_eq!(witness.held().collect::<Vec<_>>(), [&id]);
        // The log's own door is as wide, so that what a witness holds can come into the log.
        let admitted = admission::admit(&world.state, world.tree.size(), &hold, world.now + late);
        assert!(admitted.is_ok(), "{late:?}");
    }
    let code = |result: Result<Digest, Refusal>| result.unwrap_err().code;
    let mut witness = world.witness("will");
    let (later, sooner) = (world.now + day + minutes(1), world.now - minutes(6));
    assert_eq!(code(witness.hold(&hold, later)), Code::ClockSkew, "it is signed again");
    assert_eq!(code(witness.hold(&hold, sooner)), Code::ClockSkew, "of the future");
    // What stands against one thing and permits another is as good as its signer's clock.
    let reason = "customers complain".to_owned();
    let back = Rollback {
        application: name("web"),
        environment: name("production"),
        hosts: vec![HostTurn {
            host: name("p1"),
            host_key: key("p1").public().id(),
            generation: 1,
        }],
        from: way.package,
        to: Digest::of(b"the one before"),
        reason,
    };
    let back = Statement::new(world.now, back).until(world.now + day).signed_by([&key("max")]);
    let ten_later = world.now + minutes(10);
    assert_eq!(code(witness.hold(&back.to_bytes(), ten_later)), Code::ClockSkew);
    // What the log has already is known, however old it is.
    world.append_bytes(hold.clone()).unwrap();
    world.follow(&mut witness).unwrap();
    assert!(witness.hold(&hold, later).is_ok());
    assert_eq!(witness.held().count(), 0);
}

#[test]
fn a_statement_may_rest_on_another_that_is_held() {
    let mut world = World::with_policy(demanding(1));
    let way = world.whole_way("1.0");
    let mut witness = world.witness("will");
    let mut next = demanding(1);
    next.version = 2;
    let mut entry = next.keys.iter().find(|it| it.owner == name("sec")).unwrap().clone();
    entry.owner = name("stan");
    entry.key = key("stan").public();
    next.keys.push(entry);
    let policy = Statement::new(world.now, next).signed_by([&key("root")]).to_bytes();
    let hold = Hold { release: way.release, reason: "because".to_owned(), finish: false };
    let hold = Statement::new(world.now, hold).signed_by([&key("stan")]).to_bytes();
    assert_eq!(witness.hold(&hold, world.now).unwrap_err().code, Code::RoleMissing);
    let id = witness.hold(&policy, world.now).unwrap();
    witness.hold(&hold, world.now).unwrap();
    assert_eq!(witness.held().count(), 2);
    assert!(witness.let_go(&id), "its owner may");
}

#[test]
fn forked_shortened_and_foreign_logs_are_not_followed() {
    let mut world = World::with_policy(demanding(1));
    world.whole_way("1.0");
    let mut witness = world.witness("will");
    let (head, note) = (witness.head(), world.note());
    let code = |result: Result<(), Refusal>| result.unwrap_err().code;
    let sign = |tree: &Tree, by: &SecretKey| {
        checkpoint::sign(crate::world::ORIGIN, &tree.head(), world.now, by)
    };
    let log = key("log");
    let mut shorter = world.tree.clone();
    shorter.truncate(head.size - 1);
    assert_eq!(code(witness.follow(&sign(&shorter, &log), &[])), Code::CheckpointStale);
    let mut forked = shorter.clone();
    forked.append(leaf_hash(b"another"));
    assert_eq!(code(witness.follow(&sign(&forked, &log), &[])), Code::CheckpointInconsistent);
    forked.append(leaf_hash(b"and more"));
    let more = [b"and more".to_vec()];
    assert_eq!(code(witness.follow(&sign(&forked, &log), &more)), Code::CheckpointInconsistent);
    assert_eq!(code(witness.follow(&note, &more)), Code::CheckpointInconsistent, "too many");
    assert_eq!(code(witness.follow(&sign(&world.tree, &key("max")), &[])), Code::SignatureInvalid);
    let earlier = checkpoint::sign(crate::world::ORIGIN, &head, at(0), &log);
    assert_eq!(code(witness.follow(&earlier, &[])), Code::CheckpointStale, "an older note");
    assert_eq!((witness.head(), witness.state().next_index()), (head.clone(), head.size));
    let genesis = Digest::of(b"another policy");
    let mut foreign = Witness::new("w.test".to_owned(), key("will"), genesis, at(0));
    assert_eq!(code(foreign.follow(&note, &world.entries)), Code::DigestMismatch);
    assert!(foreign.cosign(world.now).is_none());
}

#[test]
fn it_cosigns_what_it_follows() {
    let mut world = World::with_policy(demanding(1));
    world.whole_way("1.0");
    let witness = world.witness("will");
    let note = witness.cosign(world.now).unwrap();
    let public = key("will").public();
    let times = checkpoint::cosignatures(&note, &[("will.witness.test", &public)]).unwrap();
    assert_eq!(times.get(&public.id()), Some(&world.now));
    assert!(checkpoint::verify(&note, crate::world::ORIGIN, &key("log").public()).is_ok());
}

#[test]
fn it_clears_only_whose_turn_it_is_as_of_a_fresh_log() {
    let mut world = World::with_policy(demanding(1));
    let way = world.whole_way("1.0");
    let mut witness = world.witness("will");
    let minute = Duration::from_mins(1);
    let start = |host| asked(host, way, Phase::Start);
    assert!(witness.clear(&start("p1"), world.now + minute).is_ok());
    let late = world.now + minute + Duration::from_millis(1);
    assert_eq!(witness.clear(&start("p1"), late).unwrap_err().code, Code::CheckpointStale);
    assert_eq!(witness.clear(&start("s1"), world.now).unwrap_err().code, Code::WrongEnvironment);
    assert_eq!(witness.clear(&start("p2"), world.now).unwrap_err().code, Code::WaveNotProven);
    world.outcome("p1", way, Event::Committed);
    world.follow(&mut witness).unwrap();
    // One at a time: p3 waits for what p2 says, whatever the coordinator would have.
    assert!(witness.clear(&start("p2"), world.now).is_ok());
    assert!(witness.clear(&asked("p2", way, Phase::Activate), world.now).is_ok());
    assert_eq!(witness.clear(&start("p3"), world.now).unwrap_err().code, Code::NotCleared);
    world.outcome("p2", way, Event::Committed);
    world.follow(&mut witness).unwrap();
    assert!(witness.clear(&start("p3"), world.now).is_ok());
    assert_eq!(witness.clear(&start("p2"), world.now).unwrap_err().code, Code::NotCleared);
    let nothing = Way { booking: Digest::of(b"none"), ..way };
    let unknown = asked("p3", nothing, Phase::Start);
    assert_eq!(witness.clear(&unknown, world.now).unwrap_err().code, Code::NotBooked);
}

#[test]
fn policies_say_who_witnesses_and_how_many_can() {
    type Change<'a> = &'a dyn Fn(&mut PolicyDocument);
    let faults = |change: &dyn Fn(&mut PolicyDocument)| {
        let mut document = demanding(2);
        change(&mut document);
        document.faults().join("; ")
    };
    assert_eq!(faults(&|_| {}), "");
    let cases: [(Change<'_>, &str); 6] = [
        (&|it| it.witnesses[1].key = it.witnesses[0].key.clone(), "witnesses[1].key"),
        (&|it| it.witnesses[0].key = it.log.key.clone(), "witnesses[0].key"),
        (&|it| it.witnesses[0].key = it.keys[0].key.clone(), "witnesses[0].key"),
        (&|it| it.witnesses[0].name = it.log.origin.clone(), "witnesses[0].name"),
        (&|it| it.rules[1].witnesses = 4, "rules[1].witnesses: 4 cannot be met by 3"),
        (&|it| it.witnesses.clear(), "rules[1].witnesses"),
    ];
    for (change, expected) in cases {
        assert!(faults(change).contains(expected), "{expected}: {}", faults(change));
    }
}
