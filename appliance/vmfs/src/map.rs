//! What a range of a file is made of.

use crate::address::Reason;
use model::LunExtent;

/// A part of a file and where its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// First byte in the file.
    pub file_offset: u64,
    /// Number of bytes.
    pub length: u64,
    /// Where they are.
    pub to: Target,
}

/// Where the bytes of a part of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// On a LUN; the extent's offset counts from the start of the LUN, the partition included,
    /// and its length is that of the [`Mapped`].
    Lun(LunExtent),
    /// No block: reads as zeros.
    Hole,
    /// A block that was never written: reads as zeros, whatever the LUN holds there.
    Zero,
    /// Not understood: neither data nor zeros may be assumed. Read it over the network.
    Unknown(Reason),
    /// In the file's descriptor; [`crate::File::read_small`] has the bytes.
    Resident,
}

/// Appends a part; when it continues the last one, that becomes longer.
pub(crate) fn append(map: &mut Vec<Mapped>, part: Mapped) {
    let Some(last) = map.last_mut() else {
        map.push(part);
        return;
    };
    match (&mut last.to, part.to) {
        (Target::Lun(a), Target::Lun(b)) if a.device == b.device && a.end() == b.offset => {
            a.length += b.length;
            last.length += part.length;
        }
        (Target::Lun(_), _) | (_, Target::Lun(_)) => map.push(part),
        (a, b) if *a == b => last.length += part.length,
        _ => map.push(part),
    }
}
