//! What a descriptor means: a disk, the rules between its parts, and the files that it needs.

use crate::descriptor::{Descriptor, ExtentLine};
use crate::error::VmdkError;
use crate::sparse::{self, SECTOR};
use std::collections::BTreeMap;

/// `parentCID` of a disk without a parent.
const NO_PARENT: u32 = 0xFFFF_FFFF;

/// The kinds of disk that are understood, and the types of their extents.
const KINDS: [(&str, &[ExtentKind]); 8] = [
    ("vmfs", &[ExtentKind::Vmfs, ExtentKind::Flat]),
    ("monolithicFlat", &[ExtentKind::Flat]),
    ("twoGbMaxExtentFlat", &[ExtentKind::Flat]),
    ("vmfsSparse", &[ExtentKind::VmfsSparse]),
    ("seSparse", &[ExtentKind::SeSparse]),
    ("monolithicSparse", &[ExtentKind::Sparse]),
    ("twoGbMaxExtentSparse", &[ExtentKind::Sparse]),
    ("streamOptimized", &[ExtentKind::Sparse]),
];

/// The type of an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentKind {
    /// The disk's bytes as they are, a part of a file.
    Flat,
    /// The same, a whole file on VMFS: the file is exactly as long.
    Vmfs,
    /// COWD.
    VmfsSparse,
    /// `SEsparse`.
    SeSparse,
    /// Hosted sparse, also the compressed one.
    Sparse,
}

/// A virtual disk as its descriptor describes it.
///
/// Invariant: the extents follow one another without gaps and end at `capacity`; only sparse
/// disks have a parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Bytes of the disk.
    pub capacity: u64,
    /// Its extents, in the order of the disk.
    pub extents: Vec<Extent>,
    /// The names of its files, in the directory of the descriptor.
    pub files: Vec<String>,
    /// True when blocks are allocated as they are written.
    pub thin: bool,
    /// Content id: a host changes it with the first write after the disk was opened.
    pub cid: u32,
    /// Content id that the parent must have; `None` for a disk without a parent.
    pub parent_cid: Option<u32>,
    /// Where the parent's descriptor was when the disk was made: a name beside this one, or a
    /// path on a host. The CID decides whether it still is the parent.
    pub parent_file: Option<String>,
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
    /// What the file is.
    pub kind: ExtentKind,
    /// First byte on the disk.
    pub disk_offset: u64,
    /// Number of bytes.
    pub length: u64,
    /// Index in [`Disk::files`].
    pub file: usize,
    /// First byte in the file; 0 in a sparse one, which says itself where things are.
    pub file_offset: u64,
}

impl Disk {
    /// Understands the bytes of a descriptor (`web01.vmdk`).
    pub fn parse(bytes: &[u8]) -> Result<Self, VmdkError> {
        Self::of(Descriptor::parse(bytes)?)
    }

    /// Understands the descriptor inside a sparse file. Its one extent is the file itself,
    /// whatever it was called when the descriptor was written.
    pub(crate) fn parse_embedded(bytes: &[u8], name: &str) -> Result<Self, VmdkError> {
        let mut disk = Self::of(Descriptor::parse_embedded(bytes)?)?;
        match disk.extents[..] {
            [Extent { kind: ExtentKind::Sparse, .. }] => disk.files = vec![name.into()],
            _ => return Err(VmdkError::unsupported("a disk of several files inside one file")),
        }
        Ok(disk)
    }

    /// Compares the capacity with that which vSphere gives for the disk.
    pub fn check_capacity(&self, expected: u64) -> Result<(), VmdkError> {
        if self.capacity == expected {
            return Ok(());
        }
        Err(VmdkError::Capacity { found: self.capacity, expected })
    }

    fn of(descriptor: Descriptor) -> Result<Self, VmdkError> {
        check_version(&descriptor)?;
        let create_type = descriptor.required("createType")?.to_owned();
        let known = KINDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(&create_type));
        let Some((_, kinds)) = known else {
            return Err(VmdkError::unsupported(format!("a disk of type {create_type:?}")));
        };
        refuse_filters(&descriptor)?;
        let cid = content_id(&descriptor, "CID")?;
        let (parent_cid, parent_file) = parent(&descriptor)?;
        let (extents, files, capacity) = extents(&descriptor.extents, kinds)?;
        let flat = extents.iter().any(|extent| extent.kind.is_flat());
        if flat && parent_cid.is_some() {
            return Err(VmdkError::unsupported("a flat disk with a parent disk"));
        }
        Ok(Self {
            capacity,
            extents,
            files,
            thin: descriptor.ddb.get("thinProvisioned").is_some_and(|value| value == "1"),
            cid,
            parent_cid,
            parent_file,
            create_type,
            change_track_path: descriptor.header("changeTrackPath").map(str::to_owned),
            ddb: descriptor.ddb,
        })
    }
}

impl Extent {
    pub(crate) fn end(&self) -> u64 {
        self.disk_offset + self.length
    }
}

impl ExtentKind {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "FLAT" => Self::Flat,
            "VMFS" => Self::Vmfs,
            "VMFSSPARSE" => Self::VmfsSparse,
            "SESPARSE" => Self::SeSparse,
            "SPARSE" => Self::Sparse,
            _ => return None,
        })
    }

    pub(crate) fn is_flat(self) -> bool {
        self.sparse().is_none()
    }

    /// The format of a sparse extent; `None` for a flat one.
    pub(crate) fn sparse(self) -> Option<sparse::Kind> {
        match self {
            Self::Flat | Self::Vmfs => None,
            Self::VmfsSparse => Some(sparse::Kind::Cowd),
            Self::SeSparse => Some(sparse::Kind::SeSparse),
            Self::Sparse => Some(sparse::Kind::Hosted),
        }
    }
}

fn check_version(descriptor: &Descriptor) -> Result<(), VmdkError> {
    let version = descriptor.required("version")?;
    if !["1", "2", "3"].contains(&version) {
        return Err(VmdkError::unsupported(format!("descriptor version {version:?}")));
    }
    match descriptor.header("isNativeSnapshot") {
        None => {}
        Some(value) if value.eq_ignore_ascii_case("no") => {}
        Some(_) => return Err(VmdkError::unsupported("a snapshot that the array keeps")),
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

/// The parent's CID and place. A place without a CID contradicts itself: which of the two is
/// true is nobody's guess.
fn parent(descriptor: &Descriptor) -> Result<(Option<u32>, Option<String>), VmdkError> {
    let cid = content_id(descriptor, "parentCID")?;
    let file = descriptor.header("parentFileNameHint").map(str::to_owned);
    match (cid, file) {
        (NO_PARENT, None) => Ok((None, None)),
        (NO_PARENT, Some(_)) => {
            Err(VmdkError::unsupported("a disk with a parentFileNameHint and no parentCID"))
        }
        (cid, file) => Ok((Some(cid), file)),
    }
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

fn extents(lines: &[ExtentLine], kinds: &[ExtentKind]) -> Result<Extents, VmdkError> {
    let (mut extents, mut files, mut capacity) = (Vec::new(), Vec::new(), 0);
    for line in lines {
        let kind = extent_kind(line, kinds)?;
        let name = file_name(line)?;
        let (length, file_offset) = (bytes(line.sectors)?, bytes(line.offset)?);
        let file = files.iter().position(|known| known == name).unwrap_or_else(|| {
            files.push(name.to_owned());
            files.len() - 1
        });
        extents.push(Extent { kind, disk_offset: capacity, length, file, file_offset });
        capacity = bytes((capacity + length) / SECTOR)?;
    }
    if capacity == 0 || extents.iter().any(|extent| extent.length == 0) {
        return Err(VmdkError::Missing { key: "extent with data" });
    }
    refuse_shared(&extents, &files)?;
    Ok((extents, files, capacity))
}

fn bytes(sectors: u64) -> Result<u64, VmdkError> {
    let bytes = sectors.checked_mul(SECTOR).filter(|bytes| *bytes <= 1 << 62);
    bytes.ok_or_else(|| VmdkError::Value {
        key: "extent",
        value: sectors.to_string(),
        wanted: "a number of sectors that a file can have",
    })
}

/// The type of an extent, which must be one that the kind of disk has.
fn extent_kind(line: &ExtentLine, kinds: &[ExtentKind]) -> Result<ExtentKind, VmdkError> {
    if line.access == "NOACCESS" {
        return Err(VmdkError::unsupported("an extent without access"));
    }
    let kind = ExtentKind::of(&line.kind).filter(|kind| kinds.contains(kind));
    let Some(kind) = kind else {
        let what = format!("an extent of type {:?} in this kind of disk", line.kind);
        return Err(VmdkError::unsupported(what));
    };
    if kind != ExtentKind::Flat && line.offset != 0 {
        return Err(VmdkError::unsupported("a VMFS or sparse extent in the middle of a file"));
    }
    Ok(kind)
}

/// The file of an extent, which must be a plain one in the descriptor's own directory.
fn file_name(line: &ExtentLine) -> Result<&str, VmdkError> {
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

/// No byte of a file is two places of the disk; a sparse file is one extent.
fn refuse_shared(extents: &[Extent], files: &[String]) -> Result<(), VmdkError> {
    let place = |extent: &Extent| match extent.kind.is_flat() {
        true => (extent.file, extent.file_offset, extent.file_offset + extent.length),
        false => (extent.file, 0, u64::MAX),
    };
    let mut places: Vec<_> = extents.iter().map(place).collect();
    places.sort_unstable();
    let shared = places.windows(2).find(|pair| pair[0].0 == pair[1].0 && pair[0].2 > pair[1].1);
    match shared {
        None => Ok(()),
        Some(pair) => Err(VmdkError::Value {
            key: "extent",
            value: files[pair[0].0].clone(),
            wanted: "a file whose bytes belong to one extent each",
        }),
    }
}
