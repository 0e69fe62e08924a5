//! The code itself: Leopard's Reed-Solomon over GF(2^16), computed by `reed-solomon-simd`.
//!
//! Encoding goes through that crate's engine and not its encoder: the columns are taken two by two
//! from where they lie into 256 KiB that stay in the processor's cache, instead of being copied
//! into a second zone of 15 MiB. A test holds it against the encoder.

use super::PARITY_COLUMNS;
use crate::BLOCK;
use reed_solomon_simd::engine::{DefaultEngine, Engine as _, ShardsRefMut};
use reed_solomon_simd::{ReedSolomonDecoder, encode};

/// Bytes that the code takes together.
const UNIT: usize = 64;

/// Computes the parity of zones.
pub(super) struct Coder {
    engine: DefaultEngine,
    work: Vec<[u8; UNIT]>,
}

impl Coder {
    pub(super) fn new() -> Self {
        Self { engine: DefaultEngine::new(), work: Vec::new() }
    }

    /// Appends the two parity columns of `zone` to `parity`. `column` is a multiple of the block.
    pub(super) fn encode(&mut self, zone: &[u8], column: usize, parity: &mut Vec<u8>) {
        if zone.len() <= column {
            // One data column: the code is another one, and the simple way is cheap enough.
            let mut only = zone.to_vec();
            only.resize(column, 0);
            let columns = encode(1, PARITY_COLUMNS, [&only]).expect("one shard of even length");
            parity.extend(columns.into_iter().flatten());
            return;
        }
        let units = column / UNIT;
        self.work.clear();
        self.work.resize(4 * units, [0; UNIT]);
        let mut columns = zone.chunks(column);
        let mut position = 0;
        while let Some(first) = columns.next() {
            let second = columns.next().unwrap_or_default();
            let (_, pair) = self.work.as_flattened_mut().split_at_mut(2 * column);
            put(&mut pair[..column], first);
            put(&mut pair[column..], second);
            let present = if second.is_empty() { 1 } else { 2 };
            let mut shards = ShardsRefMut::new(4, units, &mut self.work);
            self.engine.ifft(&mut shards, 2, 2, present, position + 2);
            let (sum_units, pair_units) = self.work.split_at_mut(2 * units);
            reed_solomon_simd::engine::utils::xor(sum_units, pair_units);
            position += 2;
        }
        let mut shards = ShardsRefMut::new(2, units, &mut self.work);
        self.engine.fft(&mut shards, 0, 2, 2, 0);
        parity.extend_from_slice(self.work[..2 * units].as_flattened());
    }
}

fn put(target: &mut [u8], column: &[u8]) {
    let (present, absent) = target.split_at_mut(column.len());
    present.copy_from_slice(column);
    absent.fill(0);
}

/// Computes wrong data blocks of one row. `blocks` are those of the row, data first, then the two
/// of parity; `None` is a wrong one. Gives the number and content of each wrong data block, or
/// nothing when too many are wrong.
pub(super) fn decode(blocks: &[Option<&[u8]>]) -> Option<Vec<(usize, Vec<u8>)>> {
    let columns = blocks.len().checked_sub(PARITY_COLUMNS).filter(|&columns| columns > 0)?;
    let (data, parity) = blocks.split_at(columns);
    let mut decoder = ReedSolomonDecoder::new(columns, PARITY_COLUMNS, BLOCK).ok()?;
    for (number, block) in data.iter().enumerate().filter_map(|(n, block)| Some((n, (*block)?))) {
        decoder.add_original_shard(number, block).ok()?;
    }
    for (number, block) in parity.iter().enumerate().filter_map(|(n, block)| Some((n, (*block)?))) {
        decoder.add_recovery_shard(number, block).ok()?;
    }
    let result = decoder.decode().ok()?;
    Some(result.restored_original_iter().map(|(n, block)| (n, block.to_vec())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(&length.to_le_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn the_engine_gives_what_the_encoder_of_the_crate_gives() {
        let mut coder = Coder::new();
        for column in [BLOCK, 3 * BLOCK] {
            for columns in [1, 2, 3, 4, 5, 16, 31, 100, 239, 240] {
                let zone = noise(column * columns - (columns % 3) * BLOCK / 4);
                let mut shards: Vec<Vec<u8>> = zone.chunks(column).map(<[u8]>::to_vec).collect();
                shards[columns - 1].resize(column, 0);
                let expected = encode(columns, PARITY_COLUMNS, &shards).unwrap().concat();
                let mut parity = Vec::new();
                coder.encode(&zone, column, &mut parity);
                assert!(parity == expected, "{columns} columns of {column}");
            }
        }
    }

    #[test]
    fn each_block_of_a_row_is_coded_for_itself() {
        let (column, columns) = (4 * BLOCK, 7);
        let zone = noise(column * columns);
        let mut parity = Vec::new();
        Coder::new().encode(&zone, column, &mut parity);
        for row in 0..4 {
            let at = |bytes: &[u8], n: usize| bytes[n * column + row * BLOCK..][..BLOCK].to_vec();
            let mut whole: Vec<Vec<u8>> = (0..columns).map(|n| at(&zone, n)).collect();
            whole.extend((0..2).map(|n| at(&parity, n)));
            let mut blocks: Vec<Option<&[u8]>> = whole.iter().map(|b| Some(&b[..])).collect();
            blocks[1] = None;
            blocks[5] = None;
            let found = decode(&blocks).unwrap();
            assert_eq!(found, [(1, whole[1].clone()), (5, whole[5].clone())]);
            blocks[8] = None;
            assert_eq!(decode(&blocks), None);
        }
    }
}
