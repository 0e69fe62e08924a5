//! Key epochs and volumes: what a repository grows by.

use super::Keeper;
use crate::mirror::Mirror;
use crate::wire::Outcome;
use crate::{WardenError, layout, storage};
use format::BLOCK;
use format::header::{HEADER_BYTES, RepositoryId};
use format::keys::EpochFile;
use format::volume::VolumeHeader;
use ledger::Event;
use retention::Reading;
use std::io;

impl Keeper {
    pub(super) fn add_key(
        &mut self,
        epoch: u32,
        file: &[u8],
        reading: Reading,
    ) -> Result<Outcome, WardenError> {
        let hash = *blake3::hash(file).as_bytes();
        if self.state.keys().get(&epoch).is_some_and(|key| key.hash == hash) {
            return Ok(Outcome::Done);
        }
        let newest = self.state.keys().keys().chain(self.state.destroyed_keys()).max();
        if newest.is_some_and(|newest| epoch <= *newest) {
            return Err(WardenError::denied(format!("key epoch {epoch} was used before")));
        }
        let decoded = EpochFile::decode(file)
            .map_err(|error| WardenError::denied(format!("the key file: {error}")))?;
        if (decoded.epoch(), decoded.repository()) != (epoch, RepositoryId(self.repository)) {
            return Err(WardenError::denied("the key file is another epoch's or repository's"));
        }
        self.ledger.writable()?;
        for volume in self.volumes().collect::<Vec<_>>() {
            let path = layout::on(volume, &layout::key(epoch));
            storage::replace(&*self.storage, &path, file)
                .map_err(WardenError::io("writing", path))?;
        }
        self.record(vec![Event::Key { epoch, hash: hex::encode(hash) }], reading)?;
        for volume in self.volumes().collect::<Vec<_>>() {
            self.protect(&layout::on(volume, &layout::key(epoch)))?;
        }
        Ok(Outcome::Done)
    }

    pub(super) fn add_volume(
        &mut self,
        number: u8,
        reading: Reading,
    ) -> Result<Outcome, WardenError> {
        if number == 0 {
            return Err(WardenError::denied("volume 0 is the repository itself"));
        }
        if self.state.volumes().contains(&number) {
            return self.has_volume(number).map(|()| Outcome::Done);
        }
        self.ledger.writable()?;
        self.lay_out(number)?;
        self.record(vec![Event::Volume { number }], reading)?;
        self.mirrors.push(Mirror::new(number));
        Ok(Outcome::Done)
    }

    /// Directories, header and copies of a volume, in a directory that must exist: it is where
    /// somebody mounted a disk.
    fn lay_out(&self, number: u8) -> Result<(), WardenError> {
        let root = layout::on(number, "");
        let names = match self.storage.list(&root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let problem = format!("mount the disk of volume {number} at {root} first");
                return Err(WardenError::denied(problem));
            }
            other => other.map_err(WardenError::io("listing", &*root))?,
        };
        let header = VolumeHeader { repository: RepositoryId(self.repository), number };
        if names.iter().any(|(name, _)| name == "volume") {
            let path = layout::volume_header(number);
            let bytes = storage::read_all(&*self.storage, &path, BLOCK as u64)
                .map_err(WardenError::io("reading", &*path))?;
            if VolumeHeader::decode(&bytes).ok() != Some(header) {
                let problem = format!("{root} is another volume already");
                return Err(WardenError::denied(problem));
            }
        }
        for (name, shared) in
            [("open", true), ("segments", false), (layout::LEDGER, false), (layout::KEYS, false)]
        {
            let path = layout::on(number, name);
            self.storage.create_dir(&path, shared).map_err(WardenError::io("creating", path))?;
        }
        self.copy(layout::HEADER, number, HEADER_BYTES as u64)?;
        for (name, _) in self
            .storage
            .list(layout::KEYS)
            .map_err(WardenError::io("listing", layout::KEYS))?
            .iter()
            .filter(|(name, _)| name == "master" || layout::parse_key(name).is_some())
        {
            self.copy(&format!("{}/{name}", layout::KEYS), number, BLOCK as u64)?;
        }
        let path = layout::volume_header(number);
        storage::replace(&*self.storage, &path, &header.encode())
            .map_err(WardenError::io("writing", path))
    }

    fn copy(&self, from: &str, volume: u8, limit: u64) -> Result<(), WardenError> {
        let bytes = storage::read_all(&*self.storage, from, limit)
            .map_err(WardenError::io("reading", from))?;
        let to = layout::on(volume, from);
        storage::replace(&*self.storage, &to, &bytes).map_err(WardenError::io("writing", to))
    }
}
