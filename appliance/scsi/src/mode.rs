//! The header of MODE SENSE (SPC-4, 7.5.5): whether we could write, if we had a command for it.

use crate::error::DecodeError;
use crate::field::Reply;

/// What the header of a mode parameter list says about a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeHeader {
    /// WP: writes are refused. For a source disk that is how it should be presented.
    pub write_protected: bool,
    /// DPOFUA: the device knows DPO and FUA.
    pub dpo_fua: bool,
    /// Bytes of the whole list, header included, whatever the buffer's size was.
    pub needed: u32,
}

impl ModeHeader {
    /// Decodes a reply to MODE SENSE(6).
    pub fn decode_6(bytes: &[u8]) -> Result<Self, DecodeError> {
        let reply = Reply::new("MODE SENSE(6)", bytes);
        let header = reply.slice(0, 4)?;
        Ok(Self::of(header[2], u32::from(header[0]) + 1))
    }

    /// Decodes a reply to MODE SENSE(10).
    pub fn decode_10(bytes: &[u8]) -> Result<Self, DecodeError> {
        let reply = Reply::new("MODE SENSE(10)", bytes);
        let header = reply.slice(0, 8)?;
        Ok(Self::of(header[3], u32::from(reply.u16(0)?) + 2))
    }

    /// By the device-specific parameter (SBC-3, 6.5.1) and the size.
    fn of(specific: u8, needed: u32) -> Self {
        Self { write_protected: specific & 0x80 != 0, dpo_fua: specific & 0x10 != 0, needed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let wanted = ModeHeader { write_protected: true, dpo_fua: false, needed: 0x44 };
        assert_eq!(ModeHeader::decode_6(&[0x43, 0, 0x80, 8]), Ok(wanted));
        assert_eq!(ModeHeader::decode_10(&[0, 0x42, 0, 0x80, 0, 0, 0, 8]), Ok(wanted));
        let open = ModeHeader::decode_6(&[3, 0, 0x10, 0, 9, 9]).unwrap();
        assert!(!open.write_protected && open.dpo_fua);
        assert!(ModeHeader::decode_6(&[3, 0, 0]).is_err());
        assert!(ModeHeader::decode_10(&[0; 7]).is_err());
    }
}
