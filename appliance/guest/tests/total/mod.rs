//! Arbitrary bytes, and real tables with flipped bits: [`guest::fuzz`] checks what is promised.

use crate::common::{Image, MIB};
use guest::{Wanted, look};
use proptest::prelude::*;
use std::sync::LazyLock;

const SIZE: u64 = 2 * MIB;
const SWAP: u64 = MIB / 2;

/// Small disks with a GPT and with an MBR, each with swap in its middle.
static CORPUS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let gpt = "label: gpt\nstart=64,size=512,type=L\nstart=1024,size=2048,type=S\n";
    let mbr = "label: dos\n1: start=64,size=512,type=83\n2: start=900,size=3000,type=5\n\
        5: start=1024,size=2048,type=82\n6: start=3200,size=512,type=83\n";
    let make = |table| {
        let image = Image::with_table(SIZE, table);
        image.put_swap(SWAP, MIB);
        std::fs::read(&image.path).unwrap()
    };
    vec![make(gpt), make(mbr)]
});

#[test]
fn the_corpus_its_beginnings_and_each_flipped_bit_of_its_structures() {
    for bytes in &*CORPUS {
        guest::fuzz(bytes);
        let whole = look(bytes, Wanted { swap: true, grain: 4096 }).excluded;
        assert_eq!(whole.len(), 1);
        for end in (0..bytes.len()).step_by(37_777) {
            guest::fuzz(&bytes[..end]);
        }
        let first_page = usize::try_from(SWAP).unwrap();
        for at in (440..1024).chain(1024..1600).chain(first_page..first_page + 4096) {
            if bytes[at] == 0 && at % 16 != 0 {
                continue;
            }
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            let found = look(&flipped, Wanted { swap: true, grain: 4096 }).excluded;
            // What is found after a flip lies where swap is: never a byte of anything else.
            for range in found.iter().flat_map(|exclusion| &exclusion.ranges) {
                assert!(range.offset > SWAP && range.end() <= SWAP + MIB, "byte {at}: {range:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_is_written_over_a_disk_the_promises_hold(
        which in 0usize..2,
        damage in prop::collection::vec((0usize..1 << 21, any::<[u8; 8]>()), 1..6),
        near in prop::collection::vec((440usize..1600, any::<u8>()), 0..4),
    ) {
        let mut bytes = CORPUS[which].clone();
        for (at, noise) in damage {
            let end = bytes.len().min(at + 8);
            bytes[at..end].copy_from_slice(&noise[..end - at]);
        }
        near.into_iter().for_each(|(at, byte)| bytes[at] = byte);
        guest::fuzz(&bytes);
    }
}
