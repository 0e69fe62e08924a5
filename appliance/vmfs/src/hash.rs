//! The name hash of VMFS-6 directories: the 64-bit lookup8 of Bob Jenkins over a key of 256
//! bytes, the name followed by a salt.

const KEY_WORDS: usize = 32;
const SALT: u64 = 0x739A_75C2_8E61_B017;
/// The salt is written as long as its position is below this.
const SALT_END: usize = 127;

/// The hash of a name of at most 255 bytes; longer ones do not fit an entry.
pub(crate) fn name_hash(name: &[u8]) -> u64 {
    let key = key(name);
    let (mut a, mut b, mut c) = (42u64, 42u64, 0x9E37_79B9_7F4A_7C13u64);
    for words in key[..30].chunks_exact(3) {
        a = a.wrapping_add(words[0]);
        b = b.wrapping_add(words[1]);
        c = c.wrapping_add(words[2]);
        (a, b, c) = mix(a, b, c);
    }
    c = c.wrapping_add(KEY_WORDS as u64);
    (_, _, c) = mix(a.wrapping_add(key[30]), b.wrapping_add(key[31]), c);
    c
}

fn key(name: &[u8]) -> [u64; KEY_WORDS] {
    let mut key = [0; KEY_WORDS];
    for (word, bytes) in key.iter_mut().zip(name.chunks(8)) {
        let mut padded = [0; 8];
        padded[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_le_bytes(padded);
    }
    let first_salt = (name.len() + 8) / 8;
    let salted = key.iter_mut().take(SALT_END.div_ceil(8)).skip(first_salt);
    salted.for_each(|word| *word = SALT);
    key
}

fn mix(mut a: u64, mut b: u64, mut c: u64) -> (u64, u64, u64) {
    for (first, second, third) in [(43, 9, 8), (38, 23, 5), (35, 49, 11), (12, 18, 22)] {
        a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> first);
        b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << second);
        c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> third);
    }
    (a, b, c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_that_esxi_wrote() {
        for (name, hash, root, other) in [
            ("small", 0xB778_B175_A46B_776D_u64, 0x11B7, 0x3BE0),
            ("big", 0x2DC0_D4D6_D7E3_1B04, 0x320F, 0x0A27),
            ("directory", 0x5F12_6585_0DBC_9F66, 0x3C82, 0x0F97),
            ("normal-flat.vmdk", 0x562A_B4BF_1F64_94D2, 0x34F5, 0x1B86),
            ("file1", 0x7B27_20D6_D2B9_70EB, 0x2CC1, 0x10FC),
            ("file100", 0x8A67_03FA_12C8_B7E1, 0x0C10, 0x20FF),
            ("As", 0xE308_914D_A7D6_0C54, 0x3556, 0x26F7),
            ("Kusjes van SRT 😘", 0x9ADB_3B1C_81A5_8B05, 0x0786, 0x26F7),
        ] {
            let found = name_hash(name.as_bytes());
            assert_eq!((found, found % 15973, found % 16001), (hash, root, other), "{name}");
        }
    }

    #[test]
    fn long_names_end_the_salt() {
        for (length, hash) in [
            (119, 0x050D_D2DC_1675_265E),
            (120, 0x3C76_ECCF_7B13_237D),
            (127, 0x3DFE_8951_AFDB_5E22),
            (128, 0xD917_DAE5_55F2_ED60),
        ] {
            assert_eq!(name_hash(&vec![b'x'; length]), hash, "{length}");
        }
    }
}
