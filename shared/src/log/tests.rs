//! The tree, the frontier and the proofs against the definitions of RFC 6962, section 2.1, written out
//! below word for word: an oracle that shares nothing with them but the two hash functions.

use proptest::prelude::*;

use super::*;

/// MTH(D[n]).
fn root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::of(b""),
        [leaf] => *leaf,
        more => {
            let (left, right) = halves(more);
            node_hash(&root(left), &root(right))
        }
    }
}

/// PATH(m, D[n]).
fn path(index: usize, leaves: &[Digest]) -> Vec<Digest> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = halves(leaves);
    let (mut proof, sibling) = if index < left.len() {
        (path(index, left), root(right))
    } else {
        (path(index - left.len(), right), root(left))
    };
    proof.push(sibling);
    proof
}

/// SUBPROOF(m, D[n], b); PROOF(m, D[n]) is SUBPROOF(m, D[n], true).
fn subproof(old: usize, leaves: &[Digest], known: bool) -> Vec<Digest> {
    if old == leaves.len() {
        return if known { Vec::new() } else { vec![root(leaves)] };
    }
    let (left, right) = halves(leaves);
    let (mut proof, sibling) = if old <= left.len() {
        (subproof(old, left, known), root(right))
    } else {
        (subproof(old - left.len(), right, false), root(left))
    };
    proof.push(sibling);
    proof
}

/// D[0:k] and D[k:n], with k the largest power of two smaller than n.
fn halves(leaves: &[Digest]) -> (&[Digest], &[Digest]) {
    let mut half = 1;
    while half * 2 < leaves.len() {
        half *= 2;
    }
    leaves.split_at(half)
}

fn leaves(count: u64) -> Vec<Digest> {
    (0..count).map(|number| leaf_hash(&number.to_be_bytes())).collect()
}

fn first(leaves: &[Digest], count: u64) -> &[Digest] {
    &leaves[..usize::try_from(count).unwrap()]
}

/// Every proof that differs from `proof` by a small fault: a hash bent, dropped, doubled or added, two
/// neighbours exchanged.
fn faulty(proof: &[Digest]) -> Vec<Vec<Digest>> {
    let mut all = Vec::new();
    for at in 0..proof.len() {
        let mut bent = proof.to_vec();
        let mut bytes = *bent[at].as_bytes();
        bytes[at % 32] ^= 1 << (at % 8);
        bent[at] = Digest::from_bytes(bytes);
        all.push(bent);
        let mut dropped = proof.to_vec();
        dropped.remove(at);
        all.push(dropped);
        let mut doubled = proof.to_vec();
        doubled.insert(at, proof[at]);
        all.push(doubled);
        if at > 0 {
            let mut exchanged = proof.to_vec();
            exchanged.swap(at - 1, at);
            all.push(exchanged);
        }
    }
    all.push([proof, &[Digest::of(b"more")]].concat());
    all
}

/// The entries and hashes of Certificate Transparency's own tests.
const ENTRIES: [&[u8]; 8] = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
];
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];
const NODE_0: &str = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
const NODE_1: &str = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
const NODE_2_4: &str = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
const NODE_4: &str = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
const NODE_4_6: &str = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";
const NODE_4_8: &str = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";
const NODE_6_8: &str = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";

#[test]
fn known_answers_of_certificate_transparency() {
    let mut tree = Tree::default();
    let mut frontier = Frontier::default();
    for (entry, root) in ENTRIES.into_iter().zip(ROOTS) {
        tree.append(leaf_hash(entry));
        frontier.append(leaf_hash(entry));
        assert_eq!(tree.head().root.to_string(), root);
        assert_eq!(frontier.root().to_string(), root);
    }
    let text = |proof: Result<Vec<Digest>, ProofError>| -> Vec<String> {
        proof.unwrap().iter().map(Digest::to_string).collect()
    };
    assert_eq!(text(tree.inclusion(0, 8)), [NODE_1, NODE_2_4, NODE_4_8]);
    assert_eq!(text(tree.inclusion(5, 8)), [NODE_4, NODE_6_8, ROOTS[3]]);
    assert_eq!(text(tree.inclusion(2, 3)), [ROOTS[1]]);
    assert_eq!(text(tree.inclusion(1, 5)), [NODE_0, NODE_2_4, NODE_4]);
    assert_eq!(text(tree.consistency(1, 1)), [""; 0]);
    assert_eq!(text(tree.consistency(1, 8)), [NODE_1, NODE_2_4, NODE_4_8]);
    assert_eq!(text(tree.consistency(6, 8)), [NODE_4_6, NODE_6_8, ROOTS[3]]);
    assert_eq!(text(tree.consistency(2, 5)), [NODE_2_4, NODE_4]);
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(Tree::default().head().root.to_string(), empty);
    assert_eq!(Frontier::default().head(), TreeHead::empty());
}

#[test]
fn every_inclusion_proof_of_every_small_tree_is_the_rfcs_and_the_only_one() {
    let all = leaves(70);
    let tree = Tree::from_leaves(all.iter().copied());
    for size in 0..=70 {
        let head = tree.head_at(size).unwrap();
        let leaves = first(&all, size);
        assert_eq!(head, TreeHead { size, root: root(leaves) });
        for (index, leaf) in (0..).zip(leaves) {
            let proof = tree.inclusion(index, size).unwrap();
            assert_eq!(proof, path(usize::try_from(index).unwrap(), leaves), "{index} of {size}");
            assert_eq!(verify_inclusion(leaf, index, &proof, &head), Ok(()), "{index} of {size}");
            for faulty in faulty(&proof) {
                let result = verify_inclusion(leaf, index, &faulty, &head);
                if faulty.len() == proof.len() {
                    assert_eq!(result, Err(ProofError::Root { size }), "{index} of {size}");
                } else {
                    let (found, expected) = (faulty.len(), proof.len());
                    let length = ProofError::Length { found, expected };
                    assert_eq!(result, Err(length), "{index} of {size}");
                }
            }
            let other = Digest::of(b"other");
            assert!(verify_inclusion(&other, index, &proof, &head).is_err());
            for elsewhere in (0..=size).filter(|elsewhere| *elsewhere != index) {
                assert!(verify_inclusion(leaf, elsewhere, &proof, &head).is_err());
            }
        }
    }
}

#[test]
fn every_consistency_proof_of_every_small_tree_is_the_rfcs_and_the_only_one() {
    let all = leaves(70);
    let tree = Tree::from_leaves(all.iter().copied());
    for new_size in 0..=70 {
        let new = tree.head_at(new_size).unwrap();
        for old_size in 0..=new_size {
            let old = tree.head_at(old_size).unwrap();
            let case = format!("{old_size} to {new_size}");
            let proof = tree.consistency(old_size, new_size).unwrap();
            if old_size > 0 {
                let old = usize::try_from(old_size).unwrap();
                assert_eq!(proof, subproof(old, first(&all, new_size), true), "{case}");
            }
            assert_eq!(verify_consistency(&old, &new, &proof), Ok(()), "{case}");
            for faulty in faulty(&proof) {
                assert!(verify_consistency(&old, &new, &faulty).is_err(), "{case}");
            }
            let forked = TreeHead { root: Digest::of(b"fork"), ..old };
            let result = verify_consistency(&forked, &new, &proof);
            assert!(matches!(result, Err(ProofError::Root { .. })), "{case}");
            if old_size > 0 {
                // An empty log says nothing about what follows it; every other does.
                let forked = TreeHead { root: Digest::of(b"fork"), ..new };
                assert!(verify_consistency(&old, &forked, &proof).is_err(), "{case}");
            }
        }
    }
}

#[test]
fn what_is_outside_the_tree_is_refused() {
    let tree = Tree::from_leaves(leaves(5));
    let outside = |index, size| Some(ProofError::OutOfRange { index, size });
    assert_eq!(tree.head_at(6).err(), outside(6, 5));
    assert_eq!(tree.inclusion(5, 5).err(), outside(5, 5));
    assert_eq!(tree.inclusion(0, 6).err(), outside(6, 5));
    assert_eq!(tree.inclusion(0, 0).err(), outside(0, 0));
    assert_eq!(tree.consistency(2, 6).err(), outside(6, 5));
    assert_eq!(tree.consistency(4, 3).err(), outside(4, 3));
    assert_eq!(tree.leaf(5), None);
    assert_eq!(tree.leaf(4), Some(leaf_hash(&4_u64.to_be_bytes())));
    let (empty, head) = (TreeHead::empty(), tree.head());
    let leaf = leaf_hash(b"");
    assert_eq!(verify_inclusion(&leaf, 0, &[], &empty).err(), outside(0, 0));
    assert_eq!(verify_inclusion(&leaf, 5, &[], &head).err(), outside(5, 5));
    assert_eq!(verify_consistency(&head, &empty, &[]).err(), outside(5, 0));
}

#[test]
fn the_largest_sizes_make_nothing_overflow() {
    let hash = Digest::of(b"");
    let proof = vec![hash; 70];
    let sizes = [1, 2, 3, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, u64::MAX - 1, u64::MAX];
    for size in sizes {
        let head = TreeHead { size, root: hash };
        for index in [0, 1, size / 2, size - 1, size] {
            for length in 0..proof.len() {
                let proof = &proof[..length];
                let alone = size == 1 && index == 0 && length == 0;
                assert_eq!(verify_inclusion(&hash, index, proof, &head).is_ok(), alone);
                let old = TreeHead { size: index, root: hash };
                let same = index == size && length == 0;
                // TreeHead::empty() has this very root.
                let empty = index == 0 && length == 0;
                assert_eq!(verify_consistency(&old, &head, proof).is_ok(), same || empty);
            }
        }
    }
}

#[test]
fn a_frontier_grows_only_into_the_head_that_is_expected() {
    let all = leaves(70);
    let tree = Tree::from_leaves(all.iter().copied());
    for old in 0..=70_u64 {
        let mut frontier = Frontier::default();
        for leaf in first(&all, old) {
            frontier.append(*leaf);
        }
        assert_eq!(frontier.head(), tree.head_at(old).unwrap());
        for new in old..=70 {
            let head = tree.head_at(new).unwrap();
            let more = || first(&all, new).iter().skip(usize::try_from(old).unwrap()).copied();
            let grown = frontier.extended(more(), &head).unwrap();
            assert_eq!(grown.head(), head);
            assert_eq!(
                crate::codec::decode::<Frontier>(&crate::codec::encode(&grown).unwrap()).unwrap(),
                grown
            );
            if new > old {
                let wrong = Err(ProofError::Root { size: new });
                assert_eq!(frontier.extended(more().skip(1), &head), wrong, "one missing");
                let other = more().skip(1).chain([Digest::of(b"other")]);
                assert_eq!(frontier.extended(other, &head), wrong, "another");
            }
            let longer = more().chain([Digest::of(b"more")]);
            let outside = Err(ProofError::OutOfRange { index: new, size: new });
            assert_eq!(frontier.extended(longer, &head), outside);
        }
    }
}

#[test]
fn a_stored_frontier_must_fit_its_size() {
    let digest = Digest::of(b"");
    let stored = |size: u64, subtrees: usize| {
        let text = serde_json::json!({"size": size, "subtrees": vec![digest; subtrees]});
        serde_json::from_value::<Frontier>(text)
    };
    for (size, subtrees) in [(0, 0), (5, 2), (7, 3), ((1 << 48) - 1, 48), (1 << 48, 1)] {
        let mut frontier = stored(size, subtrees).unwrap();
        frontier.append(digest);
        assert_eq!(frontier.size(), size + 1);
    }
    for (size, subtrees) in [(0, 1), (5, 1), (5, 3), ((1 << 48) + 1, 2), (u64::MAX, 64)] {
        assert!(stored(size, subtrees).is_err(), "{size} {subtrees}");
    }
}

#[test]
fn golden_bytes() {
    // Version 1 of the stored and sent forms.
    let head = TreeHead { size: 300, root: Digest::from_bytes([0xab; 32]) };
    let root = "ab".repeat(32);
    assert_eq!(hex::encode(crate::codec::encode(&head).unwrap()), format!("fb2c01{root}"));
    assert_eq!(
        serde_json::to_string(&head).unwrap(),
        format!("{{\"size\":300,\"root\":\"{root}\"}}")
    );
    let mut frontier = Frontier::default();
    frontier.append(head.root);
    assert_eq!(hex::encode(crate::codec::encode(&frontier).unwrap()), format!("0101{root}"));
}

proptest! {
    #[test]
    fn larger_trees_have_the_rfcs_proofs(size in 1u64..1000, index in any::<u64>(), old in any::<u64>()) {
        let (index, old) = (index % size, 1 + old % size);
        let all = leaves(size);
        let tree = Tree::from_leaves(all.iter().copied());
        let head = tree.head();
        prop_assert_eq!(head.root, root(&all));
        let proof = tree.inclusion(index, size).unwrap();
        let at = usize::try_from(index).unwrap();
        prop_assert_eq!(&proof, &path(at, &all));
        prop_assert_eq!(verify_inclusion(&all[at], index, &proof, &head), Ok(()));
        let proof = tree.consistency(old, size).unwrap();
        prop_assert_eq!(&proof, &subproof(usize::try_from(old).unwrap(), &all, true));
        prop_assert_eq!(verify_consistency(&tree.head_at(old).unwrap(), &head, &proof), Ok(()));
    }

    #[test]
    fn two_logs_that_differ_are_never_consistent(old in 1u64..200, new in 1u64..200, at in any::<u64>()) {
        let (old, new) = (old.min(new), old.max(new));
        let honest = Tree::from_leaves(leaves(old));
        let mut entries = leaves(new);
        entries[usize::try_from(at % old).unwrap()] = leaf_hash(b"another");
        let forked = Tree::from_leaves(entries);
        let proof = forked.consistency(old, new).unwrap();
        prop_assert!(verify_consistency(&honest.head(), &forked.head(), &proof).is_err());
    }

    #[test]
    fn a_cut_tree_is_the_earlier_tree(size in 0u64..300, cut in 0u64..300, more in 0u64..300) {
        let cut = cut.min(size);
        let mut tree = Tree::from_leaves(leaves(size));
        tree.truncate(cut);
        let mut again = leaves(cut);
        prop_assert_eq!(tree.head(), Tree::from_leaves(again.iter().copied()).head());
        for number in 0..more {
            let leaf = leaf_hash(&[&b"more"[..], &number.to_be_bytes()].concat());
            tree.append(leaf);
            again.push(leaf);
        }
        prop_assert_eq!(tree.head().root, root(&again));
        tree.truncate(u64::MAX);
        prop_assert_eq!(tree.size(), cut + more);
    }
}
