//! The few file operations that a repository is made of, so that tests can cut the power between
//! any two of them. Shared by the warden and the daemon: each opens the directory with its own
//! rights.
//!
//! Paths are relative to the repository and use `/`; the empty path is the repository itself. No
//! operation follows a symbolic link in the last part of a path, and none opens anything but a
//! regular file.

mod directory;
mod grower;
mod kernel;

pub use directory::Directory;

use std::io;
use std::sync::Arc;

/// A file that only grows.
pub trait Append: Send {
    /// Writes all of `bytes` at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes the content and the length durable. After an error nothing is known about either.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file: the ledger's torn tail, or what was preallocated and not used.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

/// A file that is only read.
pub trait Read: Send + Sync {
    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Fills `buffer` from `offset` on.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// Whether a tripwire could be set.
#[derive(Debug)]
pub enum Immutable {
    /// The attribute was not as asked for and is now.
    Set,
    /// It was as asked for.
    Already,
    /// It was not asked for when the storage was opened.
    NotWanted,
    /// The file system or our rights do not allow it.
    Impossible(io::Error),
}

/// The operations. Everything that must be durable is synced by the caller.
pub trait Storage: Send + Sync {
    /// What people call it.
    fn name(&self) -> String;
    /// Takes the exclusive lock on the file `path`, which is created when missing, for as long as
    /// the storage lives; `false`: another process has it.
    fn lock(&self, path: &str) -> io::Result<bool>;
    /// Creates a directory and those above it; it may exist. `shared`: the daemon may create files
    /// in it.
    fn create_dir(&self, path: &str, shared: bool) -> io::Result<()>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, path: &str) -> io::Result<()>;
    /// Names and lengths of the regular files in a directory; others are not there.
    fn list(&self, path: &str) -> io::Result<Vec<(String, u64)>>;
    /// A new file; an existing one is an error. Space for `expected` bytes is taken at once where
    /// the file system can do that; the length grows with what is written.
    fn create(&self, path: &str, expected: u64) -> io::Result<Box<dyn Append>>;
    /// An existing file, to go on at its end.
    fn reopen(&self, path: &str) -> io::Result<Box<dyn Append>>;
    /// An existing file, to read.
    fn open(&self, path: &str) -> io::Result<Arc<dyn Read>>;
    /// The same for who wants to know what is on the medium: what a read leaves in the page cache
    /// is not used by the next opening, and nothing that others want is pushed out of it.
    fn open_uncached(&self, path: &str) -> io::Result<Arc<dyn Read>> {
        self.open(path)
    }
    /// Shows the whole file to `sink`, piece by piece, past the page cache where possible.
    fn read_back(&self, path: &str, sink: &mut dyn FnMut(&[u8])) -> io::Result<()>;
    /// Renames within the repository, over an existing file if there is one.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Makes a file read-only.
    fn make_read_only(&self, path: &str) -> io::Result<()>;
    /// Takes a file over from whoever wrote it: it must be a regular file with one name that
    /// nobody has open for writing ([`io::ErrorKind::ResourceBusy`] otherwise), belongs to our
    /// user afterwards where our rights allow that, has mode 0444, and is durable.
    fn take_over(&self, path: &str) -> io::Result<()>;
    /// Sets or clears the immutable attribute, where that is wanted and possible.
    fn set_immutable(&self, path: &str, immutable: bool) -> io::Result<Immutable>;
    /// Turns on fs-verity; `false` where there is none.
    fn enable_verity(&self, path: &str) -> io::Result<bool>;
    /// Free bytes on the file system that holds `path`.
    fn free(&self, path: &str) -> io::Result<u64>;
    /// What this storage has turned out not to enforce, for people; empty: everything was enforced
    /// so far.
    fn not_enforced(&self) -> Vec<String>;
}

/// The directory that a path lies in.
#[must_use]
pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// The whole content of a file that is at most `limit` bytes long.
pub fn read_all(storage: &dyn Storage, path: &str, limit: u64) -> io::Result<Vec<u8>> {
    let file = storage.open(path)?;
    let length = file.length()?;
    if length > limit {
        let problem = format!("it is {length} bytes long, and at most {limit} make sense");
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read(0, &mut bytes)?;
    Ok(bytes)
}

/// Removes a file; one that is gone is fine.
pub fn remove_if_there(storage: &dyn Storage, path: &str) -> io::Result<()> {
    match storage.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes `path` as a whole: a new file beside it, synced, renamed over it, directory synced.
pub fn replace(storage: &dyn Storage, path: &str, bytes: &[u8]) -> io::Result<()> {
    let new = format!("{path}.new");
    remove_if_there(storage, &new)?;
    let mut file = storage.create(&new, bytes.len() as u64)?;
    file.append(bytes)?;
    file.sync()?;
    storage.rename(&new, path)?;
    storage.sync_dir(parent(path))
}
