//! The repository when there is very much in it: opening it, and deciding what goes.

use super::goal::Goal;
use super::{Measurement, example, median};
use anyhow::{Context as _, Result, ensure};
use std::path::Path;
use std::process::Command;

const SEGMENTS: u64 = 100_000;
const REFERENCES: u64 = 100_000_000;
/// An opening is repeated: the median of an odd number is one of them.
const TURNS: usize = 3;

/// `open.100k_segments.seconds`
///
/// # Errors
/// When the repository cannot be made or opened.
pub fn open() -> Result<Measurement> {
    let directory = lab::place::fresh_directory()?;
    let place = directory.path().join("many");
    many(|many| many.arg("make").arg(&place).args(["--segments", &SEGMENTS.to_string()]))?;
    let cold = forget(directory.path()).and_then(|()| opened(&place));
    let mut taken = Vec::new();
    let mut last = serde_json::Value::Null;
    for _ in 0..TURNS {
        last = opened(&place)?;
        taken.push(seconds(&last, "seconds")?);
    }
    let [segments, chunks, points] = ["segments", "chunks", "points"].map(|key| &last[key]);
    ensure!(segments == SEGMENTS, "{segments} segments were found");
    let cold = match cold.and_then(|opened| seconds(&opened, "seconds")) {
        Ok(seconds) => format!("{seconds:.1} s with nothing cached"),
        Err(error) => format!("with nothing cached: not measured ({error:#})"),
    };
    Ok(Measurement {
        value: median(taken),
        unit: "s",
        goal: Some(Goal::AtMost(5.0)),
        note: format!(
            "ledger replayed, every file and footer checked, index of {chunks} chunks built, \
             {points} points; synthetic, from memory; {cold}"
        ),
        ..Measurement::default()
    })
}

/// `expiry.100m_refs.seconds`
///
/// # Errors
/// When the example fails.
pub fn expiry() -> Result<Measurement> {
    let found = many(|many| many.args(["expire", "--references", &REFERENCES.to_string()]))?;
    ensure!(found["references"] == REFERENCES, "not as many references: {found}");
    ensure!(found["segments_going"].as_u64() > Some(0), "nothing went: {found}");
    let [points, segments, memory] =
        ["points_going", "segments_going", "peak_rss_mib"].map(|key| &found[key]);
    Ok(Measurement {
        value: seconds(&found, "with_deletion_seconds")?,
        unit: "s",
        goal: Some(Goal::AtMost(10.0)),
        note: format!(
            "10,000 points of 50 VMs with 10,000 scattered segments each: rules, locks, what \
             nobody needs any more, and the deletion; {points} points and {segments} segments go; \
             {memory} MiB with everything"
        ),
        ..Measurement::default()
    })
}

fn opened(place: &Path) -> Result<serde_json::Value> {
    many(|many| many.arg("open").arg(place))
}

fn many(arguments: impl FnOnce(&mut Command) -> &mut Command) -> Result<serde_json::Value> {
    let mut command = Command::new(example("many")?);
    let output = lab::process::run(arguments(&mut command))?;
    serde_json::from_slice(&output).context("the example prints JSON")
}

fn seconds(object: &serde_json::Value, key: &str) -> Result<f64> {
    object[key].as_f64().with_context(|| format!("no {key} in {object}"))
}

/// Empties the page cache, and the caches of names and inodes; only root may.
fn forget(directory: &Path) -> Result<()> {
    let file = std::fs::File::open(directory)?;
    rustix::fs::syncfs(&file)?;
    std::fs::write("/proc/sys/vm/drop_caches", "3").context("emptying the caches")
}
