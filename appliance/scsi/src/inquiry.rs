//! Standard INQUIRY data (SPC-4, 6.4.2).

use crate::error::DecodeError;
use crate::field::{Reply, ascii};

/// Who a device says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inquiry {
    /// True when a device of that type is there (peripheral qualifier 000b).
    pub connected: bool,
    /// What sort of device.
    pub device: PeripheralType,
    /// T10 vendor identification.
    pub vendor: String,
    /// Product identification.
    pub product: String,
    /// Product revision level.
    pub revision: String,
    /// Whether and how it tells path states (ALUA).
    pub target_port_groups: TargetPortGroups,
}

/// The peripheral device type; only what we act on has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeripheralType {
    /// 00h: a disk.
    Disk,
    /// 01h: a tape drive.
    Tape,
    /// 08h: a medium changer.
    Changer,
    /// Anything else, such as a controller (0Ch).
    Other(u8),
}

/// The TPGS field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetPortGroups {
    /// No ALUA.
    None,
    /// States change by the array's own will.
    Implicit,
    /// States change by command (which we never send).
    Explicit,
    /// Both.
    Both,
}

impl Inquiry {
    /// Decodes standard INQUIRY data; 36 bytes are required of every device.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let reply = Reply::new("INQUIRY", bytes);
        let first = reply.u8(0)?;
        Ok(Self {
            connected: first >> 5 == 0,
            device: peripheral(first & 0x1f),
            target_port_groups: tpgs(reply.u8(5)?),
            vendor: ascii(reply.slice(8, 8)?),
            product: ascii(reply.slice(16, 16)?),
            revision: ascii(reply.slice(32, 4)?),
        })
    }
}

fn peripheral(number: u8) -> PeripheralType {
    match number {
        0x00 => PeripheralType::Disk,
        0x01 => PeripheralType::Tape,
        0x08 => PeripheralType::Changer,
        other => PeripheralType::Other(other),
    }
}

fn tpgs(byte: u8) -> TargetPortGroups {
    match (byte >> 4) & 3 {
        0 => TargetPortGroups::None,
        1 => TargetPortGroups::Implicit,
        2 => TargetPortGroups::Explicit,
        _ => TargetPortGroups::Both,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_names_itself() {
        let mut bytes = vec![0, 0, 6, 2, 31, 0x10, 0, 2];
        bytes.extend(b"PURE    FlashArray\x00\x1b\xff     8888 ");
        bytes.truncate(36);
        let inquiry = Inquiry::decode(&bytes).unwrap();
        assert!(inquiry.connected);
        assert_eq!(inquiry.device, PeripheralType::Disk);
        assert_eq!(inquiry.vendor, "PURE");
        assert_eq!(inquiry.product, "FlashArray ??");
        assert_eq!(inquiry.target_port_groups, TargetPortGroups::Implicit);
        assert!(Inquiry::decode(&bytes[..35]).is_err());
    }

    #[test]
    fn an_absent_lun_is_not_connected() {
        let mut bytes = [0; 36];
        bytes[0] = 0x7f;
        assert!(!Inquiry::decode(&bytes).unwrap().connected);
    }
}
