//! Bytes that differ everywhere, the same for the same seed: what a LUN holds when a test has to
//! find every byte that lies in a wrong place.

use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// `length` bytes of noise.
#[must_use]
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// The same as a file `name` in `directory`.
///
/// # Errors
/// When it cannot be written.
pub fn file(directory: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf> {
    let path = directory.join(name);
    std::fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// The first byte by which two contents differ, their lengths included; `None`: they do not.
#[must_use]
pub fn difference(one: &[u8], other: &[u8]) -> Option<usize> {
    let first = one.iter().zip(other).position(|(a, b)| a != b);
    first.or_else(|| (one.len() != other.len()).then_some(one.len().min(other.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_the_same_again_and_another_for_another_seed() {
        let [one, again, other] = [1, 1, 2].map(|seed| bytes(seed, 5000));
        assert_eq!(difference(&one, &again), None);
        assert!(difference(&one, &other).is_some_and(|at| at < 4));
        assert_eq!(difference(&one, &one[..4000]), Some(4000));
    }
}
