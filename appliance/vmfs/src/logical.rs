//! A logical volume, whatever lies on it.

use crate::error::{At, VmfsError};
use crate::space::Space;
use block::ReadAt;
use model::LunExtent;
use std::sync::Arc;

/// The logical volume that some LUNs make up: what [`crate::Volume`] finds its file system on.
pub struct LogicalVolume(Space);

impl LogicalVolume {
    /// Assembles the volume of whole LUNs or partition images, in any order, all of them and no
    /// others.
    pub fn open(devices: Vec<Arc<dyn ReadAt>>) -> Result<Self, VmfsError> {
        Space::assemble(devices).map(|(space, _)| Self(space))
    }

    /// Bytes of the volume.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.size()
    }

    /// Where `length` bytes from `offset` on lie on the LUNs.
    pub fn map(&self, offset: u64, length: u64) -> Result<Vec<LunExtent>, VmfsError> {
        self.0.translate(At { structure: "range of the volume", offset }, length)
    }
}
