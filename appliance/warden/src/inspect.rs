//! Looking at a segment that somebody says is complete. What lies there is hostile input: every
//! part must agree with every other, and nothing is believed of it that they do not all say.

use crate::storage::Read;
use crate::wire::Sealed;
use format::footer::Footer;
use format::header::RepositoryId;
use format::record::Kind;
use format::segment::{Class, SegmentHeader};
use format::trailer::Trailer;
use format::{BLOCK, SEGMENT_MAX};
use std::io;

/// A segment and what the hash of its data must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inspected {
    pub(crate) sealed: Sealed,
    pub(crate) trailer: Trailer,
    pub(crate) data_hash: [u8; 32],
}

/// Why it is not taken over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InspectError {
    #[error("reading it failed")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Wrong(String),
}

fn wrong(problem: impl std::fmt::Display) -> InspectError {
    InspectError::Wrong(problem.to_string())
}

/// What the trailer alone says: enough for a segment that was inspected before.
pub(crate) fn trailer(
    file: &dyn Read,
    repository: [u8; 16],
    serial: u32,
) -> Result<(Trailer, Sealed), InspectError> {
    let bytes = file.length()?;
    if bytes > SEGMENT_MAX {
        return Err(wrong(format!("it is {bytes} bytes long")));
    }
    let (trailer, _) =
        Trailer::read(bytes, |offset, buffer| file.read(offset, buffer)).map_err(wrong)?;
    if (trailer.repository, trailer.serial) != (RepositoryId(repository), serial) {
        return Err(wrong("it belongs to another repository or serial"));
    }
    let Trailer { class, cohort, epoch, seal, .. } = trailer;
    Ok((trailer, Sealed { class, cohort, epoch, bytes, seal }))
}

/// Header, both trailers and footer, each held against the others. The data is not read.
pub(crate) fn inspect(
    file: &dyn Read,
    repository: [u8; 16],
    serial: u32,
) -> Result<Inspected, InspectError> {
    let (trailer, sealed) = trailer(file, repository, serial)?;
    for at in trailer.geometry.trailers() {
        let mut block = vec![0; BLOCK];
        file.read(at, &mut block)?;
        if Trailer::decode(&block, sealed.bytes).map_err(wrong)? != trailer {
            return Err(wrong("its two trailers differ"));
        }
    }
    let mut block = vec![0; BLOCK];
    file.read(0, &mut block)?;
    let header = SegmentHeader::decode(&block).map_err(wrong)?;
    let SegmentHeader { repository, serial, class, cohort, epoch } = header;
    let same = (repository, serial, class, cohort, epoch)
        == (trailer.repository, trailer.serial, trailer.class, trailer.cohort, trailer.epoch);
    if !same {
        return Err(wrong("its header and its trailer differ"));
    }
    let footer = footer(file, &trailer)?;
    Ok(Inspected { sealed, trailer, data_hash: footer.data_hash })
}

fn footer(file: &dyn Read, trailer: &Trailer) -> Result<Footer, InspectError> {
    let padded = trailer.geometry.protected_length() - trailer.footer_offset;
    let mut bytes = vec![0; usize::try_from(padded).map_err(wrong)?];
    file.read(trailer.footer_offset, &mut bytes)?;
    let length = usize::try_from(trailer.footer_length).map_err(wrong)?;
    let (bytes, zeros) =
        bytes.split_at_checked(length).ok_or_else(|| wrong("its footer is cut off"))?;
    if zeros.iter().any(|&byte| byte != 0) {
        return Err(wrong("a byte behind its footer is not zero"));
    }
    let footer = Footer::decode(bytes, trailer).map_err(wrong)?;
    let fits = |kind: Kind| (kind == Kind::Chunk) == (footer.class == Class::Data);
    if !footer.entries.iter().all(|entry| fits(entry.kind)) {
        return Err(wrong("it holds records of another class"));
    }
    Ok(footer)
}
