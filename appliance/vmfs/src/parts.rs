//! The parts of a file, one after the other: memory for a few pointer blocks, whatever the
//! file's size. Empty stretches are passed over a pointer block, or 8192 of them, at a time.

use crate::descriptor::{Descriptor, Zla};
use crate::error::{At, VmfsError};
use crate::map::{Mapped, Target, join};
use crate::pointers::{self, Placed, PointerCache};
use crate::volume::Core;
use std::collections::VecDeque;

/// Says where the bytes of a range are: ascending, without gaps, neighbours joined. Ends after
/// an error.
pub struct Parts<'a> {
    core: &'a Core,
    descriptor: &'a Descriptor,
    pointers: &'a PointerCache,
    /// First byte that was not looked at yet.
    position: u64,
    end: u64,
    /// Parts that were found and may be joined to those that follow. Never more than those of
    /// one block, which lies on a few LUNs at the most.
    found: VecDeque<Mapped>,
}

impl<'a> Parts<'a> {
    /// `offset` to `end` lie within the file.
    pub(crate) fn new(
        core: &'a Core,
        descriptor: &'a Descriptor,
        pointers: &'a PointerCache,
        offset: u64,
        end: u64,
    ) -> Self {
        Self { core, descriptor, pointers, position: offset, end, found: VecDeque::new() }
    }

    /// Looks at the next block, or at the next stretch without blocks.
    fn advance(&mut self) -> Result<(), VmfsError> {
        let (position, fd) = (self.position, self.descriptor);
        if fd.zla == Zla::Resident {
            self.position = self.end;
            self.append(position, self.end - position, Target::Resident);
            return Ok(());
        }
        let block = position >> fd.block_shift;
        let step = pointers::find(&self.core.space, &self.core.system, fd, self.pointers, block)?;
        let next = block.saturating_add(step.blocks).saturating_mul(1 << fd.block_shift);
        self.position = next.min(self.end);
        self.place(position, self.position - position, step.placed)
    }

    fn place(&mut self, offset: u64, length: u64, placed: Placed) -> Result<(), VmfsError> {
        let to = match placed {
            Placed::Hole => Target::Hole,
            Placed::Zero => Target::Zero,
            Placed::Unknown(reason) => Target::Unknown(reason),
            Placed::At { base, size } => {
                let at = At { structure: "block", offset: base + offset % size };
                let mut offset = offset;
                for extent in self.core.space.translate(at, length)? {
                    self.append(offset, extent.length, Target::Lun(extent));
                    offset += extent.length;
                }
                return Ok(());
            }
        };
        self.append(offset, length, to);
        Ok(())
    }

    fn append(&mut self, file_offset: u64, length: u64, to: Target) {
        let part = Mapped { file_offset, length, to };
        let joined = self.found.back_mut().is_some_and(|last| join(last, &part));
        if !joined {
            self.found.push_back(part);
        }
    }
}

impl Iterator for Parts<'_> {
    type Item = Result<Mapped, VmfsError>;

    fn next(&mut self) -> Option<Self::Item> {
        // The last part may still grow; those before it are whole.
        while self.found.len() < 2 && self.position < self.end {
            if let Err(error) = self.advance() {
                self.end = self.position;
                self.found.clear();
                return Some(Err(error));
            }
        }
        self.found.pop_front().map(Ok)
    }
}
