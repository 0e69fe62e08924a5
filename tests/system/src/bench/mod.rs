//! Measurements against peers that run beside us on the same input, one JSON object each.
//!
//! The machine is shared and its speed changes from minute to minute, so a value alone says
//! little: ours and the peer's are measured in turns and the medians compared. The names are
//! stable; what a name means is said once, in [`ALL`].
//!
//! | module | what |
//! |---|---|
//! | [`store`] | the repository's cases, computed from the rounds' figures |
//! | [`rounds`] | who is wanted does what is wanted, three times, interleaved |
//! | [`contestants`] | ours, borg, restic, kopia, zstd: how each is asked for the same work |
//! | [`disk`] | the disk that all of them get |
//! | [`timed`] | one program's run, measured from outside |
//! | [`many`] | the repository with very much in it |
//! | [`san`], [`vmfs`], [`resident`] | cases that stand alone |

pub mod contestants;
pub mod disk;
pub mod goal;
pub mod many;
pub mod resident;
pub mod rounds;
pub mod san;
pub mod socket;
pub mod store;
pub mod timed;
pub mod vmfs;

use crate::table::Table;
use anyhow::{Context as _, Result, ensure};
use goal::{Goal, Sides};
use rounds::{Absent, Figures, Run};
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Turns per contestant of the cases that stand alone; of an odd number the median is one.
pub const TURNS: usize = 5;

/// One result.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Measurement {
    /// Stable; filled in from [`ALL`].
    pub name: &'static str,
    /// The figure. How the two sides of a ratio stand to each other, `goal` tells.
    pub value: f64,
    /// Of the figure.
    pub unit: &'static str,
    /// Against whom, with version; empty: against a limit that `note` names.
    pub peer: String,
    /// What a ratio was made of.
    #[serde(flatten)]
    pub sides: Option<Sides>,
    /// What the figure should be; `None`: for information.
    pub goal: Option<Goal>,
    /// Whether it is that.
    pub met: Option<bool>,
    /// The conditions.
    pub note: String,
}

/// A measurement that can be asked for.
pub struct Bench {
    /// Its stable name.
    pub name: &'static str,
    /// How it is taken.
    pub how: How,
}

/// How a measurement is taken.
#[derive(Clone, Copy)]
pub enum How {
    /// By itself.
    Alone(fn() -> Result<Measurement>),
    /// From the figures of these runs, which other cases share.
    Rounds(&'static [Run], fn(&Figures) -> Result<Measurement>),
}

/// Every measurement there is.
pub const ALL: &[Bench] = &[
    // Sequential reads of a LUN: 256 KiB, 32 in flight, our initiator against libiscsi's: bytes in
    // a second, and processor time of the reading process for the same bytes.
    Bench { name: "san.seq_read.vs_libiscsi", how: How::Alone(san::sequential) },
    Bench { name: "san.seq_read.cpu_vs_libiscsi", how: How::Alone(san::sequential_cpu) },
    // The same ratio for receiving alone: no initiator over TCP takes less.
    Bench { name: "san.seq_read.cpu_limit_vs_libiscsi", how: How::Alone(socket::limit) },
    // Random reads of 4 KiB, 32 in flight.
    Bench { name: "san.rand_read.vs_libiscsi", how: How::Alone(san::random) },
    // Our sequential reads by two portals, a session each / by one.
    Bench { name: "san.two_paths.vs_one", how: How::Alone(san::two_paths) },
    // Our sequential reads with CRC32C over headers and data / without.
    Bench { name: "san.digests.vs_none", how: How::Alone(san::digests) },
    // Every block of a disk of 1 TiB in short runs checked and mapped: time and memory.
    Bench { name: "vmfs.map_1tib.seconds", how: How::Alone(vmfs::map_seconds) },
    Bench { name: "vmfs.map_1tib.rss_mib", how: How::Alone(vmfs::map_memory) },
    // The names in a folder that has 10,000.
    Bench { name: "vmfs.ls_10k.ms", how: How::Alone(vmfs::list) },
    // A full backup of a disk of 4 GiB into a new repository, theirs / our time.
    Bench { name: "ingest.full.vs_borg", how: How::Rounds(store::INGEST_BORG, store::ingest_borg) },
    Bench {
        name: "ingest.full.vs_restic",
        how: How::Rounds(store::INGEST_RESTIC, store::ingest_restic),
    },
    Bench {
        name: "ingest.full.vs_kopia",
        how: How::Rounds(store::INGEST_KOPIA, store::ingest_kopia),
    },
    // The same against what zstd alone could do with the same cores.
    Bench {
        name: "ingest.full.vs_zstd_limit",
        how: How::Rounds(store::INGEST_ZSTD, store::ingest_zstd),
    },
    // One cell in a hundred changed: the time of its backup / the time of the full one.
    Bench {
        name: "ingest.incr_1pct.vs_full",
        how: How::Rounds(store::INCREMENTAL, store::incremental),
    },
    // The whole disk to standard output, theirs / our time.
    Bench { name: "restore.vs_borg", how: How::Rounds(store::RESTORE, store::restore) },
    // Every byte of the backup read and checked, theirs / our time.
    Bench { name: "verify.vs_borg", how: How::Rounds(store::VERIFY, store::verify) },
    // Bytes on the disk after the full backup, ours / theirs.
    Bench { name: "stored.vs_borg", how: How::Rounds(store::STORED, store::stored) },
    // Memory of the index / chunks in it.
    Bench { name: "index.bytes_per_chunk", how: How::Rounds(store::INDEX, store::index) },
    // From nothing to a repository that can be used: 100,000 segments with 24 million chunks.
    Bench { name: "open.100k_segments.seconds", how: How::Alone(many::open) },
    // Which points and segments go, among 100 million references of points to segments.
    Bench { name: "expiry.100m_refs.seconds", how: How::Alone(many::expiry) },
    // Highest resident size of the daemon while it backs up a disk of 100 GiB.
    Bench { name: "ingest.rss_mib", how: How::Alone(resident::of_a_large_disk) },
];

/// Takes the measurements whose names begin with one of `prefixes` (with commas between), prints
/// each and appends it to `results`; a table at the end is for people. Goes on after one that
/// fails, and fails at the end. A goal that is not met is a result, not a failure; a peer that is
/// not installed is said loudly and skipped.
///
/// # Errors
/// When a measurement fails, none has that prefix, or the results cannot be kept.
pub fn run(prefixes: &str, results: &Path) -> Result<()> {
    let asked = |bench: &&Bench| prefixes.split(',').any(|one| bench.name.starts_with(one));
    let wanted: Vec<_> = ALL.iter().filter(asked).collect();
    ensure!(!wanted.is_empty(), "no measurement begins with {prefixes:?}");
    if let Some(folder) = results.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let figures = figures(&wanted)?;
    let (mut failed, mut skipped) = (Vec::new(), Vec::new());
    let mut table = Table::new(&["CASE", "OURS", "THEIRS", "VALUE", "GOAL", "MET"]);
    for bench in wanted {
        match measure(bench, figures.as_ref()) {
            Ok(measurement) => {
                keep(&measurement, results)?;
                table.row(cells(&measurement));
            }
            Err(error) if error.is::<Absent>() => {
                skipped.push(format!("SKIPPED: {}: {error:#}\n", bench.name));
            }
            Err(error) => failed.push(format!("{}: {error:#}", bench.name)),
        }
    }
    let text = format!("\n{}{}", table.text(), skipped.concat());
    std::io::stderr().lock().write_all(text.as_bytes())?;
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// One campaign for all the cases that share its figures, or none when nobody needs it.
fn figures(wanted: &[&Bench]) -> Result<Option<Figures>> {
    let runs: BTreeSet<Run> = wanted
        .iter()
        .filter_map(|bench| match bench.how {
            How::Rounds(runs, _) => Some(runs),
            How::Alone(_) => None,
        })
        .flatten()
        .copied()
        .collect();
    if runs.is_empty() { Ok(None) } else { Figures::take(&runs).map(Some) }
}

fn measure(bench: &Bench, figures: Option<&Figures>) -> Result<Measurement> {
    let taken = match bench.how {
        How::Alone(measure) => measure()?,
        How::Rounds(_, value) => value(figures.context("the rounds were taken before")?)?,
    };
    let met = taken.goal.map(|goal| goal.met(taken.value));
    Ok(Measurement { name: bench.name, met, ..taken })
}

/// A row for people.
fn cells(of: &Measurement) -> [String; 6] {
    let side = |figure: fn(&Sides) -> f64| {
        of.sides.map_or("-".to_owned(), |sides| format!("{:.1} {}", figure(&sides), sides.unit))
    };
    let met = of.met.map_or("-", |met| if met { "met" } else { "NOT MET" });
    [
        of.name.to_owned(),
        side(|sides| sides.ours),
        side(|sides| sides.theirs),
        format!("{:.3} {}", of.value, of.unit),
        of.goal.map_or("-".to_owned(), |goal| goal.to_string()),
        met.to_owned(),
    ]
}

fn keep(measurement: &Measurement, results: &Path) -> Result<()> {
    let line = format!("{}\n", serde_json::to_string(measurement)?);
    std::io::stdout().lock().write_all(line.as_bytes())?;
    let mut file = std::fs::File::options().append(true).create(true).open(results)?;
    file.write_all(line.as_bytes()).with_context(|| format!("writing {}", results.display()))
}

/// Measures both sides in turns, each [`TURNS`] times: ours, the peer's.
///
/// # Errors
/// When one of them fails.
pub fn in_turns<T>(
    mut ours: impl FnMut() -> Result<T>,
    mut theirs: impl FnMut() -> Result<T>,
) -> Result<(Vec<T>, Vec<T>)> {
    let mut figures = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        figures.0.push(ours()?);
        figures.1.push(theirs()?);
    }
    Ok(figures)
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
            Ok(who)
        };
        let (ours, theirs) = in_turns(|| turn('a'), || turn('b')).unwrap();
        assert_eq!((ours.len(), theirs.len()), (TURNS, TURNS));
        assert_eq!(order.into_inner(), "ab".repeat(TURNS));
    }

    #[test]
    fn names_are_unique_and_an_unknown_prefix_is_an_error() {
        let mut names: Vec<_> = ALL.iter().map(|bench| bench.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        let directory = tempfile::tempdir().unwrap();
        assert!(run("nothing", &directory.path().join("results.jsonl")).is_err());
    }

    #[test]
    fn a_result_tells_both_sides_the_goal_and_whether_it_is_met() {
        let mut told = Measurement {
            value: 1.5,
            unit: "ratio",
            sides: Some(Sides { ours: 3.0, theirs: 2.0, unit: "MiB/s" }),
            goal: Some(Goal::AtLeast(2.0)),
            ..Measurement::default()
        };
        let bench = Bench { name: "x", how: How::Alone(|| Ok(Measurement::default())) };
        assert_eq!(measure(&bench, None).unwrap().name, "x");
        told.met = told.goal.map(|goal| goal.met(told.value));
        let json = serde_json::to_value(&told).unwrap();
        assert_eq!((&json["ours"], &json["theirs"]), (&3.0.into(), &2.0.into()));
        assert_eq!((&json["goal"], &json["met"]), (&">= 2".into(), &false.into()));
        assert_eq!(cells(&told)[1..], ["3.0 MiB/s", "2.0 MiB/s", "1.500 ratio", ">= 2", "NOT MET"]);
    }
}
