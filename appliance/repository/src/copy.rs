//! Segments of records that are copied as they are stored: neither compressed nor encrypted again
//! (FORMAT.md 4.1). Without threads, for one caller.

use crate::StoreError;
use crate::core::Core;
use crate::segment::{Closing, Done, Open, WRITE};
use format::codec::Sealed;
use format::segment::Class;

/// Copies into segments of one volume and one key epoch. What is not sealed when it is dropped is
/// removed.
pub(crate) struct Copier<'a> {
    core: &'a Core,
    volume: u8,
    epoch: u32,
    open: Option<Open>,
    /// The segment whose file is not sealed yet.
    unsealed: Option<u32>,
    done: Vec<Done>,
}

impl<'a> Copier<'a> {
    pub(crate) fn new(core: &'a Core, volume: u8, epoch: u32) -> Self {
        Self { core, volume, epoch, open: None, unsealed: None, done: Vec::new() }
    }

    /// Appends a record; its place is in the footer of the segment.
    pub(crate) fn append(&mut self, record: &Sealed<'_>) -> Result<(), StoreError> {
        if self.open.as_ref().is_some_and(|open| !open.has_room_for(record, self.core)) {
            self.seal()?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                let open = Open::create(self.core, self.volume, Class::Data, self.epoch)?;
                self.unsealed = Some(open.file.serial);
                none.insert(open)
            }
        };
        open.push(record)?;
        if open.buffer.len() >= WRITE {
            open.file.write(self.core, &open.buffer)?;
            open.buffer.clear();
        }
        Ok(())
    }

    fn seal(&mut self) -> Result<(), StoreError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let (bytes, closing) = Closing::of(open, Class::Data);
        closing.file.write(self.core, &bytes)?;
        self.core.carrier.give_back(bytes);
        let done = closing.seal(self.core)?;
        self.unsealed = None;
        self.done.push(done);
        Ok(())
    }

    /// Seals what is open; all segments that were made.
    pub(crate) fn finish(mut self) -> Result<Vec<Done>, StoreError> {
        self.seal()?;
        Ok(std::mem::take(&mut self.done))
    }
}

impl Drop for Copier<'_> {
    fn drop(&mut self) {
        let Some(serial) = self.unsealed else { return };
        self.open = None;
        self.core.discard(self.volume, serial);
    }
}
