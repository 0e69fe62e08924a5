//! The check of a whole file: every entry of every table means something, and no two entries
//! share a byte of the file.

use super::layout::{Format, SECTOR};
use super::{Grain, Sparse};
use crate::bytes::index;
use crate::error::VmdkError;

/// Units of file looked at in one pass: 32 MiB of memory, 128 GiB of file in sectors, 1 TiB in
/// grains of SEsparse. A larger file is walked several times, so that memory is bounded.
const PASS: u64 = 1 << 28;

impl Sparse {
    /// Walks all tables. Deflated grains carry their own place and need no comparison.
    pub(crate) fn verify(&self) -> Result<(), VmdkError> {
        let (first, unit) = match self.layout.format {
            Format::SeSparse { grains, .. } => (grains.start, self.layout.grain),
            Format::Cowd | Format::Hosted { .. } => (0, SECTOR),
        };
        let units = self.pages.size().saturating_sub(first).div_ceil(unit);
        let mut start = 0;
        loop {
            let end = units.min(start + PASS);
            let mut taken = Taken::new(start, end);
            self.pass(&mut taken, first, unit)?;
            if end == units {
                return Ok(());
            }
            start = end;
        }
    }

    fn pass(&self, taken: &mut Taken, first: u64, unit: u64) -> Result<(), VmdkError> {
        for &(table, _) in self.directory.tables() {
            let start = u64::from(table) * self.layout.per_table;
            for number in start..self.layout.grains().min(start + self.layout.per_table) {
                let (Grain::At(offset), _) = self.find(number)? else { continue };
                let from = (offset - first) / unit;
                let to = (offset - first + self.layout.grain_bytes(number)).div_ceil(unit);
                if !taken.take(from, to) {
                    let at = self.pages.at("grain", offset);
                    let found = format_args!("also that of another than {number}").to_string();
                    return Err(at.damaged("its place", found, "that of one grain"));
                }
            }
        }
        Ok(())
    }
}

/// Which units `start..end` of a file are taken.
struct Taken {
    start: u64,
    end: u64,
    bits: Vec<u64>,
}

impl Taken {
    fn new(start: u64, end: u64) -> Self {
        Self { start, end, bits: vec![0; index((end - start).div_ceil(64))] }
    }

    /// Takes the units; false when one of them was taken before.
    fn take(&mut self, from: u64, to: u64) -> bool {
        for unit in from.max(self.start)..to.min(self.end) {
            let (word, bit) = (index((unit - self.start) / 64), 1 << ((unit - self.start) % 64));
            if self.bits[word] & bit != 0 {
                return false;
            }
            self.bits[word] |= bit;
        }
        true
    }
}
