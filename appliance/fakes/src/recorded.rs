//! What a client said to an iSCSI target, from the bytes that a relay kept: an independent look at
//! what left, not the client's own counters.

const HEADER: usize = 48;

/// The CDBs in one recorded stream of PDUs (RFC 7143, 11), in their order, and the bytes of a PDU
/// that was cut off at its end. `digests`: header and data digests were agreed on.
///
/// # Panics
/// When there is anything else in it but login, pings, ABORT TASK and logout.
#[must_use]
pub fn cdbs(stream: &[u8], digests: bool) -> (Vec<Vec<u8>>, usize) {
    let mut found = Vec::new();
    let mut rest = stream;
    while let Some(length) = pdu_length(rest, digests).filter(|&length| length <= rest.len()) {
        match rest[0] & 0x3f {
            0x01 => found.push(rest[32..HEADER].to_vec()),
            0x02 => assert_eq!(rest[1] & 0x7f, 1, "of task management only ABORT TASK"),
            0x00 | 0x03 | 0x06 => {} // NOP-Out, login, logout
            other => panic!("PDU of opcode {other:02x}h"),
        }
        rest = &rest[length..];
    }
    (found, rest.len())
}

fn pdu_length(pdu: &[u8], digests: bool) -> Option<usize> {
    let &[opcode, _, _, _, additional, high, middle, low, ..] = pdu else { return None };
    // They begin after the login.
    let digest = if digests && opcode & 0x3f != 0x03 { 4 } else { 0 };
    let header = HEADER + usize::from(additional) * 4 + digest;
    match u32::from_be_bytes([0, high, middle, low]) as usize {
        0 => Some(header),
        data => Some(header + data.next_multiple_of(4) + digest),
    }
}
