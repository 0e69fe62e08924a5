//! The last head, kept outside of the repository: whoever sets the repository's disks back to an
//! older state does not set this back with them.

use crate::storage::{self, Storage};
use std::io;
use std::sync::Arc;

/// Where the last signed head of one repository is kept.
pub trait Witness: Send {
    /// The head that was stored last; `None`: none ever was.
    fn load(&self) -> io::Result<Option<Vec<u8>>>;
    /// Keeps a head. It must be durable when this returns.
    fn store(&self, head: &[u8]) -> io::Result<()>;
}

/// A witness in a directory, such as the warden's own state directory.
pub struct FileWitness {
    storage: Arc<dyn Storage>,
    name: String,
}

impl FileWitness {
    /// The file `<repository id>.head` in `storage`.
    #[must_use]
    pub fn new(storage: Arc<dyn Storage>, repository: &[u8; 16]) -> Self {
        Self { storage, name: format!("{}.head", hex::encode(repository)) }
    }
}

impl Witness for FileWitness {
    fn load(&self) -> io::Result<Option<Vec<u8>>> {
        match storage::read_all(&*self.storage, &self.name, ledger::note::NOTE_MAX as u64) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    fn store(&self, head: &[u8]) -> io::Result<()> {
        storage::replace(&*self.storage, &self.name, head)
    }
}
