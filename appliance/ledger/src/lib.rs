//! The transparency log: leaves, Merkle tree, inclusion and consistency proofs.
