//! One disk of a chain with its files open: which of its bytes it has itself, and where.

use crate::disk::{Disk, Extent};
use crate::error::VmdkError;
use crate::sparse::{self, Grain, Sparse};
use block::ReadAt;
use model::{DiskRange, FileExtent};
use std::sync::Arc;

/// A part of a disk and where its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where on the disk.
    pub range: DiskRange,
    /// Where the bytes are.
    pub place: Place,
}

/// Where the bytes of a part are, as one disk of a chain knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file, as they are; [`FileExtent::file`] counts [`Disk::files`].
    File(FileExtent),
    /// In a deflated grain of a streamOptimized file; [`Layer::unpack`] has the bytes.
    Packed(PackedGrain),
    /// Nowhere: the guest's zeros, also when a parent has something else there.
    Zero,
    /// In the parent; without a parent, zeros.
    Parent,
}

/// A grain that has to be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedGrain {
    /// Index in [`Disk::files`].
    pub file: usize,
    /// Offset of the grain in the file.
    pub offset: u64,
    /// Its number in its file.
    number: u64,
    /// Bytes of the unpacked grain before the part.
    skip: u64,
}

/// A disk with its files.
pub struct Layer {
    disk: Disk,
    /// One for each extent: the open sparse file, `None` for a flat one.
    sparse: Vec<Option<Sparse>>,
    /// In the order of [`Disk::files`].
    files: Vec<Arc<dyn ReadAt>>,
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layer").field("disk", &self.disk).finish_non_exhaustive()
    }
}

impl Layer {
    /// Opens the files of `disk`, in the order of [`Disk::files`]: checks their lengths, headers
    /// and directories.
    pub fn open(disk: Disk, files: Vec<Arc<dyn ReadAt>>) -> Result<Self, VmdkError> {
        if files.len() != disk.files.len() {
            let problem = format!("{} files were given, {} needed", files.len(), disk.files.len());
            return Err(VmdkError::Chain { problem });
        }
        let mut sparse = Vec::with_capacity(disk.extents.len());
        for extent in &disk.extents {
            sparse.push(open_extent(&disk, extent, &files[extent.file])?);
        }
        Ok(Self { disk, sparse, files })
    }

    /// Opens a disk that is one file with its descriptor inside (monolithicSparse,
    /// streamOptimized); `None` when the file is no such disk.
    pub fn open_single(name: &str, file: Arc<dyn ReadAt>) -> Result<Option<Self>, VmdkError> {
        let Some(text) = sparse::embedded_descriptor(name, &file)? else { return Ok(None) };
        Self::open(Disk::parse_embedded(&text, name)?, vec![file]).map(Some)
    }

    /// What the descriptor says.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The files, in the order of [`Disk::files`].
    #[must_use]
    pub fn files(&self) -> &[Arc<dyn ReadAt>] {
        &self.files
    }

    /// Bytes of the smallest grain; `None` when all extents are flat. A range has at most one
    /// part for each.
    #[must_use]
    pub fn grain(&self) -> Option<u64> {
        self.sparse.iter().flatten().map(Sparse::grain).min()
    }

    /// Where a range of the disk lies, in its order, without gaps, neighbours joined. Reads the
    /// grain tables of the range; the answer has at most one part for each grain of it, so that
    /// the caller bounds it.
    pub fn resolve(&self, range: DiskRange) -> Result<Vec<Part>, VmdkError> {
        let capacity = self.disk.capacity;
        let end = range.offset.checked_add(range.length).filter(|end| *end <= capacity);
        let Some(end) = end else { return Err(VmdkError::BeyondEnd { range, capacity }) };
        let mut parts = Vec::new();
        let first = self.disk.extents.partition_point(|extent| extent.end() <= range.offset);
        for (extent, sparse) in self.disk.extents.iter().zip(&self.sparse).skip(first) {
            if extent.disk_offset >= end {
                break;
            }
            let from = range.offset.max(extent.disk_offset);
            let to = extent.end().min(end);
            match sparse {
                Some(sparse) => resolve_sparse(extent, sparse, from, to, &mut parts)?,
                None => append(&mut parts, flat(extent, from, to)),
            }
        }
        Ok(parts)
    }

    /// Fills `buffer`, which is as long as the part, with the bytes of a part of this layer.
    pub fn unpack(&self, grain: PackedGrain, buffer: &mut [u8]) -> Result<(), VmdkError> {
        let extent = self.disk.extents.iter().position(|extent| extent.file == grain.file);
        let sparse = extent.and_then(|index| self.sparse[index].as_ref());
        let sparse = sparse.expect("a packed grain comes from a sparse extent of this layer");
        let bytes = sparse.unpack(grain.number, grain.offset)?;
        let start = usize::try_from(grain.skip).expect("within a grain");
        buffer.copy_from_slice(&bytes[start..start + buffer.len()]);
        Ok(())
    }

    /// Walks all grain tables: every entry means something, no two share a byte of a file. Costs
    /// the reading of all tables, and up to 32 MiB of memory while it runs.
    pub fn verify(&self) -> Result<(), VmdkError> {
        self.sparse.iter().flatten().try_for_each(Sparse::verify)
    }

    /// Reads all metadata that was used again and compares it; [`VmdkError::Moved`] when
    /// something is different.
    pub fn recheck(&self) -> Result<(), VmdkError> {
        self.sparse.iter().flatten().try_for_each(Sparse::recheck)
    }
}

fn open_extent(
    disk: &Disk,
    extent: &Extent,
    file: &Arc<dyn ReadAt>,
) -> Result<Option<Sparse>, VmdkError> {
    let name = &disk.files[extent.file];
    let length = |found, expected| VmdkError::Length { file: name.clone(), found, expected };
    let Some(kind) = extent.kind.sparse() else {
        let (found, expected) = (file.size(), extent.file_offset + extent.length);
        let whole = extent.kind == crate::ExtentKind::Vmfs;
        let right = found >= expected && !(whole && found != expected);
        return if right { Ok(None) } else { Err(length(found, expected)) };
    };
    let sparse = Sparse::open(kind, name, Arc::clone(file))?;
    if sparse.capacity() != extent.length {
        let problem = format!(
            "the descriptor gives {name:?} {} bytes of the disk, the file has {}",
            extent.length,
            sparse.capacity()
        );
        return Err(VmdkError::Chain { problem });
    }
    Ok(Some(sparse))
}

fn flat(extent: &Extent, from: u64, to: u64) -> Part {
    let range = DiskRange { offset: from, length: to - from };
    let offset = extent.file_offset + (from - extent.disk_offset);
    let place = Place::File(FileExtent { file: extent.file, offset, length: range.length });
    Part { range, place }
}

fn resolve_sparse(
    extent: &Extent,
    sparse: &Sparse,
    from: u64,
    to: u64,
    parts: &mut Vec<Part>,
) -> Result<(), VmdkError> {
    let mut position = from;
    while position < to {
        let within = position - extent.disk_offset;
        let (number, skip) = (within / sparse.grain(), within % sparse.grain());
        let (grain, count) = sparse.find(number)?;
        let next = (number.saturating_add(count)).saturating_mul(sparse.grain());
        let next = extent.disk_offset.saturating_add(next).min(to);
        let range = DiskRange { offset: position, length: next - position };
        let file = extent.file;
        let place = match grain {
            Grain::Absent => Place::Parent,
            Grain::Zero => Place::Zero,
            Grain::At(start) => {
                Place::File(FileExtent { file, offset: start + skip, length: range.length })
            }
            Grain::Packed(offset) => Place::Packed(PackedGrain { file, offset, number, skip }),
        };
        append(parts, Part { range, place });
        position = next;
    }
    Ok(())
}

/// Appends a part; when it continues the last one, that becomes longer.
fn append(parts: &mut Vec<Part>, part: Part) {
    if part.range.is_empty() {
        return;
    }
    let Some(last) = parts.last_mut() else {
        parts.push(part);
        return;
    };
    let joined = match (&mut last.place, part.place) {
        (Place::Zero, Place::Zero) | (Place::Parent, Place::Parent) => true,
        (Place::File(a), Place::File(b)) if a.file == b.file && a.offset + a.length == b.offset => {
            a.length += b.length;
            true
        }
        _ => false,
    };
    if joined {
        last.range.length += part.range.length;
    } else {
        parts.push(part);
    }
}
