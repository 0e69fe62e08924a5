//! Partition tables.
//!
//! | table | read here | trusted when |
//! |---|---|---|
//! | GPT (UEFI 2.10, chapter 5) | both headers, both lists | checksums right, copies the same |
//! | MBR | primary, extended and logical partitions | all on the disk, none over another |
//!
//! A GPT's MBR may hold nothing but the protective entry. A sector of a virtual disk has 512 bytes
//! for the guest. The crates for it (`gpt`, `gptman`, `mbrman`) want a stream that seeks, and
//! repair or accept where this must refuse; what is needed of a table is little.

mod gpt;
mod mbr;

use crate::Reason;
use crate::disk::Area;
use model::DiskRange;

/// Bytes of a sector, as partition tables count.
pub(crate) const SECTOR: u64 = 512;

/// What the table says a partition is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Linux swap.
    Swap,
    /// A file system, or an LVM physical volume.
    Data,
    /// Another type, as the table writes it.
    Other(String),
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    /// As Linux counts them.
    pub(crate) number: u32,
    pub(crate) purpose: Purpose,
    pub(crate) range: DiskRange,
}

/// The partitions; `None`: there is no table.
pub(crate) fn read(disk: &Area<'_>) -> Result<Option<Vec<Partition>>, Reason> {
    let partitions = match mbr::read(disk)? {
        mbr::Mbr::None => return Ok(None),
        mbr::Mbr::Partitions(list) => list,
        mbr::Mbr::Protective => gpt::read(disk)?,
    };
    Ok(Some(partitions))
}

/// Sectors as bytes of the disk; an error when they are not all on it.
fn sectors(disk: &Area<'_>, first: u64, count: u64) -> Result<DiskRange, Reason> {
    let bytes = |sectors: u64| sectors.checked_mul(SECTOR);
    let range = bytes(first).zip(bytes(count)).and_then(|(at, length)| DiskRange::new(at, length));
    range
        .filter(|range| !range.is_empty() && range.end() <= disk.size())
        .ok_or_else(|| Reason::new("the partition table points beyond the end of the disk"))
}

/// No two of these overlap.
fn apart(mut ranges: Vec<DiskRange>) -> Result<(), Reason> {
    ranges.sort_unstable();
    match ranges.windows(2).all(|pair| pair[0].end() <= pair[1].offset) {
        true => Ok(()),
        false => Err(Reason::new("partitions overlap one another, or the table itself")),
    }
}
