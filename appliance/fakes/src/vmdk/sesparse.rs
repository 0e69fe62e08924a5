//! SEsparse files.

use super::{Grain, Image, SECTOR, SparseSpec};
use std::collections::BTreeMap;

/// Bytes of every grain.
pub const GRAIN: u64 = 4096;
const GRAIN_SECTORS: u64 = 8;
const TABLE_SECTORS: u64 = 64;
const PER_TABLE: u64 = 4096;

/// Where the areas lie, in sectors: (offset, size) in the order of the header.
struct Areas([(u64, u64); 8]);

const GRAIN_DIRECTORY: usize = 3;
const GRAIN_TABLES: usize = 4;
const FREE_BITMAP: usize = 5;
const BACK_MAP: usize = 6;
const GRAINS: usize = 7;

/// Makes a `-sesparse.vmdk`.
#[must_use]
pub fn sesparse(spec: &SparseSpec) -> Image {
    let grains = spec.capacity.div_ceil(GRAIN);
    let areas = Areas::of(grains, spec.align_sectors);
    let mut image = Image::default();
    let (mut directory, mut tables) = (BTreeMap::new(), BTreeMap::new());
    let mut back_map = Vec::new();
    for number in spec.order() {
        let (table, within) = (number / PER_TABLE, number % PER_TABLE);
        let next = directory.len() as u64;
        let place = *directory.entry(table).or_insert(next);
        let list: &mut Vec<u64> = tables.entry(place).or_insert_with(|| vec![0; 4096]);
        let mut put = |bytes: &[u8]| {
            let index = back_map.len() as u64;
            let mut whole = bytes.to_vec();
            whole.resize(4096, 0);
            image.put(areas.byte(GRAINS) + index * GRAIN, whole);
            back_map.push(1 << 60 | rotated(number));
            rotated(index)
        };
        list[usize::try_from(within).expect("small")] = match &spec.grains[&number] {
            Grain::Data(bytes) => 3 << 60 | put(bytes),
            Grain::Unmapped(bytes) => 1 << 60 | put(bytes),
            Grain::Zero => 2 << 60,
        };
    }
    for (table, place) in &directory {
        let entry = 0x1000_0000_u64 << 32 | place;
        image.put(areas.byte(GRAIN_DIRECTORY) + table * 8, entry.to_le_bytes().to_vec());
    }
    for (place, list) in &tables {
        image.put(areas.byte(GRAIN_TABLES) + place * TABLE_SECTORS * SECTOR, words(list));
    }
    image.put(areas.byte(FREE_BITMAP), bits(back_map.len()));
    image.put(areas.byte(BACK_MAP), words(&back_map));
    image.put(0, constant_header(spec, &areas));
    image.put(SECTOR, volatile_header(directory.len() as u64));
    image.put(2 * SECTOR, 0xDEAF_C0DE_u64.to_le_bytes().to_vec());
    // As the sample: one grain more than is used.
    image.extend(areas.byte(GRAINS) + (back_map.len() as u64 + 1) * GRAIN);
    image
}

/// The low 12 bits of a number stand above the others.
fn rotated(number: u64) -> u64 {
    (number & 0xFFF) << 48 | number >> 12
}

impl Areas {
    fn of(grains: u64, align: u64) -> Self {
        let up = |sectors: u64| sectors.next_multiple_of(align);
        let tables = grains.div_ceil(PER_TABLE);
        let journal = up(4);
        let directory = journal + up(1);
        let first_table = directory + up((tables * 8).div_ceil(SECTOR));
        let bitmap = first_table + up(tables * TABLE_SECTORS);
        let back_map = bitmap + up(grains.div_ceil(8 * SECTOR));
        let first_grain = back_map + up((grains * 8).div_ceil(SECTOR));
        Self([
            (1, 1),
            (2, 2),
            (journal, directory - journal),
            (directory, first_table - directory),
            (first_table, bitmap - first_table),
            (bitmap, back_map - bitmap),
            (back_map, first_grain - back_map),
            (first_grain, grains * GRAIN_SECTORS),
        ])
    }

    /// Offset of an area in bytes.
    fn byte(&self, area: usize) -> u64 {
        self.0[area].0 * SECTOR
    }
}

fn constant_header(spec: &SparseSpec, areas: &Areas) -> Vec<u8> {
    let mut fields = vec![0xCAFE_BABE, 0x2_0000_0001, spec.capacity / SECTOR, GRAIN_SECTORS];
    fields.extend([TABLE_SECTORS, 0, 0, 0, 0, 0]);
    fields.extend(areas.0.iter().flat_map(|(offset, size)| [*offset, *size]));
    fields.resize(64, 0);
    words(&fields)
}

fn volatile_header(tables: u64) -> Vec<u8> {
    let mut fields = vec![0xCAFE_CAFE, tables, 0x24, 0];
    fields.resize(64, 0);
    words(&fields)
}

/// The first `count` bits set: 1 is allocated.
fn bits(count: usize) -> Vec<u8> {
    let mut bytes = vec![0xFF; count / 8];
    if !count.is_multiple_of(8) {
        bytes.push((1 << (count % 8)) - 1);
    }
    bytes
}

fn words(list: &[u64]) -> Vec<u8> {
    list.iter().flat_map(|word| word.to_le_bytes()).collect()
}
