//! The Merkle tree of RFC 9162, section 2.1, with SHA-256, grown leaf by leaf.

use sha2::{Digest, Sha256};

/// A SHA-256 value.
pub type Hash = [u8; 32];

/// Hash of a leaf (RFC 9162, 2.1.1): SHA-256(0x00 | data).
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Hash {
    Sha256::new_with_prefix([0]).chain_update(data).finalize().into()
}

/// Hash of an inner node (RFC 9162, 2.1.1): SHA-256(0x01 | left | right).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new_with_prefix([1]).chain_update(left).chain_update(right).finalize().into()
}

/// Root over no leaves at all (RFC 9162, 2.1.1): SHA-256 of nothing.
#[must_use]
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// A tree that can grow and tell its root, in 32 bytes per set bit of its size.
///
/// Invariant: `peaks` holds one root per set bit of `size`, of perfect trees, largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    peaks: Vec<Hash>,
}

impl Tree {
    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut root = leaf;
        for _ in 0..self.size.trailing_ones() {
            let left = self.peaks.pop().expect("one peak per set bit of the size");
            root = node_hash(&left, &root);
        }
        self.peaks.push(root);
        self.size += 1;
    }

    /// Root over all leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(&last) = peaks.next() else { return empty_root() };
        peaks.fold(last, |right, left| node_hash(left, &right))
    }
}

/// Root over `leaves` by the recursive definition: the slow truth of the tests.
#[cfg(test)]
pub(crate) fn root_of(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&root_of(left), &root_of(right))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The inputs and roots of the reference tests of Certificate Transparency
    /// (certificate-transparency-go, merkle test vectors).
    fn vectors() -> [(&'static str, &'static str); 8] {
        [
            ("", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
            ("00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
            ("10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
            ("2021", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
            ("3031", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
            ("40414243", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
            (
                "5051525354555657",
                "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            ),
            (
                "606162636465666768696a6b6c6d6e6f",
                "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
            ),
        ]
    }

    #[test]
    fn roots_are_those_of_certificate_transparency() {
        let mut tree = Tree::default();
        assert_eq!(
            hex::encode(tree.root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for (data, root) in vectors() {
            tree.push(leaf_hash(&hex::decode(data).unwrap()));
            assert_eq!(hex::encode(tree.root()), root, "size {}", tree.size());
        }
    }

    #[test]
    fn growing_gives_the_root_of_the_definition() {
        let leaves: Vec<_> = (0..200u8).map(|n| leaf_hash(&[n])).collect();
        let mut tree = Tree::default();
        for (count, leaf) in leaves.iter().enumerate() {
            assert_eq!(tree.root(), root_of(&leaves[..count]), "{count} leaves");
            tree.push(*leaf);
        }
    }
}
