//! What a backup meets rarely: symbolic links, raw device mappings, blocks with marks that are
//! not understood, and files that move.

use super::bytes::MIB;
use super::descriptor::{FileType, Zla};
use super::error::FormatError;
use super::version::Version;
use super::volume::Volume;

/// A mark on a block's address that no volume made by ESXi was seen with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Copy-on-write.
    CopyOnWrite,
    /// One of the 8 bits that say 'to be zeroed' (VMFS-6).
    PartlyToBeZeroed,
    /// A bit without a known meaning.
    UnknownBit,
}

impl Volume {
    /// Makes a symbolic link that leads to `target`.
    pub fn add_symlink(&mut self, path: &str, target: &str) -> Result<(), FormatError> {
        self.add_small(path, FileType::Symlink, target.as_bytes())
    }

    /// Makes a raw device mapping: a file without blocks that names another LUN of `length`
    /// bytes by the SCSI id `id`, up to 44 bytes of type 1.
    pub fn add_raw_device(
        &mut self,
        path: &str,
        id: &[u8],
        length: u64,
    ) -> Result<(), FormatError> {
        if id.len() > 44 {
            return Err(FormatError::Spec("a SCSI id has up to 44 bytes".into()));
        }
        let mut fd = self.create(path, FileType::RawDevice, Zla::RawDevice, length, 0o600)?;
        fd.set_resident(0, &[1, id.len().to_le_bytes()[0]]);
        fd.set_resident(34, id);
        fd.write(&self.image)
    }

    /// Marks the block of a disk that holds byte `offset`.
    pub fn mark(&mut self, path: &str, offset: u64, mark: Mark) -> Result<(), FormatError> {
        let mut fd = self.file(path)?;
        let version = self.image.version;
        let leaf = self.leaf(&fd, offset / MIB)?;
        let marked = match (mark, version) {
            (_, _) if leaf == 0 => return Err(FormatError::Full("block at this offset")),
            (Mark::CopyOnWrite, _) => version.copy_on_write(leaf),
            (Mark::PartlyToBeZeroed, Version::Vmfs6) => leaf | 1 << 9,
            (Mark::PartlyToBeZeroed, Version::Vmfs5) => {
                return Err(FormatError::Spec("VMFS-5 has one bit that says 'zeros'".into()));
            }
            (Mark::UnknownBit, _) => leaf | 1 << 3,
        };
        self.replace_leaf(&mut fd, offset / MIB, marked)?;
        if mark == Mark::CopyOnWrite {
            fd.count_copy_on_write();
        }
        self.pointers.flush(&self.image)?;
        fd.write(&self.image)
    }

    /// Moves all blocks of a disk elsewhere, as when somebody else's operation frees them and
    /// others take them: the old places hold other bytes afterwards.
    pub fn relocate(&mut self, path: &str) -> Result<(), FormatError> {
        let mut fd = self.file(path)?;
        for block in 0..fd.length().div_ceil(fd.block_size()) {
            let old = self.leaf(&fd, block)?;
            if old == 0 {
                continue;
            }
            let fresh = self.new_leaf(fd.zla())?;
            let (from, to) = (self.locate_leaf(old, block)?, self.locate_leaf(fresh, block)?);
            let bytes = self.image.read(from, fd.block_size())?;
            self.image.write(to, &bytes)?;
            self.replace_leaf(&mut fd, block, fresh)?;
            let others: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
            self.image.write(from, &others)?;
        }
        self.flush()?;
        fd.touch(None);
        fd.write(&self.image)
    }
}
