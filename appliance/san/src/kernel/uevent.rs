//! What the kernel tells about devices that come, go and change: messages of its uevent socket.
//!
//! A message may be lost (the socket's memory is bounded), so it is a hint to look, never the only
//! way to learn of something.

use super::device::Address;
use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with};
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The group of the kernel's own messages; others are those of udev.
const KERNEL_GROUP: u32 = 1;
/// The kernel's limit of a message is 2 KiB of variables and a path.
const MESSAGE_MAX: usize = 8192;

/// A change of the SCSI bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A device came.
    Added(Address),
    /// A device is gone.
    Removed(Address),
    /// A device told something: its size, its data, its states or the list of LUNs changed.
    Told(Address),
    /// A host, a target or a remote port came or went, or messages were lost: look at everything.
    Bus,
}

/// Reads a message: `ACTION@PATH`, then `NAME=VALUE` each, all ended by zeros. `None` when it does
/// not concern SCSI devices.
pub(super) fn parse(message: &[u8]) -> Option<Change> {
    let mut fields = message.split(|&byte| byte == 0).filter_map(|f| std::str::from_utf8(f).ok());
    fields.next()?.split_once('@')?;
    let (mut action, mut path, mut subsystem, mut kind) = ("", "", "", "");
    for (name, value) in fields.filter_map(|field| field.split_once('=')) {
        match name {
            "ACTION" => action = value,
            "DEVPATH" => path = value,
            "SUBSYSTEM" => subsystem = value,
            "DEVTYPE" => kind = value,
            _ => {}
        }
    }
    let last = path.rsplit('/').next().unwrap_or_default();
    let address = last.parse::<Address>().ok();
    match (subsystem, action, address) {
        ("scsi", "add", Some(address)) if kind == "scsi_device" => Some(Change::Added(address)),
        ("scsi", "remove", Some(address)) if kind == "scsi_device" => {
            Some(Change::Removed(address))
        }
        ("scsi", "change", Some(address)) => Some(Change::Told(address)),
        // The driver came or went: the device has other nodes now.
        ("scsi", "bind" | "unbind", _) | ("fc_host" | "fc_remote_ports", _, _) => Some(Change::Bus),
        _ => None,
    }
}

/// The socket.
#[derive(Debug)]
pub(super) struct Uevents {
    socket: AsyncFd<OwnedFd>,
}

impl Uevents {
    /// Begins to listen. Within a tokio runtime only.
    pub(super) fn listen() -> std::io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (family, kind) = (AddressFamily::NETLINK, SocketType::DGRAM);
        let socket = socket_with(family, kind, flags, Some(KOBJECT_UEVENT))?;
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
        // SAFETY: the runtime holds the descriptor itself, so it stays open and the same one for as
        // long as it is watched.
        #[expect(unsafe_code, reason = "tokio cannot know that of an arbitrary type")]
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        Ok(Self { socket: socket? })
    }

    /// The next change.
    pub(super) async fn next(&self) -> std::io::Result<Change> {
        let mut memory = vec![0; MESSAGE_MAX];
        loop {
            let mut ready = self.socket.readable().await?;
            match recvfrom(self.socket.get_ref(), &mut memory[..], RecvFlags::TRUNC) {
                Ok((length, whole, from)) => {
                    // Any process may send; the kernel's port is 0.
                    let from = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
                    let kernel = from.is_some_and(|from| from.pid() == 0);
                    if let Some(change) = parse(&memory[..length]).filter(|_| kernel) {
                        return Ok(if whole > length { Change::Bus } else { change });
                    }
                }
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                // Messages were lost.
                Err(Errno::NOBUFS) => return Ok(Change::Bus),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(action: &str, path: &str, more: &[&str]) -> Vec<u8> {
        let mut text = format!("{action}@{path}\0ACTION={action}\0DEVPATH={path}\0");
        more.iter().for_each(|field| text.push_str(&format!("{field}\0")));
        text.into_bytes()
    }

    #[test]
    fn changes_of_scsi_devices_and_of_nothing_else() {
        let path = "/devices/pci0000:00/host1/rport-1:0-0/target1:0:0/1:0:0:258";
        let address: Address = "1:0:0:258".parse().unwrap();
        let device = ["SUBSYSTEM=scsi", "DEVTYPE=scsi_device"];
        let parse = |action, path, more: &[&str]| parse(&message(action, path, more));
        assert_eq!(parse("add", path, &device), Some(Change::Added(address)));
        assert_eq!(parse("remove", path, &device), Some(Change::Removed(address)));
        let told = ["SDEV_UA=REPORTED_LUNS_DATA_HAS_CHANGED", device[0], device[1]];
        assert_eq!(parse("change", path, &told), Some(Change::Told(address)));
        assert_eq!(parse("bind", path, &device), Some(Change::Bus));
        let port = "/devices/x/host1/rport-1:0-0/fc_remote_ports/rport-1:0-0";
        assert_eq!(parse("add", port, &["SUBSYSTEM=fc_remote_ports"]), Some(Change::Bus));
        assert_eq!(parse("add", "/devices/x/1:0:0:0/block/sda", &["SUBSYSTEM=block"]), None);
        let target = ["SUBSYSTEM=scsi", "DEVTYPE=scsi_target"];
        assert_eq!(parse("add", "/devices/x/target1:0:0", &target), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_change_or_none(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn damaged_messages_too(at in 0_usize..120, byte: u8) {
            let path = "/devices/host1/rport-1:0-0/target1:0:0/1:0:0:258";
            let mut bytes = message("add", path, &["SUBSYSTEM=scsi", "DEVTYPE=scsi_device"]);
            let length = bytes.len();
            bytes[at % length] = byte;
            let _ = parse(&bytes);
        }
    }

    #[tokio::test]
    async fn a_socket_can_be_had_and_is_quiet() {
        let Ok(uevents) = Uevents::listen() else {
            println!("SKIPPED: a_socket_can_be_had_and_is_quiet: no netlink here");
            return;
        };
        let wait = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(wait, uevents.next()).await.is_err());
    }
}
