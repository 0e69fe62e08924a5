//! Volumes that a real ESXi host made: what it wrote is what we read, and every self-check
//! holds. Content, offsets and hashes are those that were recorded when they were examined.

mod common;

use common::{dissect_tree, esxi, open, our_tree, read, sha256};
use model::{ErrorKind, LunExtent};
use vmfs::{Mapped, Target, VmfsError, Volume};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// The images are partitions: the volume begins here.
const DATA: u64 = 0x110_0000;
/// A MiB that begins with 512 bytes of 0x42 and is zero else.
const MARKED: &str = "ce6475b1fc22ad8543d2aee58ef77aa19eb5d208c372f4ee69885683e0213a08";

/// What differs between the two volumes with content.
struct Expected {
    name: &'static str,
    normal_at: u64,
    large_at: u64,
    big_at: u64,
    hashes: [(&'static str, &'static str); 3],
}

const VOLUMES: [Expected; 2] = [
    Expected {
        name: "vmfs5",
        normal_at: 0x5FD0_0000,
        large_at: 0x5FE0_0000,
        big_at: 0x5790_0000,
        hashes: [
            ("normal.vmdk", "7388346976c49ed1c32bc76e4a1357f6ebd3e561e66bda67e54dc6111085390c"),
            ("large.vmdk", "c5eb85103885d3899d506a842eb9bc34e582cf4e2e9111f0138a758b03e8c3fe"),
            ("rdm.vmdk", "42808c20b93fd717dc3f9b2f538237f921eb123aa61be8e5281978c152cf5f6b"),
        ],
    },
    Expected {
        name: "vmfs6",
        normal_at: 0x3630_0000,
        large_at: 0x3640_0000,
        big_at: 0x6C10_0000,
        hashes: [
            ("normal.vmdk", "2fdaa69fa05342c639f5965009107853138496ab588a28be165daa2026187df6"),
            ("large.vmdk", "3208ec80815d3a87553d46cb8096d4c6c6555cc02993576f8db401adb312a9a9"),
            ("rdm.vmdk", "02e442b8be92388ef9f60420e962044d786342e7461b5fd6f77339bfa0e8cb55"),
        ],
    },
];

#[test]
fn small_files_folders_and_links_are_what_esxi_wrote() {
    for expected in &VOLUMES {
        let Some(images) = esxi("small_files", &[expected.name]) else { return };
        let volume = open(&images);
        let small = |path: &str| volume.open_file(path).unwrap().read_small(1 << 20).unwrap();
        assert_eq!(small("small"), b"tiny\n");
        for (path, hash) in expected.hashes {
            assert_eq!(sha256(&small(path)), hash, "{} {path}", expected.name);
        }
        for number in 1..=100 {
            assert_eq!(
                small(&format!("directory/file{number}")),
                format!("File {number}\n").as_bytes()
            );
        }
        assert_eq!(volume.read_dir("directory").unwrap().len(), 100);
        assert_eq!(volume.read_dir("/collision/").unwrap().len(), 19);
        assert_eq!(small("collision/Kusjes van SRT 😘"), b"");
        let link = volume.read_link("symlink").unwrap();
        assert_eq!(link, format!("/vmfs/volumes/{}/small", expected.name));
        let id = volume.raw_device_id("rdm-rdm.vmdk").unwrap();
        assert_eq!(id, (1, b"QM00015             QEMU H".to_vec()));
    }
}

#[test]
fn files_of_file_blocks_are_what_esxi_wrote() {
    for expected in &VOLUMES {
        let Some(images) = esxi("file_blocks", &[expected.name]) else { return };
        let volume = open(&images);
        let luns = common::devices(&images);
        let big = read(&luns, &volume, "big", 0, 1_048_577);
        let hash = "5053579a1aa6aa9c5be1e571efd58862f18bb57acd4625d7ad442a050eb8d0f9";
        assert_eq!(sha256(&big), hash);
        let bigger = read(&luns, &volume, "bigger", 0, 128 * MIB);
        let hash = "ec5223559dc61ecef215c97e5b6c1a0fad4cab8530aed3de1608c6cd47892ef9";
        assert_eq!(sha256(&bigger), hash);
        let map = volume.open_file("big").unwrap().map(0, 1_048_577).unwrap();
        assert_eq!(map, [on_lun(0, 1_048_577, expected.big_at)], "two blocks are one run");
    }
}

#[test]
fn sparse_disks_of_one_and_two_pointer_levels_lie_where_esxi_put_them() {
    for expected in &VOLUMES {
        let Some(images) = esxi("sparse_disks", &[expected.name]) else { return };
        let volume = open(&images);
        let luns = common::devices(&images);
        for (path, length, data_at, lies_at) in [
            ("normal-flat.vmdk", 74_088_185_856, 42 * GIB, expected.normal_at),
            ("large-flat.vmdk", 46_179_488_366_592, 117 * GIB, expected.large_at),
        ] {
            let file = volume.open_file(path).unwrap();
            assert_eq!(file.length(), length);
            file.verify().unwrap();
            let hole = |file_offset, length| Mapped { file_offset, length, to: Target::Hole };
            let after = data_at + MIB;
            assert_eq!(
                file.map(0, length).unwrap(),
                [hole(0, data_at), on_lun(data_at, MIB, lies_at), hole(after, length - after)],
                "{path}"
            );
            assert_eq!(sha256(&read(&luns, &volume, path, data_at, MIB)), MARKED);
            let across = file.map(data_at - 10, 20).unwrap();
            assert_eq!(across, [hole(data_at - 10, 10), on_lun(data_at, 10, lies_at)]);
            file.recheck().unwrap();
        }
    }
}

fn on_lun(file_offset: u64, length: u64, volume_offset: u64) -> Mapped {
    let to = Target::Lun(LunExtent { device: 0, offset: DATA + volume_offset, length });
    Mapped { file_offset, length, to }
}

#[test]
fn descriptors_stand_where_esxi_put_them() {
    for (name, path, descriptor) in [
        ("vmfs5", "normal-flat.vmdk", 0x1A40_0104),
        ("vmfs5", "symlink", 0x00C0_0104),
        ("vmfs6", "normal-flat.vmdk", 0x0040_03C4),
        ("vmfs6", "big", 0x0040_0B04),
        ("vmfs6", "directory", 0x0000_03C4),
    ] {
        let Some(images) = esxi("descriptors", &[name]) else { return };
        let entries = open(&images).read_dir("").unwrap();
        let entry = entries.iter().find(|entry| entry.name == path).unwrap();
        assert_eq!(entry.descriptor, descriptor, "{name} {path}");
    }
}

#[test]
fn disk_descriptors_of_esxi_are_understood() {
    for (name, path, capacity) in [
        ("vmfs5", "normal", 74_088_185_856),
        ("vmfs6", "normal", 74_088_185_856),
        ("vmfs5", "large", 46_179_488_366_592),
        ("vmfs6", "large", 46_179_488_366_592),
        ("zero5", "empty", 100 * GIB),
        ("zero6", "empty", 100 * GIB),
    ] {
        let Some(images) = esxi("disk_descriptors", &[name]) else { return };
        let volume = open(&images);
        let text = volume.open_file(&format!("{path}.vmdk")).unwrap().read_small(65536).unwrap();
        let disk = vmdk::Disk::parse(&text).unwrap();
        assert_eq!((disk.capacity, disk.thin), (capacity, true), "{name} {path}");
        let flat = volume.open_file(&disk.files[0]).unwrap();
        // The flat file is exactly as long as the descriptor says.
        vmdk::Layer::open(disk, vec![std::sync::Arc::new(flat)]).unwrap();
    }
    let Some(images) = esxi("disk_descriptors", &["vmfs6"]) else { return };
    let text = open(&images).open_file("rdm.vmdk").unwrap().read_small(65536).unwrap();
    assert_eq!(vmdk::Disk::parse(&text).unwrap_err().kind(), ErrorKind::Unsupported);
}

/// All volumes with LVM, their members in the order that is to work.
const WITH_LVM: [(&str, &[&str], u64); 12] = [
    ("vmfs5", &["vmfs5"], 127),
    ("vmfs6", &["vmfs6"], 127),
    ("zero5", &["zero5"], 2),
    ("zero6", &["zero6"], 2),
    ("vmfs5-no-dense-sbpc", &["vmfs5-no-dense-sbpc"], 0),
    ("vmfs5-resource-optimized", &["vmfs5-resource-optimized"], 0),
    ("vmfs6-resource-optimized", &["vmfs6-resource-optimized"], 0),
    ("vmfs5l", &["vmfs5l"], 0),
    ("vmfs6l", &["vmfs6l"], 0),
    ("vmfs5-span", &["vmfs5-span-0", "vmfs5-span-1"], 0),
    ("vmfs5-span", &["vmfs5-span-1", "vmfs5-span-0"], 0),
    ("vmfs6-span", &["vmfs6-span-1", "vmfs6-span-0"], 0),
];

#[test]
fn every_self_check_holds_on_every_volume() {
    for (label, members, files) in WITH_LVM {
        let Some(images) = esxi("every_self_check", members) else { return };
        let volume = open(&images);
        assert_eq!(volume.info().label, label);
        assert_eq!(volume.info().devices.len(), members.len());
        assert_eq!(volume.info().local, label.ends_with('l'), "{label}");
        let report = volume.check().unwrap_or_else(|error| panic!("{label}: {error}"));
        assert_eq!(report.files, files, "{label}");
        volume.check_unchanged().unwrap();
    }
}

#[test]
fn file_systems_without_lvm_are_read_only_on_request() {
    for (name, version) in
        [("vmfs5d", "5.81"), ("vmfs6d", "6.82"), ("vmfs5ld", "5.60"), ("vmfs6ld", "6.82")]
    {
        let Some(images) = esxi("without_lvm", &[name]) else { return };
        let error = Volume::open(common::devices(&images)).err().unwrap();
        assert!(matches!(error, VmfsError::NoVolume { .. }), "{error}");
        let volume = Volume::open_bare(common::devices(&images).remove(0)).unwrap();
        assert_eq!((volume.info().label.as_str(), volume.info().version.as_str()), (name, version));
        volume.check().unwrap();
    }
}

#[test]
fn a_volume_without_one_of_its_devices_is_refused() {
    for members in [
        &["vmfs6-span-0"][..],
        &["vmfs6-span-1"],
        &["vmfs6-span-0", "vmfs6-span-0"],
        &["vmfs6-span-0", "vmfs5-span-1"],
        &["vmfs6", "zero6"],
    ] {
        let Some(images) = esxi("missing_devices", members) else { return };
        let error = Volume::open(common::devices(&images)).err().unwrap();
        assert!(matches!(error, VmfsError::Incomplete { .. }), "{members:?}: {error}");
    }
    assert!(matches!(Volume::open(Vec::new()), Err(VmfsError::Incomplete { .. })));
}

#[test]
fn dissect_sees_the_same_tree() {
    for name in ["vmfs5", "vmfs6", "zero5", "zero6"] {
        let Some(images) = esxi("dissect_sees_the_same", &[name]) else { return };
        let Some((theirs, _)) = dissect_tree("dissect_sees_the_same", &images, GIB, &[]) else {
            return;
        };
        assert_eq!(our_tree(&images, GIB), theirs, "{name}");
    }
}
