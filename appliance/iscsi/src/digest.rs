//! CRC32C digests (RFC 7143, 13.1): Castagnoli, lowest byte first on the wire.

/// The digest of `bytes` as it goes over the wire.
pub(crate) fn of(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).to_le_bytes()
}

/// A digest over pieces as they arrive.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Running(u32);

impl Running {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0 = crc32c::crc32c_append(self.0, bytes);
    }

    pub(crate) fn wire(self) -> [u8; 4] {
        self.0.to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7143, Appendix A.4.
    #[test]
    fn the_examples_of_the_rfc() {
        let up: Vec<u8> = (0..32).collect();
        let down: Vec<u8> = (0..32).rev().collect();
        for (bytes, wanted) in [
            (&[0x00; 32][..], [0xaa, 0x36, 0x91, 0x8a]),
            (&[0xff; 32][..], [0x43, 0xab, 0xa8, 0x62]),
            (&up[..], [0x4e, 0x79, 0xdd, 0x46]),
            (&down[..], [0x5c, 0xdb, 0x3f, 0x11]),
        ] {
            assert_eq!(of(bytes), wanted);
            let mut running = Running::default();
            running.add(&bytes[..7]);
            running.add(&bytes[7..]);
            assert_eq!(running.wire(), wanted);
        }
    }
}
