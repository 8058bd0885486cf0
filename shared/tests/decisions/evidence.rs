//! Evidence: what is not in the log, or in another log, opens nothing.

use cutover_shared::digest::Digest;
use cutover_shared::evidence::{self, Evidence};
use cutover_shared::log::{TreeHead, checkpoint};
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
