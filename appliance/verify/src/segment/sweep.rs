//! Every byte of a segment once: hash of the data, and checksums and parity computed anew from
//! the protected bytes and held against those that are stored. FORMAT.md 4.3.
//!
//! Memory: one zone (15 MiB), and parity and table of the segment (0.9 % of it).

use super::PIECE;
use crate::files::Source;
use format::BLOCK;
use format::parity::{Geometry, ParityWriter, Protection, Zone};
use format::trailer::Trailer;

/// Whether a checksum differs from the one that the stored table has at an index.
type WrongAt<'a> = dyn Fn(usize, &[u8]) -> bool + 'a;

/// Reads the protected bytes in order.
pub(super) struct Sweep<'a> {
    file: &'a Source,
    trailer: &'a Trailer,
    at: u64,
    data: blake3::Hasher,
    parity: ParityWriter,
    wrong: Vec<(String, String)>,
    /// Bytes behind the footer that are not zero.
    padding: bool,
}

/// What a sweep came to.
pub(super) struct Swept {
    /// BLAKE3 of the data as it lies there.
    pub(super) data_hash: [u8; 32],
    /// Places and what is wrong with them.
    pub(super) wrong: Vec<(String, String)>,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(file: &'a Source, trailer: &'a Trailer) -> Self {
        let (data, parity) = (blake3::Hasher::new(), ParityWriter::new());
        Self { file, trailer, at: 0, data, parity, wrong: Vec::new(), padding: false }
    }

    /// The next `length` bytes. What cannot be read counts as zeros.
    pub(super) fn take(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.read(self.at, &mut bytes);
        let trailer = self.trailer;
        let before = |end: u64| {
            usize::try_from(end.saturating_sub(self.at)).unwrap_or(usize::MAX).min(length)
        };
        let data = before(trailer.footer_offset);
        let footer = before(trailer.footer_offset + trailer.footer_length);
        self.padding |= bytes[footer..].iter().any(|&byte| byte != 0);
        self.data.update(&bytes[..data]);
        self.parity.write(&bytes);
        self.at += length as u64;
        bytes
    }

    fn read(&mut self, at: u64, bytes: &mut [u8]) {
        if self.file.read(at, bytes).is_ok() {
            return;
        }
        for (offset, block) in (at..).step_by(BLOCK).zip(bytes.chunks_mut(BLOCK)) {
            if let Err(damage) = self.file.read(offset, block) {
                block.fill(0);
                if self.wrong.len() < BLOCK {
                    let place = format!(", block {}", offset / BLOCK as u64);
                    self.wrong.push((place, damage.0));
                }
            }
        }
    }

    /// The rest of the protected bytes.
    pub(super) fn finish_protected(&mut self) {
        let end = self.trailer.geometry.protected_length();
        while self.at < end {
            let left = usize::try_from(end - self.at).unwrap_or(PIECE);
            self.take(left.min(PIECE));
        }
    }

    /// Compares what follows from the protected bytes with what is stored. Without a right
    /// trailer nothing says which table is right: both must be the same.
    pub(super) fn finish(mut self, trailer_right: bool) -> Swept {
        let data_hash = *self.data.finalize().as_bytes();
        if self.padding {
            self.add("", "bytes behind the footer are not zero");
        }
        let computed = std::mem::take(&mut self.parity).finish();
        if let Some(computed) = computed {
            let table = self.tables(trailer_right);
            self.blocks(&computed, table.as_deref());
        } else {
            self.add("", "no segment can be so long");
        }
        Swept { data_hash, wrong: self.wrong }
    }

    fn add(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.wrong.push((place.into(), what.into()));
    }

    /// The right table, if there is one.
    fn tables(&mut self, trailer_right: bool) -> Option<Vec<u8>> {
        let geometry = self.trailer.geometry;
        let length = usize::try_from(geometry.table_length()).unwrap_or(0);
        let mut right: Vec<Vec<u8>> = Vec::new();
        for (name, at) in ["first", "second"].into_iter().zip(geometry.tables()) {
            let mut table = vec![0; length.next_multiple_of(BLOCK)];
            self.read(at, &mut table);
            if table[length..].iter().any(|&byte| byte != 0) {
                self.add("", format!("bytes behind the {name} table of checksums are not zero"));
            }
            table.truncate(length);
            let known = *blake3::hash(&table).as_bytes() == self.trailer.table_hash;
            if trailer_right && !known {
                self.add("", format!("the {name} table of checksums has a wrong hash"));
            } else {
                right.push(table);
            }
        }
        if !trailer_right && (right.len() < 2 || right[0] != right[1]) {
            self.add("", "the tables of checksums differ and no trailer says which is right");
            return None;
        }
        right.pop()
    }

    /// Blocks that are not what the table says, and parity that is not what the data gives.
    fn blocks(&mut self, computed: &Protection, table: Option<&[u8]>) {
        let geometry = computed.geometry;
        let protected = usize::try_from(geometry.protected_length() / BLOCK as u64).unwrap_or(0);
        let stored_crc =
            |number: usize| table.and_then(|table| table.get(number * 4..number * 4 + 4));
        let wrong_at = |number: usize, crc: &[u8]| stored_crc(number).is_some_and(|s| s != crc);
        let wrong: Vec<u64> = (0..)
            .zip(computed.table.chunks(4).take(protected))
            .filter(|(number, crc)| wrong_at(*number, crc))
            .map(|(number, _)| number as u64)
            .collect();
        self.runs(&wrong, "the table of checksums has another one for the data");
        for zone in geometry.zones() {
            let (first, last) = (zone.start, zone.start + zone.length as u64);
            let hurt = wrong.iter().any(|block| (first..last).contains(&(block * BLOCK as u64)));
            self.zone(&zone, &geometry, computed, (hurt, &wrong_at));
        }
    }

    fn zone(
        &mut self,
        zone: &Zone,
        geometry: &Geometry,
        computed: &Protection,
        (hurt, wrong_at): (bool, &WrongAt<'_>),
    ) {
        let mut stored = vec![0; zone.parity_length()];
        self.read(zone.parity_at, &mut stored);
        let begin = usize::try_from(zone.parity_at - geometry.parity_offset()).unwrap_or(0);
        let parity = &computed.parity[begin..begin + stored.len()];
        let (mut checksums, mut differing) = (Vec::new(), Vec::new());
        for ((at, block), right) in
            (zone.parity_at..).step_by(BLOCK).zip(stored.chunks(BLOCK)).zip(parity.chunks(BLOCK))
        {
            let crc = crc32fast::hash(block).to_le_bytes();
            if geometry.entry(at).is_some_and(|number| wrong_at(number, &crc)) {
                checksums.push(at / BLOCK as u64);
            } else if !hurt && block != right {
                differing.push(at / BLOCK as u64);
            }
        }
        self.runs(&checksums, "the table of checksums has another one for the parity");
        self.runs(&differing, "the parity is not what follows from the data");
    }

    /// One finding for each run of blocks.
    fn runs(&mut self, blocks: &[u64], what: &str) {
        for run in blocks.chunk_by(|one, next| one + 1 == *next) {
            let (first, last) = (run[0], run[run.len() - 1]);
            let place = if first == last {
                format!(", block {first}")
            } else {
                format!(", blocks {first}-{last}")
            };
            self.add(place, what);
        }
    }
}
