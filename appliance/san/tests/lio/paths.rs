//! States of paths, and their loss.

use crate::Test;
use crate::array::{Array, assert_equal, only_lun, run};
use lab::machine::lio::AluaState;
use san::San;
use scsi::Role;

pub const TRIALS: &[(&str, Test)] = &[
    ("a_standby_path_logs_in_and_reads_once_it_is_active", a_standby_path_logs_in),
    ("the_array_sees_only_what_is_on_the_list", the_array_sees_only_what_is_on_the_list),
];

/// TEST UNIT READY while logging in would make it impossible: a standby path answers NOT READY.
fn a_standby_path_logs_in(array: &Array, name: &str) {
    let disk = array.disk(name, |_, _| {});
    array.lio.alua(&disk.target, 0, AluaState::Standby).unwrap();
    run(async {
        let san = San::login(vec![array.way(&disk, 0)]).await.unwrap();
        assert_eq!(san.sessions().len(), 1);
        let sent = array.lio.arrived(&disk.initiator).unwrap();
        assert!(!sent.is_empty() && sent.iter().all(|(code, _)| *code != 0), "{sent:02x?}");
        array.lio.alua(&disk.target, 0, AluaState::Optimized).unwrap();
        assert_equal(&only_lun(&san), &disk.content).await;
        san.logout().await;
    });
}

/// Counted by the array's kernel, over reading, a state that changes, and leaving.
fn the_array_sees_only_what_is_on_the_list(array: &Array, name: &str) {
    let disk = array.disk(name, |_, _| {});
    run(async {
        let san = San::login(vec![array.way(&disk, 0)]).await.unwrap();
        let lun = only_lun(&san);
        assert_equal(&lun, &disk.content).await;
        array.lio.alua(&disk.target, 0, AluaState::NonOptimized).unwrap();
        assert_equal(&lun, &disk.content).await;
        san.logout().await;
    });
    let sent = array.lio.arrived(&disk.initiator).unwrap();
    let reads = sent.iter().filter(|(code, _)| *code == 0x88).count();
    assert!(reads >= 2 * crate::array::SIZE / (256 << 10), "{reads} reads");
    let listed = |code: u8| Role::SourceDisk.opcodes().any(|listed| listed == code);
    assert!(sent.iter().all(|(code, _)| listed(*code)), "{sent:02x?}");
}
