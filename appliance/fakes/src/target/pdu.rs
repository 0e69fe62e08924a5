//! PDUs as bytes (RFC 7143, 11), in both directions.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Larger data segments are not believed.
const DATA_MAX: usize = 16 << 20;

/// A PDU without its digests; those are made and taken off on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pdu {
    /// The basic header segment. Its data length is set when it is sent, unless `lie` is.
    pub header: [u8; 48],
    /// The data segment without padding.
    pub data: Vec<u8>,
    /// A data length to claim instead of the true one.
    pub lie: Option<u32>,
    /// Bits to invert in the data digest.
    pub damage: u32,
}

impl Pdu {
    /// A PDU of that operation code and with those flags, all else zero.
    #[must_use]
    pub fn new(opcode: u8, flags: u8) -> Self {
        let mut header = [0; 48];
        header[0] = opcode;
        header[1] = flags;
        Self { header, data: Vec::new(), lie: None, damage: 0 }
    }

    /// With a byte of its header set.
    #[must_use]
    pub fn byte(mut self, at: usize, value: u8) -> Self {
        self.header[at] = value;
        self
    }

    /// With a 32-bit field of its header set.
    #[must_use]
    pub fn with(mut self, at: usize, value: u32) -> Self {
        self.header[at..at + 4].copy_from_slice(&value.to_be_bytes());
        self
    }

    /// With data.
    #[must_use]
    pub fn data(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.data = data.into();
        self
    }

    /// With `key=value` pairs as data.
    #[must_use]
    pub fn text(self, pairs: &[(&str, &str)]) -> Self {
        let pair = |(key, value): &(&str, &str)| format!("{key}={value}\0").into_bytes();
        self.data(pairs.iter().flat_map(pair).collect::<Vec<u8>>())
    }

    /// A 32-bit field of its header.
    #[must_use]
    pub fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes([
            self.header[at],
            self.header[at + 1],
            self.header[at + 2],
            self.header[at + 3],
        ])
    }

    /// The operation code without the immediate bit.
    #[must_use]
    pub fn opcode(&self) -> u8 {
        self.header[0] & 0x3f
    }

    /// True when it does not use up a CmdSN.
    #[must_use]
    pub fn is_immediate(&self) -> bool {
        self.header[0] & 0x40 != 0
    }

    /// The CDB of a SCSI command.
    #[must_use]
    pub fn cdb(&self) -> [u8; 16] {
        self.header[32..].try_into().expect("the last 16 of 48 bytes")
    }

    /// The LUN field.
    #[must_use]
    pub fn lun(&self) -> [u8; 8] {
        self.header[8..16].try_into().expect("8 of 48 bytes")
    }

    /// The value of a key in its text.
    #[must_use]
    pub fn key(&self, key: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.data).into_owned();
        let mut pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
        pairs.find(|(name, _)| *name == key).map(|(_, value)| value.to_owned())
    }

    /// Its bytes on the wire.
    #[must_use]
    pub fn encode(&self, (header_digest, data_digest): (bool, bool)) -> Vec<u8> {
        let mut header = self.header;
        let length = self.lie.unwrap_or(u32::try_from(self.data.len()).unwrap_or(u32::MAX));
        header[5..8].copy_from_slice(&length.to_be_bytes()[1..]);
        let mut bytes = header.to_vec();
        if header_digest {
            bytes.extend(crc32c::crc32c(&header).to_le_bytes());
        }
        if self.data.is_empty() {
            return bytes;
        }
        let start = bytes.len();
        bytes.extend(&self.data);
        bytes.resize(start + self.data.len().next_multiple_of(4), 0);
        if data_digest {
            let digest = crc32c::crc32c(&bytes[start..]) ^ self.damage;
            bytes.extend(digest.to_le_bytes());
        }
        bytes
    }

    /// The next PDU of a stream; `Ok(None)` at its end.
    ///
    /// # Errors
    /// When the stream breaks, ends inside a PDU, or a digest is wrong.
    pub async fn read(
        stream: &mut (impl AsyncRead + Unpin),
        (header_digest, data_digest): (bool, bool),
    ) -> io::Result<Option<Self>> {
        let mut header = [0; 48];
        match stream.read_exact(&mut header).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let mut covered = header.to_vec();
        covered.resize(48 + usize::from(header[4]) * 4, 0);
        stream.read_exact(&mut covered[48..]).await?;
        if header_digest {
            check(stream, &covered).await?;
        }
        let length = u32::from_be_bytes([0, header[5], header[6], header[7]]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > DATA_MAX {
            return Err(io::Error::other("a data segment beyond reason"));
        }
        let mut data = vec![0; length.next_multiple_of(4)];
        stream.read_exact(&mut data).await?;
        if data_digest && length > 0 {
            check(stream, &data).await?;
        }
        data.truncate(length);
        Ok(Some(Self { header, data, lie: None, damage: 0 }))
    }
}

async fn check(stream: &mut (impl AsyncRead + Unpin), bytes: &[u8]) -> io::Result<()> {
    let mut digest = [0; 4];
    stream.read_exact(&mut digest).await?;
    if digest == crc32c::crc32c(bytes).to_le_bytes() {
        Ok(())
    } else {
        Err(io::Error::other("a digest is wrong"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_encoded_is_read_again() {
        for digests in [(false, false), (true, false), (false, true), (true, true)] {
            let pdu = Pdu::new(0x04, 0x80).with(16, 0xf002).text(&[("SendTargets", "All")]);
            let bytes = pdu.encode(digests);
            let read = Pdu::read(&mut &bytes[..], digests).await.unwrap().unwrap();
            assert_eq!(read.key("SendTargets").as_deref(), Some("All"));
            assert_eq!((read.opcode(), read.word(16)), (0x04, 0xf002));
            assert!(Pdu::read(&mut &bytes[..bytes.len() - 1], digests).await.is_err());
            assert_eq!(Pdu::read(&mut &bytes[..0], digests).await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn a_wrong_digest_is_noticed() {
        let pdu = Pdu { damage: 1, ..Pdu::new(0x25, 0x80).data([1, 2, 3]) };
        assert!(Pdu::read(&mut &pdu.encode((false, true))[..], (false, true)).await.is_err());
        assert!(Pdu::read(&mut &pdu.encode((false, false))[..], (false, false)).await.is_ok());
    }
}
