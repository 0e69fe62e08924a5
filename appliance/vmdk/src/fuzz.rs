//! The entry for fuzzers: arbitrary bytes as a descriptor and as each kind of sparse file.

use crate::{Chain, Disk, Layer, Mapped, StreamReader, Target, VmdkError};
use block::ReadAt;
use model::DiskRange;
use std::sync::Arc;

/// Bytes of a disk that are looked at in one place.
const LOOK: u64 = 1 << 20;
/// Bytes that are read; a read costs its own length and nothing more.
const READ: u64 = 64 << 10;

/// Takes `bytes` for everything that this crate understands, and checks what it promises
/// whatever comes: parts without gaps, extents within their files, errors with words.
///
/// # Panics
/// When a promise is broken, which is what a fuzzer looks for.
pub fn fuzz(bytes: &[u8]) {
    let _ = words(Disk::parse(bytes));
    let file: Arc<dyn ReadAt> = Arc::new(bytes.to_vec());
    if let Some(Some(layer)) = words(Layer::open_single("fuzzed.vmdk", Arc::clone(&file))) {
        look(layer);
    }
    let u64_at = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    let u32_at = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    if let Some(sectors) = u64_at(12) {
        stream(bytes, sectors);
    }
    for (kind, extent, sectors) in [
        ("vmfsSparse", "VMFSSPARSE", u32_at(12).map(u64::from)),
        ("seSparse", "SESPARSE", u64_at(16)),
        ("twoGbMaxExtentSparse", "SPARSE", u64_at(12)),
    ] {
        let Some(sectors) = sectors else { continue };
        let text = format!(
            "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n\
             createType=\"{kind}\"\nRW {sectors} {extent} \"fuzzed.vmdk\"\n"
        );
        let Some(disk) = words(Disk::parse(text.as_bytes())) else { continue };
        if let Some(layer) = words(Layer::open(disk, vec![Arc::clone(&file)])) {
            look(layer);
        }
    }
}

/// Reads it as a stream, in small pieces: grains ascend and lie on the disk.
fn stream(bytes: &[u8], sectors: u64) {
    let Some(capacity) = sectors.checked_mul(512) else { return };
    let mut reader = StreamReader::new("fuzzed.vmdk", capacity);
    let mut end = 0;
    for piece in bytes.chunks(1000) {
        reader.feed(piece);
        loop {
            let Some(grain) = words(reader.grain()) else { return };
            let Some(grain) = grain else { break };
            assert!(grain.offset >= end, "grains ascend");
            end = grain.offset + grain.bytes.len() as u64;
            assert!(end <= capacity, "a grain lies on the disk");
        }
    }
    let _ = words(reader.finish());
}

/// Maps and reads the beginning, the middle and the end of a disk.
fn look(layer: Layer) {
    let _ = words(layer.verify());
    let Some(chain) = words(Chain::new(vec![layer])) else { return };
    let capacity = chain.capacity();
    for offset in [0, capacity / 2, capacity.saturating_sub(LOOK)] {
        let length = LOOK.min(capacity - offset);
        if let Some(parts) = words(chain.resolve(DiskRange { offset, length })) {
            check(&chain, &parts, offset, length);
        }
        let length = usize::try_from(READ.min(length)).expect("small");
        if let Err(error) = chain.read_vec(offset, length) {
            assert!(!error.to_string().is_empty(), "an error has words");
        }
    }
    assert!(chain.recheck().is_ok(), "bytes in memory stand still");
}

fn check(chain: &Chain, parts: &[Mapped], offset: u64, length: u64) {
    let mut position = offset;
    for part in parts {
        assert_eq!(part.range.offset, position, "a gap");
        assert!(part.range.length > 0, "an empty part");
        position = part.range.end();
        if let Target::File { layer, extent } = part.to {
            let size = chain.layers()[layer].files()[extent.file].size();
            assert_eq!(extent.length, part.range.length, "another length");
            assert!(extent.offset + extent.length <= size, "beyond the end of the file");
        }
    }
    assert_eq!(position, offset + length, "the parts end early");
}

fn words<T>(result: Result<T, VmdkError>) -> Option<T> {
    result.map_err(|error| assert!(!error.to_string().is_empty(), "an error has words")).ok()
}
