//! `vmfs-tool`: makes VMFS volumes for tests and plays the hosts that write to them.
//!
//! ```text
//! vmfs-tool create --image IMG --spec SPEC.json       a new volume; prints what `info` prints
//! vmfs-tool write  --image IMG --path P --offset N    bytes from stdin into a file of the volume
//! vmfs-tool map    --image IMG --path P               [{"offset":0,"length":1048576}, ..]
//! vmfs-tool info   --image IMG                        {"vmfs_uuid":"..","label":"..", ..}
//! ```
//!
//! All output is JSON on stdout; an error is one line on stderr and exit status 1. Paths are
//! relative to the root of the volume, without a leading slash: `web01/web01-flat.vmdk`.
//! `map` lists the ranges that hold data, ascending and joined. Two calls on one image wait for
//! each other.
//!
//! # The specification
//!
//! ```json
//! {
//!   "size": 21474836480,
//!   "label": "lab-datastore",
//!   "version": "vmfs6",
//!   "naa": "naa.6001405a5a5a5a5a5a5a5a5a5a5a5a5a",
//!   "uuid_seed": 1,
//!   "time": 1750000000,
//!   "layout": "fragmented",
//!   "folders": ["web01", "empty"],
//!   "files": [
//!     {"path": "web01/web01.vmx", "content_file": "/path/of/web01.vmx"},
//!     {"path": "web01/web01.vmdk", "text": "# Disk DescriptorFile\n..."}
//!   ],
//!   "disks": [
//!     {"path": "web01/web01-flat.vmdk", "raw": "/path/of/raw.img", "thin": true},
//!     {"path": "db01/db01-flat.vmdk", "raw": "/path/of/db.img", "provisioning": "lazy-thick"}
//!   ]
//! }
//! ```
//!
//! Only `size` (bytes of the LUN) and `label` must be given. `version` is `vmfs5` or `vmfs6`
//! (default); `"local": true` makes it a VMFS-L. `layout` is `contiguous` (default)
//! or `fragmented`. Folders above files and disks are made as needed. A disk is `thin` or not
//! (then thick, eagerly zeroed); `provisioning` says it in one word: `thin`, `thick`,
//! `lazy-thick` (blocks without data are marked 'to be zeroed' and hold stale bytes), or on
//! VMFS-6 `large-thick` and `large-lazy-thick` (on large blocks as far as possible). Relative
//! paths of input files start at the working directory. Also: `fd_groups`, `sb_groups` (1 to 8),
//! room for files and for small files and folders in steps of 2048.

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use fakes::vmfs::{Provisioning, Volume, VolumeSpec};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Largest write that is taken from stdin.
const WRITE_BYTES_MAX: u64 = 1 << 30;

#[derive(Parser)]
#[command(about = "Makes VMFS volumes for tests and writes to files on them")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a volume as a JSON specification says.
    Create {
        /// The LUN's image, made anew.
        #[arg(long)]
        image: PathBuf,
        /// The specification.
        #[arg(long)]
        spec: PathBuf,
    },
    /// Write bytes from stdin into a file of the volume.
    Write {
        /// The LUN's image.
        #[arg(long)]
        image: PathBuf,
        /// The file on the volume.
        #[arg(long)]
        path: String,
        /// Offset in the file, in bytes.
        #[arg(long)]
        offset: u64,
    },
    /// List the ranges of a file that hold data.
    Map {
        /// The LUN's image.
        #[arg(long)]
        image: PathBuf,
        /// The file on the volume.
        #[arg(long)]
        path: String,
    },
    /// Say what identifies the volume.
    Info {
        /// The LUN's image.
        #[arg(long)]
        image: PathBuf,
    },
}

#[derive(Deserialize)]
struct Specification {
    #[serde(flatten)]
    volume: VolumeSpec,
    #[serde(default)]
    folders: Vec<String>,
    #[serde(default)]
    files: Vec<FileSpec>,
    #[serde(default)]
    disks: Vec<DiskSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSpec {
    path: String,
    content_file: Option<PathBuf>,
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskSpec {
    path: String,
    raw: PathBuf,
    #[serde(default)]
    thin: bool,
    provisioning: Option<Provisioning>,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Create { image, spec } => create(&image, &spec),
        Command::Write { image, path, offset } => write(&image, &path, offset),
        Command::Map { image, path } => print(&Volume::open(&image)?.allocated(&path)?),
        Command::Info { image } => print(&Volume::open(&image)?.facts()?),
    }
}

fn create(image: &Path, spec: &Path) -> Result<()> {
    let text = std::fs::read(spec).with_context(|| format!("cannot read {}", spec.display()))?;
    let spec: Specification = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not a specification", spec.display()))?;
    let mut volume = spec.volume.create(image)?;
    for folder in &spec.folders {
        make_folders(&mut volume, folder)?;
    }
    for file in &spec.files {
        make_folders(&mut volume, folder_of(&file.path))?;
        volume.add_file(&file.path, &file.bytes()?)?;
    }
    for disk in &spec.disks {
        make_folders(&mut volume, folder_of(&disk.path))?;
        volume.add_disk_from_raw(&disk.path, &disk.raw, disk.provisioning())?;
    }
    volume.flush()?;
    print(&volume.facts()?)
}

impl FileSpec {
    fn bytes(&self) -> Result<Vec<u8>> {
        match (&self.content_file, &self.text) {
            (Some(path), None) => {
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
            }
            (None, Some(text)) => Ok(text.clone().into_bytes()),
            _ => bail!("file {:?} needs either content_file or text", self.path),
        }
    }
}

impl DiskSpec {
    fn provisioning(&self) -> Provisioning {
        let plain = if self.thin { Provisioning::Thin } else { Provisioning::Thick };
        self.provisioning.unwrap_or(plain)
    }
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Makes the folder and those above it, as far as they are missing.
fn make_folders(volume: &mut Volume, folder: &str) -> Result<()> {
    let ends = folder.match_indices('/').map(|(end, _)| end).chain([folder.len()]);
    for end in ends.filter(|end| *end > 0) {
        if !volume.exists(&folder[..end])? {
            volume.add_dir(&folder[..end])?;
        }
    }
    Ok(())
}

fn write(image: &Path, path: &str, offset: u64) -> Result<()> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(WRITE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > WRITE_BYTES_MAX {
        bail!("stdin holds more than {WRITE_BYTES_MAX} bytes; write in smaller parts");
    }
    Volume::open(image)?.write(path, offset, &bytes)?;
    Ok(())
}

fn print(value: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}
