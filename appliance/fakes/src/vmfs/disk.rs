//! Flat virtual disks: made from a raw image, written to afterwards, their blocks listed.

use super::address;
use super::bytes::{MIB, index, put};
use super::descriptor::{Descriptor, Zla};
use super::error::FormatError;
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
        let mut fd = self.create(path, Self::block_zla(length), length, DISK_MODE)?;
        if provisioning == Provisioning::Thick {
            for block in 0..length.div_ceil(MIB) {
                self.block_for_data(&mut fd, block)?;
            }
        }
        for (start, end) in data_ranges(&file, raw)? {
            self.copy(&mut fd, &file, start, end)?;
        }
        if provisioning == Provisioning::LazyThick {
            self.fill_to_be_zeroed(&mut fd, length.div_ceil(MIB))?;
        }
        fd.write(&self.image)?;
        Ok(length)
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
            if leaf == 0 || address::is_to_be_zeroed(leaf) {
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
            let target = self.locate_leaf(leaf)? + at % size;
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
        if !address::is_to_be_zeroed(leaf) {
            return Ok(leaf);
        }
        let cleared = address::without_to_be_zeroed(leaf);
        self.image.write(self.locate_leaf(cleared)?, &vec![0; index(MIB)])?;
        self.replace_leaf(fd, block, cleared)?;
        fd.count_to_be_zeroed(-1);
        Ok(cleared)
    }

    /// Gives every hole a block that is marked 'to be zeroed' and holds somebody's old bytes.
    fn fill_to_be_zeroed(&mut self, fd: &mut Descriptor, blocks: u64) -> Result<(), FormatError> {
        for block in 0..blocks {
            if self.leaf(fd, block)? == 0 {
                let fresh = self.new_leaf(fd.zla())?;
                let mut stale = vec![0; 4096];
                put(&mut stale, 0, b"stale bytes of a deleted file");
                self.image.write(self.locate_leaf(fresh)?, &stale)?;
                self.set_leaf(fd, block, address::to_be_zeroed(fresh))?;
                fd.count_to_be_zeroed(1);
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
