//! Evidence: what is not in the log, or in another log, opens nothing.

use cutover_shared::authorise::{self, Question};
use cutover_shared::digest::Digest;
use cutover_shared::evidence::{self, Evidence, Trust};
use cutover_shared::log::{TreeHead, checkpoint};
use cutover_shared::policy::{LogEpoch, PolicyDocument};
use cutover_shared::refusal::Code;
use cutover_shared::statement::{
    Assessment, Event, HostTurn, Judgement, Phase, Rollback, Statement,
};

use crate::world::{ORIGIN, Way, World, at, document, key, name, names, release};

fn prepared() -> (World, Way, Evidence) {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let evidence = world.evidence(way.booking, "p1", 0);
    (world, way, evidence)
}

fn refused(world: &World, way: Way, evidence: &Evidence) -> Code {
    evidence::open(evidence, &way.booking, &world.trust()).unwrap_err().code
}

#[test]
fn a_flipped_byte_anywhere_opens_nothing_or_changes_nothing() {
    let (world, way, good) = prepared();
    for entry in 0..good.entries.len() {
        for position in (0..good.entries[entry].envelope.len()).step_by(97) {
            let mut bent = good.clone();
            bent.entries[entry].envelope[position] ^= 1;
            let code = refused(&world, way, &bent);
            assert!(matches!(code, Code::NotLogged | Code::PolicyRollback | Code::ThresholdNotMet));
        }
    }
}

#[test]
fn forks_and_shorter_logs() {
    let (world, way, good) = prepared();
    let mut other = World::new();
    other.whole_way("another");
    let mut trust = world.trust();
    trust.head = other.tree.head();
    let mut forked = good.clone();
    forked.consistency = world.tree.consistency(0, world.tree.size()).unwrap();
    let code = evidence::open(&forked, &way.booking, &trust).unwrap_err().code;
    assert_eq!(code, Code::CheckpointInconsistent);
    trust.head = TreeHead { size: world.tree.size() + 1, root: Digest::of(b"longer") };
    assert_eq!(
        evidence::open(&good, &way.booking, &trust).unwrap_err().code,
        Code::CheckpointStale
    );
}

#[test]
fn checkpoints_of_others() {
    let (world, way, mut evidence) = prepared();
    evidence.checkpoint = checkpoint::sign(ORIGIN, &world.tree.head(), world.now, &key("max"));
    assert_eq!(refused(&world, way, &evidence), Code::SignatureInvalid);
    evidence.checkpoint = checkpoint::sign("other/log", &world.tree.head(), world.now, &key("log"));
    assert_eq!(refused(&world, way, &evidence), Code::SignatureInvalid);
}

#[test]
fn entries_in_disorder() {
    let (world, way, mut evidence) = prepared();
    evidence.entries.swap(1, 2);
    assert_eq!(refused(&world, way, &evidence), Code::Malformed);
}

#[test]
fn the_policy_chain_is_followed_and_never_back() {
    let (mut world, way, _) = prepared();
    let next = Statement::new(world.now, document(2)).signed_by([&key("root")]).to_bytes();
    world.append_bytes(next).unwrap();
    let evidence = world.evidence(way.booking, "p1", 0);
    let opened = evidence::open(&evidence, &way.booking, &world.trust()).unwrap();
    let trust = opened.advance(&world.trust());
    assert_eq!(trust.policy.document().version, 2);
    assert_eq!(trust.head, world.tree.head());
    let good = world.tree.size();
    // A version that skips one, and one that nobody with the root role signed.
    for (document, owner, expected) in
        [(document(4), "root", Code::PolicyRollback), (document(3), "max", Code::ThresholdNotMet)]
    {
        let bytes = Statement::new(world.now, document).signed_by([&key(owner)]).to_bytes();
        assert_eq!(world.append_bytes(bytes).unwrap_err().code, expected);
        let indexes = (0..good).chain([world.tree.size() - 1]);
        let evidence = world.evidence_of(way.booking, indexes, 0);
        assert_eq!(refused(&world, way, &evidence), expected);
    }
}

/// A log of which the entries from `size` on were lost, and the policy that says so.
fn after_a_loss(world: &World, size: u64, document: PolicyDocument) -> World {
    let mut saved = World::replay(world, size);
    saved.now = world.now;
    let bytes = Statement::new(saved.now, document).signed_by([&key("root")]).to_bytes();
    let _ = saved.append_bytes(bytes);
    saved
}

#[test]
fn after_a_log_epoch_hosts_accept_exactly_what_was_saved() {
    let (world, way, _) = prepared();
    // A host has seen everything; then the last two entries are lost.
    let mut trust = world.trust();
    trust.head = world.tree.head();
    let size = world.tree.size() - 2;
    let epoch = |last_good: TreeHead| {
        let mut document = document(2);
        document.epoch = Some(LogEpoch { last_good, reason: "the disk".to_owned() });
        document
    };
    let good = world.tree.head_at(size).unwrap();
    let saved = after_a_loss(&world, size, epoch(good.clone()));
    let open = |world: &World, trust: &Trust, known: u64| {
        let evidence = world.evidence(way.booking, "p1", known);
        evidence::open(&evidence, &way.booking, trust).map_err(|refusal| refusal.code)
    };
    let known = evidence::seen_of(&saved.state, trust.head.size, 1);
    assert_eq!(known, size, "the proof begins at what was saved");
    let advanced = open(&saved, &trust, known).unwrap().advance(&trust);
    assert_eq!(advanced.head, saved.tree.head());
    assert_eq!(advanced.policy.document().version, 2);
    // From then on the new log is the log: the lost one is stale or inconsistent.
    assert_eq!(open(&world, &advanced, size).unwrap_err(), Code::CheckpointInconsistent);
    assert_eq!(evidence::seen_of(&saved.state, advanced.head.size, 2), advanced.head.size);
    // A host that had seen less simply goes on.
    let mut behind = world.trust();
    behind.head = world.tree.head_at(3).unwrap();
    assert!(open(&saved, &behind, evidence::seen_of(&saved.state, 3, 1)).is_ok());
    // Without a policy that says so a shortened log is what it always was.
    let silent = after_a_loss(&world, size, document(2));
    assert_eq!(open(&silent, &trust, size).unwrap_err(), Code::CheckpointStale);
    // Another root than the one named, and a policy that comes elsewhere than after what was saved.
    let root = Digest::of(b"another");
    let other = after_a_loss(&world, size, epoch(TreeHead { size, root }));
    assert_eq!(open(&other, &trust, size).unwrap_err(), Code::CheckpointInconsistent);
    let early = after_a_loss(&world, size - 1, epoch(good));
    assert_eq!(early.state.policy().unwrap().document().version, 1, "it is not there yet");
    assert_eq!(open(&early, &trust, size - 1).unwrap_err(), Code::CheckpointStale);
}

/// What the rules refuse a booking for on the evidence for it, next to what the whole log refuses it for.
fn both(world: &World, order: Digest) -> (Vec<Code>, Vec<Code>) {
    let facts = world.facts("p1");
    let opened = evidence::open(&world.evidence(order, "p1", 0), &order, &world.trust()).unwrap();
    let codes = |state| {
        let question = Question { state, host: &facts, order, phase: Phase::Start, now: world.now };
        authorise::explain(&question).into_iter().map(|(_, it)| it.code).collect()
    };
    (codes(opened.state()), codes(&world.state))
}

#[test]
fn a_denial_of_another_submission_of_the_package_is_evidence() {
    let mut world = World::new();
    let way = world.whole_way("1.0");
    let again = world.say(&["sue"], release("1.0 again", way.package)).unwrap();
    let judgement = Judgement::Denied { reason: "a hole".to_owned() };
    let environments = names(&["production"]);
    let denial = Assessment { release: again, package: way.package, environments, judgement };
    world.say(&["sec"], denial).unwrap();
    let denied = vec![Code::Denied];
    assert_eq!(both(&world, way.booking), (denied.clone(), denied));
}

#[test]
fn a_return_under_another_submission_of_the_package_is_evidence() {
    let mut world = World::new();
    let earlier = world.whole_way("1.0");
    let again = world.say(&["sue"], release("1.0", earlier.package)).unwrap();
    world.approve(again, earlier.package);
    let booking = world.book((again, earlier.package), "production", &[&["p1"]]);
    let (step, reason) = ("checking".to_owned(), "no answer".to_owned());
    world.outcome("p2", earlier, Event::Returned { step, reason });
    let (part, whole) = both(&world, booking);
    assert!(whole.contains(&Code::NotReviewed), "{whole:?}");
    assert_eq!(part, whole);
}

#[test]
fn a_denial_is_evidence_against_going_back_to_a_package_that_was_submitted_twice() {
    let mut world = World::new();
    let (first, package) = world.submit("1.0");
    let mut says = release("1.0", package);
    says.supersedes = Some(first);
    let second = world.say(&["sue"], says).unwrap();
    let judgement = Judgement::Denied { reason: "a hole".to_owned() };
    let environments = names(&["production"]);
    world.say(&["sec"], Assessment { release: second, package, environments, judgement }).unwrap();
    let turn = HostTurn { host: name("p1"), host_key: key("p1").public().id(), generation: 2 };
    let rollback = Rollback {
        application: name("web"),
        environment: name("production"),
        hosts: vec![turn],
        from: Digest::of(b"2.0"),
        to: package,
        reason: "it is slow".to_owned(),
    };
    let rollback = Statement::new(world.now, rollback).until(at(3000));
    let order = world.state(&["max"], &rollback).unwrap();
    let opened = evidence::open(&world.evidence(order, "p1", 0), &order, &world.trust()).unwrap();
    assert!(opened.state().denial(&package).is_some(), "the host sees the denial");
}
