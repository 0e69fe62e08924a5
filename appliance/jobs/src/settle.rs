//! The block map of a disk, once it holds still and agrees with the hypervisor.
//!
//! A structure that fails a check may be one that a host is changing right now, and metadata may
//! reach its place on the LUN a little late. So everything is opened and read anew before it
//! counts as damaged, or as a disagreement; a look that was given up leaves nothing behind.

use crate::error::RunError;
use crate::locate::{DatastorePath, FlatDisk, at, blocking};
use crate::plan;
use crate::reading::Reading;
use block::Grid;
use model::{DiskIdentity, DiskRange, ErrorKind};
use std::sync::Arc;
use std::time::Duration;
use vmfs::Volume;

/// How often metadata that does not fit is looked at, at the most.
const LOOKS_MAX: u32 = 4;

/// The disk that is to be mapped.
pub(crate) struct Wanted {
    /// What the hypervisor says of it.
    pub(crate) identity: DiskIdentity,
    /// The descriptors of its parents, nearest first, as the hypervisor has them.
    pub(crate) parents: Vec<String>,
    /// Its descriptor.
    pub(crate) path: DatastorePath,
    /// Its grid, by the hypervisor's capacity.
    pub(crate) grid: Grid,
    /// What is read of it.
    pub(crate) reading: Arc<Reading>,
    /// What the hypervisor calls allocated, ascending; as far as it is read it must have blocks.
    pub(crate) allocated: Arc<Vec<DiskRange>>,
}

impl Wanted {
    /// What must have blocks of the cells `first..end`.
    fn demanded(&self, cells: (u64, u64)) -> impl Iterator<Item = DiskRange> + '_ {
        let runs = self.reading.part(self.grid, cells).runs().into_iter();
        runs.flat_map(|run| plan::within(&self.allocated, plan::bytes_of(self.grid, run)))
    }
}

/// Opens the disk's files and compares their map with what is demanded of it. The waits between
/// looks begin with `pause` and double.
pub(crate) async fn open_settled(
    volume: &Arc<Volume>,
    wanted: Wanted,
    mut pause: Duration,
) -> Result<FlatDisk, RunError> {
    let wanted = Arc::new(wanted);
    let mut looks_left = LOOKS_MAX;
    loop {
        let (volume, wanted) = (Arc::clone(volume), Arc::clone(&wanted));
        let looked = blocking("the parser", move || look_at(&volume, &wanted)).await?;
        looks_left -= 1;
        match looked {
            Err(error) if looks_left > 0 && may_settle(&error) => {
                tracing::warn!(%error, looks_left, "the block map is not settled");
            }
            settled => return settled,
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

fn may_settle(error: &RunError) -> bool {
    let in_motion = |kind| matches!(kind, ErrorKind::Corrupt | ErrorKind::Retryable);
    match error {
        RunError::Datastore { source, .. } => in_motion(source.kind()),
        RunError::Descriptor { source, .. } => in_motion(source.kind()),
        RunError::Disagreement { .. } | RunError::Moved { .. } => true,
        _ => false,
    }
}

fn look_at(volume: &Volume, wanted: &Wanted) -> Result<FlatDisk, RunError> {
    let volume = volume.reopen().map_err(at(&wanted.path.path))?;
    let flat = FlatDisk::open(&volume, &wanted.path)?;
    same_disk(&wanted.identity, &flat)?;
    same_parents(wanted, &flat)?;
    let unbacked = unbacked(&flat, wanted)?;
    match unbacked.first() {
        None => Ok(flat),
        Some(&first) => {
            let path = flat.descriptor_path.clone();
            Err(RunError::Disagreement { path, count: unbacked.len(), first })
        }
    }
}

/// What is demanded and has no blocks, in parts that bound the memory for the map.
fn unbacked(flat: &FlatDisk, wanted: &Wanted) -> Result<Vec<DiskRange>, RunError> {
    let mut found = Vec::new();
    let mut first = 0;
    while first < wanted.grid.cells() {
        let end = wanted.grid.cells().min(first + flat.window_cells(wanted.grid));
        for area in wanted.demanded((first, end)) {
            found.extend(plan::unbacked(&[area], &flat.map(area)?));
        }
        first = end;
    }
    Ok(found)
}

/// The descriptor on the LUN is the one of this disk.
fn same_disk(disk: &DiskIdentity, flat: &FlatDisk) -> Result<(), RunError> {
    let differs = |reason: String| Err(RunError::NoSanPath { disk: disk.path.clone(), reason });
    let capacity = flat.capacity();
    if disk.capacity != capacity {
        let expected = disk.capacity;
        return differs(format!(
            "the hypervisor gives {expected} bytes, the descriptor on the LUN {capacity}"
        ));
    }
    // Written '6000C29a-bc97-…' by the one and '60 00 C2 9a bc 97 …-…' by the other.
    let digits = |text: &str| -> String {
        text.chars().filter(char::is_ascii_hexdigit).map(|c| c.to_ascii_lowercase()).collect()
    };
    match flat.uuid() {
        Some(uuid) if !disk.uuid.is_empty() && digits(uuid) != digits(&disk.uuid) => {
            let expected = &disk.uuid;
            differs(format!(
                "the hypervisor gives the disk UUID {expected}, the descriptor on the LUN {uuid}"
            ))
        }
        _ => Ok(()),
    }
}

/// The parents that the descriptors on the LUN name are those that the hypervisor has.
fn same_parents(wanted: &Wanted, flat: &FlatDisk) -> Result<(), RunError> {
    let found: Vec<String> =
        flat.parents().map(|parent| format!("[{}] {parent}", wanted.path.datastore)).collect();
    if found == wanted.parents {
        return Ok(());
    }
    let (found, expected) = (found.join(", "), wanted.parents.join(", "));
    let reason = format!(
        "the hypervisor gives it the parents '{expected}', the descriptors on the LUN '{found}'"
    );
    Err(RunError::NoSanPath { disk: wanted.identity.path.clone(), reason })
}
