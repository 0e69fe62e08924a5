//! `keys/master`: the master key and the secret, once for each key-encryption key.

use super::{KEY_FILE_BYTES, KeyEncryptionKey, MasterKey, Secret, wrong_key};
use crate::FormatError;
use crate::cipher::{Cipher, NONCE, TAG};
use crate::fields::{Fields, check_crc, put_crc};
use crate::header::RepositoryId;
use crate::segment::check_version;
use zeroize::Zeroizing;

const WHAT: &str = "master key file";
const VERSION: u16 = 2;
const HEAD: usize = 32;
const SLOT: usize = 160;
const SEALED: usize = 64;

/// Most key-encryption keys that can open one repository.
pub const SLOTS_MAX: usize = 8;

/// The file: what opens a repository to whoever has one of the key-encryption keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterFile {
    repository: RepositoryId,
    slots: Vec<Slot>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    key: [u8; 16],
    nonce: [u8; NONCE],
    sealed: [u8; SEALED],
    tag: [u8; TAG],
}

impl MasterFile {
    /// A file that nothing opens yet.
    #[must_use]
    pub fn new(repository: RepositoryId) -> Self {
        Self { repository, slots: Vec::new() }
    }

    /// Lets `kek` open it. `nonce` must be random. `false`: there is a slot of that key, or all
    /// [`SLOTS_MAX`] are taken.
    pub fn add(
        &mut self,
        kek: &KeyEncryptionKey,
        nonce: [u8; NONCE],
        (master, secret): (&MasterKey, &Secret),
    ) -> bool {
        let key = kek.id();
        if self.slots.len() >= SLOTS_MAX || self.slots.iter().any(|slot| slot.key == key) {
            return false;
        }
        let mut plain = Zeroizing::new([0; SEALED]);
        plain[..32].copy_from_slice(&*master.0);
        plain[32..].copy_from_slice(&*secret.0);
        let mut sealed = [0; SEALED];
        let tag = Cipher::new(&kek.0).seal(&nonce, &self.context(&key), &*plain, &mut sealed);
        self.slots.push(Slot { key, nonce, sealed, tag });
        true
    }

    /// Takes the slot of a key away; `false`: there is none, or it is the last one.
    pub fn remove(&mut self, key: &[u8; 16]) -> bool {
        let before = self.slots.len();
        if before > 1 {
            self.slots.retain(|slot| slot.key != *key);
        }
        self.slots.len() < before
    }

    /// Ids of the keys that open it.
    pub fn key_ids(&self) -> impl Iterator<Item = [u8; 16]> + '_ {
        self.slots.iter().map(|slot| slot.key)
    }

    /// What is inside. [`FormatError::WrongKey`]: `kek` is not one of its keys.
    pub fn open(&self, kek: &KeyEncryptionKey) -> Result<(MasterKey, Secret), FormatError> {
        let key = kek.id();
        let slot = self.slots.iter().find(|slot| slot.key == key).ok_or_else(|| wrong_key(WHAT))?;
        let mut plain = Zeroizing::new([0; SEALED]);
        let context = self.context(&key);
        let cipher = Cipher::new(&kek.0);
        if !cipher.open(&slot.nonce, &context, &slot.sealed, &slot.tag, &mut *plain) {
            return Err(FormatError::corrupt(WHAT, "the slot of this key has been altered"));
        }
        let (master, secret) = plain.split_at(32);
        let half = |bytes: &[u8]| {
            let mut half = Zeroizing::new([0; 32]);
            half.copy_from_slice(bytes);
            half
        };
        Ok((MasterKey(half(master)), Secret(half(secret))))
    }

    fn head(&self, slots: u16) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(b"HFKM");
        head[4..6].copy_from_slice(&VERSION.to_le_bytes());
        head[6..8].copy_from_slice(&slots.to_le_bytes());
        head[8..24].copy_from_slice(&self.repository.0);
        head
    }

    fn context(&self, key: &[u8; 16]) -> Vec<u8> {
        [&self.head(0)[..], key].concat()
    }

    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let count = u16::try_from(self.slots.len()).expect("at most SLOTS_MAX");
        let mut file = Vec::with_capacity(KEY_FILE_BYTES);
        file.extend_from_slice(&self.head(count));
        for slot in &self.slots {
            let end = file.len() + SLOT;
            file.extend_from_slice(&slot.key);
            file.extend_from_slice(&slot.nonce);
            file.extend_from_slice(&slot.sealed);
            file.extend_from_slice(&slot.tag);
            file.resize(end, 0);
        }
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
        fields.magic(b"HFKM")?;
        check_crc(WHAT, bytes)?;
        check_version(WHAT, VERSION, fields.u16()?)?;
        let count = usize::from(fields.u16()?);
        if !(1..=SLOTS_MAX).contains(&count) {
            return Err(FormatError::corrupt(WHAT, format!("{count} slots")));
        }
        let repository = RepositoryId(fields.array()?);
        fields.zeros(8)?;
        let slots = (0..count).map(|_| decode_slot(&mut fields)).collect::<Result<_, _>>()?;
        fields.zeros(KEY_FILE_BYTES - 4 - HEAD - SLOT * count)?;
        Ok(Self { repository, slots })
    }

    /// Repository it belongs to.
    #[must_use]
    pub fn repository(&self) -> RepositoryId {
        self.repository
    }
}

fn decode_slot(fields: &mut Fields<'_>) -> Result<Slot, FormatError> {
    let slot = Slot {
        key: fields.array()?,
        nonce: fields.array()?,
        sealed: fields.array()?,
        tag: fields.array()?,
    };
    fields.zeros(40)?;
    Ok(slot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kek(byte: u8) -> KeyEncryptionKey {
        KeyEncryptionKey::new(&[byte; 32])
    }

    fn sample() -> MasterFile {
        let inside = (&MasterKey::new(&[5; 32]), &Secret::new(&[6; 32]));
        let mut file = MasterFile::new(RepositoryId([1; 16]));
        assert!(file.add(&kek(2), [3; 24], inside));
        assert!(file.add(&kek(3), [4; 24], inside));
        assert!(!file.add(&kek(3), [5; 24], inside), "twice");
        file
    }

    #[test]
    fn each_key_opens_it_and_no_other_does() {
        let file = MasterFile::decode(&sample().encode()).unwrap();
        for byte in [2, 3] {
            let (master, secret) = file.open(&kek(byte)).unwrap();
            assert!(*master.0 == [5; 32] && *secret.0 == [6; 32]);
        }
        assert!(matches!(file.open(&kek(4)), Err(FormatError::WrongKey { .. })));
    }

    #[test]
    fn keys_come_and_go_but_one_stays() {
        let mut file = sample();
        assert!(file.remove(&kek(2).id()));
        assert!(!file.remove(&kek(2).id()));
        assert!(file.open(&kek(2)).is_err());
        assert!(!file.remove(&kek(3).id()), "the last one");
        let inside = file.open(&kek(3)).unwrap();
        for byte in 10..17 {
            assert!(file.add(&kek(byte), [byte; 24], (&inside.0, &inside.1)));
        }
        assert!(!file.add(&kek(17), [17; 24], (&inside.0, &inside.1)), "eight at most");
    }

    #[test]
    fn a_slot_is_bound_to_repository_and_key() {
        let file = sample();
        let moved = MasterFile { repository: RepositoryId([2; 16]), ..file.clone() };
        assert!(matches!(moved.open(&kek(2)), Err(FormatError::Corrupt { .. })));
        let mut swapped = file.clone();
        swapped.slots[0].key = file.slots[1].key;
        swapped.slots[1].key = file.slots[0].key;
        assert!(swapped.open(&kek(2)).is_err());
    }

    #[test]
    fn every_flipped_bit_is_found_and_no_key_stands_in_the_file() {
        let bytes = sample().encode();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(MasterFile::decode(&damaged).is_err(), "bit {bit}");
        }
        for key in [[5; 32], [6; 32], [2; 32]] {
            assert!(!bytes.windows(8).any(|window| *window == key[..8]));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_value_or_an_error(
            mut bytes in prop::collection::vec(any::<u8>(), 4096),
        ) {
            bytes[..6].copy_from_slice(b"HFKM\x02\x00");
            bytes[7] = 0;
            put_crc(&mut bytes);
            let _ = MasterFile::decode(&bytes);
            let _ = MasterFile::decode(&bytes[..100]);
        }
    }
}
