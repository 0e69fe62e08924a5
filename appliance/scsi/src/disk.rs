//! The commands of the *source disk* role: a production LUN that ESXi hosts share with us.
//!
//! Everything here asks. There is no function that changes a medium, a reservation, a mode page
//! or a path, and none is to be added: a restore to a LUN would be another role.

use crate::Cdb;

/// Allocation length for INQUIRY: larger than any VPD page met in practice.
const INQUIRY_LENGTH: u16 = 4096;
/// READ CAPACITY(16) returns 32 bytes (SBC-3, 5.16.2).
const CAPACITY_LENGTH: u32 = 32;
/// Sense data is at most 252 bytes (SPC-4, 4.5.1).
const SENSE_LENGTH: u8 = 252;
/// Room for a header and one reservation (SPC-4, 6.15.3.2).
const RESERVATION_LENGTH: u16 = 24;
/// All mode pages; only the header in front of them is looked at.
const ALL_PAGES: u8 = 0x3f;
/// REPORT LUNS with less than 16 bytes is an error (SPC-4, 6.33).
const LUN_LIST_MIN: u32 = 16;

/// TEST UNIT READY (00h).
#[must_use]
pub fn test_unit_ready() -> Cdb {
    Cdb::new([0; 6], 0)
}

/// REQUEST SENSE (03h), descriptor format.
#[must_use]
pub fn request_sense() -> Cdb {
    Cdb::new([0x03, 1, 0, 0, SENSE_LENGTH, 0], SENSE_LENGTH.into())
}

/// INQUIRY (12h), standard data.
#[must_use]
pub fn inquiry() -> Cdb {
    inquiry_cdb(0, 0)
}

/// INQUIRY (12h), one page of vital product data.
#[must_use]
pub fn inquiry_vpd(page: u8) -> Cdb {
    inquiry_cdb(1, page)
}

fn inquiry_cdb(evpd: u8, page: u8) -> Cdb {
    let [high, low] = INQUIRY_LENGTH.to_be_bytes();
    Cdb::new([0x12, evpd, page, high, low, 0], INQUIRY_LENGTH.into())
}

/// READ CAPACITY(16) (9Eh, service action 10h).
#[must_use]
pub fn read_capacity_16() -> Cdb {
    let mut bytes = [0; 16];
    bytes[0] = 0x9e;
    bytes[1] = 0x10;
    bytes[10..14].copy_from_slice(&CAPACITY_LENGTH.to_be_bytes());
    Cdb::new(bytes, CAPACITY_LENGTH)
}

/// GET LBA STATUS (9Eh, service action 12h) from `lba` on, with room for `length` bytes. Targets
/// without it answer 05/20 or 05/24.
#[must_use]
pub fn get_lba_status(lba: u64, length: u32) -> Cdb {
    let mut bytes = [0; 16];
    bytes[0] = 0x9e;
    bytes[1] = 0x12;
    bytes[2..10].copy_from_slice(&lba.to_be_bytes());
    bytes[10..14].copy_from_slice(&length.to_be_bytes());
    Cdb::new(bytes, length)
}

/// REPORT TARGET PORT GROUPS (A3h, service action 0Ah), with room for `length` bytes.
#[must_use]
pub fn report_target_port_groups(length: u32) -> Cdb {
    let mut bytes = [0; 12];
    bytes[0] = 0xa3;
    bytes[1] = 0x0a;
    bytes[6..10].copy_from_slice(&length.to_be_bytes());
    Cdb::new(bytes, length)
}

/// MODE SENSE(6) (1Ah), all pages, with room for `length` bytes: 4 are the header.
#[must_use]
pub fn mode_sense_6(length: u8) -> Cdb {
    Cdb::new([0x1a, 0, ALL_PAGES, 0, length, 0], length.into())
}

/// MODE SENSE(10) (5Ah), all pages, with room for `length` bytes: 8 are the header.
#[must_use]
pub fn mode_sense_10(length: u16) -> Cdb {
    let [high, low] = length.to_be_bytes();
    Cdb::new([0x5a, 0, ALL_PAGES, 0, 0, 0, 0, high, low, 0], length.into())
}

/// PERSISTENT RESERVE IN (5Eh), READ KEYS, with room for `length` bytes.
#[must_use]
pub fn read_reservation_keys(length: u16) -> Cdb {
    persistent_reserve_in(0x00, length)
}

/// PERSISTENT RESERVE IN (5Eh), READ RESERVATION: who holds the LUN.
#[must_use]
pub fn read_reservation() -> Cdb {
    persistent_reserve_in(0x01, RESERVATION_LENGTH)
}

fn persistent_reserve_in(service_action: u8, length: u16) -> Cdb {
    let [high, low] = length.to_be_bytes();
    Cdb::new([0x5e, service_action, 0, 0, 0, 0, 0, high, low, 0], length.into())
}

/// REPORT LUNS (A0h), all but well-known ones, with room for `length` bytes (at least 16).
#[must_use]
pub fn report_luns(length: u32) -> Cdb {
    let length = length.max(LUN_LIST_MIN);
    let mut bytes = [0; 12];
    bytes[0] = 0xa0;
    bytes[6..10].copy_from_slice(&length.to_be_bytes());
    Cdb::new(bytes, length)
}

/// READ(10) (28h) of `blocks` blocks from `lba` on, for devices without READ(16). `None` when the
/// bytes do not fit 32 bits.
#[must_use]
pub fn read_10(lba: u32, blocks: u16, block_size: u32) -> Option<Cdb> {
    let length = u32::from(blocks).checked_mul(block_size)?;
    let mut bytes = [0; 10];
    bytes[0] = 0x28;
    bytes[2..6].copy_from_slice(&lba.to_be_bytes());
    bytes[7..9].copy_from_slice(&blocks.to_be_bytes());
    Some(Cdb::new(bytes, length))
}

/// READ(16) (88h) of `blocks` blocks from `lba` on. `None` when the bytes do not fit 32 bits,
/// which no transport could carry in one command.
#[must_use]
pub fn read_16(lba: u64, blocks: u32, block_size: u32) -> Option<Cdb> {
    let length = blocks.checked_mul(block_size)?;
    let mut bytes = [0; 16];
    bytes[0] = 0x88;
    bytes[2..10].copy_from_slice(&lba.to_be_bytes());
    bytes[10..14].copy_from_slice(&blocks.to_be_bytes());
    Some(Cdb::new(bytes, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_the_standard_puts_them() {
        let read = read_16(0x0102_0304_0506_0708, 0x200, 512).unwrap();
        assert_eq!(hex::encode(read.as_bytes()), "88000102030405060708000002000000");
        assert_eq!(read.data_in(), 0x4_0000);
        assert_eq!(hex::encode(inquiry_vpd(0x83).as_bytes()), "120183100000");
        assert_eq!(hex::encode(report_luns(0).as_bytes()), "a00000000000000000100000");
        let capacity = "9e100000000000000000000000200000";
        assert_eq!(hex::encode(read_capacity_16().as_bytes()), capacity);
        assert_eq!(hex::encode(test_unit_ready().as_bytes()), "000000000000");
        assert_eq!(hex::encode(request_sense().as_bytes()), "03010000fc00");
        let read = read_10(0x0102_0304, 0x506, 4096).unwrap();
        assert_eq!(hex::encode(read.as_bytes()), "28000102030400050600");
        assert_eq!(read.data_in(), 0x506 << 12);
        let status = get_lba_status(0x0102_0304_0506_0708, 0x1008);
        assert_eq!(hex::encode(status.as_bytes()), "9e120102030405060708000010080000");
        let groups = report_target_port_groups(0x1000);
        assert_eq!(hex::encode(groups.as_bytes()), "a30a00000000000010000000");
        assert_eq!(hex::encode(mode_sense_6(4).as_bytes()), "1a003f000400");
        assert_eq!(hex::encode(mode_sense_10(8).as_bytes()), "5a003f00000000000800");
        assert_eq!(hex::encode(read_reservation_keys(0x208).as_bytes()), "5e000000000000020800");
        assert_eq!(hex::encode(read_reservation().as_bytes()), "5e010000000000001800");
    }

    #[test]
    fn a_read_beyond_32_bits_of_bytes_does_not_exist() {
        assert_eq!(read_16(0, u32::MAX, 512), None);
        assert!(read_16(u64::MAX, (u32::MAX) / 512, 512).is_some());
    }
}
