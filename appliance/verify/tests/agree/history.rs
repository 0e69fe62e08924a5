//! A repository with a past, made by the real store: two volumes, five VMs, incrementals, locks,
//! a hold, deletions, a compaction, a repair by the scrub, and, encrypted, two key epochs.

use crate::tool::{change, segment};
use format::BLOCK;
use format::parity::Geometry;
use model::{
    Consistency, DiskIdentity, DiskRange, Exclusion, ExclusionKind, LockMode, ReadMode,
    RecoveryPointId, RetentionTime, RunId, Transport, VmIdentity, VmUuid, WallTime,
};
use repository::{
    Clocks, CompactRules, DiskDraft, KeyEncryptionKey, Lock, Options, ParentDisk, PointDraft,
    Repository, ScrubReport,
};
use retention::Reading;
use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use warden::storage::Directory;
use warden::wire::Request;
use warden::{Config, Keeper};

const CHUNK: usize = 64 << 10;
/// Holds four chunks that do not compress, and many of those here.
const SEGMENT: u64 = 384 << 10;
const START: i64 = 1_700_000_000;
pub(crate) const KEY: [u8; 32] = [5; 32];
/// Of the first disk of the first VM: more than one map node has room for.
const LARGE: usize = 300;

/// The number of each cell's content; 0: zeros.
type Cells = Vec<u64>;

/// A point that exists, and what its disks hold.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) id: RecoveryPointId,
    disks: Vec<(Cells, u64)>,
}

impl Known {
    pub(crate) fn disks(&self) -> usize {
        self.disks.len()
    }

    /// Every byte of a disk.
    pub(crate) fn image(&self, disk: usize) -> Vec<u8> {
        let (cells, capacity) = &self.disks[disk];
        let mut bytes = vec![0; usize::try_from(*capacity).unwrap()];
        for (cell, number) in bytes.chunks_mut(CHUNK).zip(cells) {
            cell.copy_from_slice(&content(*number, cell.len()));
        }
        bytes
    }
}

pub(crate) struct History {
    pub(crate) dir: PathBuf,
    state: PathBuf,
    options: Options,
    seconds: Arc<AtomicI64>,
    pub(crate) points: Vec<Known>,
    /// A data segment that only the last VM needs, for the quarantine.
    spare: u32,
}

/// Bytes of a cell: some noise, and the rest alike.
fn content(number: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    if number > 0 {
        let noise = length.min(6000);
        let mut reader = blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof();
        reader.fill(&mut bytes[..noise]);
        bytes[noise..].fill(u8::try_from(number % 250).unwrap() + 1);
    }
    bytes
}

fn whole(cells: Cells) -> (Cells, u64) {
    let capacity = (cells.len() * CHUNK) as u64;
    (cells, capacity)
}

fn vm(number: u8) -> VmIdentity {
    VmIdentity {
        uuid: VmUuid(format!("vm-{number}")),
        name: format!("vm {number}"),
        server_uuid: "vc".into(),
    }
}

fn governance(seconds: u64) -> Lock {
    Lock { mode: LockMode::Governance, duration_seconds: seconds }
}

impl History {
    pub(crate) fn build(temp: &Path, encrypted: bool) -> Self {
        let options = Options {
            chunk_size: u32::try_from(CHUNK).unwrap(),
            segment_size: SEGMENT,
            workers: 1,
            reserve_bytes: 0,
            immutable: false,
            encryption: encrypted.then(|| KeyEncryptionKey::new(&KEY)),
            ..Options::default()
        };
        let (dir, state) = (temp.join("repository"), temp.join("state"));
        let seconds = Arc::new(AtomicI64::new(0));
        let mut history = Self { dir, state, options, seconds, points: Vec::new(), spare: 0 };
        let clocks = history.clocks();
        Repository::create_local(&history.dir, &history.options, &history.state, &clocks).unwrap();
        history.second_volume();
        history.first_vm(encrypted);
        history.vm_on_the_second_volume();
        history.deleted_vm();
        history.compacted_vm();
        history.repaired_segment();
        history.configuration();
        history.spare_vm();
        history
    }

    fn clocks(&self) -> Clocks {
        let seconds = Arc::clone(&self.seconds);
        Box::new(move || {
            let seconds = seconds.load(Ordering::Relaxed);
            Reading {
                monotonic: Duration::from_secs(seconds.unsigned_abs()),
                wall: WallTime(START + seconds),
                rtc: None,
                network: None,
            }
        })
    }

    fn pass(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    fn open(&self) -> Repository {
        let opened = Repository::open_local(&self.dir, &self.options, &self.state, self.clocks());
        opened.unwrap_or_else(|error| panic!("{}", model::chain(&error))).0
    }

    fn second_volume(&self) {
        fs::create_dir_all(self.dir.join("volumes/1")).unwrap();
        let signer = fs::read(self.state.join("signer")).unwrap().try_into().unwrap();
        let config = Config { signer, witness: None, random: Box::new(|| Ok([1; 32])) };
        let storage = Arc::new(Directory::new(self.dir.clone(), false));
        let clocks = self.clocks();
        let (mut keeper, _) = Keeper::open(storage, config, clocks()).unwrap();
        keeper.handle(Request::AddVolume { number: 1 }, clocks()).unwrap();
    }

    /// A point of all these disks, each upon the disk of the same number of `base`.
    fn backup(
        &mut self,
        repository: &Repository,
        number: u8,
        (disks, base): (Vec<(Cells, u64)>, Option<&Known>),
        lock: Lock,
    ) -> Known {
        self.pass(60);
        let draft = PointDraft {
            vm: vm(number),
            run: RunId([number; 16]),
            consistency: Consistency::Crash,
            started: WallTime(START),
            chunk_size: None,
            zstd_level: None,
        };
        let mut point = repository.begin(draft).unwrap();
        for (index, (cells, capacity)) in disks.iter().enumerate() {
            let parent = base.map(|base| ParentDisk { point: base.id, disk: index });
            let identity = DiskIdentity {
                key: 2000 + i32::try_from(index).unwrap(),
                uuid: format!("disk {index}"),
                path: format!("[ds] vm/vm_{index}.vmdk"),
                capacity: *capacity,
                change_id: None,
            };
            let draft = DiskDraft {
                identity,
                mode: ReadMode::Incremental,
                transport: Transport::San,
                parent,
                excluded: excluded(cells, *capacity),
            };
            let disk = point.disk(draft).unwrap();
            for (cell, &number) in cells.iter().enumerate() {
                if number == base.map_or(0, |base| base.disks[index].0[cell]) {
                    continue;
                }
                let left = usize::try_from(*capacity).unwrap() - cell * CHUNK;
                match number {
                    0 => disk.zero(cell as u64).unwrap(),
                    number => disk.put(cell as u64, content(number, left.min(CHUNK))).unwrap(),
                }
            }
            disk.finish().unwrap();
        }
        point.file("vm.vmx", b"config.version = \"8\"").unwrap();
        point.file("empty", b"").unwrap();
        let id = point.commit(lock, WallTime(START + 1)).unwrap().id;
        let known = Known { id, disks };
        self.points.push(known.clone());
        known
    }

    fn forget(&mut self, known: &Known) {
        self.points.retain(|point| point.id != known.id);
    }

    /// Three disks, of which one ends within a cell and one is all zeros; three points, of which
    /// the first is deleted; with encryption under two keys.
    fn first_vm(&mut self, encrypted: bool) {
        let repository = self.open();
        let odd = (vec![7, 8, 0, 901], 3 * CHUNK as u64 + 1000);
        let large: Cells = (0..LARGE).map(|n| if n % 3 == 0 { n as u64 + 1 } else { 0 }).collect();
        let disks = vec![whole(large.clone()), odd.clone(), whole(vec![0; 5])];
        let first = self.backup(&repository, 1, (disks, None), governance(0));
        if encrypted {
            repository.rotate_key().unwrap();
        }
        drop(repository);
        let repository = self.open();
        let mut next = large;
        (next[4], next[9], next[LARGE - 1]) = (2000, 0, 2001);
        let disks = vec![whole(next.clone()), odd.clone(), whole(vec![0; 5])];
        let second = self.backup(&repository, 1, (disks, Some(&first)), governance(5000));
        repository.hold(second.id, "case 7").unwrap();
        repository.hold(second.id, "case 3").unwrap();
        (next[5], next[12]) = (2002, 4);
        let disks = vec![whole(next), odd, whole(vec![0, 3, 0, 0, 0])];
        let third = self.backup(&repository, 1, (disks, Some(&second)), governance(500));
        repository.extend(third.id, RetentionTime(START + 90_000)).unwrap();
        repository.delete(&[first.id]).unwrap();
        self.forget(&first);
    }

    /// A VM whose first point somebody moved to the second volume, and which goes on there.
    fn vm_on_the_second_volume(&mut self) {
        let repository = self.open();
        let before = self.serials();
        let first: Cells = (0..20).map(|n| 3000 + n).collect();
        let known = self.backup(&repository, 2, (vec![whole(first.clone())], None), governance(0));
        drop(repository);
        for serial in self.serials().difference(&before) {
            let name = format!("segments/{serial:08x}.segment");
            fs::rename(self.dir.join(&name), self.dir.join("volumes/1").join(&name)).unwrap();
        }
        let repository = self.open();
        let mut next = first;
        (next[3], next[4]) = (0, 3100);
        let lock = Lock { mode: LockMode::Compliance, duration_seconds: 900_000 };
        let next = self.backup(&repository, 2, (vec![whole(next)], Some(&known)), lock);
        assert!(self.dir.join("volumes/1/segments").read_dir().unwrap().count() >= 4);
        repository.tighten(known.id).unwrap();
        let report = repository.verify(next.id, &mut |_| ()).unwrap();
        repository.record_verification(next.id, &report).unwrap();
    }

    fn deleted_vm(&mut self) {
        let repository = self.open();
        let cells: Cells = (0..10).map(|n| 4000 + n).collect();
        let known = self.backup(&repository, 3, (vec![whole(cells)], None), governance(0));
        assert!(repository.delete(&[known.id]).unwrap().segments >= 2);
        self.forget(&known);
    }

    /// Of two points the first goes; what the second needs of it is moved and the rest removed.
    fn compacted_vm(&mut self) {
        let repository = self.open();
        let old: Cells = (0..90).map(|n| 5000 + n).collect();
        let mut new = old.clone();
        for (cell, number) in new.iter_mut().enumerate().filter(|(cell, _)| cell % 4 != 0) {
            *number = if cell % 8 == 1 { 0 } else { *number + 1000 };
        }
        let first = self.backup(&repository, 4, (vec![whole(old)], None), governance(0));
        let second = (vec![whole(new.clone())], Some(&first));
        let second = self.backup(&repository, 4, second, governance(0));
        repository.delete(&[first.id]).unwrap();
        self.forget(&first);
        let rules = CompactRules { live_percent: 75, small: 0, budget: u64::MAX };
        let done = repository.compact(&rules).unwrap();
        assert!(done.from > 0 && done.chunks > 0, "{done:?}");
        let kept: BTreeSet<u32> = self.serials();
        assert!(repository.reclaim().unwrap().segments > 0);
        assert!(self.serials().len() < kept.len());
        new[7] = 5999;
        let third = (vec![whole(new)], Some(&second));
        self.backup(&repository, 4, third, governance(700));
    }

    fn repaired_segment(&mut self) {
        let repository = self.open();
        let serial = *self.serials().first().unwrap();
        change(&segment(&self.dir, serial), |bytes| bytes[BLOCK + 300] ^= 1);
        let report = scrub(&repository);
        assert_eq!(report.repaired.len(), 1, "{report:?}");
    }

    /// A point of files alone.
    fn configuration(&mut self) {
        let repository = self.open();
        let known = self.backup(&repository, 6, (Vec::new(), None), governance(100));
        let report = repository.verify(known.id, &mut |_| ()).unwrap();
        assert_eq!((report.damage_total(), report.chunks), (0, 0));
        assert_eq!(repository.file(known.id, "vm.vmx").unwrap(), b"config.version = \"8\"");
    }

    fn spare_vm(&mut self) {
        let repository = self.open();
        let before = self.serials();
        let cells: Cells = (0..12).map(|n| 7000 + n).collect();
        self.backup(&repository, 5, (vec![whole(cells)], None), governance(100));
        self.spare = *self.serials().difference(&before).next().unwrap();
        self.pass(60);
        repository.tick().unwrap();
    }

    /// Damages a segment beyond its parity and lets the scrub find it. Gives its serial.
    pub(crate) fn quarantine(&mut self) -> u32 {
        let repository = self.open();
        change(&segment(&self.dir, self.spare), |bytes| {
            let geometry = Geometry::of_file(bytes.len() as u64).unwrap();
            let column = geometry.zones().next().unwrap().column();
            for number in 1..4 {
                bytes[number * column + 17] ^= 0x20;
            }
        });
        let report = scrub(&repository);
        assert_eq!(report.quarantined.len(), 1, "{report:?}");
        self.spare
    }

    /// Serials of the sealed segments on volume 0.
    pub(crate) fn serials(&self) -> BTreeSet<u32> {
        let names = fs::read_dir(self.dir.join("segments")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.map(|name| u32::from_str_radix(&name[..8], 16).unwrap()).collect()
    }
}

fn scrub(repository: &Repository) -> ScrubReport {
    repository.scrub(u64::MAX, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// Cells that are zeros, as if the guest had swap there: both verifiers read on.
fn excluded(cells: &[u64], capacity: u64) -> Vec<Exclusion> {
    let zeros = (0..).zip(cells).filter(|&(_, &number)| number == 0);
    let ranges = zeros.map(|(cell, _): (u64, _)| {
        let offset = cell * CHUNK as u64;
        DiskRange { offset, length: (capacity - offset).min(CHUNK as u64) }
    });
    let (kind, what) = (ExclusionKind::Swap, "swap on partition 2".into());
    vec![Exclusion { kind, what, ranges: ranges.collect() }]
}
