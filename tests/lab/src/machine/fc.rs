//! Fibre Channel without hardware: in one guest, the kernel's software FCoE between the ends of
//! two virtual cables, its target on one side, its initiator on the other.
//!
//! Two paths lead to one LUN, which is mapped write-protected; path 0 is optimized, path 1 is not.
//! What reads it must run inside: [`Fc::inside`] starts the test's own program there.

use super::lio::commands;
use super::{Machine, MachineSpec, Said};
use crate::place::built;
use anyhow::{Context as _, Result, bail, ensure};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// The name of the environment variable that tells a program which part it is to play inside.
pub const INSIDE: &str = "HOLDFAST_INSIDE";

/// The LUN's name, made of [`SERIAL`].
pub const NAA: &str = "naa.6001405aaaaaaaa22223333444455555";
/// Its serial number.
pub const SERIAL: &str = "aaaaaaaa-2222-3333-4444-555555555555";
/// Where the guest has the bytes of the LUN, to compare with.
pub const IMAGE: &str = "/run/lab/lun.img";

/// Software VN2VN that stays offline after [`Fc::start`]'s attempts does so for as long as the
/// guest runs; so another one is booted, so many in all.
const BOOTS: usize = 3;

/// A guest with both paths up.
#[derive(Debug)]
pub struct Fc {
    machine: Machine,
    /// What bringing the paths up has said: how many attempts each took.
    pub attempts: String,
}

impl Fc {
    /// Boots it. `image` becomes the LUN; with `disks`, the kernel makes disks (`sd`) of what it
    /// finds, else nothing but generic devices.
    ///
    /// # Errors
    /// As [`Machine::start`], or when a path does not come up in any of three guests.
    pub fn start(directory: &Path, image: &Path, disks: bool) -> Result<Self> {
        let mut attempts = String::new();
        for boot in 0..BOOTS {
            let place = directory.join(format!("boot{boot}"));
            std::fs::create_dir(&place)?;
            let machine = Self::boot(&place, image, disks)?;
            if connect(&machine, &mut attempts)? {
                return Ok(Self { machine, attempts });
            }
        }
        bail!("a path does not come up in any of {BOOTS} guests: {attempts}")
    }

    fn boot(directory: &Path, image: &Path, disks: bool) -> Result<Machine> {
        let kernel_arguments = "tp_printk".to_owned();
        let spec = MachineSpec { memory_mib: 1024, kernel_arguments, ..MachineSpec::default() };
        let machine = Machine::start(directory, &spec)?;
        machine.learn(include_str!("guest/fc.sh"))?;
        let image = image.to_str().context("the image's path is not UTF-8")?;
        machine.tell(&set_up(image, disks)).context("setting the target up")?;
        Ok(machine)
    }

    /// The guest itself; `guest/fc.sh` lists what its scripts may use.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Runs the program that asks, inside, with [`INSIDE`] set to `part`. What it says comes
    /// line by line, so that a guest that hangs has said how far it came.
    ///
    /// # Errors
    /// When it does not end in time. How it ended is the caller's to judge.
    pub fn inside(&self, part: &str, patience: Duration) -> Result<Said> {
        self.run(part, "", "", patience)
    }

    /// As [`Fc::inside`], of a program of many tests this one. The programs of the workspace are
    /// there; nothing is built inside.
    ///
    /// # Errors
    /// As [`Fc::inside`], and when a program does not build.
    pub fn inside_test(&self, part: &str, test: &str, patience: Duration) -> Result<Said> {
        let programs = ["holdfast", "vmfs-tool", "holdfastd"].map(built);
        let programs: Vec<_> = programs.into_iter().collect::<Result<_>>()?;
        let folder = programs[0].parent().context("a program lies in a folder")?;
        let folder = format!("HOLDFAST_BIN='{}'", folder.display());
        self.run(part, &folder, &format!("--exact '{test}'"), patience)
    }

    fn run(&self, part: &str, setting: &str, arguments: &str, patience: Duration) -> Result<Said> {
        let program = std::env::current_exe()?;
        let program = program.to_str().context("the program's path is not UTF-8")?;
        let settings = format!("{INSIDE}='{part}' RUST_BACKTRACE=1 {setting}");
        self.machine.run(&format!("{settings} '{program}' --nocapture {arguments}"), patience)
    }

    /// Operation code and second byte of every command that has reached the target by a path.
    ///
    /// # Errors
    /// When the record is no longer complete.
    pub fn arrived(&self, path: usize) -> Result<Vec<(u8, u8)>> {
        commands(&self.machine.tell(&format!("arrived \"$(client_name {path})\""))?)
    }

    /// Switches the guest off, so that its kernel shuts its disks down, and returns every command
    /// that it handed to a driver on the way.
    ///
    /// # Errors
    /// As [`Machine::power_off`].
    pub fn power_off(self) -> Result<Vec<(u8, u8)>> {
        self.machine.tell("watch_initiator; sysctl -q kernel.tracepoint_printk=1")?;
        let console = self.machine.power_off()?;
        let events = console.lines().filter_map(|line| line.split_once("scsi_dispatch_cmd_start:"));
        let raw = events.filter_map(|(_, event)| event.split_once("raw="));
        let bytes: Vec<&str> = raw.filter_map(|(_, bytes)| bytes.get(..5)).collect();
        commands(&bytes.join("\n"))
    }
}

/// Brings both paths up; false when one stays down.
fn connect(machine: &Machine, attempts: &mut String) -> Result<bool> {
    for path in 0..2 {
        let said = machine.run(&format!("connect {path}"), Duration::from_secs(150))?;
        attempts.push_str(&said.text);
        if said.status != 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Runs functions of `guest/lib.sh` and `guest/fc.sh`; for a program inside the guest, whose error
/// output takes theirs.
///
/// # Errors
/// When one fails.
pub fn shell(script: &str) -> Result<String> {
    let script = format!("set -eu -o pipefail; . /run/lab/lib.sh; . /run/lab/fc.sh; {script}");
    let mut command = std::process::Command::new("bash");
    let said = command.args(["-c", &script]).stderr(Stdio::inherit()).output()?;
    ensure!(said.status.success(), "{}: {script}", said.status);
    Ok(String::from_utf8_lossy(&said.stdout).into_owned())
}

fn set_up(image: &str, disks: bool) -> String {
    let functions = [("lib", super::LIBRARY), ("fc", include_str!("guest/fc.sh"))];
    let copies: String = functions
        .iter()
        .map(|(name, text)| format!("cat >/run/lab/{name}.sh <<'END'\n{text}\nEND\n"))
        .collect();
    // The target's port must be there before it exports, and know its client before that comes.
    let ports: String = (0..2)
        .map(|path| format!("cable {path}; vn2vn t{path}; export_disk {path} 0 lun 1\n"))
        .collect();
    let probe = u8::from(disks);
    format!(
        "{copies}
sysctl -q kernel.tracepoint_printk=0
modprobe -a veth scsi_dh_alua sg sd_mod
target_up tcm_fc fcoe
disk lun '{image}' {SERIAL}
echo 1 >$TCM/core/fileio_0/lun/attrib/emulate_write_cache
echo {probe} >/sys/bus/scsi/drivers_autoprobe
{ports}
alua lun 1 1
"
    )
}
