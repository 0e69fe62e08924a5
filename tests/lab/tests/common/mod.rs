//! A small site for the lab's own tests.

use lab::{Content, DiskSpec, GuestSpec, LabSpec, Layout, PartitionTable, Provisioning, VmSpec};

pub(crate) const MIB: u64 = 1 << 20;

/// One VM with a thin disk that holds a guest, and a thick one with a little data.
pub(crate) fn small_site() -> LabSpec {
    let guest = GuestSpec {
        bytes: 96 * MIB,
        table: PartitionTable::Gpt,
        template: "debian".into(),
        template_bytes: 12 * MIB,
        own_bytes: 4 * MIB,
        host: "web01".into(),
    };
    let disk = |content, provisioning| DiskSpec { content, provisioning };
    LabSpec {
        lun_bytes: 2048 * MIB,
        layout: Layout::Fragmented,
        vms: vec![VmSpec {
            name: "web01".into(),
            disks: vec![
                disk(Content::Guest(guest), Provisioning::Thin),
                disk(
                    Content::Scattered { bytes: 64 * MIB, data_bytes: 4 * MIB },
                    Provisioning::Thick,
                ),
            ],
        }],
    }
}
