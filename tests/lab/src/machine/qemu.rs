//! How QEMU is started.

use super::MachineSpec;
use super::kernel::Kernel;
use crate::place::program;
use anyhow::{Context as _, Result};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

/// Modules that lead from the first file system to the host's files and to the agent's port.
const FIRST_MODULES: &[&str] = &["virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_console"];
/// What a guest without an answer to it does on a panic: ends, and QEMU with it.
const KERNEL_ARGUMENTS: &str =
    "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off no_timer_check";

/// Whether the processor runs guests by itself. A `/dev/kvm` alone does not say so: there are
/// clouds that show one and whose guests then never come up.
pub(super) fn accelerator() -> &'static str {
    let able = std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| {
        let flags = text.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
        flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm")
    });
    let open = File::options().read(true).write(true).open("/dev/kvm").is_ok();
    if able && open { "kvm" } else { "tcg" }
}

/// A port of this machine that leads to one of the guest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forward {
    pub(super) card: usize,
    pub(super) port: u16,
    pub(super) here: SocketAddr,
}

/// Finds a free port for each that the guest wants to be reached by.
pub(super) fn forwards(spec: &MachineSpec) -> Result<Vec<Forward>> {
    // All are held until the last one is found, so that none comes twice.
    let mut held = Vec::new();
    let mut found = Vec::new();
    for (card, ports) in spec.cards.iter().enumerate() {
        for &port in ports {
            let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
            found.push(Forward { card, port, here: socket.local_addr()? });
            held.push(socket);
        }
    }
    Ok(found)
}

/// The address of a network card, in the guest.
pub(super) fn address(card: usize) -> String {
    format!("10.0.{}.15", 2 + card)
}

/// Program and arguments; console and complaints go to `log`.
pub(super) fn command(
    spec: &MachineSpec,
    kernel: &Kernel,
    initramfs: &Path,
    log: &Path,
    forwards: &[Forward],
) -> Result<Vec<String>> {
    let text = |path: &Path| {
        path.to_str().map(str::to_owned).with_context(|| format!("{path:?} is not UTF-8"))
    };
    let qemu = text(&program("qemu-system-x86_64", "qemu-system-x86")?)?;
    let (memory, cpus) = (spec.memory_mib.to_string(), spec.cpus.to_string());
    let append = format!("{KERNEL_ARGUMENTS} {}", spec.kernel_arguments);
    let console = format!("file,id=console,append=on,path={}", text(log)?.replace(',', ",,"));
    let (image, initramfs) = (text(&kernel.image)?, text(initramfs)?);
    let mut all: Vec<String> = [
        qemu.as_str(),
        "-machine q35 -cpu max -nodefaults -display none -no-reboot -no-user-config",
        "-device virtio-serial-pci -chardev stdio,id=agent,signal=off",
        "-device virtserialport,chardev=agent,name=holdfast -serial chardev:console",
        // Read-only, whatever the guest does; inode numbers of several file systems kept apart.
        "-virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
    ]
    .iter()
    .flat_map(|line| line.split(' '))
    .map(str::to_owned)
    .collect();
    let named = [
        ("-accel", accelerator()),
        ("-m", &memory),
        ("-smp", &cpus),
        ("-chardev", &console),
        ("-kernel", &image),
        ("-initrd", &initramfs),
        ("-append", &append),
    ];
    all.extend(named.iter().flat_map(|(name, value)| [name.to_string(), value.to_string()]));
    for card in 0..spec.cards.len() {
        all.extend(card_arguments(card, forwards));
    }
    Ok(all)
}

/// A network of the guest's own, from which nothing can be reached; only the forwards lead in.
fn card_arguments(card: usize, forwards: &[Forward]) -> [String; 4] {
    let address = address(card);
    let network = format!("10.0.{}.0/24", 2 + card);
    let own = forwards.iter().filter(|forward| forward.card == card);
    let ports: String = own
        .map(|Forward { port, here, .. }| format!(",hostfwd=tcp:{here}-{address}:{port}"))
        .collect();
    [
        "-netdev".to_owned(),
        format!("user,id=n{card},restrict=on,net={network}{ports}"),
        "-device".to_owned(),
        format!("virtio-net-pci,netdev=n{card},mac=52:54:00:0a:00:{card:02x},romfile="),
    ]
}

/// The modules of the first file system, in order.
pub(super) fn first_modules(kernel: &Kernel) -> Result<Vec<std::path::PathBuf>> {
    kernel.files_of(FIRST_MODULES)
}
