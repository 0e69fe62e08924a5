//! Inclusion and consistency proofs (RFC 9162, 2.1.3 and 2.1.4): made in one pass over the leaves
//! with memory for the proof alone, and checked from a root.
//!
//! A proof is a list of roots of ranges of leaves. Which ranges is known before any leaf is read,
//! and no two of them overlap: each gets a tree that grows while the leaves go by.

use crate::tree::{Hash, Tree, node_hash};
use std::ops::Range;

/// A proof that is being made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prover {
    /// Ranges in the order of the proof, with the trees over what has been seen of them.
    parts: Vec<(Range<u64>, Tree)>,
    size: u64,
    seen: u64,
}

impl Prover {
    /// The path of leaf `index` in the tree of `size` leaves; `None` when there is no such leaf.
    #[must_use]
    pub fn inclusion(index: u64, size: u64) -> Option<Self> {
        let (mut ranges, mut all) = (Vec::new(), 0..size);
        if index >= size {
            return None;
        }
        while all.end - all.start > 1 {
            let middle = all.start + split(all.end - all.start);
            let (near, far) = halves(all, middle, index < middle);
            ranges.push(far);
            all = near;
        }
        Some(Self::new(ranges, size))
    }

    /// The proof that the tree of `new` leaves begins with the one of `old`; `None` unless
    /// `1 <= old <= new`.
    #[must_use]
    pub fn consistency(old: u64, new: u64) -> Option<Self> {
        let (mut ranges, mut all, mut whole) = (Vec::new(), 0..new, true);
        if !(1..=new).contains(&old) {
            return None;
        }
        while all.end != old {
            let middle = all.start + split(all.end - all.start);
            let (near, far) = halves(all, middle, old <= middle);
            whole &= near.start == 0;
            ranges.push(far);
            all = near;
        }
        if !whole {
            ranges.push(all);
        }
        Some(Self::new(ranges, new))
    }

    /// `ranges` from the root downwards; a proof goes upwards.
    fn new(mut ranges: Vec<Range<u64>>, size: u64) -> Self {
        ranges.reverse();
        let parts = ranges.into_iter().map(|range| (range, Tree::default())).collect();
        Self { parts, size, seen: 0 }
    }

    /// The next leaf, from the first one on. Those beyond the size are not needed.
    pub fn push(&mut self, leaf: Hash) {
        let number = self.seen;
        self.seen += 1;
        if let Some((_, tree)) = self.parts.iter_mut().find(|(range, _)| range.contains(&number)) {
            tree.push(leaf);
        }
    }

    /// The proof, once all leaves of the tree have been seen.
    #[must_use]
    pub fn finish(self) -> Option<Vec<Hash>> {
        let done = self.seen >= self.size;
        done.then(|| self.parts.iter().map(|(_, tree)| tree.root()).collect())
    }
}

/// `all` cut at `middle`: the half to go on in, and the other one.
fn halves(all: Range<u64>, middle: u64, left: bool) -> (Range<u64>, Range<u64>) {
    let (low, high) = (all.start..middle, middle..all.end);
    if left { (low, high) } else { (high, low) }
}

/// The largest power of two that is smaller than `count` (at least 2).
fn split(count: u64) -> u64 {
    1 << (63 - (count - 1).leading_zeros())
}

/// True when `path` proves that `leaf` is leaf `index` of the tree of `size` with `root`
/// (the algorithm of RFC 9162, 2.1.3.2).
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && hash == *root
}

/// True when `proof` shows that the tree of `new` leaves with `new_root` begins with the tree of
/// `old` leaves with `old_root` (the algorithm of RFC 9162, 2.1.4.2).
#[must_use]
pub fn verify_consistency(
    (old, old_root): (u64, &Hash),
    (new, new_root): (u64, &Hash),
    proof: &[Hash],
) -> bool {
    if old == 0 || old > new {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    // A perfect old tree is itself the first node of the path.
    let mut path = proof.iter();
    let first = if old.is_power_of_two() { Some(old_root) } else { path.next() };
    let Some(&first) = first else { return false };
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        (node, last) = (node >> 1, last >> 1);
    }
    let (mut old_hash, mut new_hash) = (first, first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{leaf_hash, root_of};

    fn made(prover: Option<Prover>, leaves: &[Hash]) -> Option<Vec<Hash>> {
        let mut prover = prover?;
        leaves.iter().for_each(|leaf| prover.push(*leaf));
        prover.finish()
    }

    fn inclusion(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
        made(Prover::inclusion(index as u64, leaves.len() as u64), leaves)
    }

    fn consistency(leaves: &[Hash], old: usize) -> Option<Vec<Hash>> {
        made(Prover::consistency(old as u64, leaves.len() as u64), leaves)
    }

    /// The inputs of the reference tests of Certificate Transparency; their proofs follow.
    fn published() -> Vec<Hash> {
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657"]
            .into_iter()
            .chain(["606162636465666768696a6b6c6d6e6f"])
            .map(|data| leaf_hash(&hex::decode(data).unwrap()))
            .collect()
    }

    #[test]
    fn proofs_are_those_of_certificate_transparency() {
        let leaves = published();
        let text =
            |proof: Option<Vec<Hash>>| proof.unwrap().iter().map(hex::encode).collect::<Vec<_>>();
        assert_eq!(
            text(consistency(&leaves, 6)),
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        );
        assert_eq!(
            text(consistency(&leaves[..5], 2)),
            [
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ]
        );
        let path = text(inclusion(&leaves[..3], 2));
        assert_eq!(path, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]);
    }

    #[test]
    fn a_proof_needs_all_leaves_and_no_others() {
        let leaves = leaves(9);
        let mut short = Prover::inclusion(2, 9).unwrap();
        leaves[..8].iter().for_each(|leaf| short.push(*leaf));
        assert_eq!(short.finish(), None);
        let beyond = made(Prover::inclusion(2, 5), &leaves);
        assert_eq!(beyond, inclusion(&leaves[..5], 2));
    }

    fn leaves(count: u8) -> Vec<Hash> {
        (0..count).map(|n| leaf_hash(&[n])).collect()
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proved_and_nothing_else() {
        for size in 1..=33u8 {
            let leaves = leaves(size);
            let root = root_of(&leaves);
            for index in 0..leaves.len() {
                let path = inclusion(&leaves, index).unwrap();
                let check = |leaf: &Hash, index: usize, path: &[Hash]| {
                    verify_inclusion(leaf, index as u64, u64::from(size), path, &root)
                };
                assert!(check(&leaves[index], index, &path), "{index} of {size}");
                assert!(!check(&leaf_hash(b"other"), index, &path));
                for other in (0..leaves.len()).filter(|&other| other != index) {
                    assert!(!check(&leaves[index], other, &path), "{index} as {other} of {size}");
                }
                if !path.is_empty() {
                    assert!(!check(&leaves[index], index, &path[1..]));
                }
                let longer = [&path[..], &[root]].concat();
                assert!(!check(&leaves[index], index, &longer));
            }
            assert_eq!(inclusion(&leaves, leaves.len()), None);
        }
    }

    #[test]
    fn every_pair_of_small_trees_is_consistent_and_a_changed_past_is_not() {
        for size in 1..=33u8 {
            let new = leaves(size);
            let new_root = root_of(&new);
            for old in 1..=new.len() {
                let proof = consistency(&new, old).unwrap();
                let old_root = root_of(&new[..old]);
                let check = |old_root: &Hash, proof: &[Hash]| {
                    verify_consistency((old as u64, old_root), (u64::from(size), &new_root), proof)
                };
                assert!(check(&old_root, &proof), "{old} of {size}");
                let mut changed = new[..old].to_vec();
                changed[old / 2] = leaf_hash(b"changed");
                assert!(!check(&root_of(&changed), &proof), "{old} of {size}");
                for at in 0..proof.len() {
                    let mut damaged = proof.clone();
                    damaged[at][0] ^= 1;
                    assert!(!check(&old_root, &damaged), "{old} of {size} at {at}");
                }
            }
            assert_eq!(consistency(&new, 0), None);
        }
    }
}
