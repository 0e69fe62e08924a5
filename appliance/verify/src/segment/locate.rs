//! Where the parts of a segment lie: trailers and footer, held against the leaf of the ledger.

use crate::files::Source;
use crate::report::Damage;
use format::footer::{Entry, Footer, footer_bytes};
use format::header::RepositoryId;
use format::parity::Geometry;
use format::record::RecordHeader;
use format::segment::Class;
use format::trailer::Trailer;
use format::{BLOCK, SEGMENT_MAX};
use ledger::event::Segment;

/// Footers that are looked at when there is no trailer; each must name its own place.
const TRIES: u32 = 16;

/// The parts of a segment.
pub(crate) struct Located {
    /// The trailer, or, with `trailer_right` false, what it must have been.
    pub(crate) trailer: Trailer,
    /// One of the two trailers is right.
    pub(crate) trailer_right: bool,
    /// The footer, when it has the seal that the ledger names.
    pub(crate) footer: Option<Footer>,
}

pub(super) fn class_of(leaf: &Segment) -> Class {
    if leaf.class == "data" { Class::Data } else { Class::Metadata }
}

pub(super) fn same_as_leaf(leaf: &Segment, class: Class, cohort: u8, epoch: u32) -> bool {
    (class, cohort, epoch) == (class_of(leaf), leaf.cohort, leaf.epoch)
}

/// Finds trailers and footer; `wrong` is told what is damaged. `None`: neither can be found.
pub(crate) fn locate(
    file: &Source,
    leaf: &Segment,
    repository: RepositoryId,
    wrong: &mut dyn FnMut(Damage),
) -> Option<Located> {
    let length = file.length();
    let ends = if leaf.bytes == length { vec![length] } else { vec![length, leaf.bytes] };
    for end in ends {
        let mut quiet = |_| {};
        let told: &mut dyn FnMut(Damage) = if end == length { wrong } else { &mut quiet };
        if let Some(trailer) = trailers(file, leaf, repository, end, told) {
            let footer = footer(file, leaf, &trailer).map_err(wrong).ok();
            return Some(Located { trailer, trailer_right: true, footer });
        }
    }
    search(file, leaf, repository).map(|(trailer, footer)| Located {
        trailer,
        trailer_right: false,
        footer: Some(footer),
    })
}

/// Both trailers of a file of `end` bytes must be right and the same; the last one counts.
fn trailers(
    file: &Source,
    leaf: &Segment,
    repository: RepositoryId,
    end: u64,
    wrong: &mut dyn FnMut(Damage),
) -> Option<Trailer> {
    let Some(geometry) = Geometry::of_file(end) else {
        wrong(Damage(format!("{end} bytes long, as no segment is: trailers cannot be found")));
        return None;
    };
    let [first, last] = geometry.trailers();
    let mut found = Vec::new();
    for (name, at) in [("last", last), ("first", first)] {
        let trailer = file.bytes(at, BLOCK).and_then(|block| {
            let trailer = Trailer::decode(&block, end)?;
            own(&trailer, leaf, repository)?;
            Ok(trailer)
        });
        match trailer {
            Ok(trailer) => found.push(trailer),
            Err(damage) => wrong(Damage(format!("{name} trailer: {damage}"))),
        }
    }
    if let [one, other] = found[..]
        && one != other
    {
        wrong(Damage::new("the two trailers differ"));
    }
    found.first().copied()
}

fn own(trailer: &Trailer, leaf: &Segment, repository: RepositoryId) -> Result<(), Damage> {
    let own = (trailer.repository, trailer.serial) == (repository, leaf.serial);
    Damage::unless(own, "belongs to another segment or repository")?;
    let same = same_as_leaf(leaf, trailer.class, trailer.cohort, trailer.epoch);
    Damage::unless(same, "class, cohort or epoch are not those of the ledger")?;
    Damage::unless(hex::encode(trailer.seal) == leaf.seal, "another seal than in the ledger")
}

/// The footer that the trailer names, with all that must follow from its entries.
fn footer(file: &Source, leaf: &Segment, trailer: &Trailer) -> Result<Footer, Damage> {
    let length = usize::try_from(trailer.footer_length)
        .map_err(|_| Damage::new("footer: longer than any footer"))?;
    let footer = Footer::decode(&file.bytes(trailer.footer_offset, length)?, trailer)?;
    let ascending = footer.entries.windows(2).all(|two| {
        let key = |entry: &Entry| (entry.id, entry.block);
        key(&two[0]) < key(&two[1])
    });
    Damage::unless(ascending, "footer: entries that are not ascending")?;
    let plain: u64 = footer.entries.iter().map(|entry| u64::from(entry.plain_length)).sum();
    Damage::unless(plain == footer.plain_bytes, "footer: the sum of the plain lengths is wrong")?;
    let data = (class_of(leaf) == Class::Data, format::record::Kind::Chunk);
    let fits = footer.entries.iter().all(|entry| (entry.kind == data.1) == data.0);
    Damage::unless(fits, "footer: records of another class")?;
    without_gaps(&footer)?;
    Ok(footer)
}

/// The records must fill the data exactly, numbered in the order in which they lie.
fn without_gaps(footer: &Footer) -> Result<(), Damage> {
    let mut order: Vec<&Entry> = footer.entries.iter().collect();
    order.sort_unstable_by_key(|entry| entry.block);
    let mut block = 1;
    for (number, entry) in (0u32..).zip(order) {
        if entry.block != block || entry.number != number {
            return Err(Damage(format!("footer: a gap or an overlap at block {block}")));
        }
        block += RecordHeader::blocks(entry.stored_length);
    }
    let filled = u64::from(block) * BLOCK as u64 == footer.data_length;
    Damage::unless(filled, "footer: the records do not fill the data")
}

/// Without a trailer: the footer that has the seal of the ledger, wherever it lies.
fn search(file: &Source, leaf: &Segment, repository: RepositoryId) -> Option<(Trailer, Footer)> {
    let (mut at, mut tries) = (BLOCK as u64, 0);
    while at < file.length() && tries < TRIES {
        if let Ok(head) = file.bytes(at, 48)
            && head[..4] == *b"HFFT"
            && head[40..48] == at.to_le_bytes()
        {
            tries += 1;
            let records = u32::from_le_bytes([head[32], head[33], head[34], head[35]]);
            let guess = guess(leaf, repository, at, records);
            let found =
                guess.and_then(|trailer| Some((trailer, footer(file, leaf, &trailer).ok()?)));
            if found.is_some() {
                return found;
            }
        }
        at += BLOCK as u64;
    }
    None
}

/// The trailer of a segment whose footer of `records` entries begins at `offset`. The hash of its
/// table is not known.
fn guess(leaf: &Segment, repository: RepositoryId, offset: u64, records: u32) -> Option<Trailer> {
    let seal: [u8; 32] = hex::decode(&leaf.seal).ok()?.try_into().ok()?;
    let footer_length = footer_bytes(usize::try_from(records).ok()?);
    let footer_length = Some(footer_length).filter(|&length| length <= SEGMENT_MAX)?;
    Some(Trailer {
        repository,
        serial: leaf.serial,
        class: class_of(leaf),
        cohort: leaf.cohort,
        epoch: leaf.epoch,
        footer_offset: offset,
        footer_length,
        seal,
        geometry: Geometry::new(offset + footer_length.next_multiple_of(BLOCK as u64))?,
        table_hash: [0; 32],
    })
}
