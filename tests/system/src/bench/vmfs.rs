//! VMFS metadata: the map of a large disk and a full folder, with dissect.vmfs beside us.
//!
//! The volume is made once and read from memory: what is measured is our own work, without the
//! latency of a LUN. Each reading is a process of its own.

use super::goal::{Goal, Sides};
use super::{Measurement, TURNS, example, median};
use anyhow::{Context as _, Result, ensure};
use lab::place::{FreshDirectory, fresh_directory};
use lab::process::run;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// What `vmfs-bench make` puts on the volume.
const DISK: &str = "full-flat.vmdk";
const FOLDER: &str = "many";
/// dissect.vmfs at the same work.
const SCRIPT: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../appliance/vmfs/examples/dissect_bench.py");

/// What both sides said of the same two jobs, ours [`TURNS`] times.
#[derive(Clone)]
struct Taken {
    maps: Vec<Value>,
    lists: Vec<Value>,
    their_map: Value,
    their_list: Value,
    peer: String,
}

impl Taken {
    /// Taken once for all three cases.
    fn once() -> Result<Self> {
        static TAKEN: Mutex<Option<Taken>> = Mutex::new(None);
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner); // whole or not there
        if let Some(figures) = &*taken {
            return Ok(figures.clone());
        }
        Ok(taken.insert(Self::take()?).clone())
    }

    fn take() -> Result<Self> {
        let (directory, ours) = (fresh_directory()?, example("vmfs-bench")?);
        run(Command::new(&ours).arg("make").arg(directory.path()))?;
        let image = image(&directory);
        let ours = |command: &str, path: &str| {
            let figures = || figures(Command::new(&ours).arg(command).arg(&image).arg(path));
            (0..TURNS).map(|_| figures()).collect::<Result<Vec<_>>>()
        };
        let python = python()?;
        let theirs = |command: &str, path: &str| {
            figures(Command::new(&python).args([SCRIPT, command]).arg(&image).arg(path))
        };
        let version = "from importlib.metadata import version; print(version('dissect.vmfs'))";
        let version = run(Command::new(&python).args(["-c", version]))?;
        Ok(Self {
            maps: ours("map", DISK)?,
            lists: ours("ls", FOLDER)?,
            their_map: theirs("map", DISK)?,
            their_list: theirs("ls", FOLDER)?,
            peer: format!("dissect.vmfs {}", String::from_utf8_lossy(&version).trim()),
        })
    }
}

fn image(directory: &FreshDirectory) -> PathBuf {
    directory.path().join("bench.img")
}

fn figures(command: &mut Command) -> Result<Value> {
    serde_json::from_slice(&run(command)?).context("the program prints JSON")
}

/// The Python of the private environment.
fn python() -> Result<PathBuf> {
    let venv = std::env::var_os("HOLDFAST_VENV").context("HOLDFAST_VENV is not set")?;
    let python = Path::new(&venv).join("bin").join("python3");
    ensure!(python.is_file(), "{} is not there; `make bench` sets it up", python.display());
    Ok(python)
}

fn number(of: &Value, name: &str) -> Result<f64> {
    of[name].as_f64().with_context(|| format!("no {name} in {of}"))
}

/// One figure of both; the limit is for ours.
fn measurement(
    (ours, theirs): (&[Value], &Value),
    (name, unit, limit): (&str, &'static str, f64),
    (peer, work): (&str, &str),
) -> Result<Measurement> {
    let all = ours.iter().map(|figures| number(figures, name)).collect::<Result<Vec<_>>>()?;
    let (value, theirs) = (median(all), number(theirs, name)?);
    Ok(Measurement {
        value,
        unit,
        peer: peer.to_owned(),
        sides: Some(Sides { ours: value, theirs, unit }),
        goal: Some(Goal::AtMost(limit)),
        note: format!("{work}; for context: the peer's is {:.1} times ours", theirs / value),
        ..Measurement::default()
    })
}

const MAP: &str = "a fragmented disk of 1 TiB, every block checked and mapped, from memory; the \
                   peer is asked for 1/64 of the blocks, its time multiplied";

/// `vmfs.map_1tib.seconds`
///
/// # Errors
/// When the volume cannot be made or one of the two programs fails.
pub fn map_seconds() -> Result<Measurement> {
    let taken = Taken::once()?;
    let sides = (taken.maps.as_slice(), &taken.their_map);
    measurement(sides, ("seconds", "s", 2.0), (&taken.peer, MAP))
}

/// `vmfs.map_1tib.rss_mib`
///
/// # Errors
/// As [`map_seconds`].
pub fn map_memory() -> Result<Measurement> {
    let taken = Taken::once()?;
    let sides = (taken.maps.as_slice(), &taken.their_map);
    measurement(sides, ("rss_mib", "MiB", 64.0), (&taken.peer, MAP))
}

/// `vmfs.ls_10k.ms`
///
/// # Errors
/// As [`map_seconds`].
pub fn list() -> Result<Measurement> {
    let taken = Taken::once()?;
    ensure!(taken.lists.iter().all(|list| list["names"] == 10_000), "{:?}", taken.lists);
    let sides = (taken.lists.as_slice(), &taken.their_list);
    let work = "a folder of 10,000 names, from memory";
    measurement(sides, ("ms", "ms", 100.0), (&taken.peer, work))
}
