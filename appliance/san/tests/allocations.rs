//! What a read costs in memory: in steady state nothing is allocated. Whole reads from a real
//! target; every block that this process asks its allocator for is counted.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)] // helpers of tests

mod common;

use bytes::BytesMut;
use common::{SIZE, Tgtd, disk};
use san::{Lun, San};

#[global_allocator]
static COUNTING: dhat::Alloc = dhat::Alloc;

const READERS: u64 = 8;
/// Of each reader, after as many that are not counted.
const READS: u64 = 250;
/// What the readers themselves need at their start: tasks, buffers, channels.
const ONCE: u64 = 8 * READERS;

#[tokio::test]
async fn a_read_in_steady_state_allocates_nothing() {
    let Some(tgtd) = Tgtd::start("a_read_in_steady_state_allocates_nothing") else { return };
    let _counting = dhat::Profiler::builder().testing().build();
    let san = San::login(vec![disk(tgtd.address())]).await.unwrap();
    let lun = san.luns()[0].clone();
    // One command, one of the largest size, several.
    for length in [4 << 10, 256 << 10, 1 << 20] {
        let (first, second) = (blocks(&lun, length).await, blocks(&lun, length).await);
        println!("{} reads of {length} bytes: {first}, then {second} blocks", READERS * READS);
        assert!(second <= ONCE, "{second} blocks for {} reads", READERS * READS);
    }
    san.logout().await;
}

/// Blocks that were allocated while all readers read.
async fn blocks(lun: &Lun, length: usize) -> u64 {
    let before = dhat::HeapStats::get().total_blocks;
    let start = |number| tokio::spawn(read(lun.clone(), number, length));
    let readers: Vec<_> = (0..READERS).map(start).collect();
    for reader in readers {
        reader.await.unwrap();
    }
    dhat::HeapStats::get().total_blocks - before
}

async fn read(lun: Lun, number: u64, length: usize) {
    let places = (SIZE / length) as u64;
    let mut buffer = BytesMut::new();
    for turn in 0..READS {
        let place = (turn * READERS + number) % places;
        buffer = lun.read_into(place * length as u64, length, buffer).await.unwrap();
        assert_eq!(buffer.len(), length);
    }
}
