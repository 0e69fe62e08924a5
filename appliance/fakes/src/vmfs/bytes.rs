//! Little-endian fields in byte arrays, and a generator of reproducible bits.

/// 1 KiB.
pub(super) const KIB: u64 = 1 << 10;
/// 1 MiB, also the file block of every volume made here.
pub(super) const MIB: u64 = 1 << 20;

/// A count or offset within something that lies in memory.
pub(super) fn index(value: u64) -> usize {
    usize::try_from(value).expect("memory is addressed with 64 bits")
}

/// The low 16 bits.
pub(super) fn low16(value: u64) -> u16 {
    u16::try_from(value & 0xFFFF).expect("masked")
}

/// The low 32 bits.
pub(super) fn low32(value: u64) -> u32 {
    u32::try_from(value & 0xFFFF_FFFF).expect("masked")
}

pub(super) fn put(buffer: &mut [u8], at: usize, bytes: &[u8]) {
    buffer[at..at + bytes.len()].copy_from_slice(bytes);
}

pub(super) fn put16(buffer: &mut [u8], at: usize, value: u16) {
    put(buffer, at, &value.to_le_bytes());
}

pub(super) fn put32(buffer: &mut [u8], at: usize, value: u32) {
    put(buffer, at, &value.to_le_bytes());
}

pub(super) fn put64(buffer: &mut [u8], at: usize, value: u64) {
    put(buffer, at, &value.to_le_bytes());
}

pub(super) fn get16(buffer: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(buffer[at..at + 2].try_into().expect("2 bytes"))
}

pub(super) fn get32(buffer: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(buffer[at..at + 4].try_into().expect("4 bytes"))
}

pub(super) fn get64(buffer: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(buffer[at..at + 8].try_into().expect("8 bytes"))
}

/// `SplitMix64`: the same numbers for the same seed, on every machine.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound` (which is not 0).
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A VMFS UUID: seconds, bits, bits, the MAC of the host that made it.
pub(super) fn uuid(seconds: u32, random: &mut Random, mac: [u8; 6]) -> [u8; 16] {
    let mut bytes = [0; 16];
    put32(&mut bytes, 0, seconds);
    put32(&mut bytes, 4, low32(random.next()));
    put16(&mut bytes, 8, low16(random.next()));
    put(&mut bytes, 10, &mac);
    bytes
}

/// The text form of a VMFS UUID.
pub(super) fn uuid_text(uuid: &[u8; 16]) -> String {
    let mac: String = uuid[10..].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{:08x}-{:08x}-{:04x}-{mac}", get32(uuid, 0), get32(uuid, 4), get16(uuid, 8))
}
