//! The master boot record, and the chain of tables that holds logical partitions.

use super::{Partition, Purpose, SECTOR, apart, sectors};
use crate::Reason;
use crate::bytes::{Fields, index};
use crate::disk::Area;
use model::DiskRange;

/// Most logical partitions; Linux numbers a disk's partitions no further.
const LOGICAL_MAX: u32 = 128;
const PROTECTIVE: u8 = 0xEE;

/// What the first sector is.
pub(super) enum Mbr {
    /// No table.
    None,
    /// A table of its own.
    Partitions(Vec<Partition>),
    /// It only says that there is a GPT.
    Protective,
}

#[derive(Clone, Copy)]
struct Entry {
    kind: u8,
    first: u64,
    count: u64,
}

impl Entry {
    fn is_extended(self) -> bool {
        matches!(self.kind, 0x05 | 0x0F | 0x85)
    }

    fn purpose(self) -> Purpose {
        match self.kind {
            0x82 => Purpose::Swap,
            0x07 | 0x83 | 0x8E => Purpose::Data,
            other => Purpose::Other(format!("{other:02x}")),
        }
    }
}

pub(super) fn read(disk: &Area<'_>) -> Result<Mbr, Reason> {
    let Some(entries) = entries(disk, 0)? else { return Ok(Mbr::None) };
    let used: Vec<_> = (1..).zip(entries).filter(|(_, entry)| entry.kind != 0).collect();
    if used.is_empty() {
        return Ok(Mbr::None);
    }
    if used.iter().any(|(_, entry)| entry.kind == PROTECTIVE) {
        return match used.as_slice() {
            [_] => Ok(Mbr::Protective),
            _ => Err(Reason::new("its MBR and its GPT both name partitions")),
        };
    }
    let mut taken = vec![DiskRange { offset: 0, length: SECTOR }];
    let (mut found, mut extended) = (Vec::new(), None);
    for (number, entry) in used {
        let range = sectors(disk, entry.first, entry.count)?;
        taken.push(range);
        if !entry.is_extended() {
            found.push(Partition { number, purpose: entry.purpose(), range });
        } else if extended.replace((entry.first, range)).is_some() {
            return Err(Reason::new("it has two extended partitions"));
        }
    }
    apart(taken)?;
    if let Some((first, range)) = extended {
        found.extend(logical(disk, first, range)?);
    }
    Ok(Mbr::Partitions(found))
}

/// The logical partitions; each table names one and the next table.
fn logical(disk: &Area<'_>, base: u64, inside: DiskRange) -> Result<Vec<Partition>, Reason> {
    let (mut found, mut taken) = (Vec::new(), Vec::new());
    let mut table = base;
    for number in 5..5 + LOGICAL_MAX {
        let own = sectors(disk, table, 1)?;
        taken.push(own);
        let broken = || Reason::new("the chain of its logical partitions is broken");
        let entries = entries(disk, own.offset)?.ok_or_else(broken)?;
        let [entry, next, ..] = entries;
        if entry.kind != 0 {
            let range = sectors(disk, table.saturating_add(entry.first), entry.count)?;
            taken.push(range);
            found.push(Partition { number, purpose: entry.purpose(), range });
        }
        if next.kind != 0 && next.is_extended() {
            table = base.saturating_add(next.first);
            continue;
        }
        let within =
            |range: &DiskRange| inside.offset <= range.offset && range.end() <= inside.end();
        if next.kind != 0 || !taken.iter().all(within) {
            return Err(broken());
        }
        apart(taken)?;
        return Ok(found);
    }
    Err(Reason::new(format!("it has more than {LOGICAL_MAX} logical partitions")))
}

/// The four entries of the table at `at`; `None`: there is no table.
fn entries(disk: &Area<'_>, at: u64) -> Result<Option<[Entry; 4]>, Reason> {
    let sector = disk.read_up_to(at, index(SECTOR))?;
    let fields = Fields::new("partition table", &sector);
    if !fields.has(510, &[0x55, 0xAA]) {
        return Ok(None);
    }
    let mut entries = [Entry { kind: 0, first: 0, count: 0 }; 4];
    for (number, entry) in entries.iter_mut().enumerate() {
        let at = 446 + 16 * number;
        // Neither 'active' nor not: this is the code of a boot sector, not a table.
        if fields.u8(at)? & 0x7F != 0 {
            return Ok(None);
        }
        let (first, count) = (fields.u32(at + 8)?, fields.u32(at + 12)?);
        *entry = Entry { kind: fields.u8(at + 4)?, first: first.into(), count: count.into() };
    }
    Ok(Some(entries))
}
