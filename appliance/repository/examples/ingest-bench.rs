//! Writes one disk image into a new repository and measures it.
//!
//! `ingest-bench IMAGE REPOSITORY_DIR LEVEL WORKERS` prints one JSON object. The directory must
//! not exist; the image is read through the page cache, cell by cell, as the SAN reader gives it.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // a measuring tool, not a part of the product

use model::{
    Consistency, DiskIdentity, LockMode, ReadMode, RunId, Transport, VmIdentity, VmUuid, WallTime,
};
use repository::{DiskDraft, Lock, Now, Options, PointDraft, Repository};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, image, dir, level, workers] = &arguments[..] else {
        panic!("usage: ingest-bench IMAGE REPOSITORY_DIR LEVEL WORKERS");
    };
    let options = Options {
        zstd_level: level.parse().unwrap(),
        workers: workers.parse().unwrap(),
        reserve_bytes: 0,
        immutable: false,
        ..Options::default()
    };
    let image = File::open(image).unwrap();
    let size = image.metadata().unwrap().len();
    Repository::create(Path::new(dir), &options, WallTime(0)).unwrap();
    let (repository, _) = Repository::open(Path::new(dir), &options, now(0)).unwrap();

    let begun = Instant::now();
    let (stored, commit) = ingest(&repository, &image, size, u64::from(options.chunk_size));
    let ingest = begun.elapsed();
    let cpu = cpu_seconds();
    let point = repository.points().remove(0).id;
    let begun = Instant::now();
    assert!(repository.verify(point, &mut |_| ()).unwrap().is_whole());
    let verify = begun.elapsed();
    let object = serde_json::json!({
        "ingest_mib_s": mib(size) / ingest.as_secs_f64(),
        "verify_mib_s": mib(size) / verify.as_secs_f64(),
        "commit_seconds": commit,
        "ingest_cpu_seconds": cpu,
        "seconds": ingest.as_secs_f64(),
        "bytes_in": size,
        "stored_bytes": stored,
        "index_bytes": repository.stats().unwrap().index_bytes,
        "peak_rss_mib": peak_rss_mib(),
    });
    println!("{object}");
}

fn now(seconds: u64) -> Now {
    Now { monotonic: Duration::from_secs(seconds), wall: WallTime(0) }
}

#[allow(clippy::cast_precision_loss)]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn ingest(repository: &Repository, image: &File, size: u64, chunk: u64) -> (u64, f64) {
    let identity = DiskIdentity {
        key: 2000,
        uuid: "bench".into(),
        path: "bench".into(),
        capacity: size,
        change_id: None,
    };
    let vm = VmIdentity {
        uuid: VmUuid("bench".into()),
        name: "bench".into(),
        server_uuid: "bench".into(),
    };
    let draft = PointDraft {
        vm,
        run: RunId([0; 16]),
        consistency: Consistency::Crash,
        started: WallTime(0),
    };
    let mut point = repository.begin(draft).unwrap();
    let mode = ReadMode::Full { reason: "benchmark".into() };
    let disk = DiskDraft { identity, mode, transport: Transport::San, parent: None };
    let disk = point.disk(disk).unwrap();
    for cell in 0..size.div_ceil(chunk) {
        let length = chunk.min(size - cell * chunk);
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        image.read_exact_at(&mut bytes, cell * chunk).unwrap();
        disk.put(cell, bytes).unwrap();
    }
    disk.finish().unwrap();
    let lock = Lock { mode: LockMode::Governance, duration_seconds: 0 };
    let begun = Instant::now();
    let stored = point.commit(lock, now(1)).unwrap().new_bytes;
    (stored, begun.elapsed().as_secs_f64())
}

/// User and system time of this process so far (`/proc/self/stat`, in hundredths); 0 where the
/// system does not say. On a busy machine it tells more than the elapsed time.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or("").split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// `VmHWM` of this process; 0 where the system does not say.
fn peak_rss_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0)
        / 1024
}
