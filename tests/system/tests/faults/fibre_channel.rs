//! A whole backup over Fibre Channel, in a guest: the datastore is a LUN of the kernel's own
//! target, mapped write-protected by two paths; vCenter, appliance and command line run beside it.

use crate::site::{VM, ended_well, guest, wait};
use anyhow::{Context as _, Result};
use api::{Run, RunsStarted, SanLuns, SanPath, SanPathState, SanPaths};
use lab::daemon::SanConfig;
use lab::datastore::Datastore;
use lab::machine::Machine;
use lab::machine::fc::{Fc, IMAGE, INSIDE, NAA, shell};
use lab::place::{built, fresh_directory};
use lab::vcenter::{self, Vcenter, VcenterSpec};
use lab::{Content, Daemon, INITIATOR, Layout, VmSpec, appliance, vcenter_spec};
use scsi::Role;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use system::images::compare;

/// This test, by its name in this program.
const NAME: &str = "fibre_channel::a_backup_over_fibre_channel_survives_the_loss_of_a_path";
/// MiB of the VM's disk and of the files on it, and of the LUN that its datastore fills.
const DISK_MIB: u64 = 96;
const FILES_MIB: u64 = 40;
const LUN_MIB: u64 = 768;
/// MiB that have come by a path when it is cut, and that come by the other one at least.
const CUT_AT_MIB: u64 = 8;
const REST_MIB: u64 = 8;

/// What is made outside, where that is quick.
#[derive(Serialize, Deserialize)]
struct Prepared {
    program: PathBuf,
    vcenter: VcenterSpec,
}

#[test]
fn a_backup_over_fibre_channel_survives_the_loss_of_a_path() {
    if let Some(prepared) = std::env::var_os(INSIDE) {
        return inside(Path::new(&prepared));
    }
    if let Some(why) = Machine::impossible() {
        return lab::place::skipped(NAME, &why).unwrap();
    }
    let directory = fresh_directory().unwrap();
    let image = prepare(directory.path()).unwrap();
    let fc = Fc::start(directory.path(), &image, false).unwrap();
    let prepared = directory.path().join("prepared.json");
    let said = fc.inside_test(prepared.to_str().unwrap(), NAME, Duration::from_secs(240)).unwrap();
    println!("{}{}", fc.attempts, said.text);
    assert_eq!(said.status, 0, "{}\n{}", said.text, fc.machine().console_end());
    assert!(said.text.contains("1 passed"), "the backup did not run: {}", said.text);
    let sent = [0, 1].map(|path| fc.arrived(path).unwrap());
    // The kernel asks which commands a new device knows, too.
    let listed = |code: u8| code == 0xa3 || Role::SourceDisk.opcodes().any(|known| known == code);
    assert!(sent.iter().flatten().all(|(code, _)| listed(*code)), "{sent:02x?}");
}

/// The datastore, its VM and the vCenter's program. Returns the LUN's image.
fn prepare(place: &Path) -> Result<PathBuf> {
    let mut disk = guest(DISK_MIB);
    if let Content::Guest(spec) = &mut disk.content {
        spec.own_bytes = (FILES_MIB << 20) - spec.template_bytes;
    }
    let vms = [VmSpec { name: VM.into(), disks: vec![disk] }];
    let naa = NAA.strip_prefix("naa.").context("names begin so")?;
    let datastore = Datastore::create(place, LUN_MIB << 20, Layout::Fragmented, naa, &vms)?;
    let mut vcenter = vcenter_spec(&datastore)?;
    vcenter.datastore.image = IMAGE.into();
    let prepared = Prepared { program: vcenter::build()?, vcenter };
    std::fs::write(place.join("prepared.json"), serde_json::to_vec(&prepared)?)?;
    built("holdfastd")?;
    Ok(datastore.image)
}

/// In the guest: everything on loopback, and files in memory.
fn inside(prepared: &Path) {
    let begun = Instant::now();
    let Prepared { program, vcenter } =
        serde_json::from_slice(&std::fs::read(prepared).unwrap()).unwrap();
    let truth = vcenter.vms[0].disks[0].truth.clone();
    let place = Path::new("/run/lab/site");
    std::fs::create_dir_all(place.join("state")).unwrap();
    let vcenter = Vcenter::start_built(&program, place, &vcenter).unwrap();
    println!("vCenter answers after {:?}", begun.elapsed());
    let san = SanConfig {
        initiator: INITIATOR.into(),
        chap_user: None,
        chap_secret_file: None,
        chap_algorithms: vec!["md5".into()],
        header_digest: true,
        data_digest: true,
        kernel: true,
        portal: Vec::new(),
    };
    let mut config = appliance(place, &vcenter, san).unwrap();
    config.repository.reserve_mib = Some(16);
    let mut daemon = Daemon::start(place, config).unwrap();
    println!("the appliance answers after {:?}", begun.elapsed());

    let luns: SanLuns = daemon.cli().unwrap().json(&["san", "luns"]).unwrap();
    assert_eq!(luns.luns.len(), 1, "{luns:#?}");
    assert_eq!((luns.luns[0].write_protected, luns.luns[0].paths), (Some(true), 2), "{luns:#?}");
    assert_eq!([0, 1].map(|number| path(&daemon, number).state), {
        [SanPathState::Active, SanPathState::Ready]
    });

    // As slow as an emulated guest is anyway, so that there is a middle to cut in; nothing is lost.
    shell("tc qdisc add dev t0 root tbf rate 400mbit burst 1mb limit 64mb").unwrap();
    let count = counter(0);
    let before = read_mib(&count);
    let run = started(&daemon);
    wait("a part is read", || read_mib(&count) >= before + CUT_AT_MIB);
    shell("cut_path 0").unwrap();
    println!("cut after {:?} and {} MiB", begun.elapsed(), read_mib(&count) - before);
    let run = ended(&daemon, &run);
    println!("the backup ends after {:?}", begun.elapsed());
    assert!(ended_well(&run), "{run:#?}\n{}", daemon.log());
    assert_eq!(path(&daemon, 0).state, SanPathState::Lost);
    let rest = path(&daemon, 1);
    assert_eq!(rest.state, SanPathState::Active);
    assert!(rest.read_bytes >= REST_MIB << 20, "the cut came too late: {rest:?}");

    let point = run.point.unwrap().to_string();
    let image = place.join("restored.raw");
    let output = image.to_str().unwrap();
    let arguments = ["point", "restore", &point, "--disk", "0", "--output", output];
    let restored = daemon.cli().unwrap().output(&arguments).unwrap();
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    let compared = compare(&truth, &image).unwrap();
    assert!(compared.is_equal(), "{compared:?}");
    println!("equal after {:?}", begun.elapsed());
    // An orderly stop may wait 30 s for a command on the path that is gone.
    daemon.kill().unwrap();
}

fn started(daemon: &Daemon) -> String {
    let cli = daemon.cli().unwrap();
    let runs: RunsStarted = cli.json(&["backup", "run", VM, "--no-wait"]).unwrap();
    runs.runs[0].id.to_string()
}

fn ended(daemon: &Daemon, run: &str) -> Run {
    let cli = daemon.cli().unwrap();
    let mut last = None;
    wait("the backup ends", || {
        let run: Run = cli.json(&["run", "show", run]).unwrap();
        let ended = run.state.is_final();
        last = Some(run);
        ended
    });
    last.unwrap()
}

/// By the name of its target's port.
fn path(daemon: &Daemon, number: usize) -> SanPath {
    let name = format!("52:54:00:00:0{number}:0a");
    let seen: SanPaths = daemon.cli().unwrap().json(&["san", "paths"]).unwrap();
    let ours = seen.paths.iter().find(|path| path.target.contains(&name));
    ours.unwrap_or_else(|| panic!("no path to {name}: {seen:?}")).clone()
}

/// Where the target counts the MiB that it has sent by a path.
fn counter(number: usize) -> PathBuf {
    let port = shell(&format!("target_name {number}")).unwrap();
    let below = "tpgt_1/lun/lun_0/statistics/scsi_tgt_port/read_mbytes";
    Path::new("/sys/kernel/config/target/fc").join(port.trim()).join(below)
}

fn read_mib(counter: &Path) -> u64 {
    std::fs::read_to_string(counter).unwrap().trim().parse().unwrap()
}
