//! The keys of a new encrypted repository (FORMAT.md 3.2): one for the daemon, in a file, and one
//! for recovery, for people.

use crate::create::random;
use anyhow::{Context as _, ensure};
use format::header::RepositoryId;
use format::keys::{KeyEncryptionKey, MasterFile, MasterKey, Secret};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, fchown};
use std::path::Path;
use warden::sandbox::Account;

/// What was made.
pub(crate) struct Encryption {
    /// The file `keys/master`.
    pub(crate) master: Vec<u8>,
    /// Opens the repository when the daemon's key is lost. It is kept nowhere.
    pub(crate) recovery: KeyEncryptionKey,
}

impl Encryption {
    /// Makes new keys; the daemon's goes into the new file `path`, which only it can read.
    pub(crate) fn make(path: &Path, id: RepositoryId, daemon: Account) -> anyhow::Result<Self> {
        let (kek, recovery) = (key()?, key()?);
        let (master, secret) = (MasterKey::new(&random::<32>()?), Secret::new(&random::<32>()?));
        let mut file = MasterFile::new(id);
        for key in [&kek, &recovery] {
            let added = file.add(key, random()?, (&master, &secret));
            ensure!(added, "two random keys are the same: the system's random numbers are broken");
        }
        write(path, &kek, daemon).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { master: file.encode(), recovery })
    }
}

fn key() -> anyhow::Result<KeyEncryptionKey> {
    Ok(KeyEncryptionKey::new(&random::<32>()?))
}

fn write(path: &Path, key: &KeyEncryptionKey, daemon: Account) -> std::io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", key.to_text().as_str())?;
    if rustix::process::geteuid().is_root() {
        fchown(&file, Some(daemon.user), Some(daemon.group))?;
    }
    file.sync_all()
}
