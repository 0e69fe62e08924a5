//! `holdfast repository volume` and `rotate-key`: what the repository grows by.

use crate::client::Client;
use crate::error::Error;
use crate::output::{Outcome, Table, size};
use api::endpoint::{AddVolume, ListVolumes, RotateKey};
use api::{Nothing, VolumeRequest, VolumeState, Volumes};

/// `repository volume list`.
pub(super) fn list(client: &Client) -> Result<Outcome, Error> {
    let volumes = client.ask(ListVolumes, &[])?;
    Ok(Outcome::new(table(&volumes), &volumes))
}

/// `repository volume add`.
pub(super) fn add(client: &Client, number: u8) -> Result<Outcome, Error> {
    let volumes = client.call(AddVolume, &[], &[], &VolumeRequest { number })?;
    Ok(Outcome::new(table(&volumes), &volumes))
}

/// `repository rotate-key`.
pub(super) fn rotate_key(client: &Client) -> Result<Outcome, Error> {
    let key = client.call(RotateKey, &[], &[], &Nothing {})?;
    let text = format!("data key {} is in use; what was stored before keeps its key\n", key.epoch);
    Ok(Outcome::new(text, &key))
}

fn table(volumes: &Volumes) -> String {
    let heads = ["VOLUME", "STATE", "FREE", "USED", "SEGMENTS", "POINTS"];
    let mut table = Table::new(&heads, &[0, 2, 3, 4, 5]);
    for volume in &volumes.volumes {
        let state = match volume.state {
            VolumeState::Present => "present",
            VolumeState::Silent => "NO ANSWER",
            VolumeState::Missing => "MISSING",
            VolumeState::Added => "from the next start on",
        };
        table.row([
            volume.number.to_string(),
            state.into(),
            volume.free_bytes.map_or_else(|| "-".into(), size),
            size(volume.used_bytes),
            volume.segments.to_string(),
            volume.points.to_string(),
        ]);
    }
    table.text()
}
