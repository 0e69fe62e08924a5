//! One flipped bit anywhere in the metadata of a volume: an error, `Unknown`, or the same
//! content as before. Never a panic, a hang, or other bytes without a word.
//!
//! What one file's structures cannot show (a pointer that leads to a block of another file) is
//! shown by the check of the whole volume; that counts as noticed. What the format itself cannot
//! show is named in [`undetectable`].
#![allow(clippy::unwrap_used)] // a test ends where something is not as it must be

use block::{ReadAt, ReadError};
use fakes::vmfs::{Layout, Provisioning, Version, VolumeSpec};
use model::LunExtent;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use vmfs::{Target, VmfsError, Volume};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const FLIPS: usize = 10_000;
const SEED: u64 = 0x5EED_0001;
/// Start of the logical volume on the LUN.
const DATA: u64 = MIB + 0x110_0000;

/// A device with some bits of one byte flipped, which notes the pages of 4 KiB that are read.
struct Flipped {
    inner: Arc<File>,
    at: u64,
    mask: u8,
    pages: Mutex<BTreeSet<u64>>,
}

fn flipped(inner: &Arc<File>, at: u64, mask: u8) -> Arc<Flipped> {
    Arc::new(Flipped { inner: Arc::clone(inner), at, mask, pages: Mutex::default() })
}

impl ReadAt for Flipped {
    fn size(&self) -> u64 {
        ReadAt::size(self.inner.as_ref())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        ReadAt::read_at(self.inner.as_ref(), offset, buffer)?;
        let end = offset + buffer.len() as u64;
        self.pages.lock().unwrap().extend((offset / 4096..end.div_ceil(4096)).map(|n| n * 4096));
        if let Some(byte) =
            self.at.checked_sub(offset).and_then(|at| buffer.get_mut(usize::try_from(at).ok()?))
        {
            *byte ^= self.mask;
        }
        Ok(())
    }
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// Paths of the volume under test.
const FILES: [&str; 6] = [
    "vm/vm.vmx",
    "vm/vm.nvram",
    "vm/thin-flat.vmdk",
    "vm/two-flat.vmdk",
    "vm/far-flat.vmdk",
    "other/lazy-flat.vmdk",
];

const VERSIONS: [Version; 2] = [Version::Vmfs5, Version::Vmfs6];
/// Bytes of the file that lies in its descriptor, in both versions.
const RESIDENT: usize = 900;

fn make(folder: &Path, version: Version) -> PathBuf {
    let image = folder.join("lun.img");
    let layout = Layout::Fragmented;
    let spec = VolumeSpec { version, layout, ..VolumeSpec::new(GIB, "flipped") };
    let mut volume = spec.create(&image).unwrap();
    volume.add_dir("vm").unwrap();
    volume.add_dir("other").unwrap();
    volume.add_file(FILES[0], &[b'x'; RESIDENT]).unwrap();
    volume.add_file(FILES[1], &vec![b'n'; 7000]).unwrap();
    for (path, length, places, provisioning) in [
        (FILES[2], 20 * MIB, vec![3 * MIB, 4 * MIB, 9 * MIB], Provisioning::Thin),
        (FILES[3], 20 * MIB, vec![2 * MIB, 9 * MIB], Provisioning::Thin),
        (FILES[4], 400 * MIB, vec![MIB, 390 * MIB], Provisioning::Thin),
        (FILES[5], 6 * MIB, vec![MIB], Provisioning::LazyThick),
    ] {
        let raw = folder.join("raw.img");
        let file = File::create(&raw).unwrap();
        file.set_len(length).unwrap();
        for place in places {
            let mark = format!("{path} at {place}; ").repeat(40);
            file.write_all_at(mark.as_bytes(), place).unwrap();
        }
        volume.add_disk_from_raw(path, &raw, provisioning).unwrap();
    }
    volume.flush().unwrap();
    image
}

/// What a file looks like to somebody who backs it up: which bytes of the LUN are its data.
/// Parts without data are zeros.
type Content = Vec<(u64, u64, Source)>;

#[derive(Debug, PartialEq, Eq)]
enum Source {
    Lun(LunExtent),
    Small(Vec<u8>),
}

fn content(volume: &Volume, path: &str) -> Result<Content, VmfsError> {
    let file = volume.open_file(path)?;
    file.verify()?;
    let mut content = Content::new();
    for part in file.map(0, file.length())? {
        let source = match part.to {
            Target::Hole | Target::Zero => continue,
            Target::Lun(extent) => Source::Lun(extent),
            Target::Resident => Source::Small(file.read_small(1 << 16)?),
            Target::Unknown(reason) => {
                return Err(VmfsError::UnknownContent { offset: part.file_offset, reason });
            }
        };
        content.push((part.file_offset, part.length, source));
    }
    Ok(content)
}

fn look(device: Arc<dyn ReadAt>) -> Vec<Result<(u64, Content), VmfsError>> {
    let volume = match Volume::open(vec![device]) {
        Ok(volume) => volume,
        Err(error) => return vec![Err(error)],
    };
    FILES
        .iter()
        .map(|path| {
            let length = volume.open_file(path)?.length();
            content(&volume, path).map(|content| (length, content))
        })
        .collect()
}

/// The pages that are read when all files are mapped and the volume is checked: metadata all.
fn metadata_pages(image: &Arc<File>) -> Vec<u64> {
    let device = flipped(image, 0, 0);
    look(Arc::clone(&device) as Arc<dyn ReadAt>);
    Volume::open(vec![Arc::clone(&device) as Arc<dyn ReadAt>]).unwrap().check().unwrap();
    device.pages.lock().unwrap().iter().copied().collect()
}

/// Metadata that the format keeps once and that nothing else contradicts: the length of a file
/// (that of a flat disk is compared with its VMDK descriptor), and resident data, which is
/// content.
fn undetectable(image: &File, version: Version, at: u64) -> bool {
    let (bytes, meta) = descriptor_shape(version);
    let descriptor = at - (at - DATA.min(at)) % bytes;
    let mut lock = [0; 4];
    if at < DATA || image.read_exact_at(&mut lock, descriptor).is_err() {
        return false;
    }
    let within = at - descriptor;
    let length = (meta + 0x14..meta + 0x1C).contains(&within);
    let resident = (meta + 512..meta + 512 + RESIDENT as u64).contains(&within);
    let mut kind = [0; 4];
    image.read_exact_at(&mut kind, descriptor + meta + 0x44).unwrap();
    let is_resident = kind == 0x10D1_u32.to_le_bytes();
    lock == 0x10C0_0001_u32.to_le_bytes() && (length || is_resident && resident)
}

/// Bytes of a descriptor, and where its metadata begins.
fn descriptor_shape(version: Version) -> (u64, u64) {
    match version {
        Version::Vmfs5 => (2048, 512),
        Version::Vmfs6 => (8192, 4096),
    }
}

#[test]
fn a_flipped_bit_of_vmfs_5_is_noticed_or_harmless() {
    println!("{}", flip_bits(Version::Vmfs5));
}

#[test]
fn a_flipped_bit_of_vmfs_6_is_noticed_or_harmless() {
    println!("{}", flip_bits(Version::Vmfs6));
}

/// Flips bits; says what became of them.
fn flip_bits(version: Version) -> String {
    let folder = tempfile::tempdir().unwrap();
    let image = Arc::new(File::open(make(folder.path(), version)).unwrap());
    let device = |at, mask| flipped(&image, at, mask) as Arc<dyn ReadAt>;
    let truth: Vec<_> = look(device(0, 0)).into_iter().map(Result::unwrap).collect();
    assert_eq!(truth.len(), FILES.len());
    let pages = metadata_pages(&image);
    let mut random = Random(SEED);
    let (mut noticed, mut by_check, mut harmless, mut exempt) = (0, 0, 0, 0);
    for _ in 0..FLIPS {
        let page = pages[usize::try_from(random.below(pages.len() as u64)).unwrap()];
        let at = interesting_byte(&image, page, &mut random);
        let mask = 1 << random.below(8);
        let seen = look(device(at, mask));
        let wrong =
            |(result, truth): (&Result<_, _>, &_)| matches!(result, Ok(got) if got != truth);
        if !seen.iter().zip(&truth).any(wrong) {
            let all_right = seen.len() == truth.len() && seen.iter().all(Result::is_ok);
            *(if all_right { &mut harmless } else { &mut noticed }) += 1;
        } else if Volume::open(vec![device(at, mask)]).is_ok_and(|volume| volume.check().is_err()) {
            by_check += 1;
        } else {
            let undetectable = undetectable(&image, version, at);
            assert!(undetectable, "wrong bytes: seed {SEED:#x}, {at:#x} ^ {mask:#x}");
            exempt += 1;
        }
    }
    assert!(noticed > FLIPS / 10, "the flips hit nothing of what is read");
    format!(
        "{version:?}: {FLIPS} flips in {} pages: {noticed} noticed, {by_check} by the check of \
         the volume, {harmless} harmless, {exempt} in what the format keeps once",
        pages.len()
    )
}

/// Three of four times a byte that is not zero: that is where structures are.
fn interesting_byte(image: &File, page: u64, random: &mut Random) -> u64 {
    let bytes = image.read_vec(page, 4096).unwrap();
    let used: Vec<u64> = (0..4096).filter(|n| bytes[usize::try_from(*n).unwrap()] != 0).collect();
    if used.is_empty() || random.below(4) == 0 {
        return page + random.below(4096);
    }
    page + used[usize::try_from(random.below(used.len() as u64)).unwrap()]
}

#[test]
fn every_bit_of_the_descriptors_and_pointers_of_a_disk() {
    for version in VERSIONS {
        flip_every_bit(version);
    }
}

fn flip_every_bit(version: Version) {
    let folder = tempfile::tempdir().unwrap();
    let image = Arc::new(File::open(make(folder.path(), version)).unwrap());
    let device = |at, mask| flipped(&image, at, mask) as Arc<dyn ReadAt>;
    let truth: Vec<_> = look(device(0, 0)).into_iter().map(Result::unwrap).collect();
    let volume = Volume::open(vec![device(0, 0)]).unwrap();
    let entries = volume.read_dir("vm").unwrap();
    let far = entries.iter().find(|entry| entry.name == "far-flat.vmdk").unwrap();
    let (bytes, meta) = descriptor_shape(version);
    // Where cluster 0 of .fdc.sf and the slots of a descriptor lie.
    let (first, slots) = match version {
        Version::Vmfs5 => (0x42_0000, 1024),
        Version::Vmfs6 => (0x72_0000, 8192 - 2560),
    };
    let descriptor = DATA + first + u64::from(far.descriptor >> 22) * bytes;
    let used = (0..64).chain(meta..meta + 160).chain(slots..slots + 64);
    for at in used.map(|at| descriptor + at) {
        for bit in 0..8 {
            let seen = look(device(at, 1 << bit));
            let wrong =
                seen.iter().zip(&truth).any(|(got, truth)| matches!(got, Ok(got) if got != truth));
            let checked = || Volume::open(vec![device(at, 1 << bit)]).unwrap().check().is_err();
            assert!(
                !wrong || undetectable(&image, version, at) || checked(),
                "{version:?} descriptor + {:#x}, bit {bit}",
                at - descriptor
            );
        }
    }
}

#[test]
fn a_device_that_ends_early_is_noticed() {
    for version in VERSIONS {
        cut_short(version);
    }
}

fn cut_short(version: Version) {
    let folder = tempfile::tempdir().unwrap();
    let path = make(folder.path(), version);
    let whole = Arc::new(File::open(&path).unwrap());
    let truth: Vec<_> = look(whole.clone()).into_iter().map(Result::unwrap).collect();
    let mut random = Random(SEED);
    for _ in 0..40 {
        let length = random.below(GIB);
        let cut: Arc<dyn ReadAt> =
            Arc::new(block::Slice::new(Arc::clone(&whole), 0, length).unwrap());
        for (got, truth) in look(cut).iter().zip(&truth) {
            assert!(
                got.as_ref().map_or(true, |got| got == truth),
                "{version:?} cut at {length:#x}"
            );
        }
    }
}
