//! What happens while the snapshot exists: each disk is located, mapped, compared with what the
//! hypervisor says, read, and checked again.

use crate::backup::{Backup, DiskReport, Settings};
use crate::compare::{self, Compared};
use crate::error::RunError;
use crate::locate::{DatastorePath, FlatDisk, Located, blocking, small_file};
use crate::plan::{self, Decision};
use crate::ports::{
    Changes, DiskCounts, DiskDraft, DiskSink, DiskView, Fabric, Hypervisor, Network, PointSink,
    PortError, PreviousPoint, Since, Store, VmView,
};
use crate::preflight::parse_path;
use crate::progress::Progress;
use crate::read::transfer;
use crate::record::{NotContained, RunRecord};
use crate::settle::{Wanted, demanded, open_settled};
use crate::window::{Window, plan_window};
use block::Grid;
use model::{DiskIdentity, DiskRange, ReadMode, RecoveryPointId, Transport};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What stays the same while the snapshot exists.
pub(crate) struct Session<'a, H, F, S> {
    pub(crate) backup: &'a Backup<H, F, S>,
    pub(crate) vm: &'a VmView,
    pub(crate) snapshot: &'a str,
    pub(crate) volumes: BTreeMap<String, Located>,
    /// The disks as the snapshot names them.
    pub(crate) disks: &'a [DiskView],
    pub(crate) settings: Settings,
    pub(crate) progress: &'a Arc<Progress>,
}

/// What a disk's areas are, after all questions were asked.
struct Areas {
    mode: ReadMode,
    parent: Option<(RecoveryPointId, usize)>,
    /// `None`: everything that the block map backs.
    changed: Option<Vec<DiskRange>>,
    /// What the hypervisor calls allocated; `None` when it does not say.
    allocated: Option<Vec<DiskRange>>,
}

impl<H: Hypervisor, F: Fabric, S: Store> Session<'_, H, F, S> {
    pub(crate) async fn previous(&self) -> Result<Option<PreviousPoint>, RunError> {
        let store = self.backup.store.clone();
        let vm = self.vm.identity.clone();
        Ok(blocking("the store", move || store.latest(&vm)).await??)
    }

    pub(crate) async fn disk(
        &self,
        disk: &DiskView,
        previous: Option<&PreviousPoint>,
        mut point: S::Point,
    ) -> Result<(DiskReport, S::Point), RunError> {
        self.progress.step(format!("areas of {}", disk.label));
        let path = parse_path(&disk.identity.path)?;
        let located = &self.volumes[&path.datastore];
        let areas = self.areas(&disk.identity, previous).await?;
        let grid = self.grid(disk.identity.capacity);
        let demanded = demanded(grid, areas.allocated.as_deref(), areas.changed.as_deref());
        let (identity, parents) = (disk.identity.clone(), disk.parents.clone());
        let wanted = Wanted { identity, parents, path: path.clone(), grid, demanded };
        let flat = open_settled(&located.volume, wanted, self.settings.map_pause).await?;

        self.progress.step(format!("compare {}", disk.label));
        let flat = Arc::new(flat);
        let compared = self.compared(located, &flat, disk).await?;
        self.progress.detail(compared.to_string());

        self.progress.step(format!("read {}", disk.label));
        point.file(&self.file_name(disk, &path), &flat.descriptor)?;
        let draft = DiskDraft {
            identity: disk.identity.clone(),
            mode: areas.mode.clone(),
            transport: Transport::San,
            parent: areas.parent,
        };
        let sink = point.disk(draft)?;
        let (counts, bytes_read) = self.read(located, &flat, &areas, sink).await?;
        blocking("the parser", move || flat.recheck()).await??;
        self.progress.add_stored(counts.bytes_stored);
        let changed = areas.changed.unwrap_or_default();
        let report = DiskReport {
            identity: disk.identity.clone(),
            label: disk.label.clone(),
            mode: areas.mode,
            changed_areas: changed.len() as u64,
            changed_bytes: changed.iter().map(|area| area.length).sum(),
            bytes_read,
            counts,
            compared,
        };
        Ok((report, point))
    }

    /// The descriptor's name in the point: its own, unless another disk's is called the same.
    fn file_name(&self, disk: &DiskView, path: &DatastorePath) -> String {
        let same = |other: &&DiskView| {
            DatastorePath::parse(&other.identity.path)
                .is_some_and(|other| other.name() == path.name())
        };
        match self.disks.iter().filter(same).count() {
            0 | 1 => path.name().into(),
            _ => format!("{}-{}", disk.identity.key, path.name()),
        }
    }

    /// Asks what changed and what is allocated, and decides how to read.
    async fn areas(
        &self,
        disk: &DiskIdentity,
        previous: Option<&PreviousPoint>,
    ) -> Result<Areas, RunError> {
        let allocated = match self.changes(disk, &Since::Allocated).await? {
            Changes::Areas(list) => Some(list),
            Changes::Unusable(reason) => {
                let text = format!("{}: no allocation from the hypervisor ({reason})", disk.path);
                self.progress.warn(format!("{text}; the block map could not be cross-checked"));
                None
            }
        };
        let full = |reason: String| {
            let mode = ReadMode::Full { reason };
            Areas { mode, parent: None, changed: None, allocated: allocated.clone() }
        };
        let areas = match plan::decide(previous, disk, self.settings.full) {
            Decision::Full { reason } => full(reason),
            Decision::Incremental { since, parent } => {
                match self.changes(disk, &Since::Change(since)).await? {
                    Changes::Unusable(reason) => full(format!("no changed areas: {reason}")),
                    Changes::Areas(list) => Areas {
                        mode: ReadMode::Incremental,
                        parent: Some(parent),
                        changed: Some(list),
                        allocated: allocated.clone(),
                    },
                }
            }
        };
        if let ReadMode::Full { reason } = &areas.mode {
            self.progress.detail(format!("full: {reason}"));
            if previous.is_some() && !self.settings.full {
                self.progress.warn(format!("{}: read in full: {reason}", disk.path));
            }
        }
        Ok(areas)
    }

    async fn changes(&self, disk: &DiskIdentity, since: &Since) -> Result<Changes, PortError> {
        self.backup.hypervisor.changes(self.vm, self.snapshot, disk, since).await
    }

    fn grid(&self, capacity: u64) -> Grid {
        let chunk = self.backup.store.chunk_size();
        Grid::new(capacity, chunk).expect("the store's chunk size is valid")
    }

    /// Compares with the network path what was not compared on this datastore before.
    async fn compared(
        &self,
        located: &Located,
        flat: &Arc<FlatDisk>,
        disk: &DiskView,
    ) -> Result<Compared, RunError> {
        let (volume, verdicts) = (&located.volume.info().uuid, &self.backup.verdicts);
        let sample = compare::sample(flat, self.grid(flat.capacity())).await?;
        let known = verdicts.of(volume);
        let classes = sample.unproven(&known.equal);
        if classes.is_empty() {
            return Ok(Compared::Before);
        }
        let opened = self.backup.network.open(self.vm, self.snapshot, &disk.identity).await?;
        let network = match opened {
            Network::Open(network) => network,
            Network::None(reason) => match known.differs {
                None => return Ok(Compared::Not { classes, reason }),
                Some(text) => {
                    let reason = format!("{text} (cannot be compared again: {reason})");
                    return Err(RunError::NoSanPath { disk: disk.identity.path.clone(), reason });
                }
            },
        };
        let places = sample.places(&classes);
        match compare::compare(flat, &located.luns, network, places).await {
            Ok(bytes) => {
                verdicts.equal(volume, classes.clone()).map_err(RunError::Verdicts)?;
                Ok(Compared::Equal { classes, bytes })
            }
            Err(differs @ RunError::Differs { .. }) => {
                let text = format!("datastore '{}': {differs}", located.datastore);
                verdicts.differs(volume, text).map_err(RunError::Verdicts)?;
                Err(differs)
            }
            Err(other) => Err(other),
        }
    }

    /// Reads window by window.
    async fn read(
        &self,
        located: &Located,
        flat: &Arc<FlatDisk>,
        areas: &Areas,
        mut sink: <S::Point as PointSink>::Disk,
    ) -> Result<(DiskCounts, u64), RunError> {
        let grid = self.grid(flat.capacity());
        let window_cells = flat.window_cells(grid);
        let mut bytes_read = 0;
        let mut first = 0;
        while first < grid.cells() {
            let window = Window {
                grid,
                cells: (first, grid.cells().min(first + window_cells)),
                changed: areas.changed.as_deref(),
            };
            let plan = plan_window(&window, flat).await?;
            bytes_read += plan.lun_bytes();
            self.progress.add_total(plan.cells().iter().map(|cell| cell.length).sum());
            let luns = Arc::clone(&located.luns);
            sink = transfer(luns, plan.into_cells(), sink, Arc::clone(self.progress)).await?;
            first = window.cells.1;
        }
        let counts = blocking("the store", move || sink.finish()).await??;
        Ok((counts, bytes_read))
    }

    /// The `.vmx` and the `.nvram` it names: what the VM is, beside its disks.
    pub(crate) async fn attach_configuration(
        &self,
        mut point: S::Point,
    ) -> Result<S::Point, RunError> {
        self.progress.step("configuration");
        let path = parse_path(&self.vm.vmx_path)?;
        let volume = Arc::clone(&self.volumes[&path.datastore].volume);
        blocking("the parser", move || {
            let vmx = small_file(&volume, &path.path)?;
            if let Some(name) = vmx_value(&vmx, "nvram") {
                point.file(&name, &small_file(&volume, &path.beside(&name))?)?;
            }
            point.file(path.name(), &vmx)?;
            Ok(point)
        })
        .await?
    }

    /// The run's own figures.
    pub(crate) async fn attach_record(
        &self,
        mut point: S::Point,
        reports: &[DiskReport],
        previous: Option<&PreviousPoint>,
        not_contained: Vec<NotContained>,
    ) -> Result<S::Point, RunError> {
        let incremental = reports.iter().any(|disk| disk.mode == ReadMode::Incremental);
        let previous = previous.filter(|_| incremental).map(|point| point.id);
        let record = serde_json::to_vec(&RunRecord::of(reports, previous, not_contained))
            .map_err(|source| RunError::Journal(source.into()))?;
        blocking("the store", move || point.file(RunRecord::FILE, &record).map(|()| point))
            .await?
            .map_err(RunError::from)
    }

    /// Nobody moved, merged or reverted anything while we read.
    pub(crate) async fn still_the_same(&self) -> Result<(), RunError> {
        self.progress.step("recheck");
        let now = self.backup.hypervisor.snapshot_disks(self.vm, self.snapshot).await?;
        if now != self.disks {
            let what = format!("the disks of VM '{}' at its snapshot", self.vm.identity.name);
            return Err(RunError::Moved { what });
        }
        for located in self.volumes.values() {
            for lun in &*located.luns {
                lun.verify().await?;
            }
            let volume = Arc::clone(&located.volume);
            let name = located.datastore.clone();
            blocking("the parser", move || volume.check_unchanged())
                .await?
                .map_err(|source| RunError::Datastore { path: format!("[{name}]"), source })?;
        }
        Ok(())
    }
}

/// The value of `key = "value"` in a `.vmx`.
fn vmx_value(vmx: &[u8], key: &str) -> Option<String> {
    String::from_utf8_lossy(vmx).lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        let value = value.trim().strip_prefix('"')?.strip_suffix('"')?;
        (name.trim().eq_ignore_ascii_case(key) && !value.is_empty()).then(|| value.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nvram_is_found_by_the_vmx_key() {
        let vmx = b".encoding = \"UTF-8\"\nNVRAM = \"web01.nvram\"\nnvram.x = \"no\"\n";
        assert_eq!(vmx_value(vmx, "nvram").as_deref(), Some("web01.nvram"));
        assert_eq!(vmx_value(b"nvram = \"\"\n", "nvram"), None);
        assert_eq!(vmx_value(b"nvram = web01.nvram\n", "nvram"), None);
    }
}
