//! A disk and its ancestors: which file of which of them has a byte.

use crate::error::VmdkError;
use crate::layer::{Layer, PackedGrain, Place};
use block::{ReadAt, ReadError};
use model::{DiskRange, FileExtent};

/// Most disks of a chain. vSphere allows 32 snapshots; linked clones come on top of that.
const LAYERS_MAX: usize = 255;

/// A chain of disks, the newest first, the base last.
///
/// Invariant: each one was made upon the next (`parentCID` is its CID), all have one capacity,
/// the last one has no parent.
#[derive(Debug)]
pub struct Chain {
    layers: Vec<Layer>,
}

/// A part of the disk and where its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Where on the disk.
    pub range: DiskRange,
    /// Where the bytes are.
    pub to: Target,
}

/// Where the bytes of a part are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// In a file of a layer, as they are.
    File {
        /// Which disk of the chain; 0 is the newest.
        layer: usize,
        /// Where in its files.
        extent: FileExtent,
    },
    /// In a deflated grain of a layer.
    Packed {
        /// Which disk of the chain; 0 is the newest.
        layer: usize,
        /// For [`Layer::unpack`].
        grain: PackedGrain,
    },
    /// Nobody has written there, or the guest gave it up: zeros.
    Zero,
}

impl Chain {
    /// Puts the disks together, the newest first. The base must have no parent.
    pub fn new(layers: Vec<Layer>) -> Result<Self, VmdkError> {
        let wrong = |problem: String| Err(VmdkError::Chain { problem });
        let Some(base) = layers.last() else { return wrong("no disk was given".into()) };
        if layers.len() > LAYERS_MAX {
            return wrong(format!("it has {} disks, more than {LAYERS_MAX}", layers.len()));
        }
        if base.disk().parent_cid.is_some() {
            return wrong("the last disk has a parent, which was not given".into());
        }
        for (child, pair) in layers.windows(2).enumerate() {
            check_link(child, pair[0].disk(), pair[1].disk())?;
        }
        Ok(Self { layers })
    }

    /// The disks, the newest first.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Bytes of the disk.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.layers[0].disk().capacity
    }

    /// Bytes of the smallest grain; `None` when the whole disk is flat.
    #[must_use]
    pub fn grain(&self) -> Option<u64> {
        self.layers.iter().filter_map(Layer::grain).min()
    }

    /// Where a range of the disk lies, in its order, without gaps. The answer has at most one
    /// part for each [`Chain::grain`] of the range, so that the caller bounds it.
    pub fn resolve(&self, range: DiskRange) -> Result<Vec<Mapped>, VmdkError> {
        let mut found = Vec::new();
        self.resolve_from(0, range, &mut found)?;
        Ok(found)
    }

    /// Checks every layer as a whole; see [`Layer::verify`].
    pub fn verify(&self) -> Result<(), VmdkError> {
        self.layers.iter().try_for_each(Layer::verify)
    }

    /// Compares all metadata that was used with what is there now; see [`Layer::recheck`].
    pub fn recheck(&self) -> Result<(), VmdkError> {
        self.layers.iter().try_for_each(Layer::recheck)
    }

    fn resolve_from(
        &self,
        layer: usize,
        range: DiskRange,
        found: &mut Vec<Mapped>,
    ) -> Result<(), VmdkError> {
        for part in self.layers[layer].resolve(range)? {
            let to = match part.place {
                Place::File(extent) => Target::File { layer, extent },
                Place::Packed(grain) => Target::Packed { layer, grain },
                Place::Parent if layer + 1 < self.layers.len() => {
                    self.resolve_from(layer + 1, part.range, found)?;
                    continue;
                }
                Place::Zero | Place::Parent => Target::Zero,
            };
            append(found, Mapped { range: part.range, to });
        }
        Ok(())
    }

    /// Fills `buffer`, which is as long as the part, with its bytes.
    fn read_part(&self, part: &Mapped, buffer: &mut [u8]) -> Result<(), ReadError> {
        match part.to {
            Target::Zero => buffer.fill(0),
            Target::File { layer, extent } => {
                self.layers[layer].files()[extent.file].read_at(extent.offset, buffer)?;
            }
            Target::Packed { layer, grain } => {
                let unpacked = self.layers[layer].unpack(grain, buffer);
                unpacked.map_err(|error| read_error(part.range, error))?;
            }
        }
        Ok(())
    }
}

/// The disk's bytes; for import and for comparisons. A backup reads by [`Chain::resolve`].
impl ReadAt for Chain {
    fn size(&self) -> u64 {
        self.capacity()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        ReadError::check(offset, buffer.len(), self.size())?;
        let range = DiskRange { offset, length: buffer.len() as u64 };
        let parts = self.resolve(range).map_err(|error| read_error(range, error))?;
        let mut rest = buffer;
        for part in parts {
            let length = usize::try_from(part.range.length).expect("not longer than the buffer");
            let (now, later) = rest.split_at_mut(length);
            self.read_part(&part, now)?;
            rest = later;
        }
        Ok(())
    }
}

fn check_link(child: usize, disk: &crate::Disk, parent: &crate::Disk) -> Result<(), VmdkError> {
    let Some(expected) = disk.parent_cid else {
        let problem = format!("disk {child} has no parent, but another disk follows it");
        return Err(VmdkError::Chain { problem });
    };
    if expected != parent.cid {
        return Err(VmdkError::ParentChanged { child, expected, found: parent.cid });
    }
    if disk.capacity != parent.capacity {
        let (a, b) = (disk.capacity, parent.capacity);
        let problem = format!("disk {child} has {a} bytes, its parent {b}");
        return Err(VmdkError::Chain { problem });
    }
    Ok(())
}

fn read_error(range: DiskRange, error: VmdkError) -> ReadError {
    let (offset, length, kind) = (range.offset, range.length, error.kind());
    ReadError::Device { offset, length, kind, source: error.into() }
}

/// Appends a part; zeros that follow zeros, and what follows in the same file, become one part.
fn append(found: &mut Vec<Mapped>, part: Mapped) {
    if let Some(last) = found.last_mut() {
        let joined = match (&mut last.to, part.to) {
            (Target::Zero, Target::Zero) => true,
            (
                Target::File { layer: above, extent: a },
                Target::File { layer: below, extent: b },
            ) if *above == below && a.file == b.file && a.offset + a.length == b.offset => {
                a.length += b.length;
                true
            }
            _ => false,
        };
        if joined {
            last.range.length += part.range.length;
            return;
        }
    }
    found.push(part);
}
