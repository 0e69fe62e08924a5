//! The few file operations that the store is made of, so that tests can cut the power between any
//! two of them.
//!
//! Paths are relative to the repository and use `/`; the empty path is the repository itself.

mod directory;
#[cfg(test)]
pub(crate) mod sim;

pub(crate) use directory::Directory;

use std::io;
use std::sync::Arc;

/// A file that only grows.
pub(crate) trait Append: Send {
    /// Writes all of `bytes` at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes the content and the length durable. After an error nothing is known about either.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file (the ledger's torn tail; never a segment).
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

/// A file that is only read.
pub(crate) trait Read: Send + Sync {
    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Fills `buffer` from `offset` on.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// Whether a tripwire could be set.
pub(crate) enum Immutable {
    /// The attribute is set.
    Set,
    /// It was not asked for.
    NotWanted,
    /// The file system or our rights do not allow it.
    Impossible(io::Error),
}

/// The operations. Everything that must be durable is synced by the caller.
pub(crate) trait Storage: Send + Sync {
    /// What people call it.
    fn name(&self) -> String;
    /// Takes the exclusive lock; `false`: another process has it.
    fn lock(&self) -> io::Result<bool>;
    /// Creates a directory and those above it; it may exist.
    fn create_dir(&self, path: &str) -> io::Result<()>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, path: &str) -> io::Result<()>;
    /// Names and lengths of the files in a directory.
    fn list(&self, path: &str) -> io::Result<Vec<(String, u64)>>;
    /// A new file; an existing one is an error.
    fn create(&self, path: &str) -> io::Result<Box<dyn Append>>;
    /// An existing file, to go on at its end.
    fn reopen(&self, path: &str) -> io::Result<Box<dyn Append>>;
    /// An existing file, to read.
    fn open(&self, path: &str) -> io::Result<Arc<dyn Read>>;
    /// Shows the whole file to `sink`, piece by piece, past the page cache where possible.
    fn read_back(&self, path: &str, sink: &mut dyn FnMut(&[u8])) -> io::Result<()>;
    /// Renames within the repository, over an existing file if there is one.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Makes a file read-only.
    fn make_read_only(&self, path: &str) -> io::Result<()>;
    /// Sets or clears the immutable attribute, where that is wanted and possible.
    fn set_immutable(&self, path: &str, immutable: bool) -> io::Result<Immutable>;
    /// Free bytes.
    fn free(&self) -> io::Result<u64>;
}

/// The whole content of a file.
pub(crate) fn read_all(storage: &dyn Storage, path: &str) -> io::Result<Vec<u8>> {
    let file = storage.open(path)?;
    let length = usize::try_from(file.length()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read(0, &mut bytes)?;
    Ok(bytes)
}

/// Writes `path` as a whole: a new file beside it, synced, renamed over it, directory synced.
pub(crate) fn replace(storage: &dyn Storage, path: &str, bytes: &[u8]) -> io::Result<()> {
    let new = format!("{path}.new");
    match storage.remove(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = storage.create(&new)?;
    file.append(bytes)?;
    file.sync()?;
    storage.rename(&new, path)?;
    storage.sync_dir(path.rsplit_once('/').map_or("", |(directory, _)| directory))
}
