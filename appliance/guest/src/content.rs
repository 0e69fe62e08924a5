//! What is in a partition or volume, by signatures.
//!
//! One that was made over another can leave the older one's signature behind. So all are looked
//! for, and where there are two nothing is believed.

use crate::Reason;
use crate::bytes::{Fields, index};
use crate::disk::Area;
use crate::swap;

/// What lies in an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Swap,
    /// Known by name only.
    Other(&'static str),
}

/// (offset, bytes, what): signatures at a fixed place, as libblkid of util-linux knows them.
const SIGNATURES: [(u64, &[u8], Content); 23] = [
    (0x438, &[0x53, 0xEF], Content::Other("ext2, ext3 or ext4")),
    (0, b"XFSB", Content::Other("XFS")),
    (3, b"NTFS    ", Content::Other("NTFS")),
    (3, b"-FVE-FS-", Content::Other("BitLocker")),
    (3, b"ReFS\0\0\0\0", Content::Other("ReFS")),
    (3, b"EXFAT   ", Content::Other("exFAT")),
    (54, b"FAT1", Content::Other("FAT")),
    (82, b"FAT32   ", Content::Other("FAT")),
    (0, b"LUKS\xBA\xBE", Content::Other("LUKS")),
    (0x4000, b"SKUL\xBA\xBE", Content::Other("LUKS")),
    (0, b"LABELONE", Content::Other("LVM")),
    (512, b"LABELONE", Content::Other("LVM")),
    (1024, b"LABELONE", Content::Other("LVM")),
    (1536, b"LABELONE", Content::Other("LVM")),
    (0x10040, b"_BHRfS_M", Content::Other("btrfs")),
    (0x400, &[0x10, 0x20, 0xF5, 0xF2], Content::Other("F2FS")),
    (0x1018, &[0xC6, 0x85, 0x73, 0xF6, 0x4E, 0x1A, 0x45, 0xCA], Content::Other("bcache")),
    (0, &[0xFC, 0x4E, 0x2B, 0xA9], MD),
    (0x1000, &[0xFC, 0x4E, 0x2B, 0xA9], MD),
    (0x10034, b"ReIsEr", Content::Other("ReiserFS")),
    (0x8000, b"JFS1", Content::Other("JFS")),
    (0x8001, b"CD001", Content::Other("ISO 9660")),
    (0, b"hsqs", Content::Other("squashfs")),
];
const MD: Content = Content::Other("Linux RAID");
/// Magic of an uberblock of ZFS, which stands in one of 128 slots of 1 KiB.
const ZFS: [u8; 4] = [0x0C, 0xB1, 0xBA, 0x00];

/// What the area holds; `None`: nothing that is known here.
pub(crate) fn content(area: &Area<'_>) -> Result<Option<Content>, Reason> {
    let mut found = Vec::new();
    if swap::signature(area)?.is_some() {
        found.push(Content::Swap);
    }
    for (at, text, content) in SIGNATURES {
        if area.read_up_to(at, text.len())? == text {
            found.push(content);
        }
    }
    if raid_at_the_end(area)? {
        found.push(MD);
    }
    let slots = area.read_up_to(128 << 10, 128 << 10)?;
    if slots.chunks(1024).any(|slot| slot.starts_with(&ZFS)) {
        found.push(Content::Other("ZFS"));
    }
    found.dedup();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        _ => Err(Reason::new(format!("it looks like several things at once: {found:?}"))),
    }
}

/// Members of a Linux RAID can begin as what lies on the RAID, with their own mark at the end.
fn raid_at_the_end(area: &Area<'_>) -> Result<bool, Reason> {
    let size = area.size();
    let places = [
        (size / 65536 * 65536).checked_sub(65536),
        size.checked_sub(8192).map(|at| at / 4096 * 4096),
    ];
    for at in places.into_iter().flatten() {
        let bytes = area.read_up_to(at, index(4_u64))?;
        if Fields::new("mark of a RAID", &bytes).has(0, &[0xFC, 0x4E, 0x2B, 0xA9]) {
            return Ok(true);
        }
    }
    Ok(false)
}
