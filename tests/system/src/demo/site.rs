//! The site of the demo: two VMs of a few GiB, and what their guests do between the backups.

use crate::images::hole;
use anyhow::Result;
use lab::{
    Content, DiskSpec, GuestSpec, Lab, LabSpec, Layout, PartitionTable, Provisioning, VmSpec,
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The VMs, in the order in which they are backed up.
pub const VMS: [&str; 2] = ["web01", "db01"];

/// A web server, and a database server deployed from the same template with a data disk more.
#[must_use]
pub fn site() -> LabSpec {
    LabSpec {
        lun_bytes: 16 * GIB,
        layout: Layout::Fragmented,
        vms: vec![
            VmSpec { name: VMS[0].to_owned(), disks: vec![system_disk(VMS[0])] },
            VmSpec { name: VMS[1].to_owned(), disks: vec![system_disk(VMS[1]), data_disk()] },
        ],
    }
}

fn system_disk(host: &str) -> DiskSpec {
    let guest = GuestSpec {
        bytes: 3 * GIB,
        table: PartitionTable::Gpt,
        template: "debian".to_owned(),
        template_bytes: 800 * MIB,
        own_bytes: 60 * MIB,
        host: host.to_owned(),
    };
    DiskSpec { content: Content::Guest(guest), provisioning: Provisioning::Thin }
}

fn data_disk() -> DiskSpec {
    let guest = GuestSpec {
        bytes: GIB,
        table: PartitionTable::Mbr,
        template: "data".to_owned(),
        template_bytes: 300 * MIB,
        own_bytes: 20 * MIB,
        host: "db01-data".to_owned(),
    };
    DiskSpec { content: Content::Guest(guest), provisioning: Provisioning::Thick }
}

/// What the guests wrote.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    /// Number of writes.
    pub writes: u64,
    /// Their bytes; some places were written twice.
    pub bytes: u64,
}

/// The guests at work: a log that grows, files that are replaced and wiped, new files where the
/// thin disk has no blocks yet, and a database that updates its pages all over its data disk.
///
/// # Errors
/// When the lab does not take a write.
pub fn guests_work(lab: &Lab) -> Result<Written> {
    let mut guests = Guests { lab, written: Written::default(), chance: 0x9e37_79b9_7f4a_7c15 };
    let log = log_lines(6 * MIB);
    guests.write("web01", 0, 200 * MIB + 12_345, &log)?;
    guests.write("web01", 0, 420 * MIB + 512, &vec![0; 2 << 20])?;
    for number in 0..40 {
        guests.write("web01", 0, (30 + 17 * number) * MIB + 4096 * number, &log[..4096])?;
    }
    let new = hole(&lab.disk("web01", 0)?.truth, 1200 * MIB, 8 * MIB)?;
    guests.write("web01", 0, new + 700, &log[..3 << 20])?;
    guests.write("db01", 0, 150 * MIB, &log[..1 << 20])?;
    for _ in 0..120 {
        let page = guests.next() % (960 * MIB / 8192);
        let bytes = guests.next().to_le_bytes().repeat(1024);
        guests.write("db01", 1, 8 * MIB + page * 8192, &bytes)?;
    }
    Ok(guests.written)
}

struct Guests<'a> {
    lab: &'a Lab,
    written: Written,
    chance: u64,
}

impl Guests<'_> {
    fn write(&mut self, vm: &str, disk: usize, offset: u64, data: &[u8]) -> Result<()> {
        self.lab.write(vm, disk, offset, data)?;
        self.written.writes += 1;
        self.written.bytes += data.len() as u64;
        Ok(())
    }

    /// Marsaglia's xorshift: the same in every run.
    fn next(&mut self) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance
    }
}

/// Text such as a web server writes.
fn log_lines(bytes: u64) -> Vec<u8> {
    let mut text = String::new();
    let mut number = 0_u64;
    while (text.len() as u64) < bytes {
        let (host, page) = (number * 7 % 251, number * 31 % 1999);
        text.push_str(&format!(
            "192.0.2.{host} - - [22/Nov/2025:10:{:02}:{:02} +0000] \"GET /page/{page} HTTP/1.1\" \
             200 {}\n",
            number / 60 % 60,
            number % 60,
            number * 8191 % 65_536
        ));
        number += 1;
    }
    text.into_bytes()
}
