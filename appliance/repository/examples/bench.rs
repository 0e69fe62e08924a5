//! One operation of the repository on a disk image, for the benchmarks; prints one JSON object.
//!
//! ```text
//! bench full    REPOSITORY IMAGE [--level N] [--workers N]   create, first backup of the image
//! bench incr    REPOSITORY IMAGE --cells FILE [...]          only these cells, on the newest point
//! bench restore REPOSITORY [--point N]                       a point's disk to standard output
//! bench verify  REPOSITORY [--point N]                       read and check all that it reaches
//! ```
//! `FILE` has one cell number per line, as changed block tracking would name them. Points count
//! from 0, the oldest; without `--point` it is the newest. Images are read through the page cache,
//! cell by cell, as the SAN reader gives them. A restore reads with as many threads as there are
//! workers and writes in order; its JSON goes to standard error.
//!
//! All calls of the repository are in [`store`].

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]
// A measuring tool, not a part of the product.

mod machine;

use machine::peak_rss_mib;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

const USAGE: &str = "usage: bench full|incr|restore|verify REPOSITORY [IMAGE] [--level N] \
                     [--workers N] [--cells FILE] [--point N]";

/// The command line.
struct Arguments {
    command: String,
    places: Vec<PathBuf>,
    named: HashMap<String, String>,
}

impl Arguments {
    fn read() -> Self {
        let mut words = std::env::args().skip(1);
        let command = words.next().expect(USAGE);
        let (mut places, mut named) = (Vec::new(), HashMap::new());
        while let Some(word) = words.next() {
            match word.strip_prefix("--") {
                Some(name) => {
                    assert!(["level", "workers", "cells", "point"].contains(&name), "{USAGE}");
                    named.insert(name.to_owned(), words.next().expect(USAGE));
                }
                None => places.push(word.into()),
            }
        }
        Self { command, places, named }
    }

    fn place(&self, number: usize) -> &Path {
        self.places.get(number).expect(USAGE)
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.named.get(name).map(|text| text.parse().expect(USAGE))
    }

    fn cells(&self) -> Vec<u64> {
        let list = std::fs::read_to_string(self.named.get("cells").expect(USAGE)).unwrap();
        list.lines().map(|line| line.parse().unwrap()).collect()
    }
}

fn main() {
    let arguments = Arguments::read();
    let begun = Instant::now();
    let mut object = match arguments.command.as_str() {
        "full" => store::full(&arguments, &File::open(arguments.place(1)).unwrap()),
        "incr" => store::incremental(&arguments, &File::open(arguments.place(1)).unwrap()),
        "restore" => store::restore(&arguments),
        "verify" => store::verify(&arguments),
        _ => panic!("{USAGE}"),
    };
    object["seconds"] = begun.elapsed().as_secs_f64().into();
    object["cpu_seconds"] = cpu_seconds().into();
    object["peak_rss_mib"] = peak_rss_mib().into();
    if arguments.command == "restore" { eprintln!("{object}") } else { println!("{object}") }
}

/// User and system time of this process so far (`/proc/self/stat`, in hundredths); 0 where the
/// system does not say. On a busy machine it tells more than the elapsed time.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or("").split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Everything that knows the repository's API.
mod store {
    use super::Arguments;
    use super::machine::clocks;
    use model::{
        Consistency, DiskIdentity, LockMode, ReadMode, RunId, Transport, VmIdentity, VmUuid,
        WallTime,
    };
    use repository::{
        Cell, DiskDraft, DiskReader, Lock, Options, ParentDisk, PointDraft, Repository,
    };
    use serde_json::{Value, json};
    use std::fs::File;
    use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
    use std::path::{Path, PathBuf};
    use std::sync::mpsc::sync_channel;
    use std::time::Instant;

    /// Cells that each reading thread may be ahead of the writer.
    const AHEAD: usize = 2;

    pub(crate) fn full(arguments: &Arguments, image: &File) -> Value {
        let options = options(arguments);
        let (dir, state) = places(arguments);
        Repository::create_local(dir, &options, &state, &clocks()).unwrap();
        let repository = open(arguments);
        let cells = image.metadata().unwrap().len().div_ceil(u64::from(options.chunk_size));
        let mode = ReadMode::Full { reason: "benchmark".into() };
        ingest(&repository, image, 0..cells, mode, None)
    }

    pub(crate) fn incremental(arguments: &Arguments, image: &File) -> Value {
        let repository = open(arguments);
        let parent = repository.points().pop().unwrap().id;
        let parent = ParentDisk { point: parent, disk: 0 };
        ingest(&repository, image, arguments.cells(), ReadMode::Incremental, Some(parent))
    }

    pub(crate) fn verify(arguments: &Arguments) -> Value {
        let repository = open(arguments);
        let report = repository.verify(point(&repository, arguments), &mut |_| ()).unwrap();
        assert!(report.is_whole(), "{:?}", report.damage);
        json!({ "chunks": report.chunks, "bytes": report.bytes })
    }

    pub(crate) fn restore(arguments: &Arguments) -> Value {
        let repository = open(arguments);
        let disk = repository.open_disk(point(&repository, arguments), 0).unwrap();
        json!({ "bytes": write_out(&disk, options(arguments).workers) })
    }

    /// Thread `n` reads the cells `n`, `n + threads`, ...; they are written in turn.
    fn write_out(disk: &DiskReader, threads: usize) -> u64 {
        let (grid, mut out) = (disk.grid(), std::io::stdout().lock());
        let mut zeros = Vec::new();
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0_u64..)
                .take(threads)
                .map(|first| {
                    let (sender, receiver) = sync_channel(AHEAD);
                    scope.spawn(move || {
                        for cell in (first..grid.cells()).step_by(threads) {
                            sender.send(disk.cell(cell).unwrap()).unwrap();
                        }
                    });
                    receiver
                })
                .collect();
            (0..grid.cells()).zip(readers.iter().cycle()).fold(0, |bytes, (cell, reader)| {
                let length = grid.range(cell).unwrap().length;
                match reader.recv().unwrap() {
                    Cell::Data(data) => out.write_all(&data).unwrap(),
                    Cell::Zero => {
                        zeros.resize(usize::try_from(length).unwrap(), 0);
                        out.write_all(&zeros).unwrap();
                    }
                }
                bytes + length
            })
        })
    }

    fn options(arguments: &Arguments) -> Options {
        let mut options = Options { reserve_bytes: 0, immutable: false, ..Options::default() };
        if let Some(level) = arguments.number("level") {
            options.zstd_level = i32::try_from(level).unwrap();
        }
        if let Some(workers) = arguments.number("workers") {
            options.workers = workers;
        }
        options
    }

    fn open(arguments: &Arguments) -> Repository {
        let (dir, state) = places(arguments);
        Repository::open_local(dir, &options(arguments), &state, clocks()).unwrap().0
    }

    fn point(repository: &Repository, arguments: &Arguments) -> model::RecoveryPointId {
        let points = repository.points();
        points[arguments.number("point").unwrap_or(points.len() - 1)].id
    }

    /// The repository, and beside it what its warden keeps.
    fn places(arguments: &Arguments) -> (&Path, PathBuf) {
        let dir = arguments.place(0);
        (dir, dir.with_extension("warden"))
    }

    fn ingest(
        repository: &Repository,
        image: &File,
        cells: impl IntoIterator<Item = u64>,
        mode: ReadMode,
        parent: Option<ParentDisk>,
    ) -> Value {
        let size = image.metadata().unwrap().len();
        let chunk = u64::from(repository.stats().unwrap().chunk_size);
        let mut point = repository.begin(draft()).unwrap();
        let identity = identity(size);
        let (transport, excluded) = (Transport::San, Vec::new());
        let disk = DiskDraft { identity, mode, transport, parent, excluded };
        let disk = point.disk(disk).unwrap();
        for cell in cells {
            disk.put(cell, read(image, cell * chunk, chunk.min(size - cell * chunk))).unwrap();
        }
        let about = disk.finish().unwrap();
        let lock = Lock { mode: LockMode::Governance, duration_seconds: 0 };
        let begun = Instant::now();
        let stored = point.commit(lock, WallTime(0)).unwrap().new_bytes;
        let stats = repository.stats().unwrap();
        json!({
            "commit_seconds": begun.elapsed().as_secs_f64(),
            "cells": about.cells,
            "zero_cells": about.zero,
            "new_chunks": about.new_chunks,
            "bytes_in": about.bytes_in,
            "stored_bytes": stored,
            "index_chunks": stats.chunks,
            "index_bytes": stats.index_bytes,
        })
    }

    /// Into memory that was not cleared first: a product reads so, and so does the peer.
    fn read(mut image: &File, offset: u64, length: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap());
        image.seek(SeekFrom::Start(offset)).unwrap();
        image.take(length).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, length, "the image is shorter than its cells");
        bytes
    }

    fn draft() -> PointDraft {
        PointDraft {
            vm: VmIdentity {
                uuid: VmUuid("bench".into()),
                name: "bench".into(),
                server_uuid: "bench".into(),
            },
            run: RunId([0; 16]),
            consistency: Consistency::Crash,
            started: WallTime(0),
            chunk_size: None,
            zstd_level: None,
        }
    }

    fn identity(capacity: u64) -> DiskIdentity {
        DiskIdentity {
            key: 2000,
            uuid: "bench".into(),
            path: "bench".into(),
            capacity,
            change_id: None,
        }
    }
}
