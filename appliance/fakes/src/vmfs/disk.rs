//! Flat virtual disks: made from a raw image, written to afterwards, their blocks listed.

use super::bytes::{MIB, index, put};
use super::descriptor::{Descriptor, FileType, Zla};
use super::error::FormatError;
use super::version::{SFB_PER_CLUSTER, Version};
use super::volume::{AllocatedRange, Volume};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes copied in one go.
const COPY_BYTES: u64 = 4 * MIB;
/// The owner may read and write: what ESXi gives to disks.
const DISK_MODE: u32 = 0o600;

/// Which blocks a new disk gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provisioning {
    /// Blocks only where the raw image has data.
    Thin,
    /// All blocks, eagerly zeroed.
    Thick,
    /// All blocks; those without data are marked 'to be zeroed' and hold stale bytes.
    LazyThick,
    /// As thick, on large blocks where a whole one is free for a whole part of the disk
    /// (VMFS-6).
    LargeThick,
    /// As large-thick; parts of a MiB without data are marked 'to be zeroed'.
    LargeLazyThick,
}

impl Provisioning {
    fn is_lazy(self) -> bool {
        matches!(self, Self::LazyThick | Self::LargeLazyThick)
    }

    fn is_large(self) -> bool {
        matches!(self, Self::LargeThick | Self::LargeLazyThick)
    }
}

impl Volume {
    /// Makes a flat disk that holds what the raw image `raw` holds. Holes of the raw image are
    /// not read, so that large disks are quick. Returns the disk's bytes.
    pub fn add_disk_from_raw(
        &mut self,
        path: &str,
        raw: &Path,
        provisioning: Provisioning,
    ) -> Result<u64, FormatError> {
        let opened = File::open(raw).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (length, file) =
            opened.map_err(|source| FormatError::Open { path: raw.into(), source })?;
        let length = length.next_multiple_of(512);
        let mut fd = self.new_disk(path, length)?;
        let blocks = length.div_ceil(MIB);
        if provisioning.is_large() {
            self.fill_with_large_blocks(&mut fd, blocks, provisioning.is_lazy())?;
        }
        if matches!(provisioning, Provisioning::Thick | Provisioning::LargeThick) {
            for block in 0..blocks {
                self.block_for_data(&mut fd, block)?;
            }
        }
        for (start, end) in data_ranges(&file, raw)? {
            self.copy(&mut fd, &file, start, end)?;
        }
        if provisioning.is_lazy() {
            self.fill_to_be_zeroed(&mut fd, blocks)?;
        }
        fd.write(&self.image)?;
        Ok(length)
    }

    /// Makes a thin disk of `length` bytes without any block; [`Volume::write`] gives it some.
    pub fn add_empty_disk(&mut self, path: &str, length: u64) -> Result<(), FormatError> {
        self.new_disk(path, length)?.write(&self.image)
    }

    fn new_disk(&mut self, path: &str, length: u64) -> Result<Descriptor, FormatError> {
        self.create(path, FileType::Regular, self.block_zla(length), length, DISK_MODE)
    }

    /// Writes into a file, which keeps its length; holes in the way get blocks. The image has
    /// data, then pointers, bitmaps and descriptor when this returns.
    pub fn write(&mut self, path: &str, offset: u64, bytes: &[u8]) -> Result<(), FormatError> {
        let mut fd = self.file(path)?;
        let (end, length) = (offset.saturating_add(bytes.len() as u64), fd.length());
        if end > length {
            return Err(FormatError::BeyondEnd { path: path.into(), end, length });
        }
        if fd.zla() == Zla::Resident {
            fd.set_resident(offset, bytes);
        } else {
            self.write_blocks(&mut fd, offset, bytes)?;
        }
        self.flush()?;
        fd.touch(None);
        fd.write(&self.image)
    }

    /// The ranges of a file that have blocks with data, ascending and joined. A resident file
    /// is one range.
    pub fn allocated(&mut self, path: &str) -> Result<Vec<AllocatedRange>, FormatError> {
        let fd = self.file(path)?;
        if fd.zla() == Zla::Resident {
            return Ok(vec![AllocatedRange { offset: 0, length: fd.length() }]);
        }
        let mut ranges: Vec<AllocatedRange> = Vec::new();
        for block in 0..fd.length().div_ceil(fd.block_size()) {
            let leaf = self.leaf(&fd, block)?;
            if leaf == 0 || self.image.version.is_to_be_zeroed(leaf) {
                continue;
            }
            let offset = block * fd.block_size();
            let length = fd.block_size().min(fd.length() - offset);
            match ranges.last_mut() {
                Some(last) if last.offset + last.length == offset => last.length += length,
                _ => ranges.push(AllocatedRange { offset, length }),
            }
        }
        Ok(ranges)
    }

    fn write_blocks(
        &mut self,
        fd: &mut Descriptor,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), FormatError> {
        let size = fd.block_size();
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let part = index(size - at % size).min(bytes.len() - done);
            let leaf = self.block_for_data(fd, at / size)?;
            let target = self.locate_leaf(leaf, at / size)? + at % size;
            self.image.write(target, &bytes[done..done + part])?;
            done += part;
        }
        Ok(())
    }

    /// The block with this number, allocated or cleared when it has no data yet. A fresh block
    /// reads as zeros, because nothing is ever given back.
    fn block_for_data(&mut self, fd: &mut Descriptor, block: u64) -> Result<u64, FormatError> {
        let leaf = self.leaf(fd, block)?;
        if leaf == 0 {
            let fresh = self.new_leaf(fd.zla())?;
            self.set_leaf(fd, block, fresh)?;
            return Ok(fresh);
        }
        let version = self.image.version;
        if !version.is_to_be_zeroed(leaf) {
            return Ok(leaf);
        }
        let cleared = version.without_to_be_zeroed(leaf);
        self.image.write(self.locate_leaf(cleared, block)?, &vec![0; index(MIB)])?;
        self.replace_leaf(fd, block, cleared)?;
        fd.count_to_be_zeroed(-1);
        Ok(cleared)
    }

    /// Gives every hole a block that is marked 'to be zeroed' and holds somebody's old bytes.
    fn fill_to_be_zeroed(&mut self, fd: &mut Descriptor, blocks: u64) -> Result<(), FormatError> {
        for block in 0..blocks {
            if self.leaf(fd, block)? == 0 {
                let fresh = self.new_leaf(fd.zla())?;
                self.set_to_be_zeroed(fd, block, fresh)?;
            }
        }
        Ok(())
    }

    /// Makes a hole the block `fresh`, which holds somebody's old bytes and is to be zeroed.
    fn set_to_be_zeroed(
        &mut self,
        fd: &mut Descriptor,
        block: u64,
        fresh: u64,
    ) -> Result<(), FormatError> {
        let mut stale = vec![0; 4096];
        put(&mut stale, 0, b"stale bytes of a deleted file");
        self.image.write(self.locate_leaf(fresh, block)?, &stale)?;
        self.set_leaf(fd, block, self.image.version.to_be_zeroed(fresh))?;
        fd.count_to_be_zeroed(1);
        Ok(())
    }

    /// Gives whole parts of 512 MiB a large block each: 512 pointers with its one address.
    fn fill_with_large_blocks(
        &mut self,
        fd: &mut Descriptor,
        blocks: u64,
        lazy: bool,
    ) -> Result<(), FormatError> {
        if self.image.version == Version::Vmfs5 {
            return Err(FormatError::Spec("VMFS-5 has no large blocks".into()));
        }
        for part in 0..blocks / SFB_PER_CLUSTER {
            let fresh = self.new_large_block()?;
            fd.count_large_block();
            for block in part * SFB_PER_CLUSTER..(part + 1) * SFB_PER_CLUSTER {
                if lazy {
                    self.set_to_be_zeroed(fd, block, fresh)?;
                } else {
                    self.set_leaf(fd, block, fresh)?;
                }
            }
        }
        Ok(())
    }

    fn copy(
        &mut self,
        fd: &mut Descriptor,
        raw: &File,
        start: u64,
        end: u64,
    ) -> Result<(), FormatError> {
        let mut buffer = vec![0; index(COPY_BYTES.min(end - start))];
        let mut offset = start;
        while offset < end {
            let length = COPY_BYTES.min(end - offset);
            let part = &mut buffer[..index(length)];
            raw.read_exact_at(part, offset).map_err(|source| FormatError::Io {
                operation: "read",
                offset,
                length,
                source,
            })?;
            self.write_blocks(fd, offset, part)?;
            offset += length;
        }
        Ok(())
    }
}

/// The ranges of a sparse file that hold data (`SEEK_DATA`, `SEEK_HOLE`).
fn data_ranges(file: &File, path: &Path) -> Result<Vec<(u64, u64)>, FormatError> {
    use rustix::fs::{SeekFrom, seek};
    use rustix::io::Errno;
    let mut ranges = Vec::new();
    let mut position = 0;
    loop {
        let found = match seek(file, SeekFrom::Data(position)) {
            Ok(start) => seek(file, SeekFrom::Hole(start)).map(|end| (start, end)),
            Err(Errno::NXIO) => return Ok(ranges), // no data up to the end
            Err(errno) => Err(errno),
        };
        let (start, end) =
            found.map_err(|errno| FormatError::Open { path: path.into(), source: errno.into() })?;
        ranges.push((start, end));
        position = end;
    }
}
