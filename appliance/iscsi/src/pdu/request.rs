//! Headers of PDUs that we send. The data length is filled in where the data is appended.

use super::{HEADER, NO_TAG};

/// 'Immediate' bit: delivered outside the order of CmdSN.
const IMMEDIATE: u8 = 0x40;
/// 'Final' bit.
const FINAL: u8 = 0x80;

fn put(header: &mut [u8; HEADER], at: usize, value: u32) {
    header[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// The fields that all of our PDUs share.
fn base(opcode: u8, flags: u8, tag: u32, cmd_sn: u32, exp_stat_sn: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[0] = opcode;
    header[1] = flags;
    put(&mut header, 16, tag);
    put(&mut header, 24, cmd_sn);
    put(&mut header, 28, exp_stat_sn);
    header
}

/// SCSI command (11.3) that reads `length` bytes; task attribute 'simple'.
pub(crate) fn scsi_read(
    lun: [u8; 8],
    cdb: [u8; 16],
    length: u32,
    tag: u32,
    cmd_sn: u32,
    exp_stat_sn: u32,
) -> [u8; HEADER] {
    const READ: u8 = 0x40;
    const SIMPLE: u8 = 1;
    let read = if length > 0 { READ } else { 0 };
    let mut header = base(0x01, FINAL | read | SIMPLE, tag, cmd_sn, exp_stat_sn);
    header[8..16].copy_from_slice(&lun);
    put(&mut header, 20, length);
    header[32..].copy_from_slice(&cdb);
    header
}

/// SCSI command (11.3) that takes `length` bytes. `last`: no data follows before it is asked for.
pub(crate) fn scsi_write(
    (lun, cdb): ([u8; 8], [u8; 16]),
    length: u32,
    last: bool,
    tag: u32,
    cmd_sn: u32,
    exp_stat_sn: u32,
) -> [u8; HEADER] {
    const WRITE: u8 = 0x20;
    const SIMPLE: u8 = 1;
    let write = if length > 0 { WRITE } else { 0 };
    let last = if last { FINAL } else { 0 };
    let mut header = base(0x01, last | write | SIMPLE, tag, cmd_sn, exp_stat_sn);
    header[8..16].copy_from_slice(&lun);
    put(&mut header, 20, length);
    header[32..].copy_from_slice(&cdb);
    header
}

/// Data-Out (11.7) at `offset` of a command's data, the PDU number `data_sn` of its sequence.
pub(crate) fn data_out(
    lun: [u8; 8],
    (tag, transfer_tag): (u32, u32),
    (data_sn, offset): (u32, u32),
    last: bool,
    exp_stat_sn: u32,
) -> [u8; HEADER] {
    let mut header = base(0x05, if last { FINAL } else { 0 }, tag, 0, exp_stat_sn);
    header[8..16].copy_from_slice(&lun);
    put(&mut header, 20, transfer_tag);
    put(&mut header, 36, data_sn);
    put(&mut header, 40, offset);
    header
}

/// NOP-Out (11.18) that asks for an answer.
pub(crate) fn ping(tag: u32, cmd_sn: u32, exp_stat_sn: u32) -> [u8; HEADER] {
    let mut header = base(IMMEDIATE, FINAL, tag, cmd_sn, exp_stat_sn);
    put(&mut header, 20, NO_TAG);
    header
}

/// NOP-Out that answers a target's ping: transfer tag and LUN go back as they came.
pub(crate) fn nop_out(
    lun: [u8; 8],
    transfer_tag: u32,
    cmd_sn: u32,
    exp_stat_sn: u32,
) -> [u8; HEADER] {
    let mut header = base(IMMEDIATE, FINAL, NO_TAG, cmd_sn, exp_stat_sn);
    header[8..16].copy_from_slice(&lun);
    put(&mut header, 20, transfer_tag);
    header
}

/// Task management (11.5): ABORT TASK, the only function there is here.
pub(crate) fn abort_task(
    lun: [u8; 8],
    tag: u32,
    (referenced_tag, referenced_cmd_sn): (u32, u32),
    cmd_sn: u32,
    exp_stat_sn: u32,
) -> [u8; HEADER] {
    const ABORT_TASK: u8 = 1;
    let mut header = base(IMMEDIATE | 0x02, FINAL | ABORT_TASK, tag, cmd_sn, exp_stat_sn);
    header[8..16].copy_from_slice(&lun);
    put(&mut header, 20, referenced_tag);
    put(&mut header, 32, referenced_cmd_sn);
    header
}

/// Text request (11.10), always final: our texts fit one PDU.
pub(crate) fn text_request(
    tag: u32,
    transfer_tag: u32,
    cmd_sn: u32,
    exp_stat_sn: u32,
) -> [u8; HEADER] {
    let mut header = base(IMMEDIATE | 0x04, FINAL, tag, cmd_sn, exp_stat_sn);
    put(&mut header, 20, transfer_tag);
    header
}

/// Logout (11.14), reason 'close the session'.
pub(crate) fn logout(tag: u32, cmd_sn: u32, exp_stat_sn: u32) -> [u8; HEADER] {
    base(IMMEDIATE | 0x06, FINAL, tag, cmd_sn, exp_stat_sn)
}

/// Where a login stands (11.12.3): current stage, and the next one if we are ready for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoginStage {
    pub(crate) current: u8,
    pub(crate) next: Option<u8>,
}

impl LoginStage {
    pub(crate) const SECURITY: u8 = 0;
    pub(crate) const OPERATIONAL: u8 = 1;
    pub(crate) const FULL: u8 = 3;

    /// As a response's flags say it.
    pub(crate) fn of(flags: u8) -> Self {
        let next = (flags & 0x80 != 0).then_some(flags & 3);
        Self { current: flags >> 2 & 3, next }
    }

    fn flags(self) -> u8 {
        self.current << 2 | self.next.map_or(0, |next| 0x80 | next)
    }
}

/// Login request (11.12): version 0, connection 0, a new session (TSIH 0) until told otherwise.
pub(crate) fn login(
    stage: LoginStage,
    isid: [u8; 6],
    session_handle: u16,
    tag: u32,
    cmd_sn: u32,
    exp_stat_sn: u32,
) -> [u8; HEADER] {
    let mut header = base(IMMEDIATE | 0x03, stage.flags(), tag, cmd_sn, exp_stat_sn);
    header[8..14].copy_from_slice(&isid);
    header[14..16].copy_from_slice(&session_handle.to_be_bytes());
    header
}
