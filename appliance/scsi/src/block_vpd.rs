//! Vital product data of disks: pages B0h and B2h (SBC-3, 6.6).

use crate::error::DecodeError;
use crate::vpd::body;

/// Page B0h, block limits: what one command may ask for. 0 on the wire means 'not told'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockLimits {
    /// Blocks that one READ may ask for.
    pub max_transfer: Option<u32>,
    /// Blocks at which reads are fastest.
    pub optimal_transfer: Option<u32>,
    /// Reads should be a multiple of so many blocks.
    pub granularity: Option<u16>,
    /// Blocks in which a thin LUN gives space back.
    pub unmap_granularity: Option<u32>,
}

impl BlockLimits {
    /// Number of the page.
    pub const PAGE: u8 = 0xb0;

    /// Decodes the page. Older devices send a shorter one; what is missing was not told.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let body = body("VPD page B0h", Self::PAGE, bytes)?;
        let told = |at| body.u32(at).ok().filter(|&value| value != 0);
        Ok(Self {
            max_transfer: told(4),
            optimal_transfer: told(8),
            granularity: body.u16(2).ok().filter(|&value| value != 0),
            unmap_granularity: told(24),
        })
    }
}

/// Page B2h, logical block provisioning: whether and how the LUN is thin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogicalProvisioning {
    /// The LUN takes space as it is written to.
    pub thin: bool,
    /// LBPRZ: unmapped blocks read as zeros.
    pub unmapped_reads_zero: bool,
    /// LBPU: hosts can give space back by UNMAP (which we never send).
    pub unmap: bool,
}

impl LogicalProvisioning {
    /// Number of the page.
    pub const PAGE: u8 = 0xb2;

    /// Decodes the page.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let body = body("VPD page B2h", Self::PAGE, bytes)?;
        let flags = body.u8(1)?;
        Ok(Self {
            thin: body.u8(2)? & 7 == 2,
            // One bit in SBC-3; SBC-4 has three, of which xx1b says zeros.
            unmapped_reads_zero: flags & 0x04 != 0,
            unmap: flags & 0x80 != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_a_long_and_of_a_short_page() {
        let mut page = vec![0, 0xb0, 0, 0x3c];
        page.resize(64, 0);
        page[6..8].copy_from_slice(&8_u16.to_be_bytes());
        page[8..12].copy_from_slice(&8192_u32.to_be_bytes());
        page[12..16].copy_from_slice(&2048_u32.to_be_bytes());
        page[28..32].copy_from_slice(&16_u32.to_be_bytes());
        let wanted = BlockLimits {
            max_transfer: Some(8192),
            optimal_transfer: Some(2048),
            granularity: Some(8),
            unmap_granularity: Some(16),
        };
        assert_eq!(BlockLimits::decode(&page), Ok(wanted));
        page[3] = 0x0c; // as SBC-2 had it
        let short = BlockLimits::decode(&page[..16]).unwrap();
        assert_eq!(short, BlockLimits { unmap_granularity: None, ..wanted });
        assert_eq!(BlockLimits::decode(&[0, 0xb0, 0, 0]), Ok(BlockLimits::default()));
        assert!(BlockLimits::decode(&page[..15]).is_err());
    }

    #[test]
    fn thin_luns_say_so() {
        let thin = LogicalProvisioning::decode(&[0, 0xb2, 0, 4, 0, 0xe4, 2, 0]).unwrap();
        assert!(thin.thin && thin.unmapped_reads_zero && thin.unmap);
        let thick = LogicalProvisioning::decode(&[0, 0xb2, 0, 4, 0, 0, 0, 0]).unwrap();
        assert!(!thick.thin && !thick.unmapped_reads_zero && !thick.unmap);
        assert!(LogicalProvisioning::decode(&[0, 0xb2, 0, 2, 0, 0]).is_err());
    }
}
