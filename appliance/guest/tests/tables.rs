//! Partition tables made by sfdisk, and swap made by mkswap.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]
#![allow(unreachable_pub, reason = "a test has no outside")]

mod common;
mod total;

use common::{Image, MIB, of, range, reason};
use guest::Found;
use model::ExclusionKind;

const GPT: &str = "label: gpt\nstart=2048,size=20480,type=L\nsize=40960,type=S\n\
    size=8192,type=S\ntype=U,size=2048\n";

fn gpt() -> Image {
    let image = Image::with_table(64 * MIB, GPT);
    image.put_swap(11 * MIB, 20 * MIB);
    image
}

fn swap(found: &Found) -> Vec<(&str, &[model::DiskRange])> {
    of(found, ExclusionKind::Swap)
}

#[test]
fn swap_partitions_are_found_in_a_gpt_and_keep_their_first_page() {
    let found = gpt().look(4096);
    let pages = [range(11 * MIB + 4096, 20 * MIB - 4096)];
    assert_eq!(swap(&found), [("swap on partition 2", &pages[..])]);
    assert_eq!(reason(&found, "partition 3"), "it holds nothing that is known");
    let type_of_efi = "its type is c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
    assert_eq!(reason(&found, "partition 4"), type_of_efi);
    // Whole units only: the first would hold the first page.
    let found = gpt().look(MIB);
    assert_eq!(swap(&found), [("swap on partition 2", &[range(12 * MIB, 19 * MIB)][..])]);
}

#[test]
fn swap_partitions_are_found_in_an_mbr_with_logical_ones() {
    let table = "label: dos\n1: start=2048,size=8192,type=83\n4: start=10240,size=61440,type=5\n\
        5: size=8192,type=83\n6: size=16384,type=82\n7: size=4096,type=82\n";
    let image = Image::with_table(64 * MIB, table);
    let listed = common::run("sfdisk", &["--dump", image.text()], "");
    let start = |number: u32| -> u64 {
        let name = format!("img{number} :");
        let line = listed.lines().find(|line| line.contains(&name)).unwrap();
        let (_, rest) = line.split_once("start=").unwrap();
        rest.split(',').next().unwrap().trim().parse::<u64>().unwrap() * 512
    };
    image.put_swap(start(6), 8 * MIB);
    image.put_swap(start(7), 2 * MIB);
    let found = image.look(4096);
    let pages = |number, size| [range(start(number) + 4096, size - 4096)];
    let (six, seven) = (pages(6, 8 * MIB), pages(7, 2 * MIB));
    let expected = [("swap on partition 6", &six[..]), ("swap on partition 7", &seven[..])];
    assert_eq!(swap(&found), expected);
}

#[test]
fn a_disk_that_is_swap_as_a_whole_is_found() {
    let image = Image::new(8 * MIB);
    common::run("mkswap", &[image.text()], "");
    let found = image.look(4096);
    assert_eq!(swap(&found), [("swap on the disk", &[range(4096, 8 * MIB - 4096)][..])]);
    assert_eq!(Image::new(MIB).look(4096).excluded, []);
}

#[test]
fn a_hibernated_machine_keeps_its_swap() {
    for signature in [b"S1SUSPEND\0", b"S2SUSPEND\0", b"ULSUSPEND\0", b"LINHIB0001"] {
        let image = gpt();
        image.write(11 * MIB + 4086, signature);
        let found = image.look(4096);
        assert_eq!(swap(&found), []);
        assert!(reason(&found, "partition 2").contains("hibernated"), "{found:?}");
    }
}

#[test]
fn what_contradicts_itself_is_passed_over() {
    /// Of what, how, and what is said of it.
    type Damage = (&'static str, fn(&Image), &'static str);
    let cases: [Damage; 10] = [
        ("the disk", |i| i.write(512 + 40, &[7]), "GPT is damaged"),
        ("the disk", |i| i.write(64 * MIB - 512 + 40, &[7]), "GPT is damaged"),
        ("the disk", |i| i.write(1024 + 56, b"x"), "GPT is damaged"),
        ("the disk", |i| i.write(446 + 16, &[0, 0, 0, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 1]), "both"),
        ("the disk", |i| i.write(3, b"NTFS    "), "as well"),
        ("partition 2", |i| i.write(11 * MIB, b"XFSB"), "several things"),
        ("partition 2", |i| i.write(11 * MIB + 1024, &[2]), "not one that is known"),
        ("partition 2", |i| i.write(11 * MIB + 1028, &[0, 0x14]), "more than there is room"),
        ("partition 2", |i| i.write(11 * MIB + 1100, &[1]), "not one that is known"),
        ("partition 2", |i| i.write(11 * MIB + 4086, &[0; 10]), "nothing that is known"),
    ];
    for (what, damage, expected) in cases {
        let image = gpt();
        damage(&image);
        let found = image.look(4096);
        assert_eq!(swap(&found), [], "{expected}");
        assert!(reason(&found, what).contains(expected), "{expected}: {found:?}");
    }
}

#[test]
fn swap_in_a_partition_of_another_type_is_kept() {
    let image = Image::with_table(64 * MIB, "label: gpt\nstart=2048,size=20480,type=L\n");
    image.put_swap(MIB, 10 * MIB);
    let found = image.look(4096);
    assert_eq!(swap(&found), []);
    assert!(reason(&found, "partition 1").contains("its type says that it is not"), "{found:?}");
}

#[test]
fn tables_that_overlap_or_reach_beyond_the_disk_are_not_believed() {
    let table = "label: dos\nstart=2048,size=8192,type=82\nstart=20480,size=8192,type=82\n";
    for (entry, expected) in [
        ([0_u8, 0x10, 0, 0], "overlap"), // where the first one is
        ([0xFF, 0xFF, 0xFF, 0x7F], "beyond the end"),
        ([0, 0, 0, 0], "overlap"), // over the table
    ] {
        let image = Image::with_table(64 * MIB, table);
        image.put_swap(MIB, 4 * MIB);
        assert_eq!(swap(&image.look(4096)).len(), 1);
        image.write(446 + 16 + 8, &entry);
        let found = image.look(4096);
        assert_eq!(swap(&found), []);
        assert!(reason(&found, "the disk").contains(expected), "{found:?}");
    }
}
