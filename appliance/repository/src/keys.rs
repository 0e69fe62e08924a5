//! Keys of an encrypted repository: made with it, opened at every start (FORMAT.md 3.2).

use crate::StoreError;
use crate::repo::random;
use format::FormatError;
use format::header::{Keys, RepositoryHeader, RepositoryId};
use format::keys::{
    DataKey, EpochFile, KEY_FILE_BYTES, KeyEncryptionKey, KeyRing, MasterFile, MasterKey, Secret,
};
use model::ErrorKind;
use warden::layout;
use warden::storage::{self, Storage};
use zeroize::Zeroizing;

/// Epoch of the first data key.
pub(crate) const FIRST: u32 = 1;

fn secret() -> Result<Zeroizing<[u8; 32]>, StoreError> {
    random().map(Zeroizing::new)
}

/// The file `keys/master` of a new repository, and its recovery key.
pub(crate) fn master(
    repository: RepositoryId,
    kek: &KeyEncryptionKey,
) -> Result<(Vec<u8>, KeyEncryptionKey), StoreError> {
    let recovery = KeyEncryptionKey::new(&*secret()?);
    let (master, hashes) = (MasterKey::new(&*secret()?), Secret::new(&*secret()?));
    let mut file = MasterFile::new(repository);
    for key in [kek, &recovery] {
        let added = file.add(key, random()?, (&master, &hashes));
        debug_assert!(added, "two slots of a new file, of keys that differ");
    }
    Ok((file.encode(), recovery))
}

/// The file `keys/<epoch>` with a new data key.
pub(crate) fn new_epoch(
    storage: &dyn Storage,
    header: &RepositoryHeader,
    kek: &KeyEncryptionKey,
    epoch: u32,
) -> Result<Vec<u8>, StoreError> {
    let (master, _) = open_master(storage, header, kek)?;
    let data = DataKey::new(&*secret()?);
    Ok(EpochFile::seal(header.id, epoch, &master, &data, random()?).encode())
}

fn open_master(
    storage: &dyn Storage,
    header: &RepositoryHeader,
    kek: &KeyEncryptionKey,
) -> Result<(MasterKey, Secret), StoreError> {
    let file = read(storage, layout::MASTER_KEY, MasterFile::decode)?;
    own(layout::MASTER_KEY, file.repository(), header)?;
    file.open(kek).map_err(damaged(layout::MASTER_KEY))
}

/// The keys of hashes, and the data keys of `epochs`, those that the ledger names.
pub(crate) fn open(
    storage: &dyn Storage,
    header: &RepositoryHeader,
    kek: Option<&KeyEncryptionKey>,
    epochs: impl Iterator<Item = u32>,
) -> Result<(Keys, KeyRing), StoreError> {
    let refuse =
        |problem| StoreError::Directory { path: storage.name(), problem, kind: ErrorKind::Refused };
    let kek = match (&header.secret, kek) {
        (Some(secret), None) => return Ok((Keys::derive(secret), KeyRing::new())),
        (Some(_), Some(_)) => return Err(refuse("a key was given, and it is not encrypted")),
        (None, None) => return Err(refuse("it is encrypted; give its key-encryption key")),
        (None, Some(kek)) => kek,
    };
    let (master, secret) = open_master(storage, header, kek)?;
    Ok((Keys::derive(&secret), ring(storage, header, &master, epochs)?))
}

/// A key that cannot be read makes the segments of its epoch unreadable, and no others; without the
/// newest one nothing is written. The warden reports its file.
fn ring(
    storage: &dyn Storage,
    header: &RepositoryHeader,
    master: &MasterKey,
    epochs: impl Iterator<Item = u32>,
) -> Result<KeyRing, StoreError> {
    let mut ring = KeyRing::new();
    let mut failed = None;
    for epoch in epochs {
        match data_key(storage, header, master, epoch) {
            Ok(key) => ring.insert(epoch, &key),
            Err(error) => {
                tracing::error!(epoch, error = model::chain(&error), "a data key is lost");
                ring.lose(epoch);
                failed = Some(error);
            }
        }
    }
    match failed {
        Some(error) if ring.is_empty() => Err(error),
        _ => Ok(ring),
    }
}

fn data_key(
    storage: &dyn Storage,
    header: &RepositoryHeader,
    master: &MasterKey,
    epoch: u32,
) -> Result<DataKey, StoreError> {
    let name = layout::key(epoch);
    let file = read(storage, &name, EpochFile::decode)?;
    own(&name, file.repository(), header)?;
    if file.epoch() != epoch {
        let problem = format!("it is the key of epoch {}", file.epoch());
        return Err(damaged(&name)(FormatError::Corrupt { what: "key file", problem }));
    }
    file.open(master).map_err(damaged(&name))
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
    let bytes = storage::read_all(storage, name, KEY_FILE_BYTES as u64)
        .map_err(StoreError::io("reading", name))?;
    decode(&bytes).map_err(damaged(name))
}

fn own(name: &str, repository: RepositoryId, header: &RepositoryHeader) -> Result<(), StoreError> {
    if repository == header.id {
        return Ok(());
    }
    let problem = "it belongs to another repository".to_owned();
    Err(damaged(name)(FormatError::Corrupt { what: "key file", problem }))
}
