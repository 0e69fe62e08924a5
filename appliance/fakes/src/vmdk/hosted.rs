//! Hosted sparse files with two directories, all tables laid out before the first grain.

use super::cowd::words;
use super::{Grain, Image, SECTOR, SparseSpec, sectors32};

const PER_TABLE: u64 = 512;
const TABLE_SECTORS: u64 = PER_TABLE * 4 / SECTOR;
const DESCRIPTOR_SECTORS: u64 = 20;

/// Makes a hosted sparse file; with a descriptor inside it is a disk of its own.
///
/// # Panics
/// When the specification has grains that the format cannot say, or a descriptor that is too long.
#[must_use]
pub fn hosted(spec: &SparseSpec, descriptor: Option<&str>) -> Image {
    let tables = spec.capacity.div_ceil(spec.grain_bytes()).div_ceil(PER_TABLE);
    let directory_sectors = (tables * 4).div_ceil(SECTOR);
    let copy = 1 + if descriptor.is_some() { DESCRIPTOR_SECTORS } else { 0 };
    let first = copy + directory_sectors + tables * TABLE_SECTORS;
    let overhead =
        (first + directory_sectors + tables * TABLE_SECTORS).next_multiple_of(spec.grain_sectors);
    let mut image = Image::default();
    let entries = grains(spec, tables, overhead, &mut image);
    for directory in [copy, first] {
        let place = |table| sectors32(directory + directory_sectors + table * TABLE_SECTORS);
        let places: Vec<u32> = (0..tables).map(place).collect();
        image.put(directory * SECTOR, words(&places));
        image.put((directory + directory_sectors) * SECTOR, words(&entries));
    }
    if let Some(text) = descriptor {
        assert!(text.len() as u64 <= DESCRIPTOR_SECTORS * SECTOR, "too long a descriptor");
        image.put(SECTOR, text.as_bytes().to_vec());
    }
    image.put(0, header(spec, descriptor.is_some(), [copy, first, overhead]));
    image
}

/// Puts the grains; returns the entries of all tables.
fn grains(spec: &SparseSpec, tables: u64, overhead: u64, image: &mut Image) -> Vec<u32> {
    let mut entries = vec![0; usize::try_from(tables * PER_TABLE).expect("small")];
    let mut free = overhead;
    for number in spec.order() {
        entries[usize::try_from(number).expect("small")] = match &spec.grains[&number] {
            Grain::Zero => 1,
            Grain::Unmapped(_) => panic!("hosted files have no grains that were given up"),
            Grain::Data(bytes) => {
                image.put(free * SECTOR, bytes.clone());
                free += spec.grain_sectors;
                sectors32(free - spec.grain_sectors)
            }
        };
    }
    image.extend(free * SECTOR);
    entries
}

fn header(spec: &SparseSpec, described: bool, [copy, first, overhead]: [u64; 3]) -> Vec<u8> {
    let zeros = spec.grains.values().any(|grain| *grain == Grain::Zero);
    let (version, flags) = if zeros { (2_u32, 7_u32) } else { (1, 3) };
    let mut header = b"KDMV".to_vec();
    header.extend(version.to_le_bytes());
    header.extend(flags.to_le_bytes());
    let place = if described { [1, DESCRIPTOR_SECTORS] } else { [0, 0] };
    for field in [spec.capacity / SECTOR, spec.grain_sectors, place[0], place[1]] {
        header.extend(field.to_le_bytes());
    }
    header.extend(sectors32(PER_TABLE).to_le_bytes());
    for field in [copy, first, overhead] {
        header.extend(field.to_le_bytes());
    }
    header.extend(b"\0\n \r\n\0\0");
    header.resize(512, 0);
    header
}
