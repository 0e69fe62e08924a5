//! The disks behind a target: SPC-4 and SBC-3 as far as a reader asks.

use std::sync::Arc;

/// Bytes of a logical block.
const BLOCK: usize = 512;

/// A disk in memory.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Its LUN field, as REPORT LUNS gives it.
    pub lun: [u8; 8],
    /// The 16 bytes of its NAA-6 name.
    pub naa: [u8; 16],
    /// What it holds.
    pub content: Arc<Vec<u8>>,
    /// WP in its mode header.
    pub write_protected: bool,
}

impl Disk {
    /// A disk of `size` bytes that differ everywhere. Numbers up to 255 get peripheral, larger
    /// ones (below 16384) flat addressing.
    #[must_use]
    pub fn new(number: u16, size: usize) -> Self {
        let [high, low] = number.to_be_bytes();
        let first = if high == 0 { 0 } else { 0x40 | high };
        let mut naa = [0x11; 16];
        (naa[0], naa[14], naa[15]) = (0x60, high, low);
        let byte = |at: usize| (at ^ (at >> 8) ^ (at >> 16) ^ usize::from(low)).to_le_bytes()[0];
        Self {
            lun: [first, low, 0, 0, 0, 0, 0, 0],
            naa,
            content: Arc::new((0..size).map(byte).collect()),
            write_protected: true,
        }
    }

    /// `naa.` and 32 digits.
    #[must_use]
    pub fn name(&self) -> String {
        format!("naa.{}", hex::encode(self.naa))
    }
}

/// Fixed-format sense data.
#[must_use]
pub fn sense(key: u8, asc: u8, ascq: u8) -> Vec<u8> {
    let mut sense = vec![0; 18];
    (sense[0], sense[2], sense[7], sense[12], sense[13]) = (0x70, key, 10, asc, ascq);
    sense
}

/// A device's answer: data, or a status other than GOOD with its sense data.
pub(super) type Reply = Result<Vec<u8>, (u8, Vec<u8>)>;

fn refused(key: u8, asc: u8, ascq: u8) -> Reply {
    Err((2, sense(key, asc, ascq)))
}

/// Runs a command. `states` are those of the target port groups now, its own first.
pub(super) fn run(disks: &[Disk], states: &[(u16, u8)], lun: [u8; 8], cdb: [u8; 16]) -> Reply {
    if cdb[0] == 0xa0 {
        return Ok(report_luns(disks));
    }
    let Some(disk) = disks.iter().find(|disk| disk.lun == lun) else {
        return match cdb[0] {
            0x12 => Ok([&[0x7f, 0, 6, 2, 31, 0, 0, 2], &[b' '; 28][..]].concat()),
            _ => refused(5, 0x25, 0),
        };
    };
    match (cdb[0], cdb[1] & 0x1f) {
        (0x12, _) => inquiry(disk, states, cdb),
        (0xa3, 0x0a) => Ok(port_groups(states)),
        (0x00 | 0x28 | 0x88, _) => match states.first().map_or(0, |(_, state)| *state) {
            0 | 1 | 4 => medium(disk, cdb),
            2 => refused(2, 4, 0x0b),
            0xf => refused(2, 4, 0x0a),
            _ => refused(2, 4, 0x0c),
        },
        (0x1a, _) => Ok(vec![3, 0, if disk.write_protected { 0x80 } else { 0 }, 0]),
        (0x5a, _) => Ok(vec![0, 6, 0, if disk.write_protected { 0x80 } else { 0 }, 0, 0, 0, 0]),
        (0x5e, 0x00 | 0x01) => Ok(vec![0; 8]),
        (0x9e, 0x10) => Ok(capacity(disk)),
        (0x9e, 0x12) => Ok(all_mapped(disk)),
        _ => refused(5, 0x20, 0),
    }
}

fn blocks(disk: &Disk) -> u64 {
    (disk.content.len() / BLOCK) as u64
}

fn capacity(disk: &Disk) -> Vec<u8> {
    let mut reply = vec![0; 32];
    reply[..8].copy_from_slice(&(blocks(disk) - 1).to_be_bytes());
    reply[10] = 2; // 512
    reply
}

fn all_mapped(disk: &Disk) -> Vec<u8> {
    let count = u32::try_from(blocks(disk)).unwrap_or(u32::MAX);
    let head = [0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    [&head[..], &count.to_be_bytes(), &[0; 4]].concat()
}

fn medium(disk: &Disk, cdb: [u8; 16]) -> Reply {
    let field = |range: std::ops::Range<usize>| {
        cdb[range].iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte))
    };
    let (first, count) = match cdb[0] {
        0x88 => (field(2..10), field(10..14)),
        0x28 => (field(2..6), field(7..9)),
        _ => return Ok(Vec::new()),
    };
    if first.checked_add(count).is_none_or(|end| end > blocks(disk)) {
        return refused(5, 0x21, 0);
    }
    let bytes = |count: u64| usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(BLOCK);
    Ok(disk.content[bytes(first)..bytes(first + count)].to_vec())
}

fn inquiry(disk: &Disk, states: &[(u16, u8)], cdb: [u8; 16]) -> Reply {
    if cdb[1] & 1 == 0 {
        let alua = if states.is_empty() { 0 } else { 0x10 };
        let names = *b"FAKE    SCRIPTED TARGET 0001";
        return Ok([&[0, 0, 6, 2, 31, alua, 0, 2], &names[..]].concat());
    }
    let body = match cdb[2] {
        0x00 => vec![0x00, 0x80, 0x83],
        0x80 => hex::encode(&disk.naa[8..]).into_bytes(),
        0x83 => designators(disk, states),
        _ => return refused(5, 0x24, 0),
    };
    let length = u16::try_from(body.len()).expect("pages are short").to_be_bytes();
    Ok([&[0, cdb[2]], &length[..], &body].concat())
}

fn designators(disk: &Disk, states: &[(u16, u8)]) -> Vec<u8> {
    let mut body = [&[1, 3, 0, 16], &disk.naa[..]].concat();
    if let Some((group, _)) = states.first() {
        let [high, low] = group.to_be_bytes();
        body.extend([1, 0x94, 0, 4, 0, 0, high, low]); // relative port: numbered as its group
        body.extend([1, 0x95, 0, 4, 0, 0, high, low]);
    }
    body
}

fn port_groups(states: &[(u16, u8)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (group, state) in states {
        let [high, low] = group.to_be_bytes();
        body.extend([*state, 0xcf, high, low, 0, 0, 0, 1, 0, 0, high, low]);
    }
    let length = u32::try_from(body.len()).expect("few groups").to_be_bytes();
    [&length[..], &body].concat()
}

fn report_luns(disks: &[Disk]) -> Vec<u8> {
    let length = u32::try_from(disks.len() * 8).expect("at most 16384").to_be_bytes();
    let list = disks.iter().flat_map(|disk| disk.lun);
    length.into_iter().chain([0; 4]).chain(list).collect()
}
