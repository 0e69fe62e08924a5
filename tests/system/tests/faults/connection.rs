//! The SAN breaks in the middle of a read.

use crate::site::{Site, VM};
use fakes::proxy::Proxy;
use fakes::recorded::cdbs;
use scsi::Role;
use std::collections::BTreeMap;

/// Bytes towards us before the break: into the data, past the metadata. The disk has more.
const INTO_THE_DATA: u64 = 12 << 20;
/// Bytes of one READ(16).
const READ: u64 = 128 << 10;

#[test]
fn a_target_that_closes_the_connection_in_the_middle_is_read_on() {
    let mut site = Site::new();
    let proxy = behind_a_proxy(&mut site);
    proxy.cut_after(INTO_THE_DATA);
    let connections = proxy.accepted();
    let run = site.backup_and_compare("cut once");
    assert!(proxy.relayed() > INTO_THE_DATA, "the connection was never cut");
    assert!(proxy.accepted() > connections, "nobody logged in again");
    assert!(run.error.is_none());
    site.daemon.stop().unwrap();
    nothing_but_questions(&proxy);
}

/// What the target was told in the appliance's whole life, by the bytes on the wire: start, backup,
/// a lost connection, shutdown.
fn nothing_but_questions(proxy: &Proxy) {
    let mut counts: BTreeMap<u8, u32> = BTreeMap::new();
    for cdb in proxy.requests().iter().flat_map(|stream| cdbs(stream, true).0) {
        assert!(Role::SourceDisk.allows(&cdb), "{cdb:02x?}");
        *counts.entry(cdb[0]).or_default() += 1;
    }
    println!("commands by operation code: {counts:02x?}");
    let reads = counts.get(&0x88).copied().unwrap_or_default();
    assert!(u64::from(reads) * READ > INTO_THE_DATA, "the reads went another way: {counts:02x?}");
}

#[test]
fn a_target_that_is_gone_fails_the_run_and_nothing_is_kept() {
    let mut site = Site::new();
    let proxy = behind_a_proxy(&mut site);
    // A first look logs in; from then on no new connection is let through.
    assert!(site.daemon.cli().unwrap().output(&["vm", "list"]).unwrap().status.success());
    proxy.refuse(true);
    proxy.cut_after(INTO_THE_DATA);
    let run = site.backup();
    site.failed_cleanly(&run, &["LUN"]);
    assert!(site.points().is_empty());
    proxy.refuse(false);
    site.backup_and_compare("the target is back");
}

#[test]
fn a_flipped_bit_on_the_wire_never_reaches_a_recovery_point() {
    let mut site = Site::new();
    let proxy = behind_a_proxy(&mut site);
    proxy.flip_at(INTO_THE_DATA);
    let truth = site.lab.keep_truth(VM, 0, "truth").unwrap();
    let run = site.backup();
    assert!(proxy.relayed() > INTO_THE_DATA, "nothing was flipped");
    match run.point {
        Some(_) => site.restore_and_compare(&run, &truth), // the digest failed, it was read again
        None => site.failed_cleanly(&run, &["digest"]),
    }
}

/// Puts a relay between the appliance and the target.
fn behind_a_proxy(site: &mut Site) -> Proxy {
    let proxy = Proxy::start(site.lab.tgt.portal().parse().unwrap()).unwrap();
    site.daemon.stop().unwrap();
    site.daemon.config.san.portal[0].portal = proxy.address().to_string();
    site.daemon.start_again().unwrap();
    proxy
}
