//! Fibre Channel by the Linux kernel's own drivers, without hardware: a guest has a target, an
//! initiator and two cables between them, and this program, which starts itself there, reads. Path
//! 0 is optimized, path 1 is not; the LUN is mapped write-protected.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![allow(clippy::print_stdout, reason = "a skipped test says so loudly")]
#![allow(unreachable_pub, reason = "a test has no outside")]

#[path = "common/reading.rs"]
mod reading;

use lab::machine::Machine;
use lab::machine::fc::{Fc, IMAGE, INSIDE, NAA, shell};
use lab::place::fresh_directory;
use reading::Reading;
use san::kernel::Kernel;
use san::{Lun, PathInfo, PathState, San, SanConfig};
use scsi::Role;
use std::time::{Duration, Instant};

/// Bytes of the LUN.
const SIZE: usize = 16 << 20;
/// How long it may take to notice: a lost port after 5 s, a new one with the next look.
const NOTICED: Duration = Duration::from_secs(60);
/// More than all limits inside together: who runs into one of them is to say so.
const WHOLE: Duration = Duration::from_secs(600);

#[test]
fn a_fibre_channel_lun_is_read_while_one_path_is_cut_and_mended() {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return runtime.block_on(inside());
    }
    if let Some(why) = Machine::impossible() {
        let name = "a_fibre_channel_lun_is_read_while_one_path_is_cut_and_mended";
        println!("SKIPPED: {name}: {why}");
        return;
    }
    let directory = fresh_directory().unwrap();
    let content = lab::noise::bytes(1, SIZE);
    let image = lab::noise::file(directory.path(), "lun", &content).unwrap();
    let fc = Fc::start(directory.path(), &image, false).unwrap();
    println!("{}", fc.attempts);
    let said = fc.inside("reader", WHOLE).unwrap();
    println!("{}", said.text);
    assert_eq!(said.status, 0, "{}\n{}", said.text, fc.machine().console_end());
    assert!(said.text.contains("1 passed"), "the reader did not run: {}", said.text);
    let mut sent = fc.arrived(0).unwrap();
    sent.extend(fc.arrived(1).unwrap());
    // The kernel asks which commands a new device knows, too.
    let listed = |code: u8| code == 0xa3 || Role::SourceDisk.opcodes().any(|known| known == code);
    assert!(sent.iter().all(|(code, _)| listed(*code)), "{sent:02x?}");
}

async fn inside() {
    let content = std::fs::read(IMAGE).unwrap();
    let kernel = Some(Kernel::default());
    let san = San::open(SanConfig { kernel, ..SanConfig::default() }).await.unwrap();
    let lun = san.find(&NAA.parse().unwrap()).unwrap();
    assert_eq!((san.luns().len(), lun.paths().len()), (1, 2), "{:?}", san.skipped());
    assert_eq!(lun.write_protected(), Some(true));
    let states = [0, 1].map(|number| path(&lun, number).state);
    assert_eq!(states, [PathState::Active, PathState::Ready], "{:?}", lun.paths());
    assert_equal(&lun, &content).await;

    let reading = Reading::start(&lun, &content);
    reading.goes_on().await;
    shell("cut_path 0").unwrap();
    until(&lun, 0, PathState::Lost).await;
    reading.goes_on().await;
    assert!(path(&lun, 1).counters.bytes_read > 0, "by the other path");
    println!("{}", shell("mend_path 0").unwrap());
    until(&lun, 0, PathState::Active).await;
    reading.goes_on().await;
    reading.end().await;
    assert_equal(&lun, &content).await;
    san.logout().await;
}

/// A path, by the name of its target's port.
fn path(lun: &Lun, number: usize) -> PathInfo {
    let name = format!("52:54:00:00:0{number}:0a");
    let seen = lun.paths();
    let mut ours = seen.iter().filter(|path| path.target.contains(&name));
    ours.next().unwrap_or_else(|| panic!("no path to {name}: {seen:?}")).clone()
}

/// Waits until a path is in a state.
async fn until(lun: &Lun, number: usize, state: PathState) {
    let begun = Instant::now();
    while path(lun, number).state != state {
        let late = begun.elapsed() >= NOTICED;
        assert!(!late, "not {state:?}: {:?}\n{}", lun.paths(), shell("fabric").unwrap());
        tokio::time::sleep(Duration::from_millis(50)).await; // polls the path's state
    }
    println!("path {number} is {state:?} after {:?}", begun.elapsed());
}

async fn assert_equal(lun: &Lun, content: &[u8]) {
    let mut read = Vec::with_capacity(content.len());
    while read.len() < content.len() {
        let length = 1_000_001.min(content.len() - read.len());
        read.extend_from_slice(&lun.read(read.len() as u64, length).await.unwrap());
    }
    assert_eq!(lab::noise::difference(&read, content), None);
}
