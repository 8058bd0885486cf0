//! Evidence: what is not in the log, or in another log, opens nothing.

use cutover_shared::digest::Digest;
use cutover_shared::evidence::{self, Evidence, Trust};
use cutover_shared::log::{TreeHead, checkpoint};
use cutover_shared::policy::{LogEpoch, PolicyDocument};
use cutover_shared::refusal::Code;
use cutover_shared::statement::Statement;

use crate::world::{ORIGIN, Way, World, document, key};

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
