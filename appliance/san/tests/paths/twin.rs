//! A second way to the disk of the common tgtd: another target of it, or another tgtd.

use crate::common::{DISK, Tgtd, serve};
use lab::place::{FreshDirectory, fresh_directory};
use lab::tgtd::TgtdSpec;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Number of the other target.
pub(crate) const OTHER: u32 = 3;

/// Another target of a daemon whose LUN 1 has the names of the disk.
pub(crate) fn other_target(tgtd: &Tgtd, name: &str, file: &Path) {
    serve(tgtd.daemon(), OTHER, name, file);
}

/// Another daemon whose disk target serves a file that exists, under the same names.
pub(crate) struct Twin {
    tgtd: lab::tgtd::Tgtd,
    file: PathBuf,
    _directory: FreshDirectory,
}

impl Twin {
    pub(crate) fn start(file: &Path) -> Self {
        let directory = fresh_directory().unwrap();
        let spec = TgtdSpec { ping: 1, ..TgtdSpec::default() };
        let tgtd = lab::tgtd::Tgtd::start(directory.path(), spec).unwrap();
        serve(&tgtd, 1, DISK, file);
        Self { tgtd, file: file.to_owned(), _directory: directory }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.tgtd.portal()
    }

    /// As a machine that fails.
    pub(crate) fn kill(&mut self) {
        self.tgtd.kill().unwrap();
    }

    /// After [`Self::kill`]: as it was.
    pub(crate) fn restart(&mut self) {
        self.tgtd.run().unwrap();
        serve(&self.tgtd, 1, DISK, &self.file);
    }
}
