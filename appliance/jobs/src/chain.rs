//! The descriptors of a disk and its parents, and the files that they name.
//!
//! A parent is taken only when it stands in the same folder and has the CID that its child was
//! made upon; the hypervisor's own list of parents is compared afterwards (`settle`).

use crate::error::RunError;
use crate::locate::{DatastorePath, SMALL_FILE_MAX, again, at};
use block::ReadAt;
use std::sync::Arc;
use vmdk::{Chain, Disk, Layer, VmdkError};
use vmfs::{File, Volume};

/// Most disks of a chain: vSphere allows 32 snapshots, and one of them is ours.
const DISKS_MAX: usize = 33;

/// One disk of a chain.
pub(crate) struct Member {
    /// Path of its descriptor.
    pub(crate) path: String,
    /// The descriptor as it stands on the datastore.
    pub(crate) descriptor: Vec<u8>,
    text: File,
    /// Its extent files and their paths, in the descriptor's order.
    pub(crate) files: Vec<(String, Arc<File>)>,
}

impl Member {
    /// The descriptor still says what it did. A host that merges a delta into its parent changes
    /// the parent's CID with its first write.
    pub(crate) fn recheck_descriptor(&self) -> Result<(), RunError> {
        self.text.recheck().map_err(again(&self.path))?;
        let now = self.text.read_small(SMALL_FILE_MAX).map_err(again(&self.path))?;
        if now == self.descriptor {
            return Ok(());
        }
        Err(RunError::Moved { what: self.path.clone() })
    }
}

/// Opens the disk and all its parents, the newest first, and checks every structure of theirs.
pub(crate) fn open(
    volume: &Volume,
    path: &DatastorePath,
) -> Result<(Chain, Vec<Member>), RunError> {
    let (mut layers, mut members) = (Vec::new(), Vec::new());
    let mut next = Some(path.path.clone());
    while let Some(now) = next {
        if members.len() == DISKS_MAX {
            let reason = format!("it is a chain of more than {DISKS_MAX} disks");
            return Err(RunError::NoSanPath { disk: path.path.clone(), reason });
        }
        let (layer, member) = open_member(volume, path, now)?;
        next = parent_of(path, &member.path, layer.disk())?;
        layers.push(layer);
        members.push(member);
    }
    let wrong = |source| RunError::Descriptor { path: path.path.clone(), source };
    let chain = Chain::new(layers).map_err(wrong)?;
    chain.verify().map_err(wrong)?;
    Ok((chain, members))
}

fn open_member(
    volume: &Volume,
    top: &DatastorePath,
    path: String,
) -> Result<(Layer, Member), RunError> {
    let wrong = |source: VmdkError| RunError::Descriptor { path: path.clone(), source };
    let text = volume.open_file(&path).map_err(at(&path))?;
    let descriptor = text.read_small(SMALL_FILE_MAX).map_err(at(&path))?;
    let disk = Disk::parse(&descriptor).map_err(wrong)?;
    let mut files = Vec::new();
    for name in &disk.files {
        let path = top.beside(name);
        let file = volume.open_file(&path).map_err(at(&path))?;
        file.verify().map_err(at(&path))?;
        files.push((path, Arc::new(file)));
    }
    let readers = files.iter().map(|(_, file)| Arc::clone(file) as Arc<dyn ReadAt>).collect();
    let layer = Layer::open(disk, readers).map_err(wrong)?;
    Ok((layer, Member { path, descriptor, text, files }))
}

/// Path of the parent's descriptor.
fn parent_of(top: &DatastorePath, path: &str, disk: &Disk) -> Result<Option<String>, RunError> {
    let no_path =
        |reason: &str| Err(RunError::NoSanPath { disk: path.into(), reason: reason.into() });
    match (disk.parent_cid, &disk.parent_file) {
        (None, _) => Ok(None),
        (Some(_), None) => no_path("its descriptor does not name the parent disk"),
        (Some(_), Some(name)) if name.contains('/') => {
            no_path("its parent disk lies in another folder (a linked clone)")
        }
        (Some(_), Some(name)) => Ok(Some(top.beside(name))),
    }
}
