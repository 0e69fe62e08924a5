//! Sequential reads of a LUN: our initiator against libiscsi, on one and the same target.

use super::goal::Sides;
use super::{Measurement, example, in_turns, peer};
use anyhow::{Context as _, Result};
use lab::datastore::NAA;
use lab::place::{fresh_directory, program, sparse_file};
use lab::process::run;
use lab::tgt::{LunSpec, TARGET, Tgt, TgtSpec};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

/// Fits into the page cache: the target's disk is not what is measured.
const LUN_BYTES: u64 = 1 << 30;
const BLOCK: u64 = 256 << 10;
const DEPTH: u64 = 32;
const SECONDS: u64 = 4;

/// `san.seq_read.vs_libiscsi`
///
/// # Errors
/// When tgtd or one of the two programs is missing or fails.
pub fn against_libiscsi() -> Result<Measurement> {
    let directory = fresh_directory()?;
    let image = directory.path().join("lun.img");
    fill(&image)?;
    let lun = LunSpec { number: 1, image, naa: NAA.to_owned() };
    let tgt = Tgt::start(directory.path(), TgtSpec { chap: None, luns: vec![lun] })?;
    let perf = program("iscsi-perf", "libiscsi-bin")?;
    let ours = example("san-bench")?;
    let (mine, theirs) = in_turns(|| our_rate(&ours, &tgt), || peer_rate(&perf, &tgt))?;
    Ok(Measurement {
        value: mine / theirs,
        unit: "ratio",
        peer: peer("libiscsi-bin")?,
        note: format!(
            "{} KiB, {DEPTH} in flight, no digests, tgtd on loopback from memory",
            BLOCK >> 10
        ),
        sides: Some(Sides { ours: mine, theirs, unit: "MiB/s" }),
        ..Measurement::default()
    })
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

fn our_rate(program: &Path, tgt: &Tgt) -> Result<f64> {
    let figures = [SECONDS, BLOCK, DEPTH].map(|figure| figure.to_string());
    let output = run(Command::new(program).args([&tgt.portal(), TARGET, "1"]).args(figures))?;
    let said: serde_json::Value = serde_json::from_slice(&output)?;
    said["mib_per_s"].as_f64().context("san-bench says mib_per_s")
}

/// iscsi-perf counts requests per second; what it calls MB/s is rounded.
fn peer_rate(program: &Path, tgt: &Tgt) -> Result<f64> {
    let figures = [
        ["-m".to_owned(), DEPTH.to_string()],
        ["-b".to_owned(), (BLOCK / 512).to_string()],
        ["-t".to_owned(), SECONDS.to_string()],
    ];
    let output = run(Command::new(program).args(figures.concat()).arg(tgt.libiscsi_url(1)))?;
    let said = String::from_utf8_lossy(&output).into_owned();
    let requests = average(&said).with_context(|| format!("iscsi-perf said {said:?}"))?;
    Ok(requests * BLOCK as f64 / f64::from(1 << 20))
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
