//! Against a real kernel: Fibre Channel in a guest, where this test's own program runs.
//!
//! The test boots the guest, and has its own program run there once for each part.

use super::fixture::Client;
use super::*;
use crate::Reconnect;
use crate::job::{Answer, Failure};
use iscsi::Outcome;
use lab::machine::Machine;
use lab::machine::fc::{Fc, IMAGE, INSIDE, shell};
use scsi::{Designators, disk};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Bytes of the LUN.
const SIZE: usize = 8 << 20;
/// SYNCHRONIZE CACHE(10) and (16), MODE SELECT, START STOP UNIT.
const NOT_FOR_US: [u8; 5] = [0x35, 0x91, 0x15, 0x55, 0x1b];
const NONE: [u8; 0] = [];

/// This part runs as a user who may read the nodes and do nothing else, as the daemon does.
const WITHOUT_RIGHTS: &str = "without_rights";
const USER: &str = "chgrp 61001 /dev/sg*; chmod 440 /dev/sg*; setpriv --reuid 61001 --regid 61001 \
                    --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs --";

/// What runs inside, in this order.
const PARTS: [&str; 7] = [
    "ports_and_devices",
    "generic_nodes",
    WITHOUT_RIGHTS,
    "a_lost_path",
    "come_and_go",
    "block_nodes",
    "driver_that_lets_go",
];

async fn part(name: &str) {
    match name {
        "ports_and_devices" => ports_and_devices(),
        "generic_nodes" => generic_nodes().await,
        WITHOUT_RIGHTS => without_rights().await,
        "a_lost_path" => a_lost_path().await,
        "come_and_go" => come_and_go().await,
        "block_nodes" => block_nodes().await,
        "driver_that_lets_go" => driver_that_lets_go(),
        other => panic!("no part {other}"),
    }
}

#[test]
fn fibre_channel_of_a_real_kernel() {
    if let Ok(name) = std::env::var(INSIDE) {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        return runtime.block_on(part(&name));
    }
    if let Some(why) = Machine::impossible() {
        println!("SKIPPED: fibre_channel_of_a_real_kernel: {why}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("lun");
    std::fs::write(&image, pseudo_random()).unwrap();
    let fc = Fc::start(folder.path(), &image, false).unwrap();
    println!("{}", fc.attempts);
    PARTS.iter().for_each(|part| inside(&fc, part));
    let harmful = |commands: Vec<(u8, u8)>| -> Vec<u8> {
        let opcodes = commands.into_iter().map(|(opcode, _)| opcode);
        opcodes.filter(|opcode| NOT_FOR_US.contains(opcode)).collect()
    };
    assert_eq!(harmful(fc.arrived(0).unwrap()), NONE, "a path that was prepared");
    assert_eq!(harmful(fc.arrived(1).unwrap()), [0x35], "the one that was not, once");
    assert_eq!(harmful(fc.power_off().unwrap()), [0x35], "the one that is not, of two");
}

fn inside(fc: &Fc, part: &str) {
    let program = std::env::current_exe().unwrap();
    let program = program.to_str().unwrap();
    let user = if part == WITHOUT_RIGHTS { USER } else { "" };
    let script = format!(
        "export {INSIDE}={part} RUST_BACKTRACE=1; {user} '{program}' --exact --nocapture \
         kernel::guest::fibre_channel_of_a_real_kernel"
    );
    let said = fc.machine().run(&script, Duration::from_secs(60)).unwrap();
    println!("{}", said.text);
    assert_eq!(said.status, 0, "{part}: {}\n{}", said.text, fc.machine().console_end());
    assert!(said.text.contains("1 passed"), "{part} did not run: {}", said.text);
}

fn pseudo_random() -> Vec<u8> {
    let words = (0..SIZE / 8).map(|number| (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    words.flat_map(u64::to_be_bytes).collect()
}

fn limits() -> Limits {
    Limits {
        lun_depth: 8,
        transfer: 256 * 1024,
        command_timeout: Duration::from_secs(20),
        busy_patience: Duration::from_secs(10),
        failover_after: Duration::from_secs(15),
        reconnect: Reconnect {
            attempts: 3,
            delay: Duration::from_secs(1),
            patience: Duration::from_secs(25),
        },
    }
}

/// The LUN's devices, in the order of their paths.
fn candidates(kernel: &Kernel) -> Vec<ScsiDevice> {
    let devices = kernel.devices().unwrap().into_iter();
    let mut devices: Vec<_> =
        devices.filter(|seen| seen.refusal.is_none()).map(|seen| seen.device).collect();
    devices.sort_by_key(|device| match &device.route {
        Route::Fc { remote, .. } => *remote,
        _ => Wwn(0),
    });
    devices
}

fn good(answer: Answer) -> bytes::BytesMut {
    match answer.result {
        Ok(Outcome::Completed(completion)) if completion.status == 0 => answer.buffer,
        other => panic!("{other:?}"),
    }
}

/// The answer of a command after its unit attentions.
async fn ask(client: &Client, cdb: scsi::Cdb) -> bytes::BytesMut {
    for _ in 0..4 {
        let answer = client.run(cdb).await;
        match &answer.result {
            Ok(Outcome::Completed(completion)) if completion.status == 2 => {}
            _ => return good(answer),
        }
    }
    panic!("unit attentions without end")
}

/// The whole LUN, eight reads at a time; every byte is compared.
async fn whole(client: &Client) {
    let image = std::fs::read(IMAGE).unwrap();
    assert_eq!(image.len(), SIZE);
    let begun = Instant::now();
    let mut pending = Vec::new();
    for (number, part) in image.chunks(256 * 1024).enumerate() {
        let blocks = u32::try_from(part.len() / 512).unwrap();
        let cdb = disk::read_16(number as u64 * 512, blocks, 512).unwrap();
        pending.push((client.start(cdb, true).await, part));
    }
    for (answer, part) in pending {
        assert!(good(answer.answer().await.unwrap()) == part, "other bytes");
    }
    println!("{} MiB/s", u128::from(SIZE as u64 >> 20) * 1000 / begun.elapsed().as_millis());
}

fn ports_and_devices() {
    let kernel = Kernel::default();
    let ports = kernel.fc_ports();
    for path in 0..2 {
        let name: Wwn = format!("20:00:52:54:00:00:0{path}:0b").parse().unwrap();
        let port = ports.iter().find(|port| port.port_name == Some(name)).unwrap();
        assert!(port.is_online(), "{port:?}");
        let target: Wwn = format!("20:00:52:54:00:00:0{path}:0a").parse().unwrap();
        let mut remote = port.remote_ports.iter();
        let remote = remote.find(|remote| remote.port_name == Some(target)).unwrap();
        assert!(remote.is_target() && remote.is_online(), "{remote:?}");
    }
    let devices = candidates(&kernel);
    assert_eq!(devices.len(), 2, "{:?}", kernel.devices());
    for device in &devices {
        assert_eq!((device.driver.as_deref(), device.block.as_deref()), (None, None));
        assert_eq!(device.wwid.as_deref(), Some(lab::machine::fc::NAA));
        assert_eq!(device.lun, scsi::LunId::ZERO);
    }
    let settings = kernel.prepare().unwrap();
    assert_eq!(settings.len(), 6, "{settings:?}");
    assert!(settings.iter().all(|one| one.result == SettingResult::Done), "{settings:?}");
    for remote in kernel.fc_ports().iter().flat_map(|port| &port.remote_ports) {
        let ours = devices.iter().any(|device| {
            matches!(&device.route, Route::Fc { remote_port, .. } if *remote_port == remote.name)
        });
        let timers = (remote.fast_io_fail_tmo, remote.dev_loss_tmo);
        assert_eq!(timers == (Some(5), Some(30)), ours, "{remote:?}");
    }
    let again = kernel.prepare().unwrap();
    assert!(again.iter().all(|one| one.result == SettingResult::AlreadySo), "{again:?}");
}

async fn generic_nodes() {
    let kernel = Kernel::default();
    for device in candidates(&kernel) {
        let disk = kernel.open(&device, limits()).unwrap();
        let client = Client::new(&disk);
        ask(&client, disk::test_unit_ready()).await;
        ask(&client, disk::inquiry()).await;
        ask(&client, disk::read_capacity_16()).await;
        ask(&client, disk::report_luns(4096)).await;
        let page = ask(&client, disk::inquiry_vpd(Designators::PAGE)).await;
        let names = Designators::decode(&page).unwrap().naa_names();
        assert_eq!(names[0].as_str(), lab::machine::fc::NAA);
        whole(&client).await;
        let beyond = disk::read_16(SIZE as u64 / 512, 8, 512).unwrap();
        let answer = client.run(beyond).await;
        let Ok(Outcome::Completed(completion)) = answer.result else { panic!("{answer:?}") };
        let sense = scsi::Sense::decode(&completion.sense).unwrap();
        assert_eq!((completion.status, sense.triple()), (2, (5, 0x21, 0)));
        timeout(Duration::from_secs(5), disk.logout()).await.unwrap();
    }
}

/// Nothing can be set or opened for writing, and the kernel still lets through all that a read
/// needs, the question for the states of paths included.
async fn without_rights() {
    let kernel = Kernel::default();
    kernel.watch().unwrap();
    let devices = candidates(&kernel);
    for device in &devices {
        let node = format!("/dev/{}", device.generic.as_deref().unwrap());
        assert!(std::fs::File::options().write(true).open(node).is_err());
        let client = Client::new(&kernel.open(device, limits()).unwrap());
        ask(&client, disk::test_unit_ready()).await;
        ask(&client, disk::report_target_port_groups(512)).await;
        ask(&client, disk::mode_sense_6(192)).await;
        whole(&client).await;
    }
    let again = kernel.prepare().unwrap();
    assert!(again.iter().all(|one| one.result == SettingResult::AlreadySo), "root did it before");
    let scans = kernel.rescan();
    let refused = |one: &Setting| matches!(one.result, SettingResult::Failed(_));
    assert!(!scans.is_empty() && scans.iter().all(refused), "{scans:?}");
}

/// Cut in the middle of reading; the other path reads on, and this one comes back by itself.
async fn a_lost_path() {
    let kernel = Kernel::default();
    let devices = candidates(&kernel);
    let open = |device| kernel.open(device, limits()).unwrap();
    let (first, second) = (open(&devices[0]), open(&devices[1]));
    let (client, other) = (Client::new(&first), Client::new(&second));
    let before = client.run(disk::test_unit_ready()).await.mark.epoch;
    shell("cut_path 0").unwrap();
    let begun = Instant::now();
    let lost = loop {
        let answer = client.run(disk::read_16(0, 8, 512).unwrap()).await;
        if let Err(failure) = answer.result {
            break failure;
        }
    };
    let waited = begun.elapsed();
    assert!(matches!(lost, Failure::Lost(_)), "{lost:?}");
    println!("lost after {waited:?}");
    assert!(waited < Duration::from_secs(12), "fast_io_fail_tmo is 5 s: {waited:?}");
    whole(&other).await;
    let looking = client.start(disk::test_unit_ready(), false).await;
    println!("{}", shell("mend_path 0").unwrap());
    let answer = looking.answer().await.unwrap();
    assert!(answer.result.is_ok(), "{answer:?}");
    assert!(answer.mark.epoch > before, "nobody may take it for the same without asking");
    ask(&client, disk::test_unit_ready()).await;
    whole(&client).await;
}

/// A device that is taken away, and found again by a scan.
async fn come_and_go() {
    let kernel = Kernel::default();
    kernel.watch().unwrap();
    let mut changes = kernel.changes();
    let device = candidates(&kernel).remove(0);
    let disk = kernel.open(&device, limits()).unwrap();
    let client = Client::new(&disk);
    ask(&client, disk::test_unit_ready()).await;
    let address = device.address;
    shell(&format!("echo 1 >/sys/bus/scsi/devices/{address}/delete")).unwrap();
    timeout(Duration::from_secs(5), changes.changed()).await.unwrap().unwrap();
    assert_eq!(candidates(&kernel).len(), 1);
    let looking = client.start(disk::test_unit_ready(), false).await;
    let scanning = kernel.clone();
    let found = tokio::task::spawn_blocking(move || scanning.rescan()).await.unwrap();
    assert!(found.iter().all(|one| one.result == SettingResult::Done), "{found:?}");
    let answer = looking.answer().await.unwrap();
    assert!(answer.result.is_ok(), "{answer:?}");
    assert_eq!(answer.mark.epoch, 2);
    ask(&client, disk::test_unit_ready()).await;
    whole(&client).await;
}

/// With the kernel's disk driver: direct reads, a node that nobody can write to, no cache to flush.
async fn block_nodes() {
    let kernel = Kernel::default();
    for device in candidates(&kernel) {
        shell(&format!("echo {} >/sys/bus/scsi/drivers/sd/bind", device.address)).unwrap();
    }
    let bound = candidates(&kernel);
    assert!(bound.len() == 2 && bound.iter().all(|device| device.block.is_some()), "{bound:?}");
    for device in &bound {
        let disk = kernel.open(device, limits()).unwrap();
        assert!(disk.0.ring.is_some(), "this kernel has io_uring");
        let cache = device.folder.join(format!("scsi_disk/{}/cache_type", device.address));
        assert_eq!(std::fs::read_to_string(cache).unwrap().trim(), "write through");
        let client = Client::new(&disk);
        ask(&client, disk::test_unit_ready()).await;
        whole(&client).await;
        let beyond = client.run(disk::read_16(SIZE as u64 / 512, 8, 512).unwrap()).await;
        let Ok(Outcome::Completed(completion)) = beyond.result else { panic!("{beyond:?}") };
        assert_eq!(completion.status, 2, "the sense data comes by SG_IO");
    }
}

/// What the kernel's disk driver does when it lets a disk go: for a disk that was prepared nothing,
/// for one that was not, a flush of the cache that the target says it has. (It never flushes one
/// that is write-protected: here they can be written to.)
fn driver_that_lets_go() {
    let kernel = Kernel::default();
    let devices = candidates(&kernel);
    let drive = |verb: &str, device: &ScsiDevice| {
        shell(&format!("echo {} >/sys/bus/scsi/drivers/sd/{verb}", device.address)).unwrap();
    };
    let both = |verb: &str| devices.iter().for_each(|device| drive(verb, device));
    let prepare = || {
        let settings = kernel.prepare().unwrap().into_iter();
        let caches = settings.filter(|one| one.attribute == "cache_type");
        let caches: Vec<_> = caches.map(|one| (one.before, one.result)).collect();
        assert_eq!(caches, vec![(Some("write back".to_owned()), SettingResult::Done); 2]);
    };
    shell("for one in $TCM/fc/*/*/acls/*/*/write_protect; do echo 0 >$one; done").unwrap();
    both("unbind");
    both("bind");
    prepare();
    both("unbind");
    drive("bind", &devices[1]);
    drive("unbind", &devices[1]);
    both("bind");
    prepare();
    drive("unbind", &devices[1]);
    drive("bind", &devices[1]);
}
