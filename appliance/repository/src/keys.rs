//! Keys of an encrypted repository: made with it, opened at every start (FORMAT.md 3.2).

use crate::repo::random;
use crate::storage::{self, Storage};
use crate::{StoreError, layout};
use format::FormatError;
use format::header::{Keys, RepositoryHeader, RepositoryId};
use format::keys::{DataKey, EpochFile, KeyEncryptionKey, KeyRing, MasterFile, MasterKey, Secret};
use model::ErrorKind;
use zeroize::Zeroizing;

/// Epoch of the first data key.
const FIRST: u32 = 1;

fn secret() -> Result<Zeroizing<[u8; 32]>, StoreError> {
    random().map(Zeroizing::new)
}

/// Writes the key files of a new repository and gives its recovery key. The directory is synced.
pub(crate) fn create(
    storage: &dyn Storage,
    repository: RepositoryId,
    kek: &KeyEncryptionKey,
) -> Result<KeyEncryptionKey, StoreError> {
    let path = layout::KEYS;
    storage.create_dir(path).map_err(StoreError::io("creating", path))?;
    let recovery = KeyEncryptionKey::new(&*secret()?);
    let (master, hashes) = (MasterKey::new(&*secret()?), Secret::new(&*secret()?));
    let mut file = MasterFile::new(repository);
    for key in [kek, &recovery] {
        let added = file.add(key, random()?, (&master, &hashes));
        debug_assert!(added, "two slots of a new file, of keys that differ");
    }
    let data = DataKey::new(&*secret()?);
    let epoch = EpochFile::seal(repository, FIRST, &master, &data, random()?);
    let name = layout::epoch(FIRST);
    storage::replace(storage, &name, &epoch.encode()).map_err(StoreError::io("writing", &*name))?;
    storage::replace(storage, layout::MASTER, &file.encode())
        .map_err(StoreError::io("writing", layout::MASTER))?;
    Ok(recovery)
}

/// The keys of hashes, and the data keys of all epochs.
pub(crate) fn open(
    storage: &dyn Storage,
    header: &RepositoryHeader,
    kek: Option<&KeyEncryptionKey>,
) -> Result<(Keys, KeyRing), StoreError> {
    let refuse =
        |problem| StoreError::Directory { path: storage.name(), problem, kind: ErrorKind::Refused };
    let kek = match (&header.secret, kek) {
        (Some(secret), None) => return Ok((Keys::derive(secret), KeyRing::new())),
        (Some(_), Some(_)) => return Err(refuse("a key was given, and it is not encrypted")),
        (None, None) => return Err(refuse("it is encrypted; give its key-encryption key")),
        (None, Some(kek)) => kek,
    };
    let file = read(storage, layout::MASTER, MasterFile::decode)?;
    own(layout::MASTER, file.repository(), header)?;
    let (master, secret) = file.open(kek).map_err(damaged(layout::MASTER))?;
    Ok((Keys::derive(&secret), ring(storage, header, &master)?))
}

fn ring(
    storage: &dyn Storage,
    header: &RepositoryHeader,
    master: &MasterKey,
) -> Result<KeyRing, StoreError> {
    let mut ring = KeyRing::new();
    let files = storage.list(layout::KEYS).map_err(StoreError::io("listing", layout::KEYS))?;
    for (name, _) in files {
        let Some(number) = epoch_of(&name) else { continue };
        let name = layout::epoch(number);
        let file = read(storage, &name, EpochFile::decode)?;
        own(&name, file.repository(), header)?;
        if file.epoch() != number {
            let problem = format!("it is the key of epoch {}", file.epoch());
            return Err(damaged(&name)(FormatError::Corrupt { what: "key file", problem }));
        }
        ring.insert(number, &file.open(master).map_err(damaged(&name))?);
    }
    if ring.latest().is_none() {
        let source = FormatError::NoKey { what: "the repository", epoch: FIRST };
        return Err(damaged(layout::KEYS)(source));
    }
    Ok(ring)
}

fn epoch_of(name: &str) -> Option<u32> {
    u32::from_str_radix(name, 16).ok().filter(|number| format!("{number:08x}") == name)
}

fn damaged(name: &str) -> impl FnOnce(FormatError) -> StoreError {
    let what = name.to_owned();
    move |source| StoreError::Damaged { what, source }
}

fn read<T>(
    storage: &dyn Storage,
    name: &str,
    decode: impl FnOnce(&[u8]) -> Result<T, FormatError>,
) -> Result<T, StoreError> {
    let bytes = storage::read_all(storage, name).map_err(StoreError::io("reading", name))?;
    decode(&bytes).map_err(damaged(name))
}

fn own(name: &str, repository: RepositoryId, header: &RepositoryHeader) -> Result<(), StoreError> {
    if repository == header.id {
        return Ok(());
    }
    let problem = "it belongs to another repository".to_owned();
    Err(damaged(name)(FormatError::Corrupt { what: "key file", problem }))
}
