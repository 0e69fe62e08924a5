//! What the metadata of a file says, for people: nothing of it is needed to read the file.

use crate::descriptor::{Descriptor, FileKind};
use crate::error::VmfsError;
use crate::volume::{DirEntry, Volume};

/// What a file descriptor says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What it describes.
    pub kind: FileKind,
    /// Bytes of the file.
    pub length: u64,
    /// Address of the descriptor.
    pub descriptor: u32,
    /// Where the descriptor lies on the logical volume, in bytes.
    pub descriptor_offset: u64,
    /// Grows when the descriptor is given to another file.
    pub generation: u32,
    /// Seconds since 1970 of the last change, by the clock of a host.
    pub modified: u32,
    /// How its bytes are found.
    pub addressing: &'static str,
    /// Bytes of a block of it.
    pub block_size: u64,
    /// Blocks that are not holes, as the descriptor counts them.
    pub blocks: u64,
    /// Of these, marked 'to be zeroed': they read as zeros.
    pub blocks_to_be_zeroed: u64,
    /// Of these, marked copy-on-write: their bytes are not known to this reader.
    pub blocks_copy_on_write: u64,
}

/// A name in a directory, with what its descriptor says.
#[derive(Debug)]
pub struct Listed {
    /// The name.
    pub entry: DirEntry,
    /// Its descriptor, or why it cannot be read.
    pub stat: Result<Stat, VmfsError>,
}

impl Volume {
    /// What is at the end of a path. Links are never followed here.
    pub fn stat(&self, path: &str) -> Result<Stat, VmfsError> {
        self.core.walk_to(path).map(|(fd, _)| Stat::of(&fd))
    }

    /// As [`Volume::read_dir`], with the descriptor of each name: one that is damaged does not
    /// hide the others.
    pub fn list(&self, path: &str) -> Result<Vec<Listed>, VmfsError> {
        let (fd, listing) = self.core.directory(path)?;
        let listed = listing.entries.into_iter().map(|entry| {
            let stat = self.core.child(&fd, &entry).map(|child| Stat::of(&child));
            Listed { entry: DirEntry::from(entry), stat }
        });
        Ok(listed.collect())
    }
}

impl Stat {
    fn of(fd: &Descriptor) -> Self {
        Self {
            kind: fd.kind,
            length: fd.length,
            descriptor: fd.address,
            descriptor_offset: fd.at,
            generation: fd.generation,
            modified: fd.modified,
            addressing: fd.zla.name(),
            block_size: 1 << fd.block_shift,
            blocks: fd.leaves,
            blocks_to_be_zeroed: fd.to_be_zeroed,
            blocks_copy_on_write: fd.copy_on_write,
        }
    }
}
