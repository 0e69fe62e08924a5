//! The checks that need more than one structure: a whole file, or the whole volume.
//!
//! A damaged pointer can lead to a block that is in use, but by another file. No structure of a
//! single file can show that; only the volume as a whole can: every block has one owner.

use crate::address::{Leaf, Pointer, Reason};
use crate::bitmap::SparseBits;
use crate::descriptor::{Descriptor, FileKind, Zla, pointer_bytes, pointers_per_block, word};
use crate::error::{At, VmfsError};
use crate::pointers::{self, PointedAt, PointerCache};
use crate::resource::ResourceFile;
use crate::system::ROOT;
use crate::volume::{Core, Volume};

/// Directories below one another; vSphere itself needs two or three.
const DEPTH_MAX: usize = 64;

/// What a check of the whole volume counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Directories, the root included.
    pub directories: u64,
    /// Regular files.
    pub files: u64,
    /// Symbolic links and raw device mappings.
    pub others: u64,
    /// Leaves of all of them that are not holes.
    pub leaves: u64,
    /// Pointer blocks of all of them.
    pub pointer_blocks: u64,
    /// Leaves whose place is not understood: of these ranges a map says [`crate::Target::Unknown`].
    pub unknown: u64,
}

/// Something on a volume that does not hold.
#[derive(Debug)]
pub struct Problem {
    /// The file or directory; empty for the root.
    pub path: String,
    /// What is wrong with it.
    pub error: VmfsError,
}

/// What is owned by somebody already, and the bitmaps read so far.
pub(crate) struct Claims {
    file_blocks: Pool,
    sub_blocks: Pool,
    pointer_blocks: Pool,
    descriptors: Pool,
    report: CheckReport,
}

/// Owners and bitmap of one kind of resource.
#[derive(Default)]
struct Pool {
    owned: SparseBits,
    in_use: SparseBits,
    clusters_read: SparseBits,
}

impl Claims {
    /// Claims of one file: its blocks may belong to nobody else within it.
    pub(crate) fn of_one_file() -> Self {
        Self {
            file_blocks: Pool::default(),
            sub_blocks: Pool::default(),
            pointer_blocks: Pool::default(),
            descriptors: Pool::default(),
            report: CheckReport::default(),
        }
    }
}

impl Pool {
    /// Notes the owner of a resource, which must be in use and nobody else's.
    fn claim(
        &mut self,
        core: &Core,
        file: &ResourceFile,
        at: At,
        number: u64,
    ) -> Result<(), VmfsError> {
        let cluster = number / file.per_cluster();
        if !self.clusters_read.contains(cluster) {
            let used = file.cluster_in_use(&core.space, &core.system.geometry, cluster)?;
            self.clusters_read.insert(cluster);
            let first = cluster * file.per_cluster();
            for bit in (0..file.per_cluster()).filter(|bit| {
                used.get(crate::bytes::index(bit / 64))
                    .is_some_and(|word| word >> (bit % 64) & 1 == 1)
            }) {
                self.in_use.insert(first + bit);
            }
        }
        let resource = || format!("{} of {}", number, file.name);
        at.require(self.in_use.contains(number), "resource", resource(), "in use in the bitmap")?;
        self.own(at, file.name, number)
    }

    fn own(&mut self, at: At, name: &str, number: u64) -> Result<(), VmfsError> {
        let fresh = self.owned.insert(number);
        let found = if fresh { String::new() } else { format!("{number} of {name}") };
        at.require(fresh, "resource", found, "used once")
    }
}

/// What a walk over a file counted.
#[derive(Default)]
struct Tally {
    leaves: u64,
    zero: u64,
    copy_on_write: u64,
    pointer_blocks: u64,
    unknown: u64,
    large: bool,
    /// The large block claimed last, and which 512 blocks of the file it holds.
    last_large: Option<(u64, u64)>,
}

/// Walks the whole map of a file, claims its blocks and compares its counters.
pub(crate) fn walk(
    core: &Core,
    fd: &Descriptor,
    cache: &PointerCache,
    claims: &mut Claims,
) -> Result<(), VmfsError> {
    let at = At { structure: "file descriptor", offset: fd.at };
    let place = crate::address::descriptor(fd.address).expect("the descriptor was found by it");
    let file = &core.system.descriptors;
    let number = place.cluster * file.per_cluster() + place.index;
    claims.descriptors.claim(core, file, at, number)?;
    if matches!(fd.zla, Zla::Resident | Zla::RawDevice) {
        return Ok(());
    }
    let mut walk = Walk { core, fd, cache, claims, tally: Tally::default() };
    let span = pointers_per_block(&core.system.geometry).pow(fd.zla.levels());
    for slot in 0..fd.slot_count() {
        walk.visit(at, fd.slot(slot), fd.zla.levels(), slot * span)?;
    }
    let tally = walk.tally;
    claims.report.leaves += tally.leaves;
    claims.report.pointer_blocks += tally.pointer_blocks;
    claims.report.unknown += tally.unknown;
    compare(at, fd, &tally)
}

/// How counters count large blocks is not known: then they say nothing.
fn compare(at: At, fd: &Descriptor, tally: &Tally) -> Result<(), VmfsError> {
    if !tally.large {
        at.expect("number of blocks", fd.leaves, tally.leaves)?;
        at.expect("number of blocks to be zeroed", fd.to_be_zeroed, tally.zero)?;
        at.expect("number of copy-on-write blocks", fd.copy_on_write, tally.copy_on_write)?;
    }
    match fd.pointer_blocks {
        Some(counted) => at.expect("number of pointer blocks", counted, tally.pointer_blocks),
        None => Ok(()),
    }
}

struct Walk<'a> {
    core: &'a Core,
    fd: &'a Descriptor,
    cache: &'a PointerCache,
    claims: &'a mut Claims,
    tally: Tally,
}

impl Walk<'_> {
    /// Visits an address that stands in `at` and covers the blocks from `block` on.
    fn visit(&mut self, at: At, address: u64, levels: u32, block: u64) -> Result<(), VmfsError> {
        if levels == 0 {
            return self.leaf(at, address, block);
        }
        let system = &self.core.system;
        let offset = match pointers::pointer(system, at, address)? {
            PointedAt::Hole => return Ok(()),
            PointedAt::Unknown(_) => {
                return Err(VmfsError::unsupported("a pointer block with unknown flags"));
            }
            PointedAt::Block(offset) => offset,
        };
        self.claim_pointer_block(at, address)?;
        let bytes = self.cache.load(&self.core.space, system, offset)?;
        let per_block = pointers_per_block(&system.geometry);
        let below = per_block.pow(levels - 1);
        let here = At { structure: "pointer block", offset };
        for number in 0..per_block {
            let address = word(&bytes, pointer_bytes(&system.geometry), number);
            if address != 0 {
                self.visit(here, address, levels - 1, block + number * below)?;
            }
        }
        Ok(())
    }

    /// Pointer blocks of VMFS-6 are sub-blocks; those of VMFS-5 have a file of their own.
    fn claim_pointer_block(&mut self, at: At, address: u64) -> Result<(), VmfsError> {
        self.tally.pointer_blocks += 1;
        let (core, system) = (self.core, &self.core.system);
        let (pool, file, place) = match crate::address::pointer(&system.geometry, address) {
            Ok(Pointer::SubBlock(place)) => {
                (&mut self.claims.sub_blocks, &system.sub_blocks, place)
            }
            Ok(Pointer::Pbc(place)) => {
                (&mut self.claims.pointer_blocks, &system.pointer_blocks, place)
            }
            _ => {
                return Err(at.damaged("pointer", format_args!("{address:#x}"), "a pointer block"));
            }
        };
        pool.claim(core, file, at, place.cluster * file.per_cluster() + place.index)
    }

    fn leaf(&mut self, at: At, address: u64, block: u64) -> Result<(), VmfsError> {
        let system = &self.core.system;
        let (_, leaf) = pointers::leaf(system, self.fd, at, address, block)?;
        self.tally.leaves += u64::from(leaf != Leaf::Hole);
        match leaf {
            Leaf::Unknown(Reason::CopyOnWrite) => {
                self.tally.copy_on_write += 1;
                self.tally.unknown += 1;
                Ok(())
            }
            Leaf::Unknown(_) => {
                self.tally.unknown += 1;
                Ok(())
            }
            Leaf::Hole => Ok(()),
            Leaf::SubBlock(place) => {
                let file = &system.sub_blocks;
                let number = place.cluster * file.per_cluster() + place.index;
                self.claims.sub_blocks.claim(self.core, file, at, number)
            }
            Leaf::Block { number, zero } => {
                self.tally.zero += u64::from(zero);
                self.claims.file_blocks.claim(self.core, &system.file_blocks, at, number)
            }
            Leaf::Large { number, .. } => self.large(at, number, block),
        }
    }

    /// The same large block may stand in the slots of 512 neighbours, and nowhere else. The
    /// bitmaps of large blocks are not understood and not asked.
    fn large(&mut self, at: At, number: u64, block: u64) -> Result<(), VmfsError> {
        let geometry = &self.core.system.geometry;
        let per_large = geometry.large_block / geometry.file_block;
        let group = (number, block / per_large);
        self.tally.large = true;
        if self.tally.last_large.replace(group) == Some(group) {
            return Ok(());
        }
        for member in 0..per_large {
            self.claims.file_blocks.own(at, ".fbb.sf", number * per_large + member)?;
        }
        Ok(())
    }
}

impl Volume {
    /// Walks every directory and file of the volume and checks that all structures hold and
    /// that every descriptor, sub-block and file block has one owner and is in use in its
    /// bitmap; the first problem is the error. On a volume that hosts are writing to, a failure
    /// may be an update in between.
    pub fn check(&self) -> Result<CheckReport, VmfsError> {
        let mut first = None;
        let report = self.check_all(|problem| {
            first.get_or_insert(problem.error);
        });
        first.map_or(Ok(report), Err)
    }

    /// As [`Volume::check`], to the end: what does not hold is handed to `found`, and the rest is
    /// checked all the same. The report counts what was looked at.
    pub fn check_all(&self, mut found: impl FnMut(Problem)) -> CheckReport {
        let mut claims = Claims::of_one_file();
        claims.file_blocks.owned = self.core.system.system_blocks.clone();
        let mut checker = Checker { core: &self.core, claims, found: &mut found };
        match self.core.descriptor(ROOT) {
            Ok(root) => checker.directory(&root, &root, "", DEPTH_MAX),
            Err(error) => checker.note("", Err(error)),
        }
        checker.claims.report
    }
}

struct Checker<'a> {
    core: &'a Core,
    claims: Claims,
    found: &'a mut dyn FnMut(Problem),
}

impl Checker<'_> {
    /// Hands a failure on.
    fn note(&mut self, path: &str, checked: Result<(), VmfsError>) {
        if let Err(error) = checked {
            (self.found)(Problem { path: path.into(), error });
        }
    }

    fn directory(&mut self, fd: &Descriptor, parent: &Descriptor, path: &str, depth: usize) {
        if depth == 0 {
            let error = VmfsError::unsupported("directories more than 64 levels deep");
            return self.note(path, Err(error));
        }
        self.file(fd, path);
        self.claims.report.directories += 1;
        let listing = match self.core.checked_listing(fd, parent) {
            Ok(listing) => listing,
            Err(error) => return self.note(path, Err(error)),
        };
        for entry in listing.entries {
            let name = String::from_utf8_lossy(&entry.name);
            let path = if path.is_empty() { name.into_owned() } else { format!("{path}/{name}") };
            match self.core.child(fd, &entry) {
                Ok(child) => self.child(&child, fd, &path, depth),
                Err(error) => self.note(&path, Err(error)),
            }
        }
    }

    fn child(&mut self, child: &Descriptor, parent: &Descriptor, path: &str, depth: usize) {
        match child.kind {
            FileKind::Directory => self.directory(child, parent, path, depth - 1),
            FileKind::Regular => {
                self.file(child, path);
                self.claims.report.files += 1;
            }
            FileKind::System | FileKind::Volume => {}
            FileKind::Symlink | FileKind::RawDevice => {
                self.file(child, path);
                self.claims.report.others += 1;
            }
        }
    }

    fn file(&mut self, fd: &Descriptor, path: &str) {
        let walked = walk(self.core, fd, &PointerCache::default(), &mut self.claims);
        self.note(path, walked);
    }
}
