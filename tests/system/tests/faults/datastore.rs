//! Damaged metadata on the datastore, and a guest that writes while it is backed up.

use crate::site::{Site, VM, ended_well, flip};
use std::os::unix::fs::FileExt as _;
use system::images::hole;

/// Where the descriptor (FD) of the flat file begins on the LUN: found by its own words, so that
/// the test does not share an assumption with the reader.
fn descriptor_of_flat(image: &std::path::Path, length: u64) -> u64 {
    let file = std::fs::File::open(image).unwrap();
    let size = file.metadata().unwrap().len();
    let mut block = vec![0; 8192];
    // FDs lie on 8 KiB within the volume, whose start is a multiple of 4 KiB on the LUN.
    for at in (0..size.min(1 << 30)).step_by(4096) {
        if file.read_exact_at(&mut block, at).is_err() {
            break;
        }
        let lock = u32::from_le_bytes(block[..4].try_into().unwrap());
        let own_length = u64::from_le_bytes(block[4096 + 0x14..4096 + 0x1c].try_into().unwrap());
        if lock == 0x10C0_0001
            && &block[4096 + 0x64..4096 + 0x68] == b"dmdf"
            && own_length == length
        {
            return at;
        }
    }
    panic!("no file of {length} bytes on the volume");
}

#[test]
fn a_flipped_bit_in_the_metadata_is_an_error_by_name_and_never_data() {
    let site = Site::new();
    let image = &site.lab.datastore.image;
    let fd = descriptor_of_flat(image, site.lab.disk(VM, 0).unwrap().capacity);
    // The lock's own address, the descriptor's own address, the count of blocks, the signature,
    // and a block pointer.
    let places = [4, 4096, 4096 + 0x24, 4096 + 0x64, 8192 - 2560 + 2];
    // The lab's own answer about the allocation would need the damaged structure.
    let capacity = site.lab.disk(VM, 0).unwrap().capacity;
    let nothing = serde_json::json!([{ "start_offset": 0, "length": capacity, "areas": [] }]);
    let nothing = serde_json::to_vec(&nothing).unwrap();
    for place in places {
        let query = [("vm", VM), ("disk", "2000")];
        site.lab.vcenter.control().post("/cbt/script", &query, &nothing).unwrap();
        flip(image, fd + place, 5).unwrap();
        let run = site.backup();
        site.failed_cleanly(&run, &["web01-flat.vmdk"]);
        assert!(site.points().is_empty(), "place {place}");
        flip(image, fd + place, 5).unwrap();
    }
    site.lab.vcenter.control().post("/cbt/script", &[("vm", VM), ("disk", "2000")], b"[]").unwrap();
    site.backup_and_compare("whole again");
}

#[test]
fn what_the_guest_writes_during_a_backup_is_in_the_next_point_and_not_in_this_one() {
    let site = Site::new();
    let truth = site.lab.keep_truth(VM, 0, "at the snapshot").unwrap();
    // The snapshot's removal waits long enough for the guest to write while it exists.
    let slow = serde_json::json!({ "method": "QueryChangedDiskAreas", "delay_ms": 1500 });
    site.lab.vcenter.fault(&slow).unwrap();
    let run = std::thread::scope(|scope| {
        let run = scope.spawn(|| site.backup());
        crate::site::wait("there is a snapshot", || !site.snapshots().is_empty());
        let free = hole(&site.lab.disk(VM, 0).unwrap().truth, 0, 4 << 20).unwrap();
        site.lab.write(VM, 0, free, &vec![0xAB; 100_000]).unwrap();
        site.lab.write(VM, 0, 8 << 20, &[0xCD; 5000]).unwrap();
        run.join().unwrap()
    });
    assert!(ended_well(&run), "{run:#?}");
    site.restore_and_compare(&run, &truth);
    let next = site.backup_and_compare("after");
    let Some(api::RunResult::Backup(result)) = next.result else { unreachable!() };
    assert!(result.changed_areas >= 2, "{result:?}");
}
