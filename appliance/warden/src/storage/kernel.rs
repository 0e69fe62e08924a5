//! The two system calls that no safe library offers: leases (fcntl F_SETLEASE) and fs-verity
//! (ioctl FS_IOC_ENABLE_VERITY).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// Fails with EAGAIN when anybody has the file open for writing, or mapped so: the kernel grants a
/// read lease only on a file without writers. The lease is given back at once.
pub(super) fn nobody_writes(file: &File) -> io::Result<()> {
    for kind in [libc::F_RDLCK, libc::F_UNLCK] {
        // SAFETY: the descriptor is open as long as `file` lives; the third argument of F_SETLEASE
        // is an integer, no memory is handed over.
        #[allow(unsafe_code)]
        let outcome = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) };
        if outcome == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// `struct fsverity_enable_arg` of linux/fsverity.h.
#[repr(C)]
struct EnableVerity {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt: u64,
    signature_size: u32,
    reserved_1: u32,
    signature: u64,
    reserved_2: [u64; 11],
}

/// `_IOW('f', 133, struct fsverity_enable_arg)`.
const FS_IOC_ENABLE_VERITY: libc::Ioctl = 0x4080_6685;

/// SHA-256 over blocks of 4096 bytes, without salt and signature.
pub(super) fn enable_verity(file: &File) -> io::Result<()> {
    let argument = EnableVerity {
        version: 1,
        hash_algorithm: 1,
        block_size: 4096,
        salt_size: 0,
        salt: 0,
        signature_size: 0,
        reserved_1: 0,
        signature: 0,
        reserved_2: [0; 11],
    };
    // SAFETY: the descriptor is open as long as `file` lives; the argument has the layout that this
    // request reads (128 bytes), outlives the call, and has no pointers in it.
    #[allow(unsafe_code)]
    let outcome = unsafe {
        libc::ioctl(file.as_raw_fd(), FS_IOC_ENABLE_VERITY, std::ptr::from_ref(&argument))
    };
    if outcome == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
