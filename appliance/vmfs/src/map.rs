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

impl Target {
    /// True when the bytes are zeros that need not be read.
    #[must_use]
    pub fn is_empty(self) -> bool {
        matches!(self, Self::Hole | Self::Zero)
    }
}

/// Makes `last` longer by `part`, which follows it in the file; false when it is of another kind
/// or lies elsewhere.
pub(crate) fn join(last: &mut Mapped, part: &Mapped) -> bool {
    match (&mut last.to, part.to) {
        (Target::Lun(a), Target::Lun(b)) if a.device == b.device && a.end() == b.offset => {
            a.length += b.length;
        }
        (Target::Lun(_), _) | (_, Target::Lun(_)) => return false,
        (a, b) if *a == b => {}
        _ => return false,
    }
    last.length += part.length;
    true
}
