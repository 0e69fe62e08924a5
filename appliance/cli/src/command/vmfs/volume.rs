//! The volume that is looked at, on images or on LUNs.

use crate::args::{Args, OnWhat};
use crate::client::Client;
use crate::error::Error;
use api::endpoint::{ListSanLuns, LoginSan};
use api::{LUN_BYTES_MAX, SanLun};
use block::{ReadAt, ReadError};
use model::{ErrorKind, NaaName};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use vmfs::Volume;

/// An open volume.
pub(crate) struct Opened {
    pub(crate) volume: Volume,
    /// What its devices are called, in the order of `LunExtent::device`.
    pub(crate) names: Vec<String>,
    /// Hosts may write to it at the same time.
    pub(crate) live: bool,
}

impl Opened {
    /// Opens the volume that all of `on` make up.
    pub(crate) fn open(args: &Args, on: &OnWhat) -> Result<Self, Error> {
        let live = !on.luns.is_empty();
        let (names, devices): (Vec<String>, Vec<Arc<dyn ReadAt>>) = if live {
            let luns = luns(args, &on.luns)?;
            let device = |lun: Lun| (lun.name.to_string(), Arc::new(lun) as Arc<dyn ReadAt>);
            luns.into_iter().map(device).unzip()
        } else {
            let opened = on.images.iter().map(|path| image(path)).collect::<Result<Vec<_>, _>>()?;
            opened.into_iter().unzip()
        };
        let opened = match devices.as_slice() {
            [device] if on.bare => Volume::open_bare(Arc::clone(device)),
            _ => Volume::open(devices),
        };
        let shown = names.join(", ");
        let volume = opened.map_err(Error::vmfs(format!("opening the volume on {shown}")))?;
        Ok(Self { volume, names, live })
    }

    /// A regular file.
    pub(crate) fn file(&self, path: &str) -> Result<vmfs::File, Error> {
        self.volume.open_file(path).map_err(Error::vmfs(format!("opening {path:?}")))
    }
}

fn image(path: &Path) -> Result<(String, Arc<dyn ReadAt>), Error> {
    let file = File::open(path).map_err(Error::file("opening", path))?;
    let about = file.metadata().map_err(Error::file("looking at", path))?;
    // A disk of this machine says nothing of who it is: LUNs are read through the appliance.
    if !about.is_file() {
        return Err(Error::NoImage { path: path.to_owned() });
    }
    Ok((path.display().to_string(), Arc::new(file)))
}

/// A LUN as the appliance reads it.
struct Lun {
    client: Arc<Client>,
    name: NaaName,
    capacity: u64,
}

fn luns(args: &Args, names: &[NaaName]) -> Result<Vec<Lun>, Error> {
    let client = Arc::new(Client::new(args)?);
    let mut known = client.ask(ListSanLuns, &[])?.luns;
    let is_known = |known: &[SanLun], name| known.iter().any(|lun| lun.names.contains(name));
    if !names.iter().all(|name| is_known(&known, name)) {
        // Presented since the last inventory, perhaps.
        client.ask(LoginSan, &[])?;
        known = client.ask(ListSanLuns, &[])?.luns;
    }
    let lun = |name: &NaaName| {
        let found = known.iter().find(|lun| lun.names.contains(name));
        let found = found.ok_or_else(|| Error::NoLun { name: name.clone() })?;
        let (client, name) = (Arc::clone(&client), name.clone());
        Ok(Lun { client, name, capacity: found.capacity_bytes })
    };
    names.iter().map(lun).collect()
}

impl ReadAt for Lun {
    fn size(&self) -> u64 {
        self.capacity
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        ReadError::check(offset, buffer.len(), self.capacity)?;
        let most = usize::try_from(LUN_BYTES_MAX).expect("64-bit machine");
        let mut offset = offset;
        for part in buffer.chunks_mut(most) {
            let length = part.len() as u64;
            let bytes = self.client.lun(&self.name, offset, length).map_err(|error| {
                let kind = error.kind().unwrap_or(ErrorKind::Refused);
                ReadError::Device { offset, length, kind, source: error.into() }
            })?;
            part.copy_from_slice(&bytes);
            offset += length;
        }
        Ok(())
    }
}
