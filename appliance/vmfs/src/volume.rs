//! An open volume: what it is, its directories, its files.

use crate::bytes::uuid_text;
use crate::descriptor::{self, Descriptor, FileKind};
use crate::directory::{self, Entry, Listing};
use crate::error::{At, VmfsError};
use crate::file::File;
use crate::lvm;
use crate::partition::Partition;
use crate::space::{Assembled, Space};
use crate::superblock::{self, Family, Superblock};
use crate::system::{self, ROOT, System};
use block::ReadAt;
use std::sync::Arc;

/// Largest target of a symbolic link.
const LINK_BYTES_MAX: usize = 4096;

/// A volume, opened for reading.
pub struct Volume {
    pub(crate) core: Arc<Core>,
    info: VolumeInfo,
}

/// What identifies a volume and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeInfo {
    /// UUID of the file system, as in `/vmfs/volumes/<uuid>` and `HostVmfsVolume.uuid`.
    pub uuid: String,
    /// Name of the datastore.
    pub label: String,
    /// Version as vSphere writes it, such as `6.82` or `5.81`.
    pub version: String,
    /// True for VMFS-L, which hosts use for themselves.
    pub local: bool,
    /// Configuration bits of the header.
    pub config: u32,
    /// Seconds since 1970 at which the volume was made.
    pub created: u32,
    /// Bytes of a file block.
    pub block_size: u64,
    /// Bytes of the logical volume.
    pub size: u64,
    /// UUID of the logical volume; `None` for a file system without LVM.
    pub lvm_uuid: Option<String>,
    /// The highest LVM generation of the devices: grows when the volume is changed.
    pub lvm_generation: u64,
    /// The devices, in the order in which they were given; `LunExtent::device` counts these.
    pub devices: Vec<DeviceInfo>,
}

/// One LUN of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Where the volume's partition lies on it.
    pub partition: Partition,
    /// UUID of the LVM device.
    pub uuid: String,
    /// LVM version.
    pub lvm_version: u32,
    /// LVM generation.
    pub generation: u64,
    /// Type and bytes of the SCSI id that the host saw when it made the volume.
    pub scsi_id: (u8, Vec<u8>),
    /// The name that a host gave to it, on the volume's first device only.
    pub name: Option<String>,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name; bytes that are not UTF-8 are replaced.
    pub name: String,
    /// What it is.
    pub kind: FileKind,
    /// Address of its descriptor.
    pub descriptor: u32,
    /// Generation of its descriptor.
    pub generation: u32,
}

impl From<Entry> for DirEntry {
    fn from(entry: Entry) -> Self {
        Self {
            name: String::from_utf8_lossy(&entry.name).into_owned(),
            kind: entry.kind,
            descriptor: entry.address,
            generation: entry.generation,
        }
    }
}

impl Volume {
    /// Opens the volume that the devices make up: whole LUNs or partition images, its spans in
    /// any order, all of them and no others.
    pub fn open(devices: Vec<Arc<dyn ReadAt>>) -> Result<Self, VmfsError> {
        let (space, members) = Space::assemble(devices)?;
        let superblock = superblock::read(&space)?;
        let volume = &members[0].device.volume;
        superblock.check_identity(&volume.uuid, volume.snap_id)?;
        Self::with(space, members, superblock)
    }

    /// Opens a file system that fills a device without an LVM. Hosts make such ones for
    /// themselves; a datastore on a SAN never is one.
    pub fn open_bare(device: Arc<dyn ReadAt>) -> Result<Self, VmfsError> {
        let space = Space::bare(device);
        let superblock = superblock::read(&space)?;
        if superblock.identity.is_some() {
            return Err(VmfsError::unsupported("a file system outside of its logical volume"));
        }
        Self::with(space, Vec::new(), superblock)
    }

    fn with(
        space: Space,
        members: Vec<Assembled>,
        superblock: Superblock,
    ) -> Result<Self, VmfsError> {
        let system = system::open(&space, &superblock)?;
        let info = info(&space, &members, &superblock);
        let core = Arc::new(Core { space, system, members, superblock });
        core.descriptor(ROOT)?;
        Ok(Self { core, info })
    }

    /// The same volume, all of it read anew: for a reader that met structures in motion.
    /// [`VmfsError::Moved`] when another volume lies there now.
    pub fn reopen(&self) -> Result<Self, VmfsError> {
        let devices = self.core.space.devices();
        let now = match devices.first() {
            Some(device) if self.core.members.is_empty() => Self::open_bare(Arc::clone(device))?,
            _ => Self::open(devices)?,
        };
        let who = |info: &VolumeInfo| (info.uuid.clone(), info.lvm_uuid.clone(), info.size);
        if who(&now.info) == who(&self.info) {
            return Ok(now);
        }
        Err(VmfsError::Moved { structure: "file-system header", offset: 0x20_0000 })
    }

    /// What the volume is.
    #[must_use]
    pub fn info(&self) -> &VolumeInfo {
        &self.info
    }

    /// The names in a directory, without `.` and `..`, in the order of the disk. The root is
    /// `""` or `"/"`.
    pub fn read_dir(&self, path: &str) -> Result<Vec<DirEntry>, VmfsError> {
        let (_, listing) = self.core.directory(path)?;
        Ok(listing.entries.into_iter().map(DirEntry::from).collect())
    }

    /// Opens a regular file, such as `web01/web01-flat.vmdk`.
    pub fn open_file(&self, path: &str) -> Result<File, VmfsError> {
        let (fd, _) = self.core.walk_to(path)?;
        if fd.kind != FileKind::Regular {
            return Err(wrong_type(path, fd.kind, FileKind::Regular));
        }
        Ok(File::new(Arc::clone(&self.core), fd))
    }

    /// Where a symbolic link leads to. Links are never followed here.
    pub fn read_link(&self, path: &str) -> Result<String, VmfsError> {
        let (fd, _) = self.core.walk_to(path)?;
        if fd.kind != FileKind::Symlink {
            return Err(wrong_type(path, fd.kind, FileKind::Symlink));
        }
        let target = File::new(Arc::clone(&self.core), fd).read_small(LINK_BYTES_MAX)?;
        Ok(String::from_utf8_lossy(&target).into_owned())
    }

    /// The SCSI disk id (type, bytes) of the LUN that a raw device mapping stands for.
    pub fn raw_device_id(&self, path: &str) -> Result<(u8, Vec<u8>), VmfsError> {
        let (fd, _) = self.core.walk_to(path)?;
        if fd.kind != FileKind::RawDevice {
            return Err(wrong_type(path, fd.kind, FileKind::RawDevice));
        }
        let (kind, id) = fd.raw_device_id();
        Ok((kind, id.to_vec()))
    }

    /// Reads the LVM and file-system headers and the block lists of the resource files again and
    /// compares them with those that the volume was opened with; [`VmfsError::Moved`] when
    /// something is different. Resource files may have grown.
    pub fn check_unchanged(&self) -> Result<(), VmfsError> {
        self.core.check_unchanged()
    }
}

fn wrong_type(path: &str, found: FileKind, wanted: FileKind) -> VmfsError {
    VmfsError::WrongType { path: path.into(), found: found.name(), wanted: wanted.name() }
}

fn info(space: &Space, members: &[Assembled], superblock: &Superblock) -> VolumeInfo {
    let family = match superblock.geometry.family {
        Family::Vmfs5 => 5,
        Family::Vmfs6 => 6,
    };
    VolumeInfo {
        uuid: uuid_text(&superblock.uuid),
        label: superblock.label.clone(),
        version: format!("{family}.{}", superblock.minor),
        local: superblock.local,
        config: superblock.config,
        created: superblock.created,
        block_size: superblock.geometry.file_block,
        size: space.size(),
        lvm_uuid: members.first().map(|member| uuid_text(&member.device.volume.uuid)),
        lvm_generation: members.iter().map(|member| member.device.generation).max().unwrap_or(0),
        devices: members.iter().map(device_info).collect(),
    }
}

fn device_info(member: &Assembled) -> DeviceInfo {
    DeviceInfo {
        partition: member.partition,
        uuid: member.device.uuid.clone(),
        lvm_version: member.device.version,
        generation: member.device.generation,
        scsi_id: member.device.scsi_id.clone(),
        name: member.device.name.clone(),
    }
}

/// What all open files of a volume share.
pub(crate) struct Core {
    pub(crate) space: Space,
    pub(crate) system: System,
    members: Vec<Assembled>,
    superblock: Superblock,
}

impl Core {
    /// Reads a descriptor by its address.
    pub(crate) fn descriptor(&self, address: u32) -> Result<Descriptor, VmfsError> {
        let at = At { structure: "file descriptor", offset: 0 };
        let offset = self.system.find_descriptor(at, address)?;
        descriptor::read(&self.space, &self.system.geometry, address, offset)
    }

    /// The directory at the end of a path, and what it holds.
    pub(crate) fn directory(&self, path: &str) -> Result<(Descriptor, Listing), VmfsError> {
        let (fd, parent) = self.walk_to(path)?;
        if fd.kind != FileKind::Directory {
            return Err(wrong_type(path, fd.kind, FileKind::Directory));
        }
        let listing = self.listing(&fd, Some(&parent))?;
        Ok((fd, listing))
    }

    /// The descriptor at the end of a path, and that of the directory that holds it.
    pub(crate) fn walk_to(&self, path: &str) -> Result<(Descriptor, Descriptor), VmfsError> {
        let mut fd = self.descriptor(ROOT)?;
        let mut parent = fd.clone();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if fd.kind != FileKind::Directory {
                return Err(wrong_type(path, fd.kind, FileKind::Directory));
            }
            let next = self.look_up(&fd, &parent, name.as_bytes())?;
            let next = next.ok_or_else(|| VmfsError::NotFound { path: path.into() })?;
            parent = std::mem::replace(&mut fd, next);
        }
        Ok((fd, parent))
    }

    fn look_up(
        &self,
        fd: &Descriptor,
        parent: &Descriptor,
        name: &[u8],
    ) -> Result<Option<Descriptor>, VmfsError> {
        let bytes = self.content(fd)?;
        let listing = self.parse_directory(fd, Some(parent), &bytes)?;
        let Some(entry) = listing.entries.iter().find(|entry| entry.name == name) else {
            return Ok(None);
        };
        if self.system.geometry.family == Family::Vmfs6 {
            directory::check_lookup(fd.at, &bytes, fd.address == ROOT, entry)?;
        }
        self.child(fd, entry).map(Some)
    }

    /// As [`Core::listing`], and every name is found by the hash table.
    pub(crate) fn checked_listing(
        &self,
        fd: &Descriptor,
        parent: &Descriptor,
    ) -> Result<Listing, VmfsError> {
        let bytes = self.content(fd)?;
        let listing = self.parse_directory(fd, Some(parent), &bytes)?;
        if self.system.geometry.family == Family::Vmfs6 {
            for entry in &listing.entries {
                directory::check_lookup(fd.at, &bytes, fd.address == ROOT, entry)?;
            }
        }
        Ok(listing)
    }

    /// The entries of a directory, whose `..` must lead to `parent`.
    pub(crate) fn listing(
        &self,
        fd: &Descriptor,
        parent: Option<&Descriptor>,
    ) -> Result<Listing, VmfsError> {
        self.parse_directory(fd, parent, &self.content(fd)?)
    }

    fn parse_directory(
        &self,
        fd: &Descriptor,
        parent: Option<&Descriptor>,
        bytes: &[u8],
    ) -> Result<Listing, VmfsError> {
        let listing = directory::parse(self.system.geometry.family, fd.at, bytes)?;
        let at = At { structure: "directory", offset: fd.at };
        at.expect("descriptor of '.'", listing.own.address, fd.address)?;
        if let Some(parent) = parent {
            at.expect("descriptor of '..'", listing.parent.address, parent.address)?;
        }
        Ok(listing)
    }

    /// The bytes of a directory, which did not change while they were read.
    fn content(&self, fd: &Descriptor) -> Result<Vec<u8>, VmfsError> {
        if fd.length > directory::BYTES_MAX {
            let limit = directory::BYTES_MAX;
            return Err(VmfsError::TooLarge { what: "directory", length: fd.length, limit });
        }
        let bytes = crate::file::content(self, fd)?;
        self.recheck_descriptor(fd)?;
        Ok(bytes)
    }

    /// The descriptor that an entry of a directory names; the two must agree.
    pub(crate) fn child(
        &self,
        directory: &Descriptor,
        entry: &Entry,
    ) -> Result<Descriptor, VmfsError> {
        let fd = self.descriptor(entry.address)?;
        let at = At { structure: "file descriptor", offset: fd.at };
        at.expect("generation", fd.generation, entry.generation)?;
        at.require(fd.kind == entry.kind, "type", fd.kind.name(), entry.kind.name())?;
        let has_parent = self.system.geometry.family == Family::Vmfs6;
        if has_parent && fd.kind != FileKind::System {
            at.expect("directory", fd.parent, directory.address)?;
        }
        Ok(fd)
    }

    /// Reads a descriptor again; [`VmfsError::Moved`] when it is different.
    pub(crate) fn recheck_descriptor(&self, fd: &Descriptor) -> Result<(), VmfsError> {
        let at = At { structure: "file descriptor", offset: fd.at };
        let now = self.space.read(at, self.system.geometry.fd_bytes())?;
        if now == fd.bytes {
            return Ok(());
        }
        Err(VmfsError::Moved { structure: at.structure, offset: at.offset })
    }

    fn check_unchanged(&self) -> Result<(), VmfsError> {
        for (number, member) in self.members.iter().enumerate() {
            let partition = self.space.partition(number, member.partition)?;
            if lvm::read(&partition)?.fingerprint != member.device.fingerprint {
                let offset = member.partition.offset;
                return Err(VmfsError::Moved { structure: "LVM header", offset });
            }
        }
        if superblock::read(&self.space)?.bytes != self.superblock.bytes {
            return Err(VmfsError::Moved { structure: "file-system header", offset: 0x20_0000 });
        }
        match self.system.moved(&system::open(&self.space, &self.superblock)?) {
            Some((structure, offset)) => Err(VmfsError::Moved { structure, offset }),
            None => Ok(()),
        }
    }
}
