//! The trailer of a segment that has lost both of its own.
//!
//! Nothing in a trailer is new: the lengths follow from the length of the file, the seal stands in
//! the ledger, the rest in the footer, and the table's hash in the table. So who has the ledger
//! finds the footer by its seal and makes the trailer anew. What is believed of it is proven
//! afterwards, as every repair: the seal, the hash of the data, and the table that follows from
//! the data.

use super::repair::repair_zone;
use super::{Geometry, ParityWriter, Zone};
use crate::BLOCK;
use crate::footer::{ENTRY, FOOTER_HEAD};
use crate::header::RepositoryId;
use crate::segment::Class;
use crate::trailer::Trailer;
use std::convert::Infallible;

/// Longest footer that is looked for: that of a segment of 4 GiB with a record in every block.
const FOOTER_MAX: usize = 60 << 20;

/// What the ledger says of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The repository.
    pub repository: RepositoryId,
    /// Its serial.
    pub serial: u32,
    /// BLAKE3 of its footer.
    pub seal: [u8; 32],
    /// Length of the file.
    pub length: u64,
}

/// The trailer of `sealed`, when its footer can be found or computed. `read` fills a buffer from
/// an offset; what cannot be read it gives as zeros.
///
/// Tried are each of the two tables, and, when both are lost, the one that follows from the data.
/// Memory: a zone, the footer (a few MiB, 60 at most) and 1 % of the file.
pub fn recover_trailer(sealed: &Sealed, mut read: impl FnMut(u64, &mut [u8])) -> Option<Trailer> {
    let geometry = Geometry::of_file(sealed.length)?;
    let length = usize::try_from(geometry.table_length()).ok()?;
    for at in geometry.tables() {
        let mut table = vec![0; length];
        read(at, &mut table);
        let found = find_footer(sealed, geometry, &table, &mut read);
        // Of two tables with equal checksums of the footer one may be wrong elsewhere.
        if let Some(trailer) = found.filter(|found| follows(found, &table, &mut read)) {
            return Some(trailer);
        }
    }
    let table = table_of_data(geometry, &mut read);
    find_footer(sealed, geometry, &table, &mut read)
}

/// Whether the table's checksums of itself make sense: a right one has few blocks that differ.
fn follows(trailer: &Trailer, table: &[u8], read: &mut impl FnMut(u64, &mut [u8])) -> bool {
    let mut read = |at: u64, buffer: &mut [u8]| {
        read(at, buffer);
        Ok::<_, Infallible>(())
    };
    debug_assert_eq!(trailer.table_hash, *blake3::hash(table).as_bytes());
    super::repair(trailer, &mut read, |_| Ok(())).is_ok()
}

fn table_of_data(geometry: Geometry, read: &mut impl FnMut(u64, &mut [u8])) -> Vec<u8> {
    let mut writer = ParityWriter::new();
    let mut data = Vec::new();
    for zone in geometry.zones() {
        data.resize(zone.length, 0);
        read(zone.start, &mut data);
        writer.write(&data);
    }
    writer.finish().map(|protection| protection.table).unwrap_or_default()
}

/// Zone by zone from the end, each repaired as far as it can be: the block whose bytes, as many as
/// it says that the footer has, hash to the seal.
fn find_footer(
    sealed: &Sealed,
    geometry: Geometry,
    table: &[u8],
    read: &mut impl FnMut(u64, &mut [u8]),
) -> Option<Trailer> {
    let zones: Vec<Zone> = geometry.zones().collect();
    let mut tail = Vec::new();
    for zone in zones.iter().rev() {
        let mut bytes = repaired_zone(zone, geometry, table, read);
        bytes.append(&mut tail);
        tail = bytes;
        let starts = (0..zone.length).step_by(BLOCK).rev();
        let found = starts.into_iter().find_map(|at| {
            let offset = zone.start + at as u64;
            as_footer(sealed, geometry, offset, &tail[at..])
        });
        if let Some(trailer) = found {
            return Some(Trailer { table_hash: *blake3::hash(table).as_bytes(), ..trailer });
        }
        if tail.len() > FOOTER_MAX {
            return None;
        }
    }
    None
}

/// As it can be had: what is beyond the parity stays as it was read.
fn repaired_zone(
    zone: &Zone,
    geometry: Geometry,
    table: &[u8],
    read: &mut impl FnMut(u64, &mut [u8]),
) -> Vec<u8> {
    let (mut data, mut parity) = (vec![0; zone.length], vec![0; zone.parity_length()]);
    read(zone.start, &mut data);
    read(zone.parity_at, &mut parity);
    let mut better = data.clone();
    match repair_zone::<Infallible>(zone, &geometry, table, &mut better, &parity) {
        Ok(_) => better,
        Err(_) => data,
    }
}

/// The trailer for the footer that begins with `tail`, if one does.
fn as_footer(sealed: &Sealed, geometry: Geometry, offset: u64, tail: &[u8]) -> Option<Trailer> {
    let head = tail.get(..FOOTER_HEAD).filter(|head| head.starts_with(b"HFFT"))?;
    let number = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let length = usize::try_from(number(32)?).ok()?.checked_mul(ENTRY)?.checked_add(FOOTER_HEAD)?;
    let fits = length.next_multiple_of(BLOCK) == tail.len();
    let footer = tail.get(..length).filter(|_| fits)?;
    if *blake3::hash(footer).as_bytes() != sealed.seal {
        return None;
    }
    Some(Trailer {
        repository: sealed.repository,
        serial: sealed.serial,
        class: Class::from_byte("segment footer", head[6]).ok()?,
        cohort: head[7],
        epoch: number(36)?,
        footer_offset: offset,
        footer_length: length as u64,
        seal: sealed.seal,
        geometry,
        table_hash: [0; 32],
    })
}
