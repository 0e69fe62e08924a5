//! The command `extract`: a disk of a point as a sparse file, every chunk compared with its id.

use crate::VerifyError;
use crate::check::open;
use crate::files::create_outside;
use crate::keys::Unlocked;
use crate::map::{Grid, HoleFound, Visit, Walker};
use crate::point::manifest;
use crate::report::{Damage, Findings};
use crate::state::{Point, State};
use crate::store::{Record, Store};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Which disk, and where to.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// A point's id, or how it begins.
    pub point: &'a str,
    /// Number of the disk in the manifest, from 0.
    pub disk: usize,
    /// A file that does not exist yet.
    pub out: &'a Path,
    /// A file with a key-encryption key.
    pub key_file: Option<&'a Path>,
    /// Leave zeros where the disk is damaged, instead of giving up.
    pub holes: bool,
}

/// What was extracted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extracted {
    /// Bytes of the disk.
    pub capacity: u64,
    /// Bytes that could not be read and are zeros.
    pub lost: u64,
}

/// Writes a disk. Damage around it is noted; damage of the disk itself is a finding.
pub fn extract(
    dir: &Path,
    options: Options<'_>,
    findings: &mut Findings,
) -> Result<Extracted, VerifyError> {
    let mut around = Findings::default();
    let (repository, ledger, _) = open(dir, &[], &mut around)?;
    if let Some(refusal) = ledger.refusal {
        return Err(VerifyError::Refused(refusal));
    }
    let unlocked = Unlocked::open(&repository, options.key_file, &ledger.state.keys, &mut around)?;
    for finding in around.list() {
        findings.note(format!("{}: {}", finding.place, finding.what));
    }
    if !ledger.consistent && !options.holes {
        let what = "the ledger is damaged; with --holes what can be found is extracted";
        return Err(Damage::new(what).into());
    }
    let keys = unlocked.keys.clone();
    let keys = keys.ok_or_else(|| VerifyError::refused("encrypted: --key-file is needed"))?;
    let point = the_point(&ledger.state, options.point)?;
    let mut store = Store::new(&repository, &ledger.state, &unlocked)?;
    let manifest = manifest(&mut store, point)?;
    let disk = manifest.disks.get(options.disk).ok_or_else(|| {
        let count = manifest.disks.len();
        VerifyError::refused(format!("the point has {count} disks, counted from 0"))
    })?;
    let capacity = disk.identity.capacity;
    let grid = Grid { capacity, chunk_size: manifest.chunk_size };
    let file = create_outside(&repository.path, options.out)?;
    let mut image =
        Image { file: &file, grid, holes: options.holes, findings, lost: 0, failed: None };
    let written = file.set_len(capacity).map_err(VerifyError::io("sizing", options.out));
    let written = written.and_then(|()| {
        Walker::new(false).disk(&mut store, &keys, grid, disk.map, &mut image);
        image.outcome(options.out)
    });
    if written.is_err() {
        // What is there is no image; the reason is told, whatever becomes of the file.
        let _ = fs::remove_file(options.out);
    }
    written
}

fn the_point<'a>(state: &'a State, begins: &str) -> Result<&'a Point, VerifyError> {
    let begins = begins.to_ascii_lowercase();
    let found: Vec<&Point> =
        state.points().filter(|point| point.id.to_string().starts_with(&begins)).collect();
    match found[..] {
        [point] => Ok(point),
        _ => Err(VerifyError::refused(format!("{} points begin with '{begins}'", found.len()))),
    }
}

/// The file that the chunks go into.
struct Image<'a> {
    file: &'a File,
    grid: Grid,
    holes: bool,
    findings: &'a mut Findings,
    lost: u64,
    failed: Option<io::Error>,
}

impl Image<'_> {
    fn outcome(self, out: &Path) -> Result<Extracted, VerifyError> {
        if let Some(error) = self.failed {
            return Err(VerifyError::io("writing", out)(error));
        }
        if self.lost > 0 && !self.holes {
            let what = format!("the disk is damaged; {} was removed", out.display());
            return Err(Damage(what).into());
        }
        self.file.sync_all().map_err(VerifyError::io("syncing", out))?;
        Ok(Extracted { capacity: self.grid.capacity, lost: self.lost })
    }
}

impl Visit for Image<'_> {
    fn chunk(&mut self, store: &mut Store<'_>, cell: u64, record: &Record) -> Result<(), Damage> {
        let bytes = store.read(record)?;
        let at = cell.saturating_mul(u64::from(self.grid.chunk_size));
        if let Err(error) = self.file.write_all_at(&bytes, at) {
            self.failed.get_or_insert(error);
            return Err(Damage::new("the image could not be written"));
        }
        Ok(())
    }

    fn hole(&mut self, hole: &HoleFound) -> bool {
        let size = u64::from(self.grid.chunk_size);
        let first = hole.first.saturating_mul(size);
        let end = (hole.first + hole.count).saturating_mul(size).min(self.grid.capacity);
        self.lost = self.lost.saturating_add(end.saturating_sub(first));
        self.findings
            .add(format!("bytes [{first}, {end})"), format!("left as zeros: {}", hole.why));
        self.holes && self.failed.is_none()
    }
}
