//! Protected bytes in, parity and table out.

use super::code::Coder;
use super::{Geometry, ZONE, geometry::Zone};
use crate::BLOCK;

/// Computes parity and table of the bytes that are written through it.
///
/// Memory: the bytes of the zone that is being filled (at most 15 MiB, and as much as there is),
/// and 0.9 % of what went through.
pub struct ParityWriter {
    zone: Vec<u8>,
    length: u64,
    parity: Vec<u8>,
    checksums: Vec<u32>,
    coder: Coder,
}

/// What [`ParityWriter::finish`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Where everything goes.
    pub geometry: Geometry,
    /// The parity of all zones.
    pub parity: Vec<u8>,
    /// The table, without its padding.
    pub table: Vec<u8>,
}

impl Default for ParityWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl ParityWriter {
    /// Nothing written.
    #[must_use]
    pub fn new() -> Self {
        Self {
            zone: Vec::new(),
            length: 0,
            parity: Vec::new(),
            checksums: Vec::new(),
            coder: Coder::new(),
        }
    }

    /// Takes the next bytes, as many as there are.
    pub fn write(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(ZONE - self.zone.len()));
            self.zone.extend_from_slice(now);
            bytes = later;
            if self.zone.len() == ZONE {
                self.end_zone();
            }
        }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    fn end_zone(&mut self) {
        self.checksums.extend(self.zone.chunks(BLOCK).map(crc32fast::hash));
        let column = Zone { start: 0, length: self.zone.len(), parity_at: 0 }.column();
        self.coder.encode(&self.zone, column, &mut self.parity);
        self.zone.clear();
    }

    /// Parity and table of everything written; `None` when that is no multiple of a block, or
    /// nothing, or more than a segment can have.
    #[must_use]
    pub fn finish(mut self) -> Option<Protection> {
        let geometry = Geometry::new(self.length)?;
        if !self.zone.is_empty() {
            self.end_zone();
        }
        self.checksums.extend(self.parity.chunks(BLOCK).map(crc32fast::hash));
        let table = self.checksums.iter().flat_map(|crc| crc.to_le_bytes()).collect();
        Some(Protection { geometry, parity: self.parity, table })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn protect<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<Protection> {
        let mut writer = ParityWriter::new();
        pieces.into_iter().for_each(|piece| writer.write(piece));
        writer.finish()
    }

    #[test]
    fn lengths_and_table_are_those_of_the_geometry() {
        let bytes: Vec<u8> =
            (0..ZONE + 5 * BLOCK).map(|n| u8::try_from(n / 7 % 251).unwrap()).collect();
        for length in [BLOCK, 240 * BLOCK, 241 * BLOCK, ZONE - BLOCK, ZONE, ZONE + 5 * BLOCK] {
            let made = protect([&bytes[..length]]).unwrap();
            assert_eq!(made.geometry.parity_length(), made.parity.len() as u64);
            assert_eq!(made.geometry.table_length(), made.table.len() as u64);
            let all = [&bytes[..length], &made.parity].concat();
            for (block, crc) in all.chunks(BLOCK).zip(made.table.chunks(4)) {
                assert_eq!(crc32fast::hash(block).to_le_bytes(), crc);
            }
        }
        assert_eq!(protect([]), None);
        assert_eq!(protect([&[0; 100][..]]), None);
    }

    proptest! {
        #[test]
        fn the_cuts_between_the_pieces_make_no_difference(
            blocks in 1usize..600,
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..9),
        ) {
            let byte = |n: usize| u8::try_from(n * n / 3 % 256).unwrap();
            let bytes: Vec<u8> = (0..blocks * BLOCK).map(byte).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
            prop_assert_eq!(protect(pieces), protect([&bytes[..]]));
        }
    }
}
