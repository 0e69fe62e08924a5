//! One VM of the month: what its guest sees, and the files that lie on its datastore for it.

use crate::Dice;
use crate::world::{MemoryStore, joined};
use fakes::vmdk::{Grain, SparseSpec, descriptor, sesparse};
use fakes::vmfs::{Provisioning, VolumeSpec};
use model::{ChangeId, DiskRange, NaaName};
use std::fs::File;
use std::path::{Path, PathBuf};

const LUN: u64 = 640 << 20;
const GRAIN: usize = 4096;
pub const MIB: u64 = 1 << 20;

/// A snapshot of the appliance's: what the chain held when it was made stays as it was.
#[derive(Clone)]
pub struct Frozen {
    pub handle: String,
    pub name: String,
    pub content: Vec<u8>,
    /// Snapshots of others that were there before it.
    pub under: usize,
    pub epoch: u32,
    pub sequence: u64,
}

/// A VM.
pub struct Machine {
    pub number: usize,
    pub truth: Vec<u8>,
    /// What each snapshot of others froze, the oldest first.
    pub others: Vec<Vec<u8>>,
    pub ours: Vec<Frozen>,
    /// What the guest saw when the last snapshot of ours was made.
    pub moment: Vec<u8>,
    pub epoch: u32,
    pub sequence: u64,
    /// Writes: in which sequence, and where.
    pub changes: Vec<(u64, DiskRange)>,
    pub tracking: bool,
    pub blocked: Vec<String>,
    pub consolidation_needed: bool,
    pub rests: bool,
    /// Which of its two datastores it lies on, and how often it has moved.
    pub home: usize,
    moves: usize,
    pub uuids: [String; 2],
    pub allocated: Vec<DiskRange>,
    pub store: MemoryStore,
    directory: PathBuf,
}

impl Machine {
    pub fn new(number: usize, directory: &Path) -> Self {
        let mut truth = vec![0; 3 << 20];
        for (index, byte) in truth[..1 << 20].iter_mut().enumerate() {
            *byte = u8::try_from((index * (number + 3)) % 251).unwrap();
        }
        let mut machine = Self {
            number,
            truth,
            others: Vec::new(),
            ours: Vec::new(),
            moment: Vec::new(),
            epoch: 1,
            sequence: 0,
            changes: Vec::new(),
            tracking: false,
            blocked: Vec::new(),
            consolidation_needed: false,
            rests: true,
            home: 0,
            moves: 0,
            uuids: [String::new(), String::new()],
            allocated: Vec::new(),
            store: MemoryStore::default(),
            directory: directory.to_owned(),
        };
        for home in 0..2 {
            let volume = machine.spec(home).create(&machine.image(home)).unwrap();
            machine.uuids[home] = volume.facts().unwrap().vmfs_uuid;
        }
        machine.lay_down();
        machine
    }

    pub fn capacity(&self) -> u64 {
        self.truth.len() as u64
    }

    pub fn datastore(&self, home: usize) -> String {
        format!("san{}{home}", self.number)
    }

    pub fn naa(&self, home: usize) -> NaaName {
        format!("naa.624a9370cdef0123456789abcdef{:03}{home}", self.number).parse().unwrap()
    }

    pub fn image(&self, home: usize) -> PathBuf {
        self.directory.join(format!("{}.img", self.datastore(home)))
    }

    fn spec(&self, home: usize) -> VolumeSpec {
        let uuid_seed = (self.number * 2 + home) as u64;
        let label = self.datastore(home);
        VolumeSpec { naa: self.naa(home), uuid_seed, ..VolumeSpec::new(LUN, &label) }
    }

    pub fn folder(&self) -> String {
        format!("[{}] vm{}", self.datastore(self.home), self.place())
    }

    /// A folder that the VM never had before: each move leads to a new one.
    fn place(&self) -> String {
        format!("{}_{}", self.number, self.moves)
    }

    /// The disk above so many snapshots, as the hypervisor names it.
    pub fn disk_path(&self, deltas: usize) -> String {
        format!("{}/{}.vmdk", self.folder(), delta_name(deltas))
    }

    /// The guest writes.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        let at = usize::try_from(offset).unwrap();
        self.truth[at..at + bytes.len()].copy_from_slice(bytes);
        let area = DiskRange { offset, length: bytes.len() as u64 };
        self.changes.push((self.sequence, area));
    }

    /// The guest writes something somewhere: data, or zeros over data.
    pub fn write_somewhere(&mut self, dice: &mut Dice) {
        let length = 1 + dice.below(90_000);
        let offset = dice.below(self.capacity() - length);
        let byte = if dice.below(4) == 0 { 0 } else { 1 + dice.below(255) };
        self.write(offset, &vec![u8::try_from(byte).unwrap(); usize::try_from(length).unwrap()]);
    }

    /// The disk grows; hypervisors refuse that while there are snapshots.
    pub fn grow(&mut self, bytes: u64) {
        if self.others.is_empty() && self.ours.is_empty() {
            self.truth.resize(self.truth.len() + usize::try_from(bytes).unwrap(), 0);
        }
    }

    /// Change tracking begins anew, as after a loss of power.
    pub fn reset_tracking(&mut self) {
        self.epoch += 1;
        self.changes.clear();
    }

    /// The VM's files move to its other datastore.
    pub fn migrate(&mut self) {
        (self.home, self.moves) = (1 - self.home, self.moves + 1);
    }

    pub fn freeze(&mut self, name: &str) -> String {
        self.sequence += 1;
        let handle = format!("snapshot-{}-{}", self.number, self.sequence);
        self.moment.clone_from(&self.truth);
        self.ours.push(Frozen {
            handle: handle.clone(),
            name: name.to_owned(),
            content: self.truth.clone(),
            under: self.others.len(),
            epoch: self.epoch,
            sequence: self.sequence,
        });
        self.lay_down();
        handle
    }

    pub fn frozen(&self, handle: &str) -> &Frozen {
        self.ours.iter().find(|frozen| frozen.handle == handle).unwrap()
    }

    /// What was written before a snapshot and since a change id; `None`: tracking began anew.
    pub fn changed(&self, frozen: &Frozen, since: &ChangeId) -> Option<Vec<DiskRange>> {
        let (epoch, sequence) = since.0.rsplit_once('/').unwrap();
        if epoch != format!("52 {:02x}", frozen.epoch) {
            return None;
        }
        let since: u64 = sequence.parse().unwrap();
        let within = |(when, _): &&(u64, DiskRange)| (since..frozen.sequence).contains(when);
        Some(joined(self.changes.iter().filter(within).map(|(_, area)| *area).collect()))
    }

    /// Writes the files as they are now to a fresh volume: the base of the chain, a delta for
    /// each snapshot of others. While there is a snapshot of ours its chain stays as it was.
    pub fn lay_down(&mut self) {
        let (top, under) = match self.ours.first() {
            Some(frozen) => (frozen.content.clone(), frozen.under),
            None => (self.truth.clone(), self.others.len()),
        };
        let layers: Vec<Vec<u8>> = self.others[..under].iter().cloned().chain([top]).collect();
        let raw = self.directory.join(format!("raw{}", self.number));
        write_sparse(&raw, &layers[0]);
        // Not the same file again, emptied: ext4 would write it to the disk each time.
        let image = self.image(self.home);
        std::fs::remove_file(&image).unwrap();
        let mut volume = self.spec(self.home).create(&image).unwrap();
        let folder = format!("vm{}", self.place());
        volume.add_dir(&folder).unwrap();
        let line = format!("RW {} VMFS \"disk-flat.vmdk\"", layers[0].len() / 512);
        let text = descriptor("vmfs", cid(0), None, &[line]);
        volume.add_file(&format!("{folder}/disk.vmdk"), text.as_bytes()).unwrap();
        volume.add_file(&format!("{folder}/vm.vmx"), b"nvram = \"vm.nvram\"\n").unwrap();
        volume.add_file(&format!("{folder}/vm.nvram"), &[7; 900]).unwrap();
        let flat = format!("{folder}/disk-flat.vmdk");
        volume.add_disk_from_raw(&flat, &raw, Provisioning::Thin).unwrap();
        let ranges = volume.allocated(&flat).unwrap();
        let range = |offset, length| DiskRange { offset, length };
        let mut areas: Vec<_> = ranges.iter().map(|at| range(at.offset, at.length)).collect();
        for number in 1..layers.len() {
            let delta = Delta { folder: &folder, number, capacity: layers[0].len() };
            let grains = delta.add(&mut volume, &layers[number - 1], &layers[number]);
            areas.extend(grains.into_iter().map(|grain| range(grain, GRAIN as u64)));
        }
        volume.flush().unwrap();
        self.allocated = joined(areas);
    }
}

/// A delta of a chain.
struct Delta<'a> {
    folder: &'a str,
    number: usize,
    capacity: usize,
}

impl Delta<'_> {
    /// Adds one with what differs between two states; the offsets of its grains.
    fn add(&self, volume: &mut fakes::vmfs::Volume, from: &[u8], to: &[u8]) -> Vec<u64> {
        let (number, capacity) = (self.number, self.capacity as u64);
        let spec = SparseSpec::new(capacity, 8);
        let mut spec = SparseSpec { align_sectors: 8, seed: number as u64, ..spec };
        let pairs = from.chunks(GRAIN).zip(to.chunks(GRAIN)).enumerate();
        for (grain, (_, new)) in pairs.filter(|(_, (old, new))| old != new) {
            spec.grains.insert(grain as u64, Grain::Data(new.to_vec()));
        }
        let (name, parent) = (delta_name(number), format!("{}.vmdk", delta_name(number - 1)));
        let line = format!("RW {} SESPARSE \"{name}-sesparse.vmdk\"", capacity / 512);
        let text = descriptor("seSparse", cid(number), Some((cid(number - 1), &parent)), &[line]);
        volume.add_file(&format!("{}/{name}.vmdk", self.folder), text.as_bytes()).unwrap();
        let file = sesparse(&spec).to_vec();
        volume.add_file(&format!("{}/{name}-sesparse.vmdk", self.folder), &file).unwrap();
        spec.grains.keys().map(|grain| grain * GRAIN as u64).collect()
    }
}

/// Name of a disk of the chain without its end; 0 is the base.
fn delta_name(number: usize) -> String {
    if number == 0 { "disk".into() } else { format!("disk-{number:06}") }
}

fn cid(number: usize) -> u32 {
    0xFFFF_FFFE - u32::try_from(number).unwrap()
}

/// A raw image in which blocks of zeros are holes.
fn write_sparse(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::FileExt as _;
    let file = File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    let block = usize::try_from(MIB).unwrap();
    for (number, piece) in bytes.chunks(block).enumerate() {
        if piece.iter().any(|&byte| byte != 0) {
            file.write_all_at(piece, (number * block) as u64).unwrap();
        }
    }
}
