//! The disk as this crate sees it: small reads, kept for a while, and counted.

use crate::Reason;
use crate::bytes::index;
use block::{ReadAt, ReadError};
use model::DiskRange;
use std::cell::RefCell;
use std::collections::VecDeque;

/// Bytes that one look at a disk may read. All bitmaps of a file system of 8 TiB have 256 MiB;
/// beyond it the time would no longer be small beside that of a backup.
pub(crate) const READ_MAX: u64 = 256 << 20;
/// Bytes that are read at once.
const BLOCK: u64 = 64 << 10;
/// Blocks that are kept: 2 MiB.
const KEPT: usize = 32;
/// What a call costs even when all is in memory, so that no loop can go on for ever.
const CALL: u64 = 64;

/// A disk with a purse.
pub(crate) struct Disk<'a> {
    inner: &'a dyn ReadAt,
    state: RefCell<State>,
}

struct State {
    left: u64,
    kept: VecDeque<(u64, Vec<u8>)>,
}

impl<'a> Disk<'a> {
    pub(crate) fn new(inner: &'a dyn ReadAt) -> Self {
        let state = State { left: READ_MAX, kept: VecDeque::new() };
        Self { inner, state: RefCell::new(state) }
    }

    pub(crate) fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read(&self, range: DiskRange, into: &mut Vec<u8>) -> Result<(), Reason> {
        let length = index(range.length);
        ReadError::check(range.offset, length, self.size())?;
        let state = &mut *self.state.borrow_mut();
        state.pay(CALL)?;
        let mut at = range.offset;
        while at < range.end() {
            let first = at / BLOCK * BLOCK;
            let block = state.block(self.inner, first)?;
            let end = range.end().min(first + block.len() as u64);
            into.extend_from_slice(&block[index(at - first)..index(end - first)]);
            at = end;
        }
        Ok(())
    }
}

impl State {
    fn pay(&mut self, cost: u64) -> Result<(), Reason> {
        let left = self.left.checked_sub(cost);
        self.left = left.ok_or_else(|| {
            Reason::new(format!("it takes more than {} MiB of reading to tell", READ_MAX >> 20))
        })?;
        Ok(())
    }

    fn block(&mut self, inner: &dyn ReadAt, first: u64) -> Result<&[u8], Reason> {
        if let Some(found) = self.kept.iter().position(|(offset, _)| *offset == first) {
            return Ok(&self.kept[found].1);
        }
        let length = BLOCK.min(inner.size() - first);
        self.pay(length)?;
        let bytes = inner.read_vec(first, index(length))?;
        self.kept.truncate(KEPT - 1);
        self.kept.push_front((first, bytes));
        Ok(&self.kept[0].1)
    }
}

/// A part of the disk with addresses of its own: a partition, or a logical volume.
#[derive(Clone)]
pub(crate) struct Area<'a> {
    disk: &'a Disk<'a>,
    /// Its bytes in order; each lies on the disk.
    pieces: Vec<DiskRange>,
}

impl<'a> Area<'a> {
    pub(crate) fn whole(disk: &'a Disk<'a>) -> Self {
        Self { disk, pieces: vec![DiskRange { offset: 0, length: disk.size() }] }
    }

    /// An area made of parts of this one, in their order.
    pub(crate) fn of(&self, parts: &[DiskRange]) -> Result<Self, Reason> {
        let mut pieces = Vec::new();
        for &part in parts {
            self.places(part, |place| pieces.push(place))?;
        }
        Ok(Self { disk: self.disk, pieces })
    }

    pub(crate) fn size(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.length).sum()
    }

    /// Where on the disk a range of this area lies; an error when it is not all there.
    pub(crate) fn places(
        &self,
        range: DiskRange,
        mut found: impl FnMut(DiskRange),
    ) -> Result<(), Reason> {
        let end = range.offset.checked_add(range.length).filter(|&end| end <= self.size());
        let end = end.ok_or_else(|| Reason::new("a structure points beyond its end"))?;
        let mut start = 0;
        for piece in &self.pieces {
            let from = range.offset.max(start);
            let to = end.min(start + piece.length);
            if from < to {
                found(DiskRange { offset: piece.offset + (from - start), length: to - from });
            }
            start += piece.length;
        }
        Ok(())
    }

    /// `length` bytes from `offset` on. The caller bounds the length.
    pub(crate) fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, Reason> {
        let (mut bytes, mut places) = (Vec::with_capacity(length), Vec::new());
        let range = DiskRange { offset, length: length as u64 };
        self.places(range, |place| places.push(place))?;
        places.into_iter().try_for_each(|place| self.disk.read(place, &mut bytes))?;
        Ok(bytes)
    }

    /// What there is of `length` bytes from `offset` on.
    pub(crate) fn read_up_to(&self, offset: u64, length: usize) -> Result<Vec<u8>, Reason> {
        let left = self.size().saturating_sub(offset).min(length as u64);
        if left == 0 { Ok(Vec::new()) } else { self.read(offset, index(left)) }
    }
}
