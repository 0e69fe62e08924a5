//! The disk that every store is measured with: 4 GiB, made once and kept below `target/bench`.
//!
//! | part | what |
//! |---|---|
//! | file system | ext4 behind a GPT, as an installer makes it |
//! | real files | programs, libraries, documentation, a compiler: whatever this machine has |
//! | noise | an eighth of the disk that nothing can compress: archives, pictures, ciphertext |
//! | zeros | the rest, never written |
//!
//! A second image is the same disk later: one cell in a hundred has changed, all over the data.

use anyhow::{Context as _, Result, ensure};
use lab::place::{copy_sparse, program, target};
use lab::process::run;
use lab::{GuestSpec, PartitionTable, guest};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const MIB: u64 = 1 << 20;
/// The stores cut the disk into these.
pub const CELL: u64 = MIB;
const BYTES: u64 = 4096 * MIB;
const REAL_BYTES: u64 = 2560 * MIB;
const NOISE_FILES: u64 = 8;
const NOISE_FILE_BYTES: u64 = 64 * MIB;
/// One cell in so many changes.
const CHANGED: u64 = 100;
/// What changed block tracking reports at least, on large disks.
const PATCH: u64 = 64 << 10;
/// Raise it when images of the same description come out differently.
const RECIPE: u32 = 1;

/// Two states of one disk.
#[derive(Clone, Debug)]
pub struct DataSet {
    /// The first state.
    pub image: PathBuf,
    /// The second.
    pub changed: PathBuf,
    /// The numbers of the cells that differ, one a line.
    pub cells: PathBuf,
    /// How many these are.
    pub changed_cells: u64,
    /// Bytes of the disk.
    pub bytes: u64,
    /// Bytes of the cells that are not zeros.
    pub data_bytes: u64,
}

impl DataSet {
    /// What it is, in one clause.
    #[must_use]
    pub fn about(&self) -> String {
        format!("a guest's disk of {} MiB, {} MiB in use", self.bytes / MIB, self.data_bytes / MIB)
    }
}

/// The disk's two states, from the cache or made now.
///
/// # Errors
/// When a tool is missing or fails, or the file system is full.
pub fn data_set() -> Result<DataSet> {
    let cache = target().join("bench");
    std::fs::create_dir_all(&cache)?;
    let place = cache.join(format!("disk-{RECIPE}"));
    if !place.is_dir() {
        let work = tempfile::tempdir_in(&cache)?;
        make(work.path()).context("making the disk to measure with")?;
        std::fs::rename(work.keep(), &place)?;
    }
    open(&place)
}

fn open(place: &Path) -> Result<DataSet> {
    let [image, changed, cells] = ["image", "changed", "cells"].map(|name| place.join(name));
    let list = std::fs::read_to_string(&cells)?;
    let data_bytes = std::fs::read_to_string(place.join("data-bytes"))?.trim().parse()?;
    Ok(DataSet {
        bytes: image.metadata()?.len(),
        changed_cells: list.lines().count() as u64,
        image,
        changed,
        cells,
        data_bytes,
    })
}

fn make(place: &Path) -> Result<()> {
    let image = place.join("image");
    let spec = GuestSpec {
        bytes: BYTES,
        table: PartitionTable::Gpt,
        template: "bench".to_owned(),
        template_bytes: REAL_BYTES,
        own_bytes: 0,
        host: "bench".to_owned(),
    };
    copy_sparse(&guest::image(&spec)?, &image)?;
    add_noise(place, &image)?;
    let used = used_cells(&image)?;
    std::fs::write(place.join("data-bytes"), (used.len() as u64 * CELL).to_string())?;
    let changed = place.join("changed");
    copy_sparse(&image, &changed)?;
    let cells = scattered(&used, BYTES / CELL / CHANGED);
    patch(&changed, &cells)?;
    let list: String = cells.iter().map(|cell| format!("{cell}\n")).collect();
    Ok(std::fs::write(place.join("cells"), list)?)
}

/// Files of noise, put into the file system by its own tool.
fn add_noise(place: &Path, image: &Path) -> Result<()> {
    let (noise, list) = (place.join("noise"), place.join("commands"));
    let mut commands = "mkdir /srv/media\n".to_owned();
    std::fs::create_dir(&noise)?;
    for number in 0..NOISE_FILES {
        let file = noise.join(number.to_string());
        std::fs::write(&file, random(&format!("noise {number}"), NOISE_FILE_BYTES)?)?;
        writeln!(commands, "write {} /srv/media/{number}", file.display())?;
    }
    std::fs::write(&list, commands)?;
    let mut debugfs = Command::new(program("debugfs", "e2fsprogs")?);
    debugfs.args(["-w", "-f"]).arg(&list).arg(guest::file_system(image));
    let output = debugfs.output()?;
    // It ends with 0 whatever happened; what went wrong it says on the error stream.
    let said = String::from_utf8_lossy(&output.stderr);
    let complaint = said.lines().find(|line| !line.starts_with("debugfs 1."));
    ensure!(output.status.success() && complaint.is_none(), "debugfs: {said}");
    let e2fsck = program("e2fsck", "e2fsprogs")?;
    run(Command::new(e2fsck).args(["-f", "-n"]).arg(guest::file_system(image)))?;
    std::fs::remove_dir_all(&noise)?;
    Ok(std::fs::remove_file(&list)?)
}

/// Bytes that look random and are always the same.
fn random(seed: &str, bytes: u64) -> Result<Vec<u8>> {
    let mut random = vec![0; usize::try_from(bytes)?];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut random);
    Ok(random)
}

/// The numbers of the cells that are not zeros.
fn used_cells(image: &Path) -> Result<Vec<u64>> {
    let mut file = File::open(image)?;
    let mut bytes = vec![0; usize::try_from(CELL)?];
    let mut used = Vec::new();
    for cell in 0..file.metadata()?.len() / CELL {
        file.read_exact(&mut bytes)?;
        if bytes.iter().any(|&byte| byte != 0) {
            used.push(cell);
        }
    }
    Ok(used)
}

/// `count` of the cells: one of each of `count` equal runs, at a place that looks random.
fn scattered(cells: &[u64], count: u64) -> Vec<u64> {
    let run = cells.len() as u64 / count.max(1);
    let place = |number: u64| {
        let hash = blake3::hash(&number.to_le_bytes());
        number * run + u64::from(hash.as_bytes()[0]) % run.max(1)
    };
    let index = |number| usize::try_from(place(number)).unwrap_or(usize::MAX);
    (0..count).filter_map(|number| cells.get(index(number)).copied()).collect()
}

/// Overwrites a piece of each of the cells.
fn patch(image: &Path, cells: &[u64]) -> Result<()> {
    let file = File::options().write(true).open(image)?;
    for &cell in cells {
        let piece = random(&format!("change {cell}"), PATCH)?;
        let offset = cell * CELL + u64::from(piece[0]) % (CELL / PATCH) * PATCH;
        file.write_all_at(&piece, offset)?;
    }
    Ok(file.sync_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_distinct_and_all_over_the_data() {
        let cells: Vec<u64> = (0..3000).map(|n| n * 2).collect();
        let chosen = scattered(&cells, 40);
        assert_eq!(chosen.len(), 40);
        assert!(chosen.is_sorted_by(|a, b| a < b) && chosen.iter().all(|c| cells.contains(c)));
        assert!(chosen[0] < 150 && chosen[39] >= 39 * 150);
        assert!(scattered(&[], 40).is_empty());
    }

    #[test]
    fn exactly_the_chosen_cells_differ_after_the_change() {
        let directory = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
        let bytes = random("disk", 8 * CELL).unwrap();
        std::fs::write(&old, &bytes).unwrap();
        std::fs::write(&new, &bytes).unwrap();
        patch(&new, &[2, 5]).unwrap();
        assert_eq!(used_cells(&new).unwrap().len(), 8);
        let after = std::fs::read(&new).unwrap();
        let cell = usize::try_from(CELL).unwrap();
        let pairs = bytes.chunks(cell).zip(after.chunks(cell)).enumerate();
        let differ: Vec<_> = pairs.filter(|(_, (a, b))| a != b).map(|(n, _)| n).collect();
        assert_eq!(differ, [2, 5]);
    }
}
