//! The ordinary way: full, incremental, restore, verify, refuse, delete.

use super::support::{
    CHUNK, Clock, START, backup, capacity, content, disk_draft, draft, lock, options, restores, vm,
    write_disk,
};
use crate::{DeleteError, Options, ParentDisk, Recovery, Repository, StoreError, Verdict};
use block::ReadAt;
use model::{ErrorKind, LockMode, RecoveryPointId, RetentionTime, WallTime};
use tempfile::TempDir;

/// A repository on a real file system, its directory, the warden's, and clocks.
struct Real {
    dir: TempDir,
    state: TempDir,
    clock: Clock,
    repository: Repository,
}

impl Real {
    fn new(options: &Options) -> Self {
        let (dir, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let clock = Clock::default();
        Repository::create_local(dir.path(), options, state.path(), &clock.read()).unwrap();
        let (repository, recovery) = open(&dir, &state, &clock, options).unwrap();
        assert_eq!(recovery.clock, RetentionTime(START));
        Self { dir, state, clock, repository }
    }

    fn again(self, options: &Options) -> (Self, Recovery) {
        let Self { dir, state, clock, repository } = self;
        drop(repository);
        let (repository, recovery) = open(&dir, &state, &clock, options).unwrap();
        (Self { dir, state, clock, repository }, recovery)
    }

    fn segments(&self) -> usize {
        self.dir.path().join("segments").read_dir().unwrap().count()
    }
}

fn open(
    dir: &TempDir,
    state: &TempDir,
    clock: &Clock,
    options: &Options,
) -> Result<(Repository, Recovery), StoreError> {
    Repository::open_local(dir.path(), options, state.path(), clock.read())
}

#[test]
fn full_and_incremental_restore_what_was_given() {
    for workers in [0, 1, 3] {
        let real = Real::new(&options(workers));
        let repository = real.repository.clone();
        let first: Vec<u64> = (0..600).map(|n| if n % 3 == 0 { 0 } else { n % 50 + 1 }).collect();
        let mut second = first.clone();
        (second[0], second[1], second[299], second[599]) = (900, 0, 901, 5);
        let (a, stats) = backup(&repository, 1, &first, None, 60).unwrap();
        assert_eq!((stats.cells, stats.zero), (400, 0));
        assert_eq!(stats.new_chunks + stats.deduplicated, 400);
        assert!(stats.new_chunks < 60, "{stats:?}");
        let (b, stats) = backup(&repository, 1, &second, Some((&first, a.id)), 60).unwrap();
        assert_eq!((stats.cells, stats.zero, stats.new_chunks), (4, 1, 2));
        for (point, image) in [(a.id, &first), (b.id, &second)] {
            assert!(restores(&repository, point, image), "workers {workers}");
            let report = repository.verify(point, &mut |_| ()).unwrap();
            assert!(report.is_whole(), "{report:?}");
            assert_eq!(report.zero_cells, image.iter().filter(|n| **n == 0).count() as u64);
        }
        let data = |image: &[u64]| (image.iter().filter(|n| **n > 0).count() * CHUNK) as u64;
        assert_eq!((a.data_bytes, b.data_bytes), (data(&first), data(&second)));
        assert_eq!(repository.latest_of(&vm(1)).unwrap().id, b.id);
        assert_eq!(repository.file(b.id, "vm.vmx").unwrap(), b"config.version = \"8\"");

        let before = repository.points();
        drop(repository);
        let (real, recovery) = real.again(&options(workers));
        let repository = real.repository;
        assert_eq!((recovery.dropped, recovery.orphans, recovery.damaged), Default::default());
        assert_eq!(repository.points(), before);
        assert!(restores(&repository, b.id, &second));
    }
}

#[test]
fn a_short_last_cell_and_reads_across_cells() {
    let real = Real::new(&options(2));
    let repository = real.repository.clone();
    let size = CHUNK * 2 + 1000;
    let mut point = repository.begin(draft(1)).unwrap();
    let disk = point.disk(disk_draft(size as u64, None)).unwrap();
    let bytes: Vec<u8> = [content(1, CHUNK), vec![0; CHUNK], content(2, 1000)].concat();
    disk.put(2, bytes[CHUNK * 2..].to_vec()).unwrap();
    disk.put(1, bytes[CHUNK..CHUNK * 2].to_vec()).unwrap();
    disk.put(0, bytes[..CHUNK].to_vec()).unwrap();
    let stats = disk.finish().unwrap();
    assert_eq!((stats.zero, stats.new_chunks, stats.bytes_in), (1, 2, size as u64));
    let point = point.commit(lock(0), WallTime(0)).unwrap();
    let reader = repository.open_disk(point.id, 0).unwrap();
    assert_eq!(reader.read_vec(0, size).unwrap(), bytes);
    assert_eq!(reader.read_vec(CHUNK as u64 - 3, 6).unwrap(), bytes[CHUNK - 3..CHUNK + 3]);
    assert!(reader.read_vec(size as u64 - 1, 2).is_err());
}

#[test]
fn the_second_vm_with_the_same_content_stores_nothing_new() {
    let real = Real::new(&options(2));
    let repository = real.repository.clone();
    let image: Vec<u64> = (1..40).collect();
    let (_, first) = backup(&repository, 1, &image, None, 0).unwrap();
    let (_, second) = backup(&repository, 2, &image, None, 0).unwrap();
    assert_eq!((first.new_chunks, second.new_chunks, second.deduplicated), (39, 0, 39));
}

#[test]
fn an_incremental_that_gives_everything_again_stores_no_map() {
    let real = Real::new(&options(0));
    let repository = real.repository.clone();
    let image: Vec<u64> = (1..600).collect();
    let (parent, _) = backup(&repository, 1, &image, None, 0).unwrap();
    let mut point = repository.begin(draft(1)).unwrap();
    let base = ParentDisk { point: parent.id, disk: 0 };
    let disk = point.disk(disk_draft(capacity(&image), Some(base))).unwrap();
    for (cell, number) in (0..).zip(&image) {
        disk.put(cell, content(*number, CHUNK)).unwrap();
    }
    assert_eq!(disk.finish().unwrap().same_as_parent, 599);
    let child = point.commit(lock(0), WallTime(0)).unwrap();
    let map = |id| repository.point(id).unwrap().disks[0].map;
    assert_eq!(map(child.id), map(parent.id));
}

#[test]
fn a_locked_point_is_refused_until_its_end_by_the_retention_clock() {
    let real = Real::new(&options(1));
    let repository = real.repository.clone();
    let image = vec![1, 2, 3];
    real.clock.set(10);
    let begun = repository.ledger_head().0;
    let (point, _) = backup(&repository, 1, &image, None, 100).unwrap();
    assert_eq!(point.lock.until, RetentionTime(START + 110));
    real.clock.set(109);
    let error = repository.delete(&[point.id]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let text = error.to_string();
    assert!(text.contains("compliance mode for at least 1 more seconds"), "{text}");
    let refused = repository.delete(&[point.id]);
    assert!(matches!(refused, Err(DeleteError::Locked { mode: LockMode::Compliance, .. })));
    assert!(restores(&repository, point.id, &image));
    assert_eq!(repository.ledger_head().0, begun + 2 + 1 + 1, "segments, commit, one refusal");
    real.clock.set(110);
    repository.delete(&[point.id]).unwrap();
}

#[test]
fn deletion_frees_what_nobody_else_reaches() {
    let real = Real::new(&options(1));
    let repository = real.repository.clone();
    let first: Vec<u64> = (1..60).collect();
    let mut second = first.clone();
    second[0] = 1000;
    let (a, _) = backup(&repository, 1, &first, None, 0).unwrap();
    let (b, _) = backup(&repository, 1, &second, Some((&first, a.id)), 0).unwrap();
    let full = repository.stats().unwrap();
    assert_eq!(repository.preview(&[a.id]).unwrap().segments, 1);
    let deleted = repository.delete(&[a.id]).unwrap();
    assert_eq!(deleted.segments, 1, "only its metadata; its chunks are shared");
    assert!(restores(&repository, b.id, &second));
    assert_eq!(repository.delete(&[a.id]).unwrap_err().kind(), ErrorKind::NotFound);
    let deleted = repository.delete(&[b.id]).unwrap();
    assert_eq!(deleted.segments, full.segments - 1);
    let empty = repository.stats().unwrap();
    assert_eq!((empty.points, empty.segments, empty.chunks), (0, 0, 0));
    drop(repository);
    assert_eq!(real.segments(), 0);
    let (real, _) = real.again(&options(1));
    let repository = real.repository.clone();
    assert!(repository.points().is_empty());
    // Serials are not used again.
    backup(&repository, 1, &first, None, 0).unwrap();
    assert!(!real.dir.path().join("segments/00000001.segment").exists());
}

#[test]
fn what_is_in_use_is_not_deleted() {
    let real = Real::new(&options(1));
    let repository = real.repository.clone();
    let image: Vec<u64> = (1..30).collect();
    let (a, _) = backup(&repository, 1, &image, None, 0).unwrap();
    let reader = repository.open_disk(a.id, 0).unwrap();
    assert!(matches!(repository.delete(&[a.id]), Err(DeleteError::InUse { .. })));
    drop(reader);
    // A run that found chunks of `a` keeps their segments when `a` goes.
    let mut point = repository.begin(draft(2)).unwrap();
    let stats = write_disk(&mut point, &image, None).unwrap();
    assert_eq!(stats.deduplicated, 29);
    repository.delete(&[a.id]).unwrap();
    let b = point.commit(lock(0), WallTime(0)).unwrap();
    assert!(restores(&repository, b.id, &image));
    // And a run that builds on `b` keeps `b`.
    let mut point = repository.begin(draft(2)).unwrap();
    let base = (&image, ParentDisk { point: b.id, disk: 0 });
    write_disk(&mut point, &image, Some(base)).unwrap();
    assert!(matches!(repository.delete(&[b.id]), Err(DeleteError::InUse { .. })));
    drop(point);
    repository.delete(&[b.id]).unwrap();
}

#[test]
fn an_abandoned_point_leaves_only_what_can_be_reclaimed() {
    let real = Real::new(&options(2));
    let repository = real.repository.clone();
    let image: Vec<u64> = (1..80).collect();
    let mut point = repository.begin(draft(1)).unwrap();
    write_disk(&mut point, &image, None).unwrap();
    drop(point);
    assert!(repository.points().is_empty());
    assert_eq!(real.dir.path().join("open").read_dir().unwrap().count(), 0);
    assert_ne!(real.segments(), 0);
    let (_, stats) = backup(&repository, 1, &image, None, 0).unwrap();
    assert!(stats.deduplicated > 0, "sealed segments of the abandoned run are used");
    let (point, _) = (repository.points().remove(0), ());
    repository.delete(&[point.id]).unwrap();
    repository.reclaim().unwrap();
    assert_eq!(repository.stats().unwrap().segments, 0);
}

#[test]
fn misuse_is_refused_by_name() {
    let real = Real::new(&options(1));
    let repository = real.repository.clone();
    let problem = |error: StoreError| {
        assert_eq!(error.kind(), ErrorKind::Refused);
        error.to_string()
    };
    let mut point = repository.begin(draft(1)).unwrap();
    assert!(problem(point.disk(disk_draft(0, None)).err().unwrap()).contains("without any bytes"));
    let disk = point.disk(disk_draft(CHUNK as u64 * 2, None)).unwrap();
    assert!(problem(disk.put(2, vec![1; CHUNK]).unwrap_err()).contains("beyond"));
    assert!(problem(disk.put(0, vec![1; 5]).unwrap_err()).contains("5 were given"));
    disk.zero(1).unwrap();
    assert!(problem(disk.put(1, vec![1; CHUNK]).unwrap_err()).contains("twice"));
    let not_finished = point.disk(disk_draft(CHUNK as u64, None)).err().unwrap();
    assert!(problem(not_finished).contains("not been finished"));
    drop(disk);
    assert!(problem(point.commit(lock(1), WallTime(0)).unwrap_err()).contains("not finished"));
    let Real { dir, state, clock, repository: other } = real;
    drop(other);
    let open = || open(&dir, &state, &clock, &options(1)).err().unwrap();
    let create = || {
        let (dir, state) = (dir.path(), state.path());
        Repository::create_local(dir, &options(1), state, &clock.read()).unwrap_err()
    };
    assert_eq!((open().kind(), create().kind()), (ErrorKind::Busy, ErrorKind::Busy));
    drop(repository);
    assert!(problem(create()).contains("already"));
    let nothing = TempDir::new().unwrap();
    let missing = self::open(&nothing, &state, &clock, &options(1)).err().unwrap();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[test]
fn the_clock_goes_on_from_the_ledger() {
    let real = Real::new(&options(1));
    let tick = |real: &Real, seconds| {
        real.clock.set(seconds);
        assert_eq!(real.repository.tick().unwrap(), Vec::<String>::new());
        real.repository.clock().value
    };
    let begun = real.repository.ledger_head().0;
    assert_eq!(tick(&real, 1000), RetentionTime(START + 1000));
    assert_eq!(real.repository.ledger_head().0, begun, "not on record yet");
    tick(&real, 3600);
    tick(&real, 5000);
    assert_eq!(real.repository.ledger_head().0, begun + 1);
    real.clock.set(90_000);
    let (real, recovery) = real.again(&options(1));
    assert_eq!(recovery.clock, RetentionTime(START + 3600));
    assert_eq!(tick(&real, 90_010), RetentionTime(START + 3610));
    let unknown = real.repository.delete(&[RecoveryPointId([9; 16])]).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
}

#[test]
fn locks_grow_and_holds_stay() {
    let real = Real::new(&options(0));
    let repository = real.repository.clone();
    let (point, _) = backup(&repository, 1, &vec![1, 2], None, 100).unwrap();
    repository.extend(point.id, RetentionTime(START + 500)).unwrap();
    assert_eq!(
        repository.extend(point.id, RetentionTime(START + 400)).unwrap_err().kind(),
        ErrorKind::Refused
    );
    repository.hold(point.id, "case 7").unwrap();
    real.clock.set(600);
    let held = repository.delete(&[point.id]).unwrap_err();
    assert!(matches!(&held, DeleteError::Held { matters, .. } if *matters == ["case 7"]), "{held}");
    drop(repository);
    let (real, _) = real.again(&options(0));
    let kept = real.repository.summary(point.id).unwrap();
    assert_eq!(kept.lock.until, RetentionTime(START + 500));
    assert!(matches!(kept.state, Verdict::Held { .. }));
}

#[test]
fn sealed_segments_are_read_only_and_immutable_where_possible() {
    let Real { dir, repository, state: _state, .. } =
        Real::new(&Options { immutable: true, ..options(1) });
    let (point, _) = backup(&repository, 1, &(1..20).collect(), None, 0).unwrap();
    let segments = || dir.path().join("segments").read_dir().unwrap().map(|e| e.unwrap().path());
    let flags: Vec<_> = segments()
        .map(|path| {
            assert!(path.metadata().unwrap().permissions().readonly(), "{}", path.display());
            rustix::fs::ioctl_getflags(std::fs::File::open(path).unwrap())
        })
        .collect();
    assert!(flags.len() >= 2);
    let set = |flags: &rustix::fs::IFlags| flags.contains(rustix::fs::IFlags::IMMUTABLE);
    if flags.iter().all(|flags| flags.as_ref().is_ok_and(set)) {
        for path in segments() {
            assert!(std::fs::remove_file(&path).is_err(), "{}", path.display());
            assert!(std::fs::OpenOptions::new().append(true).open(&path).is_err());
        }
    } else {
        println!("SKIPPED: immutable attribute: this file system or user cannot set it");
    }
    // The store itself can take it away, once the lock has ended; so the directory can go too.
    repository.delete(&[point.id]).unwrap();
    assert_eq!(segments().count(), 0);
}
