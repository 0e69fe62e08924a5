//! The right bytes of a damaged segment, as long as no row has more wrong blocks than parity.
//!
//! The whole file is made anew, in order, into a sink: the data repaired, everything behind it
//! computed from the data. What comes out is either the segment as it was sealed, byte for byte,
//! or an error; then what the sink has taken is worthless.

use super::check::{Proof, is_right, load_table};
use super::code::decode;
use super::{Geometry, PARITY_COLUMNS, ParityWriter, Zone};
use crate::BLOCK;
use crate::trailer::Trailer;
use std::error::Error;

/// A segment that was made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// Blocks of data and footer that were wrong and are right now.
    pub blocks: u64,
}

/// Why a segment was not repaired. Whatever the sink has taken must not be used.
#[derive(Debug, thiserror::Error)]
pub enum RepairError<E: Error + 'static> {
    /// A read or a write failed.
    #[error(transparent)]
    Io(#[from] E),
    /// More is wrong than the parity can compute.
    #[error(
        "more is damaged than the parity can compute: a row of the zone at byte {zone} has \
         {wrong} wrong blocks, and {PARITY_COLUMNS} can be repaired"
    )]
    Beyond {
        /// First byte of the zone.
        zone: u64,
        /// Wrong blocks of one row.
        wrong: usize,
    },
    /// The result is not what had been sealed.
    #[error("what the repair gives is not what had been sealed: {problem}")]
    NotProven {
        /// What differs.
        problem: &'static str,
    },
}

/// Makes the file of `trailer` anew: all of its bytes, in order, go into `sink`. `read` fills a
/// buffer from an offset; what cannot be read it gives as zeros.
///
/// Memory: two zones (31 MiB) and 1 % of the file.
pub fn repair<E: Error>(
    trailer: &Trailer,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    mut sink: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Repaired, RepairError<E>> {
    let geometry = trailer.geometry;
    let (table, _) = load_table(trailer, &mut read)?;
    let mut proof = Proof::new(trailer, 0);
    let mut writer = ParityWriter::new();
    let (mut data, mut parity, mut blocks) = (Vec::new(), Vec::new(), 0);
    for zone in geometry.zones() {
        data.resize(zone.length, 0);
        read(zone.start, &mut data)?;
        if let Some(table) = &table {
            parity.resize(zone.parity_length(), 0);
            read(zone.parity_at, &mut parity)?;
            blocks += repair_zone(&zone, &geometry, table, &mut data, &parity)?;
        }
        proof.update(&data);
        writer.write(&data);
        sink(&data)?;
    }
    if !proof.holds() {
        let problem = "the hash of the data, or the seal";
        return Err(RepairError::NotProven { problem });
    }
    let protection = writer.finish().expect("as long as the geometry says");
    if *blake3::hash(&protection.table).as_bytes() != trailer.table_hash {
        return Err(RepairError::NotProven { problem: "the table of checksums" });
    }
    sink(&trailer.tail(&protection))?;
    Ok(Repaired { blocks })
}

/// Puts the right blocks into `data` and counts them.
pub(super) fn repair_zone<E: Error>(
    zone: &Zone,
    geometry: &Geometry,
    table: &[u8],
    data: &mut [u8],
    parity: &[u8],
) -> Result<u64, RepairError<E>> {
    let mut repaired = 0;
    for row in 0..zone.rows() {
        let found = {
            let blocks = row_blocks(zone, geometry, table, (data, parity), row);
            let wrong = blocks.iter().filter(|block| block.is_none()).count();
            if wrong > PARITY_COLUMNS {
                return Err(RepairError::Beyond { zone: zone.start, wrong });
            }
            let (data_blocks, _) = blocks.split_at(zone.columns());
            if data_blocks.iter().all(Option::is_some) {
                continue;
            }
            decode(&blocks).ok_or(RepairError::Beyond { zone: zone.start, wrong })?
        };
        for (column, block) in found {
            let at = column * zone.column() + row * BLOCK;
            if !is_right(table, geometry, zone.start + at as u64, &block) {
                let problem = "the checksum of a computed block";
                return Err(RepairError::NotProven { problem });
            }
            data[at..at + BLOCK].copy_from_slice(&block);
            repaired += 1;
        }
    }
    Ok(repaired)
}

/// The blocks of a row: data, then parity; `None` stands for a wrong one.
fn row_blocks<'a>(
    zone: &Zone,
    geometry: &Geometry,
    table: &[u8],
    (data, parity): (&'a [u8], &'a [u8]),
    row: usize,
) -> Vec<Option<&'a [u8]>> {
    const ZEROS: &[u8] = &[0; BLOCK];
    let of = |bytes: &'a [u8], start: u64, column: usize| {
        let at = column * zone.column() + row * BLOCK;
        match bytes.get(at..at + BLOCK) {
            Some(block) => is_right(table, geometry, start + at as u64, block).then_some(block),
            None => Some(ZEROS), // beyond the end of the zone
        }
    };
    let data = (0..zone.columns()).map(|column| of(data, zone.start, column));
    data.chain((0..PARITY_COLUMNS).map(|column| of(parity, zone.parity_at, column))).collect()
}
