//! Devices that hold noise, or noise after the right magic numbers: an error, always.

use proptest::prelude::*;
use std::sync::Arc;
use vmfs::{Volume, find_partition};

const LVM: usize = 0x10_0000;
const HEADER: usize = 0x110_0000 + 0x20_0000;

/// A device of 20 MiB with noise at the places where structures are.
fn device(magic: bool, version: u8, noise: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 20 << 20];
    for at in [0, 512, LVM, LVM + 512, LVM + 0x1000, LVM + 0x8_0200, LVM + 0x8_1000, HEADER] {
        bytes[at..at + noise.len()].copy_from_slice(noise);
    }
    if magic {
        bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
        bytes[512..520].copy_from_slice(b"EFI PART");
        bytes[LVM..LVM + 4].copy_from_slice(&0xC001_D00D_u32.to_le_bytes());
        bytes[LVM + 4..LVM + 8].copy_from_slice(&[version, 0, 0, 0]);
        bytes[HEADER..HEADER + 4].copy_from_slice(&0x2FAB_F15E_u32.to_le_bytes());
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn noise_is_refused(
        magic: bool,
        version in 4u8..8,
        noise in prop::collection::vec(any::<u8>(), 512),
    ) {
        let bytes = device(magic, version, &noise);
        let _ = find_partition(&bytes);
        let device = Arc::new(bytes);
        prop_assert!(Volume::open(vec![device.clone()]).is_err());
        prop_assert!(Volume::open_bare(device).is_err());
    }

    #[test]
    fn short_devices_are_refused(length in 0usize..2000) {
        let bytes = vec![0u8; length];
        prop_assert!(find_partition(&bytes).is_err());
        prop_assert!(Volume::open(vec![Arc::new(bytes)]).is_err());
    }
}
