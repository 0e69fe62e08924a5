//! A file in the making: FILE.part, which becomes FILE when it is whole.

use crate::error::Error;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Zero blocks of this size become holes: the block of common file systems.
const BLOCK_BYTES: usize = 4096;

/// FILE.part; removed when it is dropped, unless it was published.
pub(crate) struct Part<'a> {
    file: File,
    path: PathBuf,
    output: &'a Path,
    force: bool,
    published: bool,
}

impl<'a> Part<'a> {
    /// Makes the file beside `output`, which with `force` may exist already.
    pub(crate) fn create(output: &'a Path, force: bool) -> Result<Self, Error> {
        if !force && fs::symlink_metadata(output).is_ok() {
            return Err(Error::Exists { path: output.to_owned() });
        }
        let mut name = OsString::from(output);
        name.push(".part");
        let path = PathBuf::from(name);
        let mut options = OpenOptions::new();
        options.write(true).truncate(force).create(force).create_new(!force);
        let file = options.open(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => Error::Exists { path: path.clone() },
            _ => Error::File { operation: "creating", path: path.clone(), source },
        })?;
        Ok(Self { file, path, output, force, published: false })
    }

    /// Gives it its length; what is not written is zeros.
    pub(crate) fn set_length(&self, length: u64) -> Result<(), Error> {
        self.file.set_len(length).map_err(Error::file("sizing", &self.path))
    }

    /// Writes behind what was appended before.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(Error::file("writing", &self.path))
    }

    /// Writes the blocks of `bytes` that are not all zero; returns how many bytes that were.
    pub(crate) fn write_sparse(&self, bytes: &[u8], offset: u64) -> Result<u64, Error> {
        let mut written = 0;
        let mut at = 0;
        while at < bytes.len() {
            let (skip, take) = next_data(&bytes[at..], offset + at as u64);
            let data = &bytes[at + skip..at + skip + take];
            let place = offset + (at + skip) as u64;
            self.file.write_all_at(data, place).map_err(Error::file("writing", &self.path))?;
            written += take as u64;
            at += skip + take;
        }
        Ok(written)
    }

    /// Gives the file, which must have `length` bytes, its name.
    pub(crate) fn publish(mut self, length: u64) -> Result<(), Error> {
        let metadata = self.file.metadata().map_err(Error::file("checking", &self.path))?;
        if metadata.len() != length {
            let source = std::io::Error::other(format!("it has {} bytes", metadata.len()));
            return Err(Error::BrokenOff { offset: metadata.len(), length, source });
        }
        self.file.sync_all().map_err(Error::file("syncing", &self.path))?;
        rename(&self.path, self.output, self.force)?;
        self.published = true;
        let parent = self.output.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = parent.unwrap_or(Path::new("."));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(Error::file("syncing the folder", folder))
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        if !self.published {
            // A file that cannot be removed is still only a FILE.part.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Without `force`, a file that appeared in the meantime is not replaced either.
fn rename(from: &Path, to: &Path, force: bool) -> Result<(), Error> {
    let flags = if force { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    match renameat_with(CWD, from, CWD, to, flags) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(Error::Exists { path: to.to_owned() }),
        // The file system does not know the flag; the check at the beginning must do.
        Err(Errno::INVAL) if !force => fs::rename(from, to).map_err(Error::file("renaming to", to)),
        Err(errno) => Err(Error::file("renaming to", to)(errno.into())),
    }
}

/// How many zero bytes to skip and how many bytes of data follow, both in whole blocks of the
/// disk; `offset` is where `bytes` lie on it. The two are never both 0 when `bytes` is not empty.
fn next_data(bytes: &[u8], offset: u64) -> (usize, usize) {
    let skip: usize = blocks(bytes, offset).take_while(|b| is_zero(b)).map(<[u8]>::len).sum();
    let rest = &bytes[skip..];
    let data = blocks(rest, offset + skip as u64).take_while(|b| !is_zero(b));
    (skip, data.map(<[u8]>::len).sum())
}

/// `bytes` cut at the block borders of the disk; the first and last may be short.
fn blocks(bytes: &[u8], offset: u64) -> impl Iterator<Item = &[u8]> {
    let within = usize::try_from(offset % BLOCK_BYTES as u64).unwrap_or(0);
    let first = (BLOCK_BYTES - within).min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    std::iter::once(head).filter(|head| !head.is_empty()).chain(rest.chunks(BLOCK_BYTES))
}

fn is_zero(block: &[u8]) -> bool {
    block.iter().all(|&byte| byte == 0)
}
