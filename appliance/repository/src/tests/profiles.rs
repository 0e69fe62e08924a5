//! Points with chunks of their own size and level, side by side in one repository.

use super::support::{CHUNK, Rig, disk_draft, draft, lock, options};
use crate::{Cell, Options, ParentDisk, PointDraft, RecoveryPoint, Repository, StoreError};
use block::ReadAt as _;
use model::{ErrorKind, WallTime};

fn repository() -> Repository {
    let options = Options { segment_size: 64 << 20, ..options(2) };
    Rig::new(&options).open(&options)
}

fn profile(chunk_size: u32, level: i32) -> PointDraft {
    PointDraft { chunk_size: Some(chunk_size), zstd_level: Some(level), ..draft(1) }
}

/// Writes `disk` as a whole, or the first cell only over a parent.
fn write(
    repository: &Repository,
    draft: PointDraft,
    disk: &[u8],
    parent: Option<ParentDisk>,
) -> Result<RecoveryPoint, StoreError> {
    let chunk = draft.chunk_size.unwrap() as usize;
    let mut point = repository.begin(draft)?;
    let writer = point.disk(disk_draft(disk.len() as u64, parent))?;
    let cells = if parent.is_some() { 1 } else { usize::MAX };
    for (cell, bytes) in (0..).zip(disk.chunks(chunk)).take(cells) {
        writer.put(cell, bytes.to_vec())?;
    }
    writer.finish()?;
    point.commit(lock(0), WallTime(0))
}

fn read(repository: &Repository, point: &RecoveryPoint) -> Vec<u8> {
    let disk = repository.open_disk(point.id, 0).unwrap();
    let mut bytes = vec![0; usize::try_from(disk.size()).unwrap()];
    disk.read_at(0, &mut bytes).unwrap();
    let cells: u64 = disk
        .cells()
        .map(|cell| match cell.unwrap() {
            (range, Cell::Data(bytes)) => {
                assert_eq!(bytes.len() as u64, range.length);
                range.length
            }
            (range, Cell::Zero) => range.length,
        })
        .sum();
    assert_eq!(cells, disk.size());
    bytes
}

#[test]
fn every_chunk_size_and_level_lives_beside_the_others() {
    let repository = repository();
    let mut disk = vec![0; (17 << 20) + 5 * CHUNK + 512];
    for (number, piece) in disk.chunks_mut(9000).enumerate() {
        piece.fill(u8::try_from(number % 251).unwrap());
    }
    let sizes: Vec<u32> = (16..=23).map(|bits| 1 << bits).collect();
    let mut points = Vec::new();
    for (size, level) in sizes.iter().zip([1, 3, 1, 9, 1, 2, 1, 12]) {
        points.push(write(&repository, profile(*size, level), &disk, None).unwrap());
    }
    for (point, size) in points.iter().zip(&sizes) {
        assert_eq!(repository.point(point.id).unwrap().chunk_size, *size);
        assert!(read(&repository, point) == disk, "chunks of {size}");
        assert!(repository.verify(point.id, &mut |_| ()).unwrap().is_whole());
    }
    // An incremental in one of them.
    disk[..256 << 10].fill(7);
    let parent = ParentDisk { point: points[2].id, disk: 0 };
    let next = write(&repository, profile(256 << 10, 1), &disk, Some(parent)).unwrap();
    assert!(read(&repository, &next) == disk);
}

#[test]
fn a_parent_of_another_chunk_size_and_impossible_profiles_are_refused() {
    let repository = repository();
    let disk = vec![5; 4 << 20];
    let parent = write(&repository, profile(1 << 20, 1), &disk, None).unwrap();
    let parent = Some(ParentDisk { point: parent.id, disk: 0 });
    let error = write(&repository, profile(256 << 10, 1), &disk, parent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let text = error.to_string();
    assert!(text.contains("262144") && text.contains("1048576") && text.contains("full"), "{text}");
    for (draft, word) in [
        (profile(100_000, 1), "chunk_size"),
        (profile(1 << 20, 0), "zstd_level"),
        (profile(1 << 24, 1), "chunk_size"),
    ] {
        let error = repository.begin(draft).err().expect("refused");
        assert!(error.to_string().contains(word), "{error}");
    }
}
