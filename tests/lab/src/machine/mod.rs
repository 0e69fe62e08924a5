//! Guests in QEMU that run Debian's kernel: real arrays, real Fibre Channel, without hardware.
//!
//! Not to be confused with [`crate::guest`]: that makes the disks of the VMs that are backed up.
//!
//! A machine's root is the host's file system, read-only over 9p, with a file system in its memory
//! on top: every program of the host is there, the tests' own included, and nothing it writes
//! reaches the host. It comes up in a few seconds and then does what it is told, script by script.
//! It reaches nothing on any network; loopback ports of the host lead into it.
//!
//! ```text
//!  test ── Machine::tell("ip link set eth0 down") ── QEMU's stdin, stdout ── port ── agent.sh
//!   └──── 127.0.0.1:any ── forward ── 10.0.2.15:3260 ── the guest's kernel
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`lio`] | an iSCSI array with two controllers, reached from the host |
//! | [`fc`] | Fibre Channel: target, initiator and reader in one guest |
//!
//! With KVM where the processor has it, else emulated: slower by an order, the same otherwise.

pub mod fc;
pub mod lio;

mod channel;
mod initramfs;
mod kernel;
mod qemu;

pub use channel::Said;

use crate::place::program;
use crate::process::Process;
use anyhow::{Context as _, Result, bail, ensure};
use channel::Channel;
use initramfs::Archive;
use kernel::Kernel;
use qemu::Forward;
use std::fs::File;
use std::io::BufWriter;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a guest may take to come up; emulated on a busy machine it is slow.
const BOOT: Duration = Duration::from_secs(90);
/// How long an ordinary script may take.
const SCRIPT: Duration = Duration::from_secs(40);
/// How long it may take to leave.
const OFF: Duration = Duration::from_secs(30);
/// A free port may be taken by somebody else before QEMU asks for it.
const TRIES: u32 = 3;

/// Functions that every guest's scripts have.
const LIBRARY: &str = include_str!("guest/lib.sh");

/// What a machine is made of.
#[derive(Clone, Debug)]
pub struct MachineSpec {
    /// Its memory, in MiB; its files are in it.
    pub memory_mib: u32,
    /// Its processors.
    pub cpus: u32,
    /// Its network cards, `eth0` first, each with the ports by which the host reaches it.
    pub cards: Vec<Vec<u16>>,
    /// More arguments for its kernel, with blanks between them.
    pub kernel_arguments: String,
}

impl Default for MachineSpec {
    fn default() -> Self {
        Self { memory_mib: 768, cpus: 1, cards: Vec::new(), kernel_arguments: String::new() }
    }
}

/// A running guest. Dropping it is pulling its plug.
#[derive(Debug)]
pub struct Machine {
    process: Mutex<Process>,
    channel: Mutex<Channel>,
    forwards: Vec<Forward>,
    log: PathBuf,
}

impl Machine {
    /// Why no guest can be started here; `None`: one can.
    #[must_use]
    pub fn impossible() -> Option<String> {
        let qemu = program("qemu-system-x86_64", "qemu-system-x86");
        qemu.and_then(|_| Kernel::find()).err().map(|error| format!("{error:#}"))
    }

    /// How its instructions are executed: `kvm` or `tcg`, QEMU's emulation.
    #[must_use]
    pub fn accelerator() -> &'static str {
        qemu::accelerator()
    }

    /// Boots one; its console is in `directory`, in the file `console.log`.
    ///
    /// # Errors
    /// When QEMU or the kernel is missing, or the guest does not come up; with its console.
    pub fn start(directory: &Path, spec: &MachineSpec) -> Result<Self> {
        let kernel = Kernel::find()?;
        let initramfs = directory.join("initramfs");
        write_initramfs(&initramfs, &kernel).context("writing the first file system")?;
        let mut last = None;
        for _ in 0..TRIES {
            match Self::boot(directory, spec, &kernel, &initramfs) {
                Ok(machine) => return Ok(machine),
                Err(error) if taken(&error) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.context("at least one try")?)
    }

    fn boot(directory: &Path, spec: &MachineSpec, kernel: &Kernel, first: &Path) -> Result<Self> {
        let log = directory.join("console.log");
        let forwards = qemu::forwards(spec)?;
        let arguments = qemu::command(spec, kernel, first, &log, &forwards)?;
        let mut process = Process::start("qemu", &arguments, &[], &log, true)?;
        let pipes = process.take_input().zip(process.take_output());
        let (to, from) = pipes.context("both are pipes")?;
        let mut channel = Channel::new(to, from);
        if let Err(error) = channel.answer(BOOT) {
            bail!("the guest did not come up: {error:#}\n{}", process.log_end());
        }
        let (process, channel) = (Mutex::new(process), Mutex::new(channel));
        let machine = Self { process, channel, forwards, log };
        machine.learn(LIBRARY)?;
        for card in 0..spec.cards.len() {
            machine.tell(&format!("card_up eth{card} {}", qemu::address(card)))?;
        }
        Ok(machine)
    }

    /// Teaches it functions for later scripts.
    ///
    /// # Errors
    /// When it does not answer or does not understand them.
    pub fn learn(&self, functions: &str) -> Result<()> {
        let said = self.ask("source", functions, SCRIPT)?;
        ensure!(said.status == 0, "the guest does not understand the functions");
        Ok(())
    }

    /// Runs a bash script as root; its first failing command ends it, and is an error. Returns
    /// what it printed.
    ///
    /// # Errors
    /// When it fails, or takes longer than 40 s.
    pub fn tell(&self, script: &str) -> Result<String> {
        let said = self.run(script, SCRIPT)?;
        if said.status != 0 {
            let (status, text) = (said.status, said.text.trim_end());
            bail!("in the guest `{script}` ended with {status}:\n{text}\n{}", self.console_end());
        }
        Ok(said.text)
    }

    /// Runs a bash script as root, and tells how it ended.
    ///
    /// # Errors
    /// When it does not end in time: the guest is switched off then.
    pub fn run(&self, script: &str, patience: Duration) -> Result<Said> {
        self.ask("run", script, patience)
    }

    fn ask(&self, verb: &str, script: &str, patience: Duration) -> Result<Said> {
        let mut channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        channel.ask(verb, script, patience).map_err(|error| {
            // Question and answer would no longer belong together.
            let _ = self.process().kill();
            error.context(format!("`{script}` in the guest; its console:\n{}", self.console_end()))
        })
    }

    /// Where the host reaches a port of a card of the guest.
    ///
    /// # Panics
    /// When it was not asked for in [`MachineSpec::cards`].
    #[must_use]
    pub fn forward(&self, card: usize, port: u16) -> SocketAddr {
        let wanted = |forward: &&Forward| (forward.card, forward.port) == (card, port);
        self.forwards.iter().find(wanted).expect("a port of the specification").here
    }

    /// A card's address, in the guest.
    #[must_use]
    pub fn address(card: usize) -> String {
        qemu::address(card)
    }

    /// Switches it off in order, so that its kernel shuts its devices down, and waits for that.
    /// Returns its whole console.
    ///
    /// # Errors
    /// When it has not ended after 30 s.
    pub fn power_off(self) -> Result<String> {
        let order = "dmesg -n 8; echo o >/proc/sysrq-trigger; read -r -u 9";
        // Its end is the answer.
        let _ = self.channel.lock().unwrap_or_else(PoisonError::into_inner).ask("run", order, OFF);
        let status = self.process().wait_for_end(OFF)?;
        ensure!(status.success(), "QEMU ended with {status}:\n{}", self.console_end());
        let console = std::fs::read(&self.log).context("reading the console")?;
        Ok(String::from_utf8_lossy(&console).into_owned())
    }

    /// The last lines of its console.
    #[must_use]
    pub fn console_end(&self) -> String {
        self.process().log_end()
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether QEMU ended because one of the ports was no longer free.
fn taken(error: &anyhow::Error) -> bool {
    error.to_string().contains("Could not set up host forwarding rule")
}

fn write_initramfs(path: &Path, kernel: &Kernel) -> Result<()> {
    let mut archive = Archive::new(BufWriter::new(File::create(path)?));
    for directory in ["bin", "dev", "proc", "sys", "modules", "host", "over", "root"] {
        archive.directory(directory)?;
    }
    archive.program("init", include_bytes!("guest/init.sh"))?;
    archive.program("agent.sh", include_bytes!("guest/agent.sh"))?;
    archive.program("bin/busybox", &std::fs::read(&kernel.busybox)?)?;
    let modules = kernel.modules.to_str().context("the modules' folder is not UTF-8")?;
    let settings = format!("KERNEL='{}'\nHOST_MODULES='{modules}'\n", kernel.version);
    archive.program("settings", settings.as_bytes())?;
    let mut order = String::new();
    for file in qemu::first_modules(kernel)? {
        let name = file.file_name().and_then(|name| name.to_str()).context("a module's name")?;
        archive.program(&format!("modules/{name}"), &std::fs::read(&file)?)?;
        order.push_str(&format!("{name}\n"));
    }
    archive.program("modules/order", order.as_bytes())?;
    Ok(archive.finish()?)
}
