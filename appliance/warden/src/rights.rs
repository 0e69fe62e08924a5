//! Owners and modes of a repository's directories: what the daemon's user can do there.
//!
//! | path | owner | group | mode |
//! |---|---|---|---|
//! | repository, `ledger`, `keys`, `segments`, `volumes`, each volume | warden | daemon | 2750 |
//! | `open` | warden | daemon | 3770: the daemon makes files there and removes its own only |
//! | `lock` | warden | daemon | 0660 |
//! | other files | warden | daemon | 0640, sealed segments 0444 |
//!
//! The group bit on the directories hands the daemon's group on to what is made in them. What lies
//! in `open` is the daemon's and is not touched: nothing there is trusted before it is sealed.
//! No link is followed anywhere.

use crate::sandbox::Account;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::fs::{fchmod, fchown, fstat, mkdirat, openat, statat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Why the rights could not be set.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}", path.display())]
pub struct RightsError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl RightsError {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> model::ErrorKind {
        model::ErrorKind::Refused
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(Errno) -> RightsError {
    move |error| RightsError { operation, path: path.to_owned(), source: error.into() }
}

/// Directories that only the warden writes to, with the mode of the files in them.
const KEPT: &[(&str, u32)] = &[("ledger", 0o640), ("keys", 0o640), ("segments", 0o444)];
/// Files beside them.
const HEADERS: &[&str] = &["repository", "volume"];
const FOLDER: u32 = 0o2750;
const OPEN: u32 = 0o3770;

/// Sets all of it in `repository` and on its volumes, and makes the directories that lack. For
/// root only.
pub fn settle(repository: &Path, warden: Account, daemon: Account) -> Result<(), RightsError> {
    let rights = Rights { user: warden.user, group: daemon.group, daemon: daemon.user };
    rights.volume(repository)?;
    rights.lock(&repository.join("lock"))?;
    let volumes = repository.join("volumes");
    match rights.directory(&volumes, FOLDER) {
        Ok(folder) => {
            for name in names(&folder, &volumes)? {
                rights.volume(&volumes.join(name))?;
            }
            Ok(())
        }
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

struct Rights {
    user: u32,
    group: u32,
    daemon: u32,
}

impl Rights {
    fn volume(&self, path: &Path) -> Result<(), RightsError> {
        let folder = self.directory(path, FOLDER)?;
        for name in HEADERS {
            self.file(&folder, name, &path.join(name), 0o640)?;
        }
        for &(name, mode) in KEPT {
            let path = path.join(name);
            let folder = self.made(&path, FOLDER)?;
            for name in names(&folder, &path)? {
                self.file(&folder, &name, &path.join(&name), mode)?;
            }
        }
        self.made(&path.join("open"), OPEN).map(drop)
    }

    fn made(&self, path: &Path, mode: u32) -> Result<OwnedFd, RightsError> {
        match mkdirat(CWD, path, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => self.directory(path, mode),
            Err(error) => Err(failed("make", path)(error)),
        }
    }

    fn directory(&self, path: &Path, mode: u32) -> Result<OwnedFd, RightsError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = openat(CWD, path, flags, Mode::empty()).map_err(failed("open", path))?;
        self.give(&folder, path, mode)?;
        Ok(folder)
    }

    /// A file that the daemon takes its lock with; made here, because it cannot make it.
    fn lock(&self, path: &Path) -> Result<(), RightsError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = openat(CWD, path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o600))
            .map_err(failed("open", path))?;
        self.give(&file, path, 0o660)
    }

    /// A file that only the warden may change. One that is right already is not opened; a sealed
    /// one that is immutable keeps its owner, unless that is the daemon's user.
    fn file(
        &self,
        folder: &OwnedFd,
        name: &str,
        path: &Path,
        mode: u32,
    ) -> Result<(), RightsError> {
        let found = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(failed("look at", path)(error)),
        };
        let right = found.st_uid == self.user && found.st_mode & 0o222 & !mode == 0;
        if right || FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Ok(()); // what else may lie there is reported when the repository is opened
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(folder, name, flags, Mode::empty()).map_err(failed("open", path))?;
        match self.give(&file, path, mode) {
            Err(error)
                if error.source.kind() == io::ErrorKind::PermissionDenied
                    && found.st_uid != self.daemon =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Owner first: giving a file away clears bits of its mode.
    fn give(&self, file: &OwnedFd, path: &Path, mode: u32) -> Result<(), RightsError> {
        let found = fstat(file).map_err(failed("look at", path))?;
        if (found.st_uid, found.st_gid) != (self.user, self.group) {
            let (user, group) = (Uid::from_raw(self.user), Gid::from_raw(self.group));
            fchown(file, Some(user), Some(group)).map_err(failed("give away", path))?;
        }
        fchmod(file, Mode::from_raw_mode(mode)).map_err(failed("set the mode of", path))
    }
}

fn names(folder: &OwnedFd, path: &Path) -> Result<Vec<String>, RightsError> {
    let entries = Dir::read_from(folder).map_err(failed("list", path))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("list", path))?;
        match entry.file_name().to_str() {
            Ok("." | "..") | Err(_) => {} // a name that is no text is none of ours
            Ok(name) => names.push(name.to_owned()),
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, chown, symlink};

    const WARDEN: Account = Account { user: 61000, group: 61000 };
    const DAEMON: Account = Account { user: 61001, group: 61001 };

    #[test]
    #[allow(clippy::print_stdout)] // to be seen by whoever runs the tests
    fn the_daemon_is_left_open_and_lock_and_no_link_is_followed() {
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED: rights of a repository: only root can give files away");
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let elsewhere = place.path().join("elsewhere");
        std::fs::write(&elsewhere, b"data").unwrap();
        let repository = place.path().join("repository");
        let volume = repository.join("volumes/1");
        std::fs::create_dir_all(&volume).unwrap();
        std::fs::create_dir_all(repository.join("ledger")).unwrap();
        std::fs::create_dir_all(repository.join("segments")).unwrap();
        for name in ["repository", "ledger/leaves", "segments/00000001.segment"] {
            std::fs::write(repository.join(name), b"data").unwrap();
            chown(repository.join(name), Some(DAEMON.user), Some(DAEMON.group)).unwrap();
        }
        symlink(&elsewhere, repository.join("ledger/head")).unwrap();
        settle(&repository, WARDEN, DAEMON).unwrap();
        settle(&repository, WARDEN, DAEMON).unwrap();

        let rights = |path: &Path| {
            let found = path.metadata().unwrap();
            (found.uid(), found.gid(), found.mode() & 0o7777)
        };
        for (name, mode) in [
            ("", FOLDER),
            ("ledger", FOLDER),
            ("keys", FOLDER),
            ("segments", FOLDER),
            ("volumes", FOLDER),
            ("volumes/1", FOLDER),
            ("volumes/1/segments", FOLDER),
            ("volumes/1/open", OPEN),
            ("open", OPEN),
            ("lock", 0o660),
            ("repository", 0o640),
            ("ledger/leaves", 0o640),
            ("segments/00000001.segment", 0o444),
        ] {
            let expected = (WARDEN.user, DAEMON.group, mode);
            assert_eq!(rights(&repository.join(name)), expected, "{name}");
        }
        assert_eq!(rights(&elsewhere).0, 0, "the link was followed");
    }
}
