//! What happens while the snapshot exists: each disk is located, mapped, compared with what the
//! hypervisor says, read, and checked again.

use crate::backup::{Backup, DiskReport, Settings};
use crate::compare::{self, Compared};
use crate::crosscheck::Rotation;
use crate::error::RunError;
use crate::exclude;
use crate::locate::{DatastorePath, FlatDisk, Located, SMALL_FILE_MAX, blocking, small_file};
use crate::plan::{self, Decision};
use crate::ports::{
    Changes, DiskCounts, DiskDraft, DiskSink, DiskView, Fabric, Hypervisor, Network, PointSink,
    PortError, PreviousPoint, Since, Store, VmPortrait, VmView,
};
use crate::preflight::parse_path;
use crate::progress::Progress;
use crate::read::{Target, transfer};
use crate::reading::Reading;
use crate::record::{NotContained, RunRecord};
use crate::settle::{Wanted, open_settled};
use crate::transport::{Way, is_not_understood};
use crate::window::{Window, plan_window};
use api::{Portrait, TransportPolicy};
use block::Grid;
use model::{DiskIdentity, DiskRange, ReadMode, RecoveryPointId, Transport};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What stays the same while the snapshot exists.
pub(crate) struct Session<'a, H, F, S> {
    pub(crate) backup: &'a Backup<H, F, S>,
    pub(crate) vm: &'a VmView,
    pub(crate) snapshot: &'a str,
    pub(crate) volumes: BTreeMap<String, Way>,
    /// The disks as the snapshot names them.
    pub(crate) disks: &'a [DiskView],
    pub(crate) settings: Settings,
    pub(crate) progress: &'a Arc<Progress>,
    /// Why all is read in full, whatever change tracking says.
    pub(crate) forced: Option<String>,
    /// What incrementals compare with the previous point; `None`: nothing.
    pub(crate) rotation: Option<Rotation>,
}

/// What a disk's areas are, after all questions were asked.
struct Areas {
    mode: ReadMode,
    parent: Option<(RecoveryPointId, usize)>,
    reading: Reading,
    /// What the hypervisor calls allocated; empty when it does not say.
    allocated: Vec<DiskRange>,
}

/// What became of a disk.
pub(crate) enum Outcome<P> {
    /// It is in the point.
    Kept(Box<DiskReport>, P),
    /// Change tracking kept a change back; the point is abandoned.
    Missed(Missed),
}

/// What a cross-check found.
pub(crate) struct Missed {
    /// Path of the disk.
    pub(crate) disk: String,
    /// The first area that differs from the previous point.
    pub(crate) area: DiskRange,
    /// How many of those compared so far differ.
    pub(crate) count: usize,
}

/// What was read of a disk.
struct Figures {
    counts: DiskCounts,
    /// From the LUN, comparisons included.
    bytes_read: u64,
    /// Of these, for comparisons.
    bytes_compared: u64,
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
    ) -> Result<Outcome<S::Point>, RunError> {
        self.progress.step(format!("areas of {}", disk.label));
        let path = parse_path(&disk.identity.path)?;
        let located = match &self.volumes[&path.datastore] {
            Way::San(located) => located,
            Way::Network(why) => return self.network_only(disk, why, point).await,
        };
        let areas = self.areas(&disk.identity, previous).await?;
        let grid = self.grid(disk.identity.capacity);
        let reading = Arc::new(areas.reading);
        let allocated = Arc::new(areas.allocated);
        let wanted = Wanted {
            identity: disk.identity.clone(),
            parents: disk.parents.clone(),
            path: path.clone(),
            grid,
            reading: Arc::clone(&reading),
            allocated: Arc::clone(&allocated),
        };
        let flat = match open_settled(&located.volume, wanted, self.settings.map_pause).await {
            Ok(flat) => flat,
            Err(error) if self.may_fall_back() && is_not_understood(&error) => {
                let why = model::chain(&error);
                self.progress.warn(format!("{}: read over the network: {why}", disk.label));
                return self.network_only(disk, &why, point).await;
            }
            Err(error) => return Err(error),
        };

        let flat = Arc::new(flat);
        let found = self.exclusions(located, &flat, allocated).await?;
        let reading = exclude::apply(&reading, &found.excluded);

        self.progress.step(format!("compare {}", disk.label));
        let compared = self.compared(located, &flat, disk).await?;
        self.progress.detail(compared.to_string());

        self.progress.step(format!("read {}", disk.label));
        point.file(&self.file_name(disk, &path), &flat.descriptor)?;
        let draft = DiskDraft {
            identity: disk.identity.clone(),
            mode: areas.mode.clone(),
            transport: Transport::San,
            parent: areas.parent,
            excluded: found.excluded.clone(),
        };
        let sink = point.disk(draft)?;
        let figures = match self.read(located, &flat, &reading, sink).await? {
            Ok(figures) => figures,
            Err((count, area)) => {
                self.still_the_same().await?;
                let disk = disk.identity.path.clone();
                return Ok(Outcome::Missed(Missed { disk, area, count }));
            }
        };
        self.progress.add_stored(figures.counts.bytes_stored);
        let changed = reading.changed.as_deref().unwrap_or_default();
        let report = DiskReport {
            identity: disk.identity.clone(),
            label: disk.label.clone(),
            mode: areas.mode,
            transport: Transport::San,
            changed_areas: changed.len() as u64,
            changed_bytes: changed.iter().map(|area| area.length).sum(),
            bytes_read: figures.bytes_read,
            bytes_compared: figures.bytes_compared,
            counts: figures.counts,
            compared,
            excluded: found.excluded,
            passed_over: found.passed_over,
        };
        Ok(Outcome::Kept(Box::new(report), point))
    }

    fn may_fall_back(&self) -> bool {
        self.settings.transport == TransportPolicy::PreferSan
    }

    async fn network_only(
        &self,
        disk: &DiskView,
        why: &str,
        point: S::Point,
    ) -> Result<Outcome<S::Point>, RunError> {
        let (report, point) = self.by_network(disk, why, point).await?;
        Ok(Outcome::Kept(Box::new(report), point))
    }

    /// What is left out of the disk, by the guest's own structures on it.
    async fn exclusions(
        &self,
        located: &Located,
        flat: &Arc<FlatDisk>,
        allocated: Arc<Vec<DiskRange>>,
    ) -> Result<guest::Found, RunError> {
        let swap = self.settings.exclude.swap;
        let wanted = guest::Wanted { swap, grain: self.backup.store.chunk_size() };
        let disk = exclude::GuestDisk::new(flat, &located.luns, allocated);
        let found = blocking("the guest's disk", move || guest::look(&disk, wanted)).await?;
        for exclusion in &found.excluded {
            self.progress.detail(format!(
                "left out: {}, {} bytes",
                exclusion.what,
                exclusion.bytes()
            ));
        }
        Ok(found)
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
            Changes::Areas(list) => list,
            Changes::Unusable(reason) => {
                let text = format!("{}: no allocation from the hypervisor ({reason})", disk.path);
                self.progress.warn(format!("{text}; the block map could not be cross-checked"));
                Vec::new()
            }
        };
        let (mode, parent, reading) = self.reading(disk, previous).await?;
        if let ReadMode::Full { reason } = &mode {
            self.progress.detail(format!("full: {reason}"));
            if previous.is_some() && !self.settings.full {
                self.progress.warn(format!("{}: read in full: {reason}", disk.path));
            }
        }
        Ok(Areas { mode, parent, reading, allocated })
    }

    async fn reading(
        &self,
        disk: &DiskIdentity,
        previous: Option<&PreviousPoint>,
    ) -> Result<(ReadMode, Option<(RecoveryPointId, usize)>, Reading), RunError> {
        let full = |reason: String| (ReadMode::Full { reason }, None, Reading::default());
        Ok(match plan::decide(previous, disk, self.forced.as_deref()) {
            Decision::Full { reason } => full(reason),
            Decision::Incremental { since, parent } => {
                match self.changes(disk, &Since::Change(since)).await? {
                    Changes::Unusable(reason) => full(format!("no changed areas: {reason}")),
                    Changes::Areas(list) => {
                        let sample = self.rotation.map(|rotation| rotation.sample(&disk.uuid));
                        // Until it is known what this point leaves out, whatever the parent
                        // left out may have to be read.
                        let turned = exclude::of_parent(previous, parent);
                        let reading =
                            Reading { changed: Some(list), sample, turned, excluded: Vec::new() };
                        (ReadMode::Incremental, Some(parent), reading)
                    }
                }
            }
        })
    }

    async fn changes(&self, disk: &DiskIdentity, since: &Since) -> Result<Changes, PortError> {
        self.backup.hypervisor.changes(self.vm, self.snapshot, disk, since).await
    }

    pub(crate) fn grid(&self, capacity: u64) -> Grid {
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
        let opened = match self.settings.compare {
            true => self.backup.network.open(self.vm, self.snapshot, &disk.identity).await?,
            false => Network::None("it is not configured (backup.compare_with_network)".into()),
        };
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

    /// Reads window by window; afterwards the map must still be what it was. The inner error: so
    /// many cells differ that must be as in the parent, this one first; nothing more was read.
    async fn read(
        &self,
        located: &Located,
        flat: &Arc<FlatDisk>,
        reading: &Reading,
        sink: <S::Point as PointSink>::Disk,
    ) -> Result<Result<Figures, (usize, DiskRange)>, RunError> {
        let grid = self.grid(flat.capacity());
        let window_cells = flat.window_cells(grid);
        let mut target = Target { sink, differing: Vec::new() };
        let (mut bytes_read, mut bytes_compared) = (0, 0);
        let mut first = 0;
        while first < grid.cells() && target.differing.is_empty() {
            let cells = (first, grid.cells().min(first + window_cells));
            let window = plan_window(&Window { grid, cells, reading }, flat).await?;
            bytes_read += window.plan.lun_bytes();
            bytes_compared += window.compared_bytes();
            self.progress.add_total(window.plan.cells().iter().map(|cell| cell.length).sum());
            let luns = Arc::clone(&located.luns);
            target = transfer(luns, window, target, Arc::clone(self.progress)).await?;
            first = cells.1;
        }
        let Target { sink, differing } = target;
        if let Some(area) = differing.iter().min().and_then(|&cell| grid.range(cell)) {
            recheck(flat).await?;
            return Ok(Err((differing.len(), area)));
        }
        let counts = blocking("the store", move || sink.finish()).await??;
        recheck(flat).await?;
        Ok(Ok(Figures { counts, bytes_read, bytes_compared }))
    }

    /// The `.vmx` and the `.nvram` it names, the configuration and the portrait: what the VM is,
    /// beside its disks.
    pub(crate) async fn attach_configuration(
        &self,
        mut point: S::Point,
    ) -> Result<S::Point, RunError> {
        self.progress.step("configuration");
        let hypervisor = &self.backup.hypervisor;
        let VmPortrait { portrait, configuration } =
            hypervisor.portrait(self.vm, self.snapshot).await?;
        let path = parse_path(&self.vm.vmx_path)?;
        let located = self.volumes[&path.datastore].located();
        let volume = located.map(|located| Arc::clone(&located.volume));
        let mut portrait = portrait;
        if volume.is_none() {
            let why = "its .vmx and NVRAM, which lie on a datastore that is not read over the SAN";
            portrait.missing.push(why.into());
        }
        let (portrait, configuration) = self.bounded(portrait, configuration);
        blocking("the parser", move || {
            if let Some(volume) = volume {
                let vmx = small_file(&volume, &path.path)?;
                if let Some(name) = vmx_value(&vmx, "nvram") {
                    point.file(&name, &small_file(&volume, &path.beside(&name))?)?;
                }
                point.file(path.name(), &vmx)?;
            }
            if let Some(configuration) = configuration {
                point.file(Portrait::CONFIGURATION, configuration.as_bytes())?;
            }
            let portrait =
                serde_json::to_vec(&portrait).map_err(|source| RunError::Journal(source.into()))?;
            point.file(Portrait::FILE, &portrait)?;
            Ok(point)
        })
        .await?
    }

    /// A configuration beyond any real one is left out and named, rather than the disks with it.
    fn bounded(&self, mut portrait: Portrait, configuration: String) -> (Portrait, Option<String>) {
        let fits = configuration.len() <= SMALL_FILE_MAX;
        if !fits {
            let bytes = configuration.len();
            portrait
                .missing
                .push(format!("the configuration has {bytes} bytes, which is too much"));
        }
        for missing in &portrait.missing {
            self.progress.warn(format!("not kept of VM '{}': {missing}", self.vm.identity.name));
        }
        (portrait, fits.then_some(configuration))
    }

    /// The run's own figures.
    pub(crate) async fn attach_record(
        &self,
        mut point: S::Point,
        reports: &[DiskReport],
        previous: Option<&PreviousPoint>,
        not_contained: &[NotContained],
    ) -> Result<S::Point, RunError> {
        let incremental = reports.iter().any(|disk| disk.mode == ReadMode::Incremental);
        let previous = previous.filter(|_| incremental).map(|point| point.id);
        let rotation = self.rotation.filter(|_| incremental);
        let record = RunRecord::of(reports, previous, rotation, not_contained);
        let record =
            serde_json::to_vec(&record).map_err(|source| RunError::Journal(source.into()))?;
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
        for located in self.volumes.values().filter_map(Way::located) {
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

/// The map is still what it was when it was settled.
async fn recheck(flat: &Arc<FlatDisk>) -> Result<(), RunError> {
    let flat = Arc::clone(flat);
    blocking("the parser", move || flat.recheck()).await?
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
