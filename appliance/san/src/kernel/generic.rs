//! Commands through the kernel's generic SCSI driver: the SG_IO request of `/dev/sg*`.
//!
//! The node is opened read-only. The kernel then lets through what its own list takes for reading;
//! for the rest (PERSISTENT RESERVE IN is not on it) it wants CAP_SYS_RAWIO. The data goes through
//! memory of the kernel's, never straight into ours, so a command that is given up while it runs
//! cannot reach our memory any more.

use super::error::KernelError;
use super::tree::Tree;
use super::verdict::Reply;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Getter, Opcode, Updater, ioctl};
use scsi::Cdb;
use std::ffi::c_void;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::ptr;

/// `SG_IO` and `SG_GET_SG_TABLESIZE` of `scsi/sg.h`, `BLKSECTGET` of `linux/fs.h`.
const SG_IO: Opcode = 0x2285;
const SG_GET_TABLE_SIZE: Opcode = 0x227f;
const BLKSECTGET: Opcode = 0x1267;

/// Milliseconds that the kernel gives a command before it aborts it and, should that not help,
/// resets the LUN that others use: an hour. Our own clock is much shorter.
const TIMEOUT: u32 = 3_600_000;
/// Sense data is at most 252 bytes (SPC-4, 4.5.1).
const SENSE_MAX: u8 = 252;
/// How often a call that a signal broke off is made again.
const INTERRUPTIONS_MAX: u32 = 64;
const PAGE: u32 = 4096;

/// `struct sg_io_hdr`, interface version 3.
#[repr(C)]
struct Header {
    interface: i32,
    direction: i32,
    cdb_length: u8,
    sense_max: u8,
    vectors: u16,
    data_length: u32,
    data: *mut c_void,
    cdb: *const u8,
    sense: *mut u8,
    timeout: u32,
    flags: u32,
    pack_id: i32,
    user: *mut c_void,
    status: u8,
    masked_status: u8,
    message_status: u8,
    sense_length: u8,
    host_status: u16,
    driver_status: u16,
    residual: i32,
    duration: u32,
    info: u32,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Header>() == 88);

const NO_DATA: i32 = -1;
const FROM_DEVICE: i32 = -3;
/// Behind those that wait, not in front of them.
const AT_TAIL: u32 = 16;

/// An open generic node.
#[derive(Debug)]
pub(super) struct Generic {
    node: OwnedFd,
    name: String,
    /// Bytes that one command carries at most.
    pub(super) transfer_max: u32,
}

impl Generic {
    /// Opens `/dev/NAME` if it is the device that `folder` of sysfs describes.
    pub(super) fn open(tree: &Tree, folder: &Path, name: &str) -> Result<Self, KernelError> {
        let path = tree.dev.join(name);
        // Without NONBLOCK the kernel waits here while it recovers the device.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let failed = |error: Errno| KernelError::node("opening", name, error);
        let node = rustix::fs::open(&path, flags, Mode::empty()).map_err(failed)?;
        super::node::check_number(&node, &folder.join("scsi_generic").join(name), name)?;
        let transfer_max = transfer_max(&node).map_err(failed)?;
        Ok(Self { node, name: name.to_owned(), transfer_max })
    }

    /// Some other node in the place of a generic one, for tests.
    #[cfg(test)]
    pub(super) fn instead(node: OwnedFd) -> Self {
        Self { node, name: "sg0".into(), transfer_max: 1 << 20 }
    }

    /// Sends a command and waits for its end. `buffer` is as long as the data that is asked for.
    pub(super) fn execute(&self, cdb: &Cdb, buffer: &mut [u8]) -> Result<Reply, Errno> {
        for _ in 0..INTERRUPTIONS_MAX {
            match execute(&self.node, cdb.as_bytes(), buffer) {
                // It only reads, so it may run once more.
                Err(Errno::INTR) => {}
                result => return result,
            }
        }
        Err(Errno::INTR)
    }

    pub(super) fn error(&self, error: Errno) -> KernelError {
        KernelError::node("sending a command to", &self.name, error)
    }
}

/// What the adapter and its scatter list can take: each of its entries is one page at worst.
fn transfer_max(node: &OwnedFd) -> Result<u32, Errno> {
    let table = number::<SG_GET_TABLE_SIZE>(node)?.saturating_mul(PAGE);
    // Older kernels do not tell the adapter's own limit here; they refuse what is too much.
    let adapter = number::<BLKSECTGET>(node).unwrap_or(table);
    let most = table.min(adapter) / PAGE * PAGE;
    Ok(most.max(PAGE))
}

/// A request that fills in an `int`.
fn number<const REQUEST: Opcode>(node: &OwnedFd) -> Result<u32, Errno> {
    // SAFETY: both requests this is used with write one `int` (sg.c), and nothing else.
    #[expect(unsafe_code, reason = "no library has the requests of sg")]
    let value: i32 = unsafe { ioctl(node, Getter::<REQUEST, i32>::new()) }?;
    u32::try_from(value).map_err(|_| Errno::INVAL)
}

fn execute(node: &OwnedFd, cdb: &[u8], buffer: &mut [u8]) -> Result<Reply, Errno> {
    let mut sense = [0; SENSE_MAX as usize];
    let wanted = u32::try_from(buffer.len()).map_err(|_| Errno::INVAL)?;
    let mut header = Header {
        interface: i32::from(b'S'),
        direction: if buffer.is_empty() { NO_DATA } else { FROM_DEVICE },
        cdb_length: u8::try_from(cdb.len()).map_err(|_| Errno::INVAL)?,
        sense_max: SENSE_MAX,
        vectors: 0,
        data_length: wanted,
        data: buffer.as_mut_ptr().cast(),
        cdb: cdb.as_ptr(),
        sense: sense.as_mut_ptr(),
        timeout: TIMEOUT,
        flags: AT_TAIL,
        pack_id: 0,
        user: ptr::null_mut(),
        status: 0,
        masked_status: 0,
        message_status: 0,
        sense_length: 0,
        host_status: 0,
        driver_status: 0,
        residual: 0,
        duration: 0,
        info: 0,
    };
    // SAFETY: the header has the layout that SG_IO reads and writes. Its three pointers are those
    // of `buffer`, `cdb` and `sense`, with their lengths; all live and stay borrowed until the call
    // returns, and after that the kernel has no use for them: it copies data and sense within the
    // call only (the flags do not ask for direct I/O), and the CDB is copied before it is sent.
    #[expect(unsafe_code, reason = "no library has SG_IO")]
    unsafe {
        ioctl(node, Updater::<SG_IO, Header>::new(&mut header))?;
    }
    let missing = u32::try_from(header.residual).unwrap_or(0).min(wanted);
    Ok(Reply {
        host: header.host_status,
        driver: header.driver_status,
        status: header.status,
        sense: sense[..usize::from(header.sense_length.min(SENSE_MAX))].to_vec(),
        transferred: wanted - missing,
        wanted,
    })
}
