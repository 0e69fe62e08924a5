//! Files and whole directories that cannot be asked for, and a page cache that knows better than
//! the medium.

use super::{Sim, SimFile, State};
use std::io;
use std::sync::Arc;
use warden::storage::Read;

impl State {
    /// Fails once the power is off, or where it was refused.
    pub(super) fn look_at(&self, path: &str) -> io::Result<()> {
        self.look()?;
        let refused = self.refused.iter().find(|(below, _)| path.starts_with(below.as_str()));
        refused.map_or(Ok(()), |(_, error)| Err(io::Error::from_raw_os_error(*error)))
    }
}

impl Sim {
    /// From now on whoever opens, lists or creates anything whose path begins with `below`, or asks
    /// for free space there, gets this error of the system. Open handles stay as they are.
    pub fn refuse(&self, below: &str, error: i32) {
        self.state().refused.push((below.into(), error));
    }

    /// Nothing is refused any more.
    pub fn refuse_nothing(&self) {
        self.state().refused.clear();
    }

    /// What a file holds now stays in the page cache, whatever happens to the medium below it.
    pub fn keep_cached(&self, path: &str) {
        let mut state = self.state();
        let inode = state.names[path];
        let bytes = state.files[&inode].now.clone();
        state.cached.insert(inode, bytes);
    }

    pub(super) fn open_to_read(&self, path: &str, from_cache: bool) -> io::Result<Arc<dyn Read>> {
        let state = self.state();
        state.look_at(path)?;
        let inode = state.inode(path)?;
        Ok(Arc::new(SimFile { sim: self.clone(), inode, from_cache, _writer: None }))
    }
}
