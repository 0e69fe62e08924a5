//! A full backup's ingest of a disk image that lies in memory: chunks of 1 MiB, hashed,
//! deduplicated, compressed with zstd 1, written and synced. The source is not measured.

use super::{Measurement, example, in_turns, peer};
use anyhow::{Context as _, Result, ensure};
use lab::place::{fresh_directory, program};
use lab::process::run;
use lab::{GuestSpec, PartitionTable, guest};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const MIB: u64 = 1 << 20;
const LEVEL: &str = "1";
/// As many as zstd gets.
const WORKERS: &str = "2";

/// `ingest.full.vs_borg`
///
/// # Errors
/// When one of the two programs is missing or fails.
pub fn against_borg() -> Result<Measurement> {
    let image = image()?;
    let directory = fresh_directory()?;
    let (ours, borg) = (example("ingest-bench")?, program("borg", "borgbackup")?);
    let mut turn = 0;
    let (mine, theirs) = in_turns(
        || our_rate(&ours, &image, directory.path()),
        || {
            turn += 1;
            borg_rate(&borg, &image, &directory.path().join(format!("borg-{turn}")))
        },
    )?;
    Ok(Measurement {
        name: "ingest.full.vs_borg",
        value: mine / theirs,
        unit: "ratio",
        peer: peer("borgbackup")?,
        note: format!(
            "ours {mine:.0} MiB/s, borg {theirs:.0} MiB/s; chunks fixed at 1 MiB, zstd 1, no \
             encryption, {}",
            about(&image)?
        ),
    })
}

/// `ingest.full.vs_zstd_limit`
///
/// # Errors
/// When one of the two programs is missing or fails.
pub fn against_zstd() -> Result<Measurement> {
    let image = image()?;
    let directory = fresh_directory()?;
    let (ours, zstd) = (example("ingest-bench")?, program("zstd", "zstd")?);
    let (mine, theirs) = in_turns(
        || our_rate(&ours, &image, directory.path()),
        || {
            let mut command = Command::new(&zstd);
            command.args(["-1", "-T2", "--quiet", "--force", "-o", "/dev/null"]).arg(&image);
            rate(&image, &mut command)
        },
    )?;
    Ok(Measurement {
        name: "ingest.full.vs_zstd_limit",
        value: mine / theirs,
        unit: "ratio",
        peer: peer("zstd")?,
        note: format!(
            "ours {mine:.0} MiB/s, zstd -1 -T2 to nowhere {theirs:.0} MiB/s, {}",
            about(&image)?
        ),
    })
}

/// A guest's disk, nearly full, read once so that it lies in memory.
fn image() -> Result<PathBuf> {
    let spec = GuestSpec {
        bytes: 1536 * MIB,
        table: PartitionTable::Gpt,
        template: "bench".to_owned(),
        template_bytes: 1300 * MIB,
        own_bytes: 0,
        host: "bench".to_owned(),
    };
    let image = guest::image(&spec)?;
    let mut file = std::fs::File::open(&image)?;
    let mut piece = vec![0; 1 << 20];
    while file.read(&mut piece)? > 0 {}
    Ok(image)
}

fn about(image: &Path) -> Result<String> {
    Ok(format!("a guest's disk of {} MiB from memory", image.metadata()?.len() / MIB))
}

/// Each turn writes a repository of its own, removed afterwards.
fn our_rate(program: &Path, image: &Path, directory: &Path) -> Result<f64> {
    let place = directory.join("ours");
    let output = run(Command::new(program).args([image, &place]).args([LEVEL, WORKERS]))?;
    std::fs::remove_dir_all(&place).context("removing our repository")?;
    let said: serde_json::Value = serde_json::from_slice(&output)?;
    said["ingest_mib_s"].as_f64().context("ingest-bench says ingest_mib_s")
}

fn borg_rate(borg: &Path, image: &Path, place: &Path) -> Result<f64> {
    std::fs::create_dir(place)?;
    let repository = place.join("repository");
    let borg = || {
        let mut command = Command::new(borg);
        // Its caches and settings must not come from, or stay in, anyone's home.
        command.env("BORG_BASE_DIR", place.join("base"));
        command.env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        command
    };
    run(borg().args(["init", "--encryption", "none"]).arg(&repository))?;
    let archive = format!("{}::full", repository.display());
    let how = ["create", "--chunker-params", "fixed,1048576", "--compression", "zstd,1"];
    let rate = rate(image, borg().args(how).arg(archive).arg(image))?;
    std::fs::remove_dir_all(place).context("removing borg's repository")?;
    Ok(rate)
}

/// MiB of `image` per second of the command's wall time.
fn rate(image: &Path, command: &mut Command) -> Result<f64> {
    let started = Instant::now();
    run(command)?;
    let seconds = started.elapsed().as_secs_f64();
    ensure!(seconds > 0.0, "no time went by");
    Ok(image.metadata()?.len() as f64 / MIB as f64 / seconds)
}
