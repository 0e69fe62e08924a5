//! The disks of the guests: a partition table and an ext4 file system full of real files.
//!
//! Making one takes long, so they are kept below `target/lab/cache`, named by what they are made
//! of. A template holds what several machines have in common; a guest is a copy of it with files
//! of its own, as a VM deployed from a template is. Never write to a cached image: copy it first.

use crate::files::{RealFile, choose, copy_below, installed};
use crate::place::{copy_sparse, program, sparse_file, target};
use crate::process::run;
use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the only partition begins, as every partitioning tool has it today.
pub const PARTITION_START: u64 = 1 << 20;
/// Left free behind the partition: the second copy of a GPT.
const TAIL: u64 = 1 << 20;
/// Raise it when images of the same description come out differently.
const RECIPE: u32 = 3;
/// Any fixed value: a cached image must not depend on chance.
const FILE_SYSTEM_ID: &str = "6f1d2a50-3d2b-4a6e-9d5c-8b1f0c7e4a21";

/// How the disk is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum PartitionTable {
    /// GUID partition table, two copies.
    Gpt,
    /// The table in the first sector.
    Mbr,
}

/// What a guest's disk holds.
#[derive(Clone, Debug, Serialize)]
pub struct GuestSpec {
    /// Capacity in bytes, whole MiB, at least 16 MiB.
    pub bytes: u64,
    /// How it is divided.
    pub table: PartitionTable,
    /// The template it was deployed from: chooses which files it shares with its siblings.
    pub template: String,
    /// Bytes of those files.
    pub template_bytes: u64,
    /// Bytes of files of its own.
    pub own_bytes: u64,
    /// The host's name; makes the own files different.
    pub host: String,
}

/// The finished image, from the cache or made now.
///
/// # Errors
/// When a tool is missing or fails, or the content does not fit.
pub fn image(spec: &GuestSpec) -> Result<PathBuf> {
    ensure!(spec.bytes.is_multiple_of(1 << 20) && spec.bytes >= 16 << 20, "{} bytes", spec.bytes);
    cached(spec, |place| {
        let template = GuestSpec { own_bytes: 0, host: String::new(), ..spec.clone() };
        let template = cached(&template, |place| make_template(spec, place))?;
        copy_sparse(&template, place)?;
        personalise(spec, place)
    })
}

/// Looks an image up by a hash of its description, or makes it beside and moves it into place.
fn cached(spec: &GuestSpec, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = target().join("lab").join("cache");
    std::fs::create_dir_all(&cache)?;
    let description = serde_json::to_vec(&(RECIPE, spec))?;
    let place = cache.join(format!("{}.raw", &blake3::hash(&description).to_hex()[..32]));
    if place.is_file() {
        return Ok(place);
    }
    let work = tempfile::tempdir_in(&cache)?;
    let unfinished = work.path().join("image.raw");
    make(&unfinished).with_context(|| format!("making the guest disk {spec:?}"))?;
    std::fs::rename(&unfinished, &place)?;
    Ok(place)
}

fn make_template(spec: &GuestSpec, image: &Path) -> Result<()> {
    let stage = image.with_file_name("stage");
    for folder in ["etc", "srv", "var"] {
        std::fs::create_dir_all(stage.join(folder))?;
    }
    copy_below(&stage, &choose(&installed()?, &spec.template, spec.template_bytes))?;
    sparse_file(image, spec.bytes)?;
    divide(spec.table, spec.bytes, image)?;
    let extended =
        format!("offset={PARTITION_START},hash_seed={FILE_SYSTEM_ID},lazy_itable_init=1,nodiscard");
    let kib = (spec.bytes - PARTITION_START - TAIL) / 1024;
    run(Command::new(program("mkfs.ext4", "e2fsprogs")?)
        .args(["-q", "-F", "-b", "4096", "-m", "1", "-U", FILE_SYSTEM_ID, "-E", &extended, "-d"])
        .args([&stage, image])
        .arg(format!("{kib}k")))?;
    Ok(())
}

/// Writes the partition table.
fn divide(table: PartitionTable, bytes: u64, image: &Path) -> Result<()> {
    let sectors = (bytes - PARTITION_START - TAIL) / 512;
    let start = PARTITION_START / 512;
    let script = match table {
        PartitionTable::Gpt => format!(
            "label: gpt\nlabel-id: {FILE_SYSTEM_ID}\nstart={start}, size={sectors}, \
             type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid={FILE_SYSTEM_ID}, name=root\n"
        ),
        PartitionTable::Mbr => {
            format!("label: dos\nlabel-id: 0x6f1d2a50\nstart={start}, size={sectors}, type=83\n")
        }
    };
    let mut sfdisk = Command::new(program("sfdisk", "fdisk")?)
        .args(["--quiet", "--no-reread", "--no-tell-kernel"])
        .arg(image)
        .stdin(Stdio::piped())
        .spawn()?;
    sfdisk.stdin.take().context("standard input is a pipe")?.write_all(script.as_bytes())?;
    ensure!(sfdisk.wait()?.success(), "sfdisk refused: {script}");
    Ok(())
}

/// Gives the copy of a template its name and files of its own, through ext4's own tool.
fn personalise(spec: &GuestSpec, image: &Path) -> Result<()> {
    let hostname = image.with_file_name("hostname");
    std::fs::write(&hostname, format!("{}\n", spec.host))?;
    let files = installed()?;
    let own = choose(&files, &spec.host, spec.own_bytes);
    let mut commands = format!("write {} /etc/hostname\nmkdir /srv/own\n", hostname.display());
    for (number, RealFile { path, .. }) in own.iter().enumerate() {
        let _ = writeln!(commands, "write {} /srv/own/{number:06}", path.display());
    }
    let list = image.with_file_name("commands");
    std::fs::write(&list, commands)?;
    let output = Command::new(program("debugfs", "e2fsprogs")?)
        .args(["-w", "-f"])
        .arg(&list)
        .arg(file_system(image))
        .output()?;
    // It ends with 0 whatever happened; what went wrong it says on the error stream.
    let said = String::from_utf8_lossy(&output.stderr);
    let complaints: Vec<&str> =
        said.lines().filter(|line| !line.starts_with("debugfs 1.")).collect();
    if !output.status.success() || !complaints.is_empty() {
        bail!("debugfs: {}", complaints.join("; "));
    }
    Ok(())
}

/// How e2fsprogs are told that the file system begins behind the partition table.
#[must_use]
pub fn file_system(image: &Path) -> String {
    format!("{}?offset={PARTITION_START}", image.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    fn small(table: PartitionTable, host: &str) -> GuestSpec {
        GuestSpec {
            bytes: 96 << 20,
            table,
            template: "debian".into(),
            template_bytes: 12 << 20,
            own_bytes: 4 << 20,
            host: host.into(),
        }
    }

    fn label(image: &Path) -> String {
        let json = run(Command::new(program("sfdisk", "fdisk").unwrap()).arg("--json").arg(image));
        let table: serde_json::Value = serde_json::from_slice(&json.unwrap()).unwrap();
        assert_eq!(table["partitiontable"]["partitions"][0]["start"], 2048);
        table["partitiontable"]["label"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_guest_is_partitioned_holds_a_sound_file_system_and_is_sparse() {
        for (table, name) in [(PartitionTable::Gpt, "gpt"), (PartitionTable::Mbr, "dos")] {
            let image = image(&small(table, "web01")).unwrap();
            assert_eq!(label(&image), name);
            let e2fsck = program("e2fsck", "e2fsprogs").unwrap();
            run(Command::new(e2fsck).args(["-f", "-n"]).arg(file_system(&image))).unwrap();
            let about = image.metadata().unwrap();
            assert_eq!(about.len(), 96 << 20);
            assert!(about.blocks() * 512 > 14 << 20, "{} blocks", about.blocks());
            assert!(about.blocks() * 512 < 60 << 20, "{} blocks", about.blocks());
        }
    }

    #[test]
    fn guests_of_one_template_differ_in_their_own_files_only() {
        let [one, two] = ["web01", "db01"]
            .map(|host| std::fs::read(image(&small(PartitionTable::Gpt, host)).unwrap()).unwrap());
        let differing = one.chunks(4096).zip(two.chunks(4096)).filter(|(a, b)| a != b).count();
        assert!(differing > 500, "{differing} blocks of 4 KiB differ");
        assert!(differing < 4000, "{differing} blocks of 4 KiB differ");
    }
}
