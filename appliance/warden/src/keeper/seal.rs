//! Taking over a segment that the daemon has written, synced and read back (FORMAT.md 7, step 4).

use super::{FileFact, Keeper};
use crate::inspect::{self, InspectError, Inspected};
use crate::wire::{Outcome, Sealed};
use crate::{WardenError, layout, storage};
use format::segment::Class;
use ledger::event::Segment;
use model::ErrorKind;
use std::io;

/// The leaf of a sealed segment.
pub(super) fn leaf(serial: u32, volume: u8, sealed: &Sealed) -> Segment {
    let class = match sealed.class {
        Class::Data => "data",
        Class::Metadata => "metadata",
    };
    Segment {
        serial,
        volume,
        class: class.into(),
        cohort: sealed.cohort,
        bytes: sealed.bytes,
        seal: hex::encode(sealed.seal),
        epoch: sealed.epoch,
    }
}

impl Keeper {
    pub(super) fn seal(&mut self, volume: u8, serial: u32) -> Result<Outcome, WardenError> {
        self.has_volume(volume)?;
        if let Some(outcome) = self.sealed_before(volume, serial) {
            return outcome;
        }
        let Inspected { sealed, .. } = self.take_over(volume, serial)?;
        if sealed.epoch != 0 && !self.state.keys().contains_key(&sealed.epoch) {
            let epoch = sealed.epoch;
            return Err(WardenError::denied(format!(
                "segment {serial:08x} is encrypted under epoch {epoch}, whose key is not on record"
            )));
        }
        let (from, to) = (layout::open(volume, serial), layout::sealed(volume, serial));
        self.storage.rename(&from, &to).map_err(WardenError::io("renaming", from))?;
        self.sync_dir(&layout::segments_dir(volume))?;
        self.sync_dir(&layout::open_dir(volume))?;
        if let Err(error) = self.storage.enable_verity(&to) {
            tracing::warn!(%error, segment = to, "fs-verity could not be enabled");
        }
        self.protect(&to)?;
        self.files.insert(serial, FileFact { volume, bytes: sealed.bytes });
        self.orphans.insert(serial, sealed);
        Ok(Outcome::Sealed(sealed))
    }

    /// Removes `open/<serial>`. The daemon removes its open segments itself; it cannot remove one
    /// that was taken over and then not sealed, because a check failed or the warden was killed.
    pub(super) fn discard(&self, volume: u8, serial: u32) -> Result<Outcome, WardenError> {
        self.has_volume(volume)?;
        let path = layout::open(volume, serial);
        storage::remove_if_there(&*self.storage, &path)
            .map_err(WardenError::io("removing", path))?;
        self.sync_dir(&layout::open_dir(volume))?;
        Ok(Outcome::Done)
    }

    /// A serial that was used: the same answer again when it is a repeated request.
    fn sealed_before(&self, volume: u8, serial: u32) -> Option<Result<Outcome, WardenError>> {
        let file = self.files.get(&serial);
        let same = file.is_some_and(|file| file.volume == volume);
        let again = self.storage.open(&layout::open(volume, serial)).is_ok();
        if let (Some(sealed), true, false) = (self.orphans.get(&serial), same, again) {
            return Some(Ok(Outcome::Sealed(*sealed)));
        }
        let used = serial == 0
            || file.is_some()
            || self.state.segment(serial).is_some()
            || self.state.deleted().contains(serial);
        used.then(|| {
            Err(WardenError::denied(format!(
                "segment serial {serial:08x} was used before; a serial is given once"
            )))
        })
    }

    /// Takes `open/<serial>` away from whoever wrote it, then looks at it: what is looked at can
    /// change no more.
    pub(super) fn take_over(&self, volume: u8, serial: u32) -> Result<Inspected, WardenError> {
        let path = layout::open(volume, serial);
        self.storage.take_over(&path).map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => WardenError::Denied {
                problem: format!("{path}: {error}; it is sealed when its writer has closed it"),
                kind: ErrorKind::Busy,
            },
            io::ErrorKind::InvalidInput => WardenError::denied(format!("{path}: {error}")),
            _ => WardenError::io("taking over", &*path)(error),
        })?;
        let file = self.storage.open(&path).map_err(WardenError::io("opening", &*path))?;
        inspect::inspect(&*file, self.repository, serial).map_err(|error| match error {
            InspectError::Io(error) => WardenError::io("reading", &*path)(error),
            InspectError::Wrong(problem) => WardenError::Denied {
                problem: format!("{path} is no complete segment: {problem}"),
                kind: ErrorKind::Corrupt,
            },
        })
    }
}
