//! A repository of very many segments or references, for the benchmarks; prints one JSON object.
//!
//! ```text
//! many make   REPOSITORY --segments N     a synthetic repository, full of footers
//! many open   REPOSITORY                  opens it: ledger, files, footers, index
//! many expire --references N              what goes when the rules let go of a part of the points
//! ```
//! What `make` writes cannot be restored: data, parity and tables are holes. Ledger, head, footers
//! and trailers are real, of segments as a backup of large disks leaves them (240 chunks each),
//! and 100 of them make a recovery point. A reference is one segment that one point needs.

#![allow(clippy::print_stdout, clippy::unwrap_used)]
// A measuring tool, not a part of the product.

mod machine;

use format::footer::{Entry, Footer, sealed_bytes};
use format::header::RepositoryHeader;
use format::parity::ParityWriter;
use format::record::{Encoding, Kind};
use format::segment::Class;
use format::{BLOCK, Place};
use ledger::event::{Commit, LockBounds, ManifestRef, PointText, ReachChange, Segment};
use ledger::{Batch, Event, Head, Leaf, NoteSigner, Replay, Runs, Tree, origin};
use machine::{clocks, peak_rss_mib};
use model::{
    ChunkId, Consistency, LockMode, RecoveryPointId, RetentionLock, RetentionTime, RunId,
    VmIdentity, VmUuid, WallTime,
};
use policy::calendar::Calendar;
use policy::gfs::{self, Candidate, KeepRules};
use repository::{Options, Repository};
use retention::Verdict;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;
use warden::{State, layout};

const USAGE: &str = "usage: many make REPOSITORY --segments N | many open REPOSITORY | \
                     many expire --references N";
/// Chunks of a segment of 256 MiB.
const CHUNKS: u32 = 240;
const SEGMENTS_OF_A_POINT: u32 = 100;
const DAY: i64 = 24 * 3600;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let object = match words[..] {
        ["make", place, "--segments", count] => make(Path::new(place), count.parse().expect(USAGE)),
        ["open", place] => open(Path::new(place)),
        ["expire", "--references", count] => expire(count.parse().expect(USAGE)),
        _ => panic!("{USAGE}"),
    };
    println!("{object}");
}

fn state_of(place: &Path) -> PathBuf {
    place.with_extension("warden")
}

fn options() -> Options {
    Options { reserve_bytes: 0, immutable: false, ..Options::default() }
}

fn make(place: &Path, segments: u32) -> Value {
    std::fs::create_dir_all(place).unwrap();
    Repository::create_local(place, &options(), &state_of(place), &clocks()).unwrap();
    // The first opening makes the directories.
    drop(Repository::open_local(place, &options(), &state_of(place), clocks()).unwrap());
    let header = std::fs::read(place.join(layout::HEADER)).unwrap();
    let id = RepositoryHeader::decode(&header).unwrap().0.id;
    let mut book = Book::open(place, id.0);
    let mut template = Template::new(id);
    for first in (1..=segments).step_by(SEGMENTS_OF_A_POINT as usize) {
        let last = (first + SEGMENTS_OF_A_POINT - 1).min(segments);
        let written = (first..=last).map(|serial| Event::Segment(template.write(place, serial)));
        let mut events: Vec<Event> = written.collect();
        let reach = ReachChange { add: runs(first, last), ..ReachChange::default() };
        events.push(Event::Commit(Box::new(commit(u64::from(first), "many", reach, 0))));
        book.append(events);
    }
    book.close();
    json!({ "segments": segments, "chunks": u64::from(segments) * u64::from(CHUNKS) })
}

fn open(place: &Path) -> Value {
    let begun = Instant::now();
    let (repository, found) =
        Repository::open_local(place, &options(), &state_of(place), clocks()).unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    assert!(found.damaged.is_empty() && found.orphans.is_empty(), "{:?}", found.damaged.first());
    let stats = repository.stats().unwrap();
    json!({
        "seconds": seconds,
        "segments": stats.segments,
        "points": stats.points,
        "chunks": stats.chunks,
        "index_bytes": stats.index_bytes,
    })
}

/// The ledger, written past the warden.
struct Book {
    place: PathBuf,
    repository: [u8; 16],
    tree: Tree,
    bytes: Vec<u8>,
    signer: NoteSigner,
}

impl Book {
    fn open(place: &Path, repository: [u8; 16]) -> Self {
        let head = std::fs::read(place.join(layout::HEAD)).unwrap();
        let mut replay =
            Replay::new(repository, Some(Head::peek(repository, &head).unwrap())).unwrap();
        replay.push(&std::fs::read(place.join(layout::LEAVES)).unwrap());
        while replay.next_leaf().unwrap().is_some() {}
        let secret = std::fs::read(state_of(place).join("signer")).unwrap();
        let signer = NoteSigner::new(&origin(&repository), &secret.try_into().unwrap()).unwrap();
        let (tree, place) = (replay.tree().clone(), place.to_owned());
        Self { place, repository, tree, bytes: Vec::new(), signer }
    }

    fn append(&mut self, events: Vec<Event>) {
        let mut batch = Batch::after(&self.tree);
        for event in events {
            batch.push(&self.repository, &Leaf::new(RetentionTime(0), WallTime(0), event)).unwrap();
        }
        self.bytes.extend_from_slice(batch.bytes());
        self.tree = batch.tree().clone();
    }

    fn close(self) {
        let leaves = File::options().append(true).open(self.place.join(layout::LEAVES));
        leaves.unwrap().write_all(&self.bytes).unwrap();
        let head = Head::new(self.repository, &self.tree).sign(&self.signer);
        std::fs::write(self.place.join(layout::HEAD), head).unwrap();
    }
}

/// What all segments have in common.
struct Template {
    footer: Footer,
    protection: format::parity::Protection,
    next_chunk: u64,
}

impl Template {
    fn new(repository: format::header::RepositoryId) -> Self {
        let entry = |number: u32| Entry {
            id: ChunkId([0; 32]),
            block: 1 + number,
            stored_length: 3000,
            plain_length: 1 << 20,
            number,
            kind: Kind::Chunk,
            encoding: Encoding::Zstd,
            encrypted: false,
            stored_crc: 0,
        };
        let footer = Footer {
            repository,
            serial: 1,
            class: Class::Data,
            cohort: 0,
            epoch: 0,
            data_length: u64::from(1 + CHUNKS) * BLOCK as u64,
            data_hash: [0; 32],
            plain_bytes: u64::from(CHUNKS) << 20,
            entries: (0..CHUNKS).map(entry).collect(),
        };
        let mut parity = ParityWriter::new();
        parity.write(&vec![0; usize::try_from(footer.data_length).unwrap()]);
        parity.write(&footer.clone().encode().bytes);
        Self { footer, protection: parity.finish().unwrap(), next_chunk: 0 }
    }

    fn write(&mut self, place: &Path, serial: u32) -> Segment {
        self.footer.serial = serial;
        for entry in &mut self.footer.entries {
            entry.id = ChunkId(*blake3::hash(&self.next_chunk.to_le_bytes()).as_bytes());
            self.next_chunk += 1;
        }
        let encoded = self.footer.encode();
        let trailer = self.footer.trailer(&encoded, &self.protection);
        let file = File::create(place.join(layout::sealed(0, serial))).unwrap();
        let [beside, last] = trailer.geometry.trailers();
        file.write_all_at(&encoded.bytes, self.footer.data_length).unwrap();
        file.write_all_at(&trailer.encode(), beside).unwrap();
        file.write_all_at(&trailer.encode(), last).unwrap();
        let bytes = sealed_bytes(self.footer.data_length, CHUNKS as usize).unwrap();
        segment(serial, bytes, &encoded.seal)
    }
}

fn segment(serial: u32, bytes: u64, seal: &[u8; 32]) -> Segment {
    Segment {
        serial,
        volume: 0,
        class: "data".into(),
        cohort: 0,
        bytes,
        seal: blake3::Hash::from_bytes(*seal).to_hex().to_string(),
        epoch: 0,
    }
}

fn runs(first: u32, last: u32) -> Runs {
    let mut runs = Runs::new();
    runs.push(first, last);
    runs
}

fn point_id(number: u64) -> RecoveryPointId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    RecoveryPointId(id)
}

fn commit(number: u64, vm: &str, reach: ReachChange, until: i64) -> Commit {
    Commit {
        point: point_id(number),
        run: RunId(point_id(number).0),
        vm: VmIdentity { uuid: VmUuid(vm.into()), name: vm.into(), server_uuid: "bench".into() },
        started: WallTime(0),
        finished: WallTime(0),
        consistency: Consistency::Crash,
        disks: 1,
        capacity: 100 << 30,
        data_bytes: 25 << 30,
        new_bytes: 25 << 30,
        chunk_size: 1 << 20,
        manifest: ManifestRef {
            id: blake3::hash(&number.to_le_bytes()).to_hex().to_string(),
            place: Place::new(1, 1, 1).unwrap().to_bits(),
        },
        reach,
        lock: RetentionLock { mode: LockMode::Compliance, until: RetentionTime(until) },
    }
}

const VMS: u32 = 50;
/// Daily points of each VM.
const POINTS: u32 = 200;

/// 50 VMs with 200 daily points. Each point replaces ten segments of its parent's, here and there,
/// and the serials of the VMs lie among one another: hardly two that one point needs are
/// neighbours. What is timed is all that an expiry decides: the wishes of the rules, the locks, and
/// the segments that nobody needs any more; then the deletion's leaf.
fn expire(references: u64) -> Value {
    let each = u32::try_from(references / u64::from(VMS * POINTS)).unwrap();
    let mut state = State::new();
    fill(&mut state, each);
    let references: u64 = state.points().map(|(_, point)| point.reach.count()).sum();
    let begun = Instant::now();
    let now = RetentionTime(i64::from(POINTS) * DAY);
    let going = let_go(&state, now);
    let freed = state.unreached_after(&going, &Runs::new());
    let decided = begun.elapsed().as_secs_f64();
    let points = going.iter().copied().map(PointText).collect();
    let delete = Event::Delete { points, segments: freed.segments.clone(), keys: Vec::new() };
    apply(&mut state, now, delete);
    json!({
        "seconds": decided,
        "with_deletion_seconds": begun.elapsed().as_secs_f64(),
        "references": references,
        "points_going": going.len(),
        "segments_going": freed.segments.count(),
        "peak_rss_mib": peak_rss_mib(),
    })
}

/// Points that 14 daily, 8 weekly and 6 monthly ones do not want, and whose locks have ended.
fn let_go(state: &State, now: RetentionTime) -> Vec<RecoveryPointId> {
    let rules = KeepRules { daily: 14, weekly: 8, monthly: 6, ..KeepRules::default() };
    let mut by_vm = std::collections::BTreeMap::<&str, Vec<Candidate>>::new();
    for (id, point) in state.points() {
        let candidate = Candidate { id, at: point.committed, sound: true };
        by_vm.entry(&point.commit.vm.uuid.0).or_default().push(candidate);
    }
    let unlocked =
        |id: &RecoveryPointId| state.retention().may_delete(*id, now) == Some(Verdict::Expire);
    let wishes = by_vm.values().flat_map(|of| gfs::wishes(&rules, of, now, Calendar::default()));
    let unwanted = wishes.filter(|wish| wish.verdict == gfs::Verdict::Expire);
    unwanted.map(|wish| wish.id).filter(unlocked).collect()
}

fn fill(state: &mut State, each: u32) {
    let bounds = LockBounds { min_seconds: 0, max_seconds: u64::MAX };
    let repository = "00".repeat(16);
    let signer = NoteSigner::new(&origin(&[0; 16]), &[1; 32]).unwrap().vkey().to_string();
    let created = Event::Created { repository, chunk_size: 1 << 20, bounds, signer };
    apply(state, RetentionTime(0), created);
    let mut next = 1;
    let mut reached: Vec<Vec<u32>> = vec![Vec::new(); VMS as usize];
    for day in 0..POINTS {
        let count = if day == 0 { each } else { 10 };
        let mut added: Vec<Vec<u32>> = vec![Vec::new(); VMS as usize];
        for _ in 0..count {
            for of in &mut added {
                let at = RetentionTime(i64::from(day) * DAY);
                apply(state, at, Event::Segment(segment(next, 256 << 20, &[7; 32])));
                of.push(next);
                next += 1;
            }
        }
        for (vm, (reach, add)) in reached.iter_mut().zip(added).enumerate() {
            back_up(state, (u32::try_from(vm).unwrap(), day), reach, &add);
        }
    }
}

/// The point of a day: `add` comes in, and as many go, spread over the whole reach.
fn back_up(state: &mut State, (vm, day): (u32, u32), reach: &mut Vec<u32>, add: &[u32]) {
    let mut dropped = Vec::new();
    if day > 0 {
        let step = reach.len() / add.len();
        for turn in (0..add.len()).rev() {
            dropped.push(reach.remove(turn * step + day as usize % step));
        }
    }
    reach.extend(add);
    dropped.sort_unstable();
    let number = |day: u32| u64::from(day * VMS + vm + 1);
    let change = ReachChange {
        base: (day > 0).then(|| point_id(number(day.saturating_sub(1)))),
        add: add.iter().copied().collect(),
        drop: dropped.into_iter().collect(),
    };
    let at = i64::from(day) * DAY;
    let commit = commit(number(day), &format!("vm-{vm}"), change, at + 14 * DAY);
    apply(state, RetentionTime(at), Event::Commit(Box::new(commit)));
}

fn apply(state: &mut State, at: RetentionTime, event: Event) {
    state.apply(state.size(), &Leaf::new(at, WallTime(at.0), event)).unwrap();
}
