//! The key files on all volumes: each volume has all of them (FORMAT.md 2), so one that was away
//! when a key came gets it at the next start, and a copy that is damaged is made anew from one that
//! is right.

use super::Keeper;
use crate::{WardenError, layout, storage};
use format::BLOCK;
use format::header::RepositoryId;
use format::keys::MasterFile;
use std::io;

impl Keeper {
    /// Completes the key files of the volumes that are there. A failure is told and not fatal: the
    /// next start tries again.
    pub(super) fn complete_keys(&mut self) {
        let epochs = self.state.keys().iter().map(|(epoch, key)| (*epoch, key.hash));
        for (epoch, hash) in epochs.collect::<Vec<_>>() {
            self.complete(&layout::key(epoch), &|bytes| *blake3::hash(bytes).as_bytes() == hash);
        }
        let ours = RepositoryId(self.repository);
        self.complete(layout::MASTER_KEY, &|bytes| {
            MasterFile::decode(bytes).is_ok_and(|file| file.repository() == ours)
        });
    }

    /// Gives every volume the file `name` as the first volume has it whose copy is right.
    fn complete(&mut self, name: &str, right: &dyn Fn(&[u8]) -> bool) {
        let copies: Vec<(String, Option<Vec<u8>>)> = self
            .volumes()
            .map(|volume| layout::on(volume, name))
            .map(|path| {
                let bytes = storage::read_all(&*self.storage, &path, BLOCK as u64).ok();
                (path, bytes.filter(|bytes| right(bytes)))
            })
            .collect();
        let Some(bytes) = copies.iter().find_map(|(_, bytes)| bytes.clone()) else { return };
        for (path, _) in copies.iter().filter(|(_, bytes)| bytes.is_none()) {
            match self.write_key(path, &bytes) {
                Ok(()) => self.found.keys_completed += 1,
                Err(error) => {
                    tracing::warn!(path, error = model::chain(&error), "a key's copy is missing");
                }
            }
        }
    }

    fn write_key(&self, path: &str, bytes: &[u8]) -> Result<(), WardenError> {
        match self.storage.set_immutable(path, false) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(WardenError::io("unprotecting", path)(error));
            }
            _ => {}
        }
        storage::replace(&*self.storage, path, bytes).map_err(WardenError::io("writing", path))?;
        if path.ends_with(layout::MASTER_KEY) { Ok(()) } else { self.protect(path).map(drop) }
    }

    /// Key files that are missing or not what the ledger says, on all volumes that are there.
    pub(super) fn wrong_keys(&self) -> Vec<(String, String)> {
        let volumes = self.volumes().filter(|volume| !self.away.contains(volume));
        let keys = volumes.flat_map(|volume| {
            self.state.keys().iter().map(move |(epoch, key)| (volume, *epoch, key.hash))
        });
        let wrong = |(volume, epoch, hash): (u8, u32, [u8; 32])| {
            let path = layout::on(volume, &layout::key(epoch));
            match storage::read_all(&*self.storage, &path, BLOCK as u64) {
                Ok(bytes) if *blake3::hash(&bytes).as_bytes() == hash => None,
                Ok(_) => Some((path, "the key file is not what it was".to_owned())),
                Err(error) => Some((path, format!("the key file cannot be read: {error}"))),
            }
        };
        keys.filter_map(wrong).collect()
    }
}
