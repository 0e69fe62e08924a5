//! Linux swap: `union swap_header` of `include/linux/swap.h`, as `mkswap` writes it.
//!
//! ```text
//! page 0   boot bits (1024) | version 1 | last page | bad pages | uuid | label | 117 words of 0 |
//!          bad pages ... | "SWAPSPACE2" in the last 10 bytes
//! page 1.. last page: what is swapped out
//! ```
//! The first page is kept, so that the restored machine finds its swap by UUID or label. What lies
//! behind the last page is not swap.
//!
//! A machine that hibernated wrote its memory there and another signature over the usual one
//! (`S1SUSPEND` and others, as util-linux's libblkid knows them): that is never excluded.

use crate::Reason;
use crate::bytes::{Fields, index};
use crate::disk::Area;
use model::DiskRange;

/// Pages of the architectures that Linux runs on; on x86 only the first is used.
const PAGES: [u64; 5] = [4096, 8192, 16384, 32768, 65536];
/// Bytes of a signature.
const SIGNATURE: u64 = 10;
const HIBERNATED: [&[u8]; 4] = [b"S1SUSPEND\0", b"S2SUSPEND\0", b"ULSUSPEND\0", b"LINHIB0001"];

/// What stands at the end of the first page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signature {
    Swap { page: u64 },
    Hibernated,
}

pub(crate) fn signature(area: &Area<'_>) -> Result<Option<Signature>, Reason> {
    let mut found = None;
    for page in PAGES.into_iter().filter(|&page| page <= area.size()) {
        let bytes = area.read(page - SIGNATURE, index(SIGNATURE))?;
        let new = match bytes.as_slice() {
            b"SWAPSPACE2" => Signature::Swap { page },
            other if HIBERNATED.contains(&other) => Signature::Hibernated,
            _ => continue,
        };
        if found.replace(new).is_some() {
            return Err(Reason::new("it has two signatures of swap"));
        }
    }
    Ok(found)
}

/// The range of the area that holds nothing but what was swapped out.
pub(crate) fn pages(area: &Area<'_>) -> Result<DiskRange, Reason> {
    let page = match signature(area)? {
        Some(Signature::Swap { page }) => page,
        Some(Signature::Hibernated) => {
            return Err(Reason::new("the machine hibernated: its memory is in its swap"));
        }
        None => return Err(Reason::new("it has no signature of swap")),
    };
    let head = area.read(0, index(page))?;
    let fields = Fields::new("header of the swap", &head);
    let (version, last, bad) = (fields.u32(1024)?, fields.u32(1028)?, fields.u32(1032)?);
    let padding = fields.part(1068, 117 * 4)?;
    let bad_max = (page - SIGNATURE - 1536) / 4;
    if version != 1 || padding.iter().any(|&byte| byte != 0) || u64::from(bad) > bad_max {
        return Err(Reason::new("the header of its swap is not one that is known"));
    }
    let end = (u64::from(last) + 1) * page;
    if last == 0 || end > area.size() {
        return Err(Reason::new("its swap has no pages, or more than there is room for"));
    }
    Ok(DiskRange { offset: page, length: end - page })
}
