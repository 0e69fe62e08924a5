//! What a descriptor means: a disk, its extents, and where ranges of it lie in their files.

use crate::descriptor::{Descriptor, ExtentLine};
use crate::error::VmdkError;
use model::{DiskRange, FileExtent};
use std::collections::BTreeMap;

/// Bytes of a sector; all numbers of a descriptor count these.
const SECTOR: u64 = 512;
/// `parentCID` of a disk without a parent.
const NO_PARENT: u32 = 0xFFFF_FFFF;
/// Kinds of disk whose extents are plain files of the disk's bytes.
const FLAT: [&str; 3] = ["vmfs", "monolithicFlat", "twoGbMaxExtentFlat"];

/// A virtual disk on plain files.
///
/// Invariant: the extents follow one another without gaps and end at `capacity`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Bytes of the disk.
    pub capacity: u64,
    /// Its extents, in the order of the disk.
    pub extents: Vec<Extent>,
    /// The names of its files, in the directory of the descriptor; [`FileExtent::file`] counts
    /// these.
    pub files: Vec<String>,
    /// True when blocks are allocated as they are written.
    pub thin: bool,
    /// Content id: a host changes it with the first write after the disk was opened.
    pub cid: u32,
    /// Content id that the parent must have; `None` for a disk without a parent.
    pub parent_cid: Option<u32>,
    /// Kind of disk, as written.
    pub create_type: String,
    /// Name of the change-tracking file, when tracking is on. It belongs to the VM; its content
    /// is never looked at.
    pub change_track_path: Option<String>,
    /// The disk data base, keys without `ddb.`.
    pub ddb: BTreeMap<String, String>,
}

/// A part of a disk in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First byte on the disk.
    pub disk_offset: u64,
    /// Number of bytes.
    pub length: u64,
    /// Index in [`Disk::files`].
    pub file: usize,
    /// First byte in the file.
    pub file_offset: u64,
    /// True when the extent is the whole file: then the file is exactly as long.
    pub whole_file: bool,
}

impl Disk {
    /// Understands the bytes of a descriptor (`web01.vmdk`).
    pub fn parse(bytes: &[u8]) -> Result<Self, VmdkError> {
        let descriptor = Descriptor::parse(bytes)?;
        check_version(&descriptor)?;
        let create_type = descriptor.required("createType")?.to_owned();
        if !FLAT.iter().any(|flat| flat.eq_ignore_ascii_case(&create_type)) {
            return Err(VmdkError::unsupported(format!("a disk of type {create_type:?}")));
        }
        let cid = content_id(&descriptor, "CID")?;
        let parent = content_id(&descriptor, "parentCID")?;
        if parent != NO_PARENT || descriptor.header("parentFileNameHint").is_some() {
            return Err(VmdkError::unsupported("a flat disk with a parent disk"));
        }
        refuse_filters(&descriptor)?;
        let (extents, files, capacity) = extents(&descriptor.extents)?;
        Ok(Self {
            capacity,
            extents,
            files,
            thin: descriptor.ddb.get("thinProvisioned").is_some_and(|value| value == "1"),
            cid,
            parent_cid: None,
            create_type,
            change_track_path: descriptor.header("changeTrackPath").map(str::to_owned),
            ddb: descriptor.ddb,
        })
    }

    /// Where a range of the disk lies in its files, in the order of the disk.
    pub fn resolve(&self, range: DiskRange) -> Result<Vec<FileExtent>, VmdkError> {
        let end = range.offset.checked_add(range.length).filter(|end| *end <= self.capacity);
        let Some(end) = end else {
            return Err(VmdkError::BeyondEnd { range, capacity: self.capacity });
        };
        let mut found: Vec<FileExtent> = Vec::new();
        let first = self.extents.partition_point(|extent| extent.end() <= range.offset);
        for extent in self.extents[first..].iter().take_while(|extent| extent.disk_offset < end) {
            let from = range.offset.max(extent.disk_offset);
            let length = extent.end().min(end) - from;
            let offset = extent.file_offset + (from - extent.disk_offset);
            match found.last_mut() {
                Some(last) if last.file == extent.file && last.offset + last.length == offset => {
                    last.length += length;
                }
                _ if length > 0 => found.push(FileExtent { file: extent.file, offset, length }),
                _ => {}
            }
        }
        Ok(found)
    }

    /// Compares the lengths of the files, in the order of [`Disk::files`], with what the
    /// extents need.
    pub fn check_files(&self, lengths: &[u64]) -> Result<(), VmdkError> {
        for extent in &self.extents {
            let found = lengths.get(extent.file).copied().unwrap_or(0);
            let expected = extent.file_offset + extent.length;
            if found < expected || extent.whole_file && found != expected {
                let file = self.files[extent.file].clone();
                return Err(VmdkError::Length { file, found, expected });
            }
        }
        Ok(())
    }

    /// Compares the capacity with that which vSphere gives for the disk.
    pub fn check_capacity(&self, expected: u64) -> Result<(), VmdkError> {
        if self.capacity == expected {
            return Ok(());
        }
        Err(VmdkError::Capacity { found: self.capacity, expected })
    }
}

impl Extent {
    fn end(&self) -> u64 {
        self.disk_offset + self.length
    }
}

fn check_version(descriptor: &Descriptor) -> Result<(), VmdkError> {
    let version = descriptor.required("version")?;
    if !["1", "2", "3"].contains(&version) {
        return Err(VmdkError::unsupported(format!("descriptor version {version:?}")));
    }
    match descriptor.header("encoding") {
        None => Ok(()),
        Some(encoding) if encoding.eq_ignore_ascii_case("UTF-8") => Ok(()),
        Some(encoding) => {
            Err(VmdkError::unsupported(format!("a disk descriptor in encoding {encoding:?}")))
        }
    }
}

fn content_id(descriptor: &Descriptor, key: &'static str) -> Result<u32, VmdkError> {
    let value = descriptor.required(key)?;
    let digits = (1..=8).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_hexdigit());
    let parsed = digits.then(|| u32::from_str_radix(value, 16).ok()).flatten();
    parsed.ok_or_else(|| VmdkError::Value { key, value: value.into(), wanted: "8 hex digits" })
}

/// I/O filters (encryption, for one) put something between the disk's bytes and the file's.
fn refuse_filters(descriptor: &Descriptor) -> Result<(), VmdkError> {
    let filters = descriptor.ddb.iter().find(|(key, value)| {
        let key = key.to_ascii_lowercase();
        let filtered = ["iofilters", "sidecars"].contains(&key.as_str()) && !value.is_empty();
        filtered || key.contains("encrypt") || key.contains("keysafe")
    });
    let keys = ["encryption.keySafe", "encryption.data"];
    let encrypted = keys.iter().any(|key| descriptor.header(key).is_some());
    match filters {
        Some((key, value)) => {
            Err(VmdkError::unsupported(format!("a disk with ddb.{key} = {value:?}")))
        }
        None if encrypted => Err(VmdkError::unsupported("an encrypted disk")),
        None => Ok(()),
    }
}

type Extents = (Vec<Extent>, Vec<String>, u64);

fn extents(lines: &[ExtentLine]) -> Result<Extents, VmdkError> {
    let (mut extents, mut files, mut capacity) = (Vec::new(), Vec::new(), 0);
    for line in lines {
        let name = file_name(line)?;
        let bytes = |sectors: u64| {
            let bytes = sectors.checked_mul(SECTOR).filter(|bytes| *bytes <= 1 << 62);
            bytes.ok_or_else(|| VmdkError::Value {
                key: "extent",
                value: sectors.to_string(),
                wanted: "a number of sectors that a file can have",
            })
        };
        let (length, file_offset) = (bytes(line.sectors)?, bytes(line.offset)?);
        let file = files.iter().position(|known| known == name).unwrap_or_else(|| {
            files.push(name.to_owned());
            files.len() - 1
        });
        let whole_file = line.kind == "VMFS";
        extents.push(Extent { disk_offset: capacity, length, file, file_offset, whole_file });
        capacity = bytes((capacity + length) / SECTOR)?;
    }
    if capacity == 0 || extents.iter().any(|extent| extent.length == 0) {
        return Err(VmdkError::Missing { key: "extent with data" });
    }
    Ok((extents, files, capacity))
}

/// The file of an extent, which must be a plain one in the descriptor's own directory.
fn file_name(line: &ExtentLine) -> Result<&str, VmdkError> {
    if line.access == "NOACCESS" {
        return Err(VmdkError::unsupported("an extent without access"));
    }
    if line.kind != "VMFS" && line.kind != "FLAT" {
        return Err(VmdkError::unsupported(format!("an extent of type {:?}", line.kind)));
    }
    if line.kind == "VMFS" && line.offset != 0 {
        return Err(VmdkError::unsupported("a VMFS extent in the middle of a file"));
    }
    let name = line.file.as_deref().unwrap_or("");
    if name.contains('/') || name.contains('\\') {
        return Err(VmdkError::unsupported("an extent in another directory"));
    }
    if name.is_empty() || name == "." || name == ".." {
        let wanted = "the name of a file";
        return Err(VmdkError::Value { key: "extent", value: name.into(), wanted });
    }
    Ok(name)
}
