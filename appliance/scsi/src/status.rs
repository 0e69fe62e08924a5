//! The status byte (SAM-5, 5.3.1).

use std::fmt;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// 00h.
    Good,
    /// 02h: sense data says what is the matter.
    CheckCondition,
    /// 04h: PRE-FETCH only.
    ConditionMet,
    /// 08h.
    Busy,
    /// 18h: another initiator holds a reservation.
    ReservationConflict,
    /// 28h: the device's queue is full.
    TaskSetFull,
    /// 30h.
    AcaActive,
    /// 40h: someone reset the LUN or aborted the command.
    TaskAborted,
    /// Anything else.
    Unknown(u8),
}

impl From<u8> for Status {
    fn from(byte: u8) -> Self {
        match byte {
            0x00 => Self::Good,
            0x02 => Self::CheckCondition,
            0x04 => Self::ConditionMet,
            0x08 => Self::Busy,
            0x18 => Self::ReservationConflict,
            0x28 => Self::TaskSetFull,
            0x30 => Self::AcaActive,
            0x40 => Self::TaskAborted,
            other => Self::Unknown(other),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.write_str("GOOD"),
            Self::CheckCondition => f.write_str("CHECK CONDITION"),
            Self::ConditionMet => f.write_str("CONDITION MET"),
            Self::Busy => f.write_str("BUSY"),
            Self::ReservationConflict => f.write_str("RESERVATION CONFLICT"),
            Self::TaskSetFull => f.write_str("TASK SET FULL"),
            Self::AcaActive => f.write_str("ACA ACTIVE"),
            Self::TaskAborted => f.write_str("TASK ABORTED"),
            Self::Unknown(byte) => write!(f, "unknown status {byte:02x}h"),
        }
    }
}
