//! The words of a Reject PDU (RFC 7143, 11.17).

/// The PDU of ours that was rejected.
pub(crate) fn what(opcode: Option<u8>) -> &'static str {
    match opcode {
        Some(0x00) => "our NOP-Out",
        Some(0x01) => "our SCSI command",
        Some(0x02) => "our task management request",
        Some(0x03) => "our login request",
        Some(0x04) => "our text request",
        Some(0x05) => "our data",
        Some(0x06) => "our logout request",
        _ => "a PDU of ours",
    }
}

/// Why.
pub(crate) fn why(reason: u8) -> String {
    let text = match reason {
        0x02 => "its data arrived damaged",
        0x03 => "data was not acknowledged",
        0x04 => "protocol error",
        0x05 => "command not supported",
        0x06 => "too many immediate commands",
        0x07 => "a task is in progress",
        0x08 => "invalid data acknowledgement",
        0x09 => "a field is invalid",
        0x0a => "out of resources for a long operation",
        0x0b => "it was reset by a negotiation",
        0x0c => "waiting for our logout",
        _ => return format!("unknown reason {reason:02x}h"),
    };
    format!("{text} (reason {reason:02x}h)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_words_and_numbers() {
        assert_eq!(why(0x0c), "waiting for our logout (reason 0ch)");
        assert_eq!(why(0xee), "unknown reason eeh");
        assert_eq!((what(Some(1)), what(None)), ("our SCSI command", "a PDU of ours"));
    }
}
