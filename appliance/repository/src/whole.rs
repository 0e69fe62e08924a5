//! A sealed segment's file as a whole, damaged or not: read from the medium in bounded memory,
//! held against its seal, and, what cannot be read, as zeros (FORMAT.md 4.3).
//!
//! Not damage: a device or a volume that is gone. It is told as an error, so that a pulled cable
//! puts nothing into quarantine.

use crate::StoreError;
use crate::core::{Core, locked};
use format::parity::{self, Geometry, check};
use format::trailer::Trailer;
use format::{BLOCK, FormatError};
use rustix::io::Errno;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use warden::layout;
use warden::storage::Read;

/// What the ledger says of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorded {
    pub(crate) serial: u32,
    pub(crate) volume: u8,
    pub(crate) bytes: u64,
    pub(crate) seal: [u8; 32],
    pub(crate) distrusted: bool,
    pub(crate) quarantined: bool,
}

impl Recorded {
    pub(crate) fn find(core: &Core, serial: u32) -> Option<Self> {
        let catalog = locked(&core.catalog);
        let segment = catalog.state.segment(serial)?;
        let (bytes, seal) = (segment.bytes, segment.seal);
        let (distrusted, quarantined) = (segment.distrusted, segment.quarantined);
        let volume = catalog.volume_of_segment(serial);
        Some(Self { serial, volume, bytes, seal, distrusted, quarantined })
    }

    /// Its sealed file.
    pub(crate) fn path(&self) -> String {
        layout::sealed(self.volume, self.serial)
    }
}

/// How a segment's file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// Every byte is what was sealed.
    Whole,
    /// So many blocks are not.
    Damaged { blocks: u64 },
    /// There is no file, or what lies there is no more this segment.
    Missing,
}

/// The file of a segment; what lies beyond its end, or cannot be read, is zeros.
pub(crate) struct Whole {
    file: Arc<dyn Read>,
    length: u64,
    /// Blocks that could not be read.
    failed: AtomicU64,
}

impl Whole {
    /// Opens it; `None` when there is none, though its volume is there.
    pub(crate) fn open(core: &Core, segment: &Recorded) -> Result<Option<Self>, StoreError> {
        let (storage, path) = (&*core.storage, segment.path());
        let opened = storage.open_uncached(&path).and_then(|file| Ok((file.length()?, file)));
        let (length, file) = match opened {
            Err(error) if is_damage(&error) => {
                still_there(core, segment.volume)?;
                tracing::warn!(%error, file = path, "cannot be opened");
                return Ok(None);
            }
            other => other.map_err(StoreError::io("opening", path))?,
        };
        Ok(Some(Self { file, length, failed: AtomicU64::new(0) }))
    }

    /// Fills `buffer`. Block by block where a longer read fails.
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) {
        let there = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (inside, beyond) = buffer.split_at_mut(there.min(buffer.len()));
        beyond.fill(0);
        if inside.is_empty() || self.file.read(offset, inside).is_ok() {
            return;
        }
        for (at, block) in (offset..).step_by(BLOCK).zip(inside.chunks_mut(BLOCK)) {
            if self.file.read(at, block).is_err() {
                block.fill(0);
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The trailer, if one of its copies is right and it is the one of this seal.
    pub(crate) fn trailer(&self, core: &Core, segment: &Recorded) -> Option<Trailer> {
        // The last block first; the one beside the footer when that is none of this segment's.
        Geometry::of_file(segment.bytes)?.trailers().into_iter().rev().find_map(|at| {
            let mut block = vec![0; BLOCK];
            self.read(at, &mut block);
            let trailer = Trailer::decode(&block, segment.bytes).ok()?;
            let ours = (trailer.repository, trailer.serial, trailer.seal)
                == (core.id, segment.serial, segment.seal);
            ours.then_some(trailer)
        })
    }

    /// The trailer from the ledger's seal and length and what else there is, when both are lost.
    pub(crate) fn trailer_anew(&self, core: &Core, segment: &Recorded) -> Option<Trailer> {
        let &Recorded { serial, seal, bytes: length, .. } = segment;
        let sealed = parity::Sealed { repository: core.id, serial, seal, length };
        parity::recover_trailer(&sealed, |offset, buffer| self.read(offset, buffer))
    }

    /// An error when reads failed because the whole device is gone, and not a sector of it.
    pub(crate) fn still_there(&self, core: &Core, volume: u8) -> Result<(), StoreError> {
        match self.failed.load(Ordering::Relaxed) {
            0 => Ok(()),
            _ => still_there(core, volume),
        }
    }
}

/// Reads all of a segment and says how it is. `look` is told how many bytes were read, again and
/// again; its error ends it.
pub(crate) fn examine<E: From<StoreError>>(
    core: &Core,
    segment: &Recorded,
    mut look: impl FnMut(u64) -> Result<(), E>,
) -> Result<Health, E> {
    let Some(whole) = Whole::open(core, segment)? else { return Ok(Health::Missing) };
    let Some(trailer) = whole.trailer(core, segment) else {
        whole.still_there(core, segment.volume)?;
        let blocks = segment.bytes / BLOCK as u64;
        return Ok(Health::Damaged { blocks });
    };
    let found = check(&trailer, |offset, buffer| {
        whole.read(offset, buffer);
        look(buffer.len() as u64)
    })?;
    whole.still_there(core, segment.volume)?;
    let beyond = whole.length.saturating_sub(segment.bytes).div_ceil(BLOCK as u64);
    if found.is_whole() && beyond == 0 {
        return Ok(Health::Whole);
    }
    Ok(Health::Damaged { blocks: (found.wrong.len() as u64 + beyond).max(1) })
}

/// Whether an error of reading a segment says something about its bytes. A missing key, too few
/// handles and the like do not; a volume that is gone is an error of its own.
pub(crate) fn tells_damage(
    core: &Core,
    segment: u32,
    error: &StoreError,
) -> Result<bool, StoreError> {
    match error {
        StoreError::Damaged { source, .. } => {
            Ok(!matches!(source, FormatError::NoKey { .. } | FormatError::WrongKey { .. }))
        }
        StoreError::Io { source, .. }
            if is_damage(source) || source.kind() == io::ErrorKind::UnexpectedEof =>
        {
            let volume = locked(&core.catalog).volume_of_segment(segment);
            still_there(core, volume).map(|()| true)
        }
        _ => Ok(false),
    }
}

/// An error when the volume itself is not there: then nothing can be said of a file on it.
pub(crate) fn still_there(core: &Core, volume: u8) -> Result<(), StoreError> {
    let header = if volume == 0 { layout::HEADER.into() } else { layout::volume_header(volume) };
    let mut block = vec![0; BLOCK];
    let read = core.storage.open_uncached(&header).and_then(|file| file.read(0, &mut block));
    read.map_err(StoreError::io("reading", header))
}

/// The file is gone, or the medium below its first blocks is bad.
fn is_damage(error: &io::Error) -> bool {
    const BAD: [Errno; 3] = [Errno::IO, Errno::UCLEAN, Errno::BADMSG];
    error.kind() == io::ErrorKind::NotFound
        || BAD.iter().any(|bad| error.raw_os_error() == Some(bad.raw_os_error()))
}
