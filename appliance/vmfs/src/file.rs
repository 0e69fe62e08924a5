//! A regular file: its map, its content when it is small, and whether it stood still.

use crate::bytes::index;
use crate::check;
use crate::descriptor::{Descriptor, FileKind, Zla};
use crate::error::{At, VmfsError};
use crate::map::{Mapped, Target};
use crate::parts::Parts;
use crate::pointers::{self, PointerCache};
use crate::volume::Core;
use block::{ReadAt, ReadError};
use std::fmt;
use std::sync::Arc;

/// An open file.
///
/// The order of work on a live volume: [`File::verify`], [`File::recheck`], read the data that
/// [`File::map`] points to, [`File::recheck`] again. The device below must not answer from a
/// cache of its own.
pub struct File {
    core: Arc<Core>,
    descriptor: Descriptor,
    pointers: PointerCache,
}

/// A hash of the descriptor and of all pointer blocks used so far: equal as long as a file is
/// mapped the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("descriptor", &format_args!("{:#x}", self.descriptor.address))
            .field("length", &self.descriptor.length)
            .finish_non_exhaustive()
    }
}

/// The bytes of a file, for parsers of what is stored in it. Bulk data is read by [`File::map`].
impl ReadAt for File {
    fn size(&self) -> u64 {
        self.length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        ReadError::check(offset, buffer.len(), self.length())?;
        let length = buffer.len() as u64;
        self.fill(offset, buffer).map_err(|error| ReadError::Device {
            offset,
            length,
            kind: error.kind(),
            source: error.into(),
        })
    }
}

impl File {
    pub(crate) fn new(core: Arc<Core>, descriptor: Descriptor) -> Self {
        Self { core, descriptor, pointers: PointerCache::default() }
    }

    /// Bytes of the file.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.descriptor.length
    }

    /// What it is; only symbolic links and regular files can be opened.
    #[must_use]
    pub fn kind(&self) -> FileKind {
        self.descriptor.kind
    }

    /// How its bytes are found, in words.
    #[must_use]
    pub fn addressing(&self) -> &'static str {
        self.descriptor.zla.name()
    }

    /// True when byte `offset` lies in a large block, whether it holds data or zeros.
    pub fn in_large_block(&self, offset: u64) -> Result<bool, VmfsError> {
        let (core, fd) = (&self.core, &self.descriptor);
        if offset >= self.length() {
            let (end, length) = (offset.saturating_add(1), self.length());
            return Err(VmfsError::BeyondEnd { offset, end, length });
        }
        if fd.zla == Zla::Resident {
            return Ok(false);
        }
        let block = offset >> fd.block_shift;
        Ok(pointers::find(&core.space, &core.system, fd, &self.pointers, block)?.large)
    }

    /// Seconds since 1970 of the last change, by the clock of a host.
    #[must_use]
    pub fn modified(&self) -> u32 {
        self.descriptor.modified
    }

    /// Where the bytes `[offset, offset + length)` are, ascending, without gaps, neighbours
    /// joined. Reads only the pointer blocks of the range; the answer has at most one part per
    /// block of the range, so that the caller bounds it.
    pub fn map(&self, offset: u64, length: u64) -> Result<Vec<Mapped>, VmfsError> {
        self.parts(offset, length)?.collect()
    }

    /// As [`File::map`], one part at a time: of any file in little memory.
    pub fn parts(&self, offset: u64, length: u64) -> Result<Parts<'_>, VmfsError> {
        let end = offset.saturating_add(length);
        if end > self.length() {
            return Err(VmfsError::BeyondEnd { offset, end, length: self.length() });
        }
        Ok(Parts::new(&self.core, &self.descriptor, &self.pointers, offset, end))
    }

    /// The parts of the file that are not known to be zeros, ascending, one at a time: what a
    /// first backup of a thin disk has to read. Ends after an error.
    pub fn allocated(&self) -> impl Iterator<Item = Result<Mapped, VmfsError>> {
        let all = Parts::new(&self.core, &self.descriptor, &self.pointers, 0, self.length());
        all.filter(|part| part.as_ref().map_or(true, |part| !part.to.is_empty()))
    }

    /// The whole content of a small file such as a `.vmx`; refused when it is larger than
    /// `limit` bytes or has a part that is not understood.
    pub fn read_small(&self, limit: usize) -> Result<Vec<u8>, VmfsError> {
        let length = self.length();
        if length > limit as u64 {
            return Err(VmfsError::TooLarge { what: "file", length, limit: limit as u64 });
        }
        content_of(&self.core, &self.descriptor, &self.pointers)
    }

    /// Reads a range that lies in the file.
    fn fill(&self, offset: u64, buffer: &mut [u8]) -> Result<(), VmfsError> {
        for part in self.map(offset, buffer.len() as u64)? {
            let start = index(part.file_offset - offset);
            let room = &mut buffer[start..start + index(part.length)];
            match part.to {
                Target::Lun(extent) => {
                    let at = At { structure: "file content", offset: extent.offset };
                    self.core.space.read_lun(at, extent, room)?;
                }
                Target::Hole | Target::Zero => room.fill(0),
                Target::Resident => {
                    let from = index(part.file_offset);
                    room.copy_from_slice(&self.descriptor.resident()[from..from + room.len()]);
                }
                Target::Unknown(reason) => {
                    return Err(VmfsError::UnknownContent { offset: part.file_offset, reason });
                }
            }
        }
        Ok(())
    }

    /// Walks all pointer blocks and checks what the whole map must satisfy: counters of the
    /// descriptor right, every block used once, and in use according to the volume's bitmaps.
    /// Costs the reading of all pointer blocks and, for each 512 MiB of blocks, one bitmap.
    pub fn verify(&self) -> Result<(), VmfsError> {
        let mut claims = check::Claims::of_one_file();
        check::walk(&self.core, &self.descriptor, &self.pointers, &mut claims)
    }

    /// The hash of the descriptor and of the pointer blocks used so far.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = blake3::Hasher::new();
        hash.update(&self.descriptor.bytes);
        for (offset, block) in self.pointers.visited() {
            hash.update(&offset.to_le_bytes()).update(&block);
        }
        Fingerprint(hash.finalize().into())
    }

    /// Reads the descriptor and all used pointer blocks again and compares them byte for byte;
    /// [`VmfsError::Moved`] when something is different.
    pub fn recheck(&self) -> Result<(), VmfsError> {
        self.core.recheck_descriptor(&self.descriptor)?;
        for (offset, before) in self.pointers.visited() {
            let now = pointers::read(&self.core.space, &self.core.system, offset)?;
            if *blake3::hash(&now).as_bytes() != before {
                return Err(VmfsError::Moved { structure: "pointer block", offset });
            }
        }
        Ok(())
    }
}

/// All bytes of a directory; the caller has bounded its length.
pub(crate) fn content(core: &Core, fd: &Descriptor) -> Result<Vec<u8>, VmfsError> {
    content_of(core, fd, &PointerCache::default())
}

fn content_of(core: &Core, fd: &Descriptor, cache: &PointerCache) -> Result<Vec<u8>, VmfsError> {
    let mut bytes = vec![0; index(fd.length)];
    for part in Parts::new(core, fd, cache, 0, fd.length) {
        let part = part?;
        let start = index(part.file_offset);
        let buffer = &mut bytes[start..start + index(part.length)];
        match part.to {
            Target::Lun(extent) => {
                let at = At { structure: "file content", offset: extent.offset };
                core.space.read_lun(at, extent, buffer)?;
            }
            Target::Hole | Target::Zero => {}
            Target::Resident => buffer.copy_from_slice(fd.resident()),
            Target::Unknown(reason) => {
                return Err(VmfsError::UnknownContent { offset: part.file_offset, reason });
            }
        }
    }
    Ok(bytes)
}
