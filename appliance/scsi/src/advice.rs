//! What a status and its sense data mean for whoever reads a source disk.
//!
//! | seen | advice |
//! |---|---|
//! | GOOD, CONDITION MET, 1/xx (recovered) | `Done` |
//! | BUSY, TASK SET FULL | `LowerDepth`: fewer in flight, wait, go on |
//! | RESERVATION CONFLICT | `WaitReserved`: another host holds it, usually for moments |
//! | TASK ABORTED, 6/xx, a deferred error, sense that got lost | `Repeat`: it was not run |
//! | B/xx | `RepeatElsewhere`: by another path if there is one |
//! | ACA ACTIVE, 2/04/01, 2/04/07, 2/04/09, 2/04/0A, 2/04/14 | `Wait`: not ready yet |
//! | 2/04/03, 2/04/0B, 2/04/0C, 5/25/00 | `PathUnusable`: use another, the LUN is not broken |
//! | 6/2A/06, 6/2A/07 | `StatesChanged`: ask REPORT TARGET PORT GROUPS again, repeat |
//! | 6/3F/0E | `LunsChanged`: ask REPORT LUNS again, repeat |
//! | 6/2A/09 | `Changed`: capacity changed, take inventory again |
//! | 5/20, 5/24, 5/26 | `Unsupported`: this target cannot; never repeat |
//! | 5/21 | `OutOfRange`: beyond the last block |
//! | 7/xx | `Protected` |
//! | 3/xx | `Unreadable`: medium error at [`Sense::information`]; never fill in zeros |
//! | anything else | `Failed` |
//!
//! 2/04/03 (manual intervention required) is what a passive path of older active/passive arrays
//! answers; on a single path it is an error like the others of its row.

use crate::{Sense, SenseKey, Status};

/// What to do next. The caller counts repeats and waits; neither goes on for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Advice {
    /// The command did what it should.
    Done,
    /// Send it again.
    Repeat,
    /// Send it again, by another path if there is one.
    RepeatElsewhere,
    /// The path states changed: ask for them, then send it again.
    StatesChanged,
    /// The list of LUNs changed: ask for it; this LUN was not affected, send it again.
    LunsChanged,
    /// Send it again by another path now, or by this one after a while.
    Wait,
    /// As `Wait`, with fewer commands in flight on this LUN.
    LowerDepth,
    /// As `Wait`: another host has reserved the LUN.
    WaitReserved,
    /// Not by this path; the LUN itself is not broken.
    PathUnusable,
    /// The LUN is not what it was at the inventory.
    Changed,
    /// The device does not know the command or a field of it.
    Unsupported,
    /// The blocks lie beyond the end of the LUN.
    OutOfRange,
    /// Write-protected; a reader never causes it.
    Protected,
    /// The device cannot give these bytes back.
    Unreadable,
    /// None of the above.
    Failed,
}

/// The advice for a command that ended with `status` and, with CHECK CONDITION, `sense`.
#[must_use]
pub fn advise(status: Status, sense: Option<&Sense>) -> Advice {
    match status {
        Status::Good | Status::ConditionMet => Advice::Done,
        Status::Busy | Status::TaskSetFull => Advice::LowerDepth,
        Status::ReservationConflict => Advice::WaitReserved,
        Status::TaskAborted => Advice::Repeat,
        Status::AcaActive => Advice::Wait,
        Status::CheckCondition => sense.map_or(Advice::Repeat, by_sense),
        Status::Unknown(_) => Advice::Failed,
    }
}

fn by_sense(sense: &Sense) -> Advice {
    if sense.deferred {
        // It speaks of an earlier command; this one was not run (SPC-4, 4.5.7).
        return Advice::Repeat;
    }
    match sense.key {
        SenseKey::RecoveredError => Advice::Done,
        SenseKey::NoSense => Advice::Repeat,
        SenseKey::AbortedCommand => Advice::RepeatElsewhere,
        SenseKey::NotReady => not_ready(sense),
        SenseKey::MediumError => Advice::Unreadable,
        SenseKey::IllegalRequest => illegal_request(sense),
        SenseKey::UnitAttention => attention(sense),
        SenseKey::DataProtect => Advice::Protected,
        SenseKey::HardwareError | SenseKey::Other(_) => Advice::Failed,
    }
}

fn not_ready(sense: &Sense) -> Advice {
    match (sense.asc, sense.ascq) {
        (0x04, 0x01 | 0x07 | 0x09 | 0x0a | 0x14) => Advice::Wait,
        (0x04, 0x03 | 0x0b | 0x0c) => Advice::PathUnusable,
        _ => Advice::Failed,
    }
}

fn attention(sense: &Sense) -> Advice {
    match (sense.asc, sense.ascq) {
        (0x2a, 0x06 | 0x07) => Advice::StatesChanged,
        (0x2a, 0x09) => Advice::Changed,
        (0x3f, 0x0e) => Advice::LunsChanged,
        _ => Advice::Repeat,
    }
}

fn illegal_request(sense: &Sense) -> Advice {
    match sense.asc {
        0x20 | 0x24 | 0x26 => Advice::Unsupported,
        0x21 => Advice::OutOfRange,
        0x25 => Advice::PathUnusable,
        _ => Advice::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sense(key: u8, asc: u8, ascq: u8) -> Sense {
        Sense { key: key.into(), asc, ascq, information: None, deferred: false }
    }

    #[test]
    fn the_table_holds() {
        let table = [
            ((2, 0x04, 0x01), Advice::Wait),
            ((2, 0x04, 0x0a), Advice::Wait),
            ((2, 0x04, 0x03), Advice::PathUnusable),
            ((2, 0x04, 0x0b), Advice::PathUnusable),
            ((2, 0x04, 0x0c), Advice::PathUnusable),
            ((2, 0x3a, 0x00), Advice::Failed),
            ((3, 0x11, 0x00), Advice::Unreadable),
            ((5, 0x20, 0x00), Advice::Unsupported),
            ((5, 0x24, 0x00), Advice::Unsupported),
            ((5, 0x21, 0x00), Advice::OutOfRange),
            ((5, 0x25, 0x00), Advice::PathUnusable),
            ((6, 0x29, 0x00), Advice::Repeat),
            ((6, 0x2a, 0x03), Advice::Repeat),
            ((6, 0x2a, 0x04), Advice::Repeat),
            ((6, 0x2a, 0x09), Advice::Changed),
            ((6, 0x2a, 0x06), Advice::StatesChanged),
            ((6, 0x2a, 0x07), Advice::StatesChanged),
            ((6, 0x28, 0x00), Advice::Repeat),
            ((6, 0x3f, 0x0e), Advice::LunsChanged),
            ((7, 0x27, 0x00), Advice::Protected),
            ((0xb, 0x00, 0x00), Advice::RepeatElsewhere),
            ((0xb, 0x47, 0x03), Advice::RepeatElsewhere),
            ((1, 0x17, 0x00), Advice::Done),
            ((4, 0x44, 0x00), Advice::Failed),
        ];
        for ((key, asc, ascq), wanted) in table {
            let got = advise(Status::CheckCondition, Some(&sense(key, asc, ascq)));
            assert_eq!(got, wanted, "{key:x}/{asc:02x}/{ascq:02x}");
        }
        for (status, wanted) in [
            (0x00, Advice::Done),
            (0x02, Advice::Repeat), // sense data lost
            (0x08, Advice::LowerDepth),
            (0x18, Advice::WaitReserved),
            (0x28, Advice::LowerDepth),
            (0x30, Advice::Wait),
            (0x40, Advice::Repeat),
            (0x77, Advice::Failed),
        ] {
            assert_eq!(advise(Status::from(status), None), wanted, "status {status:02x}");
        }
        let deferred = Sense { deferred: true, ..sense(3, 0x11, 0) };
        assert_eq!(advise(Status::CheckCondition, Some(&deferred)), Advice::Repeat);
    }
}
