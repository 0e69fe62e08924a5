//! Damage of every kind to small segments: found, and repaired byte for byte or not at all.

use super::{COLUMN, Checked, ParityWriter, RepairError, Repaired, ZONE, check, repair};
use crate::BLOCK;
use crate::footer::Footer;
use crate::header::RepositoryId;
use crate::segment::Class;
use crate::trailer::Trailer;
use proptest::prelude::*;
use std::convert::Infallible;

/// A sealed segment of `data` bytes that no record lies in, and its trailer.
pub(super) fn segment(data: usize) -> (Vec<u8>, Trailer) {
    let mut file = vec![0; data];
    blake3::Hasher::new().finalize_xof().fill(&mut file);
    let mut footer = Footer {
        repository: RepositoryId([1; 16]),
        serial: 2,
        class: Class::Data,
        cohort: 3,
        epoch: 0,
        data_length: data as u64,
        data_hash: *blake3::hash(&file).as_bytes(),
        plain_bytes: 0,
        entries: Vec::new(),
    };
    let encoded = footer.encode();
    file.extend_from_slice(&encoded.bytes);
    let mut writer = ParityWriter::new();
    writer.write(&file);
    let protection = writer.finish().unwrap();
    let trailer = footer.trailer(&encoded, &protection);
    file.extend_from_slice(&trailer.tail(&protection));
    assert_eq!(file.len() as u64, trailer.geometry.file_length());
    (file, trailer)
}

pub(super) fn reader(file: &[u8]) -> impl FnMut(u64, &mut [u8]) -> Result<(), Infallible> + '_ {
    |offset, buffer| {
        let at = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&file[at..at + buffer.len()]);
        Ok(())
    }
}

fn checked(file: &[u8], trailer: &Trailer) -> Checked {
    check(trailer, reader(file)).unwrap()
}

pub(super) fn repaired(
    file: &[u8],
    trailer: &Trailer,
) -> Result<(Vec<u8>, Repaired), RepairError<Infallible>> {
    let mut made = Vec::new();
    let sink = |bytes: &[u8]| {
        made.extend_from_slice(bytes);
        Ok(())
    };
    repair(trailer, reader(file), sink).map(|repaired| (made, repaired))
}

fn blocks(range: std::ops::Range<usize>) -> Vec<u32> {
    let block = |at: usize| u32::try_from(at / BLOCK).unwrap();
    (block(range.start)..=block(range.end - 1)).collect()
}

/// Damage that must be found, named exactly, and repaired.
fn heals(file: &[u8], trailer: &Trailer, range: std::ops::Range<usize>, fill: Option<u8>) {
    let mut damaged = file.to_vec();
    for byte in &mut damaged[range.clone()] {
        *byte = fill.unwrap_or(!*byte);
    }
    assert_eq!(checked(&damaged, trailer).wrong, blocks(range.clone()), "{range:?}");
    assert!(trailer.geometry.beyond(&blocks(range.clone())).is_empty(), "{range:?}");
    let (read, _) = Trailer::read(file.len() as u64, reader(&damaged)).unwrap();
    let (made, _) = repaired(&damaged, &read).unwrap();
    assert!(made == file, "{range:?}");
}

#[test]
fn every_flipped_bit_of_every_sector_is_found_and_repaired() {
    let (file, trailer) = segment(41 * BLOCK);
    assert!(checked(&file, &trailer).is_whole());
    for sector in 0..file.len() / 512 {
        for bit in [0, sector * 37 % 4096, 4095] {
            let at = sector * 512 + bit / 8;
            let mut damaged = file.clone();
            damaged[at] ^= 1 << (bit % 8);
            let found = checked(&damaged, &trailer);
            assert_eq!(found.wrong, blocks(at..at + 1), "byte {at}");
            assert_eq!(found.proven, at >= 42 * BLOCK, "byte {at}");
            let (read, _) = Trailer::read(file.len() as u64, reader(&damaged)).unwrap();
            assert!(repaired(&damaged, &read).unwrap().0 == file, "byte {at}");
        }
    }
}

#[test]
fn every_single_bit_of_a_smallest_segment_is_found() {
    let (file, trailer) = segment(BLOCK);
    for bit in 0..file.len() * 8 {
        let mut damaged = file.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(checked(&damaged, &trailer).wrong, blocks(bit / 8..bit / 8 + 1), "bit {bit}");
    }
}

#[test]
fn a_run_of_128_kib_in_a_whole_zone_is_repaired_wherever_it_begins() {
    let (file, trailer) = segment(ZONE + 50 * BLOCK);
    for start in [0, BLOCK, 7 * BLOCK, COLUMN, 100 * COLUMN + 3 * BLOCK, ZONE - 2 * COLUMN] {
        heals(&file, &trailer, start..start + 2 * COLUMN, Some(0));
    }
    // Over the parity of the first zone, and over the tail: never both copies of anything.
    let parity = usize::try_from(trailer.geometry.parity_offset()).unwrap();
    heals(&file, &trailer, parity..parity + 2 * COLUMN, Some(0xff));
    let end = file.len();
    heals(&file, &trailer, end - 10 * BLOCK..end, None);
    let first_trailer = usize::try_from(trailer.geometry.trailers()[0]).unwrap();
    heals(&file, &trailer, first_trailer - BLOCK..parity, None);
}

#[test]
fn three_wrong_blocks_of_a_row_are_an_error_and_named() {
    let (file, trailer) = segment(500 * BLOCK);
    // Columns of three blocks: blocks 0, 3 and 6 are of row 0.
    let mut damaged = file.clone();
    for block in [0, 3, 6, 7] {
        damaged[block * BLOCK] ^= 1;
    }
    let found = checked(&damaged, &trailer);
    assert_eq!(found.wrong, [0, 3, 6, 7]);
    assert_eq!(trailer.geometry.beyond(&found.wrong), [0, 3, 6]);
    let error = repaired(&damaged, &trailer).unwrap_err();
    assert!(matches!(error, RepairError::Beyond { zone: 0, wrong: 3 }), "{error}");
}

#[test]
fn without_a_table_right_data_is_proven_and_wrong_data_is_not_repaired() {
    let (mut file, trailer) = segment(300 * BLOCK);
    let whole = file.clone();
    for table in trailer.geometry.tables() {
        file[usize::try_from(table).unwrap()] ^= 1;
    }
    let found = checked(&file, &trailer);
    assert!(!found.table && found.proven);
    assert!(repaired(&file, &trailer).unwrap().0 == whole);
    file[5] ^= 1;
    let error = repaired(&file, &trailer).unwrap_err();
    assert!(matches!(error, RepairError::NotProven { .. }), "{error}");
}

#[test]
fn a_forged_table_gives_no_forged_data() {
    // Whoever can write can make a table for other data; the seal in the ledger is another one.
    let (file, _) = segment(60 * BLOCK);
    let (_, other) = segment(60 * BLOCK);
    let mut forged = file.clone();
    forged[0] ^= 1;
    let mut writer = ParityWriter::new();
    writer.write(&forged[..61 * BLOCK]);
    let protection = writer.finish().unwrap();
    let table_hash = *blake3::hash(&protection.table).as_bytes();
    let trailer = Trailer { table_hash, ..other };
    forged[61 * BLOCK..].copy_from_slice(&trailer.tail(&protection));
    let found = checked(&forged, &trailer);
    assert!(found.wrong.is_empty() && !found.proven && !found.is_whole());
    assert!(matches!(repaired(&forged, &trailer), Err(RepairError::NotProven { .. })));
}

#[test]
fn a_trailer_is_found_when_the_other_one_is_wrong() {
    let (mut file, trailer) = segment(3 * BLOCK);
    let end = file.len();
    let (read, copies) = Trailer::read(end as u64, reader(&file)).unwrap();
    assert_eq!((read, copies.last), (trailer, true));
    file[end - 1] ^= 1;
    let (read, copies) = Trailer::read(end as u64, reader(&file)).unwrap();
    assert_eq!((read, copies.last, copies.first), (trailer, false, Some(true)));
    file[4 * BLOCK] ^= 1;
    assert!(Trailer::read(end as u64, reader(&file)).is_err());
    assert!(Trailer::read(end as u64 - 1, reader(&file)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_damage_is_repaired_up_to_the_strength_and_refused_beyond(
        size in 1usize..900,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..12),
    ) {
        let (file, trailer) = segment(size * BLOCK);
        let mut damaged = file.clone();
        let protected = usize::try_from(trailer.geometry.protected_length()).unwrap();
        let parity = usize::try_from(trailer.geometry.parity_offset()).unwrap();
        let parity_length = usize::try_from(trailer.geometry.parity_length()).unwrap();
        for (index, zero) in damage {
            let at = index.index(protected + parity_length) / BLOCK * BLOCK;
            let at = if at < protected { at } else { parity + at - protected };
            if zero {
                damaged[at..at + BLOCK].fill(0);
            } else {
                damaged[at + 77] ^= 0x10;
            }
        }
        let wrong: Vec<u32> = (0..file.len() / BLOCK)
            .filter(|n| file[n * BLOCK..][..BLOCK] != damaged[n * BLOCK..][..BLOCK])
            .map(|n| u32::try_from(n).unwrap())
            .collect();
        prop_assert_eq!(&checked(&damaged, &trailer).wrong, &wrong);
        let beyond = trailer.geometry.beyond(&wrong);
        match repaired(&damaged, &trailer) {
            Ok((made, _)) => prop_assert!(made == file && beyond.is_empty()),
            Err(error) => prop_assert!(!beyond.is_empty(), "{}", error),
        }
    }

    #[test]
    fn any_trailer_gives_a_value_or_an_error(
        mut block in prop::collection::vec(any::<u8>(), BLOCK), length in any::<u64>(),
    ) {
        block[..7].copy_from_slice(b"HFTR\x02\x00\x01");
        block[140..].fill(0);
        crate::fields::put_crc(&mut block);
        let _ = Trailer::decode(&block, length);
        let _ = Trailer::decode(&block[..100], length);
    }
}
