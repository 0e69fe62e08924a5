//! The entry for fuzzers: arbitrary bytes into every decoder.

use crate::{
    BlockLimits, Capacity, Designators, Inquiry, LbaStatus, LogicalProvisioning, LunList,
    ModeHeader, PortGroups, Reservation, ReservationKeys, Sense, SerialNumber, Status,
    SupportedPages, advise,
};

/// Feeds `bytes` to every decoder and checks what each promises of its values.
///
/// # Panics
/// When a decoder breaks a promise, which is what a fuzzer looks for.
pub fn fuzz(bytes: &[u8]) {
    identities(bytes);
    sizes(bytes);
    lists(bytes);
    if let Ok(sense) = Sense::decode(bytes) {
        for status in [0x00, 0x02, 0x08, 0x18, 0x28, 0x30, 0x40, 0xff] {
            let _ = advise(Status::from(status), Some(&sense));
        }
        assert!(sense.to_string().len() < 200, "sense is short for people");
    }
}

fn identities(bytes: &[u8]) {
    if let Ok(inquiry) = Inquiry::decode(bytes) {
        assert!(inquiry.vendor.is_ascii() && inquiry.product.is_ascii(), "printable names");
    }
    if let Ok(serial) = SerialNumber::decode(bytes) {
        assert!(serial.0.is_ascii(), "printable serial numbers");
    }
    let _ = SupportedPages::decode(bytes);
    if let Ok(page) = Designators::decode(bytes) {
        let total: usize = page.0.iter().map(|designator| designator.bytes.len() + 4).sum();
        assert!(total + 4 <= bytes.len(), "designators lie inside the page");
        let _ = (page.naa_names(), page.relative_port(), page.port_group());
    }
}

fn sizes(bytes: &[u8]) {
    if let Ok(capacity) = Capacity::decode(bytes) {
        let product = capacity.blocks().checked_mul(capacity.block_size().into());
        assert_eq!(product, Some(capacity.bytes()), "a size fits 64 bits");
    }
    let _ = (BlockLimits::decode(bytes), LogicalProvisioning::decode(bytes));
    let _ = (ModeHeader::decode_6(bytes), ModeHeader::decode_10(bytes));
}

fn lists(bytes: &[u8]) {
    if let Ok(list) = LunList::decode(bytes) {
        assert!(list.luns.len() * 8 + 8 <= bytes.len().max(8), "LUNs lie inside the reply");
    }
    if let Ok(list) = PortGroups::decode(bytes) {
        let total: usize = list.groups.iter().map(|group| 8 + 4 * group.ports.len()).sum();
        assert!(total + 4 <= bytes.len(), "groups lie inside the reply");
    }
    if let Ok(list) = ReservationKeys::decode(bytes) {
        assert!(list.keys.len() * 8 + 8 <= bytes.len(), "keys lie inside the reply");
    }
    if let Ok(Some(reservation)) = Reservation::decode(bytes) {
        let _ = reservation.to_string();
    }
    // The question's block is the reply's first, or one inside it.
    let first = bytes.get(8..16).and_then(|lba| lba.try_into().ok()).map(u64::from_be_bytes);
    for start in [0, first.unwrap_or(0), first.unwrap_or(0).saturating_add(1)] {
        let Ok(status) = LbaStatus::decode(bytes, start) else { continue };
        let extents = status.extents();
        assert!(extents.windows(2).all(|pair| pair[0].end() == pair[1].lba), "no gap");
        let held = extents.first().is_none_or(|first| (first.lba..first.end()).contains(&start));
        assert!(held, "the first extent holds the block that was asked for");
    }
}
