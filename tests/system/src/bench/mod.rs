//! Measurements against peers that run beside us on the same input, one JSON object each.
//!
//! The machine is shared and its speed changes from minute to minute, so a value alone says
//! little: ours and the peer's are measured in turns and the medians compared. The names are
//! stable; what a name means is said once, in [`ALL`].

pub mod ingest;
pub mod resident;
pub mod san;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Turns per contestant; the median of an odd number is one of them.
pub const TURNS: usize = 5;

/// One result.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// Stable.
    pub name: &'static str,
    /// The figure: for comparisons, ours divided by the peer's (more is better for us).
    pub value: f64,
    /// Of the figure.
    pub unit: &'static str,
    /// Against whom, with version; empty: against a limit that `note` names.
    pub peer: String,
    /// Both sides' own figures, and the conditions.
    pub note: String,
}

/// A measurement that can be asked for.
pub struct Bench {
    /// Its stable name.
    pub name: &'static str,
    /// Takes it.
    pub measure: fn() -> Result<Measurement>,
}

/// Every measurement there is.
pub const ALL: &[Bench] = &[
    // Sequential reads of a LUN: 256 KiB, 32 in flight, our initiator against libiscsi's.
    Bench { name: "san.seq_read.vs_libiscsi", measure: san::against_libiscsi },
    // A full backup's ingest of a disk image: against borg with the same chunks and compression.
    Bench { name: "ingest.full.vs_borg", measure: ingest::against_borg },
    // The same against what zstd alone could do with the same two cores.
    Bench { name: "ingest.full.vs_zstd_limit", measure: ingest::against_zstd },
    // Highest resident size of the daemon while it backs up a disk of 100 GiB.
    Bench { name: "ingest.rss_mib", measure: resident::of_a_large_disk },
];

/// Takes the measurements whose names begin with `prefix`, prints each and appends it to
/// `results`. Goes on after one that fails, and fails at the end.
///
/// # Errors
/// When a measurement fails, none has that prefix, or the results cannot be kept.
pub fn run(prefix: &str, results: &Path) -> Result<()> {
    let wanted: Vec<_> = ALL.iter().filter(|bench| bench.name.starts_with(prefix)).collect();
    ensure!(!wanted.is_empty(), "no measurement begins with {prefix:?}");
    if let Some(folder) = results.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut failed = Vec::new();
    for bench in wanted {
        match (bench.measure)() {
            Ok(measurement) => keep(&measurement, results)?,
            Err(error) => failed.push(format!("{}: {error:#}", bench.name)),
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

fn keep(measurement: &Measurement, results: &Path) -> Result<()> {
    let line = format!("{}\n", serde_json::to_string(measurement)?);
    std::io::stdout().lock().write_all(line.as_bytes())?;
    let mut file = std::fs::File::options().append(true).create(true).open(results)?;
    file.write_all(line.as_bytes()).with_context(|| format!("writing {}", results.display()))
}

/// Measures both sides in turns and returns the medians: ours, the peer's.
///
/// # Errors
/// When one of them fails.
pub fn in_turns(
    mut ours: impl FnMut() -> Result<f64>,
    mut theirs: impl FnMut() -> Result<f64>,
) -> Result<(f64, f64)> {
    let mut figures = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        figures.0.push(ours()?);
        figures.1.push(theirs()?);
    }
    Ok((median(figures.0), median(figures.1)))
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A peer as Debian packages it: the package's name and version.
fn peer(package: &str) -> Result<String> {
    let format = "--showformat=${Package} ${Version}";
    let output = lab::process::run(Command::new("dpkg-query").args(["--show", format, package]))?;
    Ok(String::from_utf8(output)?.trim().to_owned())
}

/// An example program that Cargo has built beside the binaries.
fn example(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let folder = here.parent().context("a program lies in a folder")?.join("examples");
    let path = folder.join(name);
    ensure!(path.is_file(), "{} is not there; `make bench` builds it", path.display());
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_an_outlier() {
        assert!((median(vec![5.0, 1.0, 900.0]) - 5.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn turns_alternate() {
        let order = std::cell::RefCell::new(String::new());
        let turn = |who: char| {
            order.borrow_mut().push(who);
            Ok(f64::from(u32::from(who)))
        };
        in_turns(|| turn('a'), || turn('b')).unwrap();
        assert_eq!(order.into_inner(), "ab".repeat(TURNS));
    }

    #[test]
    fn names_are_unique_and_an_unknown_prefix_is_an_error() {
        let mut names: Vec<_> = ALL.iter().map(|bench| bench.name).collect();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        let directory = tempfile::tempdir().unwrap();
        assert!(run("nothing", &directory.path().join("results.jsonl")).is_err());
    }
}
