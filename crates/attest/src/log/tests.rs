//! The tree against the definition of RFC 6962, and proofs against their mutations.

use cocoon_primitives::{Digest, Timestamp};
use ed25519_dalek::SigningKey;
use proptest::prelude::*;

use super::*;

/// MTH of RFC 6962 §2.1, as it is written there.
fn defined_root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(k(leaves.len()));
            node_hash(&defined_root(left), &defined_root(right))
        }
    }
}

/// PATH of RFC 6962 §2.1.1.
fn defined_path(index: usize, leaves: &[[u8; 32]]) -> Vec<[u8; 32]> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(k(leaves.len()));
    let (mut path, sibling) = if index < left.len() {
        (defined_path(index, left), defined_root(right))
    } else {
        (defined_path(index - left.len(), right), defined_root(left))
    };
    path.push(sibling);
    path
}

/// SUBPROOF of RFC 6962 §2.1.2.
fn defined_consistency(first: usize, leaves: &[[u8; 32]], is_whole: bool) -> Vec<[u8; 32]> {
    if first == leaves.len() {
        return if is_whole { Vec::new() } else { vec![defined_root(leaves)] };
    }
    let (left, right) = leaves.split_at(k(leaves.len()));
    let (mut path, sibling) = if first <= left.len() {
        (defined_consistency(first, left, is_whole), defined_root(right))
    } else {
        (defined_consistency(first - left.len(), right, false), defined_root(left))
    };
    path.push(sibling);
    path
}

fn k(count: usize) -> usize {
    let mut power = 1;
    while power * 2 < count {
        power *= 2;
    }
    power
}

fn leaves(count: usize) -> Vec<[u8; 32]> {
    (0..count).map(|number| leaf_hash(&number.to_be_bytes())).collect()
}

fn tree(leaves: &[[u8; 32]]) -> Tree {
    let mut tree = Tree::new();
    leaves.iter().for_each(|leaf| tree.push(*leaf));
    tree
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap()
}

#[test]
fn every_small_tree_is_as_the_definition_says() {
    let leaves = leaves(70);
    let tree = tree(&leaves);
    assert_eq!(tree.size(), 70);
    for size in 0..=70 {
        let (part, root) = (&leaves[..size], tree.root(wide(size)).unwrap());
        assert_eq!(root, defined_root(part), "{size}");
        for index in 0..size {
            let path = tree.inclusion(wide(index), wide(size)).unwrap();
            assert_eq!(path, defined_path(index, part), "{index} of {size}");
            let leaf = tree.leaf(wide(index)).unwrap();
            assert_eq!(verify_inclusion(&leaf, wide(index), wide(size), &path, &root), Ok(()));
        }
        for first in 1..=size {
            let path = tree.consistency(wide(first), wide(size)).unwrap();
            assert_eq!(path, defined_consistency(first, part, true), "{first} of {size}");
            let earlier = tree.root(wide(first)).unwrap();
            let verdict = verify_consistency(wide(first), wide(size), &path, &earlier, &root);
            assert_eq!(verdict, Ok(()), "{first} of {size}");
        }
    }
}

/// The vectors of the reference implementation of Certificate Transparency.
#[test]
fn roots_are_those_of_other_implementations() {
    let inputs = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    let mut tree = Tree::new();
    assert_eq!(
        hex::encode(tree.root(0).unwrap()),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    for input in inputs {
        tree.push(leaf_hash(&hex::decode(input).unwrap()));
    }
    for (size, root) in [
        (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
        (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
        (4, "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
        (5, "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
        (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    ] {
        assert_eq!(hex::encode(tree.root(size).unwrap()), root, "{size}");
    }
}

#[test]
fn what_is_not_there_has_no_proof() {
    let tree = tree(&leaves(5));
    assert_eq!((tree.root(6), tree.leaf(5)), (None, None));
    for (index, size) in [(0, 0), (5, 5), (4, 4), (0, 6), (u64::MAX, u64::MAX)] {
        assert_eq!(tree.inclusion(index, size), None, "{index} of {size}");
    }
    for (first, second) in [(3, 2), (0, 6), (6, 6), (u64::MAX, u64::MAX)] {
        assert_eq!(tree.consistency(first, second), None, "{first} of {second}");
    }
    assert_eq!(tree.consistency(0, 5), Some(Vec::new()));
}

#[test]
fn the_empty_tree_is_the_start_of_every_tree() {
    let (empty, root) = (empty_root(), tree(&leaves(5)).root(5).unwrap());
    assert_eq!(verify_consistency(0, 5, &[], &empty, &root), Ok(()));
    assert_eq!(verify_consistency(0, 5, &[], &root, &root), Err(ProofFault::EarlierRoot));
    assert_eq!(verify_consistency(0, 5, &[empty], &empty, &root), Err(ProofFault::Length));
    assert_eq!(verify_consistency(5, 5, &[], &empty, &root), Err(ProofFault::Root));
    assert_eq!(verify_consistency(5, 4, &[], &root, &root), Err(ProofFault::Range));
}

/// A log that was rewritten cannot show that it goes on from its earlier head.
#[test]
fn a_rewritten_log_is_not_consistent_with_its_past() {
    let honest = leaves(20);
    for changed in 0..13 {
        let mut forged = honest.clone();
        forged[changed] = leaf_hash(b"another");
        let (honest, forged) = (tree(&honest), tree(&forged));
        let (earlier, later) = (honest.root(13).unwrap(), forged.root(20).unwrap());
        for path in [honest.consistency(13, 20).unwrap(), forged.consistency(13, 20).unwrap()] {
            assert!(verify_consistency(13, 20, &path, &earlier, &later).is_err());
        }
    }
}

fn entry() -> impl Strategy<Value = Entry> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..64);
    let digest = || any::<[u8; 32]>().prop_map(Digest::from_bytes);
    let record = prop_oneof![
        (bytes(), digest()).prop_map(|(lease, evidence)| Record::Lease { lease, evidence }),
        (bytes(), digest()).prop_map(|(lease, evidence)| Record::Renewal { lease, evidence }),
        bytes().prop_map(|policy| Record::Policy { policy }),
    ];
    (any::<u64>().prop_map(Timestamp::from_millis), record)
        .prop_map(|(at, record)| Entry { at, record })
}

/// One change of a path: a bit, a hash too few, one too many, two exchanged.
fn mutate(path: &[[u8; 32]], at: prop::sample::Index, bit: u8, how: u8) -> Vec<[u8; 32]> {
    let mut path = path.to_vec();
    let at = at.index(path.len() + 1);
    match how % 4 {
        0 if at < path.len() => path[at][usize::from(bit >> 3)] ^= 1 << (bit & 7),
        1 if at < path.len() => drop(path.remove(at)),
        2 if at + 1 < path.len() && path[at] != path[at + 1] => path.swap(at, at + 1),
        _ => path.insert(at, [bit; 32]),
    }
    path
}

proptest! {
    #[test]
    fn larger_trees_prove_their_leaves_and_their_past(
        count in 1_usize..700,
        pick in any::<prop::sample::Index>(),
        past in any::<prop::sample::Index>(),
    ) {
        let leaves = leaves(count);
        let tree = tree(&leaves);
        let (root, size) = (defined_root(&leaves), wide(count));
        prop_assert_eq!(tree.root(size), Some(root));
        let index = pick.index(count);
        let path = tree.inclusion(wide(index), size).unwrap();
        prop_assert!(path.len() <= PATH_MAX);
        prop_assert_eq!(verify_inclusion(&leaves[index], wide(index), size, &path, &root), Ok(()));
        let first = past.index(count) + 1;
        let path = tree.consistency(wide(first), size).unwrap();
        let earlier = defined_root(&leaves[..first]);
        prop_assert_eq!(verify_consistency(wide(first), size, &path, &earlier, &root), Ok(()));
    }

    #[test]
    fn a_changed_inclusion_proof_is_refused(
        count in 1_usize..200,
        pick in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        (bit, how) in any::<(u8, u8)>(),
    ) {
        let leaves = leaves(count);
        let tree = tree(&leaves);
        let (size, index) = (wide(count), pick.index(count));
        let (leaf, root) = (leaves[index], tree.root(size).unwrap());
        let path = tree.inclusion(wide(index), size).unwrap();
        let changed = mutate(&path, at, bit, how);
        prop_assert!(verify_inclusion(&leaf, wide(index), size, &changed, &root).is_err());
        let elsewhere = wide(other.index(count + 1));
        if elsewhere != wide(index) {
            prop_assert!(verify_inclusion(&leaf, elsewhere, size, &path, &root).is_err());
        }
        let mut another = leaf;
        another[usize::from(bit >> 3)] ^= 1 << (bit & 7);
        prop_assert!(verify_inclusion(&another, wide(index), size, &path, &root).is_err());
    }

    #[test]
    fn a_changed_consistency_proof_is_refused(
        count in 2_usize..200,
        past in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        (bit, how) in any::<(u8, u8)>(),
    ) {
        let tree = tree(&leaves(count));
        let (first, second) = (wide(past.index(count)) + 1, wide(count));
        let (earlier, root) = (tree.root(first).unwrap(), tree.root(second).unwrap());
        let path = tree.consistency(first, second).unwrap();
        let changed = mutate(&path, at, bit, how);
        prop_assert!(verify_consistency(first, second, &changed, &earlier, &root).is_err());
        let mut another = earlier;
        another[usize::from(bit >> 3)] ^= 1 << (bit & 7);
        prop_assert!(verify_consistency(first, second, &path, &another, &root).is_err());
        let mut another = root;
        another[usize::from(bit >> 3)] ^= 1 << (bit & 7);
        prop_assert!(verify_consistency(first, second, &path, &earlier, &another).is_err());
    }

    #[test]
    fn verifiers_never_panic(
        a in any::<u64>(),
        b in any::<u64>(),
        path in prop::collection::vec(any::<[u8; 32]>(), 0..80),
        x in any::<[u8; 32]>(),
        y in any::<[u8; 32]>(),
    ) {
        let _ = verify_inclusion(&x, a, b, &path, &y);
        let _ = verify_consistency(a, b, &path, &x, &y);
    }

    #[test]
    fn an_entry_has_one_encoding(entry in entry(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut bytes = entry.encode();
        prop_assert_eq!(&Entry::decode(&bytes), &Ok(entry.clone()));
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(other) = Entry::decode(&bytes) {
            prop_assert_ne!(&other, &entry);
            prop_assert_eq!(other.encode(), bytes);
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_entry_or_one(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
        if let Ok(entry) = Entry::decode(&bytes) {
            prop_assert_eq!(entry.encode(), bytes);
        }
    }

    #[test]
    fn a_head_is_its_keys_alone(
        seed: [u8; 32], other: [u8; 32], size: u64, root: [u8; 32], ms: u64, bit: u8,
    ) {
        let (key, at) = (SigningKey::from_bytes(&seed), Timestamp::from_millis(ms));
        let public = key.verifying_key().to_bytes();
        let head = SignedHead::sign(&key, size, root, at);
        prop_assert!(head.verify(&public));
        if other != public {
            prop_assert!(!head.verify(&other));
        }
        let text = serde_json::to_string(&head).unwrap();
        prop_assert_eq!(&serde_json::from_str::<SignedHead>(&text).unwrap(), &head);
        let mut root = root;
        root[usize::from(bit >> 3)] ^= 1 << (bit & 7);
        let later = at.saturating_add(std::time::Duration::from_millis(1));
        for changed in [
            SignedHead { size: size ^ 1, ..head.clone() },
            SignedHead { root, ..head.clone() },
            SignedHead { at: later, ..head.clone() },
        ] {
            prop_assert!(changed == head || !changed.verify(&public));
        }
    }
}
