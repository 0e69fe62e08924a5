//! The name hash of VMFS-6 directories: Bob Jenkins' lookup8 over a salted key of 256 bytes.

const SALT: u64 = 0x739A_75C2_8E61_B017;

/// The hash of a file name.
pub(super) fn name_hash(name: &[u8]) -> u64 {
    let mut key = [0u8; 256];
    key[..name.len()].copy_from_slice(name);
    let mut position = (name.len() + 8) / 8 * 8;
    while position < 127 {
        key[position..position + 8].copy_from_slice(&SALT.to_le_bytes());
        position += 8;
    }
    let word = |n: usize| u64::from_le_bytes(key[n * 8..n * 8 + 8].try_into().expect("8 bytes"));
    let mut state: [u64; 3] = [42, 42, 0x9E37_79B9_7F4A_7C13];
    for q in (0..30).step_by(3) {
        for (part, value) in state.iter_mut().enumerate() {
            *value = value.wrapping_add(word(q + part));
        }
        mix(&mut state);
    }
    state[2] = state[2].wrapping_add(32);
    state[0] = state[0].wrapping_add(word(30));
    state[1] = state[1].wrapping_add(word(31));
    mix(&mut state);
    state[2]
}

fn mix([a, b, c]: &mut [u64; 3]) {
    for (s1, s2, s3) in [(43, 9, 8), (38, 23, 5), (35, 49, 11), (12, 18, 22)] {
        *a = a.wrapping_sub(*b).wrapping_sub(*c) ^ (*c >> s1);
        *b = b.wrapping_sub(*c).wrapping_sub(*a) ^ (*a << s2);
        *c = c.wrapping_sub(*a).wrapping_sub(*b) ^ (*b >> s3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes that ESXi wrote into directories of its own.
    #[test]
    fn hashes_are_those_of_esxi() {
        for (name, hash) in [
            ("small", 0xB778_B175_A46B_776D),
            ("normal-flat.vmdk", 0x562A_B4BF_1F64_94D2),
            ("As", 0xE308_914D_A7D6_0C54),
            ("Kusjes van SRT 😘", 0x9ADB_3B1C_81A5_8B05),
        ] {
            assert_eq!(name_hash(name.as_bytes()), hash, "{name}");
        }
        assert_eq!(name_hash(&[b'x'; 128]), 0xD917_DAE5_55F2_ED60);
    }
}
