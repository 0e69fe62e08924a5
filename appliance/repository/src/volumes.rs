//! The volumes of a repository: which ones are there, how full they are, where a new point goes.
//!
//! A volume is another disk or array. What a point adds lies on one volume and refers to nothing
//! on another, so a lost disk loses its own points and no other.

use crate::core::{Core, locked};
use crate::{Repository, StoreError};
use format::header::RepositoryId;
use format::keys::KEY_FILE_BYTES;
use format::volume::VolumeHeader;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use warden::layout;
use warden::storage::{Storage, read_all};
use warden::wire::Request;

/// Which volumes can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Volumes {
    /// Ascending; volume 0 is always there.
    pub(crate) present: Vec<u8>,
    /// Recorded, but nothing of theirs is mounted where they belong.
    pub(crate) missing: Vec<u8>,
}

impl Volumes {
    /// Looks for the recorded volumes.
    pub(crate) fn find(
        storage: &dyn Storage,
        repository: RepositoryId,
        recorded: impl Iterator<Item = u8>,
    ) -> Self {
        let mut volumes = Self { present: vec![0], missing: Vec::new() };
        for number in recorded {
            match is_there(storage, repository, number) {
                Ok(()) => volumes.present.push(number),
                Err(error) => {
                    tracing::warn!(volume = number, error = model::chain(&error), "not there");
                    volumes.missing.push(number);
                }
            }
        }
        volumes
    }
}

pub(crate) fn is_there(
    storage: &dyn Storage,
    repository: RepositoryId,
    number: u8,
) -> Result<(), StoreError> {
    let name = layout::volume_header(number);
    let bytes = read_all(storage, &name, KEY_FILE_BYTES as u64)
        .map_err(StoreError::io("reading", &*name))?;
    let damaged = |source| StoreError::Damaged { what: name.clone(), source };
    let header = VolumeHeader::decode(&bytes).map_err(damaged)?;
    if header == (VolumeHeader { repository, number }) {
        return Ok(());
    }
    let problem = "it is another volume".to_owned();
    Err(damaged(format::FormatError::Corrupt { what: "volume header", problem }))
}

/// How a volume stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeState {
    /// It is where it belongs, with so many free bytes; `None`: it does not answer any more.
    Present(Option<u64>),
    /// Nothing of it was mounted where it belongs when the repository was opened.
    Missing,
    /// It was added since, and is used after the next opening.
    Added,
}

/// A volume as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeView {
    /// 0 is the repository's own directory; others are mounted at `volumes/<number>`.
    pub number: u8,
    /// How it stands.
    pub state: VolumeState,
    /// Sealed segments that are there.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Points whose data lies here: those that its loss would take.
    pub points: u64,
}

impl Repository {
    /// The volumes by number, those that are away too.
    #[must_use]
    pub fn volumes(&self) -> Vec<VolumeView> {
        let core = &self.inner.core;
        let recorded = locked(&core.catalog).state.volumes().clone();
        let numbers: BTreeSet<u8> = recorded.into_iter().chain([0]).collect();
        let view = |number| VolumeView {
            number,
            state: core.volume_state(number),
            segments: 0,
            bytes: 0,
            points: 0,
        };
        let mut views: BTreeMap<u8, VolumeView> =
            numbers.into_iter().map(|number| (number, view(number))).collect();
        // A disk that does not answer must not keep everybody else waiting for the catalog.
        let catalog = locked(&core.catalog);
        for held in catalog.files.values() {
            if let Some(view) = views.get_mut(&held.volume) {
                view.segments += 1;
                view.bytes += held.bytes;
            }
        }
        for (id, _) in catalog.state.points() {
            let volume = catalog.volume_of(id).ok();
            if let Some(view) = volume.and_then(|volume| views.get_mut(&volume)) {
                view.points += 1;
            }
        }
        views.into_values().collect()
    }

    /// Takes another disk into the repository, for good. It must be mounted at `volumes/<number>`.
    /// It is used from the next opening on: before, the daemon has no right to write there.
    pub fn add_volume(&self, number: u8) -> Result<(), StoreError> {
        self.inner.core.ask(Request::AddVolume { number }).map(drop)
    }
}

impl Core {
    /// The volume for a point that builds on nothing: `usual` if it has room, else the one with
    /// the most free space. One that cannot be asked is none.
    pub(crate) fn choose_volume(&self, usual: Option<u8>) -> Result<u8, StoreError> {
        let usable = |volume: &u8| self.volumes.present.contains(volume);
        if let Some(volume) = usual.filter(usable)
            && self.check_space(volume, 0).is_ok()
        {
            return Ok(volume);
        }
        let mut best: Option<(u64, u8)> = None;
        for (volume, free) in self.reachable() {
            if best.is_none_or(|(most, _)| free > most) {
                best = Some((free, volume));
            }
        }
        best.map_or_else(|| self.free(0).map(|_| 0), |(_, volume)| Ok(volume))
    }

    /// Volumes that answer, with their free bytes. One that went away is told, and does not keep
    /// the others from being used.
    pub(crate) fn reachable(&self) -> impl Iterator<Item = (u8, u64)> {
        self.volumes.present.iter().filter_map(|&volume| match self.free(volume) {
            Ok(free) => Some((volume, free)),
            Err(error) => {
                tracing::warn!(volume, error = model::chain(&error), "it does not answer");
                None
            }
        })
    }

    fn volume_state(&self, number: u8) -> VolumeState {
        if self.volumes.present.contains(&number) {
            VolumeState::Present(self.free(number).ok())
        } else if self.volumes.missing.contains(&number) {
            VolumeState::Missing
        } else {
            VolumeState::Added
        }
    }

    /// Free bytes of a volume.
    pub(crate) fn free(&self, volume: u8) -> Result<u64, StoreError> {
        let path = layout::segments_dir(volume);
        let free: io::Result<u64> = self.storage.free(&path);
        free.map_err(StoreError::io("asking for free space of", path))
    }

    /// Refuses when `bytes` more would leave less than the reserve free on a volume; what is free
    /// above it.
    pub(crate) fn check_space(&self, volume: u8, bytes: u64) -> Result<u64, StoreError> {
        let (free, reserve) = (self.free(volume)?, self.options.reserve_bytes);
        match free.checked_sub(reserve) {
            Some(above) if above >= bytes => Ok(above),
            _ => Err(StoreError::Full { volume, free, reserve, needed: bytes }),
        }
    }
}
