//! Bits that flip, files that are cut, lost or exchanged: found, named, and never zeros instead.

use super::support::{CHUNK, Image, Rig, backup, content, options, restores};
use crate::{Cell, Recovery, RecoveryPoint, Repository, StoreError};
use fakes::disk::{Random, Sim};
use format::BLOCK;
use format::parity::repair;
use format::segment::Class;
use format::trailer::Trailer;
use model::ErrorKind;
use warden::storage::Storage as _;

fn stored(image: &Image) -> (Rig, Sim, RecoveryPoint) {
    let rig = Rig::new(&options(1));
    let (point, _) = backup(&rig.open(&options(1)), 1, image, None, 1000).unwrap();
    let disk = rig.disk.clone();
    (rig, disk, point)
}

/// Opens a disk that was changed; its warden knows what it knew of the one in `rig`.
fn open(rig: &Rig, disk: &Sim) -> Result<(Repository, Recovery), StoreError> {
    rig.with(disk.clone()).try_open(&options(1))
}

fn segments(sim: &Sim) -> Vec<String> {
    sim.paths().into_iter().filter(|path| path.ends_with(".segment")).collect()
}

/// What a reader gets: every cell right, or an error; the number of errors.
fn errors_when_reading(repository: &Repository, point: &RecoveryPoint, image: &Image) -> usize {
    let Ok(disk) = repository.open_disk(point.id, 0) else { return image.len() };
    let mut errors = 0;
    for (cell, number) in disk.cells().zip(image) {
        match cell {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
                errors += 1;
            }
            Ok((_, Cell::Zero)) => assert_eq!(*number, 0, "zeros instead of data"),
            Ok((_, Cell::Data(bytes))) => assert!(bytes == content(*number, CHUNK), "wrong data"),
        }
    }
    errors
}

#[test]
fn a_flipped_bit_in_any_sector_of_any_segment_is_found() {
    let image: Image = (0..20).map(|n| n % 15).collect();
    let (rig, sim, point) = stored(&image);
    let mut random = Random(7);
    let mut found_by_reading = 0;
    for path in segments(&sim) {
        for sector in (0..sim.length(&path)).step_by(512) {
            let at = sector + random.below(512);
            let damaged = sim.copy();
            damaged.flip(&path, at, 1 << random.below(8));
            let what = format!("byte {at} of {path}");
            let (repository, recovery) = open(&rig, &damaged).expect("segments are not the ledger");
            let report = repository.verify(point.id, &mut |_| ()).unwrap();
            assert!(!report.is_whole(), "{what}: verify finds nothing");
            for damage in &report.damage {
                let serial = u32::from_str_radix(&path[9..17], 16).unwrap();
                assert!(damage.segment == serial || damage.cells.is_some(), "{what}: {damage:?}");
            }
            let errors = errors_when_reading(&repository, &point, &image);
            found_by_reading += usize::from(errors > 0);
            assert!(errors == 0 || recovery.damaged.is_empty(), "{what}: a frame is no cell");
        }
    }
    assert!(found_by_reading > 500, "{found_by_reading}");
}

#[test]
fn damage_to_one_chunk_names_its_cells_and_leaves_the_others() {
    let image: Image = vec![1, 2, 3, 2, 0, 4];
    let (rig, sim, point) = stored(&image);
    let path = &segments(&sim)[0];
    // The second record of the first segment is content 2, in cells 1 and 3.
    let record = BLOCK + (CHUNK / 2 + 4096).next_multiple_of(BLOCK);
    sim.flip(path, record + 300, 0x80);
    let (repository, _) = open(&rig, &sim).unwrap();
    let report = repository.verify(point.id, &mut |_| ()).unwrap();
    let cells: Vec<_> = report.damage.iter().map(|damage| damage.cells).collect();
    assert_eq!(cells, [Some((1, 2)), Some((3, 4))]);
    assert_eq!(errors_when_reading(&repository, &point, &image), 2);
}

#[test]
fn a_damaged_footer_is_reported_and_the_point_stays_readable() {
    let image: Image = (1..9).collect();
    let (rig, sim, point) = stored(&image);
    for path in segments(&sim) {
        let trailer = trailer(&sim, &path);
        let damaged = sim.copy();
        damaged.flip(&path, usize::try_from(trailer.footer_offset).unwrap() + 100, 1);
        let (repository, recovery) = open(&rig, &damaged).unwrap();
        assert_eq!(recovery.damaged.len(), 1, "{path}");
        assert!(restores(&repository, point.id, &image), "{path}");
        // A new run stores the chunks again instead of trusting that segment.
        let (again, stats) = backup(&repository, 2, &image, None, 0).unwrap();
        assert_eq!(stats.new_chunks > 0, trailer.class == Class::Data, "{path}");
        assert!(restores(&repository, again.id, &image), "{path}");
    }
}

#[test]
fn a_damaged_first_trailer_is_reported_and_the_last_block_is_used() {
    let image: Image = (1..9).collect();
    let (rig, sim, point) = stored(&image);
    for path in segments(&sim) {
        let first = usize::try_from(trailer(&sim, &path).geometry.trailers()[0]).unwrap();
        for (at_byte, reported) in [(sim.length(&path) - 60, 0), (first + 60, 1)] {
            let damaged = sim.copy();
            damaged.flip(&path, at_byte, 1);
            let (repository, recovery) = open(&rig, &damaged).unwrap();
            assert_eq!(recovery.damaged.len(), reported, "{path} at {at_byte}");
            assert!(restores(&repository, point.id, &image), "{path}");
            let report = repository.verify(point.id, &mut |_| ()).unwrap();
            assert!(!report.is_whole(), "{path} at {at_byte}: verify finds both");
            let (_, stats) = backup(&repository, 2, &image, None, 0).unwrap();
            assert_eq!(stats.new_chunks, 0, "{path}: the segment is still trusted");
        }
    }
}

/// A sealed segment of the store, damaged in several ways, comes back byte for byte.
#[test]
fn a_sealed_segment_is_repaired_from_its_own_parity() {
    let (_, sim, _) = stored(&(1..30).collect());
    let mut random = Random(11);
    for path in segments(&sim) {
        let whole = bytes_of(&sim, &path);
        let trailer = trailer(&sim, &path);
        for _ in 0..20 {
            let damaged = sim.copy();
            damaged.flip(&path, random.below(whole.len()), 0x10);
            damaged.flip(&path, random.below(whole.len()), 0x10);
            let mut made = Vec::new();
            let file = damaged.open(&path).unwrap();
            let sink = |bytes: &[u8]| {
                made.extend_from_slice(bytes);
                Ok(())
            };
            repair(&trailer, |offset, bytes| file.read(offset, bytes), sink).unwrap();
            assert!(made == whole, "{path}");
        }
    }
}

fn bytes_of(sim: &Sim, path: &str) -> Vec<u8> {
    let mut bytes = vec![0; sim.length(path)];
    sim.open(path).unwrap().read(0, &mut bytes).unwrap();
    bytes
}

fn trailer(sim: &Sim, path: &str) -> Trailer {
    let bytes = bytes_of(sim, path);
    Trailer::decode(&bytes[bytes.len() - BLOCK..], bytes.len() as u64).unwrap()
}

#[test]
fn missing_short_and_exchanged_segments_are_found_at_the_start() {
    let image: Image = (1..20).collect();
    let (rig, sim, point) = stored(&image);
    let paths = segments(&sim);
    let lost = sim.copy();
    lost.remove_below(&paths[0]);
    let short = sim.copy();
    short.truncate(&paths[0], short.length(&paths[0]) - BLOCK);
    let swapped = sim.copy();
    swapped.exchange(&paths[0], &paths[1]);
    for (what, disk, damaged) in [("lost", lost, 1), ("short", short, 1), ("swapped", swapped, 2)] {
        let (repository, recovery) = open(&rig, &disk).unwrap();
        assert_eq!(recovery.damaged.len(), damaged, "{what}");
        let report = repository.verify(point.id, &mut |_| ()).unwrap();
        assert!(!report.is_whole(), "{what}");
    }
}

#[test]
fn every_damaged_byte_of_the_ledger_is_refused_or_reported() {
    let (rig, sim, _) = stored(&vec![1, 2]);
    for path in ["ledger/leaves", "ledger/head"] {
        for at in 0..sim.length(path) {
            let damaged = sim.copy();
            damaged.flip(path, at, 4);
            let error = open(&rig, &damaged).err().unwrap_or_else(|| panic!("byte {at} of {path}"));
            assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at} of {path}: {error:?}");
        }
        let damaged = sim.copy();
        damaged.truncate(path, sim.length(path) - 1);
        assert!(open(&rig, &damaged).is_err(), "{path} cut");
        damaged.remove_below(path);
        assert!(open(&rig, &damaged).is_err(), "{path} lost");
    }
}

#[test]
fn one_damaged_copy_of_the_header_is_reported_and_two_are_refused() {
    let image = vec![1, 2];
    let (rig, sim, point) = stored(&image);
    sim.flip("repository", 50, 1);
    let (repository, recovery) = open(&rig, &sim).unwrap();
    assert!(recovery.header_damaged);
    assert!(restores(&repository, point.id, &image));
    drop(repository);
    sim.flip("repository", BLOCK + 50, 1);
    assert_eq!(open(&rig, &sim).err().unwrap().kind(), ErrorKind::Corrupt);
}

#[test]
fn foreign_files_are_left_alone() {
    let (rig, sim, _) = stored(&vec![1]);
    sim.create("segments/notes.txt", 0).unwrap();
    let (_, recovery) = open(&rig, &sim).unwrap();
    assert_eq!(recovery.foreign, ["segments/notes.txt"]);
    assert!(sim.paths().contains(&"segments/notes.txt".to_owned()));
}
