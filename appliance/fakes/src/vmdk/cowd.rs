//! COWD files.

use super::{Grain, Image, SECTOR, SparseSpec, sectors32};
use std::collections::BTreeMap;

const PER_TABLE: u64 = 4096;
const DIRECTORY_SECTOR: u64 = 4;

/// Makes a `-delta.vmdk`.
///
/// # Panics
/// When the specification has grains that the format cannot say, or too many of them.
#[must_use]
pub fn cowd(spec: &SparseSpec) -> Image {
    let grain = spec.grain_bytes();
    let tables = spec.capacity.div_ceil(grain).div_ceil(PER_TABLE);
    let mut image = Image::default();
    let mut directory = vec![0_u32; usize::try_from(tables).expect("small")];
    let mut entries: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    let mut free = DIRECTORY_SECTOR + (tables * 4).div_ceil(SECTOR);
    for number in spec.order() {
        let Grain::Data(bytes) = &spec.grains[&number] else {
            panic!("COWD has no mark for zeros");
        };
        let (table, within) = (number / PER_TABLE, number % PER_TABLE);
        let list = entries.entry(table).or_insert_with(|| {
            directory[usize::try_from(table).expect("small")] = sectors32(free);
            free += PER_TABLE * 4 / SECTOR;
            vec![0; usize::try_from(PER_TABLE).expect("small")]
        });
        list[usize::try_from(within).expect("small")] = sectors32(free);
        image.put(free * SECTOR, bytes.clone());
        free += spec.grain_sectors;
    }
    for (table, list) in entries {
        let at = directory[usize::try_from(table).expect("small")];
        image.put(u64::from(at) * SECTOR, words(&list));
    }
    image.put(DIRECTORY_SECTOR * SECTOR, words(&directory));
    image.put(0, header(spec, tables, free));
    image.extend(free * SECTOR);
    image
}

fn header(spec: &SparseSpec, tables: u64, free: u64) -> Vec<u8> {
    let mut header = b"COWD".to_vec();
    let capacity = spec.capacity / SECTOR;
    for field in [1, 3, capacity, spec.grain_sectors, DIRECTORY_SECTOR, tables, free] {
        header.extend(sectors32(field).to_le_bytes());
    }
    header.resize(2048, 0);
    header
}

pub(super) fn words(list: &[u32]) -> Vec<u8> {
    list.iter().flat_map(|word| word.to_le_bytes()).collect()
}
