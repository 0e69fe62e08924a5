//! Direct reads of the block node of a disk that the kernel's driver holds: O_DIRECT, read-only,
//! past every cache of this box.

use super::candidate::Refusal;
use super::error::KernelError;
use super::node::check_number;
use super::tree::{Tree, number, text};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Getter, Opcode, Setter, ioctl};
use scsi::Cdb;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// `BLKROSET` and `BLKROGET` of `linux/fs.h`.
const BLKROSET: Opcode = 0x125d;
const BLKROGET: Opcode = 0x125e;
/// How often exclusive use is asked for: another of our own may be asking at the same moment.
const CLAIMS: u32 = 4;
const BETWEEN_CLAIMS: Duration = Duration::from_millis(20);

/// An open block node that nobody can write to.
#[derive(Debug)]
pub(super) struct Direct {
    pub(super) node: Arc<OwnedFd>,
    /// Bytes of a logical block.
    pub(super) block_size: u32,
    /// Memory must begin at a multiple of this plus one.
    pub(super) mask: usize,
}

impl Direct {
    /// Opens `/dev/NAME` if it is the disk that `folder` of sysfs describes and nobody on this box
    /// uses it, and sets it read-only before anything else.
    pub(super) fn open(tree: &Tree, folder: &Path, name: &str) -> Result<Self, KernelError> {
        let folder = folder.join("block").join(name);
        let path = tree.dev.join(name);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let failed = |operation| move |error: Errno| KernelError::node(operation, name, error);
        let first = rustix::fs::open(&path, flags, Mode::empty()).map_err(failed("opening"))?;
        check_number(&first, &folder, name)?;
        set_read_only(&first).map_err(failed("setting read-only"))?;
        claim(&path, flags).map_err(|error| refused(error, &folder, name))?;
        let node = rustix::fs::open(&path, flags | OFlags::DIRECT, Mode::empty())
            .map_err(failed("opening for direct reads"))?;
        check_number(&node, &folder, name)?;
        let queue = folder.join("queue");
        let block_size = number(&queue, "logical_block_size").unwrap_or(512);
        Ok(Self { node: Arc::new(node), block_size, mask: mask(&queue, block_size) })
    }

    /// The bytes that a READ asks for; `None` for any other command, and for one whose length is
    /// not that of whole blocks as the kernel counts them.
    pub(super) fn range(&self, cdb: &Cdb) -> Option<u64> {
        let (lba, blocks) = match cdb.as_bytes() {
            [0x28, _, lba @ .., _, high, low, _] if lba.len() == 4 => {
                (big_endian(lba), big_endian(&[*high, *low]))
            }
            [0x88, _, fields @ .., _, _] if fields.len() == 12 => {
                (big_endian(&fields[..8]), big_endian(&fields[8..]))
            }
            _ => return None,
        };
        let block_size = u64::from(self.block_size);
        let whole = blocks.checked_mul(block_size) == Some(cdb.data_in().into());
        lba.checked_mul(block_size).filter(|_| whole && blocks > 0)
    }
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

/// Linux 6.1 and later tell what the adapter needs of memory, for most just 4 bytes; before, it
/// was a logical block.
fn mask(queue: &Path, block_size: u32) -> usize {
    let block = usize::try_from(block_size).unwrap_or(4096).next_power_of_two() - 1;
    let told: Option<usize> = number(queue, "dma_alignment");
    told.filter(|mask| (mask + 1).is_power_of_two() && *mask <= 4095).unwrap_or(block)
}

/// Sets the disk `/dev/NAME` read-only, which only root may.
pub(super) fn protect(tree: &Tree, name: &str) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    set_read_only(&rustix::fs::open(tree.dev.join(name), flags, Mode::empty())?)
}

/// Nothing to do where somebody with more rights has done it.
fn set_read_only(node: &OwnedFd) -> Result<(), Errno> {
    if is_read_only(node)? {
        return Ok(());
    }
    // SAFETY: BLKROSET reads one `int` (block/ioctl.c).
    #[expect(unsafe_code, reason = "no library has this request")]
    unsafe {
        ioctl(node, Setter::<BLKROSET, i32>::new(1))?;
    }
    if is_read_only(node)? { Ok(()) } else { Err(Errno::PERM) }
}

fn is_read_only(node: &OwnedFd) -> Result<bool, Errno> {
    // SAFETY: BLKROGET writes one `int` (block/ioctl.c).
    #[expect(unsafe_code, reason = "no library has this request")]
    let read_only: i32 = unsafe { ioctl(node, Getter::<BLKROGET, i32>::new())? };
    Ok(read_only == 1)
}

/// Asks for exclusive use, and gives it back: the kernel refuses when the disk or a partition of it
/// is mounted (in whatever name space), swapped to or part of another device.
fn claim(path: &Path, flags: OFlags) -> Result<(), Errno> {
    let mut last = Errno::BUSY;
    for _ in 0..CLAIMS {
        match rustix::fs::open(path, flags | OFlags::EXCL, Mode::empty()) {
            Ok(_) => return Ok(()),
            Err(Errno::BUSY) => std::thread::sleep(BETWEEN_CLAIMS),
            Err(error) => {
                last = error;
                break;
            }
        }
    }
    Err(last)
}

fn refused(error: Errno, folder: &Path, name: &str) -> KernelError {
    if error != Errno::BUSY {
        return KernelError::node("asking for exclusive use of", name, error);
    }
    let device = text(folder, "dev").map_or(name.to_owned(), |dev| format!("{name} ({dev})"));
    KernelError::NotCandidate { device, refusal: Refusal::Claimed }
}

#[cfg(test)]
mod tests;
