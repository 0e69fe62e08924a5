//! Descriptors as ESXi writes them, as nobody should, and as noise.

#![allow(clippy::unwrap_used)] // a test ends where something is not as it must be

use block::{ReadAt, ReadError};
use model::{DiskRange, ErrorKind, FileExtent};
use proptest::prelude::*;
use std::sync::Arc;
use vmdk::{Disk, Layer, Part, Place, VmdkError};

/// The form of a thin disk made by ESXi.
const THIN: &str = r#"# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=fffffffe
parentCID=ffffffff
createType="vmfs"

# Extent description
RW 144703488 VMFS "normal-flat.vmdk"

# The Disk Data Base 
#DDB

ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "9007"
ddb.longContentID = "0123456789abcdef01234567fffffffe"
ddb.thinProvisioned = "1"
ddb.virtualHWVersion = "14"
"#;

/// A flat file of some length, whose content nobody looks at.
struct Sized(u64);

impl ReadAt for Sized {
    fn size(&self) -> u64 {
        self.0
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> Result<(), ReadError> {
        panic!("a flat disk is resolved without reading")
    }
}

fn open(disk: Disk, lengths: &[u64]) -> Result<Layer, VmdkError> {
    let file = |length: &u64| Arc::new(Sized(*length)) as Arc<dyn ReadAt>;
    Layer::open(disk, lengths.iter().map(file).collect())
}

/// The files' parts of a range of a flat disk, whose parts fill the range.
fn resolve(layer: &Layer, range: DiskRange) -> Result<Vec<FileExtent>, VmdkError> {
    let mut position = range.offset;
    let extent = |part: Part| match part.place {
        Place::File(extent) => {
            assert_eq!((part.range.offset, part.range.length), (position, extent.length));
            position = part.range.end();
            extent
        }
        other => panic!("{other:?}"),
    };
    Ok(layer.resolve(range)?.into_iter().map(extent).collect())
}

fn refused(text: &str) -> VmdkError {
    Disk::parse(text.as_bytes()).expect_err(text)
}

#[test]
fn a_thin_disk_is_understood() {
    let disk = Disk::parse(THIN.as_bytes()).unwrap();
    assert_eq!(disk.capacity, 74_088_185_856);
    assert_eq!((disk.cid, disk.parent_cid, disk.thin), (0xFFFF_FFFE, None, true));
    assert_eq!(disk.files, ["normal-flat.vmdk"]);
    assert_eq!(disk.ddb["virtualHWVersion"], "14");
    assert_eq!(disk.create_type, "vmfs");
    disk.check_capacity(74_088_185_856).unwrap();
    let layer = open(disk, &[74_088_185_856]).unwrap();
    let range = DiskRange { offset: 42 << 30, length: 512 };
    assert_eq!(
        resolve(&layer, range).unwrap(),
        [FileExtent { file: 0, offset: 42 << 30, length: 512 }]
    );
}

#[test]
fn other_spellings_mean_the_same() {
    let text = THIN
        .replace("CID=fffffffe", "cid = \"FFFFFFFE\"")
        .replace("encoding=\"UTF-8\"\n", "")
        .replace('\n', "\r\n")
        .replace("ddb.thinProvisioned = \"1\"\r\n", "");
    let disk = Disk::parse(text.as_bytes()).unwrap();
    assert_eq!((disk.cid, disk.thin), (0xFFFF_FFFE, false));
}

#[test]
fn zeros_may_fill_the_last_sector_and_stand_nowhere_else() {
    let padded = format!("{THIN}\0\0\0");
    assert_eq!(Disk::parse(padded.as_bytes()).unwrap(), Disk::parse(THIN.as_bytes()).unwrap());
    assert!(refused(&THIN.replace("#DDB", "\0")).to_string().contains("binary"));
}

#[test]
fn names_may_hold_spaces_and_quotes() {
    let text = THIN.replace("normal-flat.vmdk", r#"the "new" disk-flat.vmdk"#);
    assert_eq!(Disk::parse(text.as_bytes()).unwrap().files, [r#"the "new" disk-flat.vmdk"#]);
}

#[test]
fn change_tracking_is_noted_and_left_alone() {
    let text = THIN.replace("version=1", "version=3")
        + "\n# Change Tracking File\nchangeTrackPath=\"normal-ctk.vmdk\"\n";
    let disk = Disk::parse(text.as_bytes()).unwrap();
    assert_eq!(disk.change_track_path.as_deref(), Some("normal-ctk.vmdk"));
}

#[test]
fn several_extents_follow_one_another() {
    let text = THIN.replace("\"vmfs\"", "\"twoGbMaxExtentFlat\"").replace(
        "RW 144703488 VMFS \"normal-flat.vmdk\"",
        "RW 4 FLAT \"a-f001.vmdk\" 0\nRW 2 FLAT \"a-f002.vmdk\" 0\nRDONLY 3 FLAT \"a-f002.vmdk\" 2",
    );
    let disk = Disk::parse(text.as_bytes()).unwrap();
    assert_eq!((disk.capacity, disk.files.len(), disk.extents.len()), (9 * 512, 2, 3));
    let layer = open(disk.clone(), &[4 * 512, 5 * 512]).unwrap();
    let all = resolve(&layer, DiskRange { offset: 100, length: 9 * 512 - 200 }).unwrap();
    assert_eq!(
        all,
        [
            FileExtent { file: 0, offset: 100, length: 4 * 512 - 100 },
            FileExtent { file: 1, offset: 0, length: 5 * 512 - 100 },
        ]
    );
    open(disk.clone(), &[4 * 512, 5 * 512 + 1]).unwrap();
    let short = open(disk, &[4 * 512, 5 * 512 - 1]).unwrap_err();
    assert!(matches!(short, VmdkError::Length { expected: 2560, .. }), "{short}");
}

#[test]
fn a_flat_file_of_another_length_is_refused() {
    let disk = Disk::parse(THIN.as_bytes()).unwrap();
    for length in [0, 74_088_185_856 - 512, 74_088_185_856 + 512] {
        let error = open(disk.clone(), &[length]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    assert!(open(disk.clone(), &[]).is_err());
    assert!(disk.check_capacity(74_088_185_855).is_err());
}

#[test]
fn ranges_beyond_the_disk_are_refused() {
    let disk = Disk::parse(THIN.as_bytes()).unwrap();
    let capacity = disk.capacity;
    let layer = open(disk, &[capacity]).unwrap();
    for (offset, length) in [(capacity, 1), (0, capacity + 1), (u64::MAX, 2)] {
        let error = layer.resolve(DiskRange { offset, length }).unwrap_err();
        assert!(matches!(error, VmdkError::BeyondEnd { .. }), "{error}");
    }
    assert_eq!(layer.resolve(DiskRange { offset: capacity, length: 0 }).unwrap(), []);
}

#[test]
fn other_kinds_are_refused_by_name() {
    for kind in [
        "vmfsThin",
        "vmfsEagerZeroedThick",
        "vmfsRawDeviceMap",
        "vmfsPassthroughRawDeviceMap",
        "fullDevice",
        "partitionedDevice",
        "custom",
    ] {
        let error = refused(&THIN.replace("\"vmfs\"", &format!("\"{kind}\"")));
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(kind), "{error}");
    }
    let extent = |line: &str| THIN.replace("RW 144703488 VMFS \"normal-flat.vmdk\"", line);
    for (line, says) in [
        ("RW 8 SESPARSE \"x.vmdk\"", "SESPARSE"),
        ("RW 8 VMFSRDM \"x-rdm.vmdk\"", "VMFSRDM"),
        ("RW 8 VMFSRAW \"x\"", "VMFSRAW"),
        ("RW 8 VMFS \"x.vmdk\" 1", "middle of a file"),
        ("RW 8 ZERO", "ZERO"),
        ("NOACCESS 8 VMFS \"x.vmdk\"", "access"),
        ("RW 8 VMFS \"/vmfs/volumes/other/x.vmdk\"", "another directory"),
        ("RW 8 VMFS \"../x.vmdk\"", "another directory"),
    ] {
        let error = refused(&extent(line));
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn children_and_encrypted_disks_are_refused() {
    let child = THIN.replace("parentCID=ffffffff", "parentCID=0a1b2c3d");
    assert_eq!(refused(&child).kind(), ErrorKind::Unsupported);
    let hinted = THIN.replace("createType", "parentFileNameHint=\"x.vmdk\"\ncreateType");
    assert_eq!(refused(&hinted).kind(), ErrorKind::Unsupported);
    let filtered = format!("{THIN}ddb.iofilters = \"vmwarevmcrypt\"\n");
    assert!(refused(&filtered).to_string().contains("vmwarevmcrypt"));
    let native = THIN.replace("createType", "isNativeSnapshot=\"yes\"\ncreateType");
    assert!(refused(&native).to_string().contains("array"));
}

/// A delta as ESXi describes it; the values are those of a published sample.
const DELTA: &str = r#"# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=8f67ca74
parentCID=0172e8a4
createType="vmfsSparse"
parentFileNameHint="vmfs_thick.vmdk"
# Extent description
RW 4096 VMFSSPARSE "vmfs_thick-000001-delta.vmdk"

# The Disk Data Base 
#DDB

ddb.longContentID = "4b98b55ba6a6bc2e8fd6eb368f67ca74"
"#;

#[test]
fn a_delta_names_its_parent() {
    let disk = Disk::parse(DELTA.as_bytes()).unwrap();
    assert_eq!((disk.cid, disk.parent_cid), (0x8f67_ca74, Some(0x0172_e8a4)));
    assert_eq!(disk.parent_file.as_deref(), Some("vmfs_thick.vmdk"));
    let orphan = DELTA.replace("parentCID=0172e8a4", "parentCID=ffffffff");
    assert!(refused(&orphan).to_string().contains("parentFileNameHint"));
    let nameless = DELTA.replace("parentFileNameHint=\"vmfs_thick.vmdk\"\n", "");
    assert_eq!(Disk::parse(nameless.as_bytes()).unwrap().parent_file, None);
}

#[test]
fn each_byte_of_a_file_belongs_to_one_extent() {
    let two = |lines: &str| {
        THIN.replace("\"vmfs\"", "\"twoGbMaxExtentFlat\"")
            .replace("RW 144703488 VMFS \"normal-flat.vmdk\"", lines)
    };
    for (lines, good) in [
        ("RW 4 FLAT \"a\" 0\nRW 4 FLAT \"a\" 4", true),
        ("RW 4 FLAT \"a\" 4\nRW 4 FLAT \"a\" 0", true),
        ("RW 4 FLAT \"a\" 0\nRW 4 FLAT \"a\" 3", false),
        ("RW 4 FLAT \"a\" 3\nRW 4 FLAT \"a\" 0", false),
        ("RW 4 FLAT \"a\" 0\nRW 4 FLAT \"b\" 0\nRW 4 FLAT \"a\" 0", false),
    ] {
        assert_eq!(Disk::parse(two(lines).as_bytes()).is_ok(), good, "{lines}");
    }
    let sparse = two("RW 4 SPARSE \"a\"\nRW 4 SPARSE \"a\"");
    refused(&sparse.replace("MaxExtentFlat", "MaxExtentSparse"));
}

#[test]
fn damaged_descriptors_are_refused_with_the_place() {
    for (from, to) in [
        ("# Disk DescriptorFile", "# something else"),
        ("version=1", "version=9"),
        ("CID=fffffffe", "CID=xyz"),
        ("CID=fffffffe\n", ""),
        ("parentCID=ffffffff\n", ""),
        ("createType=\"vmfs\"\n", ""),
        ("createType", "createType=\"vmfs\"\ncreateType"),
        ("144703488", "0"),
        ("144703488", "99999999999999999999"),
        ("144703488", "18446744073709551615"),
        ("144703488", "-1"),
        ("RW 144703488 VMFS \"normal-flat.vmdk\"\n", ""),
        ("\"normal-flat.vmdk\"", "\"normal-flat.vmdk"),
        ("\"normal-flat.vmdk\"", "\"\""),
        ("version=1", "version 1"),
        ("UTF-8", "GBK"),
    ] {
        refused(&THIN.replace(from, to));
    }
    assert!(refused(&"#".repeat(70_000)).to_string().contains("70000"));
    assert!(refused("").to_string().contains("no text"));
}

proptest! {
    #[test]
    fn any_bytes_give_a_disk_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Disk::parse(&bytes);
        let _ = Disk::parse(&[THIN.as_bytes(), &bytes].concat());
    }

    #[test]
    fn a_changed_byte_never_panics(at in 0..THIN.len(), to: u8) {
        let mut bytes = THIN.as_bytes().to_vec();
        bytes[at] = to;
        if let Ok(disk) = Disk::parse(&bytes) {
            let whole = DiskRange { offset: 0, length: disk.capacity };
            let layer = open(disk, &[whole.length]).unwrap();
            let parts = resolve(&layer, whole).unwrap();
            let lengths: u64 = parts.iter().map(|part| part.length).sum();
            prop_assert_eq!(lengths, whole.length);
        }
    }

    #[test]
    fn parts_fill_the_range(
        sizes in prop::collection::vec(1u64..50, 1..8),
        offset in 0u64..30_000,
        length in 0u64..30_000,
    ) {
        let lines: String = sizes
            .iter()
            .enumerate()
            .map(|(n, size)| format!("RW {size} FLAT \"f{n}\" {n}\n"))
            .collect();
        let text = THIN.replace("RW 144703488 VMFS \"normal-flat.vmdk\"", &lines);
        let disk = Disk::parse(text.as_bytes()).unwrap();
        let offset = offset.min(disk.capacity);
        let length = length.min(disk.capacity - offset);
        let lengths: Vec<u64> =
            sizes.iter().zip(0..).map(|(size, first)| (first + size) * 512).collect();
        let layer = open(disk, &lengths).unwrap();
        let parts = resolve(&layer, DiskRange { offset, length }).unwrap();
        let mut position = offset;
        for part in parts {
            let first: u64 = sizes[..part.file].iter().sum::<u64>() * 512;
            prop_assert_eq!(part.offset - part.file as u64 * 512 + first, position);
            prop_assert!(part.length > 0);
            position += part.length;
        }
        prop_assert_eq!(position, offset + length);
    }
}
