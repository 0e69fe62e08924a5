//! Little-endian fields of structures whose bytes were read whole, and UUIDs.

/// Reads fields of a structure. Offsets are constants within the structure's size, so that a
/// field outside is a mistake in this crate, never a property of the input.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn array<const N: usize>(self, at: usize) -> [u8; N] {
        self.0[at..at + N].try_into().expect("a slice of N bytes")
    }

    pub(crate) fn u8(self, at: usize) -> u8 {
        self.0[at]
    }

    pub(crate) fn u16(self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    pub(crate) fn u32(self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    pub(crate) fn u64(self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }

    /// Two halves of a number, stored apart.
    pub(crate) fn split_u64(self, low: usize, high: usize) -> u64 {
        u64::from(self.u32(low)) | u64::from(self.u32(high)) << 32
    }

    /// The bytes of a text field up to its first zero.
    pub(crate) fn text(self, at: usize, length: usize) -> &'a [u8] {
        let field = &self.0[at..at + length];
        field.split(|byte| *byte == 0).next().unwrap_or(field)
    }
}

/// An offset or count in memory; the caller has bounded it.
pub(crate) fn index(value: u64) -> usize {
    usize::try_from(value).expect("bounded far below the address space")
}

/// The text form of a VMFS UUID, as in `/vmfs/volumes/<uuid>`.
pub(crate) fn uuid_text(uuid: &[u8; 16]) -> String {
    let fields = Fields(uuid);
    let mac: String = uuid[10..].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{:08x}-{:08x}-{:04x}-{mac}", fields.u32(0), fields.u32(4), fields.u16(8))
}
