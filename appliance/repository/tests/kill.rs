//! A real process over a real directory is killed at random moments. What it had acknowledged is
//! there afterwards, byte for byte, and nothing needs a hand.
//!
//! The process is this test binary itself, told by its environment to do the work. It says on its
//! standard output what it is about to do and what has been done; the parent believes only that.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a test

use model::{
    Consistency, DiskIdentity, ErrorKind, LockMode, ReadMode, RecoveryPointId, RunId, Transport,
    VmIdentity, VmUuid, WallTime,
};
use repository::{
    Cell, Clocks, CompactRules, DeleteError, DiskDraft, Kept, Lock, Options, ParentDisk,
    PointDraft, Repository, StoreError,
};
use retention::Reading;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const DIRECTORY: &str = "HOLDFAST_KILL_DIRECTORY";
const SEED: &str = "HOLDFAST_KILL_SEED";
const CHUNK: usize = 64 << 10;
const CELLS: usize = 24;
const ROUNDS: u64 = 30;

/// The numbers of a disk's cells; 0: zeros.
type Image = Vec<u64>;

fn options() -> Options {
    Options {
        chunk_size: u32::try_from(CHUNK).unwrap(),
        segment_size: 512 << 10,
        workers: 2,
        reserve_bytes: 4 << 20,
        immutable: false,
        ..Options::default()
    }
}

/// Seconds of the clocks in a second: locks have to end within lives of a moment.
const HASTE: u32 = 30;

/// Both clocks from one source: where the machine's own disagree nothing would be released.
fn clocks() -> Clocks {
    Box::new(move || {
        let monotonic = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() * HASTE;
        Reading {
            monotonic,
            wall: WallTime(i64::try_from(monotonic.as_secs()).unwrap()),
            rtc: None,
            network: None,
        }
    })
}

fn open(place: &Path) -> Result<Repository, StoreError> {
    let (repository, recovery) = Repository::open_local(
        &place.join("repository"),
        &options(),
        &place.join("state"),
        clocks(),
    )?;
    assert!(recovery.damaged.is_empty(), "{recovery:?}");
    Ok(repository)
}

fn content(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; CHUNK];
    if number > 0 {
        let mut reader = blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof();
        reader.fill(&mut bytes[..CHUNK / 2]);
    }
    bytes
}

fn restores(repository: &Repository, id: RecoveryPointId, image: &Image) -> bool {
    let disk = repository.open_disk(id, 0).unwrap();
    let mut cells = disk.cells();
    image.iter().all(|number| match cells.next().unwrap().unwrap().1 {
        Cell::Zero => *number == 0,
        Cell::Data(bytes) => bytes == content(*number),
    })
}

fn to_text(image: &Image) -> String {
    image.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

fn from_text(text: &str) -> Image {
    text.split(',').map(|number| number.parse().unwrap()).collect()
}

fn image_of(repository: &Repository, id: RecoveryPointId) -> Image {
    from_text(&String::from_utf8(repository.file(id, "image").unwrap()).unwrap())
}

// ---- the child ----

#[test]
fn child() {
    let Some(place) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let mut random = fakes::disk::Random(std::env::var(SEED).unwrap().parse().unwrap());
    let repository = open(&place).unwrap();
    say("ready");
    let end = Instant::now() + Duration::from_secs(60); // should the parent be gone
    while Instant::now() < end {
        match random.below(10) {
            0..=5 => back_up(&repository, &mut random),
            6 | 7 => delete_some(&repository, &mut random),
            8 => {
                let rules = CompactRules { live_percent: 80, small: 0, budget: 8 << 20 };
                full_is_fine(repository.compact(&rules).map(drop));
                full_is_fine(repository.reclaim().map(drop));
            }
            _ => {
                let report = repository.scrub(2 << 20, &mut |_| ControlFlow::Continue(()));
                full_is_fine(report.map(|report| assert_eq!(report.damaged, 0)));
                full_is_fine(repository.tick().map(drop));
            }
        }
    }
}

/// A line that the parent has got, or nobody is there any more.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "\n> {line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

fn full_is_fine(outcome: Result<(), StoreError>) {
    if let Err(error) = outcome {
        assert_eq!(error.kind(), ErrorKind::Full, "{}", model::chain(&error));
        say("full");
    }
}

fn back_up(repository: &Repository, random: &mut fakes::disk::Random) {
    let vm = u8::try_from(random.below(3)).unwrap();
    let identity = VmIdentity {
        uuid: VmUuid(format!("vm-{vm}")),
        name: format!("vm {vm}"),
        server_uuid: "vcenter".into(),
    };
    let parent = repository.latest_of(&identity).filter(|_| random.below(4) > 0);
    let old = parent.as_ref().map(|parent| image_of(repository, parent.id));
    let mut image = old.clone().unwrap_or_else(|| vec![0; CELLS]);
    for _ in 0..=random.below(CELLS) {
        image[random.below(CELLS)] = random.next() % 500;
    }
    let parent = parent.map(|parent| ParentDisk { point: parent.id, disk: 0 });
    let locked = random.below(30) == 0;
    full_is_fine(write(repository, identity, (&image, old.as_ref(), parent), locked));
}

fn write(
    repository: &Repository,
    vm: VmIdentity,
    (image, old, parent): (&Image, Option<&Image>, Option<ParentDisk>),
    locked: bool,
) -> Result<(), StoreError> {
    let mut point = repository.begin(PointDraft {
        vm,
        run: RunId([1; 16]),
        consistency: Consistency::Crash,
        started: WallTime(0),
        chunk_size: None,
        zstd_level: None,
    })?;
    let disk = point.disk(DiskDraft {
        identity: DiskIdentity {
            key: 2000,
            uuid: "disk".into(),
            path: "[ds] vm/vm.vmdk".into(),
            capacity: (CELLS * CHUNK) as u64,
            change_id: None,
        },
        mode: ReadMode::Incremental,
        transport: Transport::San,
        parent,
        excluded: Vec::new(),
    })?;
    for (cell, number) in image.iter().enumerate() {
        if old.is_none_or(|old| old[cell] != *number) {
            disk.put(cell as u64, content(*number))?;
        }
    }
    disk.finish()?;
    point.file("image", to_text(image).as_bytes())?;
    let duration_seconds = if locked { 100_000 } else { 0 };
    let point = point.commit(Lock { mode: LockMode::Compliance, duration_seconds }, WallTime(0))?;
    say(&format!("made {} {}", point.id, to_text(image)));
    Ok(())
}

fn delete_some(repository: &Repository, random: &mut fakes::disk::Random) {
    let points = repository.points();
    let some = points.iter().filter(|_| random.below(2) == 0).map(|point| point.id);
    let go = repository.preview(&some.collect::<Vec<_>>()).unwrap().go;
    if go.is_empty() {
        return;
    }
    go.iter().for_each(|id| say(&format!("going {id}")));
    match repository.delete(&go) {
        Ok(_) => go.iter().for_each(|id| say(&format!("gone {id}"))),
        Err(DeleteError::Store { source, .. }) => full_is_fine(Err(source)),
        Err(error) => panic!("{}", model::chain(&error)),
    }
}

// ---- the parent ----

/// What the child has acknowledged.
#[derive(Default)]
struct Truth {
    points: BTreeMap<String, Image>,
    /// Announced to be deleted and not acknowledged.
    going: Vec<String>,
    made: usize,
    gone: usize,
    full: usize,
}

impl Truth {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match *words {
            ["made", id, image] => {
                self.points.insert(id.into(), from_text(image));
                self.made += 1;
            }
            ["going", id] => self.going.push(id.into()),
            ["gone", id] => {
                assert!(self.points.remove(id).is_some());
                self.going.retain(|going| going != id);
                self.gone += 1;
            }
            ["full"] => self.full += 1,
            _ => {}
        }
    }

    /// After a kill, with the repository opened anew.
    fn check(&mut self, place: &Path, what: &str) {
        let repository = open(place).unwrap_or_else(|e| panic!("{what}: {}", model::chain(&e)));
        let there: BTreeMap<String, RecoveryPointId> =
            repository.points().into_iter().map(|point| (point.id.to_string(), point.id)).collect();
        for id in std::mem::take(&mut self.going) {
            if !there.contains_key(&id) {
                self.points.remove(&id);
            }
        }
        for (id, image) in &self.points {
            let id = *there.get(id).unwrap_or_else(|| panic!("{what}: {id} is lost"));
            assert!(restores(&repository, id, image), "{what}: {id} changed");
        }
        for (text, id) in there {
            // One that was committed and not acknowledged is whole too.
            let image = image_of(&repository, id);
            assert!(restores(&repository, id, &image), "{what}: {text} is not whole");
            self.points.insert(text, image);
        }
    }
}

struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(place: &Path, seed: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(DIRECTORY, place)
            .env(SEED, seed.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            let lines = out.lines().map_while(Result::ok);
            for line in lines.filter_map(|line| line.strip_prefix("> ").map(str::to_owned)) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Listens for a random while after it is ready, kills, hears the rest.
    fn kill_after(mut self, wait: Duration, truth: &mut Truth) {
        let first = self.lines.recv_timeout(Duration::from_secs(60));
        assert_eq!(first.as_deref(), Ok("ready"));
        let end = Instant::now() + wait;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => truth.hear(&line),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => panic!("the child ended by itself"),
            }
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.iter().for_each(|line| truth.hear(&line));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it has ended already unless the test failed
        let _ = self.child.wait();
    }
}

fn kill_again_and_again(place: &Path) -> Truth {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    let seed = u64::try_from(seed).unwrap();
    println!("seed {seed}");
    let mut random = fakes::disk::Random(seed);
    let repository = place.join("repository");
    std::fs::create_dir(&repository).unwrap();
    Repository::create_local(&repository, &options(), &place.join("state"), &clocks()).unwrap();
    let mut truth = Truth::default();
    for round in 0..ROUNDS {
        let wait = Duration::from_millis(random.next() % 500);
        Running::start(place, random.next()).kill_after(wait, &mut truth);
        truth.check(place, &format!("seed {seed}, round {round}"));
    }
    let Truth { points, made, gone, full, .. } = &truth;
    println!("{made} made, {gone} deleted, {} left, {full} times full", points.len());
    truth
}

#[test]
fn killed_at_random_moments_over_a_plain_directory() {
    let place = tempfile::tempdir().unwrap();
    let truth = kill_again_and_again(place.path());
    assert!(truth.made > 30 && truth.gone > 5, "{} {}", truth.made, truth.gone);
    // What no lock keeps can still be deleted, and all of its space comes back.
    let repository = open(place.path()).unwrap();
    let all: Vec<_> = repository.points().into_iter().map(|point| point.id).collect();
    let preview = repository.preview(&all).unwrap();
    assert!(preview.kept.iter().all(|(_, kept)| matches!(kept, Kept::Locked { .. })));
    if !preview.go.is_empty() {
        repository.delete(&preview.go).unwrap();
    }
    repository.reclaim().unwrap();
    if preview.kept.is_empty() {
        assert_eq!(repository.stats().unwrap().bytes, 0);
    }
}

/// A small ext4 in a file, mounted; unmounted when dropped.
struct Small {
    image: PathBuf,
    mounted: PathBuf,
    _place: tempfile::TempDir,
}

impl Small {
    fn new() -> Result<Self, String> {
        let place = tempfile::tempdir().map_err(|error| error.to_string())?;
        let (image, mounted) = (place.path().join("image"), place.path().join("mounted"));
        let file = std::fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(24 << 20).map_err(|error| error.to_string())?;
        std::fs::create_dir(&mounted).map_err(|error| error.to_string())?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        let small = Self { image, mounted, _place: place };
        small.mount()?;
        Ok(small)
    }

    fn mount(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.mounted))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg(&self.mounted)) {
            println!("{error}");
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {text}")) }
}

#[test]
fn killed_at_random_moments_over_a_small_file_system_that_runs_full() {
    let name = "killed_at_random_moments_over_a_small_file_system_that_runs_full";
    let small = match Small::new() {
        Ok(small) => small,
        Err(why) => return println!("SKIPPED: {name}: {why}"),
    };
    let truth = kill_again_and_again(&small.mounted);
    assert!(truth.made > 20, "{}", truth.made);
    // The reserve holds even when it is filled up on purpose.
    let repository = open(&small.mounted).unwrap();
    let mut random = fakes::disk::Random(9);
    let full = (0..200).any(|_| {
        let image: Image = (0..CELLS).map(|_| random.next()).collect();
        let vm = VmIdentity {
            uuid: VmUuid("filler".into()),
            name: "filler".into(),
            server_uuid: "vcenter".into(),
        };
        match write(&repository, vm, (&image, None, None), false) {
            Ok(()) => false,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Full, "{}", model::chain(&error));
                true
            }
        }
    });
    assert!(full && repository.stats().unwrap().free >= 2 << 20);
    for point in repository.points() {
        assert!(repository.verify(point.id, &mut |_| ()).unwrap().is_whole());
        repository.hold(point.id, "case").unwrap();
    }
    repository.tick().unwrap();
}

/// Where `wanted` begins in `bytes`.
fn position(bytes: &[u8], wanted: &[u8]) -> usize {
    let blocks = bytes.chunks(1024).position(|block| block == &wanted[..1024]);
    blocks.expect("the segment lies in the image") * 1024
}

#[test]
fn a_write_through_the_block_device_is_found_and_repaired() {
    let name = "a_write_through_the_block_device_is_found_and_repaired";
    let small = match Small::new() {
        Ok(small) => small,
        Err(why) => return println!("SKIPPED: {name}: {why}"),
    };
    let place = small.mounted.join("repository");
    std::fs::create_dir(&place).unwrap();
    let state = small.mounted.join("state");
    Repository::create_local(&place, &options(), &state, &clocks()).unwrap();
    let repository = open(&small.mounted).unwrap();
    let image: Image = (1..=CELLS as u64).collect();
    let vm =
        VmIdentity { uuid: VmUuid("vm".into()), name: "vm".into(), server_uuid: "vcenter".into() };
    write(&repository, vm, (&image, None, None), true).unwrap();
    let point = repository.points().into_iter().next().unwrap().id;
    drop(repository);
    let path = small.mounted.join("repository/segments/00000001.segment");
    let right = std::fs::read(&path).unwrap();
    run(Command::new("umount").arg(&small.mounted)).unwrap();
    let mut raw = std::fs::read(&small.image).unwrap();
    let at = position(&raw, &right[4096..]);
    raw[at + 777] ^= 1;
    std::fs::write(&small.image, raw).unwrap();
    small.mount().unwrap();
    assert_ne!(std::fs::read(&path).unwrap(), right, "the write went through");
    let repository = open(&small.mounted).unwrap(); // which does not see it
    assert!(!repository.verify(point, &mut |_| ()).unwrap().is_whole());
    let report = repository.scrub(u64::MAX, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(report.repaired, [(1, 1)], "{report:?}");
    assert_eq!(std::fs::read(&path).unwrap(), right);
    assert!(repository.verify(point, &mut |_| ()).unwrap().is_whole());
}
