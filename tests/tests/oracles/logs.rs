//! The Merkle tree and the notes, held against Cloudflare's `tlog_tiles` and `signed_note`, which they run
//! their Certificate Transparency logs with.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cutover_shared::digest::Digest;
use cutover_shared::key::SecretKey;
use cutover_shared::log::{
    Tree, TreeHead, checkpoint, leaf_hash, verify_consistency, verify_inclusion,
};
use cutover_shared::time::Time;
use signed_note::{Note, Signer as _, StandardSigner, StandardVerifier, VerifierList};
use tlog_tiles::{Error, Hash, HashReader};

const ORIGIN: &str = "cutover.example.org/log";

/// Their storage of a tree: all hashes in the order in which they become known.
#[derive(Default)]
struct Stored(Vec<Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).unwrap()]).collect())
    }
}

fn theirs(digest: &Digest) -> Hash {
    Hash(*digest.as_bytes())
}

fn ours(hash: &Hash) -> Digest {
    Digest::from_bytes(hash.0)
}

/// More than three levels, and every shape of an edge below them.
const SIZE: u64 = 70;

#[test]
fn trees_and_proofs_are_as_theirs() {
    let (mut tree, mut stored) = (Tree::default(), Stored::default());
    let entries: Vec<_> = (0..SIZE).map(|number| format!("entry {number}").into_bytes()).collect();
    for (number, entry) in (0..).zip(&entries) {
        tree.append(leaf_hash(entry));
        assert_eq!(theirs(&leaf_hash(entry)), tlog_tiles::record_hash(entry));
        let hashes = tlog_tiles::stored_hashes(number, entry, &stored).unwrap();
        stored.0.extend(hashes);
    }
    for size in 1..=SIZE {
        let head = tree.head_at(size).unwrap();
        let root = tlog_tiles::tree_hash(size, &stored).unwrap();
        assert_eq!(ours(&root), head.root, "{size} entries");
        for (index, entry) in (0..size).zip(&entries) {
            let (leaf, proof) = (leaf_hash(entry), tree.inclusion(index, size).unwrap());
            let given: Vec<_> = proof.iter().map(theirs).collect();
            tlog_tiles::check_record(&given, size, root, index, theirs(&leaf)).unwrap();
            let made = tlog_tiles::prove_record(size, index, &stored).unwrap();
            let made: Vec<_> = made.iter().map(ours).collect();
            verify_inclusion(&leaf, index, &made, &head).unwrap();
        }
        for old in 1..=size {
            let before = tree.head_at(old).unwrap();
            let given: Vec<_> = tree.consistency(old, size).unwrap().iter().map(theirs).collect();
            tlog_tiles::check_tree(&given, size, root, old, theirs(&before.root)).unwrap();
            let made = tlog_tiles::prove_tree(size, old, &stored).unwrap();
            let made: Vec<_> = made.iter().map(ours).collect();
            verify_consistency(&before, &head, &made).unwrap();
        }
    }
}

/// What they refuse, we refuse: each proof with one bit flipped, or one hash more or less.
#[test]
fn bent_proofs_are_refused_by_both() {
    let (mut tree, mut stored) = (Tree::default(), Stored::default());
    for number in 0..SIZE {
        let entry = format!("entry {number}").into_bytes();
        tree.append(leaf_hash(&entry));
        stored.0.extend(tlog_tiles::stored_hashes(number, &entry, &stored).unwrap());
    }
    let head = tree.head();
    let root = theirs(&head.root);
    for index in 0..SIZE {
        let leaf = leaf_hash(format!("entry {index}").as_bytes());
        let honest = tree.inclusion(index, SIZE).unwrap();
        let mut bent = vec![[&honest[..], &[head.root]].concat(), honest[1..].to_vec()];
        for position in 0..honest.len() {
            let mut proof = honest.clone();
            proof[position] = Digest::of(proof[position].as_bytes());
            bent.push(proof);
        }
        for proof in bent {
            let given: Vec<_> = proof.iter().map(theirs).collect();
            assert!(tlog_tiles::check_record(&given, SIZE, root, index, theirs(&leaf)).is_err());
            assert!(verify_inclusion(&leaf, index, &proof, &head).is_err());
        }
    }
}

#[test]
fn notes_are_read_and_verified_by_both() {
    let seed = [7; 32];
    let key = SecretKey::from_seed(seed);
    let head = TreeHead { size: 42, root: Digest::of(b"root") };
    let time = "2026-03-08T06:30:00Z".parse::<Time>().unwrap();
    let vkey = {
        let bytes = [&[1][..], &key.public().raw()].concat();
        let hint = signed_note::key_id(ORIGIN, &bytes);
        format!("{ORIGIN}+{hint:08x}+{}", BASE64_STANDARD.encode(&bytes))
    };
    let verifiers = || {
        let verifier = StandardVerifier::new(&vkey).unwrap();
        VerifierList::new(vec![Box::new(verifier)])
    };

    // Ours, read by theirs.
    let note = checkpoint::sign(ORIGIN, &head, time, &key);
    let read = Note::from_bytes(&note).unwrap();
    let (verified, others) = read.verify(&verifiers()).unwrap();
    assert_eq!(
        (verified.len(), others.len()),
        (1, 1),
        "the cosignature is of a kind that they pass over"
    );
    let body = tlog_tiles::Checkpoint::from_bytes(read.text()).unwrap();
    assert_eq!((body.origin(), body.size()), (ORIGIN, head.size));
    assert_eq!(ours(body.hash()), head.root);
    let mut bent = note.clone();
    bent[ORIGIN.len() + 1] ^= 1;
    assert!(Note::from_bytes(&bent).unwrap().verify(&verifiers()).is_err());

    // Theirs, verified by ours, which wants to know when as well.
    let body = tlog_tiles::Checkpoint::new(ORIGIN, head.size, theirs(&head.root), "").unwrap();
    let mut note = Note::new(&body.to_bytes(), &[]).unwrap();
    let signer = {
        let bytes = [&[1][..], &seed].concat();
        let hint = vkey.split('+').nth(1).unwrap();
        StandardSigner::new(&format!(
            "PRIVATE+KEY+{ORIGIN}+{hint}+{}",
            BASE64_STANDARD.encode(&bytes)
        ))
        .unwrap()
    };
    assert_eq!(signer.name(), ORIGIN);
    note.add_sigs(&[&signer]).unwrap();
    let note = note.to_bytes();
    assert!(checkpoint::verify(&note, ORIGIN, &key.public()).is_err(), "it does not say when");
    let later = time + Duration::from_secs(1);
    let cosigned = checkpoint::cosign(&note, ORIGIN, later, &key).unwrap();
    let verified = checkpoint::verify(&cosigned, ORIGIN, &key.public()).unwrap();
    assert_eq!((verified.head, verified.time), (head, later));
}
