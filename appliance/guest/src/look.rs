//! The look at a disk, from its partition table down.

use crate::Reason;
use crate::content::{Content, content};
use crate::disk::{Area, Disk};
use crate::ranges::Ranges;
use crate::swap;
use crate::table::{self, Partition, Purpose};
use block::ReadAt;
use model::{DiskRange, Exclusion, ExclusionKind};

/// What is to be excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Swap.
    pub swap: bool,
    /// Ranges are rounded inward to multiples of so many bytes; a power of two.
    pub grain: u64,
}

/// What a look at a disk found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What need not be stored; no two overlap.
    pub excluded: Vec<Exclusion>,
    /// What may hold something to exclude, and was not looked into.
    pub passed_over: Vec<PassedOver>,
}

/// A part of a disk that is stored as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Such as 'partition 2'.
    pub what: String,
    /// Why it was not looked into.
    pub reason: String,
}

/// Looks at a whole disk. It reads at most 256 MiB, in pieces of 64 KiB, and a few MiB of memory
/// are enough; what cannot be read is passed over. Blocks as long as `disk` does.
#[must_use]
pub fn look(disk: &dyn ReadAt, wanted: Wanted) -> Found {
    let disk = Disk::new(disk);
    let mut look = Look { wanted, size: disk.size(), found: Found::default() };
    if wanted.swap && disk.size() > 0 {
        look.disk(&Area::whole(&disk));
    }
    look.found
}

/// A look under way.
struct Look {
    wanted: Wanted,
    size: u64,
    found: Found,
}

impl Look {
    fn disk(&mut self, disk: &Area<'_>) {
        let without_table = content(disk);
        match (table::read(disk), without_table) {
            (Err(reason), _) => self.pass_over("the disk", reason),
            (Ok(None), Err(reason)) => self.pass_over("the disk", reason),
            (Ok(None), Ok(None)) => {
                let reason = "it has no partition table and nothing that is known";
                self.pass_over("the disk", Reason::new(reason));
            }
            (Ok(None), Ok(Some(content))) => self.of_content("the disk", disk, content),
            (Ok(Some(_)), Ok(Some(_)) | Err(_)) => {
                let reason = "it has a partition table and looks like a file system as well";
                self.pass_over("the disk", Reason::new(reason));
            }
            (Ok(Some(list)), Ok(None)) => {
                list.iter().for_each(|partition| self.partition(disk, partition));
            }
        }
    }

    fn partition(&mut self, disk: &Area<'_>, partition: &Partition) {
        let what = format!("partition {}", partition.number);
        let known = disk.of(&[partition.range]).and_then(|area| Ok((content(&area)?, area)));
        let reason = match (&partition.purpose, known) {
            (_, Err(reason)) => reason,
            (Purpose::Other(kind), _) => Reason::new(format!("its type is {kind}")),
            (Purpose::Swap, Ok((Some(Content::Swap), area))) => {
                return self.of_content(&what, &area, Content::Swap);
            }
            (Purpose::Data, Ok((Some(Content::Swap), _))) => {
                Reason::new("it looks like swap, and its type says that it is not")
            }
            (Purpose::Data, Ok((Some(content), area))) => {
                return self.of_content(&what, &area, content);
            }
            (Purpose::Swap, Ok((Some(_), _))) => {
                Reason::new("its type is that of swap, and it holds something else")
            }
            (_, Ok((None, _))) => Reason::new("it holds nothing that is known"),
        };
        self.pass_over(&what, reason);
    }

    /// What is in a partition, a volume, or a disk without partitions.
    fn of_content(&mut self, what: &str, area: &Area<'_>, content: Content) {
        let done = match content {
            Content::Swap => self.swap(what, area),
            Content::Other(name) => Err(Reason::new(format!("{name} is not looked into"))),
        };
        if let Err(reason) = done {
            self.pass_over(what, reason);
        }
    }

    fn swap(&mut self, what: &str, area: &Area<'_>) -> Result<(), Reason> {
        let pages = swap::pages(area)?;
        self.exclude(ExclusionKind::Swap, format!("swap on {what}"), area, [pages])
    }

    /// Excludes ranges of an area, as far as they fill whole units.
    fn exclude(
        &mut self,
        kind: ExclusionKind,
        what: String,
        area: &Area<'_>,
        ranges: impl IntoIterator<Item = DiskRange>,
    ) -> Result<(), Reason> {
        let mut whole = Ranges::new(self.wanted.grain, self.size);
        for range in ranges {
            area.places(range, |place| whole.push(place))?;
        }
        let ranges = whole.finish().ok_or_else(|| Reason::new("its ranges overlap"))?;
        if !ranges.is_empty() {
            self.found.excluded.push(Exclusion { kind, what, ranges });
        }
        Ok(())
    }

    fn pass_over(&mut self, what: &str, Reason(reason): Reason) {
        self.found.passed_over.push(PassedOver { what: what.into(), reason });
    }
}
