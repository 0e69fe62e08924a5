//! Swap that is left out: zeros in the point, never anything else, whatever the guest does with the
//! place afterwards.

use super::{Dice, Rig};
use crate::world::Wire;
use api::Exclude;
use jobs::{BackupReport, Compared, Progress};
use model::{DiskRange, ReadMode};
use std::sync::Arc;

const MIB: u64 = 1 << 20;
/// The swap partition, and of it the whole cells behind its first page.
const SWAP: DiskRange = DiskRange { offset: 8 * MIB, length: 8 * MIB };
const LEFT_OUT: DiskRange = DiskRange { offset: 9 * MIB, length: 7 * MIB };

/// An MBR with a data partition and one of this type where the swap is.
fn table(kind: u8) -> Vec<u8> {
    let mut sector = vec![0; 512];
    let mut entry = |number: usize, kind: u8, range: DiskRange| {
        let at = 446 + 16 * number;
        sector[at + 4] = kind;
        for (at, bytes) in [(at + 8, range.offset), (at + 12, range.length)] {
            let sectors = u32::try_from(bytes / 512).unwrap();
            sector[at..at + 4].copy_from_slice(&sectors.to_le_bytes());
        }
    };
    entry(0, 0x83, DiskRange { offset: MIB, length: 4 * MIB });
    entry(1, kind, SWAP);
    sector[510..].copy_from_slice(&[0x55, 0xAA]);
    sector
}

/// The first page of swap, with this signature.
fn first_page(signature: &[u8; 10]) -> Vec<u8> {
    let mut page = vec![0; 4096];
    page[1024] = 1;
    let last = u32::try_from(SWAP.length / 4096 - 1).unwrap();
    page[1028..1032].copy_from_slice(&last.to_le_bytes());
    page[4086..].copy_from_slice(signature);
    page
}

impl Rig {
    /// A guest with swap, of which 3 MiB are used.
    fn with_swap() -> Self {
        let rig = Self::new();
        rig.world.guest_write(0, &table(0x82));
        rig.world.guest_write(SWAP.offset, &first_page(b"SWAPSPACE2"));
        rig.world.guest_write(LEFT_OUT.offset + 5000, &vec![0xAB; 3 << 20]);
        rig
    }

    /// Backs up; the point holds what the guest saw, but zeros where its report says so.
    async fn backup_but_for(&mut self, left_out: Option<DiskRange>, context: &str) -> BackupReport {
        let progress = Arc::new(Progress::default());
        let mut expected = self.world.state.lock().unwrap().truth.clone();
        let report = self.backup(&progress).await.unwrap_or_else(|error| {
            panic!("{context}: {}", model::chain(&error));
        });
        let ranges: Vec<_> = report.disks[0]
            .excluded
            .iter()
            .flat_map(|exclusion| exclusion.ranges.clone())
            .collect();
        assert_eq!(
            ranges,
            Vec::from_iter(left_out),
            "{context}: {:?}",
            report.disks[0].passed_over
        );
        for range in ranges {
            expected[range.offset as usize..range.end() as usize].fill(0);
        }
        let point = self.world.store.points.lock().unwrap().last().unwrap().clone();
        assert!(point.image() == expected, "{context}: the image differs");
        assert_eq!(point.disks[0].excluded, report.disks[0].excluded, "{context}");
        report
    }
}

#[tokio::test]
async fn swap_is_neither_read_nor_kept_and_its_first_page_is() {
    let mut rig = Rig::with_swap();
    rig.world.state.lock().unwrap().network = Some(Wire::default());
    let full = rig.backup_but_for(Some(LEFT_OUT), "full").await;
    assert_eq!(full.disks[0].bytes_read, 4 * MIB, "3 MiB of data, and the cell of the first page");
    assert!(matches!(rig.compared(), Compared::Equal { .. }), "the network path is no mismatch");

    rig.world.guest_write(LEFT_OUT.offset, &[7; 9000]); // swaps
    rig.world.guest_write(2 << 20, &[7; 10]);
    rig.cross_check_percent = 100;
    let incremental = rig.backup_but_for(Some(LEFT_OUT), "incremental").await;
    assert_eq!(incremental.disks[0].mode, ReadMode::Incremental, "the cross-check found nothing");
    assert_eq!(incremental.disks[0].bytes_read, 4 * MIB, "one of them changed, three compared");
    assert!(rig.journal().suspicions().is_empty());
}

/// The trap: change tracking calls the place unchanged, and the parent has zeros there.
#[tokio::test]
async fn what_was_left_out_and_is_not_any_more_is_read_whatever_change_tracking_says() {
    type Turn = (&'static str, fn(&mut Rig));
    let turns: [Turn; 5] = [
        ("another type", |rig| rig.world.guest_write(0, &table(0x83))),
        ("no table", |rig| rig.world.guest_write(0, &[0; 512])),
        ("no swap", |rig| rig.world.guest_write(SWAP.offset, &[0; 4096])),
        ("hibernated", |rig| rig.world.guest_write(SWAP.offset, &first_page(b"S1SUSPEND\0"))),
        ("not wanted", |rig| rig.exclude = Exclude { swap: false }),
    ];
    for (context, turn) in turns {
        let mut rig = Rig::with_swap();
        rig.backup_but_for(Some(LEFT_OUT), context).await;
        rig.backup_but_for(Some(LEFT_OUT), context).await;
        turn(&mut rig);
        let report = rig.backup_but_for(None, context).await;
        assert_eq!(report.disks[0].mode, ReadMode::Incremental, "{context}");
        assert!(report.disks[0].bytes_read >= 4 * MIB, "{context}: what was left out is read");
        // From then on it is a place like any other.
        let next = rig.backup_but_for(None, context).await;
        assert_eq!(next.disks[0].bytes_read, 0, "{context}");
    }
}

#[tokio::test]
async fn what_was_kept_and_is_left_out_now_becomes_zeros() {
    let mut rig = Rig::with_swap();
    rig.exclude = Exclude { swap: false };
    rig.backup_but_for(None, "kept").await;
    rig.exclude = Exclude::default();
    let report = rig.backup_but_for(Some(LEFT_OUT), "left out").await;
    assert_eq!((&report.disks[0].mode, report.disks[0].bytes_read), (&ReadMode::Incremental, 0));
}

#[tokio::test]
async fn guests_that_use_their_swap_for_this_and_that_are_held_exactly() {
    for seed in 0..6_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut rig = Rig::with_swap();
        rig.cross_check_percent = 10;
        let (mut is_type, mut is_swap) = (true, true);
        for step in 0..12 {
            match dice.below(5) {
                0 => {
                    is_type = !is_type;
                    rig.world.guest_write(0, &table(if is_type { 0x82 } else { 0x83 }));
                }
                1 => {
                    is_swap = !is_swap;
                    let signature = if is_swap { b"SWAPSPACE2" } else { b"S1SUSPEND\0" };
                    rig.world.guest_write(SWAP.offset, &first_page(signature));
                }
                2 => rig.exclude.swap = !rig.exclude.swap,
                _ => {
                    let offset = LEFT_OUT.offset + dice.below(LEFT_OUT.length - 9000);
                    rig.world.guest_write(offset, &[dice.below(256) as u8; 9000]);
                }
            }
            if dice.below(8) == 0 {
                let mut state = rig.world.state.lock().unwrap();
                state.epoch += 1; // change tracking was reset: a full one
                state.changes.clear();
            }
            let left_out = (is_type && is_swap && rig.exclude.swap).then_some(LEFT_OUT);
            rig.backup_but_for(left_out, &format!("seed {seed} step {step}")).await;
            assert!(rig.journal().suspicions().is_empty(), "seed {seed} step {step}");
        }
    }
}
