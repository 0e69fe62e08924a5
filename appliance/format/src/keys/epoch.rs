//! `keys/<epoch>`: the data key of an epoch.

use super::{DataKey, KEY_FILE_BYTES, MasterKey, wrong_key};
use crate::FormatError;
use crate::cipher::{Cipher, NONCE, TAG};
use crate::fields::{Fields, check_crc, put_crc};
use crate::header::RepositoryId;
use crate::segment::check_version;
use zeroize::Zeroizing;

const WHAT: &str = "key file of an epoch";
const VERSION: u16 = 2;
const HEAD: usize = 32;
const USED: usize = HEAD + NONCE + 32 + TAG;

/// The file of one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochFile {
    repository: RepositoryId,
    epoch: u32,
    nonce: [u8; NONCE],
    sealed: [u8; 32],
    tag: [u8; TAG],
}

impl EpochFile {
    /// Seals the data key of `epoch` (from 1). `nonce` must be random.
    #[must_use]
    pub fn seal(
        repository: RepositoryId,
        epoch: u32,
        master: &MasterKey,
        key: &DataKey,
        nonce: [u8; NONCE],
    ) -> Self {
        let mut file = Self { repository, epoch, nonce, sealed: [0; 32], tag: [0; TAG] };
        let context = file.head();
        file.tag = Cipher::new(&master.0).seal(&nonce, &context, &*key.0, &mut file.sealed);
        file
    }

    /// The data key. [`FormatError::WrongKey`]: sealed under another master key, or altered.
    pub fn open(&self, master: &MasterKey) -> Result<DataKey, FormatError> {
        let mut key = Zeroizing::new([0; 32]);
        let cipher = Cipher::new(&master.0);
        if cipher.open(&self.nonce, &self.head(), &self.sealed, &self.tag, &mut *key) {
            Ok(DataKey(key))
        } else {
            Err(wrong_key(WHAT))
        }
    }

    /// Its number.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Repository it belongs to.
    #[must_use]
    pub fn repository(&self) -> RepositoryId {
        self.repository
    }

    fn head(&self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(b"HFKE");
        head[4..6].copy_from_slice(&VERSION.to_le_bytes());
        head[8..24].copy_from_slice(&self.repository.0);
        head[24..28].copy_from_slice(&self.epoch.to_le_bytes());
        head
    }

    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut file = Vec::with_capacity(KEY_FILE_BYTES);
        file.extend_from_slice(&self.head());
        file.extend_from_slice(&self.nonce);
        file.extend_from_slice(&self.sealed);
        file.extend_from_slice(&self.tag);
        file.resize(KEY_FILE_BYTES, 0);
        put_crc(&mut file);
        file
    }

    /// From the file's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() != KEY_FILE_BYTES {
            return Err(FormatError::corrupt(WHAT, format!("it has {} bytes", bytes.len())));
        }
        let mut fields = Fields::new(WHAT, bytes);
        fields.magic(b"HFKE")?;
        check_crc(WHAT, bytes)?;
        check_version(WHAT, VERSION, fields.u16()?)?;
        fields.zeros(2)?;
        let repository = RepositoryId(fields.array()?);
        let epoch = fields.u32()?;
        fields.zeros(4)?;
        let (nonce, sealed, tag) = (fields.array()?, fields.array()?, fields.array()?);
        fields.zeros(KEY_FILE_BYTES - 4 - USED)?;
        if epoch == 0 {
            return Err(FormatError::corrupt(WHAT, "epoch 0"));
        }
        Ok(Self { repository, epoch, nonce, sealed, tag })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> EpochFile {
        let (master, key) = (MasterKey::new(&[5; 32]), DataKey::new(&[7; 32]));
        EpochFile::seal(RepositoryId([1; 16]), 3, &master, &key, [9; 24])
    }

    #[test]
    fn only_its_master_key_opens_it_in_its_place() {
        let file = EpochFile::decode(&sample().encode()).unwrap();
        assert_eq!(file, sample());
        let master = MasterKey::new(&[5; 32]);
        assert!(*file.open(&master).unwrap().0 == [7; 32]);
        let other = file.open(&MasterKey::new(&[6; 32]));
        assert!(matches!(other, Err(FormatError::WrongKey { .. })));
        assert!(EpochFile { epoch: 4, ..file.clone() }.open(&master).is_err());
        assert!(EpochFile { repository: RepositoryId([2; 16]), ..file }.open(&master).is_err());
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = sample().encode();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(EpochFile::decode(&damaged).is_err(), "bit {bit}");
        }
        assert!(EpochFile::decode(&bytes[..4000]).is_err());
    }
}
