//! Disks of known content, some of which fail while they are read.

use api::{DataRanges, DataRangesQuery};
use bytes::Bytes;
use console::{Chunks, EngineError, EngineResult};
use model::{DiskRange, ErrorKind};
use tokio::sync::mpsc;

#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    /// An error after this many bytes of the disk.
    BreaksAt(u64),
    /// The source ends there without an error.
    EndsAt(u64),
    /// The source brings one byte too many.
    TooLong,
}

pub struct Disk {
    pub capacity: u64,
    /// Offset and length of what is not zero.
    pub data: &'static [(u64, u64)],
    pub fault: Fault,
}

const MIB: u64 = 1 << 20;
const MIXED: &[(u64, u64)] = &[(0, 65536), (MIB, 300_001), (3 * MIB, 512)];

/// By index; every recovery point of the tests has them all.
pub const DISKS: [Disk; 7] = [
    Disk { capacity: 3 * MIB + 512, data: MIXED, fault: Fault::None },
    Disk { capacity: 3 * MIB + 512, data: MIXED, fault: Fault::BreaksAt(MIB + 100_000) },
    Disk { capacity: 3 * MIB + 512, data: MIXED, fault: Fault::EndsAt(MIB + 100_000) },
    Disk { capacity: 3 * MIB + 512, data: MIXED, fault: Fault::TooLong },
    Disk { capacity: 8 * MIB, data: &[], fault: Fault::None },
    Disk { capacity: 1 << 40, data: &[(0, 4096), (1 << 39, 4096)], fault: Fault::None },
    Disk { capacity: 0, data: &[], fault: Fault::None },
];

/// The byte at an offset: data has zero bytes and whole zero blocks in it, too.
fn byte(disk: &Disk, offset: u64) -> u8 {
    let is_data =
        disk.data.iter().any(|&(start, length)| (start..start + length).contains(&offset));
    let block = offset / 4096;
    if is_data && block % 3 != 1 { u8::try_from((offset * 7 + block) % 251).unwrap() } else { 0 }
}

pub fn bytes(disk: u32, range: DiskRange) -> Vec<u8> {
    (range.offset..range.end()).map(|offset| byte(&DISKS[disk as usize], offset)).collect()
}

pub fn image(disk: u32) -> Vec<u8> {
    bytes(disk, DiskRange { offset: 0, length: DISKS[disk as usize].capacity })
}

/// Sends the range in chunks of 64 KiB, as the disk's fault has it.
pub fn stream(disk: u32, range: DiskRange) -> Chunks {
    let (sender, chunks) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut offset = range.offset;
        while offset < range.end() {
            let length = (range.end() - offset).min(65536);
            match piece(disk, DiskRange { offset, length }) {
                Some(piece) => {
                    let failed = piece.is_err();
                    if sender.send(piece).await.is_err() || failed {
                        return;
                    }
                }
                None => return,
            }
            offset += length;
        }
        if DISKS[disk as usize].fault == Fault::TooLong {
            let _ = sender.send(Ok(Bytes::from_static(b"!"))).await;
        }
    });
    chunks
}

/// The image as if it were a VMDK: an empty piece ends it, unless the source fails before.
pub fn exported(disk: u32) -> Chunks {
    let mut image = stream(disk, DiskRange { offset: 0, length: DISKS[disk as usize].capacity });
    let (sender, chunks) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut left = DISKS[disk as usize].capacity;
        while let Some(piece) = image.recv().await {
            left = left.saturating_sub(piece.as_ref().map_or(0, |bytes| bytes.len() as u64));
            if sender.send(piece).await.is_err() {
                return;
            }
        }
        if left == 0 {
            let _ = sender.send(Ok(Bytes::new())).await;
        }
    });
    chunks
}

/// `None`: the source ends here.
fn piece(disk: u32, range: DiskRange) -> Option<EngineResult<Bytes>> {
    match DISKS[disk as usize].fault {
        Fault::BreaksAt(limit) if range.end() > limit => Some(Err(EngineError::new(
            ErrorKind::Corrupt,
            "chunk-damaged",
            "A chunk is damaged",
            format!("The chunk at byte {limit} does not have its hash."),
        ))),
        Fault::EndsAt(limit) if range.end() > limit => None,
        _ => Some(Ok(bytes(disk, range).into())),
    }
}

pub fn data_ranges(disk: u32, query: DataRangesQuery) -> DataRanges {
    let disk = &DISKS[disk as usize];
    let from = query.from.unwrap_or(0);
    let behind = disk.data.iter().map(|&(offset, length)| DiskRange { offset, length });
    let mut ranges: Vec<_> = behind.filter(|range| range.end() > from).collect();
    let more = ranges.len() > query.limit();
    ranges.truncate(query.limit());
    let next = more.then(|| ranges.last().unwrap().end());
    DataRanges { capacity_bytes: disk.capacity, ranges, next }
}
