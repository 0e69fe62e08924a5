//! A world in memory around a run: a VM with one disk on a real VMFS volume (made by the
//! formatter of `fakes`), a hypervisor with snapshots and change tracking, a store. Any call can
//! be made to fail by its number, so that a test can break a run at every step.

mod hypervisor;
mod store;

pub use store::MemoryStore;

use block::{ReadAt, ReadError};
use fakes::vmdk::{Grain, SparseSpec, descriptor, sesparse};
use fakes::vmfs::{Provisioning, Volume, VolumeSpec};
use jobs::Progress;
use jobs::journal::JournalLog;
use jobs::ports::{
    BoxError, BoxFuture, Fabric, Network, NetworkDisk, NetworkPath, PortError, SourceLun, VmView,
};
use model::{DiskIdentity, DiskRange, ErrorKind, NaaName};
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::sync::Notify;

/// Bytes of the VM's disk.
pub const CAPACITY: u64 = 24 << 20;
const FLAT: &str = "web01/web01-flat.vmdk";
const DESCRIPTOR: &str = "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n\
    createType=\"vmfs\"\n\n# Extent description\nRW 49152 VMFS \"web01-flat.vmdk\"\n\n\
    # The Disk Data Base\n#DDB\nddb.adapterType = \"lsilogic\"\nddb.thinProvisioned = \"1\"\n";

/// What a test may look at and turn.
pub struct State {
    /// What the guest sees.
    pub truth: Vec<u8>,
    /// Snapshots as (handle, name, what the guest saw at that moment).
    pub snapshots: Vec<(String, String, Vec<u8>)>,
    /// Change tracking: epoch, sequence, and (sequence, area) of each write.
    pub epoch: u32,
    pub sequence: u64,
    pub changes: Vec<(u64, DiskRange)>,
    pub cbt_enabled: bool,
    /// Free bytes of the datastore.
    pub free_bytes: u64,
    /// The VM's disks need consolidation, and whether that succeeds.
    pub unmerged: bool,
    pub merges: bool,
    /// Bytes that the snapshot's delta is said to have; the run goes on when that was looked at.
    pub delta_bytes: Option<u64>,
    /// The datastore is full from this call on.
    pub full_after: Option<&'static str>,
    /// VMware Tools run, and bring the guest to rest.
    pub tools_running: bool,
    pub rests: bool,
    /// Names under which migration is held off.
    pub blocked: Vec<String>,
    /// So many of the next writes are not tracked.
    pub kept_back: usize,
    /// Writes that wait for the snapshot to be removed.
    pub delta: Vec<(u64, Vec<u8>)>,
    /// The network path: brings what the snapshot froze; `None`: there is none.
    pub network: Option<Wire>,
    /// The SAN does not have the LUN.
    pub lun_absent: bool,
    /// Called allocated although nothing is there.
    pub lie: Option<DiskRange>,
    /// Metadata reads after which a write of before reaches the LUN.
    pub late: Option<(usize, u64, Vec<u8>)>,
    /// Looks at the snapshot's disks after which somebody else makes a snapshot.
    pub moves_after: Option<usize>,
    /// Number of calls so far, and the one that fails.
    pub calls: usize,
    pub fail_at: Option<usize>,
    /// Somebody cancels the run when this call comes.
    pub cancel_at: Option<(&'static str, Arc<Progress>)>,
    /// Names of the calls, for failure messages.
    pub log: Vec<String>,
    volume: Volume,
}

/// Counts the calls that a run makes, and lets those fail that were chosen.
pub trait Calls: Send + Sync {
    fn call(&self, name: &str) -> Result<(), PortError>;
}

impl Calls for World {
    fn call(&self, name: &str) -> Result<(), PortError> {
        World::call(self, name)
    }
}

pub struct World {
    pub state: Mutex<State>,
    pub store: MemoryStore,
    /// Deltas of snapshots that the VM had before any run.
    deltas: u64,
    /// Parents that the hypervisor does not name.
    pub parents_hidden: AtomicUsize,
    /// Somebody has looked at the snapshot.
    pub looked: Notify,
    image: PathBuf,
    _dir: TempDir,
}

impl World {
    pub fn new() -> Arc<Self> {
        Self::with_deltas(0)
    }

    /// A VM with snapshots of its own: the disk is a chain of SEsparse deltas over the base. Its
    /// guest does not write any more.
    pub fn with_deltas(deltas: u64) -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("lun.img");
        let raw = dir.path().join("raw.img");
        let mut truth = vec![0; usize::try_from(CAPACITY).unwrap()];
        for (index, byte) in truth[..3 << 20].iter_mut().enumerate() {
            *byte = u8::try_from(index % 251).unwrap();
        }
        std::fs::write(&raw, &truth[..3 << 20]).unwrap();
        File::options().write(true).open(&raw).unwrap().set_len(CAPACITY).unwrap();
        let mut volume = VolumeSpec::new(640 << 20, "san01").create(&image).unwrap();
        volume.add_dir("web01").unwrap();
        volume.add_file("web01/web01.vmdk", DESCRIPTOR.as_bytes()).unwrap();
        volume.add_file("web01/web01.vmx", b"nvram = \"web01.nvram\"\n").unwrap();
        volume.add_file("web01/web01.nvram", &[7; 8684]).unwrap();
        volume.add_disk_from_raw(FLAT, &raw, Provisioning::Thin).unwrap();
        for number in 1..=deltas {
            add_delta(&mut volume, number, &mut truth);
        }
        volume.flush().unwrap();
        let state = State {
            truth,
            snapshots: Vec::new(),
            epoch: 1,
            sequence: 0,
            changes: Vec::new(),
            cbt_enabled: false,
            free_bytes: 320 << 20,
            unmerged: false,
            merges: true,
            delta_bytes: None,
            full_after: None,
            tools_running: true,
            rests: true,
            blocked: Vec::new(),
            kept_back: 0,
            delta: Vec::new(),
            network: None,
            lun_absent: false,
            lie: None,
            late: None,
            moves_after: None,
            calls: 0,
            fail_at: None,
            cancel_at: None,
            log: Vec::new(),
            volume,
        };
        let store = MemoryStore::default();
        let world = Arc::new(Self {
            state: Mutex::new(state),
            store: store.clone(),
            deltas,
            parents_hidden: AtomicUsize::new(0),
            looked: Notify::new(),
            image,
            _dir: dir,
        });
        store.attach(Arc::downgrade(&world) as _);
        world
    }

    /// The disk as the hypervisor names it: its newest delta.
    pub fn disk_path(&self) -> String {
        format!("[san01] web01/{}.vmdk", delta_name(self.deltas))
    }

    /// What the hypervisor calls its parents, nearest first.
    pub fn parents(&self) -> Vec<String> {
        let numbers = (0..self.deltas).rev();
        let parent = |number| format!("[san01] web01/{}.vmdk", delta_name(number));
        numbers.map(parent).skip(self.parents_hidden.load(Ordering::Relaxed)).collect()
    }

    /// A guest writes: to the base, or to a delta while there is a snapshot.
    pub fn guest_write(&self, offset: u64, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap();
        let at = usize::try_from(offset).unwrap();
        state.truth[at..at + bytes.len()].copy_from_slice(bytes);
        if state.snapshots.is_empty() {
            state.write_base(offset, bytes);
        } else {
            state.delta.push((offset, bytes.to_vec()));
        }
    }

    /// Somebody changes a file of the VM's folder in place; it keeps its length.
    pub fn rewrite(&self, name: &str, from: &str, to: &str) {
        let mut state = self.state.lock().unwrap();
        let path = format!("web01/{name}");
        let image: Arc<dyn ReadAt> = Arc::new(File::open(&self.image).unwrap());
        let volume = vmfs::Volume::open(vec![image]).unwrap();
        let text = volume.open_file(&path).unwrap().read_small(4096).unwrap();
        let at = text.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
        assert_eq!(from.len(), to.len());
        state.volume.write(&path, at as u64, to.as_bytes()).unwrap();
        state.volume.flush().unwrap();
    }

    /// A guest has written, but block map and data reach the LUN only after `reads` reads of
    /// metadata, as from a journal. The hypervisor knows of it from the start.
    pub fn late_write(&self, offset: u64, bytes: &[u8], reads: usize) {
        let mut state = self.state.lock().unwrap();
        let at = usize::try_from(offset).unwrap();
        state.truth[at..at + bytes.len()].copy_from_slice(bytes);
        state.lie = Some(DiskRange { offset, length: bytes.len() as u64 });
        state.late = Some((reads, offset, bytes.to_vec()));
    }

    pub fn uuid(&self) -> String {
        self.state.lock().unwrap().volume.facts().unwrap().vmfs_uuid
    }

    /// Counts a call; the one that was chosen fails.
    pub fn call(&self, name: &str) -> Result<(), PortError> {
        let mut state = self.state.lock().unwrap();
        let number = state.calls;
        state.calls += 1;
        state.log.push(name.into());
        if let Some((_, progress)) = state.cancel_at.take_if(|(call, _)| *call == name) {
            progress.cancel();
        }
        if state.full_after.take_if(|call| *call == name).is_some() {
            state.free_bytes = 1;
        }
        if state.fail_at == Some(number) {
            return Err(PortError {
                kind: ErrorKind::Retryable,
                operation: name.into(),
                source: "broken by the test".into(),
            });
        }
        Ok(())
    }
}

/// Ascending, and none touches another.
pub fn joined(mut areas: Vec<DiskRange>) -> Vec<DiskRange> {
    areas.sort();
    areas.dedup_by(|next, kept| {
        let joins = next.offset <= kept.end();
        if joins {
            kept.length = kept.length.max(next.end() - kept.offset);
        }
        joins
    });
    areas
}

/// Name of a disk of the chain without its end; 0 is the base.
fn delta_name(number: u64) -> String {
    if number == 0 { "web01".into() } else { format!("web01-{number:06}") }
}

fn cid(number: u64) -> u32 {
    0xFFFF_FFFE - u32::try_from(number).unwrap()
}

/// A delta with data over the base's, over holes, and marks that hide what a lower delta has.
fn add_delta(volume: &mut Volume, number: u64, truth: &mut [u8]) {
    let mut spec = SparseSpec { align_sectors: 8, seed: number, ..SparseSpec::new(CAPACITY, 8) };
    let data = |grain: u64| vec![u8::try_from((grain + number * 100) % 251).unwrap() | 1; 4096];
    for grain in [0, number, 700 + number, 3000, 3001, 3002 + number, 6143] {
        spec.grains.insert(grain, Grain::Data(data(grain)));
    }
    if number > 1 {
        spec.grains.insert(3000, Grain::Zero);
        spec.grains.insert(3001, Grain::Unmapped(data(3001)));
    }
    for (grain, content) in &spec.grains {
        let room = &mut truth[usize::try_from(grain * 4096).unwrap()..][..4096];
        match content {
            Grain::Data(bytes) => room.copy_from_slice(bytes),
            Grain::Zero | Grain::Unmapped(_) => room.fill(0),
        }
    }
    let (name, parent) = (delta_name(number), format!("{}.vmdk", delta_name(number - 1)));
    let line = format!("RW {} SESPARSE \"{name}-sesparse.vmdk\"", CAPACITY / 512);
    let text = descriptor("seSparse", cid(number), Some((cid(number - 1), &parent)), &[line]);
    volume.add_file(&format!("web01/{name}.vmdk"), text.as_bytes()).unwrap();
    let file = sesparse(&spec).to_vec();
    volume.add_file(&format!("web01/{name}-sesparse.vmdk"), &file).unwrap();
}

impl State {
    fn write_base(&mut self, offset: u64, bytes: &[u8]) {
        self.volume.write(FLAT, offset, bytes).unwrap();
        self.volume.flush().unwrap();
        if let Some(left) = self.kept_back.checked_sub(1) {
            self.kept_back = left;
            return;
        }
        let area = DiskRange { offset, length: bytes.len() as u64 };
        self.changes.push((self.sequence, area));
    }

    fn metadata_is_read(&mut self) {
        let Some((reads, ..)) = self.late.as_mut() else { return };
        *reads -= 1;
        if let Some((_, offset, bytes)) = self.late.take_if(|(reads, ..)| *reads == 0) {
            self.write_base(offset, &bytes);
        }
    }

    pub fn merge(&mut self) {
        for (offset, bytes) in std::mem::take(&mut self.delta) {
            self.write_base(offset, &bytes);
        }
    }

    pub fn allocated(&mut self) -> Vec<DiskRange> {
        let ranges = self.volume.allocated(FLAT).unwrap();
        let mut areas: Vec<_> = ranges
            .iter()
            .map(|range| DiskRange { offset: range.offset, length: range.length })
            .collect();
        areas.extend(self.lie);
        areas.sort();
        areas
    }
}

/// The LUN, read from its image. Every read is a call that can fail.
struct Lun {
    world: Arc<World>,
    file: Arc<File>,
}

pub struct San(pub Arc<World>);

impl Fabric for San {
    async fn lun(&self, _name: &NaaName) -> Result<Arc<dyn SourceLun>, PortError> {
        self.0.call("find the LUN")?;
        if self.0.state.lock().unwrap().lun_absent {
            let (operation, source) = ("finding the LUN".into(), "it is not presented".into());
            return Err(PortError { kind: ErrorKind::NotFound, operation, source });
        }
        let file = Arc::new(File::open(&self.0.image).unwrap());
        Ok(Arc::new(Lun { world: Arc::clone(&self.0), file }))
    }
}

impl SourceLun for Lun {
    fn capacity(&self) -> u64 {
        ReadAt::size(&*self.file)
    }

    fn read(&self, offset: u64, length: usize) -> BoxFuture<'_, Result<Vec<u8>, PortError>> {
        Box::pin(async move {
            self.world.call("read data")?;
            Ok(self.file.read_vec(offset, length).unwrap())
        })
    }

    fn verify(&self) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move { self.world.call("verify the LUN") })
    }

    fn blocking(&self) -> Arc<dyn ReadAt> {
        Arc::new(Self { world: Arc::clone(&self.world), file: Arc::clone(&self.file) })
    }
}

impl ReadAt for Lun {
    fn size(&self) -> u64 {
        ReadAt::size(&*self.file)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.world.state.lock().unwrap().metadata_is_read();
        let length = buffer.len() as u64;
        self.world.call("read metadata").map_err(|error| ReadError::Device {
            offset,
            length,
            kind: error.kind,
            source: error.into(),
        })?;
        self.file.read_at(offset, buffer)
    }
}

/// How the network path behaves.
#[derive(Clone, Copy, Default)]
pub struct Wire {
    /// It brings another byte here.
    pub wrong_at: Option<u64>,
    /// Ranges that were asked for so far.
    pub ranges: usize,
}

pub struct NetworkOf(pub Arc<World>);

impl NetworkPath for NetworkOf {
    fn open<'a>(
        &'a self,
        _vm: &'a VmView,
        snapshot: &'a str,
        _disk: &'a DiskIdentity,
    ) -> BoxFuture<'a, Result<Network, PortError>> {
        Box::pin(async move {
            self.0.call("open over the network")?;
            let state = self.0.state.lock().unwrap();
            if state.network.is_none() {
                return Ok(Network::None("the test has none".into()));
            }
            let frozen = state.snapshots.iter().find(|(handle, ..)| handle == snapshot).unwrap();
            let bytes = frozen.2.clone();
            Ok(Network::Open(Box::new(Frozen { world: Arc::clone(&self.0), bytes, end: 0 })))
        })
    }
}

/// The disk as it was when the snapshot was made; goes only forwards.
struct Frozen {
    world: Arc<World>,
    bytes: Vec<u8>,
    end: u64,
}

impl NetworkDisk for Frozen {
    fn read(&mut self, range: DiskRange) -> BoxFuture<'_, Result<Vec<u8>, PortError>> {
        Box::pin(async move {
            self.world.call("read over the network")?;
            assert!(range.offset >= self.end, "ranges come ascending, each once");
            self.end = range.end();
            let at = usize::try_from(range.offset).unwrap();
            let mut bytes = self.bytes[at..at + usize::try_from(range.length).unwrap()].to_vec();
            let mut state = self.world.state.lock().unwrap();
            let wire = state.network.as_mut().unwrap();
            wire.ranges += 1;
            if let Some(wrong) = wire.wrong_at.filter(|at| (range.offset..range.end()).contains(at))
            {
                bytes[usize::try_from(wrong - range.offset).unwrap()] ^= 1;
            }
            Ok(bytes)
        })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<(), PortError>> {
        Box::pin(async move { self.world.call("end over the network") })
    }
}

/// The journal's bytes, kept over 'restarts'. Appending is a call that can fail.
#[derive(Clone)]
pub struct Log(pub Arc<World>, pub Arc<Mutex<Vec<u8>>>);

impl JournalLog for Log {
    fn load(&self) -> Result<Vec<u8>, BoxError> {
        Ok(self.1.lock().unwrap().clone())
    }

    fn append(&self, line: &[u8]) -> Result<(), BoxError> {
        self.0.call("journal")?;
        self.1.lock().unwrap().extend(line);
        Ok(())
    }

    fn replace(&self, lines: &[u8]) -> Result<(), BoxError> {
        *self.1.lock().unwrap() = lines.to_vec();
        Ok(())
    }
}
