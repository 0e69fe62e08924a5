//! What the warden keeps outside of the repository: its signing key, and beside it the last head
//! it signed ([`crate::witness`]).
//!
//! ```text
//! <state>/        mode 0700, the warden's user
//!   signer        seed of its Ed25519 key, 32 bytes, mode 0600; made at the first start
//!   <id>.head     the witness: the last signed head of the repository with this id
//! ```
//!
//! The witness is what notices that somebody put an older copy of the repository in place, ledger
//! and head alike (FORMAT.md, 10). So the two must not lie on the same disk, and not in the same
//! backup: whoever can roll back both rolls back unnoticed, unless a head is kept elsewhere.

use rustix::fs::{Mode, OFlags};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// More than a seed has; a longer file is none.
const LONGEST: u64 = 1024;

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// A file or the directory cannot be used.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Others could read or exchange the key.
    #[error(
        "{} is open to other users (mode {mode:o}, user {owner}); the signing key must not be used \
         from there. Make it mode 700 and the warden's own, and enrol a new signer if it was read",
        path.display()
    )]
    Open {
        /// The directory or file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// Its user.
        owner: u32,
    },
    /// The key is no key.
    #[error(
        "{} has {length} bytes instead of 32: it is no signing key. Put the right file back, or \
         remove it: a new key is made then, and the change is on record in the ledger",
        path.display()
    )]
    Seed {
        /// The file.
        path: PathBuf,
        /// Its length.
        length: usize,
    },
}

impl HomeError {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> model::ErrorKind {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                model::ErrorKind::Full
            }
            Self::Io { .. } => model::ErrorKind::Retryable,
            Self::Open { .. } => model::ErrorKind::Refused,
            Self::Seed { .. } => model::ErrorKind::Corrupt,
        }
    }
}

/// The directory.
#[derive(Clone, Debug)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// Opens the directory, or makes it with mode 0700. `user` is the warden's; started by root, it
    /// and what lies in it become that user's.
    pub fn open(path: &Path, user: u32) -> Result<Self, HomeError> {
        let home = Self { path: path.to_owned() };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(home.io("make", ""))?;
        if rustix::process::geteuid().is_root() {
            home.give_to(user)?;
        }
        home.closed("", user)?;
        Ok(home)
    }

    /// The path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory and the files in it become `user`'s; links are not followed.
    fn give_to(&self, user: u32) -> Result<(), HomeError> {
        for entry in self.path.read_dir().map_err(self.io("list", ""))? {
            let path = entry.map_err(self.io("list", ""))?.path();
            std::os::unix::fs::lchown(&path, Some(user), None).map_err(|source| HomeError::Io {
                operation: "give away",
                path,
                source,
            })?;
        }
        std::os::unix::fs::lchown(&self.path, Some(user), None).map_err(self.io("give away", ""))
    }

    /// Nobody but `user` (and root) can get at `name`.
    fn closed(&self, name: &str, user: u32) -> Result<(), HomeError> {
        let path = self.file(name);
        let found = path.symlink_metadata().map_err(self.io("look at", name))?;
        let (mode, owner) = (found.mode() & 0o7777, found.uid());
        if mode & 0o077 == 0 && (owner == user || owner == 0) && !found.is_symlink() {
            Ok(())
        } else {
            Err(HomeError::Open { path, mode, owner })
        }
    }

    /// The seed of the signing key; made from `fresh` when there is none yet.
    pub fn seed(
        &self,
        fresh: impl FnOnce() -> io::Result<[u8; 32]>,
    ) -> Result<[u8; 32], HomeError> {
        let found = match self.read("signer")? {
            Some(found) => found,
            None => {
                let seed = fresh().map_err(self.io("get random bytes for", "signer"))?;
                self.replace("signer", &seed)?;
                seed.to_vec()
            }
        };
        self.closed("signer", rustix::process::geteuid().as_raw())?;
        let length = found.len();
        let path = self.file("signer");
        found.try_into().map_err(|_| HomeError::Seed { path, length })
    }

    fn file(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.path.clone() } else { self.path.join(name) }
    }

    fn io(&self, operation: &'static str, name: &str) -> impl FnOnce(io::Error) -> HomeError {
        let path = self.file(name);
        move |source| HomeError::Io { operation, path, source }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, HomeError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::open(self.file(name), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.io("open", name)(error.into())),
        };
        let mut bytes = Vec::new();
        file.take(LONGEST).read_to_end(&mut bytes).map_err(self.io("read", name))?;
        Ok(Some(bytes))
    }

    /// Write, sync, rename, sync: at any moment the file is the old one or the new one.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), HomeError> {
        let new = format!("{name}.new");
        let write = |path: PathBuf| {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.custom_flags(libc::O_NOFOLLOW).open(path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write(self.file(&new)).map_err(self.io("write", &new))?;
        std::fs::rename(self.file(&new), self.file(name)).map_err(self.io("replace", name))?;
        File::open(&self.path).and_then(|home| home.sync_all()).map_err(self.io("sync", ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;

    fn me() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn home() -> (tempfile::TempDir, Home) {
        let place = tempfile::tempdir().unwrap();
        let home = Home::open(&place.path().join("state"), me()).unwrap();
        (place, home)
    }

    #[test]
    fn the_seed_is_made_once_and_is_nobody_elses() {
        let (_place, home) = home();
        assert_eq!(home.seed(|| Ok([7; 32])).unwrap(), [7; 32]);
        assert_eq!(home.seed(|| panic!("there is one")).unwrap(), [7; 32]);
        let mode = |name: &str| home.file(name).metadata().unwrap().mode() & 0o777;
        assert_eq!((mode("signer"), mode("")), (0o600, 0o700));
        let failing = || Err(io::Error::other("no random bytes"));
        std::fs::remove_file(home.file("signer")).unwrap();
        assert!(home.seed(failing).is_err());
        assert!(!home.file("signer").exists());
    }

    #[test]
    fn a_key_that_others_can_read_is_not_used() {
        let (_place, home) = home();
        home.seed(|| Ok([7; 32])).unwrap();
        set_permissions(home.file("signer"), Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(home.seed(|| Ok([8; 32])), Err(HomeError::Open { .. })));
        set_permissions(&home.path, Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(Home::open(&home.path, me()), Err(HomeError::Open { .. })));
    }

    #[test]
    fn a_damaged_key_is_neither_used_nor_replaced() {
        let (_place, home) = home();
        home.seed(|| Ok([7; 32])).unwrap();
        std::fs::write(home.file("signer"), [7; 31]).unwrap();
        let error = home.seed(|| Ok([8; 32])).unwrap_err();
        assert!(matches!(error, HomeError::Seed { length: 31, .. }), "{error}");
        assert_eq!(std::fs::read(home.file("signer")).unwrap(), [7; 31]);
    }

    #[test]
    fn links_are_not_followed() {
        let (place, home) = home();
        let elsewhere = place.path().join("elsewhere");
        std::fs::write(&elsewhere, [9; 32]).unwrap();
        std::os::unix::fs::symlink(&elsewhere, home.file("signer")).unwrap();
        assert!(home.seed(|| Ok([8; 32])).is_err());
        std::fs::remove_file(home.file("signer")).unwrap();
        std::os::unix::fs::symlink(&elsewhere, home.file("signer.new")).unwrap();
        assert!(home.seed(|| Ok([8; 32])).is_err());
        assert_eq!(std::fs::read(&elsewhere).unwrap(), [9; 32]);
    }
}
