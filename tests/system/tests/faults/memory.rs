//! Memory stays bounded whatever the size of the disk.

use crate::site::{Site, VM, ended_well};
use lab::{Content, DiskSpec, Provisioning};

/// The promise: MiB resident, for a disk of 100 GiB.
const RESIDENT_MIB_MAX: u64 = 300;

#[test]
fn a_disk_of_100_gib_is_backed_up_in_bounded_memory() {
    let content = Content::Scattered { bytes: 100 << 30, data_bytes: 1 << 30 };
    let disk = DiskSpec { content, provisioning: Provisioning::Thin };
    let site = Site::of(vec![disk], |_| {});
    let run = site.backup();
    assert!(ended_well(&run), "{run:#?}");
    let point = run.point.unwrap().to_string();
    let cli = site.daemon.cli().unwrap();
    let verified = cli.output(&["--json", "point", "verify", &point]).unwrap();
    assert!(verified.status.success());

    let resident = site.daemon.peak_resident_kib().unwrap() >> 10;
    println!("peak resident size: {resident} MiB (limit {RESIDENT_MIB_MAX}), VM {VM}");
    assert!(resident < RESIDENT_MIB_MAX, "{resident} MiB");
}
