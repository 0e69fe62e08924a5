//! Inclusion and consistency proofs (RFC 9162, 2.1.3 and 2.1.4), made from all leaf hashes and
//! checked from a root alone.

use crate::tree::{Hash, node_hash, root_of, split};

/// The path that proves leaf `index` of `leaves`; `None` when there is no such leaf.
#[must_use]
pub fn inclusion(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    if leaves.len() == 1 {
        return Some(Vec::new());
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut path, sibling) = match index.checked_sub(left.len()) {
        None => (inclusion(left, index)?, root_of(right)),
        Some(index) => (inclusion(right, index)?, root_of(left)),
    };
    path.push(sibling);
    Some(path)
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

/// The proof that the tree over `leaves` only added to the one over the first `old` of them;
/// `None` unless `1 <= old <= leaves.len()`.
#[must_use]
pub fn consistency(leaves: &[Hash], old: usize) -> Option<Vec<Hash>> {
    (1..=leaves.len()).contains(&old).then(|| subproof(leaves, old, true))
}

fn subproof(leaves: &[Hash], old: usize, whole: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if whole { Vec::new() } else { vec![root_of(leaves)] };
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut proof, sibling) = match old.checked_sub(left.len()) {
        None | Some(0) => (subproof(left, old, whole), root_of(right)),
        Some(old) => (subproof(right, old, false), root_of(left)),
    };
    proof.push(sibling);
    proof
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
    use crate::tree::leaf_hash;

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
