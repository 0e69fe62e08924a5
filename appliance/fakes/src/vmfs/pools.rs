//! The resource files of an open volume.

use super::bytes::get32;
use super::cluster::Kind;
use super::descriptor::{Descriptor, Zla};
use super::device::Image;
use super::error::FormatError;
use super::fbb;
use super::resource::Resources;
use super::system::{FBB, FD, FIRST_USER_FD, PB2, PBC, SB, system_fd_at};
use super::version::Version;

/// The resource files of a volume.
pub(super) struct Pools {
    pub(super) fds: Resources,
    pub(super) sub_blocks: Resources,
    /// Empty on VMFS-6.
    pub(super) pointer_blocks: Resources,
    pub(super) pb2: Resources,
    pub(super) file_blocks: Resources,
}

impl Pools {
    /// Writes the headers of all clusters of a new volume, everything free.
    pub(super) fn format(&mut self, image: &Image) -> Result<(), FormatError> {
        self.all().into_iter().try_for_each(|pool| pool.format(image))
    }

    /// Writes what changed.
    pub(super) fn flush(&mut self, image: &Image) -> Result<(), FormatError> {
        self.all().into_iter().try_for_each(|pool| pool.flush(image))
    }

    /// Notes that a large block is in use as one.
    pub(super) fn join_large_block(&self, image: &Image, number: u64) -> Result<(), FormatError> {
        fbb::join(image, number, |offset| self.file_blocks.volume_offset(offset))
    }

    fn all(&mut self) -> [&mut Resources; 5] {
        [
            &mut self.fds,
            &mut self.sub_blocks,
            &mut self.pointer_blocks,
            &mut self.pb2,
            &mut self.file_blocks,
        ]
    }
}

/// Finds the resource files of a volume that a specification made.
pub(super) fn open(image: &Image) -> Result<Pools, FormatError> {
    let version = image.version;
    let empty = |kind| Resources::new(kind, 0, Vec::new());
    let pool = |kind: Kind, blocks: Vec<u64>, header_at: u64| -> Result<_, FormatError> {
        let first = *blocks.first().ok_or(FormatError::Full(kind.name))?;
        let header = image.read(first + header_at, 64)?;
        let count = u64::from(get32(&header, 0x14)) | u64::from(get32(&header, 0x1C)) << 32;
        Ok(Resources::new(kind, count, blocks))
    };
    let none = empty(Kind::pb2(version));
    let pb2 = pool(Kind::pb2(version), blocks_of(image, PB2, &none)?, 0)?;
    let pointer_blocks = pool(Kind::pointer_blocks(version), blocks_of(image, PBC, &none)?, 0)?;
    let (pointers, child_at) = match version {
        Version::Vmfs5 => (&pointer_blocks, 0),
        Version::Vmfs6 => (&pb2, fbb::CHILD_AT),
    };
    let blocks = |file| blocks_of(image, file, pointers);
    let file_blocks = pool(Kind::file_blocks(version), blocks(FBB)?, child_at)?;
    let mut fds = pool(Kind::descriptors(version), blocks(FD)?, 0)?;
    fds.seek(FIRST_USER_FD);
    let sub_blocks = pool(Kind::sub_blocks(version), blocks(SB)?, 0)?;
    Ok(Pools { fds, sub_blocks, pointer_blocks, pb2, file_blocks })
}

/// Volume offsets of the blocks of a system file. `pointers`: where its pointer blocks are.
fn blocks_of(image: &Image, file: usize, pointers: &Resources) -> Result<Vec<u64>, FormatError> {
    let version = image.version;
    let fd = Descriptor::read(image, system_fd_at(version, file))?;
    let mut addresses = Vec::new();
    for slot in (0..version.slots()).map(|slot| fd.slot(slot)).take_while(|slot| *slot != 0) {
        if fd.zla() == Zla::FileBlocks {
            addresses.push(slot);
            continue;
        }
        let (cluster, member) = version.resource_parts(slot);
        let at = pointers.locate(cluster, member)?;
        let bytes = image.read(at, version.pointer_block_bytes())?;
        let words = (0..version.pointers()).map(|word| version.pointer(&bytes, word));
        addresses.extend(words.take_while(|word| *word != 0));
    }
    Ok(addresses.into_iter().map(|address| version.block_at(address, 0)).collect())
}
