//! Writes streamOptimized disks, for export: every byte once and in order, so that the receiver
//! may be a socket.
//!
//! ```text
//! header (directory all ones) | descriptor | up to sector 128
//! grains of table 0 | marker, table 0 | grains of table 1 | marker, table 1 ..
//! marker, directory | marker, footer | marker of the end
//! ```
//! Grains of zeros and tables without grains are left out. Memory: one table, one grain, and the
//! directory (4 bytes for 32 MiB of disk).

use crate::bytes::index;
use crate::error::VmdkError;
use crate::sparse::SECTOR;
use crate::sparse::hosted::{
    AT_END, DEFLATED, MAGIC, MARKER_DIRECTORY, MARKER_END, MARKER_FOOTER, MARKER_TABLE, MARKERS,
    NEWLINE, NEWLINES, PER_TABLE,
};
use flate2::{Compress, Compression, FlushCompress, Status};
use std::io::Write;

/// Sectors of a grain: what every known reader of such disks expects.
const GRAIN_SECTORS: u64 = 128;
const GRAIN: usize = 64 << 10;
/// First sector of the grains; header and descriptor lie before it.
const OVERHEAD: u64 = 128;
const DESCRIPTOR_SECTORS: u64 = 20;
/// Compressed grains came with version 3.
const VERSION: u32 = 3;
/// Tables name sectors in 32 bits: a file ends at 2 TiB.
const SECTORS_MAX: u64 = u32::MAX as u64;
/// Largest disk: its directory has 8 MB.
const CAPACITY_MAX: u64 = 64 << 40;

/// What a written disk says about itself.
#[derive(Clone, Debug)]
pub struct StreamSpec {
    /// Bytes of the disk, whole sectors.
    pub capacity: u64,
    /// Name of the file, as its descriptor gives it.
    pub name: String,
    /// Content id; any but ffffffff, which means that there is none.
    pub cid: u32,
    /// `ddb.adapterType`, such as `lsilogic`.
    pub adapter_type: String,
    /// 0 (fast) to 9 (small).
    pub level: u32,
}

/// A streamOptimized disk in the making.
pub struct StreamWriter<W> {
    output: W,
    spec: StreamSpec,
    compress: Compress,
    /// Sectors written so far.
    sectors: u64,
    /// Number of the next grain that may be written.
    next: u64,
    /// Entries of the table of grain `next`.
    table: Vec<u32>,
    directory: Vec<u32>,
    /// An output that failed may have half of a structure: nothing more is written to it.
    failed: bool,
}

impl<W: Write> StreamWriter<W> {
    /// Bytes that [`StreamWriter::grain`] takes.
    pub const GRAIN: usize = GRAIN;

    /// Writes header and descriptor.
    pub fn new(output: W, spec: StreamSpec) -> Result<Self, VmdkError> {
        check(&spec)?;
        let compress = Compress::new(Compression::new(spec.level), true);
        let (table, directory) = (empty_table(), Vec::new());
        let mut writer =
            Self { output, spec, compress, sectors: 0, next: 0, table, directory, failed: false };
        let mut front = vec![0; index(OVERHEAD * SECTOR)];
        front[..index(SECTOR)].copy_from_slice(&writer.header(AT_END));
        let text = writer.descriptor();
        let at = index(SECTOR);
        if text.len() > index(DESCRIPTOR_SECTORS * SECTOR) {
            return Err(wrong("its name and adapter type are too long for a descriptor"));
        }
        front[at..at + text.len()].copy_from_slice(text.as_bytes());
        writer.write(&front)?;
        Ok(writer)
    }

    /// Appends grain `number` (64 KiB of the disk each; the last one may be short). Numbers must
    /// ascend; what is left out is zeros.
    pub fn grain(&mut self, number: u64, bytes: &[u8]) -> Result<(), VmdkError> {
        self.usable()?;
        let start = number.checked_mul(GRAIN as u64).filter(|start| *start < self.spec.capacity);
        let start = start.ok_or_else(|| wrong(format!("grain {number} is beyond its end")))?;
        let length = (self.spec.capacity - start).min(GRAIN as u64);
        if bytes.len() as u64 != length {
            let found = bytes.len();
            return Err(wrong(format!("grain {number} has {length} bytes, {found} were given")));
        }
        if number < self.next {
            return Err(wrong(format!("grain {number} comes after grain {}", self.next - 1)));
        }
        self.advance(number / PER_TABLE)?;
        self.next = number + 1;
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let packed = self.pack(number, bytes)?;
        self.table[index(number % PER_TABLE)] = self.here()?;
        self.write(&packed)
    }

    /// Appends what lies from byte `start` of the disk on, which is where a grain begins; as
    /// [`Self::grain`] for each of them.
    pub fn grains(&mut self, start: u64, bytes: &[u8]) -> Result<(), VmdkError> {
        let first = start / GRAIN as u64;
        if !start.is_multiple_of(GRAIN as u64) {
            return Err(wrong(format!("no grain begins at byte {start}")));
        }
        let mut grains = (first..).zip(bytes.chunks(GRAIN));
        grains.try_for_each(|(number, bytes)| self.grain(number, bytes))
    }

    /// Writes the last tables, the directory and the footer; without them there is no disk.
    pub fn finish(mut self) -> Result<W, VmdkError> {
        let tables = self.spec.capacity.div_ceil(GRAIN as u64).div_ceil(PER_TABLE);
        self.advance(tables)?;
        let directory: Vec<u8> =
            std::mem::take(&mut self.directory).iter().flat_map(|at| at.to_le_bytes()).collect();
        let sectors = (directory.len() as u64).div_ceil(SECTOR);
        self.write(&marker(sectors, MARKER_DIRECTORY))?;
        let place = self.here()?.into();
        self.write(&padded(directory))?;
        self.write(&marker(1, MARKER_FOOTER))?;
        let footer = self.header(place);
        self.write(&footer)?;
        self.write(&marker(0, MARKER_END))?;
        self.output.flush().map_err(|source| self.output_failed(source))?;
        Ok(self.output)
    }

    /// Closes the tables before `table`.
    fn advance(&mut self, table: u64) -> Result<(), VmdkError> {
        while (self.directory.len() as u64) < table {
            let mut place = 0;
            if self.table.iter().any(|entry| *entry != 0) {
                let full = std::mem::replace(&mut self.table, empty_table());
                let bytes: Vec<u8> = full.iter().flat_map(|at| at.to_le_bytes()).collect();
                self.write(&marker(bytes.len() as u64 / SECTOR, MARKER_TABLE))?;
                place = self.here()?;
                self.write(&bytes)?;
            }
            self.directory.push(place);
        }
        Ok(())
    }

    /// A grain with its place and size in front, padded to whole sectors.
    fn pack(&mut self, number: u64, bytes: &[u8]) -> Result<Vec<u8>, VmdkError> {
        // Room for bytes that do not compress: zlib then stores them, with a few bytes around.
        let mut zlib = Vec::with_capacity(bytes.len() + bytes.len() / 8 + 64);
        self.compress.reset();
        let done = self.compress.compress_vec(bytes, &mut zlib, FlushCompress::Finish);
        if !matches!(done, Ok(Status::StreamEnd)) {
            return Err(wrong(format!("grain {number} cannot be compressed: {done:?}")));
        }
        let size = u32::try_from(zlib.len()).expect("bounded by the capacity of the vector");
        let mut packed = (number * GRAIN_SECTORS).to_le_bytes().to_vec();
        packed.extend(size.to_le_bytes());
        packed.extend(zlib);
        Ok(padded(packed))
    }

    /// The sector that is written next, as tables can hold it.
    fn here(&self) -> Result<u32, VmdkError> {
        let sectors = u32::try_from(self.sectors);
        sectors.map_err(|_| wrong(format!("its file is beyond {SECTORS_MAX} sectors")))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), VmdkError> {
        self.usable()?;
        debug_assert_eq!(bytes.len() as u64 % SECTOR, 0, "whole sectors");
        self.failed = true;
        self.output.write_all(bytes).map_err(|source| self.output_failed(source))?;
        self.failed = false;
        self.sectors += bytes.len() as u64 / SECTOR;
        Ok(())
    }

    fn usable(&self) -> Result<(), VmdkError> {
        if self.failed { Err(wrong("an earlier write to it failed")) } else { Ok(()) }
    }

    fn output_failed(&self, source: std::io::Error) -> VmdkError {
        VmdkError::Output { offset: self.sectors * SECTOR, source }
    }

    fn header(&self, directory: u64) -> Vec<u8> {
        let mut header = MAGIC.to_vec();
        header.extend(VERSION.to_le_bytes());
        header.extend((NEWLINE | DEFLATED | MARKERS).to_le_bytes());
        for field in [self.spec.capacity / SECTOR, GRAIN_SECTORS, 1, DESCRIPTOR_SECTORS] {
            header.extend(field.to_le_bytes());
        }
        header.extend(u32::try_from(PER_TABLE).expect("512").to_le_bytes());
        for field in [0, directory, OVERHEAD] {
            header.extend(field.to_le_bytes());
        }
        header.push(0);
        header.extend(NEWLINES);
        header.extend(1_u16.to_le_bytes());
        padded(header)
    }

    fn descriptor(&self) -> String {
        let StreamSpec { capacity, name, cid, adapter_type, .. } = &self.spec;
        let sectors = capacity / SECTOR;
        // The geometry that BIOSes give disks of this size.
        let cylinders = sectors.div_ceil(255 * 63).min(65_535);
        format!(
            "# Disk DescriptorFile\nversion=1\nCID={cid:08x}\nparentCID=ffffffff\n\
             createType=\"streamOptimized\"\n\n# Extent description\n\
             RDONLY {sectors} SPARSE \"{name}\"\n\n# The Disk Data Base\n#DDB\n\n\
             ddb.adapterType = \"{adapter_type}\"\nddb.geometry.cylinders = \"{cylinders}\"\n\
             ddb.geometry.heads = \"255\"\nddb.geometry.sectors = \"63\"\n\
             ddb.virtualHWVersion = \"4\"\n"
        )
    }
}

fn check(spec: &StreamSpec) -> Result<(), VmdkError> {
    let capacity = spec.capacity;
    if capacity == 0 || !capacity.is_multiple_of(SECTOR) || capacity > CAPACITY_MAX {
        return Err(wrong(format!("{capacity} bytes are not whole sectors, or not up to 64 TiB")));
    }
    if spec.cid == u32::MAX {
        return Err(wrong("the CID ffffffff means that there is no disk"));
    }
    let plain = |text: &str| {
        !text.is_empty() && !text.contains(['"', '/', '\\']) && !text.contains(char::is_control)
    };
    if !plain(&spec.name) || !plain(&spec.adapter_type) {
        return Err(wrong("its name and adapter type must be words without quotes and slashes"));
    }
    if spec.level > 9 {
        return Err(wrong("a compression level beyond 9"));
    }
    Ok(())
}

fn wrong(problem: impl Into<String>) -> VmdkError {
    VmdkError::Write { problem: problem.into() }
}

fn empty_table() -> Vec<u32> {
    vec![0; index(PER_TABLE)]
}

fn marker(sectors: u64, kind: u32) -> Vec<u8> {
    let mut marker = sectors.to_le_bytes().to_vec();
    marker.extend(0_u32.to_le_bytes());
    marker.extend(kind.to_le_bytes());
    padded(marker)
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(index(SECTOR)), 0);
    bytes
}
