//! Headers of PDUs from the target.

use super::HEADER;

/// A basic header segment as it came. Every accessor is total: which of them mean something
/// depends on the opcode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header(pub(crate) [u8; HEADER]);

/// What a target can send (RFC 7143, 11.2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    NopIn,
    ScsiResponse,
    TaskResponse,
    LoginResponse,
    TextResponse,
    DataIn,
    LogoutResponse,
    ReadyToTransfer,
    AsyncMessage,
    Reject,
    Unknown(u8),
}

impl Header {
    pub(crate) fn opcode(&self) -> Opcode {
        match self.0[0] & 0x3f {
            0x20 => Opcode::NopIn,
            0x21 => Opcode::ScsiResponse,
            0x22 => Opcode::TaskResponse,
            0x23 => Opcode::LoginResponse,
            0x24 => Opcode::TextResponse,
            0x25 => Opcode::DataIn,
            0x26 => Opcode::LogoutResponse,
            0x31 => Opcode::ReadyToTransfer,
            0x32 => Opcode::AsyncMessage,
            0x3f => Opcode::Reject,
            other => Opcode::Unknown(other),
        }
    }

    /// Byte 1: flags of the opcode.
    pub(crate) fn flags(&self) -> u8 {
        self.0[1]
    }

    /// Byte 2: response or reason.
    pub(crate) fn response(&self) -> u8 {
        self.0[2]
    }

    /// Byte 3: SCSI status.
    pub(crate) fn status(&self) -> u8 {
        self.0[3]
    }

    /// Bytes of additional header segments.
    pub(crate) fn additional(&self) -> usize {
        usize::from(self.0[4]) * 4
    }

    /// Bytes of data, without padding (24 bits).
    pub(crate) fn data_length(&self) -> u32 {
        u32::from_be_bytes([0, self.0[5], self.0[6], self.0[7]])
    }

    pub(crate) fn lun(&self) -> [u8; 8] {
        self.0[8..16].try_into().expect("8 bytes of a fixed header")
    }

    /// Initiator task tag.
    pub(crate) fn task_tag(&self) -> u32 {
        self.u32(16)
    }

    /// Target transfer tag.
    pub(crate) fn transfer_tag(&self) -> u32 {
        self.u32(20)
    }

    pub(crate) fn stat_sn(&self) -> u32 {
        self.u32(24)
    }

    pub(crate) fn exp_cmd_sn(&self) -> u32 {
        self.u32(28)
    }

    pub(crate) fn max_cmd_sn(&self) -> u32 {
        self.u32(32)
    }

    /// Bytes 36 and 37: login status class and detail; asynchronous event and its code.
    pub(crate) fn detail(&self) -> (u8, u8) {
        (self.0[36], self.0[37])
    }

    /// Bytes 40 and 41: Time2Wait in a logout response, Parameter2 in an asynchronous message.
    pub(crate) fn parameter_2(&self) -> u16 {
        u16::from_be_bytes([self.0[40], self.0[41]])
    }

    /// Bytes 42 and 43: Parameter3 of an asynchronous message.
    pub(crate) fn parameter_3(&self) -> u16 {
        u16::from_be_bytes([self.0[42], self.0[43]])
    }

    /// Data-In: DataSN; R2T: R2TSN.
    pub(crate) fn data_sn(&self) -> u32 {
        self.u32(36)
    }

    /// Data-In and R2T: BufferOffset.
    pub(crate) fn buffer_offset(&self) -> u32 {
        self.u32(40)
    }

    /// R2T: desired data transfer length.
    pub(crate) fn desired_length(&self) -> u32 {
        self.u32(44)
    }

    /// Data-In and SCSI response: residual count.
    pub(crate) fn residual(&self) -> u32 {
        self.u32(44)
    }

    /// Login response: target session identifying handle.
    pub(crate) fn session_handle(&self) -> u16 {
        u16::from_be_bytes([self.0[14], self.0[15]])
    }

    fn u32(&self, at: usize) -> u32 {
        let bytes = self.0[at..at + 4].try_into().expect("4 bytes of a fixed header");
        u32::from_be_bytes(bytes)
    }
}
