//! Sense data in both formats (SPC-4, 4.5).

use crate::error::{DecodeError, Problem};
use crate::field::Reply;
use std::fmt;

/// Why a command ended with CHECK CONDITION.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sense {
    /// What sort of trouble.
    pub key: SenseKey,
    /// Additional sense code.
    pub asc: u8,
    /// Its qualifier.
    pub ascq: u8,
    /// The information field when it is valid; for a medium error the first bad LBA.
    pub information: Option<u64>,
    /// True when it speaks of an earlier command (response codes 71h and 73h).
    pub deferred: bool,
}

/// The sense key (SPC-4, table 48).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SenseKey {
    /// 0h.
    NoSense,
    /// 1h: it worked, with trouble.
    RecoveredError,
    /// 2h.
    NotReady,
    /// 3h.
    MediumError,
    /// 4h.
    HardwareError,
    /// 5h.
    IllegalRequest,
    /// 6h: something happened since the last command.
    UnitAttention,
    /// 7h.
    DataProtect,
    /// Bh.
    AbortedCommand,
    /// Any other.
    Other(u8),
}

impl From<u8> for SenseKey {
    fn from(nibble: u8) -> Self {
        match nibble {
            0x0 => Self::NoSense,
            0x1 => Self::RecoveredError,
            0x2 => Self::NotReady,
            0x3 => Self::MediumError,
            0x4 => Self::HardwareError,
            0x5 => Self::IllegalRequest,
            0x6 => Self::UnitAttention,
            0x7 => Self::DataProtect,
            0xb => Self::AbortedCommand,
            other => Self::Other(other),
        }
    }
}

impl SenseKey {
    fn number(self) -> u8 {
        match self {
            Self::NoSense => 0x0,
            Self::RecoveredError => 0x1,
            Self::NotReady => 0x2,
            Self::MediumError => 0x3,
            Self::HardwareError => 0x4,
            Self::IllegalRequest => 0x5,
            Self::UnitAttention => 0x6,
            Self::DataProtect => 0x7,
            Self::AbortedCommand => 0xb,
            Self::Other(number) => number,
        }
    }
}

impl Sense {
    /// Decodes sense data. Fields that a device left off count as zero, as SPC-4 has it.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let reply = Reply::new("sense data", bytes);
        let code = reply.u8(0)? & 0x7f;
        let deferred = code & 1 == 1;
        match code {
            0x70 | 0x71 => Self::fixed(reply, deferred),
            0x72 | 0x73 => Self::descriptors(reply, deferred),
            other => Err(reply.error(Problem::ResponseCode(other))),
        }
    }

    fn fixed(reply: Reply<'_>, deferred: bool) -> Result<Self, DecodeError> {
        let key = SenseKey::from(reply.u8(2)? & 0x0f);
        let valid = reply.u8(0)? & 0x80 != 0;
        let information = if valid { reply.u32(3).ok().map(u64::from) } else { None };
        Ok(Self {
            key,
            asc: reply.u8(12).unwrap_or(0),
            ascq: reply.u8(13).unwrap_or(0),
            information,
            deferred,
        })
    }

    fn descriptors(reply: Reply<'_>, deferred: bool) -> Result<Self, DecodeError> {
        Ok(Self {
            key: SenseKey::from(reply.u8(1)? & 0x0f),
            asc: reply.u8(2)?,
            ascq: reply.u8(3)?,
            information: information_descriptor(reply),
            deferred,
        })
    }

    /// Key, ASC and ASCQ, to compare with a table.
    #[must_use]
    pub fn triple(&self) -> (u8, u8, u8) {
        (self.key.number(), self.asc, self.ascq)
    }
}

/// The first information descriptor (type 00h, 12 bytes, valid bit set), if there is one.
fn information_descriptor(reply: Reply<'_>) -> Option<u64> {
    let mut at = 8;
    while let Ok(header) = reply.slice(at, 2) {
        if header[0] == 0 && header[1] == 10 && reply.u8(at + 2).ok()? & 0x80 != 0 {
            return reply.u64(at + 4).ok();
        }
        at += 2 + usize::from(header[1]);
    }
    None
}

impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, asc, ascq) = self.triple();
        write!(f, "sense {key:02x}/{asc:02x}/{ascq:02x} ({:?})", self.key)?;
        if let Some(information) = self.information {
            write!(f, " at {information}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_say_the_same() {
        let mut fixed = [0; 18];
        fixed[0] = 0xf0;
        fixed[2] = 0x03;
        fixed[3..7].copy_from_slice(&0x1234_u32.to_be_bytes());
        fixed[7] = 10;
        fixed[12] = 0x11;
        let mut descriptor = vec![0x72, 0x03, 0x11, 0x00, 0, 0, 0, 20];
        descriptor.extend([0x02, 6, 0, 0, 0, 0, 0, 0]); // sense key specific: skipped
        descriptor.extend([0x00, 10, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34]);
        let wanted = Sense::decode(&fixed).unwrap();
        assert_eq!(wanted.information, Some(0x1234));
        assert_eq!(wanted.triple(), (3, 0x11, 0));
        assert_eq!(Sense::decode(&descriptor), Ok(wanted));
    }

    #[test]
    fn a_short_reply_keeps_what_is_there() {
        assert_eq!(Sense::decode(&[0x70, 0, 6]).unwrap().triple(), (6, 0, 0));
        assert!(Sense::decode(&[0x70, 0]).is_err());
        assert!(Sense::decode(&[]).is_err());
        assert!(Sense::decode(&[0x7f; 32]).is_err());
    }
}
