//! The command `repair`: a segment as it was sealed, computed from what is left of it and its
//! parity, into a new file. The damaged one is not touched.

use crate::VerifyError;
use crate::check::open;
use crate::files::{Source, create_outside};
use crate::report::{Damage, Findings};
use crate::segment::locate;
use format::BLOCK;
use format::parity::{RepairError, repair as compute};
use format::trailer::Trailer;
use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

/// Writes a repaired copy of segment `serial` to `out`; gives the number of blocks of data and
/// footer that had been wrong. What comes out has the seal that the ledger names, or nothing does.
pub fn repair(
    dir: &Path,
    serial: u32,
    out: &Path,
    findings: &mut Findings,
) -> Result<u64, VerifyError> {
    let mut around = Findings::default();
    let (repository, ledger, _) = open(dir, &[], &mut around)?;
    if let Some(refusal) = ledger.refusal {
        return Err(VerifyError::Refused(refusal));
    }
    for finding in around.list() {
        findings.note(format!("{}: {}", finding.place, finding.what));
    }
    let leaf = ledger.state.segments.get(&serial);
    let leaf =
        leaf.ok_or_else(|| VerifyError::refused(format!("no segment {serial} must exist")))?;
    let path = repository.segments.get(&serial);
    let path = path.ok_or_else(|| Damage(format!("segment {serial}: the file is missing")))?;
    let file = Source::open(path)?;
    let mut wrong = |damage| findings.note(format!("segment {serial}: {damage}"));
    let located = locate(&file, leaf, repository.header.id, &mut wrong);
    let located = located.ok_or_else(|| {
        Damage(format!("segment {serial}: neither trailer nor footer can be found"))
    })?;
    let mut trailer = located.trailer;
    if !located.trailer_right {
        trailer.table_hash = hash_of_tables(&file, &trailer)?;
    }
    let target = create_outside(&repository.path, out)?;
    let mut sink = BufWriter::with_capacity(1 << 20, target);
    let repaired = compute(
        &trailer,
        |at, buffer| {
            read_or_zeros(&file, at, buffer);
            Ok(())
        },
        |bytes| sink.write_all(bytes),
    );
    let repaired = repaired.map_err(|error: RepairError<io::Error>| match error {
        RepairError::Io(error) => VerifyError::io("writing", out)(error),
        beyond => Damage(format!("segment {serial}: {beyond}")).into(),
    });
    let done = repaired.and_then(|repaired| {
        let synced = sink.flush().and_then(|()| sink.get_ref().sync_all());
        synced.map_err(VerifyError::io("syncing", out)).map(|()| repaired.blocks)
    });
    if done.is_err() {
        // What is there is no segment; the reason is told, whatever becomes of the file.
        let _ = fs::remove_file(out);
    }
    done
}

/// Fills the buffer; blocks that cannot be read become zeros, which the table tells apart.
fn read_or_zeros(file: &Source, at: u64, buffer: &mut [u8]) {
    if file.read(at, buffer).is_ok() {
        return;
    }
    for (offset, block) in (at..).step_by(BLOCK).zip(buffer.chunks_mut(BLOCK)) {
        if file.read(offset, block).is_err() {
            block.fill(0);
        }
    }
}

/// Without a trailer: the tables vouch for each other when they are the same.
fn hash_of_tables(file: &Source, trailer: &Trailer) -> Result<[u8; 32], Damage> {
    let length = usize::try_from(trailer.geometry.table_length()).unwrap_or(0);
    let [first, second] = trailer.geometry.tables();
    let (first, second) = (file.bytes(first, length)?, file.bytes(second, length)?);
    Damage::unless(first == second, "both trailers are lost, and the tables differ")?;
    Ok(*blake3::hash(&first).as_bytes())
}
