//! The tree against a plain reading of RFC 9162, and against everything that is not a proof.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::convert::Infallible;

use picket_seal::Digest;
use picket_seal::tree::{
    self, Nodes, TreeError, leaf_hash, node_hash, verify_consistency, verify_inclusion,
};
use proptest::prelude::*;

/// The leaves themselves; every node is computed anew.
struct Leaves(Vec<Digest>);

impl Leaves {
    fn of(count: u64) -> Self {
        let leaf = |number: u64| leaf_hash(&Digest::of(&number.to_le_bytes()));
        Self((0..count).map(leaf).collect())
    }

    fn root(&self, size: u64) -> Digest {
        let Ok(root) = tree::root(self, size);
        root
    }

    fn leaf(&self, index: u64) -> Digest {
        self.0[usize::try_from(index).unwrap()]
    }
}

impl Nodes for Leaves {
    type Error = Infallible;

    fn node(&self, level: u32, index: u64) -> Result<Digest, Infallible> {
        let first = usize::try_from(index << level).unwrap();
        Ok(plain(&self.0[first..first + (1 << level)]))
    }
}

/// MTH of RFC 9162, 2.1.1, word by word.
fn plain(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::of(&[]),
        [leaf] => *leaf,
        _ => {
            let mut k = 1;
            while k * 2 < leaves.len() {
                k *= 2;
            }
            node_hash(&plain(&leaves[..k]), &plain(&leaves[k..]))
        }
    }
}

#[test]
fn leaves_and_nodes_are_told_apart_as_the_rfc_says() {
    let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
    let leaf = [&[0_u8][..], a.as_bytes()].concat();
    assert_eq!(leaf_hash(&a), Digest::of(&leaf));
    let node = [&[1_u8][..], a.as_bytes(), b.as_bytes()].concat();
    assert_eq!(node_hash(&a, &b), Digest::of(&node));
}

#[test]
fn every_root_is_the_rfcs() {
    let leaves = Leaves::of(70);
    for size in 0..=70 {
        let plain = plain(&leaves.0[..usize::try_from(size).unwrap()]);
        assert_eq!(leaves.root(size), plain, "{size}");
    }
}

#[test]
fn each_leaf_of_each_size_is_proved_and_no_other_is() {
    let leaves = Leaves::of(40);
    for size in 1..=40 {
        let root = leaves.root(size);
        for index in 0..size {
            let Ok(path) = tree::inclusion(&leaves, index, size);
            let leaf = leaves.leaf(index);
            assert_eq!(verify_inclusion(&leaf, index, size, &path, &root), Ok(()));
            for other in (0..size).filter(|other| *other != index) {
                let wrong = verify_inclusion(&leaf, other, size, &path, &root);
                assert!(wrong.is_err(), "{index} as {other} of {size}");
            }
            let longer = [&path[..], &[root]].concat();
            let wrong = verify_inclusion(&leaf, index, size, &longer, &root);
            assert!(matches!(wrong, Err(TreeError::Length { .. })), "{wrong:?}");
            if let Some((_, shorter)) = path.split_last() {
                assert!(verify_inclusion(&leaf, index, size, shorter, &root).is_err());
            }
        }
    }
}

#[test]
fn each_older_tree_is_proved_to_be_the_beginning_of_each_newer() {
    let leaves = Leaves::of(40);
    for new in 0..=40 {
        for old in 0..=new {
            let Ok(path) = tree::consistency(&leaves, old, new);
            let (before, after) = (leaves.root(old), leaves.root(new));
            let verified = verify_consistency((old, &before), (new, &after), &path);
            assert_eq!(verified, Ok(()), "{old} {new}");
            let longer = [&path[..], &[after]].concat();
            assert!(verify_consistency((old, &before), (new, &after), &longer).is_err());
            let other = Digest::of(b"another history");
            if old > 0 {
                let wrong = verify_consistency((old, &other), (new, &after), &path);
                assert!(wrong.is_err(), "{old} {new}");
                let wrong = verify_consistency((old, &before), (new, &other), &path);
                assert!(wrong.is_err(), "{old} {new}");
            }
        }
    }
    let (a, b) = (leaves.root(9), leaves.root(8));
    let shrunk = verify_consistency((9, &a), (8, &b), &[]);
    assert_eq!(shrunk, Err(TreeError::Shrunk { old: 9, new: 8 }));
}

#[test]
fn a_rewritten_leaf_breaks_every_proof_from_a_root_that_covered_it() {
    let leaves = Leaves::of(33);
    let mut rewritten = Leaves::of(64);
    rewritten.0[11] = leaf_hash(&Digest::of(b"rewritten"));
    for old in 1..=33 {
        let Ok(path) = tree::consistency(&rewritten, old, 64);
        let (before, after) = (leaves.root(old), rewritten.root(64));
        let verified = verify_consistency((old, &before), (64, &after), &path);
        assert_eq!(verified.is_ok(), old <= 11, "{old}");
    }
}

proptest! {
    #[test]
    fn no_numbers_and_paths_make_the_checks_panic(
        index in any::<u64>(),
        size in any::<u64>(),
        path in proptest::collection::vec(any::<[u8; 32]>(), 0..70),
    ) {
        let path: Vec<Digest> = path.into_iter().map(Digest).collect();
        let hash = Digest::of(b"x");
        prop_assert!(verify_inclusion(&hash, index, size, &path, &hash).is_err() || path.is_empty());
        let _any = verify_consistency((index, &hash), (size, &hash), &path);
    }
}
