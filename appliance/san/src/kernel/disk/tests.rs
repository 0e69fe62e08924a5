use super::*;
use crate::Reconnect;
use crate::kernel::device::devices;
use crate::kernel::direct::Direct;
use crate::kernel::fixture::{Client, Fixture};
use crate::kernel::generic::Generic;
use crate::kernel::ticket;
use scsi::{Cdb, disk};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

const SIZE: usize = 1 << 20;
const TIMEOUT: Duration = Duration::from_millis(700);

fn limits() -> Limits {
    Limits {
        lun_depth: 2,
        transfer: 256 * 1024,
        command_timeout: TIMEOUT,
        busy_patience: Duration::from_secs(30),
        failover_after: Duration::from_secs(15),
        reconnect: Reconnect {
            attempts: 3,
            delay: Duration::from_millis(80),
            patience: Duration::from_millis(300),
        },
    }
}

/// A disk of which the block node is `node`; nothing else of it is there.
struct Stand {
    _fixture: Fixture,
    disk: KernelDisk,
    client: Client,
}

impl Stand {
    fn new(node: OwnedFd, mask: usize, ring: bool) -> Self {
        let fixture = Fixture::new();
        fixture.fc_lun("1:0:0:5", 1, "sg0", Some("sda"));
        let device = devices(&fixture.tree()).remove(0);
        let generic = Generic::instead(File::open("/dev/null").unwrap().into());
        let direct = Some(Direct { node: Arc::new(node), block_size: 512, mask });
        let node = Node { address: device.address, generic, direct };
        let ring = if ring { Ring::start(ticket::ended).ok() } else { None };
        let disk = KernelDisk::new(fixture.tree(), &device, node, limits(), ring);
        Self { _fixture: fixture, client: Client::new(&disk), disk }
    }
}

fn read(lba: u64) -> Cdb {
    disk::read_16(lba, 64, 512).unwrap()
}

fn content() -> (OwnedFd, Vec<u8>) {
    let bytes: Vec<u8> = (0..SIZE / 4)
        .flat_map(|number| u32::try_from(number).unwrap().wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    (file.into(), bytes)
}

fn transferred(answer: &Answer) -> Option<u32> {
    match &answer.result {
        Ok(Outcome::Completed(completion)) => Some(completion.transferred),
        _ => None,
    }
}

#[tokio::test]
async fn reads_by_ring_and_by_threads_whatever_memory_they_bring() {
    for (mask, ring) in [(0, true), (4095, true), (0, false), (4095, false)] {
        let (file, bytes) = content();
        let stand = Stand::new(file, mask, ring);
        for lba in (0..SIZE as u64 / 512).step_by(64) {
            for exchangeable in [false, true] {
                let answer = stand.client.start(read(lba), exchangeable).await;
                let answer = answer.answer().await.unwrap();
                assert_eq!(transferred(&answer), Some(32_768));
                assert_eq!(answer.mark, Mark { epoch: 1, attentions: 0 });
                let begin = usize::try_from(lba * 512).unwrap();
                assert!(answer.buffer == bytes[begin..begin + 32_768], "{mask} {ring} {lba}");
            }
        }
        assert_eq!(stand.client.cells.now().commands[&0x88], 64, "each was counted once");
        stand.disk.logout().await;
        let answer = stand.client.run(read(0)).await;
        assert!(matches!(answer.result, Err(Failure::NotSent(SanError::LoggedOut { .. }))));
    }
}

/// The generic node of this disk is no generic node, so the question for the reason fails too.
#[tokio::test]
async fn a_read_that_the_block_layer_cuts_short_is_asked_again_by_sg_io() {
    let (file, _) = content();
    let stand = Stand::new(file, 0, true);
    let answer = stand.client.run(read(SIZE as u64 / 512 - 1)).await;
    let Err(Failure::NotSent(error)) = &answer.result else { panic!("{:?}", answer.result) };
    let SanError::Kernel { source, .. } = error else { panic!("{error}") };
    assert!(matches!(**source, KernelError::Node { .. }), "{source}");
    assert_eq!(stand.client.cells.now().commands[&0x88], 2);
    assert_eq!(answer.buffer.len(), 32_768, "the buffer comes back");
}

/// A pipe that nobody writes to stands for a device that does not answer.
#[tokio::test]
async fn who_does_not_answer_is_answered_for_and_then_nothing_more_is_sent() {
    let (reading, writing) = rustix::pipe::pipe().unwrap();
    let stand = Stand::new(reading, 0, true);
    if stand.disk.0.ring.is_none() {
        println!("SKIPPED: who_does_not_answer_is_answered_for: no io_uring here");
        return;
    }
    let begun = Instant::now();
    let first = disk::read_16(0, 1, 512).unwrap();
    let silent = (stand.client.start(first, false).await, stand.client.start(first, true).await);
    for answer in [silent.0.answer().await.unwrap(), silent.1.answer().await.unwrap()] {
        assert!(matches!(answer.result, Ok(Outcome::TimedOut)), "{:?}", answer.result);
        assert_eq!(answer.buffer.len(), 512, "other memory, of the same length");
    }
    assert!(begun.elapsed() >= TIMEOUT);
    let answer = stand.client.run(first).await;
    let Err(Failure::NotSent(SanError::PathLost { source, .. })) = &answer.result else {
        panic!("{:?}", answer.result)
    };
    assert!(source.to_string().contains("FC") || source.to_string().contains("20:00"), "{source}");
    assert_eq!(stand.client.cells.now().commands[&0x88], 2, "the third was not sent");
    // They come back after all: nobody waits, but there is room again.
    rustix::io::write(&writing, &[7; 1024]).unwrap();
    while stand.disk.0.table().given_up() > 0 {
        tokio::task::yield_now().await;
    }
    rustix::io::write(&writing, &[9; 512]).unwrap();
    let answer = stand.client.run(first).await;
    assert_eq!(transferred(&answer), Some(512));
    assert_eq!(answer.buffer[..], [9; 512]);
}

#[tokio::test]
async fn a_device_that_is_gone_is_looked_for_until_patience_ends() {
    let (file, _) = content();
    let stand = Stand::new(file, 0, false);
    let address = "1:0:0:5".parse().unwrap();
    stand.disk.0.removed("1:0:0:6".parse().unwrap());
    assert!(stand.disk.0.node().is_some(), "another device");
    stand.disk.0.removed(address);
    let begun = Instant::now();
    let (one, two) = tokio::join!(stand.client.run(read(0)), stand.client.run(read(64)));
    for answer in [one, two] {
        let Err(Failure::NotSent(error)) = answer.result else { panic!("{:?}", answer.result) };
        assert!(matches!(error, SanError::PathLost { .. }), "{error}");
    }
    let waited = begun.elapsed();
    assert!(waited.as_millis() >= 150, "it was looked for: {waited:?}");
    assert!(stand.client.cells.now().commands.is_empty());
}

#[tokio::test]
async fn what_the_kernel_tells_of_a_disk_changes_its_mark() {
    let (file, _) = content();
    let stand = Stand::new(file, 0, true);
    let before = stand.client.run(read(0)).await.mark;
    stand.disk.0.attention("9:0:0:5".parse().unwrap());
    assert_eq!(stand.client.run(read(0)).await.mark, before);
    stand.disk.0.attention("1:0:0:5".parse().unwrap());
    assert_ne!(stand.client.run(read(0)).await.mark, before);
}

#[tokio::test]
async fn commands_for_another_lun_are_not_sent_to_this_one() {
    let (file, _) = content();
    let stand = Stand::new(file, 0, true);
    let (mut job, awaited) = stand.client.job(disk::test_unit_ready(), false).await;
    job.lun = LunId::ZERO;
    stand.disk.start(job);
    let answer = awaited.answer().await.unwrap();
    assert!(matches!(answer.result, Err(Failure::NotSent(_))), "{:?}", answer.result);
    assert!(stand.client.cells.now().commands.is_empty());
}

/// A thread that panics takes its command with it.
#[tokio::test]
async fn a_command_that_is_lost_on_the_way_is_waited_for_by_nobody() {
    let (file, _) = content();
    let stand = Stand::new(file, 0, true);
    let inner = &stand.disk.0;
    let (job, awaited) = stand.client.job(read(0), false).await;
    let Job { cdb, cells, permit, reply, .. } = job;
    let until = Instant::now() + TIMEOUT;
    let waiting = Waiting { reply, cells: Arc::clone(&cells), permit, length: 512, until };
    let (id, _) = inner.table().enter(waiting).unwrap();
    let (disk, node) = (Arc::clone(inner), inner.node().unwrap());
    drop(Ticket { disk, node, id, cdb, cells, own: None });
    assert!(awaited.answer().await.is_none());
    stand.disk.logout().await;
    assert_eq!(inner.table().given_up(), 0);
}
