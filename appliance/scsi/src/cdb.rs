//! The bytes of one command. Only a role's constructors can make one.

use std::fmt;

/// A command descriptor block with the number of bytes it asks the device to send.
///
/// Invariant: `length` is 6, 10, 12 or 16; bytes beyond it are zero; no data goes *to* the device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cdb {
    bytes: [u8; 16],
    length: u8,
    data_in: u32,
}

impl Cdb {
    /// Private to the crate, so that a CDB exists only if a role has a function for it.
    pub(crate) fn new<const N: usize>(bytes: [u8; N], data_in: u32) -> Self {
        const { assert!(N == 6 || N == 10 || N == 12 || N == 16) };
        let mut padded = [0; 16];
        padded[..N].copy_from_slice(&bytes);
        let length = u8::try_from(N).expect("N is at most 16");
        Self { bytes: padded, length, data_in }
    }

    /// The operation code.
    #[must_use]
    pub fn opcode(&self) -> u8 {
        self.bytes[0]
    }

    /// The service action, for the operation codes that have one (5Eh, 9Eh, A3h).
    #[must_use]
    pub fn service_action(&self) -> Option<u8> {
        matches!(self.bytes[0], 0x5e | 0x9e | 0xa3).then(|| self.bytes[1] & 0x1f)
    }

    /// Bytes that the device is asked for at most.
    #[must_use]
    pub fn data_in(&self) -> u32 {
        self.data_in
    }

    /// The command in its own length, as SG_IO wants it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// The command padded with zeros to 16 bytes, as an iSCSI PDU carries it.
    #[must_use]
    pub fn padded(&self) -> [u8; 16] {
        self.bytes
    }
}

impl fmt::Debug for Cdb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cdb(")?;
        for byte in self.as_bytes() {
            write!(f, "{byte:02x}")?;
        }
        write!(f, ", in {})", self.data_in)
    }
}
