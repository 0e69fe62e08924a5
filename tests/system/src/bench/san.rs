//! Reads of a LUN: our initiator against libiscsi, on one and the same target.
//!
//! Both are looked at from outside, as whole processes: what they say they read, and the processor
//! time that the kernel counts for them.

use super::goal::{Goal, Sides};
use super::timed::{self, Figure};
use super::{Measurement, example, in_turns, median, peer};
use anyhow::{Context as _, Result};
use lab::datastore::NAA;
use lab::place::{FreshDirectory, fresh_directory, program, sparse_file};
use lab::tgt::{LunSpec, TARGET, Tgt, TgtSpec};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Fits into the page cache: the target's disk is not what is measured.
const LUN_BYTES: u64 = 1 << 30;
const DEPTH: u64 = 32;
const SECONDS: u64 = 4;

/// What is read, and how.
#[derive(Clone, Copy)]
struct Load {
    block: u64,
    random: bool,
    digests: bool,
}

const SEQUENTIAL: Load = Load { block: 256 << 10, random: false, digests: false };
const RANDOM: Load = Load { block: 4 << 10, random: true, digests: false };
const DIGESTS: Load = Load { digests: true, ..SEQUENTIAL };

/// What came of it.
#[derive(Clone, Copy)]
pub(super) struct Rate {
    mib_per_s: f64,
    pub(super) cpu_s_per_gib: f64,
}

impl Rate {
    fn of(figure: &Figure, mib_per_s: f64) -> Self {
        let gib = mib_per_s * SECONDS as f64 / 1024.0;
        Self { mib_per_s, cpu_s_per_gib: figure.cpu_seconds / gib }
    }
}

/// A target with one cached LUN, and the programs that read it.
struct Stand {
    tgt: Tgt,
    ours: PathBuf,
    perf: PathBuf,
    directory: FreshDirectory,
}

/// A tgtd of its own over the LUN's image; several over the same are like ports of one array.
fn target(directory: &Path, name: &str, digests: bool) -> Result<Tgt> {
    let image = directory.join("lun.img");
    let own = directory.join(name);
    std::fs::create_dir(&own)?;
    let lun = LunSpec { number: 1, image, naa: NAA.to_owned() };
    Tgt::start(&own, TgtSpec { chap: None, digests, luns: vec![lun] })
}

impl Stand {
    fn new() -> Result<Self> {
        let directory = fresh_directory()?;
        fill(&directory.path().join("lun.img"))?;
        let tgt = target(directory.path(), "a", false)?;
        let (ours, perf) = (example("san-bench")?, program("iscsi-perf", "libiscsi-bin")?);
        Ok(Self { tgt, ours, perf, directory })
    }

    fn ours(&self, load: Load) -> Result<Rate> {
        self.ours_by(&self.tgt.portal(), load)
    }

    /// By all of `portals`, with commas between.
    fn ours_by(&self, portals: &str, load: Load) -> Result<Rate> {
        let figures = [SECONDS, load.block, DEPTH].map(|figure| figure.to_string());
        let mut command = Command::new(&self.ours);
        command.args([portals, TARGET, "1"]).args(figures);
        command.args(load.random.then_some("random")).args(load.digests.then_some("digests"));
        let figure = timed::reading(&mut command)?;
        let mib_per_s = figure.number("mib_per_s")?;
        Ok(Rate::of(&figure, mib_per_s))
    }

    /// iscsi-perf counts requests per second; what it calls MB/s is rounded.
    fn peer(&self, load: Load) -> Result<Rate> {
        let figures = [
            ["-m".to_owned(), DEPTH.to_string()],
            ["-b".to_owned(), (load.block / 512).to_string()],
            ["-t".to_owned(), SECONDS.to_string()],
        ];
        let mut command = Command::new(&self.perf);
        command.args(figures.concat()).args(load.random.then_some("-r"));
        let figure = timed::reading(command.arg(self.tgt.libiscsi_url(1)))?;
        let said = String::from_utf8_lossy(&figure.said).into_owned();
        let requests = average(&said).with_context(|| format!("iscsi-perf said {said:?}"))?;
        Ok(Rate::of(&figure, requests * load.block as f64 / f64::from(1 << 20)))
    }
}

fn middle(rates: &[Rate]) -> Rate {
    Rate {
        mib_per_s: median(rates.iter().map(|rate| rate.mib_per_s).collect()),
        cpu_s_per_gib: median(rates.iter().map(|rate| rate.cpu_s_per_gib).collect()),
    }
}

fn against_libiscsi(load: Load) -> Result<(Rate, Rate, Measurement)> {
    let stand = Stand::new()?;
    let (ours, theirs) = in_turns(|| stand.ours(load), || stand.peer(load))?;
    let (ours, theirs) = (middle(&ours), middle(&theirs));
    let (kib, order) = (load.block >> 10, if load.random { "random" } else { "sequential" });
    let note = format!("{kib} KiB {order}, {DEPTH} in flight, no digests, tgtd on loopback");
    let peer = peer("libiscsi-bin")?;
    Ok((ours, theirs, Measurement { unit: "ratio", peer, note, ..Measurement::default() }))
}

fn rates(ours: Rate, theirs: Rate, goal: Goal, about: Measurement) -> Measurement {
    let (ours, theirs) = (ours.mib_per_s, theirs.mib_per_s);
    let sides = Some(Sides { ours, theirs, unit: "MiB/s" });
    Measurement { value: ours / theirs, sides, goal: Some(goal), ..about }
}

/// Sequential reads, measured once for both ratios that are made of them.
pub(super) fn sequential_sides() -> Result<(Rate, Rate, Measurement)> {
    static TAKEN: Mutex<Option<(Rate, Rate, Measurement)>> = Mutex::new(None);
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner); // whole or not there
    if let Some(sides) = &*taken {
        return Ok(sides.clone());
    }
    Ok(taken.insert(against_libiscsi(SEQUENTIAL)?).clone())
}

/// `san.seq_read.vs_libiscsi`
///
/// # Errors
/// When tgtd or one of the two programs is missing or fails.
pub fn sequential() -> Result<Measurement> {
    let (ours, theirs, about) = sequential_sides()?;
    Ok(rates(ours, theirs, Goal::AtLeast(1.3), about))
}

/// `san.seq_read.cpu_vs_libiscsi`
///
/// # Errors
/// As [`sequential`].
pub fn sequential_cpu() -> Result<Measurement> {
    let (ours, theirs, about) = sequential_sides()?;
    let (ours, theirs) = (ours.cpu_s_per_gib, theirs.cpu_s_per_gib);
    let sides = Some(Sides { ours, theirs, unit: "s/GiB" });
    Ok(Measurement { value: ours / theirs, sides, goal: Some(Goal::AtMost(0.7)), ..about })
}

/// `san.rand_read.vs_libiscsi`
///
/// # Errors
/// As [`sequential`].
pub fn random() -> Result<Measurement> {
    let (ours, theirs, about) = against_libiscsi(RANDOM)?;
    Ok(rates(ours, theirs, Goal::AtLeast(1.0), about))
}

/// `san.digests.vs_none`
///
/// # Errors
/// As [`sequential`].
pub fn digests() -> Result<Measurement> {
    let stand = Stand::new()?;
    let strict = target(stand.directory.path(), "b", true)?;
    let portal = strict.portal();
    let (with, without) = in_turns(|| stand.ours_by(&portal, DIGESTS), || stand.ours(SEQUENTIAL))?;
    let note = "256 KiB sequential, CRC32C over headers and data against none".to_owned();
    let about = Measurement { unit: "ratio", peer: peer("tgt")?, note, ..Measurement::default() };
    Ok(rates(middle(&with), middle(&without), Goal::AtLeast(0.85), about))
}

/// Bytes that neither side could take for a hole, and that lie in memory afterwards.
fn fill(image: &Path) -> Result<()> {
    sparse_file(image, LUN_BYTES)?;
    let file = std::fs::File::options().write(true).open(image)?;
    let mut piece = vec![0_u8; 1 << 20];
    for number in 0..LUN_BYTES >> 20 {
        for (place, byte) in piece.iter_mut().enumerate() {
            *byte = (place as u64 ^ number).to_le_bytes()[0] | 1;
        }
        file.write_all_at(&piece, number << 20)?;
    }
    Ok(())
}

/// `san.two_paths.vs_one`
///
/// # Errors
/// As [`sequential`].
pub fn two_paths() -> Result<Measurement> {
    let stand = Stand::new()?;
    let second = target(stand.directory.path(), "b", false)?;
    let both = format!("{},{}", stand.tgt.portal(), second.portal());
    let (two, one) = in_turns(|| stand.ours_by(&both, SEQUENTIAL), || stand.ours(SEQUENTIAL))?;
    let note = "256 KiB sequential, 32 in flight, a session to each of two tgtd over one image";
    let (peer, note) = (peer("tgt")?, note.to_owned());
    let about = Measurement { unit: "ratio", peer, note, ..Measurement::default() };
    Ok(rates(middle(&two), middle(&one), Goal::AtLeast(1.0), about))
}

/// The figure behind the last `iops average`.
fn average(said: &str) -> Option<f64> {
    let (_, rest) = said.rsplit_once("iops average ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_average_counts() {
        let said = "iops current 2605 (651 MB/s), iops average 2605 (651 MB/s), in_flight 32\r\n\
                    iops average 2824 (706 MB/s)   \n\nfinished.";
        assert_eq!(average(said), Some(2824.0));
        assert_eq!(average("nothing"), None);
    }
}
