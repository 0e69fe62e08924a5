//! Appending: segments past the page cache, everything else through it.
//!
//! A segment is written once, read back from the disk and then hardly ever read soon: in the page
//! cache it would push out what is used, and copying it there costs a tenth of an ingest's time.

use super::Append;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write as _};

/// Alignment of direct reads and writes, in memory and in the file: the largest logical block in
/// use.
pub(super) const ALIGNMENT: usize = 4096;
/// Bytes of one direct write.
const PIECE: usize = 4 << 20;

/// A file that is appended to.
pub(super) struct Grower {
    file: File,
    /// The file is written past the page cache; pieces that do not lie aligned are copied
    /// through this.
    direct: Option<Vec<u8>>,
}

impl Grower {
    pub(super) fn buffered(file: File) -> Self {
        Self { file, direct: None }
    }

    /// Past the page cache where the file system can, as long as whole blocks are appended.
    pub(super) fn direct(file: File) -> Self {
        let set = fcntl_getfl(&file).and_then(|flags| fcntl_setfl(&file, flags | OFlags::DIRECT));
        Self { file, direct: set.is_ok().then(Vec::new) }
    }

    /// From here on through the page cache.
    fn give_up_direct(&mut self) -> io::Result<()> {
        fcntl_setfl(&self.file, fcntl_getfl(&self.file)? - OFlags::DIRECT)?;
        self.direct = None;
        Ok(())
    }
}

impl Append for Grower {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.direct.is_some() && !bytes.len().is_multiple_of(ALIGNMENT) {
            self.give_up_direct()?;
        }
        let Some(staging) = &mut self.direct else { return self.file.write_all(bytes) };
        let mut written = 0;
        while written < bytes.len() {
            let piece = &bytes[written..(written + PIECE).min(bytes.len())];
            match write_aligned(&self.file, staging, piece) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The file system took the flag and does not do it, or wrote part of a block.
                Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                    self.give_up_direct()?;
                    return self.file.write_all(&bytes[written..]);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }
}

/// One write of `piece`, from where it lies if that is aligned, else from `staging`.
fn write_aligned(mut file: &File, staging: &mut Vec<u8>, piece: &[u8]) -> io::Result<usize> {
    let count = if piece.as_ptr().addr().is_multiple_of(ALIGNMENT) {
        file.write(piece)?
    } else {
        staging.resize(PIECE + ALIGNMENT, 0);
        let start = staging.as_ptr().align_offset(ALIGNMENT);
        let aligned = &mut staging[start..start + piece.len()];
        aligned.copy_from_slice(piece);
        file.write(aligned)?
    };
    if count == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(count) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;

    #[test]
    fn direct_and_buffered_appends_leave_the_same_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let mut whole = Vec::new();
        let path = directory.path().join("file");
        let file = OpenOptions::new().create_new(true).append(true).open(&path).unwrap();
        let mut grower = Grower::direct(file);
        if grower.direct.is_none() {
            println!("SKIPPED: direct appends: this file system has no direct writes");
        }
        // Aligned or not in memory; whole blocks, longer than a piece; then the odd end.
        for (length, skip) in [(4096, 1), (PIECE * 2 + 8192, 0), (12_288, 7), (5, 0), (4096, 0)] {
            let bytes: Vec<u8> = (0..length + skip).map(|n| (n % 251).to_le_bytes()[0]).collect();
            grower.append(&bytes[skip..]).unwrap();
            whole.extend_from_slice(&bytes[skip..]);
        }
        grower.sync().unwrap();
        assert!(std::fs::read(&path).unwrap() == whole);
    }
}
