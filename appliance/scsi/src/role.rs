//! The allow-list: looked up a second time just before the bytes leave.

use crate::Cdb;
use model::ErrorKind;

/// What a logical unit is to us, and so what may be said to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A production LUN: it is read, and nothing else.
    SourceDisk,
}

/// Operation code, and the service action where the code alone does not say what is done.
type Entry = (u8, Option<u8>);

/// An operation stands here when [`crate::disk`] has a function for it, and not before.
const SOURCE_DISK: &[Entry] = &[
    (0x00, None),       // TEST UNIT READY
    (0x03, None),       // REQUEST SENSE
    (0x12, None),       // INQUIRY
    (0x1a, None),       // MODE SENSE(6)
    (0x28, None),       // READ(10)
    (0x5a, None),       // MODE SENSE(10)
    (0x5e, Some(0x00)), // PERSISTENT RESERVE IN, READ KEYS
    (0x5e, Some(0x01)), // PERSISTENT RESERVE IN, READ RESERVATION
    (0x88, None),       // READ(16)
    (0x9e, Some(0x10)), // READ CAPACITY(16)
    (0x9e, Some(0x12)), // GET LBA STATUS
    (0xa0, None),       // REPORT LUNS
    (0xa3, Some(0x0a)), // REPORT TARGET PORT GROUPS
];

impl Role {
    /// `Ok` when the role may send the command. Anything absent from the table is refused.
    pub fn check(self, cdb: &Cdb) -> Result<(), ForbiddenCdb> {
        let entry = (cdb.opcode(), cdb.service_action());
        if self.table().contains(&entry) {
            Ok(())
        } else {
            Err(ForbiddenCdb { role: self, opcode: entry.0, service_action: entry.1 })
        }
    }

    /// The operation codes of the role, ascending: for reports and for tests that look at
    /// what a target really saw. One with several service actions comes several times.
    pub fn opcodes(self) -> impl Iterator<Item = u8> {
        self.table().iter().map(|&(opcode, _)| opcode)
    }

    /// True when the role may send these bytes: for those who recorded what a target saw.
    #[must_use]
    pub fn allows(self, cdb: &[u8]) -> bool {
        let (opcode, second) = match cdb {
            [opcode, second, ..] => (*opcode, *second),
            _ => return false,
        };
        self.table().iter().any(|&(listed, service_action)| {
            listed == opcode && service_action.is_none_or(|wanted| wanted == second & 0x1f)
        })
    }

    fn table(self) -> &'static [Entry] {
        match self {
            Self::SourceDisk => SOURCE_DISK,
        }
    }
}

/// A command that the role may not send. A fault of ours: nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "operation {opcode:02x}h (service action {service_action:02x?}) is not allowed for {role:?}; \
     nothing was sent"
)]
pub struct ForbiddenCdb {
    /// Who wanted to send it.
    pub role: Role,
    /// The operation code.
    pub opcode: u8,
    /// Its service action, if the code has one.
    pub service_action: Option<u8>,
}

impl ForbiddenCdb {
    /// Always [`ErrorKind::Refused`].
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk;
    use std::collections::BTreeSet;

    /// Every command that changes a medium, a reservation, a mode, a path or another host's
    /// work, by operation code (SPC-4 annex D, SBC-3 annex).
    const NEVER: &[u8] = &[
        0x04, 0x0a, 0x15, 0x16, 0x17, 0x1b, 0x1d, 0x2a, 0x2e, 0x35, 0x3b, 0x41, 0x42, 0x48, 0x4c,
        0x55, 0x56, 0x57, 0x5f, 0x7f, 0x83, 0x84, 0x89, 0x8a, 0x8e, 0x91, 0x93, 0xa4, 0xaa, 0xae,
        0xb5,
    ];

    fn raw(opcode: u8, service_action: u8) -> Cdb {
        let mut bytes = [0; 16];
        bytes[0] = opcode;
        bytes[1] = service_action;
        Cdb::new(bytes, 0)
    }

    #[test]
    fn the_table_is_what_the_constructors_build_and_no_more() {
        let built: BTreeSet<Entry> = [
            disk::test_unit_ready(),
            disk::request_sense(),
            disk::inquiry(),
            disk::inquiry_vpd(0x83),
            disk::mode_sense_6(4),
            disk::read_10(0, 1, 512).unwrap(),
            disk::mode_sense_10(8),
            disk::read_reservation_keys(8),
            disk::read_reservation(),
            disk::read_capacity_16(),
            disk::get_lba_status(0, 24),
            disk::report_luns(16),
            disk::report_target_port_groups(16),
            disk::read_16(0, 1, 512).unwrap(),
        ]
        .iter()
        .inspect(|cdb| Role::SourceDisk.check(cdb).unwrap())
        .map(|cdb| (cdb.opcode(), cdb.service_action()))
        .collect();
        assert_eq!(built, SOURCE_DISK.iter().copied().collect());
    }

    /// The reference's list for a source disk, less what nothing here asks for: READ
    /// CAPACITY(10), LOG SENSE, REPORT SUPPORTED OPERATION CODES.
    #[test]
    fn everything_else_is_refused() {
        for opcode in 0..=255 {
            for service_action in 0..32 {
                let wanted = match opcode {
                    0x00 | 0x03 | 0x12 | 0x1a | 0x28 | 0x5a | 0x88 | 0xa0 => true,
                    0x5e => service_action <= 1,
                    0x9e => matches!(service_action, 0x10 | 0x12),
                    0xa3 => service_action == 0x0a,
                    _ => false,
                };
                let cdb = raw(opcode, service_action);
                let verdict = Role::SourceDisk.check(&cdb);
                assert_eq!(verdict.is_ok(), wanted, "{opcode:02x}/{service_action:02x}");
                assert_eq!(Role::SourceDisk.allows(cdb.as_bytes()), wanted);
            }
        }
    }

    #[test]
    fn no_command_that_harms_is_on_the_list() {
        assert!(!Role::SourceDisk.opcodes().any(|opcode| NEVER.contains(&opcode)));
    }
}
