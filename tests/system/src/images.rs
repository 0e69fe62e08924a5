//! Disk images: are two the same, and where has one a hole.

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{SeekFrom, seek};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const PIECE: usize = 1 << 20;

/// The outcome of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Every byte, and the length.
    Equal {
        /// Bytes compared.
        bytes: u64,
    },
    /// Not the same length.
    Lengths {
        /// Of the first.
        first: u64,
        /// Of the second.
        second: u64,
    },
    /// Same length, other content.
    Differs {
        /// The first byte that differs.
        at: u64,
    },
}

impl Comparison {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_equal(self) -> bool {
        matches!(self, Self::Equal { .. })
    }
}

/// Compares two images byte for byte; holes read as zeros.
///
/// # Errors
/// When one cannot be read.
pub fn compare(first: &Path, second: &Path) -> Result<Comparison> {
    let open = |path: &Path| File::open(path).with_context(|| format!("{}", path.display()));
    let (one, two) = (open(first)?, open(second)?);
    let lengths = (one.metadata()?.len(), two.metadata()?.len());
    if lengths.0 != lengths.1 {
        return Ok(Comparison::Lengths { first: lengths.0, second: lengths.1 });
    }
    let (mut left, mut right) = (vec![0; PIECE], vec![0; PIECE]);
    let mut at = 0;
    while at < lengths.0 {
        let length = usize::try_from((lengths.0 - at).min(PIECE as u64))?;
        one.read_exact_at(&mut left[..length], at)?;
        two.read_exact_at(&mut right[..length], at)?;
        if left[..length] != right[..length] {
            let inside = left.iter().zip(&right).take_while(|(a, b)| a == b).count();
            return Ok(Comparison::Differs { at: at + inside as u64 });
        }
        at += length as u64;
    }
    Ok(Comparison::Equal { bytes: lengths.0 })
}

/// The start of a hole of at least `length` bytes in a sparse image, rounded up to whole MiB,
/// not before `from`.
///
/// # Errors
/// When there is none.
pub fn hole(image: &Path, from: u64, length: u64) -> Result<u64> {
    let file = File::open(image)?;
    let size = file.metadata()?.len();
    let mut at = from;
    while at < size {
        let start = seek(&file, SeekFrom::Hole(at))?.next_multiple_of(PIECE as u64);
        // No data behind the last hole is an error of the seek: the hole reaches to the end.
        let end = seek(&file, SeekFrom::Data(start.min(size))).unwrap_or(size);
        if start + length <= end {
            return Ok(start);
        }
        ensure!(end > at, "the file system does not tell holes");
        at = end;
    }
    anyhow::bail!("{} has no hole of {length} bytes", image.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| directory.path().join(name));
        let mut bytes = vec![7; 3 * PIECE + 5];
        std::fs::write(&a, &bytes).unwrap();
        std::fs::write(&b, &bytes).unwrap();
        assert_eq!(compare(&a, &b).unwrap(), Comparison::Equal { bytes: 3 * PIECE as u64 + 5 });
        bytes[2 * PIECE + 3] = 8;
        std::fs::write(&b, &bytes).unwrap();
        assert_eq!(compare(&a, &b).unwrap(), Comparison::Differs { at: 2 * PIECE as u64 + 3 });
        std::fs::write(&b, &bytes[1..]).unwrap();
        assert!(!compare(&a, &b).unwrap().is_equal());
    }

    #[test]
    fn a_hole_is_found_behind_data() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sparse");
        let file = File::create_new(&path).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(&[1; 100], 0).unwrap();
        file.write_all_at(&[1; 100], 10 << 20).unwrap();
        assert_eq!(hole(&path, 0, 4 << 20).unwrap(), 1 << 20);
        assert_eq!(hole(&path, 0, 20 << 20).unwrap(), 11 << 20);
        assert!(hole(&path, 0, 60 << 20).is_err());
    }
}
