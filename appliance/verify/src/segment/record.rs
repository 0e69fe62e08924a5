//! One record where it lies: header, checksum, padding, and with the keys its content too.

use super::locate::{class_of, same_as_leaf};
use crate::report::Damage;
use format::codec::{Opener, Wanted};
use format::footer::Entry;
use format::header::RepositoryId;
use format::record::{Encoding, Kind, RECORD_HEADER, RecordHeader};
use format::segment::Class;
use format::{BLOCK, Place};
use ledger::event::Segment;

/// What is wrong with a record and yet spares its content.
pub(crate) type Harmless = &'static str;

/// Checks the record that fills `bytes`, by its footer entry when there is one. Without an opener
/// the content is not held against its id. The padding in `bytes` is zeroed.
pub(crate) fn check_record(
    bytes: &mut [u8],
    (repository, leaf): (RepositoryId, &Segment),
    entry: Option<&Entry>,
    opener: Option<&mut Opener>,
) -> Result<Option<Harmless>, Damage> {
    let header = RecordHeader::decode(bytes)?;
    let own = (header.repository, header.segment) == (repository, leaf.serial);
    Damage::unless(own, "a record of another segment or repository")?;
    let epoch = header.encryption.map_or(0, |encryption| encryption.epoch);
    let class = class_of(leaf);
    Damage::unless(same_as_leaf(leaf, class, leaf.cohort, epoch), "a record of another key epoch")?;
    let fits = (header.kind == Kind::Chunk) == (class == Class::Data);
    Damage::unless(fits, "a record of a kind that another class of segments holds")?;
    let block = entry.map_or(1, |entry| entry.block);
    if let Some(entry) = entry {
        let described = entry_of(&header, entry.block, epoch != 0);
        Damage::unless(described == *entry, "the record is not what the footer says")?;
    }
    let end = RECORD_HEADER + header.stored_length as usize;
    let blocks = RecordHeader::blocks(header.stored_length);
    Damage::unless(bytes.len() == blocks as usize * BLOCK, "the record is cut off")?;
    let stored_right = crc32fast::hash(&bytes[RECORD_HEADER..end]) == header.stored_crc;
    Damage::unless(stored_right, "the stored bytes have a wrong CRC")?;
    let padded = bytes[end..].iter().all(|&byte| byte == 0);
    bytes[end..].fill(0);
    let mut zeros = false;
    if let Some(opener) = opener {
        let place = Place::new(leaf.serial, block, blocks);
        let place = place.ok_or_else(|| Damage::new("a record where none can lie"))?;
        let wanted = Wanted { place, kind: header.kind, id: header.id };
        let mut plain = Vec::new();
        opener.open(bytes, &wanted, &mut plain)?;
        zeros = header.kind == Kind::Chunk && plain.iter().all(|&byte| byte == 0);
    }
    Ok(match (padded, zeros) {
        (false, _) => Some("bytes behind the record are not zero (the record is right)"),
        (true, true) => Some("a chunk of zeros is stored"),
        (true, false) => None,
    })
}

/// The entry that a footer must have for a record.
fn entry_of(header: &RecordHeader, block: u32, encrypted: bool) -> Entry {
    let encoding: Encoding = header.encoding;
    Entry {
        id: header.id,
        block,
        stored_length: header.stored_length,
        plain_length: header.plain_length,
        number: header.number,
        kind: header.kind,
        encoding,
        encrypted,
        stored_crc: header.stored_crc,
    }
}
