//! The first block of a sealed segment and everything behind its data: no cell needs them, but a
//! bit there has changed all the same, and a repair needs them.

use crate::StoreError;
use crate::core::{Core, locked};
use crate::scan::{Tail, read_footer};
use format::segment::SegmentHeader;
use format::{BLOCK, FormatError, parity};

/// Reads them from the medium. An error that is none of the bytes' comes back as it is.
pub(crate) fn check_frame(core: &Core, serial: u32) -> Result<(), StoreError> {
    let name = core.name_of(serial);
    let damaged = |source| StoreError::Damaged { what: name.clone(), source };
    let corrupt = |problem| damaged(FormatError::Corrupt { what: "segment", problem });
    let recorded = {
        let catalog = locked(&core.catalog);
        catalog.state.segment(serial).map(|segment| (segment.seal, segment.bytes))
    };
    let file = core.storage.open_uncached(&name).map_err(StoreError::io("opening", &*name))?;
    let length = file.length().map_err(StoreError::io("reading", &*name))?;
    let Tail { footer, trailer, .. } = read_footer(&*file, &name, serial, length, recorded)?;
    let mut block = vec![0; BLOCK];
    file.read(0, &mut block).map_err(StoreError::io("reading", &*name))?;
    let header = SegmentHeader::decode(&block).map_err(damaged)?;
    let SegmentHeader { class, cohort, epoch, .. } = header;
    if (header.repository, header.serial) != (core.id, serial)
        || (class, cohort, epoch) != (footer.class, footer.cohort, footer.epoch)
    {
        return Err(corrupt("header and footer differ".to_owned()));
    }
    let found = parity::check_frame(&trailer, |offset, bytes| file.read(offset, bytes))
        .map_err(StoreError::io("reading", &*name))?;
    if found.is_whole() {
        return Ok(());
    }
    let first = found.wrong.first().map_or_else(String::new, |block| {
        format!(", the first one at byte {}", u64::from(*block) * BLOCK as u64)
    });
    Err(corrupt(format!("{} blocks behind the data are wrong{first}", found.wrong.len())))
}
