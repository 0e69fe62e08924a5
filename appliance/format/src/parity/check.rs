//! The wrong blocks of a sealed segment, found in one pass from the beginning to the end.

use super::{Geometry, geometry::Part};
use crate::BLOCK;
use crate::footer::DATA_HASH_AT;
use crate::trailer::Trailer;

/// Bytes per read.
const PIECE: usize = 1 << 20;

/// What [`check`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Blocks of the file that are not what they were, ascending. Without a right table: only
    /// those of the tables and trailers.
    pub wrong: Vec<u32>,
    /// A right table was found.
    pub table: bool,
    /// The footer hashes to the seal, and the data to what the footer says: every record is as it
    /// was written, whatever else is wrong.
    pub proven: bool,
}

impl Checked {
    /// True when every byte of the file is right.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.wrong.is_empty() && self.table && self.proven
    }
}

/// Reads a whole segment and says which of its blocks are wrong. `read` fills a buffer from an
/// offset; what cannot be read it gives as zeros. An error of `read` ends the check.
///
/// Memory: the table (at most 4 MiB) and one read.
pub fn check<E>(
    trailer: &Trailer,
    read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<Checked, E> {
    check_from(trailer, 0, read)
}

/// The same for everything behind the data: footer, tables, parity and trailers. `proven` says
/// only that the footer hashes to the seal.
pub fn check_frame<E>(
    trailer: &Trailer,
    read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<Checked, E> {
    check_from(trailer, trailer.footer_offset, read)
}

fn check_from<E>(
    trailer: &Trailer,
    start: u64,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<Checked, E> {
    let geometry = trailer.geometry;
    let (table, tables) = load_table(trailer, &mut read)?;
    let expected = trailer.encode();
    let mut proof = Proof::new(trailer, start);
    let mut wrong = Vec::new();
    let file = usize::try_from(geometry.file_length()).unwrap_or(PIECE);
    let mut piece = vec![0; file.min(PIECE)];
    let mut at = start;
    while at < geometry.file_length() {
        let left = usize::try_from(geometry.file_length() - at).unwrap_or(PIECE);
        let piece = &mut piece[..left.min(PIECE)];
        read(at, piece)?;
        for (offset, block) in (at..).step_by(BLOCK).zip(piece.chunks(BLOCK)) {
            let number = u32::try_from(offset / BLOCK as u64).expect("at most 2^20 blocks");
            let right = match geometry.part(number) {
                Part::Protected => {
                    proof.update(block);
                    table.as_ref().is_none_or(|table| is_right(table, &geometry, offset, block))
                }
                Part::Parity => {
                    table.as_ref().is_none_or(|table| is_right(table, &geometry, offset, block))
                }
                Part::Trailer => *block == expected,
                Part::Table => table.as_ref().is_some_and(|table| {
                    let copy = usize::from(offset >= geometry.tables()[1]);
                    tables[copy] || same_as_table(table, offset - geometry.tables()[copy], block)
                }),
            };
            if !right {
                wrong.push(number);
            }
        }
        at += piece.len() as u64;
    }
    Ok(Checked { wrong, table: table.is_some(), proven: proof.holds() })
}

/// The table, if one of its copies is right, and which ones are, padding included.
pub(super) fn load_table<E>(
    trailer: &Trailer,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<(Option<Vec<u8>>, [bool; 2]), E> {
    let geometry = trailer.geometry;
    let length = usize::try_from(geometry.table_length()).expect("at most 4 MiB");
    let mut copies = [false; 2];
    let mut found = None;
    for (copy, offset) in geometry.tables().into_iter().enumerate() {
        let mut table = vec![0; length.next_multiple_of(BLOCK)];
        read(offset, &mut table)?;
        let padding_right = table[length..].iter().all(|&byte| byte == 0);
        table.truncate(length);
        if *blake3::hash(&table).as_bytes() == trailer.table_hash {
            copies[copy] = padding_right;
            found = found.or(Some(table));
        }
    }
    Ok((found, copies))
}

/// Whether `block`, which lies at `offset`, has the checksum that the table has for it.
pub(super) fn is_right(table: &[u8], geometry: &Geometry, offset: u64, block: &[u8]) -> bool {
    let entry = geometry.entry(offset).map(|number| number * 4);
    entry.and_then(|at| table.get(at..at + 4)) == Some(&crc32fast::hash(block).to_le_bytes())
}

/// Whether `block` is what a right table has at `within`.
fn same_as_table(table: &[u8], within: u64, block: &[u8]) -> bool {
    let begin = usize::try_from(within).unwrap_or(usize::MAX).min(table.len());
    let (content, padding) = block.split_at(BLOCK.min(table.len() - begin));
    *content == table[begin..begin + content.len()] && padding.iter().all(|&byte| byte == 0)
}

/// Hashes the protected bytes, which it is given in order, and says whether they are right.
pub(super) struct Proof<'a> {
    trailer: &'a Trailer,
    at: u64,
    /// The data has been given, and not only what lies behind it.
    with_data: bool,
    data: blake3::Hasher,
    footer: blake3::Hasher,
    head: Vec<u8>,
    padding_is_zero: bool,
}

impl<'a> Proof<'a> {
    /// For the bytes from `start` on: 0, or the offset of the footer.
    pub(super) fn new(trailer: &'a Trailer, start: u64) -> Self {
        Self {
            trailer,
            at: start,
            with_data: start == 0,
            data: blake3::Hasher::new(),
            footer: blake3::Hasher::new(),
            head: Vec::new(),
            padding_is_zero: true,
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        let (data, rest) = self.split(bytes, self.trailer.footer_offset);
        self.data.update(data);
        self.at += data.len() as u64;
        let (footer, padding) =
            self.split(rest, self.trailer.footer_offset + self.trailer.footer_length);
        self.footer.update(footer);
        let wanted = DATA_HASH_AT.end.saturating_sub(self.head.len()).min(footer.len());
        self.head.extend_from_slice(&footer[..wanted]);
        self.at += rest.len() as u64;
        self.padding_is_zero &= padding.iter().all(|&byte| byte == 0);
    }

    fn split<'b>(&self, bytes: &'b [u8], end: u64) -> (&'b [u8], &'b [u8]) {
        let before = usize::try_from(end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        bytes.split_at(before.min(bytes.len()))
    }

    pub(super) fn holds(&self) -> bool {
        let data_hash = self.data.finalize();
        *self.footer.finalize().as_bytes() == self.trailer.seal
            && (!self.with_data || self.head.get(DATA_HASH_AT) == Some(data_hash.as_bytes()))
            && self.padding_is_zero
    }
}
