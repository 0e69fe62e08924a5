//! The public face: a volume that files, folders and disks are added to.

use super::blocks::PointerCache;
use super::bytes::{MIB, Random, get32, index, put, uuid_text};
use super::descriptor::{Descriptor, FileType, NewFile, Zla};
use super::device::{Identity, Image};
use super::directory::{Directory, Target};
use super::error::FormatError;
use super::header;
use super::pools::{self, Pools};
use super::resource::Stamp;
use super::spec::{Layout, VolumeSpec};
use super::system::{self, ROOT};
use super::version::{self, Version};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Longest file name; ESXi itself stops here.
const NAME_BYTES_MAX: usize = 127;

/// A volume on an image, locked against a second writer while it is open.
///
/// What is added reaches the image with [`Volume::flush`]; [`Volume::write`] flushes by itself.
pub struct Volume {
    pub(super) image: Image,
    pub(super) pools: Pools,
    pub(super) pointers: PointerCache,
    pub(super) stamp: Stamp,
    pub(super) scatter: Option<Scatter>,
    directories: BTreeMap<u32, Directory>,
    file_system: [u8; 16],
    label: String,
}

/// The choices of [`Layout::Fragmented`].
pub(super) struct Scatter {
    pub(super) random: Random,
    /// Blocks left in the present run.
    pub(super) run: u64,
}

/// Bytes of a file that have blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AllocatedRange {
    /// Offset in the file.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

/// What identifies a volume, in the units and spellings of vSphere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VolumeFacts {
    /// UUID of the file system, as in `/vmfs/volumes/<uuid>`.
    pub vmfs_uuid: String,
    /// UUID of the logical volume.
    pub lvm_uuid: String,
    /// Name of the datastore.
    pub label: String,
    /// Version as vSphere shows it.
    pub version: &'static str,
    /// Bytes per file block.
    pub block_size: u64,
    /// Number of the partition that holds the volume.
    pub partition: u32,
    /// Start of the partition on the LUN.
    pub partition_offset: u64,
    /// Bytes of the LUN.
    pub lun_bytes: u64,
    /// Bytes of the logical volume.
    pub volume_bytes: u64,
}

impl Volume {
    pub(super) fn format(spec: &VolumeSpec, paths: &[&Path]) -> Result<Self, FormatError> {
        let mut random = Random::new(spec.uuid_seed);
        let identity = Identity::new(spec.time, &mut random);
        let image = Image::create(spec, &identity, &mut random, paths)?;
        let pools = system::format(&image, spec, &identity)?;
        Ok(Self {
            image,
            pools,
            pointers: PointerCache::default(),
            stamp: Stamp { time: spec.time, mac: identity.mac },
            scatter: (spec.layout == Layout::Fragmented).then_some(Scatter { random, run: 0 }),
            directories: BTreeMap::new(),
            file_system: identity.file_system,
            label: spec.label.clone(),
        })
    }

    /// Opens a volume that a [`VolumeSpec`] made. New blocks are the first free ones.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        Self::open_on(&[path])
    }

    /// Opens a volume that spans several LUNs, in any order.
    pub fn open_on(paths: &[&Path]) -> Result<Self, FormatError> {
        let image = Image::open(paths)?;
        let header = image.read(header::HEADER_AT, 512)?;
        if !header::is_ours(image.version, &header) {
            return Err(FormatError::NotOurs {
                structure: "file-system header",
                offset: header::HEADER_AT,
                problem: "it is not that of the version that the LVM is for",
            });
        }
        let label = header[0x1D..0x9D].split(|byte| *byte == 0).next().unwrap_or(&[]);
        let pools = pools::open(&image)?;
        Ok(Self {
            pools,
            pointers: PointerCache::default(),
            stamp: Stamp {
                time: get32(&header, 0xA9),
                mac: header[0xF7..0xFD].try_into().expect("6 bytes of the host's UUID"),
            },
            scatter: None,
            directories: BTreeMap::new(),
            file_system: header[0x09..0x19].try_into().expect("16 bytes"),
            label: String::from_utf8_lossy(label).into_owned(),
            image,
        })
    }

    /// What identifies the volume.
    pub fn facts(&self) -> Result<VolumeFacts, FormatError> {
        Ok(VolumeFacts {
            vmfs_uuid: uuid_text(&self.file_system),
            lvm_uuid: self.image.lvm_uuid.clone(),
            label: self.label.clone(),
            version: match self.image.version {
                Version::Vmfs5 => "5.81",
                Version::Vmfs6 => "6.82",
            },
            block_size: MIB,
            partition: 1,
            partition_offset: self.image.partition(),
            lun_bytes: self.image.lun_bytes()?,
            volume_bytes: self.image.volume_bytes,
        })
    }

    /// Makes a folder; the folders above it must exist.
    pub fn add_dir(&mut self, path: &str) -> Result<(), FormatError> {
        let (parent, name) = self.parent_of(path)?;
        // ESXi moves a folder of VMFS-5 to file blocks when it outgrows a sub-block; these begin
        // there, because nothing is ever given back.
        let zla = match self.image.version {
            Version::Vmfs5 => Zla::FileBlocks,
            Version::Vmfs6 => Zla::SubBlocks,
        };
        let own = self.new_descriptor(FileType::Directory, zla, 0, 0o755, parent.fd)?;
        let target = own.target(FileType::Directory);
        let mut descriptor = own.descriptor;
        descriptor.add_link();
        descriptor.write(&self.image)?;
        let directory = Directory::new(self.image.version, target, parent, false);
        self.directories.insert(target.fd, directory);
        self.insert(parent.fd, name, target)?;
        let mut above = self.descriptor(parent.fd)?;
        above.add_link();
        above.write(&self.image)
    }

    /// True when `path` is there.
    pub fn exists(&mut self, path: &str) -> Result<bool, FormatError> {
        match self.lookup(path) {
            Ok(_) => Ok(true),
            Err(FormatError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes a file of these bytes: in its descriptor, in a sub-block, or in file blocks.
    pub fn add_file(&mut self, path: &str, bytes: &[u8]) -> Result<(), FormatError> {
        self.add_small(path, FileType::Regular, bytes)
    }

    /// Makes a file of this type and these bytes.
    pub(super) fn add_small(
        &mut self,
        path: &str,
        kind: FileType,
        bytes: &[u8],
    ) -> Result<(), FormatError> {
        let (length, version) = (bytes.len() as u64, self.image.version);
        let zla = match length {
            small if small <= version.resident_bytes() => Zla::Resident,
            small if small <= version.sub_block_bytes() => Zla::SubBlocks,
            _ => self.block_zla(length),
        };
        let mut descriptor = self.create(path, kind, zla, length, 0o644)?;
        if zla == Zla::Resident {
            descriptor.set_resident(0, bytes);
        } else {
            self.put_content(&mut descriptor, bytes)?;
        }
        descriptor.write(&self.image)
    }

    /// Brings everything added so far to the image: folders, pointer blocks, bitmaps.
    pub fn flush(&mut self) -> Result<(), FormatError> {
        let changed: Vec<u32> = self
            .directories
            .iter()
            .filter(|(_, directory)| directory.changed)
            .map(|(fd, _)| *fd)
            .collect();
        for fd in changed {
            self.flush_directory(fd)?;
        }
        self.pointers.flush(&self.image)?;
        self.pools.flush(&self.image)
    }

    /// How the file blocks of a file of `length` bytes are found.
    pub(super) fn block_zla(&self, length: u64) -> Zla {
        let (slots, pointers) = (self.image.version.slots(), self.image.version.pointers());
        match length.div_ceil(MIB) {
            blocks if blocks <= slots => Zla::FileBlocks,
            blocks if blocks <= slots * pointers => Zla::Pointers,
            _ => Zla::DoublePointers,
        }
    }

    /// Makes an empty file with `length` and its name; the caller writes the descriptor.
    pub(super) fn create(
        &mut self,
        path: &str,
        kind: FileType,
        zla: Zla,
        length: u64,
        mode: u32,
    ) -> Result<Descriptor, FormatError> {
        let (parent, name) = self.parent_of(path)?;
        let own = self.new_descriptor(kind, zla, length, mode, parent.fd)?;
        self.insert(parent.fd, name, own.target(kind))?;
        Ok(own.descriptor)
    }

    /// The descriptor of the file at `path`.
    pub(super) fn file(&mut self, path: &str) -> Result<Descriptor, FormatError> {
        let target = self.lookup(path)?;
        let descriptor = self.descriptor(target.fd)?;
        if descriptor.is_directory() {
            return Err(FormatError::WrongType { path: path.into(), wanted: "file" });
        }
        Ok(descriptor)
    }

    /// Writes the first bytes of a file, allocating what they need.
    fn put_content(&mut self, fd: &mut Descriptor, bytes: &[u8]) -> Result<(), FormatError> {
        let size = index(fd.block_size());
        for (block, part) in bytes.chunks(size).enumerate() {
            let block = block as u64;
            let mut leaf = self.leaf(fd, block)?;
            if leaf == 0 {
                leaf = self.new_leaf(fd.zla())?;
                self.set_leaf(fd, block, leaf)?;
            }
            self.image.write(self.locate_leaf(leaf, block)?, part)?;
        }
        Ok(())
    }

    fn flush_directory(&mut self, fd: u32) -> Result<(), FormatError> {
        let directory = self.directories.get_mut(&fd).expect("taken from its keys");
        directory.changed = false;
        let bytes = directory.bytes();
        let mut descriptor = self.descriptor(fd)?;
        self.put_content(&mut descriptor, &bytes)?;
        descriptor.set_length(bytes.len() as u64);
        descriptor.touch(Some(self.stamp.time));
        descriptor.write(&self.image)
    }

    fn descriptor(&self, address: u32) -> Result<Descriptor, FormatError> {
        let (cluster, index) = version::fd_parts(address);
        Descriptor::read(&self.image, self.pools.fds.locate(cluster, index)?)
    }

    fn new_descriptor(
        &mut self,
        kind: FileType,
        zla: Zla,
        length: u64,
        mode: u32,
        parent: u32,
    ) -> Result<NewDescriptor, FormatError> {
        let taken = self.pools.fds.allocate(&self.image, self.stamp)?;
        let address = version::fd(taken.cluster, taken.index);
        let generation = taken.allocations;
        let time = self.stamp.time;
        let at = self.pools.fds.locate(taken.cluster, taken.index)?;
        let file = NewFile { address, generation, kind, zla, length, mode, parent, time };
        Ok(NewDescriptor { descriptor: Descriptor::new(self.image.version, at, &file) })
    }

    fn insert(&mut self, parent: u32, name: &str, target: Target) -> Result<(), FormatError> {
        let directory = self.directories.get_mut(&parent).expect("loaded when it was looked up");
        if directory.insert(name, target) { Ok(()) } else { Err(FormatError::Full("folder block")) }
    }

    /// The folder above `path` and the last name, which must be new and valid.
    fn parent_of<'p>(&mut self, path: &'p str) -> Result<(Target, &'p str), FormatError> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let usable = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains('\0');
        if !usable || name == "." || name == ".." {
            return Err(FormatError::Spec(format!("{name:?} is not a file name")));
        }
        let parent = self.lookup(above)?;
        if self.directory(parent.fd, above)?.find(name).is_some() {
            return Err(FormatError::Exists(path.into()));
        }
        Ok((parent, name))
    }

    fn lookup(&mut self, path: &str) -> Result<Target, FormatError> {
        let mut target = Target { kind: FileType::Directory as u32, fd: ROOT, generation: 1 };
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let found = self.directory(target.fd, path)?.find(name);
            target = found.ok_or_else(|| FormatError::NotFound(path.into()))?;
        }
        Ok(target)
    }

    /// The folder with this descriptor, read when it is not in memory.
    fn directory(&mut self, fd: u32, path: &str) -> Result<&Directory, FormatError> {
        if !self.directories.contains_key(&fd) {
            let descriptor = self.descriptor(fd)?;
            if !descriptor.is_directory() {
                return Err(FormatError::WrongType { path: path.into(), wanted: "directory" });
            }
            let bytes = self.content(&descriptor)?;
            let directory = Directory::parse(self.image.version, &bytes, fd == ROOT).ok_or(
                FormatError::NotOurs {
                    structure: "directory",
                    offset: 0,
                    problem: "its version is unknown",
                },
            )?;
            self.directories.insert(fd, directory);
        }
        Ok(&self.directories[&fd])
    }

    /// All bytes of a folder or small file.
    fn content(&mut self, fd: &Descriptor) -> Result<Vec<u8>, FormatError> {
        if fd.zla() == Zla::Resident {
            return Ok(fd.resident().to_vec());
        }
        let mut bytes = vec![0; index(fd.length())];
        for block in 0..fd.length().div_ceil(fd.block_size()) {
            let leaf = self.leaf(fd, block)?;
            let at = block * fd.block_size();
            let length = fd.block_size().min(fd.length() - at);
            if leaf != 0 {
                let part = self.image.read(self.locate_leaf(leaf, block)?, length)?;
                put(&mut bytes, index(at), &part);
            }
        }
        Ok(bytes)
    }
}

/// A descriptor that is not written yet.
struct NewDescriptor {
    descriptor: Descriptor,
}

impl NewDescriptor {
    fn target(&self, kind: FileType) -> Target {
        Target {
            kind: kind as u32,
            fd: self.descriptor.address(),
            generation: self.descriptor.generation(),
        }
    }
}
