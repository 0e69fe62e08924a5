//! The repository's disks and keys, as the console sees them.

use super::from_store;
use api::{KeyEpoch, Volume, VolumeRequest, VolumeState, Volumes};
use console::{EngineError, EngineResult};
use model::ErrorKind;
use repository::{Repository, VolumeView};

pub(super) fn list(repository: &Repository) -> Volumes {
    Volumes { volumes: repository.volumes().into_iter().map(view).collect() }
}

fn view(volume: VolumeView) -> Volume {
    let VolumeView { number, state, segments, bytes, points } = volume;
    let (state, free_bytes) = match state {
        repository::VolumeState::Present(Some(free)) => (VolumeState::Present, Some(free)),
        repository::VolumeState::Present(None) => (VolumeState::Silent, None),
        repository::VolumeState::Missing => (VolumeState::Missing, None),
        repository::VolumeState::Added => (VolumeState::Added, None),
    };
    Volume { number, state, free_bytes, segments, used_bytes: bytes, points }
}

pub(super) fn add(repository: &Repository, request: VolumeRequest) -> EngineResult<Volumes> {
    repository.add_volume(request.number).map_err(|error| from_store(&error))?;
    Ok(list(repository))
}

pub(super) fn rotate_key(repository: &Repository) -> EngineResult<KeyEpoch> {
    if !repository.is_encrypted() {
        let detail = "Its data was never encrypted, and what is stored is not changed.";
        let title = "The repository is not encrypted";
        return Err(EngineError::new(ErrorKind::Refused, "not-encrypted", title, detail)
            .next_step("Encryption is chosen when a repository is made."));
    }
    let epoch = repository.rotate_key().map_err(|error| from_store(&error))?;
    Ok(KeyEpoch { epoch })
}
