//! From a path such as `[san01] web01/web01.vmdk` to the files on the LUN that hold the disk.
//!
//! Identity comes first: the LUN is found by the name the hypervisor gives it, and the volume on
//! it must carry the UUID the hypervisor gives the datastore. Otherwise nothing is read.

use crate::chain::{self, Member};
use crate::error::RunError;
use crate::plan::Stretch;
use crate::ports::{DatastoreView, Fabric, LunView, SourceLun};
use crate::window::WINDOW_CELLS;
use block::{Grid, ReadAt, Source};
use model::{DiskRange, NaaName};
use std::sync::Arc;
use vmdk::VmdkError;
use vmfs::{Target, VmfsError, Volume};

/// Largest descriptor, `.vmx` or `.nvram` that is read; real ones are far smaller.
pub(crate) const SMALL_FILE_MAX: usize = 4 << 20;
/// Places of a disk that are held in memory at a time: some 40 MiB with their plan.
const STRETCHES_MAX: u64 = 1 << 18;

/// `[datastore] path` in two parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatastorePath {
    /// The datastore's name.
    pub datastore: String,
    /// The path in it, without a leading slash.
    pub path: String,
}

impl DatastorePath {
    /// The parts of `text`; `None` when it is not of this form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (datastore, path) = text.strip_prefix('[')?.split_once(']')?;
        let path = path.trim_start().trim_start_matches('/');
        let whole = !datastore.is_empty() && !path.is_empty();
        whole.then(|| Self { datastore: datastore.into(), path: path.into() })
    }

    /// The name without folders.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit_once('/').map_or(&self.path, |(_, name)| name)
    }

    /// The path of a file that stands beside this one.
    #[must_use]
    pub fn beside(&self, name: &str) -> String {
        match self.path.rsplit_once('/') {
            Some((folder, _)) => format!("{folder}/{name}"),
            None => name.into(),
        }
    }
}

/// A datastore whose LUNs and volume are the ones the hypervisor means.
#[derive(Clone)]
pub struct Located {
    /// The datastore's name.
    pub datastore: String,
    /// The volume on the LUNs.
    pub volume: Arc<Volume>,
    /// The LUNs, in the order of `LunExtent::device`.
    pub luns: Arc<[Arc<dyn SourceLun>]>,
}

/// Finds the LUNs of a datastore by name, opens the volume and compares its UUID.
pub async fn locate<F: Fabric>(fabric: &F, view: &DatastoreView) -> Result<Located, RunError> {
    let no_path = |reason: String| RunError::NoSanPath { disk: format!("[{}]", view.name), reason };
    let vmfs = view.vmfs.as_ref().ok_or_else(|| {
        no_path(format!("datastore type {} cannot be read over the SAN", view.kind))
    })?;
    let mut luns = Vec::new();
    for known in &vmfs.luns {
        let name: NaaName = known.name.parse().map_err(|_| {
            no_path(format!("the name '{}' does not identify a LUN beyond its host", known.name))
        })?;
        let lun = fabric.lun(&name).await?;
        same_size(view, known, lun.capacity())?;
        luns.push(lun);
    }
    let readers: Vec<Arc<dyn ReadAt>> = luns.iter().map(|lun| lun.blocking()).collect();
    let volume = blocking("opening a volume", move || Volume::open(readers))
        .await?
        .map_err(|source| RunError::Datastore { path: format!("[{}]", view.name), source })?;
    same_volume(view, &vmfs.uuid, &volume)?;
    Ok(Located { datastore: view.name.clone(), volume: Arc::new(volume), luns: luns.into() })
}

fn same_size(view: &DatastoreView, known: &LunView, found: u64) -> Result<(), RunError> {
    if known.capacity == Some(found) {
        return Ok(());
    }
    let expected = known
        .capacity
        .map_or_else(|| "no host lists it".into(), |bytes| format!("the hosts see {bytes} bytes"));
    Err(RunError::Identity {
        lun: known.name.clone(),
        datastore: view.name.clone(),
        difference: format!("{expected}, the LUN has {found} bytes"),
    })
}

fn same_volume(view: &DatastoreView, expected: &str, volume: &Volume) -> Result<(), RunError> {
    let found = volume.info().uuid.to_string();
    if found.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    let lun = view.vmfs.iter().flat_map(|vmfs| &vmfs.luns).map(|lun| lun.name.as_str());
    Err(RunError::Identity {
        lun: lun.collect::<Vec<_>>().join(", "),
        datastore: view.name.clone(),
        difference: format!(
            "the hypervisor gives the volume UUID {expected}, the LUN carries {found}; \
             check that the LUN presented to this box is not a copy"
        ),
    })
}

/// A disk on a located datastore, with the deltas of its snapshots.
pub struct FlatDisk {
    /// Path of the descriptor.
    pub descriptor_path: String,
    /// The descriptor as it stands on the datastore.
    pub descriptor: Vec<u8>,
    /// The disk and its parents.
    chain: vmdk::Chain,
    /// What each of them is made of.
    members: Vec<Member>,
}

impl FlatDisk {
    /// Opens the descriptors of the chain and the files they name; checks their lengths and, as
    /// far as the formats allow, every structure that maps them, which is then read a second time
    /// and compared. Blocks.
    pub fn open(volume: &Volume, path: &DatastorePath) -> Result<Self, RunError> {
        let (chain, members) = chain::open(volume, path)?;
        let descriptor = members[0].descriptor.clone();
        let flat = Self { descriptor_path: path.path.clone(), descriptor, chain, members };
        flat.recheck()?;
        Ok(flat)
    }

    /// Bytes of the disk.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.chain.capacity()
    }

    /// The disk's UUID, as the descriptor writes it; a delta's may leave it to the base.
    #[must_use]
    pub fn uuid(&self) -> Option<&str> {
        let of = |layer: &vmdk::Layer| layer.disk().ddb.contains_key("uuid");
        let layer = self.chain.layers().iter().find(|layer| of(layer))?;
        layer.disk().ddb.get("uuid").map(String::as_str)
    }

    /// Paths of the parents' descriptors, nearest first.
    pub fn parents(&self) -> impl Iterator<Item = &str> {
        self.members[1..].iter().map(|member| member.path.as_str())
    }

    /// Cells of the grid that may be mapped at a time, so that the memory for it is bounded:
    /// a delta can have another place for each of its grains.
    #[must_use]
    pub fn window_cells(&self, grid: Grid) -> u64 {
        let chunk = grid.chunk_size();
        let grain = self.chain.grain().unwrap_or(chunk);
        (grain * STRETCHES_MAX / chunk).clamp(1, WINDOW_CELLS)
    }

    /// Where the bytes of `range` lie, without a gap. Blocks; memory is bound by the range.
    pub fn map(&self, range: DiskRange) -> Result<Vec<Stretch>, RunError> {
        let mut stretches = Vec::new();
        let parts = self.chain.resolve(range).map_err(self.of_descriptor())?;
        for part in parts {
            match part.to {
                vmdk::Target::Zero => {
                    stretches.push(Stretch { range: part.range, source: Source::Zero });
                }
                vmdk::Target::File { layer, extent } => {
                    let (path, file) = &self.members[layer].files[extent.file];
                    let mut at = part.range.offset;
                    for mapped in file.map(extent.offset, extent.length).map_err(self::at(path))? {
                        let range = DiskRange { offset: at, length: mapped.length };
                        let source = source_of(path, range, &mapped.to)?;
                        stretches.push(Stretch { range, source });
                        at = range.end();
                    }
                }
                vmdk::Target::Packed { .. } => {
                    let reason = "compressed grains have no place of their own on the LUN".into();
                    return Err(RunError::NoSanPath { disk: self.descriptor_path.clone(), reason });
                }
            }
        }
        Ok(stretches)
    }

    /// How the bytes of `range` are found, part by part, for the comparison with another way to
    /// them. Blocks; memory is bound by the range.
    pub(crate) fn classes(
        &self,
        range: DiskRange,
        mut found: impl FnMut(&str, DiskRange),
    ) -> Result<(), RunError> {
        for part in self.chain.resolve(range).map_err(self.of_descriptor())? {
            let vmdk::Target::File { layer, extent } = part.to else {
                found("empty in the disk's own map", part.range);
                continue;
            };
            let kind = &self.chain.layers()[layer].disk().create_type;
            let (path, file) = &self.members[layer].files[extent.file];
            let mut at = part.range.offset;
            for mapped in file.parts(extent.offset, extent.length).map_err(self::at(path))? {
                let mapped = mapped.map_err(self::at(path))?;
                let range = DiskRange { offset: at, length: mapped.length };
                let large = file.in_large_block(mapped.file_offset).map_err(self::at(path))?;
                let place = match (mapped.to, large) {
                    (Target::Hole, _) => "hole",
                    (Target::Zero, false) => "to be zeroed",
                    (Target::Zero, true) => "large blocks to be zeroed",
                    (_, true) => "large blocks",
                    (_, false) => file.addressing(),
                };
                found(&format!("{kind}: {place}"), range);
                at = range.end();
            }
        }
        Ok(())
    }

    /// Reads again every structure that the map was built from, and compares. Blocks.
    pub fn recheck(&self) -> Result<(), RunError> {
        for (path, file) in self.members.iter().flat_map(|member| &member.files) {
            file.recheck().map_err(again(path))?;
        }
        if self.members.len() > 1 {
            self.members.iter().try_for_each(Member::recheck_descriptor)?;
        }
        self.chain.recheck().map_err(|source| match source {
            VmdkError::Moved { file } => RunError::Moved { what: file },
            source => self.of_descriptor()(source),
        })
    }

    fn of_descriptor(&self) -> impl Fn(VmdkError) -> RunError {
        let path = self.descriptor_path.clone();
        move |source| RunError::Descriptor { path: path.clone(), source }
    }
}

fn source_of(path: &str, range: DiskRange, target: &Target) -> Result<Source, RunError> {
    let unknown = |reason: String| RunError::UnknownRange { path: path.into(), range, reason };
    match target {
        Target::Lun(extent) => Ok(Source::Lun(*extent)),
        Target::Hole | Target::Zero => Ok(Source::Zero),
        Target::Unknown(reason) => Err(unknown(reason.to_string())),
        Target::Resident => Err(unknown("disk data inside the file descriptor".into())),
    }
}

/// A small file of the datastore, whole. Blocks.
pub fn small_file(volume: &Volume, path: &str) -> Result<Vec<u8>, RunError> {
    volume.open_file(path).and_then(|file| file.read_small(SMALL_FILE_MAX)).map_err(at(path))
}

/// What failed, and for which file.
pub(crate) fn at(path: &str) -> impl Fn(VmfsError) -> RunError + '_ {
    move |source| RunError::Datastore { path: path.into(), source }
}

/// What failed when a file was looked at again; one that changed meanwhile has moved.
pub(crate) fn again(path: &str) -> impl Fn(VmfsError) -> RunError + '_ {
    move |source| match source {
        VmfsError::Moved { .. } => RunError::Moved { what: path.into() },
        source => at(path)(source),
    }
}

/// Runs `work` on a thread that may block.
pub async fn blocking<T, W>(what: &'static str, work: W) -> Result<T, RunError>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|source| RunError::Thread { what, source: source.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datastore_paths_have_two_parts() {
        let path = DatastorePath::parse("[san 01] web 01/web01.vmdk").unwrap();
        assert_eq!((path.datastore.as_str(), path.path.as_str()), ("san 01", "web 01/web01.vmdk"));
        assert_eq!(path.beside("x-flat.vmdk"), "web 01/x-flat.vmdk");
        assert_eq!(DatastorePath::parse("[a] b").unwrap().beside("c"), "c");
        for wrong in ["", "web01.vmdk", "[san01]", "[] x", "[san01"] {
            assert_eq!(DatastorePath::parse(wrong), None, "{wrong}");
        }
    }
}
